"""Bookable fares, cheapest first, with both ways of a round trip."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput

from ..conftest import Replay

TOOL = "get_flight_info"


def test_both_ways_are_shown(replay: Replay) -> None:
    """The cheapest offer is told first; its data holds the flight back, nulls and all."""
    outcome = replay(f"{TOOL}__success")
    assert outcome.summary == (
        "Flights OSL to LIS on Tuesday 9 March 2027, back on Tuesday 16 March 2027: "
        "Tap Air Portugal TP 761, 08:05 to 11:40, nonstop, 214.60 EUR; "
        "Lufthansa LH 861, 07:05 to 12:40, 1 stop, 301.90 EUR."
    )
    assert outcome.result
    cheapest, other = outcome.result.data["offers"]
    assert cheapest["duration_minutes"] == 275 and other["duration_minutes"] == 395
    assert cheapest["return_legs"][0]["flight"] == "760"


def test_test_fares_are_called_so(replay: Replay) -> None:
    """Invented fares of a test token are never told as real ones."""
    outcome = replay(f"{TOOL}__trial")
    assert outcome.summary.endswith("(test data, not real fares).")


def test_no_flight_is_an_answer(replay: Replay) -> None:
    """A day without flights is told, not reported as a failure."""
    assert replay(f"{TOOL}__empty").summary == (
        "Duffel has no flights OSL to LIS on Tuesday 9 March 2027."
    )


def test_a_refused_search_is_sent_back(replay: Replay) -> None:
    """The model is told what to correct."""
    outcome = replay(f"{TOOL}__refused")
    assert isinstance(outcome.error, InvalidInput) and "airport codes" in outcome.summary


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"destination": "Lisbon"}, "destination must be"),
        ({"departure_date": "2026-11-01"}, "in the past"),
        ({"return_date": "2027-03-01"}, "before departure_date"),
    ],
)
def test_bad_input_is_sent_back(replay: Replay, changed: dict[str, Any], told: str) -> None:
    """A search that cannot be answered calls nobody."""
    given = {"origin": "OSL", "destination": "LIS", "departure_date": "2027-03-09", **changed}
    outcome = replay.run(TOOL, given)
    assert isinstance(outcome.error, InvalidInput) and told in outcome.summary


def test_many_offers_stay_short(replay: Replay) -> None:
    """The longest list fits what the model may read."""
    leg = {
        "origin": {"iata_code": "OSL"},
        "destination": {"iata_code": "LIS"},
        "departing_at": "2027-03-09T08:05:00",
        "arriving_at": "2027-03-09T11:40:00",
        "marketing_carrier": {"name": "An Airline With A Long Name", "iata_code": "XX"},
        "marketing_carrier_flight_number": "1234",
    }
    row = {"total_amount": "1.00", "slices": [{"segments": [leg] * 4}] * 2}
    given = {
        "origin": "OSL",
        "destination": "LIS",
        "departure_date": "2027-03-09",
        "return_date": "2027-03-12",
    }
    outcome = replay.failing(TOOL, given, {"json": {"data": {"offers": [row] * 90}}})
    assert outcome.ok and len(outcome.for_model().encode()) <= 6 * 1024
