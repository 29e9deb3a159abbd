"""Rates by ExchangeRate-API: dated, exact, and refused in the vendor's own ways."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import NotFound, RateLimited, VendorRejected

from ..conftest import Replay

PAIR = "get_exchange_rate_for_currency_pair"


def data(outcome: Any) -> Any:
    assert outcome.result, outcome.error
    return outcome.result.data


def test_a_conversion_tells_its_rates_date(replay: Replay) -> None:
    """The amount is exact to the penny and the rate's own date is told."""
    outcome = replay(f"{PAIR}__success")
    assert outcome.summary == (
        "25 USD is 228.08 SEK at the mid-market rate of Sunday 22 November 2026."
    )
    assert data(outcome)["rate"] == "9.1234"


def test_a_tiny_rate_is_inverted(replay: Replay) -> None:
    """Four decimals would cost a million dong half its worth."""
    assert data(replay(f"{PAIR}__tiny"))["converted_amount"] == "37.96"


def test_a_past_date(replay: Replay) -> None:
    """With a paid plan a past date has its rate, and says the date."""
    assert (
        "1.0488 USD at the mid-market rate of Monday 3 March 2025"
        in replay(f"{PAIR}__past").summary
    )


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [
        ("plan-upgrade-required", 403, VendorRejected),
        ("quota-reached", 200, RateLimited),
        ("inactive-account", 403, VendorRejected),
        ("unknown-code", 404, NotFound),
    ],
)
def test_the_error_type_decides(
    replay: Replay, kind: str, status: int, error: type[Exception]
) -> None:
    """Whatever the status, the body says what is wrong."""
    outcome = replay.failing(
        PAIR,
        {"from_currency": "EUR", "to_currency": "USD"},
        {"status": status, "json": {"result": "error", "error-type": kind}},
    )
    assert type(outcome.error) is error


def test_a_code_without_a_rate_is_listed_as_such(replay: Replay) -> None:
    """Of the currencies asked for, those without a rate are named."""
    listed = data(replay("get_exchange_rates_for_currency__success"))
    assert listed["no_rate_for"] == ["XYZ"]
    assert [rate["currency"] for rate in listed["rates"]] == ["EUR", "JPY"]
