"""Aviationstack: what a flight number does today: route, times, delay, gate.

https://aviationstack.com/documentation

The free plan is a hundred requests a month and may refuse flight numbers (403). Quirks seen in
November 2026:
- Every time ends in +00:00 and is the airport's wall time all the same: the offset is dropped and
  the airport's zone put in its place.
- One number brings yesterday, today and tomorrow, and its codeshares as further rows.
- An error may be a 200 with an `error` object. Names may be null, "" or "empty".
- The key travels in the address.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, TypedDict
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from common.errors import InvalidInput, RateLimited, VendorRejected, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import (
    calendar_date,
    instant,
    integer,
    record,
    records,
    shorten,
    spoken_date,
    text,
)

CONNECTOR = Connector(
    name="Aviationstack",
    category="travel",
    description="Route, times, delay and gate of a flight by its number.",
    examples=(
        "What is the route of flight SK4411?",
        "Look up flight LH 400 for today.",
        "What terminal does AF 22 arrive at?",
    ),
    keywords=words(
        "flight, number, iata, status, delay, delayed, gate, terminal, arrive, arrival, "
        "depart, departure, airline, route, scheduled, aviationstack, plane, planes, land, "
        "landed, late, on time, arrived, boarding, carousel, lufthansa, delta, united, "
        "ryanair, easyjet, jetblue, emirates, qantas, airways, airlines, get in, gets in, "
        "take off, lands, landing, touch down, my flight, arrives, leaves, left, airport, "
        "airports, cancelled"
    ),
    hosts=("api.aviationstack.com",),
    auth="key",
    secrets=("AVIATIONSTACK_API_KEY",),
    capability="flight_status",
    rank=20,
    per_second=1,
    attribution="Flight data by Aviationstack",
)

API = "https://api.aviationstack.com/v1"
SOURCE = Source("Aviationstack", "https://aviationstack.com/")


class Call(TypedDict):
    """A flight at one airport; times are local, with offset where the zone is known."""

    airport: str
    code: str
    scheduled: str
    expected: str
    actual: str
    delay_minutes: int | None
    terminal: str
    gate: str
    baggage_claim: str


class Flight(TypedDict):
    """One run of a flight; `date` is the day at its origin."""

    flight: str
    airline: str
    date: str
    status: str
    departure: Call
    arrival: Call


async def _flights(ctx: ToolContext, **params: str) -> list[dict[str, Any]]:
    key = ctx.secret("AVIATIONSTACK_API_KEY")
    try:
        body = record(
            await ctx.http.get_json(
                f"{API}/flights",
                params={**params, "access_key": key, "limit": 100},
                timeout_s=15,
            )
        )
    except VendorRejected as err:
        if err.vendor_status != 403:
            raise
        raise _outside_plan() from err
    problem = text(record(body.get("error")).get("code"))
    if problem in ("usage_limit_reached", "rate_limit_reached"):
        raise RateLimited("Aviationstack takes no more requests now. Try again later.")
    if problem.endswith("_access_restricted"):
        raise _outside_plan()
    if problem:
        raise VendorRejected("Aviationstack did not accept the request. Check its key.")
    if not isinstance(body.get("data"), list):
        raise VendorUnavailable("Aviationstack sent no flights. Try again in a moment.")
    return records(body["data"])


def _outside_plan() -> VendorRejected:
    return VendorRejected("The Aviationstack plan does not include this.", vendor_status=403)


def _wall(value: object, zone: object) -> str:
    """Return the airport's wall time, with the offset of its zone in place of the false one."""
    found = instant(value)
    if found is None:
        return ""
    try:
        aware = found.replace(tzinfo=ZoneInfo(text(zone)))
    except (ZoneInfoNotFoundError, ValueError, OSError):  # it may be any text
        return f"{found:%Y-%m-%dT%H:%M}"
    return aware.isoformat(timespec="minutes")


def _call(row: dict[str, Any]) -> Call:
    zone = row.get("timezone")
    return Call(
        airport=shorten(text(row.get("airport")), 60),
        code=text(row.get("iata"))[:4],
        scheduled=_wall(row.get("scheduled"), zone),
        expected=_wall(row.get("estimated"), zone),
        actual=_wall(row.get("actual"), zone),
        delay_minutes=integer(row.get("delay")),
        terminal=text(row.get("terminal"))[:20],
        gate=text(row.get("gate"))[:20],
        baggage_claim=text(row.get("baggage"))[:20],
    )


def _flight(row: dict[str, Any], asked: str) -> Flight:
    airline, leave = text(record(row.get("airline")).get("name"))[:60], record(row.get("departure"))
    return Flight(
        flight=text(record(row.get("flight")).get("iata"))[:10] or asked,
        airline="" if airline == "empty" else airline,
        date=text(row.get("flight_date"))[:10] or text(leave.get("scheduled"))[:10],
        status=text(row.get("flight_status"))[:20] or "unknown",
        departure=_call(leave),
        arrival=_call(record(row.get("arrival"))),
    )


def _moment(call: Call) -> str:
    return call["actual"] or call["expected"] or call["scheduled"]


def _clock(moment: str) -> str:
    found = instant(moment)
    return f"{found:%-I:%M %p}" if found else "an unknown time"


def _say(flight: Flight) -> str:
    leave, land = flight["departure"], flight["arrival"]
    told = (
        f"{flight['airline']} {flight['flight']} from {leave['airport'] or 'an unknown airport'} "
        f"to {land['airport'] or 'an unknown airport'}"
    ).strip()
    if day := instant(flight["date"]):
        told += f" on {spoken_date(day.date())}"
    told += f" is {flight['status']}"
    if flight["status"] == "cancelled":
        return f"{told}."
    told += f": departure {_clock(_moment(leave))}"
    if leave["delay_minutes"]:
        told += f" ({leave['delay_minutes']} min late)"
    told += f", gate {leave['gate']}" if leave["gate"] else ""
    return f"{told}, arrival {_clock(_moment(land))}, local times."


@tool(progress="Looking up the flight…", cache_s=120, timeout_s=20)
async def get_flight_info_by_iata(
    ctx: ToolContext, *, flight_iata: str, date: str | None = None
) -> ToolResult:
    """Look up a flight by its IATA number: airline, route, times, delay, gates.

    Args:
        flight_iata: Two-character airline code and number, such as SK4411.
        date: Day of departure at the origin, as 2026-11-23; null for the one nearest to now.
    """
    asked = re.sub(r"[\s-]", "", flight_iata.upper())
    if not re.fullmatch(r"([A-Z][A-Z0-9]|[0-9][A-Z])\d{1,4}[A-Z]?", asked):
        raise InvalidInput("flight_iata must be an airline code and a number, such as SK4411.")
    day = calendar_date(date, "date") if date else None
    rows = await _flights(ctx, flight_iata=asked)
    # The airline that flies is listed beside those that only sell seats under their own number.
    own = [row for row in rows if not record(record(row.get("flight")).get("codeshared"))]
    flights = [_flight(row, asked) for row in own or rows]
    if day:
        flights = [flight for flight in flights if flight["date"] == day.isoformat()]
    flights.sort(key=lambda flight: _distance(flight, ctx.clock()))
    when = f" on {spoken_date(day)}" if day else ""
    return ToolResult(
        response_type="flight_status",
        data={"asked": asked, "flights": flights[:3]},
        summary=_say(flights[0]) if flights else f"Aviationstack knows no flight {asked}{when}.",
        sources=(SOURCE,),
    )


def _distance(flight: Flight, now: dt.datetime) -> float:
    """How far a flight is from being the one meant without a date, in seconds; aloft is 0."""
    if flight["status"] == "active":
        return 0.0
    found = instant(_moment(flight["departure"]))
    if found is None:
        return float("inf")
    aware = found if found.tzinfo else found.replace(tzinfo=dt.UTC)
    return abs((now - aware).total_seconds())
