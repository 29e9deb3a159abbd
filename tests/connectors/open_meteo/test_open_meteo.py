"""Weather as a user asks for it: by place, by date, by position."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput, VendorRejected

from ..conftest import Replay

FORECAST = {"host": "api.open-meteo.com", "path": "/v1/forecast"}


def result(outcome: Any) -> Any:
    assert outcome.result, outcome.error
    return outcome.result


def found(*rows: dict[str, Any]) -> dict[str, Any]:
    """Return the exchange in which the place search finds `rows`."""
    return {
        "request": {"host": "geocoding-api.open-meteo.com", "path": "/v1/search"},
        "response": {"json": {"results": list(rows)}},
    }


def row(name: str, population: int | None, **more: Any) -> dict[str, Any]:
    return {"name": name, "latitude": 1, "longitude": 2, "population": population, **more}


def now(celsius: float = 4.0) -> dict[str, Any]:
    current = {"time": "2026-11-22T10:00", "temperature_2m": celsius, "weather_code": 0}
    return {"request": FORECAST, "response": {"json": {"current": current}}}


def test_the_obvious_boston_is_taken_and_named_in_full(replay: Replay) -> None:
    """Boston, MA needs no question, and the answer says which Boston it is about."""
    outcome = replay("get_current_weather_by_location__success")
    assert outcome.summary.startswith("Boston, Massachusetts, United States: overcast, 0 °C (32 ")
    assert "feels like -5 °C (24 °F)" in outcome.summary
    assert result(outcome).data["current"]["wind"] == {"kmh": 18.4, "mph": 11.4}


def test_several_likely_places_are_asked_about(replay: Replay) -> None:
    """No Springfield is so much larger than the next that it could be taken silently."""
    choices = result(replay("get_current_weather_by_location__ambiguous"))
    assert choices.response_type == "place_choices"
    assert [place["population"] for place in choices.data["places"]] == [170188, 154341, 112544]
    assert choices.summary.startswith("Which Springfield do you mean")


def test_a_choice_can_be_given_back(replay: Replay) -> None:
    """The full name offered as a choice finds that place."""
    choices = result(replay("get_current_weather_by_location__ambiguous"))
    name = choices.data["places"][2]["name"]
    springfields = [
        row("Springfield", 170188, admin1="Missouri", country="United States"),
        row("Springfield", 112544, admin1="Illinois", country="United States"),
    ]
    outcome = replay.run(
        "get_current_weather_by_location", {"location": name}, found(*springfields), now()
    )
    assert outcome.summary.startswith(f"{name}: clear sky")


def test_a_state_without_a_comma_is_understood(replay: Replay) -> None:
    """Springfield IL is the one in Illinois; odd codes and nulls are said to be unknown."""
    outcome = replay("get_current_weather_by_location__no_comma")
    assert outcome.summary.startswith(
        "Springfield, Illinois, United States: unknown conditions, temperature unknown"
    )


@pytest.mark.parametrize(
    ("asked", "rows", "taken"),
    [
        ("NYC", [row("New York", 8_800_000), row("Nyce", 900)], "New York"),
        (
            "Sao Paulo",
            [row("São Paulo", 11_000_000), row("Sao Paulo", 3000, admin1="X")],
            "São Paulo",
        ),
        ("Lake", [row("Lakewood", 150_000), row("Lake", 300)], "Lake"),
        (
            "Paris, TX",
            [row("Paris", 2_100_000, country="France"), row("Paris", 24_000, admin1="Texas")],
            "Paris, Texas",
        ),
        (
            "Den Haag, Netherlands",
            [row("The Hague", 474_000, country="The Netherlands")],
            "The Hague, The Netherlands",
        ),
    ],
)
def test_the_place_meant_is_found(
    replay: Replay, asked: str, rows: list[dict[str, Any]], taken: str
) -> None:
    """Accents, other names, abbreviated states and names that only begin alike."""
    arguments = {"location": asked}
    outcome = replay.run("get_current_weather_by_location", arguments, found(*rows), now())
    assert outcome.summary.startswith(f"{taken}: ")


def test_a_region_that_does_not_fit_is_not_ignored(replay: Replay) -> None:
    """Asked for a Springfield where there is none, the assistant offers those there are."""
    choices = result(replay("get_forecast_weather_by_location__empty"))
    assert choices.summary.startswith("I found no Springfield in Xyz. There is Springfield, M")


def test_a_place_without_a_position_is_left_out(replay: Replay) -> None:
    """A row of the place search that lacks its coordinates is no place."""
    lost = {**row("Nowhere", 5), "latitude": None}
    outcome = replay.run("get_current_weather_by_location", {"location": "Nowhere"}, found(lost))
    assert result(outcome).data["places"] == []


def test_an_unknown_place_is_no_error(replay: Replay) -> None:
    """A misspelt place is answered in a sentence."""
    nothing = result(replay("get_current_weather_by_location__empty"))
    assert nothing.summary == "I found no place called Qwertyville Zz."


def test_without_a_place_the_device_answers(replay: Replay) -> None:
    """Weather without a place is about where the user is, if they share it."""
    assert replay("get_current_weather_by_location__device").summary.startswith("Your location: ")
    unshared = replay.run("get_current_weather_by_location", {})
    assert isinstance(unshared.error, InvalidInput) and "Name a city" in unshared.summary


def test_one_date_is_answered_for_that_date(replay: Replay) -> None:
    """Tomorrow's forecast is tomorrow's alone, with rain and both scales."""
    outcome = replay("get_forecast_weather_by_location__success")
    assert outcome.summary == (
        "Boston, Massachusetts, United States on Monday 23 November 2026: light rain, "
        "4 to 9 °C (38 to 48 °F), 80% chance of precipitation."
    )
    assert [day["date"] for day in result(outcome).data["days"]] == ["2026-11-23"]
    assert result(outcome).data["time_zone"] == "America/New_York"


@pytest.mark.parametrize(("time", "ok"), [("10:59", False), ("11:01", True)])
def test_the_last_forecast_day_is_the_places_own(replay: Replay, time: str, ok: bool) -> None:
    """In Auckland it is already tomorrow: what can be asked follows the clock there."""
    day = {"time": ["2026-12-08"], "weather_code": [0]}
    there = [found(row("Auckland", 1, timezone="Pacific/Auckland"))]
    if ok:
        there.append({"request": FORECAST, "response": {"json": {"daily": day}}})
    outcome = replay.run(
        "get_forecast_weather_by_location",
        {"location": "Auckland", "date": "2026-12-08"},
        *there,
        now=f"2026-11-22T{time}:00+00:00",
    )
    assert outcome.ok is ok
    assert ok or "2026-12-07" in outcome.summary


def test_a_date_in_words_is_sent_back_to_the_model(replay: Replay) -> None:
    """The model is told the form a date needs; nobody is called."""
    outcome = replay.run("get_forecast_weather_by_location", {"location": "x", "date": "tomorrow"})
    assert isinstance(outcome.error, InvalidInput) and "2026-11-23" in outcome.summary


def test_hours_tell_when_it_rains(replay: Replay) -> None:
    """The hour to take an umbrella is named."""
    outcome = replay("get_hourly_forecast_weather_by_latitude_longitude__success")
    assert "Precipitation is likeliest at 12:00." in outcome.summary
    assert result(outcome).data["hours"][2]["temperature"] is None


def test_columns_of_unequal_length_are_read(replay: Replay) -> None:
    """A short column leaves its day without that value, not the user without an answer."""
    days = result(replay("get_daily_forecast_weather_by_latitude_longitude__empty")).data["days"]
    assert [day["high"] for day in days] == [None, None]


def test_positions_off_the_globe_are_refused(replay: Replay) -> None:
    """Swapped coordinates are noticed before anybody is called."""
    outcome = replay.run(
        "get_current_weather_by_latitude_longitude", {"latitude": 122.4, "longitude": 37.8}
    )
    assert isinstance(outcome.error, InvalidInput) and "latitude" in outcome.summary


def test_a_bad_request_is_the_vendors_refusal(replay: Replay) -> None:
    """Open-Meteo's own error, with its reason for developers, is told in our words."""
    outcome = replay.failing(
        "get_current_weather_by_latitude_longitude",
        {"latitude": 1, "longitude": 2},
        {"status": 400, "json": {"error": True, "reason": "Data corrupted at path ''."}},
    )
    assert isinstance(outcome.error, VendorRejected) and "corrupted" not in outcome.summary


def test_a_commercial_key_uses_the_paid_hosts(replay: Replay) -> None:
    """Whoever pays for Open-Meteo sets a key and is served by the paid hosts."""
    paid = {
        "request": {
            "host": "customer-api.open-meteo.com",
            "path": "/v1/forecast",
            "query": {"apikey": "k"},
        },
        "response": now()["response"],
    }
    outcome = replay.run(
        "get_current_weather_by_latitude_longitude",
        {"latitude": 1, "longitude": 2},
        paid,
        secrets={"OPEN_METEO_API_KEY": "k"},
    )
    assert outcome.ok
