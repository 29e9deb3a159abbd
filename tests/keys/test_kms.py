"""Cloud KMS beyond the contract: damage on the way, outages, a key for each user, the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from google.cloud import kms_v1
from google.cloud.kms_v1.services.key_management_service.transports import (
    KeyManagementServiceGrpcAsyncIOTransport,
)

from common.errors import InvalidInput, Misconfigured, NotAllowed, NotFound, VendorUnavailable
from common.google_rest import GoogleRest, crc32c
from common.keys.kms import KmsKeys
from tests.fakes.google_apis import DESTROY_SCHEDULED, DISABLED, GoogleApis

DATA_KEY = bytes(range(32))
KEY = "projects/p/locations/global/keyRings/odai/cryptoKeys/users"


@asynccontextmanager
async def opened(*, key_per_user: bool = False) -> AsyncIterator[tuple[GoogleApis, KmsKeys]]:
    async with GoogleApis() as google:
        google.kms.add_key(KEY)
        api = GoogleRest(root=google.url, backoff_s=0.001)
        keys = KmsKeys(KEY, api=api, key_per_user=key_per_user)
        yield google, keys
        await keys.close()


def test_the_checksum_is_castagnolis() -> None:
    """The checksum is the one Google computes (the check value of RFC 3720's appendix)."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


@pytest.mark.parametrize(
    "field",
    [
        "name",
        "ciphertext",
        "ciphertext_crc32c",
        "verified_plaintext_crc32c",
        "verified_additional_authenticated_data_crc32c",
    ],
)
def test_a_damaged_wrapping_is_asked_for_again(field: str) -> None:
    """A wrapping damaged on the way is never stored: it is asked for again, a few times."""

    async def main() -> None:
        async with opened() as (google, keys):
            google.kms.corrupt_next(field)
            wrapped = await keys.wrap(DATA_KEY, uid="u1")
            assert (await keys.unwrap(wrapped, uid="u1")).data_key == DATA_KEY
            google.kms.corrupt_next(field, times=9)
            with pytest.raises(VendorUnavailable):
                await keys.wrap(DATA_KEY, uid="u1")

    asyncio.run(main())


@pytest.mark.parametrize("field", ["plaintext", "plaintext_crc32c"])
def test_a_damaged_data_key_is_never_used(field: str) -> None:
    """A data key damaged on the way is asked for again instead of failing every value."""

    async def main() -> None:
        async with opened() as (google, keys):
            wrapped = await keys.wrap(DATA_KEY, uid="u1")
            google.kms.corrupt_next(field)
            assert (await keys.unwrap(wrapped, uid="u1")).data_key == DATA_KEY
            google.kms.corrupt_next(field, times=9)
            with pytest.raises(VendorUnavailable):
                await keys.unwrap(wrapped, uid="u1")

    asyncio.run(main())


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_an_outage_is_ridden_out_or_reported(code: str) -> None:
    """A hiccup goes unnoticed; an outage is reported as one, after a bounded number of tries."""

    async def main() -> None:
        async with opened() as (google, keys):
            google.fail_next(2, code)
            wrapped = await keys.wrap(DATA_KEY, uid="u1")
            google.fail_next(4, code)
            with pytest.raises(VendorUnavailable):
                await keys.unwrap(wrapped, uid="u1")
            assert google.calls == ["Encrypt"] * 3 + ["Decrypt"] * 4

    asyncio.run(main())


def test_nobody_listening_is_an_outage() -> None:
    """A refused connection is an outage like any other."""

    async def main() -> None:
        async with opened() as (google, _):
            pass
        gone = KmsKeys(KEY, api=GoogleRest(root=google.url, backoff_s=0.001))
        with pytest.raises(VendorUnavailable):
            await gone.wrap(DATA_KEY, uid="u1")
        await gone.close()

    asyncio.run(main())


def test_the_size_limit_is_known_before_asking() -> None:
    """What KMS would refuse for its size is refused here, unsent."""

    async def main() -> None:
        async with opened() as (google, keys):
            await keys.wrap(b"x" * 65_536, uid="u1")
            with pytest.raises(InvalidInput):
                await keys.wrap(b"x" * 65_537, uid="u1")
            with pytest.raises(InvalidInput):
                await keys.wrap(DATA_KEY, uid="u" * 65_537)
            assert google.calls == ["Encrypt"]

    asyncio.run(main())


def test_what_an_operator_can_mend_is_said_so() -> None:
    """A disabled version, a wrong key name and a missing role are settings, not lost data."""

    async def main() -> None:
        async with opened() as (google, keys):
            wrapped = await keys.wrap(DATA_KEY, uid="u1")
            google.kms.keys[KEY][0].state = DISABLED
            with pytest.raises(Misconfigured, match="disabled"):
                await keys.unwrap(wrapped, uid="u1")
            google.fail_next(1, "PERMISSION_DENIED")
            with pytest.raises(Misconfigured, match="role"):
                await keys.unwrap(wrapped, uid="u1")
            del google.kms.keys[KEY]
            with pytest.raises(Misconfigured, match="name"):
                await keys.wrap(DATA_KEY, uid="u1")

    asyncio.run(main())


def test_the_bearer_is_sent() -> None:
    """Requests carry the service account's token."""

    async def main() -> None:
        async with GoogleApis() as google:
            google.kms.add_key(KEY)
            google.token = "ya29.test"

            async def token() -> str:
                return "ya29.test"

            known = KmsKeys(KEY, api=GoogleRest(root=google.url, token=token))
            stranger = KmsKeys(KEY, api=GoogleRest(root=google.url))
            await known.wrap(DATA_KEY, uid="u1")
            with pytest.raises(Misconfigured):
                await stranger.wrap(DATA_KEY, uid="u1")
            await known.close()
            await stranger.close()

    asyncio.run(main())


def test_a_key_for_each_user() -> None:
    """With a key each, forgetting one user destroys that user's key alone, and for good."""

    async def main() -> None:
        async with opened(key_per_user=True) as (google, keys):
            first, again = await asyncio.gather(
                keys.wrap(DATA_KEY, uid="u1"), keys.wrap(DATA_KEY, uid="u1")
            )
            other = await keys.wrap(DATA_KEY, uid="u2")
            assert len(google.kms.keys) == 3
            assert not any("u1" in name.rpartition("/")[2] for name in google.kms.keys)
            with pytest.raises(NotAllowed):
                await keys.unwrap(first, uid="u2")
            with pytest.raises(NotFound):
                await keys.unwrap(first, uid="stranger")
            own = next(name for name in google.kms.keys if name != KEY)
            google.kms.rotate(own)

            await keys.forget(uid="u1")
            assert [v.state for v in google.kms.keys[own]] == [DESTROY_SCHEDULED] * 2
            await keys.forget(uid="u1")
            await keys.forget(uid="stranger")
            for wrapped in (first, again):
                with pytest.raises(NotFound):
                    await keys.unwrap(wrapped, uid="u1")
            with pytest.raises(NotFound):
                await keys.wrap(DATA_KEY, uid="u1")
            assert (await keys.unwrap(other, uid="u2")).data_key == DATA_KEY

    asyncio.run(main())


def test_the_official_client_reads_what_we_write() -> None:
    """A key wrapped here opens with Google's own client, and the other way round."""

    async def main() -> None:
        async with opened() as (google, keys):
            channel = grpc.aio.insecure_channel(google.grpc_target)
            official = kms_v1.KeyManagementServiceAsyncClient(
                transport=KeyManagementServiceGrpcAsyncIOTransport(channel=channel)
            )
            wrapped = await keys.wrap(DATA_KEY, uid="u1")
            read = await official.decrypt(
                request={
                    "name": KEY,
                    "ciphertext": wrapped,
                    "additional_authenticated_data": b"u1",
                }
            )
            assert read.plaintext == DATA_KEY
            theirs = await official.encrypt(
                request={
                    "name": KEY,
                    "plaintext": DATA_KEY,
                    "additional_authenticated_data": b"u1",
                }
            )
            assert (await keys.unwrap(theirs.ciphertext, uid="u1")).data_key == DATA_KEY
            await channel.close()

    asyncio.run(main())
