"""What runs cost: tokens and tool calls of each user and day, and their price.

A day is the user's own: it begins at midnight in their zone, and a run belongs to the day it began
in, whenever it ends. Counters change by transforms alone, so that no run's figures are lost to
another's; money is whole micro-dollars there, which add without rounding.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from common import documents
from common.documents import Clock, Data
from common.errors import InvalidInput, Misconfigured
from common.store import Increment, Query, Store

MICROS = 1_000_000  # micro-dollars of a dollar
LONGEST_DAYS = 366
# https://developers.openai.com/api/docs/pricing (November 2026), standard tier.
OPENAI_PRICES = (
    "gpt-6-luna=0.10/0.01/0.50,gpt-6-sol=2/0.20/10,gpt-5.6-luna=0.20/0.02/1.20,"
    "gpt-realtime-2.1=4/0.40/24/32/64,gpt-realtime-2.1-mini=0.60/0.06/2.40/10/20"
)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of model calls. `input` holds `cached` and `audio_input`, `output` `audio_output`."""

    requests: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0
    audio_input: int = 0
    audio_output: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens, which is micro-dollars for one."""

    input: Decimal = Decimal(0)
    cached: Decimal = Decimal(0)
    output: Decimal = Decimal(0)
    audio_input: Decimal = Decimal(0)
    audio_output: Decimal = Decimal(0)

    def micros(self, tokens: Tokens) -> int:
        """Return what these tokens cost, in whole micro-dollars."""
        # What was cached may have been text or sound: one price covers both.
        fresh_audio = max(0, min(tokens.audio_input, tokens.input - tokens.cached))
        cost = (
            self.input * max(0, tokens.input - tokens.cached - fresh_audio)
            + self.cached * tokens.cached
            + self.output * max(0, tokens.output - tokens.audio_output)
            + self.audio_input * fresh_audio
            + self.audio_output * tokens.audio_output
        )
        return int(cost.quantize(Decimal(1), ROUND_HALF_UP))


@dataclass(frozen=True, slots=True)
class Prices:
    """The price of each model by its name; of one that is not listed, that of "*" or nothing."""

    models: Mapping[str, Price] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Prices:
        """Read `model=input/cached/output[/audio in/audio out],…`. Raises Misconfigured."""
        models = {}
        for pair in filter(None, (part.strip() for part in text.split(","))):
            name, _, figures = pair.partition("=")
            try:
                parts = [Decimal(figure) for figure in figures.split("/")]
            except InvalidOperation as err:
                raise _malformed() from err
            sound = all(part.is_finite() and 0 <= part < 1_000_000 for part in parts)
            if not name.strip() or len(parts) not in (3, 5) or not sound:
                raise _malformed()
            models[name.strip()] = Price(*parts)
        return cls(models)

    def of(self, model: str) -> Price:
        """Return the price of `model`."""
        return self.models.get(model) or self.models.get("*") or Price()


@dataclass
class Spent:
    """What one run has spent so far."""

    models: dict[str, Tokens] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)  # tool calls by connector
    turns: int = 1

    def add(self, model: str, tokens: Tokens) -> None:
        """Count a model call."""
        self.models[model] = self.models.get(model, Tokens()) + tokens

    def micros(self, prices: Prices) -> int:
        """Return what it cost, in micro-dollars."""
        return sum(prices.of(model).micros(tokens) for model, tokens in self.models.items())

    def increments(self, prices: Prices) -> Data:
        """Return the changes that add this to a day's document."""
        changes: Data = {}
        _more(changes, "turns", self.turns)
        for model, tokens in self.models.items():
            for f in fields(tokens):
                _more(changes, f.name, getattr(tokens, f.name))
            micros = prices.of(model).micros(tokens)
            _more(changes, "cost", micros)
            _more(changes, f"models.{field_name(model)}.cost", micros)
            _more(changes, f"models.{field_name(model)}.input", tokens.input)
            _more(changes, f"models.{field_name(model)}.output", tokens.output)
        for slug, count in self.calls.items():
            _more(changes, f"tools.{field_name(slug)}", count)
        return changes


@dataclass(frozen=True, slots=True)
class Day:
    """What a user spent on one day. `cost` is in dollars; `tools` counts calls by connector."""

    date: dt.date
    turns: int
    tokens: Tokens
    cost: Decimal
    tools: Mapping[str, int]
    models: Mapping[str, Mapping[str, int]]


class Usage:
    """Reads what users spent."""

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def days(self, uid: str, since: dt.date, until: dt.date) -> list[Day]:
        """Return the days from `since` to `until`, both included, on which something was spent."""
        if not dt.timedelta(0) <= until - since < dt.timedelta(LONGEST_DAYS):
            raise InvalidInput(f"Ask for 1 to {LONGEST_DAYS} days, the earlier one first.")
        query = Query(
            f"{documents.user(uid)}/usage",
            where=(("day", ">=", since.isoformat()), ("day", "<=", until.isoformat())),
            order_by=(("day", "asc"),),
        )
        return [_day(row.data) for row in await self._store.query(query)]

    async def zone(self, uid: str) -> str:
        """Return the IANA zone that the user's device was in last, UTC where it never said."""
        user = await self._store.get(documents.user(uid))
        return (user.data.get("timezone") if user else None) or "UTC"

    def today(self, zone: str) -> dt.date:
        """Return the present day in the IANA zone `zone`."""
        return day_of(self._clock(), zone)


def day_of(moment: dt.datetime, zone: str) -> dt.date:
    """Return the day that `moment` belongs to for a user in `zone`."""
    return moment.astimezone(ZoneInfo(zone)).date()


def path_of(uid: str, day: dt.date) -> str:
    """Return the path of a day's document."""
    return f"{documents.user(uid)}/usage/{day.isoformat()}"


def field_name(name: str) -> str:
    """Return `name` as a field's: a dot in it would reach into a mapping."""
    return name.replace(".", "_") or "unknown"


def dollars(micros: int) -> Decimal:
    """Return micro-dollars as dollars, exactly."""
    return Decimal(micros) / MICROS


def total(days: Sequence[Day]) -> Decimal:
    """Return the cost of several days in dollars."""
    return sum((day.cost for day in days), Decimal(0))


def _more(changes: Data, name: str, amount: int) -> None:
    if amount:
        before = changes.get(name)
        changes[name] = Increment(amount + (before.amount if before else 0))


def _day(data: Mapping[str, Any]) -> Day:
    return Day(
        date=dt.date.fromisoformat(data["day"]),
        turns=data.get("turns", 0),
        tokens=Tokens(*(data.get(f.name, 0) for f in fields(Tokens))),
        cost=dollars(data.get("cost", 0)),
        tools=data.get("tools", {}),
        models=data.get("models", {}),
    )


def _malformed() -> Misconfigured:
    return Misconfigured("ODAI_PRICES must look like model=input/cached/output,… in dollars.")
