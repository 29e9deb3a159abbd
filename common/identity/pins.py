"""The PIN that a caller says before the assistant speaks of their own accounts.

Caller ids can be forged. A PIN is short, so its hash is slow (scrypt), sealed with the user's key,
and guesses are few: five, then a quarter of an hour of silence that doubles each time.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import hmac
import itertools
import re
from os import urandom
from typing import Final

from common import documents
from common.documents import Clock
from common.errors import InvalidInput, NotFound, RateLimited
from common.store import DELETE_FIELD, Merge, Snapshot, Store, Transaction, Update
from common.vault import Vault

MAX_GUESSES: Final = 5
LOCKED_S: Final = 900.0
_LONGEST_S: Final = 86_400.0
_SALT: Final = 16


class Pins:
    """Sets and checks PINs."""

    def __init__(self, store: Store, vault: Vault, *, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock

    async def set(self, uid: str, pin: str) -> None:
        """Set or replace the PIN; InvalidInput unless it is 4 to 8 digits that are not obvious."""
        if not re.fullmatch(r"[0-9]{4,8}", pin) or _obvious(pin):
            raise InvalidInput("pin must be 4 to 8 digits, not all alike and not in a row.")
        salt = urandom(_SALT)
        path = documents.user(uid)
        sealer = await self._vault.open(uid)
        sealed = sealer.seal(path, "pin", salt + await _slow_hash(pin, salt))
        await self._store.commit(Merge(path, {
            "pin": sealed, "pin_guesses": 0, "pin_locked_until": DELETE_FIELD,
        }))  # fmt: skip

    async def check(self, uid: str, pin: str) -> bool:
        """Tell whether `pin` is the user's.

        Raises NotFound where none is set and RateLimited while it is locked.
        """
        found = await self._store.transact(lambda transaction: self._guess(transaction, uid))
        sealer = await self._vault.open(uid)
        stored = sealer.unseal(found.path, "pin", found.data["pin"])
        given = await _slow_hash(pin, stored[:_SALT])
        if not hmac.compare_digest(given, stored[_SALT:]):
            return False
        await self._store.commit(
            Update(found.path, {"pin_guesses": 0, "pin_locked_until": DELETE_FIELD})
        )
        return True

    async def _guess(self, transaction: Transaction, uid: str) -> Snapshot:
        """Count a guess before it is compared: guesses made at the same moment count as well."""
        found = await transaction.get(documents.user(uid))
        if found is None or "pin" not in found.data:
            raise NotFound("No PIN is set. Set one in the settings.")
        now, until = self._clock(), found.data.get("pin_locked_until")
        if until and until > now:
            raise RateLimited(
                "Too many wrong PINs. Try again later.", retry_after=(until - now).total_seconds()
            )
        guesses = found.data.get("pin_guesses", 0) + 1
        changes: dict[str, object] = {"pin_guesses": guesses}
        if guesses >= MAX_GUESSES and guesses % MAX_GUESSES == 0:
            wait = min(LOCKED_S * 2 ** (guesses // MAX_GUESSES - 1), _LONGEST_S)
            changes["pin_locked_until"] = now + dt.timedelta(seconds=wait)
        transaction.write(Update(found.path, changes))
        return found


async def _slow_hash(pin: str, salt: bytes) -> bytes:
    # In a thread: 50 ms of arithmetic must not stop the loop that everybody shares.
    return await asyncio.to_thread(
        hashlib.scrypt, pin.encode(), salt=salt, n=2**14, r=8, p=1, dklen=32
    )


def _obvious(pin: str) -> bool:
    steps = {(int(b) - int(a)) % 10 for a, b in itertools.pairwise(pin)}
    return len(steps) == 1 and steps <= {0, 1, 9}
