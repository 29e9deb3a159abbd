"""What a card adds to a call's arguments: what its ids stand for, and letters that deceive.

Arguments are shown as they are, but an id tells nobody whom it reaches or what it deletes, and an
address may only look like a friend's. What an id stands for is taken from the fields of what tools
have found, never from running text: a page cannot say what its own id means.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from common.tools import Tool

_IDS = ("_id", "_ids")
_WHAT = ("title", "subject", "name", "channel", "summary", "symbol", "text")
_WHO = ("reply_to", "sender", "owner", "author", "email", "side")
_WHEN = ("start", "due", "date", "time")
_LONGEST = 60  # of a name; addresses stay whole
_MOST = 5
_PLACES = ("email", "emails", "phone_number", "url", "repository", "recipient", "recipients")
# Letters without width, and those that turn the direction of reading.
_UNSEEN = re.compile("[\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
_ADDRESS = re.compile(r"[^\s<>\"]+@[^\s<>\"]+")


def ids_of(tool: Tool, arguments: Any) -> list[str]:
    """Return the ids that a call names, but those that every call would take by default."""
    if not isinstance(arguments, Mapping):
        return []
    parts = tool.parameters.schema["properties"]
    given = {
        name: value
        for name, value in arguments.items()
        if name.endswith(_IDS) and value and value != parts.get(name, {}).get("default")
    }
    return [each for each in _texts(given) if each != "@default"]


def meanings(ids: Iterable[str], outputs: Iterable[str]) -> dict[str, str]:
    """Return in words what `ids` stand for, as far as `outputs` (JSON texts of tools) tell it.

    An id that was found and has no name is "" there.
    """
    wanted = set(ids)
    found: dict[str, tuple[bool, str]] = {}
    for output in outputs:
        for record in _records(_decoded(output).get("data")):
            for name, value in record.items():
                if name == "id" or name.endswith(_IDS):
                    own, words = name == "id", _words(record)
                    for each in wanted.intersection(_texts(value)):
                        # Its own record says more than one that only refers to it.
                        if own or not found.get(each, (False, ""))[0]:
                            found[each] = own, words
    return {each: words for each, (_, words) in found.items()}


@dataclass(frozen=True, slots=True)
class Told:
    """What a card says besides the arguments: what ids stand for, and a warning; "" for none."""

    about: str
    warning: str

    def title(self, tool: Tool) -> str:
        """Return the card's title."""
        title = tool.description.partition("\n")[0].rstrip(".") + self.about
        return f"{title}. {self.warning}" if self.warning else title

    def question(self, tool: Tool) -> str:
        """Return what the user is asked in plain words; "" where the tool has none."""
        if not tool.asks:
            return ""
        return f"{tool.asks.removesuffix('?')}{self.about}? {self.warning}".rstrip()


def told_of(meant: Mapping[str, str], arguments: Any) -> Told:
    """Return what the user should know of arguments, whose ids are `meant` so."""
    names = [words for words in dict.fromkeys(meant.values()) if words]
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    about = f" ({'; '.join(names[:_MOST])}{more})" if names else ""
    strange = sorted({letter for text in _named(arguments) for letter in _strange(*text)})
    listed = ", ".join(f"U+{ord(letter):04X}" for letter in strange[:6])
    warning = f"Careful: letters that are not what they seem ({listed})" if strange else ""
    return Told(about, warning)


def _strange(name: str, text: str) -> set[str]:
    found = set(_UNSEEN.findall(text))
    places = [text] if name in _PLACES or name.endswith(_PLACES) else _ADDRESS.findall(text)
    return found | {c for place in places for c in place if not c.isascii() and c.isalpha()}


def _words(record: Mapping[str, Any]) -> str:
    what = next((_line(record[name]) for name in _WHAT if _line(record.get(name))), "")
    who = next((_line(record[name]) for name in _WHO if _line(record.get(name))), "")
    when = next((_line(record[name]) for name in _WHEN if _line(record.get(name))), "")
    if len(what) > _LONGEST:
        what = what[: _LONGEST - 1] + "…"
    return ", ".join(part for part in (f"“{what}”" if what else "", who, when) if part)


def _line(value: Any) -> str:
    """Return a text on one line, without letters that nobody sees."""
    if not isinstance(value, str):
        return ""
    kept = (c if unicodedata.category(c)[0] != "C" else " " for c in value)
    return " ".join("".join(kept).split())


def _records(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, dict):
        yield value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        yield from _records(part)


def _named(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text of the arguments with the name it stands under."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _named(part, key)
    elif isinstance(value, list):
        for part in value:
            yield from _named(part, name)


def _texts(value: Any) -> Iterator[str]:
    yield from (text for _, text in _named(value))


def _decoded(output: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(output)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}
