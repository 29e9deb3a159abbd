"""AccuWeather: current conditions and forecasts, for subscribers.

https://developer.accuweather.com/

There is no free plan since September 2025. Quirks seen in November 2026:
- Everything needs a location key first, by coordinates or by name; keys are stable.
- Forecasts are Fahrenheit unless `metric=true`; current conditions carry both scales.
- The quota may be a 503 whose message says so: not to be tried again.
- Low plans have 5 days and 12 hours; what is not in the plan is a 403.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, TypeAlias

from common.errors import NotFound, RateLimited, VendorUnavailable
from common.tools import Connector, Source, ToolContext, words
from common.tools.places import Place, full_name
from common.tools.reading import instant, integer, number, record, records, text
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
    name="AccuWeather",
    category="information",
    description="Current conditions, daily and hourly forecasts from AccuWeather.",
    examples=(
        "What does AccuWeather say about Chicago?",
        "AccuWeather forecast for Miami this week.",
        "How warm will it be in Dallas tomorrow?",
        "AccuWeather forecast for Miami",
    ),
    keywords=words(
        "accuweather, weather, forecast, temperature, rain, snow, sunny, wind, humidity, "
        "umbrella, cold, hot, storm, degrees, uv, raining, snowing, sunshine, sun, cloudy, "
        "windy, humid, warm, warmer, colder, hotter, chilly, freezing, frost, hail, fog, "
        "foggy, thunderstorm, thunderstorms, lightning, showers, drizzle, heat, outlook, "
        "sunrise, sunset, jacket, coat, wear, sunscreen, gloves, scarf, boots, high, low, "
        "highs, lows, bring, pack, cool, mild, dry, wet, blizzard, breeze, breezy, hurricane, "
        "typhoon, tornado, muggy, overcast, pollen, picnic, barbecue, feels like, like "
        "outside, tides, precipitation, conditions, pressure, visibility, trousers, shorts, "
        "clothes, dress for, mercury, fly a, sunrise tomorrow, out there, outlook for, the "
        "sky, weekend be, stay dry, degree"
    ),
    hosts=("dataservice.accuweather.com",),
    auth="key",
    secrets=("ACCUWEATHER_API_KEY",),
    capability="weather",
    rank=20,
    attribution="AccuWeather, with a link",
    licence="By subscription",
)

API = "https://dataservice.accuweather.com"
Convert: TypeAlias = Callable[[object, object], float | None]
SOURCE = Source("AccuWeather", "https://www.accuweather.com/")


async def _get(ctx: ToolContext, path: str, **params: str) -> Any:
    headers = {"Authorization": f"Bearer {ctx.secret('ACCUWEATHER_API_KEY')}"}
    asked = {"language": "en-us", **params}
    reply = await ctx.http.get(f"{API}{path}", params=asked, headers=headers, expect=(503,))
    if reply.status == 503:
        if "exceeded" in reply.text():
            raise RateLimited("AccuWeather's quota is used up. Try again tomorrow.")
        raise VendorUnavailable("AccuWeather has a problem of its own. Try again later.")
    return reply.json()


async def _search(ctx: ToolContext, name: str) -> list[Place]:
    body = await _get(ctx, "/locations/v1/cities/search", q=name)
    if not isinstance(body, list):
        raise VendorUnavailable("AccuWeather sent no places. Try again later.")
    return [place for row in records(body) if (place := _place(row))]


def _place(row: dict[str, Any]) -> Place | None:
    position, region = record(row.get("GeoPosition")), record(row.get("AdministrativeArea"))
    country = record(row.get("Country"))
    latitude, longitude = number(position.get("Latitude")), number(position.get("Longitude"))
    key = text(row.get("Key"))
    if latitude is None or longitude is None or not key:
        return None
    names = (row.get("LocalizedName"), region.get("LocalizedName"), country.get("LocalizedName"))
    return Place(
        name=full_name(*map(text, names)),
        latitude=latitude,
        longitude=longitude,
        key=key,
        time_zone=text(record(row.get("TimeZone")).get("Name")),
        names=tuple(map(text, (*names, region.get("ID"), country.get("ID")))),
        # Ranks run from 10 (a metropolis) to 85; ten apart is another class of town.
        weight=3.5 ** ((100 - (number(row.get("Rank")) or 100)) / 10),
    )


async def _located(ctx: ToolContext, place: Place) -> tuple[str, str]:
    """Return the location key and time zone."""
    if place.key:
        return place.key, place.time_zone
    where = f"{place.latitude:.3f},{place.longitude:.3f}"
    row = record(await _get(ctx, "/locations/v1/cities/geoposition/search", q=where))
    if not row:
        raise NotFound("AccuWeather knows no place at that position.")
    key = text(row.get("Key"))
    if not key.isdigit():
        raise VendorUnavailable("AccuWeather sent no location. Try again later.")
    return key, text(record(row.get("TimeZone")).get("Name"))


def _told(rows: list[Any], time_zone: str, link: object = "") -> Told:
    url = text(link).replace("http://", "https://", 1)
    source = Source(SOURCE.title, url) if url.startswith("https://") else SOURCE
    return Told(rows=rows, time_zone=time_zone, source=source)


def _of(row: dict[str, Any], *path: str) -> Any:
    """Return what lies along `path`, None where any step is missing."""
    value: Any = row
    for step in path:
        value = record(value).get(step)
    return value


def _metric(row: dict[str, Any], convert: Convert, *path: str) -> float | None:
    """Return a value in metric units: an answer says itself which units it is in."""
    found = record(_of(row, *path))
    return convert(found.get("Value"), found.get("Unit"))


def _condition(phrase: object) -> str:
    return text(phrase).lower() or "unknown conditions"


async def _now(ctx: ToolContext, place: Place) -> Told:
    key, zone = await _located(ctx, place)
    rows = records(await _get(ctx, f"/currentconditions/v1/{key}", details="true"))
    row = rows[0] if rows else {}

    def both(*path: str) -> tuple[Any, Any]:
        return _of(row, *path, "Metric", "Value"), _of(row, *path, "Imperial", "Value")

    current = Current(
        observed_at=text(row.get("LocalObservationDateTime"))[:16],
        condition=_condition(row.get("WeatherText")),
        temperature=temperature(*both("Temperature")),
        feels_like=temperature(*both("RealFeelTemperature")),
        humidity_percent=integer(row.get("RelativeHumidity")),
        precipitation_mm=number(both("Precip1hr")[0]),
        wind=speed(*both("Wind", "Speed")),
        wind_gusts=speed(*both("WindGust", "Speed")),
        wind_from_degrees=integer(_of(row, "Wind", "Direction", "Degrees")),
    )
    return _told([current] if row else [], zone, row.get("Link"))


async def _days(ctx: ToolContext, place: Place, days: int, date: dt.date | None) -> Told:
    key, zone = await _located(ctx, place)
    # A day more, for the date there may be the next one already.
    wanted = (date - ctx.clock().date()).days + 2 if date else days
    span = next((n for n in (1, 5, 10, 15) if n >= wanted), 15)
    path = f"/forecasts/v1/daily/{span}day/{key}"
    body = record(await _get(ctx, path, details="true", metric="true"))
    rows = [row for row in records(body.get("DailyForecasts")) if instant(row.get("Date"))]
    found = [_day(row) for row in rows]
    if date:
        found = [day for day in found if day["date"] == date.isoformat()]
    return _told(found[:days], zone, rows[0].get("Link") if rows else "")


def _day(row: dict[str, Any]) -> Day:
    halves = [record(row.get(half)) for half in ("Day", "Night")]

    def each(convert: Convert, *path: str) -> list[float]:
        return [v for half in halves if (v := _metric(half, convert, *path)) is not None]

    uv = [r for r in records(row.get("AirAndPollen")) if r.get("Name") == "UVIndex"]
    chances = [v for h in halves if (v := number(h.get("PrecipitationProbability"))) is not None]
    rain = each(in_millimetres, "TotalLiquid")
    return Day(
        date=text(row.get("Date"))[:10],
        condition=_condition(halves[0].get("IconPhrase")),
        high=temperature(_metric(row, in_celsius, "Temperature", "Maximum")),
        low=temperature(_metric(row, in_celsius, "Temperature", "Minimum")),
        precipitation_mm=round(sum(rain), 1) if len(rain) == len(halves) else None,
        precipitation_chance_percent=integer(max(chances)) if chances else None,
        wind_max=speed(max(each(in_kmh, "Wind", "Speed"), default=None)),
        uv_index_max=number(uv[0].get("Value")) if uv else None,
        sunrise=text(_of(row, "Sun", "Rise"))[11:16],
        sunset=text(_of(row, "Sun", "Set"))[11:16],
    )


async def _hours(ctx: ToolContext, place: Place, hours: int, date: dt.date | None) -> Told:
    key, zone = await _located(ctx, place)
    span = 120 if date else 12 if hours <= 12 else 24
    path = f"/forecasts/v1/hourly/{span}hour/{key}"
    rows = records(await _get(ctx, path, details="true", metric="true"))
    found = [_hour(row) for row in rows if instant(row.get("DateTime"))]
    if date:
        found = [hour for hour in found if hour["time"].startswith(date.isoformat())]
    return _told(found[: 24 if date else hours], zone, rows[0].get("Link") if rows else "")


def _hour(row: dict[str, Any]) -> Hour:
    return Hour(
        time=text(row.get("DateTime"))[:16],
        condition=_condition(row.get("IconPhrase")),
        temperature=temperature(_metric(row, in_celsius, "Temperature")),
        precipitation_mm=_metric(row, in_millimetres, "TotalLiquid"),
        precipitation_chance_percent=integer(row.get("PrecipitationProbability")),
        wind=speed(_metric(row, in_kmh, "Wind", "Speed")),
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
        name="AccuWeather",
        source=SOURCE,
        search=_search,
        now=_now,
        days=_days,
        hours=_hours,
        days_ahead=14,
    ),
)
