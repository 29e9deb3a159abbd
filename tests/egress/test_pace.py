"""Concurrency, pace and breaker, by a clock that the tests move."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from common.egress import Egress, Policy
from common.egress.pace import Breaker, Bucket
from common.errors import RateLimited, VendorRejected, VendorUnavailable

URL = "https://api.example.com/"


def policy(**changes: Any) -> Policy:
    """Make Yelp's policy with `changes`."""
    return Policy(name="Yelp", hosts=("api.example.com",), **changes)


async def ok(request: web.Request) -> web.StreamResponse:
    """Answer 200."""
    return web.Response()


class Answer:
    """A handler whose status the test changes."""

    status = 200

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer with the present status."""
        return web.Response(status=self.status)


def test_the_pace_is_kept(world: Any) -> None:
    """Two a second means: two at once, then one every half second."""

    async def main() -> None:
        async with world(ok) as w:
            client = w.egress.client(policy(per_second=2.0))
            for _ in range(5):
                await client.get(URL)
            assert w.clock.slept == [0.5, 0.5, 0.5]

    asyncio.run(main())


def test_clients_of_one_vendor_share_its_pace(world: Any) -> None:
    """Two tools of a vendor do not double what it is asked."""

    async def main() -> None:
        async with world(ok) as w:
            for _ in range(2):
                await w.egress.client(policy(per_second=1.0)).get(URL)
            assert w.clock.slept == [1.0]

    asyncio.run(main())


def test_a_pace_that_asks_for_too_long_is_told(world: Any) -> None:
    """When our own pace would outlast the call, the user hears how long instead of waiting."""

    async def main() -> None:
        async with world(ok) as w:
            client = w.egress.client(policy(per_second=0.1, timeout_s=5.0, concurrency=1))
            await client.get(URL)
            for _ in range(2):  # a refused call takes no place in the queue
                with pytest.raises(RateLimited, match="10 seconds") as caught:
                    await client.get(URL)
                assert caught.value.retry_after == pytest.approx(10.0)
            w.clock.now += 10.0
            await client.get(URL)

    asyncio.run(main())


def test_an_idle_bucket_does_not_overflow() -> None:
    """An hour of silence is no leave for a burst."""
    now = [0.0]
    bucket = Bucket(2.0, lambda: now[0])
    now[0] = 3600.0
    waits = [bucket.take(100.0)[0] for _ in range(4)]
    assert waits == [0.0, 0.0, 0.5, 1.0]


def test_no_more_than_the_allowed_run_at_once(world: Any) -> None:
    """A vendor that allows three connections never sees a fourth."""

    async def main() -> None:
        gate, running, most = asyncio.Event(), 0, 0
        full = asyncio.Event()

        async def handler(request: web.Request) -> web.StreamResponse:
            nonlocal running, most
            running += 1
            most = max(most, running)
            if running == 3:
                full.set()
            await gate.wait()
            running -= 1
            return web.Response()

        async with world(handler) as w:
            client = w.egress.client(policy(concurrency=3))
            calls = [asyncio.create_task(client.get(URL)) for _ in range(8)]
            await full.wait()
            gate.set()
            await asyncio.gather(*calls)
            assert most == 3
            assert len(w.origin.seen) == 8

    asyncio.run(main())


def test_a_full_lane_is_reported(world: Any) -> None:
    """A call that gets no slot in its time says that the vendor is busy, and blames it not."""

    async def main() -> None:
        gate, begun = asyncio.Event(), asyncio.Event()

        async def handler(request: web.Request) -> web.StreamResponse:
            begun.set()
            await gate.wait()
            return web.Response()

        async with world(handler) as w:
            client = w.egress.client(policy(concurrency=1))
            first = asyncio.create_task(client.get(URL))
            await begun.wait()
            for _ in range(6):
                with pytest.raises(VendorUnavailable, match="busy"):
                    await client.get(URL, timeout_s=0.01)
            gate.set()
            await first
            await client.get(URL)  # six local waits did not open the breaker

    asyncio.run(main())


def test_a_failing_vendor_is_left_alone_then_probed(world: Any) -> None:
    """After five failures calls fail at once; half a minute later one goes out and decides."""

    async def main() -> None:
        answer = Answer()
        async with world(answer, max_attempts=1) as w:
            client = w.egress.client(policy())
            answer.status = 500
            for _ in range(5):
                with pytest.raises(VendorUnavailable, match="problem of its own"):
                    await client.get(URL)
            with pytest.raises(VendorUnavailable, match="left alone"):
                await client.get(URL)
            assert len(w.origin.seen) == 5
            w.clock.now += 30.0
            with pytest.raises(VendorUnavailable, match="problem of its own"):
                await client.get(URL)
            with pytest.raises(VendorUnavailable, match="left alone"):
                await client.get(URL)
            w.clock.now += 30.0
            answer.status = 200
            for _ in range(3):
                await client.get(URL)

    asyncio.run(main())


def test_an_unreachable_vendor_is_left_alone_too() -> None:
    """Connections that fail count as failures, as bad answers do."""

    async def main() -> None:
        egress = Egress(host_map={"api.example.com": "http://127.0.0.1:1"}, max_attempts=1)
        client = egress.client(policy())
        for _ in range(5):
            with pytest.raises(VendorUnavailable, match="cannot be reached"):
                await client.get(URL)
        with pytest.raises(VendorUnavailable, match="left alone"):
            await client.get(URL)
        await egress.close()

    asyncio.run(main())


def test_refusals_are_not_failures(world: Any) -> None:
    """A vendor that says no is up: wrong ids of one user close it to nobody."""

    async def main() -> None:
        answer = Answer()
        async with world(answer, max_attempts=1) as w:
            client = w.egress.client(policy())
            for status, error in ((404, VendorRejected), (429, RateLimited)):
                answer.status = status
                for _ in range(6):
                    with pytest.raises(error):
                        await client.get(URL)

    asyncio.run(main())


def test_vendors_do_not_share_a_breaker(world: Any) -> None:
    """One vendor's outage leaves the others alone."""

    async def main() -> None:
        answer = Answer()
        async with world(answer, max_attempts=1) as w:
            answer.status = 500
            for _ in range(5):
                with pytest.raises(VendorUnavailable):
                    await w.egress.client(policy()).get(URL)
            answer.status = 200
            await w.egress.client(Policy(name="Other", hosts=("api.example.com",))).get(URL)

    asyncio.run(main())


def test_one_probe_at_a_time() -> None:
    """While the probe is out nobody follows; a cancelled probe frees the way for another."""
    now = [0.0]
    breaker = Breaker(lambda: now[0], threshold=1, cooldown_s=30.0)
    assert breaker.admit()
    breaker.record(False)
    assert not breaker.admit()
    now[0] = 30.0
    assert breaker.admit()
    assert not breaker.admit()
    breaker.record(None)
    assert breaker.admit()
    breaker.record(True)
    assert breaker.admit()
    assert breaker.admit()
