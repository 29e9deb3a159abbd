"""The real server as a process of its own, and a client of its sockets, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp

from run.local.ports import free_port

ROOT = Path(__file__).parents[2]
READY = "Stop with Ctrl-C."
SECONDS = 50.0
Event = dict[str, Any]


def environment(data: Path, **settings: str) -> dict[str, str]:
    """Return what a process of ours sees: the settings given and nothing of this machine's."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {
        **kept,
        "ODAI_DATA": str(data),
        "ODAI_SMALL_MODEL": "off",
        "PYTHONUNBUFFERED": "1",
        **settings,
    }


class Server:
    """`python -m run.local serve`, started on construction; `output` is all it printed."""

    def __init__(self, data: Path, **settings: str) -> None:
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "run.local", "serve"],
            cwd=ROOT,
            env=environment(data, PORT=str(self.port), **settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that a signal can reach all of it and only it
        )
        self._lines: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.until(READY)

    @property
    def output(self) -> str:
        """Return what was printed so far."""
        return "".join(self._lines)

    @property
    def sign_in_link(self) -> str:
        """Return the link it printed."""
        return next(word for word in self.output.split() if "#token=" in word)

    def until(self, text: str) -> None:
        """Wait until it printed `text`."""
        with self._more:
            self._more.wait_for(lambda: text in self.output or self.process.poll() is not None, 60)
        assert text in self.output, self.output

    def token(self, name: str) -> str:
        """Sign in as the user `name`."""
        body = self._post("/client/sign_in", {"name": name})
        return str(body["token"])

    def ticket(self, token: str) -> str:
        """Return a one-time ticket."""
        return str(self._post("/tickets", {}, token)["ticket"])

    def get(self, path: str, token: str) -> Any:
        """Return the JSON of a page."""
        return self._fetch(urllib.request.Request(self.base + path), token)

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
        assert "Traceback" not in self.output, self.output
        return code

    def kill(self) -> None:
        """End all of it at once, as a power cut would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _post(self, path: str, body: Any, token: str = "") -> Any:
        request = urllib.request.Request(
            self.base + path,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        return self._fetch(request, token)

    def _fetch(self, request: urllib.request.Request, token: str) -> Any:
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            return json.load(response)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._more:
                self._lines.append(line)
                self._more.notify_all()
        with self._more:
            self._more.notify_all()


class Client:
    """One socket: what it was sent, and what it sends."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.events: list[Event] = []
        self.closed: tuple[int, str] | None = None

    async def send(self, **frame: Any) -> None:
        """Send a typed frame."""
        await self.ws.send_str(json.dumps(frame))

    async def until(self, wanted: Callable[[Event], Any]) -> Event:
        """Read until an event fits; return it."""
        async with asyncio.timeout(SECONDS):
            while True:
                message = await self.ws.receive()
                assert message.type == aiohttp.WSMsgType.TEXT, (message, self.events[-3:])
                self.events.append(json.loads(message.data))
                if wanted(self.events[-1]):
                    return self.events[-1]

    async def until_type(self, kind: str) -> Event:
        """Read until an event of this type; return it."""
        return await self.until(lambda event: event["type"] == kind)

    async def until_closed(self) -> int:
        """Read until the server closes; return its code."""
        async with asyncio.timeout(SECONDS):
            while True:
                message = await self.ws.receive()
                if message.type == aiohttp.WSMsgType.TEXT:
                    self.events.append(json.loads(message.data))
                    continue
                assert self.ws.close_code is not None
                return self.ws.close_code


@contextlib.asynccontextmanager
async def connected(
    server: Server,
    chat: str,
    *,
    token: str = "",
    ticket: str = "",
    cursor: str = "",
    origin: str = "",
) -> AsyncIterator[Client]:
    """Open a chat socket, by `token` as the original clients do or by `ticket`."""
    query = {"token": token} if token else {}
    if cursor:
        query["cursor"] = cursor
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"{server.base}/chats/{chat}",
            params=query,
            protocols=("odai.v1", f"ticket.{ticket}") if ticket else (),
            headers={"Origin": origin} if origin else {},
            max_msg_size=0,
        ) as ws,
    ):
        yield Client(ws)


def turn_events(events: list[Event]) -> list[Event]:
    """Return the numbered events: those of turns."""
    return [event for event in events if event["turn_id"]]


def told(events: list[Event]) -> list[tuple[str, str]]:
    """Return what a person was shown: text joined, everything else by type and number."""
    shown: list[tuple[str, str]] = []
    for event in turn_events(events):
        if event["type"] != "raw_response_event":
            shown.append((event["type"], event["id"]))
        elif shown and shown[-1][0] == "text":
            shown[-1] = ("text", shown[-1][1] + event["delta"])
        else:
            shown.append(("text", event["delta"]))
    return shown
