"""Weather through AccuWeather: keys for places, both scales, and its two kinds of quota."""

from __future__ import annotations

from typing import Any

from common.errors import NotFound, RateLimited, VendorRejected

from ..conftest import Replay


def data(outcome: Any) -> Any:
    assert outcome.result, outcome.error
    return outcome.result.data


def test_the_larger_town_is_meant(replay: Replay) -> None:
    """Oslo is Norway's, not Minnesota's; the source is AccuWeather's page, over https."""
    outcome = replay("get_current_weather_by_location__success")
    assert outcome.summary == (
        "Oslo, Norway: light snow, -2 °C (28 °F), feels like -6 °C (21 °F), wind 9 km/h (6 mph)."
    )
    assert outcome.result
    assert outcome.result.sources[0].url.startswith("https://www.accuweather.com/en/no/oslo")


def test_towns_of_one_rank_are_asked_about(replay: Replay) -> None:
    """No Springfield is of another class than the others."""
    outcome = replay("get_current_weather_by_location__ambiguous")
    assert outcome.summary.startswith("Which Springfield do you mean")


def test_one_date_is_picked_from_the_days(replay: Replay) -> None:
    """Tomorrow's rain is tomorrow's, night included."""
    outcome = replay("get_forecast_weather_by_location__success")
    day = data(outcome)["days"]
    assert [d["date"] for d in day] == ["2026-11-23"]
    assert day[0]["precipitation_mm"] == 1.6
    assert "rain, -5 to 2 °C (23 to 35 °F), 70% chance" in outcome.summary


def test_a_polar_sun_leaves_a_gap(replay: Replay) -> None:
    """Where the sun does not set there is no time for it."""
    days = data(replay("get_daily_forecast_weather_by_latitude_longitude__success"))["days"]
    assert (days[0]["sunrise"], days[0]["sunset"]) == ("08:26", "")


def test_days_beyond_the_plan_are_refused(replay: Replay) -> None:
    """Ten days need a larger plan; the refusal lets another vendor answer."""
    outcome = replay("get_daily_forecast_weather_by_latitude_longitude__plan")
    assert isinstance(outcome.error, VendorRejected)


def test_a_503_may_be_the_quota(replay: Replay) -> None:
    """AccuWeather's old way of saying that the calls are used up is read as that, once."""
    message = "The allowed number of requests has been exceeded."
    outcome = replay.failing(
        "get_current_weather_by_latitude_longitude",
        {"latitude": 1, "longitude": 2},
        {"status": 503, "json": {"Code": "ServiceUnavailable", "Message": message}},
    )
    assert isinstance(outcome.error, RateLimited)
    assert len(replay.requests) == 1


def test_a_position_without_a_place(replay: Replay) -> None:
    """`null` for a position is said in a sentence."""
    outcome = replay("get_current_weather_by_latitude_longitude__empty")
    assert isinstance(outcome.error, NotFound)
