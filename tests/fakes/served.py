"""What the simulators of vendors share: a server on loopback, in a thread with its own event loop.

A test's own loop, or none, never meets the server's: what the code under test does to one cannot
stop the other.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Self

from aiohttp import web


class Served:
    """A server while its `with` block runs; `origin` is where, as `http://127.0.0.1:port`.

    The block begins once the server listens. What keeps it from listening is raised there. With
    `cancels`, a client that hangs up cancels its handler at once.
    """

    origin = ""
    cancels = False

    def application(self) -> web.Application:
        """Return what is served over HTTP."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._listening: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)
        self._thread.start()
        self._listening.result()
        return self

    def __exit__(self, kind: object, err: BaseException | None, trace: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def start(self, *, host: str = "127.0.0.1", port: int = 0) -> web.AppRunner:
        """Listen on the running loop and set `origin`; the caller owes `runner.cleanup()`."""
        runner = web.AppRunner(
            self.application(),
            handler_cancellation=self.cancels,
            access_log=None,
            shutdown_timeout=0.1,
        )
        await runner.setup()
        await web.TCPSite(runner, host, port, backlog=4096).start()
        self.origin = f"http://{host}:{runner.addresses[0][1]}"
        return runner

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Listen while the block runs; a server that speaks no HTTP has its own."""
        runner = await self.start()
        yield
        await runner.cleanup()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as err:
            if self._listening.done():
                raise
            self._listening.set_exception(err)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with self.serving():
            self._listening.set_result(None)
            await self._stop.wait()
