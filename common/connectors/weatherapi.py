"""WeatherAPI.com: current weather and forecasts, with its own place search.

https://www.weatherapi.com/docs/

Quirks seen in November 2026:
- The key can only be a query parameter: nothing may log the address.
- Free text picks one place silently: it is searched first, then asked about by id.
- `days` is cut silently to what the plan has (3 on the free one).
- Hours start at local midnight; condition texts may end in a blank; sun times are 12-hour text.
- 403 with code 2007 is the month's quota, 2009 the plan.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from common.errors import NotFound, RateLimited, VendorRejected, VendorUnavailable
from common.tools import Connector, Source, ToolContext, words
from common.tools.places import Place, full_name
from common.tools.reading import integer, number, record, records, text
from common.tools.weather import (
    Current,
    Day,
    Hour,
    Told,
    WeatherVendor,
    speed,
    temperature,
    weather_tools,
)

CONNECTOR = Connector(
    name="WeatherAPI",
    category="information",
    description="Current weather and daily or hourly forecasts for any place.",
    examples=(
        "What's the weather like in Denver?",
        "Is it going to snow in Oslo on Tuesday?",
        "Hourly forecast for 40.7, -74.0.",
    ),
    keywords=words(
        "weather, forecast, temperature, rain, snow, sunny, cloudy, wind, humidity, umbrella, "
        "cold, hot, storm, degrees, sunrise, sunset, uv, raining, rainy, snowing, snowy, "
        "snowfall, sunshine, sun, cloud, clouds, windy, gust, gusts, humid, warm, warmer, "
        "colder, hotter, cooler, chilly, freezing, frost, ice, icy, hail, fog, foggy, "
        "thunder, thunderstorm, thunderstorms, lightning, shower, showers, drizzle, heat, "
        "heatwave, outlook, climate, celsius, fahrenheit, jacket, coat, wear, sunscreen, "
        "outside, outdoors, beach, barometer, dew, uv index, air quality, gloves, scarf, "
        "boots, high, low, highs, lows, bring, pack, cool, mild, dry, wet, blizzard, breeze, "
        "breezy, hurricane, typhoon, tornado, muggy, overcast, pollen, picnic, barbecue, "
        "feels like, like outside, tides, precipitation, conditions, pressure, visibility, "
        "trousers, shorts, clothes, dress for, stop raining, temp, temps, pour, pouring, "
        "gloomy, grey, gray, sleet, slush, sweater, hoodie, raincoat, get wet, nice out, "
        "weather like, be like, how hot, how cold, how warm, wind chill, scorching, boiling, "
        "heat wave, sunburn, haze, smog, monsoon, snow day, bbq, hike, sail, ski, sledding, "
        "get dark, garden party, next days, washing, mercury, fly a, sunrise tomorrow, out "
        "there, outlook for, the sky, weekend be, stay dry, degree"
    ),
    hosts=("api.weatherapi.com",),
    auth="key",
    secrets=("WEATHERAPI_KEY",),
    capability="weather",
    rank=10,
    attribution="Powered by WeatherAPI.com",
    licence="Commercial use allowed with a link",
)

API = "https://api.weatherapi.com/v1"
SOURCE = Source("Powered by WeatherAPI.com", "https://www.weatherapi.com/")


async def _get(ctx: ToolContext, path: str, **params: str | int) -> Any:
    params["key"] = ctx.secret("WEATHERAPI_KEY")
    reply = await ctx.http.get(f"{API}{path}", params=params, expect=(400, 403))
    body = reply.json()
    if reply.status < 400:
        return body
    code = integer(record(record(body).get("error")).get("code"))
    if code == 1006:
        raise NotFound("WeatherAPI knows no such place. Name it more fully.")
    if code == 2007:
        raise RateLimited("WeatherAPI's monthly quota is used up. Try again next month.")
    raise VendorRejected(
        "WeatherAPI refused our key or request. Check WEATHERAPI_KEY and its plan.",
        vendor_status=reply.status,
    )


async def _search(ctx: ToolContext, name: str) -> list[Place]:
    body = await _get(ctx, "/search.json", q=name)
    if not isinstance(body, list):
        raise VendorUnavailable("WeatherAPI sent no places. Try again later.")
    return [place for row in records(body) if (place := _place(row))]


def _place(row: dict[str, Any]) -> Place | None:
    latitude, longitude = number(row.get("lat")), number(row.get("lon"))
    if latitude is None or longitude is None:
        return None
    names = tuple(text(row.get(field)) for field in ("name", "region", "country"))
    key = text(row.get("id"))
    return Place(
        name=full_name(*names),
        latitude=latitude,
        longitude=longitude,
        names=names,
        key=f"id:{key}" if key else "",
    )


async def _forecast(ctx: ToolContext, place: Place, path: str, **params: str | int) -> Any:
    where = place.key or f"{place.latitude:g},{place.longitude:g}"
    return record(await _get(ctx, path, q=where, **params))


def _told(body: dict[str, Any], rows: list[Any]) -> Told:
    return Told(rows=rows, time_zone=text(record(body.get("location")).get("tz_id")))


def _condition(row: dict[str, Any]) -> str:
    return text(record(row.get("condition")).get("text")).lower() or "unknown conditions"


async def _now(ctx: ToolContext, place: Place) -> Told:
    body = await _forecast(ctx, place, "/current.json")
    row = record(body.get("current"))
    current = Current(
        observed_at=text(row.get("last_updated")).replace(" ", "T"),
        condition=_condition(row),
        temperature=temperature(row.get("temp_c"), row.get("temp_f")),
        feels_like=temperature(row.get("feelslike_c"), row.get("feelslike_f")),
        humidity_percent=integer(row.get("humidity")),
        precipitation_mm=number(row.get("precip_mm")),
        wind=speed(row.get("wind_kph"), row.get("wind_mph")),
        wind_gusts=speed(row.get("gust_kph"), row.get("gust_mph")),
        wind_from_degrees=integer(row.get("wind_degree")),
    )
    return _told(body, [current] if row else [])


async def _days_of(
    ctx: ToolContext, place: Place, days: int, date: dt.date | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    span: dict[str, str | int] = {"dt": date.isoformat()} if date else {"days": min(days, 14)}
    body = await _forecast(ctx, place, "/forecast.json", **span)
    rows = records(record(body.get("forecast")).get("forecastday"))
    return body, [row for row in rows if _is_date(row.get("date"))]


def _is_date(value: object) -> bool:
    try:
        return bool(dt.date.fromisoformat(text(value)))
    except ValueError:
        return False


async def _days(ctx: ToolContext, place: Place, days: int, date: dt.date | None) -> Told:
    body, rows = await _days_of(ctx, place, days, date)
    return _told(body, [_day(row) for row in rows])


def _day(row: dict[str, Any]) -> Day:
    day, sun = record(row.get("day")), record(row.get("astro"))
    chances = [integer(day.get(f"daily_chance_of_{kind}")) for kind in ("rain", "snow")]
    return Day(
        date=text(row.get("date")),
        condition=_condition(day),
        high=temperature(day.get("maxtemp_c"), day.get("maxtemp_f")),
        low=temperature(day.get("mintemp_c"), day.get("mintemp_f")),
        precipitation_mm=number(day.get("totalprecip_mm")),
        precipitation_chance_percent=max((c for c in chances if c is not None), default=None),
        wind_max=speed(day.get("maxwind_kph"), day.get("maxwind_mph")),
        uv_index_max=number(day.get("uv")),
        sunrise=_clock(sun.get("sunrise")),
        sunset=_clock(sun.get("sunset")),
    )


def _clock(value: object) -> str:
    """Return "07:41" from "07:41 AM"; "" from "No sunrise"."""
    try:
        return f"{dt.datetime.strptime(text(value), '%I:%M %p'):%H:%M}"  # noqa: DTZ007 - no date
    except ValueError:
        return ""


async def _hours(ctx: ToolContext, place: Place, hours: int, date: dt.date | None) -> Told:
    body, days = await _days_of(ctx, place, 2, date)
    rows = [row for day in days for row in records(day.get("hour")) if text(row.get("time"))]
    if not date:
        # The answer's own moment where it says one: "now" is when the vendor looked.
        looked = number(record(body.get("location")).get("localtime_epoch"))
        since = (looked or ctx.clock().timestamp()) - 3600
        rows = [row for row in rows if (number(row.get("time_epoch")) or 0) > since][:hours]
    return _told(body, [_hour(row) for row in rows])


def _hour(row: dict[str, Any]) -> Hour:
    chances = [integer(row.get(f"chance_of_{kind}")) for kind in ("rain", "snow")]
    return Hour(
        time=text(row.get("time")).replace(" ", "T"),
        condition=_condition(row),
        temperature=temperature(row.get("temp_c"), row.get("temp_f")),
        precipitation_mm=number(row.get("precip_mm")),
        precipitation_chance_percent=max((c for c in chances if c is not None), default=None),
        wind=speed(row.get("wind_kph"), row.get("wind_mph")),
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
        name="WeatherAPI",
        source=SOURCE,
        search=_search,
        now=_now,
        days=_days,
        hours=_hours,
        days_ahead=13,
    ),
)
