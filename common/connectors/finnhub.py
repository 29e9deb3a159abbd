"""Finnhub: stock prices, filed financials, company news and ticker search.

https://finnhub.io/docs/api

Free keys (60 calls a minute) cover companies listed in the US. Quirks seen in November 2026:
- An unknown symbol is a 200 with zeros (`t` is 0) for a price, `{}` for a profile, [] for news.
- A price has no currency: it is the profile's.
- Filings run to megabytes: the period is always narrowed. Concepts come bare, with `us-gaap_`,
  `us-gaap:` or a company's own prefix; a value may be "N/A" or null.
- Quarterly cash flow, often income too, is the year to date, and there is no fourth quarter.
- 403 means the plan, not the key. 429 has no Retry-After: the next minute.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

from msgspec import Meta

from common.egress import Quota
from common.errors import InvalidInput, OdaiError, VendorRejected, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import (
    from_unix,
    integer,
    number,
    plain,
    record,
    records,
    shorten,
    spoken_date,
    text,
)

CONNECTOR = Connector(
    name="Finnhub",
    category="finance",
    description="Prices, yearly and quarterly results and news of companies listed in the US.",
    examples=(
        "What is Apple's stock price?",
        "Show me Microsoft's revenue and profit for the last three years.",
        "What's the latest news about NVDA?",
        "What is the ticker symbol of Costco?",
    ),
    keywords=words(
        "stock, stocks, share, shares, price, quote, ticker, symbol, company, revenue, "
        "profit, earnings, income, financials, filing, quarterly, annual, eps, nasdaq, nyse, "
        "market, invest, news, trading, traded, closed, shareholder, sales figures, balance "
        "sheet, cash flow, statement, loss, gross, dividend, valuation, worth, wall street, "
        "dow, stock exchange, listed, quarter, quarters, results, costs, margin, doing, "
        "performing, performance, up today, down today, per share, earn, earned, corporation, "
        "shares outstanding, index, ceo, trades, trade, volume, 52-week, etf, fund, analyst, "
        "stock price, trading at, shares of, crash, crashed, tank, tanked, dip, surged, "
        "plunge, mooning, soar, soared, gains, pre-market, after hours, close at, opened, "
        "ipo, guidance, profitable, beat estimates, net worth, debt, make money, made money, "
        "losing money, shares close, financials for, symbol does, stock of, go up, going up, "
        "went up, go down, going down, went down, value of, shares in, per cent, stock today"
    ),
    hosts=("finnhub.io",),
    auth="key",
    secrets=("FINNHUB_API_KEY",),
    capability="stock_prices",
    rank=10,
    per_second=10,
    quota=Quota(60, seconds=60),
    attribution="Market data by Finnhub",
    licence="Free keys are for personal use; prices may be delayed",
)

API = "https://finnhub.io/api/v1"
SOURCE = Source("Finnhub", "https://finnhub.io/")
# What is shown of a filing: section and concepts, the first that is filed wins.
FIGURES = {
    "revenue": (
        "ic",
        ("Revenues", "RevenueFromContractWithCustomerExcludingAssessedTax", "SalesRevenueNet"),
    ),
    "net_income": ("ic", ("NetIncomeLoss", "ProfitLoss")),
    "diluted_earnings_per_share": ("ic", ("EarningsPerShareDiluted",)),
    "assets": ("bs", ("Assets",)),
    "liabilities": ("bs", ("Liabilities",)),
    "equity": ("bs", ("StockholdersEquity",)),
    "cash": ("bs", ("CashAndCashEquivalentsAtCarryingValue",)),
    "operating_cash_flow": ("cf", ("NetCashProvidedByUsedInOperatingActivities",)),
}

Years: TypeAlias = Annotated[int, Meta(ge=1, le=6)]
Quarters: TypeAlias = Annotated[int, Meta(ge=1, le=8)]
NewsDays: TypeAlias = Annotated[int, Meta(ge=1, le=60)]


class Report(TypedDict):
    """Figures of one filing, in whole units of `currency`."""

    fiscal_year: int | None
    fiscal_quarter: int | None
    form: str
    period_start: str
    period_end: str
    filed: str
    currency: str
    figures: dict[str, float | None]


async def _get(ctx: ToolContext, path: str, **params: str) -> Any:
    # The key goes into a header: a query ends up in logs.
    headers = {"X-Finnhub-Token": ctx.secret("FINNHUB_API_KEY")}
    try:
        return await ctx.http.get_json(f"{API}{path}", params=params, headers=headers)
    except VendorRejected as err:
        if err.vendor_status != 403:
            raise
        raise VendorRejected(
            "The Finnhub plan does not include this. Free keys cover US-listed symbols, such as "
            "AAPL, without a suffix.",
            vendor_status=403,
        ) from err


def _symbol(value: str) -> str:
    symbol = value.strip().lstrip("$").upper()
    if not re.fullmatch(r"[A-Z0-9][A-Z0-9.\-]{0,14}", symbol):
        raise InvalidInput(
            "symbol must be a ticker such as AAPL. Find it with search_stock_symbol_at_finnhub."
        )
    return symbol


async def _matches(ctx: ToolContext, query: str) -> list[dict[str, str]]:
    """Return listings found, those of common stock in the US first."""
    body = record(await _get(ctx, "/search", q=query))
    rows = [
        {"symbol": symbol, "name": text(row.get("description")), "type": text(row.get("type"))}
        for row in records(body.get("result"))
        if (symbol := text(row.get("symbol")))
    ]
    rows.sort(key=lambda row: ("." in row["symbol"], row["type"] != "Common Stock"))
    return rows[:8]


def _result(kind: str, data: Any, summary: str, *, untrusted: bool = False) -> ToolResult:
    return ToolResult(
        response_type=kind, data=data, summary=summary, sources=(SOURCE,), untrusted=untrusted
    )


def _choices(query: str, rows: list[dict[str, str]]) -> ToolResult:
    told = "; ".join(f"{row['name'] or 'unnamed'} is {row['symbol']}" for row in rows[:3])
    summary = f"Matches for {query}: {told}." if rows else f"Finnhub knows no company {query}."
    return _result("symbol_choices", {"asked": query, "symbols": rows}, summary)


@tool(progress="Getting the latest price…", cache_s=15)
async def get_stock_price_at_finnhub(ctx: ToolContext, *, symbol: str) -> ToolResult:
    """Tell the latest price of a US-listed stock. An unknown symbol comes back as choices.

    Args:
        symbol: Ticker symbol, such as AAPL.
    """
    ticker = _symbol(symbol)
    quote = record(await _get(ctx, "/quote", symbol=ticker))
    if "c" not in quote:
        raise VendorUnavailable("Finnhub sent no price. Try again later.")
    price, traded = number(quote["c"]), from_unix(quote.get("t"))
    if not price or traded is None:
        return _choices(ticker, await _matches(ctx, ticker))
    try:
        profile = record(await _get(ctx, "/stock/profile2", symbol=ticker))
    except OdaiError:
        profile = {}  # a price without the company's name is still an answer
    name, currency = text(profile.get("name")), _traded_in(profile)
    shown = f"{price:,.{2 if price >= 1 else 4}f} {currency}".rstrip()
    percent = number(quote.get("dp"))
    moved = ""
    if percent is not None:
        way = "up" if percent > 0 else "down" if percent < 0 else "unchanged,"
        moved = f", {way} {abs(percent):.2f}% on the day"
    return _result(
        "stock_price",
        {
            "symbol": ticker,
            "name": name,
            "exchange": text(profile.get("exchange")),
            "currency": currency,
            "price": price,
            "change": number(quote.get("d")),
            "change_percent": percent,
            "day_high": number(quote.get("h")),
            "day_low": number(quote.get("l")),
            "day_open": number(quote.get("o")),
            "previous_close": number(quote.get("pc")),
            "as_of": traded.isoformat(),
            "note": "Prices may be delayed.",
        },
        f"{f'{name} ({ticker})' if name else ticker} is at {shown}{moved}, "
        f"as of {spoken_date(traded.date())} {traded:%H:%M} UTC.",
    )


def _traded_in(profile: dict[str, Any]) -> str:
    """Return the price's currency: a foreign company files in its own and trades here in USD."""
    american = re.search(
        r"\b(NASDAQ|NYSE|NEW YORK|AMEX|BATS|CBOE)\b", text(profile.get("exchange")).upper()
    )
    return "USD" if american else text(profile.get("currency"))


@tool(progress="Reading the company's filings…", cache_s=86400)
async def get_annual_financials_at_finnhub(
    ctx: ToolContext, *, symbol: str, years: Years = 3
) -> ToolResult:
    """Give a US company's yearly results as filed: revenue, profit, balance sheet, cash flow.

    Args:
        symbol: Ticker symbol, such as AAPL.
        years: How many years, 1 to 6, newest first.
    """
    return await _financials(ctx, _symbol(symbol), "annual", years, 366 * (years + 1))


@tool(progress="Reading the company's filings…", cache_s=86400)
async def get_quarterly_stock_financials_at_finnhub(
    ctx: ToolContext, *, symbol: str, quarters: Quarters = 4
) -> ToolResult:
    """Give a US company's quarterly results as filed. Flows may be the year to date: see dates.

    Args:
        symbol: Ticker symbol, such as AAPL.
        quarters: How many quarters, 1 to 8, newest first; a fourth quarter is never filed.
    """
    # Three filings a year, and the newest may be four months old.
    return await _financials(ctx, _symbol(symbol), "quarterly", quarters, 125 * (quarters + 2))


async def _financials(
    ctx: ToolContext, symbol: str, freq: Literal["annual", "quarterly"], count: int, days: int
) -> ToolResult:
    since = (ctx.clock().date() - dt.timedelta(days)).isoformat()
    body = record(
        await _get(ctx, "/stock/financials-reported", symbol=symbol, freq=freq, **{"from": since})
    )
    if "data" not in body:
        raise VendorUnavailable("Finnhub sent no filings. Try again later.")
    rows = sorted(records(body["data"]), key=lambda row: text(row.get("endDate")), reverse=True)
    reports = [_report(row, freq == "annual") for row in rows[:count]]
    summary = f"Finnhub has no {freq} filings of {symbol}. It knows US filers only."
    if reports:
        latest = reports[0]
        figures, money = latest["figures"], latest["currency"]
        summary = (
            f"{symbol}, {freq} report for {_period(latest)}: "
            f"revenue {_large(figures['revenue'], money)}, "
            f"net income {_large(figures['net_income'], money)}."
        )
    note = "" if freq == "annual" else "Income and cash flow may be the year to date."
    data = {"symbol": symbol, "frequency": freq, "reports": reports, "note": note}
    return _result("company_financials", data, summary)


def _report(row: dict[str, Any], annual: bool) -> Report:
    sections = record(row.get("report"))
    figures: dict[str, float | None] = {}
    currency = ""
    for name, (section, concepts) in FIGURES.items():
        figures[name], unit = _figure(records(sections.get(section)), concepts)
        currency = currency or unit.partition("/")[0].upper()
    return Report(
        fiscal_year=integer(row.get("year")),
        fiscal_quarter=None if annual else integer(row.get("quarter")),
        form=text(row.get("form")),
        period_start=text(row.get("startDate"))[:10],
        period_end=text(row.get("endDate"))[:10],
        filed=text(row.get("filedDate"))[:10],
        currency=currency,
        figures=figures,
    )


def _figure(rows: list[dict[str, Any]], concepts: tuple[str, ...]) -> tuple[float | None, str]:
    """Return value and unit of the first concept filed; a repeated one is a segment's."""
    for concept in concepts:
        for row in rows:
            bare = re.split("[_:]", text(row.get("concept")))[-1]
            if bare == concept and (value := number(row.get("value"))) is not None:
                return value, text(row.get("unit"))
    return None, ""


def _period(report: Report) -> str:
    days = filter(None, (report["period_start"], report["period_end"]))
    return " to ".join(days) or "an unknown period"


def _large(value: float | None, money: str) -> str:
    if value is None:
        return "unknown"
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if abs(value) >= size:
            return f"{value / size:.2f} {word} {money}".rstrip()
    return f"{value:,.0f} {money}".rstrip()


@tool(progress="Finding company news…", cache_s=600)
async def get_company_news_at_finnhub(
    ctx: ToolContext, *, symbol: str, days: NewsDays = 7
) -> ToolResult:
    """List recent news about a North American company, newest first.

    Args:
        symbol: Ticker symbol, such as AAPL.
        days: How many days back, 1 to 60.
    """
    ticker, today = _symbol(symbol), ctx.clock().date()
    since = {"from": (today - dt.timedelta(days)).isoformat(), "to": today.isoformat()}
    body = await _get(ctx, "/company-news", symbol=ticker, **since)
    if not isinstance(body, list):
        raise VendorUnavailable("Finnhub sent no news. Try again later.")
    rows = sorted(records(body), key=lambda row: number(row.get("datetime")) or 0, reverse=True)
    news = []
    for row in [row for row in rows if plain(row.get("headline"))][:8]:
        published = from_unix(row.get("datetime"))
        news.append(
            {
                "headline": shorten(plain(row.get("headline")), 200),
                "publisher": text(row.get("source")),
                "published_at": published.isoformat() if published else "",
                "summary": shorten(plain(row.get("summary")), 240),
                "url": text(row.get("url")),
            }
        )
    told = "; ".join(
        f"{item['headline']} ({item['publisher'] or 'no source'})" for item in news[:3]
    )
    nothing = f"Finnhub has no news about {ticker} from the last {days} days."
    return _result(
        "company_news",
        {"symbol": ticker, "news": news},
        f"News about {ticker}: {told}." if news else nothing,
        untrusted=True,
    )


@tool(progress="Searching for the ticker…", cache_s=86400)
async def search_stock_symbol_at_finnhub(ctx: ToolContext, *, query: str) -> ToolResult:
    """Find the ticker symbol of a company.

    Args:
        query: Company name, symbol, ISIN or CUSIP.
    """
    if not query.strip():
        raise InvalidInput("query must name a company.")
    return _choices(query.strip(), await _matches(ctx, query.strip()))
