"""Search without a key, with one, and at the end of either's means."""

from __future__ import annotations

import json

import pytest

from common.errors import RateLimited

from ..conftest import HERE, Replay


def test_weak_hits_are_left_out(replay: Replay) -> None:
    """A page that barely fits is not shown beside one that does."""
    outcome = replay("search_web__success")
    assert outcome.result
    assert [row["title"] for row in outcome.result.data["results"]] == ["Heat pumps"]
    assert outcome.summary == "Heat pumps: A heat pump moves heat. (Tavily: example.com)"


def test_a_key_is_used_where_there_is_one(replay: Replay) -> None:
    """With a key the keyless limits do not apply."""
    case = json.loads((HERE / "tavily" / "search_web__success.json").read_text())
    exchange = case["exchanges"][0]
    exchange["request"]["headers"] = {"Authorization": "Bearer tvly-k"}
    keys = {"TAVILY_API_KEY": "tvly-k"}
    assert replay.run("search_web", case["arguments"], exchange, secrets=keys).ok
    assert "X-Tavily-Access-Mode" not in replay.requests[0].headers


@pytest.mark.parametrize("status", [432, 433])
def test_a_used_up_plan_is_a_limit(replay: Replay, status: int) -> None:
    """Tavily's own statuses for an empty purse are limits."""
    response = {"status": status, "json": {"detail": {"error": "x"}}}
    outcome = replay.failing("search_web", {"query": "x"}, response)
    assert isinstance(outcome.error, RateLimited)


def test_a_keyless_limit_may_come_as_a_body(replay: Replay) -> None:
    """How long to wait is read from the body too."""
    body = {"error": {"code": "x", "retry_after_seconds": "30"}}
    outcome = replay.failing("search_web", {"query": "x"}, {"json": body})
    assert isinstance(outcome.error, RateLimited)
    assert outcome.error.retry_after == 30
