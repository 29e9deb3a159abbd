"""Both event ports behind one harness; Pub/Sub is Google's own emulator, pushing."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import pytest
from aiohttp import web

from common.events import Events
from common.events.embedded import EmbeddedEvents, Handler
from common.events.pubsub import PubSubEvents
from common.events.push import read_push
from common.google_rest import GoogleRest
from tests.emulators import pubsub_emulator


@dataclass
class Harness:
    """An event port whose topic `turn.finished` may be listened to."""

    events: Events
    listen: Callable[[Handler], Awaitable[None]]


@asynccontextmanager
async def embedded() -> AsyncIterator[Harness]:
    events = EmbeddedEvents(backoff_s=0.001)

    async def listen(handler: Handler) -> None:
        events.subscribe("turn.finished", handler)

    try:
        yield Harness(events, listen)
    finally:
        await events.close()


@asynccontextmanager
async def pubsub(host: str) -> AsyncIterator[Harness]:
    api, setup = GoogleRest(root=f"http://{host}"), GoogleRest(root=f"http://{host}")
    project, runners = f"test-{uuid.uuid4().hex[:12]}", list[web.AppRunner]()
    topic = f"projects/{project}/topics/turn.finished"
    await setup.call("pubsub", "PUT", f"/v1/{topic}", body={})

    async def listen(handler: Handler) -> None:
        async def receive(request: web.Request) -> web.Response:
            await handler(read_push(await request.json()))
            return web.Response(status=204)

        app = web.Application()
        app.router.add_post("/", receive)
        runner = web.AppRunner(app, access_log=None)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        await setup.call(
            "pubsub",
            "PUT",
            f"/v1/projects/{project}/subscriptions/listener-{len(runners)}",
            body={"topic": topic, "pushConfig": {"pushEndpoint": url}},
        )

    events = PubSubEvents(project, api=api)
    try:
        yield Harness(events, listen)
    finally:
        await events.close()
        await setup.close()
        for runner in runners:
            await runner.cleanup()


@pytest.fixture(scope="session")
def pubsub_host() -> Iterator[str]:
    """Host:port of the session's Pub/Sub emulator."""
    with pubsub_emulator() as host:
        yield host


Body: TypeAlias = Callable[[Harness], Awaitable[None]]
Against: TypeAlias = Callable[[Body], None]


@pytest.fixture(params=["embedded", "pubsub"])
def against(request: pytest.FixtureRequest) -> Against:
    """Return a function that runs a coroutine function against a fresh event port."""
    if request.param == "embedded":
        opened = embedded
    else:
        host = request.getfixturevalue("pubsub_host")
        opened = lambda: pubsub(host)  # noqa: E731 - one of two, chosen here

    async def run(body: Body) -> None:
        async with opened() as harness, asyncio.timeout(60):
            await body(harness)

    return lambda body: asyncio.run(run(body))
