"""Stories with publisher and date, out of rows of two kinds."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput

from ..conftest import Replay


def news(outcome: Any) -> Any:
    assert outcome.result, outcome.error
    return outcome.result.data["news"]


def test_clusters_are_opened(replay: Replay) -> None:
    """A story in a cluster counts as one; the same link counts once; odd dates are read."""
    outcome = replay("get_google_news_top_stories__success")
    assert outcome.summary == (
        "In the news: Story 1 (Example Post); Story 3 (Example Post); Story 4 (Daily)."
    )
    published = [story["published_at"] for story in news(outcome)]
    assert published == ["2026-11-22T08:30:00+00:00", "2026-11-22T08:30:00+00:00", ""]


def test_nothing_about_a_topic(replay: Replay) -> None:
    """No news is a sentence."""
    assert replay("search_google_news__empty").summary == "Google News found nothing about qwzx."


@pytest.mark.parametrize("wrong", [{"query": " "}, {"country": "Canada"}], ids=repr)
def test_bad_input_is_not_billed(replay: Replay, wrong: dict[str, Any]) -> None:
    """Nobody is asked for what cannot be."""
    outcome = replay.run("search_google_news", {"query": "x", **wrong})
    assert isinstance(outcome.error, InvalidInput)
