"""The user's to-dos, by day."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput, NotFound

from ..conftest import Replay


def test_tasks_are_told_by_their_day(replay: Replay) -> None:
    """The day is the one meant, also west of Greenwich; what has none comes last."""
    outcome = replay("list_google_tasks__success")
    assert outcome.summary == ("To do: Buy milk, due Wednesday 25 November 2026; (no title).")
    assert outcome.result and outcome.result.data["lists"] == [{"id": "L1", "title": "My Tasks"}]
    assert outcome.result.data["tasks"][0]["due"] == "2026-11-25"


def test_nothing_to_do_is_an_answer(replay: Replay) -> None:
    """An empty list has no items at all."""
    assert replay("list_google_tasks__empty").summary == "There is nothing to do in that list."


def test_changes_are_confirmed(replay: Replay) -> None:
    """The user hears which task was added, done or removed."""
    added = replay("create_google_task__success").summary
    assert added == "Added: Buy milk, due Wednesday 25 November 2026."
    assert replay("complete_google_task__success").summary == "Done: Buy milk."
    assert replay("delete_google_task__success").summary == "Removed: Buy milk."


def test_a_task_that_is_gone_is_told(replay: Replay) -> None:
    """An unknown id is not an outage."""
    assert isinstance(replay("complete_google_task__unknown").error, NotFound)


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        ("create_google_task", {"title": " "}),
        ("create_google_task", {"title": "x", "due_date": "Friday"}),
        ("complete_google_task", {"task_id": "../x"}),
        ("list_google_tasks", {"list_id": "a/b"}),
    ],
)
def test_bad_input_is_sent_back(replay: Replay, tool: str, given: dict[str, Any]) -> None:
    """What names no task calls nobody."""
    assert isinstance(replay.run(tool, given).error, InvalidInput)


def test_a_long_list_stays_short(replay: Replay) -> None:
    """The longest list fits what the model may read."""
    rows = [{"id": "x" * 60, "title": "é" * 900, "notes": "n" * 900}] * 90
    body = {"kind": "tasks#tasks", "items": rows}
    outcome = replay.failing("list_google_tasks", {"limit": 30}, {"json": body})
    assert outcome.ok and len(outcome.for_model().encode()) <= 6 * 1024
