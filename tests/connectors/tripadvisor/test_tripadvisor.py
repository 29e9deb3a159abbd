"""Places with what Tripadvisor demands beside them."""

from __future__ import annotations

import json

from common.errors import InvalidInput, NotFound

from ..conftest import HERE, Replay

SEARCH, DETAILS = "search_tripadvisor", "get_tripadvisor_location_details"
REVIEWS = "get_tripadvisor_location_reviews"


def test_a_rating_comes_with_image_count_and_link(replay: Replay) -> None:
    """Tripadvisor demands its name, its rating image, the review count and a link."""
    outcome = replay(f"{SEARCH}__success")
    assert outcome.summary == (
        "On Tripadvisor in Exampleville: Harbour Grill, 4.4 of 5 from 812 reviews; "
        "Old Museum, not rated yet, closed for good."
    )
    assert outcome.result and outcome.result.untrusted
    assert outcome.result.data["places"][0]["rating_image_url"].endswith("4.5.svg")
    assert [source.title for source in outcome.result.sources] == ["Harbour Grill on Tripadvisor"]


def test_details_are_told_in_one_breath(replay: Replay) -> None:
    """Rank, address and price level are said; what is missing is left out."""
    outcome = replay(f"{DETAILS}__success")
    assert outcome.summary == (
        "On Tripadvisor: Harbour Grill, 4.4 of 5 from 812 reviews. #12 of 340 restaurants in "
        "Exampleville. 1 Quay, 0150 Exampleville Norway. Mid Range."
    )
    assert outcome.result and outcome.result.data["description"] == "Fish & chips by the quay."
    assert replay(f"{DETAILS}__empty").ok


def test_an_unknown_id_is_told(replay: Replay) -> None:
    """An id nothing has, and one that is none, are told apart from an outage."""
    assert isinstance(replay(f"{DETAILS}__unknown").error, NotFound)
    assert isinstance(replay.run(REVIEWS, {"location_id": "../geos/1"}).error, InvalidInput)


def test_a_quoted_review_has_its_date(replay: Replay) -> None:
    """The date stands beside the quote, and the text is marked as a stranger's."""
    outcome = replay(f"{REVIEWS}__success")
    assert outcome.summary == (
        "2 recent reviews on Tripadvisor. trav_1 on Thursday 5 November 2026 gave 4 of 5: "
        "Great fish"
    )
    assert outcome.result and outcome.result.untrusted


def test_long_reviews_stay_short(replay: Replay) -> None:
    """The longest list fits what the model may read."""
    case = json.loads((HERE / "tripadvisor" / f"{REVIEWS}__success.json").read_text())
    review = case["exchanges"][0]["response"]["json"]["data"][0]
    review["text"][0]["value"] = "long words " * 400
    given = {"location_id": "9000001", "limit": 10}
    outcome = replay.failing(REVIEWS, given, {"json": {"data": [review] * 20}})
    assert outcome.ok and len(outcome.for_model().encode()) <= 6 * 1024
