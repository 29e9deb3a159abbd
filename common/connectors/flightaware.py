"""FlightAware: where a flight is, how late it leaves and lands, and what holds an airport up.

https://www.flightaware.com/aeroapi/portal/documentation

Every page of results is billed; the free tier allows ten a minute. Quirks seen in November 2026:
- Without days one gets two weeks of one flight number: the day meant is that of the origin.
- All times are UTC; airports carry their zone, some records do not. Delays are seconds.
- `status` is free text; cancelled means "no longer tracked". A diversion makes two records.
- Unknown flights are a 200 with an empty list or a 404. 401 is also "not in your plan".
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, TypedDict
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from common.egress import Quota
from common.errors import InvalidInput, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import (
    calendar_date,
    instant,
    integer,
    number,
    record,
    records,
    shorten,
    spoken_date,
    text,
)

CONNECTOR = Connector(
    name="FlightAware",
    category="travel",
    description="Live status of flights: delays, gates, arrival times, and delays at airports.",
    examples=(
        "Is flight UA 1234 on time?",
        "When does BA117 land?",
        "Which gate does DL 45 leave from?",
        "Are there delays at SFO right now?",
    ),
    keywords=words(
        "flight, status, delayed, delay, delays, on time, late, land, landed, landing, "
        "arrive, arrival, depart, departure, takeoff, gate, terminal, baggage, cancelled, "
        "diverted, track, flightaware, airborne, planes, plane, airport, airports, held up, "
        "gets in, get in, taking off, took off, boarding, carousel, lufthansa, delta, united, "
        "ryanair, easyjet, jetblue, emirates, qantas, airways, airlines, connection, eta, "
        "take off, is on, brother, lands, landing time, flying now, touch down, in flight, my "
        "flight, arrive at, leaves, left, flight from, connecting, ground stop, arrivals, "
        "departures, arrivals board, departure board, backed up, ground delay, plane land, "
        "taken off, has landed, the gate, on schedule, en route, inbound, tarmac, which gate, "
        "pick up, flight path, tail number, flying, still flying, runway, flight left, flight "
        "is, flights out, flight to, any delays, plane lands"
    ),
    hosts=("aeroapi.flightaware.com",),
    auth="key",
    secrets=("FLIGHTAWARE_API_KEY",),
    capability="flight_status",
    rank=10,
    per_second=2,
    quota=Quota(10, seconds=60),
    attribution="Flight data by FlightAware",
    licence="Show FlightAware as the source",
)

API = "https://aeroapi.flightaware.com/aeroapi"


class Call(TypedDict):
    """A flight at one airport; times are local with offset, "" where unknown."""

    airport: str
    code: str
    scheduled: str
    expected: str
    actual: str
    delay_minutes: int | None
    gate: str
    terminal: str


class Flight(TypedDict):
    """One run of a flight; `date` is the day at its origin."""

    id: str
    flight: str
    airline: str
    date: str
    status: str
    cancelled: bool
    diverted: bool
    progress_percent: int | None
    departure: Call
    arrival: Call
    baggage_claim: str
    aircraft: str


async def _get(ctx: ToolContext, path: str, **params: Any) -> tuple[int, dict[str, Any]]:
    """Return status and object; 400 and 404 come back for the tool to explain."""
    reply = await ctx.http.get(
        f"{API}{path}",
        params=params,
        expect=(400, 404),
        headers={"x-apikey": ctx.secret("FLIGHTAWARE_API_KEY")},
    )
    return reply.status, record(reply.json())


def _zone(place: dict[str, Any]) -> dt.tzinfo:
    try:
        return ZoneInfo(text(place.get("timezone")) or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):  # it may be any text
        return dt.UTC


def _local(value: object, zone: dt.tzinfo) -> str:
    found = instant(value)
    aware = found.astimezone(zone) if found and found.tzinfo else None
    return aware.isoformat(timespec="minutes") if aware else ""


def _call(row: dict[str, Any], place: dict[str, Any], side: str, way: str) -> Call:
    """Read gate times, or runway times where there are none."""
    zone, delay = _zone(place), number(row.get(f"{way}_delay"))
    gate, runway = ("out", "off") if side == "origin" else ("in", "on")
    scheduled, expected, actual = (
        _local(row.get(f"{kind}_{gate}") or row.get(f"{kind}_{runway}"), zone)
        for kind in ("scheduled", "estimated", "actual")
    )
    return Call(
        airport=shorten(text(place.get("name")) or text(place.get("code")), 60),
        code=(text(place.get("code_iata")) or text(place.get("code")))[:4],
        scheduled=scheduled,
        expected=expected,
        actual=actual,
        delay_minutes=None if delay is None else round(delay / 60),
        gate=text(row.get(f"gate_{side}"))[:20],
        terminal=text(row.get(f"terminal_{side}"))[:20],
    )


def _flight(row: dict[str, Any]) -> Flight:
    leave = _call(row, record(row.get("origin")), "origin", "departure")
    land = _call(row, record(row.get("destination")), "destination", "arrival")
    return Flight(
        id=text(row.get("fa_flight_id"))[:80],
        flight=(text(row.get("ident_iata")) or text(row.get("ident")))[:10],
        airline=text(row.get("operator"))[:40],
        date=leave["scheduled"][:10],
        status=shorten(text(row.get("status")), 80),
        cancelled=row.get("cancelled") is True,
        diverted=row.get("diverted") is True,
        progress_percent=integer(row.get("progress_percent")),
        departure=leave,
        arrival=land,
        baggage_claim=text(row.get("baggage_claim"))[:20],
        aircraft=text(row.get("aircraft_type"))[:20],
    )


def _moment(call: Call) -> str:
    return call["actual"] or call["expected"] or call["scheduled"]


def _distance(flight: Flight, now: dt.datetime) -> float:
    """How far a flight is from being the one meant without a date, in seconds; aloft is 0."""
    leave, land = instant(_moment(flight["departure"])), instant(_moment(flight["arrival"]))
    if leave is None:
        return float("inf")
    if flight["departure"]["actual"] and not flight["arrival"]["actual"]:
        return 0.0
    return min(abs((now - moment).total_seconds()) for moment in (leave, land or leave))


def _clock(moment: str) -> str:
    found = instant(moment)
    return f"{found:%-I:%M %p}" if found else "an unknown time"


def _late(call: Call) -> str:
    delay = call["delay_minutes"]
    if delay is None or abs(delay) < 5:
        return ""
    return f" ({abs(delay)} min {'late' if delay > 0 else 'early'})"


def _say(flight: Flight) -> str:
    leave, land = flight["departure"], flight["arrival"]
    state = "cancelled" if flight["cancelled"] else "diverted" if flight["diverted"] else ""
    told = f"{flight['flight']} from {leave['airport'] or 'an unknown airport'}"
    told += f" to {land['airport'] or 'an unknown airport'}: {state or flight['status'] or 'known'}"
    if flight["cancelled"]:
        return f"{told}."
    gate = f" from gate {leave['gate']}" if leave["gate"] and not leave["actual"] else ""
    told += f"; {'left' if leave['actual'] else 'leaves'} {_clock(_moment(leave))}{_late(leave)}"
    told += f"{gate}, {'landed' if land['actual'] else 'lands'} {_clock(_moment(land))}"
    return f"{told}{_late(land)}, local times."


def _result(
    kind: str, data: Any, summary: str, url: str = "https://www.flightaware.com/"
) -> ToolResult:
    return ToolResult(
        response_type=kind,
        data=data,
        summary=shorten(summary, 480),
        sources=(Source("FlightAware", url),),
    )


@tool(progress="Checking the flight…", cache_s=60)
async def get_current_flight_status(
    ctx: ToolContext, *, flight_number: str, date: str | None = None
) -> ToolResult:
    """Tell the live status of a flight: delay, gates, departure and arrival in local times.

    Args:
        flight_number: Airline code and number, such as UA1234 or BAW117.
        date: Day of departure at the origin, as 2026-11-23; null for the one nearest to now.
    """
    found = re.fullmatch(
        r"([A-Z]{3}|[A-Z][A-Z0-9]|[0-9][A-Z])0*(\d{1,4}[A-Z]?)",
        re.sub(r"[\s-]", "", flight_number.upper()),
    )
    if not found:
        raise InvalidInput("flight_number must be an airline code and a number, such as UA1234.")
    ident, now = found[1] + found[2], ctx.clock()
    window: dict[str, str] = {}
    day = calendar_date(date, "date") if date else None
    if day:
        ahead = (day - now.date()).days
        if not -9 <= ahead <= 2:
            raise InvalidInput("FlightAware knows flights from 9 days ago to 2 days ahead.")
        until = min(day + dt.timedelta(2), now.date() + dt.timedelta(2))
        window = {"start": (day - dt.timedelta(1)).isoformat(), "end": until.isoformat()}
    status, body = await _get(
        ctx, f"/flights/{quote(ident)}", ident_type="designator", max_pages=1, **window
    )
    if status == 400:
        raise InvalidInput("FlightAware did not accept that flight number or day.")
    if status == 200 and not isinstance(body.get("flights"), list):
        raise VendorUnavailable("FlightAware sent no flights. Try again in a moment.")
    flights = [_flight(row) for row in records(body.get("flights"))]
    if day:
        flights = [flight for flight in flights if flight["date"] == day.isoformat()]
    flights.sort(key=lambda flight: (flight["cancelled"], _distance(flight, now)))
    when = f" on {spoken_date(day)}" if day else ""
    summary = _say(flights[0]) if flights else f"FlightAware knows no flight {ident}{when}."
    return _result(
        "flight_status",
        {"asked": ident, "flights": flights[:3]},
        summary,
        f"https://www.flightaware.com/live/flight/{quote(ident)}",
    )


@tool(progress="Checking delays at the airport…", cache_s=120)
async def get_airport_delays_at_flightaware(ctx: ToolContext, *, airport: str) -> ToolResult:
    """Tell whether an airport has general delays now, and why.

    Args:
        airport: ICAO or IATA code of the airport, such as KSFO or SFO.
    """
    code = airport.strip().upper()
    if not re.fullmatch("[A-Z0-9]{3,4}", code):
        raise InvalidInput("airport must be a code such as SFO or KSFO.")
    status, body = await _get(ctx, f"/airports/{code}/delays")
    if status == 400:
        raise InvalidInput(f"FlightAware knows no airport {code}. Give its ICAO or IATA code.")
    if status == 200 and "delay_secs" not in body and "reasons" not in body:
        raise VendorUnavailable("FlightAware sent no delays. Try again in a moment.")
    rows = records(body.get("reasons"))
    reasons = [
        {
            "category": text(row.get("category"))[:40],
            "reason": shorten(text(row.get("reason")), 200),
        }
        for row in rows[:5]
    ]
    seconds = number(body.get("delay_secs")) if status == 200 else 0
    minutes = None if seconds is None else round(seconds / 60)
    told = "; ".join(filter(None, (row["reason"] for row in reasons)))
    told = told or text(body.get("category"))[:40]
    cause = f": {told}" if told else ""
    summary = f"Delays at {code}{cause}." if status == 200 else f"No general delays at {code} now."
    return _result(
        "airport_delays", {"airport": code, "delay_minutes": minutes, "reasons": reasons}, summary
    )
