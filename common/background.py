"""Work that goes on by itself on the loop, held so that it is neither lost nor left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Background:
    """The tasks of a service that nobody waits for."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start `work`; the loop alone would hold it weakly."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> None:
        """Give up what is under way, but for who asks."""
        for task in self._others():
            task.cancel()

    async def finish(self, *, timeout: float) -> None:
        """Wait up to `timeout` seconds for what is under way, but for who asks."""
        if others := self._others():
            await asyncio.wait(others, timeout=timeout)

    def _others(self) -> list[asyncio.Task[Any]]:
        return [task for task in self._tasks if task is not asyncio.current_task()]
