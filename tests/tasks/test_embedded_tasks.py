"""The embedded queue beyond the contract: pacing, deadlines, several processes, killed ones."""

from __future__ import annotations

import asyncio
import random
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import VendorUnavailable
from common.tasks import Queue, Task, check
from common.tasks.embedded import Deliver, Delivery, EmbeddedTasks, Response
from tests.tasks.conftest import Clock

FAST = Queue("mail", max_attempts=3, min_backoff_s=0.001, max_backoff_s=0.002)


def task(name: str | None = None, *, deadline_s: float = 600) -> Task:
    return Task("mail", "/worker", b"{}", name=name, deadline_s=deadline_s)


async def accept(_: Delivery) -> Response:
    return Response(200)


async def until(ready: Callable[[], bool]) -> None:
    async with asyncio.timeout(50):
        while not ready():
            await asyncio.sleep(0.005)


class Gate:
    """A handler that holds every delivery until told."""

    def __init__(self) -> None:
        self.held: list[tuple[Delivery, asyncio.Future[Response]]] = []
        self.open = self.peak = 0

    async def __call__(self, delivery: Delivery) -> Response:
        self.open += 1
        self.peak = max(self.peak, self.open)
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.held.append((delivery, answer))
        try:
            return await answer
        finally:
            self.open -= 1


def test_a_handler_past_its_deadline_is_retried_then_parked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that hangs is cut off, tried again, and in the end its task is kept for a look."""
    monkeypatch.setattr(check, "MIN_DEADLINE_S", 0.0)

    async def main() -> None:
        gate = Gate()
        tasks = EmbeddedTasks(tmp_path / "t.db", [FAST], gate)
        await tasks.enqueue(task("slow", deadline_s=0.02))
        tasks.start()
        await tasks.drain()
        assert [delivery.retry_count for delivery, _ in gate.held] == [0, 1, 2]
        headers = gate.held[1][0].headers
        assert headers["X-CloudTasks-TaskRetryReason"] == "deadline exceeded"
        assert "X-CloudTasks-TaskPreviousResponse" not in headers
        (dead,) = await tasks.dead()
        assert (dead.name, dead.attempts, dead.last_status) == ("slow", 3, None)
        await tasks.close()

    asyncio.run(main())


def test_a_raising_handler_is_retried_and_its_words_stay_out_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A crash is a retry; the parked task outlives the process, body and all."""

    async def main() -> None:
        async def fail(_: Delivery) -> Response:
            raise RuntimeError("boom")

        tasks = EmbeddedTasks(tmp_path / "t.db", [FAST], fail)
        await tasks.enqueue(Task("mail", "/worker", b"the body", headers={"a": "b"}))
        tasks.start()
        await tasks.drain()
        await tasks.close()
        assert "the body" not in caplog.text
        reopened = EmbeddedTasks(tmp_path / "t.db", [FAST], accept)
        (dead,) = await reopened.dead()
        assert (dead.task.body, dead.task.headers, dead.attempts) == (b"the body", {"a": "b"}, 3)
        assert dead.last_reason == "no answer"
        await reopened.close()

    asyncio.run(main())


def test_a_queue_keeps_its_pace(tmp_path: Path) -> None:
    """Five a second means five a second, however many wait."""

    async def main() -> None:
        clock, at = Clock(), list[float]()

        async def deliver(_: Delivery) -> Response:
            at.append(clock().timestamp())
            return Response(200)

        queue = Queue("mail", per_second=5)
        tasks = EmbeddedTasks(tmp_path / "t.db", [queue], deliver, clock, poll_s=0.005)
        for _ in range(6):
            await tasks.enqueue(task())
        began = clock().timestamp()
        tasks.start()
        async with asyncio.timeout(50):
            while len(at) < 6:
                clock.advance(0.05)
                await asyncio.sleep(0.005)
        # From the beginning: one that comes late has the next sooner after it.
        assert all(each - began >= number * 0.2 - 0.001 for number, each in enumerate(at))
        await tasks.close()

    asyncio.run(main())


def test_no_more_at_once_than_the_queue_allows(tmp_path: Path) -> None:
    """A queue of two has two deliveries under way, in all processes together."""

    async def main() -> None:
        queue, gate = Queue("mail", concurrency=2), Gate()
        both = [EmbeddedTasks(tmp_path / "t.db", [queue], gate, poll_s=0.01) for _ in range(2)]
        for _ in range(8):
            await both[0].enqueue(task())
        for tasks in both:
            tasks.start()
        for served in range(8):
            await until(lambda served=served: len(gate.held) > served)  # type: ignore[misc]
            gate.held[served][1].set_result(Response(200))
        await both[0].drain()
        assert gate.peak == 2
        for tasks in both:
            await tasks.close()

    asyncio.run(main())


def test_processes_share_a_file(tmp_path: Path) -> None:
    """Two deliverers on one file make each delivery once."""

    async def main() -> None:
        got: list[str | None] = []

        def deliverer() -> EmbeddedTasks:
            async def deliver(delivery: Delivery) -> Response:
                got.append(delivery.task.name)
                return Response(200)

            return EmbeddedTasks(tmp_path / "t.db", [FAST], deliver, poll_s=0.01)

        both = [deliverer(), deliverer()]
        for tasks in both:
            tasks.start()
        stored = [await both[n % 2].enqueue(task(f"t{n // 2}")) for n in range(100)]
        assert stored == [True, False] * 50
        for tasks in both:
            await tasks.drain()
            await tasks.close()
        assert sorted(map(str, got)) == sorted(f"t{n}" for n in range(50))

    asyncio.run(main())


def test_a_stalled_process_loses_its_task_to_another(tmp_path: Path) -> None:
    """A process that stops keeping its lease is replaced, and its late answer changes nothing."""

    async def main() -> None:
        clock, stalled, healthy = Clock(), Gate(), Gate()

        def deliverer(gate: Deliver) -> EmbeddedTasks:
            queue = Queue("mail", max_attempts=3)
            return EmbeddedTasks(tmp_path / "t.db", [queue], gate, clock, lease_s=60, poll_s=0.01)

        first, second = deliverer(stalled), deliverer(healthy)
        await first.enqueue(task("t"))
        first.start()
        await until(lambda: len(stalled.held) == 1)
        second.start()
        clock.advance(61)
        await until(lambda: len(healthy.held) == 1)
        assert healthy.held[0][0].retry_count == 1
        stalled.held[0][1].set_result(Response(500))
        await until(lambda: not stalled.open)
        healthy.held[0][1].set_result(Response(200))
        await second.drain()
        assert (len(stalled.held), len(healthy.held)) == (1, 1)
        assert await second.dead() == []
        await first.close()
        await second.close()

    asyncio.run(main())


def test_a_task_that_kills_its_process_is_parked_in_the_end(tmp_path: Path) -> None:
    """A task whose every attempt took the process with it is not tried for ever."""

    async def main() -> None:
        clock, gate = Clock(), Gate()
        queue = Queue("mail", max_attempts=1)
        killed = EmbeddedTasks(tmp_path / "t.db", [queue], gate, clock, lease_s=60)
        await killed.enqueue(task("poison"))
        killed.start()
        await until(lambda: len(gate.held) == 1)
        clock.advance(61)
        next_one = EmbeddedTasks(tmp_path / "t.db", [queue], gate, clock, lease_s=60)
        next_one.start()
        await next_one.drain()
        assert [dead.name for dead in await next_one.dead()] == ["poison"]
        assert len(gate.held) == 1
        gate.held[0][1].set_result(Response(200))
        await killed.close()
        await next_one.close()

    asyncio.run(main())


def test_closing_gives_back_what_is_under_way(tmp_path: Path) -> None:
    """A task cut off by a shutdown starts over in the next process, its attempt not counted."""

    async def main() -> None:
        first, second = Gate(), Gate()
        closing = EmbeddedTasks(tmp_path / "t.db", [FAST], first, close_s=0)
        await closing.enqueue(task("t"))
        closing.start()
        await until(lambda: len(first.held) == 1)
        await closing.close()
        await closing.close()
        tasks = EmbeddedTasks(tmp_path / "t.db", [FAST], second)
        tasks.start()
        await until(lambda: len(second.held) == 1)
        assert second.held[0][0].retry_count == 0
        second.held[0][1].set_result(Response(200))
        await tasks.drain()
        await tasks.close()

    asyncio.run(main())


def test_cancelling_under_way_stops_the_retries(tmp_path: Path) -> None:
    """A task cancelled during an attempt is not tried again."""

    async def main() -> None:
        gate = Gate()
        tasks = EmbeddedTasks(tmp_path / "t.db", [FAST], gate)
        await tasks.enqueue(task("t"))
        tasks.start()
        await until(lambda: len(gate.held) == 1)
        assert await tasks.cancel("mail", "t")
        gate.held[0][1].set_result(Response(500))
        await tasks.drain()
        await until(lambda: not gate.open)
        await tasks.enqueue(task("after"))
        await until(lambda: len(gate.held) == 2)
        assert gate.held[1][0].task.name == "after"
        gate.held[1][1].set_result(Response(200))
        await tasks.drain()
        await tasks.close()

    asyncio.run(main())


def test_enqueueing_needs_no_deliverer(tmp_path: Path) -> None:
    """A process that only enqueues never delivers, and does not pretend to drain."""

    async def main() -> None:
        async def never(_: Delivery) -> Response:
            raise AssertionError

        tasks = EmbeddedTasks(tmp_path / "t.db", [FAST], never)
        await tasks.drain()
        await tasks.enqueue(task())
        with pytest.raises(RuntimeError, match="start"):
            await tasks.drain()
        await tasks.close()

    asyncio.run(main())


def test_the_file_is_private(tmp_path: Path) -> None:
    """Only the owner can read tasks: bodies name users' jobs."""

    async def main() -> None:
        tasks = EmbeddedTasks(tmp_path / "new" / "t.db", [FAST], accept)
        await tasks.enqueue(task())
        for file in (tmp_path / "new").iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
        await tasks.close()

    asyncio.run(main())


def test_a_file_that_cannot_be_used_stores_nothing(tmp_path: Path) -> None:
    """When the file cannot be written the caller learns that nothing was enqueued."""

    async def main() -> None:
        (tmp_path / "t.db").write_bytes(b"this is not a database" * 100)
        tasks = EmbeddedTasks(tmp_path / "t.db", [FAST], accept)
        with pytest.raises(VendorUnavailable):
            await tasks.enqueue(task())

    asyncio.run(main())


# A deliverer that reports each stored and each delivered task, until it is killed.
_VICTIM = """
import asyncio, sys
from pathlib import Path
from common.tasks import Queue, Task
from common.tasks.embedded import EmbeddedTasks, Response

async def deliver(delivery):
    await asyncio.sleep(0.01)
    print("delivered", delivery.task.name, flush=True)
    return Response(200)

async def main():
    queue = Queue("mail", concurrency=3, max_attempts=50)
    tasks = EmbeddedTasks(Path(sys.argv[1]), [queue], deliver, poll_s=0.01, lease_s=600)
    tasks.start()
    for n in range(1000):
        name = f"round{sys.argv[2]}-{n}"
        if await tasks.enqueue(Task("mail", "/worker", b"{}", name=name)):
            print("stored", name, flush=True)

asyncio.run(main())
"""


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    """Killed at any moment, ten times over: every stored task is delivered, every name kept."""
    path, chance = tmp_path / "t.db", random.Random(20261122)
    stored, delivered = set[str](), set[str]()
    for number in range(10):
        arguments = [sys.executable, "-c", _VICTIM, str(path), str(number)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as victim:
            assert victim.stdout
            for _ in range(chance.randint(1, 60)):
                _note(victim.stdout.readline(), stored, delivered)
            victim.kill()
            for line in victim.stdout:
                _note(line, stored, delivered)

    async def main() -> None:
        got = set[str]()

        async def deliver(delivery: Delivery) -> Response:
            got.add(str(delivery.task.name))
            return Response(200)

        queue = Queue("mail", max_attempts=50)
        tasks = EmbeddedTasks(path, [queue], deliver)
        tasks.start()
        async with asyncio.timeout(50):  # the dead processes' leases would last ten minutes
            await tasks.drain()
        assert stored
        assert got - delivered, "nothing was left over: the kills proved nothing"
        assert stored <= got | delivered
        assert not any([await tasks.enqueue(task(name)) for name in sorted(stored)])
        assert await tasks.dead() == []
        await tasks.close()

    asyncio.run(main())


def _note(line: str, stored: set[str], delivered: set[str]) -> None:
    what, _, name = line.strip().partition(" ")
    if line.endswith("\n") and name:
        (stored if what == "stored" else delivered).add(name)
