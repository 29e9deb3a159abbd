"""Both stores under one suite: a test takes `against` and runs its coroutine on each adapter."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from common.store import Store
from tests.emulators import firestore_emulator

Body: TypeAlias = Callable[[Store], Awaitable[None]]
Against: TypeAlias = Callable[[Body], None]


@pytest.fixture(scope="session")
def firestore_host() -> Iterator[str]:
    """Host:port of the session's Firestore emulator."""
    with firestore_emulator() as host:
        yield host


@pytest.fixture(params=["sqlite", "firestore"])
def against(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Against:
    """Return a function that runs a coroutine function against an empty store and closes it."""
    opened = _sqlite(tmp_path)
    if request.param == "firestore":
        host = request.getfixturevalue("firestore_host")
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", host)
        opened = _firestore

    async def run(body: Body) -> None:
        store = opened()
        try:
            async with asyncio.timeout(60):
                await body(store)
        finally:
            await store.close()

    return lambda body: asyncio.run(run(body))


def _sqlite(folder: Path) -> Callable[[], Store]:
    from common.store.sqlite import SqliteStore

    return lambda: SqliteStore.open(folder / "store.db")


def _firestore() -> Store:
    from common.store.firestore import open_firestore

    return open_firestore(f"test-{uuid.uuid4().hex[:20]}")
