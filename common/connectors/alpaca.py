"""Alpaca: prices of US stocks, and the operator's brokerage account: positions and orders.

https://docs.alpaca.markets/reference/

Paper money unless ALPACA_LIVE is "true"; each kind of key works on its own host only. Quirks seen
in November 2026:
- Money and quantities of the account are text, those of the market numbers; any may be null.
- An unknown symbol is left out of the answer. The free feed is IEX: few trades, stale prices.
- `client_order_id` makes an order once only: the same one again is a 422, and the order is read.
- "accepted" is not filled; "canceled" is only requested. 401 and 403 without a code are the key.
"""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import quote

from msgspec import Meta

from common.errors import InvalidInput, NotFound, VendorRejected, VendorUnavailable
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
    name="Alpaca",
    personal=True,
    category="finance",
    description="Trades US stocks: quotes, price history, account, positions and orders.",
    examples=(
        "What positions do I hold at Alpaca?",
        "How much buying power is in my trading account?",
        "Buy 2 shares of AAPL at a limit of 190 dollars.",
        "Cancel my open order for Tesla.",
        "Show the daily bars of SPY for the last month.",
    ),
    keywords=words(
        "alpaca, trade, trading, buy, sell, order, orders, shares, portfolio, position, "
        "positions, brokerage, account, buying power, equity, limit order, market order, bid, "
        "ask, candles, bars, paper, hold, holdings, held, brokerage account, limit, stop, "
        "stop loss, broker, invested, cash balance, my stocks, my shares, pending order, open "
        "orders, filled, dollars worth, quote, stock, stocks, price, history, chart, daily, "
        "hourly, weekly, own, buy shares, sell shares, purchase, cash, profit, loss, gains, "
        "day trade, long, cover, liquidate, close position, bought, sold, executed, hold "
        "onto, trailing, performing, stock account, my position, trim, dump, cash out, fill, "
        "pnl, invest, get rid, grab shares, at market, gtc, order status, notional, paper "
        "trading, place order, put in"
    ),
    hosts=("paper-api.alpaca.markets", "api.alpaca.markets", "data.alpaca.markets"),
    auth="key",
    secrets=("ALPACA_API_KEY_ID", "ALPACA_API_SECRET_KEY"),
    per_second=3,
    attribution="Market data by Alpaca; no investment advice",
    licence="Exchange data may not be redistributed",
)

DATA = "https://data.alpaca.markets/v2/stocks"
SOURCE = Source("Alpaca", "https://alpaca.markets/")
FIELDS = {
    "position": (
        "symbol",
        "side",
        "qty",
        "avg_entry_price",
        "current_price",
        "market_value",
        "cost_basis",
        "unrealized_pl",
    ),
    "order": (
        "id",
        "symbol",
        "side",
        "type",
        "qty",
        "notional",
        "limit_price",
        "stop_price",
        "time_in_force",
        "status",
        "filled_qty",
        "filled_avg_price",
        "submitted_at",
    ),
    "account": (
        "status",
        "currency",
        "cash",
        "equity",
        "last_equity",
        "buying_power",
        "long_market_value",
        "short_market_value",
    ),
}

Amount: TypeAlias = Annotated[float, Meta(gt=0, le=1e9)]
Count: TypeAlias = Annotated[int, Meta(ge=1, le=20)]
Days: TypeAlias = Annotated[int, Meta(ge=1, le=1825)]
Timeframe: TypeAlias = Literal["15Min", "1Hour", "1Day", "1Week", "1Month"]
Side: TypeAlias = Literal["buy", "sell"]
OrderType: TypeAlias = Literal["market", "limit", "stop", "stop_limit"]
InForce: TypeAlias = Literal["day", "gtc"]
OrderState: TypeAlias = Literal["open", "closed", "all"]


def _live(ctx: ToolContext) -> bool:
    return (ctx.secrets("ALPACA_LIVE") or "").lower() == "true"


def _kind(ctx: ToolContext) -> str:
    return "live" if _live(ctx) else "paper"


def _headers(ctx: ToolContext) -> dict[str, str]:
    return {
        "APCA-API-KEY-ID": ctx.secret("ALPACA_API_KEY_ID"),
        "APCA-API-SECRET-KEY": ctx.secret("ALPACA_API_SECRET_KEY"),
    }


async def _market(ctx: ToolContext, path: str, **params: str | int) -> dict[str, Any]:
    params["feed"] = "iex"
    return record(await ctx.http.get_json(f"{DATA}{path}", params=params, headers=_headers(ctx)))


async def _account(
    ctx: ToolContext, method: str, path: str, expect: tuple[int, ...] = (), **same: Any
) -> tuple[int, Any]:
    """Return status and body of a call to the paper or live account."""
    host = "api" if _live(ctx) else "paper-api"
    reply = await ctx.http.request(
        method,
        f"https://{host}.alpaca.markets/v2{path}",
        headers=_headers(ctx),
        expect=expect,
        **same,
    )
    return reply.status, reply.json() if reply.body else {}


def _symbol(value: str) -> str:
    symbol = value.strip().lstrip("$").upper()
    if not re.fullmatch(r"[A-Z0-9][A-Z0-9.\-/]{0,14}", symbol):
        raise InvalidInput("symbol must be a ticker such as AAPL.")
    return symbol


def _decimal(value: object) -> Decimal | None:
    try:
        found = value if isinstance(value, Decimal) else Decimal(text(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def _money(value: object, currency: str = "USD") -> str:
    found = _decimal(value)
    return "an unknown amount" if found is None else f"{found:,.2f} {currency}"


def _shown(kind: str, row: dict[str, Any]) -> dict[str, str]:
    return {name: text(row.get(name)) for name in FIELDS[kind]}


def _result(kind: str, data: Any, summary: str) -> ToolResult:
    return ToolResult(response_type=kind, data=data, summary=summary, sources=(SOURCE,))


@tool(progress="Getting the latest quote…", cache_s=5)
async def get_stock_quote_at_alpaca(ctx: ToolContext, *, symbol: str) -> ToolResult:
    """Tell the last trade, bid and ask of a US stock, from the IEX exchange.

    Args:
        symbol: Ticker symbol, such as AAPL.
    """
    ticker = _symbol(symbol)
    quotes = await _market(ctx, "/quotes/latest", symbols=ticker)
    trades = await _market(ctx, "/trades/latest", symbols=ticker)
    if "quotes" not in quotes or "trades" not in trades:
        raise VendorUnavailable("Alpaca sent no quote. Try again later.")
    bid_ask, last = (
        record(record(quotes["quotes"]).get(ticker)),
        record(record(trades["trades"]).get(ticker)),
    )
    price, bid, ask = (
        number(value) or None for value in (last.get("p"), bid_ask.get("bp"), bid_ask.get("ap"))
    )
    told = [
        f"{word} {value:,.2f}"
        for word, value in (("last trade", price), ("bid", bid), ("ask", ask))
        if value
    ]
    return _result(
        "stock_quote",
        {
            "symbol": ticker,
            "currency": "USD",
            "last_price": price,
            "last_size": integer(last.get("s")),
            "last_trade_at": text(last.get("t")),
            "bid": bid,
            "ask": ask,
            "quoted_at": text(bid_ask.get("t")),
            "feed": "IEX",
        },
        f"{ticker}: {', '.join(told)} USD on IEX; no investment advice."
        if told
        else f"Alpaca has no quote for {ticker}. Check the symbol.",
    )


def _said_day(row: dict[str, Any]) -> str:
    found = instant(text(row.get("t"))[:19])
    return spoken_date(found.date()) if found else "then"


@tool(progress="Loading the price history…", cache_s=300)
async def get_stock_bars_at_alpaca(
    ctx: ToolContext, *, symbol: str, timeframe: Timeframe = "1Day", days: Days = 30
) -> ToolResult:
    """Give the price history of a US stock: open, high, low, close and volume, newest first.

    Args:
        symbol: Ticker symbol, such as AAPL.
        timeframe: Length of one bar.
        days: How many days back, 1 to 1825. At most 30 bars come back.
    """
    ticker = _symbol(symbol)
    start = (ctx.clock() - dt.timedelta(days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = await _market(
        ctx,
        "/bars",
        symbols=ticker,
        timeframe=timeframe,
        start=start,
        sort="desc",
        limit=1000,
        adjustment="split",
    )
    if "bars" not in body:
        raise VendorUnavailable("Alpaca sent no prices. Try again later.")
    rows = [row for row in records(record(body["bars"]).get(ticker)) if number(row.get("c"))]
    bars = [
        {
            "start": text(row.get("t"))[:16],
            "open": number(row.get("o")),
            "high": number(row.get("h")),
            "low": number(row.get("l")),
            "close": number(row.get("c")),
            "volume": integer(row.get("v")),
        }
        for row in rows[:30]
    ]
    summary = f"Alpaca has no prices of {ticker} for that time."
    if rows:
        newest, oldest = number(rows[0].get("c")) or 0.0, number(rows[-1].get("c")) or 1.0
        summary = (
            f"{ticker} went from {oldest:,.2f} to {newest:,.2f} USD "
            f"({(newest / oldest - 1) * 100:+.1f}%) since {_said_day(rows[-1])} on IEX."
        )
    return _result(
        "stock_bars",
        {"symbol": ticker, "timeframe": timeframe, "currency": "USD", "bars": bars},
        summary,
    )


@tool(progress="Checking the trading account…")
async def get_account_at_alpaca(ctx: ToolContext) -> ToolResult:
    """Tell the brokerage account's value, cash and buying power."""
    _, body = await _account(ctx, "GET", "/account")
    row = record(body)
    equity, before = _decimal(row.get("equity")), _decimal(row.get("last_equity"))
    if not row or ("equity" not in row and "cash" not in row):
        raise VendorUnavailable("Alpaca sent no account. Try again later.")
    money = text(row.get("currency")) or "USD"
    change = None if equity is None or before is None else equity - before
    today = "" if change is None else f" ({change:+,.2f} today)"
    return _result(
        "trading_account",
        {
            **_shown("account", row),
            "change_today": f"{change}" if change is not None else "",
            "account": _kind(ctx),
        },
        f"The {_kind(ctx)} account is worth {_money(equity, money)}{today}, with "
        f"{_money(row.get('cash'), money)} cash and {_money(row.get('buying_power'), money)} "
        "buying power.",
    )


def _holding(row: dict[str, Any]) -> str:
    return f"{text(row.get('qty')) or 'some'} {text(row.get('symbol')) or 'of an unnamed asset'}"


def _size(row: dict[str, Any]) -> Decimal:
    return abs(_decimal(row.get("market_value")) or Decimal(0))


@tool(progress="Loading the positions…")
async def get_positions_at_alpaca(ctx: ToolContext) -> ToolResult:
    """List what the brokerage account holds, the largest position first."""
    _, body = await _account(ctx, "GET", "/positions")
    if not isinstance(body, list):
        raise VendorUnavailable("Alpaca sent no positions. Try again later.")
    rows = sorted(records(body), key=_size, reverse=True)
    told = "; ".join(f"{_holding(row)} worth {_money(row.get('market_value'))}" for row in rows[:4])
    held = f"{len(rows)} position{'s' if len(rows) > 1 else ''}"
    return _result(
        "trading_positions",
        {
            "positions": fitting([_shown("position", row) for row in rows]),
            "total": len(rows),
            "currency": "USD",
            "account": _kind(ctx),
        },
        f"The {_kind(ctx)} account holds {held}: {told}."
        if rows
        else f"The {_kind(ctx)} account holds no positions.",
    )


@tool(progress="Loading the orders…")
async def get_orders_at_alpaca(
    ctx: ToolContext, *, status: OrderState = "open", limit: Count = 10
) -> ToolResult:
    """List the brokerage account's orders, newest first, with the ids that cancel them.

    Args:
        status: Which orders: those still open, those that ended, or all.
        limit: How many, 1 to 20.
    """
    params = {"status": status, "limit": limit, "direction": "desc"}
    _, body = await _account(ctx, "GET", "/orders", params=params)
    if not isinstance(body, list):
        raise VendorUnavailable("Alpaca sent no orders. Try again later.")
    rows = records(body)[:limit]
    told = "; ".join(_say(row) for row in rows[:4])
    which = "" if status == "all" else f"{status} "
    return _result(
        "trading_orders",
        {"orders": fitting([_shown("order", row) for row in rows]), "account": _kind(ctx)},
        f"Orders of the {_kind(ctx)} account: {told}."
        if rows
        else f"The {_kind(ctx)} account has no {which}orders.",
    )


def _say(row: dict[str, Any]) -> str:
    side = text(row.get("side")) or "trade"
    much = text(row.get("qty")) or _money(row.get("notional")) + " of"
    at = f" at {_money(row.get('limit_price'))}" if text(row.get("limit_price")) else ""
    state = text(row.get("status")).replace("_", " ") or "in an unknown state"
    return f"{side} {much} {text(row.get('symbol')) or 'an unnamed asset'}{at}, {state}"


@tool(progress="Sending the order…", asks="Place this order at Alpaca?", risk="money", timeout_s=20)
async def place_order_at_alpaca(
    ctx: ToolContext,
    *,
    symbol: str,
    side: Side,
    quantity: Amount | None = None,
    notional: Amount | None = None,
    order_type: OrderType = "market",
    limit_price: Amount | None = None,
    stop_price: Amount | None = None,
    time_in_force: InForce = "day",
) -> ToolResult:
    """Buy or sell a US stock in the brokerage account. Spends money where the account is live.

    Args:
        symbol: Ticker symbol, such as AAPL.
        side: The direction, buy or sell.
        quantity: Number of shares; null where notional is given.
        notional: US dollars to trade for, market orders only; null where quantity is given.
        order_type: How it is priced.
        limit_price: US dollars a share, for limit and stop_limit.
        stop_price: US dollars a share, for stop and stop_limit.
        time_in_force: day, or gtc until canceled.
    """
    ticker = _symbol(symbol)
    _check(quantity, notional, order_type, limit_price, stop_price)
    sizes = {
        "qty": quantity,
        "notional": notional,
        "limit_price": limit_price,
        "stop_price": stop_price,
    }
    order = {
        "symbol": ticker,
        "side": side,
        "type": order_type,
        "time_in_force": time_in_force,
        **{name: f"{Decimal(str(v)).normalize():f}" for name, v in sizes.items() if v},
    }
    if ctx.idempotency_key:
        order["client_order_id"] = ctx.idempotency_key
    status, body = await _account(ctx, "POST", "/orders", json=order, expect=(403, 422))
    problem = text(record(body).get("message"))
    if status == 422 and "client_order_id" in problem:
        path = "/orders:by_client_order_id"
        params = {"client_order_id": ctx.idempotency_key}
        status, body = await _account(ctx, "GET", path, params=params)
    if status >= 400:
        known = "code" in record(body)
        raise VendorRejected(
            f"Alpaca refused the order{f': {problem[:160]}' if known and problem else ''}."
            + ("" if known else " Check its key, and whether it is for paper or live."),
            vendor_status=status,
        )
    row = record(body)
    if not text(row.get("id")):
        raise VendorUnavailable("Alpaca did not confirm the order. Look at the orders first.")
    return _result(
        "trading_order",
        {"order": _shown("order", row), "account": _kind(ctx)},
        f"Order sent to the {_kind(ctx)} account: {_say(row)}.",
    )


def _check(
    quantity: float | None,
    notional: float | None,
    kind: OrderType,
    limit: float | None,
    stop: float | None,
) -> None:
    if (quantity is None) == (notional is None):
        raise InvalidInput("Give either quantity (shares) or notional (US dollars), not both.")
    if notional and kind != "market":
        raise InvalidInput("notional works with market orders only; give quantity.")
    if ("limit" in kind) != (limit is not None):
        raise InvalidInput("limit_price belongs to limit and stop_limit orders, and only there.")
    if ("stop" in kind) != (stop is not None):
        raise InvalidInput("stop_price belongs to stop and stop_limit orders, and only there.")


@tool(progress="Canceling the order…", asks="Cancel this order at Alpaca?", risk="money")
async def cancel_order_at_alpaca(ctx: ToolContext, *, order_id: str) -> ToolResult:
    """Ask to cancel an open order. It may still be filled before that.

    Args:
        order_id: The id that get_orders_at_alpaca gives.
    """
    if not re.fullmatch(r"[\w-]{8,64}", order_id.strip()):
        raise InvalidInput("order_id must be an id from get_orders_at_alpaca.")
    path = f"/orders/{quote(order_id.strip(), safe='')}"
    status, body = await _account(ctx, "DELETE", path, expect=(404, 422))
    if status == 404:
        raise NotFound("Alpaca has no order of that id. List the orders first.")
    if status == 422:
        raise VendorRejected("That order can no longer be canceled.", vendor_status=422)
    if body:
        raise VendorUnavailable("Alpaca did not confirm the cancellation. Look at the orders.")
    return _result(
        "trading_order_cancelled",
        {"order_id": order_id.strip(), "account": _kind(ctx)},
        f"Cancellation of the order in the {_kind(ctx)} account is requested.",
    )
