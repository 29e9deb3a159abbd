"""What every test may ask for: an event loop, services over a folder of its own, a browser."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings

from common.bootstrap import Services
from common.loop import LoopThread
from common.settings import Settings
from tests.browser import launching, opened

T = TypeVar("T")

# How quickly a busy machine makes examples says nothing about us.
settings.register_profile("odai", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("odai")

# What keeps both cores busy for minutes: `make soak` runs it, or naming it.
_LONG = ("test_load_short",)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the load out, unless it is asked for."""
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


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Any]]:
    """Start Chromium once for a module's tests, and once more for other flags."""
    with launching() as begin:
        yield begin


@pytest.fixture
def open_page(launch: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Open pages by flags and context, each as if on a device of its own; closed after the test."""
    pages: list[Any] = []

    def begin(*flags: str, **context: Any) -> Any:
        pages.append(opened(launch(*flags), **context))
        return pages[-1]

    yield begin
    for each in pages:
        each.context.close()
