"""Budgets: what a user's runs may cost in a day, held before a run begins and settled when it ends.

The day's document is the ledger: `cost` is what was settled, `held` what runs under way have set
aside. A run is begun only if both together, with what it sets aside itself, stay within the limit;
the check holds because the write that sets aside names the version it was made against. Both
writes ride in commits that the run makes anyway. What a dead run has set aside expires.

A run never spends much more than it holds: before each further step it holds more, or ends there.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import TypeAlias
from weakref import WeakValueDictionary

from common.assistant.retrying import MOMENT, retrying
from common.assistant.usage import MICROS, Prices, Spent, Tokens, day_of, dollars, path_of
from common.documents import Clock, Data
from common.errors import BudgetExceeded, Conflict, Misconfigured
from common.store import DELETE_FIELD, Create, Increment, Merge, Store, Update, Write

HOLD_SECONDS = 90.0  # of a dead run; a living one prolongs its hold with its lease
_ATTEMPTS = 20
_CACHED = 5000
_INSTRUCTIONS = 6000  # tokens of instructions and tools that a model call has besides its history
_ANSWER = 2000  # tokens of a long answer
_BYTES = 3  # of a token, at least

Commit: TypeAlias = Callable[[Sequence[Write]], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Caps:
    """Limits in micro-dollars, 0 for none.

    Of a user and day, `hard` stops everything and `soft` what runs by itself; `task` is that of
    one background task and day.
    """

    soft: int = 0
    hard: int = 0
    task: int = 0

    @classmethod
    def parse(cls, soft: str, hard: str, task: str) -> Caps:
        """Read dollars. Raises Misconfigured."""
        return cls(_micros(soft), _micros(hard), _micros(task))


@dataclass(frozen=True, slots=True)
class Hold:
    """What a run sets aside: `micros` for the run `key`, of `task` if it runs by itself."""

    uid: str
    day: dt.date
    key: str
    micros: int
    task: str = ""

    @property
    def path(self) -> str:
        """Return where it is noted."""
        return path_of(self.uid, self.day)


@dataclass
class _Ledger:
    """A day's document as this process knows it; `version` is "" where there is none."""

    path: str
    version: str = ""
    cost: int = 0
    tasks: dict[str, int] = field(default_factory=dict)
    held: dict[str, Data] = field(default_factory=dict)


class Budgets:
    """Holds and settles; one for each process. `model` answers turns, `voice_model` calls."""

    def __init__(
        self,
        store: Store,
        prices: Prices,
        *,
        model: str,
        caps: Caps,
        clock: Clock,
        voice_model: str = "",
    ) -> None:
        self.prices = prices
        self.model = model
        self.voice_model = voice_model
        self.caps = caps
        self._store = store
        self._clock = clock
        self._ledgers: OrderedDict[str, _Ledger] = OrderedDict()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def priced(self) -> bool:
        """Whether a turn costs anything."""
        return self.estimate(0) > 0

    def estimate(self, history_bytes: int) -> int:
        """Return what one model call with so much history may cost, in micro-dollars."""
        tokens = Tokens(1, _INSTRUCTIONS + history_bytes // _BYTES, 0, _ANSWER)
        return self.prices.of(self.model).micros(tokens)

    def plan(self, uid: str, zone: str, key: str, micros: int, *, task: str = "") -> Hold:
        """Return a hold of the user's present day; `hold` makes it one."""
        return Hold(uid, day_of(self._clock(), zone), key, micros, task)

    async def hold(self, hold: Hold, commit: Commit | None = None) -> None:
        """Set money aside, in one commit with what `commit` stores beside the writes it is given.

        `commit` returns those writes' versions, none where it does not know them. Raises
        BudgetExceeded (nothing was committed) and Conflict: try again.
        """
        commit = commit or self._alone
        if not hold.micros:
            await commit(())
            return
        async with self._lock(hold.uid):
            ledger = await self._admitting(hold)
            until = self._clock() + dt.timedelta(seconds=HOLD_SECONDS)
            entry: Data = {"micros": hold.micros, "until": until, "task": hold.task}
            versions = await self._committed(hold.uid, commit, self._holding(ledger, hold, entry))
            if versions:
                now = self._clock()
                alive = {key: held for key, held in ledger.held.items() if _lives(held, now)}
                ledger.version, ledger.held = versions[-1], {**alive, hold.key: entry}

    async def cover(self, hold: Hold, spent: int, step: int) -> Hold:
        """Return a hold that covers what was `spent` and a further `step`, setting aside more.

        Raises BudgetExceeded where that is too much.
        """
        if not step or spent + step <= hold.micros:
            return hold
        more = replace(hold, micros=spent + 2 * step)
        for attempt in range(_ATTEMPTS):
            try:
                await retrying(lambda: self.hold(more))
                break
            except Conflict:
                if attempt == _ATTEMPTS - 1:
                    raise
                await asyncio.sleep(0.005 * attempt)
        return more

    def prolonged(self, hold: Hold | None) -> list[Write]:
        """Return what keeps the hold of a run that goes on from expiring."""
        if hold is None or not hold.micros:
            return []
        until = self._clock() + dt.timedelta(seconds=HOLD_SECONDS)
        return [Merge(hold.path, {f"held.{hold.key}.until": until})]

    async def settle(self, hold: Hold, spent: Spent, commit: Commit | None = None) -> bool:
        """Note what a run has spent and free what it held, in one commit with `commit`'s.

        Without one, a settling that fails is tried again for a moment. Returns whether the user's
        soft limit was passed by it.
        """
        if commit is None:
            return await self._settle_alone(hold, spent)
        micros = spent.micros(self.prices)
        changes: Data = {"day": hold.day.isoformat(), **spent.increments(self.prices)}
        if hold.micros:
            changes[f"held.{hold.key}"] = DELETE_FIELD
        if hold.task and micros:
            changes[f"tasks.{hold.task}"] = Increment(micros)
        async with self._lock(hold.uid):
            writes = [Merge(hold.path, changes)]
            versions = await self._committed(hold.uid, commit, writes)
            ledger = self._ledgers.get(hold.uid)
            if not versions or ledger is None or ledger.path != hold.path:
                return False
            before, ledger.version = ledger.cost, versions[-1]
            ledger.cost += micros
            ledger.held.pop(hold.key, None)
            if hold.task:
                ledger.tasks[hold.task] = ledger.tasks.get(hold.task, 0) + micros
            return bool(self.caps.soft) and before < self.caps.soft <= ledger.cost

    async def _settle_alone(self, hold: Hold, spent: Spent) -> bool:
        """Settle in a commit of its own, again where that fails: what is held tells whether to."""
        tried = False

        async def attempt() -> bool:
            nonlocal tried
            if tried and not await self._holds(hold):
                return False  # it was heard, and only its answer was not
            tried = True
            return await self.settle(hold, spent, self._alone)

        return await retrying(attempt, attempts=MOMENT if hold.micros else 1, crowded=True)

    async def _holds(self, hold: Hold) -> bool:
        day = await self._store.get(hold.path)
        return day is not None and hold.key in day.data.get("held", {})

    async def _admitting(self, hold: Hold) -> _Ledger:
        """Return the ledger, which admits `hold`; BudgetExceeded where it does not."""
        if hold.uid in self._ledgers:
            with suppress(BudgetExceeded):
                ledger = await self._ledger(hold)
                self._check(ledger, hold)
                return ledger
            del self._ledgers[hold.uid]  # another process may have freed some since
        ledger = await self._ledger(hold)
        self._check(ledger, hold)
        return ledger

    def _check(self, ledger: _Ledger, hold: Hold) -> None:
        now, caps = self._clock(), self.caps
        others = [h for key, h in ledger.held.items() if key != hold.key and _lives(h, now)]
        day = ledger.cost + hold.micros + sum(h["micros"] for h in others)
        if caps.hard and day > caps.hard:
            raise BudgetExceeded(
                f"Today's budget of {_shown(caps.hard)} is used up. It starts afresh at midnight; "
                "whoever runs this server can raise it."
            )
        if not hold.task:
            return
        if caps.soft and day > caps.soft:
            raise BudgetExceeded(
                f"Most of today's budget is used up; the rest of {_shown(caps.hard)} is kept for "
                "what you ask yourself."
            )
        task = ledger.tasks.get(hold.task, 0) + hold.micros
        task += sum(h["micros"] for h in others if h.get("task") == hold.task)
        if caps.task and task > caps.task:
            raise BudgetExceeded(f"This task has used up its {_shown(caps.task)} of today.")

    def _holding(self, ledger: _Ledger, hold: Hold, entry: Data) -> list[Write]:
        if not ledger.version:
            day = {"day": hold.day.isoformat(), "cost": 0, "held": {hold.key: entry}}
            return [Create(hold.path, day)]
        now = self._clock()
        gone = [key for key, held in ledger.held.items() if not _lives(held, now)]
        changes: Data = {f"held.{key}": DELETE_FIELD for key in gone if key != hold.key}
        changes[f"held.{hold.key}"] = entry
        return [Update(hold.path, changes, if_version=ledger.version)]

    async def _ledger(self, hold: Hold) -> _Ledger:
        known = self._ledgers.get(hold.uid)
        if known is None or known.path != hold.path:
            found = await self._store.get(hold.path)
            data = found.data if found else {}
            known = _Ledger(
                hold.path, found.version if found else "", data.get("cost", 0),
                dict(data.get("tasks", {})), dict(data.get("held", {})),
            )  # fmt: skip
            self._ledgers[hold.uid] = known
            if len(self._ledgers) > _CACHED:
                self._ledgers.popitem(last=False)
        return known

    async def _committed(self, uid: str, commit: Commit, writes: Sequence[Write]) -> Sequence[str]:
        versions: Sequence[str] = ()
        try:
            versions = await commit(writes)
        finally:
            if not versions:  # it failed, or nobody knows: what we know may not hold any more
                self._ledgers.pop(uid, None)
        return versions

    async def _alone(self, writes: Sequence[Write]) -> Sequence[str]:
        return await self._store.commit(*writes) if writes else ()

    def _lock(self, uid: str) -> asyncio.Lock:
        lock = self._locks.get(uid)
        if lock is None:
            lock = self._locks[uid] = asyncio.Lock()
        return lock


class Tab:
    """What one run spends: counted as it goes, held for, settled at its end."""

    def __init__(self, budgets: Budgets, hold: Hold, step: int) -> None:
        """Run on `hold`; `step` is what a further model call may cost."""
        self.hold = hold
        self.spent = Spent()
        self._budgets = budgets
        self._step = step
        self._covering = asyncio.Lock()

    @property
    def micros(self) -> int:
        """What was spent so far."""
        return self.spent.micros(self._budgets.prices)

    def count(self, counts: Mapping[str, int]) -> None:
        """Count a model call: `requests`, `input_tokens`, … as turns name them."""
        audio = [counts.get(f"audio_{way}_tokens", 0) for way in ("input", "output")]
        model = self._budgets.voice_model if any(audio) else self._budgets.model
        tokens = Tokens(
            counts.get("requests", 0), counts.get("input_tokens", 0),
            counts.get("cached_tokens", 0), counts.get("output_tokens", 0), *audio,
        )  # fmt: skip
        self.spent.add(model, tokens)

    async def afford(self) -> None:
        """Hold enough for a further step; BudgetExceeded where there is not so much left."""
        async with self._covering:  # a step's tools run side by side
            self.hold = await self._budgets.cover(self.hold, self.micros, self._step)

    async def settle(self, commit: Commit | None = None) -> bool:
        """Settle, in one commit with `commit`'s; return whether the soft limit was passed."""
        return await self._budgets.settle(self.hold, self.spent, commit)


def _lives(held: Data, now: dt.datetime) -> bool:
    return "micros" in held and bool(held["until"] > now)


def _shown(micros: int) -> str:
    return f"${dollars(micros):.2f}"


def _micros(text: str) -> int:
    amount = Decimal(-1)
    with suppress(InvalidOperation):
        amount = Decimal(text or "0")
    if not amount.is_finite() or not 0 <= amount < MICROS:
        raise Misconfigured("A budget is an amount in dollars, such as 2.50; 0 for no limit.")
    return int(amount * MICROS)
