"""What happens later, or again and again, without being asked then: reminders, briefings, watches.

A schedule is a document of its user; a task of the queue wakes it at its time (`due`). Waking moves
the schedule on by compare-and-set: `n` counts its wakings, and of two deliveries of the same one
the second finds it gone by. What is to be told then goes the way of a slow call's result: a
follow-up opens a turn in the user's chat, once for each occurrence, whatever is delivered twice.

The next task is stored before the schedule is moved on, so that no crash leaves one that never
wakes. The queue takes nothing more than 30 days ahead: until then a schedule is woken on the way,
and sleeps again. One that was slept through (a laptop was shut) happens once, late, and says so.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from common import documents
from common.assistant.jobs import FOLLOW_UPS, Answer, Jobs
from common.assistant.recurrence import Rule
from common.assistant.retrying import create_once
from common.assistant.usage import Prices, Spent, day_of, path_of
from common.assistant.watches import Condition, check
from common.documents import Clock, Data, new_id
from common.errors import Conflict, InvalidInput, NotAllowed, NotFound, OdaiError
from common.log import get_logger
from common.store import Create, Delete, Merge, Query, Snapshot, Store, Update, Write
from common.tasks import Task, Tasks
from common.tools import Asker, Outcome, ToolRunner
from common.vault import Sealer, Vault

log = get_logger(__name__)

DUE_PATH = "/due"
DUE = "due:"  # what the ids of prompts begin with that a schedule made
MOST = 50  # schedules of one user that are not over
LONGEST = 500  # characters
WATCH_EVERY = dt.timedelta(minutes=15)
LEAST_EVERY = dt.timedelta(minutes=5)
WATCH_FOR = dt.timedelta(days=90)
_STEP = dt.timedelta(days=29)
_SKEW = dt.timedelta(minutes=1)  # how early a task may come
_YOUNG = dt.timedelta(minutes=2)  # how long a task may be ahead of its schedule
_LATE = dt.timedelta(minutes=10)
_MOST_FAILURES = 12  # looks of a watch in a row
_KEPT = dt.timedelta(days=30)  # after it is over

Kind: TypeAlias = Literal["reminder", "briefing", "watch"]


class Texting(Protocol):
    """Reaches users by SMS (`common.assistant.texting`)."""

    async def check(self, uid: str) -> None:
        """Raise NotAllowed, saying what to do, where no text can reach the user."""

    async def tell(self, uid: str, chat_id: str, prompt_id: str, *, wished: bool) -> None:
        """Have the answer to a prompt sent, once, where that is wished or the chat is by SMS."""


class _What(msgspec.Struct):
    """What a schedule keeps sealed. `asker` is for whom a watch looks."""

    text: str
    asker: Asker
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A schedule to make. A watch has a `condition`, the others a `rule`.

    `side` is where the watched value is now; `sms` asks for a text message besides the chat.
    """

    kind: Kind
    text: str
    rule: Rule | None = None
    condition: Condition | None = None
    side: str = ""
    every: dt.timedelta = WATCH_EVERY
    sms: bool = False


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A schedule as its user sees it; `next_at` is None where it is over or paused."""

    id: str
    kind: Kind
    status: str
    text: str
    when: str
    zone: str
    next_at: dt.datetime | None
    last_at: dt.datetime | None
    sms: bool


@dataclass(frozen=True, slots=True)
class Due:
    """One occurrence, for the turn that tells it.

    `say` is told as it is; where it is "", `text` is asked as the user's own prompt, on the budget
    of the task `task`. `untrusted` marks words of strangers.
    """

    chat_id: str
    task: str
    text: str
    say: str
    zone: str
    untrusted: bool = False


class Schedules:
    """Makes, wakes and ends schedules; one for each process."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        tasks: Tasks,
        *,
        jobs: Callable[[], Jobs],
        runner: Callable[[], ToolRunner],
        clock: Clock,
        texting: Texting | None = None,
    ) -> None:
        self._store = store
        self._vault = vault
        self._tasks = tasks
        self._jobs = jobs
        self._runner = runner
        self._clock = clock
        self._texting = texting

    # --- what users do ----------------------------------------------------------------------

    async def create(self, asker: Asker, draft: Draft, *, key: str = "") -> Scheduled:
        """Make a schedule that tells in the asker's chat; the same `key` makes it once.

        Raises InvalidInput (its time has passed, too many) and NotAllowed (no text messages here).
        """
        text = " ".join(draft.text.split())
        if not 0 < len(text) <= LONGEST:
            raise InvalidInput(f"The text is 1 to {LONGEST} characters.")
        if draft.sms and self._texting is None:
            raise NotAllowed("Text messages are not set up here. Have it told in the chat.")
        if draft.sms and self._texting:
            await self._texting.check(asker.uid)
        now = self._clock()
        next_at = draft.rule.next(now) if draft.rule else now + max(draft.every, LEAST_EVERY)
        if next_at is None:
            raise InvalidInput("That time has passed. Name one that is still to come.")
        going = [s for s in await self.listed(asker.uid) if s.status != "done"]
        if len(going) >= MOST:
            raise InvalidInput(f"{MOST} are scheduled already. Delete some first.")
        name = hashlib.sha256(key.encode()).hexdigest()[:26].upper() if key else new_id()
        path = _path(asker.uid, name)
        sealer = await self._vault.open(asker.uid)
        what = msgspec.json.encode(_What(text, asker, draft.condition))
        data: Data = {
            "kind": draft.kind, "status": "active", "n": 1, "next_at": next_at, "armed_at": now,
            "chat_id": asker.chat_id or f"s{name}", "zone": asker.timezone, "sms": draft.sms,
            "what": sealer.seal(path, "what", what), "created_at": now, "failures": 0,
            **(_rule_data(draft.rule) if draft.rule else
               {"interval_s": int(max(draft.every, LEAST_EVERY).total_seconds()),
                "until": now + WATCH_FOR, "side": draft.side}),
        }  # fmt: skip
        await self._arm(asker.uid, name, data)
        await create_once(self._store, Create(path, data))
        return _scheduled(sealer, Snapshot(path, data, ""))

    async def watch(
        self,
        asker: Asker,
        condition: Condition,
        text: str,
        *,
        sms: bool = False,
        every: dt.timedelta = WATCH_EVERY,
        key: str = "",
    ) -> tuple[Scheduled, Outcome]:
        """Watch a value, looking once now; return what was found too.

        Raises InvalidInput (the tool does more than read, has no such value, or the condition
        holds already) and what looking raised.
        """  # fmt: skip
        runner = self._runner()
        if runner.registry.tool(condition.tool).risk != "read":
            raise InvalidInput("Only a tool that reads can be watched.")
        outcome = await runner.run(condition.tool, condition.arguments, asker, key=key)
        if outcome.result is None:
            raise outcome.error or NotFound("There is nothing to watch.")
        met, side = check(condition, outcome.result.data, "")
        if met:
            raise InvalidInput(f"That is so already. {outcome.result.summary}")
        draft = Draft("watch", text, condition=condition, side=side, every=every, sms=sms)
        return await self.create(asker, draft, key=key), outcome

    async def listed(self, uid: str) -> list[Scheduled]:
        """Return a user's schedules: the next to come first, then the paused, then those over."""
        found = await self._store.query(Query(f"{documents.user(uid)}/schedules", limit=4 * MOST))
        sealer = await self._vault.open(uid) if found else None
        rows = [_scheduled(sealer, each) for each in found if sealer]
        far = dt.datetime.max.replace(tzinfo=dt.UTC)
        order = ("active", "paused", "done")
        return sorted(rows, key=lambda s: (order.index(s.status), s.next_at or far, s.id))

    async def pause(self, uid: str, schedule_id: str) -> Scheduled:
        """Let a schedule rest until it is resumed."""

        def paused(found: Snapshot) -> Data:
            if found.data["status"] == "done":
                raise Conflict("That is over already.")
            return {"status": "paused", "n": found.data["n"] + 1}

        return await self._change(uid, schedule_id, paused)

    async def resume(self, uid: str, schedule_id: str) -> Scheduled:
        """Let a paused schedule go on with its next occurrence; InvalidInput where it has none."""

        def resumed(found: Snapshot) -> Data:
            now = self._clock()
            if found.data["status"] != "paused":
                raise Conflict("That is not paused.")
            if (next_at := _next(found.data, now)) is None:
                raise InvalidInput("Its time has passed. Make a new one.")
            return {
                "status": "active", "n": found.data["n"] + 1, "next_at": next_at,
                "armed_at": now, "failures": 0,
            }  # fmt: skip

        return await self._change(uid, schedule_id, resumed)

    async def remove(self, uid: str, schedule_id: str) -> Scheduled:
        """Delete a schedule; return what it was."""
        found = await self._get(uid, schedule_id)
        await self._store.commit(Delete(found.path))
        return _scheduled(await self._vault.open(uid), found)

    # --- when its time has come -------------------------------------------------------------

    async def due(self, uid: str, schedule_id: str, n: int, made_at: float) -> Answer:
        """Wake a schedule for the `n`th time; return what to tell the queue."""
        now = self._clock()
        try:
            found = await self._get(uid, schedule_id)
        except NotFound:
            found = None
        if found is None or found.data["n"] < n:
            # The task is stored before what it wakes.
            young = now.timestamp() - made_at < _YOUNG.total_seconds()
            return Answer(503, retry_after=1.0) if young else Answer(200)
        data = found.data
        if data.get("last_n") == n:  # a delivery before this one broke off in the middle
            await self._tell(uid, found, n)
            return Answer(200)
        if data["n"] != n or data["status"] != "active":
            return Answer(200)
        early = data["next_at"] - now
        if early > _SKEW:
            await self._arm(uid, schedule_id, data)
            return Answer(200)
        if early > dt.timedelta(0):
            return Answer(503, retry_after=early.total_seconds())
        try:
            if data["kind"] == "watch":
                await self._look(uid, found)
            else:
                await self._happen(uid, found)
        except Conflict:
            return Answer(503, retry_after=1.0)
        return Answer(200)

    async def told(self, uid: str, due_id: str) -> Due:
        """Return what is to be told of an occurrence. NotFound: it was deleted since."""
        schedule_id, _, n = due_id.partition("-")
        found = await self._get(uid, schedule_id)
        data = found.data
        if not n.isdecimal() or data.get("last_n", 0) < int(n):
            raise NotFound("That has not happened.")
        sealer = await self._vault.open(uid)
        what = _opened(sealer, found)
        news = sealer.unseal(found.path, "news", data["news"]).decode() if data["news"] else ""
        asks = data["kind"] == "briefing" and not news
        say = "" if asks else news or _reminder(what.text, data)
        return Due(
            data["chat_id"], schedule_id, what.text, say, data["zone"],
            untrusted=data.get("untrusted", False),
        )  # fmt: skip

    async def _happen(self, uid: str, found: Snapshot) -> None:
        now = self._clock()
        next_at = _next(found.data, max(now, found.data["next_at"]))
        await self._fire(uid, found, {"next_at": next_at, "status": _status(next_at)}, news="")

    async def _look(self, uid: str, found: Snapshot) -> None:
        """Look at what is watched; tell it, or look again later."""
        data, now = found.data, self._clock()
        sealer = await self._vault.open(uid)
        what = _opened(sealer, found)
        if what.condition is None:
            raise NotFound("Nothing is watched.")
        if now >= data["until"]:
            news = f"I have stopped watching this, as it has not happened: {what.text}"
            await self._fire(uid, found, {"status": "done"}, news=news)
            return
        condition, runner = what.condition, self._runner()
        met, side, again = False, data["side"], {"failures": 0}
        try:
            key = f"{found.id}.{data['n']}"
            outcome = await runner.run(condition.tool, condition.arguments, what.asker, key=key)
            if outcome.result is None:
                raise outcome.error or NotFound("There is nothing to watch.")
            met, side = check(condition, outcome.result.data, data["side"])
        except OdaiError as err:
            again = {"failures": data["failures"] + 1}
            if again["failures"] >= _MOST_FAILURES or not _may_pass(err):
                news = f"I have paused this, as I cannot look at it: {what.text}. {err}"
                await self._fire(uid, found, {"status": "paused", **again}, news=news)
                return
            await self._move_on(uid, found, {**again, "next_at": _next(data, now)})
            return
        counted = self._counted(uid, data["zone"], runner.registry.entry_of(outcome.tool).slug)
        if met and outcome.result:
            news = f"{what.text}: {outcome.result.summary}"
            ended: Data = {"status": "done", "untrusted": outcome.result.untrusted}
            await self._fire(uid, found, ended, news=news, also=counted)
            return
        await self._move_on(
            uid, found, {**again, "side": side, "next_at": _next(data, now)}, also=counted
        )

    async def _fire(
        self, uid: str, found: Snapshot, changes: Data, *, news: str, also: Sequence[Write] = ()
    ) -> None:
        """Move the schedule on, and have this occurrence told. Raises Conflict."""
        n, now = found.data["n"], self._clock()
        sealer = await self._vault.open(uid)
        told: Data = {
            "last_n": n, "last_at": now, "due_at": found.data["next_at"],
            "news": sealer.seal(found.path, "news", news.encode()) if news else None,
        }  # fmt: skip
        await self._move_on(uid, found, {**changes, **told}, also=also)
        await self._tell(uid, found, n)

    async def _move_on(
        self, uid: str, found: Snapshot, changes: Data, *, also: Sequence[Write] = ()
    ) -> None:
        changes = {"n": found.data["n"] + 1, "armed_at": self._clock(), **changes}
        after = {**found.data, **changes}
        if after["status"] == "active":
            await self._arm(uid, found.id, after)
        elif after["status"] == "done":
            changes["expires_at"] = self._clock() + _KEPT
        await self._store.commit(Update(found.path, changes, if_version=found.version), *also)

    async def _tell(self, uid: str, found: Snapshot, n: int) -> None:
        due_id, data = f"{found.id}-{n}", found.data
        await self._jobs().enqueue_follow_up(f"due-{found.id}-{n}", {"due_id": due_id, "uid": uid})
        if self._texting:
            prompt_id = f"{DUE}{due_id}"
            await self._texting.tell(uid, data["chat_id"], prompt_id, wished=data["sms"])

    async def _arm(self, uid: str, schedule_id: str, data: Data) -> None:
        """Have the schedule woken at its time, or on the way there."""
        now = self._clock()
        # The same moment whenever it is asked for, so that the same task gets the same name.
        steps = (now + 2 * _SKEW - data["armed_at"]) // _STEP + 1
        wake: dt.datetime = min(data["next_at"], data["armed_at"] + steps * _STEP)
        body = {"uid": uid, "id": schedule_id, "n": data["n"], "made_at": now.timestamp()}
        name = f"due-{schedule_id}-{data['n']}-{int(wake.timestamp())}"
        await self._tasks.enqueue(Task(
            FOLLOW_UPS.name, DUE_PATH, msgspec.json.encode(body), name=name, schedule_at=wake,
        ))  # fmt: skip

    async def _change(
        self, uid: str, schedule_id: str, change: Callable[[Snapshot], Data]
    ) -> Scheduled:
        for _ in range(8):
            found = await self._get(uid, schedule_id)
            changes = change(found)
            after = {**found.data, **changes}
            if after["status"] == "active":
                await self._arm(uid, schedule_id, after)
            try:
                await self._store.commit(Update(found.path, changes, if_version=found.version))
            except Conflict:
                continue
            return _scheduled(await self._vault.open(uid), Snapshot(found.path, after, ""))
        raise Conflict("That changed meanwhile. Try again.")

    async def _get(self, uid: str, schedule_id: str) -> Snapshot:
        found = await self._store.get(_path(uid, schedule_id))
        if found is None:
            raise NotFound("Nothing like that is scheduled.")
        return found

    def _counted(self, uid: str, zone: str, slug: str) -> list[Write]:
        day = day_of(self._clock(), zone)
        spent = Spent(turns=0)
        spent.calls[slug] += 1
        return [Merge(path_of(uid, day), {"day": day.isoformat(), **spent.increments(Prices())})]


def shown(scheduled: Scheduled) -> dict[str, Any]:
    """Return a schedule as clients read it; times are ISO 8601, in UTC."""
    return {
        "id": scheduled.id,
        "kind": scheduled.kind,
        "status": scheduled.status,
        "text": scheduled.text,
        "when": scheduled.when,
        "timezone": scheduled.zone,
        "next_at": scheduled.next_at.isoformat() if scheduled.next_at else None,
        "last_at": scheduled.last_at.isoformat() if scheduled.last_at else None,
        "sms": scheduled.sms,
    }


def _next(data: Data, after: dt.datetime) -> dt.datetime | None:
    if data["kind"] == "watch":
        return after + dt.timedelta(seconds=data["interval_s"])
    return _rule(data).next(after)


def _status(next_at: dt.datetime | None) -> str:
    return "active" if next_at else "done"


def _may_pass(err: OdaiError) -> bool:
    """Whether looking again may go better; a page that lacks the value may have it tomorrow."""
    return err.retryable or not isinstance(err, NotAllowed)


def _reminder(text: str, data: Data) -> str:
    late = data["last_at"] - data["due_at"]
    if late < _LATE:
        return f"Reminder: {text}"
    from zoneinfo import ZoneInfo

    due = data["due_at"].astimezone(ZoneInfo(data["zone"]))
    return f"Reminder, due {due:%A} at {due:%H:%M}: {text}"


def _rule_data(rule: Rule) -> Data:
    return {
        "every": rule.every, "at": rule.at.isoformat("minutes"), "days": list(rule.days),
        "start": rule.start.isoformat(), "rule_zone": rule.zone,
    }  # fmt: skip


def _rule(data: Data) -> Rule:
    return Rule(
        data["every"], dt.time.fromisoformat(data["at"]), dt.date.fromisoformat(data["start"]),
        data["rule_zone"], tuple(data["days"]),
    )  # fmt: skip


def _scheduled(sealer: Sealer, found: Snapshot) -> Scheduled:
    data = found.data
    watch = data["kind"] == "watch"
    active = data["status"] == "active"
    every = data.get("interval_s", 0) // 60
    return Scheduled(
        id=found.id, kind=data["kind"], status=data["status"], text=_opened(sealer, found).text,
        when=f"looked at every {every} minutes" if watch else _rule(data).words(),
        zone=data["zone"], next_at=data["next_at"] if active else None,
        last_at=data.get("last_at"), sms=data["sms"],
    )  # fmt: skip


def _opened(sealer: Sealer, found: Snapshot) -> _What:
    blob = sealer.unseal(found.path, "what", found.data["what"])
    return msgspec.json.decode(blob, type=_What)


def _path(uid: str, schedule_id: str) -> str:
    if not schedule_id.isalnum():
        raise NotFound("Nothing like that is scheduled.")
    return f"{documents.user(uid)}/schedules/{schedule_id}"
