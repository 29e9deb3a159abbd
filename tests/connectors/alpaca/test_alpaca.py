"""Trading: paper by default, once only, and never without saying which account."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.errors import InvalidInput, NotFound, VendorRejected

from ..conftest import HERE, Replay

PLACE, CANCEL = "place_order_at_alpaca", "cancel_order_at_alpaca"


def data(outcome: Any) -> Any:
    assert outcome.result, outcome.error
    return outcome.result.data


def test_acts_with_money_are_marked(replay: Replay) -> None:
    """Orders wait for the user's approval; looking does not."""
    risks = {tool.name: tool.risk for tool in replay.registry.entries["alpaca"].tools}
    assert {name for name, risk in risks.items() if risk == "money"} == {PLACE, CANCEL}


def test_an_order_names_the_account(replay: Replay) -> None:
    """Exact text goes out, and the answer says that it is paper money and not filled yet."""
    summary = replay(f"{PLACE}__success").summary
    assert summary == "Order sent to the paper account: buy 2 EXMP at 21.50 USD, accepted."


def test_a_live_account_is_a_setting(replay: Replay) -> None:
    """Only ALPACA_LIVE=true reaches the account with real money."""
    case = json.loads((HERE / "alpaca" / f"{PLACE}__success.json").read_text())
    exchange = case["exchanges"][0]
    exchange["request"]["host"] = "api.alpaca.markets"
    keys = {"ALPACA_API_KEY_ID": "key-of-a-test", "ALPACA_API_SECRET_KEY": "key-of-a-test"}
    live = {**keys, "ALPACA_LIVE": "true"}
    outcome = replay.run(PLACE, case["arguments"], exchange, secrets=live)
    assert data(outcome)["account"] == "live"


def test_an_order_sent_twice_is_one_order(replay: Replay) -> None:
    """A retry of the same act finds the order it made before."""
    assert replay(f"{PLACE}__again").summary.endswith("buy 2 EXMP at 21.50 USD, filled.")


def test_a_refused_order_says_why(replay: Replay) -> None:
    """Too little money is told, not blamed on the key."""
    outcome = replay(f"{PLACE}__poor")
    assert isinstance(outcome.error, VendorRejected)
    assert "insufficient buying power" in outcome.summary


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"quantity": 1, "notional": 5},
        {"quantity": -1},
        {"quantity": 0},
        {"quantity": 1, "order_type": "limit"},
        {"quantity": 1, "stop_price": 3},
        {"notional": 5, "order_type": "limit", "limit_price": 3},
        {"quantity": 1, "symbol": "a b"},
    ],
    ids=repr,
)
def test_an_order_that_cannot_be_is_not_sent(replay: Replay, wrong: dict[str, Any]) -> None:
    """Neither amounts that contradict each other nor a missing price leave the house."""
    outcome = replay.run(PLACE, {"symbol": "EXMP", "side": "buy", **wrong})
    assert isinstance(outcome.error, InvalidInput)


def test_cancelling_too_late_is_told(replay: Replay) -> None:
    """A filled order cannot be called back; an unknown one is not found."""
    assert "can no longer be canceled" in replay(f"{CANCEL}__filled").summary
    assert isinstance(replay(f"{CANCEL}__unknown").error, NotFound)


def test_a_side_without_a_quote_is_left_out(replay: Replay) -> None:
    """A bid of zero is no bid."""
    outcome = replay("get_stock_quote_at_alpaca__success")
    assert outcome.summary.startswith("EXMP: last trade 22.10, ask 22.12 USD on IEX")
    assert data(outcome)["bid"] is None


def test_history_and_holdings(replay: Replay) -> None:
    """Change over the time asked for; the largest position first; nulls are no zeros."""
    assert "from 20.00 to 22.10 USD (+10.5%)" in replay("get_stock_bars_at_alpaca__success").summary
    held = replay("get_positions_at_alpaca__success").summary
    assert "3.5 EXMP worth 77.35 USD; 1 SMLL worth an unknown amount" in held
    account = replay("get_account_at_alpaca__success").summary
    assert "worth 4,100.10 USD (+20.10 today), with 2,500.25 USD cash" in account
