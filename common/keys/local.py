"""Key wrapping with an AES key file: what a laptop has in place of Cloud KMS.

`keys.json` holds one 256-bit master key for each version: `{"primary": 2, "keys": {"1": "…"}}`.
Whoever reads it can open every user's data, so it is created with mode 0600 and refused with any
other. Versions exist so that rotation here behaves as it does in KMS: old ones go on unwrapping.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common.errors import InvalidInput, Misconfigured, NotAllowed, NotFound
from common.keys import Unwrapped

_FORMAT = b"\x01"
_HEADER = 1 + 4 + 12  # format, master key version, nonce
_TAG = 16


class LocalKeys:
    """`KeyWrapper` over a folder's `keys.json`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "keys.json"
        self._primary = 0
        self._ciphers: dict[int, AESGCM] = {}

    @classmethod
    def open(cls, folder: Path) -> LocalKeys:
        """Open the key file of `folder`, creating both where they are missing.

        Raises Misconfigured when others may read the file, or when it does not hold keys.
        """
        keys = cls(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if not keys._path.exists():
            keys._create()
        keys._load()
        return keys

    async def wrap(self, data_key: bytes, *, uid: str) -> bytes:
        """Return `data_key` wrapped by the primary version, bound to `uid`."""
        header = _FORMAT + self._primary.to_bytes(4, "big")
        nonce = secrets.token_bytes(12)
        return header + nonce + self._ciphers[self._primary].encrypt(nonce, data_key, uid.encode())

    async def unwrap(self, wrapped: bytes, *, uid: str) -> Unwrapped:
        """Return the data key; `stale` when another version than the primary wrapped it."""
        if len(wrapped) < _HEADER + _TAG or wrapped[:1] != _FORMAT:
            raise NotAllowed("This wrapped key was altered.")
        version = int.from_bytes(wrapped[1:5], "big")
        if version not in self._ciphers:
            self._load()  # another process may have rotated
        cipher = self._ciphers.get(version)
        if cipher is None:
            raise NotFound(f"Version {version} of the master key is destroyed.")
        try:
            data_key = cipher.decrypt(wrapped[5:_HEADER], wrapped[_HEADER:], uid.encode())
        except InvalidTag as err:
            raise NotAllowed("This wrapped key belongs to somebody else or was altered.") from err
        return Unwrapped(data_key, stale=version != self._primary)

    async def forget(self, *, uid: str) -> None:
        """Do nothing: no key here is one user's alone."""

    async def close(self) -> None:
        """Do nothing: nothing is held open."""

    def rotate(self) -> int:
        """Make a new primary version and return its number; older ones still unwrap."""
        with self._changing() as keys:
            version = max(keys) + 1
            keys[version] = secrets.token_bytes(32)
            self._replace(version, keys)
        return version

    def destroy(self, version: int) -> None:
        """Remove a version for good: what only it wrapped is lost.

        Raises InvalidInput for the primary (rotate first), NotFound when there is no such version.
        """
        with self._changing() as keys:
            if version == self._primary:
                raise InvalidInput("The primary version is in use: rotate before destroying it.")
            if keys.pop(version, None) is None:
                raise NotFound(f"There is no version {version}.")
            self._replace(self._primary, keys)

    def _create(self) -> None:
        draft = self._draft(1, {1: secrets.token_bytes(32)})
        try:
            os.link(draft, self._path)  # unlike a rename, never replaces a concurrent creator's
        except FileExistsError:
            pass
        finally:
            draft.unlink()

    def _replace(self, primary: int, keys: dict[int, bytes]) -> None:
        os.replace(self._draft(primary, keys), self._path)
        self._load()

    def _draft(self, primary: int, keys: dict[int, bytes]) -> Path:
        encoded = {str(v): base64.b64encode(key).decode() for v, key in keys.items()}
        draft = self._path.with_name(f".keys-{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"primary": primary, "keys": encoded}, file)
            file.flush()
            os.fsync(file.fileno())
        return draft

    def _load(self) -> dict[int, bytes]:
        self._refuse_loose_mode()
        try:
            stored = json.loads(self._path.read_bytes())
            keys = {int(v): base64.b64decode(k, validate=True) for v, k in stored["keys"].items()}
            ciphers = {version: AESGCM(key) for version, key in keys.items()}
            primary = int(stored["primary"])
            ciphers[primary]
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as err:
            raise Misconfigured(
                f"{self._path} does not hold keys: restore it from a backup. "
                "Deleting it makes a new one and loses everything sealed so far."
            ) from err
        self._primary, self._ciphers = primary, ciphers
        return keys

    def _refuse_loose_mode(self) -> None:
        try:
            mode = stat.S_IMODE(self._path.stat().st_mode)
        except FileNotFoundError as err:
            raise Misconfigured(f"{self._path} is gone: restore it from a backup.") from err
        if mode & 0o077:
            raise Misconfigured(f"Others may read {self._path}: run chmod 600 {self._path}")

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[int, bytes]]:
        """Hold the lock that keeps two rotations from losing one another's key."""
        with open(self._path.with_name("keys.lock"), "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._load()
