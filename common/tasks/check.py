"""What Cloud Tasks refuses, refused alike by both adapters: a laptop must not accept more."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Container

from common.errors import InvalidInput, Misconfigured
from common.tasks import Task

MIN_DEADLINE_S = 15.0
MAX_DEADLINE_S = 1800.0
MAX_BODY = 1_000_000  # of the 1 MiB a whole task may have, leaving room for address and headers
MAX_AHEAD = dt.timedelta(days=30)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,500}\Z")
_OURS = ("x-cloudtasks-", "x-google-", "x-appengine-")


def check_task(task: Task, *, queues: Container[str], now: dt.datetime) -> None:
    """Raise InvalidInput, or Misconfigured for an undeclared queue, where `task` cannot be kept."""
    if task.queue not in queues:
        raise Misconfigured(f"No queue is called {task.queue!r}: declare it beside the others.")
    if task.name is not None and not _NAME.match(task.name):
        raise InvalidInput("A task's name is 1 to 500 of A-Z a-z 0-9 _ -.")
    if not task.path.startswith("/"):
        raise InvalidInput("A task's path starts with a slash.")
    if not MIN_DEADLINE_S <= task.deadline_s <= MAX_DEADLINE_S:
        raise InvalidInput("A task's deadline is 15 to 1800 seconds.")
    if len(task.body) > MAX_BODY:
        raise InvalidInput("A task's body is at most 1,000,000 bytes: store it and send its id.")
    if any(name.lower().startswith(_OURS) for name in task.headers):
        raise InvalidInput("A task's headers may not start with X-CloudTasks-, X-Google-.")
    if task.schedule_at is None:
        return
    if task.schedule_at.tzinfo is None:
        raise InvalidInput("A task's time needs a time zone.")
    if task.schedule_at > now + MAX_AHEAD:
        raise InvalidInput("A task is scheduled at most 30 days ahead.")
