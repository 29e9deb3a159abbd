"""The two currency tools, declared once for every vendor that publishes rates.

A vendor brings two functions, a pair's rate and a base's rates; checking codes and dates, rounding
to a currency's smallest unit and saying the rate's own date are the same for all of them.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Annotated, TypeAlias, TypedDict

from msgspec import Meta

from common.errors import InvalidInput, NotFound, VendorUnavailable
from common.tools.context import ToolContext
from common.tools.declare import Source, Tool, ToolResult, tool
from common.tools.reading import calendar_date, number, spoken_date

MAJOR = ("USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "CNY", "INR", "MXN")
# Decimal places of money that does not have two.
PLACES = dict.fromkeys(("CLP", "ISK", "JPY", "KRW", "PYG", "UGX", "VND", "XAF", "XOF", "XPF"), 0)
PLACES |= dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3)

Amount: TypeAlias = Annotated[float, Meta(gt=0, le=1e15)]
Dated: TypeAlias = tuple[Decimal, dt.date]


class Rate(TypedDict):
    """What one unit of the base buys of `currency`, as published on `date`."""

    currency: str
    rate: str
    date: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrencyVendor:
    """A vendor's functions and what its rates are called ("reference rate").

    `pair` gives the rate of two different codes, on a date or the latest; `rates` those of a base
    by code, for the codes wanted at least. Both raise NotFound for what is not published.
    """

    name: str
    source: Source
    kind: str
    note: str
    pair: Callable[[ToolContext, str, str, dt.date | None], Awaitable[Dated | None]]
    rates: Callable[[ToolContext, str, Sequence[str]], Awaitable[Mapping[str, Dated | None]]]


def rate(value: object) -> Decimal | None:
    """Return a positive rate, or None."""
    found = number(value)
    return Decimal(str(found)) if found and found > 0 else None


def no_rate(asked: str) -> NotFound:
    """Say that nothing is published for what was `asked`."""
    return NotFound(
        f"No rate is published for {asked}. Check the three-letter currency codes and the date."
    )


def currency_tools(module: str, vendor: CurrencyVendor) -> tuple[Tool, Tool]:
    """Return the currency tools of the connector in `module`, to be bound to names there."""

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
        day = calendar_date(date, "date") if date else None
        if day and day > today:
            raise InvalidInput(f"There are no rates for the future: today is {today}.")
        found: Dated | None = (Decimal(1), day or today)
        if base != quote:
            found = await vendor.pair(ctx, base, quote, day)
        if found is None:
            raise VendorUnavailable(f"{vendor.name} sent no rate. Try again later.")
        return _conversion(vendor, base, quote, Decimal(str(amount)).normalize(), found, day)

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
        return _listing(vendor, base, wanted, await vendor.rates(ctx, base, wanted))

    slug = module.rpartition(".")[2]
    return (
        replace(get_exchange_rate_for_currency_pair, connector=slug),
        replace(get_exchange_rates_for_currency, connector=slug),
    )


def _code(value: str, field: str) -> str:
    code = value.strip().upper()
    if not re.fullmatch("[A-Z]{3}", code):
        raise InvalidInput(f"{field} must be a three-letter ISO 4217 code such as USD or EUR.")
    return code


def _money(value: Decimal, currency: str) -> str:
    """Round to the currency's smallest unit; less than one unit keeps four digits."""
    kept = round(value, PLACES.get(currency, 2)) if value >= 1 else Decimal(f"{value:.4g}")
    return f"{kept:f}"


def _conversion(
    vendor: CurrencyVendor, base: str, quote: str, given: Decimal, found: Dated, day: dt.date | None
) -> ToolResult:
    rate, published = found
    converted = f"{rate:f}" if given == 1 else _money(given * rate, quote)
    gap = ""
    if day and published != day:
        gap = f" No rate was published on {day}; this is the nearest there is."
    return ToolResult(
        response_type="currency_conversion",
        data={
            "from_currency": base,
            "to_currency": quote,
            "amount": f"{given:f}",
            "converted_amount": converted,
            "rate": f"{rate:f}",
            "rate_date": published.isoformat(),
            "note": vendor.note,
        },
        summary=f"{given:,f} {base} is {Decimal(converted):,f} {quote} at the {vendor.kind} "
        f"of {spoken_date(published)}.{gap}",
        sources=(vendor.source,),
    )


def _listing(
    vendor: CurrencyVendor, base: str, wanted: list[str], found: Mapping[str, Dated | None]
) -> ToolResult:
    rates = [
        Rate(currency=code, rate=f"{dated[0]:f}", date=dated[1].isoformat())
        for code in wanted
        if (dated := found.get(code))
    ]
    missing = [code for code in wanted if not found.get(code)]
    told = ", ".join(f"{item['rate']} {item['currency']}" for item in rates[:4])
    summary = f"No exchange rates are published for {base} against those currencies."
    if rates:
        newest = max(dt.date.fromisoformat(item["date"]) for item in rates)
        summary = f"1 {base} is {told}, at the {vendor.kind}s of {spoken_date(newest)}."
    return ToolResult(
        response_type="exchange_rates",
        data={"base": base, "rates": rates, "no_rate_for": missing},
        summary=summary,
        sources=(vendor.source,),
    )
