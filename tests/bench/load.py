"""The load: many chat sockets in one process, as cheap as can be, so that it is not measured.

Driven over standard input and output, a line of JSON each way: it prints `{"open": n}` once all
sockets stand, waits for a line, sends the prompts, and prints what it saw. Deltas carry their send
time (`--stamp` of the fake endpoint), so that a latency is one-way and belongs to one delta.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import uvloop

_STAMP = re.compile(rb"@(\d{19})")
_END = b'"type":"end_of_stream"'
_DELTAS_END = b"response.output_text.done"


class Socket(asyncio.Protocol):
    """One client: a WebSocket that asks the same thing again and again."""

    def __init__(self, crowd: Crowd, path: str, *, greeted: bool) -> None:
        self._crowd = crowd
        self._path = path
        self._greeted = greeted
        self._buffer = b""
        self._open = False
        self._left = 0
        self._asked_at = 0
        self._told = False
        self._transport: Any = None

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
                self._crowd.fail(f"refused: {head[:80]!r} {rest[:80]!r}")
                return
            self._open = True
            buffer = rest
            if not self._greeted:
                self._crowd.opened()
        self._buffer = self._frames(buffer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.fail("a connection was lost")

    def ask(self, times: int) -> None:
        """Send the prompt; send it again after each answer until it was sent `times`."""
        self._left = times
        self._prompt()

    def _prompt(self) -> None:
        self._left -= 1
        payload = self._crowd.prompt
        self._asked_at = time.monotonic_ns()
        # A mask of zeros is a mask as well.
        self._transport.write(bytes((0x81, 0x80 | len(payload), 0, 0, 0, 0)) + payload)

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

    def _frame(self, kind: int, payload: bytes) -> None:
        if kind == 9:
            self._transport.write(bytes((0x8A, 0x80 | len(payload), 0, 0, 0, 0)) + payload)
            return
        if kind == 8:
            self._crowd.fail(f"closed: {payload[2:80]!r}")
            return
        if self._greeted:
            self._greeted = False
            self._crowd.opened()
            return
        if b'"type":"error"' in payload:
            self._crowd.fail(f"an error: {payload[:200]!r}")
        if not self._told and b'"delta":' in payload:
            self._crowd.saw(payload, self._asked_at)
            self._asked_at = 0
            # The relay copies what follows the deltas too, and that repeats their stamps.
            self._told = _DELTAS_END in payload
        if _END in payload:
            self._crowd.answers += 1
            self._told = False
            if self._left:
                self._prompt()
            else:
                self._crowd.finished()


class Crowd:
    """All sockets of a run, and what they saw together."""

    def __init__(self, sockets: int, prompt: str) -> None:
        self.prompt = prompt.encode()
        self.answers = 0
        self.steady = (0, 0)  # ns on the monotonic clock: deltas sent between these count
        self._sockets = sockets
        self._opened = self._finished = 0
        self._latencies: list[int] = []
        self._arrived = 0  # of those, within the time in which they were sent
        self._first: list[int] = []
        self._deltas = 0
        self._ready = asyncio.Event()
        self._done = asyncio.Event()
        self._problem = ""

    def opened(self) -> None:
        self._opened += 1
        if self._opened == self._sockets:
            self._ready.set()

    def finished(self) -> None:
        self._finished += 1
        if self._finished == self._sockets:
            self._done.set()

    def fail(self, problem: str) -> None:
        if not self._done.is_set():
            self._problem = problem
            self._ready.set()
            self._done.set()

    def saw(self, payload: bytes, asked_at: int) -> None:
        now = time.monotonic_ns()
        begin, end = self.steady
        stamps = _STAMP.findall(payload.partition(_DELTAS_END)[0])
        self._deltas += len(stamps)
        for stamp in map(int, stamps):
            if begin <= stamp < end:
                self._latencies.append(now - stamp)
                self._arrived += now < end
        if asked_at:
            self._first.append(now - asked_at)

    async def wait_open(self, seconds: float) -> None:
        await asyncio.wait_for(self._ready.wait(), seconds)

    async def wait_done(self, seconds: float) -> None:
        await asyncio.wait_for(self._done.wait(), seconds)

    def report(self, elapsed: float) -> dict[str, Any]:
        latencies = sorted(self._latencies) or [0]
        return {
            "problem": self._problem,
            "elapsed": elapsed,
            "answers": self.answers,
            "deltas": self._deltas,
            "rate": self._arrived * 1e9 / max(1, self.steady[1] - self.steady[0]),
            "p50_ms": latencies[len(latencies) // 2] / 1e6,
            "p99_ms": latencies[int(len(latencies) * 0.99)] / 1e6,
            "first_ms": statistics.median(self._first) / 1e6 if self._first else 0.0,
        }


async def _run(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    with open(options.paths) as file:  # before anything is measured
        paths = file.read().split()[: options.sockets]
    crowd = Crowd(len(paths), options.prompt)
    sockets: list[Socket] = []
    for start in range(0, len(paths), 20):  # a few at a time: the listen queue has an end
        made = await asyncio.gather(
            *(
                loop.create_connection(
                    lambda path=path: Socket(crowd, path, greeted=options.greeted),  # type: ignore[misc]
                    "127.0.0.1",
                    options.port,
                )
                for path in paths[start : start + 20]
            )
        )
        sockets += [protocol for _, protocol in made]
    await crowd.wait_open(options.patience)
    _say({"open": len(sockets), "problem": crowd._problem})
    await loop.run_in_executor(None, sys.stdin.readline)
    began = time.monotonic()
    if options.one_by_one:
        for number, socket in enumerate(sockets, 1):
            socket.ask(1)
            while crowd._finished < number and not crowd._problem:
                await asyncio.sleep(0.002)
    elif options.prompts:
        begin = time.monotonic_ns() + int((options.spread + options.settle) * 1e9)
        crowd.steady = (begin, begin + int(options.steady * 1e9))
        for number, socket in enumerate(sockets):
            loop.call_later(options.spread * number / len(sockets), socket.ask, options.prompts)
    if options.prompts:
        await crowd.wait_done(options.patience)
    _say(crowd.report(time.monotonic() - began))
    await loop.run_in_executor(None, sys.stdin.readline)
    os._exit(0)  # a thousand goodbyes are not part of any figure


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Open sockets on the paths listed in a file, one a line, and ask."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--paths", required=True)
    parser.add_argument("--sockets", type=int, default=1)
    parser.add_argument("--prompts", type=int, default=1, help="for each socket, in sequence")
    parser.add_argument("--spread", type=float, default=0.0, help="seconds to start all within")
    parser.add_argument("--settle", type=float, default=0.0, help="seconds after the last start")
    parser.add_argument("--steady", type=float, default=0.0, help="seconds to count latencies for")
    parser.add_argument("--one-by-one", action="store_true", help="one socket after the other")
    parser.add_argument("--greeted", action="store_true", help="the server speaks first")
    parser.add_argument("--prompt", default="What is new?")
    parser.add_argument("--patience", type=float, default=900.0)
    uvloop.run(_run(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
