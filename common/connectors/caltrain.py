"""Caltrain: the next trains at a station and where one train is, from 511 SF Bay's open data.

https://511.org/open-data/transit · https://511.org/open-data/token

A key allows 60 requests an hour over everything: one reply with every stop is asked for and shared
for a minute, so that one process stays within it. Quirks seen in November 2026:
- Bodies begin with a byte order mark; errors are plain text. Sometimes there is an outer "Siri".
- One visit may come as an object instead of a list; at night there is none.
- Times are UTC. `Expected…` may be null (then only the timetable is known) or minutes early: a
  train never leaves before `Aimed…`. Odd train numbers run north, even ones south.
- The key travels in the address.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, Literal, TypedDict
from zoneinfo import ZoneInfo

from common.egress import Quota
from common.errors import InvalidInput, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import instant, record, records, shorten, text

CONNECTOR = Connector(
    name="Caltrain",
    category="travel",
    description="Next Caltrain departures at a station and the live status of a train.",
    examples=(
        "When is the next Caltrain from Palo Alto to San Francisco?",
        "Is Caltrain 507 late?",
        "Next southbound trains at Millbrae?",
    ),
    keywords=words(
        "caltrain, train, trains, northbound, southbound, commuter, rail, station, delayed, "
        "late, palo alto, san mateo, millbrae, diridon, redwood city, mountain view, "
        "sunnyvale, bullet, peninsula, departure, on time, platform, weekday, san jose, san "
        "francisco, menlo park, san carlos, burlingame, gilroy, tamien, bay area, local "
        "train, baby bullet, arrive, track, next train, hillsdale, 22nd street, fourth and, "
        "king, belmont, san bruno, south san, morgan hill, this evening, get to, leave, "
        "leaves, conductor, weekend service, schedule, delays, tracks, commute, next "
        "northbound, next southbound, last train, first train, diridon to, train times, "
        "commuter line, to sf, from palo, station next, 4th and, peninsula line, limited "
        "train"
    ),
    hosts=("api.511.org",),
    auth="key",
    secrets=("CALTRAIN_511_API_KEY",),
    quota=Quota(60, seconds=3600),
    concurrency=1,
    attribution="Data by 511.org",
    licence="Free reuse with credit to 511.org",
)

URL = "https://api.511.org/transit/StopMonitoring"
SOURCE = Source("511 SF Bay", "https://511.org/transit/agencies/caltrain")
ZONE = ZoneInfo("America/Los_Angeles")


class Visit(TypedDict):
    """One train's call at a station, Pacific time; without `expected` only the timetable is known.

    `delay_minutes` is never below 0 where a train waits for its time.
    """

    train: str
    service: str
    direction: str
    destination: str
    station: str
    scheduled: str
    expected: str
    delay_minutes: int | None


def _many(value: object) -> list[dict[str, Any]]:
    return [value] if isinstance(value, dict) else records(value)


async def _visits(ctx: ToolContext) -> list[Visit]:
    """Return every coming call of every train, the soonest first."""
    key = ctx.secret("CALTRAIN_511_API_KEY")
    params = {"agency": "CT", "format": "json", "api_key": key}
    # Sixty requests an hour are too few to spend one on a retry.
    reply = await ctx.http.request("GET", URL, params=params, timeout_s=15, idempotent=False)
    body = record(reply.json())
    delivery = record(record(body.get("Siri")) or body).get("ServiceDelivery")
    if not isinstance(delivery, dict):
        raise VendorUnavailable("Caltrain's times are unavailable now. Try again in a minute.")
    rows = [
        row
        for part in _many(delivery.get("StopMonitoringDelivery"))
        for row in _many(part.get("MonitoredStopVisit"))
    ]
    found = [_visit(record(row.get("MonitoredVehicleJourney")), row) for row in rows]
    # The answer's own moment where it says one: what is ahead is ahead of when the vendor looked.
    looked = instant(delivery.get("ResponseTimestamp"))
    now = looked if looked and looked.tzinfo else ctx.clock()
    now = now.astimezone(ZONE) - dt.timedelta(minutes=1)
    # Local times are compared as instants: the clock goes back once a year.
    ahead = [(due, v) for v in found if (due := instant(_due(v))) is not None and due >= now]
    return [visit for _, visit in sorted(ahead, key=lambda pair: pair[0])]


def _visit(trip: dict[str, Any], row: dict[str, Any]) -> Visit:
    call = record(trip.get("MonitoredCall"))
    stop = text(call.get("StopPointRef")) or text(row.get("MonitoringRef"))
    aimed = _first(call, "AimedDepartureTime", "AimedArrivalTime")
    expected = _first(call, "ExpectedDepartureTime", "ExpectedArrivalTime")
    delay = None
    if aimed and expected:
        expected = max(aimed, expected)
        delay = round((expected - aimed).total_seconds() / 60)
    heading = text(trip.get("DirectionRef"))[:1].upper() or {"1": "N", "2": "S"}.get(stop[-1:], "")
    framed = record(trip.get("FramedVehicleJourneyRef"))
    return Visit(
        train=text(trip.get("VehicleRef")) or text(framed.get("DatedVehicleJourneyRef")),
        service=text(trip.get("PublishedLineName")) or text(trip.get("LineRef")),
        direction={"N": "northbound", "S": "southbound"}.get(heading, ""),
        destination=_station(trip.get("DestinationName")),
        station=_station(call.get("StopPointName")),
        scheduled=aimed.isoformat(timespec="minutes") if aimed else "",
        expected=expected.isoformat(timespec="minutes") if expected else "",
        delay_minutes=delay,
    )


def _first(call: dict[str, Any], *names: str) -> dt.datetime | None:
    moments = (instant(call.get(name)) for name in names)
    return next((m.astimezone(ZONE) for m in moments if m and m.tzinfo), None)


def _station(value: object) -> str:
    bare = re.sub(r"(?i)\s*\b(caltrain|station|northbound|southbound)\b", "", text(value))
    return shorten(bare.strip(), 60)


def _due(visit: Visit) -> str:
    return visit["expected"] or visit["scheduled"]


def _when(visit: Visit) -> str:
    moment, delay = instant(_due(visit)), visit["delay_minutes"]
    clock = f"{moment:%-I:%M %p}" if moment else "an unknown time"
    if delay is None:
        return f"{clock} as scheduled"
    return f"{clock}, {delay} min late" if delay > 1 else f"{clock}, on time"


def _words(value: str) -> set[str]:
    return set(re.findall(r"\w+", value.casefold())) - {"caltrain", "station", "the"}


@tool(progress="Checking Caltrain…", cache_s=60, timeout_s=20)
async def get_caltrain_status(
    ctx: ToolContext,
    *,
    station: str | None = None,
    train_number: str | None = None,
    direction: Literal["northbound", "southbound"] | None = None,
) -> ToolResult:
    """Tell the next Caltrain departures at a station, or where a train is and how late.

    Args:
        station: Station, such as "Palo Alto"; null where only a train is asked for.
        train_number: Number of the train, such as 507; null for every train.
        direction: Northbound is towards San Francisco; null for both.
    """
    wanted, number = _words(station or ""), re.sub(r"\D", "", train_number or "")
    if not wanted and not number:
        raise InvalidInput("Name a Caltrain station or a train number.")
    visits = await _visits(ctx)
    known = {v["station"] for v in visits if wanted and wanted <= _words(v["station"])}
    exact = {name for name in known if wanted == _words(name)}
    if len(exact or known) > 1:
        names = sorted(exact or known)
        return _result([], f"Which station: {', '.join(names[:5])}?", asked=station, choices=names)
    found = [
        v
        for v in visits
        if (not wanted or v["station"] in (exact or known))
        and (not number or v["train"] == number)
        and (not direction or v["direction"] == direction)
    ]
    if not found:
        about = f"Caltrain {number}" if number else "Caltrain"
        where = f" at {station}" if station else ""
        return _result([], f"511 expects no {about}{where} now.", asked=station or number)
    told = [
        f"{v['service']} {v['train']} {v['direction']} at {v['station']}: {_when(v)}".strip()
        for v in found[: 2 if number else 3]
    ]
    return _result(found[:10], f"{'; '.join(told)}.", asked=station or number)


def _result(visits: list[Visit], summary: str, **about: Any) -> ToolResult:
    return ToolResult(
        response_type="train_departures",
        data={**about, "time_zone": ZONE.key, "departures": visits},
        summary=shorten(summary, 480),
        sources=(SOURCE,),
    )
