"""The key-wrapping port: who turns a user's data key into something safe to store.

Adapters: `common.keys.local` (an AES key file, mode 0600) and `common.keys.kms` (Cloud KMS).
`common.vault` is the only caller: it makes data keys, stores them wrapped and seals with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """A data key in clear, and whether its wrapping should be renewed (the master key rotated)."""

    data_key: bytes
    stale: bool

    def __repr__(self) -> str:
        return f"Unwrapped(data_key=…, stale={self.stale})"


class KeyWrapper(Protocol):
    """The port. The user id is bound into the wrapping: another user's cannot be unwrapped."""

    async def wrap(self, data_key: bytes, *, uid: str) -> bytes:
        """Return `data_key` (32 bytes) wrapped for `uid`. Raises VendorUnavailable: retry."""

    async def unwrap(self, wrapped: bytes, *, uid: str) -> Unwrapped:
        """Return the data key. Raises NotFound when its master key is destroyed,
        NotAllowed when `wrapped` is not `uid`'s or was altered, VendorUnavailable: retry."""

    async def forget(self, *, uid: str) -> None:
        """Destroy what this wrapper keeps for `uid` alone (a key of its own), if anything."""

    async def close(self) -> None:
        """Release connections."""
