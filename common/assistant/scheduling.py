"""One user's schedules as tools use them: from words about time and things to `schedules`."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from typing import Any, cast, get_args
from zoneinfo import ZoneInfo

from common.assistant.recurrence import Every, Rule
from common.assistant.schedules import Draft, Kind, Scheduled, Schedules, shown
from common.assistant.watches import Condition, Operator
from common.documents import Clock
from common.errors import InvalidInput, NotAllowed, NotFound, OdaiError
from common.tools import Asker, Tool, ToolRunner
from common.tools.context import Watched, When
from common.tools.shapes import COINS, STOP, WORD, stem, vocabulary

_PRICES = ("price", "last_price")


class UserSchedules:
    """`common.tools.context.Schedules` of whoever `asker` is."""

    def __init__(
        self, schedules: Schedules, runner: ToolRunner, asker: Asker, *, clock: Clock
    ) -> None:
        self._schedules = schedules
        self._runner = runner
        self._asker = asker
        self._clock = clock

    async def remind(self, text: str, when: When, *, key: str) -> dict[str, Any]:
        """Have `text` told then."""
        return await self._made("reminder", text, when, key)

    async def brief(self, text: str, when: When, *, key: str) -> dict[str, Any]:
        """Have `text` asked then."""
        return await self._made("briefing", text, when, key)

    async def watch(self, text: str, watched: Watched, *, key: str) -> dict[str, Any]:
        """Watch a value."""
        if watched.operator not in get_args(Operator):
            raise InvalidInput(f"operator is one of {', '.join(get_args(Operator))}.")
        conditions, failed = await self._conditions(watched, key)
        for condition in conditions:
            try:
                made, outcome = await self._schedules.watch(
                    self._asker, condition, text, sms=watched.sms, key=key
                )
            except (NotAllowed, NotFound) as err:
                failed = err
                continue
            return {**shown(made), "now": outcome.summary}
        raise failed

    async def listed(self) -> list[dict[str, Any]]:
        """Return all, the next to come first."""
        return [shown(each) for each in await self._schedules.listed(self._asker.uid)]

    async def pause(self, about: str) -> dict[str, Any]:
        """Let the one that is meant rest."""
        found = await self._meant(about, ("active",))
        return shown(await self._schedules.pause(self._asker.uid, found.id))

    async def resume(self, about: str) -> dict[str, Any]:
        """Let the one that is meant go on."""
        found = await self._meant(about, ("paused",))
        return shown(await self._schedules.resume(self._asker.uid, found.id))

    async def remove(self, about: str) -> dict[str, Any]:
        """Delete the one that is meant."""
        found = await self._meant(about, ("active", "paused", "done"))
        return shown(await self._schedules.remove(self._asker.uid, found.id))

    async def _made(self, kind: Kind, text: str, when: When, key: str) -> dict[str, Any]:
        rule = rule_of(when, self._clock().astimezone(ZoneInfo(self._asker.timezone)))
        draft = Draft(kind, text, rule=rule, sms=when.sms)
        return shown(await self._schedules.create(self._asker, draft, key=key))

    async def _conditions(self, watched: Watched, key: str) -> tuple[list[Condition], OdaiError]:
        """Return what may be watched, best first, and why nothing can be where that fails."""
        failed: OdaiError = NotAllowed("No service that is set up can look that up.")
        operator = cast(Operator, watched.operator)
        if watched.tracking_code:
            arguments = {"tracking_code": watched.tracking_code}
            tools = self._taking("tracking_code")
            return [Condition(t.name, _json(t, arguments), "status", operator, watched.value)
                    for t in tools], failed  # fmt: skip
        if not watched.symbol:
            return [Condition(
                watched.tool, watched.arguments, watched.field, operator, watched.value
            )], failed  # fmt: skip
        found = []
        failures: list[OdaiError] = []
        coin = watched.symbol.upper() in COINS.values()  # as a share BTC is another thing
        tools = self._taking("symbol", named=("price", "quote"))
        for tool in sorted(tools, key=lambda tool: ("crypto" in tool.name) != coin):
            arguments_json = _json(tool, {"symbol": watched.symbol})
            outcome = await self._runner.run(tool.name, arguments_json, self._asker, key=key)
            if outcome.result and (field := price_field(outcome.result.data)):
                found.append(Condition(tool.name, arguments_json, field, operator, watched.value))
            failures += [outcome.error] if outcome.error else []
        # The first asked was the likeliest.
        return found, next(iter(failures), failed)

    def _taking(self, argument: str, *, named: Sequence[str] = ()) -> list[Tool]:
        """Return the tools that read, are set up and ask for `argument` alone."""
        return [t for t in self._runner.registry.tools.values() if self._suits(t, argument, named)]

    @staticmethod
    def _suits(tool: Tool, argument: str, named: Sequence[str]) -> bool:
        if tool.risk != "read" or (named and not any(word in tool.name for word in named)):
            return False
        required = set(tool.parameters.schema["properties"]) - tool.parameters.optional
        return required == {argument}

    async def _meant(self, about: str, status: Sequence[str]) -> Scheduled:
        every = [s for s in await self._schedules.listed(self._asker.uid) if s.status in status]
        return meant(every, about)


def meant(every: Sequence[Scheduled], about: str) -> Scheduled:
    """Return the one schedule that `about` names: by id, kind or words. NotFound otherwise."""
    if exact := next((s for s in every if s.id == about.strip()), None):
        return exact
    words = _stems(about) - _FILLERS
    fitting = [s for s in every if words <= _stems(f"{s.text} {s.kind} {s.when}")]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise NotFound("Nothing like that is scheduled. List what is.")
    listed = "; ".join(f"{s.text} ({s.when}), id {s.id}" for s in fitting[:5])
    raise NotFound(f"Several fit: {listed}. Ask the user which one, and name its id.")


def rule_of(when: When, local: dt.datetime) -> Rule:
    """Return the rule of a wish; `local` is the present time in the user's zone."""
    try:
        at = dt.time.fromisoformat(when.time)
        start = dt.date.fromisoformat(when.date) if when.date else local.date()
    except ValueError as err:
        raise InvalidInput("time is HH:MM on the 24-hour clock, date is YYYY-MM-DD.") from err
    at = at.replace(second=0, microsecond=0, tzinfo=None)
    if when.every not in get_args(Every):
        raise InvalidInput(f"every is one of {', '.join(get_args(Every))}.")
    if when.every == "once" and not when.date and at <= local.time():
        start += dt.timedelta(1)  # "at eight", said at nine, is tomorrow's
    return Rule(cast(Every, when.every), at, start, str(local.tzinfo), tuple(when.days))


def price_field(data: Any) -> str:
    """Return where a tool's data has its price, "" where it has none."""
    if not isinstance(data, dict):
        return ""
    for name in _PRICES:
        if _is_price(data.get(name)):
            return name
    inner = (f"{key}.{name}" for key, value in data.items() if isinstance(value, dict)
             for name in _PRICES if _is_price(value.get(name)))  # fmt: skip
    return next(inner, "")


def _is_price(value: Any) -> bool:
    if isinstance(value, str):
        return value.replace(".", "", 1).isdecimal()
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _json(tool: Tool, given: dict[str, str]) -> str:
    """Return the arguments of a call that leaves open what may be left open."""
    return json.dumps(dict.fromkeys(tool.parameters.schema["properties"]) | given)


def _stems(text: str) -> set[str]:
    return {stem(word) for word in WORD.findall(text.casefold()) if word not in STOP}


_FILLERS = {
    stem(word)
    for word in vocabulary(
        "reminder reminders all schedule scheduled one alert alerts watch pause resume delete "
        "cancel stop remove end"
    )
}
