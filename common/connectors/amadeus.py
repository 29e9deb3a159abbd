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

import datetime as dt
import re
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

from msgspec import Meta

from common.errors import InvalidInput, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool
from common.tools.reading import calendar_date, number, record, records, shorten, spoken_date, text

CONNECTOR = Connector(
    name="Amadeus",
    category="travel",
    description="Finds published fares between two airports, with an Amadeus contract.",
    examples=(
        "Find flights from Madrid to Buenos Aires on May 2.",
        "What are the fares from CDG to NRT in business class?",
        "Search Amadeus for nonstop flights from FRA to JFK.",
    ),
    keywords=(
        "flight", "flights", "fly", "fare", "fares", "airfare", "airline", "plane", "ticket",
        "airport", "nonstop", "direct", "round trip", "one way", "business", "economy", "amadeus",
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


async def _get(ctx: ToolContext, path: str, **params: Any) -> dict[str, Any]:
    """Return the answer's object; InvalidInput where the search itself was refused."""
    base = f"https://{ctx.secrets('AMADEUS_HOST') or HOST}"
    signed = await ctx.http.request(
        "POST", f"{base}/v1/security/oauth2/token", idempotent=True,
        form={
            "grant_type": "client_credentials", "client_id": ctx.secret("AMADEUS_CLIENT_ID"),
            "client_secret": ctx.secret("AMADEUS_CLIENT_SECRET"),
        },
    )
    token = text(record(signed.json()).get("access_token"))
    if not token:
        raise VendorUnavailable("Amadeus did not let us in. Try again in a moment.")
    reply = await ctx.http.get(
        f"{base}{path}", params=params, headers={"Authorization": f"Bearer {token}"},
        timeout_s=25, expect=(400,),
    )
    body = record(reply.json())
    if reply.status == 400:
        raise InvalidInput("Amadeus did not accept the search. Check the codes and the days.")
    if not isinstance(body.get("data"), list):
        raise VendorUnavailable("Amadeus sent no fares. Try again in a moment.")
    return body


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


def _leg(row: dict[str, Any], carriers: dict[str, Any]) -> Leg:
    code, out, into = text(row.get("carrierCode")), row.get("departure"), row.get("arrival")
    return Leg(
        flight=f"{code} {text(row.get('number'))}".strip(),
        airline=text(carriers.get(code)).title(),
        origin=text(record(out).get("iataCode")), departs=text(record(out).get("at"))[:16],
        destination=text(record(into).get("iataCode")), arrives=text(record(into).get("at"))[:16],
    )


def _minutes(duration: object) -> int | None:
    """Read an ISO 8601 duration: "P1DT2H5M" is 1565."""
    match = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:\d+S)?)?", text(duration))
    if not match or not any(match.groups()):
        return None
    days, hours, minutes = (int(part or 0) for part in match.groups())
    return days * 1440 + hours * 60 + minutes


def _offer(row: dict[str, Any], carriers: dict[str, Any]) -> Offer | None:
    trips, price = records(row.get("itineraries")), record(row.get("price"))
    ways = [[_leg(leg, carriers) for leg in records(trip.get("segments"))] for trip in trips]
    if not ways or not ways[0]:
        return None
    return Offer(
        price=number(price.get("grandTotal") or price.get("total")),
        currency=text(price.get("currency")),
        duration_minutes=_minutes(trips[0].get("duration")), stops=len(ways[0]) - 1,
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
    start, end = _airport(origin, "origin"), _airport(destination, "destination")
    leave, home = _days(ctx, departure_date, return_date)
    body = await _get(
        ctx, "/v2/shopping/flight-offers", originLocationCode=start, destinationLocationCode=end,
        departureDate=leave.isoformat(), returnDate=home.isoformat() if home else None,
        adults=adults, travelClass=travel_class.upper(), nonStop=nonstop or None,
        currencyCode=currency.strip().upper(), max=20,
    )
    carriers = record(record(body.get("dictionaries")).get("carriers"))
    offers = [offer for row in records(body["data"]) if (offer := _offer(row, carriers))]
    offers.sort(key=lambda offer: (offer["price"] is None, offer["price"]))
    trip = f"{start} to {end} on {spoken_date(leave)}"
    if home:
        trip += f", back on {spoken_date(home)}"
    told = "; ".join(_say(offer) for offer in offers[:3])
    return ToolResult(
        response_type="flight_offers",
        data={
            "provider": "Amadeus", "origin": start, "destination": end,
            "departure_date": leave.isoformat(), "return_date": home.isoformat() if home else "",
            "adults": adults, "offers": offers[: 3 if home else 6],
            "note": "Times are local to each airport; prices are for all travellers.",
        },
        summary=shorten(f"Flights {trip}: {told}.", 480) if told else f"Amadeus has none {trip}.",
        sources=(Source("Amadeus", "https://developers.amadeus.com/"),),
    )
