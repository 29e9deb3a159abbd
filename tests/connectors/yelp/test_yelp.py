"""Businesses found nearby, with what Yelp demands beside them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.errors import InvalidInput, NotFound

from ..conftest import HERE, Replay

SEARCH = "search_businesses_at_yelp"


def businesses(outcome: Any) -> list[dict[str, Any]]:
    assert outcome.result, outcome.error
    found: list[dict[str, Any]] = outcome.result.data["businesses"]
    return found


def test_a_rating_comes_with_yelps_name_count_and_link(replay: Replay) -> None:
    """Yelp demands its name, the review count and a link beside a rating."""
    outcome = replay(f"{SEARCH}__success")
    assert outcome.summary == (
        "On Yelp in Portland, OR: Example Cafe, 1 Sample St, 4.5 stars from 84 reviews; "
        "Mobile Barista, not rated yet."
    )
    assert outcome.result and outcome.result.untrusted
    assert [source.title for source in outcome.result.sources] == ["Example Cafe on Yelp"]


def test_thin_listings_are_read(replay: Replay) -> None:
    """A business with almost nothing filled in is listed without invented facts."""
    thin = businesses(replay(f"{SEARCH}__success"))[1]
    assert thin["rating_on_yelp"] is None and thin["address"] == "" and thin["categories"] == []


def test_without_a_place_the_device_answers(replay: Replay) -> None:
    """Near the user means the shared position; without one the assistant asks where."""
    assert businesses(replay(f"{SEARCH}__nearby"))[0]["distance_m"] == 813
    outcome = replay.run(SEARCH, {"term": "coffee"})
    assert isinstance(outcome.error, InvalidInput) and outcome.summary.startswith("Where?")


def test_a_place_yelp_cannot_find_is_asked_again(replay: Replay) -> None:
    """The user is asked for a better place, not told of a failure."""
    outcome = replay(f"{SEARCH}__unknown_place")
    assert isinstance(outcome.error, InvalidInput) and "location" in outcome.summary


def test_a_search_yelp_refuses_is_not_blamed_on_the_place(replay: Replay) -> None:
    """Another refusal than of the location is told as what it is."""
    response = {"status": 400, "json": {"error": {"code": "VALIDATION_ERROR", "field": "term"}}}
    outcome = replay.failing(SEARCH, {"term": "x", "location": "Austin"}, response)
    assert isinstance(outcome.error, InvalidInput) and "location" not in outcome.summary


def test_a_closed_business_is_said_to_be_closed(replay: Replay) -> None:
    """Nobody is sent to a place that is closed for good."""
    case = json.loads((HERE / "yelp" / f"{SEARCH}__nearby.json").read_text())
    exchange = case["exchanges"][0]
    exchange["response"]["json"]["businesses"][0]["is_closed"] = True
    outcome = replay.run(SEARCH, case["arguments"], exchange, location=case["location"])
    assert outcome.summary.endswith("closed for good.")


def test_reviews_are_quoted_with_their_author(replay: Replay) -> None:
    """An excerpt is quoted as Yelp cut it."""
    outcome = replay("get_business_reviews_at_yelp__success")
    assert outcome.summary == (
        "Yelp has 84 reviews. Kim P. gave 5 stars: Great filter coffee, friendly people and the..."
    )
    assert outcome.result and outcome.result.untrusted


@pytest.mark.parametrize("status", [403, 404])
def test_a_plan_without_reviews_is_no_failure(replay: Replay, status: int) -> None:
    """The cheapest plan has no reviews, and the assistant says that."""
    outcome = replay.failing(
        "get_business_reviews_at_yelp",
        {"business_id": "x"},
        {"status": status, "json": {"error": {"code": "NOT_FOUND", "description": "x"}}},
    )
    assert outcome.result and "gives no reviews" in outcome.summary


def test_an_unknown_id_is_told(replay: Replay) -> None:
    """An id that no business has is not mistaken for a plan without reviews."""
    response = {"status": 404, "json": {"error": {"code": "BUSINESS_NOT_FOUND"}}}
    outcome = replay.failing("get_business_reviews_at_yelp", {"business_id": "x"}, response)
    assert isinstance(outcome.error, NotFound)


def test_an_id_cannot_leave_its_path(replay: Replay) -> None:
    """Whatever the model sends as an id stays one part of the address."""
    replay("get_business_reviews_at_yelp__plan")
    assert replay.requests[0].raw_path.startswith("/v3/businesses/a%2Fb/reviews")


def test_ten_businesses_stay_short(replay: Replay) -> None:
    """The longest list fits what the model may read."""
    case = json.loads((HERE / "yelp" / f"{SEARCH}__success.json").read_text())
    exchange = case["exchanges"][0]
    exchange["request"].pop("query")
    body = exchange["response"]["json"]
    body["businesses"] = body["businesses"][:1] * 50
    outcome = replay.run(SEARCH, {"term": "x", "location": "y", "limit": 10}, exchange)
    assert len(businesses(outcome)) == 10
    assert len(outcome.for_model().encode()) <= 6 * 1024
