"""Fixtures of the egress tests: a scripted server on loopback, and an egress that reaches it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from common.egress import Egress

Handler = Callable[[Any], Awaitable[web.StreamResponse]]


class Clock:
    """A clock that moves when slept on, so that no test waits."""

    def __init__(self) -> None:
        """Start at 1,000 seconds."""
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Move the clock instead of waiting."""
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@dataclass
class Origin:
    """The vendor's side: what was asked, and where it listens."""

    port: int = 0
    seen: list[web.BaseRequest] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        """Return the raw paths asked for, in order."""
        return [request.raw_path for request in self.seen]


@dataclass
class World:
    """A vendor `api.example.com` on loopback with an `Egress` mapped to it."""

    origin: Origin
    egress: Egress
    clock: Clock


WorldOf = Callable[..., Any]


@pytest.fixture
def world() -> WorldOf:
    """Return a context manager that serves `handler` as every host of `mapped`."""
    return _world


@asynccontextmanager
async def _world(
    handler: Handler, *, mapped: tuple[str, ...] = ("api.example.com",), **options: Any
) -> AsyncIterator[World]:
    origin, clock = Origin(), Clock()

    async def record(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        origin.seen.append(request)
        return await handler(request)

    runner = web.ServerRunner(web.Server(record), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    origin.port = runner.addresses[0][1]
    host_map = dict.fromkeys(mapped, f"http://127.0.0.1:{origin.port}")
    egress = Egress(host_map=host_map, clock=clock, sleep=clock.sleep, **options)
    try:
        yield World(origin, egress, clock)
    finally:
        await egress.close()
        await runner.cleanup()
