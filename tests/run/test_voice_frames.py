"""The short way for text frames says what the library's long way says."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage

from run.chat_stream.socket import SocketConnection
from run.chat_stream.voice.frames import MediaConnection


class Told:
    """A session that keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def opened(self, connection: SocketConnection) -> None:
        pass

    def text(self, data: str) -> None:
        self.seen.append(data)

    def binary(self, data: bytes) -> None:
        self.seen.append(data)

    def writable(self) -> None:
        pass

    def closed(self) -> None:
        self.seen.append(None)


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.over = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def close(self) -> None:
        self.over = True

    def abort(self) -> None:
        self.over = True


def replay(kind: type[SocketConnection], pieces: list[bytes]) -> tuple[list[Any], bytes, bool]:
    """Return what the session was told, what was answered, and whether the socket was closed."""

    async def run() -> tuple[list[Any], bytes, bool]:
        session, wire = Told(), Wire()
        connection = kind(session, max_bytes=5000)
        connection.connection_made(wire)
        for piece in pieces:
            connection.data_received(piece)
        told = list(session.seen)
        connection.connection_lost(None)
        return told, wire.written, wire.over

    return asyncio.run(run())


def frames(*events: Event) -> bytes:
    client = Connection(ConnectionType.CLIENT)
    return b"".join(client.send(event) for event in events)


def cut(data: bytes, seed: int) -> list[bytes]:
    chance, pieces = random.Random(seed), []
    while data:
        size = chance.choice((1, 2, 3, 7, 100, 1000))
        pieces.append(data[:size])
        data = data[size:]
    return pieces


STREAMS: dict[str, bytes] = {
    "short and long": frames(
        TextMessage("a"), TextMessage(""), TextMessage("é" * 300), TextMessage("x" * 5000)
    ),
    "controls between": frames(
        TextMessage("a"), Ping(b"1"), TextMessage("b"), Pong(b"2"), TextMessage("c")
    ),
    "fragments": frames(
        TextMessage("a"),
        TextMessage("b", message_finished=False),
        Ping(b"x"),
        TextMessage("c", message_finished=True),
        TextMessage("d"),
    ),
    "binary": frames(BytesMessage(b"\1\2"), TextMessage("a")),
    "close": frames(TextMessage("a"), CloseConnection(1000, "bye")),
    "too large": frames(TextMessage("a"), TextMessage("x" * 5001), TextMessage("b")),
    "far too large": frames(TextMessage("a"), TextMessage("x" * 70_000), TextMessage("b")),
    "not masked": b"\x81\x01a",
    "no utf-8": b"\x81\x82\0\0\0\0\xff\xfe",
    "reserved bits": b"\xc1\x81\0\0\0\0a",
    "text within fragments": b"\x01\x81\0\0\0\0a" + b"\x81\x81\0\0\0\0b",
}


@pytest.mark.parametrize("name", STREAMS)
def test_whatever_arrives_is_read_as_the_library_reads_it(name: str) -> None:
    """However the bytes are cut up: the same messages, the same answers, the same end."""
    data = STREAMS[name]
    for pieces in ([data], *(cut(data, seed) for seed in range(12))):
        assert replay(MediaConnection, pieces) == replay(SocketConnection, pieces)


def test_real_masks_are_taken_off() -> None:
    """Browsers and Twilio mask with random keys: the text is what was sent."""
    texts = [f'{{"event":"media","n":{n},"p":"{"é" * n}"}}' for n in range(200)]
    told, _, _ = replay(MediaConnection, [frames(*map(TextMessage, texts))])
    assert told == texts
