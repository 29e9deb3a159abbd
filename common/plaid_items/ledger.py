"""A bank link's transactions as kept here: one sealed document for each month, and the cursor.

Plaid sends what was added, modified and removed behind a cursor, in pages. The changes of all pages
and the new cursor go into one commit that holds only if nobody else moved the cursor meanwhile: so
each change is applied exactly once, whoever dies or runs twice.

A month holds as many rows as one spends in it: compressed, some ten thousand fit a document.
"""

from __future__ import annotations

import datetime as dt
import zlib
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeAlias

import msgspec

from common.documents import Clock, Data
from common.errors import Conflict, VendorUnavailable
from common.plaid_items.api import Mutated, PlaidApi
from common.store import Delete, Put, Query, Snapshot, Store, Update, Write
from common.vault import Sealer, Vault

Row: TypeAlias = dict[str, Any]
Rows: TypeAlias = dict[str, Row]  # by transaction id

_FIELD: Final = "rows"
_ATTEMPTS: Final = 4
_MAX_PAGES: Final = 200  # of 500: more is a loop, not a history
_KEPT: Final = (
    "transaction_id", "account_id", "date", "authorized_date", "name", "merchant_name", "pending",
    "pending_transaction_id", "payment_channel",
)  # fmt: skip


class Ledger:
    """Keeps transactions in step with Plaid, and reads them."""

    def __init__(self, store: Store, vault: Vault, api: PlaidApi, *, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._api = api
        self._clock = clock

    async def sync(self, uid: str, path: str) -> bool:
        """Take in what changed behind the cursor of the bank at `path`; False: the bank is gone.

        Raises what PlaidApi does; nothing is stored then, and the next call begins where this did.
        """
        sealer = await self._vault.open(uid)
        for _ in range(_ATTEMPTS):
            bank = await self._store.get(path)
            if bank is None:
                return False
            token = sealer.unseal(path, "token", bank.data["token"]).decode()
            changes = await self._changes(token, bank.data["cursor"])
            writes = await self._applied(sealer, path, changes)
            moved = Update(path, {
                "cursor": changes.cursor, "progress": changes.progress, "stale": False,
                "synced_at": self._clock(),
            }, if_version=bank.version)  # fmt: skip
            try:
                await self._store.commit(moved, *writes)
                return True
            except Conflict:  # another sync, or a webhook that tells of more: read again
                continue
        raise VendorUnavailable("Your bank's transactions are being updated. Try again soon.")

    async def rows(self, uid: str, path: str, since: dt.date, until: dt.date) -> list[Row]:
        """Return the transactions of these days, both included, the latest first."""
        sealer = await self._vault.open(uid)
        query = Query(
            _months(path),
            where=(("month", ">=", f"{since:%Y-%m}"), ("month", "<=", f"{until:%Y-%m}")),
            order_by=(("month", "asc"),),
        )
        found = [
            row
            for month in await self._store.query(query)
            for row in _opened(sealer, month).values()
            if f"{since}" <= row["date"] <= f"{until}"
        ]
        return sorted(found, key=lambda row: (row["date"], row["transaction_id"]), reverse=True)

    async def drop_account(self, uid: str, path: str, account_id: str) -> None:
        """Forget the transactions of one account."""
        sealer = await self._vault.open(uid)
        for month in await self._store.query(Query(_months(path))):
            rows = _opened(sealer, month)
            kept = {key: row for key, row in rows.items() if row["account_id"] != account_id}
            if len(kept) < len(rows):
                await self._store.commit(_write(sealer, path, month.id, kept))

    async def months(self, path: str) -> list[str]:
        """Return the paths of the months kept of the bank at `path`."""
        return [month.path for month in await self._store.query(Query(_months(path)))]

    async def _changes(self, token: str, cursor: str) -> _Changes:
        """Read every page behind `cursor`; pages that contradict one another are read again."""
        for _ in range(_ATTEMPTS):
            try:
                return await self._pages(token, cursor)
            except Mutated:
                continue
        raise VendorUnavailable("Your bank's transactions keep changing. Try again in a minute.")

    async def _pages(self, token: str, cursor: str) -> _Changes:
        changes = _Changes(cursor)
        for _ in range(_MAX_PAGES):
            page = await self._api.changes(token, changes.cursor)
            changes.take(page)
            if page.get("has_more") is not True:
                return changes
        raise VendorUnavailable("Plaid sends transactions without end. Try again later.")

    async def _applied(self, sealer: Sealer, path: str, changes: _Changes) -> list[Write]:
        """Return the writes of the months that `changes` touch."""
        months = await self._touched(sealer, path, changes)
        dirty = set()
        for month, rows in months.items():
            for gone in changes.gone & rows.keys():
                del rows[gone]
                dirty.add(month)
        for key, row in changes.rows.items():
            month = row["date"][:7]
            months.setdefault(month, {})[key] = row
            dirty.add(month)
        return [_write(sealer, path, month, months[month]) for month in sorted(dirty)]

    async def _touched(self, sealer: Sealer, path: str, changes: _Changes) -> dict[str, Rows]:
        if changes.gone:  # a removal names no day: any month may hold it
            found: list[Snapshot | None] = [*await self._store.query(Query(_months(path)))]
        else:
            names = sorted({row["date"][:7] for row in changes.rows.values()})
            found = await self._store.get_many([f"{_months(path)}/{name}" for name in names])
        return {month.id: _opened(sealer, month) for month in found if month}


class _Changes:
    """What all pages of one sync say in the end: rows to hold, ids to drop, the next cursor."""

    def __init__(self, cursor: str) -> None:
        self.cursor = cursor
        self.progress = ""
        self.rows: Rows = {}
        self.gone: set[str] = set()

    def take(self, page: Data) -> None:
        """Take in one more page."""
        for row in _kept(page.get("added")):
            self.rows[row["transaction_id"]] = row
        for row in _kept(page.get("modified")):
            # Its day may have changed: it leaves its old month, wherever that is.
            self.rows[row["transaction_id"]] = row
            self.gone.add(row["transaction_id"])
        for removed in page.get("removed") or ():
            key = str(removed.get("transaction_id"))
            self.rows.pop(key, None)
            self.gone.add(key)
        cursor = page.get("next_cursor")
        if not isinstance(cursor, str):
            raise VendorUnavailable("Plaid sent an answer that cannot be read. Try again soon.")
        self.cursor = cursor or self.cursor  # "" while nothing is ready yet
        self.progress = str(page.get("transactions_update_status") or self.progress)


def _kept(listed: object) -> list[Row]:
    """Return the rows of a page with what we use of them, leaving out those that make no sense."""
    rows = []
    for given in listed if isinstance(listed, list) else ():
        if not isinstance(given, dict) or (amount := _amount(given.get("amount"))) is None:
            continue
        row: Row = {name: given[name] for name in _KEPT if given.get(name) is not None}
        category = given.get("personal_finance_category")
        category = category if isinstance(category, dict) else {}
        row["amount"] = str(amount)
        row["currency"] = given.get("iso_currency_code") or given.get("unofficial_currency_code")
        row["category"], row["detail"] = category.get("primary"), category.get("detailed")
        if isinstance(row.get("transaction_id"), str) and _is_day(row.get("date")):
            rows.append(row | {"account_id": str(row.get("account_id", ""))})
    return rows


def _amount(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None


def _is_day(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(dt.date.fromisoformat(value))
    except ValueError:
        return False


def _opened(sealer: Sealer, month: Snapshot) -> Rows:
    blob = zlib.decompress(sealer.unseal(month.path, _FIELD, month.data[_FIELD]))
    return {row["transaction_id"]: row for row in msgspec.json.decode(blob, type=list[Row])}


def _write(sealer: Sealer, path: str, month: str, rows: Rows) -> Write:
    where = f"{_months(path)}/{month}"
    if not rows:
        return Delete(where)
    blob = zlib.compress(msgspec.json.encode(list(rows.values())))
    return Put(where, {"month": month, _FIELD: sealer.seal(where, _FIELD, blob)})


def _months(path: str) -> str:
    return f"{path}/months"
