"""Events inside the process beyond the contract: bounds, isolation, shutdown, the log."""

from __future__ import annotations

import asyncio
import io
import logging

import pytest

from common import log
from common.errors import VendorUnavailable
from common.events import Event
from common.events.embedded import EmbeddedEvents


def event(number: int = 1) -> Event:
    return Event("t", str(number), {"secret": "what she wrote"})


def test_closing_delivers_what_was_accepted() -> None:
    """Nothing accepted is lost by a shutdown, retries included; nothing is accepted after it."""

    async def main() -> None:
        seen: list[str] = []

        async def flaky(e: Event) -> None:
            seen.append(e.id)
            if seen.count(e.id) < 2:
                raise RuntimeError

        events = EmbeddedEvents(backoff_s=0.001, workers=1)
        events.subscribe("t", flaky)
        for number in range(20):
            await events.publish(event(number))
        await events.close()
        assert sorted(set(seen)) == sorted(str(n) for n in range(20))
        with pytest.raises(VendorUnavailable):
            await events.publish(event())

    asyncio.run(main())


def test_a_hung_listener_does_not_hold_up_the_shutdown() -> None:
    """A listener that never ends is cut off."""

    async def main() -> None:
        events = EmbeddedEvents(drain_s=0.01)
        cut = asyncio.Event()

        async def hang(_: Event) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cut.set()

        events.subscribe("t", hang)
        await events.publish(event())
        await events.close()
        assert cut.is_set()

    asyncio.run(main())


def test_a_full_queue_pushes_back_and_takes_nothing() -> None:
    """When one listener lags too far, publishing fails for all of them: retry is safe."""

    async def main() -> None:
        events = EmbeddedEvents(capacity=2, workers=1, accept_s=0.02)
        release, quick = asyncio.Event(), list[str]()

        async def slow(_: Event) -> None:
            await release.wait()

        async def fast(e: Event) -> None:
            quick.append(e.id)

        events.subscribe("t", slow)
        events.subscribe("t", fast)

        async def flood() -> None:
            for number in range(9):
                await events.publish(event(number))

        with pytest.raises(VendorUnavailable):
            await flood()
        accepted = len(quick)
        assert accepted in (2, 3)
        waiting = asyncio.create_task(events.publish(event(99)))
        release.set()
        await waiting
        await events.drain()
        assert quick == [*(str(n) for n in range(accepted)), "99"]
        await events.close()

    asyncio.run(main())


def test_listeners_cannot_touch_one_anothers_event() -> None:
    """A listener that changes its event changes nobody else's."""

    async def main() -> None:
        seen: list[object] = []

        async def vandal(e: Event) -> None:
            e.data["secret"] = "changed"  # type: ignore[index]

        async def reader(e: Event) -> None:
            seen.append(e.data["secret"])

        events = EmbeddedEvents()
        events.subscribe("t", vandal)
        events.subscribe("t", reader)
        await events.publish(event())
        await events.close()
        assert seen == ["what she wrote"]

    asyncio.run(main())


def test_a_failing_listener_is_logged_without_the_data() -> None:
    """The log tells which event failed, where and under which trace: not what was in it."""
    stream, root = io.StringIO(), logging.getLogger()
    before, level = list(root.handlers), root.level
    log.configure(stream=stream)

    async def main() -> None:
        async def fail(e: Event) -> None:
            raise ValueError(f"cannot take {e.data}")

        trace = log.new_trace()
        events = EmbeddedEvents(attempts=2, backoff_s=0.001)
        events.subscribe("t", fail)
        await events.publish(event(7))
        log.trace_id.set("")
        await events.close()
        lines = stream.getvalue()
        assert '"event_id": "7"' in lines
        assert "ValueError" in lines
        assert "event given up" in lines
        assert "what she wrote" not in lines
        assert trace

    try:
        asyncio.run(main())
    finally:
        root.handlers[:], root.level = before, level


def test_handlers_log_under_the_publishers_trace() -> None:
    """A title made after a turn is found in the logs by that turn's trace."""

    async def main() -> None:
        seen: list[str] = []

        async def handler(_: Event) -> None:
            seen.append(log.trace_id.get())

        events = EmbeddedEvents()
        events.subscribe("t", handler)
        published = []
        for number in range(3):
            published.append(log.new_trace())
            await events.publish(event(number))
        await events.close()
        assert seen == published

    asyncio.run(main())
