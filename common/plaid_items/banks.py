"""Banks that users have linked: consent, exchange, what is kept, and how a link ends.

`users/{uid}/banks/{item_id}` holds a link (an Item, in Plaid's words) with its token sealed;
`bank_items/{item_id}` says whose it is, for webhooks; `link_sessions/{hash}` whose a hosted consent
page is, until it is used. A link is stored whole or not at all: one that cannot be is ended at
Plaid, so that nobody pays for what nobody has.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final, Literal, TypeAlias

import msgspec

from common import documents
from common.documents import Clock, Data
from common.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    OdaiError,
    ReauthRequired,
)
from common.identity.blind import BlindIndex
from common.log import get_logger
from common.plaid_items.api import PlaidApi
from common.plaid_items.ledger import Ledger
from common.plaid_items.needed import BankExpired, BankNeeded
from common.store import Create, Delete, Put, Query, Snapshot, Store, Update
from common.vault import Sealer, Vault

log = get_logger(__name__)

Status: TypeAlias = Literal["active", "expiring", "login_required"]
_HISTORY_DAYS: Final = 730
_HOSTED_S: Final = 4 * 3600
_FRESH_FOR: Final = dt.timedelta(hours=1)
_NOTED: Final = dt.timedelta(hours=1)  # how exactly it is known when a bank was last read
_ASK_AGAIN: Final = dt.timedelta(minutes=5)  # a bank asked itself is paid for each time
_SYNC_S: Final = 8.0  # Plaid waits ten seconds for a webhook's answer
_READY: Final = "HISTORICAL_UPDATE_COMPLETE"
_ITEM_ID: Final = re.compile(r"[\w-]{1,100}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Link:
    """Consent under way. `url` is Plaid's own page, where a hosted one was asked for."""

    token: str = field(repr=False)
    expires_at: str
    url: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Bank:
    """A linked bank. `accounts` are `{account_id, name, mask, type, subtype}` in clear.

    `used_at` is when its user last had it read, to the hour; `synced_at` when Plaid was.
    """

    id: str
    institution: str
    accounts: tuple[Mapping[str, Any], ...]
    status: Status
    linked_at: dt.datetime
    synced_at: dt.datetime | None = None
    used_at: dt.datetime | None = None


class Banks:
    """Links banks, keeps them, ends them.

    `webhook` is where Plaid reaches us (https, else it is left out), `redirect_uri` where banks
    send their users back to, as registered at Plaid.
    """

    def __init__(
        self, store: Store, vault: Vault, api: PlaidApi, blind: BlindIndex,
        *, clock: Clock, webhook: str = "", redirect_uri: str = "", name: str = "ODAI",
    ) -> None:  # fmt: skip
        self._store = store
        self._vault = vault
        self._blind = blind
        self._clock = clock
        self._webhook = webhook
        self._redirect_uri = redirect_uri
        self._name = name
        self.api = api
        self.ledger = Ledger(store, vault, api, clock=clock)

    def of(self, uid: str) -> UserBanks:
        """Return one user's banks."""
        return UserBanks(self, uid)

    async def link(
        self, uid: str, *, repair: str = "", hosted: bool = False, back: str = ""
    ) -> Link:
        """Begin consent to a new bank, or to mend the link `repair`.

        `hosted`: a page of Plaid's own, for those who have no client of ours at hand; it leads
        `back` to an https address in the end. Raises NotFound where there is no such link, and
        what PlaidApi does.
        """
        body: Data = {
            "client_name": self._name, "language": "en", "country_codes": ["US"],
            "user": {"client_user_id": await self._blind.of("plaid user", uid)},
        }  # fmt: skip
        if self._webhook.startswith("https://"):
            body["webhook"] = self._webhook
        if repair:
            body["access_token"] = await self._token(uid, repair)
        else:
            body["products"] = ["transactions"]
            body["transactions"] = {"days_requested": _HISTORY_DAYS}
        if hosted:
            body["hosted_link"] = {"url_lifetime_seconds": _HOSTED_S if not repair else 1800}
            if back.startswith("https://"):
                body["hosted_link"]["completion_redirect_uri"] = back
        elif self._redirect_uri:
            body["redirect_uri"] = self._redirect_uri
        answer = await self.api.create_link_token(body)
        link = Link(
            str(answer.get("link_token", "")), str(answer.get("expiration", "")),
            str(answer.get("hosted_link_url", "")),
        )  # fmt: skip
        if hosted:
            expires = self._clock() + dt.timedelta(seconds=_HOSTED_S)
            await self._store.commit(
                Put(_session_path(link.token), {"uid": uid, "expires_at": expires})
            )
        return link

    async def exchange(self, uid: str, public_token: str) -> Bank:
        """Store the link that a finished consent grants.

        Raises InvalidInput (a token used before or expired), Conflict (somebody else's link), and
        what PlaidApi does; nothing is stored then, nor left at Plaid.
        """
        token, item_id = await self.api.exchange(public_token)
        try:
            bank = await self._store_link(uid, token, item_id)
        except Conflict:
            # Linked already, here or by another user: ending it would end theirs.
            raise Conflict("That bank link is in use already. Connect the bank again.") from None
        except BaseException:
            await self._end_quietly(token)
            raise
        return bank

    async def listed(self, uid: str) -> list[Bank]:
        """Return the user's banks, the oldest first."""
        found = await self._store.query(Query(_banks(uid)))
        sealer = await self._vault.open(uid) if found else None
        banks = [_bank(sealer, each) for each in found if sealer]
        return sorted(banks, key=lambda bank: bank.linked_at)

    async def remove(self, uid: str, which: str) -> Bank:
        """End the link `which` (its id, or that of one of its accounts) at Plaid, then forget it.

        NotFound where the user has no such link.
        """
        for bank in await self.listed(uid):
            if which == bank.id or any(a["account_id"] == which for a in bank.accounts):
                await self.api.remove(await self._token(uid, bank.id))
                await self._forget(uid, bank.id)
                return bank
        raise NotFound("There is no such bank account. List them first.")

    async def remove_all(self, uid: str) -> None:
        """End every link of the user's; what fails is kept, and raised at the end."""
        failure: OdaiError | None = None
        for bank in await self.listed(uid):
            try:
                await self.remove(uid, bank.id)
            except OdaiError as err:
                failure = failure or err
        if failure:
            raise failure

    async def session_owner(self, event: Mapping[str, Any]) -> str:
        """Return whose hosted consent page a webhook says was used; "" for every other event."""
        if (event.get("webhook_type"), event.get("webhook_code")) != ("LINK", "SESSION_FINISHED"):
            return ""
        session = await self._session(event)
        return str(session.data["uid"]) if session else ""

    async def heard(self, event: Mapping[str, Any]) -> str:
        """Act on a verified webhook; return "done", "ignored" or "unknown_item"."""
        kind, code = event.get("webhook_type"), event.get("webhook_code")
        if kind == "LINK" and code == "SESSION_FINISHED":
            return await self._finish_session(event)
        item_id = event.get("item_id")
        if not isinstance(item_id, str) or not _ITEM_ID.match(item_id):
            return "ignored"
        owner = await self._store.get(_item_path(item_id))
        if owner is None:
            return "unknown_item"
        act = _ACTS.get((str(kind), str(code)))
        if act is None:
            return "ignored"
        await act(self, owner.data["uid"], item_id, event)
        return "done"

    # --- for UserBanks ----------------------------------------------------------------------

    async def read_accounts(self, uid: str, bank: Bank, *, fresh: bool) -> list[Data]:
        """Return the accounts of one bank, in Plaid's shape, as Plaid or the bank has them now."""
        path = _bank_path(uid, bank.id)
        asked = self._clock()
        found = await self._store.get(path)
        last = found.data.get("asked_at") if found else None
        fresh = fresh and (last is None or asked - last > _ASK_AGAIN)
        answer = await self._watched(
            uid, bank, self.api.accounts(await self._token(uid, bank.id), fresh=fresh)
        )
        rows, known = _rows(answer), _accounts(answer)
        changes: Data = ({"asked_at": asked} if fresh else {}) | self._use(found)
        if bank.status == "login_required":
            changes["status"] = "active"
        if known != bank.accounts:  # the user has shared others meanwhile
            sealer = await self._vault.open(uid)
            changes["details"] = _details(sealer, path, replace(bank, accounts=known))
        if changes:
            await self._note(path, changes)
        return rows

    async def refresh(self, uid: str, bank: Bank) -> None:
        """Take in new transactions, where there may be any."""
        found = await self._store.get(_bank_path(uid, bank.id))
        if found is None:
            return
        if use := self._use(found):
            await self._note(found.path, use)
        synced, data = found.data.get("synced_at"), found.data
        settled = data["progress"] == _READY and not data["stale"]
        if settled and synced and self._clock() - synced < _FRESH_FOR:
            return
        await self._watched(uid, bank, self.ledger.sync(uid, found.path))

    def _use(self, found: Snapshot | None) -> Data:
        """Return the change that notes this use of a bank: none where one of this hour is noted."""
        now, last = self._clock(), found.data.get("used_at") if found else None
        return {"used_at": now} if found and (last is None or now - last >= _NOTED) else {}

    async def complete(self, uid: str) -> bool:
        """Tell whether every bank's history has been fetched to its beginning."""
        found = await self._store.query(Query(_banks(uid)))
        return all(each.data["progress"] == _READY for each in found)

    async def _watched(self, uid: str, bank: Bank, work: Awaitable[Any]) -> Any:
        """Await `work`, noting when the bank wants its user to sign in again."""
        try:
            return await work
        except ReauthRequired as err:
            if bank.status != "login_required":
                await self._note(_bank_path(uid, bank.id), {"status": "login_required"})
            raise BankExpired(str(err), bank.id) from err

    # --- what webhooks do -------------------------------------------------------------------

    async def _news(self, uid: str, item_id: str, _: Mapping[str, Any]) -> None:
        path = _bank_path(uid, item_id)
        await self._note(path, {"stale": True})
        try:
            async with asyncio.timeout(_SYNC_S):
                await self.ledger.sync(uid, path)
        except (OdaiError, TimeoutError) as err:
            # It stays marked as stale: whoever reads next takes the changes in.
            log.info("bank not synced", extra={"reason": type(err).__name__})

    async def _item_error(self, uid: str, item_id: str, event: Mapping[str, Any]) -> None:
        error = event.get("error")
        if isinstance(error, Mapping) and error.get("error_code") == "ITEM_LOGIN_REQUIRED":
            await self._note(_bank_path(uid, item_id), {"status": "login_required"})

    async def _expiring(self, uid: str, item_id: str, _: Mapping[str, Any]) -> None:
        await self._note(_bank_path(uid, item_id), {"status": "expiring"})

    async def _repaired(self, uid: str, item_id: str, _: Mapping[str, Any]) -> None:
        await self._note(_bank_path(uid, item_id), {"status": "active", "stale": True})

    async def _revoked(self, uid: str, item_id: str, _: Mapping[str, Any]) -> None:
        await self._end_quietly(await self._token(uid, item_id))
        await self._forget(uid, item_id)

    async def _account_revoked(self, uid: str, item_id: str, event: Mapping[str, Any]) -> None:
        path, account_id = _bank_path(uid, item_id), str(event.get("account_id"))
        await self.ledger.drop_account(uid, path, account_id)
        found = await self._store.get(path)
        if found is None:
            return
        sealer = await self._vault.open(uid)
        bank = _bank(sealer, found)
        kept = tuple(a for a in bank.accounts if a["account_id"] != account_id)
        details = _details(sealer, path, replace(bank, accounts=kept))
        await self._note(path, {"details": details})

    async def _finish_session(self, event: Mapping[str, Any]) -> str:
        session = await self._session(event)
        if session is None:
            return "unknown_item"
        for public_token in event.get("public_tokens") or ():
            try:
                await self.exchange(session.data["uid"], str(public_token))
            except InvalidInput:  # told twice: the first time exchanged it
                continue
        await self._store.commit(Delete(session.path))
        return "done"

    async def _session(self, event: Mapping[str, Any]) -> Snapshot | None:
        token = event.get("link_token")
        session = await self._store.get(_session_path(token)) if isinstance(token, str) else None
        return session if session and session.data["expires_at"] > self._clock() else None

    # --- storage ----------------------------------------------------------------------------

    async def _store_link(self, uid: str, token: str, item_id: str) -> Bank:
        if not _ITEM_ID.match(item_id):
            raise NotFound("Plaid named the bank in a way that cannot be kept. Connect it again.")
        answer = await self.api.accounts(token)
        item = answer.get("item")
        name = item.get("institution_name") if isinstance(item, dict) else None
        bank = Bank(
            item_id, str(name or "Bank"), _accounts(answer), "active", self._clock()
        )  # fmt: skip
        path = _bank_path(uid, item_id)
        sealer = await self._vault.open(uid)
        data: Data = {
            "token": sealer.seal(path, "token", token.encode()),
            "details": _details(sealer, path, bank),
            "status": bank.status, "linked_at": bank.linked_at,
            "cursor": "", "progress": "", "stale": True,
        }  # fmt: skip
        await self._store.commit(
            Create(path, data), Create(_item_path(item_id), {"uid": uid, "at": bank.linked_at})
        )
        return bank

    async def _token(self, uid: str, item_id: str) -> str:
        path = _bank_path(uid, item_id)
        found = await self._store.get(path) if _ITEM_ID.match(item_id) else None
        if found is None:
            raise NotFound("There is no such bank. List them first.")
        sealer = await self._vault.open(uid)
        return sealer.unseal(path, "token", found.data["token"]).decode()

    async def _forget(self, uid: str, item_id: str) -> None:
        path = _bank_path(uid, item_id)
        gone = [path, _item_path(item_id), *await self.ledger.months(path)]
        await self._store.commit(*(Delete(each) for each in gone))

    async def _note(self, path: str, changes: Data) -> None:
        try:
            await self._store.commit(Update(path, changes))
        except Conflict:  # removed meanwhile: there is nothing to note any more
            return

    async def _end_quietly(self, token: str) -> None:
        try:
            await self.api.remove(token)
        except OdaiError as err:
            log.warning("bank link not ended at Plaid", extra={"code": err.code})


class UserBanks:
    """One user's banks, as tools see them: plain JSON in Plaid's shapes.

    A bank that cannot be read costs its own part of an answer: its name is among `unread` with a
    sentence that says why. Where none can be read, that bank's error is raised.
    """

    def __init__(self, banks: Banks, uid: str) -> None:
        self._banks = banks
        self._uid = uid

    async def accounts(self, *, fresh: bool = False) -> Data:
        """Return `{accounts, unread}`; each account also has its `institution`.

        `fresh` asks the banks themselves, at most every five minutes. Raises NotAllowed where none
        is linked.
        """

        async def read(bank: Bank) -> list[Data]:
            rows = await self._banks.read_accounts(self._uid, bank, fresh=fresh)
            return [row | {"institution": bank.institution} for row in rows]

        rows, unread = await self._each(read)
        return {"accounts": rows, "unread": unread}

    async def transactions(self, since: dt.date, until: dt.date) -> Data:
        """Return `{transactions, accounts, unread, complete}` of these days, both included.

        A row has `amount` (decimal text, positive: money out), `currency`, `date`, `category`,
        `institution` and what Plaid calls the rest. `accounts` maps ids to names; `complete` is
        False while a bank's history is still being fetched. Raises NotAllowed as `accounts` does.
        """
        banks = await self._banks.listed(self._uid)

        async def read(bank: Bank) -> list[Data]:
            path = _bank_path(self._uid, bank.id)
            try:
                await self._banks.refresh(self._uid, bank)
            except OdaiError:
                rows = await self._banks.ledger.rows(self._uid, path, since, until)
                if not rows:
                    raise
            else:
                rows = await self._banks.ledger.rows(self._uid, path, since, until)
            return [row | {"institution": bank.institution} for row in rows]

        rows, unread = await self._each(read)
        names = {
            a["account_id"]: f"{a.get('name') or 'Account'} {a.get('mask') or ''}".strip()
            for bank in banks
            for a in bank.accounts
        }
        complete = await self._banks.complete(self._uid)
        rows.sort(key=lambda row: (row["date"], row["transaction_id"]), reverse=True)
        return {"transactions": rows, "accounts": names, "unread": unread, "complete": complete}

    async def link(self) -> Data:
        """Begin consent on a page of Plaid's own: `{url, expires_at, linked}` (names of banks)."""
        linked = [bank.institution for bank in await self._banks.listed(self._uid)]
        link = await self._banks.link(self._uid, hosted=True)
        return {"url": link.url, "expires_at": link.expires_at, "linked": linked}

    async def _each(
        self, read: Callable[[Bank], Awaitable[list[Data]]]
    ) -> tuple[list[Data], dict[str, str]]:
        banks = await self._banks.listed(self._uid)
        if not banks:
            raise BankNeeded("No bank is connected. Connect one with Plaid, then ask again.")
        answers = await asyncio.gather(*(read(bank) for bank in banks), return_exceptions=True)
        rows: list[Data] = []
        unread: dict[str, str] = {}
        for bank, answer in zip(banks, answers, strict=True):
            if isinstance(answer, OdaiError):
                unread[bank.institution] = str(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                rows += answer
        failed = [answer for answer in answers if isinstance(answer, OdaiError)]
        if len(failed) == len(banks):
            raise failed[0]
        return rows, unread


_Act: TypeAlias = Callable[[Banks, str, str, Mapping[str, Any]], Awaitable[None]]
_ACTS: dict[tuple[str, str], _Act] = {
    ("TRANSACTIONS", "SYNC_UPDATES_AVAILABLE"): Banks._news,
    ("ITEM", "ERROR"): Banks._item_error,
    ("ITEM", "PENDING_DISCONNECT"): Banks._expiring,
    ("ITEM", "PENDING_EXPIRATION"): Banks._expiring,
    ("ITEM", "LOGIN_REPAIRED"): Banks._repaired,
    ("ITEM", "USER_PERMISSION_REVOKED"): Banks._revoked,
    ("ITEM", "USER_ACCOUNT_REVOKED"): Banks._account_revoked,
}


def _rows(answer: Mapping[str, Any]) -> list[Data]:
    listed = answer.get("accounts")
    rows = listed if isinstance(listed, list) else []
    return [r for r in rows if isinstance(r, dict) and isinstance(r.get("account_id"), str)]


def _accounts(answer: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    kept = ("account_id", "name", "mask", "type", "subtype")
    return tuple({key: row.get(key) for key in kept} for row in _rows(answer))


class _Details(msgspec.Struct):
    """What a link keeps sealed beside its token."""

    institution: str
    accounts: list[dict[str, Any]]


def _details(sealer: Sealer, path: str, bank: Bank) -> bytes:
    details = _Details(bank.institution, [dict(account) for account in bank.accounts])
    return sealer.seal(path, "details", msgspec.json.encode(details))


def _bank(sealer: Sealer, found: Snapshot) -> Bank:
    data = found.data
    details = msgspec.json.decode(
        sealer.unseal(found.path, "details", data["details"]), type=_Details
    )
    return Bank(
        found.id, details.institution, tuple(details.accounts), data["status"],
        data["linked_at"], data.get("synced_at"), data.get("used_at"),
    )  # fmt: skip


def _banks(uid: str) -> str:
    return f"{documents.user(uid)}/banks"


def _bank_path(uid: str, item_id: str) -> str:
    return f"{_banks(uid)}/{item_id}"


def _item_path(item_id: str) -> str:
    return f"bank_items/{item_id}"


def _session_path(link_token: str) -> str:
    return f"link_sessions/{sha256(link_token.encode()).hexdigest()}"
