"""The gunicorn server of the container and of `make run`: one worker, one event loop, threads.

Threads serve plain requests and handshakes; sockets live on the loop. One worker, because a turn's
journal lives in the process that runs it and Cloud Run scales by instances.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from types import FrameType
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from common import log
from common.bootstrap import Services
from common.loop import LoopThread
from common.settings import Settings
from run.chat_stream.housekeeping import keep_house

THREADS = 16
DRAIN_SECONDS = 6.0  # of the 10 s that Cloud Run leaves after SIGTERM
_logger = log.get_logger(__name__)


class ChatServer(BaseApplication):  # type: ignore[misc]  # gunicorn has no type hints
    """Serves what `make_app(services)` returns; `announce(services)` is called when it listens."""

    def __init__(
        self,
        settings: Settings,
        make_app: Callable[[Services], Flask],
        *,
        host: str,
        announce: Callable[[Services], None] | None = None,
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        self._settings = settings
        self._make_app = make_app
        self._host = host
        self._announce = announce
        self._drain_seconds = drain_seconds
        self._services: Services | None = None
        self._app: Flask | None = None
        self._house: Future[None] | None = None
        self._draining: Future[None] | None = None
        super().__init__()

    def load_config(self) -> None:
        """Set gunicorn's options; nothing is read from files or the command line."""
        options: dict[str, Any] = {
            "bind": f"{self._host}:{self._settings.port}",
            "workers": 1,
            "worker_class": "gthread",
            "threads": THREADS,
            "worker_connections": 4096,
            "backlog": 2048,
            "timeout": 0,
            "graceful_timeout": 9,  # after it, what still drains would be killed
            "keepalive": 5,
            "control_socket_disable": True,  # it would lie in the home folder
            "loglevel": "warning",
            "worker_exit": self._stop,
            "post_worker_init": self._ready,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Make the application, in the worker: threads and loops do not survive a fork."""
        services = self._services = Services(self._settings, LoopThread())
        app = self._app = self._make_app(services)
        services.observe()
        services.loop.run(warm_up(services), timeout=60.0)
        # What is loaded by now stays. Looking through all of it again and again stops every
        # stream for a tenth of a second each time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 50)
        return app

    def _ready(self, _: Any) -> None:
        self._drain_at_once()
        log.configure(project=self._settings.google_project, level=self._settings.log_level)
        if not self._services:
            return
        keeping = keep_house(self._services)
        self._house = asyncio.run_coroutine_threadsafe(keeping, self._services.loop.loop)
        if self._announce:
            self._announce(self._services)

    def _stop(self, _server: Any, _worker: Any) -> None:
        if self._services is None or self._app is None:
            return
        if self._house:
            self._house.cancel()
        draining = self._draining or self._drain()
        with suppress(TimeoutError):
            draining.result(9.0)
        self._services.close()

    def _drain(self) -> Future[None]:
        assert self._services is not None
        assert self._app is not None
        sockets = self._app.extensions["odai_sockets"]
        return asyncio.run_coroutine_threadsafe(
            sockets.drain(self._drain_seconds), self._services.loop.loop
        )

    def _drain_at_once(self) -> None:
        """Begin with SIGTERM itself: a request that hangs would hold up the worker's own end."""
        handle = signal.getsignal(signal.SIGTERM)

        def begin(number: int, frame: FrameType | None) -> None:
            self._draining = self._draining or self._drain()
            if callable(handle):
                handle(number, frame)

        signal.signal(signal.SIGTERM, begin)


async def warm_up(services: Services) -> None:
    """Make what the first turn would otherwise wait for: imports, schemas, a stub run."""
    await asyncio.get_running_loop().run_in_executor(None, lambda: services.turns)
    await services.turns.warm_up()
