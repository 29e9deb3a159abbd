"""Approvals: an action waits as data, not as a suspended program.

The turn that proposes an action ends with `waiting_for_approval`; the call, with its exact
arguments, is stored sealed. A decision, from any channel, is one compare-and-set; what it leads to
happens in a turn of its own, which is begun once for each approval whatever is delivered twice.
Nothing of the SDK is kept, so that a deploy, an upgrade or weeks of history make no difference
(docs/decisions/0004-approvals-as-data.md).

    pending ──▶ approved ──▶ running ──▶ done
       ├──────▶ denied │              └▶ unknown   (died in between: never run again)
       └──────▶ expired ◀┘ (nobody could act on the yes within ACT_WITHIN)
"""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

from common import documents
from common.assistant.retrying import retrying
from common.documents import Clock, Data, new_id
from common.errors import Conflict, NotFound, OdaiError
from common.log import get_logger
from common.store import Create, Query, Snapshot, Store, Update
from common.tools import Asker, Registry
from common.vault import Vault

log = get_logger(__name__)

LIFETIME = dt.timedelta(hours=24)
ACT_WITHIN = dt.timedelta(hours=1)  # of the yes; what it was given for may be over later
_KEPT = dt.timedelta(days=30)
_LAPSED = "The yes could not be acted on in time, so nothing was done. Ask again if it still fits."
Decision: TypeAlias = Literal["approved", "denied", "expired"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A call that waits for the user's yes. `arguments` is JSON text."""

    id: str
    call_id: str
    tool: str
    arguments: str
    expires_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision that was taken, and the call it is about."""

    proposal: Proposal
    chat_id: str
    decision: Decision
    reason: str
    asker: Asker
    decided_at: dt.datetime


class _Sealed(msgspec.Struct):
    """What an approval keeps sealed."""

    call_id: str
    arguments: str
    asker: Asker
    reason: str = ""


class Approvals:
    """Stores proposals and takes decisions, each once."""

    def __init__(self, store: Store, vault: Vault, registry: Registry, *, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._registry = registry
        self._clock = clock

    def propose(self, call_id: str, tool: str, arguments: str) -> Proposal:
        """Return a new proposal; `write` makes it durable."""
        return Proposal(new_id(), call_id, tool, arguments, self._clock() + LIFETIME)

    async def write(
        self, proposal: Proposal, asker: Asker, *, chat_id: str, turn_id: str
    ) -> Create:
        """Return the write that stores `proposal`, for the commit that tells of it."""
        path = _path(proposal.id)
        sealer = await self._vault.open(asker.uid)
        sealed = msgspec.json.encode(_Sealed(proposal.call_id, proposal.arguments, asker))
        data: Data = {
            "status": "pending", "uid": asker.uid, "chat_id": chat_id, "turn_id": turn_id,
            "tool": proposal.tool, "call": sealer.seal(path, "call", sealed),
            "decide_by": proposal.expires_at, "expires_at": proposal.expires_at + _KEPT,
        }  # fmt: skip
        return Create(path, data)

    async def decide(
        self,
        approval_id: str,
        uid: str,
        *,
        approve: bool,
        arguments: dict[str, Any] | None = None,
        reason: str = "",
    ) -> Decided:
        """Decide a waiting action, once.

        Raises NotFound (unknown, or another user's), Conflict (decided already, or its message was
        replaced), InvalidInput (edited arguments that do not fit: it goes on waiting).
        """

        async def work(transaction: Any) -> Decided:
            found = await self._own(transaction, approval_id, uid)
            if found.data["status"] != "pending":
                raise Conflict("That was decided already.")
            if not await _still_told(transaction, found):
                raise Conflict("That belongs to a message that is not part of the chat any more.")
            sealer = await self._vault.open(uid)
            sealed = self._opened(sealer, found)
            expired = found.data["decide_by"] <= self._clock()
            status = "expired" if expired else "approved" if approve else "denied"
            if status == "approved" and arguments is not None:
                sealed.arguments = self._edited(found.data["tool"], arguments)
            sealed.reason = reason
            changes: Data = {"status": status, "decided_at": self._clock()}
            return _settle(transaction, sealer, found, sealed, changes)

        return await self._store.transact(work)

    async def in_time(self, decided: Decided) -> Decided:
        """Return the decision; a yes that nobody acted on within ACT_WITHIN has expired."""
        if decided.decision != "approved" or self._clock() < decided.decided_at + ACT_WITHIN:
            return decided
        uid = decided.asker.uid

        async def work(transaction: Any) -> Decided:
            found = await self._own(transaction, decided.proposal.id, uid)
            if found.data["status"] not in ("approved", "expired"):
                return decided  # somebody acted: `claim` says so
            sealer = await self._vault.open(uid)
            sealed = self._opened(sealer, found)
            sealed.reason = _LAPSED
            return _settle(transaction, sealer, found, sealed, {"status": "expired"})

        return await retrying(lambda: self._store.transact(work), crowded=True)

    async def decided_so(self, approval_id: str, uid: str, *, approve: bool) -> bool:
        """Whether exactly that was decided before."""
        with suppress(Conflict):
            decided = await self.get(approval_id, uid)
            return (decided.decision == "approved") == approve
        return False

    async def claim(self, approval_id: str, uid: str, turn_id: str) -> bool:
        """Move an approved action to `running` for `turn_id`; False where that is not possible."""

        async def work(transaction: Any) -> bool:
            found = await self._own(transaction, approval_id, uid)
            if found.data["status"] == "running" and found.data["run_by"] == turn_id:
                return True  # an earlier attempt, unheard of
            if found.data["status"] != "approved":
                return False
            transaction.write(Update(found.path, {"status": "running", "run_by": turn_id}))
            return True

        return await retrying(lambda: self._store.transact(work), crowded=True)

    async def close(self, approval_id: str, *, known: bool) -> None:
        """Note that the action ended, or that nobody knows whether it did.

        Raises nothing: what was done is told whether or not this can be stored.
        """
        ended = Update(_path(approval_id), {"status": "done" if known else "unknown"})
        try:
            await retrying(lambda: self._store.commit(ended), crowded=True)
        except OdaiError as err:
            log.error("approval not closed", extra={"code": err.code, "approval_id": approval_id})

    async def get(self, approval_id: str, uid: str) -> Decided:
        """Return what was decided. NotFound as for `decide`, Conflict where nothing was."""
        found = await self._own(self._store, approval_id, uid)
        if found.data["status"] == "pending":
            raise Conflict("That has not been decided yet.")
        sealed = self._opened(await self._vault.open(uid), found)
        refused = found.data["status"] in ("denied", "expired")
        return _decided(found, sealed, found.data["status"] if refused else "approved")

    async def unfinished(self, chat_id: str, uid: str) -> list[Decided]:
        """Return a chat's approved actions that nobody has begun."""
        query = Query("approvals", where=(("chat_id", "==", chat_id), ("status", "==", "approved")))
        found = await self._store.query(query)
        sealer = await self._vault.open(uid)
        own = [each for each in found if each.data["uid"] == uid]
        return [_decided(each, self._opened(sealer, each), "approved") for each in own]

    async def abandon(self, turn_id: str) -> list[str]:
        """Note that nobody knows how the actions ended that this turn ran; return their tools.

        Safe to repeat.
        """
        query = Query(
            "approvals",
            where=(("run_by", "==", turn_id), ("status", "in", ("running", "unknown"))),
        )
        found = await self._store.query(query)
        for each in found:
            await self._store.commit(Update(each.path, {"status": "unknown"}))
        return [each.data["tool"] for each in found]

    async def _own(self, reader: Any, approval_id: str, uid: str) -> Snapshot:
        if not approval_id.isalnum():
            raise NotFound("There is nothing by that id to approve.")
        found: Snapshot | None = await reader.get(_path(approval_id))
        if found is None or found.data["uid"] != uid:
            raise NotFound("There is nothing by that id to approve.")
        return found

    def _edited(self, tool: str, arguments: dict[str, Any]) -> str:
        parameters = self._registry.tool(tool).parameters
        parameters.parse(arguments)
        return msgspec.json.encode(arguments).decode()

    def _opened(self, sealer: Any, found: Snapshot) -> _Sealed:
        blob = sealer.unseal(found.path, "call", found.data["call"])
        return msgspec.json.decode(blob, type=_Sealed)


async def _still_told(transaction: Any, found: Snapshot) -> bool:
    turns = documents.turns(found.data["chat_id"])
    turn = await transaction.get(f"{turns}/{found.data['turn_id']}")
    return turn is not None and turn.data["status"] != "superseded"


def _settle(
    transaction: Any, sealer: Any, found: Snapshot, sealed: _Sealed, changes: Data
) -> Decided:
    """Write these changes with what is sealed, and return the decision that they make."""
    call = sealer.seal(found.path, "call", msgspec.json.encode(sealed))
    transaction.write(Update(found.path, {**changes, "call": call}))
    after = Snapshot(found.path, {**found.data, **changes}, "")
    return _decided(after, sealed, changes["status"])


def _decided(found: Snapshot, sealed: _Sealed, decision: Any) -> Decided:
    proposal = Proposal(
        found.id, sealed.call_id, found.data["tool"], sealed.arguments, found.data["decide_by"]
    )
    data = found.data
    return Decided(
        proposal, data["chat_id"], decision, sealed.reason, sealed.asker, data["decided_at"]
    )


def _path(approval_id: str) -> str:
    return f"approvals/{approval_id}"
