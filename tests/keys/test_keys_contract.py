"""What `KeyWrapper` promises, kept by the key file and by Cloud KMS alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.errors import NotAllowed, NotFound
from common.google_rest import GoogleRest
from common.keys import KeyWrapper
from common.keys.kms import KmsKeys
from common.keys.local import LocalKeys
from tests.fakes.google_apis import DESTROYED, GoogleApis

DATA_KEY = bytes(range(32))
KEY = "projects/p/locations/global/keyRings/odai/cryptoKeys/users"


@dataclass(frozen=True)
class Subject:
    keys: KeyWrapper
    rotate: Callable[[], object]
    destroy_first: Callable[[], object]


@asynccontextmanager
async def local(folder: Path) -> AsyncIterator[Subject]:
    keys = LocalKeys.open(folder)
    yield Subject(keys, keys.rotate, lambda: keys.destroy(1))


@asynccontextmanager
async def kms(folder: Path) -> AsyncIterator[Subject]:
    async with GoogleApis() as google:
        google.kms.add_key(KEY)
        keys = KmsKeys(KEY, api=GoogleRest(root=google.url))
        destroyed = google.kms.keys[KEY][0]
        yield Subject(
            keys,
            lambda: google.kms.rotate(KEY),
            lambda: setattr(destroyed, "state", DESTROYED),
        )
        await keys.close()


Opened = Callable[[], AbstractAsyncContextManager[Subject]]


@pytest.fixture(params=[local, kms])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    return lambda: request.param(tmp_path)


def test_round_trip(opened: Opened) -> None:
    """A user's data key comes back as it was, and is nowhere in what is stored."""

    async def main() -> None:
        async with opened() as subject:
            wrapped = await subject.keys.wrap(DATA_KEY, uid="u1")
            unwrapped = await subject.keys.unwrap(wrapped, uid="u1")
            assert (unwrapped.data_key, unwrapped.stale) == (DATA_KEY, False)
            assert DATA_KEY not in wrapped
            assert wrapped != await subject.keys.wrap(DATA_KEY, uid="u1")
            assert repr(DATA_KEY) not in repr(unwrapped)

    asyncio.run(main())


def test_another_users_key_does_not_open(opened: Opened) -> None:
    """A wrapped key copied into another account is refused there."""

    async def main() -> None:
        async with opened() as subject:
            wrapped = await subject.keys.wrap(DATA_KEY, uid="u1")
            with pytest.raises(NotAllowed):
                await subject.keys.unwrap(wrapped, uid="u2")

    asyncio.run(main())


@pytest.mark.parametrize("position", [-1, 20])
def test_an_altered_wrapping_does_not_open(opened: Opened, position: int) -> None:
    """A wrapped key changed at rest is refused, not misread."""

    async def main() -> None:
        async with opened() as subject:
            wrapped = bytearray(await subject.keys.wrap(DATA_KEY, uid="u1"))
            wrapped[position] ^= 1
            with pytest.raises(NotAllowed):
                await subject.keys.unwrap(bytes(wrapped), uid="u1")
            with pytest.raises(NotAllowed):
                await subject.keys.unwrap(b"short", uid="u1")

    asyncio.run(main())


def test_rotation_keeps_old_wrappings(opened: Opened) -> None:
    """After a rotation old data still opens, and asks to be wrapped anew."""

    async def main() -> None:
        async with opened() as subject:
            wrapped = await subject.keys.wrap(DATA_KEY, uid="u1")
            subject.rotate()
            unwrapped = await subject.keys.unwrap(wrapped, uid="u1")
            assert (unwrapped.data_key, unwrapped.stale) == (DATA_KEY, True)
            renewed = await subject.keys.wrap(DATA_KEY, uid="u1")
            assert not (await subject.keys.unwrap(renewed, uid="u1")).stale

    asyncio.run(main())


def test_a_destroyed_version_is_gone(opened: Opened) -> None:
    """What only a destroyed version wrapped is reported as gone; newer data goes on."""

    async def main() -> None:
        async with opened() as subject:
            old = await subject.keys.wrap(DATA_KEY, uid="u1")
            subject.rotate()
            new = await subject.keys.wrap(DATA_KEY, uid="u1")
            subject.destroy_first()
            with pytest.raises(NotFound):
                await subject.keys.unwrap(old, uid="u1")
            assert (await subject.keys.unwrap(new, uid="u1")).data_key == DATA_KEY

    asyncio.run(main())


def test_forgetting_is_safe_to_repeat(opened: Opened) -> None:
    """Forgetting a user nobody knows harms nobody."""

    async def main() -> None:
        async with opened() as subject:
            wrapped = await subject.keys.wrap(DATA_KEY, uid="u1")
            await subject.keys.forget(uid="stranger")
            await subject.keys.forget(uid="stranger")
            assert (await subject.keys.unwrap(wrapped, uid="u1")).data_key == DATA_KEY

    asyncio.run(main())
