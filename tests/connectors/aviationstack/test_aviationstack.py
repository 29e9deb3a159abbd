"""A flight by its number, with the vendor's false offsets put right."""

from __future__ import annotations

import pytest

from common.errors import InvalidInput, RateLimited, VendorRejected

from ..conftest import Replay

TOOL = "get_flight_info_by_iata"


def test_times_are_the_airports_wall_times(replay: Replay) -> None:
    """15:10 "+00:00" at Oslo is ten past three in Oslo."""
    outcome = replay(f"{TOOL}__success")
    assert outcome.summary == (
        "SAS SK4411 from Oslo Gardermoen to Stockholm Arlanda on Sunday 22 November 2026 is "
        "scheduled: departure 3:10 PM (12 min late), gate D4, arrival 4:05 PM, local times."
    )
    assert outcome.result
    assert outcome.result.data["flights"][0]["departure"]["scheduled"] == "2026-11-22T15:10+01:00"


def test_codeshares_are_left_out(replay: Replay) -> None:
    """One flight is listed once, whoever sells seats on it."""
    outcome = replay(f"{TOOL}__success")
    assert outcome.result
    days = [flight["date"] for flight in outcome.result.data["flights"]]
    assert sorted(days) == ["2026-11-21", "2026-11-22", "2026-11-23"]


def test_a_day_chooses_its_flight(replay: Replay) -> None:
    """Tomorrow's flight is told when tomorrow is asked for."""
    outcome = replay(f"{TOOL}__day")
    assert outcome.result and len(outcome.result.data["flights"]) == 1
    assert "Monday 23 November 2026" in outcome.summary


def test_gaps_are_not_filled_in(replay: Replay) -> None:
    """An airline called "empty" has no name, and a cancelled flight no times."""
    assert replay(f"{TOOL}__cancelled").summary == (
        "SK4411 from an unknown airport to Stockholm Arlanda on Sunday 22 November 2026 is "
        "cancelled."
    )


@pytest.mark.parametrize("case", ["plan", "plan_in_200"])
def test_a_small_plan_is_told(replay: Replay, case: str) -> None:
    """What the plan leaves out is not mistaken for an unknown flight."""
    outcome = replay(f"{TOOL}__{case}")
    assert isinstance(outcome.error, VendorRejected) and "plan" in outcome.summary


def test_a_used_up_month_is_a_limit(replay: Replay) -> None:
    """A limit reported with status 200 is a limit all the same."""
    assert isinstance(replay(f"{TOOL}__month_used_up").error, RateLimited)


def test_words_are_no_flight_number(replay: Replay) -> None:
    """The model is told the form; nobody is called."""
    assert isinstance(replay.run(TOOL, {"flight_iata": "United"}).error, InvalidInput)
