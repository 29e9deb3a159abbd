"""Google's pages and answers, as plain text with links."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput

from ..conftest import Replay


def results(outcome: Any) -> Any:
    assert outcome.result, outcome.error
    return outcome.result.data["results"]


def test_pages_are_plain_and_linked(replay: Replay) -> None:
    """Tags and addresses that are no web pages are dropped; a missing snippet is no failure."""
    outcome = replay("search_google__success")
    assert outcome.summary == ("How to descale & clean: Use citric acid. (Google: example.com)")
    assert [row["site"] for row in results(outcome)] == ["example.com", "example.net"]
    assert outcome.result
    assert outcome.result.untrusted


@pytest.mark.parametrize(("case", "said"), [("answer", "8,849 m"), ("list", "Mercury; Venus")])
def test_googles_own_answer_comes_first(replay: Replay, case: str, said: str) -> None:
    """Whatever the shape of the box, its text is what is told."""
    assert replay(f"search_google__{case}").summary.startswith(said)


@pytest.mark.parametrize("query", ["", "  ", "x" * 500])
def test_a_query_has_words(replay: Replay, query: str) -> None:
    """Nothing, or a whole page of text, is sent back to the model."""
    assert isinstance(replay.run("search_web", {"query": query}).error, InvalidInput)


def test_eight_long_pages_stay_short(replay: Replay) -> None:
    """The longest list fits what the model may read, at the cost of its last pages."""
    row = {"title": "t" * 400, "snippet": "s" * 900}
    rows = [{**row, "link": f"https://example.com/{i}{'a' * 180}"} for i in range(20)]
    exchange = {
        "request": {"host": "serpapi.com", "path": "/search"},
        "response": {"json": {"search_metadata": {"id": "x"}, "organic_results": rows}},
    }
    outcome = replay.run("search_web", {"query": "x", "limit": 8}, exchange)
    assert 4 <= len(results(outcome)) < 8
    assert len(outcome.for_model().encode()) <= 6 * 1024
