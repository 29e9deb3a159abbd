"""What `Events` promises, kept inside the process and by Pub/Sub alike."""

from __future__ import annotations

import asyncio

import pytest

from common.errors import InvalidInput
from common.events import Event
from tests.events.conftest import Against, Harness

EVENT = Event(
    "turn.finished",
    "turn-1",
    {"chat_id": "c1", "tokens": 12, "costs": [1.5, None], "titled": False},
    {"kind": "text"},
)


def test_every_listener_gets_the_event_as_it_was(against: Against) -> None:
    """A finished turn reaches the titles and the analytics alike, id, data and attributes."""

    async def body(h: Harness) -> None:
        titles: asyncio.Queue[Event] = asyncio.Queue()
        analytics: asyncio.Queue[Event] = asyncio.Queue()
        await h.listen(titles.put)
        await h.listen(analytics.put)
        await h.events.publish(EVENT)
        assert await titles.get() == EVENT
        assert await analytics.get() == EVENT

    against(body)


def test_a_failing_listener_is_asked_again(against: Against) -> None:
    """A listener that fails twice still gets the event, under the same id."""

    async def body(h: Harness) -> None:
        seen, done = list[str](), asyncio.Event()

        async def fail_twice(event: Event) -> None:
            seen.append(event.id)
            if len(seen) < 3:
                raise RuntimeError("not yet")
            done.set()

        await h.listen(fail_twice)
        await h.events.publish(EVENT)
        await done.wait()
        assert set(seen) == {"turn-1"}

    against(body)


def test_nobody_listening_is_fine(against: Against) -> None:
    """Publishing what nobody listens to succeeds."""

    async def body(h: Harness) -> None:
        await h.events.publish(EVENT)

    against(body)


@pytest.mark.parametrize("data", [{"x": object()}, {"x": b"bytes"}])
def test_only_json_is_accepted(against: Against, data: dict[str, object]) -> None:
    """What Pub/Sub could not carry is refused on a laptop as well."""

    async def body(h: Harness) -> None:
        with pytest.raises(InvalidInput):
            await h.events.publish(Event("turn.finished", "1", data))

    against(body)
