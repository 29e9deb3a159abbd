"""Who decides what may happen: the rules, as plain functions over values.

A model proposes; these rules say whether the user must be asked first. They hold whatever the
model was told, by the user or by a page it read: a run that has read text written by strangers is
tainted, and may no longer choose by itself whom to reach, how much to spend or which address to
open.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from common.tools import Outcome, Tool

_URL = re.compile(r"(?:https?:)?//[^\s\"'<>)\]]+", re.IGNORECASE)
_WORD = re.compile(r"[^\s\"'<>()\[\]]+")
_WORDS = ("query", "term", "keyword", "topic")  # what such arguments of a search are called
# Numbers of accounts and telephones (however grouped), addresses of mail, codes and encoded text.
_CODE = re.compile(
    r"[^\s@]+@[^\s@]+|\+?\d(?:[ .\-]?\d){5,}|(?=\S*\d)(?=\S*[A-Za-z])[\w+/=\-]{10,}|[\w+/=\-]{24,}"
)
_DAYS = re.compile(r"\b(?:(?:19|20)\d\d(?:-[01]\d-[0-3]\d)?|[0-3]?\d\.[01]?\d\.(?:19|20)\d\d)\b")
KEPT = frozenset({"memory", "reminders"})  # what their tools keep is with us, and the user's own
_NAMES = ("url", "uri", "link", "href", "host", "domain", "website", "site")  # of such arguments


@dataclass(slots=True)
class Trust:
    """What a run knows of where its text came from.

    `said` is the user's own text; `cited` the addresses that tools gave as their sources.
    """

    said: str
    tainted: bool = False
    cited: set[str] = field(default_factory=set)

    def named(self, url: str) -> bool:
        """Return whether the user wrote this address, whole, or a tool gave it as a source."""
        plain = _plain(url)
        bare = plain.partition("://")[2] or plain
        words = {_plain(word) for word in _WORD.findall(self.said)}
        return plain in self.cited or plain in words or bare in words

    def note(self, outcome: Outcome) -> None:
        """Take in a tool's result."""
        if outcome.result is None:
            return
        self.tainted |= outcome.result.untrusted
        self.cited.update(_plain(source.url) for source in outcome.result.sources)


def must_ask(
    tool: Tool, arguments: str, trust: Trust, *, granted: Collection[str], public: bool = True
) -> bool:
    """Return whether the user must say yes to this call first.

    `granted` holds the names of tools that the user always allows. A grant covers writes to the
    user's own data, never money or messages to others, and no tainted run. What is KEPT is shown to
    the user and theirs to take back: only a tainted run has to ask. `public` says that what is read
    is nobody's account: what is asked there leaves the user's own.
    """
    given = _decoded(arguments)
    if tool.risk in ("money", "external") or reaches_others(tool, given):
        return True
    if tool.risk == "write":
        return trust.tainted or (tool.name not in granted and tool.connector not in KEPT)
    if not trust.tainted:
        return False
    if not all(map(trust.named, _addresses(given))):
        return True
    return public and any(code not in trust.said for code in _codes(given))


def reaches_others(tool: Tool, arguments: Any) -> bool:
    """Tell whether a write becomes a message to others by these arguments: an invitation, say."""
    given = arguments if isinstance(arguments, dict) else {}
    return any(given.get(name) for name in tool.reaches)


def _codes(arguments: Any) -> Iterator[str]:
    """Yield what in the words of a search looks like data of the user's rather than like words."""
    given = arguments if isinstance(arguments, dict) else {}
    for name, value in given.items():
        if name in _WORDS and isinstance(value, str):
            yield from (found[0] for found in _CODE.finditer(_DAYS.sub(" ", value)))


def _addresses(value: Any, name: str = "") -> Iterator[str]:
    """Yield every web address in a call's arguments, however deep."""
    if isinstance(value, str):
        # Some tools take `example.com/page`; the argument's name tells.
        whole = bool(value) and name.casefold().endswith(_NAMES)
        yield from [value] if whole else _URL.findall(value)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _addresses(part, key)
    elif isinstance(value, list):
        for part in value:
            yield from _addresses(part, name)


def _decoded(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments or "{}")
    except msgspec.DecodeError:
        return arguments


def _plain(url: str) -> str:
    return url.rstrip("/.,;:!?")
