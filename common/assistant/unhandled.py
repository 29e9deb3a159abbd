"""Requests the assistant could not serve: kept for whoever decides what is built next.

What was asked for is one short phrase, sealed with its user's key: a deleted user's requests cannot
be read any more. The prompt itself is not kept here.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from common import documents
from common.documents import Clock
from common.errors import NotAllowed, NotFound
from common.store import Put, Query, Snapshot, Store
from common.vault import Vault

Reason: TypeAlias = Literal["no_tool", "not_set_up", "not_connected", "failed"]
REASONS: Final = get_args(Reason)
_COLLECTION: Final = "unhandled_requests"
_KEPT: Final = dt.timedelta(days=365)
_LONGEST: Final = 80
_PAGE: Final = 300


@dataclass(frozen=True, slots=True)
class Demand:
    """A capability that was missed: how often, by how many users, since when and until when."""

    capability: str
    reason: str
    count: int
    users: int
    first_at: dt.datetime
    last_at: dt.datetime


def reason_of(text: str) -> Reason:
    """Return the reason that a model named; "no_tool" where it named none we know."""
    known: tuple[Reason, ...] = REASONS
    return next((reason for reason in known if reason == text), "no_tool")


class UnhandledRequests:
    """Records what could not be done, and sums it up."""

    def __init__(self, store: Store, vault: Vault, *, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock

    async def record(
        self, uid: str, *, chat_id: str, turn_id: str, capability: str, reason: Reason
    ) -> bool:
        """Keep one, once for each turn; False where `capability` says nothing."""
        wanted = " ".join(capability.split()).strip(" .\"'")[:_LONGEST]
        if not any(letter.isalnum() for letter in wanted) or not wanted.isprintable():
            return False
        path = f"{_COLLECTION}/{turn_id}"
        sealer = await self._vault.open(uid)
        now = self._clock()
        await self._store.commit(Put(path, {
            "uid": uid, "chat_id": chat_id, "turn_id": turn_id, "reason": reason, "at": now,
            "capability": sealer.seal(path, "capability", wanted.encode()),
            "expires_at": now + _KEPT,
        }))  # fmt: skip
        return True

    async def demands(self) -> list[Demand]:
        """Return what was missed, the most wanted first; what cannot be opened is left out."""
        found: dict[tuple[str, str], list[tuple[str, str, dt.datetime]]] = {}
        async for snapshot in self._all():
            capability = await self._opened(snapshot)
            if capability:
                data = snapshot.data
                key = (capability.casefold(), data["reason"])
                found.setdefault(key, []).append((capability, data["uid"], data["at"]))
        made = [
            Demand(
                each[0][0], reason, len(each), len({uid for _, uid, _ in each}),
                min(at for _, _, at in each), max(at for _, _, at in each),
            )
            for (_, reason), each in found.items()
        ]  # fmt: skip
        return sorted(made, key=lambda d: (-d.users, -d.count, d.capability.casefold()))

    async def _opened(self, snapshot: Snapshot) -> str:
        uid = snapshot.data["uid"]
        user = await self._store.get(documents.user(uid))
        if user is None or "data_key" not in user.data:
            return ""  # deleted; opening the vault would make them a new key
        try:
            sealer = await self._vault.open(uid)
            blob = sealer.unseal(snapshot.path, "capability", snapshot.data["capability"])
        except (NotAllowed, NotFound):
            return ""
        return blob.decode()

    async def _all(self) -> AsyncIterator[Snapshot]:
        last: Snapshot | None = None
        while True:
            page = await self._store.query(Query(_COLLECTION, start_after=last, limit=_PAGE))
            for snapshot in page:
                yield snapshot
            if len(page) < _PAGE:
                return
            last = page[-1]
