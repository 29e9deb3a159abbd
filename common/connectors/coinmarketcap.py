"""CoinMarketCap: prices and rankings of cryptocurrencies.

https://coinmarketcap.com/api/documentation/v3/

Version 3 is used (version 2 is deprecated since 2026, its shapes are still read). Quirks seen in
November 2026:
- `data` and `quote` are lists in v3, objects in v2; the order is not that of the request.
- A ticker is not unique: the listing with the best rank is the coin that is meant.
- `error_code` is 0 or "0", and may report a failure with status 200.
- Tiny coins cost 1e-9; market value and percentages may be null.
- A price history is a map by coin id whose `quote` is an object in v3 as well. The free plan has a
  month of hours and a year of days; a hundred points cost a credit.
"""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

from msgspec import Meta

from common.egress import Quota
from common.errors import InvalidInput, RateLimited, VendorRejected, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import (
    fitting,
    instant,
    integer,
    number,
    record,
    records,
    spoken_date,
    text,
)

CONNECTOR = Connector(
    name="CoinMarketCap",
    category="finance",
    description="Prices, changes and market values of cryptocurrencies, and the largest coins.",
    examples=(
        "What is the price of Bitcoin?",
        "Show the price history of Ethereum for 30 days.",
        "How much is 2.5 ETH in euros?",
        "Show me the ten largest cryptocurrencies.",
        "Which coins gained the most today?",
    ),
    keywords=words(
        "crypto, cryptocurrency, cryptocurrencies, coin, coins, token, bitcoin, btc, "
        "ethereum, eth, solana, dogecoin, doge, xrp, cardano, litecoin, stablecoin, altcoin, "
        "blockchain, market cap, coinmarketcap, polkadot, shiba, tether, usdt, usdc, bnb, "
        "ripple, sol, ada, memecoin, defi, gainers, losers, bitcoins, satoshi, mining, "
        "wallet, ether, litecoin to, ltc, usd, crypto list, top crypto, top coins, trending, "
        "market value, volume, price of, fiat, dominance, hodl, altcoins, avalanche, "
        "chainlink, monero, crypto movers, movers, pump, pumping, crash, crashed, all-time "
        "high, btc price, eth price, price btc, up or, coin price, stablecoins, nft, coins "
        "are, crypto market, worth of"
    ),
    hosts=("pro-api.coinmarketcap.com",),
    auth="key",
    secrets=("COINMARKETCAP_API_KEY",),
    per_second=0.5,
    quota=Quota(30, seconds=60),
    attribution="CoinMarketCap, with a link to the coin",
    licence="By plan; prices are indicative",
)

API = "https://pro-api.coinmarketcap.com"
MINTED = 500  # from this rank on, a coin's name is whatever somebody chose to call theirs
SITE = "https://coinmarketcap.com"

Count: TypeAlias = Annotated[int, Meta(ge=1, le=20)]
Amount: TypeAlias = Annotated[float, Meta(gt=0, le=1e15)]
Days: TypeAlias = Annotated[int, Meta(ge=1, le=365)]
Order: TypeAlias = Literal["market_cap", "gainers_24h", "losers_24h", "volume_24h"]
SORTS: dict[Order, tuple[str, str]] = {
    "market_cap": ("market_cap", "desc"),
    "volume_24h": ("volume_24h", "desc"),
    "gainers_24h": ("percent_change_24h", "desc"),
    "losers_24h": ("percent_change_24h", "asc"),
}
# How far apart a history's points stay, by how many days ago they are: enough for a chart of each
# range, and few enough for a model to read.
SPACING = ((1, dt.timedelta(hours=1)), (7, dt.timedelta(hours=6)), (31, dt.timedelta(days=1)))
SPACING_BEFORE = dt.timedelta(days=14)
# Without a floor the day's winners are coins nobody trades.
FLOOR_OF_MOVERS = 10_000_000


class Coin(TypedDict):
    """A coin's market in `currency`; `price` is exact text, percentages are of the price."""

    id: int | None
    name: str
    symbol: str
    rank: int | None
    currency: str
    price: str | None
    change_1h_percent: float | None
    change_24h_percent: float | None
    change_7d_percent: float | None
    market_cap: int | None
    volume_24h: int | None
    as_of: str
    url: str


class Bar(TypedDict):
    """What a coin cost at a moment in UTC, as exact text."""

    start: str
    close: str


async def _get(ctx: ToolContext, path: str, **params: str | int | None) -> list[dict[str, Any]]:
    """Return the rows of `data`, none where nothing is known by that name."""
    headers = {"X-CMC_PRO_API_KEY": ctx.secret("COINMARKETCAP_API_KEY")}
    reply = await ctx.http.get(f"{API}{path}", params=params, headers=headers, expect=(400,))
    body = record(reply.json())
    code = integer(record(body.get("status")).get("error_code")) or 0
    if reply.status == 400 or code == 400:
        return []
    if 1008 <= code <= 1011:
        raise RateLimited("CoinMarketCap's limit is used up. Try again in a minute.")
    if code:
        raise VendorRejected("CoinMarketCap refused our key or plan. Check its key.")
    data = body.get("data")
    if not isinstance(data, (list, dict)):
        raise VendorUnavailable("CoinMarketCap sent no prices. Try again later.")
    rows = data if isinstance(data, list) else list(data.values())
    return records([row for item in rows for row in (item if isinstance(item, list) else [item])])


def _coin(row: dict[str, Any], currency: str) -> Coin:
    quote = _quote(row, currency)
    price = number(quote.get("price"))
    slug = text(row.get("slug"))
    return Coin(
        id=integer(row.get("id")),
        name=text(row.get("name")) or text(row.get("symbol")),
        symbol=text(row.get("symbol")) or text(row.get("name")),
        rank=integer(row.get("cmc_rank")),
        currency=currency,
        price=None if price is None else f"{_rounded(price):f}",
        change_1h_percent=_percent(quote.get("percent_change_1h")),
        change_24h_percent=_percent(quote.get("percent_change_24h")),
        change_7d_percent=_percent(quote.get("percent_change_7d")),
        market_cap=integer(quote.get("market_cap")),
        volume_24h=integer(quote.get("volume_24h")),
        as_of=text(quote.get("last_updated")),
        url=f"{SITE}/currencies/{slug}/" if re.fullmatch(r"[\w-]+", slug) else f"{SITE}/",
    )


def _quote(row: dict[str, Any], currency: str) -> dict[str, Any]:
    quotes = row.get("quote")
    quote = record(record(quotes).get(currency))
    for item in records(quotes):
        if text(item.get("symbol")).upper() == currency:
            quote = item
    return quote


async def _course(ctx: ToolContext, coin: Coin, interval: str, count: int) -> list[Bar]:
    """Return the coin's last `count` prices, an `interval` apart, the oldest first."""
    rows = await _get(
        ctx,
        "/v3/cryptocurrency/quotes/historical",
        id=coin["id"],
        convert=coin["currency"],
        interval=interval,
        count=count,
        aux="price",
    )
    points = [point for row in rows for point in records(row.get("quotes"))]
    bars = []
    for point in points:
        price = number(_quote(point, coin["currency"]).get("price"))
        moment = instant(text(point.get("timestamp")))
        if price is not None and moment:
            at = moment.astimezone(dt.UTC) if moment.tzinfo else moment
            bars.append(Bar(start=f"{at:%Y-%m-%dT%H:%MZ}", close=f"{_rounded(price):f}"))
    return sorted(bars, key=lambda bar: bar["start"])


def _spaced(bars: list[Bar], now: dt.datetime) -> list[Bar]:
    """Leave out what lies closer together than its age asks for; the newest and the oldest stay."""
    kept: list[Bar] = []
    last = None
    for bar in reversed(bars):
        moment = dt.datetime.fromisoformat(bar["start"])
        age = now - moment
        apart = next((gap for days, gap in SPACING if age.days < days), SPACING_BEFORE)
        # Vendors' hours are not exactly hours.
        if last is None or last - moment >= apart * 0.9:
            kept.append(bar)
            last = moment
    return (kept if kept[-1] is bars[0] else [*kept, bars[0]])[::-1]


def _percent(value: object) -> float | None:
    found = number(value)
    return None if found is None else round(found, 2)


def _rounded(price: float | Decimal) -> Decimal:
    """Keep cents of what costs a unit or more, five digits of what costs less."""
    exact = Decimal(str(price))
    return round(exact, 2) if abs(exact) >= 1 else Decimal(f"{exact:.5g}")


def _currency(value: str) -> str:
    code = value.strip().upper()
    if not re.fullmatch(r"[A-Z0-9]{2,10}", code):
        raise InvalidInput("currency must be a code such as USD, EUR or BTC.")
    return code


async def _find(ctx: ToolContext, asked: str, currency: str) -> Coin | None:
    """Return the coin of that ticker or name with a price, the best ranked one."""
    word = asked.strip().lstrip("$")
    if not re.fullmatch(r"[\w .\-]{1,60}", word):
        raise InvalidInput("symbol must be one coin's ticker or name, such as BTC or Bitcoin.")
    slug = {"slug": re.sub(r"[ .]+", "-", word.lower())}
    ways = [{"symbol": word.upper()}, slug] if word.isalnum() else [slug]
    for way in ways if len(word) <= 5 or word.isupper() else reversed(ways):
        rows = await _get(ctx, "/v3/cryptocurrency/quotes/latest", convert=currency, **way)
        coins = [coin for row in rows if (coin := _coin(row, currency))["price"] and coin["name"]]
        if coins:
            return min(coins, key=lambda coin: coin["rank"] or 1_000_000)
    return None


def _result(kind: str, data: Any, summary: str, *coins: Coin) -> ToolResult:
    named = [Source(f"{coin['name']} on CoinMarketCap", coin["url"]) for coin in coins[:3]]
    return ToolResult(
        response_type=kind,
        data=data,
        summary=summary,
        sources=tuple(named) or (Source("CoinMarketCap", f"{SITE}/"),),
        untrusted=any((coin["rank"] or MINTED) >= MINTED for coin in coins),
    )


def _unknown(asked: str) -> ToolResult:
    return _result(
        "crypto_price",
        {"asked": asked, "coin": None},
        f"CoinMarketCap knows no coin {asked}. Try its ticker, such as BTC.",
    )


def _moved(coin: Coin) -> str:
    percent = coin["change_24h_percent"]
    if percent is None:
        return ""
    way = "up" if percent > 0 else "down" if percent < 0 else "unchanged,"
    return f", {way} {abs(percent):.2f}% in 24 hours"


def _price(coin: Coin) -> str:
    return f"{Decimal(coin['price'] or 0):,f} {coin['currency']}"


@tool(progress="Checking the crypto price…", cache_s=60)
async def check_crypto_price_at_coinmarketcap(
    ctx: ToolContext, *, symbol: str, currency: str = "USD"
) -> ToolResult:
    """Tell the latest price of a cryptocurrency, its change and its market value.

    Args:
        symbol: Ticker or name of the coin, such as BTC or Bitcoin.
        currency: Code of the money the price is in, such as USD or EUR.
    """
    coin = await _find(ctx, symbol, _currency(currency))
    if coin is None:
        return _unknown(symbol)
    moment = instant(coin["as_of"])
    when = f", as of {spoken_date(moment.date())} {moment:%H:%M} UTC" if moment else ""
    return _result(
        "crypto_price",
        {"coin": coin},
        f"{coin['name']} ({coin['symbol']}) is at {_price(coin)}{_moved(coin)}{when}.",
        coin,
    )


@tool(progress="Loading the price history…", cache_s=300, timeout_s=20)
async def get_crypto_history_at_coinmarketcap(
    ctx: ToolContext, *, symbol: str, days: Days = 30, currency: str = "USD"
) -> ToolResult:
    """Give the price history of a cryptocurrency for a chart, with its lowest and highest price.

    Args:
        symbol: Ticker or name of the coin, such as BTC or Bitcoin.
        days: How many days back, 1 to 365.
        currency: Code of the money prices are in, such as USD or EUR.
    """
    coin = await _find(ctx, symbol, _currency(currency))
    if coin is None or coin["id"] is None:
        return _unknown(symbol)
    hours = await _course(ctx, coin, "1h", min(days, 7) * 24)
    before = await _course(ctx, coin, "1d", days) if days > 7 else []
    bars = [bar for bar in before if not hours or bar["start"] < hours[0]["start"]] + hours
    if len(bars) < 2:
        return _result(
            "crypto_history",
            {"symbol": coin["symbol"], "currency": coin["currency"], "bars": []},
            f"CoinMarketCap has no price history of {coin['name']} for that time.",
            coin,
        )
    prices = [Decimal(bar["close"]) for bar in bars]
    since = spoken_date(dt.datetime.fromisoformat(bars[0]["start"]).date())
    return _result(
        "crypto_history",
        {
            "name": coin["name"],
            "symbol": coin["symbol"],
            "currency": coin["currency"],
            "bars": _spaced(bars, ctx.clock()),
        },
        f"{coin['name']} ({coin['symbol']}) went from {prices[0]:,f} to {prices[-1]:,f} "
        f"{coin['currency']}{_rise(prices)} since {since}; "
        f"lowest {min(prices):,f}, highest {max(prices):,f}.",
        coin,
    )


def _rise(prices: list[Decimal]) -> str:
    return f" ({(prices[-1] / prices[0] - 1) * 100:+.1f}%)" if prices[0] else ""


@tool(progress="Converting the coins…", cache_s=60)
async def convert_crypto_at_coinmarketcap(
    ctx: ToolContext, *, symbol: str, amount: Amount, currency: str = "USD"
) -> ToolResult:
    """Tell what an amount of a cryptocurrency is worth in money or another coin.

    Args:
        symbol: Ticker or name of the coin, such as ETH or Ethereum.
        amount: How much of the coin.
        currency: Code of what it is converted to, such as USD, EUR or BTC.
    """
    coin = await _find(ctx, symbol, _currency(currency))
    if coin is None:
        return _unknown(symbol)
    given = Decimal(str(amount)).normalize()
    worth = _rounded(given * Decimal(coin["price"] or 0))
    return _result(
        "crypto_conversion",
        {"amount": f"{given:f}", "worth": f"{worth:f}", "coin": coin},
        f"{given:,f} {coin['symbol']} is {worth:,f} {coin['currency']}, "
        f"at {_price(coin)} for one {coin['name']}.",
        coin,
    )


@tool(progress="Loading the top coins…", cache_s=300)
async def list_top_cryptos_at_coinmarketcap(
    ctx: ToolContext, *, order: Order = "market_cap", limit: Count = 10, currency: str = "USD"
) -> ToolResult:
    """List cryptocurrencies: the largest, the most traded, or the day's winners and losers.

    Args:
        order: What they are ordered by.
        limit: How many, 1 to 20.
        currency: Code of the money prices are in, such as USD.
    """
    code = _currency(currency)
    sort, way = SORTS[order]
    floor = FLOOR_OF_MOVERS if sort == "percent_change_24h" else None
    rows = await _get(
        ctx,
        "/v3/cryptocurrency/listings/latest",
        convert=code,
        sort=sort,
        sort_dir=way,
        limit=limit,
        volume_24h_min=floor,
    )
    coins = [coin for row in rows if (coin := _coin(row, code))["name"] and coin["price"]][:limit]
    told = "; ".join(f"{coin['name']} {_price(coin)}{_moved(coin)}" for coin in coins[:4])
    named = order.replace("_", " ")
    return _result(
        "crypto_list",
        {"order": order, "currency": code, "coins": fitting(coins)},
        f"Coins by {named}: {told}." if coins else f"CoinMarketCap has no coins in {code}.",
        *coins,
    )
