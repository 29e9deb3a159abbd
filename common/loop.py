"""The process's one long-lived event loop, in a thread of its own.

Google's asynchronous clients and the model client break when a second loop uses them, so every
coroutine of a process runs here. Synchronous Flask handlers hand theirs over with `run`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

from common.errors import VendorUnavailable

T = TypeVar("T")


class LoopThread:
    """An asyncio loop running in a daemon thread until `stop`; uvloop's where it is installed."""

    def __init__(self, name: str = "odai-loop") -> None:
        self.loop = _new_loop()
        self._ended = False
        self._handing_over = threading.Lock()
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], *, timeout: float | None = 60.0) -> T:
        """Run `work` on the loop and return its result; `timeout` is in seconds.

        Raises VendorUnavailable when the time is up (the coroutine is cancelled) or the loop has
        ended, and whatever the coroutine raises. Must not be called from the loop's own thread.
        """
        with self._handing_over:
            if self._ended:
                work.close()
                raise VendorUnavailable("The server is stopping. Please try again.")
            future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result(timeout)
        except FutureTimeout as err:
            if future.done():
                raise
            future.cancel()
            raise VendorUnavailable("That took too long. Please try again.") from err

    def stop(self, *, timeout: float = 2.0) -> None:
        """Cancel what still runs, wait at most `timeout` seconds, and end the thread."""
        if not self._thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(_stop(timeout), self.loop)
        self._thread.join(timeout + 1.0)

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        with self._handing_over:
            self._ended = True
        # What was handed over in the last moment is cancelled, not forgotten.
        self.loop.run_until_complete(_cancel_others(0.5))
        self.loop.close()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # absent on platforms without a wheel: asyncio's own loop serves as well
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def _stop(timeout: float) -> None:
    await _cancel_others(timeout)
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.stop)


async def _cancel_others(timeout: float) -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=timeout)
