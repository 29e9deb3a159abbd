"""Pages the user shared, read and written."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput, NotFound

from ..conftest import Replay


def test_pages_are_found_by_title(replay: Replay) -> None:
    """Titles are put together from their pieces; a page without one is listed, binned ones not."""
    outcome = replay("search_notion__success")
    assert outcome.summary == (
        "In Notion: Roadmap, edited Friday 20 November 2026; "
        "(no title), edited Friday 20 November 2026."
    )
    assert replay("search_notion__empty").summary == "Notion has no shared page titled nothing."


def test_a_page_is_read_by_its_link(replay: Replay) -> None:
    """A copied link serves as an id, and the text counts as a stranger's."""
    outcome = replay("read_notion_page__success")
    assert outcome.summary == "Roadmap: # Q1 Ship *it*."
    assert outcome.result and outcome.result.untrusted
    assert outcome.result.data["cut"] is False


def test_a_page_that_is_not_shared_is_told(replay: Replay) -> None:
    """The user hears how to share it."""
    outcome = replay("read_notion_page__not_shared")
    assert isinstance(outcome.error, NotFound) and "shared" in outcome.summary


def test_writing_is_confirmed(replay: Replay) -> None:
    """Paragraphs are kept, and a long one is cut where Notion wants it."""
    assert replay("create_notion_page__success").summary == "Made the page Notes."
    outcome = replay("append_to_notion_page__success")
    assert outcome.result and outcome.result.data["paragraphs"] == 2


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        ("read_notion_page", {"page_id": "Roadmap"}),
        ("append_to_notion_page", {"page_id": "0" * 32, "content": " "}),
        ("create_notion_page", {"parent_page_id": "0" * 32, "title": " ", "content": "x"}),
    ],
)
def test_bad_input_is_sent_back(replay: Replay, tool: str, given: dict[str, Any]) -> None:
    """What names no page calls nobody."""
    assert isinstance(replay.run(tool, given).error, InvalidInput)


def test_a_long_page_stays_short(replay: Replay) -> None:
    """The longest page fits what the model may read, and says that it was cut."""
    body = {"object": "page", "markdown": "wörds \n" * 9000}
    outcome = replay.failing("read_notion_page", {"page_id": "0" * 32}, {"json": body})
    assert outcome.result and outcome.result.data["cut"] is True
    assert len(outcome.for_model().encode()) <= 6 * 1024
