"""The user's banks in words: balances, sums, what repeats; and the link that connects one."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from common.connectors import plaid, plaid_connector
from common.egress import Egress, Policy
from common.errors import InvalidInput, NotAllowed, ReauthRequired
from common.tools import Outcome, Tool, ToolContext, run_tool
from tests.fakes.plaid import account, transaction

NOW = dt.datetime(2026, 11, 22, 15, tzinfo=dt.UTC)
Rows = list[dict[str, Any]]


class Shelf:
    """A user's banks, as the port describes them."""

    def __init__(self, accounts: Rows | None = None, rows: Rows | None = None, **more: Any) -> None:
        self._accounts, self._rows = accounts or [], rows or []
        self._more = {"unread": {}, "complete": True, **more}
        self.asked: list[Any] = []

    async def accounts(self, *, fresh: bool = False) -> dict[str, Any]:
        self.asked.append(fresh)
        return {"accounts": self._accounts, **self._more}

    async def transactions(self, since: dt.date, until: dt.date) -> dict[str, Any]:
        self.asked.append((since, until))
        kept = [row for row in self._rows if f"{since}" <= row["date"] <= f"{until}"]
        names = {"checking": "Everyday Checking 4417", "card": "Rewards Card 1881"}
        return {"transactions": kept, "accounts": names, **self._more}

    async def link(self) -> dict[str, Any]:
        return {"url": "https://secure.plaid.com/hl/x", "expires_at": "soon", "linked": ["First"]}


class Nothing(Shelf):
    """A user without banks, or whose bank wants them to sign in."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    async def accounts(self, *, fresh: bool = False) -> dict[str, Any]:
        raise self._error

    async def transactions(self, since: dt.date, until: dt.date) -> dict[str, Any]:
        raise self._error


def run(used: Tool, banks: Shelf | None, /, **arguments: Any) -> Outcome:
    """Run a tool over `banks`."""

    async def play() -> Outcome:
        egress = Egress()
        context = ToolContext(
            uid="ada", http=egress.client(Policy(name="Plaid", hosts=())), secrets=lambda _: "key",
            clock=lambda: NOW, timezone="America/New_York", linked_banks=banks,
        )  # fmt: skip
        return await run_tool(used, arguments, context)

    return asyncio.run(play())


def kept(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a transaction as the ledger keeps it."""
    category = row["personal_finance_category"]
    return {
        **row, "amount": str(row["amount"]), "currency": "USD", "institution": "First Bank",
        "category": category["primary"], "detail": category["detailed"],
    }  # fmt: skip


def row(key: str, day: str, amount: float, merchant: str = "Corner Bakery", **more: Any) -> Any:
    return kept(transaction(key, day, amount, merchant, **more))


GROCERIES = ("FOOD_AND_DRINK", "FOOD_AND_DRINK_GROCERIES")
INCOME = ("INCOME", "INCOME_WAGES")
ROWS = [
    row("t5", "2026-11-20", 64.10, "Green Market", category=GROCERIES),
    row("t4", "2026-11-18", 18.25),
    row("t3", "2026-11-15", -2500.0, "ACME Payroll", category=INCOME),
    row("t2", "2026-11-02", 35.90, "Green Market", category=GROCERIES, account_id="card"),
    row("t1", "2026-10-05", 20.00, "Green Market", category=GROCERIES),
]
ACCOUNTS = [
    account("a", "Everyday Checking", "4417", "depository", 905.1) | {"institution": "First"},
    account("b", "Rewards Card", "1881", "credit", 410) | {"institution": "First"},
]


def data(outcome: Outcome) -> Any:
    assert outcome.result, outcome.summary
    assert json.loads(msgspec.json.encode(outcome.result.data)) == outcome.result.data
    assert len(outcome.for_model().encode()) <= 6 * 1024 and len(outcome.summary) <= 500
    return outcome.result.data


def test_balances_are_told_with_what_is_owed() -> None:
    """Money and debts are added up apart; kept balances cost nothing, the bank's own are asked."""
    banks = Shelf(ACCOUNTS)
    outcome = run(plaid.get_accounts_at_plaid, banks)
    assert outcome.summary == (
        "You have 905.10 USD and you owe 410.00 USD. Everyday Checking ending 4417: 905.10 USD; "
        "Rewards Card ending 1881: 410.00 USD owed."
    )
    assert data(outcome)["totals"] == {"have": {"USD": "905.10"}, "owe": {"USD": "410.00"}}
    run(plaid.get_balances_at_plaid, banks)
    assert banks.asked == [False, True]
    only = run(plaid.get_accounts_at_plaid, banks, kind="credit")
    assert only.summary.startswith("You owe 410.00 USD. Rewards Card")
    none = run(plaid.get_accounts_at_plaid, banks, kind="loan")
    assert none.summary == "No account of that kind is linked."


def test_spending_is_added_up() -> None:
    """The last thirty days by default; what came in is not what went out."""
    banks = Shelf(rows=ROWS)
    outcome = run(plaid.get_transactions_at_plaid, banks)
    assert outcome.summary == (
        "4 transactions from Friday 23 October 2026 to Sunday 22 November 2026: "
        "118.25 USD went out and 2500.00 USD came in."
    )
    found = data(outcome)
    assert found["by_category"][0] == {
        "category": "food and drink", "currency": "USD", "spent": "118.25",
    }  # fmt: skip
    assert found["transactions"][0]["merchant"] == "Green Market"
    assert found["transactions"][3]["account"] == "Rewards Card 1881"
    assert outcome.result and outcome.result.untrusted


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        ({"category": "groceries"}, 2), ({"category": "Food & drink"}, 0),
        ({"search": "green market", "since": "2026-10-01"}, 3), ({"direction": "in"}, 1),
        ({"direction": "out", "min_amount": 30}, 2), ({"max_amount": 20}, 1),
        ({"account": "1881"}, 1), ({"account": "first bank"}, 4),
        ({"since": "2026-11-15", "until": "2026-11-18"}, 2), ({"search": "no such"}, 0),
    ],
)  # fmt: skip
def test_transactions_are_filtered(given: dict[str, Any], ids: int) -> None:
    """By words, category, account, direction, size and days; sums are over what is found."""
    outcome = run(plaid.get_transactions_at_plaid, Shelf(rows=ROWS), **given)
    assert data(outcome)["total"] == ids


def test_sums_are_exact() -> None:
    """A thousand dimes are a hundred, to the cent."""
    rows = [row(f"t{n}", "2026-11-20", 0.1) for n in range(1000)]
    outcome = run(plaid.get_transactions_at_plaid, Shelf(rows=rows))
    assert data(outcome)["spent"] == {"USD": "100.00"}


@pytest.mark.parametrize(
    "given",
    [{"since": "last week"}, {"since": "2026-11-20", "until": "2026-11-01"}, {"limit": 99},
     {"direction": "sideways"}],
)  # fmt: skip
def test_days_that_are_none_are_sent_back(given: dict[str, Any]) -> None:
    """What cannot be read asks no bank."""
    banks = Shelf(rows=ROWS)
    assert isinstance(run(plaid.get_transactions_at_plaid, banks, **given).error, InvalidInput)
    assert banks.asked == []


def repeated(merchant: str, days: list[str], amounts: list[float]) -> Rows:
    pairs = zip(days, amounts, strict=True)
    return [row(f"{merchant}{day}", day, amount, merchant) for day, amount in pairs]


def test_subscriptions_are_found_with_their_year() -> None:
    """Monthly and yearly charges are told with the next day and a dearer price; chance is not."""
    rows = [
        *repeated("Filmbox", ["2026-08-14", "2026-09-14", "2026-10-14", "2026-11-13"],
                  [9.99, 9.99, 9.99, 12.99]),
        *repeated("Cloud Disk", ["2025-06-01", "2026-06-01"], [99, 99]),
        *repeated("Old Gym", ["2026-01-03", "2026-02-03", "2026-03-03"], [40, 40, 40]),
        *repeated("Corner Bakery", ["2026-11-01", "2026-11-03", "2026-11-18"], [4, 9, 30]),
        *repeated("Taxi", ["2026-09-01", "2026-10-01", "2026-11-01"], [8, 55, 21]),
    ]  # fmt: skip
    outcome = run(plaid.find_recurring_charges_at_plaid, Shelf(rows=rows))
    film, disk = data(outcome)["charges"]
    assert (film["merchant"], film["rhythm"], film["next"]) == ("Filmbox", "monthly", "2026-12-13")
    assert film["changed"] is True and film["last_amount"] == "12.99"
    assert (disk["rhythm"], disk["yearly"]) == ("yearly", "99.00")
    assert outcome.summary.startswith("2 charges repeat, 254.88 USD a year: Filmbox, 9.99 USD")
    all_of_them = run(plaid.find_recurring_charges_at_plaid, Shelf(rows=rows), include_ended=True)
    assert "Old Gym" in {charge["merchant"] for charge in data(all_of_them)["charges"]}
    assert run(plaid.find_recurring_charges_at_plaid, Shelf()).summary == (
        "I see no charge that repeats."
    )


def test_what_is_missing_is_said() -> None:
    """A bank that could not be read, and a history still on its way, are part of the answer."""
    banks = Shelf(ACCOUNTS, ROWS, unread={"Second Bank": "Sign in."}, complete=False)
    outcome = run(plaid.get_transactions_at_plaid, banks)
    assert "Second Bank could not be read" in outcome.summary
    assert outcome.summary.endswith("Older transactions are still being fetched.")


@pytest.mark.parametrize("used", [
    plaid.get_accounts_at_plaid, plaid.get_balances_at_plaid, plaid.get_transactions_at_plaid,
    plaid.find_recurring_charges_at_plaid,
], ids=lambda used: used.name)  # fmt: skip
def test_without_a_bank_the_user_hears_what_to_do(used: Tool) -> None:
    """No bank, no service for banks, a bank that wants a sign-in: each says what comes next."""
    none = Nothing(NotAllowed("No bank is connected. Connect one with Plaid, then ask again."))
    assert "Connect one" in run(used, none).summary
    assert "Connect one" in run(used, None).summary
    again = Nothing(ReauthRequired("Your bank wants you to sign in again."))
    assert isinstance(run(used, again).error, ReauthRequired)


def test_the_longest_answers_stay_short() -> None:
    """Hundreds of accounts and merchants with endless names fit what the model may read."""
    rows = [
        row(f"t{n}", "2026-11-20", n, "é" * 400, category=(f"C{n}" * 9, "x")) for n in range(1, 300)
    ]
    many = [ACCOUNTS[0] | {"account_id": f"a{n}", "name": "é" * 200} for n in range(100)]
    data(run(plaid.get_transactions_at_plaid, Shelf(rows=rows), limit=50))
    data(run(plaid.get_accounts_at_plaid, Shelf(many)))


@pytest.mark.parametrize("balances", [None, {}, {"current": "much"}, {"current": None}])
def test_odd_balances_cost_themselves_alone(balances: Any) -> None:
    """A bank that gives no balance is told as such."""
    odd = ACCOUNTS[0] | {"balances": balances, "mask": None, "name": None}
    outcome = run(plaid.get_accounts_at_plaid, Shelf([odd]))
    assert outcome.summary == "Account: no balance given."


def test_a_bank_is_connected_by_a_link() -> None:
    """The button's type is the original's; the link works from a text message as well."""
    outcome = run(plaid_connector.connect_plaid_account, Shelf())
    assert outcome.result and outcome.result.response_type == "connect_plaid_account"
    assert outcome.result.data["url"] == "https://secure.plaid.com/hl/x"
    assert outcome.result.sources[0].url == "https://secure.plaid.com/hl/x"
