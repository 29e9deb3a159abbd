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
from collections.abc import Sequence
from typing import Any

from common.tools import Connector, Source, ToolContext, words
from common.tools.currency import CurrencyVendor, Dated, currency_tools, no_rate, rate
from common.tools.reading import record, records, text

CONNECTOR = Connector(
    name="Frankfurter",
    category="finance",
    description="Currency conversion at central banks' reference rates, today or on a past date.",
    examples=(
        "How much is 250 US dollars in euros?",
        "What was the pound worth in yen on 3 March 2025?",
        "Show me today's exchange rates for the Swiss franc.",
        "How much is 250 dollars in euros?",
    ),
    keywords=words(
        "currency, exchange, rate, rates, convert, conversion, money, dollar, dollars, euro, "
        "euros, pound, pounds, sterling, yen, franc, rupee, rupees, peso, yuan, forex, usd, "
        "eur, gbp, jpy, chf, cad, aud, krone, kroner, krona, zloty, shekel, lira, won, rand, "
        "forint, real, cents, quid, bucks, worth, stronger, weaker, fx, cash, abroad, come "
        "to, paid in, in dollars, in euros, in pounds, inr, sgd, francs, exchange money, "
        "travel money, buy euros, how many, exchange rate, conversion rate, strong, strength, "
        "against the, to dollars, to euros, to pounds, into dollars, into euros, into pounds, "
        "into yen, swap, changed into, pesos, rubles, renminbi, kronor, ringgit, in usd, in "
        "eur, in gbp, usd to, eur to, gbp to, to inr, to usd, to eur, to gbp, to jpy, buck, "
        "grand"
    ),
    hosts=("api.frankfurter.dev",),
    capability="currency",
    rank=90,
    attribution="Rates: Frankfurter, from central banks",
    licence="Free use; reference rates, not tradable prices",
)

API = "https://api.frankfurter.dev/v2"
SOURCE = Source("Frankfurter: central banks' reference rates", "https://frankfurter.dev/")


async def _get(ctx: ToolContext, path: str, asked: str, **params: str) -> Any:
    """Return the JSON of a call; NotFound, naming what was `asked`, where there is no such rate."""
    reply = await ctx.http.get(f"{API}{path}", params=params, expect=(404, 422))
    if reply.status >= 400:
        raise no_rate(asked)
    return reply.json()


def _dated(row: dict[str, Any]) -> Dated | None:
    value = rate(row.get("rate"))
    try:
        return None if value is None else (value, dt.date.fromisoformat(text(row.get("date"))))
    except ValueError:
        return None


async def _pair(ctx: ToolContext, base: str, quote: str, date: dt.date | None) -> Dated | None:
    params = {"date": date.isoformat()} if date else {}
    asked = f"{base} to {quote}" + (f" on {date}" if date else "")
    return _dated(record(await _get(ctx, f"/rate/{base}/{quote}", asked, **params)))


async def _rates(ctx: ToolContext, base: str, wanted: Sequence[str]) -> dict[str, Dated | None]:
    body = await _get(ctx, "/rates", base, base=base, quotes=",".join(wanted))
    return {text(row.get("quote")): _dated(row) for row in records(body)}


get_exchange_rate_for_currency_pair, get_exchange_rates_for_currency = currency_tools(
    __name__,
    CurrencyVendor(
        name="Frankfurter",
        source=SOURCE,
        kind="reference rate",
        note="Central banks' reference rate, not a price to trade at.",
        pair=_pair,
        rates=_rates,
    ),
)
