"""Yelp: find local businesses and read excerpts of their reviews.

https://docs.developer.yelp.com/docs/places-intro

The Places API is paid after a trial. Quirks seen in November 2026:
- `is_closed` means closed for good. `price`, `distance` and much else may be missing or null.
- The cheapest plan has no reviews (403 or 404); the others have three excerpts, cut by Yelp.
- A place that Yelp cannot locate is a 400. There is no Retry-After.
Yelp demands its name, the review count and a link beside every result, reviews unaltered, and that
nothing is kept for more than 24 hours.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, TypedDict
from urllib.parse import quote

from msgspec import Meta

from common.errors import InvalidInput, NotFound, VendorRejected, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import integer, number, record, records, shorten, text, values

CONNECTOR = Connector(
    name="Yelp",
    category="information",
    description="Finds restaurants, shops and services nearby, with ratings and reviews.",
    examples=(
        "Find a good ramen place in Portland, Oregon.",
        "Which coffee shops near me are open now?",
        "I need a plumber in Austin with good reviews.",
        "Find ramen in Portland.",
    ),
    keywords=words(
        "yelp, restaurant, restaurants, eat, dinner, lunch, breakfast, brunch, cafe, coffee, "
        "bar, food, pizza, sushi, ramen, bakery, nearby, near, plumber, dentist, salon, "
        "mechanic, shop, business, businesses, review, reviews, rating, rated, place to, good "
        "place, takeout, takeaway, delivery, bakeries, cafes, bars, pub, pubs, brewery, "
        "tacos, burger, burgers, tapas, steak, seafood, barbecue, vegan, vegetarian, thai, "
        "indian, chinese, italian, mexican, korean, electrician, florist, hairdresser, "
        "barber, haircut, nail, spa, massage, gym, vet, locksmith, handyman, cleaner, "
        "laundry, tailor, garage, contractor, lawyer, open now, near me, around here, close "
        "by, stars, hungry, grab, bite, drinks, fix, repair, sink, roof, roofer, leak, clean, "
        "cleaners, painter, mover, movers, carpenter, babysitter, dog, groomer, tattoo, "
        "photographer, wedding, car wash, gas station, pharmacy, supermarket, bookstore, "
        "hardware store, ice cream, dessert, noodles, curry, diner, wine, beer, cocktails, "
        "rooftop, who can, recommend, local, somewhere nice, date night, bistro, buffet, dim "
        "sum, pho, bbq, wings, sandwich, sandwiches, deli, bagel, bagels, donut, donuts, "
        "happy hour, patio, daycare, day care, kennel, pet, physio, chiropractor, optician, "
        "urgent care, clinic, doctor, tyre, tire, oil change, waxing, brows, manicure, "
        "pedicure, hair, stylist, dry cleaner, dry cleaners, preschool, accountant, notary, "
        "plumbers, electricians, dentists, mechanics, salons, restaurant for, take my, dinner "
        "in, lunch in, family-friendly, dog-friendly, gluten free, halal, kosher, poke, "
        "falafel, kebab, dumplings, gelato, juice, tea, matcha, hot pot, fried chicken, "
        "oysters, croissant, open late, late night, eating, place for, where should, decent, "
        "best rated, well reviewed, any good, close to, appliance repair, pest control, "
        "landscaper, gardener, tutor, yoga, pilates"
    ),
    hosts=("api.yelp.com",),
    auth="key",
    secrets=("YELP_API_KEY",),
    capability="local_businesses",
    rank=10,
    per_second=4,
    attribution="Ratings and reviews on Yelp, with a link to each business",
    licence="Keep at most 24 hours; do not mix ratings with others'; no model training",
)

API = "https://api.yelp.com/v3"
NO_REVIEWS = "Yelp gives no reviews of this business on the present plan."

Limit: TypeAlias = Annotated[int, Meta(ge=1, le=10)]
Price: TypeAlias = Annotated[int, Meta(ge=1, le=4)]
Radius: TypeAlias = Annotated[int, Meta(ge=100, le=40_000)]
Sort: TypeAlias = Literal["best_match", "rating", "review_count", "distance"]


class Business(TypedDict):
    """A business on Yelp; `id` reads its reviews, `url` must be shown with the rating."""

    id: str
    name: str
    url: str
    rating_on_yelp: float | None
    review_count: int
    price: str
    categories: list[str]
    address: str
    phone: str
    distance_m: int | None
    closed_for_good: bool


async def _get(ctx: ToolContext, path: str, **params: Any) -> tuple[int, Any]:
    """Return status and JSON; 400 and 404 come back for the tool to explain."""
    headers = {"Authorization": f"Bearer {ctx.secret('YELP_API_KEY')}"}
    reply = await ctx.http.get(f"{API}{path}", params=params, headers=headers, expect=(400, 404))
    return reply.status, record(reply.json())


def _code(body: Any) -> str:
    return text(record(body.get("error")).get("code"))


def _business(row: dict[str, Any]) -> Business:
    place, rating = record(row.get("location")), number(row.get("rating"))
    reviews = integer(row.get("review_count")) or 0
    return Business(
        id=text(row.get("id")),
        name=text(row.get("name")),
        url=text(row.get("url")),
        rating_on_yelp=rating if reviews else None,
        review_count=reviews,
        price=text(row.get("price")),
        categories=[text(item.get("title")) for item in records(row.get("categories"))][:4],
        address=", ".join(filter(None, map(text, values(place.get("display_address"))))),
        phone=text(row.get("display_phone")),
        distance_m=integer(row.get("distance")),
        closed_for_good=row.get("is_closed") is True,
    )


def _say(business: Business) -> str:
    street = business["address"].partition(",")[0]
    rating = business["rating_on_yelp"]
    rated = (
        "not rated yet"
        if rating is None
        else (f"{rating:g} stars from {business['review_count']} reviews")
    )
    closed = "closed for good" if business["closed_for_good"] else ""
    return ", ".join(filter(None, (business["name"], street, rated, closed)))


@tool(progress="Searching Yelp…", cache_s=3600)
async def search_businesses_at_yelp(
    ctx: ToolContext,
    *,
    term: str,
    location: str | None = None,
    open_now: bool = False,
    price: Price | None = None,
    radius_m: Radius | None = None,
    sort_by: Sort = "best_match",
    limit: Limit = 5,
) -> ToolResult:
    """Find businesses on Yelp: restaurants, shops, services, or one by its name.

    Args:
        term: What is looked for, such as "ramen", "plumber" or a business's name.
        location: Address, district, city or postal code; null for where the user is.
        open_now: True to leave out what is closed at this moment.
        price: Highest price level, 1 (cheap) to 4; null for any.
        radius_m: How far away at most, in metres, 100 to 40000; null to let Yelp decide.
        sort_by: Order of the results.
        limit: How many, 1 to 10.
    """
    levels = ",".join(str(level) for level in range(1, price + 1)) if price else None
    status, body = await _get(
        ctx,
        "/businesses/search",
        term=term,
        limit=limit,
        sort_by=sort_by,
        radius=radius_m,
        price=levels,
        open_now=open_now or None,
        **_near(ctx, location),
    )
    if status >= 400:
        raise InvalidInput(
            "Yelp does not know that location. Give a city with state or country."
            if "LOCATION" in _code(body)
            else "Yelp did not accept this search. Change its terms."
        )
    if "businesses" not in body:
        raise VendorUnavailable("Yelp sent no result. Try again later.")
    found = [_business(row) for row in records(body["businesses"])][:limit]
    where = f" in {location}" if location else " nearby"
    told = "; ".join(_say(business) for business in found[:3])
    return ToolResult(
        response_type="business_list",
        data={"businesses": found, "total": integer(body.get("total")) or len(found)},
        summary=f"On Yelp{where}: {told}." if found else f"Yelp found no {term}{where}.",
        sources=tuple(Source(f"{b['name']} on Yelp", b["url"]) for b in found[:5] if b["url"]),
        untrusted=True,
    )


def _gave(rating: object) -> str:
    return f"gave {rating:g} stars" if isinstance(rating, float) else "wrote"


def _near(ctx: ToolContext, location: str | None) -> dict[str, str | float]:
    if location and location.strip():
        return {"location": location.strip()}
    if ctx.location:
        return {"latitude": ctx.location.latitude, "longitude": ctx.location.longitude}
    raise InvalidInput("Where? Name a city or an address, or share the device's location.")


@tool(progress="Reading Yelp reviews…", cache_s=3600)
async def get_business_reviews_at_yelp(ctx: ToolContext, *, business_id: str) -> ToolResult:
    """Read up to three review excerpts of a business on Yelp. Quote them unaltered.

    Args:
        business_id: The id that search_businesses_at_yelp gives.
    """
    if not business_id.strip():
        raise InvalidInput("business_id must be an id from search_businesses_at_yelp.")
    path = f"/businesses/{quote(business_id.strip(), safe='')}/reviews"
    try:
        status, body = await _get(ctx, path, limit=3)
    except VendorRejected as err:
        if err.vendor_status != 403:
            raise
        status, body = 403, {}
    if _code(body) == "BUSINESS_NOT_FOUND":
        raise NotFound("Yelp has no business of that id. Search for it first.")
    if status < 400 and "reviews" not in body:
        raise VendorUnavailable("Yelp sent no reviews. Try again later.")
    reviews = [
        {
            "rating": number(row.get("rating")),
            "text": shorten(text(row.get("text")), 400),
            "author": text(record(row.get("user")).get("name")),
            "written": text(row.get("time_created"))[:10],
            "url": text(row.get("url")),
        }
        for row in records(body.get("reviews"))[:3]
    ]
    total = integer(body.get("total")) or len(reviews)
    summary = NO_REVIEWS if status >= 400 else "This business has no reviews on Yelp yet."
    if reviews:
        first = reviews[0]
        summary = (
            f"Yelp has {total} reviews. {first['author'] or 'One guest'} {_gave(first['rating'])}: "
            f"{first['text'] or 'no text'}"
        )
    return ToolResult(
        response_type="business_reviews",
        data={"business_id": business_id, "reviews": reviews, "total": total},
        summary=summary,
        sources=tuple(
            Source(f"Review by {review['author']} on Yelp", str(review["url"]))
            for review in reviews
            if review["url"]
        ),
        untrusted=True,
    )
