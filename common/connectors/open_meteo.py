"""Open-Meteo: weather anywhere, without a key, with its own place search (GeoNames).

https://open-meteo.com/en/docs · https://open-meteo.com/en/docs/geocoding-api

Keyless use is for non-commercial purposes; with OPEN_METEO_API_KEY set, calls go to the paid hosts
(same paths, `customer-` before the host). Quirks seen in November 2026:
- No place found is a 200 without `results`. A name is matched by prefix, "Boston, MA" not at all.
- Columns, not rows; any slot may be null. Times are local to the place, without an offset.
- The coordinates in an answer are the grid cell's, kilometres away: never show them.
- 429 has no Retry-After, and few calls may run at once from one address.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from common.errors import VendorUnavailable
from common.tools import Connector, Source, ToolContext, words
from common.tools.gazetteer import HOSTS, ask_open_meteo, search_places
from common.tools.places import Place
from common.tools.reading import instant, integer, number, record, text, values
from common.tools.weather import (
    Current,
    Day,
    Hour,
    Told,
    WeatherVendor,
    in_celsius,
    in_kmh,
    in_millimetres,
    speed,
    temperature,
    weather_tools,
)

CONNECTOR = Connector(
    name="Open-Meteo",
    category="information",
    description="Current weather and forecasts up to 16 days ahead for any place on Earth.",
    examples=(
        "What's the weather in Boston right now?",
        "Will it rain in Lisbon tomorrow?",
        "How hot does it get in Phoenix over the next five days?",
        "Hour by hour, what is the weather at 46.2, 6.15 today?",
    ),
    keywords=words(
        "weather, forecast, temperature, rain, raining, snow, sunny, cloudy, wind, windy, "
        "humidity, umbrella, jacket, cold, hot, warm, storm, degrees, sunrise, sunset, uv, "
        "rainy, snowing, snowy, snowfall, sunshine, sun, cloud, clouds, gust, gusts, humid, "
        "warmer, colder, hotter, cooler, chilly, freezing, frost, ice, icy, hail, fog, foggy, "
        "thunder, thunderstorm, thunderstorms, lightning, shower, showers, drizzle, heat, "
        "heatwave, outlook, climate, celsius, fahrenheit, coat, wear, sunscreen, outside, "
        "outdoors, beach, gloves, scarf, boots, high, low, highs, lows, bring, pack, cool, "
        "mild, dry, wet, blizzard, breeze, breezy, hurricane, typhoon, tornado, muggy, "
        "overcast, pollen, picnic, barbecue, feels like, like outside, tides, precipitation, "
        "conditions, pressure, visibility, trousers, shorts, clothes, dress for, stop "
        "raining, temp, temps, pour, pouring, gloomy, grey, gray, sleet, slush, sweater, "
        "hoodie, raincoat, get wet, nice out, weather like, be like, how hot, how cold, how "
        "warm, wind chill, scorching, boiling, heat wave, sunburn, haze, smog, monsoon, snow "
        "day, bbq, hike, sail, ski, sledding, get dark, garden party, next days, washing, "
        "mercury, fly a, sunrise tomorrow, out there, outlook for, the sky, weekend be, stay "
        "dry, degree"
    ),
    hosts=(
        "api.open-meteo.com",
        "customer-api.open-meteo.com",
        *HOSTS,
    ),
    capability="weather",
    rank=90,
    concurrency=3,
    attribution="Weather data by Open-Meteo.com",
    licence="CC BY 4.0; place names from GeoNames, CC BY 4.0; keyless use is non-commercial",
)

SOURCE = Source("Weather data by Open-Meteo.com", "https://open-meteo.com/")

CURRENT = (
    "temperature_2m,apparent_temperature,relative_humidity_2m,precipitation,weather_code,"
    "wind_speed_10m,wind_direction_10m,wind_gusts_10m"
)
HOURLY = "temperature_2m,precipitation_probability,precipitation,weather_code,wind_speed_10m"
DAILY = (
    "weather_code,temperature_2m_max,temperature_2m_min,precipitation_sum,"
    "precipitation_probability_max,wind_speed_10m_max,uv_index_max,sunrise,sunset"
)

# WMO codes: the service sends no words.
CONDITIONS = {
    0: "clear sky",
    1: "mainly clear",
    2: "partly cloudy",
    3: "overcast",
    45: "fog",
    48: "freezing fog",
    51: "light drizzle",
    53: "drizzle",
    55: "heavy drizzle",
    56: "freezing drizzle",
    57: "freezing drizzle",
    61: "light rain",
    63: "rain",
    65: "heavy rain",
    66: "freezing rain",
    67: "freezing rain",
    71: "light snow",
    73: "snow",
    75: "heavy snow",
    77: "snow grains",
    80: "light showers",
    81: "showers",
    82: "violent showers",
    85: "snow showers",
    86: "heavy snow showers",
    95: "thunderstorms",
    96: "thunderstorms with hail",
    99: "thunderstorms with hail",
}


async def _forecast(
    ctx: ToolContext, place: Place, block: str, **params: str | int
) -> dict[str, Any]:
    body = await ask_open_meteo(
        ctx,
        "api",
        "/v1/forecast",
        latitude=place.latitude,
        longitude=place.longitude,
        timezone="auto",
        **params,
    )
    if not record(body.get(block)):
        raise VendorUnavailable("Open-Meteo sent no weather for this place. Try again later.")
    return body


def _condition(code: object) -> str:
    found = integer(code)
    return "unknown conditions" if found is None else CONDITIONS.get(found, "unknown conditions")


def _rows(body: dict[str, Any], block: str) -> list[dict[str, Any]]:
    """Turn the columns of `block` into rows; a short column leaves its last rows without it."""
    columns = {name: values(column) for name, column in record(body.get(block)).items()}
    rows = (
        {name: column[i] if i < len(column) else None for name, column in columns.items()}
        for i in range(len(columns.get("time", [])))
    )
    return [_metric(row, body, block) for row in rows]


def _metric(row: dict[str, Any], body: dict[str, Any], block: str) -> dict[str, Any]:
    """Return the row in metric units: an answer says itself which units it is in."""
    units = record(body.get(f"{block}_units"))
    ways = {"temperature": in_celsius, "wind_speed": in_kmh, "wind_gusts": in_kmh}
    ways |= {"apparent_temperature": in_celsius, "precipitation": in_millimetres}
    return {
        name: ways[kind](value, units.get(name))
        if (kind := next((k for k in ways if name.startswith(k)), "")) and "probability" not in name
        else value
        for name, value in row.items()
    }


def _told(body: dict[str, Any], rows: list[Any]) -> Told:
    return Told(rows=rows, time_zone=text(body.get("timezone")))


def _one_day(date: dt.date) -> dict[str, str | int]:
    return {"start_date": date.isoformat(), "end_date": date.isoformat()}


async def _now(ctx: ToolContext, place: Place) -> Told:
    body = await _forecast(ctx, place, "current", current=CURRENT, forecast_days=1)
    row = _metric(record(body["current"]), body, "current")
    current = Current(
        observed_at=text(row.get("time")),
        condition=_condition(row.get("weather_code")),
        temperature=temperature(row.get("temperature_2m")),
        feels_like=temperature(row.get("apparent_temperature")),
        humidity_percent=integer(row.get("relative_humidity_2m")),
        precipitation_mm=number(row.get("precipitation")),
        wind=speed(row.get("wind_speed_10m")),
        wind_gusts=speed(row.get("wind_gusts_10m")),
        wind_from_degrees=integer(row.get("wind_direction_10m")),
    )
    return _told(body, [current])


async def _days(ctx: ToolContext, place: Place, days: int, date: dt.date | None) -> Told:
    span = _one_day(date) if date else {"forecast_days": days}
    body = await _forecast(ctx, place, "daily", daily=DAILY, **span)
    return _told(body, [_day(row) for row in _rows(body, "daily") if instant(row.get("time"))])


def _day(row: dict[str, Any]) -> Day:
    return Day(
        date=text(row.get("time")),
        condition=_condition(row.get("weather_code")),
        high=temperature(row.get("temperature_2m_max")),
        low=temperature(row.get("temperature_2m_min")),
        precipitation_mm=number(row.get("precipitation_sum")),
        precipitation_chance_percent=integer(row.get("precipitation_probability_max")),
        wind_max=speed(row.get("wind_speed_10m_max")),
        uv_index_max=number(row.get("uv_index_max")),
        sunrise=text(row.get("sunrise"))[-5:],
        sunset=text(row.get("sunset"))[-5:],
    )


async def _hours(ctx: ToolContext, place: Place, hours: int, date: dt.date | None) -> Told:
    span = _one_day(date) if date else {"forecast_hours": hours}
    body = await _forecast(ctx, place, "hourly", hourly=HOURLY, **span)
    return _told(body, [_hour(row) for row in _rows(body, "hourly") if text(row.get("time"))])


def _hour(row: dict[str, Any]) -> Hour:
    return Hour(
        time=text(row.get("time")),
        condition=_condition(row.get("weather_code")),
        temperature=temperature(row.get("temperature_2m")),
        precipitation_mm=number(row.get("precipitation")),
        precipitation_chance_percent=integer(row.get("precipitation_probability")),
        wind=speed(row.get("wind_speed_10m")),
    )


(
    get_current_weather_by_location,
    get_forecast_weather_by_location,
    get_current_weather_by_latitude_longitude,
    get_daily_forecast_weather_by_latitude_longitude,
    get_hourly_forecast_weather_by_latitude_longitude,
) = weather_tools(
    __name__,
    WeatherVendor(
        name="Open-Meteo",
        source=SOURCE,
        search=search_places,
        now=_now,
        days=_days,
        hours=_hours,
        past_days=92,
    ),
)
