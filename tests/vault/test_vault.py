"""The vault over the real store: what users' secrets survive, and what they do not."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from common import documents
from common.errors import Conflict, NotAllowed, NotFound, VendorUnavailable
from common.keys import Unwrapped
from common.keys.local import LocalKeys
from common.store import Delete, Merge
from common.store.sqlite import SqliteStore
from common.vault import Sealer, Vault

PATH = "users/u1/accounts/google:7"


class Clock:
    """A clock the test moves."""

    def __init__(self) -> None:
        self.at = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)

    def __call__(self) -> dt.datetime:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += dt.timedelta(seconds=seconds)


class Watched:
    """The key file, counting its calls, that can be taken down or held up."""

    def __init__(self, keys: LocalKeys) -> None:
        self.keys = keys
        self.wraps = self.unwraps = 0
        self.forgotten: list[str] = []
        self.down = ""  # "wrap", "unwrap" or both
        self.held = "wrap, unwrap"
        self.hold: Callable[[], Awaitable[Any]] | None = None

    async def wrap(self, data_key: bytes, *, uid: str) -> bytes:
        self.wraps += 1
        await self._pass("wrap")
        return await self.keys.wrap(data_key, uid=uid)

    async def unwrap(self, wrapped: bytes, *, uid: str) -> Unwrapped:
        self.unwraps += 1
        await self._pass("unwrap")
        return await self.keys.unwrap(wrapped, uid=uid)

    async def forget(self, *, uid: str) -> None:
        self.forgotten.append(uid)

    async def close(self) -> None:
        pass

    async def _pass(self, operation: str) -> None:
        if self.hold and operation in self.held.split(", "):
            await self.hold()
        if operation in self.down.split(", "):
            raise VendorUnavailable("The key service is down.")


@dataclass
class World:
    store: SqliteStore
    keys: Watched
    clock: Clock

    def vault(self, *, size: int = 100) -> Vault:
        return Vault(self.store, self.keys, self.clock, size=size)

    async def stored_key(self, uid: str = "u1") -> Any:
        snapshot = await self.store.get(documents.user(uid))
        return snapshot.data.get("data_key") if snapshot else None


@asynccontextmanager
async def world(tmp_path: Path) -> AsyncIterator[World]:
    store = SqliteStore.open(tmp_path / "odai.db")
    yield World(store, Watched(LocalKeys.open(tmp_path)), Clock())
    await store.close()


def test_a_sealed_value_outlives_the_process(tmp_path: Path) -> None:
    """What one process sealed another opens; nothing on disk shows it, or the data key."""

    async def main() -> None:
        async with world(tmp_path) as w:
            await w.store.commit(Merge(documents.user("u1"), {"name": "Ada"}))
            blob = (await w.vault().open("u1")).seal(PATH, "token", b"a-token-of-theirs")
            await w.store.commit(Merge(PATH, {"token": blob}))
            assert (await w.vault().open("u1")).unseal(PATH, "token", blob) == b"a-token-of-theirs"
            snapshot = await w.store.get(documents.user("u1"))
            assert snapshot
            assert snapshot.data["name"] == "Ada"
            data_key = (await w.keys.unwrap(snapshot.data["data_key"], uid="u1")).data_key
        for file in tmp_path.iterdir():
            content = file.read_bytes()
            assert b"a-token-of-theirs" not in content
            assert data_key not in content

    asyncio.run(main())


def test_first_uses_at_once_agree_on_one_key(tmp_path: Path) -> None:
    """Two processes meeting a new user together seal with the same key: neither loses data."""

    async def main() -> None:
        async with world(tmp_path) as w:
            vaults = [w.vault() for _ in range(4)]
            both = asyncio.Barrier(4)
            w.keys.hold = both.wait  # all wrap a key of their own before any stores it
            opening = [asyncio.create_task(vault.open("u1")) for vault in vaults]
            while w.keys.wraps < 4:
                await asyncio.sleep(0)
            w.keys.hold = None
            sealers = await asyncio.gather(*opening)
            blob = sealers[0].seal(PATH, "token", b"x")
            assert [s.unseal(PATH, "token", blob) for s in sealers] == [b"x"] * 4

    asyncio.run(main())


def test_a_burst_asks_the_key_service_once(tmp_path: Path) -> None:
    """A user's parallel requests cost one unwrapping, even when the first caller gives up."""

    async def main() -> None:
        async with world(tmp_path) as w:
            await w.vault().open("u1")
            vault, release = w.vault(), asyncio.Event()
            w.keys.hold = release.wait
            first, *others = [asyncio.create_task(vault.open("u1")) for _ in range(20)]
            while not w.keys.unwraps:
                await asyncio.sleep(0)
            first.cancel()
            release.set()
            sealers = await asyncio.gather(*others)
            assert len({id(sealer) for sealer in sealers}) == 1
            assert w.keys.unwraps == 1

    asyncio.run(main())


def test_an_outage_spares_those_at_work(tmp_path: Path) -> None:
    """While the key service is down, users at work go on until their key expires; others wait."""

    async def main() -> None:
        async with world(tmp_path) as w:
            vault = w.vault()
            await vault.open("u1")
            w.keys.down = "wrap, unwrap"
            w.clock.advance(299)
            await vault.open("u1")
            with pytest.raises(VendorUnavailable):
                await vault.open("u2")
            assert await w.stored_key("u2") is None
            w.clock.advance(2)
            with pytest.raises(VendorUnavailable):
                await vault.open("u1")
            w.keys.down = ""
            await asyncio.gather(vault.open("u1"), vault.open("u2"))

    asyncio.run(main())


def test_memory_is_bounded(tmp_path: Path) -> None:
    """A process keeps the keys used last, and no more than it was told to."""

    async def main() -> None:
        async with world(tmp_path) as w:
            vault = w.vault(size=2)
            for uid in ("u1", "u2", "u1", "u3"):
                await vault.open(uid)
            await vault.open("u1")
            assert w.keys.unwraps == 0
            await vault.open("u2")
            assert w.keys.unwraps == 1

    asyncio.run(main())


def test_rotation_renews_behind_the_scenes(tmp_path: Path) -> None:
    """After a rotation a user's next visit wraps the key anew; the old master key can then go."""

    async def main() -> None:
        async with world(tmp_path) as w:
            blob = (await w.vault().open("u1")).seal(PATH, "token", b"x")
            old = await w.stored_key()
            w.keys.keys.rotate()
            vault = w.vault()
            await vault.open("u1")
            await vault.close()
            assert await w.stored_key() != old
            w.keys.keys.destroy(1)
            assert (await w.vault().open("u1")).unseal(PATH, "token", blob) == b"x"

    asyncio.run(main())


def test_a_failed_renewal_costs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """When renewing fails the user notices nothing, and the next visit renews."""

    async def main() -> None:
        async with world(tmp_path) as w:
            await w.vault().open("u1")
            old = await w.stored_key()
            w.keys.keys.rotate()
            vault = w.vault()
            w.keys.down = "wrap"
            assert (await vault.open("u1")).seal(PATH, "token", b"x")
            await vault.close()
            assert await w.stored_key() == old
            assert "not renewed" in caplog.text
            w.keys.down = ""
            vault = w.vault()
            await vault.open("u1")
            await vault.close()
            assert await w.stored_key() != old

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())


def test_a_renewal_never_brings_a_shredded_key_back(tmp_path: Path) -> None:
    """A user shredded while a renewal was under way stays shredded."""

    async def main() -> None:
        async with world(tmp_path) as w:
            await w.vault().open("u1")
            w.keys.keys.rotate()
            vault, release = w.vault(), asyncio.Event()
            w.keys.held, w.keys.hold = "wrap", release.wait
            await vault.open("u1")
            while w.keys.wraps < 2:
                await asyncio.sleep(0)
            await w.vault().shred("u1")
            release.set()
            await vault.close()
            assert await w.stored_key() is None

    asyncio.run(main())


def test_shredding_is_final(tmp_path: Path) -> None:
    """After shredding nothing of the user's opens, with keys at hand or made anew."""

    async def main() -> None:
        async with world(tmp_path) as w:
            vault = w.vault()
            sealer = await vault.open("u1")
            blob = sealer.seal(PATH, "token", b"x")
            await vault.shred("u1")
            await vault.shred("u1")
            await vault.shred("stranger")
            assert w.keys.forgotten == ["u1", "u1", "stranger"]
            assert await w.stored_key() is None
            assert await w.store.get(documents.user("stranger")) is None
            with pytest.raises(NotFound):
                sealer.unseal(PATH, "token", blob)
            with pytest.raises(NotFound):
                sealer.seal(PATH, "token", b"y")
            with pytest.raises(NotAllowed):
                (await vault.open("u1")).unseal(PATH, "token", blob)

    asyncio.run(main())


def test_a_key_being_opened_while_shredded_is_not_handed_out(tmp_path: Path) -> None:
    """A request that raced the deletion fails instead of sealing with a key already gone."""

    async def main() -> None:
        async with world(tmp_path) as w:
            await w.vault().open("u1")
            vault, release = w.vault(), asyncio.Event()
            w.keys.hold = release.wait
            opening = asyncio.create_task(vault.open("u1"))
            while not w.keys.unwraps:
                await asyncio.sleep(0)
            await vault.shred("u1")
            release.set()
            with pytest.raises(Conflict):
                await opening

    asyncio.run(main())


def test_another_users_wrapped_key_is_refused(tmp_path: Path) -> None:
    """Copying a wrapped key into another user's document opens nothing."""

    async def main() -> None:
        async with world(tmp_path) as w:
            await w.vault().open("u1")
            await w.store.commit(
                Merge(documents.user("u2"), {"data_key": await w.stored_key("u1")})
            )
            with pytest.raises(NotAllowed):
                await w.vault().open("u2")
            await w.store.commit(Delete(documents.user("u2")))

    asyncio.run(main())


def test_a_sealer_shows_no_key() -> None:
    """A sealer in a log line or a traceback says nothing of its key."""
    assert "kkkk" not in repr(Sealer("u1", b"k" * 32))
