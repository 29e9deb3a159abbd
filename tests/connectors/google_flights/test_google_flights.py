"""Flights as Google lists them, cheapest first, with the price for the whole party."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput

from ..conftest import Replay

TOOL = "get_flight_info"
ARGUMENTS = {"origin": "OSL", "destination": "LIS", "departure_date": "2027-03-09"}


def test_the_cheapest_flight_is_told_first(replay: Replay) -> None:
    """Price, currency, local times and stops are said; a flight without a price comes last."""
    outcome = replay(f"{TOOL}__success")
    assert outcome.summary == (
        "Flights OSL to LIS on Tuesday 9 March 2027, back on Tuesday 16 March 2027: "
        "Tap Air Portugal TP 761, 08:05 to 11:40, nonstop, 389 EUR; "
        "Lufthansa LH 861, 07:05 to 12:40, 1 stop, 412 EUR; "
        "Norwegian D8 1234, 19:05 to 22:40, nonstop, price unknown."
    )
    assert outcome.result
    assert outcome.result.data["typical_price_range"] == [420, 610]
    assert outcome.result.data["offers"][1]["legs"][0]["arrives"] == "2027-03-09T09:10"


def test_the_key_is_not_passed_on(replay: Replay) -> None:
    """The vendor repeats the key in its answer; the model never sees it."""
    assert "key-of-a-test" not in replay(f"{TOOL}__success").for_model()


def test_no_flight_is_an_answer(replay: Replay) -> None:
    """A day without flights is told, not reported as a failure."""
    outcome = replay(f"{TOOL}__empty")
    assert outcome.ok and outcome.summary.startswith("Google Flights has no flights OSL to LIS")


def test_a_city_code_is_sent_back(replay: Replay) -> None:
    """The model is told to name an airport."""
    outcome = replay(f"{TOOL}__refused")
    assert isinstance(outcome.error, InvalidInput) and "not city codes" in outcome.summary


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"origin": "Oslo"}, "origin must be"),
        ({"departure_date": "2026-11-01"}, "in the past"),
        ({"departure_date": "next week"}, "2026-11-23"),
        ({"return_date": "2027-03-01"}, "before departure_date"),
    ],
)
def test_bad_input_is_sent_back(replay: Replay, changed: dict[str, Any], told: str) -> None:
    """Nobody is asked, and billed, for a search that cannot be answered."""
    outcome = replay.run(TOOL, {**ARGUMENTS, **changed})
    assert isinstance(outcome.error, InvalidInput) and told in outcome.summary


def test_many_offers_stay_short(replay: Replay) -> None:
    """The longest list fits what the model may read."""
    leg = {
        "departure_airport": {"id": "OSL", "time": "2027-03-09 08:05"},
        "arrival_airport": {"id": "LIS", "time": "2027-03-09 11:40"},
        "airline": "An Airline With A Long Name",
        "flight_number": "XX 1234",
    }
    rows = [{"flights": [leg] * 4, "price": 1}] * 60
    body = {"search_metadata": {"id": "x"}, "best_flights": rows}
    outcome = replay.failing(TOOL, ARGUMENTS, {"json": body})
    assert outcome.ok and len(outcome.for_model().encode()) <= 6 * 1024
