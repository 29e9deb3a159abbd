"""A WebSocket that lives on the event loop.

flask-sock does the handshake in a gunicorn thread; then the accepted TCP socket is moved to the
event loop and the thread goes back to its pool. Measured against two threads a socket: a third of
the idle memory, and no starved heartbeat when a thousand sockets stream at once
(docs/decisions/0002-sockets-on-the-loop.md).
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any, Protocol, cast

from simple_websocket import Server
from wsproto import ConnectionType
from wsproto.connection import Connection, ConnectionState
from wsproto.events import (
    BytesMessage,
    CloseConnection,
    Message,
    Ping,
    Pong,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

PING_SECONDS = 25.0
_CLOSE_SECONDS = 2.0  # for the other side to answer a close
_HIGH_WATER = 65_536  # bytes unsent before a viewer counts as slow


class NoThread:
    """Stands in for the reader thread that simple-websocket starts: the loop reads instead."""

    name = ""

    def __init__(self, **_: Any) -> None:
        """Take and ignore what a thread would be given."""

    def start(self) -> None:
        """Start nothing."""


class Session(Protocol):
    """What a connection is for; every method is called on the event loop."""

    def opened(self, connection: SocketConnection) -> None:
        """The socket is on the loop and takes frames."""

    def text(self, data: str) -> None:
        """A whole text message arrived."""

    def binary(self, data: bytes) -> None:
        """A whole binary message arrived."""

    def writable(self) -> None:
        """The connection was full and takes frames again."""

    def closed(self) -> None:
        """The connection is gone; nothing follows."""


def hand_over(
    server: Server,
    session: Session,
    loop: asyncio.AbstractEventLoop,
    *,
    max_bytes: int,
    connection: type[SocketConnection] | None = None,
) -> None:
    """Move the accepted socket of `server` to `loop`, where `session` owns it from now on.

    `connection` reads its frames. Called in the request's thread, which is free when it returns.
    """
    kind = connection or SocketConnection
    own = socket.socket(fileno=os.dup(server.sock.fileno()))
    # The web server shuts the connection down when its request ends, so what it still holds
    # becomes the end of a pair whose other end is closed.
    ours, theirs = socket.socketpair()
    theirs.close()
    os.dup2(ours.fileno(), server.sock.fileno())
    ours.close()
    server.connected = False  # so that flask-sock does not say goodbye for us
    own.setblocking(False)

    async def adopt() -> None:
        await loop.connect_accepted_socket(lambda: kind(session, max_bytes=max_bytes), own)

    asyncio.run_coroutine_threadsafe(adopt(), loop)


class SocketConnection(asyncio.Protocol):
    """The server's side of one WebSocket after its handshake."""

    def __init__(self, session: Session, *, max_bytes: int) -> None:
        self._session = session
        self._max_bytes = max_bytes
        self._frames = Connection(ConnectionType.SERVER)
        self._parts: list[Any] = []
        self._size = 0
        self._closing = False
        self._heard = True
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.ready = False

    # --- for the session --------------------------------------------------------------------

    def send(self, payload: bytes) -> None:
        """Send one text message; dropped once the connection is closing."""
        if self._transport and not self._closing:
            self._transport.write(_header(0x81, len(payload)) + payload)

    def send_binary(self, payload: bytes) -> None:
        """Send one binary message; dropped once the connection is closing."""
        if self._transport and not self._closing:
            self._transport.write(_header(0x82, len(payload)) + payload)

    def close(self, code: int, reason: str = "") -> None:
        """Say goodbye with `code`; the connection ends within moments."""
        if self._closing:
            return
        self._reply(CloseConnection(code, reason[:120]))
        self._closing = True
        self.ready = False
        self._after(_CLOSE_SECONDS, self._abort)

    # --- asyncio.Protocol -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the heartbeat and tell the session."""
        # uvloop's transports are asyncio's in behaviour and not in type.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)
        self.ready = True
        self._after(PING_SECONDS, self._ping)
        self._session.opened(self)

    def data_received(self, data: bytes) -> None:
        """Read frames; whatever arrives shows that the client is there."""
        self._heard = True
        try:
            self._frames.receive_data(data)
            for event in self._frames.events():
                self._handle(event)
        except RemoteProtocolError as err:
            self.close(_code_of(err), "protocol error")

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        self.ready = False

    def resume_writing(self) -> None:
        """The client has caught up."""
        if not self._closing:
            self.ready = True
            self._session.writable()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the session, once."""
        if self._timer:
            self._timer.cancel()
        self._transport = None
        self._closing = True
        self.ready = False
        self._session.closed()

    # --- inside -----------------------------------------------------------------------------

    def _handle(self, event: Any) -> None:
        if isinstance(event, Message):
            self._collect(event)
        elif isinstance(event, Ping):
            self._reply(event.response())
        elif isinstance(event, Pong):
            return
        elif isinstance(event, CloseConnection):
            if self._frames.state is ConnectionState.REMOTE_CLOSING:
                self._reply(event.response())
            if self._transport:
                self._transport.close()

    def _collect(self, event: Message[Any]) -> None:
        if self._closing:
            return
        self._parts.append(event.data)
        data = event.data
        self._size += len(data.encode() if isinstance(data, str) else data)
        if self._size > self._max_bytes:
            self._parts.clear()
            self.close(1009, f"A message may have {self._max_bytes} bytes.")
            return
        if not event.message_finished:
            return
        parts, self._parts, self._size = self._parts, [], 0
        if isinstance(event, TextMessage):
            self._session.text("".join(parts))
        elif isinstance(event, BytesMessage):
            self._session.binary(b"".join(parts))

    def _reply(self, event: Any) -> None:
        if self._transport is None:
            return
        try:
            self._transport.write(self._frames.send(event))
        except LocalProtocolError:
            # The other side closed first: there is nobody to tell any more.
            self._transport.close()

    def _ping(self) -> None:
        if self._closing:
            return
        if not self._heard:
            self._abort()
            return
        self._heard = False
        self._reply(Ping())
        self._after(PING_SECONDS, self._ping)

    def _abort(self) -> None:
        if self._transport:
            self._transport.abort()

    def _after(self, seconds: float, action: Any) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, action)


def _code_of(err: RemoteProtocolError) -> int:
    hint = err.event_hint
    return int(hint.code) if isinstance(hint, CloseConnection) else 1002


def _header(first: int, length: int) -> bytes:
    """The head of an unmasked, unfragmented frame (RFC 6455, section 5.2)."""
    if length < 126:
        return bytes((first, length))
    if length < 65_536:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")
