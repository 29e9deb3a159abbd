"""Duffel: bookable fares of airlines that sell through it. Nothing is booked here.

https://duffel.com/docs/api/offer-requests · https://duffel.com/docs/api/offers

Quirks seen in November 2026:
- Looking creates a search record at the vendor, so that it is a POST; it may be repeated.
- Test tokens (`duffel_test_…`) answer with invented airlines and fares: `live_mode` is false.
- Amounts are text. Times are local to the airport, without an offset. Codes, aircraft, terminals
  and conditions may be null.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

from msgspec import Meta

from common.errors import InvalidInput, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool
from common.tools.reading import calendar_date, number, record, records, shorten, spoken_date, text

CONNECTOR = Connector(
    name="Duffel",
    category="travel",
    description="Finds bookable flights and fares between two airports on a day.",
    examples=(
        "Find me flights from Boston to Dublin on June 4.",
        "What does a business class flight from LHR to SIN cost?",
        "Compare airfares from SEA to HNL, returning a week later.",
    ),
    keywords=(
        "flight", "flights", "fly", "fare", "fares", "airfare", "airline", "plane", "ticket",
        "airport", "nonstop", "direct", "round trip", "one way", "business", "economy", "duffel",
    ),
    hosts=("api.duffel.com",),
    auth="key",
    secrets=("DUFFEL_API_KEY",),
    capability="flights",
    rank=20,
    concurrency=4,
    attribution="Fares from Duffel",
)

API = "https://api.duffel.com"

Travellers: TypeAlias = Annotated[int, Meta(ge=1, le=9)]
Cabin: TypeAlias = Literal["economy", "premium_economy", "business", "first"]


class Leg(TypedDict):
    """One flight; times are local to each airport."""

    flight: str
    airline: str
    origin: str
    departs: str
    destination: str
    arrives: str


class Offer(TypedDict):
    """A way to fly; `price` is for all travellers and the whole trip, None where unknown."""

    price: float | None
    currency: str
    duration_minutes: int | None
    stops: int
    legs: list[Leg]
    return_legs: list[Leg]


async def _offers(ctx: ToolContext, search: dict[str, Any]) -> list[dict[str, Any]]:
    reply = await ctx.http.request(
        "POST", f"{API}/air/offer_requests", json={"data": search}, timeout_s=40, idempotent=True,
        params={"return_offers": True, "supplier_timeout": 20000}, expect=(400, 422),
        headers={
            "Authorization": f"Bearer {ctx.secret('DUFFEL_API_KEY')}", "Duffel-Version": "v2",
            "Accept": "application/json",
        },
    )
    body = record(reply.json())
    if reply.status >= 400:
        raise InvalidInput(
            "Duffel did not accept the search. Check the airport codes and the days."
        )
    data = record(body.get("data"))
    if "offers" not in data:
        raise VendorUnavailable("Duffel sent no fares. Try again in a moment.")
    return records(data["offers"])


def _airport(value: str, field: str) -> str:
    code = value.strip().upper()
    if not re.fullmatch("[A-Z]{3}", code):
        raise InvalidInput(f"{field} must be the three-letter code of an airport, such as JFK.")
    return code


def _days(ctx: ToolContext, out: str, back: str | None) -> tuple[dt.date, dt.date | None]:
    leave = calendar_date(out, "departure_date")
    home = calendar_date(back, "return_date") if back else None
    if leave < ctx.local_now().date() - dt.timedelta(1):  # it is still that day somewhere
        raise InvalidInput("departure_date is in the past. Give a day to come.")
    if home and home < leave:
        raise InvalidInput("return_date is before departure_date. Correct one of them.")
    return leave, home


def _leg(row: dict[str, Any]) -> Leg:
    carrier = record(row.get("marketing_carrier"))
    name = f"{text(carrier.get('iata_code'))} {text(row.get('marketing_carrier_flight_number'))}"
    return Leg(
        flight=name.strip(), airline=text(carrier.get("name")),
        origin=text(record(row.get("origin")).get("iata_code")),
        departs=text(row.get("departing_at"))[:16],
        destination=text(record(row.get("destination")).get("iata_code")),
        arrives=text(row.get("arriving_at"))[:16],
    )


def _minutes(duration: object) -> int | None:
    """Read an ISO 8601 duration: "P1DT2H5M" is 1565."""
    match = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:\d+S)?)?", text(duration))
    if not match or not any(match.groups()):
        return None
    days, hours, minutes = (int(part or 0) for part in match.groups())
    return days * 1440 + hours * 60 + minutes


def _offer(row: dict[str, Any]) -> Offer | None:
    slices = records(row.get("slices"))
    ways = [[_leg(leg) for leg in records(way.get("segments"))] for way in slices]
    if not ways or not ways[0]:
        return None
    return Offer(
        price=number(row.get("total_amount")), currency=text(row.get("total_currency")),
        duration_minutes=_minutes(slices[0].get("duration")), stops=len(ways[0]) - 1,
        legs=ways[0], return_legs=ways[1] if len(ways) > 1 else [],
    )


def _say(offer: Offer) -> str:
    first, last = offer["legs"][0], offer["legs"][-1]
    stops = "nonstop" if not offer["stops"] else f"{offer['stops']} stop" + (
        "s" if offer["stops"] > 1 else ""
    )
    price = offer["price"]
    cost = "price unknown" if price is None else f"{price:,.2f} {offer['currency']}"
    carrier = f"{first['airline']} {first['flight']}".strip()
    return f"{carrier}, {first['departs'][-5:]} to {last['arrives'][-5:]}, {stops}, {cost}"


@tool(progress="Looking for flights…", slow=True, timeout_s=50)
async def get_flight_info(
    ctx: ToolContext,
    *,
    origin: str,
    destination: str,
    departure_date: str,
    return_date: str | None = None,
    adults: Travellers = 1,
    travel_class: Cabin = "economy",
    nonstop: bool = False,
    currency: str = "USD",
) -> ToolResult:
    """Find flights and fares between two airports on a day. Books nothing.

    Args:
        origin: Three-letter code of the airport to leave from, such as SFO.
        destination: Three-letter code of the airport to fly to.
        departure_date: Day of departure, as 2026-12-18.
        return_date: Day of the flight back; null for one way.
        adults: How many travellers, 1 to 9.
        travel_class: Cabin.
        nonstop: True for flights without a stop only.
        currency: ISO code of the currency wished for; Duffel prices in its own.
    """
    start, end = _airport(origin, "origin"), _airport(destination, "destination")
    leave, home = _days(ctx, departure_date, return_date)
    slices = [{"origin": start, "destination": end, "departure_date": leave.isoformat()}]
    if home:
        slices.append({"origin": end, "destination": start, "departure_date": home.isoformat()})
    search: dict[str, Any] = {
        "slices": slices, "passengers": [{"type": "adult"}] * adults, "cabin_class": travel_class,
    }
    if nonstop:
        search["max_connections"] = 0
    rows = await _offers(ctx, search)
    offers = [offer for row in rows if (offer := _offer(row))]
    offers.sort(key=lambda offer: (offer["price"] is None, offer["price"]))
    trip = f"{start} to {end} on {spoken_date(leave)}"
    if home:
        trip += f", back on {spoken_date(home)}"
    trial = any(row.get("live_mode") is False for row in rows)
    told = "; ".join(_say(offer) for offer in offers[:3])
    if told and trial:
        told += " (test data, not real fares)"
    return ToolResult(
        response_type="flight_offers",
        data={
            "provider": "Duffel", "origin": start, "destination": end,
            "departure_date": leave.isoformat(), "return_date": home.isoformat() if home else "",
            "adults": adults, "test_data": trial, "offers": offers[: 3 if home else 6],
            "note": "Times are local to each airport; prices are for all travellers.",
        },
        summary=shorten(f"Flights {trip}: {told}.", 480) if told else f"Duffel has none {trip}.",
        sources=(Source("Duffel", "https://duffel.com/"),),
    )
