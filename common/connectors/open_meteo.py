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
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, TypeAlias, TypedDict
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Meta

from common.errors import InvalidInput, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool
from common.tools.reading import (
    calendar_date,
    instant,
    integer,
    number,
    record,
    records,
    spoken_date,
    text,
    values,
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
    keywords=(
        "weather", "forecast", "temperature", "rain", "raining", "snow", "sunny", "cloudy", "wind",
        "windy", "humidity", "umbrella", "jacket", "cold", "hot", "warm", "storm", "degrees",
        "sunrise", "sunset", "uv",
    ),
    hosts=(
        "api.open-meteo.com", "geocoding-api.open-meteo.com",
        "customer-api.open-meteo.com", "customer-geocoding-api.open-meteo.com",
    ),
    capability="weather",
    rank=10,
    concurrency=3,
    attribution="Weather data by Open-Meteo.com",
    licence="CC BY 4.0; place names from GeoNames, CC BY 4.0; keyless use is non-commercial",
)

SOURCE = Source("Weather data by Open-Meteo.com", "https://open-meteo.com/")
PAST_DAYS, DAYS_AHEAD = 92, 15
# A place this many times as populous as the next of its name is the one that is meant.
DOMINANCE = 3

Latitude: TypeAlias = Annotated[float, Meta(ge=-90, le=90)]
Longitude: TypeAlias = Annotated[float, Meta(ge=-180, le=180)]
Days: TypeAlias = Annotated[int, Meta(ge=1, le=16)]
Hours: TypeAlias = Annotated[int, Meta(ge=1, le=24)]

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
    0: "clear sky", 1: "mainly clear", 2: "partly cloudy", 3: "overcast", 45: "fog",
    48: "freezing fog", 51: "light drizzle", 53: "drizzle", 55: "heavy drizzle",
    56: "freezing drizzle", 57: "freezing drizzle", 61: "light rain", 63: "rain", 65: "heavy rain",
    66: "freezing rain", 67: "freezing rain", 71: "light snow", 73: "snow", 75: "heavy snow",
    77: "snow grains", 80: "light showers", 81: "showers", 82: "violent showers",
    85: "snow showers", 86: "heavy snow showers", 95: "thunderstorms",
    96: "thunderstorms with hail", 99: "thunderstorms with hail",
}

# People write "Boston, MA"; the place search knows only "Massachusetts".
REGIONS: dict[str, str] = dict(re.findall(r"(\w+)=([^|]+)", (
    "al=alabama|ak=alaska|az=arizona|ar=arkansas|ca=california|co=colorado|ct=connecticut|"
    "de=delaware|dc=district of columbia|fl=florida|ga=georgia|hi=hawaii|id=idaho|il=illinois|"
    "in=indiana|ia=iowa|ks=kansas|ky=kentucky|la=louisiana|me=maine|md=maryland|"
    "ma=massachusetts|mi=michigan|mn=minnesota|ms=mississippi|mo=missouri|mt=montana|ne=nebraska|"
    "nv=nevada|nh=new hampshire|nj=new jersey|nm=new mexico|ny=new york|nc=north carolina|"
    "nd=north dakota|oh=ohio|ok=oklahoma|or=oregon|pa=pennsylvania|ri=rhode island|"
    "sc=south carolina|sd=south dakota|tn=tennessee|tx=texas|ut=utah|vt=vermont|va=virginia|"
    "wa=washington|wv=west virginia|wi=wisconsin|wy=wyoming|ab=alberta|bc=british columbia|"
    "mb=manitoba|nb=new brunswick|nl=newfoundland and labrador|ns=nova scotia|on=ontario|"
    "pe=prince edward island|qc=quebec|sk=saskatchewan|uk=united kingdom|usa=united states|"
    "us=united states|uae=united arab emirates|holland=netherlands|nsw=new south wales"
)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place as it is shown; `name` is full ("Boston, Massachusetts, United States")."""

    name: str
    latitude: float
    longitude: float
    time_zone: str = ""
    population: int | None = None


class Temperature(TypedDict):
    """One temperature in both scales."""

    celsius: float
    fahrenheit: float


class Speed(TypedDict):
    """One wind speed in both units."""

    kmh: float
    mph: float


class Current(TypedDict):
    """Weather now; `observed_at` is local to the place."""

    observed_at: str
    condition: str
    temperature: Temperature | None
    feels_like: Temperature | None
    humidity_percent: int | None
    precipitation_mm: float | None
    wind: Speed | None
    wind_gusts: Speed | None
    wind_from_degrees: int | None


class Day(TypedDict):
    """One day at the place, in its own time zone."""

    date: str
    condition: str
    high: Temperature | None
    low: Temperature | None
    precipitation_mm: float | None
    precipitation_chance_percent: int | None
    wind_max: Speed | None
    uv_index_max: float | None
    sunrise: str
    sunset: str


class Hour(TypedDict):
    """One hour at the place, starting at local `time`."""

    time: str
    condition: str
    temperature: Temperature | None
    precipitation_mm: float | None
    precipitation_chance_percent: int | None
    wind: Speed | None


async def _call(ctx: ToolContext, host: str, path: str, **params: str | int | float) -> Any:
    if key := ctx.secrets("OPEN_METEO_API_KEY"):
        host, params = f"customer-{host}", {**params, "apikey": key}
    body = await ctx.http.get_json(f"https://{host}.open-meteo.com{path}", params=params)
    return record(body)


async def _forecast(
    ctx: ToolContext, place: Place, block: str, **params: str | int
) -> dict[str, Any]:
    body = await _call(
        ctx, "api", "/v1/forecast", latitude=place.latitude, longitude=place.longitude,
        timezone="auto", **params,
    )
    if not record(body.get(block)):
        raise VendorUnavailable("Open-Meteo sent no weather for this place. Try again later.")
    return dict(body)


async def _search(ctx: ToolContext, name: str) -> list[dict[str, Any]]:
    body = await _call(ctx, "geocoding-api", "/v1/search", name=name, count=50, language="en")
    rows = records(body.get("results"))
    return [row for row in rows if None not in _position(row)]


async def _find(ctx: ToolContext, location: str) -> Place | ToolResult:
    """Return the place meant, or the result that asks which one or says there is none."""
    name, *within = [part.strip() for part in location.split(",") if part.strip()] or [""]
    if not name:
        return _device(ctx)
    rows = await _search(ctx, name)
    words = name.split()
    if not rows and len(words) > 1:  # "Boston MA", "Paris France"
        name, within = " ".join(words[:-1]), [words[-1], *within]
        rows = await _search(ctx, name)
    if not rows:
        return ToolResult(
            response_type="place_choices",
            data={"asked": location, "places": []},
            summary=f"I found no place called {location}.",
            sources=(SOURCE,),
        )
    named = _named(rows, name)
    inside = [row for row in named if all(_lies_in(row, part) for part in within)]
    places = _distinct(inside or named)
    if inside and (len(places) == 1 or _dominates(places[0], places[1])):
        return places[0]
    names = "; ".join(place.name for place in places[:3])
    return ToolResult(
        response_type="place_choices",
        data={"asked": location, "places": [asdict(place) for place in places[:6]]},
        summary=f"Which {name} do you mean: {names}?" if inside
        else f"I found no {name} in {', '.join(within)}. There is {names}.",
        sources=(SOURCE,),
    )


def _device(ctx: ToolContext) -> Place:
    if ctx.location is None:
        raise InvalidInput("Which place? Name a city, or share the device's location.")
    return Place(
        name="your location", latitude=ctx.location.latitude, longitude=ctx.location.longitude,
        time_zone=ctx.timezone,
    )


def _point(latitude: float, longitude: float) -> Place:
    return Place(name=f"{latitude:g}, {longitude:g}", latitude=latitude, longitude=longitude)


def _fold(value: object) -> str:
    decomposed = unicodedata.normalize("NFKD", text(value).casefold())
    bare = "".join(c for c in decomposed if not unicodedata.combining(c))
    return bare.replace(".", "").removeprefix("the ")


def _named(rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Leave out places that only begin with `name`; another name ("NYC") has other letters."""
    wanted = _fold(name)
    found = [(row, _fold(row.get("name"))) for row in rows]
    return [row for row, n in found if n == wanted or not n.startswith(wanted)] or rows


def _lies_in(row: dict[str, Any], region: str) -> bool:
    wanted = _fold(region)
    fields = ("country", "country_code", "admin1", "admin2", "admin3")
    names = {_fold(row.get(field)) for field in fields} - {""}
    return bool(names & {wanted, REGIONS.get(wanted, wanted)})


def _distinct(rows: list[dict[str, Any]]) -> list[Place]:
    """Return places, most populous first, one for each full name."""
    found: dict[str, Place] = {}
    for row in sorted(rows, key=lambda row: -(number(row.get("population")) or 0)):
        latitude, longitude = _position(row)
        parts = dict.fromkeys(text(row.get(field)) for field in ("name", "admin1", "country"))
        name = ", ".join(part for part in parts if part)
        place = Place(
            name=name, latitude=latitude or 0.0, longitude=longitude or 0.0,
            time_zone=text(row.get("timezone")), population=integer(row.get("population")),
        )
        found.setdefault(name, place)
    return list(found.values())


def _position(row: dict[str, Any]) -> tuple[float | None, float | None]:
    return number(row.get("latitude")), number(row.get("longitude"))


def _dominates(first: Place, second: Place) -> bool:
    return (first.population or 0) > DOMINANCE * (second.population or 0)


def _window(ctx: ToolContext, day: dt.date, time_zone: str) -> dt.date:
    try:
        zone = ZoneInfo(time_zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("UTC")
    today = ctx.clock().astimezone(zone).date()
    first, last = today - dt.timedelta(PAST_DAYS), today + dt.timedelta(DAYS_AHEAD)
    if not first <= day <= last:
        raise InvalidInput(f"Weather is known from {first} to {last} there. Ask within that.")
    return day


def _condition(code: object) -> str:
    found = integer(code)
    return "unknown conditions" if found is None else CONDITIONS.get(found, "unknown conditions")


def _temperature(celsius: object) -> Temperature | None:
    c = number(celsius)
    return None if c is None else {"celsius": c, "fahrenheit": round(c * 9 / 5 + 32, 1)}


def _speed(kmh: object) -> Speed | None:
    found = number(kmh)
    return None if found is None else {"kmh": found, "mph": round(found / 1.609344, 1)}


def _rows(body: dict[str, Any], block: str) -> list[dict[str, Any]]:
    """Turn the columns of `block` into rows; a short column leaves its last rows without it."""
    columns = {name: values(column) for name, column in record(body.get(block)).items()}
    return [
        {name: column[i] if i < len(column) else None for name, column in columns.items()}
        for i in range(len(columns.get("time", [])))
    ]


def _day(row: dict[str, Any]) -> Day:
    return Day(
        date=text(row.get("time")), condition=_condition(row.get("weather_code")),
        high=_temperature(row.get("temperature_2m_max")),
        low=_temperature(row.get("temperature_2m_min")),
        precipitation_mm=number(row.get("precipitation_sum")),
        precipitation_chance_percent=integer(row.get("precipitation_probability_max")),
        wind_max=_speed(row.get("wind_speed_10m_max")),
        uv_index_max=number(row.get("uv_index_max")),
        sunrise=text(row.get("sunrise"))[-5:], sunset=text(row.get("sunset"))[-5:],
    )


def _hour(row: dict[str, Any]) -> Hour:
    return Hour(
        time=text(row.get("time")), condition=_condition(row.get("weather_code")),
        temperature=_temperature(row.get("temperature_2m")),
        precipitation_mm=number(row.get("precipitation")),
        precipitation_chance_percent=integer(row.get("precipitation_probability")),
        wind=_speed(row.get("wind_speed_10m")),
    )


def _both(value: Temperature) -> str:
    return f"{_whole(value['celsius'])} °C ({_whole(value['fahrenheit'])} °F)"


def _whole(value: float) -> str:
    return f"{round(value)}"  # by way of an integer: "-0" is nothing to say


def _span(low: Temperature | None, high: Temperature | None) -> str:
    if low is None or high is None:
        return "temperature unknown"
    c, f = (f"{_whole(low[u])} to {_whole(high[u])}" for u in ("celsius", "fahrenheit"))
    return f"{c} °C ({f} °F)"


def _say_day(day: Day) -> str:
    chance = day["precipitation_chance_percent"]
    wet = "" if chance is None else f", {chance}% chance of precipitation"
    return f"{day['condition']}, {_span(day['low'], day['high'])}{wet}"


async def _now(ctx: ToolContext, place: Place) -> ToolResult:
    body = await _forecast(ctx, place, "current", current=CURRENT, forecast_days=1)
    row = record(body["current"])
    current = Current(
        observed_at=text(row.get("time")), condition=_condition(row.get("weather_code")),
        temperature=_temperature(row.get("temperature_2m")),
        feels_like=_temperature(row.get("apparent_temperature")),
        humidity_percent=integer(row.get("relative_humidity_2m")),
        precipitation_mm=number(row.get("precipitation")),
        wind=_speed(row.get("wind_speed_10m")), wind_gusts=_speed(row.get("wind_gusts_10m")),
        wind_from_degrees=integer(row.get("wind_direction_10m")),
    )
    return _result("current_weather", place, body, {"current": current}, _say_now(place, current))


def _say_now(place: Place, current: Current) -> str:
    warmth, feels, wind = current["temperature"], current["feels_like"], current["wind"]
    told = [current["condition"], _both(warmth) if warmth else "temperature unknown"]
    if warmth and feels and abs(feels["celsius"] - warmth["celsius"]) >= 2:
        told.append(f"feels like {_both(feels)}")
    if wind:
        told.append(f"wind {_whole(wind['kmh'])} km/h ({_whole(wind['mph'])} mph)")
    return f"{_start(place)}: {', '.join(told)}."


def _one_day(date: dt.date) -> dict[str, str | int]:
    return {"start_date": date.isoformat(), "end_date": date.isoformat()}


async def _days(
    ctx: ToolContext, place: Place, *, days: int = 3, date: dt.date | None = None
) -> ToolResult:
    span = _one_day(date) if date else {"forecast_days": days}
    body = await _forecast(ctx, place, "daily", daily=DAILY, **span)
    found = [_day(row) for row in _rows(body, "daily") if instant(row.get("time"))]
    if not found:
        raise VendorUnavailable("Open-Meteo sent no forecast for that time. Try again later.")
    if date:
        told = f"{_start(place)} on {spoken_date(date)}: {_say_day(found[0])}."
    else:
        each = (f"{dt.date.fromisoformat(day['date']):%A} {_say_day(day)}" for day in found[:5])
        told = f"{_start(place)}: {'; '.join(each)}."
    return _result("daily_forecast", place, body, {"days": found}, told)


def _start(place: Place) -> str:
    return place.name[:1].upper() + place.name[1:]


def _result(
    kind: str, place: Place, body: dict[str, Any], data: dict[str, Any], summary: str
) -> ToolResult:
    zone = text(body.get("timezone")) or place.time_zone
    where = {"name": place.name, "latitude": place.latitude, "longitude": place.longitude}
    return ToolResult(
        response_type=kind, data={"place": where, "time_zone": zone, **data}, summary=summary,
        sources=(SOURCE,),
    )


@tool(progress="Checking the weather…", cache_s=900)
async def get_current_weather_by_location(ctx: ToolContext, *, location: str = "") -> ToolResult:
    """Tell the weather right now at a named place. Several likely places come back as choices.

    Args:
        location: City, region or postal code, best as "City, State" or "City, Country"; null for
            where the user is.
    """
    place = await _find(ctx, location)
    return place if isinstance(place, ToolResult) else await _now(ctx, place)


@tool(progress="Getting the forecast…", cache_s=900)
async def get_forecast_weather_by_location(
    ctx: ToolContext, *, location: str = "", date: str | None = None, days: Days = 3
) -> ToolResult:
    """Forecast the weather at a named place, for one date or for the days from today on.

    Several likely places come back as choices. Past dates are known for three months.

    Args:
        location: City, region or postal code, best as "City, State" or "City, Country"; null for
            where the user is.
        date: The one day asked about at the place, as 2026-11-23; null for the coming days.
        days: How many days from today, 1 to 16, where no date is given.
    """
    day = calendar_date(date, "date") if date else None
    place = await _find(ctx, location)
    if isinstance(place, ToolResult):
        return place
    return await _days(
        ctx, place, days=days, date=day and _window(ctx, day, place.time_zone)
    )


@tool(progress="Checking the weather…", cache_s=900)
async def get_current_weather_by_latitude_longitude(
    ctx: ToolContext, *, latitude: Latitude, longitude: Longitude
) -> ToolResult:
    """Tell the weather right now at a position.

    Args:
        latitude: Degrees north, negative for south.
        longitude: Degrees east, negative for west.
    """
    return await _now(ctx, _point(latitude, longitude))


@tool(progress="Getting the forecast…", cache_s=900)
async def get_daily_forecast_weather_by_latitude_longitude(
    ctx: ToolContext, *, latitude: Latitude, longitude: Longitude, days: Days = 7
) -> ToolResult:
    """Forecast the weather at a position day by day, from today on.

    Args:
        latitude: Degrees north, negative for south.
        longitude: Degrees east, negative for west.
        days: How many days, 1 to 16.
    """
    return await _days(ctx, _point(latitude, longitude), days=days)


@tool(progress="Getting the hourly forecast…", cache_s=900)
async def get_hourly_forecast_weather_by_latitude_longitude(
    ctx: ToolContext,
    *,
    latitude: Latitude,
    longitude: Longitude,
    date: str | None = None,
    hours: Hours = 12,
) -> ToolResult:
    """Forecast the weather at a position hour by hour, for one date or from this hour on.

    Args:
        latitude: Degrees north, negative for south.
        longitude: Degrees east, negative for west.
        date: The day asked about at the place, as 2026-11-23; null for the coming hours.
        hours: How many hours from now, 1 to 24, where no date is given.
    """
    place = _point(latitude, longitude)
    span: dict[str, str | int] = {"forecast_hours": hours}
    if date:
        span = _one_day(_window(ctx, calendar_date(date, "date"), place.time_zone))
    body = await _forecast(ctx, place, "hourly", hourly=HOURLY, **span)
    found = [_hour(row) for row in _rows(body, "hourly") if text(row.get("time"))]
    warmth = sorted((h["temperature"] for h in found if h["temperature"]), key=_celsius)
    if not warmth:
        raise VendorUnavailable("Open-Meteo sent no forecast for that time. Try again later.")
    first, wettest = found[0], _wettest(found)
    rain = f" Precipitation is likeliest at {wettest['time'][-5:]}." if wettest else ""
    return _result(
        "hourly_forecast", place, body, {"hours": found},
        f"{place.name}, {len(found)} hours from {first['time'][-5:]}: "
        f"{_span(warmth[0], warmth[-1])}, starting with {first['condition']}.{rain}",
    )


def _celsius(value: Temperature) -> float:
    return value["celsius"]


def _wettest(hours: Sequence[Hour]) -> Hour | None:
    best = max(hours, key=lambda hour: hour["precipitation_chance_percent"] or 0)
    return best if (best["precipitation_chance_percent"] or 0) >= 20 else None
