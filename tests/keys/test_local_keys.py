"""The key file: who may read it, and what happens when several processes use it."""

from __future__ import annotations

import asyncio
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common.errors import InvalidInput, Misconfigured, NotFound
from common.keys.local import LocalKeys


def test_the_file_is_private(tmp_path: Path) -> None:
    """Nobody but its owner can read the key file, from the moment it exists."""
    LocalKeys.open(tmp_path / "new" / "folder")
    path = tmp_path / "new" / "folder" / "keys.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["keys.json"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_readable_file_is_refused(tmp_path: Path, mode: int) -> None:
    """A key file others may read stops the start, with the command that mends it."""
    LocalKeys.open(tmp_path)
    (tmp_path / "keys.json").chmod(mode)
    with pytest.raises(Misconfigured, match=r"chmod 600 .*keys\.json"):
        LocalKeys.open(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"primary": 2, "keys": {"1": "AAAA"}}'])
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    """A damaged key file is never replaced by a new one: the operator is told to restore it."""
    LocalKeys.open(tmp_path)
    (tmp_path / "keys.json").write_text(text)
    with pytest.raises(Misconfigured, match="restore"):
        LocalKeys.open(tmp_path)
    assert (tmp_path / "keys.json").read_text() == text


def test_concurrent_first_starts_agree(tmp_path: Path) -> None:
    """Processes that start together on an empty folder share one key."""

    async def main() -> None:
        with ThreadPoolExecutor(8) as pool:
            opened = list(pool.map(LocalKeys.open, [tmp_path] * 8))
        wrapped = await opened[0].wrap(b"k" * 32, uid="u")
        for keys in opened:
            assert (await keys.unwrap(wrapped, uid="u")).data_key == b"k" * 32

    asyncio.run(main())


def test_concurrent_rotations_lose_nothing(tmp_path: Path) -> None:
    """Two rotations at once make two versions, and a running process reads both."""

    async def main() -> None:
        running = LocalKeys.open(tmp_path)
        others = [LocalKeys.open(tmp_path) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(LocalKeys.rotate, others)) == [2, 3, 4, 5]
        for keys in others:
            wrapped = await keys.wrap(b"k" * 32, uid="u")
            assert (await running.unwrap(wrapped, uid="u")).data_key == b"k" * 32

    asyncio.run(main())


def test_the_primary_cannot_be_destroyed(tmp_path: Path) -> None:
    """An operator cannot destroy the version in use, nor one that does not exist."""
    keys = LocalKeys.open(tmp_path)
    with pytest.raises(InvalidInput):
        keys.destroy(1)
    with pytest.raises(NotFound):
        keys.destroy(7)
