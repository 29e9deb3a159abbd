"""Twilio on loopback: its REST API, and the telephones at the other end of it.

`FakeTwilio` is the API (Messages and Calls) with real checks of credentials and numbers. `Caller`
is a telephone call: it sends the signed webhook, follows the TwiML it gets, opens the media stream
with a signed handshake, speaks 50 frames of μ-law a second and plays what it receives as Twilio
does, with marks and `clear`. `Texter` sends texts. Many callers fit in one process::

    async with Caller("http://127.0.0.1:8080", public="https://odai.example.com") as caller:
        await caller.dial()
        await caller.until(lambda: caller.streaming)
        caller.say(1000)                                   # a second of something like speech
        await caller.until(lambda: caller.heard_ms > 400)
        caller.press("1")
        await caller.hang_up()

Leaving the block fails where the application did what Twilio would not take (bad TwiML, a frame
that is no message, a foreign stream id, an unencrypted stream) unless `tolerant`. Facts are those
of Twilio's documentation of November 2026; what is unconfirmed is marked so.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
import re
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit
from xml.etree import ElementTree

import aiohttp
import msgspec
from aiohttp import web
from yarl import URL

from tests.fakes import sound
from tests.fakes.served import Served

Json = dict[str, Any]
Params = Mapping[str, str | list[str]]
_decode = msgspec.json.Decoder().decode
_SILENCE_B64 = base64.b64encode(sound.SILENCE).decode()
_FRAME_S = 0.02
_BODY_LIMIT = 1600
_GSM = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    "ÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_LONG = set("^{}\\[~]|€\f")


def new_sid(prefix: str) -> str:
    """Return a fresh identifier such as `CA` and 32 hexadecimal digits."""
    return prefix + secrets.token_hex(16)


def signature(url: str, params: Params | None, secret: str, *, algorithm: str = "sha1") -> str:
    """Sign a request as Twilio does: its address, then each parameter and its distinct values."""
    text = url.partition("#")[0]
    for name in sorted(params or {}):
        value = (params or {})[name]
        values = [value] if isinstance(value, str) else sorted(set(value))
        text += "".join(name + each for each in values)
    digest = hmac.new(secret.encode(), text.encode(), algorithm).digest()
    return base64.b64encode(digest).decode()


@dataclass(frozen=True)
class Account:
    """An account: what the application is configured with and what Twilio signs with.

    `shared_key` is (id, secret) of a webhook key: requests are then signed with it, by SHA-256.
    """

    sid: str = "AC" + "a1" * 16
    token: str = "token-of-a-simulated-account-0001"
    key: str = "SK" + "b2" * 16
    secret: str = "secret-of-a-simulated-key-00000001"
    number: str = "+15005550006"
    shared_key: tuple[str, str] | None = None

    @property
    def environ(self) -> dict[str, str]:
        """The settings of an application that has this account."""
        return {
            "TWILIO_ACCOUNT_SID": self.sid,
            "TWILIO_AUTH_TOKEN": self.token,
            "TWILIO_API_KEY": self.key,
            "TWILIO_API_SECRET": self.secret,
            "TWILIO_PHONE_NUMBER": self.number,
            "TWILIO_FROM_NUMBER": self.number,
            "TWILIO_SHARED_KEYS": "=".join(self.shared_key) if self.shared_key else "",
        }

    def headers(self, url: str, params: Params | None = None) -> dict[str, str]:
        """Return the headers that prove a request to be Twilio's."""
        if self.shared_key is None:
            return {"X-Twilio-Signature": signature(url, params, self.token)}
        ident, secret = self.shared_key
        return {
            "X-Twilio-Signature": signature(url, params, secret, algorithm="sha256"),
            "X-Twilio-Webhooks-Signature-Settings": f"key={ident},algorithm=HMAC_SHA256",
        }


ACCOUNT = Account()


class CallFailed(AssertionError):
    """The application did what Twilio would not take; the number is Twilio's error code."""

    def __init__(self, code: int, problem: str) -> None:
        super().__init__(f"{code}: {problem}")


# --- a telephone ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reply:
    """What the application answered a webhook; `headers` have lower-case names."""

    status: int
    content_type: str
    text: str
    headers: Mapping[str, str]

    def twiml(self) -> ElementTree.Element:
        """Return the document; CallFailed where Twilio would not take it."""
        return _twiml(self.status, self.content_type, self.text)


class _Phone:
    """Sends signed webhooks to an application at `local`, which it knows as `public`."""

    def __init__(
        self,
        local: str,
        *,
        public: str = "",
        account: Account = ACCOUNT,
        number: str = "+14155550100",
        http: aiohttp.ClientSession | None = None,
    ) -> None:
        self.local = local.rstrip("/")
        self.public = (public or local).rstrip("/")
        self.account = account
        self.number = number
        self._shared = http
        self._http: aiohttp.ClientSession = http  # type: ignore[assignment]  # set on entering

    async def __aenter__(self) -> Self:
        if self._shared is None:
            self._http = aiohttp.ClientSession()
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        if self._shared is None:
            await self._http.close()

    def _here(self, url: str) -> str:
        """Where an address of the application is on this machine."""
        parts, public = urlsplit(url), urlsplit(self.public)
        local = urlsplit(self.local)
        if parts.netloc not in (public.netloc, local.netloc):
            raise CallFailed(11200, f"{parts.netloc} is not the application's address")
        scheme = "ws" if parts.scheme.startswith("ws") else "http"
        return parts._replace(scheme=scheme, netloc=local.netloc, fragment="").geturl()

    async def webhook(
        self,
        url: str,
        params: Params,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a signed request; `headers` replace Twilio's own. Returns the answer."""
        url = urljoin(self.public + "/", url)
        if method == "GET":
            url, data = f"{url}?{urlencode(params, doseq=True)}", None
            sent = self.account.headers(url)
        else:
            data = [
                (name, each)
                for name, value in params.items()
                for each in ([value] if isinstance(value, str) else value)
            ]
            sent = self.account.headers(url, params)
        async with self._http.request(
            method,
            URL(self._here(url), encoded=True),
            data=aiohttp.FormData(data) if data is not None else None,
            headers={**sent, "I-Twilio-Idempotency-Token": secrets.token_hex(8), **(headers or {})},
            timeout=aiohttp.ClientTimeout(total=15),
            allow_redirects=False,
        ) as answer:
            text = await answer.text()
            found = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status, answer.content_type, text, found)


def _twiml(status: int, kind: str, body: str) -> ElementTree.Element:
    if status >= 400:
        raise CallFailed(11200, f"the application answered {status}")
    if status == 204 or not body.strip():
        return ElementTree.Element("Response")
    if kind not in ("text/xml", "application/xml"):
        raise CallFailed(12300, f"{kind} is not TwiML")
    try:
        document = ElementTree.fromstring(body)
    except ElementTree.ParseError as err:
        raise CallFailed(12100, f"the TwiML is not well formed: {err}") from err
    if document.tag != "Response":
        raise CallFailed(12102, "the document's root is not Response")
    return document


class _Wire(asyncio.Protocol):
    """A WebSocket client without tasks of its own: writes at once, calls back for each message."""

    def __init__(self, receive: Callable[[bytes], None]) -> None:
        loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.code: int | None = None
        self._receive = receive
        self._status: asyncio.Future[int] = loop.create_future()
        self._open = False
        self._buffer = b""
        self._parts: list[bytes] = []
        self._transport: Any = None

    async def open(self, url: str, headers: Params) -> int:
        """Connect and shake hands; return the HTTP status, 101 where the socket is open."""
        parts = urlsplit(url)
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, str(parts.hostname), int(parts.port or 80))
        lines = [
            f"GET {parts.path or '/'} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {base64.b64encode(secrets.token_bytes(16)).decode()}",
            "Sec-WebSocket-Version: 13",
            "User-Agent: Twilio.TmeWs/1.0",
            *(f"{name.lower()}: {value}" for name, value in headers.items()),
        ]
        self._transport.write("\r\n".join([*lines, "", ""]).encode())
        return await asyncio.wait_for(self._status, 15)

    def send(self, payload: bytes, kind: int = 1) -> None:
        """Send a message; after the end, nothing."""
        if self._transport.is_closing():
            return
        length = len(payload)
        if length < 126:
            head = bytes((0x80 | kind, 0x80 | length))
        elif length < 65536:
            head = bytes((0x80 | kind, 0xFE)) + length.to_bytes(2, "big")
        else:
            head = bytes((0x80 | kind, 0xFF)) + length.to_bytes(8, "big")
        self._transport.write(head + b"\0\0\0\0" + payload)  # a mask of zeros is one as well

    def close(self, code: int = 1000) -> None:
        """Say goodbye and leave."""
        self.send(code.to_bytes(2, "big"), 8)
        self._transport.close()

    def abort(self) -> None:
        """Leave without a word."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        if not self._open:
            head, found, rest = buffer.partition(b"\r\n\r\n")
            if not found:
                self._buffer = buffer
                return
            status = int(head.split(b" ", 2)[1])
            if not self._status.done():
                self._status.set_result(status)
            if status != 101:
                self._transport.close()
                return
            self._open, buffer = True, rest
        self._buffer = self._frames(buffer)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._status.done():
            self._status.set_result(0)
        if not self.closed.done():
            self.closed.set_result(None)

    def _frames(self, buffer: bytes) -> bytes:
        at = 0
        # Nothing counts after a goodbye: behind werkzeug, flask-sock writes an HTTP answer there.
        while self.code is None and len(buffer) - at >= 2:
            length, head = buffer[at + 1] & 0x7F, 2
            if length >= 126:
                head = 4 if length == 126 else 10
                length = int.from_bytes(buffer[at + 2 : at + head], "big")
            end = at + head + length
            if len(buffer) - at < head or len(buffer) < end:
                break
            self._frame(buffer[at], buffer[at + head : end])
            at = end
        return buffer[at:]

    def _frame(self, first: int, payload: bytes) -> None:
        kind = first & 0x0F
        if kind == 9:
            self.send(payload, 10)
        elif kind == 8:
            self.code = int.from_bytes(payload[:2], "big") if payload else 1005
            self.close()
        elif kind < 3:
            self._parts.append(payload)
            if first & 0x80:
                whole, self._parts = b"".join(self._parts), []
                self._receive(whole)


@dataclass(frozen=True)
class Moment:
    """Something in a call, `ms` after it was dialled (of the call's own time: see `speed`)."""

    ms: int
    what: str
    detail: str = ""


class Caller(_Phone):
    """One call, from the telephone's side.

    `speed` is how much faster than real time it lives. `said` is the text of every <Say>, `heard`
    and `spoken` are both sides as μ-law from the stream's start, in step. `on_media` is called with
    each payload as it arrives. `status_url` gets status callbacks of the `status_events`. `rest`
    is the API that may hang this call up or send it elsewhere.
    """

    def __init__(
        self,
        local: str,
        *,
        path: str = "/twilio/incoming",
        status_url: str = "",
        status_events: Sequence[str] = ("completed",),
        speed: float = 1.0,
        tolerant: bool = False,
        keep_audio: bool = True,
        on_media: Callable[[bytes], None] | None = None,
        on_clear: Callable[[], None] | None = None,
        handshake: Literal["wss", "https"] = "wss",
        slash: bool = False,
        fields: Mapping[str, str] | None = None,
        rest: FakeTwilio | None = None,
        sid: str = "",
        direction: str = "inbound",
        **phone: Any,
    ) -> None:
        super().__init__(local, **phone)
        self.sid = sid or new_sid("CA")
        self.stream_sid = ""
        self.status = "queued"
        self.said: list[str] = []
        self.timeline: list[Moment] = []
        self.problems: list[str] = []
        self.parameters: dict[str, str] = {}
        self.streaming = False
        self.stream_status = 0  # HTTP status of the handshake
        self.close_code: int | None = None
        self.closed_by = ""
        self.clears = 0
        self.marks_returned: list[str] = []
        self.bytes_received = 0
        self.heard = bytearray()
        self.spoken = bytearray()
        self._path = path
        self._status_url, self._status_events = status_url, status_events
        self._speed, self._tolerant, self._keep = speed, tolerant, keep_audio
        self._on_media, self._on_clear = on_media, on_clear
        self._handshake, self._slash = handshake, slash
        self._fields, self._direction = dict(fields or {}), direction
        self._rest = rest
        self._life: asyncio.Task[None] | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._answers: deque[tuple[str, str]] = deque()
        self._sequence = 0
        self._ticks = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._dialled = 0.0
        self._reset_stream()

    def _reset_stream(self) -> None:
        self._wire: _Wire | None = None
        self._message = 0
        self._chunk = 0
        self._mouth = bytearray()
        self._speaking = self._hearing = False
        self._buffer = bytearray()
        self._played = 0
        self._marks: deque[tuple[int, str]] = deque()
        self._detour: ElementTree.Element | str | None = None

    async def __aexit__(self, kind: object, *rest: object) -> None:
        await self.hang_up()
        await super().__aexit__(kind, *rest)
        if kind is None and self.problems and not self._tolerant:
            raise AssertionError("; ".join(self.problems))

    # -- what the person does

    async def dial(self, *, twiml: str = "", path: str = "") -> None:
        """Place the call; it goes on by itself until it ends."""
        self._loop = asyncio.get_running_loop()
        self._dialled = self._loop.time()
        if self._rest:
            self._rest.register(self)
        document = _twiml(200, "text/xml", twiml) if twiml else None
        self._life = asyncio.create_task(self._live(document, path or self._path))

    def say(self, what: int | bytes = 800) -> None:
        """Speak: milliseconds of something like speech, or μ-law."""
        audio = sound.voice_mulaw(what, sound.CALLER_PITCH) if isinstance(what, int) else what
        self._mouth += audio + b"\xff" * (-len(audio) % sound.FRAME)

    def answer(self, text: str) -> None:
        """Say words where a <Gather> listens, now or next."""
        self._answers.append(("SpeechResult", text))
        self._wake()

    def press(self, digits: str) -> None:
        """Press keys: into the stream while there is one, else into a <Gather>."""
        if not self.streaming:
            self._answers.append(("Digits", digits))
            self._wake()
            return
        for digit in digits:
            self._note("presses", digit)
            self.send({"event": "dtmf", "dtmf": {"track": "inbound_track", "digit": digit}})

    async def hang_up(self) -> None:
        """End the call; returns when nothing of it runs any more."""
        if self._life is None or self._life.done():
            return
        self.closed_by = self.closed_by or "caller"
        if self.streaming:
            self.send(
                {"event": "stop", "stop": {"accountSid": self.account.sid, "callSid": self.sid}}
            )
        self._life.cancel()
        await asyncio.wait([self._life])

    def drop(self) -> None:
        """Let the network take the stream away, without `stop` and without a close frame."""
        if self._wire is not None:
            self.closed_by = "network"
            self._wire.abort()

    def redirect(self, instructions: str) -> None:
        """Leave what runs and follow these instructions: TwiML or an address."""
        starts = instructions.lstrip().startswith("<")
        self._detour = _twiml(200, "text/xml", instructions) if starts else instructions
        self._wake()

    async def until(self, ready: Callable[[], Any], *, timeout: float = 50.0) -> Any:
        """Return `ready()` once it is true; looked at at every frame, message and change."""
        deadline = asyncio.get_running_loop().time() + timeout
        while not (found := ready()):
            if self.over:
                raise AssertionError(f"the call has ended: {self.status}; {self.problems}")
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            left = deadline - asyncio.get_running_loop().time()
            try:
                await asyncio.wait_for(waiter, max(0.0, left))
            except TimeoutError:
                recent = [f"{m.ms}:{m.what} {m.detail}" for m in self.timeline[-8:]]
                raise AssertionError(f"waited in vain: {recent}; {self.problems}") from None
        return found

    async def ended(self, *, timeout: float = 50.0) -> None:
        """Return once the call is over."""
        assert self._life
        await asyncio.wait_for(asyncio.shield(self._life), timeout)

    def note(self, what: str, detail: str = "") -> None:
        """Add something to the timeline, from any thread."""
        if self._loop:
            self._loop.call_soon_threadsafe(self._note, what, detail)

    @property
    def clock_ms(self) -> int:
        """How long ago the call was dialled."""
        return int((self._loop.time() - self._dialled) * 1000 * self._speed) if self._loop else 0

    @property
    def heard_ms(self) -> int:
        """How much of the application's audio was played."""
        return self._played // 8

    @property
    def queued_ms(self) -> int:
        """How much of the application's audio waits to be played."""
        return len(self._buffer) // 8

    @property
    def hearing(self) -> bool:
        """Whether the application's voice is being played."""
        return self._hearing

    @property
    def over(self) -> bool:
        """Whether the call has ended."""
        return self._life is not None and self._life.done()

    def send(self, message: Json) -> None:
        """Put a message into the stream, numbered and addressed unless it says otherwise."""
        self._message += 1
        whole = {"sequenceNumber": str(self._message), "streamSid": self.stream_sid, **message}
        self.send_raw(msgspec.json.encode(whole).decode())

    def send_raw(self, text: str) -> None:
        """Put anything into the stream."""
        if self._wire is not None:
            self._wire.send(text.encode())

    # -- the call

    async def _live(self, document: ElementTree.Element | None, url: str) -> None:
        try:
            await self._become("ringing")
            await self._follow(document, urljoin(self.public + "/", url))
            self.status = "completed" if self.status == "in-progress" else self.status
        except asyncio.CancelledError:
            self.status = "completed" if self.status == "in-progress" else "canceled"
        except (CallFailed, aiohttp.ClientError, TimeoutError) as err:
            self.problems.append(str(err) or type(err).__name__)
            self.status = "failed"
        finally:
            self._note("ends", self.status)
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                await self._tell_status()
            self._wake()

    async def _become(self, status: str) -> None:
        self.status = status
        await self._tell_status()

    async def _tell_status(self) -> None:
        event = {"in-progress": "answered"}.get(self.status, self.status)
        final = ("completed", "busy", "failed", "no-answer", "canceled")
        event = "completed" if self.status in final else event
        if self._status_url and event in self._status_events:
            await self.webhook(self._status_url, self.status_fields())

    def status_fields(self) -> dict[str, str]:
        """Return the fields of the next status callback."""
        number, self._sequence = self._sequence, self._sequence + 1
        fields = {
            **self.fields(),
            "Timestamp": formatdate(usegmt=False),
            "SequenceNumber": str(number),
            "CallbackSource": "call-progress-events",
        }
        if self.status == "completed":
            fields |= {"CallDuration": str(self._ticks // 50), "Duration": "1"}
        return fields

    def fields(self) -> dict[str, str]:
        """Return what every webhook of this call carries."""
        caller, called = self.number, self.account.number
        if self._direction != "inbound":
            caller, called = called, caller
        return {
            "AccountSid": self.account.sid, "ApiVersion": "2010-04-01", "CallSid": self.sid,
            "CallStatus": self.status, "Direction": self._direction, "From": caller,
            "Caller": caller, "To": called, "Called": called, "FromCountry": "US",
            "FromState": "CA", "FromCity": "", "FromZip": "", "ToCountry": "US", "ToState": "",
            "ToCity": "", "ToZip": "", "StirVerstat": "TN-Validation-Passed-A", **self._fields,
        }  # fmt: skip

    async def _fetch(
        self, url: str, extra: Mapping[str, str], method: str = "POST"
    ) -> ElementTree.Element:
        answer = await self.webhook(url, {**self.fields(), **extra}, method=method)
        return answer.twiml()

    async def _follow(self, document: ElementTree.Element | None, url: str) -> None:
        """Follow a document and all that come after it; returns when the call is over."""
        extra: Mapping[str, str] = {}
        method = "POST"
        while True:
            if document is None:
                document = await self._fetch(url, extra, method)
            if [verb.tag for verb in document][:1] == ["Reject"]:
                self.status = document[0].get("reason", "rejected").replace("rejected", "no-answer")
                self._note("Reject")
                return
            if self.status != "in-progress":
                await self._become("in-progress")
            after = await self._obey(document, url)
            if after is None:
                return
            if isinstance(after, ElementTree.Element):
                document = after
            else:
                document, (where, extra, method) = None, after
                url = urljoin(url, where)

    async def _obey(self, document: ElementTree.Element, url: str) -> Any:
        """Do a document's verbs; return where the call goes on, None where it ends."""
        for verb in document:
            self._note(verb.tag)
            goes_on: Any = None
            match verb.tag:
                case "Say" | "Play":
                    await self._listen(verb)
                case "Pause":
                    await self._sleep(float(verb.get("length", "1")))
                case "Gather":
                    goes_on = await self._gather(verb)
                case "Connect":
                    goes_on = await self._connect(verb)
                case "Redirect":
                    return verb.text or "", {}, verb.get("method", "POST")
                case "Hangup":
                    return None
                case _:
                    raise CallFailed(12200, f"<{verb.tag}> is not simulated")
            goes_on = goes_on or self._turned()
            if goes_on is not None:
                return goes_on
        return None

    def _turned(self) -> Any:
        """Return where the API sent this call meanwhile."""
        detour, self._detour = self._detour, None
        return (detour, {}, "POST") if isinstance(detour, str) else detour

    async def _listen(self, verb: ElementTree.Element) -> None:
        text = "".join(verb.itertext()).strip()
        if verb.tag == "Say":
            self.said.append(text)
            self._note("says", text)
            await self._sleep(sound.spoken_ms(text) / 1000)

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(AssertionError):
            await self.until(lambda: self._detour is not None, timeout=seconds / self._speed)

    async def _gather(self, verb: ElementTree.Element) -> Any:
        """Listen for words or keys, also while the nested verbs speak."""
        wanted = verb.get("input", "dtmf").split()
        patience = float(verb.get("timeout", "5"))
        for inner in verb:
            if inner.tag not in ("Say", "Play", "Pause"):
                raise CallFailed(12200, f"<{inner.tag}> in <Gather>")
            text = "".join(inner.itertext()).strip()
            if inner.tag == "Say":
                self.said.append(text)
                self._note("says", text)
                patience += sound.spoken_ms(text) / 1000
        patience /= self._speed
        with contextlib.suppress(AssertionError):
            await self.until(
                lambda: self._answers or self._detour is not None, timeout=max(1.0, patience)
            )
        if self._detour is not None:
            return None
        kind, given = self._answers.popleft() if self._answers else ("", "")
        heard = {"SpeechResult": "speech", "Digits": "dtmf"}.get(kind)
        if heard not in wanted:
            if verb.get("actionOnEmptyResult") != "true":
                return None
            return verb.get("action", ""), {"SpeechResult": ""}, verb.get("method", "POST")
        self._note("answers", given)
        extra = {kind: given}
        if heard == "speech":
            extra["Confidence"] = "0.91"
            await self._sleep(sound.spoken_ms(given) / 1000)
        return verb.get("action", ""), extra, verb.get("method", "POST")

    # -- the stream

    async def _connect(self, verb: ElementTree.Element) -> Any:
        stream = verb.find("Stream")
        if stream is None:
            raise CallFailed(12200, "<Connect> without <Stream> is not simulated")
        self.parameters = {
            each.get("name", ""): each.get("value", "") for each in stream.iter("Parameter")
        }
        if any(len(name) + len(value) > 500 for name, value in self.parameters.items()):
            raise CallFailed(12200, "a <Parameter> is longer than 500 characters")
        await self.stream(stream.get("url", ""))
        if action := verb.get("action"):
            return action, {}, verb.get("method", "POST")
        return None

    async def stream(self, url: str, *, headers: Mapping[str, str] | None = None) -> None:
        """Open the media stream and live in it until it closes; `headers` replace the signature."""
        parts = urlsplit(url)
        loopback = parts.hostname in ("127.0.0.1", "localhost")
        if parts.scheme != "wss" and not (loopback and parts.scheme == "ws"):
            raise CallFailed(12100, f"a stream must be wss, not {parts.scheme}")
        if parts.query:
            raise CallFailed(12100, "a query string does not reach a stream: use <Parameter>")
        signed = parts._replace(scheme="https").geturl() if self._handshake == "https" else url
        given = self.account.headers(signed + ("/" if self._slash else ""))
        self._reset_stream()
        self.stream_sid = new_sid("MZ")
        wire = self._wire = _Wire(self._receive)
        self.stream_status = await wire.open(self._here(url), given if headers is None else headers)
        if self.stream_status != 101:
            raise CallFailed(31920, f"the stream's handshake got {self.stream_status}")
        await self._stream_life(wire)

    async def _stream_life(self, wire: _Wire) -> None:
        self.send_raw('{"event":"connected","protocol":"Call","version":"1.0.0"}')
        self.send(
            {
                "event": "start",
                "start": {
                    "streamSid": self.stream_sid,
                    "accountSid": self.account.sid,
                    "callSid": self.sid,
                    "tracks": ["inbound"],
                    "customParameters": self.parameters,
                    "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                },
            }
        )
        self.streaming = True
        self._note("stream")
        self._wake()
        pump = asyncio.create_task(self._pump(wire))
        try:
            await asyncio.shield(wire.closed)
        finally:
            pump.cancel()
            self.streaming = False
            self.closed_by = self.closed_by or "application"
            wire.close()
            self.close_code = wire.code
            self._note("stream ends", self.closed_by)
            self._wake()

    async def _pump(self, wire: _Wire) -> None:
        """A frame each way every 20 ms, on a schedule that does not drift."""
        loop = asyncio.get_running_loop()
        began, step, number = loop.time(), _FRAME_S / self._speed, 0
        while True:
            number += 1
            await asyncio.sleep(max(0.0, began + number * step - loop.time()))
            if self._detour is not None:
                self.closed_by = "api"
                return wire.close()
            self._tick()

    def _tick(self) -> None:
        self._ticks += 1
        self._chunk += 1
        self._message += 1
        frame = bytes(self._mouth[: sound.FRAME])
        if bool(frame) != self._speaking:
            self._speaking = bool(frame)
            self._note("speaks" if frame else "is silent")
        if frame:
            del self._mouth[: sound.FRAME]
        payload = base64.b64encode(frame).decode() if frame else _SILENCE_B64
        self.send_raw(
            f'{{"event":"media","sequenceNumber":"{self._message}","media":{{"track":"inbound",'
            f'"chunk":"{self._chunk}","timestamp":"{80 + 20 * self._chunk}",'
            f'"payload":"{payload}"}},"streamSid":"{self.stream_sid}"}}'
        )
        piece = bytes(self._buffer[: sound.FRAME])
        if bool(piece) != self._hearing:
            self._hearing = bool(piece)
            self._note("hears" if piece else "hears nothing")
        if piece:
            del self._buffer[: sound.FRAME]
            self._played += len(piece)
            self._return_marks()
        if self._keep:
            self.spoken += frame or sound.SILENCE
            self.heard += piece + b"\xff" * (sound.FRAME - len(piece))
        if self._waiters:
            self._wake()

    def _return_marks(self, *, all_of_them: bool = False) -> None:
        while self._marks and (all_of_them or self._marks[0][0] <= self._played):
            name = self._marks.popleft()[1]
            self.marks_returned.append(name)
            self.send({"event": "mark", "mark": {"name": name}})

    def _receive(self, text: bytes) -> None:
        try:
            message = _decode(text)
            kind = message["event"]
            if message["streamSid"] != self.stream_sid:
                return self._refuse("streamSid is not this stream's")
            if kind == "media":
                payload = base64.b64decode(message["media"]["payload"], validate=True)
                self.bytes_received += len(payload)
                self._buffer += payload
                if self._on_media:
                    self._on_media(payload)
            elif kind == "mark":
                self._marks.append((self._played + len(self._buffer), message["mark"]["name"]))
                self._return_marks()
            elif kind == "clear":
                self.clears += 1
                self._note("clear", f"{self.queued_ms} ms dropped")
                self._buffer.clear()
                self._return_marks(all_of_them=True)
                if self._on_clear:
                    self._on_clear()
            else:
                return self._refuse(f"unknown event {kind!r}")
        except (msgspec.DecodeError, KeyError, TypeError, binascii.Error) as err:
            return self._refuse(f"no message: {err!r}")
        if self._waiters:
            self._wake()

    def _refuse(self, problem: str) -> None:
        self.problems.append(f"31951: {problem}")  # the number is unconfirmed
        self.closed_by = "twilio"
        assert self._wire
        self._wire.close(1008)

    def _note(self, what: str, detail: str = "") -> None:
        self.timeline.append(Moment(self.clock_ms, what, detail))
        if self._waiters:
            self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class Texter(_Phone):
    """A telephone that texts; `received` is what the application's TwiML answered at once."""

    def __init__(self, local: str, *, path: str = "/twilio/sms/incoming", **phone: Any) -> None:
        super().__init__(local, **phone)
        self.path = path
        self.received: list[str] = []

    def fields(self, body: str, *, sid: str = "", media: Sequence[str] = ()) -> dict[str, str]:
        """Return the fields of a text."""
        sid = sid or new_sid("MM" if media else "SM")
        found = {
            "MessageSid": sid, "SmsSid": sid, "SmsMessageSid": sid, "AccountSid": self.account.sid,
            "From": self.number, "To": self.account.number, "Body": body, "SmsStatus": "received",
            "NumMedia": str(len(media)), "NumSegments": str(segments(body)),
            "ApiVersion": "2010-04-01", "FromCountry": "US", "FromCity": "", "FromState": "",
            "FromZip": "", "ToCountry": "US", "ToCity": "", "ToState": "", "ToZip": "",
        }  # fmt: skip
        for number, kind in enumerate(media):
            found[f"MediaUrl{number}"] = f"https://api.twilio.com/Media/{new_sid('ME')}"
            found[f"MediaContentType{number}"] = kind
        return found

    async def send(
        self,
        body: str,
        *,
        sid: str = "",
        media: Sequence[str] = (),
        extra: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Send a text (again: with its `sid`); return the messages of the TwiML answer."""
        fields = self.fields(body, sid=sid, media=media) | dict(extra or {})
        answer = await self.webhook(self.path, fields)
        if answer.content_type == "text/plain" and answer.text.strip():
            raise CallFailed(12300, "a plain text body is sent to the person as a message")
        document = answer.twiml()
        replies = ["".join(each.itertext()).strip() for each in document.iter("Message")]
        self.received += replies
        return replies


def segments(text: str) -> int:
    """Return how many segments a text is sent and billed as."""
    if all(c in _GSM or c in _GSM_LONG for c in text):
        length = len(text) + sum(c in _GSM_LONG for c in text)
        return 1 if length <= 160 else -(-length // 153)
    length = len(text.encode("utf-16-le")) // 2
    return 1 if length <= 70 else -(-length // 67)


# --- the API --------------------------------------------------------------------------------------

_MESSAGES = {
    20003: (401, "Authenticate"),
    20404: (404, "The requested resource was not found"),
    20429: (429, "Too Many Requests"),
    21205: (400, "Url parameter is required."),
    21211: (400, "Invalid 'To' Phone Number"),
    21212: (400, "Invalid 'From' Phone Number"),
    21220: (400, "Unable to update record. Call is not in-progress. Cannot redirect."),
    21408: (400, "Permission to send an SMS has not been enabled for the region"),
    21602: (400, "Message body is required."),
    21603: (400, "A 'From' phone number is required."),
    21606: (400, "The 'From' phone number provided is not a valid message-capable number."),
    21609: (400, "The 'StatusCallback' URL is not a valid URL."),
    21610: (400, "Attempt to send to unsubscribed recipient"),
    21617: (400, "The concatenated message body exceeds the 1600 character limit"),
}


class _Error(Exception):
    def __init__(self, code: int, status: int = 0) -> None:
        super().__init__(code)
        self.status, self.message = _MESSAGES.get(code, (status or 400, "Error"))
        self.status = status or self.status
        self.code = code


@dataclass
class _Plan:
    path: str
    code: int
    lose: bool


@dataclass
class Sent:
    """A request to the API; `form` has a list for a repeated field."""

    method: str
    path: str
    form: dict[str, str | list[str]] = field(default_factory=dict)


class FakeTwilio(Served):
    """Twilio's API, in a thread of its own while its `with` block runs.

    `messages` and `calls` are the resources as Twilio shows them, oldest first. `opted_out` are
    numbers that answered STOP, `unreachable` maps numbers to the error of writing to them.
    """

    HOST = "api.twilio.com"

    def __init__(self, account: Account = ACCOUNT, *, numbers: Iterable[str] = ()) -> None:
        self.account = account
        self.numbers = {account.number, *numbers}
        self.messages: list[Json] = []
        self.calls: list[Json] = []
        self.requests: list[Sent] = []
        self.opted_out: set[str] = set()
        self.unreachable: dict[str, int] = {}
        self._forms: dict[str, dict[str, str | list[str]]] = {}
        self._callers: dict[str, tuple[Caller, asyncio.AbstractEventLoop]] = {}
        self._plans: list[_Plan] = []
        self._changed = threading.Condition()

    @property
    def environ(self) -> dict[str, str]:
        """The settings that send an application here."""
        return {**self.account.environ, "ODAI_EGRESS_MAP": f"{self.HOST}={self.origin}"}

    def fail(self, path: str, code: int = 20429, *, lose: bool = False) -> None:
        """Let the next request whose path contains `path` fail with `code`.

        `lose`: do it, then cut the connection, so that the client does not know.
        """
        self._plans.append(_Plan(path, code, lose))

    def texts(self, to: str = "") -> list[str]:
        """Return the bodies sent (to a number)."""
        return [m["body"] for m in list(self.messages) if not to or m["to"] == to]

    def wait(self, ready: Callable[[], Any], *, timeout: float = 50.0) -> Any:
        """Return `ready()` once it is true; looked at after each request."""
        with self._changed:
            if not self._changed.wait_for(ready, timeout):
                raise AssertionError(f"waited in vain; {self.requests[-5:]!r}")
            return ready()

    def register(self, caller: Caller) -> None:
        """Let the API act on a call."""
        self._callers[caller.sid] = (caller, asyncio.get_running_loop())
        if not any(call["sid"] == caller.sid for call in self.calls):
            fields = caller.fields()
            self.calls.append(self._call(caller.sid, fields["From"], fields["To"], "inbound"))

    def answering(self, local: str, call: Json | None = None, **caller: Any) -> Caller:
        """Return the telephone that an outbound call (the newest) reaches; `dial_out` it."""
        call = call or self.calls[-1]
        form = self._forms[call["sid"]]
        return Caller(
            local,
            sid=call["sid"],
            direction="outbound-api",
            number=call["to"],
            account=self.account,
            rest=self,
            path=str(form.get("Url", "")),
            status_url=str(form.get("StatusCallback", "")),
            **caller,
        )

    async def pick_up(self, caller: Caller) -> None:
        """Let the person answer an outbound call."""
        twiml = self._forms[caller.sid].get("Twiml", "")
        await caller.dial(twiml=str(twiml))

    async def deliver(
        self, phone: _Phone, status: str, *, sid: str = "", code: int | None = None
    ) -> int:
        """Send a message's status callback through `phone`; return the answer's HTTP status."""
        message = next(m for m in reversed(self.messages) if not sid or m["sid"] == sid)
        message["status"], message["error_code"] = status, code
        fields = {
            "MessageSid": message["sid"], "SmsSid": message["sid"], "MessageStatus": status,
            "SmsStatus": status, "AccountSid": self.account.sid, "From": message["from"] or "",
            "To": message["to"], "ApiVersion": "2010-04-01",
        }  # fmt: skip
        if code:
            fields["ErrorCode"] = str(code)
        answer = await phone.webhook(str(self._forms[message["sid"]]["StatusCallback"]), fields)
        return answer.status

    # -- the server

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/2010-04-01/Accounts/{account}/{rest:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        raw = parse_qs((await request.read()).decode(), keep_blank_values=True)
        form = {k: v[0] if len(v) == 1 else v for k, v in raw.items()}
        with self._changed:
            self.requests.append(Sent(request.method, request.path, form))
            self._changed.notify_all()
        try:
            plan = next((p for p in self._plans if p.path in request.path), None)
            if plan:
                self._plans.remove(plan)
                if not plan.lose:
                    raise _Error(plan.code)
            self._authorize(request)
            status, body = self._route(request, form)
            if plan:
                assert request.transport
                request.transport.abort()
        except _Error as err:
            body = {
                "code": err.code,
                "message": err.message,
                "more_info": f"https://www.twilio.com/docs/errors/{err.code}",
                "status": err.status,
            }
            headers = {"Retry-After": "1"} if err.status == 429 else {}
            return web.json_response(body, status=err.status, headers=headers)
        finally:
            with self._changed:
                self._changed.notify_all()
        if status == 204:
            return web.Response(status=204)
        return web.json_response(body, status=status)

    def _authorize(self, request: web.Request) -> None:
        pairs = ((self.account.sid, self.account.token), (self.account.key, self.account.secret))
        good = {base64.b64encode(f"{a}:{b}".encode()).decode() for a, b in pairs}
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme != "Basic" or given not in good:
            raise _Error(20003)
        if request.match_info["account"] != self.account.sid:
            raise _Error(20404)

    def _route(self, request: web.Request, form: dict[str, str | list[str]]) -> tuple[int, Json]:
        path = request.match_info["rest"].removesuffix(".json")
        kind, _, sid = path.partition("/")
        resources = {"Messages": self.messages, "Calls": self.calls}.get(kind)
        if resources is None:
            raise _Error(20404)
        if not sid and request.method == "POST":
            made = self._message(form) if kind == "Messages" else self._new_call(form)
            self._forms[made["sid"]] = form
            resources.append(made)
            return 201, made
        if not sid:
            return 200, self._listed(request, kind.lower(), resources)
        found = next((each for each in resources if each["sid"] == sid), None)
        if found is None:
            raise _Error(20404)
        if request.method == "DELETE":
            resources.remove(found)
            return 204, {}
        if request.method == "POST":
            self._update(kind, found, form)
        return 200, found

    def _listed(self, request: web.Request, name: str, resources: list[Json]) -> Json:
        wanted = {k.lower(): v for k, v in request.query.items() if k in ("To", "From", "Status")}
        found = [r for r in reversed(resources) if all(r[k] == v for k, v in wanted.items())]
        return {
            name: found, "page": 0, "page_size": 50, "start": 0, "end": max(0, len(found) - 1),
            "first_page_uri": request.path_qs, "uri": request.path_qs, "next_page_uri": None,
            "previous_page_uri": None,
        }  # fmt: skip

    def _message(self, form: dict[str, str | list[str]]) -> Json:
        to, body = str(form.get("To", "")), str(form.get("Body", ""))
        sender, service = form.get("From"), form.get("MessagingServiceSid")
        self._check_to(to)
        if not sender and not service:
            raise _Error(21603)
        if sender and str(sender).removeprefix("whatsapp:") not in self.numbers:
            raise _Error(21606)
        if not body and not form.get("MediaUrl") and not form.get("ContentSid"):
            raise _Error(21602)
        if len(body) > _BODY_LIMIT:
            raise _Error(21617)
        self._check_callback(form)
        if to in self.opted_out:
            raise _Error(21610)
        sid = new_sid("SM")
        return {
            "sid": sid, "account_sid": self.account.sid, "api_version": "2010-04-01",
            "status": "accepted" if service and not sender else "queued", "body": body,
            "from": sender, "to": to, "direction": "outbound-api",
            "num_segments": "0" if service and not sender else str(segments(body)),
            "num_media": "0", "error_code": None, "error_message": None, "price": None,
            "price_unit": "USD", "date_created": formatdate(), "date_updated": formatdate(),
            "date_sent": None, "messaging_service_sid": service,
            "subresource_uris": {"media": f"{self._uri('Messages', sid)[:-5]}/Media.json"},
            "uri": self._uri("Messages", sid),
        }  # fmt: skip

    def _new_call(self, form: dict[str, str | list[str]]) -> Json:
        to = str(form.get("To", ""))
        self._check_to(to)
        if str(form.get("From", "")) not in self.numbers:
            raise _Error(21212)
        if not any(form.get(name) for name in ("Url", "Twiml", "ApplicationSid")):
            raise _Error(21205)
        if form.get("Twiml"):
            try:
                _twiml(200, "text/xml", str(form["Twiml"]))
            except CallFailed as err:
                raise _Error(12100, 400) from err
        self._check_callback(form)
        return self._call(new_sid("CA"), str(form["From"]), to, "outbound-api")

    def _call(self, sid: str, sender: str, to: str, direction: str) -> Json:
        return {
            "sid": sid, "account_sid": self.account.sid, "api_version": "2010-04-01",
            "status": "queued" if direction != "inbound" else "in-progress", "from": sender,
            "to": to, "from_formatted": sender, "to_formatted": to, "direction": direction,
            "price": None, "price_unit": "USD", "start_time": None, "end_time": None,
            "duration": None, "answered_by": None, "caller_name": None, "forwarded_from": None,
            "parent_call_sid": None, "phone_number_sid": None, "queue_time": "0",
            "date_created": formatdate(), "date_updated": formatdate(),
            "subresource_uris": {}, "uri": self._uri("Calls", sid),
        }  # fmt: skip

    def _uri(self, kind: str, sid: str) -> str:
        return f"/2010-04-01/Accounts/{self.account.sid}/{kind}/{sid}.json"

    def _check_to(self, to: str) -> None:
        if not re.fullmatch(r"(whatsapp:)?\+[1-9]\d{6,14}", to):
            raise _Error(21211)
        if code := self.unreachable.get(to):
            raise _Error(code, 400)

    def _check_callback(self, form: dict[str, str | list[str]]) -> None:
        host = urlsplit(str(form.get("StatusCallback", "http://x"))).hostname
        if not host or "_" in host:
            raise _Error(21609)

    def _update(self, kind: str, found: Json, form: dict[str, str | list[str]]) -> None:
        if kind == "Messages":
            found.update({k.lower(): v for k, v in form.items() if k in ("Body", "Status")})
            return
        live = self._callers.get(found["sid"])
        ended = ("completed", "canceled", "busy", "failed", "no-answer")
        if found["status"] in ended or (live and live[0].over):
            raise _Error(21220)
        if form.get("Status") in ("completed", "canceled"):
            found["status"] = form["Status"]
            if live:
                caller, loop = live
                caller.closed_by = "api"
                asyncio.run_coroutine_threadsafe(caller.hang_up(), loop)
        elif live and (target := form.get("Twiml") or form.get("Url")):
            live[1].call_soon_threadsafe(live[0].redirect, str(target))
