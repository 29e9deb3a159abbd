"""The local suite as a process to be killed, with the connector `acts`.

It imports everything once and then forks a server for each line "start" on its standard input, so
that a test may kill and restart one fifty times a minute. `Suite` is the test's end of it.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import aiohttp

from run.local.ports import free_port
from tests.fakes.acts import Effects


class Suite:
    """A server on a port of its own over `folder`; it starts with the `with` block."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        self.effects = Effects(folder / "effects")
        self.log = folder / "log"
        self.port = free_port()
        self._environ = {
            "ODAI_DATA": str(folder / "data"),
            "ODAI_SMALL_MODEL": "off",
            "ODAI_TEST_EFFECTS": str(self.effects.path),
            "ODAI_TEST_LOG": str(self.log),
            "ODAI_PROMPTS_PER_MINUTE": "10000",
            "PORT": str(self.port),
            **environ,
        }
        self._zygote: subprocess.Popen[str] | None = None
        self._group = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        environ: Mapping[str, str] = {**os.environ, **self._environ}
        self._zygote = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.suite"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        self.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        assert self._zygote
        if kind:  # pytest shows it beside the failure
            print(self.log.read_text()[-5000:])
        self.kill()
        self._zygote.communicate("")

    def start(self) -> None:
        """Start a server and wait until it answers."""
        assert self._zygote and self._zygote.stdin and self._zygote.stdout
        self._zygote.stdin.write("start\n")
        self._zygote.stdin.flush()
        self._group = int(self._zygote.stdout.readline())
        deadline = time.monotonic() + 60.0
        while not self._listens():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill every process of the server, at once."""
        os.killpg(self._group, signal.SIGKILL)
        while self._listens():
            time.sleep(0.005)

    async def sign_in(self, http: aiohttp.ClientSession, name: str) -> str:
        """Return a token of a user of this name."""
        async with http.post(f"{self.url}/client/sign_in", json={"name": name}) as answer:
            token: str = (await answer.json())["token"]
            return token

    def socket(self, http: aiohttp.ClientSession, chat: str, token: str, cursor: str = "") -> Any:
        """Open a chat's socket."""
        query = {"token": token, **({"cursor": cursor} if cursor else {})}
        return http.ws_connect(f"{self.url}/chats/{chat}", params=query, max_msg_size=0)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def _serve() -> None:
    """Be the server, in a process group of its own."""
    from common import log
    from common.assistant import turn
    from common.bootstrap import Services
    from common.settings import Settings
    from run.chat_stream.server import ChatServer
    from run.local.suite import create_suite
    from tests.fakes import acts

    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output = os.open(os.environ["ODAI_TEST_LOG"], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    for stream in (1, 2):
        os.dup2(output, stream)
    settings = Settings.from_env(os.environ)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    turn.PATIENCE = float(os.environ.get("ODAI_TEST_PATIENCE", turn.PATIENCE))
    log.configure(level=settings.log_level)

    def make_app(services: Services) -> Any:
        acts.install(services)
        return create_suite(services)

    server = ChatServer(settings, make_app, host="127.0.0.1", drain_seconds=0.5)
    server.cfg.set("control_socket_disable", True)
    server.run()


def main() -> None:
    """Fork a server for each line of standard input, telling its process id."""
    for module in ("common.assistant.turns", "common.llm.provider", "run.local.suite"):
        importlib.import_module(module)  # paid for once

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    child = -1
    for _ in iter(sys.stdin.readline, ""):
        child = os.fork()
        if not child:
            sys.stdin.close()
            try:
                _serve()
            finally:
                os._exit(1)
        print(child, flush=True)
    with suppress(ProcessLookupError):  # the test has gone: its last server goes as well
        if child > 0:
            os.killpg(child, signal.SIGKILL)


if __name__ == "__main__":
    main()
