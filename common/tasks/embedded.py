"""Cloud Tasks on a laptop: a queue in an SQLite file, delivered by whichever process calls `start`.

It keeps what makes a handler that works here work there: at least once, names that dedupe for a
day, schedules, pacing, exponential backoff, the same headers. It differs where Cloud Tasks loses
work: a task out of attempts is parked and listed by `dead`, not dropped.

A delivery is a lease: the row belongs to one process until `due`, which that process keeps moving
on. A killed process stops moving it, and another delivers the task again.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import secrets
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from common.documents import Clock, now
from common.errors import VendorUnavailable
from common.log import get_logger
from common.tasks import Queue, Task
from common.tasks.check import check_task
from common.wal import into_wal

NAME_KEPT_S = 24 * 3600.0  # how long a used name stays refused
_MAX_DOUBLINGS = 16
_SHORTEST_WAIT_S = 0.02
_log = get_logger(__name__)
T = TypeVar("T")

# `due` is when a row next matters: pending, its next attempt; leased, the end of the lease; done or
# dead, when its name is free again. `dedupe` is the name while it is refused.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    name TEXT NOT NULL,
    dedupe TEXT,
    path TEXT NOT NULL,
    body BLOB NOT NULL,
    headers TEXT NOT NULL,
    eta REAL NOT NULL,
    deadline_s REAL NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending',
    due REAL NOT NULL,
    owner TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    executions INTEGER NOT NULL DEFAULT 0,
    last_status INTEGER,
    last_reason TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS tasks_name ON tasks (queue, dedupe);
CREATE INDEX IF NOT EXISTS tasks_due ON tasks (state, queue, due);
"""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt at a task.

    `headers` are the task's own and those Cloud Tasks sends. `retry_count` is 0 at the first
    attempt; `execution_count` counts earlier attempts that were answered, leaving out 5xx.
    """

    task: Task
    retry_count: int
    execution_count: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Response:
    """A handler's answer: 2xx ends the task; `retry_after` (seconds) puts a retry off."""

    status: int
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class DeadTask:
    """A task whose attempts are spent."""

    task: Task
    name: str
    attempts: int
    last_status: int | None
    last_reason: str
    at: dt.datetime


Deliver: TypeAlias = Callable[[Delivery], Awaitable[Response]]


@dataclass(slots=True)
class _Bucket:
    """Tokens of one queue: `per_second` of them a second, a fifth of a second's worth at once."""

    per_second: float
    tokens: float = field(init=False)
    at: float | None = None

    def __post_init__(self) -> None:
        self.tokens = self.capacity

    @property
    def capacity(self) -> float:
        return max(1.0, self.per_second / 5)

    def refill(self, at: float) -> int:
        passed = 0.0 if self.at is None else max(0.0, at - self.at)
        self.at = at
        self.tokens = min(self.capacity, self.tokens + passed * self.per_second)
        return int(self.tokens + 1e-9)


class EmbeddedTasks:
    """`Tasks` over the SQLite file at `path`, which several processes may share.

    `deliver` makes the request; it is called on the event loop, and only after `start`. Pacing is
    per process, concurrency across all of them. `lease_s` bounds how long a killed process's
    tasks wait for another one; `poll_s` how long another process's new tasks go unnoticed.
    """

    def __init__(
        self,
        path: Path,
        queues: Sequence[Queue],
        deliver: Deliver,
        clock: Clock = now,
        *,
        lease_s: float = 10.0,
        poll_s: float = 0.25,
        close_s: float = 5.0,
    ) -> None:
        self._queues = {queue.name: queue for queue in queues}
        self._buckets = {queue.name: _Bucket(queue.per_second) for queue in queues}
        self._deliver = deliver
        self._clock = clock
        self._lease_s = lease_s
        self._poll_s = poll_s
        self._close_s = close_s
        self._owner = f"{os.getpid()}-{secrets.token_hex(6)}"
        # One thread owns the connection: the file's locks never hold up the event loop.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="odai-tasks")
        self._connection: sqlite3.Connection | None = None
        self._path = path
        self._work: list[asyncio.Task[None]] = []
        self._running: set[asyncio.Task[None]] = set()
        self._held: set[int] = set()  # rows under way here: renewed, and not claimed once more
        self._wake = asyncio.Event()
        self._closed = False

    async def enqueue(self, task: Task) -> bool:
        """Store the task; False when its name is in use. See `Tasks.enqueue`."""
        check_task(task, queues=self._queues, now=self._clock())
        stored = await self._db(self._insert, task)
        self._wake.set()
        return stored

    async def cancel(self, queue: str, name: str) -> bool:
        """Remove a pending named task. An attempt under way goes on, and is not repeated."""
        return await self._db(self._remove, queue, name)

    def start(self) -> None:
        """Deliver from now on, on the running event loop."""
        if not self._work and not self._closed:
            self._work = [asyncio.create_task(self._dispatch()), asyncio.create_task(self._hold())]

    async def drain(self, *, retries: bool = True) -> None:
        """Wait until nothing is due, under way or (unless told not to) waiting to be retried.

        Tasks scheduled for later are not waited for.
        """
        while await self._db(self._unfinished, retries):
            if not self._work:
                raise RuntimeError("drain() before start(): nobody delivers")
            await asyncio.sleep(0.01)

    async def dead(self) -> list[DeadTask]:
        """Return the tasks whose attempts are spent, oldest first."""
        return await self._db(self._dead)

    async def close(self) -> None:
        """Stop delivering; attempts still running after `close_s` are given back to the queue."""
        if self._closed:
            return
        self._closed = True
        dispatcher = self._work[:1]
        await _cancel(dispatcher)
        if self._running:
            await asyncio.wait(self._running, timeout=self._close_s)
        await _cancel(list(self._running))
        await _cancel(self._work[1:])
        await self._db(self._give_back)
        self._thread.submit(self._disconnect)
        self._thread.shutdown()

    # ---- delivering, on the event loop

    async def _dispatch(self) -> None:
        await self._db(self._free_gone_owners)
        while True:
            self._wake.clear()
            try:
                claimed, wait_s = await self._db(self._claim)
            except VendorUnavailable:
                _log.warning("task queue not readable", exc_info=True)
                claimed, wait_s = [], self._poll_s
            for row in claimed:
                attempt = asyncio.create_task(self._attempt(row))
                self._running.add(attempt)
                attempt.add_done_callback(self._running.discard)
                self._held.add(row["id"])
            if not claimed:
                await self._wait(wait_s)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _hold(self) -> None:
        """Keep this process's leases, and forget names that are free again."""
        while True:
            await asyncio.sleep(self._lease_s / 3)
            try:
                await self._db(self._renew)
            except VendorUnavailable:
                _log.warning("task leases not renewed", exc_info=True)

    async def _attempt(self, row: sqlite3.Row) -> None:
        delivery = _delivery(row)
        response, reason = await self._answer(delivery)
        try:
            await self._db(self._settle, row, response, reason)
        except VendorUnavailable:
            # The lease runs out and the task is delivered again: at least once.
            _log.warning("task outcome not stored", exc_info=True)
        finally:
            self._held.discard(row["id"])
        self._wake.set()

    async def _answer(self, delivery: Delivery) -> tuple[Response | None, str]:
        task = delivery.task
        try:
            async with asyncio.timeout(task.deadline_s):
                response = await self._deliver(delivery)
        except TimeoutError:
            return None, "deadline exceeded"
        except Exception:
            _log.warning("task handler failed", exc_info=True, extra={"queue": task.queue})
            return None, "no answer"
        return response, "" if 200 <= response.status < 300 else f"HTTP status {response.status}"

    # ---- the file, on its thread

    async def _db(self, work: Callable[..., T], *args: Any) -> T:
        call = self._thread.submit(self._guarded, work, *args)
        return await asyncio.wrap_future(call)

    def _guarded(self, work: Callable[..., T], *args: Any) -> T:
        try:
            with self._transaction():
                return work(*args)
        except sqlite3.Error as err:
            raise VendorUnavailable("The task queue's file cannot be used now.") from err

    @property
    def _sql(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite would say 0644
            connection = sqlite3.connect(self._path, timeout=10.0, isolation_level=None)
            connection.row_factory = sqlite3.Row
            into_wal(connection)
            # Survives a killed process; only a power cut may undo the last moments.
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(_SCHEMA)
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        if self._connection:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # Immediate: a read that becomes a write in WAL fails instead of waiting for its turn.
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._sql.execute("ROLLBACK")
            raise
        self._sql.execute("COMMIT")

    def _now(self) -> float:
        return self._clock().timestamp()

    def _insert(self, task: Task) -> bool:
        at = self._now()
        eta = max(at, task.schedule_at.timestamp()) if task.schedule_at else at
        self._free_name(task.queue, task.name, at)
        row = self._sql.execute(
            "INSERT INTO tasks (queue, name, dedupe, path, body, headers, eta, deadline_s, due)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (
                task.queue,
                task.name or str(secrets.randbits(63)),
                task.name,
                task.path,
                task.body,
                json.dumps(task.headers),
                eta,
                task.deadline_s,
                eta,
            ),
        )
        return row.rowcount == 1

    def _free_name(self, queue: str, name: str | None, at: float) -> None:
        free = "queue = ? AND dedupe = ? AND due <= ?"
        self._sql.execute(f"DELETE FROM tasks WHERE {free} AND state = 'done'", (queue, name, at))
        self._sql.execute(
            f"UPDATE tasks SET dedupe = NULL WHERE {free} AND state = 'dead'", (queue, name, at)
        )

    def _remove(self, queue: str, name: str) -> bool:
        row = self._sql.execute(
            "UPDATE tasks SET state = 'done', body = x'', headers = '{}', owner = NULL, due = ?"
            " WHERE queue = ? AND dedupe = ? AND state = 'pending'",
            (self._now() + NAME_KEPT_S, queue, name),
        )
        return row.rowcount == 1

    def _claim(self) -> tuple[list[sqlite3.Row], float]:
        """Lease what may be delivered now; return it and the seconds until there may be more."""
        at, claimed, wait_s = self._now(), [], self._poll_s
        for queue in self._queues.values():
            bucket = self._buckets[queue.name]
            free = min(bucket.refill(at), queue.concurrency - self._leased(queue.name, at))
            rows = self._due(queue.name, at, free)
            bucket.tokens -= len(rows)
            for row in rows:
                if row["attempts"] < queue.max_attempts:
                    claimed.append(self._lease(row, at))
                else:  # its process died during the last attempt
                    self._park(row, at, None, "no answer")
            wait_s = min(wait_s, self._next_in(queue.name, at, bucket))
        return claimed, wait_s

    def _leased(self, queue: str, at: float) -> int:
        count = self._sql.execute(
            "SELECT count(*) FROM tasks"
            " WHERE state = 'pending' AND queue = ? AND due > ? AND owner IS NOT NULL",
            (queue, at),
        )
        return int(count.fetchone()[0])

    def _due(self, queue: str, at: float, limit: int) -> list[sqlite3.Row]:
        if limit <= 0:
            return []
        return self._sql.execute(
            "SELECT * FROM tasks WHERE state = 'pending' AND queue = ? AND due <= ?"
            " AND id NOT IN (SELECT value FROM json_each(?)) ORDER BY due, id LIMIT ?",
            (queue, at, json.dumps(list(self._held)), limit),
        ).fetchall()

    def _lease(self, row: sqlite3.Row, at: float) -> sqlite3.Row:
        leased: sqlite3.Row = self._sql.execute(
            "UPDATE tasks SET owner = ?, due = ?, attempts = attempts + 1 WHERE id = ? RETURNING *",
            (self._owner, at + self._lease_s, row["id"]),
        ).fetchone()
        return leased

    def _next_in(self, queue: str, at: float, bucket: _Bucket) -> float:
        soonest = self._sql.execute(
            "SELECT min(due) FROM tasks WHERE state = 'pending' AND queue = ?", (queue,)
        ).fetchone()[0]
        if soonest is None:
            return self._poll_s
        token_in = max(0.0, 1 - bucket.tokens) / bucket.per_second
        return max(float(soonest) - at, token_in, _SHORTEST_WAIT_S)

    def _settle(self, row: sqlite3.Row, response: Response | None, reason: str) -> None:
        at, status = self._now(), response.status if response else None
        mine = self._sql.execute(
            "UPDATE tasks SET owner = NULL WHERE id = ? AND owner = ? AND state = 'pending'",
            (row["id"], self._owner),
        )
        if mine.rowcount == 0:
            return  # cancelled, or the lease was lost and another process has it
        if status is not None and 200 <= status < 300:
            return self._finish(row, at)
        queue = self._queues[row["queue"]]
        if row["attempts"] >= queue.max_attempts:
            return self._park(row, at, status, reason)
        self._sql.execute(
            "UPDATE tasks SET due = ?, executions = executions + ?, last_status = ?,"
            " last_reason = ? WHERE id = ?",
            (
                at + _backoff(queue, row["attempts"], response),
                int(status is not None and status < 500),
                status,
                reason,
                row["id"],
            ),
        )

    def _finish(self, row: sqlite3.Row, at: float) -> None:
        if row["dedupe"] is None:
            self._sql.execute("DELETE FROM tasks WHERE id = ?", (row["id"],))
            return
        self._sql.execute(
            "UPDATE tasks SET state = 'done', body = x'', headers = '{}', due = ? WHERE id = ?",
            (at + NAME_KEPT_S, row["id"]),
        )

    def _park(self, row: sqlite3.Row, at: float, status: int | None, reason: str) -> None:
        self._sql.execute(
            "UPDATE tasks SET state = 'dead', owner = NULL, due = ?, last_status = ?,"
            " last_reason = ? WHERE id = ?",
            (at + NAME_KEPT_S, status, reason, row["id"]),
        )
        facts = {"queue": row["queue"], "attempts": row["attempts"], "status": status}
        _log.error("task parked: its attempts are spent", extra=facts)

    def _unfinished(self, retries: bool) -> bool:
        found = self._sql.execute(
            "SELECT 1 FROM tasks WHERE state = 'pending'"
            " AND (due <= ? OR owner IS NOT NULL OR (? AND attempts > 0)) LIMIT 1",
            (self._now(), retries),
        )
        return found.fetchone() is not None

    def _dead(self) -> list[DeadTask]:
        rows = self._sql.execute("SELECT * FROM tasks WHERE state = 'dead' ORDER BY due, id")
        return [
            DeadTask(
                task=_task(row),
                name=row["name"],
                attempts=row["attempts"],
                last_status=row["last_status"],
                last_reason=row["last_reason"],
                at=dt.datetime.fromtimestamp(row["due"] - NAME_KEPT_S, dt.UTC),
            )
            for row in rows
        ]

    def _renew(self) -> None:
        at = self._now()
        self._sql.execute(
            "UPDATE tasks SET due = ? WHERE owner = ? AND state = 'pending'"
            " AND id IN (SELECT value FROM json_each(?))",
            (at + self._lease_s, self._owner, json.dumps(list(self._held))),
        )
        for queue in self._queues:
            self._sql.execute(
                "DELETE FROM tasks WHERE state = 'done' AND queue = ? AND due <= ?", (queue, at)
            )

    def _give_back(self) -> None:
        self._sql.execute(
            "UPDATE tasks SET due = ?, owner = NULL, attempts = attempts - 1"
            " WHERE owner = ? AND state = 'pending'",
            (self._now(), self._owner),
        )

    def _free_gone_owners(self) -> None:
        """Take over at once from processes that are gone, without waiting for their leases."""
        owners = self._sql.execute("SELECT DISTINCT owner FROM tasks WHERE owner IS NOT NULL")
        for (owner,) in owners.fetchall():
            if not _alive(int(owner.partition("-")[0])):
                self._sql.execute(
                    "UPDATE tasks SET due = ?, owner = NULL WHERE owner = ?", (self._now(), owner)
                )


def _task(row: sqlite3.Row) -> Task:
    return Task(
        queue=row["queue"],
        path=row["path"],
        body=row["body"],
        name=row["dedupe"],
        headers=json.loads(row["headers"]),
        schedule_at=dt.datetime.fromtimestamp(row["eta"], dt.UTC),
        deadline_s=row["deadline_s"],
    )


def _delivery(row: sqlite3.Row) -> Delivery:
    retry_count = row["attempts"] - 1
    headers = {
        **json.loads(row["headers"]),
        "User-Agent": "Google-Cloud-Tasks",
        "X-CloudTasks-QueueName": row["queue"],
        "X-CloudTasks-TaskName": row["name"],
        "X-CloudTasks-TaskRetryCount": str(retry_count),
        "X-CloudTasks-TaskExecutionCount": str(row["executions"]),
        "X-CloudTasks-TaskETA": f"{row['eta']:.6f}",
    }
    if retry_count:
        headers["X-CloudTasks-TaskRetryReason"] = row["last_reason"] or ""
        if row["last_status"] is not None:
            headers["X-CloudTasks-TaskPreviousResponse"] = str(row["last_status"])
    return Delivery(_task(row), retry_count, row["executions"], headers)


def _backoff(queue: Queue, attempts: int, response: Response | None) -> float:
    doublings = min(attempts - 1, _MAX_DOUBLINGS)
    pause = min(queue.max_backoff_s, queue.min_backoff_s * 2.0**doublings)
    return max(pause, response.retry_after or 0.0) if response else pause


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
