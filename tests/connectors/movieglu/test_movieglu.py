"""Films and showtimes, with the cinema's own times."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.errors import InvalidInput

from ..conftest import HERE, Replay


def data(outcome: Any) -> Any:
    assert outcome.result, outcome.error
    return outcome.result.data


def test_films_are_read_through_their_quirks(replay: Replay) -> None:
    """Blanks, nulls and empty lists in place of objects do not show."""
    outcome = replay("get_films_showing_near_location__success")
    assert outcome.summary == "Films: Sample Film, PG-13; Bare Film."


def test_showtimes_by_format(replay: Replay) -> None:
    """Formats are told apart; a show after midnight keeps the time on the poster."""
    outcome = replay("get_theater_showtimes_near_location__success")
    assert outcome.summary == (
        "Sample Multiplex on Monday 23 November 2026: Sample Film 18:30, 21:10; 00:15 (IMAX)."
    )
    near = data(replay("get_film_showtimes_near_location__success"))["theaters"]
    assert near[0]["distance_miles"] == 1.2


def test_nothing_is_an_empty_answer(replay: Replay) -> None:
    """An answer without a body is a sentence."""
    outcome = replay("get_theater_showtimes_near_location__empty")
    assert outcome.summary == "No showtimes were found there on Sunday 22 November 2026."


def test_a_city_named_is_the_one_searched(replay: Replay) -> None:
    """Showtimes in Portland, Maine are those of Maine, wherever the user is."""
    outcome = replay("get_film_showtimes_near_location__city")
    assert data(outcome)["theaters"][0]["name"] == "Sample Multiplex"


def test_a_city_that_means_several_is_asked_about(replay: Replay) -> None:
    """A name nobody is sure of comes back as choices, and no call to the cinemas is spent."""
    places = [
        {"name": "Springfield", "latitude": at, "longitude": -80, "admin1": state, "population": 9}
        for at, state in ((37.2, "Missouri"), (42.1, "Massachusetts"))
    ]
    search = {
        "request": {"host": "geocoding-api.open-meteo.com", "path": "/v1/search"},
        "response": {"json": {"results": places}},
    }
    outcome = replay.run("get_nearby_theaters_near_location", {"location": "Springfield"}, search)
    assert outcome.summary.startswith("Which Springfield do you mean")


def test_the_sandbox_has_a_place_of_its_own(replay: Replay) -> None:
    """With territory XX every position is the sample's."""
    name = "get_nearby_theaters_near_location"
    exchange = json.loads((HERE / "movieglu" / f"{name}__success.json").read_text())["exchanges"][0]
    exchange["request"]["headers"] = {"territory": "XX", "geolocation": "-22.0;14.0"}
    names = replay.registry.entries["movieglu"].connector.secrets
    keys = {**dict.fromkeys(names, "k"), "MOVIEGLU_TERRITORY": "XX"}
    assert replay.run(name, {}, exchange, secrets=keys).ok


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("get_nearby_theaters_near_location", {}),
        ("get_nearby_theaters_near_location", {"latitude": 45}),
        ("search_theaters_near_location", {"query": "ab"}),
        ("get_theater_showtimes_near_location", {"theater_id": 1, "date": "2026-11-01"}),
        ("get_theater_showtimes_near_location", {"theater_id": 0}),
    ],
)
def test_bad_input_costs_no_call(replay: Replay, tool: str, arguments: dict[str, Any]) -> None:
    """Calls are few: none is spent on what cannot be answered."""
    assert isinstance(replay.run(tool, arguments).error, InvalidInput)
