"""The task queue port: work done later, at least once, by an HTTP function.

Adapters: `common.tasks.embedded` (a queue in SQLite, delivered inside the process) and
`common.tasks.cloud_tasks`. Delivery is at least once and unordered; the handler makes it once with
its own idempotency key.
"""

from __future__ import annotations

import datetime as dt
from typing import Protocol

import msgspec

from common.tracing import carried


class Task(msgspec.Struct, frozen=True):
    """One request to make later.

    `queue` names a queue, `path` the function's path ("/connector_worker"), `body` its JSON bytes.
    `name` ([A-Za-z0-9_-], at most 500) dedupes: a used name is refused while its task is pending
    and for a while after (about a day). `schedule_at` is aware; at most 30 days ahead.
    `deadline_s` bounds one attempt, 15 to 1800. `headers` by default take the present trace along.
    """

    queue: str
    path: str
    body: bytes
    name: str | None = None
    headers: dict[str, str] = msgspec.field(default_factory=carried)
    schedule_at: dt.datetime | None = None
    deadline_s: float = 600.0


class Queue(msgspec.Struct, frozen=True):
    """How a queue paces and retries: Cloud Tasks' settings, kept by the embedded queue as well."""

    name: str
    per_second: float = 500.0
    concurrency: int = 100
    max_attempts: int = 8
    min_backoff_s: float = 0.5
    max_backoff_s: float = 60.0


class Tasks(Protocol):
    """The port."""

    async def enqueue(self, task: Task) -> bool:
        """Store the task; False when its name was used already (the task exists: a success).

        Raises VendorUnavailable when it could not be stored: nothing was enqueued.
        """

    async def cancel(self, queue: str, name: str) -> bool:
        """Remove a pending named task; False when it is not there any more."""

    async def close(self) -> None:
        """Stop delivering; what is stored is delivered by the next process."""
