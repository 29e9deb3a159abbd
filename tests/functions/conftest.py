"""Fixtures of the functions' tests: the services of their process, with Plaid on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from common.bootstrap import Services
from tests.fakes.plaid import FakePlaid


@pytest.fixture
def plaid() -> Iterator[FakePlaid]:
    """Serve Plaid on loopback."""
    with FakePlaid() as fake:
        yield fake


@pytest.fixture
def app(services: Callable[..., Services], plaid: FakePlaid) -> Iterator[Services]:
    """Services of the function's process."""
    before = Services._of_process
    made = services(**plaid.environ)
    made.adopt()
    yield made
    Services._of_process = before
