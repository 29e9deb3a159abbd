"""Frankfurter: exchange rates published by central banks, without a key.

https://frankfurter.dev/ · https://api.frankfurter.dev/v2

Version 2 is used: version 1 is frozen at the European Central Bank's 30 currencies. Quirks seen in
November 2026:
- Weekends and holidays carry the last earlier rate, and rows of one answer may differ in date:
  the rate's own date is always told.
- There is no amount parameter, and rows for the base itself (rate 1) may appear.
- An unknown currency is a 404 or a 422, depending on the server's age.
"""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from typing import Annotated, Any, TypeAlias, TypedDict

from msgspec import Meta

from common.errors import InvalidInput, NotFound, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool
from common.tools.reading import calendar_date, number, record, records, spoken_date, text

CONNECTOR = Connector(
    name="Frankfurter",
    category="finance",
    description="Currency conversion at central banks' reference rates, today or on a past date.",
    examples=(
        "How much is 250 US dollars in euros?",
        "What was the pound worth in yen on 3 March 2025?",
        "Show me today's exchange rates for the Swiss franc.",
    ),
    keywords=(
        "currency", "exchange", "rate", "rates", "convert", "conversion", "money", "dollar",
        "dollars", "euro", "euros", "pound", "pounds", "sterling", "yen", "franc", "rupee",
        "rupees", "peso", "yuan", "forex", "usd", "eur", "gbp", "jpy", "chf", "cad", "aud",
    ),
    hosts=("api.frankfurter.dev",),
    capability="exchange_rates",
    rank=10,
    attribution="Rates: Frankfurter, from central banks",
    licence="Free use; reference rates, not tradable prices",
)

API = "https://api.frankfurter.dev/v2"
SOURCE = Source("Frankfurter: central banks' reference rates", "https://frankfurter.dev/")
MAJOR = ("USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "CNY", "INR", "MXN")
# Decimal places of money that does not have two.
PLACES = dict.fromkeys(("CLP", "ISK", "JPY", "KRW", "PYG", "UGX", "VND", "XAF", "XOF", "XPF"), 0)
PLACES |= dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3)

Amount: TypeAlias = Annotated[float, Meta(gt=0, le=1e15)]


class Rate(TypedDict):
    """What one unit of the base buys of `currency`, as published on `date`."""

    currency: str
    rate: str
    date: str


async def _get(ctx: ToolContext, path: str, asked: str, **params: str) -> Any:
    """Return the JSON of a call; NotFound, naming what was `asked`, where there is no such rate."""
    reply = await ctx.http.get(f"{API}{path}", params=params, expect=(404, 422))
    if reply.status >= 400:
        raise NotFound(
            f"No rate is published for {asked}. Check the three-letter currency codes and the date."
        )
    return reply.json()


def _code(value: str, field: str) -> str:
    code = value.strip().upper()
    if not re.fullmatch("[A-Z]{3}", code):
        raise InvalidInput(f"{field} must be a three-letter ISO 4217 code such as USD or EUR.")
    return code


def _rate(row: dict[str, Any]) -> tuple[Decimal, dt.date] | None:
    value, date = number(row.get("rate")), text(row.get("date"))
    if value is None or value <= 0:
        return None
    try:
        return Decimal(str(value)), dt.date.fromisoformat(date)
    except ValueError:
        return None


def _money(value: Decimal, currency: str) -> str:
    """Round to the currency's smallest unit; less than one unit keeps four digits."""
    kept = round(value, PLACES.get(currency, 2)) if value >= 1 else Decimal(f"{value:.4g}")
    return f"{kept:f}"


@tool(progress="Converting currency…", cache_s=3600)
async def get_exchange_rate_for_currency_pair(
    ctx: ToolContext,
    *,
    from_currency: str,
    to_currency: str,
    amount: Amount = 1.0,
    date: str | None = None,
) -> ToolResult:
    """Convert an amount from one currency to another, at today's rate or a past date's.

    Args:
        from_currency: ISO 4217 code of the money given, such as USD.
        to_currency: ISO 4217 code of the money wanted, such as EUR.
        amount: How much of from_currency; 1 for the plain rate.
        date: The date of the rate, as 2026-11-20; null for the latest.
    """
    base, quote = _code(from_currency, "from_currency"), _code(to_currency, "to_currency")
    today = ctx.local_now().date()
    asked = calendar_date(date, "date") if date else today
    if asked > today:
        raise InvalidInput(f"There are no rates for the future: today is {today}.")
    if base == quote:
        found: tuple[Decimal, dt.date] | None = (Decimal(1), asked)
    else:
        params = {"date": asked.isoformat()} if date else {}
        what = f"{base} to {quote}" + (f" on {asked}" if date else "")
        found = _rate(record(await _get(ctx, f"/rate/{base}/{quote}", what, **params)))
    if found is None:
        raise VendorUnavailable("Frankfurter sent no rate. Try again later.")
    rate, published = found
    given = Decimal(str(amount)).normalize()
    converted = f"{rate:f}" if given == 1 else _money(given * rate, quote)
    gap = ""
    if date and published != asked:
        gap = f" No rate was published on {asked}; this is the nearest there is."
    return ToolResult(
        response_type="currency_conversion",
        data={
            "from_currency": base, "to_currency": quote, "amount": f"{given:f}",
            "converted_amount": converted, "rate": f"{rate:f}", "rate_date": published.isoformat(),
            "note": "Central banks' reference rate, not a price to trade at.",
        },
        summary=f"{given:,f} {base} is {Decimal(converted):,f} {quote} at the reference "
        f"rate of {spoken_date(published)}.{gap}",
        sources=(SOURCE,),
    )


@tool(progress="Loading exchange rates…", cache_s=3600)
async def get_exchange_rates_for_currency(
    ctx: ToolContext, *, currency: str, targets: list[str] | None = None
) -> ToolResult:
    """List what one unit of a currency is worth in others, at the latest published rates.

    Args:
        currency: ISO 4217 code of the currency, such as USD.
        targets: ISO 4217 codes of up to 30 others; null for the ten most traded.
    """
    base = _code(currency, "currency")
    quotes = dict.fromkeys(_code(target, "targets") for target in targets or MAJOR)
    quotes.pop(base, None)
    wanted = list(quotes)[:30]
    if not wanted:
        raise InvalidInput("targets must name a currency other than the one asked about.")
    body = await _get(ctx, "/rates", base, base=base, quotes=",".join(wanted))
    read = {text(row.get("quote")): _rate(row) for row in records(body)}
    rates = [
        Rate(currency=code, rate=f"{value[0]:f}", date=value[1].isoformat())
        for code in wanted
        if (value := read.get(code))
    ]
    missing = [code for code in wanted if not read.get(code)]
    return ToolResult(
        response_type="exchange_rates",
        data={"base": base, "rates": rates, "no_rate_for": missing},
        summary=_say(base, rates),
        sources=(SOURCE,),
    )


def _say(base: str, rates: list[Rate]) -> str:
    if not rates:
        return f"No exchange rates are published for {base} against those currencies."
    told = ", ".join(f"{rate['rate']} {rate['currency']}" for rate in rates[:4])
    newest = max(dt.date.fromisoformat(rate["date"]) for rate in rates)
    return f"1 {base} is {told}, at the reference rates of {spoken_date(newest)}."
