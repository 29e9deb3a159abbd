"""A client as a person has one: it keeps its cursor, comes back after every cut, and checks.

Whatever happens to its socket or the server, each event must come after the one before it: the
next number of the same turn (an event may stand for several, see `from_seq`), or the first of a
later turn.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp

from tests.fakes.suite import Suite

Event = dict[str, Any]
SECONDS = 50.0


class Client:
    """Watches one chat as one user; `events` are all it was ever shown."""

    def __init__(self, suite: Suite, http: aiohttp.ClientSession, chat: str, token: str) -> None:
        self.events: list[Event] = []
        self.problems: list[str] = []
        self._suite, self._http, self._chat, self._token = suite, http, chat, token
        self._turn, self._seq = "", 0
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._away = True

    @property
    def cursor(self) -> str:
        """How far it has seen."""
        return f"{self._turn}:{self._seq}" if self._turn else ""

    @property
    def connected(self) -> bool:
        """Whether it was greeted and its socket is open."""
        return self._socket is not None

    def open(self) -> None:
        """Connect, and again whenever the connection ends."""
        self._away = False
        self._task = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Go away."""
        self._away = True
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._socket = None

    def cut(self) -> None:
        """Tear the connection in the middle, without a goodbye."""
        if self._socket is not None:
            connection = self._socket._response.connection
            assert connection and connection.transport
            connection.transport.abort()

    async def send(self, **frame: Any) -> bool:
        """Send a frame if connected; whether it arrived, nobody knows."""
        if self._socket is None:
            return False
        try:
            await self._socket.send_json(frame)
        except (ConnectionError, RuntimeError):
            return False
        return True

    async def until(self, wanted: Callable[[], Any]) -> Any:
        """Wait until `wanted()` holds; return it."""
        async with asyncio.timeout(SECONDS):
            while not (found := wanted()):
                self._changed.clear()
                await self._changed.wait()
        return found

    async def insist(self, seen: Callable[[], Any], **frame: Any) -> Any:
        """Send a frame, and again after each reconnection, until `seen()` holds; return it."""
        async with asyncio.timeout(SECONDS):
            while not (found := seen()):
                socket = await self.until(lambda: self._socket)
                await self.send(**frame)
                await self.until(lambda: seen() or self._socket is not socket)  # noqa: B023
        return found

    def of(self, kind: str) -> list[Event]:
        """Return the events of one type."""
        return [event for event in self.events if event["type"] == kind]

    async def _watch(self) -> None:
        while not self._away:
            try:
                opening = self._suite.socket(self._http, self._chat, self._token, self.cursor)
                async with opening as socket:
                    async for message in socket:
                        self._take(json.loads(message.data), socket)
            except (aiohttp.ClientError, ConnectionError):
                pass
            finally:
                self._socket = None
                self._changed.set()
            await asyncio.sleep(0.02)  # as a client that does not hammer a server that is away

    def _take(self, event: Event, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.events.append(event)
        self._changed.set()
        if event["type"] == "hello":
            self._socket = socket
            if not self._turn:
                turn, seq = event["cursor"].split(":")
                self._turn, self._seq = turn, int(seq)
        if turn := event["turn_id"]:
            first = event.get("from_seq", event["seq"])
            # Deltas that a dead server had shown and not stored have spent their numbers: what
            # its successor says first stands for those too.
            spent = event["type"] == "error" and first <= self._seq < event["seq"]
            follows = turn == self._turn and (first == self._seq + 1 or spent)
            if not follows and not (turn > self._turn and first == 1):
                before = [f"{e['type']} {e['seq']}" for e in self.events[-5:]]
                self.problems.append(f"{turn}:{first} after {self.cursor}: {before}")
            self._turn, self._seq = turn, event["seq"]


def said(events: list[Event]) -> dict[str, str]:
    """Return each turn's streamed text."""
    texts: dict[str, str] = {}
    for event in events:
        if event["type"] == "raw_response_event":
            texts[event["turn_id"]] = texts.get(event["turn_id"], "") + event["delta"]
    return texts


def told(events: list[Event]) -> list[Event]:
    """Return a chat's events without what only depends on how they were sent.

    Deltas may be merged differently for each viewer, and after a crash the numbers of what came
    before it: what is told is the same.
    """
    whole: list[Event] = []
    for event in events:
        if not event["turn_id"]:
            continue
        kept = {k: v for k, v in event.items() if k not in ("id", "seq", "from_seq")}
        last = whole[-1] if whole else {}
        same = ("type", "turn_id", "current_agent")
        if kept["type"] == "raw_response_event" and all(last.get(k) == kept[k] for k in same):
            whole[-1] = {**kept, "delta": last["delta"] + kept["delta"]}
        else:
            whole.append(kept)
    return whole
