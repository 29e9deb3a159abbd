"""Prices, filings and news, and nothing that is not one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.errors import InvalidInput, VendorRejected

from ..conftest import HERE, Replay


def data(outcome: Any) -> Any:
    assert outcome.result, outcome.error
    return outcome.result.data


def test_a_price_names_company_currency_and_time(replay: Replay) -> None:
    """A figure alone would not say whose, in what money, or as of when."""
    assert replay("get_stock_price_at_finnhub__success").summary == (
        "Example Corp (EXMP) is at 55.20 USD, down 0.72% on the day, "
        "as of Friday 20 November 2026 21:00 UTC."
    )


def test_zeros_are_no_price(replay: Replay) -> None:
    """An unknown symbol is never quoted at zero: the company's real one is offered."""
    outcome = replay("get_stock_price_at_finnhub__empty")
    assert outcome.summary.startswith("Matches for EXAMPLE: EXAMPLE CORP is EXMP;")


def test_a_price_survives_a_missing_profile(replay: Replay) -> None:
    """Where the plan has no profile, the price is still told."""
    assert replay("get_stock_price_at_finnhub__no_profile").summary.startswith("EXMP is at 55.20,")


def test_the_plan_is_not_blamed_on_the_key(replay: Replay) -> None:
    """A foreign listing needs another plan, and the message says that."""
    outcome = replay("get_stock_price_at_finnhub__plan")
    assert isinstance(outcome.error, VendorRejected) and "plan does not include" in outcome.summary


@pytest.mark.parametrize("symbol", ["Example Corp", "", "../etc", "A" * 30])
def test_a_name_is_no_symbol(replay: Replay, symbol: str) -> None:
    """The model is told to search first."""
    outcome = replay.run("get_stock_price_at_finnhub", {"symbol": symbol})
    assert isinstance(outcome.error, InvalidInput) and "search_stock_symbol" in outcome.summary


def test_filings_are_newest_first_and_read_through_their_quirks(replay: Replay) -> None:
    """Prefixes, numbers as text, "N/A", nulls and repeated segments: the right figures remain."""
    reports = data(replay("get_annual_financials_at_finnhub__success"))["reports"]
    assert [report["fiscal_year"] for report in reports] == [2025, 2024]
    figures = reports[0]["figures"]
    assert figures["revenue"] == 2_140_000_000 and figures["net_income"] == -12_500_000
    assert figures["liabilities"] is None and figures["diluted_earnings_per_share"] == -0.17
    assert reports[0]["currency"] == "USD"


def test_a_quarter_says_what_time_it_covers(replay: Replay) -> None:
    """Nine months of revenue are not told as one quarter's."""
    outcome = replay("get_quarterly_stock_financials_at_finnhub__success")
    assert "for 2026-01-01 to 2026-09-30" in outcome.summary
    assert "year to date" in data(outcome)["note"]


def test_many_quarters_stay_short(replay: Replay) -> None:
    """Eight filings fit what the model may read."""
    name = "get_quarterly_stock_financials_at_finnhub"
    case = json.loads((HERE / "finnhub" / f"{name}__success.json").read_text())
    exchange = case["exchanges"][0]
    exchange["response"]["json"]["data"] *= 10
    outcome = replay.run(name, {"symbol": "EXMP", "quarters": 8}, exchange)
    assert len(data(outcome)["reports"]) == 8
    assert len(outcome.for_model().encode()) <= 6 * 1024


def test_news_is_newest_first_and_untrusted(replay: Replay) -> None:
    """Headlines name their publisher; rows without one are left out."""
    outcome = replay("get_company_news_at_finnhub__success")
    assert outcome.result and outcome.result.untrusted
    headlines = [item["headline"] for item in data(outcome)["news"]]
    assert headlines == ["Example & Sons merge", "Example opens a plant"]


def test_a_search_prefers_the_us_listing(replay: Replay) -> None:
    """The ticker that the free plan can price comes first."""
    symbols = data(replay("search_stock_symbol_at_finnhub__success"))["symbols"]
    assert [row["symbol"] for row in symbols] == ["EXMP", "EXMP.TO"]


def test_the_key_stays_out_of_the_address(replay: Replay) -> None:
    """Addresses end up in logs."""
    replay("get_stock_price_at_finnhub__success")
    assert all("key-of-a-test" not in str(request.rel_url) for request in replay.requests)
