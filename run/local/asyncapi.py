"""The chat socket as an AsyncAPI document, made from the types that the server itself uses.

`python -m run.local asyncapi` prints it; `docs/asyncapi.json` keeps it for clients' generators, and
a test fails where the two differ.
"""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Iterable
from typing import Any, get_args

import msgspec

from common.assistant.protocol import MAX_FRAME_BYTES, SUBPROTOCOL, Event, Frame
from common.settings import Settings

_REF = "#/components/schemas/{name}"
_ENVELOPE: dict[str, Any] = {
    "title": "Envelope",
    "description": "What every event carries beside its own fields.",
    "type": "object",
    "required": ["id", "chat_id", "turn_id", "seq"],
    "properties": {
        "id": {"type": "string", "description": "Unique."},
        "chat_id": {"type": "string"},
        "turn_id": {"type": ["string", "null"], "description": "null: of the chat, not of a turn."},
        "seq": {
            "type": "integer",
            "minimum": 0,
            "description": "Contiguous from 1 within a turn; 0 where there is no turn.",
        },
        "from_seq": {
            "type": "integer",
            "minimum": 1,
            "description": "This event stands for all of from_seq to seq.",
        },
    },
}


def asyncapi(_: Settings, __: argparse.Namespace) -> int:
    """Print the document."""
    print(document_text(), end="")
    return 0


def document_text() -> str:
    """Return the document as `docs/asyncapi.json` holds it."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def document() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of `/chats/{chat_id}`."""
    frames, events = get_args(Frame), get_args(Event)
    _, schemas = msgspec.json.schema_components((*frames, *events), ref_template=_REF)
    messages = {
        **{tag_of(kind): _message(kind, {"$ref": _REF.format(name=kind.__name__)})
           for kind in frames},
        **{tag_of(kind): _message(kind, _in_envelope(kind)) for kind in events},
    }  # fmt: skip
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "ODAI chat socket",
            "version": SUBPROTOCOL,
            "description": "JSON text frames over one WebSocket for each chat; docs/protocol.md "
            f"is the prose. A client's frame may have {MAX_FRAME_BYTES} bytes, and one that is no "
            "JSON object of a known type is a prompt as it stands.",
        },
        "channels": {
            "chat": {
                "address": "/chats/{chat_id}",
                "parameters": {
                    "chat_id": {"description": "1 to 128 of A-Z a-z 0-9 _ - made by the client."}
                },
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {"ws": {"method": "GET", "query": _query()}},
            }
        },
        "operations": {
            "send": _operation("receive", "What clients send.", frames),
            "hear": _operation("send", "What clients are sent.", events),
        },
        "components": {"messages": messages, "schemas": {"Envelope": _ENVELOPE, **schemas}},
    }


def tag_of(kind: type[msgspec.Struct]) -> str:
    """Return the value of `type` that names a frame or an event."""
    return str(kind.__struct_config__.tag)


def _message(kind: type[msgspec.Struct], payload: dict[str, Any]) -> dict[str, Any]:
    return {"name": tag_of(kind), "summary": inspect.getdoc(kind), "payload": payload}


def _in_envelope(kind: type[msgspec.Struct]) -> dict[str, Any]:
    names = ("Envelope", kind.__name__)
    return {"allOf": [{"$ref": _REF.format(name=name)} for name in names]}


def _operation(action: str, summary: str, kinds: Iterable[type[msgspec.Struct]]) -> dict[str, Any]:
    return {
        "action": action,  # seen from the server, as AsyncAPI wants it
        "summary": summary,
        "channel": {"$ref": "#/channels/chat"},
        "messages": [{"$ref": f"#/channels/chat/messages/{tag_of(kind)}"} for kind in kinds],
    }


def _query() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "cursor": {"type": "string", "description": "Replay what came after it."},
            "token": {"type": "string", "description": "An ID token, where no ticket is used."},
        },
    }
