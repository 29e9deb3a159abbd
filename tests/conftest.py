"""What every test may ask for: a fresh event loop, services over a folder of the test's own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from common.bootstrap import Services
from common.loop import LoopThread
from common.settings import Settings

T = TypeVar("T")

# A browser's long proofs keep two cores busy for minutes: `make soak` runs them, or naming them.
_LONG = (
    "test_browser_access", "test_browser_agent", "test_browser_connect", "test_browser_hostile",
    "test_budgets", "test_load_short",
)  # fmt: skip


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long browser tests and the load out, unless they are asked for."""
    asked = " ".join(config.args)
    if os.environ.get("ODAI_TEST_LONG") == "1" or any(name in asked for name in _LONG):
        return
    left = [item for item in items if item.path.stem in _LONG]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item.path.stem not in _LONG]


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
