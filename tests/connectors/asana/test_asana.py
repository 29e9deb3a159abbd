"""The user's Asana tasks over all workspaces."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput, NotFound

from ..conftest import Replay


def test_tasks_of_every_workspace_are_told_by_day(replay: Replay) -> None:
    """The soonest comes first, and a time is the user's: late on the 1st in UTC is the 2nd."""
    outcome = replay("list_asana_tasks__success")
    assert outcome.summary == (
        "In Asana: Boiler, due Wednesday 25 November 2026; "
        "Review, due Wednesday 2 December 2026; Draft."
    )
    assert replay("list_asana_tasks__empty").summary == "No open Asana task is yours."


def test_a_task_goes_to_the_only_workspace(replay: Replay) -> None:
    """With one workspace nobody is asked; with two the choices are given."""
    added = replay("create_asana_task__success").summary
    assert added == "Added: Review, due Tuesday 1 December 2026."
    asked = replay("create_asana_task__which_workspace")
    assert isinstance(asked.error, InvalidInput) and "Home (1002)" in asked.summary


def test_changes_are_confirmed(replay: Replay) -> None:
    """The user hears what was done."""
    assert replay("complete_asana_task__success").summary == "Done: Draft."
    assert replay("comment_on_asana_task__success").summary == "The comment is posted in Asana."
    assert isinstance(replay("complete_asana_task__unknown").error, NotFound)


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        ("create_asana_task", {"title": " "}),
        ("create_asana_task", {"title": "x", "due_date": "Friday"}),
        ("complete_asana_task", {"task_id": "../1"}),
        ("comment_on_asana_task", {"task_id": "120001", "message": " "}),
    ],
)
def test_bad_input_is_sent_back(replay: Replay, tool: str, given: dict[str, Any]) -> None:
    """What names no task calls nobody."""
    assert isinstance(replay.run(tool, given).error, InvalidInput)


def test_a_long_list_stays_short(replay: Replay) -> None:
    """The longest list fits what the model may read."""
    row = {
        "gid": "120001",
        "name": "é" * 900,
        "notes": "n" * 900,
        "permalink_url": "https://app.asana.com/" + "x" * 60,
    }
    outcome = replay.failing("list_asana_tasks", {"limit": 25}, {"json": {"data": [row] * 99}})
    assert outcome.ok and len(outcome.for_model().encode()) <= 6 * 1024
