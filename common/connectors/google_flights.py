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

import datetime as dt
import re
from typing import Annotated, Any, Literal, TypeAlias, TypedDict
from urllib.parse import quote

from msgspec import Meta

from common.errors import InvalidInput, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool
from common.tools.reading import (
    calendar_date,
    integer,
    number,
    record,
    records,
    spoken_date,
    text,
    values,
)

CONNECTOR = Connector(
    name="Google Flights",
    category="travel",
    description="Finds flights and fares between two airports on a day.",
    examples=(
        "Find flights from Oslo to Lisbon on March 9.",
        "What's the cheapest nonstop flight from JFK to LAX next Friday?",
        "How much is a round trip from SFO to Tokyo in May?",
    ),
    keywords=(
        "flight", "flights", "fly", "flying", "fare", "fares", "airfare", "airline", "plane",
        "ticket", "airport", "nonstop", "direct", "layover", "round trip", "one way", "business",
        "economy", "travel", "trip", "cheapest",
    ),
    hosts=("serpapi.com",),
    auth="key",
    secrets=("SERPAPI_API_KEY",),
    capability="flights",
    rank=10,
    concurrency=4,
    attribution="Fares from Google Flights",
)

API = "https://serpapi.com/search"
CABINS = {"economy": 1, "premium_economy": 2, "business": 3, "first": 4}

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


async def _search(ctx: ToolContext, **params: Any) -> dict[str, Any]:
    key = ctx.secret("SERPAPI_API_KEY")
    reply = await ctx.http.get(
        API, params={"engine": "google_flights", **params, "api_key": key, "hl": "en"},
        timeout_s=40, expect=(400,),
    )
    body = record(reply.json())
    problem = text(body.get("error"))
    if reply.status == 400:
        raise InvalidInput(
            "Google Flights did not accept the search: airport codes such as JFK (not city codes) "
            "and days within the next eleven months are needed."
        )
    if "returned any results" in problem:
        return {"best_flights": []}
    if problem or not {"best_flights", "other_flights"} & body.keys():
        raise VendorUnavailable("Google Flights sent no fares. Try again in a moment.")
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


def _leg(row: dict[str, Any]) -> Leg:
    out, into = record(row.get("departure_airport")), record(row.get("arrival_airport"))
    return Leg(
        flight=text(row.get("flight_number")), airline=text(row.get("airline")),
        origin=text(out.get("id")), departs=text(out.get("time")).replace(" ", "T"),
        destination=text(into.get("id")), arrives=text(into.get("time")).replace(" ", "T"),
    )


def _offer(row: dict[str, Any], currency: str) -> Offer | None:
    legs = [_leg(leg) for leg in records(row.get("flights"))]
    if not legs:
        return None
    return Offer(
        price=number(row.get("price")), currency=currency,
        duration_minutes=integer(row.get("total_duration")), stops=len(legs) - 1,
        legs=legs, return_legs=[],
    )


def _say(offer: Offer) -> str:
    first, last = offer["legs"][0], offer["legs"][-1]
    stops = "nonstop" if not offer["stops"] else f"{offer['stops']} stop" + (
        "s" if offer["stops"] > 1 else ""
    )
    price = offer["price"]
    cost = "price unknown" if price is None else f"{price:,.0f} {offer['currency']}"
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
    money = currency.strip().upper()
    body = await _search(
        ctx, departure_id=start, arrival_id=end, outbound_date=leave.isoformat(),
        return_date=home.isoformat() if home else None, type=1 if home else 2,
        travel_class=CABINS[travel_class], adults=adults, stops=1 if nonstop else None,
        currency=money,
    )
    rows = records(body.get("best_flights")) + records(body.get("other_flights"))
    offers = [offer for row in rows if (offer := _offer(row, money))]
    offers.sort(key=lambda offer: (offer["price"] is None, offer["price"]))
    insight = record(body.get("price_insights"))
    trip = f"{start} to {end} on {spoken_date(leave)}"
    if home:
        trip += f", back on {spoken_date(home)}"
    told = "; ".join(_say(offer) for offer in offers[:3])
    return ToolResult(
        response_type="flight_offers",
        data={
            "provider": "Google Flights", "origin": start, "destination": end,
            "departure_date": leave.isoformat(), "return_date": home.isoformat() if home else "",
            "adults": adults, "offers": offers[:6],
            "price_level": text(insight.get("price_level")),
            "typical_price_range": [
                price for value in values(insight.get("typical_price_range"))
                if (price := number(value)) is not None
            ],
            "note": "Times are local to each airport; prices are for all travellers"
            + (" and both ways; outbound flights are shown." if home else "."),
        },
        summary=f"Flights {trip}: {told}." if told else f"Google Flights has none from {trip}.",
        sources=(
            Source(
                "Google Flights",
                "https://www.google.com/travel/flights?q="
                + quote(f"Flights from {start} to {end} on {leave.isoformat()}"),
            ),
        ),
    )
