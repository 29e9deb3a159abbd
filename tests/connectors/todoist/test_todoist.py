"""The user's Todoist, by day and urgency."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput, NotFound

from ..conftest import Replay


def test_tasks_are_told_by_their_time(replay: Replay) -> None:
    """A UTC time becomes the user's, a day stays the day, what has none comes last."""
    outcome = replay("list_todoist_tasks__success")
    assert outcome.summary == (
        "To do: Bins, due Monday 23 November 2026; "
        "Call the bank, due Wednesday 25 November 2026 9:00 AM; Plan party."
    )
    assert outcome.result
    bins, bank, party = outcome.result.data["tasks"]
    assert (bins["repeats"], bank["priority"], party["priority"]) == ("every mon", 1, 4)


def test_nothing_to_do_is_an_answer(replay: Replay) -> None:
    """An empty list is told with the filter that was used."""
    assert replay("list_todoist_tasks__empty").summary == "No Todoist task for today | overdue."


def test_changes_are_confirmed(replay: Replay) -> None:
    """The user hears which task was added, changed, done or removed."""
    added = replay("create_todoist_task__success").summary
    assert added == "Added: Call the bank, due Wednesday 25 November 2026 9:00 AM."
    assert replay("update_todoist_task__success").summary == "Changed: Call the bank."
    done = replay("complete_todoist_task__success").summary
    assert done == "Done: Bins, due Monday 23 November 2026."
    assert replay("delete_todoist_task__success").summary.startswith("Removed: Bins")


def test_mistakes_are_told(replay: Replay) -> None:
    """An unknown task and a filter Todoist cannot read are told apart from an outage."""
    assert isinstance(replay("complete_todoist_task__unknown").error, NotFound)
    assert isinstance(replay("list_todoist_tasks__bad_filter").error, InvalidInput)


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        ("create_todoist_task", {"title": " "}),
        ("create_todoist_task", {"title": "x", "priority": 9}),
        ("update_todoist_task", {"task_id": "6X7b"}),
        ("complete_todoist_task", {"task_id": "../x"}),
    ],
)
def test_bad_input_is_sent_back(replay: Replay, tool: str, given: dict[str, Any]) -> None:
    """What names no task calls nobody."""
    assert isinstance(replay.run(tool, given).error, InvalidInput)


def test_a_long_list_stays_short(replay: Replay) -> None:
    """The longest list fits what the model may read."""
    row = {"id": "6X7b", "content": "é" * 900, "description": "n" * 900, "labels": ["l" * 90] * 9}
    body = {"results": [row] * 99}
    outcome = replay.failing("list_todoist_tasks", {"limit": 30}, {"json": body})
    assert outcome.ok and len(outcome.for_model().encode()) <= 6 * 1024
