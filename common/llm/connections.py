"""HTTP/1.1 to a model's endpoint, its answers handled in the moment in which they arrive.

A streamed answer comes in hundreds of small pieces, and what a general client does for each of
them (buffers, limits, a future to wake whoever awaits the next piece) costs more than everything
we do with it. Here bytes go from the socket through httptools' parser, in one call of the event
loop, to whoever `post` was given. That is all this does: no redirects, no proxies, no compression,
no second version of HTTP; who needs those asks the SDK's client.

Connections are kept for the next request. One that its server closed meanwhile is noticed by its
end, or by the first request on it, which is then made again at once on a new one.
"""

from __future__ import annotations

import asyncio
import contextvars
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import aiohappyeyeballs
import httptools

from common.errors import OdaiError, VendorUnavailable
from common.llm.pace import Pace

Heard = Callable[[bytes], bool]

_CONNECT_SECONDS = 5.0
_NEXT_ADDRESS_SECONDS = 0.25  # until another address of the host is tried beside the first
_IDLE_SECONDS = 15.0
_DRAIN_SECONDS = 2.0
_LONGEST_CALL_SECONDS = 1800.0
_LARGEST_HEAD = _LARGEST_REFUSAL = 65_536  # bytes


@dataclass(slots=True)
class Answer:
    """An answer's head, and what it told if its status is not 200 (64 KiB at most)."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)  # names in lower case
    told: bytearray = field(default_factory=bytearray)


class Connections:
    """Connections to the origin of `url`, to which requests are posted.

    `headers` go with every request; `silence_s` is the longest time without a byte. Lives on one
    event loop.
    """

    def __init__(self, url: str, headers: Mapping[str, str], *, silence_s: float) -> None:
        parts = urlsplit(url)
        self._host, secure = parts.hostname or "", parts.scheme == "https"
        self._port = parts.port or (443 if secure else 80)
        self._tls = ssl.create_default_context() if secure else None
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        lines = [f"POST {path} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._head = "\r\n".join(lines).encode()
        self.silence_s = silence_s
        self.pace = Pace()
        self.idle: list[_Connection] = []  # the one used last at the end
        self.all: set[_Connection] = set()

    async def post(self, body: bytes, heard: Heard) -> Answer:
        """Send `body`; call `heard` with the pieces of a 200 answer's body as they come.

        `heard` returns True when it needs no more; b"" is the end of the body. What it raises ends
        the request, and is raised. Raises ConnectionError where no answer began, TimeoutError
        where it was waited for in vain, VendorUnavailable where it broke off.
        """
        request = b"%b\r\nContent-Length: %d\r\n\r\n%b" % (self._head, len(body), body)
        while self.idle:
            try:
                return await self.idle.pop().ask(request, heard)
            except ConnectionError:  # its server had closed it
                continue
        connection = await self._connected()
        return await connection.ask(request, heard)

    async def close(self) -> None:
        """Close every connection."""
        for connection in self.all:
            connection.abort()
        if self.all:
            await asyncio.wait([connection.gone for connection in self.all], timeout=1.0)

    async def _connected(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                addresses = await loop.getaddrinfo(self._host, self._port, type=1)
                sock = await aiohappyeyeballs.start_connection(
                    addresses, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, loop=loop
                )
                _, connection = await loop.create_connection(
                    lambda: _Connection(self),
                    sock=sock,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
        except TimeoutError as err:
            raise ConnectionError("no connection in time") from err
        except OSError as err:
            raise ConnectionError("no connection") from err
        return connection


class _Connection(asyncio.Protocol):
    """One connection, with one request on it at a time."""

    def __init__(self, pool: Connections) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append  # the parser's callbacks are looked up once
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._idle: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._reset()

    def _reset(self) -> None:
        self._answer = Answer()
        self._done: asyncio.Future[Answer] | None = None
        self._heard: Heard = _nobody
        self._context = contextvars.Context()
        self._seen = 0  # bytes of the answer's head
        self._complete = self._keep = False

    async def ask(self, request: bytes, heard: Heard) -> Answer:
        """Post the request; see `Connections.post`."""
        if self._idle:
            self._idle.cancel()
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("closed meanwhile")
        done: asyncio.Future[Answer] = self._loop.create_future()
        self._done = done
        self._heard, self._context = heard, contextvars.copy_context()
        self._began = self._active = self._loop.time()
        self._watch = self._loop.call_later(self._pool.silence_s, self._check)
        self._transport.write(request)
        try:
            return await done
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Let go of it at once."""
        if self._transport:
            self._transport.abort()

    # --- asyncio.Protocol -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it in."""
        # uvloop's transports are asyncio's in behaviour and not in type.
        self._transport = cast("asyncio.Transport", transport)
        self._pool.all.add(self)

    def data_received(self, data: bytes) -> None:
        """Take an answer apart, and tell what its body holds."""
        if self._done is None:  # nobody has asked
            self.abort()
            return
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(no_http())
            return
        self._active = self._loop.time()
        if not self._answer.status:
            self._seen += len(data)
            if self._seen > _LARGEST_HEAD:
                self._fail(no_http())
                return
        if self._pieces:
            piece = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            self._tell(piece)
        if self._complete:
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """End what waits for more."""
        if self._answer.status:
            self._tell(b"")  # as long as the connection lasted: that may have been all
        self._fail(ConnectionResetError("the connection was lost"))
        self._pool.all.discard(self)
        if self in self._pool.idle:
            self._pool.idle.remove(self)
        if self._idle:
            self._idle.cancel()
        # It holds our methods: neither would go by itself.
        self._parser = self._transport = None
        self.gone.set_result(None)

    # --- the parser's callbacks -------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Read the status."""
        assert self._parser is not None
        status = self._parser.get_status_code()
        self._answer.status = status if status >= 200 else 0

    def on_message_complete(self) -> None:
        """Note the end; the body's last piece is told first."""
        if not self._answer.status:  # an interim answer: the real one follows
            self._answer.headers.clear()
            return
        assert self._parser is not None
        self._complete, self._keep = True, self._parser.should_keep_alive()

    # --- inside -----------------------------------------------------------------------------

    def _tell(self, piece: bytes) -> None:
        """Hand over a piece of the body; b"" is its end."""
        if self._done is None or self._done.done():
            return
        answer = self._answer
        if answer.status != 200:
            answer.told += piece[: _LARGEST_REFUSAL - len(answer.told)]
            if not piece or len(answer.told) == _LARGEST_REFUSAL:
                self._finish()
            return
        try:
            enough = self._context.run(self._heard, piece)
        except Exception as err:  # it is for who asked
            self._fail(err)
            return
        if enough or not piece:
            self._finish()
        elif hold := self._pool.pace.hold():
            self._pause(hold)

    def _pause(self, seconds: float) -> None:
        if self._transport:
            self._transport.pause_reading()
            self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        if self._transport:
            self._transport.resume_reading()

    def _end(self) -> None:
        """The answer is here whole: the connection serves the next request."""
        self._tell(b"")
        if self._watch:
            self._watch.cancel()
        if self._transport is None or self._transport.is_closing():
            return
        if not self._keep:
            self._transport.close()
            return
        self._reset()
        self._pool.idle.append(self)
        self._idle = self._loop.call_later(_IDLE_SECONDS, self._transport.close)

    def _finish(self) -> None:
        """Who asked has what they need; what follows is waited for a moment, and thrown away."""
        assert self._done is not None
        self._done.set_result(self._answer)
        self._heard, self._context = _nobody, contextvars.Context()
        if self._watch:
            self._watch.cancel()
        self._watch = self._loop.call_later(_DRAIN_SECONDS, self.abort)

    def _fail(self, err: Exception) -> None:
        if self._done and not self._done.done():
            self._done.set_exception(err)
        if self._watch:
            self._watch.cancel()
        self.abort()

    def _check(self) -> None:
        """End a request on which nothing has arrived for too long, or that never ends."""
        moment = self._loop.time()
        due = self._active + self._pool.silence_s
        if moment < due and moment - self._began < _LONGEST_CALL_SECONDS:
            self._watch = self._loop.call_at(due, self._check)
        else:
            self._fail(TimeoutError("silence"))


def no_http() -> OdaiError:
    """Return the error for an answer that is none of HTTP's."""
    return VendorUnavailable("The language model answers in no form that I know.")


def _nobody(_: bytes) -> bool:
    return True
