"""Offers on Google Shopping, wherever Google put them on its page."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput, RateLimited, VendorUnavailable

from ..conftest import Replay

TOOL = "get_google_products"


def products(outcome: Any) -> Any:
    assert outcome.result, outcome.error
    return outcome.result.data["products"]


def test_offers_name_their_shop(replay: Replay) -> None:
    """Price, condition and shop are told; the same product counts once."""
    outcome = replay(f"{TOOL}__success")
    assert outcome.summary == (
        "On Google Shopping: Acme Camp Stove, $59.95, at Example Outdoors; "
        "Tiny Stove, no price, used, at Bazaar."
    )
    assert len(products(outcome)) == 2


def test_offers_under_categories(replay: Replay) -> None:
    """A page without a plain list still has offers; the price keeps its sign."""
    assert products(replay(f"{TOOL}__categorized"))[0]["price_shown"] == "£49,95"


def test_nothing_found_is_no_failure(replay: Replay) -> None:
    """Google's error text for nothing found is an empty list."""
    assert products(replay(f"{TOOL}__empty")) == []


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"search_metadata": {"status": "Error"}, "error": "Timed out"}, VendorUnavailable),
        ({"error": "Your account has run out of searches."}, RateLimited),
    ],
)
def test_an_error_may_come_with_status_200(
    replay: Replay, body: dict[str, Any], error: type[Exception]
) -> None:
    """A failed read and a used-up plan are told apart."""
    assert type(replay.failing(TOOL, {"query": "x"}, {"json": body}).error) is error


@pytest.mark.parametrize(
    "wrong", [{"query": ""}, {"country": "usa"}, {"min_price": 9, "max_price": 3}], ids=repr
)
def test_bad_input_is_not_billed(replay: Replay, wrong: dict[str, Any]) -> None:
    """Nobody is asked for what cannot be."""
    assert isinstance(replay.run(TOOL, {"query": "x", **wrong}).error, InvalidInput)
