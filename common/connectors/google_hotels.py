"""Google Hotels: prices of hotels in a place for given nights, read through SerpApi.

https://serpapi.com/google-hotels-api

Every uncached search is billed. Quirks seen in November 2026:
- Nothing found is a 200 with an `error` text. A hotel that is sold out has no rates.
- A rate comes as text with its sign ("$120") and as a number beside it (`extracted_lowest`).
- A search that names one hotel may answer with that hotel's own page instead of a list.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from common.errors import InvalidInput, VendorRejected, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.flights import currency_code
from common.tools.hotels import Guests, Hotel, HotelSort, hotel_result, stay_of
from common.tools.reading import integer, number, record, records, shorten, text, values
from common.tools.serpapi import priced_in, serpapi

CONNECTOR = Connector(
    name="Google Hotels",
    category="travel",
    description="Compares hotel prices in a place for given nights.",
    examples=(
        "Find a hotel in Lisbon from March 9 to March 12.",
        "How much are hotels in Chicago this weekend?",
        "Compare hotel prices near Times Square for two nights.",
        "Hotels in Vienna this weekend",
    ),
    keywords=words(
        "hotel, hotels, room, rooms, stay, night, nights, lodging, accommodation, inn, "
        "resort, hostel, motel, check in, check out, sleep, booking, suite, bed, beds, "
        "b-and-b, guesthouse, airbnb, apartment, overnight, spend, place to, to stay, "
        "sleeping, crash, vacation rental, bedroom, suites, check-in, staying, decent, "
        "tonight, a night, per night, five star, four star, pool, spa, breakfast included, "
        "king bed, double room, single room, bnb, lodge, hilton, marriott, book a, villa, "
        "cabin, rent, somewhere to, where can, hotel with, hotels near, room near, room in, "
        "rooms in, nightly, rate, rates, nightly rates, nightly rate, three nights, two "
        "nights, vacancy, vacancies, reservation, pet-friendly, boutique, holiday inn, "
        "check-out, honeymoon, beachfront, all-inclusive, bed breakfast, hostels, motels, "
        "cheap hotel, cheap hotels, place for"
    ),
    hosts=("serpapi.com",),
    auth="key",
    secrets=("SERPAPI_API_KEY",),
    capability="hotels",
    rank=10,
    concurrency=4,
    attribution="Hotel prices from Google Hotels",
)

SORTS = {"relevance": None, "price": 3, "rating": 8}


async def _search(ctx: ToolContext, **params: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the answer and its hotels."""
    try:
        body = await serpapi(ctx, "google_hotels", timeout_s=40, hl="en", **params)
    except VendorRejected as err:
        if err.vendor_status is not None:
            raise
        raise InvalidInput(
            "Google Hotels did not accept the search. Check the place and the days."
        ) from err
    if "properties" not in body and text(body.get("name")):
        return body, [body]
    if body and "properties" not in body:
        raise VendorUnavailable("Google Hotels sent no prices. Try again in a moment.")
    return body, records(body.get("properties"))


def _rate(value: object) -> float | None:
    return number(record(value).get("extracted_lowest"))


def _hotel(row: dict[str, Any], currency: str) -> Hotel:
    place = record(row.get("gps_coordinates"))
    return Hotel(
        name=shorten(text(row.get("name")), 100),
        price_per_night=_rate(row.get("rate_per_night")),
        price_total=_rate(row.get("total_rate")),
        currency=currency,
        rating=number(row.get("overall_rating")),
        review_count=integer(row.get("reviews")),
        stars=integer(row.get("extracted_hotel_class")),
        amenities=[
            shorten(name, 40) for item in values(row.get("amenities"))[:5] if (name := text(item))
        ],
        latitude=number(place.get("latitude")),
        longitude=number(place.get("longitude")),
        id=shorten(text(row.get("property_token")), 120),
        url=shorten(text(row.get("link")), 200),
    )


@tool(progress="Comparing hotel prices…", slow=True, cache_s=600, timeout_s=50)
async def get_hotel_prices(
    ctx: ToolContext,
    *,
    location: str,
    check_in_date: str,
    check_out_date: str,
    adults: Guests = 2,
    sort_by: HotelSort = "relevance",
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
    stay = stay_of(ctx, location, check_in=check_in_date, check_out=check_out_date)
    place, money = stay.place, currency_code(currency)
    body, rows = await _search(
        ctx,
        q=place if "hotel" in place.lower() else f"{place} hotels",
        check_in_date=stay.arrive.isoformat(),
        check_out_date=stay.leave.isoformat(),
        adults=adults,
        currency=money,
        sort_by=SORTS[sort_by],
    )
    money = priced_in(body, money)
    url = f"https://www.google.com/travel/search?q={quote(place)}"
    return hotel_result(
        stay,
        (_hotel(row, money) for row in rows if text(row.get("name"))),
        provider="Google Hotels",
        source=Source("Google Hotels", url),
    )
