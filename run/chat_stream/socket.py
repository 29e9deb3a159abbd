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
    TextMessage,
)
from wsproto.utilities import LocalProtocolError

PING_SECONDS = 25.0
_CLOSE_SECONDS = 2.0  # for the other side to answer a close
_HIGH_WATER = 65_536  # bytes unsent before a viewer counts as slow
_MOST_UNSENT = 4 * 1_048_576  # a few of the largest events, or a minute of sound
_MOST_FRAMES = 2_000  # a second, of those that the library reads: each takes it 20 us


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
        self._message = bytearray()  # a list of fragments could grow without a byte in them
        self._closing = False
        self._deaf = False  # what comes is thrown away
        self._counted, self._counted_from = 0, 0.0
        self._heard = True
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.ready = False

    # --- for the session --------------------------------------------------------------------

    def send(self, payload: bytes) -> None:
        """Send one text message; dropped once the connection is closing."""
        self._send(_header(0x81, len(payload)) + payload)

    def send_binary(self, payload: bytes) -> None:
        """Send one binary message; dropped once the connection is closing."""
        self._send(_header(0x82, len(payload)) + payload)

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
        if self._deaf:
            return
        self._frames.receive_data(data)
        for event in self._frames.events():
            self._handle(event)
            if self._deaf:
                return

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
        del self._session  # it holds this connection: neither would go by itself

    # --- inside -----------------------------------------------------------------------------

    def _handle(self, event: Any) -> None:
        if self._too_many():
            self._refuse(1008, "Too many frames at once.")
        elif isinstance(event, Message):
            self._collect(event)
        elif isinstance(event, Ping):
            self._reply(event.response())
        elif isinstance(event, CloseConnection):
            self._closed_by_client(event)

    def _too_many(self) -> bool:
        """Count a frame; True where the client would keep the loop from everybody else."""
        self._counted += 1
        if self._counted <= _MOST_FRAMES:
            return False
        moment = asyncio.get_running_loop().time()
        since, self._counted, self._counted_from = self._counted_from, 0, moment
        return moment - since < 1.0

    def _closed_by_client(self, event: CloseConnection) -> None:
        if self._frames.state in (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING):
            # The library tells a broken rule as a close, and is of no use after it.
            self._refuse(event.code, "That breaks the rules of WebSockets.")
            return
        if self._frames.state is ConnectionState.REMOTE_CLOSING:
            self._reply(event.response())
        self._closing = self._deaf = True
        self.ready = False
        self._after(_CLOSE_SECONDS, self._abort)  # whatever has not been read by then
        if self._transport:
            self._transport.close()

    def _refuse(self, code: int, reason: str) -> None:
        """Close, and throw away what follows."""
        self.close(code, reason)
        self._deaf = True

    def _collect(self, event: Message[Any]) -> None:
        if self._closing:
            return
        data = event.data
        self._message += data.encode() if isinstance(data, str) else data
        if len(self._message) > self._max_bytes:
            self._message.clear()
            self._refuse(1009, f"A message may have {self._max_bytes} bytes.")
            return
        if not event.message_finished:
            return
        whole, self._message = self._message, bytearray()
        if isinstance(event, TextMessage):
            self._session.text(whole.decode())
        elif isinstance(event, BytesMessage):
            self._session.binary(bytes(whole))

    def _send(self, frame: bytes) -> None:
        if self._transport is None or self._closing:
            return
        if not self.ready and self._transport.get_write_buffer_size() > _MOST_UNSENT:
            # Rooms wait for a full connection; what answers a client's own frames does not.
            self.close(1013, "You were reading too slowly. Reconnect with your cursor.")
            return
        self._transport.write(frame)

    def _reply(self, event: Any) -> None:
        if self._transport is None:
            return
        try:
            frame = self._frames.send(event)
        except LocalProtocolError:
            # The other side closed first: there is nobody to tell any more.
            self._transport.close()
            return
        if isinstance(event, CloseConnection):
            self._transport.write(frame)
        else:
            self._send(frame)

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


def _header(first: int, length: int) -> bytes:
    """The head of an unmasked, unfragmented frame (RFC 6455, section 5.2)."""
    if length < 126:
        return bytes((first, length))
    if length < 65_536:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")
