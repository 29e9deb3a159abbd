"""Amadeus hotels: prices for given nights, for holders of an enterprise contract.

https://developers.amadeus.com/ · https://github.com/amadeus4dev/amadeus-open-api-specification

The self-service platform closed on 17 July 2026: this is off unless contract keys are set, and
AMADEUS_HOST names the contract's own host below amadeus.com. Quirks seen in November 2026:
- Three calls: the place's position, the hotels around it, their offers (20 hotels at most).
- `price.total` is for the whole stay, `variations.average` for a night. No offers is a 200 with an
  empty list, or a 400 with code 424 or 895. Hotels come in capitals and without a rating.
"""

from __future__ import annotations

from typing import Any

from common.errors import InvalidInput, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.flights import currency_code
from common.tools.hotels import Guests, Hotel, HotelSort, hotel_result, stay_of
from common.tools.reading import integer, number, record, records, shorten, text

CONNECTOR = Connector(
    name="Amadeus Hotels",
    category="travel",
    description="Compares hotel prices for given nights, with an Amadeus contract.",
    examples=(
        "Find a hotel in Madrid from May 2 to May 5.",
        "What do hotels in Frankfurt cost next Tuesday night?",
        "Search Amadeus for hotel rooms in Vienna.",
        "Hotel rooms in Madrid on May 2",
    ),
    keywords=words(
        "hotel, hotels, room, rooms, stay, night, nights, lodging, accommodation, check in, "
        "check out, amadeus, bed, beds, hostel, motel, inn, resort, guesthouse, overnight, "
        "place to, to stay, sleep, sleeping, staying, decent, a night, per night, five star, "
        "pool, breakfast included, double room, single room, lodge, hilton, marriott"
    ),
    hosts=("*.amadeus.com",),
    auth="key",
    secrets=("AMADEUS_CLIENT_ID", "AMADEUS_CLIENT_SECRET"),
    capability="hotels",
    rank=30,
    per_second=8,
    attribution="Hotel prices from Amadeus",
)

HOST = "api.amadeus.com"
NOTHING = {"424", "895"}


async def _sign_in(ctx: ToolContext, base: str) -> dict[str, str]:
    reply = await ctx.http.request(
        "POST",
        f"{base}/v1/security/oauth2/token",
        idempotent=True,
        form={
            "grant_type": "client_credentials",
            "client_id": ctx.secret("AMADEUS_CLIENT_ID"),
            "client_secret": ctx.secret("AMADEUS_CLIENT_SECRET"),
        },
    )
    token = text(record(reply.json()).get("access_token"))
    if not token:
        raise VendorUnavailable("Amadeus did not let us in. Try again in a moment.")
    return {"Authorization": f"Bearer {token}"}


async def _rows(
    ctx: ToolContext, headers: dict[str, str], path: str, **params: Any
) -> list[dict[str, Any]]:
    base = f"https://{ctx.secrets('AMADEUS_HOST') or HOST}"
    reply = await ctx.http.get(
        f"{base}{path}", params=params, headers=headers, timeout_s=15, expect=(400,)
    )
    body = record(reply.json())
    if {text(problem.get("code")) for problem in records(body.get("errors"))} & NOTHING:
        return []
    if reply.status == 400:
        raise InvalidInput("Amadeus did not accept the search. Check the place and the days.")
    if not isinstance(body.get("data"), list):
        raise VendorUnavailable("Amadeus sent no prices. Try again in a moment.")
    return records(body["data"])


async def _offers(ctx: ToolContext, place: str, **stay: Any) -> list[dict[str, Any]]:
    """Find the place, the hotels around it, and what they offer."""
    headers = await _sign_in(ctx, f"https://{ctx.secrets('AMADEUS_HOST') or HOST}")
    cities = await _rows(
        ctx,
        headers,
        "/v1/reference-data/locations",
        subType="CITY",
        keyword=place.partition(",")[0].strip().upper(),
    )
    spot = record(cities[0].get("geoCode")) if cities else {}
    if number(spot.get("latitude")) is None or number(spot.get("longitude")) is None:
        return []
    hotels = await _rows(
        ctx,
        headers,
        "/v1/reference-data/locations/hotels/by-geocode",
        radius=5,
        radiusUnit="KM",
        latitude=number(spot["latitude"]),
        longitude=number(spot["longitude"]),
    )
    ids = [code for row in hotels if (code := text(row.get("hotelId")))][:20]
    if not ids:
        return []
    return await _rows(ctx, headers, "/v3/shopping/hotel-offers", hotelIds=",".join(ids), **stay)


def _hotel(row: dict[str, Any], nights: int) -> Hotel | None:
    hotel = record(row.get("hotel"))
    offer = next(iter(records(row.get("offers"))), {})
    price = record(offer.get("price"))
    average = record(record(price.get("variations")).get("average"))
    total = number(price.get("total"))
    night = number(average.get("total") or average.get("base"))
    if not text(hotel.get("name")):
        return None
    return Hotel(
        name=shorten(text(hotel.get("name")).title(), 100),
        price_per_night=round(total / nights, 2) if night is None and total else night,
        price_total=total,
        currency=text(price.get("currency")),
        rating=None,
        review_count=None,
        stars=integer(hotel.get("rating")),
        amenities=[],
        latitude=number(hotel.get("latitude")),
        longitude=number(hotel.get("longitude")),
        id=text(hotel.get("hotelId")),
        url="",
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
        location: City, such as "Lisbon".
        check_in_date: Day of arrival, as 2026-12-18.
        check_out_date: Day of departure.
        adults: How many guests, 1 to 9.
        sort_by: Order of the results; Amadeus knows no ratings.
        currency: ISO code of the currency for prices.
    """
    stay = stay_of(ctx, location, check_in=check_in_date, check_out=check_out_date)
    rows = await _offers(
        ctx,
        stay.place,
        checkInDate=stay.arrive.isoformat(),
        checkOutDate=stay.leave.isoformat(),
        adults=adults,
        currency=currency_code(currency),
        bestRateOnly=True,
    )
    hotels = [hotel for row in rows if (hotel := _hotel(row, stay.nights))]
    if sort_by == "price":
        hotels.sort(key=lambda hotel: hotel["price_per_night"] or 0)
    return hotel_result(
        stay,
        hotels,
        provider="Amadeus",
        source=Source("Amadeus", "https://developers.amadeus.com/"),
    )
