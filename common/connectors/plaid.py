"""Plaid: the user's bank accounts: balances, transactions with sums, recurring charges.

https://plaid.com/docs/api/products/transactions/ https://plaid.com/docs/api/accounts/

Banks are linked, and transactions kept in step, in `common.plaid_items`; here they are only read.
Quirks seen in November 2026:
- A positive amount is money out, a negative one money in. On credit cards and loans the current
  balance is what is owed.
- A pending row is replaced by a posted one with another id. Days are the bank's own, without zone.
- Balances kept by Plaid cost nothing and are hours old; asking the bank costs money each time.
- Names of merchants are written by merchants: they are data, not instructions.
"""

from __future__ import annotations

import datetime as dt
import itertools
import statistics
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

from msgspec import Meta

from common.errors import InvalidInput
from common.tools import Connector, Source, ToolContext, ToolResult, tool
from common.tools.reading import (
    calendar_date,
    fitting,
    number,
    record,
    records,
    shorten,
    spoken_date,
    text,
)

CONNECTOR = Connector(
    name="Plaid",
    category="finance",
    description="Reads balances and transactions of the user's linked bank accounts.",
    examples=(
        "What's my bank balance?",
        "How much did I spend on groceries last month?",
        "Which subscriptions am I paying for?",
        "Show my largest transactions this week.",
    ),
    keywords=(
        "bank",
        "bank account",
        "balance",
        "balances",
        "checking",
        "savings",
        "credit card",
        "transactions",
        "transaction",
        "spending",
        "spend",
        "spent",
        "paid",
        "charge",
        "charges",
        "subscription",
        "subscriptions",
        "recurring",
        "deposit",
        "paycheck",
        "owe",
        "plaid",
        "money",
        "income",
        "salary",
        "wages",
        "rent",
        "bills",
        "bill",
        "purchases",
        "bought",
        "cost me",
        "account balance",
        "overdraft",
        "loan",
        "debt",
        "afford",
        "budget",
        "expenses",
        "expense",
        "withdrawal",
        "refund",
        "paying for",
        "did i",
        "statement",
        "merchant",
        "checking account",
        "savings account",
        "restaurants",
        "groceries",
        "gas",
        "payday",
        "transferred",
        "transfer",
        "bank statement",
        "this month",
        "last month",
        "did spend",
        "much money",
        "biggest",
        "average",
        "card",
        "cards",
        "interest",
        "atm",
        "fees",
        "fee",
        "venmo",
        "paypal",
        "net worth",
    ),
    auth="plaid",
    secrets=("PLAID_CLIENT_ID", "PLAID_SECRET"),
    attribution="Bank data by Plaid",
)

SOURCE = Source("Plaid", "https://my.plaid.com/")
MAX_DAYS = 730
OWED = ("credit", "loan")
# Days between charges, how much a gap may differ, how often that is a year, what it is called.
RHYTHMS = (
    (7, 1, 52, "weekly"), (14, 2, 26, "every two weeks"), (30, 4, 12, "monthly"),
    (91, 8, 4, "quarterly"), (365, 15, 1, "yearly"),
)  # fmt: skip

Limit: TypeAlias = Annotated[int, Meta(ge=1, le=50)]
Kind: TypeAlias = Literal["all", "depository", "credit", "loan", "investment"]
Direction: TypeAlias = Literal["all", "out", "in"]


class Account(TypedDict):
    """An account; amounts are decimal text in `currency`, "" where the bank does not say."""

    id: str
    name: str
    mask: str
    institution: str
    kind: str
    current: str
    available: str
    limit: str
    currency: str


class Transaction(TypedDict):
    """A transaction; `amount` is decimal text, positive for money out."""

    date: str
    merchant: str
    amount: str
    currency: str
    category: str
    account: str
    pending: bool


class Recurring(TypedDict):
    """A charge that comes again and again; `amount` is the usual one, `yearly` what it adds up to.

    `changed` tells that the last amount differs from the one before.
    """

    merchant: str
    amount: str
    last_amount: str
    changed: bool
    currency: str
    rhythm: str
    last: str
    next: str
    times: int
    yearly: str


@tool(progress="Checking your accounts…", timeout_s=30.0)
async def get_accounts_at_plaid(ctx: ToolContext, *, kind: Kind = "all") -> ToolResult:
    """List the user's linked bank accounts with the balances known today, and what they add up to.

    Args:
        kind: depository (checking, savings), credit (cards), loan, investment, or all.
    """
    return _told_accounts(await ctx.banks.accounts(), kind)


@tool(progress="Asking your bank for its balance…", timeout_s=60.0)
async def get_balances_at_plaid(ctx: ToolContext, *, kind: Kind = "all") -> ToolResult:
    """Ask the banks themselves for this minute's balances: slow. Else use get_accounts_at_plaid.

    Args:
        kind: depository (checking, savings), credit (cards), loan, investment, or all.
    """
    return _told_accounts(await ctx.banks.accounts(fresh=True), kind)


@tool(progress="Reading your transactions…", timeout_s=45.0)
async def get_transactions_at_plaid(
    ctx: ToolContext,
    *,
    since: str | None = None,
    until: str | None = None,
    search: str | None = None,
    category: str | None = None,
    account: str | None = None,
    direction: Direction = "all",
    min_amount: float | None = None,
    max_amount: float | None = None,
    limit: Limit = 15,
) -> ToolResult:
    """Find transactions and add them up, by category too: answers "how much did I spend on …".

    Args:
        since: First day, as 2026-11-01; null for 30 days ago.
        until: Last day, as 2026-11-30; null for today.
        search: Words in the merchant's name; null for any.
        category: Such as groceries, restaurant, travel, transportation, rent, income; null for any.
        account: Words in the account's or bank's name, or its last digits; null for any.
        direction: out (spent), in (received) or all.
        min_amount: Smallest amount, without sign; null for any.
        max_amount: Largest amount, without sign; null for any.
        limit: How many to list, 1 to 50; sums are over all of them.
    """
    first, last = _days(ctx, since, until)
    read = await ctx.banks.transactions(first, last)
    names = record(read.get("accounts"))
    found = [
        row
        for row in records(read.get("transactions"))
        if _says(search, row.get("merchant_name"), row.get("name"))
        and _says(category, row.get("category"), row.get("detail"))
        and _says(account, names.get(text(row.get("account_id"))), row.get("institution"))
        and _fits(_amount(row), direction, min_amount, max_amount)
    ]
    spent, received = _sums(found, out=True), _sums(found, out=False)
    by_category = _by_category(found)
    told = _told_sums(spent, received, len(found), first, last)
    return ToolResult(
        response_type="bank_transactions",
        data={
            "since": f"{first}", "until": f"{last}", "total": len(found),
            "spent": spent, "received": received, "by_category": by_category,
            "transactions": fitting([_shown(row, names) for row in found[:limit]], 3600),
            "unread": record(read.get("unread")), "complete": bool(read.get("complete", True)),
        },
        summary=shorten(told + _caveats(read), 480),
        sources=(SOURCE,), untrusted=True,
    )  # fmt: skip


@tool(progress="Looking for charges that repeat…", timeout_s=45.0)
async def find_recurring_charges_at_plaid(
    ctx: ToolContext, *, include_ended: bool = False
) -> ToolResult:
    """Find subscriptions and other charges that repeat, when the next is due and what a year costs.

    Args:
        include_ended: True to show those, too, that seem to have stopped.
    """
    today = ctx.local_now().date()
    read = await ctx.banks.transactions(today - dt.timedelta(days=MAX_DAYS - 1), today)
    found = _recurring(records(read.get("transactions")), today, include_ended=include_ended)
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for charge in found:
        sums[charge["currency"]] += Decimal(charge["yearly"])
    yearly = {currency: _money(amount) for currency, amount in sums.items()}
    shown = "; ".join(
        f"{c['merchant']}, {c['amount']} {c['currency']} {c['rhythm']}" for c in found[:6]
    )
    told = (
        f"{len(found)} charges repeat, {_listed(yearly)} a year: {shown}."
        if found
        else ("I see no charge that repeats.")
    )
    return ToolResult(
        response_type="bank_recurring_charges",
        data={"charges": fitting(found), "total": len(found), "yearly": yearly,
              "unread": record(read.get("unread")), "complete": bool(read.get("complete", True))},
        summary=shorten(told + _caveats(read), 480),
        sources=(SOURCE,), untrusted=True,
    )  # fmt: skip


# --- accounts -----------------------------------------------------------------------------------


def _told_accounts(read: dict[str, Any], kind: Kind) -> ToolResult:
    rows = [_account(row) for row in records(read.get("accounts"))]
    rows = [row for row in rows if kind in ("all", row["kind"])]
    have: dict[str, Decimal] = defaultdict(Decimal)
    owe: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        if row["current"]:
            side = owe if row["kind"] in OWED else have
            side[row["currency"]] += Decimal(row["current"])
    totals = {
        "have": {currency: _money(amount) for currency, amount in have.items()},
        "owe": {currency: _money(amount) for currency, amount in owe.items()},
    }
    said = "; ".join(_say(row) for row in rows[:5])
    sums = [f"You have {_listed(totals['have'])}"] if have else []
    sums += [f"you owe {_listed(totals['owe'])}" if have else f"You owe {_listed(totals['owe'])}"
             ] if owe else []  # fmt: skip
    told = f"{' and '.join(sums)}. {said}." if sums else said or "No account of that kind is linked"
    return ToolResult(
        response_type="bank_accounts",
        data={"accounts": fitting(rows), "total": len(rows), "totals": totals,
              "unread": record(read.get("unread"))},
        summary=shorten(told.rstrip(".") + "." + _caveats(read), 480),
        sources=(SOURCE,),
    )  # fmt: skip


def _account(row: dict[str, Any]) -> Account:
    balances = record(row.get("balances"))
    currency = balances.get("iso_currency_code") or balances.get("unofficial_currency_code")
    return Account(
        id=text(row.get("account_id")), name=shorten(text(row.get("name")), 60) or "Account",
        mask=text(row.get("mask"))[-4:], institution=shorten(text(row.get("institution")), 60),
        kind=text(row.get("type")) or "other", current=_balance(balances.get("current")),
        available=_balance(balances.get("available")), limit=_balance(balances.get("limit")),
        currency=text(currency)[:8],
    )  # fmt: skip


def _balance(value: object) -> str:
    found = number(value)
    return "" if found is None else _money(Decimal(str(found)))


def _say(row: Account) -> str:
    name = f"{row['name']}{' ending ' + row['mask'] if row['mask'] else ''}"
    amount = row["current"] or row["available"]
    if not amount:
        return f"{name}: no balance given"
    return f"{name}: {amount} {row['currency']}{' owed' if row['kind'] in OWED else ''}"


# --- transactions -------------------------------------------------------------------------------


def _days(ctx: ToolContext, since: str | None, until: str | None) -> tuple[dt.date, dt.date]:
    today = ctx.local_now().date()
    last = calendar_date(until, "until") if until else today
    first = calendar_date(since, "since") if since else min(last, today) - dt.timedelta(days=30)
    if first > last:
        raise InvalidInput("since must not be after until.")
    return max(first, today - dt.timedelta(days=MAX_DAYS)), last


def _says(wanted: str | None, *given: object) -> bool:
    """Tell whether every word of `wanted` is somewhere in the texts given."""
    if not wanted:
        return True
    held = " ".join(text(value) for value in given).casefold().replace("_", " ")
    return all(word in held for word in wanted.casefold().replace("_", " ").split())


def _fits(
    amount: Decimal, direction: Direction, smallest: float | None, largest: float | None
) -> bool:
    if direction != "all" and (amount > 0) != (direction == "out"):
        return False
    size = abs(amount)
    return (smallest is None or size >= Decimal(str(abs(smallest)))) and (
        largest is None or size <= Decimal(str(abs(largest)))
    )


def _amount(row: dict[str, Any]) -> Decimal:
    return Decimal(row["amount"])


def _currency(row: dict[str, Any]) -> str:
    return text(row.get("currency"))[:8]


def _merchant(row: dict[str, Any]) -> str:
    return shorten(text(row.get("merchant_name")) or text(row.get("name")), 60) or "Unknown"


def _category(row: dict[str, Any]) -> str:
    return text(row.get("category")).replace("_", " ").lower()


def _shown(row: dict[str, Any], names: dict[str, Any]) -> Transaction:
    return Transaction(
        date=text(row.get("date")), merchant=_merchant(row), amount=_money(_amount(row)),
        currency=_currency(row), category=_category(row),
        account=shorten(text(names.get(text(row.get("account_id")))), 60),
        pending=row.get("pending") is True,
    )  # fmt: skip


def _sums(rows: Iterable[dict[str, Any]], *, out: bool) -> dict[str, str]:
    """Return what went out, or came in, by currency, without sign."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        if (_amount(row) > 0) == out:
            sums[_currency(row)] += abs(_amount(row))
    return {currency: _money(amount) for currency, amount in sums.items()}


def _by_category(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return what was spent by category and currency, the most first, eight at most."""
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in rows:
        if _amount(row) > 0:
            sums[_category(row) or "other", _currency(row)] += _amount(row)
    most = sorted(sums.items(), key=lambda pair: -pair[1])[:8]
    return [
        {"category": category, "currency": currency, "spent": _money(amount)}
        for (category, currency), amount in most
    ]


def _told_sums(
    spent: dict[str, str], received: dict[str, str], total: int, first: dt.date, last: dt.date
) -> str:
    when = f"from {spoken_date(first)} to {spoken_date(last)}"
    if not total:
        return f"I found no such transaction {when}."
    parts = [f"{_listed(spent)} went out"] if spent else []
    parts += [f"{_listed(received)} came in"] if received else []
    return f"{total} transaction{'s' * (total > 1)} {when}: {' and '.join(parts)}."


# --- what repeats -------------------------------------------------------------------------------


def _recurring(
    rows: list[dict[str, Any]], today: dt.date, *, include_ended: bool
) -> list[Recurring]:
    """Return the charges that repeat, the dearest year first."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if _amount(row) > 0 and row.get("pending") is not True:
            groups[_merchant(row).casefold(), _currency(row)].append(row)
    charges = [_charge(sorted(group, key=lambda row: row["date"])) for group in groups.values()]
    found = [charge for charge in charges if charge]
    if not include_ended:
        grace = dt.timedelta(days=10)
        found = [c for c in found if dt.date.fromisoformat(c["next"]) + grace >= today]
    return sorted(found, key=lambda charge: -Decimal(charge["yearly"]))


def _charge(group: list[dict[str, Any]]) -> Recurring | None:
    """Return the charge that a merchant's rows are, None where neither days nor sums repeat."""
    days = [dt.date.fromisoformat(row["date"]) for row in group]
    gaps = [(b - a).days for a, b in itertools.pairwise(days)]
    if not gaps:
        return None
    usual = round(statistics.median(gaps))
    rhythm = next((r for r in RHYTHMS if abs(usual - r[0]) <= r[1]), None)
    # Two of something prove nothing, but for what comes once a year.
    if rhythm is None or len(group) < (2 if rhythm[0] == 365 else 3):
        return None
    if sum(abs(gap - rhythm[0]) <= rhythm[1] for gap in gaps) < 0.75 * len(gaps):
        return None
    amounts = [_amount(row) for row in group]
    amount = statistics.median(amounts)
    if any(abs(each - amount) > amount * Decimal("0.35") for each in amounts):
        return None
    return Recurring(
        merchant=_merchant(group[-1]), amount=_money(amount), last_amount=_money(amounts[-1]),
        changed=amounts[-1] != amounts[-2], currency=_currency(group[-1]), rhythm=rhythm[3],
        last=f"{days[-1]}", next=f"{days[-1] + dt.timedelta(days=rhythm[0])}", times=len(group),
        yearly=_money(amounts[-1] * rhythm[2]),
    )  # fmt: skip


# --- words --------------------------------------------------------------------------------------


def _money(amount: Decimal) -> str:
    return f"{amount:.2f}"


def _listed(amounts: dict[str, str]) -> str:
    return " and ".join(f"{amount} {currency}".strip() for currency, amount in amounts.items())


def _caveats(read: dict[str, Any]) -> str:
    """Return what the user should know about an answer that is not whole."""
    unread = record(read.get("unread"))
    told = f" {', '.join(unread)} could not be read: connect it again." if unread else ""
    if read.get("complete") is False:
        told += " Older transactions are still being fetched."
    return told
