"""Reads that are alike are made once: shared while under way, kept for a while afterwards."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from common.egress.reply import Reply

Read = Callable[[], Coroutine[Any, Any, Reply]]


@dataclass(slots=True)
class _Flight:
    task: asyncio.Task[Reply]
    waiters: int = 0


class SharedReads:
    """Replies by key, least recently used out first; bounded by number and by bytes of body."""

    def __init__(
        self, clock: Callable[[], float], *, max_entries: int = 512, max_bytes: int = 16_000_000
    ) -> None:
        self._clock, self._max_entries, self._max_bytes = clock, max_entries, max_bytes
        self._kept: OrderedDict[str, tuple[float, Reply]] = OrderedDict()
        self._bytes = 0
        self._flights: dict[str, _Flight] = {}

    async def get(self, key: str, read: Read, *, max_age_s: float) -> Reply:
        """Return the reply kept for `key` if younger than `max_age_s` seconds, else `read`'s.

        Callers that arrive meanwhile share the one read and its error. A caller who gives up
        leaves it to the others; with the last one it is cancelled. Only 2xx replies are kept.
        """
        at, reply = self._kept.get(key, (0.0, None))
        if reply is not None and self._clock() - at < max_age_s:
            self._kept.move_to_end(key)
            return reply
        return await self._join(key, read)

    async def _join(self, key: str, read: Read) -> Reply:
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(read()))
            flight.task.add_done_callback(lambda task: self._land(key, task))
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                self._flights.pop(key, None)  # a newcomer must not join a cancelled read
                flight.task.cancel()

    def _land(self, key: str, task: asyncio.Task[Reply]) -> None:
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]
        # Asking for the exception also keeps asyncio from reporting one that nobody waited for.
        if not task.cancelled() and task.exception() is None and task.result().status < 300:
            self._keep(key, task.result())

    def _keep(self, key: str, reply: Reply) -> None:
        self._forget(key)
        self._kept[key] = (self._clock(), reply)
        self._bytes += len(reply.body)
        while len(self._kept) > self._max_entries or self._bytes > self._max_bytes:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: str) -> None:
        _, reply = self._kept.pop(key, (0.0, None))
        self._bytes -= len(reply.body) if reply else 0
