"""Reading loosely typed JSON from vendors: every function takes anything and never raises.

Vendors send numbers as text, null for a missing list, " " for nothing and HTML in plain fields. A
connector reads through these, so that one odd field costs that field and not the answer. The one
exception is `calendar_date`, which reads what the model sent and says what form it wants.
"""

from __future__ import annotations

import datetime as dt
import html
import math
import re
from typing import Any, TypeVar

import msgspec

from common.errors import InvalidInput

Item = TypeVar("Item")

# What a list may take of the 6 KB that a tool's result may have.
LIST_BYTES = 4200


def number(value: object) -> float | None:
    """Return a finite number from a number or numeric text ("1,204.5"), else None."""
    if isinstance(value, str):
        value = value.replace(",", "").strip()
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found + 0.0 if math.isfinite(found) else None  # adding 0.0 turns -0.0 into 0.0


def integer(value: object) -> int | None:
    """Return the nearest whole number, or None."""
    found = number(value)
    return None if found is None else round(found)


def text(value: object) -> str:
    """Return text without outer space; "" for null and for anything that is not text or number."""
    if isinstance(value, str):
        return value.strip()
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else ""


def record(value: object) -> dict[str, Any]:
    """Return a JSON object, or an empty one."""
    return value if isinstance(value, dict) else {}


def records(value: object) -> list[dict[str, Any]]:
    """Return the objects of a JSON list, leaving out whatever else is in it."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def values(value: object) -> list[Any]:
    """Return a JSON list, or an empty one."""
    return value if isinstance(value, list) else []


def plain(value: object) -> str:
    """Return text with HTML tags dropped, entities resolved and runs of space made one."""
    bare = re.sub(r"<[^<>]*>", "", text(value))
    return " ".join(html.unescape(bare).split())


def instant(value: object) -> dt.datetime | None:
    """Return the time in ISO 8601 text, aware only where the text has an offset, or None.

    The first and the last year are None too: vendors mean "never", and no zone can hold them.
    """
    try:
        found = dt.datetime.fromisoformat(text(value))
    except ValueError:
        return None
    return found if dt.MINYEAR < found.year < dt.MAXYEAR else None


def from_unix(value: object) -> dt.datetime | None:
    """Return the UTC time of Unix seconds; None for 0, which vendors send for "never"."""
    seconds = number(value)
    if not seconds:
        return None
    try:
        return dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (OverflowError, OSError, ValueError):
        return None


def shorten(value: str, limit: int) -> str:
    """Cut text to `limit` UTF-8 bytes, at a space where one is near, marking the cut with "…"."""
    raw = value.encode()
    if len(raw) <= limit:
        return value
    kept = raw[: limit - 3].decode(errors="ignore")
    head, _, tail = kept.rpartition(" ")
    return (head if head and len(tail) < 30 else kept).rstrip(" ,;:.") + "…"


def fitting(items: list[Item], limit: int = LIST_BYTES) -> list[Item]:
    """Leave out items from the end until the JSON of the others fits `limit` bytes."""
    kept: list[Item] = []
    for item in items:
        limit -= len(msgspec.json.encode(item)) + 1
        if limit < 0:
            break
        kept.append(item)
    return kept


def calendar_date(value: str, field: str) -> dt.date:
    """Return the date in "2026-11-23"; InvalidInput naming `field` for anything else."""
    try:
        return dt.date.fromisoformat(value.strip())
    except ValueError as err:
        raise InvalidInput(f"{field} must be a date such as 2026-11-23.") from err


def spoken_date(day: dt.date) -> str:
    """Return a date as one says it: "Monday 23 November 2026"."""
    return f"{day:%A} {day.day} {day:%B %Y}"
