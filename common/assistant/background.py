"""Work that goes on by itself on the loop, held so that it is neither lost nor left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Background:
    """The tasks of a service that nobody waits for."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start `work`; the loop alone would hold it weakly."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def finish(self, *, timeout: float) -> None:
        """Wait up to `timeout` seconds for what is under way."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)
