"""What every test may ask for: a fresh event loop, services over a folder of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from common.bootstrap import Services
from common.loop import LoopThread
from common.settings import Settings

T = TypeVar("T")

# What takes longest begins first: processes share the files, and none is left with a long one.
_LONG = (
    "test_browser_access", "test_browser_agent", "test_socket_fuzz", "test_faults", "test_kills",
    "test_attack_openapi", "test_attack_tokens", "test_attack_users", "test_browser_you",
    "test_browser_voice", "test_browser_connect", "test_chaos", "test_budgets", "test_load_short",
    "test_injection", "test_jobs_survive", "test_browser_hostile", "test_call_sim",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, the rest in its order."""
    places = {name: place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: places.get(item.path.stem, len(_LONG)))


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, T]], T]:
    """Run a coroutine on an event loop of its own and return its result."""
    return asyncio.run


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Callable[..., Services]]:
    """Make embedded services over `tmp_path` with the settings given; closed after the test.

    Two of them share their data, as two processes on one machine would.
    """
    made: list[Services] = []

    def make(**environ: str) -> Services:
        settings = Settings.from_env(
            {"ODAI_DATA": str(tmp_path / "data"), "ODAI_SMALL_MODEL": "off", **environ}
        )
        settings.data_dir.mkdir(exist_ok=True)
        made.append(Services(settings, LoopThread()))
        return made[-1]

    yield make
    for each in made:
        each.close()
