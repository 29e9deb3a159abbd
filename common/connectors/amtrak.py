"""Amtrak: where a train is and what a station's board shows, from Amtraker's public feed.

https://amtraker.com/ · https://api-v3.amtraker.com/v3

Amtrak publishes no interface; this one is a volunteer's, keyless, and may be gone any day. Quirks
seen in November 2026:
- Nothing found is a 200 with an empty list instead of an object.
- A train is known from an hour before it leaves until it arrives: "not found" for a real number
  means "not running now". Several days' runs of one long-distance train exist at once.
- Offsets come from today's daylight-saving state: the wall time with the stop's `tz` is the truth,
  so times are shown without an offset. A delay is the difference of the two times of one stop.
- A blocked caller asking for everything gets a made-up train 9997.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, TypedDict
from urllib.parse import quote

from common.errors import InvalidInput, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import (
    calendar_date,
    instant,
    number,
    record,
    records,
    shorten,
    spoken_date,
    text,
)

CONNECTOR = Connector(
    name="Amtrak",
    category="travel",
    description="Live status of Amtrak trains and the next trains at a station.",
    examples=(
        "Is Amtrak train 11 on time?",
        "When does train 6 get to Denver?",
        "Which Amtrak trains leave Emeryville next?",
        "What is the Amtrak station code for San Luis Obispo?",
    ),
    keywords=words(
        "amtrak, train, trains, rail, railway, railroad, station, platform, acela, zephyr, "
        "starlight, surfliner, delayed, late, arrive, arrival, depart, departure, conductor, "
        "thruway, northeast regional, limited, empire builder, express, track, eta, running "
        "late, on time, penn station, union station, derailed, passenger, chief, southwest "
        "chief, lake shore, cardinal, crescent, meteor, sunset, vermonter, hiawatha, "
        "downeaster, keystone, wolverine, adirondack, palmetto, carolinian, cascades, "
        "pacific, sleeper, railcar, stops, board, boarding, choo-choo, train to, trains to, "
        "train get, train late, the train, left yet, train number, train status, coast "
        "starlight, california zephyr, texas eagle, auto train, regional, my train, on "
        "amtrak, station code, which trains"
    ),
    hosts=("api-v3.amtraker.com",),
    per_second=4,
    concurrency=2,
    attribution="Train data by Amtraker",
    licence="Unofficial feed; credit Amtraker",
)

API = "https://api-v3.amtraker.com/v3"
SOURCE = Source("Train data by Amtraker", "https://amtraker.com/")
STALE = dt.timedelta(minutes=30)
BLOCKED = "9997"


class Stop(TypedDict):
    """A stop in the station's own time; `delay_minutes` is negative when early."""

    station: str
    code: str
    time_zone: str
    scheduled: str
    expected: str
    delay_minutes: int | None
    status: str


class Train(TypedDict):
    """One run of a train; `origin_date` is the day it left its first station.

    `stops` are the next after `next_stop`, and the last one.
    """

    id: str
    number: str
    route: str
    operator: str
    origin_date: str
    origin: str
    destination: str
    state: str
    speed_mph: int | None
    next_stop: Stop | None
    stops: list[Stop]
    alerts: list[str]
    reported_at: str
    old_report: bool


class Call(TypedDict):
    """One train's call at a station, in the station's own time."""

    train_id: str
    number: str
    route: str
    destination: str
    scheduled: str
    expected: str
    delay_minutes: int | None
    status: str


async def _get(ctx: ToolContext, path: str) -> dict[str, Any]:
    """Return the object of a call; {} where the vendor says that there is nothing."""
    body = await ctx.http.get_json(f"{API}{path}")
    if not isinstance(body, (dict, list)) or BLOCKED in record(body):
        raise VendorUnavailable("Train data is unavailable right now. Try again later.")
    return record(body)


def _wall(value: object) -> str:
    """Return local wall time, "2027-02-03T10:41", or ""."""
    found = instant(value)
    return f"{found:%Y-%m-%dT%H:%M}" if found else ""


def _spoken_time(wall: str) -> str:
    return f"{dt.datetime.fromisoformat(wall):%-I:%M %p}" if wall else "an unknown time"


def _stop(row: dict[str, Any]) -> Stop:
    """Read arrival, or departure where there is no arrival (the first stop)."""
    first = "arr" if instant(row.get("schArr")) else "dep"
    scheduled, expected = instant(row.get(f"sch{first.title()}")), instant(row.get(first))
    delay = None
    if scheduled and expected:
        delay = round((expected - scheduled).total_seconds() / 60)
    return Stop(
        station=text(row.get("name")),
        code=text(row.get("code")),
        time_zone=text(row.get("tz")),
        scheduled=_wall(row.get(f"sch{first.title()}")),
        expected=_wall(row.get(first)),
        delay_minutes=delay,
        status=text(row.get("status")) or "Unknown",
    )


def _call(row: dict[str, Any]) -> Call:
    stop = _stop(record(row.get("thisStationMin")))
    return Call(
        train_id=text(row.get("trainID")),
        number=text(row.get("trainNum")),
        route=text(row.get("routeName")),
        destination=text(row.get("destName")),
        scheduled=stop["scheduled"],
        expected=stop["expected"],
        delay_minutes=stop["delay_minutes"],
        status=stop["status"],
    )


def _due(call: Call) -> str:
    return call["expected"] or call["scheduled"]


def _train(row: dict[str, Any], now: dt.datetime, shown: int) -> Train:
    rows = records(row.get("stations"))
    ahead = [_stop(stop) for stop in rows if text(stop.get("status")) in ("Enroute", "Station")]
    speed, reported = number(row.get("velocity")), instant(row.get("lastValTS"))
    old = bool(reported and reported.tzinfo and now - reported > STALE)
    alerts = [text(alert.get("message")) for alert in records(row.get("alerts"))]
    if disruption := text(row.get("statusMsg")):
        alerts.insert(0, disruption)
    return Train(
        id=text(row.get("trainID")),
        number=text(row.get("trainNum")),
        route=text(row.get("routeName")),
        operator=text(row.get("provider")) or "Amtrak",
        origin_date=_wall(rows[0].get("schDep"))[:10] if rows else "",
        origin=text(row.get("origName")),
        destination=text(row.get("destName")),
        state=text(row.get("trainState")),
        speed_mph=round(speed) if speed else None,
        next_stop=ahead[0] if ahead else None,
        stops=ahead[1:shown] + ahead[max(shown, 1) :][-1:],
        alerts=[shorten(alert, 300) for alert in alerts[:3] if alert],
        reported_at=_wall(row.get("lastValTS")),
        old_report=old,
    )


def _delay(minutes: int | None) -> str:
    if minutes is None:
        return "delay unknown"
    if abs(minutes) < 2:
        return "on time"
    hours, rest = divmod(abs(minutes), 60)
    parts = [f"{hours} h" if hours else "", f"{rest} min" if rest else ""]
    return f"{' '.join(filter(None, parts))} {'late' if minutes > 0 else 'early'}"


def _say(train: Train, stop: Stop | None) -> str:
    named = f"{train['route']} train {train['number']}".strip()
    if train["origin_date"]:
        named += f" of {spoken_date(dt.date.fromisoformat(train['origin_date']))}"
    if stop is None:
        return f"{named} has no further stop reported."
    time = _spoken_time(stop["expected"] or stop["scheduled"])
    verb = "reached" if stop["status"] == "Departed" else "is expected at"
    where = stop["station"] or stop["code"] or "a stop"
    told = f"{named} {verb} {where} at {time}, {_delay(stop['delay_minutes'])}."
    if train["alerts"]:
        told += " There is a service alert."
    if train["old_report"]:
        told += " The last report is over half an hour old."
    return told


def _at(row: dict[str, Any], station: str) -> Stop | None:
    """Find the stop that the user named by code or by part of its name."""
    wanted = station.strip().casefold()
    stops = [_stop(stop) for stop in records(row.get("stations"))]
    by_code = (stop for stop in stops if stop["code"].casefold() == wanted)
    by_name = (stop for stop in stops if wanted in stop["station"].casefold())
    return next(by_code, None) or next(by_name, None)


@tool(progress="Checking on the train…", cache_s=30)
async def get_amtrak_train_status(
    ctx: ToolContext, *, train_number: str, date: str | None = None, station: str | None = None
) -> ToolResult:
    """Tell where a running Amtrak (also VIA Rail, Brightline) train is and how late.

    Only trains under way, or leaving within the hour, are known.

    Args:
        train_number: The number, such as 11; VIA Rail as v60, Brightline as b701.
        date: The day the train left its first station, as 2026-11-20; null for all under way.
        station: A stop to tell the time for, by name or three-letter code; null for the next.
    """
    match = re.search(r"\b([vb]?\d{1,4})\b", train_number.lower())
    if not match:
        raise InvalidInput("train_number must be a number such as 11, v60 or b701.")
    day = calendar_date(date, "date") if date else None
    asked = match[1]
    rows = records((await _get(ctx, f"/trains/{asked}")).get(asked))
    found = [(_train(row, ctx.clock(), 13 if len(rows) == 1 else 4), row) for row in rows]
    if day:
        found = [pair for pair in found if pair[0]["origin_date"] == day.isoformat()]
    if not found:
        when = f" of {spoken_date(day)}" if day else ""
        summary = f"Train {asked}{when} is not running now; it shows an hour before it leaves."
        return _result("train_status", {"asked": asked, "trains": []}, summary)
    told, trains = [], []
    for train, row in found[:4]:
        stop = _at(row, station) if station else train["next_stop"]
        if station and stop is None:
            told.append(f"Train {asked} does not stop at {station}.")
        else:
            told.append(_say(train, stop))
        trains.append({**train, "asked_stop": stop} if station else train)
    return _result("train_status", {"asked": asked, "trains": trains}, " ".join(told[:2]))


@tool(progress="Looking at the station's trains…", cache_s=60)
async def get_amtrak_station_board(ctx: ToolContext, *, station: str) -> ToolResult:
    """List the trains now on their way to an Amtrak station. Several stations come as choices.

    Args:
        station: Three-letter station code, such as EMY, or the station's or city's name.
    """
    asked, code = station.strip(), ""
    if re.fullmatch("[A-Za-z]{3}", asked):
        code = asked.upper()
    else:
        matches = await _stations(ctx, asked)
        if len(matches) != 1:
            return _station_choices(asked, matches)
        code = matches[0]["code"]
    place = record((await _get(ctx, f"/stations/expanded/{quote(code)}")).get(code))
    if not place:
        return _station_choices(asked, await _stations(ctx, asked))
    calls = [_call(row) for row in records(place.get("trains"))]
    board = [call for call in calls if call["status"] != "Departed" and _due(call)]
    board.sort(key=_due)
    name = text(place.get("name")) or code
    told = "; ".join(
        f"train {row['number'] or row['train_id'] or 'unknown'} to "
        f"{row['destination'] or 'its last stop'} at {_spoken_time(_due(row))}, "
        f"{_delay(row['delay_minutes'])}"
        for row in board[:3]
    )
    return _result(
        "station_board",
        {"station": name, "code": code, "time_zone": text(place.get("tz")), "trains": board[:12]},
        f"Next at {name}: {told}." if told else f"No train is on its way to {name} now.",
    )


@tool(progress="Finding the station…", cache_s=86400)
async def find_amtrak_station(ctx: ToolContext, *, query: str) -> ToolResult:
    """Find Amtrak stations and their codes by name, city or code.

    Args:
        query: The station's or city's name, such as "San Luis Obispo" or "Portland, OR".
    """
    return _station_choices(query.strip(), await _stations(ctx, query))


async def _stations(ctx: ToolContext, query: str) -> list[dict[str, str]]:
    """Search the whole list, as the vendor has no search: each word begins one of a station."""
    words = re.findall(r"\w+", query.casefold())
    if not words:
        raise InvalidInput("Name the station or its city.")
    found = []
    for code, row in (await _get(ctx, "/stations")).items():
        fields = [text(record(row).get(key)) for key in ("name", "city", "state")]
        parts = re.findall(r"\w+", " ".join([*fields, code]).casefold())
        if all(any(part.startswith(word) for part in parts) for word in words):
            found.append(dict(zip(("name", "city", "state"), fields, strict=True)) | {"code": code})
    exact = [row for row in found if query.strip().casefold() in _names(row)]
    return exact or sorted(found, key=lambda row: row["name"])


def _names(row: dict[str, str]) -> set[str]:
    names = {row["name"], row["city"], f"{row['city']}, {row['state']}", row["code"]}
    return {name.casefold() for name in names}


def _station_choices(asked: str, rows: list[dict[str, str]]) -> ToolResult:
    told = "; ".join(
        f"{', '.join(filter(None, (row['name'] or row['city'], row['state'])))} ({row['code']})"
        for row in rows[:3]
    )
    summary = f"Amtrak stations for {asked}: {told}." if rows else f"No Amtrak station is {asked}."
    return _result("station_choices", {"asked": asked, "stations": rows[:10]}, summary)


def _result(kind: str, data: dict[str, Any], summary: str) -> ToolResult:
    return ToolResult(response_type=kind, data=data, summary=summary, sources=(SOURCE,))
