"""Users as members: who signed up, which terms they accepted, and who was deleted.

A token tells whose it is; whether that user may use the product is told here. A deleted user leaves
a tombstone, so that a token issued before the deletion brings nothing back to life.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from common import documents
from common.documents import Clock, Data
from common.errors import Conflict, NotAllowed
from common.identity.signed import refused
from common.identity.users import Identity, Verifier
from common.store import Merge, Put, Store, Transaction

TERMS: Final = "2026-11"  # the version that must be accepted; a new one is asked for again
Standing: TypeAlias = Literal["new", "member", "deleting", "revoked", "deleted"]


@dataclass(frozen=True, slots=True)
class Member:
    """What is known of a user. `terms` is the version accepted, "" for none.

    `phone_ending` is the last two digits of the verified number, "" where there is none.
    """

    uid: str
    standing: Standing
    terms: str = ""
    accepted_at: dt.datetime | None = None
    signed_up_at: dt.datetime | None = None
    phone_ending: str = ""
    has_pin: bool = False

    @property
    def accepted(self) -> bool:
        """Whether the present terms are accepted."""
        return self.terms == TERMS


class Members:
    """Reads and changes memberships. `require_terms`: nobody is admitted without them."""

    def __init__(self, store: Store, *, clock: Clock, require_terms: bool) -> None:
        self._store = store
        self._clock = clock
        self._require_terms = require_terms

    async def member(self, uid: str) -> Member:
        """Return what is known of `uid`."""
        found = await self._store.get(documents.user(uid))
        return _member(uid, found.data if found else {})

    async def admit(self, identity: Identity, *, terms: bool = True) -> Member:
        """Return the user; NotAllowed for a deleted one and, with `terms`, for one without them."""
        member = await self.member(identity.uid)
        if member.standing not in ("new", "member"):
            raise NotAllowed("This account was deleted. Sign up with another one.")
        if terms and self._require_terms and not member.accepted:
            raise NotAllowed("Accept the terms first, then try again.")
        return member

    async def accept_terms(self, uid: str, version: str) -> Member:
        """Note that the user accepts `version`; Conflict where that is not the present one."""
        if version != TERMS:
            raise Conflict(f"The terms have changed: read and accept version {TERMS}.")
        now = self._clock()

        async def accept(transaction: Transaction) -> Member:
            found = await transaction.get(documents.user(uid))
            data: Data = found.data if found else {}
            if data.get("deletion"):
                raise NotAllowed("This account was deleted. Sign up with another one.")
            if (data.get("terms") or {}).get("version") == TERMS:
                return _member(uid, data)
            changes: Data = {"terms": {"version": TERMS, "accepted_at": now}}
            if "signed_up_at" not in data:
                changes["signed_up_at"] = now
            transaction.write(Merge(documents.user(uid), changes))
            return _member(uid, {**data, **changes})

        return await self._store.transact(accept)

    async def leave(self, uid: str, step: Literal["deleting", "revoked"]) -> None:
        """Note how far the user's deletion has come: from the first step on nobody is admitted."""
        changes = {"deletion": step, "deletion_at": self._clock()}
        await self._store.commit(Merge(documents.user(uid), changes))

    async def bury(self, uid: str) -> None:
        """Replace all that the user's document holds by the tombstone."""
        await self._store.commit(
            Put(documents.user(uid), {"deletion": "deleted", "deletion_at": self._clock()})
        )


class LivingOnly:
    """Accepts what `inner` does, but for deleted users' tokens: they outlive them by an hour."""

    def __init__(self, inner: Verifier, members: Members) -> None:
        self._inner = inner
        self._members = members

    async def verify(self, token: str) -> Identity:
        """Return whose token it is, as `Verifier` does."""
        identity = await self._inner.verify(token)
        if (await self._members.member(identity.uid)).standing == "deleted":
            raise refused("user", "deleted")
        return identity


def _member(uid: str, data: Data) -> Member:
    terms = data.get("terms") or {}
    standing: Standing = data.get("deletion") or ("member" if data.get("signed_up_at") else "new")
    return Member(
        uid,
        standing,
        terms=terms.get("version", ""),
        accepted_at=terms.get("accepted_at"),
        signed_up_at=data.get("signed_up_at"),
        phone_ending=data.get("phone_ending", ""),
        has_pin="pin" in data,
    )
