"""The stored types: what each document holds, where it lives, and how ids are made.

Documents are plain mappings of JSON values, aware datetimes and bytes; the paths below are the
only place that spells them. Sealed fields hold bytes made by `common.vault`.
"""

from __future__ import annotations

import datetime as dt
import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from common.errors import InvalidInput

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

Data: TypeAlias = dict[str, Any]
Clock: TypeAlias = Callable[[], dt.datetime]

CHAT_ID = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")
TURN_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}\Z")
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def now() -> dt.datetime:
    """Return the current time, aware and in UTC: the default `Clock`."""
    return dt.datetime.now(dt.UTC)


def new_id(*, after: str = "") -> str:
    """Return a new ULID: 26 characters that sort by the millisecond they were made in.

    It sorts behind the ULID `after`, whatever the clock did since that was made.
    """
    value = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    if after:
        value = max(value, _number(after) + 1)
    return "".join(_CROCKFORD[value >> shift & 31] for shift in range(125, -5, -5))


def time_zone(name: str) -> ZoneInfo:
    """Return the zone of an IANA name; InvalidInput where there is none."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # cold start: few functions need zones

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as err:  # "America" is a folder
        raise InvalidInput("timezone is an IANA name such as Europe/Paris.") from err


def _number(ulid: str) -> int:
    value = 0
    for character in ulid:
        value = value << 5 | _CROCKFORD.index(character)
    return value


def user(uid: str) -> str:
    """Path of a user: profile, terms, plan and the wrapped data key."""
    return f"users/{uid}"


def chat(chat_id: str) -> str:
    """Path of a chat: owner, title, times, the lease of its running turn."""
    return f"chats/{chat_id}"


def items(chat_id: str) -> str:
    """Collection of a chat's model history, one sealed document for each turn's items."""
    return f"chats/{chat_id}/items"


def turns(chat_id: str) -> str:
    """Collection of a chat's turns: state, usage, last sequence number."""
    return f"chats/{chat_id}/turns"


def journal(chat_id: str, turn_id: str) -> str:
    """Collection of a turn's event chunks, sealed, ids rising."""
    return f"chats/{chat_id}/turns/{turn_id}/journal"


def ticket(ticket_id: str) -> str:
    """Path of a one-time ticket; the id is the SHA-256 of the ticket, never the ticket."""
    return f"tickets/{ticket_id}"


def require(data: Mapping[str, Any], field: str, kind: type) -> Any:
    """Return `data[field]`, checked to be a `kind`; TypeError where a document is malformed."""
    value = data.get(field)
    if not isinstance(value, kind):
        raise TypeError(f"stored field {field!r} is not {kind.__name__}")
    return value
