"""Fixtures: the simulator, and services that reach it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from common.bootstrap import Services
from common.plaid_items import Bank
from tests.fakes.plaid import FakePlaid


@pytest.fixture
def plaid() -> Iterator[FakePlaid]:
    """Serve Plaid on loopback, two changes a page."""
    with FakePlaid(page=2) as fake:
        yield fake


@pytest.fixture
def app(services: Callable[..., Services], plaid: FakePlaid) -> Services:
    """Services that take the simulator for Plaid."""
    return services(**plaid.environ)


@pytest.fixture
def linked(app: Services, plaid: FakePlaid) -> Bank:
    """A bank that ada has linked."""
    return app.loop.run(app.banks.exchange("ada", plaid.consent()))
