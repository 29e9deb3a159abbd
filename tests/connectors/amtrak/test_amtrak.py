"""Trains as a traveller asks for them: where, how late, when at my stop."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.errors import InvalidInput, VendorUnavailable

from ..conftest import HERE, Replay

STATUS = "get_amtrak_train_status"


def trains(outcome: Any) -> list[dict[str, Any]]:
    assert outcome.result, outcome.error
    found: list[dict[str, Any]] = outcome.result.data["trains"]
    return found


def test_a_late_train_says_how_late(replay: Replay) -> None:
    """The next stop, the time there on its own clock, and the delay."""
    outcome = replay(f"{STATUS}__success")
    assert outcome.summary == (
        "Coast Example train 12 of Sunday 22 November 2026 is expected at Birch at 8:52 AM, "
        "1 h 12 min late."
    )
    (train,) = trains(outcome)
    assert train["next_stop"]["expected"] == "2026-11-22T08:52" and train["speed_mph"] == 61
    assert train["alerts"] == [] and train["old_report"] is False


def test_the_stop_asked_for_is_the_one_told(replay: Replay) -> None:
    """When train 12 gets to Dogwood is answered for Dogwood, by name or code."""
    for station in ("dogwood", "DGW"):
        outcome = replay(f"{STATUS}__station", station=station)
        assert "expected at Dogwood at 10:58 AM, 2 min early" in outcome.summary
    assert "Alder at 5:27 AM" in replay(f"{STATUS}__station", station="ALD").summary
    assert "does not stop at Elm" in replay(f"{STATUS}__station", station="Elm").summary


def test_a_stop_without_times_is_unknown_not_on_time(replay: Replay) -> None:
    """Nulls in the feed are told as unknown."""
    outcome = replay(f"{STATUS}__station", station="Cedar Falls")
    assert "at 9:10 AM, delay unknown" in outcome.summary


def test_two_days_runs_are_told_apart(replay: Replay) -> None:
    """A long-distance train runs twice at once: both are told by the day they left, or the one."""
    both = trains(replay(f"{STATUS}__two_runs"))
    assert [train["origin_date"] for train in both] == ["2026-11-21", "2026-11-22"]
    assert both[0]["alerts"] == ["SERVICE DISRUPTION"] and both[0]["old_report"] is True
    one = trains(replay(f"{STATUS}__two_runs", date="2026-11-22"))
    assert [train["id"] for train in one] == ["12-22"]
    assert trains(replay(f"{STATUS}__two_runs", date="2026-11-20")) == []


def test_a_train_not_found_is_not_running(replay: Replay) -> None:
    """A real train that has not left yet is not said to be unknown."""
    assert "Train 11 is not running now" in replay(f"{STATUS}__empty").summary


def test_the_made_up_train_is_not_reported(replay: Replay) -> None:
    """A blocked caller's train 9997 never reaches the user."""
    assert isinstance(replay(f"{STATUS}__blocked").error, VendorUnavailable)


@pytest.mark.parametrize(
    ("said", "asked"), [("#2150", "2150"), ("VIA v60", "v60"), ("B701", "b701")]
)
def test_numbers_are_read_as_people_write_them(replay: Replay, said: str, asked: str) -> None:
    """A number sign, a name or a capital does not matter."""
    nothing = {
        "request": {"host": "api-v3.amtraker.com", "path": f"/v3/trains/{asked}"},
        "response": {"json": []},
    }
    assert replay.run(STATUS, {"train_number": said}, nothing).ok


def test_a_name_is_no_number(replay: Replay) -> None:
    """The model is told to find the number."""
    outcome = replay.run(STATUS, {"train_number": "Coast Starlight"})
    assert isinstance(outcome.error, InvalidInput)


def test_a_board_is_in_order_of_what_comes_next(replay: Replay) -> None:
    """By expected time, without trains that have left or have no time."""
    outcome = replay("get_amtrak_station_board__success")
    assert [train["number"] for train in trains(outcome)] == ["12", "775"]
    assert outcome.summary == (
        "Next at Alder: train 12 to Dogwood at 9:18 AM, 2 min early; "
        "train 775 to its last stop at 9:21 AM, 2 h 1 min late."
    )


def test_a_station_is_found_by_name(replay: Replay) -> None:
    """A name with one station gives its board; with several, the choice."""
    assert "Alder" in replay("get_amtrak_station_board__by_name").summary
    choices = replay("get_amtrak_station_board__choices")
    assert choices.result and choices.result.response_type == "station_choices"
    assert {row["code"] for row in choices.result.data["stations"]} == {"CDF", "CDW", "CDX"}


def test_long_runs_stay_short(replay: Replay) -> None:
    """Three runs of forty stops fit, and each keeps its last stop."""
    case = json.loads((HERE / "amtrak" / f"{STATUS}__success.json").read_text())
    exchange = case["exchanges"][0]
    train = exchange["response"]["json"]["12"][0]
    last = train["stations"][-1]
    train["stations"][1:-1] = train["stations"][1:2] * 40
    for runs in (1, 3):
        exchange["response"]["json"] = {"12": [train] * runs}
        outcome = replay.run(STATUS, {"train_number": "12"}, exchange)
        assert trains(outcome)[0]["stops"][-1]["code"] == last["code"]
        assert len(outcome.for_model().encode()) <= 6 * 1024
