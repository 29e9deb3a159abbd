"""Google Hotels: prices of hotels in a place for given nights, read through SerpApi.

https://serpapi.com/google-hotels-api

Every uncached search is billed. Quirks seen in November 2026:
- Nothing found is a 200 with an `error` text. A hotel that is sold out has no rates.
- A rate comes as text with its sign ("$120") and as a number beside it (`extracted_lowest`).
- A search that names one hotel may answer with that hotel's own page instead of a list.
"""

from __future__ import annotations

import datetime as dt
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
    shorten,
    spoken_date,
    text,
    values,
)

CONNECTOR = Connector(
    name="Google Hotels",
    category="travel",
    description="Compares hotel prices in a place for given nights.",
    examples=(
        "Find a hotel in Lisbon from March 9 to March 12.",
        "How much are hotels in Chicago this weekend?",
        "Compare hotel prices near Times Square for two nights.",
    ),
    keywords=(
        "hotel", "hotels", "room", "rooms", "stay", "night", "nights", "lodging", "accommodation",
        "inn", "resort", "hostel", "motel", "check in", "check out", "sleep", "booking", "suite",
    ),
    hosts=("serpapi.com",),
    auth="key",
    secrets=("SERPAPI_API_KEY",),
    capability="hotels",
    rank=10,
    concurrency=4,
    attribution="Hotel prices from Google Hotels",
)

API = "https://serpapi.com/search"
SORTS = {"relevance": None, "price": 3, "rating": 8}

Guests: TypeAlias = Annotated[int, Meta(ge=1, le=9)]
Sort: TypeAlias = Literal["relevance", "price", "rating"]


class Hotel(TypedDict):
    """A hotel; prices are in `currency`, None when sold out; `rating` is of 5."""

    name: str
    price_per_night: float | None
    price_total: float | None
    currency: str
    rating: float | None
    review_count: int | None
    stars: int | None
    amenities: list[str]
    latitude: float | None
    longitude: float | None
    id: str
    url: str


async def _search(ctx: ToolContext, **params: Any) -> dict[str, Any]:
    key = ctx.secret("SERPAPI_API_KEY")
    reply = await ctx.http.get(
        API, params={"engine": "google_hotels", **params, "api_key": key, "hl": "en"},
        timeout_s=40, expect=(400,),
    )
    body = record(reply.json())
    problem = text(body.get("error"))
    if reply.status == 400:
        raise InvalidInput("Google Hotels did not accept the search. Check the place and days.")
    if "returned any results" in problem:
        return {"properties": []}
    if not problem and "properties" not in body and text(body.get("name")):
        return {"properties": [body]}
    if problem or "properties" not in body:
        raise VendorUnavailable("Google Hotels sent no prices. Try again in a moment.")
    return body


def _nights(ctx: ToolContext, check_in: str, check_out: str) -> tuple[dt.date, dt.date]:
    arrive = calendar_date(check_in, "check_in_date")
    leave = calendar_date(check_out, "check_out_date")
    if arrive < ctx.local_now().date() - dt.timedelta(1):  # it is still that day somewhere
        raise InvalidInput("check_in_date is in the past. Give a day to come.")
    if not arrive < leave <= arrive + dt.timedelta(60):
        raise InvalidInput("check_out_date must be 1 to 60 days after check_in_date.")
    return arrive, leave


def _rate(value: object) -> float | None:
    return number(record(value).get("extracted_lowest"))


def _hotel(row: dict[str, Any], currency: str) -> Hotel:
    place = record(row.get("gps_coordinates"))
    return Hotel(
        name=shorten(text(row.get("name")), 100), price_per_night=_rate(row.get("rate_per_night")),
        price_total=_rate(row.get("total_rate")), currency=currency,
        rating=number(row.get("overall_rating")), review_count=integer(row.get("reviews")),
        stars=integer(row.get("extracted_hotel_class")),
        amenities=[shorten(name, 40) for item in values(row.get("amenities"))[:5]
                   if (name := text(item))],
        latitude=number(place.get("latitude")), longitude=number(place.get("longitude")),
        id=shorten(text(row.get("property_token")), 120), url=shorten(text(row.get("link")), 200),
    )


def _say(hotel: Hotel) -> str:
    night, total = hotel["price_per_night"], hotel["price_total"]
    cost = "no price" if night is None else f"{night:,.0f} {hotel['currency']} a night"
    if total is not None and total != night:
        cost += f" ({total:,.0f} in all)"
    rated = f", rated {hotel['rating']:g} of 5" if hotel["rating"] else ""
    return f"{hotel['name']}, {cost}{rated}"


@tool(progress="Comparing hotel prices…", slow=True, cache_s=600, timeout_s=50)
async def get_hotel_prices(
    ctx: ToolContext,
    *,
    location: str,
    check_in_date: str,
    check_out_date: str,
    adults: Guests = 2,
    sort_by: Sort = "relevance",
    currency: str = "USD",
) -> ToolResult:
    """Find hotels in a place with their prices for given nights. Books nothing.

    Args:
        location: City, district or landmark, such as "Lisbon" or "Times Square, New York".
        check_in_date: Day of arrival, as 2026-12-18.
        check_out_date: Day of departure.
        adults: How many guests, 1 to 9.
        sort_by: Order of the results.
        currency: ISO code of the currency for prices.
    """
    place = location.strip()
    if not place:
        raise InvalidInput("location must name a city, a district or a landmark.")
    arrive, leave = _nights(ctx, check_in_date, check_out_date)
    money = currency.strip().upper()
    body = await _search(
        ctx, q=place if "hotel" in place.lower() else f"{place} hotels",
        check_in_date=arrive.isoformat(), check_out_date=leave.isoformat(), adults=adults,
        currency=money, sort_by=SORTS[sort_by],
    )
    hotels = [_hotel(row, money) for row in records(body["properties"]) if text(row.get("name"))]
    hotels.sort(key=lambda hotel: hotel["price_per_night"] is None)
    stay = f"in {place} from {spoken_date(arrive)} to {spoken_date(leave)}"
    told = "; ".join(_say(hotel) for hotel in hotels[:3])
    return ToolResult(
        response_type="hotel_prices",
        data={
            "provider": "Google Hotels", "location": place, "check_in_date": arrive.isoformat(),
            "check_out_date": leave.isoformat(), "nights": (leave - arrive).days,
            "adults": adults, "hotels": hotels[:6],
        },
        summary=shorten(f"Hotels {stay}: {told}.", 480) if told else f"No hotel was found {stay}.",
        sources=(
            Source("Google Hotels", f"https://www.google.com/travel/search?q={quote(place)}"),
        ),
    )
