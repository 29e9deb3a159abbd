"""Reads values out of a sentence: dates, times, money, codes, places, topics. No model, no I/O.

The offline planner fills a tool's arguments from these. Each find says where it stood and which
word led to it (`cue`), so that "from Boston to New York" keeps its direction. Relative dates count
from the user's own day.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeAlias

from common.llm.dates import COUNTS, Days, find_days
from common.tools import shapes

Kind: TypeAlias = Literal[
    "date",
    "time",
    "amount",
    "currency",
    "ticker",
    "place",
    "number",
    "code",
    "url",
    "email",
    "phone",
    "coordinates",
    "quoted",
    "person",
]


Value: TypeAlias = str | Decimal | Days | dt.time | tuple[Decimal, Decimal]


@dataclass(frozen=True, slots=True)
class Found:
    """A value at `start:end` of the sentence.

    Values by kind: date `Days` · time `dt.time` · amount, number `Decimal` · currency ISO 4217
    code · coordinates (latitude, longitude) · the others text. `cue` is the word that leads to it
    ("in", "from", "train"), for a number the noun it counts ("days"), in lower case.
    """

    kind: Kind
    value: Value
    start: int
    end: int
    cue: str = ""


_TIME = re.compile(
    r"\b(?:(?P<word>noon|midday|midnight)|(?P<h>[01]?\d|2[0-3])(?:(?::(?P<m>[0-5]\d))\s?"
    r"(?P<half>[ap]\.?m\.?)?|\s?(?P<half2>[ap]\.?m\.?)))(?!\w)"
    r"|(?<=\bat )(?P<bare>[01]?\d|2[0-3])(?!\w|[.:,/]\d|\s+(?-i:[A-Z]))",
    re.IGNORECASE,
)
_EVENING = re.compile(r"\b(?:evening|tonight|night)s?\b", re.IGNORECASE)
_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+"
_AMOUNT = re.compile(
    rf"(?<![\w.])(?P<number>{_NUMBER})\s?(?P<scale>k|thousand|m|million|bn|billion)?"
    r"(?![\w%])",
    re.IGNORECASE,
)
_SCALES = {
    "": 1,
    "k": 10**3,
    "thousand": 10**3,
    "m": 10**6,
    "million": 10**6,
    "bn": 10**9,
    "billion": 10**9,
}
_READ, _MONEY = "\x00", "\x01"
_QUOTED = re.compile(r"“([^”]+)”|\"([^\"]+)\"|(?<!\w)'([^']{2,})'(?!\w)")
_CODE = re.compile(
    r"\b(?P<cue>train|flight|order|package|tracking|issue|bus|route|line|gate|room)s?"
    r"(?:\s+(?:number|code|no\.?|nr\.?))?\s*#?\s?(?P<code>(?=[\w-]*\d)[\w-]{1,30})\b",
    re.IGNORECASE,
)
_REPOSITORY = re.compile(r"(?<![\w/.])[A-Za-z][\w.-]*/[A-Za-z][\w.-]*\w(?![\w/])")
_TICKER = re.compile(r"(?<![\w$&-])\$?([A-Z]{2,5}(?:\.[A-Z])?|(?<=\$)[A-Z])(?![\w&-])")
_CUES = r"in|near|around|at|from|to|for|between|of|within|by"
_CAPITALISED = r"(?:[A-ZÀ-Þ][\w.'’-]*|\b[Dd]e\b|\b[Dd]u\b|\bla\b|\bof the\b|\bof\b|\bthe\b)"
_NAMED_PLACE = re.compile(
    rf"\b(?P<cue>(?i:{_CUES}|and))\s+(?:the\s+)?"
    rf"(?P<place>[A-ZÀ-Þ][\w.'’-]*(?:[ ]{_CAPITALISED})*"
    r"(?:,\s?[A-Z][\w.'’-]*(?:[ ][A-Z][\w.'’-]*)*)?)"
)
_LOWER_PLACE = re.compile(
    r"\b(?P<cue>in|near|around|from|to|at)\s+(?:the\s+)?"
    r"(?=(?P<place>[a-zà-þ][\w.'’-]*(?: [a-zà-þ][\w'’-]*){0,2}"
    r"(?:,\s?[A-Za-z][\w'’-]*)?|\d{5})(?!\w))",
    re.IGNORECASE,
)
# A house number makes no number and no limit: "10 Downing Street, London".
_ADDRESS = re.compile(
    r"\b(?P<place>\d{1,5}[A-Za-z]?\s+(?:[A-ZÀ-Þ][\w.'’-]*\s+){1,4}(?:(?i:street|st|avenue|ave|road|"
    r"rd|lane|ln|drive|dr|boulevard|blvd|square|sq|place|pl|court|ct|terrace|way|parkway|pkwy|"
    r"highway|hwy|row|mews|crescent|close|gardens|plaza|broadway))\b\.?"
    r"(?:,?\s+(?:[A-ZÀ-Þ][\w.'’-]*|\d{5}\b))*)"
)
_NOT_IN_PLACE = re.compile(
    r"\s*\b(?:and|or|to|from|for|on|at|in|by|with|near|next|this|right|now|today|please|that|is|are|"
    r"the|using|via|like|then|me|my|here|a|an|it|be|have|do|go|see|get|about|of|over|after)\b.*",
    re.IGNORECASE | re.DOTALL,
)
_NO_PLACES = re.compile(
    r"(?:me|my|us|it|now|time|stock|general|total|advance|english|case|bed|work|home|here|there|"
    r"town|person|cash|bulk|know|buy|find|see|get|do|tell|least|all|once|morning|afternoon|evening|night|future|past|celsius|fahrenheit|"
    r"the|a|an|this|that|stock|market|news|minutes?|hours?|days?|weeks?|months?|degrees)\Z",
    re.I,
)
# In small letters "to buy" looks like "to boston": only a journey settles it.
_TRAVEL = re.compile(
    r"\b(?:flights?|fly|trains?|bus(?:es)?|trips?|travel\w*|tickets?|drive)\b", re.I
)
_PERSON = re.compile(
    r"\b(?P<cue>(?i:with|tell|text|call|email|message|dm|invite|ask|from|to))\s+"
    r"(?P<name>[A-Z][a-z]+(?: [A-Z][a-z]+)?)\b"
)


def extract(text: str, now: dt.datetime) -> tuple[Found, ...]:
    """Return what `text` holds, in order of place; `now` is aware and in the user's zone.

    A stretch of text is read once (a URL's digits are no amount), except that a capital code may
    be a ticker as well as an airport, and a name both a place and a person.
    """
    left = list(text)  # what has been read is blanked, money's neighbour by a mark of its own
    found: list[Found] = []
    for reader in _READERS:
        for one in reader("".join(left), now):
            if _READ in left[one.start : one.end]:
                continue
            found.append(one)
            if one.kind not in ("ticker", "person"):
                mark = _MONEY if one.kind == "currency" else _READ
                left[one.start : one.end] = [mark] * (one.end - one.start)
    return tuple(sorted(found, key=lambda f: (f.start, f.kind)))


def _simple(kind: Kind, pattern: re.Pattern[str]) -> Callable[..., Iterator[Found]]:
    def read(text: str, now: dt.datetime) -> Iterator[Found]:
        for m in pattern.finditer(text):
            value = next(filter(None, m.groups()), m[0])
            yield Found(kind, value, m.start(), m.end(), _before(text, m.start()))

    return read


def _before(text: str, start: int) -> str:
    words = re.findall(r"[\w']+", text[:start])
    return words[-1].lower() if words else ""


def _coordinates(text: str, now: dt.datetime) -> Iterator[Found]:
    for m in shapes.COORDINATES.finditer(text):
        latitude, longitude = Decimal(m[1]), Decimal(m[2])
        if abs(latitude) <= 90 and abs(longitude) <= 180:
            yield Found("coordinates", (latitude, longitude), m.start(), m.end())


def _codes(text: str, now: dt.datetime) -> Iterator[Found]:
    for m in _CODE.finditer(text):
        yield Found("code", m["code"].upper(), m.start("code"), m.end("code"), m["cue"].lower())
    for m in _REPOSITORY.finditer(text):
        yield Found("code", m[0], m.start(), m.end(), "repository")
    for m in shapes.TRACKING.finditer(text):
        yield Found("code", m[0], m.start(), m.end(), "tracking")
    for m in shapes.FLIGHT.finditer(text):
        if m[1] not in shapes.CURRENCY_CODES and m[1] not in shapes.ACRONYMS:
            yield Found("code", m[1] + m[2], m.start(), m.end(), "flight")


def _dates(text: str, now: dt.datetime) -> Iterator[Found]:
    for days, start, end in find_days(text, now.date()):
        yield Found("date", days, start, end, _before(text, start))


def _times(text: str, now: dt.datetime) -> Iterator[Found]:
    for m in _TIME.finditer(text):
        hour = (
            {"midnight": 0}.get((m["word"] or "").lower(), 12)
            if m["word"]
            else int(m["h"] or m["bare"])
        )
        half = (m["half"] or m["half2"] or "").lower()[:1]
        if half:
            hour = hour % 12 + (12 if half == "p" else 0)
        elif not m["word"] and 5 <= hour < 12 and _EVENING.search(text):
            hour += 12  # "every evening at 7"
        time = dt.time(hour, int(m["m"] or 0))
        yield Found("time", time, m.start(), m.end(), _before(text, m.start()))


def _currencies(text: str, now: dt.datetime) -> Iterator[Found]:
    for m in shapes.CURRENCY.finditer(text):
        code = shapes.currency_of(m)
        yield Found("currency", code, m.start(), m.end(), _before(text, m.start()))


def _amounts(text: str, now: dt.datetime) -> Iterator[Found]:
    for m in _AMOUNT.finditer(text):
        if shapes.ZIP.fullmatch(m[0]) and _before(text, m.start()) in ("in", "near", "around"):
            continue  # a postal code, read as a place
        value = Decimal(m["number"].replace(",", "")) * _SCALES[(m["scale"] or "").lower()]
        noun = re.match(r"\s*([a-z][a-z-]+)", text[m.end() :])
        money = _MONEY in (text[: m.start()].rstrip()[-1:], text[m.end() :].lstrip()[:1])
        yield Found(
            "amount" if money else "number",
            value,
            m.start(),
            m.end(),
            noun[1].lower() if noun else _before(text, m.start()),
        )
    for m in re.finditer(
        r"\b(two|three|four|five|six|seven|eight|nine|ten|twelve)\s+([a-z]+)", text
    ):
        yield Found("number", Decimal(COUNTS[m[1]]), m.start(1), m.end(1), m[2])


def _tickers(text: str, now: dt.datetime) -> Iterator[Found]:
    for m in shapes.COIN.finditer(text):
        coin = shapes.COINS.get((m[1] or "").lower()) or m[0].upper()
        if not m[0].isupper():  # in capitals it is a ticker anyway
            yield Found("ticker", coin, m.start(), m.end(), _before(text, m.start()))
    if text.isupper() and len(re.findall(r"[A-Z\x00\x01]{2,}", text)) > 2:
        return  # the whole sentence is in capitals
    for m in _TICKER.finditer(text):
        if m[1] not in shapes.ACRONYMS:
            yield Found("ticker", m[1], m.start(), m.end(), _before(text, m.start()))


def _places(text: str, now: dt.datetime) -> Iterator[Found]:
    spans: list[tuple[int, int]] = []
    for pattern in (_NAMED_PLACE, _LOWER_PLACE):
        for m in pattern.finditer(text):
            start, place = m.start("place"), m["place"]
            if pattern is _LOWER_PLACE:
                if m["cue"].lower() in ("to", "from", "at") and not _TRAVEL.search(text):
                    continue
                place = _NOT_IN_PLACE.sub("", place)
            place = (
                re.sub(r"(?:\s+(?:of|the|and|la|de))+\Z", "", place)
                .rstrip(" .,'’")
                .removesuffix("'s")
            )
            if not place or _NO_PLACES.match(place) or any(a <= start < b for a, b in spans):
                continue
            spans.append((start, start + len(place)))
            yield Found("place", place, start, start + len(place), m["cue"].lower())


def _addresses(text: str, now: dt.datetime) -> Iterator[Found]:
    for m in _ADDRESS.finditer(text):
        place = m["place"].rstrip(" .,'’")
        yield Found("place", place, m.start(), m.start() + len(place), _before(text, m.start()))


def _people(text: str, now: dt.datetime) -> Iterator[Found]:
    for m in _PERSON.finditer(text):
        yield Found("person", m["name"], m.start("name"), m.end("name"), m["cue"].lower())


_READERS: tuple[Callable[..., Iterator[Found]], ...] = (
    _simple("quoted", _QUOTED),
    _simple("email", shapes.EMAIL),
    _simple("url", shapes.URL),
    _coordinates,
    _addresses,
    _codes,
    _dates,
    _simple("phone", shapes.PHONE),
    _times,
    _currencies,
    _amounts,
    _people,
    _tickers,
    _places,
)
