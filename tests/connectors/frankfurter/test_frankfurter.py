"""Money converted exactly, with the date its rate is from."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput, NotFound, VendorUnavailable

from ..conftest import Replay

PAIR = "get_exchange_rate_for_currency_pair"


def rate(base: str, quote: str, value: Any) -> dict[str, Any]:
    return {
        "request": {"host": "api.frankfurter.dev", "path": f"/v2/rate/{base}/{quote}"},
        "response": {"json": {"date": "2026-11-20", "base": base, "quote": quote, "rate": value}},
    }


def test_an_amount_is_converted_to_the_cent(replay: Replay) -> None:
    """1,234.50 USD comes out in whole cents, with the day of its rate."""
    outcome = replay(f"{PAIR}__success")
    assert outcome.summary == (
        "1,234.5 USD is 1,140.84 EUR at the reference rate of Friday 20 November 2026."
    )


def test_a_rate_of_another_day_says_so(replay: Replay) -> None:
    """Asked for a Saturday, the user hears that the rate is Friday's."""
    outcome = replay(f"{PAIR}__weekend")
    assert "rate of Friday 20 November 2026" in outcome.summary
    assert "No rate was published on 2026-11-21" in outcome.summary


@pytest.mark.parametrize(
    ("amount", "quote", "value", "shown"),
    [
        (100, "JPY", 154.6, "15460"),
        (3, "KWD", 0.30712, "0.9214"),
        (30, "KWD", 0.30712, "9.214"),
        (1, "EUR", 0.92413, "0.92413"),
        (0.1, "EUR", 3, "0.30"),
        (2, "VND", 25412.5, "50825"),
        (1000, "EUR", 1e-9, "0.000001"),
        ("2.675", "EUR", 1.0, "2.68"),
        (500, "EUR", 0.5, "250.00"),
    ],
)
def test_money_is_rounded_as_its_currency_is(
    replay: Replay, amount: Any, quote: str, value: float, shown: str
) -> None:
    """Yen have no cents, dinars three places, and small sums keep their digits."""
    arguments = {"from_currency": "USD", "to_currency": quote, "amount": amount}
    outcome = replay.run(PAIR, arguments, rate("USD", quote, value))
    assert outcome.result and outcome.result.data["converted_amount"] == shown


def test_a_currency_in_itself_needs_no_call(replay: Replay) -> None:
    """50 euros are 50 euros."""
    outcome = replay.run(PAIR, {"from_currency": "EUR", "to_currency": "eur", "amount": 50})
    assert outcome.summary.startswith("50 EUR is 50.00 EUR")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"to_currency": "euros"}, "to_currency must be a three-letter"),
        ({"date": "2026-11-23"}, "today is 2026-11-22"),
        ({"date": "last week"}, "date must be a date"),
        ({"amount": 0}, "amount"),
        ({"amount": "nan"}, "amount"),
    ],
)
def test_what_cannot_be_converted_is_explained(
    replay: Replay, changed: dict[str, Any], told: str
) -> None:
    """Words for codes, dates to come and amounts of nothing are sent back without a call."""
    outcome = replay.run(PAIR, {"from_currency": "USD", "to_currency": "EUR", **changed})
    assert isinstance(outcome.error, InvalidInput) and told in outcome.summary


def test_an_unknown_currency_is_named(replay: Replay) -> None:
    """The codes that gave no rate are repeated, so that they can be corrected."""
    for case in (f"{PAIR}__empty", "get_exchange_rates_for_currency__unknown"):
        outcome = replay(case)
        assert isinstance(outcome.error, NotFound) and "QQQ" in outcome.summary


def test_a_null_rate_is_no_rate(replay: Replay) -> None:
    """Nobody is told that their money is worth nothing, or less."""
    assert isinstance(replay(f"{PAIR}__null").error, VendorUnavailable)
    for value in (0, -1.5, "N/A"):
        arguments = {"from_currency": "USD", "to_currency": "EUR"}
        outcome = replay.run(PAIR, arguments, rate("USD", "EUR", value))
        assert isinstance(outcome.error, VendorUnavailable)


def test_rates_carry_their_own_dates(replay: Replay) -> None:
    """Each rate has its date, the base itself is left out, and what is missing is listed."""
    outcome = replay("get_exchange_rates_for_currency__success")
    assert outcome.result
    assert outcome.result.data["rates"] == [
        {"currency": "DKK", "rate": "0.6412", "date": "2026-11-20"},
        {"currency": "SEK", "rate": "0.98", "date": "2026-11-19"},
    ]
    assert outcome.result.data["no_rate_for"] == ["ZZZ"]
