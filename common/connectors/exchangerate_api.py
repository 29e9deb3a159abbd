"""ExchangeRate-API: mid-market exchange rates of some 160 currencies, once a day on a free key.

https://www.exchangerate-api.com/docs/overview

Quirks seen in November 2026:
- The key goes into a header: a key in the path ends up in logs.
- `result` tells success, whatever the status; its `error-type` has a hyphen.
- Four decimals: a weak currency's rate is asked the other way round and inverted.
- Past dates need a paid plan; months and days have no leading zeros there.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from common.errors import RateLimited, VendorRejected, VendorUnavailable
from common.tools import Connector, Source, ToolContext, words
from common.tools.currency import CurrencyVendor, Dated, currency_tools, no_rate, rate
from common.tools.reading import from_unix, record, text

CONNECTOR = Connector(
    name="ExchangeRate-API",
    category="finance",
    description="Currency conversion at mid-market rates of some 160 currencies.",
    examples=(
        "Convert 80 dollars to Colombian pesos.",
        "What is the exchange rate from euros to Nigerian naira?",
        "List exchange rates for the dirham.",
    ),
    keywords=words(
        "currency, exchange, rate, rates, convert, conversion, money, dollar, dollars, euro, "
        "euros, dirham, naira, baht, peso, rupee, forex, pounds, yen, yuan, krone, krona, "
        "zloty, shekel, lira, won, rand, forint, ruble, real, franc, cents, quid, bucks, "
        "worth, stronger, weaker, fx, cash, abroad, convert to, come to, paid in, in dollars, "
        "in euros, in pounds, inr, sgd, dinar, francs, kuwaiti, exchange money, travel money, "
        "buy euros, how many, exchange rate, conversion rate, strong, strength, against the, "
        "to dollars, to euros, to pounds, into dollars, into euros, into pounds, into yen, "
        "swap, changed into, rupees, pesos, rubles, renminbi, kronor, ringgit, in usd, in "
        "eur, in gbp, usd to, eur to, gbp to, to inr, to usd, to eur, to gbp, to jpy, buck, "
        "grand"
    ),
    hosts=("v6.exchangerate-api.com",),
    auth="key",
    secrets=("EXCHANGERATE_API_KEY",),
    capability="currency",
    rank=10,
    attribution="Rates by ExchangeRate-API",
    licence="Caching allowed, redistribution not",
)

API = "https://v6.exchangerate-api.com/v6"
SOURCE = Source("Rates by ExchangeRate-API", "https://www.exchangerate-api.com/")
UNKNOWN = ("unsupported-code", "unknown-code", "no-data-available")
TINY = Decimal("0.01")


async def _get(ctx: ToolContext, path: str, asked: str) -> dict[str, Any]:
    """Return the body of a success; the error types become errors of ours."""
    headers = {"Authorization": f"Bearer {ctx.secret('EXCHANGERATE_API_KEY')}"}
    reply = await ctx.http.get(f"{API}{path}", headers=headers, expect=(400, 403, 404))
    body = record(reply.json())
    problem = text(body.get("error-type"))
    if body.get("result") == "success":
        return body
    if problem in UNKNOWN:
        raise no_rate(asked)
    if problem == "quota-reached":
        raise RateLimited("ExchangeRate-API's monthly quota is used up. Try again next month.")
    if problem == "plan-upgrade-required":
        raise VendorRejected("The ExchangeRate-API plan does not include past dates.")
    if problem or reply.status >= 400:
        raise VendorRejected(
            "ExchangeRate-API refused our key or request. Check EXCHANGERATE_API_KEY.",
            vendor_status=reply.status,
        )
    raise VendorUnavailable("ExchangeRate-API sent no rates. Try again later.")


def _published(body: dict[str, Any]) -> dt.date | None:
    moment = from_unix(body.get("time_last_update_unix"))
    return moment.date() if moment else None


async def _pair(ctx: ToolContext, base: str, quote: str, date: dt.date | None) -> Dated | None:
    if date and date < ctx.clock().date():
        path = f"/history/{base}/{date.year}/{date.month}/{date.day}"
        body = await _get(ctx, path, f"{base} to {quote} on {date}")
        past = rate(record(body.get("conversion_rates")).get(quote))
        return (past, date) if past else None
    body = await _get(ctx, f"/pair/{base}/{quote}", f"{base} to {quote}")
    value, day = rate(body.get("conversion_rate")), _published(body)
    if value and value < TINY:
        other = await _get(ctx, f"/pair/{quote}/{base}", f"{base} to {quote}")
        inverse = rate(other.get("conversion_rate"))
        value = Decimal(f"{1 / inverse:.6g}") if inverse else value
    return (value, day) if value and day else None


async def _rates(ctx: ToolContext, base: str, wanted: Sequence[str]) -> dict[str, Dated | None]:
    body = await _get(ctx, f"/latest/{base}", base)
    day, rates = _published(body), record(body.get("conversion_rates"))
    read = {code: rate(rates.get(code)) for code in wanted}
    return {code: (value, day) for code, value in read.items() if value and day}


get_exchange_rate_for_currency_pair, get_exchange_rates_for_currency = currency_tools(
    __name__,
    CurrencyVendor(
        name="ExchangeRate-API",
        source=SOURCE,
        kind="mid-market rate",
        note="Indicative mid-market rate, not a price to trade at.",
        pair=_pair,
        rates=_rates,
    ),
)
