"""The clients of the load: many chat sockets in one process, most of them idle, some difficult.

A process of its own, so that what it uses is not the server's. It reads its plan from the command
line and prints a line of JSON every few seconds, of what it saw since the last one.

Some of the sockets ask one after the other, so that always the same number streams; after a few
answers each goes away and comes back with a new chat, as users do. Others are what servers fear:

- `slow` reads a little ten times a second, less than comes at once, and is never dropped;
- `deaf` asks and then reads nothing, though its system still acknowledges;
- `stubborn` does the same, and says every few seconds that it lives;
- `gone` opens a chat and is never heard of again: a half-open connection.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import math
import os
import re
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

import uvloop

_STAMP = re.compile(rb"@(\d{19})")
_DELTAS_END = b"response.output_text.done"
_END = b'"type":"end_of_stream"'
_PING_S = 25.0  # the server's
_LATE_S = 2.0
_REPORT_S = 10.0
_RESTS_S = 1.0  # until a socket that was dropped is opened again
_SMALL = 4096
_QUEUED = 8  # prompts of who does not read: more than a socket's buffers and backlog hold
_PER_BUCKET = 0.05  # of a latency, on a logarithmic scale
ODD = ("slow", "deaf", "stubborn", "gone")
LONG = "Tell me everything."  # which the model answers at length


class Seen:
    """What the sockets saw since the last report."""

    def __init__(self) -> None:
        self.deltas = self.answers = self.late_pings = self.pings = 0
        self.longest_ping_s = 0.0
        self.buckets: Counter[int] = Counter()
        self.dropped: Counter[str] = Counter()
        self.lived_s: list[float] = []
        self.problems: list[str] = []

    def delta(self, latency_ns: int) -> None:
        """Count a delta that took so long."""
        self.deltas += 1
        self.buckets[bucket_of(latency_ns / 1e6)] += 1

    def ping(self, apart_s: float) -> None:
        """Count a heartbeat that came so long after the one before."""
        self.pings += 1
        self.longest_ping_s = max(self.longest_ping_s, apart_s)
        self.late_pings += apart_s > _PING_S + _LATE_S

    def told(self) -> dict[str, Any]:
        """Return the report."""
        return {
            "deltas": self.deltas, "answers": self.answers, "pings": self.pings,
            "late_pings": self.late_pings, "longest_ping_s": round(self.longest_ping_s, 2),
            "buckets": list(self.buckets.items()), "dropped": dict(self.dropped),
            "lived_s": self.lived_s, "problems": self.problems[:5],
        }  # fmt: skip


def bucket_of(milliseconds: float) -> int:
    """Return the bucket of a latency."""
    return round(math.log(max(milliseconds, 0.01)) / _PER_BUCKET)


def percentile(buckets: Counter[int], share: float) -> float:
    """Return the latency in milliseconds that this share of them does not exceed."""
    wanted = share * buckets.total()
    for bucket in sorted(buckets):
        wanted -= buckets[bucket]
        if wanted <= 0:
            return math.exp(bucket * _PER_BUCKET)
    return 0.0


class Client(asyncio.Protocol):
    """One socket."""

    def __init__(self, crowd: Crowd, path: str, kind: str) -> None:
        self.kind = kind
        self.answers = 0
        self._crowd, self._path = crowd, path
        self._buffer = b""
        self._open = self._closed = self._told = False
        self._reading = True
        self._born = time.monotonic()
        self._pinged = 0.0
        self._transport: Any = None
        self._timer: asyncio.TimerHandle | None = None

    # --- asyncio.Protocol -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        if not self._open:
            head, found, rest = buffer.partition(b"\r\n\r\n")
            if not found:
                self._buffer = buffer
                return
            if b" 101 " not in head[:20]:
                self._crowd.seen.problems.append(f"refused: {head[:80]!r}")
            self._open = True
            buffer = rest
        self._buffer = self._frames(buffer)
        if self.kind == "slow" and self._reading:
            self._pause(0.1)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        if not self._closed:
            self._lost("cut")

    # --- for the crowd ----------------------------------------------------------------------

    def ask(self, text: str) -> None:
        """Send a prompt."""
        self._write(0x81, text.encode())

    def leave(self) -> None:
        """Close as a client should."""
        self._closed = True
        self._write(0x88, b"\x03\xe8")
        self._transport.close()

    # --- inside -----------------------------------------------------------------------------

    def _greeted(self) -> None:
        """The chat is open: begin to be what this socket is."""
        self._crowd.opened(self)
        if self.kind in ("deaf", "stubborn"):
            for _ in range(_QUEUED):
                self.ask(LONG)
        if self.kind in ("deaf", "stubborn", "gone"):
            self._reading = False
            self._transport.pause_reading()
        if self.kind == "stubborn":
            self._live()
        if self.kind == "slow":
            self.ask("And slowly, please.")

    def _live(self) -> None:
        self._write(0x8A, b"")
        self._timer = asyncio.get_running_loop().call_later(5.0, self._live)

    def _pause(self, seconds: float) -> None:
        self._reading = False
        self._transport.pause_reading()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._read_on)

    def _read_on(self) -> None:
        self._reading = True
        self._transport.resume_reading()

    def _write(self, first: int, payload: bytes) -> None:
        # A mask of zeros is a mask as well.
        self._transport.write(bytes((first, 0x80 | len(payload), 0, 0, 0, 0)) + payload)

    def _frames(self, buffer: bytes) -> bytes:
        at = 0
        while len(buffer) - at >= 2:
            length, head = buffer[at + 1], 2
            if length >= 126:
                head = 4 if length == 126 else 10
                length = int.from_bytes(buffer[at + 2 : at + head], "big")
            end = at + head + length
            if len(buffer) < end or len(buffer) - at < head:
                break
            self._frame(buffer[at] & 0x0F, buffer[at + head : end])
            at = end
        return buffer[at:]

    def _frame(self, opcode: int, payload: bytes) -> None:
        if opcode == 9:
            self._heartbeat(payload)
        elif opcode == 8:
            self._lost(str(int.from_bytes(payload[:2], "big")))
            self._transport.close()
        elif b'"type":"hello"' in payload:
            self._greeted()
        elif b'"type":"error"' in payload:
            self._crowd.seen.problems.append(payload[:200].decode())
        elif b'"delta":' in payload and not self._told:
            now = time.monotonic_ns()
            for stamp in _STAMP.findall(payload):
                self._crowd.seen.delta(now - int(stamp))
        elif _END in payload:
            self.answers += 1
            self._crowd.seen.answers += 1
            if self.kind == "slow":
                self.ask("And slowly, please.")
            else:
                self._crowd.answered(self)

    def _heartbeat(self, payload: bytes) -> None:
        moment = time.monotonic()
        if self._pinged and self.kind != "slow":  # who reads slowly sees them late
            self._crowd.seen.ping(moment - self._pinged)
        self._pinged = moment
        self._write(0x8A, payload)

    def _lost(self, why: str) -> None:
        self._closed = True
        self._crowd.seen.dropped[f"{self.kind}: {why}"] += 1
        self._crowd.seen.lived_s.append(round(time.monotonic() - self._born, 1))
        self._crowd.lost(self)


class Crowd:
    """All sockets, and who asks next."""

    def __init__(self, port: int, paths: list[str], *, streaming: int, turns: int) -> None:
        self.seen = Seen()
        self._port, self._paths = port, paths
        self._streaming, self._turns = streaming, turns
        self._resting: deque[Client] = deque()
        self._number: dict[Client, int] = {}
        self._generation: Counter[int] = Counter()
        self._asking = 0
        self._begun = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def count(self) -> int:
        """How many sockets stand."""
        return len(self._number)

    async def open(self, number: int, kind: str) -> None:
        """Open the socket of this number, each time with a chat of its own."""
        path, query = self._paths[number].split("?")
        self._generation[number] += 1
        path = f"{path}-{self._generation[number]}?{query}"
        plain = socket.socket()
        plain.setblocking(False)
        if kind in ODD:  # so that what is not read soon waits at the server
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(plain, ("127.0.0.1", self._port))
        client = Client(self, path, kind)
        self._number[client] = number
        await loop.create_connection(lambda: client, sock=plain)

    def begin(self) -> None:
        """Let the first ones ask, little by little."""
        self._begun = True
        loop = asyncio.get_running_loop()
        for place in range(self._streaming):
            loop.call_later(10.0 * place / self._streaming, self._next)

    def opened(self, client: Client) -> None:
        """A chat is open."""
        if client.kind == "asks":
            self._resting.append(client)
            if self._begun and self._asking < self._streaming:
                self._next()

    def answered(self, client: Client) -> None:
        """An answer has ended: another socket's turn."""
        self._asking -= 1
        if client.answers < self._turns:
            self._resting.append(client)
        else:
            client.leave()
            self._again(client, 0.1)
        self._next()

    def lost(self, client: Client) -> None:
        """A socket was dropped."""
        if client.kind == "asks":
            if client in self._resting:
                self._resting.remove(client)
            else:
                self._asking -= 1
        self._again(client, _RESTS_S)

    def _again(self, client: Client, seconds: float) -> None:
        number = self._number.pop(client)

        async def reopen() -> None:
            await asyncio.sleep(seconds)
            await self.open(number, client.kind)

        task = asyncio.create_task(reopen())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _next(self) -> None:
        if self._resting and self._asking < self._streaming:
            self._asking += 1
            self._resting.popleft().ask("What is new?")


async def _run(options: argparse.Namespace) -> None:
    with open(options.paths) as file:
        paths = file.read().split()
    crowd = Crowd(options.port, paths, streaming=options.streaming, turns=options.turns)
    asking = min(len(paths), options.streaming * 2)
    kinds = ["asks"] * asking + [kind for kind in ODD for _ in range(options.odd)]
    kinds += ["idle"] * (len(paths) - len(kinds))
    for start in range(0, len(paths), 20):  # a few at a time: the listen queue has an end
        numbers = range(start, min(start + 20, len(paths)))
        await asyncio.gather(*(crowd.open(number, kinds[number]) for number in numbers))
    crowd.begin()
    until = time.monotonic() + options.seconds
    while time.monotonic() < until:
        await asyncio.sleep(min(options.every, max(0.1, until - time.monotonic())))
        seen, crowd.seen = crowd.seen, Seen()
        print(json.dumps({**seen.told(), "open": crowd.count}), flush=True)
    os._exit(0)  # a thousand goodbyes are not part of any figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Open sockets on the paths listed in a file, one a line, and ask until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--paths", required=True)
    parser.add_argument("--streaming", type=int, required=True, help="sockets that stream")
    parser.add_argument("--odd", type=int, default=0, help="sockets of each difficult kind")
    parser.add_argument("--turns", type=int, default=4, help="answers in a chat")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--every", type=float, default=_REPORT_S, help="seconds between reports")
    uvloop.run(_run(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
