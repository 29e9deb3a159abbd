"""The chat socket as an AsyncAPI document, made from the types that the server itself uses.

`python -m run.local asyncapi` prints it; `docs/asyncapi.json` keeps it for clients' generators, and
a test fails where the two differ.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
from collections.abc import Iterable
from typing import Any, get_args

import msgspec

from common import errors
from common.assistant.protocol import BUDGET_LOW, MAX_FRAME_BYTES, SUBPROTOCOL, Event, Frame
from common.settings import Settings
from common.web.edge import HTTP_CODES

_REF = "#/components/schemas/{name}"
# Why a socket ends and what its client does then. AsyncAPI has no place for it of its own.
CLOSES = {
    1001: ("the server goes away, or the connection nears the platform's 60 minutes",
           "reconnect with your cursor"),
    1002: ("a frame that breaks the rules of WebSockets", "mend the client"),
    1007: ("text that is no UTF-8", "mend the client"),
    1008: ("too many frames at once, not signed in, not your chat, a foreign `Origin`, or the chat "
           "was deleted; the reason says which", "do not retry as it is"),
    1009: ("a frame over 64 KiB", "send less"),
    1011: ("a defect of ours", "reconnect with your cursor"),
    1013: ("too many connections, or you read too slowly",
           "wait, then reconnect with your cursor"),
    4000: ("`idle`: nothing happened for 15 minutes", "reconnect when your user types again"),
}  # fmt: skip
_SECURITY = [{"$ref": f"#/components/securitySchemes/{name}"} for name in ("ticket", "token")]
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


def closes_table() -> str:
    """Return the close codes as `docs/protocol.md` has them."""
    rows = [f"| {code} | {why} | {then} |" for code, (why, then) in CLOSES.items()]
    return "\n".join(["| close code | meaning | what to do |", "| --- | --- | --- |", *rows])


def codes_table() -> str:
    """Return every error's code as `docs/protocol.md` has them."""
    rows = ["| code | HTTP | again? | meaning |", "| --- | --- | --- | --- |"]
    ours = _errors()
    for kind in ours:
        meaning = re.split(r"[;.]", inspect.getdoc(kind) or "")[0]
        if kind is errors.OdaiError:
            meaning = "A defect of ours"
        again = "yes" if kind.retryable else ""
        rows.append(f"| `{kind.code}` | {kind.status} | {again} | {meaning}. |")
    rows.append(f"| `{BUDGET_LOW}` | | | Told on the socket alone, once a day: nothing failed. |")
    known = {kind.code for kind in ours}
    for status, code in HTTP_CODES.items():
        if code not in known:
            rows.append(f"| `{code}` | {status} | | Over HTTP alone: no page was asked. |")
    return "\n".join(rows)


def socket_codes() -> list[str]:
    """Return the codes that an `error` event may have."""
    return [*(kind.code for kind in _errors()), BUDGET_LOW]


def _errors() -> list[type[errors.OdaiError]]:
    kinds = vars(errors).values()
    return [kind for kind in kinds if inspect.isclass(kind) and issubclass(kind, errors.OdaiError)]


def document() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of `/chats/{chat_id}`."""
    frames, events = get_args(Frame), get_args(Event)
    _, schemas = msgspec.json.schema_components((*frames, *events), ref_template=_REF)
    schemas["ErrorEvent"]["properties"]["code"]["examples"] = socket_codes()
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
        "servers": {
            "laptop": {"host": "localhost:8080", "protocol": "ws", "security": _SECURITY},
            "deployed": {
                "host": "{host}",
                "protocol": "wss",
                "variables": {"host": {"description": "Where `make deploy` says that ODAI is."}},
                "security": _SECURITY,
            },
        },
        "channels": {
            "chat": {
                "address": "/chats/{chat_id}",
                "parameters": {
                    "chat_id": {"description": "1 to 128 of A-Z a-z 0-9 _ - made by the client."}
                },
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {"ws": {"method": "GET", "query": _query(), "headers": _headers()}},
                "x-close-codes": {
                    str(code): {"meaning": why, "then": then}
                    for code, (why, then) in CLOSES.items()
                },
            }
        },
        "operations": {
            "send": _operation("receive", "What clients send.", frames),
            "hear": _operation("send", "What clients are sent.", events),
        },
        "components": {
            "messages": messages,
            "schemas": {"Envelope": _ENVELOPE, **schemas},
            "securitySchemes": {
                "ticket": {
                    "type": "httpApiKey",
                    "in": "header",
                    "name": "Sec-WebSocket-Protocol",
                    "description": f"`{SUBPROTOCOL}, ticket.<ticket>`. `POST /tickets` makes a "
                    "ticket for an ID token; it works once, within 60 seconds.",
                },
                "token": {
                    "type": "httpApiKey",
                    "in": "query",
                    "name": "token",
                    "description": "An ID token, as the original's clients send it.",
                },
            },
        },
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


def _headers() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "Sec-WebSocket-Protocol": {
                "type": "string",
                "pattern": rf"^{re.escape(SUBPROTOCOL)}, ?ticket\..+$",
                "description": f"The server chooses {SUBPROTOCOL} and keeps the ticket.",
            },
            "Origin": {
                "type": "string",
                "description": "A browser's: the server's own or allowed.",
            },
        },
    }


def _query() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "cursor": {"type": "string", "description": "Replay what came after it."},
            "token": {"type": "string", "description": "An ID token, where no ticket is used."},
        },
    }
