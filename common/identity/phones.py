"""Phone numbers of users: proven by a code sent there, kept sealed, found by a keyed hash.

Calls and texts are answered as the user whose number it is. Numbers are recycled: whoever proves a
number last has it, and its former owner loses it.
"""

from __future__ import annotations

import datetime as dt
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from common import documents
from common.documents import Clock
from common.errors import InvalidInput, RateLimited
from common.identity.blind import BlindIndex
from common.identity.limits import Limits
from common.store import DELETE_FIELD, Delete, Merge, Put, Store, Transaction, Update, Write
from common.vault import Vault

Send: TypeAlias = Callable[[str, str], Awaitable[None]]

CODE_S: Final = 600
MAX_GUESSES: Final = 5
_HOUR: Final = 3600.0
_FIELDS: Final = ("phone", "phone_ending", "phone_index", "phone_verified_at")


class Phones:
    """Proves numbers and finds their owners. `send(number, text)` sends a text."""

    def __init__(
        self, store: Store, vault: Vault, blind: BlindIndex, limits: Limits,
        *, send: Send, clock: Clock,
    ) -> None:  # fmt: skip
        self._store = store
        self._vault = vault
        self._blind = blind
        self._limits = limits
        self._send = send
        self._clock = clock

    async def start(self, uid: str, number: str) -> None:
        """Send a code to `number`; the one sent before holds no longer.

        Raises InvalidInput (no such number), RateLimited (three an hour for a user and for a
        number, ten a day for a user), and what sending raises.
        """
        number = e164(number)
        await self._limits.spend("code for user", uid, most=3, seconds=_HOUR)
        await self._limits.spend("codes for user", uid, most=10, seconds=24 * _HOUR)
        await self._limits.spend("code to number", number, most=3, seconds=_HOUR)
        code = f"{secrets.randbelow(1_000_000):06d}"
        path = _code_path(uid)
        sealer = await self._vault.open(uid)
        await self._store.commit(Put(path, {
            "number": sealer.seal(path, "number", number.encode()),
            "code": await self._hashed(uid, code),
            "guesses": 0,
            "expires_at": self._clock() + dt.timedelta(seconds=CODE_S),
        }))  # fmt: skip
        await self._send(number, f"Your ODAI code is {code}. It works for 10 minutes.")

    async def confirm(self, uid: str, code: str) -> str:
        """Make the number the user's, if `code` is the one sent; return its last two digits.

        Raises InvalidInput (wrong, expired, none sent) and RateLimited after five guesses.
        """
        guess = await self._hashed(uid, re.sub(r"\s", "", code))
        if not await self._guess(uid, guess):
            raise InvalidInput("That is not the code, or it has expired. Check it or ask anew.")
        path = _code_path(uid)
        found = await self._store.get(path)
        if found is None or found.data["code"] != guess:
            raise InvalidInput("A newer code was sent meanwhile. Use that one.")
        sealer = await self._vault.open(uid)
        number = sealer.unseal(path, "number", found.data["number"]).decode()
        await self._own(uid, number, Delete(path, if_version=found.version))
        return number[-2:]

    async def forget(self, uid: str) -> None:
        """Let go of the user's number, if there is one, and of a code under way."""

        async def work(transaction: Transaction) -> None:
            user = await transaction.get(documents.user(uid))
            transaction.write(Delete(_code_path(uid)))
            if user and (index := user.data.get("phone_index")):
                transaction.write(Delete(_phone_path(index)), _cleared(uid))

        await self._store.transact(work)

    async def owner(self, number: str) -> str | None:
        """Return the user who has proven `number` (E.164), or None."""
        found = await self._store.get(_phone_path(await self._blind.of("phone", number)))
        return None if found is None else str(documents.require(found.data, "uid", str))

    async def _guess(self, uid: str, guess: str) -> bool:
        """Count a guess, then compare: guesses made at the same moment count as well."""

        async def work(transaction: Transaction) -> bool:
            found = await transaction.get(_code_path(uid))
            if found is None or found.data["expires_at"] <= self._clock():
                return False
            if found.data["guesses"] >= MAX_GUESSES:
                raise RateLimited("Too many wrong codes. Ask for a new one.")
            transaction.write(Update(found.path, {"guesses": found.data["guesses"] + 1}))
            return hmac.compare_digest(str(found.data["code"]), guess)

        return await self._store.transact(work)

    async def _own(self, uid: str, number: str, used: Write) -> None:
        index = await self._blind.of("phone", number)
        path = documents.user(uid)
        sealed = (await self._vault.open(uid)).seal(path, "phone", number.encode())

        async def work(transaction: Transaction) -> None:
            before = await transaction.get(_phone_path(index))
            user = await transaction.get(path)
            former = before.data["uid"] if before else uid
            loser = await transaction.get(documents.user(former)) if former != uid else None
            old = user.data.get("phone_index") if user else None
            now: Any = self._clock()
            transaction.write(used, Put(_phone_path(index), {"uid": uid, "verified_at": now}))
            if old and old != index:
                transaction.write(Delete(_phone_path(old)))
            if loser and loser.data.get("phone_index") == index:
                transaction.write(_cleared(former))
            transaction.write(Merge(path, {
                "phone": sealed, "phone_ending": number[-2:],
                "phone_index": index, "phone_verified_at": now,
            }))  # fmt: skip

        await self._store.transact(work)

    async def _hashed(self, uid: str, code: str) -> str:
        return await self._blind.of("phone code", f"{uid}\0{code}")


def e164(number: str) -> str:
    """Return `number` without spaces and punctuation; InvalidInput unless it has its country."""
    bare = re.sub(r"[\s().\-\u00a0/]", "", number)
    if not re.fullmatch(r"\+[1-9]\d{6,14}", bare):
        raise InvalidInput("number must begin with + and the country code: +14155550100.")
    return bare


def _cleared(uid: str) -> Update:
    return Update(documents.user(uid), dict.fromkeys(_FIELDS, DELETE_FIELD))


def _phone_path(index: str) -> str:
    return f"phones/{index}"


def _code_path(uid: str) -> str:
    return f"phone_codes/{uid}"
