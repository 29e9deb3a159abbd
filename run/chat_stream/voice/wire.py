"""The Realtime API's events as this bridge reads and writes them; no I/O.

https://platform.openai.com/docs/api-reference/realtime

One flat structure reads every event: 1 us for a word and 8 for 100 ms of sound, where the SDK's
typed unions and queue take 48 for either. What is not used here is not looked at, so that a new
field or event of the vendor changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from common.errors import InvalidInput

_MODES: Final = {"pcmu": {"type": "audio/pcmu"}, "pcm16": {"type": "audio/pcm", "rate": 24_000}}
TRANSCRIBER: Final = "gpt-4o-mini-transcribe"


class Content(msgspec.Struct):
    """A part of an item."""

    type: str = ""
    text: str | None = None
    transcript: str | None = None


class WireItem(msgspec.Struct):
    """An item of the conversation."""

    id: str | None = None
    type: str = ""
    role: str | None = None
    status: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    content: list[Content] | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = 0
    audio_tokens: int | None = 0


class _Usage(msgspec.Struct):
    input_tokens: int | None = 0
    output_tokens: int | None = 0
    input_token_details: _Details | None = None
    output_token_details: _Details | None = None

    def spent(self) -> dict[str, int]:
        """Return the counts as turns keep them."""
        heard, said = self.input_token_details, self.output_token_details
        return {
            "requests": 1,
            "input_tokens": self.input_tokens or 0,
            "cached_tokens": (heard.cached_tokens if heard else 0) or 0,
            "output_tokens": self.output_tokens or 0,
            "audio_input_tokens": (heard.audio_tokens if heard else 0) or 0,
            "audio_output_tokens": (said.audio_tokens if said else 0) or 0,
        }


class WireResponse(msgspec.Struct):
    """A response, as it begins or as it ended."""

    id: str | None = None
    status: str | None = None
    usage: _Usage | None = None


class WireSession(msgspec.Struct):
    """A session; `expires_at` is in seconds since 1970."""

    id: str | None = None
    expires_at: int | None = None


class WireError(msgspec.Struct):
    """An error of the session, which goes on all the same."""

    type: str | None = None
    code: str | None = None


class ServerEvent(msgspec.Struct):
    """Any event of the server."""

    type: str
    delta: str | None = None
    item_id: str | None = None
    response_id: str | None = None
    transcript: str | None = None
    item: WireItem | None = None
    response: WireResponse | None = None
    session: WireSession | None = None
    error: WireError | None = None


_decode = msgspec.json.Decoder(ServerEvent).decode
_encode = msgspec.json.Encoder().encode


def read(text: str | bytes) -> ServerEvent:
    """Read one event of the server; InvalidInput where it is none."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, RecursionError) as err:
        raise InvalidInput("The voice model sent something that is no event.") from err


def append(payload: str) -> bytes:
    """Return the event that hands on the caller's sound, which is base64 already."""
    return b'{"type":"input_audio_buffer.append","audio":"%b"}' % payload.encode()


def session(
    *, model: str, voice: str, encoding: str, instructions: str, tools: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    """Return the session.update that sets up a session of `encoding` both ways."""
    form = _MODES[encoding]
    return {
        "type": "session.update",
        "session": {
            "type": "realtime",
            "model": model,
            "output_modalities": ["audio"],
            "instructions": instructions,
            "tools": list(tools),
            "tool_choice": "auto",
            "audio": {
                "input": {
                    "format": form,
                    "transcription": {"model": TRANSCRIBER},
                    "noise_reduction": {
                        "type": "near_field" if encoding == "pcmu" else "far_field"
                    },
                    "turn_detection": {
                        "type": "server_vad",
                        "create_response": True,
                        "interrupt_response": True,
                    },
                },
                "output": {"format": form, "voice": voice},
            },
        },
    }


def tools_update(instructions: str, tools: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the session.update that changes what the model knows and may call."""
    changes = {"type": "realtime", "instructions": instructions, "tools": list(tools)}
    return {"type": "session.update", "session": changes}


def function(name: str, description: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return a tool as a session lists it."""
    return {
        "type": "function",
        "name": name,
        "description": description,
        "parameters": parameters,
    }


def item(item: dict[str, Any]) -> dict[str, Any] | None:
    """Return the event that adds a chat's item to the conversation; None for what it cannot hold.

    `item` is one of a turn's items, in the form of the Responses API.
    """
    kind = item.get("type", "message")
    if kind == "function_call":
        kept = {key: item[key] for key in ("type", "call_id", "name", "arguments")}
    elif kind == "function_call_output":
        kept = {key: item[key] for key in ("type", "call_id", "output")}
    elif kind == "message" and (text := text_of(item)):
        role = "system" if item["role"] == "developer" else item["role"]
        part = "output_text" if role == "assistant" else "input_text"
        kept = {"type": "message", "role": role, "content": [{"type": part, "text": text}]}
    else:
        return None  # reasoning and hosted tools of text models
    return {"type": "conversation.item.create", "item": kept}


def text_of(item: dict[str, Any]) -> str:
    """Return a message's text, whichever way its content is written."""
    content = item.get("content") or ""
    if isinstance(content, str):
        return content
    parts: Sequence[Any] = content
    return "".join(str(part.get("text") or part.get("refusal") or "") for part in parts)


def respond(instructions: str = "") -> dict[str, Any]:
    """Return the event that asks for a response, to be spoken as `instructions` say, if any."""
    if not instructions:
        return {"type": "response.create"}
    return {"type": "response.create", "response": {"instructions": instructions}}


def truncate(item_id: str, heard_ms: int) -> dict[str, Any]:
    """Return the event that makes the model forget what of its answer was not heard."""
    return {
        "type": "conversation.item.truncate",
        "item_id": item_id,
        "content_index": 0,
        "audio_end_ms": heard_ms,
    }


def encode(event: dict[str, Any]) -> bytes:
    """Return an event as it is sent."""
    return _encode(event)
