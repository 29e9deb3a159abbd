"""The flight that is meant, in local times, with its delay."""

from __future__ import annotations

import pytest

from common.errors import InvalidInput

from ..conftest import Replay

STATUS = "get_current_flight_status"


def test_the_flight_nearest_to_now_is_told(replay: Replay) -> None:
    """Of two weeks of one number today's is meant; times are those of the airports."""
    outcome = replay(f"{STATUS}__success")
    assert outcome.summary == (
        "SK4411 from Oslo Gardermoen to Stockholm Arlanda: Scheduled / Delayed; leaves 3:20 PM "
        "(10 min late) from gate D4, lands 4:05 PM, local times."
    )
    assert outcome.result
    first = outcome.result.data["flights"][0]
    assert first["departure"]["scheduled"] == "2026-11-22T15:10+01:00"
    assert first["aircraft"] == "A20N"


def test_a_day_is_the_origins(replay: Replay) -> None:
    """With a day, only the flight that left on it is told, and how early it came."""
    outcome = replay(f"{STATUS}__day")
    assert outcome.result and len(outcome.result.data["flights"]) == 1
    assert outcome.summary.endswith("left 3:12 PM, landed 4:01 PM (9 min early), local times.")


def test_a_cancelled_flight_has_no_times(replay: Replay) -> None:
    """Nobody is told when a cancelled flight leaves."""
    told = "SK4411 from an unknown airport to XESS: cancelled."
    assert replay(f"{STATUS}__cancelled").summary == told


@pytest.mark.parametrize("case", ["empty", "unknown"])
def test_an_unknown_flight_is_an_answer(replay: Replay, case: str) -> None:
    """An empty list and a 404 both mean that there is no such flight."""
    assert replay(f"{STATUS}__{case}").summary == "FlightAware knows no flight XX99."


@pytest.mark.parametrize(
    "given",
    [
        {"flight_number": "my flight"},
        {"flight_number": "SK4411", "date": "2026-12-24"},
        {"flight_number": "SK4411", "date": "tomorrow"},
    ],
)
def test_bad_input_is_sent_back(replay: Replay, given: dict[str, str]) -> None:
    """No billed call is made for what cannot be answered."""
    assert isinstance(replay.run(STATUS, given).error, InvalidInput)


def test_an_airports_delay_has_its_reason(replay: Replay) -> None:
    """A delayed airport says why; a 404 means that nothing is held up."""
    tool = "get_airport_delays_at_flightaware"
    assert "low ceilings" in replay(f"{tool}__success").summary
    assert replay(f"{tool}__empty").summary == "No general delays at SFO now."
