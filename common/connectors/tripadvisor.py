"""Tripadvisor: hotels, restaurants and sights with travellers' ratings and reviews.

https://www.tripadvisor.com/developers · https://terra.tripadvisor.com/api

The Terra API took the Content API's place on 31 August 2026; keys of the old one are refused.
Quirks seen in November 2026:
- Members are left out when empty. Texts are lists by language: the primary one is taken.
- Reviews come from a small recent pool, filtered by language: none is usual.
- Every place returned is billed; an id that is not known is a 404, a malformed one a 400.
Tripadvisor demands its name and rating image beside a rating, a link on name and review count, the
date beside every quoted review, and that nothing but the id is kept: nothing is cached.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

from msgspec import Meta

from common.egress import Quota
from common.errors import InvalidInput, NotFound, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import (
    fitting,
    instant,
    integer,
    number,
    plain,
    record,
    records,
    shorten,
    spoken_date,
    text,
    values,
)

CONNECTOR = Connector(
    name="Tripadvisor",
    category="travel",
    description="Finds hotels, restaurants and sights with travellers' ratings and reviews.",
    examples=(
        "What are the best things to do in Kyoto?",
        "Find hotels in Oslo on Tripadvisor.",
        "What do travellers say about the Harbour Grill?",
    ),
    keywords=words(
        "tripadvisor, attraction, attractions, sights, sightseeing, museum, tour, things to, "
        "hotel, restaurant, travel, vacation, holiday, visit, tourist, traveller, travelers, "
        "review, reviews, rating, see, landmarks, landmark, worth visiting, worth seeing, to "
        "do, to see, places to, beach, temple, castle, gallery, museums, zoo, hiking, "
        "excursion, itinerary, tourists, travellers, guide, must see, activities, kids, "
        "family, day trip, castles, beaches, ideas, day in, weekend in, to visit, according "
        "to, travellers say, recommended, highlights, hidden gems, tourism, historic, old "
        "town, views, viewpoint, national park, boat, tours, wine tasting, famous, places, "
        "spend a, attraction in, best of, do in, we do, i do, days in, sight, trip to, worth "
        "it, worth a, day out, touristy, visitors, tourist trap, sight-seeing, what to, "
        "things we, attractions in, fun things, explore, see in, top sights, sights in, "
        "walking tour, guided tour, cathedral, palace, ruins, monuments, fort, market, "
        "waterfall, theme park, aquarium, botanical, with kids, for kids, rainy day, bucket "
        "list, off the, travelers rate, tourist attractions, layover, afternoon in, stop by"
    ),
    hosts=("terra.tripadvisor.com",),
    auth="key",
    secrets=("TRIPADVISOR_API_KEY",),
    per_second=5,
    quota=Quota(10, seconds=1),
    attribution="Ratings and reviews on Tripadvisor, with its rating image and a link",
    licence="Nothing but the location id may be kept; no model training",
)

API = "https://terra.tripadvisor.com/api"
LENGTHS = {1: "under 1 hour", 2: "1 to 2 hours", 3: "2 to 3 hours", 4: "over 3 hours"}

Limit: TypeAlias = Annotated[int, Meta(ge=1, le=10)]
Kind: TypeAlias = Literal["restaurant", "attraction", "hotel"]


class Place(TypedDict):
    """A place; `rating` is of 5 and shown with `rating_image_url` and a link to `url`."""

    id: str
    name: str
    url: str
    rating: float | None
    review_count: int
    rating_image_url: str
    category: str
    address: str
    price_level: str
    status: str


async def _get(ctx: ToolContext, path: str, **params: Any) -> dict[str, Any]:
    reply = await ctx.http.get(
        f"{API}{path}",
        params={**params, "version": 1},
        expect=(400, 404),
        headers={"X-API-Key": ctx.secret("TRIPADVISOR_API_KEY")},
    )
    if reply.status == 404:
        raise NotFound("Tripadvisor has no place of that id. Search for it first.")
    if reply.status == 400:
        raise InvalidInput("Tripadvisor did not accept the request. Change what was asked for.")
    return record(reply.json())


def _rows(body: dict[str, Any]) -> list[dict[str, Any]]:
    if not isinstance(body.get("data"), list):
        raise VendorUnavailable("Tripadvisor sent no answer. Try again in a moment.")
    return records(body["data"])


def _said(value: object, field: str = "value") -> str:
    """Return the primary text of a list by language, else the first."""
    rows = records(value)
    chosen = next((row for row in rows if row.get("primary") is True), rows[0] if rows else {})
    return plain(chosen.get(field))


def _place(row: dict[str, Any]) -> Place:
    overall = record(record(row.get("traveler_ratings")).get("overall"))
    kinds = records(row.get("categories"))
    urls = record(record(row.get("urls")).get("tripadvisor"))
    count = integer(overall.get("count")) or 0
    return Place(
        id=text(row.get("id")),
        name=shorten(_said(row.get("names")), 120),
        url=text(urls.get("main")),
        rating=number(overall.get("rating")) if count else None,
        review_count=count,
        rating_image_url=text(overall.get("icon_url")),
        category=text(kinds[0].get("display_name")) if kinds else "",
        address=shorten(_said(row.get("addresses"), "formatted"), 160) or text(row.get("geo")),
        price_level=text(row.get("price_level")),
        status=text(record(row.get("status")).get("value")) or "OPEN",
    )


def _say(place: Place) -> str:
    rating = place["rating"]
    rated = (
        "not rated yet"
        if rating is None
        else (f"{rating:g} of 5 from {place['review_count']:,} reviews")
    )
    shut = {"CLOSED": "closed for good", "TEMPORARILY_CLOSED": "closed for now"}
    return ", ".join(filter(None, (place["name"], rated, shut.get(place["status"], ""))))


def _source(place: Place) -> tuple[Source, ...]:
    return (Source(f"{place['name']} on Tripadvisor", place["url"]),) if place["url"] else ()


def _id(location_id: str) -> str:
    found = location_id.strip()
    if not re.fullmatch(r"\d{1,10}", found):
        raise InvalidInput("location_id must be an id from search_tripadvisor.")
    return found


@tool(progress="Searching Tripadvisor…")
async def search_tripadvisor(
    ctx: ToolContext,
    *,
    query: str,
    location: str | None = None,
    category: Kind | None = None,
    limit: Limit = 5,
) -> ToolResult:
    """Find hotels, restaurants or attractions on Tripadvisor by name or kind.

    Args:
        query: Name or kind of place, such as "Harbour Grill" or "art museum".
        location: City or region to search in, such as "Oslo"; null for anywhere.
        category: Kind of place; null for any.
        limit: How many, 1 to 10.
    """
    if not query.strip():
        raise InvalidInput("query must name a place or a kind of place.")
    rows = _rows(
        await _get(
            ctx,
            "/locations/search",
            query=query.strip()[:500],
            geo_name=location,
            search_type="COMBINED" if location else "NAME",
            size=limit,
            category=category.upper() if category else None,
        )
    )
    places = [_place(record(row.get("location"))) for row in rows[:limit]]
    places = [place for place in places if place["id"] and place["name"]]
    where = f" in {location}" if location else ""
    told = "; ".join(_say(place) for place in places[:3])
    return ToolResult(
        response_type="place_list",
        data={"places": fitting(places)},
        summary=shorten(f"On Tripadvisor{where}: {told}.", 480)
        if told
        else f"Tripadvisor found no {query.strip()}{where}.",
        sources=tuple(source for place in places[:5] for source in _source(place)),
        untrusted=True,
    )


@tool(progress="Reading about the place…")
async def get_tripadvisor_location_details(ctx: ToolContext, *, location_id: str) -> ToolResult:
    """Tell about a place on Tripadvisor: rating, rank, opening hours, address, prices, awards.

    Args:
        location_id: The id that search_tripadvisor gives.
    """
    row = await _get(ctx, f"/locations/{_id(location_id)}")
    place = _place(row)
    if not place["name"]:
        raise VendorUnavailable("Tripadvisor sent no answer. Try again in a moment.")
    rank = next((text(item.get("display_text")) for item in records(row.get("rankings"))), "")
    hours = record(row.get("opening_hours"))
    parts = (f"On Tripadvisor: {_say(place)}", rank, place["address"], place["price_level"])
    return ToolResult(
        response_type="place_details",
        data={
            **place,
            "ranking": rank,
            "description": shorten(_said(row.get("descriptions")), 900),
            "opening_hours": [shorten(text(line), 80) for line in values(hours.get("formatted"))][
                :7
            ],
            "time_zone": text(hours.get("timezone")),
            "phone": next((text(p.get("value")) for p in records(row.get("phone_numbers"))), ""),
            "website": text(record(row.get("urls")).get("official")),
            "features": [text(item.get("name")) for item in records(row.get("attributes"))][:15],
            "awards": [
                f"{text(item.get('name'))} {text(item.get('year'))}".strip()
                for item in records(row.get("awards"))[:4]
            ],
            "stars": number(record(row.get("accommodation")).get("star_rating")),
            "usual_visit": LENGTHS.get(integer(row.get("recommended_visit_length")) or 0, ""),
        },
        summary=shorten(". ".join(filter(None, parts)), 480).rstrip(".") + ".",
        sources=_source(place),
        untrusted=True,
    )


@tool(progress="Reading travellers' reviews…")
async def get_tripadvisor_location_reviews(
    ctx: ToolContext, *, location_id: str, limit: Limit = 5
) -> ToolResult:
    """Read recent reviews of a place on Tripadvisor. Quote them with their date.

    Args:
        location_id: The id that search_tripadvisor gives.
        limit: How many, 1 to 10.
    """
    rows = _rows(await _get(ctx, f"/locations/{_id(location_id)}/reviews", size=limit))
    reviews = []
    for row in rows[:limit]:
        published = instant(row.get("publish_ts"))
        reviews.append(
            {
                "rating": number(row.get("rating")),
                "title": shorten(_said(row.get("title")), 120),
                "text": shorten(_said(row.get("text")), 360),
                "author": text(record(row.get("user")).get("username")),
                "published": f"{published:%Y-%m-%d}" if published else "",
                "trip_type": text(row.get("trip_type")).lower(),
                "url": text(row.get("url")),
            }
        )
    summary = "Tripadvisor has no recent reviews of this place in English."
    if reviews:
        first = reviews[0]
        day = instant(first["published"])
        when = f" on {spoken_date(day.date())}" if day else ""
        gave = "wrote" if first["rating"] is None else f"gave {first['rating']:g} of 5"
        summary = (
            f"{len(reviews)} recent reviews on Tripadvisor. {first['author'] or 'A traveller'}"
            f"{when} {gave}: {first['title'] or first['text'] or 'no text'}"
        )
    return ToolResult(
        response_type="place_reviews",
        data={"location_id": location_id, "reviews": reviews},
        summary=shorten(summary, 480),
        sources=tuple(
            Source(
                f"Review by {review['author'] or 'a traveller'} on Tripadvisor", str(review["url"])
            )
            for review in reviews[:5]
            if review["url"]
        ),
        untrusted=True,
    )
