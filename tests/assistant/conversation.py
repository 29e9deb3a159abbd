"""A chat seen from a test: one viewer that keeps what it is shown, and what a user can do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from common.assistant.protocol import Cursor, Prompt
from common.assistant.room import Room
from common.bootstrap import Services
from tests.fakes.openai_responses import FakeOpenAI
from tests.fakes.recording_store import RecordingStore

Event = dict[str, Any]
SECONDS = 50.0


class Watcher:
    """A `Viewer` that keeps every event; `ready = False` makes it one that reads no more."""

    def __init__(self, turn_id: str = "", seq: int = 0) -> None:
        self.turn_id, self.seq = turn_id, seq
        self.began: Cursor | None = None
        self.ready = True
        self.payloads: list[bytes] = []
        self.closed: int | None = None
        self._changed = asyncio.Event()

    @property
    def events(self) -> list[Event]:
        """Return what was shown, decoded."""
        return [json.loads(payload) for payload in self.payloads]

    def show(self, payload: bytes) -> None:
        """Keep one event."""
        self.payloads.append(payload)
        self._changed.set()

    async def writable_again(self) -> None:
        """Return at once."""

    def drop(self, code: int, reason: str) -> None:
        """Note how the connection was closed."""
        self.closed = code
        self._changed.set()

    async def until(self, wanted: Callable[[list[Event]], Any]) -> list[Event]:
        """Wait until `wanted(events)` holds; return the events."""
        async with asyncio.timeout(SECONDS):
            while not wanted(self.events):
                self._changed.clear()
                await self._changed.wait()
        return self.events


def asking(make: Callable[..., Services], model: FakeOpenAI, **environ: str) -> Services:
    """Return services that ask `model`; two of them are two processes over one store."""
    return make(OPENAI_BASE_URL=model.base_url, OPENAI_API_KEY="key-of-a-test", **environ)


class Conversation:
    """One user's chat over `services`, for tests that are no coroutines."""

    def __init__(self, services: Services, cursor: str | None = None) -> None:
        self.services = services
        self.model: Any = None
        self._cursor = cursor
        services.loop.run(self._enter())

    async def _enter(self) -> None:
        self.room: Room = await self.services.turns.enter("c1", "u1")
        self.watcher = Watcher()
        await self.services.turns.attach(self.room, self.watcher, self._cursor)

    @property
    def events(self) -> list[Event]:
        """Return every event shown so far."""
        return self.watcher.events

    def do(self, action: Callable[[], Any]) -> Any:
        """Run `action` on the event loop, where the turn service lives."""

        async def call() -> Any:
            result = action()
            return await result if asyncio.iscoroutine(result) else result

        return self.services.loop.run(call())

    def prompt(self, text: str, prompt_id: str = "") -> None:
        """Send a prompt and return at once."""
        self.do(lambda: self.services.turns.prompt(self.room, Prompt(text, prompt_id)))

    def until(self, wanted: Callable[[list[Event]], Any]) -> list[Event]:
        """Wait until the events shown satisfy `wanted`."""
        return self.services.loop.run(self.watcher.until(wanted))

    def until_type(self, kind: str) -> list[Event]:
        """Wait until an event of this type was shown."""
        return self.until(lambda events: of(events, kind))

    def idle(self) -> None:
        """Wait until nothing is running."""

        async def quiet() -> None:
            async with asyncio.timeout(SECONDS):
                while self.room.worker:
                    await asyncio.wait([self.room.worker])

        self.services.loop.run(quiet())

    def settled(self) -> list[Event]:
        """Wait until nothing is running and everything is shown; return all events."""
        self.idle()
        journal = self.room.journal
        if journal:
            self.until(lambda _: self.watcher.seq >= journal.last or self.watcher.closed)
        return self.events

    def turn(self, text: str, prompt_id: str = "") -> list[Event]:
        """Ask, wait for everything of the turn, and return its events."""
        before = len(self.events)
        self.prompt(text, prompt_id)
        return self.settled()[before:]

    def leave(self) -> None:
        """Close the viewer."""
        self.do(lambda: self.services.turns.leave(self.room, self.watcher))


async def until(condition: Callable[[], Any]) -> None:
    """Wait until `condition()` holds, where nobody tells of it."""
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


def wait_for(condition: Callable[[], Any]) -> None:
    """Wait until `condition()` holds, in a test that is no coroutine."""
    asyncio.run(until(condition))


def ends(count: int) -> Callable[[Sequence[Event]], bool]:
    """Return whether so many turns were seen to end, for `Conversation.until`."""
    return lambda events: len(of(events, "end_of_stream")) >= count


def of(events: Sequence[Event], kind: str) -> list[Event]:
    """Return the events of one type."""
    return [event for event in events if event["type"] == kind]


def text_of(events: Sequence[Event]) -> str:
    """Return what was streamed."""
    return "".join(event["delta"] for event in of(events, "raw_response_event"))


def numbers(events: Sequence[Event]) -> list[int]:
    """Return every number the events of one turn stand for, in the order shown."""
    return [
        n for e in events if e["turn_id"] for n in range(e.get("from_seq", e["seq"]), e["seq"] + 1)
    ]


def turns_in(events: Sequence[Event]) -> list[str]:
    """Return the turns whose events these are, in the order shown."""
    return list(dict.fromkeys(event["turn_id"] for event in events if event["turn_id"]))


def check_turn(events: Sequence[Event]) -> None:
    """Fail unless these are a whole turn: contiguous from 1, calls paired, one end."""
    events = [event for event in events if event["turn_id"]]
    assert len({event["turn_id"] for event in events}) == 1
    assert numbers(events) == list(range(1, events[-1]["seq"] + 1))
    kinds = [event["type"] for event in events]
    assert kinds[0] == "turn_started"
    assert kinds.count("end_of_stream") == 1
    assert set(kinds[kinds.index("end_of_stream") + 1 :]) <= {"suggested_prompts", "title"}
    calls = [event["call_id"] for event in of(events, "tool_call")]
    assert sorted(calls) == sorted(event["call_id"] for event in of(events, "tool_output"))
    for call in calls:
        places = [i for i, event in enumerate(events) if event.get("call_id") == call]
        assert [events[i]["type"] for i in places] == ["tool_call", "tool_output"]
    told = "".join(event["response"] for event in of(events, "llm_response"))
    assert told == text_of(events)


def check_costs(services: Services) -> None:
    """Fail if one of three turns takes more than two reads and three commits of the store."""
    services.store = store = RecordingStore(services.store)  # type: ignore[misc]
    talk, counted = Conversation(services), store.counted
    for text in ("first", "second", "third"):
        reads, commits = counted.reads, counted.commits
        check_turn(talk.turn(text, f"id-{text}"))
        assert counted.reads - reads <= 2, counted.paths
        assert counted.commits - commits <= 3, counted.paths
    talk.leave()
