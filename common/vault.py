"""Sealing: every secret the store keeps passes through here.

Each user has a random 256-bit data key, kept in `users/{uid}` wrapped by `common.keys` and held in
clear only in memory, for minutes. Values are sealed with AES-256-GCM, bound to where they are
stored, so that a sealed value moved to another user, document or field does not open. Deleting the
wrapped key makes everything sealed with it unreadable at once, in backups too.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import OrderedDict
from dataclasses import dataclass
from os import urandom

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common import documents
from common.background import Background
from common.errors import Conflict, NotAllowed, NotFound
from common.keys import KeyWrapper, Unwrapped
from common.log import get_logger
from common.store import DELETE_FIELD, Merge, Store, Transaction, Update

_VERSION = b"\x01"
_NONCE = 12
_SHORTEST = 1 + _NONCE + 16
_FIELD = "data_key"
_log = get_logger(__name__)


class Sealer:
    """Seals and unseals one user's values, in microseconds and without awaiting anything."""

    __slots__ = ("_cipher", "_uid")

    def __init__(self, uid: str, data_key: bytes) -> None:
        self._uid = _part(uid)
        self._cipher: AESGCM | None = AESGCM(data_key)

    def seal(self, path: str, field: str, plaintext: bytes) -> bytes:
        """Return `plaintext` sealed for field `field` of the document at `path` (29 bytes longer).

        Raises NotFound when the user's key was shredded meanwhile.
        """
        nonce = urandom(_NONCE)
        return _VERSION + nonce + self._key().encrypt(nonce, plaintext, self._bound(path, field))

    def unseal(self, path: str, field: str, blob: bytes) -> bytes:
        """Return what was sealed for exactly this user, document and field.

        Raises NotAllowed for anything else, NotFound when the user's key was shredded meanwhile.
        """
        cipher = self._key()
        if len(blob) < _SHORTEST or blob[:1] != _VERSION:
            raise NotAllowed("A stored value cannot be opened: it was altered.")
        nonce, sealed = blob[1 : 1 + _NONCE], blob[1 + _NONCE :]
        try:
            return cipher.decrypt(nonce, sealed, self._bound(path, field))
        except InvalidTag as err:
            raise NotAllowed("A stored value cannot be opened: it was altered or moved.") from err

    def revoke(self) -> None:
        """Drop the key: what would be sealed with it from now on could never be opened."""
        self._cipher = None

    def _key(self) -> AESGCM:
        if self._cipher is None:
            raise NotFound("This account's data was deleted.")
        return self._cipher

    def _bound(self, path: str, field: str) -> bytes:
        collection, _, document = path.rpartition("/")
        parts = (self._uid, _part(collection), _part(document), _part(field))
        return "|".join(parts).encode()


@dataclass(frozen=True, slots=True)
class _Cached:
    sealer: Sealer
    until: dt.datetime


class Vault:
    """Opens users' data keys and keeps them in memory for `cache_s` seconds, at most `size`.

    While the key service is down, users whose key is in memory go on working until it expires;
    others get VendorUnavailable. Nothing is ever stored in clear instead.
    """

    def __init__(
        self,
        store: Store,
        keys: KeyWrapper,
        clock: documents.Clock = documents.now,
        cache_s: float = 300.0,
        *,
        size: int = 10_000,
    ) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._cache_for = dt.timedelta(seconds=cache_s)
        self._size = size
        self._cache: OrderedDict[str, _Cached] = OrderedDict()
        self._opening: dict[str, asyncio.Task[Sealer]] = {}
        self._background = Background()

    async def open(self, uid: str) -> Sealer:
        """Return the sealer of `uid`, making the user's data key on first use.

        Raises VendorUnavailable (retry), NotFound when the master key of this user is destroyed,
        NotAllowed when the stored wrapped key was altered or is another user's.
        """
        cached = self._cache.get(uid)
        if cached and self._clock() < cached.until:
            self._cache.move_to_end(uid)
            return cached.sealer
        opening = self._opening.get(uid)
        if opening is None:
            opening = self._opening[uid] = asyncio.create_task(self._open(uid))
            opening.add_done_callback(lambda done: self._opened(uid, done))
        # Shielded: one caller giving up must not fail the others who wait for the same key.
        return await asyncio.shield(opening)

    async def shred(self, uid: str) -> None:
        """Delete the user's data key everywhere this process can reach it; safe to repeat.

        Other processes may still hold it in memory until their cache expires.
        """

        async def delete(transaction: Transaction) -> None:
            snapshot = await transaction.get(documents.user(uid))
            if snapshot and _FIELD in snapshot.data:
                transaction.write(Update(snapshot.path, {_FIELD: DELETE_FIELD}))

        self._drop(uid)
        await self._store.transact(delete)
        await self._keys.forget(uid=uid)
        self._drop(uid)

    async def close(self) -> None:
        """Let renewals under way end; keys in memory are dropped."""
        await self._background.finish(timeout=10.0)
        for uid in list(self._cache):
            self._drop(uid)

    def _drop(self, uid: str) -> None:
        self._opening.pop(uid, None)
        if cached := self._cache.pop(uid, None):
            cached.sealer.revoke()

    def _opened(self, uid: str, done: asyncio.Task[Sealer]) -> None:
        if self._opening.get(uid) is done:
            del self._opening[uid]
        if not done.cancelled():
            done.exception()  # its waiters may all be gone: retrieved here, or asyncio complains

    async def _open(self, uid: str) -> Sealer:
        snapshot = await self._store.get(documents.user(uid))
        wrapped = snapshot.data.get(_FIELD) if snapshot else None
        if wrapped is None:
            wrapped, unwrapped = await self._create(uid)
        else:
            unwrapped = await self._keys.unwrap(wrapped, uid=uid)
        if self._opening.get(uid) is not asyncio.current_task():
            raise Conflict("This account's data was deleted meanwhile.")
        if unwrapped.stale:
            self._background.spawn(self._renew(uid, wrapped, unwrapped.data_key))
        return self._remember(uid, Sealer(uid, unwrapped.data_key))

    def _remember(self, uid: str, sealer: Sealer) -> Sealer:
        self._cache[uid] = _Cached(sealer, self._clock() + self._cache_for)
        self._cache.move_to_end(uid)
        if len(self._cache) > self._size:
            self._cache.popitem(last=False)
        return sealer

    async def _create(self, uid: str) -> tuple[bytes, Unwrapped]:
        data_key = urandom(32)
        # Wrapped before the transaction, which may run several times and must stay short.
        wrapped = await self._keys.wrap(data_key, uid=uid)

        async def claim(transaction: Transaction) -> bytes:
            snapshot = await transaction.get(documents.user(uid))
            if snapshot and snapshot.data.get(_FIELD) is not None:
                winner: bytes = documents.require(snapshot.data, _FIELD, bytes)
                return winner
            transaction.write(Merge(documents.user(uid), {_FIELD: wrapped}))
            return wrapped

        stored = await self._store.transact(claim)
        if stored == wrapped:
            return stored, Unwrapped(data_key, stale=False)
        return stored, await self._keys.unwrap(stored, uid=uid)

    async def _renew(self, uid: str, wrapped: bytes, data_key: bytes) -> None:
        """Wrap the same data key with the current master key, unless somebody else did."""

        async def replace(transaction: Transaction) -> None:
            snapshot = await transaction.get(documents.user(uid))
            if snapshot and snapshot.data.get(_FIELD) == wrapped:
                transaction.write(Update(snapshot.path, {_FIELD: renewed}))

        try:
            renewed = await self._keys.wrap(data_key, uid=uid)
            await self._store.transact(replace)
        except Exception:
            _log.warning("data key not renewed", exc_info=True)


def _part(text: str) -> str:
    """Escape the separator, so that no two places share one binding."""
    return text.replace("%", "%25").replace("|", "%7C") if "|" in text or "%" in text else text
