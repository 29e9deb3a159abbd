"""Amadeus: fares from the distribution system, for holders of an enterprise contract.

https://developers.amadeus.com/ · https://github.com/amadeus4dev/amadeus-open-api-specification

The self-service platform closed on 17 July 2026: this is off unless contract keys are set, and
AMADEUS_HOST names the contract's own host below amadeus.com. Quirks seen in November 2026:
- A token lives 30 minutes and costs a call; its errors have another shape than those of data.
- Times are local to the airport, without an offset; durations ISO 8601; money is text; airlines'
  names are in `dictionaries` only. Some airlines (low-cost, American, Delta, BA) are never there.
- No offers is a 200 with an empty list.
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
from common.tools.reading import integer, number, record, records, text

CONNECTOR = Connector(
    name="Amadeus",
    category="travel",
    description="Finds published fares between two airports, with an Amadeus contract.",
    examples=(
        "Find flights from Madrid to Buenos Aires on May 2.",
        "What are the fares from CDG to NRT in business class?",
        "Search Amadeus for nonstop flights from FRA to JFK.",
        "Flights from Madrid to Lima",
    ),
    keywords=words(
        "flight, flights, fly, fare, fares, airfare, airline, plane, ticket, airport, "
        "nonstop, direct, round trip, one way, business, economy, amadeus, seat, seats, "
        "passengers, connection, stopover, return, airways, airlines, class, depart, "
        "roundtrip, fly me, flight to, cheap flights, out of, airplane, first class, two "
        "people, passenger, by air, by plane"
    ),
    hosts=("*.amadeus.com",),
    auth="key",
    secrets=("AMADEUS_CLIENT_ID", "AMADEUS_CLIENT_SECRET"),
    capability="flights",
    rank=30,
    per_second=8,
    attribution="Fares from Amadeus",
)

HOST = "api.amadeus.com"


async def _get(ctx: ToolContext, path: str, **params: Any) -> dict[str, Any]:
    """Return the answer's object; InvalidInput where the search itself was refused."""
    base = f"https://{ctx.secrets('AMADEUS_HOST') or HOST}"
    signed = await ctx.http.request(
        "POST",
        f"{base}/v1/security/oauth2/token",
        idempotent=True,
        form={
            "grant_type": "client_credentials",
            "client_id": ctx.secret("AMADEUS_CLIENT_ID"),
            "client_secret": ctx.secret("AMADEUS_CLIENT_SECRET"),
        },
    )
    token = text(record(signed.json()).get("access_token"))
    if not token:
        raise VendorUnavailable("Amadeus did not let us in. Try again in a moment.")
    reply = await ctx.http.get(
        f"{base}{path}",
        params=params,
        headers={"Authorization": f"Bearer {token}"},
        timeout_s=25,
        expect=(400,),
    )
    body = record(reply.json())
    if reply.status == 400:
        raise InvalidInput("Amadeus did not accept the search. Check the codes and the days.")
    if not isinstance(body.get("data"), list):
        raise VendorUnavailable("Amadeus sent no fares. Try again in a moment.")
    return body


def _way(trip: dict[str, Any], carriers: dict[str, Any]) -> list[Leg]:
    legs = []
    for row in segments(trip.get("segments")):
        code, out, into = text(row.get("carrierCode")), row.get("departure"), row.get("arrival")
        legs.append(
            leg(
                flight=f"{code} {text(row.get('number'))}".strip(),
                airline=text(carriers.get(code)).title(),
                origin=record(out).get("iataCode"),
                departs=record(out).get("at"),
                destination=record(into).get("iataCode"),
                arrives=record(into).get("at"),
            )
        )
    return legs


def _touched(trip: dict[str, Any]) -> int:
    """Count the stops within flights, which land on the way under one number."""
    return sum(integer(row.get("numberOfStops")) or 0 for row in records(trip.get("segments")))


def _offer(row: dict[str, Any], carriers: dict[str, Any]) -> Offer | None:
    trips, price = records(row.get("itineraries")), record(row.get("price"))
    ways = [_way(trip, carriers) for trip in trips]
    if not ways or not ways[0]:
        return None
    return Offer(
        price=number(price.get("grandTotal") or price.get("total")),
        currency=text(price.get("currency"))[:3],
        duration_minutes=minutes(trips[0].get("duration")),
        stops=len(ways[0]) - 1 + _touched(trips[0]),
        legs=ways[0],
        return_legs=ways[1] if len(ways) > 1 else [],
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
    body = await _get(
        ctx,
        "/v2/shopping/flight-offers",
        originLocationCode=trip.origin,
        destinationLocationCode=trip.destination,
        departureDate=trip.leave.isoformat(),
        returnDate=trip.home.isoformat() if trip.home else None,
        adults=adults,
        travelClass=travel_class.upper(),
        nonStop=nonstop or None,
        currencyCode=currency_code(currency),
        max=20,
    )
    carriers = record(record(body.get("dictionaries")).get("carriers"))
    return flight_result(
        trip,
        (offer for row in records(body["data"]) if (offer := _offer(row, carriers))),
        provider="Amadeus",
        source=Source("Amadeus", "https://developers.amadeus.com/"),
    )
