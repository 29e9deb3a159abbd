"""One-time tickets: how a socket or a call proves whose it is without a token in its URL.

A ticket is 256 random bits that live a minute and work once, for one purpose. The store sees its
SHA-256 as the document's id and a body sealed under the ticket and its purpose, so that a copy of
the store yields neither tickets nor whose they are, even before the expired ones are swept.
"""

from __future__ import annotations

import datetime as dt
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any, Final, Literal, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common import documents
from common.documents import Clock, now
from common.errors import Conflict, InvalidInput, NotAuthenticated
from common.identity.signed import refused
from common.identity.users import Identity
from common.store import Create, Delete, Store, expires_in

Purpose: TypeAlias = Literal["chat", "voice", "link"]

TTL_S: Final = 60
_KIND = "ticket"
_AGAIN = f"A ticket works once, within {TTL_S} seconds. Get a new one for every attempt."
_LENGTH = 43  # 32 bytes in base64url
_MAX_BODY = 4096
_NONCE = bytes(12)  # each ticket is its own key and seals once


@dataclass(frozen=True, slots=True)
class Ticket:
    """A redeemed ticket: whose it is, and the claims it was minted with."""

    identity: Identity
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)


class Tickets:
    """Mints and redeems tickets."""

    def __init__(self, store: Store, *, clock: Clock = now) -> None:
        self._store = store
        self._clock = clock

    async def mint(
        self, identity: Identity, *, purpose: Purpose, claims: Mapping[str, Any] | None = None
    ) -> str:
        """Return a new ticket. `claims` are JSON values, small (InvalidInput over 4 KiB in all)."""
        ticket = secrets.token_urlsafe(32)
        body = _to_json(Ticket(identity, dict(claims or {})))
        if len(body) > _MAX_BODY:
            raise InvalidInput("A ticket's claims must stay under 4 KiB.")
        data = {
            "sealed": _cipher(ticket).encrypt(_NONCE, body, purpose.encode()),
            "expires_at": expires_in(self._clock, TTL_S),
        }
        await self._store.commit(Create(_path(ticket), data))
        return ticket

    async def redeem(self, ticket: str, *, purpose: Purpose) -> Ticket:
        """Use a ticket up and return what it holds.

        Raises NotAuthenticated when it is unknown, used, expired or for another purpose.
        """
        if len(ticket) != _LENGTH or not ticket.isascii():
            raise _refused("malformed")
        found = await self._store.get(_path(ticket))
        if found is None:
            raise _refused("unknown")
        if documents.require(found.data, "expires_at", dt.datetime) <= self._clock():
            raise _refused("expired")
        sealed = documents.require(found.data, "sealed", bytes)
        try:
            body = _cipher(ticket).decrypt(_NONCE, sealed, purpose.encode())
        except InvalidTag as err:
            raise _refused("purpose_or_altered") from err
        try:
            await self._store.commit(Delete(found.path, if_version=found.version))
        except Conflict as err:
            raise _refused("used") from err
        return _from_json(body)


def _refused(reason: str) -> NotAuthenticated:
    return refused(_KIND, reason, message=_AGAIN)


def _path(ticket: str) -> str:
    return documents.ticket(sha256(ticket.encode()).hexdigest())


def _cipher(ticket: str) -> AESGCM:
    # The prefix keeps the key apart from the document's id, which is a hash of the ticket too.
    return AESGCM(sha256(b"ticket body\0" + ticket.encode()).digest())


def _to_json(ticket: Ticket) -> bytes:
    # The default refuses (TypeError) whatever is neither JSON nor one of the identity's times.
    return json.dumps(asdict(ticket), default=dt.datetime.isoformat).encode()


def _from_json(body: bytes) -> Ticket:
    data = json.loads(body)
    who = data["identity"]
    for name in ("issued_at", "expires_at"):
        who[name] = dt.datetime.fromisoformat(who[name])
    return Ticket(Identity(**who), data["claims"])
