"""Both task queues behind one harness: a clock the test moves, a handler it scripts."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import pytest
from aiohttp import web

from common.google_rest import GoogleRest
from common.tasks import Queue, Tasks
from common.tasks.cloud_tasks import CloudTasks
from common.tasks.embedded import Delivery, EmbeddedTasks, Response
from tests.fakes.google_apis import GoogleApis

LOCATION = "projects/p/locations/us-central1"
QUEUE = Queue("mail", max_attempts=4, min_backoff_s=10, max_backoff_s=15)


class Clock:
    """A clock the test moves."""

    def __init__(self) -> None:
        self.at = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)

    def __call__(self) -> dt.datetime:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += dt.timedelta(seconds=seconds)


@dataclass(frozen=True)
class Received:
    """What the function got."""

    path: str
    body: bytes
    headers: Mapping[str, str]


@dataclass
class Harness:
    """One queue, its handler's answers (200 once the script is spent) and what it received."""

    tasks: Tasks
    settle: Callable[[], Awaitable[object]]
    clock: Clock
    received: list[Received]
    answers: list[Response]
    google: GoogleApis | None = None


@dataclass
class Function:
    """The handler both adapters deliver to."""

    received: list[Received] = field(default_factory=list)
    answers: list[Response] = field(default_factory=list)

    def answer(self, received: Received) -> Response:
        self.received.append(received)
        return self.answers.pop(0) if self.answers else Response(200)


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[Harness]:
    clock, function = Clock(), Function()

    async def deliver(delivery: Delivery) -> Response:
        headers = {name.lower(): value for name, value in delivery.headers.items()}
        return function.answer(Received(delivery.task.path, delivery.task.body, headers))

    tasks = EmbeddedTasks(folder / "tasks.db", [QUEUE], deliver, clock, poll_s=0.02)
    tasks.start()
    yield Harness(
        tasks, lambda: tasks.drain(retries=False), clock, function.received, function.answers
    )
    await tasks.close()


@asynccontextmanager
async def cloud(folder: Path) -> AsyncIterator[Harness]:
    clock, function = Clock(), Function()

    async def handle(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = function.answer(Received(request.path, await request.read(), headers))
        after = {} if answer.retry_after is None else {"Retry-After": str(answer.retry_after)}
        return web.Response(status=answer.status, headers=after)

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with GoogleApis() as google:
        google.tasks.now = lambda: clock().timestamp()
        google.tasks.add_queue(
            f"{LOCATION}/queues/mail",
            max_attempts=QUEUE.max_attempts,
            min_backoff_s=QUEUE.min_backoff_s,
            max_backoff_s=QUEUE.max_backoff_s,
        )
        tasks = CloudTasks(
            LOCATION,
            api=GoogleRest(root=google.url, backoff_s=0.001),
            queues=["mail"],
            base_url=f"http://127.0.0.1:{runner.addresses[0][1]}",
            service_account="tasks@p.iam.gserviceaccount.com",
            audience="https://odai.example",
            clock=clock,
        )
        yield Harness(
            tasks, google.tasks.deliver_due, clock, function.received, function.answers, google
        )
        await tasks.close()
    await runner.cleanup()


Body: TypeAlias = Callable[[Harness], Awaitable[None]]
Against: TypeAlias = Callable[[Body], None]


@pytest.fixture(params=[embedded, cloud])
def against(request: pytest.FixtureRequest, tmp_path: Path) -> Against:
    """Return a function that runs a coroutine function against a fresh queue."""

    async def run(body: Body) -> None:
        async with request.param(tmp_path) as harness, asyncio.timeout(50):
            await body(harness)

    return lambda body: asyncio.run(run(body))


@pytest.fixture
def against_cloud(tmp_path: Path) -> Against:
    """As `against`, for Cloud Tasks alone."""

    async def run(body: Body) -> None:
        async with cloud(tmp_path) as harness, asyncio.timeout(50):
            await body(harness)

    return lambda body: asyncio.run(run(body))
