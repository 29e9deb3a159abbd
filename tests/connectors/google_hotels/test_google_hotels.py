"""Hotels with what a night and the whole stay cost."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput

from ..conftest import Replay

TOOL = "get_hotel_prices"
ARGUMENTS = {"location": "Lisbon", "check_in_date": "2027-03-09", "check_out_date": "2027-03-12"}


def test_prices_say_what_they_are_for(replay: Replay) -> None:
    """A night, the whole stay and the currency are told apart; the sold out come last."""
    outcome = replay(f"{TOOL}__success")
    assert outcome.summary == (
        "Hotels in Lisbon from Tuesday 9 March 2027 to Friday 12 March 2027: Harbour Example "
        "Hotel, 120 EUR a night (360 in all), rated 4.3 of 5; Plain Rooms, 61 EUR a night; "
        "Sold Out Palace, no price, rated 4.9 of 5."
    )
    assert outcome.result and outcome.result.data["nights"] == 3


def test_one_hotel_by_name(replay: Replay) -> None:
    """A search that names one hotel answers with that hotel."""
    outcome = replay(f"{TOOL}__one_hotel")
    assert outcome.result
    assert [hotel["name"] for hotel in outcome.result.data["hotels"]] == ["Harbour Example Hotel"]


def test_nothing_found_is_an_answer(replay: Replay) -> None:
    """No hotel is told, not reported as a failure."""
    assert replay(f"{TOOL}__empty").summary.startswith("No hotel was found in Lisbon")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"check_in_date": "2026-11-01"}, "in the past"),
        ({"check_out_date": "2027-03-09"}, "1 to 60 days"),
        ({"check_out_date": "soon"}, "2026-11-23"),
        ({"location": " "}, "location must"),
        ({"adults": 0}, "adults"),
    ],
)
def test_bad_input_is_sent_back(replay: Replay, changed: dict[str, Any], told: str) -> None:
    """Nobody is asked, and billed, for a search that cannot be answered."""
    outcome = replay.run(TOOL, {**ARGUMENTS, **changed})
    assert isinstance(outcome.error, InvalidInput) and told in outcome.summary


def test_many_hotels_stay_short(replay: Replay) -> None:
    """The longest list fits what the model may read."""
    row = {
        "name": "é" * 400,
        "link": "https://x.example/" + "y" * 900,
        "property_token": "t" * 300,
        "amenities": ["a" * 99] * 40,
        "rate_per_night": {"extracted_lowest": 1},
    }
    body = {"search_metadata": {"id": "x"}, "properties": [row] * 40}
    outcome = replay.failing(TOOL, ARGUMENTS, {"json": body})
    assert outcome.ok and len(outcome.for_model().encode()) <= 6 * 1024
