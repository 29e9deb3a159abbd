"""A scriptable loopback OpenAI Realtime API: speech to speech over a WebSocket.

It hears: the caller's audio is measured, so that speech starts, stops and interrupts an answer as
the real server's detection does. It speaks something like speech in the session's format. It
refuses with `error` events what the real API refuses, and a test that leaves its block fails on a
refusal it did not expect, on an answer nobody scripted and on a step nobody asked for::

    with FakeRealtime(Speak("Hello."), Calls([("get_weather", {"city": "Oslo"})]),
                      Speak("It rains."), hears=["Weather in Oslo?"]) as fake:
        ... RealtimeRunner(agent).run(model_config={"url": fake.url, "api_key": "test"}) ...
        fake.wait(lambda: fake.session.truncations)

A step answers one response, whoever asked for it (`response.create` or the end of the caller's
speech), in order over all sessions. `hears` is what the caller said, in order. As a process::

    python -m tests.fakes.openai_realtime --port 8124 --text "How can I help?"

Not imitated: WebRTC and SIP, MCP, images, prompts kept at the vendor, the beta's shapes. Error
codes are those of recordings where there is one; a comment marks a guess.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import binascii
import contextlib
import copy
import json
import re
import secrets
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from aiohttp import WSMsgType, web

from tests.fakes import sound
from tests.fakes.openai_responses import Gate
from tests.fakes.served import Served

Json = dict[str, Any]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

MODELS = (
    "gpt-realtime-2.1", "gpt-realtime-2.1-mini", "gpt-realtime-2", "gpt-realtime-1.5",
    "gpt-realtime", "gpt-realtime-mini",
)  # fmt: skip
_VOICES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")
_RATES = {"audio/pcmu": 8000, "audio/pcma": 8000, "audio/pcm": 48000}  # bytes a second
_LONGEST_S = 3600.0
_LOUD = 0.04  # loudness that a threshold of 1.0 stands for
_ONSET_MS = 60
_STAMP = b"@%019d%04d"
_STAMPED = re.compile(rb"@(\d{19})(\d{4})")


# --- what a script says ---------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Speak:
    """Say `text`, for `ms` (from its length if 0) in deltas of `delta_ms`.

    `speed` is how much faster than real time the audio arrives; 0: all at once. A `gate` stops it
    before delta number `gate_after` (from 0).
    """

    text: str
    ms: int = 0
    delta_ms: int = 100
    speed: float = 0.0
    gate: Gate | None = None
    gate_after: int = 0

    @property
    def length_ms(self) -> int:
        return self.ms or sound.spoken_ms(self.text)


@dataclass(frozen=True, eq=False)
class Calls:
    """Call functions: `(name, arguments)` or `(name, arguments, call_id)` each.

    Arguments are a dict, or a string sent as it is. Calling what the session does not offer is a
    mistake of the script unless `offered=False`.
    """

    calls: Sequence[tuple[str, Json | str] | tuple[str, Json | str, str]]
    offered: bool = True


@dataclass(frozen=True, eq=False)
class Failed:
    """Say `of`, then end with status `failed`, as a rate limit or an outage does."""

    code: str = "server_error"
    message: str = "The server had an error while processing your request."
    of: Part | Sequence[Part] = ()


@dataclass(frozen=True, eq=False)
class Incomplete:
    """Say `of`, then end with status `incomplete`."""

    reason: Literal["max_output_tokens", "content_filter"] = "max_output_tokens"
    of: Part | Sequence[Part] = ()


@dataclass(frozen=True, eq=False)
class Drop:
    """Cut the connection after `after` audio deltas of `of`, without a close frame.

    With `code` it is closed properly with that code instead.
    """

    after: int = 0
    of: Speak | None = None
    code: int | None = None


Part = Speak | Calls
Answer = Part | Sequence[Part] | Failed | Incomplete | Drop


@dataclass(frozen=True)
class Asked:
    """What a callable step is given: `by` is "client" or "speech"; `params` of response.create."""

    session: Session
    by: str
    params: Json

    @property
    def items(self) -> list[Json]:
        """The conversation so far."""
        return list(self.session.items)


Step = Answer | Callable[[Asked], Answer]


# --- what is recorded -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Truncation:
    """A `conversation.item.truncate` that was taken; `generated_ms` is what had been said."""

    item_id: str
    content_index: int
    audio_end_ms: int
    generated_ms: int


@dataclass
class _Response:
    """One answer under way."""

    id: str
    params: Json
    aside: bool
    output: list[Json] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    cancelled: str = ""
    spoken_bytes: int = 0


class _Refused(Exception):
    """An event the real API answers with `error`."""

    def __init__(self, message: str, code: str | None, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


class _Unscripted(Exception):
    """Something the test did not foresee."""


# Races that a correct client cannot rule out; everything else refused is its mistake.
RACES = frozenset(
    {
        "conversation_already_has_active_response",
        "response_cancel_not_active",
        "input_audio_buffer_commit_empty",
    }
)


class Session:
    """One socket: what was received (`events`, audio apart), sent, said and agreed.

    `events` and `sent` hold events as dicts without their audio. `audio` is all the caller's audio.
    The methods may be called from any thread.
    """

    def __init__(self, fake: FakeRealtime, request: web.Request, number: int) -> None:
        self.id = f"sess_{secrets.token_hex(12)}"
        self.number = number
        self.headers = {k.lower(): v for k, v in request.headers.items()}
        self.headers["authorization"] = "[redacted]"
        self.events: list[Json] = []
        self.sent: list[Json] = []
        self.audio = bytearray()
        self.items: list[Json] = []
        self.truncations: list[Truncation] = []
        self.refused: list[str] = []
        self.speech_at: list[int] = []  # monotonic ns at which each speech_started was sent
        self.closed = False
        self.config = _configuration(request.query["model"])
        self._fake = fake
        self._request = request
        self._socket = web.WebSocketResponse(compress=False, max_msg_size=32 * 2**20)
        self._loop = asyncio.get_running_loop()
        self._active: _Response | None = None
        self._said_ms: dict[str, float] = {}  # audio generated for each item
        self._buffered = 0  # bytes since the last commit
        self._ear = _Ear()
        self._turn_item = ""
        self._untranscribed: list[str] = []
        self._spoke = False
        self._asides: set[asyncio.Task[None]] = set()

    # -- from any thread

    def emit(self, event: Json) -> None:
        """Send an event of the test's own."""
        self._call(self._send(event))

    def error(self, code: str, message: str = "Something went wrong.") -> None:
        """Send an `error` event; the session stays open."""
        self.emit({"type": "error", "error": _error(message, code, kind="server_error")})

    def speech_started(self) -> None:
        """Let the caller's speech begin, whatever the audio says."""
        self._call(self._on_speech_started())

    def speech_stopped(self) -> None:
        """Let the caller's speech end, whatever the audio says."""
        self._call(self._on_speech_stopped())

    def drop(self) -> None:
        """Cut the connection without a close frame."""
        self._loop.call_soon_threadsafe(self._abort)

    def close(self, code: int = 1011) -> None:
        """Close the socket properly."""
        self._call(self._socket.close(code=code))

    def expire(self) -> None:
        """End the session as its maximum duration does."""
        self._call(self._expire())

    def received(self, kind: str) -> list[Json]:
        """Return the received events of one type."""
        return [event for event in list(self.events) if event.get("type") == kind]

    def told(self, kind: str) -> list[Json]:
        """Return the sent events of one type."""
        return [event for event in list(self.sent) if event.get("type") == kind]

    @property
    def responding(self) -> bool:
        """Whether an answer is under way."""
        return self._active is not None

    def _call(self, what: Any) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop)

    # -- the socket

    async def serve(self) -> web.WebSocketResponse:
        socket = self._socket
        await socket.prepare(self._request)
        life = self._loop.call_later(
            self._fake.longest_s, lambda: self._loop.create_task(self._expire())
        )
        self.config["expires_at"] = int(time.time() + self._fake.longest_s)
        await self._tell("session.created", session=self.config)
        try:
            async for message in socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    await self._receive(message.data)
        finally:
            life.cancel()
            for task in [*self._asides, *([self._active.task] if self._active else [])]:
                if task:
                    task.cancel()
            self.closed = True
            self._fake.changed()
        return socket

    async def _receive(self, data: str | bytes) -> None:
        event: Any = None
        try:
            try:
                event = _decode(data)
            except msgspec.DecodeError as err:
                raise _Refused("Could not parse the event as JSON.", "invalid_json") from err
            if not isinstance(event, dict):
                raise _Refused("An event must be an object.", "invalid_json")
            await self._handle(event)
        except _Refused as refusal:
            self.refused.append(refusal.code or str(refusal))
            if refusal.code not in self._fake.tolerated:
                self._fake.refused.append(f"{refusal!s} ({refusal.code})")
            ident = event.get("event_id") if isinstance(event, dict) else None
            error = _error(str(refusal), refusal.code, refusal.param, ident)
            await self._tell("error", error=error)
        finally:
            self._fake.changed()

    async def _handle(self, event: Json) -> None:
        kind = event.get("type")
        handler = _HANDLERS.get(str(kind))
        if self._fake.record:
            shown = event
            if kind == "input_audio_buffer.append" and isinstance(event.get("audio"), str):
                shown = {**event, "audio": len(event["audio"])}
            self.events.append(shown)
        if handler is None:
            raise _Refused(f"Invalid value: '{kind}'.", "invalid_value", "type")
        allowed, required = _FIELDS[str(kind)]
        for name in event.keys() - allowed - {"type", "event_id"}:
            raise _Refused(f"Unknown parameter: '{name}'.", "unknown_parameter", name)
        for name in required:
            if event.get(name) is None:
                raise _missing(name)
        await handler(self, event)

    async def _tell(self, kind: str, **fields: Any) -> None:
        await self._send({"type": kind, **fields})

    async def _send(self, event: Json) -> None:
        event = {"event_id": f"event_{secrets.token_hex(10)}", **event}
        if self._fake.record:
            held = event
            if event["type"] == "response.output_audio.delta":
                held = {**event, "delta": len(event["delta"])}
            self.sent.append(copy.deepcopy(held))
        await self._write(_encode(event).decode())
        self._fake.changed()

    async def _write(self, text: str) -> None:
        if not self._socket.closed:
            with contextlib.suppress(ConnectionError):
                await self._socket.send_str(text)

    def _abort(self) -> None:
        if self._request.transport:
            self._request.transport.abort()

    async def _expire(self) -> None:
        message = "Your session hit the maximum duration of 60 minutes."
        error = _error(message, "session_expired")  # the code is unconfirmed
        await self._tell("error", error=error)
        await self._socket.close(code=1001)

    # -- client events

    async def _update(self, event: Json) -> None:
        _check_session(event["session"], self.config, spoke=self._spoke)
        self.config = _merged(self.config, event["session"])
        await self._tell("session.updated", session=self.config)

    async def _append(self, event: Json) -> None:
        try:
            audio = base64.b64decode(event["audio"], validate=True)
        except (binascii.Error, ValueError, TypeError) as err:
            raise _Refused(
                "Invalid 'audio'. Expected base64-encoded audio bytes.", "invalid_value", "audio"
            ) from err
        if len(audio) > 15 * 2**20:
            raise _Refused("Audio is above 15 MiB.", "invalid_value", "audio")
        if self._fake.record:
            self.audio += audio
        self._buffered += len(audio)
        detection = self._input["turn_detection"]
        if detection is None or not self._fake.vad:
            return
        for what in self._ear.hear(audio, self._format("input"), detection):
            if what == "started":
                await self._on_speech_started()
            elif what == "stopped":
                await self._on_speech_stopped()
            elif what == "idle" and not self._active:
                await self._on_idle()

    async def _commit(self, event: Json) -> None:
        ms = self._buffered * 1000 / _RATES[self._format("input")]
        if ms < 100:
            raise _Refused(
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of "
                f"audio, but buffer only has {ms:.2f}ms of audio.",
                "input_audio_buffer_commit_empty",
            )
        await self._committed(_new_id("item"))

    async def _clear(self, event: Json) -> None:
        self._buffered = 0
        self._ear.speaking = False
        await self._tell("input_audio_buffer.cleared")

    async def _create_item(self, event: Json) -> None:
        item = dict(event["item"])
        _check_item(item, self.items)
        item.setdefault("id", _new_id("item"))
        if self._found(item["id"]):
            raise _Refused(
                f"Error adding item: the item with id '{item['id']}' already exists.",
                "item_create_duplicate_item_id",  # a guess
                "item.id",
            )
        previous = event.get("previous_item_id")
        if previous not in (None, "root") and not self._found(previous):
            raise _Refused(
                f"Error adding item: the previous item with id '{previous}' does not exist.",
                "item_create_invalid_previous_item_id",  # a guess
                "previous_item_id",
            )
        item |= {"object": "realtime.item", "status": "completed"}
        at = len(self.items)
        if previous == "root":
            at = 0
        elif previous:
            at = 1 + next(n for n, i in enumerate(self.items) if i["id"] == previous)
        self.items.insert(at, item)
        before = self.items[at - 1]["id"] if at else None
        for kind in ("added", "done"):
            await self._tell(f"conversation.item.{kind}", previous_item_id=before, item=item)

    async def _retrieve(self, event: Json) -> None:
        item = self._wanted(event, "retrieve")
        await self._tell("conversation.item.retrieved", item=item)

    async def _delete(self, event: Json) -> None:
        self.items.remove(self._wanted(event, "delete"))
        await self._tell("conversation.item.deleted", item_id=event["item_id"])

    async def _truncate(self, event: Json) -> None:
        item = self._wanted(event, "truncate")
        end, length = event["audio_end_ms"], self._said_ms.get(item["id"])
        if item.get("role") != "assistant" or length is None:
            raise _Refused(
                "Only model output audio messages can be truncated.", "invalid_value", "item_id"
            )
        if not isinstance(end, int) or isinstance(end, bool) or end < 0:
            raise _Refused(
                "Invalid 'audio_end_ms': expected an integer of at least 0.",
                "invalid_value",
                "audio_end_ms",
            )
        if event["content_index"] != 0:
            raise _Refused("Invalid 'content_index'.", "invalid_value", "content_index")
        if end > -(-length // 1):
            raise _Refused(
                f"Audio content of {length:g}ms is already shorter than {end}ms",
                "invalid_value",
                "audio_end_ms",
            )
        self.truncations.append(Truncation(item["id"], 0, end, int(length)))
        self._said_ms[item["id"]] = end
        for part in item["content"]:
            part.pop("transcript", None)
        await self._tell(
            "conversation.item.truncated", item_id=item["id"], content_index=0, audio_end_ms=end
        )

    async def _create_response(self, event: Json) -> None:
        params = event.get("response") or {}
        for name in params.keys() - _RESPONSE_FIELDS:
            raise _unknown(f"response.{name}")
        aside = params.get("conversation") == "none"
        if self._active and not aside:
            raise _Refused(
                f"Conversation already has an active response in progress: {self._active.id}. "
                "Wait until the response is finished before creating a new one.",
                "conversation_already_has_active_response",
            )
        self._start("client", params, aside=aside)

    async def _cancel(self, event: Json) -> None:
        wanted = event.get("response_id")
        if not self._active or (wanted and wanted != self._active.id):
            raise _Refused(
                "Cancellation failed: no active response found", "response_cancel_not_active"
            )
        await self._stop_active("client_cancelled")

    def _found(self, item_id: Any) -> Json | None:
        return next((item for item in self.items if item["id"] == item_id), None)

    def _wanted(self, event: Json, verb: str) -> Json:
        item = self._found(event["item_id"])
        if item is None:
            raise _Refused(
                f"Error {verb[:-1]}ing item: the item with id '{event['item_id']}' does not exist.",
                f"item_{verb}_invalid_item_id",
                "item_id",
            )
        return item

    @property
    def _input(self) -> Json:
        found: Json = self.config["audio"]["input"]
        return found

    def _format(self, side: str) -> str:
        return str(self.config["audio"][side]["format"]["type"])

    # -- the caller's speech

    async def _on_speech_started(self) -> None:
        self._turn_item = _new_id("item")
        self.speech_at.append(time.monotonic_ns())
        await self._tell(
            "input_audio_buffer.speech_started",
            audio_start_ms=self._ear.started_ms,
            item_id=self._turn_item,
        )
        detection = self._input["turn_detection"] or {}
        if detection.get("interrupt_response") and self._active:
            await self._stop_active("turn_detected")

    async def _on_speech_stopped(self) -> None:
        item_id = self._turn_item or _new_id("item")
        self._turn_item = ""
        await self._tell(
            "input_audio_buffer.speech_stopped", audio_end_ms=self._ear.heard_ms, item_id=item_id
        )
        await self._committed(item_id)
        detection = self._input["turn_detection"] or {}
        if detection.get("create_response") and not self._active:
            self._start("speech", {})
        else:
            await self._transcribe()

    async def _on_idle(self) -> None:
        item_id, ms = _new_id("item"), self._ear.heard_ms
        await self._tell(
            "input_audio_buffer.timeout_triggered",
            audio_start_ms=ms - int(self._input["turn_detection"]["idle_timeout_ms"]),
            audio_end_ms=ms,
            item_id=item_id,
        )
        await self._committed(item_id, transcribed=False)
        self._start("speech", {})

    async def _committed(self, item_id: str, *, transcribed: bool = True) -> None:
        self._buffered = 0
        before = self.items[-1]["id"] if self.items else None
        await self._tell("input_audio_buffer.committed", previous_item_id=before, item_id=item_id)
        item = {
            "id": item_id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_audio", "transcript": None}],
        }
        self.items.append(item)
        for kind in ("added", "done"):
            await self._tell(f"conversation.item.{kind}", previous_item_id=before, item=item)
        if transcribed and self._input["transcription"]:
            self._untranscribed.append(item_id)
        if self._fake.transcribe == "before" or not (
            self._input["turn_detection"] or {}
        ).get("create_response"):  # fmt: skip
            await self._transcribe()

    async def _transcribe(self) -> None:
        """Tell what was said in every turn not told yet."""
        while self._untranscribed:
            item_id = self._untranscribed.pop(0)
            said = self._fake.next_heard()
            about = {"item_id": item_id, "content_index": 0}
            kind = "conversation.item.input_audio_transcription"
            for piece in _pieces(said):
                await self._tell(f"{kind}.delta", **about, delta=piece, obfuscation="x9")
            usage = {"type": "duration", "seconds": 1}
            await self._tell(f"{kind}.completed", **about, transcript=said, usage=usage)

    # -- the answer

    def _start(self, by: str, params: Json, *, aside: bool = False) -> None:
        response = _Response(_new_id("resp"), params, aside)
        if not aside:
            self._active = response
        response.task = self._loop.create_task(self._respond(response, by))
        if aside:
            self._asides.add(response.task)
            response.task.add_done_callback(self._asides.discard)

    async def _stop_active(self, reason: str) -> None:
        if (response := self._active) is None or response.task is None:
            return
        response.cancelled = reason
        response.task.cancel()
        await asyncio.wait([response.task])
        if self._active is response:  # it had not begun
            details = {"type": "cancelled", "reason": reason}
            await self._tell("response.created", response=self._shown(response))
            await self._tell_end(response, self._shown(response, "cancelled", details))

    async def _respond(self, response: _Response, by: str) -> None:
        status, details = "completed", None
        try:
            answer = self._fake.step(Asked(self, by, response.params))
            await self._tell("response.created", response=self._shown(response))
            match answer:
                case Drop():
                    await self._say(response, answer.of or Speak("Hello there."), answer.after)
                    return await self._leave(answer)
                case Failed():
                    status = "failed"
                    error = {"type": "server_error", "code": answer.code, "message": answer.message}
                    details = {"type": "failed", "error": error}
                case Incomplete():
                    status, details = (
                        "incomplete", {"type": "incomplete", "reason": answer.reason},
                    )  # fmt: skip
            for part in _parts(answer):
                if isinstance(part, Speak):
                    await self._say(response, part)
                else:
                    await self._call_functions(response, part)
        except asyncio.CancelledError:
            if not response.cancelled:
                raise  # the socket is gone
            status, details = "cancelled", {"type": "cancelled", "reason": response.cancelled}
            for item in response.output:
                if item["status"] == "in_progress":
                    item["status"] = "incomplete"
        except _Unscripted as problem:
            self._fake.unexpected.append(str(problem))
            error = {"type": "server_error", "code": "unscripted", "message": str(problem)}
            status, details = "failed", {"type": "failed", "error": error}
            await self._tell("response.created", response=self._shown(response))
        # The next answer may begin only after this one's end was told.
        done = self._shown(response, status, details, usage=_usage(response))
        await self._tell_end(response, done)

    async def _tell_end(self, response: _Response, done: Json) -> None:
        if not response.aside:
            self._active = None
            self._ear.quiet_ms = 0
        await self._tell("response.done", response=done)
        await self._transcribe()
        if self._fake.rate_limits:
            await self._tell("rate_limits.updated", rate_limits=_rate_limits())

    async def _leave(self, drop: Drop) -> None:
        if drop.code is None:
            self._abort()
        else:
            await self._socket.close(code=drop.code)

    def _shown(
        self,
        response: _Response,
        status: str = "in_progress",
        details: Json | None = None,
        usage: Json | None = None,
    ) -> Json:
        output = self.config["audio"]["output"]
        return {
            "object": "realtime.response",
            "id": response.id,
            "status": status,
            "status_details": details,
            "output": response.output,
            "conversation_id": None if response.aside else f"conv_{self.id[5:]}",
            "output_modalities": self._modalities(response),
            "max_output_tokens": self.config["max_output_tokens"],
            "audio": {"output": {"format": output["format"], "voice": output["voice"]}},
            "usage": usage,
            "metadata": response.params.get("metadata"),
        }

    def _modalities(self, response: _Response) -> list[str]:
        found = response.params.get("output_modalities") or self.config["output_modalities"]
        return list(found)

    async def _begin_item(self, response: _Response, item: Json) -> tuple[Json, str | None]:
        about = {"response_id": response.id, "output_index": len(response.output)}
        before = self.items[-1]["id"] if self.items else None
        response.output.append(item)
        shown = dict(item)
        await self._tell("response.output_item.added", **about, item=shown)
        if not response.aside:
            self.items.append(item)
            await self._tell("conversation.item.added", previous_item_id=before, item=shown)
        return about, before

    async def _end_item(
        self, response: _Response, item: Json, about: Json, before: str | None
    ) -> None:
        if not response.aside:
            await self._tell("conversation.item.done", previous_item_id=before, item=item)
        await self._tell("response.output_item.done", **about, item=item)

    async def _say(self, response: _Response, speak: Speak, stop_after: int | None = None) -> None:
        """Send a message with its deltas; after `stop_after` of them, stop where it stands."""
        text_only = self._modalities(response) == ["text"]
        item: Json = {
            "id": _new_id("item"),
            "object": "realtime.item",
            "type": "message",
            "status": "in_progress",
            "role": "assistant",
            "content": [],
        }
        about, before = await self._begin_item(response, item)
        where = {**about, "item_id": item["id"], "content_index": 0}
        part: Json = {"type": "text", "text": ""} if text_only else {"type": "audio"}
        if not text_only:
            part["transcript"] = ""
        await self._tell("response.content_part.added", **where, part=part)
        try:
            if text_only:
                await self._text(where, speak)
            elif await self._audio(response, where, speak, stop_after):
                return
        except asyncio.CancelledError:
            if response.cancelled:
                item["status"] = "incomplete"
                await self._end_speech(response, item, where, speak, before)
            raise
        item["status"] = "completed"
        await self._end_speech(response, item, where, speak, before)

    async def _end_speech(
        self, response: _Response, item: Json, where: Json, speak: Speak, before: str | None
    ) -> None:
        """Close a message's part and item, whether it was said to its end or not."""
        about = {name: where[name] for name in ("response_id", "output_index")}
        if self._modalities(response) == ["text"]:
            part = {"type": "text", "text": speak.text}
            item["content"] = [{"type": "output_text", "text": speak.text}]
            await self._tell("response.output_text.done", **where, text=speak.text)
        else:
            part = {"type": "audio", "transcript": speak.text}
            item["content"] = [{"type": "output_audio", "transcript": speak.text}]
            await self._tell("response.output_audio.done", **where)
            await self._tell(
                "response.output_audio_transcript.done", **where, transcript=speak.text
            )
        await self._tell("response.content_part.done", **where, part=part)
        await self._end_item(response, item, about, before)

    async def _text(self, where: Json, speak: Speak) -> None:
        for number, piece in enumerate(_pieces(speak.text)):
            if speak.gate and number == speak.gate_after:
                await speak.gate.passed()
            await self._tell("response.output_text.delta", **where, delta=piece, obfuscation="x9Q")

    async def _audio(
        self, response: _Response, where: Json, speak: Speak, stop_after: int | None
    ) -> bool:
        """Send transcript and audio; True where it was stopped after `stop_after` deltas."""
        encoding = self._format("output")
        rate = _RATES[encoding]
        audio, size = _utterance(speak.length_ms, encoding), rate * speak.delta_ms // 1000
        words, told, item_id = _pieces(speak.text), 0, where["item_id"]
        self._spoke, self._said_ms[item_id] = True, 0.0
        count = -(-len(audio) // size)
        began = self._loop.time()
        for number in range(count):
            if number == stop_after:
                return True
            # The transcript runs ahead of the audio.
            while told < len(words) and told <= 2 * number * len(words) / count + 1:
                await self._tell(
                    "response.output_audio_transcript.delta",
                    **where,
                    delta=words[told],
                    obfuscation="pQ",
                )
                told += 1
            if speak.gate and number == speak.gate_after:
                await speak.gate.passed()
            if speak.speed:
                due = began + number * speak.delta_ms / 1000 / speak.speed
                await asyncio.sleep(max(0.0, due - self._loop.time()))
            piece = audio[number * size : (number + 1) * size]
            if self._fake.stamp:
                piece = _STAMP % (time.monotonic_ns(), self.number) + piece[24:]
            # Counted before it is sent: a client may truncate as soon as it has it.
            self._said_ms[item_id] += len(piece) * 1000 / rate
            response.spoken_bytes += len(piece)
            await self._tell(
                "response.output_audio.delta", **where, delta=base64.b64encode(piece).decode()
            )
            if number == 1:
                await self._transcribe()
        return stop_after is not None

    async def _call_functions(self, response: _Response, calls: Calls) -> None:
        tools = response.params.get("tools") or self.config["tools"]
        offered = {tool.get("name") for tool in tools}
        for name, arguments, *given in calls.calls:
            if calls.offered and name not in offered:
                raise _Unscripted(f"the script calls {name!r}, which the session does not offer")
            item: Json = {
                "id": _new_id("item"),
                "object": "realtime.item",
                "type": "function_call",
                "status": "in_progress",
                "name": name,
                "call_id": given[0] if given else _new_id("call"),
                "arguments": "",
            }
            about, before = await self._begin_item(response, item)
            where = {**about, "item_id": item["id"], "call_id": item["call_id"]}
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            kind = "response.function_call_arguments"
            for start in range(0, len(text), 12):
                await self._tell(
                    f"{kind}.delta", **where, delta=text[start : start + 12], obfuscation="k"
                )
            await self._tell(f"{kind}.done", **where, arguments=text, name=item["name"])
            item["arguments"], item["status"] = text, "completed"
            await self._end_item(response, item, about, before)


_HANDLERS: Mapping[str, Callable[[Session, Json], Any]] = {
    "session.update": Session._update,
    "input_audio_buffer.append": Session._append,
    "input_audio_buffer.commit": Session._commit,
    "input_audio_buffer.clear": Session._clear,
    "conversation.item.create": Session._create_item,
    "conversation.item.retrieve": Session._retrieve,
    "conversation.item.delete": Session._delete,
    "conversation.item.truncate": Session._truncate,
    "response.create": Session._create_response,
    "response.cancel": Session._cancel,
}
# What an event may and must carry.
_FIELDS: Mapping[str, tuple[set[str], tuple[str, ...]]] = {
    "session.update": ({"session"}, ("session",)),
    "input_audio_buffer.append": ({"audio"}, ("audio",)),
    "input_audio_buffer.commit": (set(), ()),
    "input_audio_buffer.clear": (set(), ()),
    "conversation.item.create": ({"item", "previous_item_id"}, ("item",)),
    "conversation.item.retrieve": ({"item_id"}, ("item_id",)),
    "conversation.item.delete": ({"item_id"}, ("item_id",)),
    "conversation.item.truncate": (
        {"item_id", "content_index", "audio_end_ms"},
        ("item_id", "content_index", "audio_end_ms"),
    ),
    "response.create": ({"response"}, ()),
    "response.cancel": ({"response_id"}, ()),
}
_RESPONSE_FIELDS = {
    "conversation", "instructions", "tools", "tool_choice", "output_modalities", "audio", "input",
    "metadata", "max_output_tokens", "prompt", "parallel_tool_calls", "reasoning",
}  # fmt: skip


class _Ear:
    """Tells speech from silence by loudness, 20 ms at a time."""

    def __init__(self) -> None:
        self.speaking = False
        self.heard_ms = 0
        self.started_ms = 0
        self.quiet_ms = 0
        self._loud_ms = 0
        self._rest = b""

    def hear(self, audio: bytes, encoding: str, detection: Json) -> Iterator[str]:
        """Yield "started", "stopped" and "idle" as they happen in the audio."""
        window = _RATES[encoding] // 50
        loudness = sound.pcm_loudness if encoding == "audio/pcm" else sound.loudness
        threshold = _LOUD * float(detection.get("threshold") or 0.5)
        patience = int(detection.get("silence_duration_ms") or 500)
        idle = detection.get("idle_timeout_ms")
        audio = self._rest + audio if self._rest else audio
        whole = len(audio) // window * window
        self._rest = audio[whole:]
        for start in range(0, whole, window):
            loud = loudness(audio[start : start + window]) > threshold
            self.heard_ms += 20
            self._loud_ms = self._loud_ms + 20 if loud else 0
            self.quiet_ms = 0 if loud else self.quiet_ms + 20
            if not self.speaking and self._loud_ms >= _ONSET_MS:
                self.speaking = True
                padding = int(detection.get("prefix_padding_ms") or 300)
                self.started_ms = max(0, self.heard_ms - self._loud_ms - padding)
                yield "started"
            elif self.speaking and self.quiet_ms >= patience:
                self.speaking = False
                yield "stopped"
            elif idle and not self.speaking and self.quiet_ms >= int(idle):
                self.quiet_ms = 0
                yield "idle"


# --- what the real API refuses --------------------------------------------------------------------

_SESSION_FIELDS = {
    "type", "model", "output_modalities", "instructions", "tools", "tool_choice",
    "max_output_tokens", "tracing", "truncation", "prompt", "include", "audio", "reasoning",
    "parallel_tool_calls",
}  # fmt: skip
_AUDIO_FIELDS = {
    "input": {"format", "transcription", "noise_reduction", "turn_detection"},
    "output": {"format", "voice", "speed"},
}
_DETECTION_FIELDS = {
    "server_vad": {
        "type", "threshold", "prefix_padding_ms", "silence_duration_ms", "idle_timeout_ms",
        "create_response", "interrupt_response",
    },
    "semantic_vad": {"type", "eagerness", "create_response", "interrupt_response"},
}  # fmt: skip
_TRANSCRIBERS = (
    "gpt-realtime-whisper", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "whisper-1",
    "gpt-4o-transcribe-diarize",
)  # fmt: skip


def _configuration(model: str) -> Json:
    detection = {
        "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300,
        "silence_duration_ms": 200, "idle_timeout_ms": None, "create_response": True,
        "interrupt_response": True,
    }  # fmt: skip
    pcm = {"type": "audio/pcm", "rate": 24000}
    return {
        "type": "realtime", "object": "realtime.session", "id": f"sess_{secrets.token_hex(10)}",
        "model": model, "output_modalities": ["audio"], "instructions": "", "tools": [],
        "tool_choice": "auto", "max_output_tokens": "inf", "tracing": None, "truncation": "auto",
        "prompt": None, "expires_at": 0, "include": None,
        "audio": {
            "input": {
                "format": pcm, "transcription": None, "noise_reduction": None,
                "turn_detection": detection,
            },
            "output": {"format": pcm, "voice": "marin", "speed": 1.0},
        },
    }  # fmt: skip


def _check_session(given: Any, now: Json, *, spoke: bool) -> None:
    if not isinstance(given, dict):
        raise _Refused("Invalid type for 'session'.", "invalid_type", "session")
    if given.get("type") is None:
        raise _missing("session.type")
    if given["type"] != "realtime":
        raise _invalid("session.type", given["type"])
    for name in given.keys() - _SESSION_FIELDS:
        raise _unknown(f"session.{name}")
    if given.get("model", now["model"]) != now["model"]:
        raise _Refused(
            "The model of a session cannot be changed.", "invalid_value", "session.model"
        )
    if given.get("output_modalities", ["audio"]) not in (["audio"], ["text"]):
        raise _invalid("session.output_modalities", given["output_modalities"])
    limit = given.get("max_output_tokens", "inf")
    if limit != "inf" and not (isinstance(limit, int) and 1 <= limit <= 4096):
        raise _invalid("session.max_output_tokens", limit)
    _check_tools(given.get("tools") or [])
    audio = given.get("audio") or {}
    for side in audio:
        if side not in _AUDIO_FIELDS:
            raise _unknown(f"session.audio.{side}")
        for name in (audio[side] or {}).keys() - _AUDIO_FIELDS[side]:
            raise _unknown(f"session.audio.{side}.{name}")
        _check_format((audio[side] or {}).get("format"), side)
    _check_detection((audio.get("input") or {}).get("turn_detection"))
    transcription = (audio.get("input") or {}).get("transcription")
    if transcription and transcription.get("model") not in _TRANSCRIBERS:
        raise _invalid("session.audio.input.transcription.model", transcription.get("model"))
    output = audio.get("output") or {}
    voice = output.get("voice")
    if isinstance(voice, str) and voice not in _VOICES:
        raise _invalid("session.audio.output.voice", voice)
    if voice and spoke and voice != now["audio"]["output"]["voice"]:
        raise _Refused(
            "Cannot update a conversation's voice if assistant audio is present.",
            "cannot_update_voice",
        )
    if not 0.25 <= (output.get("speed") or 1.0) <= 1.5:
        raise _invalid("session.audio.output.speed", output["speed"])


def _check_format(form: Any, side: str) -> None:
    if form is None:
        return
    where = f"session.audio.{side}.format"
    if not isinstance(form, dict) or form.get("type") not in _RATES:
        raise _invalid(f"{where}.type", form)
    if form["type"] == "audio/pcm" and form.get("rate") != 24000:
        raise _invalid(f"{where}.rate", form.get("rate"))


def _check_detection(detection: Any) -> None:
    if detection is None:
        return
    where = "session.audio.input.turn_detection"
    known = _DETECTION_FIELDS.get(detection.get("type"))
    if known is None:
        raise _invalid(f"{where}.type", detection.get("type"))
    for name in detection.keys() - known:
        raise _unknown(f"{where}.{name}")
    if not 0 <= (detection.get("threshold") or 0) <= 1:
        raise _invalid(f"{where}.threshold", detection["threshold"])


def _check_tools(tools: Sequence[Json]) -> None:
    names = []
    for index, tool in enumerate(tools):
        at = f"session.tools[{index}]"
        if tool.get("type") == "mcp":
            continue
        if tool.get("type") != "function":
            raise _invalid(f"{at}.type", tool.get("type"))
        if not tool.get("name"):
            raise _missing(f"{at}.name")
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool["name"]):
            raise _invalid(f"{at}.name", tool["name"])
        for name in tool.keys() - {"type", "name", "description", "parameters"}:
            raise _unknown(f"{at}.{name}")
        if (tool.get("parameters") or {"type": "object"}).get("type") != "object":
            raise _invalid(f"{at}.parameters.type", tool["parameters"].get("type"))
        names.append(tool["name"])
    if len(set(names)) < len(names):
        raise _Refused("Tool names must be unique.", "invalid_value", "session.tools")


_CONTENT = {
    "user": {"input_text", "input_audio", "input_image"},
    "system": {"input_text"},
    "assistant": {"output_text", "output_audio"},
}


def _check_item(item: Json, items: Iterable[Json]) -> None:
    kind = item.get("type")
    if kind == "message":
        role = item.get("role")
        if role not in _CONTENT:
            raise _invalid("item.role", role)
        if not isinstance(item.get("content"), list):
            raise _missing("item.content")
        for index, part in enumerate(item["content"]):
            where = f"item.content[{index}]"
            if part.get("type") not in _CONTENT[role]:
                raise _invalid(f"{where}.type", part.get("type"))
            if part["type"].endswith("_text") and not isinstance(part.get("text"), str):
                raise _missing(f"{where}.text")
    elif kind == "function_call":
        for name in ("name", "arguments"):
            if not isinstance(item.get(name), str):
                raise _missing(f"item.{name}")
    elif kind == "function_call_output":
        if not isinstance(item.get("output"), str):
            raise _Refused(
                "Invalid type for 'item.output': expected a string.", "invalid_type", "item.output"
            )
        calls = {each.get("call_id") for each in items if each["type"] == "function_call"}
        if item.get("call_id") not in calls:
            raise _Refused(
                f"Tool call ID '{item.get('call_id')}' not found in conversation.",
                "invalid_tool_call_id",
                "item.call_id",
            )
    else:
        raise _invalid("item.type", kind)


def _missing(name: str) -> _Refused:
    return _Refused(f"Missing required parameter: '{name}'.", "missing_required_parameter", name)


def _unknown(name: str) -> _Refused:
    return _Refused(f"Unknown parameter: '{name}'.", "unknown_parameter", name)


def _invalid(name: str, value: Any) -> _Refused:
    return _Refused(f"Invalid value for '{name}': {value!r}.", "invalid_value", name)


def _error(
    message: str,
    code: str | None,
    param: str | None = None,
    event_id: str | None = None,
    kind: str = "invalid_request_error",
) -> Json:
    return {"type": kind, "code": code, "message": message, "param": param, "event_id": event_id}


def _merged(now: Json, given: Json) -> Json:
    """Return the session with the given fields changed; nested `audio` field by field."""
    merged = {**now, **{k: v for k, v in given.items() if k != "audio"}}
    audio = given.get("audio") or {}
    sides = {}
    for side in ("input", "output"):
        sides[side] = {**now["audio"][side], **(audio.get(side) or {})}
    detection = sides["input"]["turn_detection"]
    if detection:
        defaults: Json = {"create_response": True, "interrupt_response": True}
        if detection["type"] == "server_vad":
            defaults |= {"threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 200}
            defaults["idle_timeout_ms"] = None
        else:
            defaults["eagerness"] = "auto"
        given_values = {k: v for k, v in detection.items() if v is not None}
        sides["input"]["turn_detection"] = {**defaults, **given_values}
    return {**merged, "audio": sides}


# --- pieces of answers ----------------------------------------------------------------------------


def _parts(answer: Answer) -> tuple[Part, ...]:
    if isinstance(answer, Failed | Incomplete):
        return _parts(answer.of)
    if isinstance(answer, Drop):
        return ()
    return (answer,) if isinstance(answer, Speak | Calls) else tuple(answer)


def _pieces(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)


def _new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(10)}"


def _utterance(ms: int, encoding: str) -> bytes:
    if encoding == "audio/pcm":
        return sound.pcm(sound.voice(ms, sound.MODEL_PITCH, 24000))
    return sound.voice_mulaw(ms, sound.MODEL_PITCH)


def _usage(response: _Response) -> Json:
    audio, text = response.spoken_bytes // 400, 12 * len(response.output)
    return {
        "total_tokens": 120 + audio + text,
        "input_tokens": 120,
        "output_tokens": audio + text,
        "input_token_details": {
            "text_tokens": 100,
            "audio_tokens": 20,
            "image_tokens": 0,
            "cached_tokens": 64,
            "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": text, "audio_tokens": audio},
    }


def _rate_limits() -> list[Json]:
    return [
        {"name": "requests", "limit": 1000, "remaining": 999, "reset_seconds": 0.06},
        {"name": "tokens", "limit": 50000, "remaining": 49000, "reset_seconds": 1.2},
    ]


def stamps(payload: bytes) -> list[tuple[int, int]]:
    """Return (monotonic ns at which it was sent, session number) of each stamp in audio."""
    return [(int(at), int(number)) for at, number in _STAMPED.findall(payload)]


# --- the server -----------------------------------------------------------------------------------


class FakeRealtime(Served):
    """The server, in a thread of its own while its `with` block runs.

    `default` answers when the script is used up. `vad=False`: only `session.speech_started()` and
    `speech_stopped()` start and stop speech. `transcribe` says when the caller's words arrive:
    before the answer, or during it. `refusals` are HTTP statuses for the next handshakes.
    `tolerated` are codes of refusals that a test means to provoke. With `stamp` (μ-law only), each
    audio delta begins with the time it was sent and its session's number; see `stamps`.
    """

    def __init__(
        self,
        *steps: Step,
        hears: Sequence[str] = (),
        default: Step | None = None,
        vad: bool = True,
        transcribe: Literal["before", "during"] = "during",
        api_key: str | None = None,
        longest_s: float = _LONGEST_S,
        refusals: Sequence[int] = (),
        tolerated: Iterable[str] = (),
        rate_limits: bool = True,
        record: bool = True,
        stamp: bool = False,
    ) -> None:
        self.sessions: list[Session] = []
        self.unexpected: list[str] = []
        self.refused: list[str] = []
        self.refusals = list(refusals)
        self.tolerated = RACES | set(tolerated)
        self.vad, self.transcribe, self.longest_s = vad, transcribe, longest_s
        self.rate_limits, self.record, self.stamp = rate_limits, record, stamp
        self.url = ""
        self._script: deque[Step] = deque(steps)
        self._hears = deque(hears)
        self._default = default
        self._api_key = api_key
        self._changed = threading.Condition()

    def __exit__(self, kind: object, err: BaseException | None, trace: object) -> None:
        super().__exit__(kind, err, trace)
        if kind is None and (problem := self.problem()):
            raise AssertionError(f"fake Realtime: {problem}")

    @property
    def session(self) -> Session:
        """The newest session."""
        return self.sessions[-1]

    @property
    def base_url(self) -> str:
        """The address without the path, as `ws://…/v1`."""
        return self.url.removesuffix("/realtime")

    def add(self, *steps: Step) -> None:
        """Append steps to the script."""
        self._script.extend(steps)

    def hear(self, *said: str) -> None:
        """Append what the caller says."""
        self._hears.extend(said)

    def wait(self, ready: Callable[[], Any], *, timeout: float = 50.0) -> Any:
        """Return `ready()` once it is true; looked at whenever something happened."""
        with self._changed:
            if not self._changed.wait_for(ready, timeout):
                sent = [e["type"] for e in self.session.sent] if self.sessions else []
                raise AssertionError(f"waited in vain; sent last: {sent[-8:]}; {self.problem()}")
            return ready()

    def wait_session(self, count: int = 1, *, timeout: float = 50.0) -> Session:
        """Return session number `count` (from 1) once it is open."""
        self.wait(lambda: len(self.sessions) >= count, timeout=timeout)
        return self.sessions[count - 1]

    def problem(self) -> str:
        """Return what went wrong, "" for nothing."""
        problems = [f"unexpected: {line}" for line in self.unexpected]
        problems += [f"refused: {line}" for line in self.refused]
        if self._script:
            problems.append(f"{len(self._script)} steps unused: {list(self._script)!r}")
        return "; ".join(problems)

    def next_heard(self) -> str:
        """Return what the caller said this time."""
        return self._hears.popleft() if self._hears else "Hello?"

    def step(self, asked: Asked) -> Answer:
        """Return the answer to a response; raises where none is scripted."""
        step = self._script.popleft() if self._script else self._default
        if step is None:
            raise _Unscripted(f"the script is used up ({asked.by} asks)")
        try:
            return step(asked) if callable(step) else step
        except Exception as err:
            raise _Unscripted(f"the step failed: {err!r}") from err

    def changed(self) -> None:
        """Wake whoever waits for a state."""
        if self.record:
            with self._changed:
                self._changed.notify_all()

    async def start(self, *, host: str = "127.0.0.1", port: int = 0) -> web.AppRunner:
        """Listen on the running loop and set `url`; the caller owes `runner.cleanup()`."""
        runner = await super().start(host=host, port=port)
        self.url = f"ws{self.origin.removeprefix('http')}/v1/realtime"
        return runner

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/realtime", self._connect)
        app.on_shutdown.append(self._hang_up)
        return app

    async def _hang_up(self, _: web.Application) -> None:
        for session in self.sessions:
            session._abort()

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        if problem := self._refusal(request):
            status, code, message = problem
            return web.json_response({"error": _error(message, code)}, status=status)
        session = Session(self, request, len(self.sessions))
        self.sessions.append(session)
        self.changed()
        return await session.serve()

    def _refusal(self, request: web.Request) -> tuple[int, str, str] | None:
        if self.refusals:
            status = self.refusals.pop(0)
            return status, {429: "rate_limit_exceeded"}.get(status, "server_error"), "Try later."
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not key or (self._api_key or key) != key:
            return 401, "invalid_api_key", "Incorrect API key provided."
        if "OpenAI-Beta" in request.headers:
            self.unexpected.append("an OpenAI-Beta header: the GA interface has none")
            return 400, "beta_api_shape_disabled", "The beta interface is gone."
        model = request.query.get("model")
        if model not in MODELS:
            self.unexpected.append(f"the model {model!r} is asked for")
            return 400, "model_not_found", f"The model '{model}' does not exist."
        if request.headers.get("upgrade", "").lower() != "websocket":
            return 400, "invalid_request", "A WebSocket is expected."
        return None


# --- as a process ---------------------------------------------------------------------------------


async def _serve(options: argparse.Namespace) -> None:
    step = Speak(options.text, ms=options.ms, delta_ms=options.delta_ms, speed=options.speed)
    fake = FakeRealtime(default=step, record=False, stamp=options.stamp)
    runner = await fake.start(host=options.host, port=options.port)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(json.dumps({"url": fake.url}), flush=True)
    await stop.wait()
    await runner.cleanup()


def main(arguments: Sequence[str] | None = None) -> None:
    """Say one thing to everybody, paced; prints `{"url": ...}` once it listens."""
    parser = argparse.ArgumentParser(prog="openai_realtime", description=main.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--text", default="Hello, how can I help you today?")
    parser.add_argument("--ms", type=int, default=0, help="length of an answer; 0: its text's")
    parser.add_argument("--delta-ms", type=int, default=100)
    parser.add_argument("--speed", type=float, default=1.0, help="times real time; 0: at once")
    parser.add_argument("--stamp", action="store_true", help="deltas carry their send time")
    asyncio.run(_serve(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
