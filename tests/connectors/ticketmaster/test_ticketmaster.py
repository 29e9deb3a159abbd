"""Events as their venues announce them, and nothing that is not announced."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput, NotFound

from ..conftest import Replay

NEAR = "get_ticketmaster_events_near_location"


def data(outcome: Any) -> Any:
    assert outcome.result, outcome.error
    return outcome.result.data


def test_events_at_the_venues_own_time(replay: Replay) -> None:
    """Packages of one show are one; a time not announced is not made up; a delay is said."""
    outcome = replay(f"{NEAR}__success")
    assert outcome.summary == (
        "On Ticketmaster: Sample Band on Saturday 1 May 2027 at 20:15 at Sample Hall; "
        "Late Show on Monday 3 May 2027 (postponed)."
    )
    assert data(outcome)["events"][0]["price_max"] == 120.0
    assert data(outcome)["events"][1]["price_min"] is None


def test_details(replay: Replay) -> None:
    """Face value is said to be without fees; the year 1900 is no date of sale."""
    outcome = replay("get_ticketmaster_event_details__success")
    assert outcome.summary.endswith("Portland, OR, US. Tickets from 35.00 USD without fees.")
    assert data(outcome)["on_sale_from"] == ""
    assert data(outcome)["info"] == "Doors at seven."


def test_an_unknown_id(replay: Replay) -> None:
    """An id that no event has is told as that."""
    assert isinstance(replay("get_ticketmaster_event_details__empty").error, NotFound)


def test_a_place_abroad(replay: Replay) -> None:
    """London, UK is not looked for in Kentucky."""
    assert "no events in London, UK then" in replay(f"{NEAR}__abroad").summary


def test_near_the_user(replay: Replay) -> None:
    """Without a place the device's is taken; without that the assistant asks."""
    assert replay(f"{NEAR}__nearby").ok
    outcome = replay.run(NEAR, {})
    assert outcome.summary.startswith("Where?")


@pytest.mark.parametrize(
    "wrong",
    [
        {"location": "Paris, Atlantis"},
        {"start_date": "next week"},
        {"end_date": "2026-01-01"},
        {"start_date": "2027-02-02", "end_date": "2027-02-01"},
        {"radius_miles": 0},
    ],
    ids=repr,
)
def test_bad_input_is_explained(replay: Replay, wrong: dict[str, Any]) -> None:
    """Past days, unknown countries and impossible distances come back as corrections."""
    assert isinstance(replay.run(NEAR, {"location": "Austin", **wrong}).error, InvalidInput)


def test_venues_and_artists(replay: Replay) -> None:
    """Numbers that come as text are numbers; thin listings are read."""
    venues = data(replay("find_ticketmaster_venues_near_location__success"))["venues"]
    assert venues[0]["latitude"] == 45.52
    assert venues[0]["upcoming_events"] == 12
    artists = replay("get_ticketmaster_attractions_by_query__success")
    assert artists.summary == "On Ticketmaster: Sample Band with 5 events."
