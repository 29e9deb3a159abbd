"""Keyed hashes of values that anybody can guess: phone numbers, e-mail addresses, user ids.

A plain hash of a phone number is undone by hashing every number there is. The key here is random,
made once and kept sealed like a user's secrets, so that a copy of the store finds nobody.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from os import urandom
from typing import Final

from common.errors import Conflict
from common.store import Create, Store
from common.vault import Vault

_OWNER: Final = "odai.index"  # whose data key seals the index key: nobody signs in by that id
_PATH: Final = "settings/blind_index"
_FIELD: Final = "key"


class BlindIndex:
    """Makes the hashes; the key is read once for each process."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault
        self._key: bytes | None = None

    async def of(self, kind: str, value: str) -> str:
        """Return 40 hex digits, the same for a `value` of a `kind` for ever, alike for no two."""
        if self._key is None:
            self._key = await self._load()
        return hmac.digest(self._key, f"{kind}\0{value}".encode(), sha256).hex()[:40]

    async def _load(self) -> bytes:
        sealer = await self._vault.open(_OWNER)
        found = await self._store.get(_PATH)
        if found is None:
            sealed = sealer.seal(_PATH, _FIELD, urandom(32))
            try:
                await self._store.commit(Create(_PATH, {_FIELD: sealed}))
            except Conflict:  # another process was first: its key is the one
                return await self._load()
            return await self._load()
        return sealer.unseal(_PATH, _FIELD, found.data[_FIELD])
