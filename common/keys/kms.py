"""Key wrapping with Cloud KMS: https://cloud.google.com/kms/docs/reference/rest (2026-11).

The user id is the additional authenticated data. Every checksum KMS offers is sent and verified,
and the key that answered is compared with the one asked: the three checks Google's guide for data
integrity asks for. With `key_per_user` each user has a CryptoKey of their own in the same ring.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from common.errors import InvalidInput, Misconfigured, NotAllowed, NotFound, VendorUnavailable
from common.google_rest import GoogleRefusal, GoogleRest, crc32c, decode, encode
from common.keys import Unwrapped

_LIMIT = 65_536  # of the plaintext, and of the additional data
_CHECKS = 3
_DESTROY_AFTER = "86400s"  # the shortest Google allows before a destroyed version is gone for good
T = TypeVar("T")


class KmsKeys:
    """`KeyWrapper` over the CryptoKey `key` (`projects/…/locations/…/keyRings/…/cryptoKeys/…`)."""

    def __init__(self, key: str, *, api: GoogleRest, key_per_user: bool = False) -> None:
        self._key = key
        self._api = api
        self._key_per_user = key_per_user

    async def wrap(self, data_key: bytes, *, uid: str) -> bytes:
        """Return `data_key` wrapped for `uid`; makes the user's own key on first use.

        Raises NotFound when that key was destroyed, InvalidInput over 64 KiB, VendorUnavailable.
        """
        aad = _bounded(uid.encode(), "user id")
        _bounded(data_key, "data key")
        key = self._key_of(uid)
        request = {
            "plaintext": encode(data_key),
            "plaintextCrc32c": str(crc32c(data_key)),
            "additionalAuthenticatedData": encode(aad),
            "additionalAuthenticatedDataCrc32c": str(crc32c(aad)),
        }

        async def attempt() -> bytes | None:
            answer = await self._encrypt(key, request)
            wrapped = decode(answer, "ciphertext")
            intact = (
                answer.get("verifiedPlaintextCrc32c") is True
                and answer.get("verifiedAdditionalAuthenticatedDataCrc32c") is True
                and _matches(answer, "ciphertextCrc32c", wrapped)
                and str(answer.get("name", "")).startswith(f"{key}/cryptoKeyVersions/")
            )
            return wrapped if intact else None

        return await _verified(attempt)

    async def unwrap(self, wrapped: bytes, *, uid: str) -> Unwrapped:
        """Return the data key; `stale` when another version than the primary wrapped it."""
        aad = _bounded(uid.encode(), "user id")
        request = {
            "ciphertext": encode(wrapped),
            "ciphertextCrc32c": str(crc32c(wrapped)),
            "additionalAuthenticatedData": encode(aad),
            "additionalAuthenticatedDataCrc32c": str(crc32c(aad)),
        }
        key = self._key_of(uid)

        async def attempt() -> Unwrapped | None:
            answer = await self._crypt(key, "decrypt", request)
            data_key = decode(answer, "plaintext")
            if not _matches(answer, "plaintextCrc32c", data_key):
                return None
            return Unwrapped(data_key, stale=answer.get("usedPrimary") is not True)

        return await _verified(attempt)

    async def forget(self, *, uid: str) -> None:
        """Destroy every version of the user's own key (after Google's 24 hours' grace), if any."""
        if not self._key_per_user:
            return
        versions = f"/v1/{self._key_of(uid)}/cryptoKeyVersions"
        page = ""
        while True:
            query = {"filter": "state=ENABLED OR state=DISABLED", "pageSize": "100"}
            query |= {"pageToken": page} if page else {}
            try:
                answer = await self._api.call("cloudkms", "GET", versions, query=query)
            except GoogleRefusal as err:
                if err.code == "NOT_FOUND":
                    return
                raise _unexpected(err) from err
            for version in answer.get("cryptoKeyVersions", []):
                await self._destroy(version["name"])
            page = answer.get("nextPageToken", "")
            if not page:
                return

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    def _key_of(self, uid: str) -> str:
        if not self._key_per_user:
            return self._key
        ring = self._key.rpartition("/cryptoKeys/")[0]
        # A name can never be used again and shows in logs: a digest, not the user id.
        return f"{ring}/cryptoKeys/user-{hashlib.sha256(uid.encode()).hexdigest()[:48]}"

    async def _encrypt(self, key: str, request: Mapping[str, str]) -> dict[str, Any]:
        try:
            return await self._crypt(key, "encrypt", request)
        except NotFound as err:
            missing = isinstance(err.__cause__, GoogleRefusal) and err.__cause__.code == "NOT_FOUND"
            if not (self._key_per_user and missing):
                raise
        await self._create(key)
        return await self._crypt(key, "encrypt", request)

    async def _crypt(self, key: str, verb: str, request: Mapping[str, str]) -> dict[str, Any]:
        try:
            return await self._api.call("cloudkms", "POST", f"/v1/{key}:{verb}", body=request)
        except GoogleRefusal as err:
            raise self._refused(err, verb) from err

    def _refused(self, err: GoogleRefusal, verb: str) -> Exception:
        if err.code == "INVALID_ARGUMENT" and verb == "decrypt":
            return NotAllowed("This wrapped key belongs to somebody else or was altered.")
        if err.code == "FAILED_PRECONDITION":
            if "DISABLED" in err.detail:
                return Misconfigured("The KMS key version is disabled: enable it.")
            return NotFound("The KMS key version is destroyed.")
        if err.code == "NOT_FOUND":
            if self._key_per_user:
                return NotFound("This user has no KMS key.")
            return Misconfigured("The KMS key does not exist: check its full resource name.")
        return _unexpected(err)

    async def _create(self, key: str) -> None:
        ring, _, name = key.rpartition("/cryptoKeys/")
        body = {"purpose": "ENCRYPT_DECRYPT", "destroyScheduledDuration": _DESTROY_AFTER}
        try:
            await self._api.call(
                "cloudkms", "POST", f"/v1/{ring}/cryptoKeys", body=body, query={"cryptoKeyId": name}
            )
        except GoogleRefusal as err:
            if err.code != "ALREADY_EXISTS":  # another process was first: the same key
                raise _unexpected(err) from err

    async def _destroy(self, version: str) -> None:
        try:
            await self._api.call("cloudkms", "POST", f"/v1/{version}:destroy", body={})
        except GoogleRefusal as err:
            if err.code != "FAILED_PRECONDITION":  # destroyed already
                raise _unexpected(err) from err


async def _verified(attempt: Callable[[], Awaitable[T | None]]) -> T:
    """Repeat an operation whose answer arrived damaged, a few times."""
    for _ in range(_CHECKS):
        result = await attempt()
        if result is not None:
            return result
    raise VendorUnavailable("Cloud KMS's answers arrive damaged. Try again.")


def _matches(answer: Mapping[str, Any], field: str, data: bytes) -> bool:
    return str(answer.get(field)) == str(crc32c(data))


def _bounded(data: bytes, what: str) -> bytes:
    if len(data) > _LIMIT:
        raise InvalidInput(f"The {what} is over 64 KiB.")
    return data


def _unexpected(err: GoogleRefusal) -> Exception:
    return Misconfigured(f"Cloud KMS refused with {err.code}: check the key's name and purpose.")
