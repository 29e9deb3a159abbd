"""Duffel: bookable fares of airlines that sell through it. Nothing is booked here.

https://duffel.com/docs/api/offer-requests · https://duffel.com/docs/api/offers

Quirks seen in November 2026:
- Looking creates a search record at the vendor, so that it is a POST; it may be repeated.
- Test tokens (`duffel_test_…`) answer with invented airlines and fares: `live_mode` is false.
- Amounts are text. Times are local to the airport, without an offset. Codes, aircraft, terminals
  and conditions may be null.
"""

from __future__ import annotations

from typing import Any

from common.errors import InvalidInput, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.flights import (
    Cabin,
    Leg,
    Offer,
    Travellers,
    currency_code,
    flight_result,
    leg,
    minutes,
    segments,
    trip_of,
)
from common.tools.reading import number, record, records, text, values

CONNECTOR = Connector(
    name="Duffel",
    category="travel",
    description="Finds bookable flights and fares between two airports on a day.",
    examples=(
        "Find me flights from Boston to Dublin on June 4.",
        "What does a business class flight from LHR to SIN cost?",
        "Compare airfares from SEA to HNL, returning a week later.",
        "Flights from Boston to Dublin",
    ),
    keywords=words(
        "flight, flights, fly, fare, fares, airfare, airline, plane, ticket, airport, "
        "nonstop, direct, round trip, one way, business, economy, duffel, seat, seats, "
        "passengers, connection, stopover, return, airways, airlines, class, depart, "
        "roundtrip, fly me, flight to, cheap flights, out of, airplane, first class, two "
        "people, passenger, by air, by plane"
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


async def _offers(ctx: ToolContext, search: dict[str, Any]) -> list[dict[str, Any]]:
    reply = await ctx.http.request(
        "POST",
        f"{API}/air/offer_requests",
        json={"data": search},
        timeout_s=40,
        idempotent=True,
        params={"return_offers": True, "supplier_timeout": 20000},
        expect=(400, 422),
        headers={
            "Authorization": f"Bearer {ctx.secret('DUFFEL_API_KEY')}",
            "Duffel-Version": "v2",
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


def _way(slice_: dict[str, Any]) -> list[Leg]:
    legs = []
    for row in segments(slice_.get("segments")):
        carrier = record(row.get("marketing_carrier"))
        name = (text(carrier.get("iata_code")), text(row.get("marketing_carrier_flight_number")))
        legs.append(
            leg(
                flight=" ".join(filter(None, name)),
                airline=carrier.get("name"),
                origin=record(row.get("origin")).get("iata_code"),
                departs=row.get("departing_at"),
                destination=record(row.get("destination")).get("iata_code"),
                arrives=row.get("arriving_at"),
            )
        )
    return legs


def _touched(slice_: dict[str, Any]) -> int:
    """Count the stops within flights, which land on the way under one number."""
    return sum(len(values(row.get("stops"))) for row in records(slice_.get("segments")))


def _offer(row: dict[str, Any]) -> Offer | None:
    slices = records(row.get("slices"))
    ways = [_way(part) for part in slices]
    if not ways or not ways[0]:
        return None
    return Offer(
        price=number(row.get("total_amount")),
        currency=text(row.get("total_currency"))[:3],
        duration_minutes=minutes(slices[0].get("duration")),
        stops=len(ways[0]) - 1 + _touched(slices[0]),
        legs=ways[0],
        return_legs=ways[1] if len(ways) > 1 else [],
    )


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
    trip = trip_of(ctx, origin, destination, leave=departure_date, home=return_date)
    currency_code(currency)
    out = {"origin": trip.origin, "destination": trip.destination}
    slices = [{**out, "departure_date": trip.leave.isoformat()}]
    if trip.home:
        back = {"origin": trip.destination, "destination": trip.origin}
        slices.append({**back, "departure_date": trip.home.isoformat()})
    search: dict[str, Any] = {
        "slices": slices,
        "passengers": [{"type": "adult"}] * adults,
        "cabin_class": travel_class,
    }
    if nonstop:
        search["max_connections"] = 0
    rows = await _offers(ctx, search)
    trial = any(row.get("live_mode") is False for row in rows)
    return flight_result(
        trip,
        (offer for row in rows if (offer := _offer(row))),
        provider="Duffel",
        source=Source("Duffel", "https://duffel.com/"),
        test_data=trial,
        remark=" (test data, not real fares)" if trial else "",
    )
