"""Coins: the one that is meant, in the money asked for, however small its price."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from common.errors import InvalidInput, RateLimited, VendorRejected

from ..conftest import NOW, Replay

CHECK = "check_crypto_price_at_coinmarketcap"
HISTORY = "get_crypto_history_at_coinmarketcap"


def data(outcome: Any) -> Any:
    assert outcome.result, outcome.error
    return outcome.result.data


def test_the_best_ranked_coin_is_meant(replay: Replay) -> None:
    """An impostor that borrows the ticker is not quoted."""
    outcome = replay(f"{CHECK}__success")
    assert outcome.summary == (
        "Samplecoin (SMPL) is at 3.17 USD, down 1.90% in 24 hours, "
        "as of Sunday 22 November 2026 14:59 UTC."
    )
    assert outcome.result
    assert outcome.result.sources[0].url == "https://coinmarketcap.com/currencies/samplecoin/"


def test_a_tiny_price_is_written_out(replay: Replay) -> None:
    """Prices below a cent keep their digits and need no exponent; unknown changes are left out."""
    assert replay(f"{CHECK}__name").summary == "Samplecoin (SMPL) is at 0.000000012345 EUR."


def test_a_name_is_asked_for_as_a_name(replay: Replay) -> None:
    """A word in small letters is a coin's name before it is anybody's ticker."""
    assert data(replay(f"{CHECK}__word"))["coin"]["name"] == "Samplecoin"


def test_the_older_shape_is_read(replay: Replay) -> None:
    """Version 2's objects give the same answer."""
    assert data(replay(f"{CHECK}__v2"))["coin"]["price"] == "3.17"


def test_an_unknown_coin_is_no_failure(replay: Replay) -> None:
    """Ticker, then name: neither is known."""
    assert replay(f"{CHECK}__empty").summary.startswith("CoinMarketCap knows no coin ZZZQ.")


def test_an_amount_is_converted(replay: Replay) -> None:
    """Worth is reckoned exactly."""
    summary = replay("convert_crypto_at_coinmarketcap__success").summary
    assert summary == "2.5 SMPL is 7.92 USD, at 3.17 USD for one Samplecoin."


@pytest.mark.parametrize(("code", "error"), [("1009", RateLimited), (1006, VendorRejected)])
def test_an_error_may_come_with_status_200(
    replay: Replay, code: object, error: type[Exception]
) -> None:
    """The body's code decides, number or text."""
    body = {"status": {"error_code": code, "error_message": "x"}}
    assert type(replay.failing(CHECK, {"symbol": "BTC"}, {"json": body}).error) is error


@pytest.mark.parametrize("symbol", ["", "BTC,ETH", "a" * 80])
def test_one_coin_at_a_time(replay: Replay, symbol: str) -> None:
    """What is no ticker or name is sent back to the model."""
    assert isinstance(replay.run(CHECK, {"symbol": symbol}).error, InvalidInput)


@pytest.mark.parametrize(
    ("rank", "strange"), [(41, False), (499, False), (500, True), (None, True)]
)
def test_a_coin_that_anybody_could_have_minted_is_a_strangers_text(
    replay: Replay, rank: int | None, strange: bool
) -> None:
    """A coin's name may be an instruction; the large ones' names are known to everybody."""
    case = json.loads((replay.folder / "convert_crypto_at_coinmarketcap__success.json").read_text())
    text = json.dumps(case["exchanges"]).replace(
        '"cmc_rank": 41', f'"cmc_rank": {json.dumps(rank)}'
    )
    outcome = replay.run(
        "convert_crypto_at_coinmarketcap", case["arguments"], *json.loads(text),
        now=case.get("now", NOW),
    )  # fmt: skip
    assert outcome.result is not None
    assert outcome.result.untrusted is strange


def ages(outcome: Any) -> list[float]:
    """Return how many days ago each point of a course is, the oldest first."""
    now = dt.datetime.fromisoformat(NOW)
    starts = [dt.datetime.fromisoformat(bar["start"]) for bar in data(outcome)["bars"]]
    return [(now - start).total_seconds() / 86_400 for start in starts]


def test_a_year_has_points_for_every_range(replay: Replay) -> None:
    """A chart of a day, a week, a month or a year has a real course, in few enough points."""
    outcome = replay(f"{HISTORY}__success")
    days = ages(outcome)
    assert days == sorted(days, reverse=True)
    assert days[0] > 359 and days[-1] == 0
    for span, least in ((1, 24), (7, 40), (31, 60), (366, 80)):
        assert sum(age <= span for age in days) >= least, span
    assert len(days) <= 120
    assert outcome.summary == (
        "Samplecoin (SMPL) went from 1.80 to 3.17 USD (+76.1%) since Thursday 27 November 2025; "
        "lowest 1.80, highest 3.42."
    )


def test_a_week_asks_for_hours_alone(replay: Replay) -> None:
    """What is not shown is not paid for: a week is one request."""
    case = json.loads((replay.folder / f"{HISTORY}__success.json").read_text())
    outcome = replay.run(HISTORY, {"symbol": "SMPL", "days": 7}, *case["exchanges"][:2])
    assert 40 < len(ages(outcome)) < 60
    assert max(ages(outcome)) <= 7


def test_a_plan_without_history_says_so(replay: Replay) -> None:
    """An older plan refuses it; nothing is drawn instead of it."""
    [latest, *_] = json.loads((replay.folder / f"{HISTORY}__success.json").read_text())["exchanges"]
    refused = {"status": 403, "json": {"status": {"error_code": 1006, "error_message": "plan"}}}
    history = {"host": "pro-api.coinmarketcap.com", "path": "/v3/cryptocurrency/quotes/historical"}
    outcome = replay.run(
        HISTORY, {"symbol": "SMPL"}, latest, {"request": history, "response": refused}
    )
    assert isinstance(outcome.error, VendorRejected)
