"""Articles found, read and told apart."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput, RateLimited

from ..conftest import Replay


def test_a_search_lists_titles_that_can_be_read(replay: Replay) -> None:
    """Hits come as clean text with a link, marked as written by strangers."""
    outcome = replay("search_wikipedia__success")
    assert outcome.result and outcome.result.untrusted
    first, second = outcome.result.data["articles"]
    assert first["excerpt"] == "A plateau & more"
    assert second["url"] == "https://en.wikipedia.org/wiki/Hardangervidda_National_Park"


def test_an_article_is_told_in_whole_sentences(replay: Replay) -> None:
    """What is spoken ends where a sentence does, and links its source."""
    outcome = replay("get_wikipedia_article__success")
    assert outcome.summary.endswith("made a national park in 1981.")
    assert outcome.result and outcome.result.untrusted
    assert outcome.result.sources[0].url == "https://en.wikipedia.org/wiki/Hardangervidda"


def test_a_long_article_in_another_script_is_cut(replay: Replay) -> None:
    """The full text of a Japanese article fits what the model may read."""
    outcome = replay("get_wikipedia_article__full")
    assert outcome.result and outcome.result.data["text"].endswith("…")
    assert outcome.result.data["language"] == "ja"


def test_a_word_of_many_meanings_comes_back_as_choices(replay: Replay) -> None:
    """Mercury may be a planet or a metal: the assistant asks, and not about the word itself."""
    outcome = replay("get_wikipedia_article__disambiguation")
    assert outcome.result and outcome.result.response_type == "article_choices"
    titles = [article["title"] for article in outcome.result.data["articles"]]
    assert titles == ["Mercury (planet)", "Mercury (element)"]


def test_a_missing_article_is_said_to_be_missing(replay: Replay) -> None:
    """No exception and no invention: there is no such article. A "|" asks for no second page."""
    outcome = replay("get_wikipedia_article__empty")
    assert outcome.summary == "Wikipedia has no article called Qzxv [x|y]."


def test_an_error_within_a_200_is_noticed(replay: Replay) -> None:
    """A busy wiki answers 200: the user still hears to wait."""
    assert isinstance(replay("get_wikipedia_article__error_200").error, RateLimited)


@pytest.mark.parametrize("language", ["en.evil.example/", "EN", "../de", "e", ""])
def test_a_language_cannot_name_another_host(replay: Replay, language: str) -> None:
    """The language code becomes part of a host name: only a code is taken."""
    for tool, argument in (("search_wikipedia", "query"), ("get_wikipedia_article", "title")):
        outcome = replay.run(tool, {argument: "x", "language": language})
        assert isinstance(outcome.error, InvalidInput) and "language" in outcome.summary


def test_ten_wordy_hits_stay_short(replay: Replay) -> None:
    """The longest list still fits."""
    page = {"title": "Long title " * 6, "excerpt": "word " * 400, "description": "word " * 100}
    request = {"host": "en.wikipedia.org", "path": "/w/rest.php/v1/search/page"}
    response: dict[str, Any] = {"json": {"pages": [page] * 10}}
    outcome = replay.run(
        "search_wikipedia",
        {"query": "word", "limit": 10},
        {"request": request, "response": response},
    )
    assert outcome.ok and len(outcome.for_model().encode()) <= 6 * 1024
