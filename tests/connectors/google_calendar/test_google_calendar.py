"""The user's calendar in the user's time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.errors import InvalidInput, NotFound, VendorUnavailable

from ..conftest import HERE, Replay

CREATE, FREE = "create_google_calendar_event", "find_google_calendar_free_time"
LIST = "get_google_calendar_events"


def test_a_day_is_told_in_the_users_time(replay: Replay) -> None:
    """Nine in Berlin is nine, whatever zone the event was made in; untitled events are listed."""
    outcome = replay(f"{LIST}__success")
    assert outcome.summary == (
        "Standup, Monday 23 November 2026 9:00 AM; (no title), all day Monday 23 November 2026."
    )
    assert outcome.result and outcome.result.untrusted
    first, second = outcome.result.data["events"]
    assert first["start"] == "2026-11-23T09:00+01:00"
    assert first["attendees"] == ["b@example.com (needsAction)"]
    assert (second["end"], second["all_day"]) == ("2026-11-24", True)


def test_nothing_planned_is_an_answer(replay: Replay) -> None:
    """An empty calendar is told with the days that were looked at."""
    assert replay(f"{LIST}__empty").summary.startswith("Nothing about dentist in the calendar")


def test_free_time_lies_between_meetings(replay: Replay) -> None:
    """Overlapping meetings count once, and slots that are too short are left out."""
    assert replay(f"{FREE}__success").summary == (
        "Free: Monday 23 November 2026 12:00 PM to 5:00 PM."
    )
    assert replay(f"{FREE}__empty").summary == "No 45 free minutes in that time."


def test_an_unreadable_calendar_is_not_free(replay: Replay) -> None:
    """An error beside an empty list is never told as free time."""
    assert isinstance(replay(f"{FREE}__unknown").error, VendorUnavailable)


def test_an_event_is_made_in_local_time(replay: Replay) -> None:
    """Time and zone are sent apart, guests are invited, and it takes an hour unless told."""
    assert replay(f"{CREATE}__success").summary == (
        "Added Lunch, Tuesday 24 November 2026 12:00 PM, with 1 guest."
    )
    body = json.loads(replay.bodies[0])
    assert body["start"]["dateTime"] == "2026-11-24T12:00:00"
    assert body["start"]["timeZone"] == "Europe/Berlin"
    assert body["end"]["dateTime"] == "2026-11-24T13:00:00"
    assert body["attendees"] == [{"email": "b@example.com"}]


def test_an_all_day_event_ends_the_day_after(replay: Replay) -> None:
    """Google's end is exclusive; what is told is not."""
    outcome = replay(f"{CREATE}__all_day")
    body = json.loads(replay.bodies[0])
    assert (body["start"]["date"], body["end"]["date"]) == ("2026-12-24", "2026-12-27")
    assert outcome.result and outcome.result.data["end"] == "2026-12-26"


def test_an_event_is_made_once(replay: Replay) -> None:
    """A second attempt of the same act meets its own event and calls that success."""
    replay(f"{CREATE}__success")
    own = json.loads(replay.bodies[0])["id"]
    case = json.loads((HERE / "google_calendar" / f"{CREATE}__success.json").read_text())
    post = case["exchanges"][0]
    event = post["response"]["json"]
    post["response"] = {"status": 409, "json": {"error": {"code": 409}}}
    read = {"request": {**post["request"], "method": "GET"}, "response": {"json": event}}
    read["request"]["path"] += f"/{own}"
    read["request"].pop("query")
    outcome = replay.run(CREATE, case["arguments"], post, read, timezone="Europe/Berlin")
    assert outcome.ok and outcome.summary.startswith("Added Lunch")


def test_moving_an_event_keeps_its_length(replay: Replay) -> None:
    """A quarter of an hour stays one when only the start is changed."""
    outcome = replay("update_google_calendar_event__success")
    assert outcome.summary == "Changed Standup, Monday 23 November 2026 2:00 PM."


@pytest.mark.parametrize("case", ["update_google_calendar_event", "delete_google_calendar_event"])
def test_an_event_that_is_gone_is_told(replay: Replay, case: str) -> None:
    """Removed meanwhile is not an outage."""
    assert isinstance(replay(f"{case}__gone").error, NotFound)


def test_removing_tells_the_guests(replay: Replay) -> None:
    """Guests hear of it, and the user what was removed."""
    outcome = replay("delete_google_calendar_event__success")
    assert outcome.summary.startswith("Removed Standup, Monday 23 November 2026 9:00 AM")


@pytest.mark.parametrize(
    ("tool", "given", "told"),
    [
        (CREATE, {"title": "x", "start_time": "noon"}, "start_time must be"),
        (
            CREATE,
            {"title": "x", "start_time": "2026-11-24T12:00", "end_time": "2026-11-24T11:00"},
            "after start_time",
        ),
        (
            CREATE,
            {"title": "x", "start_time": "2026-11-24", "end_time": "2026-11-24T11:00"},
            "both days",
        ),
        (
            CREATE,
            {"title": "x", "start_time": "2026-11-24T12:00", "attendee_emails": ["Bob"]},
            "guest must",
        ),
        (LIST, {"start_date": "2026-11-24", "end_date": "2026-11-20"}, "before start_date"),
        (FREE, {"start_time": "2026-11-24", "end_time": "2026-11-25"}, "must be times"),
        ("update_google_calendar_event", {"event_id": "k2example"}, "Say what"),
        ("delete_google_calendar_event", {"event_id": "../x"}, "event_id must"),
    ],
)
def test_bad_input_is_sent_back(
    replay: Replay, tool: str, given: dict[str, Any], told: str
) -> None:
    """What makes no event calls nobody."""
    outcome = replay.run(tool, given)
    assert isinstance(outcome.error, InvalidInput) and told in outcome.summary


def test_a_full_calendar_stays_short(replay: Replay) -> None:
    """The longest list fits what the model may read."""
    row = {
        "id": "x" * 60,
        "summary": "é" * 300,
        "location": "l" * 300,
        "description": "d" * 900,
        "attendees": [{"email": "a" * 60 + "@example.com"}] * 40,
        "htmlLink": "https://x/" * 40,
        "start": {"dateTime": "2026-11-24T12:00:00Z"},
        "end": {"dateTime": "2026-11-24T13:00Z"},
    }
    outcome = replay.failing(LIST, {"limit": 20}, {"json": {"items": [row] * 30}})
    assert outcome.ok and len(outcome.for_model().encode()) <= 6 * 1024
