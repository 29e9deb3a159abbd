"""Brave's hits, and its two meanings of 422."""

from __future__ import annotations

from common.errors import VendorRejected

from ..conftest import Replay


def test_hits_are_plain(replay: Replay) -> None:
    """Highlighting and entities do not show; the engine is named."""
    outcome = replay("search_web__success")
    assert outcome.summary == ("Boots guide: The best boots & shoes. (Brave Search: example.com)")
    assert outcome.result
    assert outcome.result.data["results"][0]["published"] == "2026-11-08"


def test_a_refused_query_is_not_blamed_on_the_key(replay: Replay) -> None:
    """The body's code tells a bad query from a bad key."""
    body = {"type": "ErrorResponse", "error": {"code": "VALIDATION", "status": 422}}
    outcome = replay.failing("search_web", {"query": "x"}, {"status": 422, "json": body})
    assert isinstance(outcome.error, VendorRejected)
    assert "words" in outcome.summary
    assert "KEY" not in outcome.summary
