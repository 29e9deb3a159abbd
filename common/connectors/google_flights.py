"""Google Flights: fares and times for a day, read through SerpApi.

https://serpapi.com/google-flights-api

Every uncached search is billed. Quirks seen in November 2026:
- Nothing found is a 200 with an `error` text; `best_flights` or `other_flights` may be missing.
- City codes (NYC, TYO) are refused: airports only. Times are the airport's own, without an offset.
- `price` is a whole number for all travellers and, with a return date, for both ways; it may be
  missing. The flights back cost a second search, so that only the outbound ones are shown.
- The key travels in the address, and the vendor's answer may repeat it: neither is passed on.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from common.errors import InvalidInput, VendorRejected, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.flights import (
    Cabin,
    Offer,
    Travellers,
    currency_code,
    flight_result,
    leg,
    segments,
    trip_of,
)
from common.tools.reading import integer, number, record, records, text, values
from common.tools.serpapi import priced_in, serpapi

CONNECTOR = Connector(
    name="Google Flights",
    category="travel",
    description="Finds flights and fares between two airports on a day.",
    examples=(
        "Find flights from Oslo to Lisbon on March 9.",
        "What's the cheapest nonstop flight from JFK to LAX next Friday?",
        "How much is a round trip from SFO to Tokyo in May?",
        "Flights from Rome to Oslo tomorrow",
    ),
    keywords=words(
        "flight, flights, fly, flying, fare, fares, airfare, airline, plane, ticket, airport, "
        "nonstop, direct, layover, round trip, one way, business, economy, travel, trip, "
        "cheapest, seat, seats, passengers, connection, stopover, red-eye, return, fly to, "
        "flying to, get to, airways, airlines, class, depart, leaving, roundtrip, one-way, "
        "non-stop, fly me, flight to, take me, cheap flights, one stop, weekend getaway, out "
        "of, airplane, red eye, a plane, two people, passenger, first class, baggage, aisle, "
        "by air, by plane, go from, plane ticket, plane tickets, fly out, fly home, fly back, "
        "stops, cheapest day, jet, long-haul, get there, adults, fares to, nonstop from, non "
        "stop, direct flight, direct from, weekend trip, airports, round-trip, options to, "
        "depart on, plane from, plane to, late plane, early plane, last plane, tickets from, "
        "hop to, get from, fly from, flying from, flights between"
    ),
    hosts=("serpapi.com",),
    auth="key",
    secrets=("SERPAPI_API_KEY",),
    capability="flights",
    rank=10,
    concurrency=4,
    attribution="Fares from Google Flights",
)

CABINS = {"economy": 1, "premium_economy": 2, "business": 3, "first": 4}


async def _search(ctx: ToolContext, **params: Any) -> dict[str, Any]:
    try:
        body = await serpapi(ctx, "google_flights", timeout_s=40, hl="en", **params)
    except VendorRejected as err:
        if err.vendor_status is not None:
            raise
        raise InvalidInput(
            "Google Flights did not accept the search: airport codes such as JFK (not city codes) "
            "and days within the next eleven months are needed."
        ) from err
    if body and not {"best_flights", "other_flights"} & body.keys():
        raise VendorUnavailable("Google Flights sent no fares. Try again in a moment.")
    return body


def _offer(row: dict[str, Any], currency: str) -> Offer | None:
    legs = []
    for flight in segments(row.get("flights")):
        out, into = record(flight.get("departure_airport")), record(flight.get("arrival_airport"))
        legs.append(
            leg(
                flight=flight.get("flight_number"),
                airline=flight.get("airline"),
                origin=out.get("id"),
                departs=out.get("time"),
                destination=into.get("id"),
                arrives=into.get("time"),
            )
        )
    if not legs:
        return None
    return Offer(
        price=number(row.get("price")),
        currency=currency,
        duration_minutes=integer(row.get("total_duration")),
        stops=len(legs) - 1,
        legs=legs,
        return_legs=[],
    )


@tool(progress="Looking for flights…", slow=True, cache_s=600, timeout_s=50)
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
        currency: ISO code of the currency for prices.
    """
    trip = trip_of(ctx, origin, destination, leave=departure_date, home=return_date)
    money = currency_code(currency)
    body = await _search(
        ctx,
        departure_id=trip.origin,
        arrival_id=trip.destination,
        outbound_date=trip.leave.isoformat(),
        return_date=trip.home.isoformat() if trip.home else None,
        type=1 if trip.home else 2,
        travel_class=CABINS[travel_class],
        adults=adults,
        stops=1 if nonstop else None,
        currency=money,
    )
    money = priced_in(body, money)
    rows = records(body.get("best_flights")) + records(body.get("other_flights"))
    insight = record(body.get("price_insights"))
    words = f"Flights from {trip.origin} to {trip.destination} on {trip.leave}"
    usual = [number(value) for value in values(insight.get("typical_price_range"))[:2]]
    more: dict[str, Any] = {}
    if trip.home:
        more["note"] = (
            "Times are local to each airport; prices are for all travellers and both ways; "
            "outbound flights are shown."
        )
    return flight_result(
        trip,
        (offer for row in rows if (offer := _offer(row, money))),
        provider="Google Flights",
        source=Source("Google Flights", f"https://www.google.com/travel/flights?q={quote(words)}"),
        price_level=text(insight.get("price_level"))[:20],
        typical_price_range=[price for price in usual if price is not None],
        **more,
    )
