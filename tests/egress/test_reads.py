"""Shared and remembered reads."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from common.egress import Policy, Reply
from common.egress.reads import SharedReads
from common.errors import VendorUnavailable

YELP = Policy(name="Yelp", hosts=("api.example.com",))
URL = "https://api.example.com/"


async def count(request: web.Request) -> web.StreamResponse:
    """Answer with a number that never repeats."""
    count.served = getattr(count, "served", 0) + 1  # type: ignore[attr-defined]
    return web.json_response(count.served)  # type: ignore[attr-defined]


def test_a_read_is_kept_for_its_time(world: Any) -> None:
    """The same question within a minute is answered from memory, after it anew."""

    async def main() -> None:
        async with world(count) as w:
            client = w.egress.client(YELP, cache_s=60.0)
            first = await client.get_json(URL)
            w.clock.now += 59.0
            assert await client.get_json(URL) == first
            w.clock.now += 1.0
            assert await client.get_json(URL) != first

    asyncio.run(main())


@pytest.mark.parametrize(
    "other",
    [
        {"headers": {"Authorization": "Bearer b"}},
        {"headers": {}},
        {"params": {"q": "2"}},
        {"headers": {"Authorization": "Bearer a", "Accept-Language": "de"}},
    ],
)
def test_what_differs_is_not_shared(world: Any, other: dict[str, Any]) -> None:
    """Nobody sees an answer that was fetched with another's token, query or language."""

    async def main() -> None:
        async with world(count) as w:
            client = w.egress.client(YELP, cache_s=60.0)
            mine = {"params": {"q": "1"}, "headers": {"Authorization": "Bearer a"}}
            first = await client.get_json(URL, **mine)
            assert await client.get_json(URL, **{**mine, **other}) != first
            lower = {"authorization": "Bearer a"}
            assert await client.get_json(URL, params={"q": "1"}, headers=lower) == first

    asyncio.run(main())


def test_vendors_do_not_share_reads(world: Any) -> None:
    """The memory is per vendor, and only for clients that ask for one."""

    async def main() -> None:
        async with world(count) as w:
            first = await w.egress.client(YELP, cache_s=60.0).get_json(URL)
            other = Policy(name="Other", hosts=YELP.hosts)
            assert await w.egress.client(other, cache_s=60.0).get_json(URL) != first
            assert await w.egress.client(YELP).get_json(URL) != first
            assert await w.egress.client(YELP, cache_s=60.0).get_json(URL) == first

    asyncio.run(main())


def test_writes_and_failures_are_not_kept(world: Any) -> None:
    """A failure is asked again, an expected 404 too, and a POST always goes out."""

    async def main() -> None:
        left = [500, 404, 200, 200, 200]

        async def handler(request: web.Request) -> web.StreamResponse:
            return web.Response(status=left.pop(0))

        async with world(handler, max_attempts=1) as w:
            client = w.egress.client(YELP, cache_s=60.0)
            with pytest.raises(VendorUnavailable):
                await client.get(URL, expect=(404,))
            assert (await client.get(URL, expect=(404,))).status == 404
            assert (await client.get(URL, expect=(404,))).status == 200
            await client.request("POST", URL)
            await client.request("POST", URL)
            assert left == []

    asyncio.run(main())


class Gate:
    """A read that waits for the test."""

    def __init__(self) -> None:
        """Start closed."""
        self.open, self.begun = asyncio.Event(), asyncio.Event()
        self.reads = self.cancelled = 0
        self.error: Exception | None = None

    async def __call__(self) -> Reply:
        """Read once the gate is open."""
        self.reads += 1
        self.begun.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error:
            raise self.error
        return Reply(200, {}, b"x", URL)


def test_askers_at_once_share_one_read() -> None:
    """Ten questions at once are one call, and its failure is everybody's."""

    async def main() -> None:
        reads, gate = SharedReads(lambda: 0.0), Gate()
        tasks = [asyncio.create_task(reads.get("k", gate, max_age_s=1.0)) for _ in range(10)]
        await gate.begun.wait()
        gate.error = VendorUnavailable("down")
        gate.open.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert gate.reads == 1
        assert results == [gate.error] * 10
        gate.error = None
        assert (await reads.get("k", gate, max_age_s=1.0)).body == b"x"
        assert gate.reads == 2

    asyncio.run(main())


def test_one_who_leaves_does_not_take_the_read_along() -> None:
    """A stopped turn that began a read leaves the answer to the others."""

    async def main() -> None:
        reads, gate = SharedReads(lambda: 0.0), Gate()
        tasks = [asyncio.create_task(reads.get("k", gate, max_age_s=1.0)) for _ in range(3)]
        await gate.begun.wait()
        tasks[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        gate.open.set()
        assert [(await task).body for task in tasks[1:]] == [b"x", b"x"]
        assert gate.cancelled == 0

    asyncio.run(main())


def test_the_last_who_leaves_ends_the_read() -> None:
    """A read that nobody waits for any more stops, and does not spoil the next."""

    async def main() -> None:
        reads, gate = SharedReads(lambda: 0.0), Gate()
        tasks = [asyncio.create_task(reads.get("k", gate, max_age_s=1.0)) for _ in range(2)]
        await gate.begun.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        gate.open.set()
        assert (await reads.get("k", gate, max_age_s=1.0)).status == 200
        assert gate.cancelled == 1
        assert gate.reads == 2

    asyncio.run(main())


def _read(size: int) -> Any:
    async def read() -> Reply:
        return Reply(200, {}, b"x" * size, URL)

    return read


async def _never() -> Reply:
    raise AssertionError("was to be in memory")


def test_the_memory_is_bounded_by_number() -> None:
    """The least recently used answer leaves first."""

    async def main() -> None:
        reads = SharedReads(lambda: 0.0, max_entries=2)
        for key in ("a", "b"):
            await reads.get(key, _read(1), max_age_s=1.0)
        await reads.get("a", _never, max_age_s=1.0)
        await reads.get("c", _read(1), max_age_s=1.0)
        await reads.get("a", _never, max_age_s=1.0)
        with pytest.raises(AssertionError):
            await reads.get("b", _never, max_age_s=1.0)

    asyncio.run(main())


def test_the_memory_is_bounded_by_bytes() -> None:
    """Large answers push out others, and one larger than all room is not kept."""

    async def main() -> None:
        reads = SharedReads(lambda: 0.0, max_bytes=100)
        await reads.get("a", _read(60), max_age_s=1.0)
        await reads.get("b", _read(60), max_age_s=1.0)
        await reads.get("b", _never, max_age_s=1.0)
        with pytest.raises(AssertionError):
            await reads.get("a", _never, max_age_s=1.0)
        await reads.get("c", _read(101), max_age_s=1.0)
        with pytest.raises(AssertionError):
            await reads.get("c", _never, max_age_s=1.0)
        await reads.get("a", _read(100), max_age_s=1.0)
        await reads.get("a", _never, max_age_s=1.0)

    asyncio.run(main())
