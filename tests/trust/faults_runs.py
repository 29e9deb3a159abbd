"""Conversations that are played with one fault in them, and what must hold whatever went wrong.

A `Person` does what somebody at a client does: asks again what was refused or failed, reconnects
with the cursor when dropped, says yes again when the first yes got no answer. After that, `Bench`
looks at everything that is left: the live view, the store, the effects, the budget, the queue.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self

from common.assistant import turn
from common.assistant.budgets import HOLD_SECONDS
from common.assistant.jobs import job_of
from common.assistant.paid import PaidModel
from common.assistant.protocol import Approve, Prompt
from common.assistant.recurrence import Rule
from common.assistant.schedules import Draft
from common.bootstrap import Services
from common.documents import now
from common.errors import OdaiError
from common.llm.plain import PlainModel
from common.loop import LoopThread
from common.settings import Settings
from common.store import Query
from common.tools import Asker, Registry
from run.local.suite import create_suite
from tests.assistant.conversation import Event, Watcher, numbers, of
from tests.fakes import acts
from tests.fakes.acts import Effects
from tests.fakes.openai_responses import FakeOpenAI
from tests.run.clients import said, told
from tests.trust.faults import (
    Call,
    Fault,
    FaultyDelivery,
    FaultyEvents,
    FaultyKeys,
    FaultyStore,
    FaultyTasks,
    Plan,
)
from tests.trust.faults_shop import (
    BOOK,
    DIG,
    ENTRY,
    HELLO,
    HOST,
    ORDER,
    PRICE,
    SEARCH,
    SILENCE,
    Script,
    Shop,
)

SECONDS = 15.0  # what any one step may take; a lease is twice that
_TRIES = 6
Part = Callable[["Person"], Awaitable[None]]


class Broken(AssertionError):
    """A run after which something does not hold; `kind` names what."""

    def __init__(self, kind: str, about: object) -> None:
        super().__init__(f"{kind}: {about}")
        self.kind = kind


def check(holds: object, kind: str, about: object) -> None:
    """Fail as `kind` unless it holds."""
    if not holds:
        raise Broken(kind, about)


@dataclass
class Clock:
    """The time, and how far a test has moved it on."""

    ahead: dt.timedelta = field(default_factory=dt.timedelta)

    def __call__(self) -> dt.datetime:
        return now() + self.ahead


class Bench:
    """A whole local suite and a second process beside it; every port of theirs may go wrong."""

    def __init__(self, folder: Path) -> None:
        self.plan = Plan()
        self.clock = Clock()
        self.effects = Effects(folder / "effects")
        self.shop = Shop(self.plan)
        script = Script(self.plan)
        self.model = FakeOpenAI(default=script.answer, aside=script.aside)
        self.folder = folder
        self.crashes = Crashes()
        self._numbers = count(1)

    def __enter__(self) -> Self:
        self.shop.__enter__()
        self.model.__enter__()
        logging.getLogger().addHandler(self.crashes)
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        self.services = self._services(self.plan)
        create_suite(self.services)
        delivery = self.services.deliver
        assert delivery is not None
        self.services.deliver = FaultyDelivery(delivery, self.plan)
        tasks: Any = self.services.tasks
        self.services.loop.loop.call_soon_threadsafe(tasks.start)
        self.other = self._services(self.plan, "other")
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self.services, self.other):
            each.close()
        logging.getLogger().removeHandler(self.crashes)
        self.model.__exit__(None, None, None)
        self.shop.__exit__(None, None, None)

    def _services(self, plan: Plan, name: str = "store") -> Services:
        settings = Settings.from_env({
            "ODAI_DATA": str(self.folder / "data"),
            "ODAI_TEST_EFFECTS": str(self.effects.path),
            "ODAI_EGRESS_MAP": f"{HOST}={self.shop.origin}",
            "ODAI_MODEL": "m", "ODAI_MODEL_API": "responses", "ODAI_SMALL_MODEL": "same",
            "ODAI_PRICES": "m=1/1/1", "ODAI_MODEL_TIMEOUT": str(SILENCE),
            "OPENAI_BASE_URL": self.model.base_url, "OPENAI_API_KEY": "key-of-a-test",
            "ODAI_PROMPTS_PER_MINUTE": "60000",
        })  # fmt: skip
        made = Services(settings, LoopThread())
        made.clock = self.clock
        acts.install(made)
        made.__dict__["registry"] = Registry([*made.registry.entries.values(), ENTRY])
        made.__dict__["store"] = FaultyStore(made.store, plan, name)
        made.__dict__["keys"] = FaultyKeys(made.keys, plan)
        made.__dict__["tasks"] = FaultyTasks(made.tasks, plan)
        made.__dict__["events"] = FaultyEvents(plan)
        small = PlainModel(
            made.egress, model="m", key="k", base_url=self.model.base_url, timeout_s=SILENCE
        )
        made.__dict__["small_model"] = PaidModel(small, made.budgets)
        return made

    def play(self, name: str, fault: Fault | None = None) -> bool:
        """Play a conversation; return whether the fault came to pass. Raises Broken."""
        conversation = CONVERSATIONS[name]
        person = Person(self, f"{name}{next(self._numbers)}", self.services)
        person.refused = fault is not None and fault.kind == "refused"
        turn.PATIENCE = conversation.patience
        self.crashes.seen.clear()
        if conversation.known:
            self.other.loop.run(self.other.vault.open(person.uid))
        if conversation.fresh:
            self.services.loop.loop.call_soon_threadsafe(_forget_watches, self.services)
        self.plan.begin(fault)
        try:
            self.services.loop.run(self._played(conversation, person), timeout=120.0)
            fired = self.plan.fired
        finally:
            self.plan.end()
        self.services.loop.run(person.check_again(), timeout=60.0)
        if person.friend:
            self.other.loop.run(person.friend.check_watched(person), timeout=60.0)
        self.other.loop.run(self._check_stored(person), timeout=30.0)
        check(not self.crashes.seen, "crash", self.crashes.seen)
        return fired

    async def _played(self, conversation: Conversation, person: Person) -> None:
        await person.connect()
        await conversation.part(person)
        await self.quiet()

    async def quiet(self) -> None:
        """Wait until nothing is due, running or being thought about."""
        services = self.services
        turns, closing = services.turns._background, services.closing._background
        try:
            async with asyncio.timeout(SECONDS):
                for _ in range(2):  # what ends may begin something
                    await services.tasks.drain()  # type: ignore[attr-defined]
                    await services.events.drain()  # type: ignore[attr-defined]
                    while turns._tasks or closing._tasks or services.analytics._sending:
                        await asyncio.sleep(0.005)
        except TimeoutError as err:
            left = [*turns._tasks, *closing._tasks]
            raise Broken("stuck", f"still at work: {left}") from err

    async def _check_stored(self, person: Person) -> None:
        """Compare what was seen with what a process reads that was not there."""
        chats = self.other.chats
        state = await chats.load(person.chat, person.uid)
        check(state.version and state.running is None, "lease", f"{state.running} still runs")
        turns = await chats.turns_after(state, "")
        stored: list[Event] = []
        for each in turns:
            payloads, last = await chats.told(state, each.id)
            events = [json.loads(payload) for payload in payloads]
            check(each.status != "running", "lease", f"{each.id} is still running")
            check(numbers(events) == list(range(1, last + 1)), "journal", _kinds(events))
            ends = of(events, "end_of_stream")
            check(len(ends) == 1, "ends", f"{len(ends)} stored for {each.id}: {_kinds(events)}")
            check(ends[0]["status"] == each.status, "ends", f"{ends[0]} but {each.status}")
            stored += events
        failed = {each.id for each in turns if each.status == "failed"}
        for seen in person.views:
            one, two = _besides_text(seen), _besides_text(stored)
            check(one or not two, "view", "nothing was seen")
            check(one == two, "view", _differing(one, two))
            for turn_id, text in said(stored).items():
                # Text that was shown and could not be stored stays with those who saw it.
                shown = said(seen)[turn_id]
                same = shown.startswith(text) if turn_id in failed else shown == text
                check(same, "view", f"saw {shown!r}, stored {text!r}")
        await self._check_left(person)

    async def _check_left(self, person: Person) -> None:
        store, soon = self.other.store, self.clock() + dt.timedelta(seconds=HOLD_SECONDS)
        for usage in await store.query(Query(f"users/{person.uid}/usage")):
            held = {k: v for k, v in usage.data.get("held", {}).items() if "micros" in v}
            # What the store refuses for good can only expire, and does.
            lives = not person.refused or any(each["until"] > soon for each in held.values())
            check(not held or not lives, "budget", f"held for {list(held)}")
        mine = (("uid", "==", person.uid),)
        for approval in await store.query(Query("approvals", where=mine)):
            status = approval.data["status"]
            ended = status in ("done", "unknown", "pending") or person.refused
            check(ended, "approval", f"left {status}")
        for job in await store.query(Query("jobs", where=mine)):
            check(job.data["status"] in ("done", "failed"), "job", f"left {job.data['status']}")
            check(person.results(job.id) == 1, "job", f"told {person.results(job.id)} times")
        for row in await store.query(Query("audit", where=mine)):
            left = row.data["status"] == "begun" and not person.refused
            check(not left, "audit", f"{row.data['what']} left begun")
        dead = await self.services_dead()
        check(not dead, "task", f"given up: {dead}")
        done = [*self.shop.orders, *self.effects.of("book_slowly")]
        for what, sure in person.wanted.items():
            times = done.count(what)
            check(times <= 1, "act", f"{what} was done {times} times")
            check(times == 1 or not sure, "act", f"{what} was told as done and was not")

    async def services_dead(self) -> list[Any]:
        """Return the tasks that the queue has given up."""
        tasks: Any = self.services.tasks
        asked = asyncio.run_coroutine_threadsafe(tasks.dead(), self.services.loop.loop)
        return list(await asyncio.wrap_future(asked))


class Crashes(logging.Handler):
    """Keeps what was caught broadly: a fault must end in one of our errors, never in a surprise."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and not isinstance(record.exc_info[1], OdaiError):
            self.seen.append(f"{record.getMessage()}: {record.exc_info[1]!r}")


class Person:
    """Somebody in one chat, at a client that keeps its cursor and comes back when dropped."""

    def __init__(self, bench: Bench, name: str, services: Services) -> None:
        self.bench, self.uid, self.chat = bench, f"u-{name}", f"chat-{name}"
        self.name, self.services = name, services
        self.friend: Person | None = None  # who watches the same chat in the other process
        self.refused = False  # something is refused for good
        self.wanted: dict[str, bool] = {}  # acts, and whether they were told as done
        self.views: list[list[Event]] = []
        self._asked = count(1)
        self._shown: list[Event] = []
        self._from: str | None = None
        self._watcher: Watcher | None = None

    @property
    def events(self) -> list[Event]:
        """Everything this client was ever shown, in order."""
        return [*self._shown, *(self._watcher.events if self._watcher else [])]

    @property
    def cursor(self) -> str | None:
        """How far this client has seen."""
        last = next((e for e in reversed(self.events) if e["turn_id"]), None)
        return f"{last['turn_id']}:{last['seq']}" if last else self._from

    async def befriend(self) -> None:
        """Let somebody watch this chat, from its start, in the other process."""
        friend = self.friend = Person(self.bench, self.name, self.bench.other)
        (started, *_) = of(self.events, "turn_started")
        friend._from = f"{started['turn_id']}:0"
        loop = friend.services.loop.loop
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(friend.connect(), loop))

    async def connect(self) -> None:
        """Open the chat, where it was left; again as long as that fails."""
        turns = self.services.turns
        for _ in range(_TRIES):
            try:
                self.room = await turns.enter(self.chat, self.uid)
            except OdaiError:
                await asyncio.sleep(0.02)
                continue
            self._watcher = Watcher()
            await turns.attach(self.room, self._watcher, self.cursor)
            return
        raise Broken("silent", "the chat cannot be opened")

    def leave(self) -> None:
        """Go away, remembering where one was."""
        if self._watcher:
            self._shown = self.events
            self.services.turns.leave(self.room, self._watcher)
            self._watcher = None

    async def until(self, wanted: Callable[[list[Event]], Any]) -> Any:
        """Wait for what `wanted(events)` finds, coming back whenever one is dropped."""
        try:
            async with asyncio.timeout(SECONDS):
                while not (found := wanted(self.events)):
                    assert self._watcher is not None
                    if self._watcher.closed:
                        self.leave()
                        await self.connect()
                        continue
                    before = len(self._watcher.payloads)
                    await self._watcher.until(lambda _: self._moved(before))  # noqa: B023
                return found
        except TimeoutError as err:
            raise Broken("silent", f"after {_kinds(self.events)[-6:]}") from err

    def _moved(self, before: int) -> bool:
        watcher = self._watcher
        return watcher is not None and (len(watcher.payloads) > before or bool(watcher.closed))

    async def ask(self, text: str) -> Event:
        """Ask until the turn has begun; return its end."""
        prompt_id = f"{self.name}-{next(self._asked)}"
        for _ in range(_TRIES):
            before = len(self.events)
            try:
                self.services.turns.prompt(self.room, Prompt(text, prompt_id))
            except OdaiError:
                continue
            begun = await self.until(lambda events: _begun(events, prompt_id, before))  # noqa: B023
            if begun["type"] == "turn_started":
                return await self.end_of(begun["turn_id"])
        raise Broken("silent", f"{text!r} is refused for ever")

    async def end_of(self, turn_id: str) -> Event:
        """Wait for the end of a turn."""
        (end,) = await self.until(
            lambda events: [e for e in of(events, "end_of_stream") if e["turn_id"] == turn_id]
        )
        if end["status"] == "failed":
            said = [e for e in of(self.events, "error") if e["turn_id"] == turn_id]
            check(said, "mute", f"{turn_id} failed without a word")
        return dict(end)

    async def insist(self, wish: str, status: str = "done") -> Event:
        """Ask for something, anew where that fails: one fault can spoil one turn only."""
        for number in range(2):
            what = f"{self.name}-{'ab'[number]}"
            self.wanted.setdefault(what, False)
            end = await self.ask(f"{wish}: {what}")
            if end["status"] == status:
                return end
        said = [e["message"] for e in of(self.events, "error")]
        raise Broken("again", f"{wish} ended as {end['status']} twice: {said}")

    async def approve(self, end: Event) -> None:
        """Say yes, until that is taken, and wait for what comes of it."""
        cards = of(self.events, "approval_required")
        (card,) = (each for each in cards if each["turn_id"] == end["turn_id"])
        for _ in range(_TRIES):
            try:
                await self.services.turns.decide(self.room, Approve(card["approval_id"]))
            except OdaiError:
                continue
            break
        decided = await self.until(
            lambda events: [
                e for e in of(events, "approval_decided") if e["approval_id"] == card["approval_id"]
            ]
        )
        end = await self.end_of(decided[0]["turn_id"])
        outputs = [e for e in of(self.events, "tool_output") if e["turn_id"] == end["turn_id"]]
        what = str(next(iter(card["arguments"].values())))
        self.wanted[what] = any(e["ok"] and not _pending(e) for e in outputs)

    def results(self, job_id: str) -> int:
        """Return how often a job's result was told to the end."""
        events = self.events
        outputs = [e for e in of(events, "tool_output") if not _pending(e)]
        inside = [e for e in outputs if job_of(e["turn_id"], e["call_id"]) == job_id]
        ended = {e["turn_id"]: e["status"] for e in of(events, "end_of_stream")}
        later = [
            e for e in of(events, "turn_started")
            if e["prompt_id"].startswith(f"job:{job_id}") and ended.get(e["turn_id"]) == "done"
        ]  # fmt: skip
        return len(inside) + len(later)

    async def check_again(self) -> None:
        """After the fault: nothing is lost or shown twice, and the chat answers as ever."""
        check(not self._watcher or not self._watcher.closed, "dropped", "and not told until asked")
        end = await self.ask(f"probe {self.name}")
        check(end["status"] == "done", "lease", f"the next turn ends as {end['status']}")
        await self.bench.quiet()
        journal = self.room.journal
        await self.until(
            lambda _: journal is None or self._watcher is None or self._watcher.seq >= journal.last
        )
        self.check_seen()
        self.views.append(self.events)
        self.leave()
        await self.bench.quiet()
        check(self.room.users == 0, "room", f"{self.room.users} still hold it open")
        check((self.chat, self.uid) not in self.services.turns._rooms, "room", "still open")

    def check_seen(self) -> None:
        """Fail unless each turn was seen whole, in order, with one end."""
        for turn_id in dict.fromkeys(e["turn_id"] for e in self.events if e["turn_id"]):
            events = [e for e in self.events if e["turn_id"] == turn_id]
            check(_in_order(events), "seq", [f"{e['type']} {e['seq']}" for e in events])
            check(len(of(events, "end_of_stream")) == 1, "ends", _kinds(events))

    async def check_watched(self, person: Person) -> None:
        """Fail unless whoever watched in the other process has seen what `person` has."""
        (seen,) = person.views
        last = [e["id"] for e in seen if e["turn_id"]][-1]
        await self.until(lambda events: any(e["id"] == last for e in events))
        self.check_seen()
        person.views.append(self.events)
        self.leave()


# --- the conversations ---------------------------------------------------------------------------


async def _plain(person: Person) -> None:
    await person.insist(HELLO)


async def _lookup(person: Person) -> None:
    await person.insist(PRICE)


async def _act(person: Person) -> None:
    await person.approve(await person.insist(ORDER, "waiting_for_approval"))


async def _search(person: Person) -> None:
    await person.insist(SEARCH)


async def _later(person: Person) -> None:
    await person.insist(DIG)
    await person.until(_nothing_pending)


async def _book(person: Person) -> None:
    await person.approve(await person.insist(BOOK, "waiting_for_approval"))


async def _return(person: Person) -> None:
    """Ask, go away while it is answered, and come back with the cursor."""
    await person.insist(HELLO)
    person.services.turns.prompt(person.room, Prompt(f"{PRICE}: {person.name}", "away"))
    person.leave()
    await person.bench.quiet()
    await person.connect()
    await person.insist(PRICE)


async def _elsewhere(person: Person) -> None:
    """Somebody watches in another process, from the middle on."""
    await person.insist(HELLO)
    await person.befriend()
    await person.insist(PRICE)


async def _remind(person: Person) -> None:
    """A minute passes, and what was to be told is told in the chat."""
    services, clock = person.services, person.bench.clock
    await person.insist(HELLO)
    at = clock() + dt.timedelta(seconds=61)
    rule = Rule("once", at.time().replace(second=0, microsecond=0), at.date(), "UTC")
    asker = Asker(person.uid, chat_id=person.chat)
    for _ in range(_TRIES):
        try:
            await services.schedules.create(asker, Draft("reminder", "water", rule), key=person.uid)
        except OdaiError:
            continue
        break
    clock.ahead += dt.timedelta(seconds=61)
    services.tasks._wake.set()  # type: ignore[attr-defined]

    def reminded(events: list[Event]) -> list[Event]:
        said = [e for e in of(events, "llm_response") if "Reminder: water" in e["response"]]
        ended = {e["turn_id"] for e in of(events, "end_of_stream")}
        return [e for e in said if e["turn_id"] in ended]

    await person.until(reminded)
    await person.bench.quiet()
    check(len(reminded(person.events)) == 1, "reminder", "told more than once")


@dataclass(frozen=True)
class Conversation:
    """What is played.

    `patience` is how long a turn waits for a slow call, `known` whether the user's key was made
    before, `fresh` whether the process listens to nothing yet.
    """

    part: Part
    patience: float = 20.0
    known: bool = True
    fresh: bool = False


CONVERSATIONS = {
    "plain": Conversation(_plain, known=False),
    "lookup": Conversation(_lookup),
    "act": Conversation(_act),
    "search": Conversation(_search, fresh=True),
    "later": Conversation(_later, patience=0.1),
    "book": Conversation(_book),
    "return": Conversation(_return),
    "elsewhere": Conversation(_elsewhere),
    "remind": Conversation(_remind),
}


def _forget_watches(services: Services) -> None:
    """Let the process listen anew, as one does that has just started."""
    for listening in (services.turns._following, services.jobs):
        if listening._watch:
            listening._watch.close()
            listening._watch = None


def _begun(events: list[Event], prompt_id: str, before: int) -> Event | None:
    started = [e for e in of(events, "turn_started") if e["prompt_id"] == prompt_id]
    refused = [e for e in of(events[before:], "error") if not e["turn_id"]]
    return next(iter([*started, *refused]), None)


def _nothing_pending(events: list[Event]) -> bool:
    """Whether every job that a turn did not wait for was told to the end."""
    jobs = {e["job_id"]: e["call_id"] for e in of(events, "job")}
    inside = {e["call_id"] for e in of(events, "tool_output") if not _pending(e)}
    ended = {e["turn_id"] for e in of(events, "end_of_stream")}
    told_of = {
        e["prompt_id"].split(":")[1] for e in of(events, "turn_started")
        if e["prompt_id"].startswith("job:") and e["turn_id"] in ended
    }  # fmt: skip
    return all(call in inside or job in told_of for job, call in jobs.items())


def _pending(event: Event) -> bool:
    return bool(event["output"]["response_type"] == "job_pending")


def _kinds(events: list[Event]) -> list[str]:
    return [f"{e['type']}{':' + e['message'] if e['type'] == 'error' else ''}" for e in events]


def _in_order(events: list[Event]) -> bool:
    """Whether each number comes once and in order, as a client checks it (`tests.run.clients`)."""
    last = 0
    for event in events:
        first = event.get("from_seq", event["seq"])
        # What is said of a turn that could not be ended stands for what was shown and not stored.
        spent = event["type"] == "error" and first <= last < event["seq"]
        if first != last + 1 and not spent:
            return False
        last = event["seq"]
    return True


def _besides_text(events: list[Event]) -> list[Event]:
    return [event for event in told(events) if event["type"] != "raw_response_event"]


def _differing(seen: list[Event], stored: list[Event]) -> str:
    for place, (one, other) in enumerate(zip(seen, stored, strict=False)):
        if one != other:
            return f"at {place}: saw {one}, stored {other}"
    return f"saw {len(seen)}, stored {len(stored)}: {_kinds((seen + stored)[-3:])}"


def recorded(bench: Bench, name: str) -> dict[Call, Any]:
    """Play undisturbed; return every call with what may go wrong with it."""
    bench.play(name)
    return dict(bench.plan.calls)
