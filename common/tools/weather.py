"""The five weather tools, declared once for every vendor that can answer them.

Interchangeable connectors must take the same arguments and give the same shapes. A vendor brings
four functions (its place search, and the weather now, by day, by hour, in the shapes below);
`weather_tools` makes its tools of them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeAlias, TypedDict
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Meta

from common.errors import InvalidInput, VendorRejected, VendorUnavailable
from common.tools.context import ToolContext
from common.tools.declare import Source, Tool, ToolResult, tool
from common.tools.places import Place, Search, find_place, point
from common.tools.reading import calendar_date, number, spoken_date, text

# What the best vendor knows; a vendor's own bounds may be narrower.
PAST_DAYS, DAYS_AHEAD = 92, 15

Latitude: TypeAlias = Annotated[float, Meta(ge=-90, le=90)]
Longitude: TypeAlias = Annotated[float, Meta(ge=-180, le=180)]
Days: TypeAlias = Annotated[int, Meta(ge=1, le=16)]
Hours: TypeAlias = Annotated[int, Meta(ge=1, le=24)]


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
    """One day at the place, in its own time zone; `date` is "2026-11-23", times are "07:31"."""

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
    """One hour at the place, starting at local `time` ("2026-11-23T14:00")."""

    time: str
    condition: str
    temperature: Temperature | None
    precipitation_mm: float | None
    precipitation_chance_percent: int | None
    wind: Speed | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a vendor told: `rows`, and the IANA zone of the place where it says so."""

    rows: list[Any]
    time_zone: str = ""
    source: Source | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeatherVendor:
    """A vendor's functions. `now` tells one Current; `days` and `hours` the coming ones, or those
    of the one date they are given. `past_days` and `days_ahead` bound that date."""

    name: str
    source: Source
    search: Search
    now: Callable[[ToolContext, Place], Awaitable[Told]]
    days: Callable[[ToolContext, Place, int, dt.date | None], Awaitable[Told]]
    hours: Callable[[ToolContext, Place, int, dt.date | None], Awaitable[Told]]
    past_days: int = 0
    days_ahead: int = DAYS_AHEAD


def temperature(celsius: object, fahrenheit: object = None) -> Temperature | None:
    """Return both scales from Celsius, or from both where the vendor gives both."""
    c, f = number(celsius), number(fahrenheit)
    if c is None:
        return None
    return {"celsius": c, "fahrenheit": round(c * 9 / 5 + 32, 1) if f is None else f}


def speed(kmh: object, mph: object = None) -> Speed | None:
    """Return both units from km/h, or from both where the vendor gives both."""
    k, m = number(kmh), number(mph)
    return None if k is None else {"kmh": k, "mph": round(k / 1.609344, 1) if m is None else m}


_KMH = {"mi/h": 1.609344, "mph": 1.609344, "mp/h": 1.609344, "m/s": 3.6, "kn": 1.852}


def in_celsius(value: object, unit: object) -> float | None:
    """Return degrees Celsius of a number in `unit` ("F", "°F"), which an answer may name."""
    found = number(value)
    if found is None or not text(unit).upper().endswith("F"):
        return found
    return round((found - 32) * 5 / 9, 1)


def in_kmh(value: object, unit: object) -> float | None:
    """Return km/h of a number in `unit` ("mp/h", "m/s", "kn"), which an answer may name."""
    found, factor = number(value), _KMH.get(text(unit).lower())
    return found if found is None or factor is None else round(found * factor, 1)


def in_millimetres(value: object, unit: object) -> float | None:
    """Return millimetres of a number in `unit` ("in", "inch"), which an answer may name."""
    found = number(value)
    inches = text(unit).lower() in ("in", "inch")
    return found if found is None or not inches else round(found * 25.4, 1)


def weather_tools(module: str, vendor: WeatherVendor) -> tuple[Tool, Tool, Tool, Tool, Tool]:
    """Return the weather tools of the connector in `module`, to be bound to names there."""

    @tool(progress="Checking the weather…", cache_s=900)
    async def get_current_weather_by_location(
        ctx: ToolContext, *, location: str = ""
    ) -> ToolResult:
        """Tell the weather right now at a named place. Several likely places come back as choices.

        Args:
            location: City, region or postal code, best as "City, State" or "City, Country"; null
                for where the user is.
        """
        place = await find_place(ctx, location, search=vendor.search, source=vendor.source)
        return place if isinstance(place, ToolResult) else await _now(ctx, vendor, place)

    @tool(progress="Getting the forecast…", cache_s=900)
    async def get_forecast_weather_by_location(
        ctx: ToolContext, *, location: str = "", date: str | None = None, days: Days = 3
    ) -> ToolResult:
        """Forecast the weather at a named place, for one date or for the days from today on.

        Several likely places come back as choices. Past dates are known for three months.

        Args:
            location: City, region or postal code, best as "City, State" or "City, Country"; null
                for where the user is.
            date: The one day asked about at the place, as 2026-11-23; null for the coming days.
            days: How many days from today, 1 to 16, where no date is given.
        """
        day = calendar_date(date, "date") if date else None
        place = await find_place(ctx, location, search=vendor.search, source=vendor.source)
        if isinstance(place, ToolResult):
            return place
        return await _days(ctx, vendor, place, days=days, date=day)

    @tool(progress="Checking the weather…", cache_s=900)
    async def get_current_weather_by_latitude_longitude(
        ctx: ToolContext, *, latitude: Latitude, longitude: Longitude
    ) -> ToolResult:
        """Tell the weather right now at a position.

        Args:
            latitude: Degrees north, negative for south.
            longitude: Degrees east, negative for west.
        """
        return await _now(ctx, vendor, point(latitude, longitude))

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
        return await _days(ctx, vendor, point(latitude, longitude), days=days)

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
        day = calendar_date(date, "date") if date else None
        return await _hours(ctx, vendor, point(latitude, longitude), hours, day)

    slug = module.rpartition(".")[2]
    now, forecast, here, daily, hourly = (
        replace(declared, connector=slug)
        for declared in (
            get_current_weather_by_location,
            get_forecast_weather_by_location,
            get_current_weather_by_latitude_longitude,
            get_daily_forecast_weather_by_latitude_longitude,
            get_hourly_forecast_weather_by_latitude_longitude,
        )
    )
    return now, forecast, here, daily, hourly


async def _now(ctx: ToolContext, vendor: WeatherVendor, place: Place) -> ToolResult:
    told = await vendor.now(ctx, place)
    if not told.rows:
        raise VendorUnavailable(f"{vendor.name} sent no weather for this place. Try again later.")
    current = told.rows[0]
    return _result(
        vendor, "current_weather", place, told, {"current": current}, _say_now(place, current)
    )


async def _days(
    ctx: ToolContext,
    vendor: WeatherVendor,
    place: Place,
    *,
    days: int = 3,
    date: dt.date | None = None,
) -> ToolResult:
    if date:
        _check_date(ctx, vendor, date, place.time_zone)
    told = await vendor.days(ctx, place, days, date)
    found: list[Day] = told.rows
    if not found:
        raise VendorUnavailable(f"{vendor.name} sent no forecast for that time. Try again later.")
    if date:
        words = f"{_start(place)} on {spoken_date(date)}: {_say_day(found[0])}."
    else:
        each = (f"{dt.date.fromisoformat(day['date']):%A} {_say_day(day)}" for day in found[:5])
        words = f"{_start(place)}: {'; '.join(each)}."
        if len(found) < days:
            words += f" {vendor.name} looks only {len(found)} days ahead here."
    return _result(vendor, "daily_forecast", place, told, {"days": found}, words)


async def _hours(
    ctx: ToolContext, vendor: WeatherVendor, place: Place, hours: int, date: dt.date | None
) -> ToolResult:
    if date:
        _check_date(ctx, vendor, date, place.time_zone)
    told = await vendor.hours(ctx, place, hours, date)
    found: list[Hour] = told.rows
    warmth = sorted((h["temperature"] for h in found if h["temperature"]), key=_celsius)
    if not warmth:
        raise VendorUnavailable(f"{vendor.name} sent no forecast for that time. Try again later.")
    first, wettest = found[0], _wettest(found)
    rain = f" Precipitation is likeliest at {wettest['time'][-5:]}." if wettest else ""
    return _result(
        vendor,
        "hourly_forecast",
        place,
        told,
        {"hours": found},
        f"{place.name}, {len(found)} hours from {first['time'][-5:]}: "
        f"{_span(warmth[0], warmth[-1])}, starting with {first['condition']}.{rain}",
    )


def _check_date(ctx: ToolContext, vendor: WeatherVendor, day: dt.date, time_zone: str) -> None:
    try:
        zone = ZoneInfo(time_zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("UTC")
    today = ctx.clock().astimezone(zone).date()
    first, last = today - dt.timedelta(PAST_DAYS), today + dt.timedelta(DAYS_AHEAD)
    if not first <= day <= last:
        raise InvalidInput(f"Weather is known from {first} to {last} there. Ask within that.")
    # Another vendor may know it: a refusal lets the runner ask the next.
    if not -vendor.past_days <= (day - today).days <= vendor.days_ahead:
        raise VendorRejected(f"{vendor.name} does not know the weather on that date.")


def _result(
    vendor: WeatherVendor, kind: str, place: Place, told: Told, data: dict[str, Any], summary: str
) -> ToolResult:
    where = {"name": place.name, "latitude": place.latitude, "longitude": place.longitude}
    return ToolResult(
        response_type=kind,
        data={"place": where, "time_zone": told.time_zone or place.time_zone, **data},
        summary=summary,
        sources=(told.source or vendor.source,),
    )


def _whole(value: float) -> str:
    return f"{round(value)}"  # by way of an integer: "-0" is nothing to say


def _both(value: Temperature) -> str:
    return f"{_whole(value['celsius'])} °C ({_whole(value['fahrenheit'])} °F)"


def _span(low: Temperature | None, high: Temperature | None) -> str:
    if low is None or high is None:
        return "temperature unknown"
    c = f"{_whole(low['celsius'])} to {_whole(high['celsius'])}"
    return f"{c} °C ({_whole(low['fahrenheit'])} to {_whole(high['fahrenheit'])} °F)"


def _say_day(day: Day) -> str:
    chance = day["precipitation_chance_percent"]
    wet = "" if chance is None else f", {chance}% chance of precipitation"
    return f"{day['condition']}, {_span(day['low'], day['high'])}{wet}"


def _say_now(place: Place, current: Current) -> str:
    warmth, feels, wind = current["temperature"], current["feels_like"], current["wind"]
    told = [current["condition"], _both(warmth) if warmth else "temperature unknown"]
    if warmth and feels and abs(feels["celsius"] - warmth["celsius"]) >= 2:
        told.append(f"feels like {_both(feels)}")
    if wind:
        told.append(f"wind {_whole(wind['kmh'])} km/h ({_whole(wind['mph'])} mph)")
    return f"{_start(place)}: {', '.join(told)}."


def _start(place: Place) -> str:
    return place.name[:1].upper() + place.name[1:]


def _celsius(value: Temperature) -> float:
    return value["celsius"]


def _wettest(hours: Sequence[Hour]) -> Hour | None:
    best = max(hours, key=lambda hour: hour["precipitation_chance_percent"] or 0)
    return best if (best["precipitation_chance_percent"] or 0) >= 20 else None
