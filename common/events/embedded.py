"""Events inside the process: the laptop's Pub/Sub.

Each subscription has its own bounded queue and workers, so that a slow or failing listener delays
nobody else. What was accepted lives in memory: it is delivered before `close` returns, and lost
with the process. Handlers get it at least once, through JSON as they would from Pub/Sub.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from common.errors import InvalidInput, VendorUnavailable
from common.events import Event
from common.log import get_logger

Handler: TypeAlias = Callable[[Event], Awaitable[None]]
_Accepted: TypeAlias = tuple[Event, str, contextvars.Context]
_log = get_logger(__name__)


@dataclass(slots=True)
class _Subscription:
    handler: Handler
    waiting: asyncio.Queue[_Accepted]
    workers: list[asyncio.Task[None]] = field(default_factory=list)


class EmbeddedEvents:
    """`Events` within one event loop.

    A handler that raises is tried `attempts` times in all, `backoff_s` apart and doubling; then
    the event is dropped for that handler and the loss logged. `publish` waits up to `accept_s`
    for room among `capacity` waiting events, `close` up to `drain_s` for handlers to end.
    """

    def __init__(
        self,
        *,
        capacity: int = 1000,
        workers: int = 4,
        attempts: int = 4,
        backoff_s: float = 0.1,
        accept_s: float = 5.0,
        drain_s: float = 10.0,
    ) -> None:
        self._capacity = capacity
        self._workers = workers
        self._attempts = attempts
        self._backoff_s = backoff_s
        self._accept_s = accept_s
        self._drain_s = drain_s
        self._subscriptions: dict[str, list[_Subscription]] = {}
        self._room = asyncio.Condition()
        self._closed = False

    def subscribe(self, topic: str, handler: Handler) -> None:
        """Call `handler` with every event published to `topic` from now on."""
        queue: asyncio.Queue[_Accepted] = asyncio.Queue(self._capacity)
        self._subscriptions.setdefault(topic, []).append(_Subscription(handler, queue))

    async def publish(self, event: Event) -> None:
        """Accept the event for every subscription of its topic, or for none.

        Raises VendorUnavailable when a listener's queue stays full or after `close`, InvalidInput
        when `data` is not JSON.
        """
        try:
            text = json.dumps(dict(event.data))
        except (TypeError, ValueError) as err:
            raise InvalidInput("An event's data must be JSON.") from err
        listeners = self._subscriptions.get(event.topic, [])
        await self._wait_for_room(listeners)
        for listener in listeners:
            self._start(listener)
            listener.waiting.put_nowait((event, text, contextvars.copy_context()))

    async def drain(self) -> None:
        """Wait until everything accepted so far was handled or given up."""
        every = [s.waiting.join() for group in self._subscriptions.values() for s in group]
        await asyncio.gather(*every)

    async def close(self) -> None:
        """Accept nothing more, deliver what was accepted, and stop."""
        self._closed = True
        try:
            await asyncio.wait_for(self.drain(), self._drain_s)
        except TimeoutError:
            _log.error("events lost at shutdown", extra={"waiting": self._waiting()})
        workers = [w for group in self._subscriptions.values() for s in group for w in s.workers]
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def _wait_for_room(self, listeners: list[_Subscription]) -> None:
        def ready() -> bool:
            return self._closed or not any(listener.waiting.full() for listener in listeners)

        try:
            async with self._room, asyncio.timeout(self._accept_s):
                await self._room.wait_for(ready)
        except TimeoutError as err:
            raise VendorUnavailable("Too many events are waiting; try again.") from err
        if self._closed:
            raise VendorUnavailable("This process is shutting down; try again.")

    def _start(self, listener: _Subscription) -> None:
        # Here and not in `subscribe`, which the composition root calls before the loop runs.
        while len(listener.workers) < self._workers:
            listener.workers.append(asyncio.create_task(self._work(listener)))

    async def _work(self, listener: _Subscription) -> None:
        while True:
            event, text, context = await listener.waiting.get()
            try:
                async with self._room:
                    self._room.notify_all()
                await self._deliver(
                    listener.handler, replace(event, data=json.loads(text)), context
                )
            finally:
                listener.waiting.task_done()

    async def _deliver(self, handler: Handler, event: Event, context: contextvars.Context) -> None:
        facts = {"topic": event.topic, "event_id": event.id}
        for attempt in range(1, self._attempts + 1):
            try:
                # In the publisher's context, so that the handler logs under the same trace.
                await asyncio.create_task(_call(handler, event), context=context)
                return
            except Exception:
                _log.warning("event handler failed", exc_info=True, extra=facts)
            if attempt < self._attempts:
                await asyncio.sleep(self._backoff_s * 2 ** (attempt - 1))
        _log.error("event given up", extra=facts)

    def _waiting(self) -> int:
        return sum(s.waiting.qsize() for group in self._subscriptions.values() for s in group)


async def _call(handler: Handler, event: Event) -> None:
    await handler(event)
