"""Whose telephone it is: callers and texters to users, users to their own number, who opted out.

A number is kept as a keyed hash, or sealed with its user's key; never in clear, never in a log.
Loads no model library: the functions that Twilio calls import this.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final, Protocol

from common import documents
from common.documents import Clock
from common.errors import NotAllowed
from common.identity.blind import BlindIndex
from common.identity.members import Members
from common.identity.users import Identity
from common.store import Delete, Put, Store
from common.telephony.callers import Address
from common.vault import Vault

PHONE: Final = "phone"  # as the provider of an identity, and of the "account" that a number is
_HOUR: Final = dt.timedelta(hours=1)
_NO_NUMBER: Final = "No phone number is verified. Add yours in the settings, then ask again."


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody we answer. `proven`: known for sure, without a PIN; `guest`: has no account."""

    identity: Identity
    proven: bool = False
    guest: bool = False

    @property
    def uid(self) -> str:
        """The user's id; a guest's is made from the number's hash."""
        return self.identity.uid


class PhoneBook:
    """Looks up whose a number is. `guests`: strangers are answered too, from public sources."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        blind: BlindIndex,
        members: Members,
        *,
        guests: bool,
        clock: Clock,
    ) -> None:
        self._store = store
        self._vault = vault
        self._blind = blind
        self._members = members
        self._guests = guests
        self._clock = clock

    async def caller(self, address: Address) -> Caller | None:
        """Return who is at `address`; None for a stranger.

        NotAllowed for a user who may not be answered (deleted, or terms not accepted).
        """
        if address.kind == "browser":  # we signed the token that it calls with
            return await self._member(address.uid, proven=True)
        if not address.number:
            return None
        index = await self._blind.of("phone", address.number)
        owner = await self._store.get(f"phones/{index}")
        if owner is not None:
            return await self._member(str(documents.require(owner.data, "uid", str)))
        if not self._guests:
            return None
        return Caller(self._identity(f"guest-{index}", anonymous=True), guest=True)

    async def number_of(self, uid: str) -> str:
        """Return the user's own verified number (E.164); NotAllowed where there is none."""
        path = documents.user(uid)
        user = await self._store.get(path)
        if user is None or not (sealed := user.data.get("phone")):
            raise NotAllowed(_NO_NUMBER)
        return (await self._vault.open(uid)).unseal(path, "phone", sealed).decode()

    async def opted_out(self, address: str) -> bool:
        """Tell whether `address` has said STOP."""
        return await self._store.get(await self._opt_out(address)) is not None

    async def opt_out(self, address: str) -> None:
        """Note that `address` must not be written to."""
        path = await self._opt_out(address)
        await self._store.commit(Put(path, {"at": self._clock()}))

    async def opt_in(self, address: str) -> None:
        """Note that `address` may be written to again."""
        await self._store.commit(Delete(await self._opt_out(address)))

    async def _member(self, uid: str, *, proven: bool = False) -> Caller:
        identity = self._identity(uid)
        await self._members.admit(identity)
        return Caller(identity, proven=proven)

    def _identity(self, uid: str, *, anonymous: bool = False) -> Identity:
        now = self._clock()
        return Identity(
            uid=uid, provider=PHONE, anonymous=anonymous, issued_at=now, expires_at=now + _HOUR
        )

    async def _opt_out(self, address: str) -> str:
        return f"opt_outs/{await self._blind.of('opt-out', address)}"


class LinkedAccounts(Protocol):
    """A user's linked accounts, as tools see them."""

    async def token(self, provider: str, scopes: tuple[str, ...]) -> str: ...


class AccountsAndPhone:
    """Linked accounts, and beside them the user's own number: the "token" of provider "phone".

    A tool that writes to the user's telephone asks for it as for any account, and where there is
    none the answer is the same: connect it first.
    """

    def __init__(self, accounts: LinkedAccounts, book: PhoneBook, uid: str) -> None:
        self._accounts = accounts
        self._book = book
        self._uid = uid

    async def token(self, provider: str, scopes: tuple[str, ...]) -> str:
        """Return the number for "phone", any other provider's token else."""
        if provider != PHONE:
            return await self._accounts.token(provider, scopes)
        number = await self._book.number_of(self._uid)
        if await self._book.opted_out(number):
            raise NotAllowed("You have opted out of our texts. Text START to us first.")
        return number
