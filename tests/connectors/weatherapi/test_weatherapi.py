"""Weather through WeatherAPI: the place meant, hours from now on, and what a plan leaves out."""

from __future__ import annotations

from typing import Any

from common.errors import NotFound, RateLimited, VendorRejected

from ..conftest import Replay


def data(outcome: Any) -> Any:
    assert outcome.result, outcome.error
    return outcome.result.data


def test_the_place_meant_is_asked_about_by_its_id(replay: Replay) -> None:
    """Bergen in Norway is not mixed up with the one in New Jersey."""
    outcome = replay("get_current_weather_by_location__success")
    assert outcome.summary == (
        "Bergen, Hordaland, Norway: light rain, 4 °C (40 °F), feels like 1 °C (34 °F), "
        "wind 16 km/h (10 mph)."
    )
    assert data(outcome)["time_zone"] == "Europe/Oslo"


def test_several_places_are_asked_about(replay: Replay) -> None:
    """WeatherAPI would pick a Springfield silently; the user is asked."""
    assert len(data(replay("get_current_weather_by_location__ambiguous"))["places"]) == 3


def test_a_forecast_reads_text_for_numbers(replay: Replay) -> None:
    """Chances as text, sun times in twelve hours and minus zero come out right."""
    outcome = replay("get_forecast_weather_by_location__success")
    assert "moderate rain, 0 to 7 °C (32 to 45 °F), 80% chance" in outcome.summary
    assert data(outcome)["days"][0]["sunset"] == "15:49"


def test_fewer_days_than_asked_are_said(replay: Replay) -> None:
    """A plan that has three days does not pass for a week."""
    summary = replay("get_forecast_weather_by_location__plan").summary
    assert summary.endswith("WeatherAPI looks only 3 days ahead here.")


def test_hours_begin_now(replay: Replay) -> None:
    """The day's hours that are over are left out."""
    hours = data(replay("get_hourly_forecast_weather_by_latitude_longitude__success"))["hours"]
    assert [hours[0]["time"], len(hours)] == ["2026-11-22T16:00", 12]


def test_nowhere_is_told(replay: Replay) -> None:
    """In the middle of the sea there is no place."""
    outcome = replay("get_current_weather_by_latitude_longitude__empty")
    assert isinstance(outcome.error, NotFound)


def test_the_past_is_somebody_elses(replay: Replay) -> None:
    """A date that WeatherAPI lacks is refused so that the next vendor is asked."""
    outcome = replay.run(
        "get_hourly_forecast_weather_by_latitude_longitude",
        {"latitude": 1, "longitude": 2, "date": "2026-11-20"},
    )
    assert isinstance(outcome.error, VendorRejected)


def test_a_used_up_quota_is_a_limit(replay: Replay) -> None:
    """The month's quota is not blamed on the key."""
    outcome = replay.failing(
        "get_current_weather_by_latitude_longitude",
        {"latitude": 1, "longitude": 2},
        {"status": 403, "json": {"error": {"code": 2007, "message": "x"}}},
    )
    assert isinstance(outcome.error, RateLimited)
