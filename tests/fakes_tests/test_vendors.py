"""The simulated keyless services, through the connectors: what the sandbox suggests works there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from common.bootstrap import Services
from common.connectors.open_meteo import CONNECTOR
from common.tools import Asker
from tests.fakes.vendors import PLACES, Vendors


@pytest.fixture
def ask(services: Callable[..., Services]) -> Any:
    """Run a tool; return its result."""
    with Vendors() as vendors:
        made = services(ODAI_EGRESS_MAP=vendors.egress_map)

        def run(tool: str, **arguments: Any) -> Any:
            outcome = made.loop.run(made.runner.run(tool, arguments, Asker(uid="ada"), key=tool))
            assert outcome.result, outcome.error
            return outcome.result

        yield run


@pytest.mark.parametrize("place", ["Lisbon", "Phoenix", "sao paulo", "Tokyo"])
def test_the_weather_of_a_capital_is_known(ask: Any, place: str) -> None:
    """A place of the suggestions, in whatever spelling, has its own name and zone."""
    told = ask("get_forecast_weather_by_location", location=place, days=2)
    assert "found no place" not in told.summary and len(told.data["days"]) == 2


def test_a_position_has_weather_by_the_hour(ask: Any) -> None:
    """The suggestion that names coordinates has an answer as well."""
    name = "get_hourly_forecast_weather_by_latitude_longitude"
    assert len(ask(name, latitude=46.2, longitude=6.15, hours=3).data["hours"]) == 3


def test_every_place_has_a_zone_and_the_suggestions_are_among_them() -> None:
    """Nobody presses a chip of the sandbox and is told that there is no such place."""
    rows = [line.split("|") for line in PLACES.strip().splitlines()]
    assert all(ZoneInfo(row[5]) and len(row) == 7 for row in rows)
    names = {row[0] for row in rows}
    for example in CONNECTOR.examples[:3]:
        assert any(name in example for name in names), example
