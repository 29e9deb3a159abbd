"""Transactions by cursor: each change once, whatever is interrupted, repeated or raced."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from common.bootstrap import Services
from common.errors import VendorUnavailable
from common.plaid_items import Bank
from common.store import Query, Update
from tests.fakes.plaid import FakePlaid, Item, Refusal, transaction

SINCE, UNTIL = dt.date(2026, 1, 1), dt.date(2026, 12, 31)
MUTATION = Refusal("TRANSACTIONS_ERROR", "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION")


class Kept:
    """What is kept of ada's bank, and a way to take changes in."""

    def __init__(self, app: Services, bank: Bank) -> None:
        self.app, self.path = app, f"users/ada/banks/{bank.id}"

    def sync(self) -> bool:
        return self.app.loop.run(self.app.banks.ledger.sync("ada", self.path))

    def rows(self, since: dt.date = SINCE, until: dt.date = UNTIL) -> dict[str, str]:
        """Return amounts by id."""
        work = self.app.banks.ledger.rows("ada", self.path, since, until)
        return {row["transaction_id"]: row["amount"] for row in self.app.loop.run(work)}

    def bank(self) -> dict[str, Any]:
        found = self.app.loop.run(self.app.store.get(self.path))
        assert found
        return found.data


@pytest.fixture
def kept(app: Services, linked: Bank) -> Kept:
    return Kept(app, linked)


@pytest.fixture
def item(plaid: FakePlaid, linked: Bank) -> Item:
    return plaid.item(linked.id)


def test_changes_are_applied_in_their_order(kept: Kept, item: Item) -> None:
    """Added, modified and removed over several pages and months leave what is true in the end."""
    item.happen("added", transaction("t1", "2026-10-30", 18.25))
    item.happen("added", transaction("t2", "2026-11-02", 4, pending=True))
    item.happen("modified", transaction("t1", "2026-11-01", 18.50))
    item.happen("removed", transaction("t2", "2026-11-02", 4))
    item.happen("added", transaction("t3", "2026-11-03", 4.20, replaces="t2"))
    assert kept.sync()
    assert kept.rows() == {"t1": "18.5", "t3": "4.2"}
    assert kept.rows(until=dt.date(2026, 10, 31)) == {}
    item.happen("removed", transaction("t1", "2026-11-01", 18.50))
    item.happen("added", transaction("t4", "2026-11-09", -1200))
    assert kept.sync()
    assert kept.rows() == {"t3": "4.2", "t4": "-1200"}
    item.happen("modified", transaction("t3", "2026-12-01", 5))
    assert kept.sync()
    assert kept.rows(until=dt.date(2026, 11, 30)) == {"t4": "-1200"}


def test_what_was_taken_in_is_not_asked_again(kept: Kept, item: Item, plaid: FakePlaid) -> None:
    """A sync begins where the last one ended."""
    item.happen("added", transaction("t1", "2026-11-01", 1))
    kept.sync()
    kept.sync()
    cursors = [body.get("cursor") for path, body, _ in plaid.asked if path == "/transactions/sync"]
    assert cursors == [None, "1"]


def test_an_interrupted_sync_stores_nothing(
    kept: Kept, item: Item, plaid: FakePlaid, services: Callable[..., Services], linked: Bank
) -> None:
    """A failure between two pages leaves the old state; another process then takes in all of it."""
    for n in range(5):
        item.happen("added", transaction(f"t{n}", "2026-11-01", n + 1))
    plaid.fail["/transactions/sync"] = []
    original = plaid.page

    def second_page_fails() -> None:
        plaid.fail["/transactions/sync"] = [503] * 3

    asked = len(plaid.asked)
    plaid.page = 1
    plaid.asked = _Hook(plaid.asked, asked + 1, second_page_fails)
    with pytest.raises(VendorUnavailable):
        kept.sync()
    assert kept.rows() == {} and kept.bank()["cursor"] == "" and kept.bank()["stale"] is True
    plaid.page, plaid.fail = original, {}
    other = Kept(services(**plaid.environ), linked)
    assert other.sync() and len(other.rows()) == 5


class _Hook(list[Any]):
    """A list that calls `then` when it reaches a length."""

    def __init__(self, items: list[Any], length: int, then: Callable[[], None]) -> None:
        super().__init__(items)
        self._length, self._then = length, then

    def append(self, value: Any) -> None:
        super().append(value)
        if len(self) == self._length + 1:
            self._then()


def test_pages_that_contradict_one_another_are_read_again(
    kept: Kept, item: Item, plaid: FakePlaid
) -> None:
    """A mutation restarts from the cursor that the sync began with."""
    item.happen("added", transaction("t0", "2026-11-01", 1))
    kept.sync()
    for n in range(1, 5):
        item.happen("added", transaction(f"t{n}", "2026-11-01", 1))
    before = len(plaid.asked)

    def mutate() -> None:
        plaid.fail["/transactions/sync"] = [MUTATION]

    plaid.asked = _Hook(plaid.asked, before, mutate)
    # The hook fires while the first page is asked for: that one is refused, then all goes well.
    assert kept.sync() and len(kept.rows()) == 5
    cursors = [body.get("cursor") for _, body, _ in plaid.asked[before:]]
    assert cursors == ["1", "1", "3"]


def test_a_second_page_that_contradicts_restarts_from_the_first(
    kept: Kept, item: Item, plaid: FakePlaid
) -> None:
    """What the first page said before the mutation is thrown away, not applied twice."""
    for n in range(4):
        item.happen("added", transaction(f"t{n}", "2026-11-01", 1))
    before = len(plaid.asked)

    def mutate() -> None:
        plaid.fail["/transactions/sync"] = [MUTATION]
        item.log[0] = ("added", transaction("other", "2026-11-01", 7))

    plaid.asked = _Hook(plaid.asked, before + 1, mutate)
    assert kept.sync()
    cursors = [body.get("cursor") for _, body, _ in plaid.asked[before:]]
    assert cursors == [None, "2", None, "2"]
    assert kept.rows() == {"other": "7", "t1": "1", "t2": "1", "t3": "1"}


def test_endless_mutation_ends(kept: Kept, plaid: FakePlaid) -> None:
    """A bank whose transactions never stand still is an outage, not a loop."""
    plaid.fail["/transactions/sync"] = [MUTATION] * 50
    with pytest.raises(VendorUnavailable):
        kept.sync()
    assert len(plaid.fail["/transactions/sync"]) == 46


def test_racing_syncs_apply_each_change_once(
    app: Services, kept: Kept, item: Item, plaid: FakePlaid
) -> None:
    """Of ten syncs at the same moment the result is that of one."""
    for n in range(6):
        item.happen("added", transaction(f"t{n}", "2026-11-01", 1))

    async def race() -> list[Any]:
        syncs = (app.banks.ledger.sync("ada", kept.path) for _ in range(10))
        return await asyncio.gather(*syncs, return_exceptions=True)

    outcomes = app.loop.run(race())
    assert True in outcomes
    assert all(o is True or isinstance(o, VendorUnavailable) for o in outcomes)
    assert len(kept.rows()) == 6 and kept.bank()["cursor"] == "6"


def test_a_slow_sync_does_not_undo_a_faster_one(
    app: Services, kept: Kept, item: Item, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who read the pages first and stores them last gives way to who has read further."""
    ledger = app.banks.ledger
    original = ledger._applied
    item.happen("added", transaction("t1", "2026-11-01", 1))

    async def slow(*given: Any) -> Any:
        monkeypatch.setattr(ledger, "_applied", original)
        item.happen("removed", transaction("t1", "2026-11-01", 1))
        item.happen("added", transaction("t2", "2026-11-02", 2))
        await ledger.sync("ada", kept.path)
        return await original(*given)

    monkeypatch.setattr(ledger, "_applied", slow)
    assert kept.sync()
    assert kept.rows() == {"t2": "2"} and kept.bank()["cursor"] == "3"


def test_news_that_arrive_during_a_sync_are_not_lost(
    app: Services, kept: Kept, item: Item, plaid: FakePlaid
) -> None:
    """A webhook in the middle of a sync makes it read again instead of marking all as read."""
    item.happen("added", transaction("t1", "2026-11-01", 1))

    def webhook() -> None:
        item.happen("added", transaction("t2", "2026-11-02", 2))
        item.happen("added", transaction("t3", "2026-11-02", 2))
        asyncio.run_coroutine_threadsafe(
            app.store.commit(Update(kept.path, {"stale": True})), app.loop.loop
        ).result(50)

    plaid.asked = _Hook(plaid.asked, len(plaid.asked), webhook)
    assert kept.sync()
    assert set(kept.rows()) == {"t1", "t2", "t3"} and kept.bank()["stale"] is False


def test_nothing_is_ready_yet(kept: Kept, item: Item) -> None:
    """Right after linking Plaid has nothing, and an empty cursor: that is no error and no end."""
    item.status = "NOT_READY"
    assert kept.sync() and kept.bank()["cursor"] == ""
    item.status = "HISTORICAL_UPDATE_COMPLETE"
    item.happen("added", transaction("t1", "2026-11-01", 1))
    kept.sync()
    assert len(kept.rows()) == 1


def test_rows_that_make_no_sense_cost_themselves_alone(kept: Kept, item: Item) -> None:
    """An amount or a day that cannot be read is left out; the rest is kept."""
    good = transaction("good", "2026-11-01", 1)
    bad = ({"amount": None}, {"date": "soon"}, {"transaction_id": None}, {"amount": "NaN"})
    for odd in bad:
        item.happen("added", {**good, "transaction_id": "odd", **odd})
    item.happen("added", {**good, "personal_finance_category": None, "merchant_name": None})
    kept.sync()
    assert kept.rows() == {"good": "1"}


def test_transactions_are_sealed(app: Services, kept: Kept, item: Item) -> None:
    """A copy of the store tells neither merchants nor amounts."""
    item.happen("added", transaction("t1", "2026-11-01", 4321.5, merchant="Secret Clinic"))
    kept.sync()
    (month,) = app.loop.run(app.store.query(Query(f"{kept.path}/months")))
    assert set(month.data) == {"month", "rows"} and b"Secret Clinic" not in month.data["rows"]


def test_a_bank_that_was_removed_meanwhile_is_left_alone(app: Services, kept: Kept) -> None:
    """A sync that comes too late for its bank does nothing."""
    app.loop.run(app.banks.remove_all("ada"))
    assert kept.sync() is False
