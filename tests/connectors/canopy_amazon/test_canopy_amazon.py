"""Products on Amazon: no advertisements, no invented prices, links to the product itself."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput, NotFound, VendorRejected

from ..conftest import Replay


def data(outcome: Any) -> Any:
    assert outcome.result, outcome.error
    return outcome.result.data


def test_products_without_advertisements(replay: Replay) -> None:
    """Sponsored rows are left out; a product without a price is said to have none."""
    outcome = replay("search_amazon__success")
    assert outcome.summary == (
        "On Amazon: Acme Kettle 1.7 L, $31.50, 4.2 stars; Old & Gone, no price now."
    )
    assert outcome.result
    assert outcome.result.untrusted
    assert outcome.result.sources[0].url == "https://www.amazon.com/dp/B0EXAMPLE1"


def test_details(replay: Replay) -> None:
    """Features, stock and coupon are read; the price says when it was read."""
    outcome = replay("get_product_details__success")
    assert outcome.summary == "Acme Kettle 1.7 L, $31.50, 4.2 stars, in stock, by Acme."
    assert data(outcome)["features"] == ["Boils fast", "Quiet & safe"]
    assert data(outcome)["as_of"] == "2026-11-22T15:00:00+00:00"


def test_a_price_that_is_only_shown(replay: Replay) -> None:
    """A price in the shop's own writing is repeated, not reckoned with."""
    outcome = replay("get_product_details__bare")
    assert outcome.summary == "Acme Kettle, 31,50 €, not in stock."
    assert data(outcome)["price"] is None


def test_an_unknown_product(replay: Replay) -> None:
    """An id that no product has is told as that."""
    assert isinstance(replay("get_product_details__empty").error, NotFound)


def test_a_used_up_quota(replay: Replay) -> None:
    """Paying is the operator's matter, and is named."""
    outcome = replay.failing("search_amazon", {"query": "x"}, {"status": 402, "json": {}})
    assert isinstance(outcome.error, VendorRejected)
    assert "used up" in outcome.summary


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("search_amazon", {"query": " "}),
        ("search_amazon", {"query": "x", "min_price": 9, "max_price": 3}),
        ("search_amazon", {"query": "x", "max_price": -3}),
        ("get_product_details", {"asin": "kettle"}),
    ],
)
def test_bad_input_costs_no_quota(replay: Replay, tool: str, arguments: dict[str, Any]) -> None:
    """Nobody is asked for what cannot be."""
    assert isinstance(replay.run(tool, arguments).error, InvalidInput)
