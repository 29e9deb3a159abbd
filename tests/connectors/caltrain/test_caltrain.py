"""The next trains at a station, in Pacific time, from a feed with a byte order mark."""

from __future__ import annotations

from common.errors import InvalidInput

from ..conftest import Replay

TOOL = "get_caltrain_status"


def test_the_next_trains_are_told_in_order(replay: Replay) -> None:
    """Soonest first, delays said, a train that left long ago not; early is still on time."""
    outcome = replay(f"{TOOL}__success")
    assert outcome.summary == (
        "Local Weekend 507 northbound at Palo Alto: 7:16 AM, 6 min late; "
        "Local Weekend 506 southbound at Palo Alto: 7:20 AM, on time; "
        "Express 509 northbound at Palo Alto: 8:10 AM as scheduled."
    )
    assert outcome.result
    first = outcome.result.data["departures"][0]
    assert first["scheduled"] == "2026-11-22T07:10-08:00"
    assert first["destination"] == "San Francisco"


def test_a_train_is_found_by_its_number(replay: Replay) -> None:
    """A train's next stops are told, whatever envelope the feed uses."""
    outcome = replay(f"{TOOL}__train")
    assert outcome.summary.startswith("Local Weekend 507 northbound at Palo Alto")
    assert outcome.result and len(outcome.result.data["departures"]) == 3


def test_a_single_visit_is_read(replay: Replay) -> None:
    """The feed sends one visit as an object instead of a list."""
    assert "506 southbound" in replay(f"{TOOL}__one_visit").summary


def test_a_whole_name_beats_a_part(replay: Replay) -> None:
    """San Francisco is not South San Francisco; a bare "San" is asked back."""
    outcome = replay(f"{TOOL}__san_francisco")
    assert outcome.summary == "Local Weekend 507 northbound at San Francisco: 8:05 AM, 5 min late."
    which = replay(f"{TOOL}__which")
    assert which.summary == "Which station: San Francisco, South San Francisco?"


def test_no_train_at_night_is_an_answer(replay: Replay) -> None:
    """At night there is no visit at all, and that is told."""
    assert replay(f"{TOOL}__empty").summary == "511 expects no Caltrain at Palo Alto now."


def test_something_must_be_asked(replay: Replay) -> None:
    """Without station and train nobody is called."""
    assert isinstance(replay.run(TOOL, {"station": "Caltrain station"}).error, InvalidInput)
