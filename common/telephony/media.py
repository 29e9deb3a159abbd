"""Twilio Media Streams as a machine over text frames: what may come when, and what we answer.

https://www.twilio.com/docs/voice/media-streams/websocket-messages

A stream is `connected`, then `start` once, then sound, keys and marks, then `stop`. Whatever else
comes is refused by name, so that the socket ends there and not somewhere later. A payload that is
damaged costs its 20 ms; a stream of them ends.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from common.errors import InvalidInput

MAX_FRAME_BYTES: Final = 65_536
MAX_PAYLOAD_BYTES: Final = 8_000  # a second of sound: Twilio sends a fiftieth of that
MOST_DAMAGED: Final = 50
_ID = re.compile(r"[A-Za-z0-9]{1,64}\Z")
_DIGITS = frozenset("0123456789*#ABCD")


class _Format(msgspec.Struct):
    encoding: str = "audio/x-mulaw"
    sample_rate: int = msgspec.field(name="sampleRate", default=8000)
    channels: int = 1


class _Start(msgspec.Struct):
    call_sid: str = msgspec.field(name="callSid")
    account_sid: str = msgspec.field(name="accountSid", default="")
    parameters: dict[str, str] = msgspec.field(name="customParameters", default_factory=dict)
    media_format: _Format = msgspec.field(name="mediaFormat", default_factory=_Format)


class _Media(msgspec.Struct):
    payload: str
    track: str = "inbound"


class _Mark(msgspec.Struct):
    name: str = ""


class _Dtmf(msgspec.Struct):
    digit: str = ""


class _Frame(msgspec.Struct):
    event: str
    stream_sid: str = msgspec.field(name="streamSid", default="")
    start: _Start | None = None
    media: _Media | None = None
    mark: _Mark | None = None
    dtmf: _Dtmf | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """The call is on the line; `parameters` are those of the TwiML."""

    stream_sid: str
    call_sid: str
    account_sid: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sound:
    """About 20 ms of mu-law from the caller, as base64 text known to be valid and as bytes."""

    payload: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Key:
    """The caller pressed a key."""

    digit: str


@dataclass(frozen=True, slots=True)
class Played:
    """Everything before this mark was played, or thrown away by `clear`."""

    name: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The call is over."""


Event: TypeAlias = Started | Sound | Key | Played | Stopped

_decode = msgspec.json.Decoder(_Frame).decode


class MediaStream:
    """One stream's machine. `receive` reads Twilio's frames; the others write ours."""

    def __init__(self) -> None:
        self.stream_sid = ""
        self.stopped = False
        self.damaged = 0
        self._media_head = b""

    def receive(self, text: str) -> Event | None:
        """Read a frame; None where there is nothing to do.

        Raises InvalidInput where the stream cannot go on: no JSON, an event out of place, a
        foreign `streamSid`, too large a payload, too many damaged ones.
        """
        try:
            frame = _decode(text)
        except (msgspec.DecodeError, RecursionError) as err:
            raise InvalidInput("That is no frame of a media stream.") from err
        if frame.event == "media":
            return self._sound(frame)
        if frame.event == "connected":
            return None
        if frame.event == "start":
            return self._started(frame)
        self._check_sid(frame)
        if frame.event == "mark" and frame.mark:
            return Played(frame.mark.name)
        if frame.event == "dtmf" and frame.dtmf:
            return Key(frame.dtmf.digit) if frame.dtmf.digit in _DIGITS else None
        if frame.event == "stop":
            self.stopped = True
            return Stopped()
        return None  # a later version of the protocol may say more

    def sound(self, data: bytes) -> bytes:
        """Return the frame that plays mu-law `data`."""
        return self._media_head + base64.b64encode(data) + b'"}}'

    def mark(self, name: str) -> bytes:
        """Return the frame that asks to be told when everything before it was played."""
        return msgspec.json.encode(
            {"event": "mark", "streamSid": self.stream_sid, "mark": {"name": name}}
        )

    def clear(self) -> bytes:
        """Return the frame that throws away what was not played yet."""
        return msgspec.json.encode({"event": "clear", "streamSid": self.stream_sid})

    def _started(self, frame: _Frame) -> Started:
        if self.stream_sid:
            raise InvalidInput("A stream starts once.")
        start, sid = frame.start, frame.stream_sid
        if start is None or not _ID.match(sid) or not _ID.match(start.call_sid):
            raise InvalidInput("The stream's start does not name its stream and call.")
        form = start.media_format
        if (form.encoding, form.sample_rate, form.channels) != ("audio/x-mulaw", 8000, 1):
            raise InvalidInput("The stream must be mu-law at 8 kHz, one channel.")
        self.stream_sid = sid
        self._media_head = b'{"event":"media","streamSid":"%b","media":{"payload":"' % sid.encode()
        return Started(sid, start.call_sid, start.account_sid, start.parameters)

    def _sound(self, frame: _Frame) -> Sound | None:
        self._check_sid(frame)
        if frame.media is None:
            raise InvalidInput("A media frame without media.")
        if frame.media.track not in ("inbound", "inbound_track"):
            return None
        payload = frame.media.payload
        if len(payload) > MAX_PAYLOAD_BYTES * 4 // 3 + 4:
            raise InvalidInput("A media frame holds at most a second of sound.")
        try:
            data = base64.b64decode(payload, validate=True)
        except (binascii.Error, ValueError) as err:
            self.damaged += 1
            if self.damaged > MOST_DAMAGED:
                raise InvalidInput("Too many damaged media frames.") from err
            return None
        return Sound(payload, data) if data else None

    def _check_sid(self, frame: _Frame) -> None:
        if not self.stream_sid:
            raise InvalidInput(f"A {frame.event[:20]} frame came before the stream's start.")
        if frame.stream_sid != self.stream_sid:
            raise InvalidInput("That frame belongs to another stream.")
