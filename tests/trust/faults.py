"""A fault plan: every call of every port is counted, and one of them is made to go wrong.

A call is named by its port and what it is about (`store.commit chats+chats/turns`), and by how
often that came before in the same run; so the run that was recorded and the run that is disturbed
speak of the same call although their timing differs. What goes wrong is what the port's adapters
let happen:

    away        the adapter gives up; nothing was done                 VendorUnavailable
    refused     the service says no for good; nothing was done         Misconfigured
    contended   others kept changing the same documents                Conflict
    timeout     `away`, after a while
    lost        done, and the answer lost on the way back              VendorUnavailable
    late        `timeout`, and done a moment after all
    slow        done after a while
    duplicate   done twice, as a transport does that sends again
    together    done twice, side by side (deliveries)
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from common.errors import Conflict, Misconfigured, VendorUnavailable
from common.events import Event
from common.events.embedded import EmbeddedEvents, Handler
from common.store import Create, Increment, Query, Snapshot, Store, Watch, Write
from common.tasks import Task

T = TypeVar("T")

PAUSE = 0.15  # seconds that "slow" and "timeout" take
READS = ("away", "refused", "timeout", "slow")
COMMITS = ("away", "refused", "contended", "timeout", "lost", "late", "slow")
CALLS = ("away", "refused", "timeout", "lost", "slow", "duplicate")
DELIVERIES = ("away", "lost", "slow", "duplicate", "together")


@dataclass(frozen=True, order=True, slots=True)
class Call:
    """The `nth` call (from 1) of a run that is named `label`."""

    label: str
    nth: int


@dataclass(frozen=True, order=True, slots=True)
class Fault:
    """What goes wrong with one call."""

    call: Call
    kind: str

    def __str__(self) -> str:
        return f"{self.kind} at {self.call.label} #{self.call.nth}"


class Plan:
    """Counts calls, on whatever thread they are made, and says which goes wrong."""

    def __init__(self) -> None:
        self.calls: dict[Call, Sequence[str]] = {}  # with the kinds that each may have
        self.fired = False
        self._counts: Counter[str] = Counter()
        self._fault: Fault | None = None
        self._listening = False
        self._lock = threading.Lock()

    def begin(self, fault: Fault | None = None) -> None:
        """Count from the start; `fault` is what goes wrong in this run."""
        with self._lock:
            self.calls, self.fired = {}, False
            self._counts.clear()
            self._fault, self._listening = fault, True

    def end(self) -> None:
        """Count no more, and let nothing go wrong."""
        with self._lock:
            self._listening, self._fault = False, None

    def arrive(self, label: str, kinds: Sequence[str]) -> str:
        """Note a call; return what goes wrong with it, "" where nothing does."""
        with self._lock:
            if not self._listening:
                return ""
            self._counts[label] += 1
            call = Call(label, self._counts[label])
            self.calls[call] = kinds
            if self._fault is None or self._fault.call != call:
                return ""
            self.fired = True
            return self._fault.kind

    async def through(
        self, label: str, kinds: Sequence[str], call: Callable[[], Awaitable[T]]
    ) -> T:
        """Make a port's call, as it goes."""
        match self.arrive(label, kinds):
            case "away":
                raise _away(label)
            case "refused":
                raise Misconfigured(f"{label} refuses, for a test.")
            case "contended":
                raise Conflict("Others kept changing the same documents. Please try again.")
            case "timeout":
                await asyncio.sleep(PAUSE)
                raise _away(label)
            case "lost":
                await call()
                raise _away(label)
            case "late":
                await asyncio.sleep(PAUSE)
                _later.add(task := asyncio.ensure_future(_after(0.03, call)))
                task.add_done_callback(_later.discard)
                raise _away(label)
            case "slow":
                await asyncio.sleep(PAUSE)
            case "duplicate":
                await call()
            case "together":
                answers = await asyncio.gather(call(), call())
                return min(answers, key=lambda answer: getattr(answer, "status", 200))
        return await call()


_later: set[asyncio.Future[None]] = set()


async def _after(seconds: float, call: Callable[[], Awaitable[Any]]) -> None:
    await asyncio.sleep(seconds)
    with suppress(Conflict):  # somebody else was there first, and nobody waits for the answer
        await call()


def _away(label: str) -> VendorUnavailable:
    return VendorUnavailable(f"{label.partition(' ')[0]} does not answer, for a test.")


class FaultyStore:
    """A store whose calls may go wrong. `name` sets its calls apart from another process's."""

    def __init__(self, inner: Store, plan: Plan, name: str = "store") -> None:
        self._inner, self._plan, self._name = inner, plan, name

    async def get(self, path: str) -> Snapshot | None:
        return await self._read(f"get {_place(path)}", lambda: self._inner.get(path))

    async def get_many(self, paths: Sequence[str]) -> list[Snapshot | None]:
        label = f"get_many {'+'.join(sorted({_place(path) for path in paths}))}"
        return await self._read(label, lambda: self._inner.get_many(paths))

    async def query(self, query: Query) -> list[Snapshot]:
        about = ",".join(name for name, _, _ in query.where)
        label = f"query {_place(query.collection + '/-')}({about})"
        return await self._read(label, lambda: self._inner.query(query))

    async def count(self, query: Query) -> int:
        label = f"count {_place(query.collection + '/-')}"
        return await self._read(label, lambda: self._inner.count(query))

    async def commit(self, *writes: Write) -> list[str]:
        label = f"commit {'+'.join(sorted({_place(write.path) for write in writes}))}"
        kinds = (*COMMITS, "duplicate") if all(map(_repeatable, writes)) else COMMITS
        return await self._plan.through(
            f"{self._name}.{label}", kinds, lambda: self._inner.commit(*writes)
        )

    async def transact(self, work: Any) -> Any:
        label = f"{self._name}.transact {work.__qualname__.replace('.<locals>', '')}"
        return await self._plan.through(label, COMMITS, lambda: self._inner.transact(work))

    async def watch(self, query: Query, on_change: Any) -> Watch:
        label = f"{self._name}.watch {query.collection}"
        return await self._plan.through(label, READS, lambda: self._inner.watch(query, on_change))

    async def close(self) -> None:
        await self._inner.close()

    async def _read(self, label: str, call: Callable[[], Awaitable[T]]) -> T:
        return await self._plan.through(f"{self._name}.{label}", READS, call)


class FaultyTasks:
    """A queue that may not take a task, or take it twice; what else it has is the inner one's."""

    def __init__(self, inner: Any, plan: Plan) -> None:
        self._inner, self._plan = inner, plan

    async def enqueue(self, task: Task) -> bool:
        label = f"tasks.enqueue {task.path}"
        return await self._plan.through(label, CALLS, lambda: self._inner.enqueue(task))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class FaultyEvents(EmbeddedEvents):
    """Events of this process that may not be taken, or come twice, or be lost on their way."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan

    def subscribe(self, topic: str, handler: Handler) -> None:
        async def push(event: Event) -> None:
            await self._plan.through(f"push {topic}", DELIVERIES, lambda: handler(event))

        super().subscribe(topic, push)

    async def publish(self, event: Event) -> None:
        accept = super().publish
        label = f"events.publish {event.topic}"
        await self._plan.through(label, CALLS, lambda: accept(event))


class FaultyKeys:
    """A key service that may be away, or refuse."""

    def __init__(self, inner: Any, plan: Plan) -> None:
        self._inner, self._plan = inner, plan

    async def wrap(self, data_key: bytes, *, uid: str) -> bytes:
        return await self._plan.through(
            "keys.wrap", READS, lambda: self._inner.wrap(data_key, uid=uid)
        )

    async def unwrap(self, wrapped: bytes, *, uid: str) -> Any:
        return await self._plan.through(
            "keys.unwrap", READS, lambda: self._inner.unwrap(wrapped, uid=uid)
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class FaultyDelivery:
    """The way from the queue to the functions: answers get lost there, and tasks come twice."""

    def __init__(self, inner: Callable[[Any], Awaitable[Any]], plan: Plan) -> None:
        self._inner, self._plan = inner, plan

    async def __call__(self, delivery: Any) -> Any:
        label = f"delivery {delivery.task.path}"
        return await self._plan.through(label, DELIVERIES, lambda: self._inner(delivery))


def _place(path: str) -> str:
    """Return the collections of a path: what it is about, without whose."""
    return "/".join(path.split("/")[::2])


def _repeatable(write: Write) -> bool:
    """Whether a store's adapter may send the write again when it heard nothing."""
    if isinstance(write, Create) or getattr(write, "if_version", None) is not None:
        return False
    values = getattr(write, "changes", None) or getattr(write, "data", {})
    return not any(isinstance(value, Increment) for value in values.values())
