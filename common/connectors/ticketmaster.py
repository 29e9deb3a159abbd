"""Ticketmaster: concerts, games and shows, their venues and artists; buying is on its pages.

https://developer.ticketmaster.com/products-and-docs/apis/discovery-api/v2/

Quirks seen in November 2026:
- Nothing found is a 200 without `_embedded`; HTML with 200 happens.
- Times are the venue's own and may be unknown: never converted, never invented. Prices, states,
  venues and time zones may be missing; coordinates are text.
- One show may appear several times (packages, resale): one of a name, venue and day is kept.
- The message of a used-up quota repeats our key: it is never passed on.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any, TypeAlias, TypedDict
from urllib.parse import quote
from zoneinfo import ZoneInfo

from msgspec import Meta

from common.egress import Quota
from common.errors import InvalidInput, NotFound, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.places import REGIONS
from common.tools.reading import (
    calendar_date,
    fitting,
    integer,
    number,
    plain,
    record,
    records,
    shorten,
    spoken_date,
    text,
)

CONNECTOR = Connector(
    name="Ticketmaster",
    category="shopping",
    description="Finds concerts, games, theatre and comedy nearby, with dates, venues and tickets.",
    examples=(
        "What concerts are in Portland next weekend?",
        "When does Taylor Swift play near me?",
        "Find basketball games in Chicago in December.",
        "Which events are at Madison Square Garden?",
        "Concerts in Portland next weekend",
    ),
    keywords=words(
        "ticketmaster, ticket, tickets, concert, concerts, event, events, show, shows, band, "
        "artist, singer, tour, gig, festival, game, games, match, theater, musical, comedy, "
        "comedian, venue, arena, stadium, live music, gigs, live, playing at, perform, "
        "performing, performs, opera, ballet, orchestra, broadway, nba, nfl, nhl, mlb, "
        "soccer, football, basketball, baseball, hockey, rodeo, stand-up, standup, tours, "
        "touring, tour dates, seats, dates, headliner, sold out, theatre, play, plays, "
        "wrestling, circus, attractions, going on, coming to, coming, dj, rapper, symphony, "
        "on tour, front row, show times, marathon, race, fight, boxing, ufc, monster truck, "
        "see live, magician, musicals, stage, premier league, playoffs, final, championship, "
        "entertainment, seats for, tickets for, tickets to, box office, on at, lineup, "
        "setlist, gig in, shows in, shows at, live shows, in concert, in town, coming here, "
        "who is, playing live, tonight in, next concert, next game, home game, tickets left, "
        "presale, on sale, arena in, theatre tickets, monster jam, wwe, nascar, f1, ice show, "
        "when is, headlining, residency, box seats, nosebleeds, club, clubs, drag, burlesque, "
        "improv, open mic, expo, fair, parade, fireworks"
    ),
    hosts=("app.ticketmaster.com",),
    auth="key",
    secrets=("TICKETMASTER_API_KEY",),
    per_second=2,
    quota=Quota(5, seconds=1),
    attribution="Ticketmaster, with a link to each event",
    licence="Search only; branding guide applies",
)

API = "https://app.ticketmaster.com/discovery/v2"
COUNTRIES = {
    "united states": "US",
    "canada": "CA",
    "united kingdom": "GB",
    "england": "GB",
    "scotland": "GB",
    "ireland": "IE",
    "germany": "DE",
    "france": "FR",
    "spain": "ES",
    "italy": "IT",
    "netherlands": "NL",
    "belgium": "BE",
    "austria": "AT",
    "switzerland": "CH",
    "sweden": "SE",
    "norway": "NO",
    "denmark": "DK",
    "finland": "FI",
    "poland": "PL",
    "mexico": "MX",
    "australia": "AU",
    "new zealand": "NZ",
    "turkey": "TR",
    "czech republic": "CZ",
}
STATES = {code for code, name in REGIONS.items() if len(code) == 2 and name not in COUNTRIES}

Limit: TypeAlias = Annotated[int, Meta(ge=1, le=10)]
Radius: TypeAlias = Annotated[int, Meta(ge=1, le=300)]


class Event(TypedDict):
    """An event; date and time are the venue's own, the time "" where it is not set yet."""

    id: str
    name: str
    date: str
    time: str
    time_zone: str
    status: str
    kind: str
    venue: str
    venue_id: str
    city: str
    attraction_ids: list[str]
    price_min: float | None
    price_max: float | None
    currency: str
    url: str


async def _get(ctx: ToolContext, path: str, **params: Any) -> dict[str, Any]:
    params["apikey"] = ctx.secret("TICKETMASTER_API_KEY")
    reply = await ctx.http.get(f"{API}{path}", params=params, expect=(400, 404))
    body = record(reply.json())
    if reply.status == 404:
        raise NotFound("Ticketmaster knows nothing by that id. Search for it first.")
    if reply.status == 400:
        raise InvalidInput("Ticketmaster did not accept this search. Change its place or dates.")
    return body


async def _list(ctx: ToolContext, kind: str, limit: int, **params: Any) -> list[dict[str, Any]]:
    body = await _get(ctx, f"/{kind}.json", size=limit, locale="*", **params)
    if "page" not in body and "_embedded" not in body:
        raise VendorUnavailable("Ticketmaster sent no list. Try again later.")
    return records(record(body.get("_embedded")).get(kind))


async def _one(ctx: ToolContext, kind: str, wanted: str, finder: str) -> dict[str, Any]:
    body = await _get(ctx, f"/{kind}/{quote(_id(wanted, finder), safe='')}.json", locale="*")
    if not text(body.get("id")):
        raise VendorUnavailable("Ticketmaster sent no details. Try again later.")
    return body


def _id(value: str, finder: str) -> str:
    if not re.fullmatch(r"[\w-]{3,60}", value.strip()):
        raise InvalidInput(f"The id must be one that {finder} gives.")
    return value.strip()


def _where(ctx: ToolContext, location: str | None, radius: int) -> dict[str, str | int]:
    """Return the place as Ticketmaster takes it, the device's where none is named."""
    city, _, region = (location or "").partition(",")
    if not city.strip():
        if ctx.location is None:
            raise InvalidInput("Where? Name a city, or share the device's location.")
        place = f"{ctx.location.latitude:.4f},{ctx.location.longitude:.4f}"
        return {"latlong": place, "radius": radius, "unit": "miles"}
    if re.fullmatch(r"\d{5}", city.strip()):
        return {"postalCode": city.strip(), "radius": radius, "unit": "miles"}
    found: dict[str, str | int] = {"city": city.strip()}
    for part in filter(None, (part.strip().lower().replace(".", "") for part in region.split(","))):
        found |= _region(part)
    return found


def _region(part: str) -> dict[str, str]:
    names = {name: code for code, name in REGIONS.items()}
    if part in STATES or names.get(part) in STATES:
        return {"stateCode": (part if part in STATES else names[part]).upper()}
    country = COUNTRIES.get(REGIONS.get(part, part)) or (part.upper() if len(part) == 2 else "")
    if not country:
        raise InvalidInput("location must be like Portland, OR or Dublin, IE.")
    return {"countryCode": country}


def _when(ctx: ToolContext, first: str | None, last: str | None) -> dict[str, str]:
    today = ctx.local_now().date()
    start = calendar_date(first, "start_date") if first else today
    end = calendar_date(last, "end_date") if last else None
    if (end or start) < today - dt.timedelta(1):  # it is still that day somewhere
        raise InvalidInput(f"Those dates are past: today is {today}.")
    if end is None:
        begins = dt.datetime.combine(start, dt.time(), ZoneInfo(ctx.timezone))
        return {"startDateTime": f"{begins.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"}
    if end < start:
        raise InvalidInput("end_date is before start_date. Correct one of them.")
    return {"localStartDateTime": f"{start}T00:00:00,{end}T23:59:59"}


def _event(row: dict[str, Any]) -> Event:
    inside, dates = record(row.get("_embedded")), record(row.get("dates"))
    start, venue = record(dates.get("start")), next(iter(records(inside.get("venues"))), {})
    kinds = next(iter(records(row.get("classifications"))), {})
    prices = next(iter(records(row.get("priceRanges"))), {})
    unset = start.get("timeTBA") is True or start.get("noSpecificTime") is True
    parts = [text(record(kinds.get(part)).get("name")) for part in ("segment", "genre")]
    return Event(
        id=text(row.get("id")),
        name=shorten(plain(row.get("name")) or "An unnamed event", 120),
        date=text(start.get("localDate")),
        time="" if unset else text(start.get("localTime"))[:5],
        time_zone=text(dates.get("timezone")),
        status=text(record(dates.get("status")).get("code")),
        kind=", ".join(part for part in parts if part and part != "Undefined"),
        venue=text(venue.get("name")),
        venue_id=text(venue.get("id")),
        city=_city(venue),
        attraction_ids=[text(a.get("id")) for a in records(inside.get("attractions"))][:4],
        price_min=number(prices.get("min")),
        price_max=number(prices.get("max")),
        currency=text(prices.get("currency")),
        url=text(row.get("url")),
    )


def _city(venue: dict[str, Any]) -> str:
    state, country = record(venue.get("state")), record(venue.get("country"))
    parts = (
        text(record(venue.get("city")).get("name")),
        text(state.get("stateCode")),
        text(country.get("countryCode")),
    )
    return ", ".join(filter(None, parts))


def _say(event: Event) -> str:
    try:
        when = f"on {spoken_date(dt.date.fromisoformat(event['date']))}"
    except ValueError:
        when = "on a date to be announced"
    at = f" at {event['time']}" if event["time"] else ""
    status = event["status"]
    gone = f" ({status})" if status in ("cancelled", "postponed", "rescheduled") else ""
    return (
        f"{event['name']} {when}{at}" + (f" at {event['venue']}" if event["venue"] else "") + gone
    )


def _result(kind: str, data: Any, summary: str, links: list[tuple[str, str]]) -> ToolResult:
    sources = tuple(
        Source(f"{name} on Ticketmaster", url) for name, url in links if url.startswith("https://")
    )
    home = Source("Ticketmaster", "https://www.ticketmaster.com/")
    return ToolResult(
        response_type=kind,
        data=data,
        summary=summary,
        sources=sources[:5] or (home,),
        untrusted=True,
    )


async def _events(ctx: ToolContext, limit: int, nothing: str, **params: Any) -> ToolResult:
    rows = await _list(ctx, "events", min(3 * limit, 30), sort="date,asc", **params)
    unique: dict[tuple[str, str, str], Event] = {}
    for event in map(_event, rows):
        unique.setdefault((event["name"].lower(), event["venue"], event["date"]), event)
    found = fitting(list(unique.values())[:limit])
    told = "; ".join(map(_say, found[:3]))
    return _result(
        "ticketmaster_events",
        {"events": found},
        f"On Ticketmaster: {told}." if found else nothing,
        [(event["name"], event["url"]) for event in found],
    )


@tool(progress="Searching Ticketmaster…", cache_s=1800)
async def get_ticketmaster_events_near_location(
    ctx: ToolContext,
    *,
    location: str | None = None,
    keyword: str | None = None,
    start_date: str | None = None,
    end_date: str | None = None,
    radius_miles: Radius = 50,
    limit: Limit = 6,
) -> ToolResult:
    """Find concerts, games, shows and other events in a city or near the user, soonest first.

    Args:
        location: City with state or country, such as "Portland, OR"; null for where the user is.
        keyword: Artist, team, kind ("jazz", "basketball") or name; null for everything.
        start_date: First day, as 2026-11-28; null for today.
        end_date: Last day, as 2026-11-29; null for any.
        radius_miles: How far away at most, 1 to 300, where a position or postal code is used.
        limit: How many, 1 to 10.
    """
    where = location or "nearby"
    nothing = f"Ticketmaster has no {keyword or 'events'} in {location} then."
    return await _events(
        ctx,
        limit,
        nothing if location else nothing.replace(f"in {location}", where),
        keyword=keyword or None,
        **_where(ctx, location, radius_miles),
        **_when(ctx, start_date, end_date),
    )


@tool(progress="Reading event details…", cache_s=1800)
async def get_ticketmaster_event_details(ctx: ToolContext, *, event_id: str) -> ToolResult:
    """Read one event: date, venue, status, prices where published, when tickets go on sale.

    Args:
        event_id: The id that a search of events gives.
    """
    row = await _one(ctx, "events", event_id, "get_ticketmaster_events_near_location")
    event = _event(row)
    sale = text(record(record(row.get("sales")).get("public")).get("startDateTime"))
    info = shorten(plain(row.get("info")) or plain(row.get("pleaseNote")), 600)
    price = ""
    if event["price_min"] is not None:
        price = (
            f" Tickets from {event['price_min']:,.2f} {event['currency']}".rstrip()
            + " without fees."
        )
    return _result(
        "ticketmaster_event",
        {
            **event,
            "on_sale_from": "" if sale.startswith("1900") else sale,
            "info": info,
            "seat_map": text(record(row.get("seatmap")).get("staticUrl")),
        },
        ", ".join(filter(None, (_say(event), event["city"]))) + f".{price}",
        [(event["name"], event["url"])],
    )


@tool(progress="Finding venues…", cache_s=86400)
async def find_ticketmaster_venues_near_location(
    ctx: ToolContext,
    *,
    location: str | None = None,
    keyword: str | None = None,
    radius_miles: Radius = 25,
    limit: Limit = 6,
) -> ToolResult:
    """Find arenas, theatres and clubs by name or near a position, with ids for their events.

    Args:
        location: City with state or country; null for where the user is.
        keyword: Name of the venue; null for any.
        radius_miles: How far away at most, 1 to 300.
        limit: How many, 1 to 10.
    """
    place = _where(ctx, location, radius_miles)
    city = text(place.pop("city", ""))  # venues cannot be searched by city: its name is a keyword
    words = " ".join(filter(None, ((keyword or "").strip(), city)))
    rows = await _list(ctx, "venues", limit, keyword=words or None, **place)
    found = fitting([venue for row in rows if (venue := _venue(row))["name"]][:limit])
    told = "; ".join(", ".join(filter(None, (v["name"], v["city"]))) for v in found[:4])
    return _result(
        "ticketmaster_venues",
        {"venues": found},
        f"Venues: {told}." if found else "Ticketmaster knows no such venue there.",
        [(text(venue["name"]), text(venue["url"])) for venue in found],
    )


def _venue(row: dict[str, Any]) -> dict[str, Any]:
    place = record(row.get("location"))
    return {
        "id": text(row.get("id")),
        "name": text(row.get("name")),
        "city": _city(row),
        "address": text(record(row.get("address")).get("line1")),
        "postal_code": text(row.get("postalCode")),
        "time_zone": text(row.get("timezone")),
        "latitude": number(place.get("latitude")),
        "longitude": number(place.get("longitude")),
        "upcoming_events": integer(record(row.get("upcomingEvents")).get("_total")),
        "url": text(row.get("url")),
    }


@tool(progress="Reading venue details…", cache_s=86400)
async def get_ticketmaster_venue_details(ctx: ToolContext, *, venue_id: str) -> ToolResult:
    """Read one venue: address, box office, parking and accessible seats.

    Args:
        venue_id: The id that a search of venues or events gives.
    """
    row = await _one(ctx, "venues", venue_id, "find_ticketmaster_venues_near_location")
    venue, office = _venue(row), record(row.get("boxOfficeInfo"))
    notes = {
        "box_office_phone": office.get("phoneNumberDetail"),
        "box_office_hours": office.get("openHoursDetail"),
        "parking": row.get("parkingDetail"),
        "accessible_seating": row.get("accessibleSeatingDetail"),
        "general": record(row.get("generalInfo")).get("generalRule"),
    }
    where = ", ".join(filter(None, (venue["address"], venue["city"])))
    return _result(
        "ticketmaster_venue",
        {**venue, **{name: shorten(plain(value), 500) for name, value in notes.items()}},
        f"{venue['name'] or 'The venue'} is at {where}."
        if where
        else f"{venue['name'] or 'The venue'} gives no address.",
        [(venue["name"], venue["url"])],
    )


@tool(progress="Looking up the artist…", cache_s=86400)
async def get_ticketmaster_attractions_by_query(
    ctx: ToolContext, *, query: str, limit: Limit = 5
) -> ToolResult:
    """Find artists, teams and shows by name, with ids for their events.

    Args:
        query: Name of the artist, team or show.
        limit: How many, 1 to 10.
    """
    if not query.strip():
        raise InvalidInput("query must name an artist, team or show.")
    rows = await _list(ctx, "attractions", limit, keyword=query.strip())
    found = [
        {
            "id": text(row.get("id")),
            "name": text(row.get("name")),
            "url": text(row.get("url")),
            "kind": _event(row)["kind"],
            "upcoming_events": integer(record(row.get("upcomingEvents")).get("_total")),
        }
        for row in rows[:limit]
        if text(row.get("name"))
    ]
    told = "; ".join(
        f"{a['name']}" + (f" with {count} events" if (count := a["upcoming_events"]) else "")
        for a in found[:4]
    )
    return _result(
        "ticketmaster_attractions",
        {"attractions": found},
        f"On Ticketmaster: {told}." if found else f"Ticketmaster knows no {query.strip()}.",
        [(text(a["name"]), text(a["url"])) for a in found],
    )


@tool(progress="Finding the artist's events…", cache_s=1800)
async def get_ticketmaster_events_by_attraction_id(
    ctx: ToolContext, *, attraction_id: str, country_code: str | None = None, limit: Limit = 8
) -> ToolResult:
    """List the coming events of an artist, team or show, soonest first.

    Args:
        attraction_id: The id that get_ticketmaster_attractions_by_query gives.
        country_code: Two-letter country, such as US; null for everywhere.
        limit: How many, 1 to 10.
    """
    wanted = _id(attraction_id, "get_ticketmaster_attractions_by_query")
    country = country_code.strip().upper() if country_code else None
    return await _events(
        ctx,
        limit,
        "Ticketmaster has no coming events of theirs.",
        attractionId=wanted,
        countryCode=country,
        **_when(ctx, None, None),
    )


@tool(progress="Finding the venue's events…", cache_s=1800)
async def get_ticketmaster_events_by_venue_id(
    ctx: ToolContext, *, venue_id: str, keyword: str | None = None, limit: Limit = 8
) -> ToolResult:
    """List what is on at a venue, soonest first.

    Args:
        venue_id: The id that find_ticketmaster_venues_near_location gives.
        keyword: What is looked for there; null for everything.
        limit: How many, 1 to 10.
    """
    wanted = _id(venue_id, "find_ticketmaster_venues_near_location")
    return await _events(
        ctx,
        limit,
        "Ticketmaster has no coming events there.",
        venueId=wanted,
        keyword=keyword or None,
        **_when(ctx, None, None),
    )
