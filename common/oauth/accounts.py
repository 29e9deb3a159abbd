"""Linked accounts as they are kept: tokens sealed, one account with one user only.

`users/{uid}/accounts/{provider:id}` holds what was granted; `account_owners/{hash}` whose an
account is. One user only, because a provider's revocation ends the grant of the account as a whole:
two users of one mailbox would unlink each other.

Every change of tokens counts `generation` up. A refresh is claimed by a lease in the document and
stored only over the generation it started from, so that of several instances one asks the provider.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

from common import documents
from common.documents import Clock, Data
from common.errors import Conflict, NotFound
from common.oauth.flow import Profile, Scopes, Tokens
from common.store import Delete, Put, Query, Snapshot, Store, Transaction, Update
from common.vault import Sealer, Vault

Status: TypeAlias = Literal["ok", "reauth"]

LEASE_S: Final = 20  # longer than a refresh may take, with its retries
_NOTED: Final = dt.timedelta(hours=1)  # each use noted would be a commit for each call


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A linked account without its secrets; `label` is what its user knows it by.

    `used_at` is when a token of it was last given to a tool, to the hour; None before the first.
    """

    id: str
    provider: str
    label: str
    scopes: Scopes
    status: Status
    linked_at: dt.datetime
    used_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """An account with its tokens, as they were at `generation`."""

    account: Account
    tokens: Tokens
    generation: int


@dataclass(frozen=True, slots=True)
class Claim:
    """The account now, and whether the refresh is the caller's to make."""

    held: Held
    mine: bool


class LinkedAccounts:
    """Reads and writes linked accounts."""

    def __init__(self, store: Store, vault: Vault, *, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock

    async def of(self, uid: str, provider: str = "") -> list[Account]:
        """Return the user's accounts, of one provider or all, the first linked first."""
        return [held.account for held in await self.held(uid, provider)]

    async def held(self, uid: str, provider: str = "") -> list[Held]:
        """Return the same with their tokens."""
        where = (("provider", "==", provider),) if provider else ()
        found = await self._store.query(Query(_collection(uid), where=where))  # type: ignore[arg-type]
        if not found:
            return []
        sealer = await self._vault.open(uid)
        return sorted(
            (_read(snapshot, sealer) for snapshot in found), key=lambda h: h.account.linked_at
        )

    async def get(self, uid: str, account_id: str) -> Held:
        """Return one account; NotFound where the user has none of that id."""
        found = await self._store.get(_path(uid, account_id)) if _valid(account_id) else None
        if found is None:
            raise NotFound("No such account is connected.")
        return _read(found, await self._vault.open(uid))

    async def link(
        self, uid: str, provider: str, profile: Profile, tokens: Tokens
    ) -> Account | None:
        """Keep an account, new or linked again; None where another user has it.

        Without a new refresh token the old one stays.
        """
        account_id = account_id_of(provider, profile)
        path, sealer = _path(uid, account_id), await self._vault.open(uid)
        owner_path = _owner(account_id)

        async def write(transaction: Transaction) -> Account | None:
            owner, old = await transaction.get(owner_path), await transaction.get(path)
            if owner and owner.data["uid"] != uid:
                return None
            now = self._clock()
            held = _read(old, sealer) if old else None
            kept = replace(tokens, refresh=held.tokens.refresh) if (
                held and not tokens.refresh
            ) else tokens  # fmt: skip
            account = Account(
                id=account_id, provider=provider, label=profile.label, scopes=tokens.scopes,
                status="ok", linked_at=held.account.linked_at if held else now,
                used_at=held.account.used_at if held else None,
            )  # fmt: skip
            transaction.write(
                Put(owner_path, {"uid": uid}),
                Put(path, {
                    "provider": provider, "scopes": list(tokens.scopes), "status": "ok",
                    "linked_at": account.linked_at, "changed_at": now,
                    "used_at": account.used_at,
                    "label": sealer.seal(path, "label", profile.label.encode()),
                    "generation": held.generation + 1 if held else 1,
                    **_secrets(path, sealer, kept),
                }),
            )  # fmt: skip
            return account

        return await self._store.transact(write)

    async def used(self, uid: str, account: Account) -> None:
        """Note that a tool uses `account` now, at most once an hour."""
        now = self._clock()
        if account.used_at and now - account.used_at < _NOTED:
            return
        with suppress(Conflict):  # it was unlinked meanwhile
            await self._store.commit(Update(_path(uid, account.id), {"used_at": now}))

    async def forget(self, uid: str, account_id: str) -> None:
        """Remove an account; safe to repeat."""

        async def delete(transaction: Transaction) -> None:
            owner = await transaction.get(_owner(account_id))
            transaction.write(Delete(_path(uid, account_id)))
            if owner and owner.data["uid"] == uid:
                transaction.write(Delete(owner.path))

        await self._store.transact(delete)

    async def claim(
        self, uid: str, account_id: str, *, owner: str, fresh: Callable[[Tokens], bool]
    ) -> Claim:
        """Claim the refresh of an account whose tokens are not `fresh`, by a lease as `owner`.

        Raises NotFound where it was unlinked meanwhile.
        """
        path, sealer = _path(uid, account_id), await self._vault.open(uid)
        # No transaction: those who wait would lock the document against who refreshes it.
        found = await self._store.get(path)
        if found is None:
            raise NotFound("No such account is connected.")
        held, lease, now = _read(found, sealer), found.data.get("lease"), self._clock()
        busy = lease is not None and lease["until"] > now
        if busy or held.account.status != "ok" or fresh(held.tokens):
            return Claim(held, mine=False)
        taken = {"owner": owner, "until": now + dt.timedelta(seconds=LEASE_S)}
        try:
            await self._store.commit(Update(path, {"lease": taken}, if_version=found.version))
        except Conflict:  # somebody else was first
            return Claim(held, mine=False)
        return Claim(held, mine=True)

    async def renewed(self, uid: str, before: Held, tokens: Tokens) -> Held:
        """Keep what a refresh brought, unless newer tokens are kept by now; return those kept."""
        path, sealer = _path(uid, before.account.id), await self._vault.open(uid)

        async def write(transaction: Transaction) -> Held:
            found = await transaction.get(path)
            if found is None:
                raise NotFound("No such account is connected.")
            held = _read(found, sealer)
            if held.generation != before.generation:
                return held
            account = replace(held.account, scopes=tokens.scopes)
            transaction.write(Update(path, {
                "scopes": list(tokens.scopes), "generation": held.generation + 1, "lease": None,
                "changed_at": self._clock(), **_secrets(path, sealer, tokens),
            }))  # fmt: skip
            return Held(account, tokens, held.generation + 1)

        return await self._store.transact(write)

    async def refused(self, uid: str, before: Held) -> bool:
        """Mark that an account must be linked again, and drop its dead tokens.

        False where it was linked again or refreshed by somebody else meanwhile: then it is good.
        """
        path, sealer = _path(uid, before.account.id), await self._vault.open(uid)

        async def mark(transaction: Transaction) -> bool:
            found = await transaction.get(path)
            if found is None or found.data["generation"] != before.generation:
                return False
            transaction.write(Update(path, {
                "status": "reauth", "generation": before.generation + 1, "lease": None,
                "changed_at": self._clock(), **_secrets(path, sealer, Tokens(access="")),
            }))  # fmt: skip
            return True

        return await self._store.transact(mark)

    async def release(self, uid: str, account_id: str, *, owner: str) -> None:
        """Give a claimed refresh back, so that the next caller need not wait for the lease."""
        path = _path(uid, account_id)

        async def give(transaction: Transaction) -> None:
            found = await transaction.get(path)
            if found and (found.data.get("lease") or {}).get("owner") == owner:
                transaction.write(Update(path, {"lease": None}))

        await self._store.transact(give)


def account_id_of(provider: str, profile: Profile) -> str:
    """Return `provider:id`, with ids that no document can be named by replaced by their hash."""
    plain = re.fullmatch(r"[\w.-]{1,100}", profile.id, re.ASCII)
    key = profile.id if plain else hashlib.sha256(profile.id.encode()).hexdigest()
    return f"{provider}:{key}"


def _valid(account_id: str) -> bool:
    return bool(re.fullmatch(r"[a-z0-9_]{1,32}:[\w.-]{1,100}", account_id, re.ASCII))


def _collection(uid: str) -> str:
    return f"{documents.user(uid)}/accounts"


def _path(uid: str, account_id: str) -> str:
    return f"{_collection(uid)}/{account_id}"


def _owner(account_id: str) -> str:
    return f"account_owners/{hashlib.sha256(account_id.encode()).hexdigest()}"


def _secrets(path: str, sealer: Sealer, tokens: Tokens) -> Data:
    body = json.dumps({"access": tokens.access, "refresh": tokens.refresh}).encode()
    return {"tokens": sealer.seal(path, "tokens", body), "access_until": tokens.expires_at}


def _read(snapshot: Snapshot, sealer: Sealer) -> Held:
    data, path = snapshot.data, snapshot.path
    scopes: Sequence[Any] = documents.require(data, "scopes", list)
    account = Account(
        id=snapshot.id,
        provider=documents.require(data, "provider", str),
        label=sealer.unseal(path, "label", documents.require(data, "label", bytes)).decode(),
        scopes=tuple(scopes),
        status="ok" if data["status"] == "ok" else "reauth",
        linked_at=documents.require(data, "linked_at", dt.datetime),
        used_at=data.get("used_at"),
    )
    kept = json.loads(sealer.unseal(path, "tokens", documents.require(data, "tokens", bytes)))
    tokens = Tokens(
        access=kept["access"], refresh=kept["refresh"], expires_at=data["access_until"],
        scopes=account.scopes,
    )  # fmt: skip
    return Held(account, tokens, documents.require(data, "generation", int))
