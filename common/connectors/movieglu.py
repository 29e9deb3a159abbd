"""MovieGlu: films in cinemas, where and when.

https://developer.movieglu.com/

Quirks seen in November 2026:
- Nothing found is a 204 without a body, whatever the reason: no showings, a stale clock, a place
  outside the territory.
- Every call carries the user's local time and, for what is near, "lat;lng" with a semicolon.
- `showings` is an object by format; `images` may be an empty list; ratings end in a blank.
- Distances are miles. A cinema's day ends at three: 00:15 belongs to the evening before.
- It knows no city: a name is looked up with Open-Meteo's place search first.
- Evaluation keys have few calls in all; territory XX is the sandbox, with a place of its own.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, TypeAlias

from msgspec import Meta

from common.errors import InvalidInput, VendorRejected, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.gazetteer import HOSTS, search_places
from common.tools.gazetteer import SOURCE as PLACES
from common.tools.places import Place, find_place, point
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
    name="MovieGlu",
    category="shopping",
    description="Films now showing, cinemas nearby and showtimes.",
    examples=(
        "What movies are playing near me?",
        "When is Dune showing tonight?",
        "Which cinemas are nearby?",
        "Showtimes at the Regal on Saturday.",
    ),
    keywords=words(
        "movie, movies, film, films, cinema, cinemas, theater, theaters, showtime, showtimes, "
        "showing, playing, screening, imax, matinee, multiplex, movieglu, watch, tonight, "
        "see, at the, box office, actor, premiere, 3d, screen, screens, screenings, sequel, "
        "movie times, now showing, on at, film times, pixar, marvel, theatre, theatres, "
        "blockbuster, start, starts, film on, odeon, regal, amc, cinemark, alamo, subtitled, "
        "animated, horror, comedy film, trailer, run time, late show, big screen, films "
        "start, picture, pictures, flick, flicks, pictures tonight, film showing, films out, "
        "movies out, out in, in theaters, in cinemas, catch a, showings, the movies, the "
        "cinema, double feature, vue, cineworld, amc this, new film, new movie, dolby, movie "
        "tickets, film is, kids movie, rom-com"
    ),
    hosts=("api-gate2.movieglu.com", *HOSTS),
    auth="key",
    secrets=("MOVIEGLU_API_KEY", "MOVIEGLU_CLIENT", "MOVIEGLU_AUTHORIZATION"),
    per_second=2,
    attribution="Showtimes by MovieGlu",
    licence="By contract; showtimes are not kept",
)

API = "https://api-gate2.movieglu.com"
SOURCE = Source("Showtimes by MovieGlu", "https://www.movieglu.com/")
SANDBOX = ("XX", "-22.0;14.0")

Latitude: TypeAlias = Annotated[float, Meta(ge=-90, le=90)]
Longitude: TypeAlias = Annotated[float, Meta(ge=-180, le=180)]
Limit: TypeAlias = Annotated[int, Meta(ge=1, le=10)]
Id: TypeAlias = Annotated[int, Meta(ge=1)]


async def _get(
    ctx: ToolContext, method: str, *, place: str = "", **params: str | int | None
) -> dict[str, Any]:
    """Return the answer, {} where there is nothing."""
    headers = {
        "x-api-key": ctx.secret("MOVIEGLU_API_KEY"),
        "client": ctx.secret("MOVIEGLU_CLIENT"),
        "authorization": ctx.secret("MOVIEGLU_AUTHORIZATION"),
        "territory": _territory(ctx),
        "api-version": "v200",
        "device-datetime": ctx.local_now().strftime("%Y-%m-%dT%H:%M:%S.000"),
    }
    if place:
        headers["geolocation"] = place
    reply = await ctx.http.get(f"{API}/{method}/", params=params, headers=headers)
    if not reply.body:
        return {}
    body = record(reply.json())
    state = record(body.get("status")).get("state")
    if state == "Error":
        raise VendorRejected("MovieGlu did not accept the request. Change what was asked for.")
    if state != "OK":
        raise VendorUnavailable("MovieGlu's answer cannot be read. Try again later.")
    return body


def _territory(ctx: ToolContext) -> str:
    return ctx.secrets("MOVIEGLU_TERRITORY") or "US"


async def _place(
    ctx: ToolContext, location: str, latitude: float | None, longitude: float | None
) -> Place | ToolResult:
    """Return the place meant, or the result that asks which one."""
    if _territory(ctx) == SANDBOX[0]:
        return point(-22.0, 14.0)
    if latitude is not None and longitude is not None and not location:
        return point(latitude, longitude)
    return await find_place(ctx, location, search=search_places, source=PLACES)


def _position(ctx: ToolContext, place: Place) -> str:
    if _territory(ctx) == SANDBOX[0]:
        return SANDBOX[1]
    return f"{place.latitude:.6f};{place.longitude:.6f}"


def _day(ctx: ToolContext, date: str | None) -> dt.date:
    today = ctx.local_now().date()
    day = calendar_date(date, "date") if date else today
    if day < today:
        raise InvalidInput(f"That day is past: today is {today}.")
    return day


def _film(row: dict[str, Any]) -> dict[str, Any]:
    ratings = records(row.get("age_rating"))
    released = records(row.get("release_dates"))
    imdb = text(row.get("imdb_title_id"))
    return {
        "film_id": integer(row.get("film_id")),
        "name": plain(row.get("film_name")),
        "age_rating": text(ratings[0].get("rating")) if ratings else "",
        "released": text(released[0].get("release_date")) if released else "",
        "synopsis": shorten(plain(row.get("synopsis_long")), 300),
        "imdb": f"https://www.imdb.com/title/{imdb}/" if imdb else "",
    }


def _cinema(row: dict[str, Any]) -> dict[str, Any]:
    parts = (row.get(field) for field in ("address", "address2", "city", "state", "postcode"))
    miles = number(row.get("distance"))
    return {
        "cinema_id": integer(row.get("cinema_id")),
        "name": plain(row.get("cinema_name")),
        "address": ", ".join(filter(None, map(text, parts))),
        "distance_miles": None if miles is None else round(miles, 1),
    }


def _times(row: dict[str, Any]) -> dict[str, list[str]]:
    """Return start times by format ("IMAX"), as the cinema prints them."""
    return {
        name: starts[:12]
        for name, show in record(row.get("showings")).items()
        if (
            starts := [
                at for t in records(record(show).get("times")) if (at := text(t.get("start_time")))
            ]
        )
    }


def _say_times(times: dict[str, list[str]]) -> str:
    return (
        "; ".join(
            " ".join(
                filter(None, (", ".join(found[:6]), "" if kind == "Standard" else f"({kind})"))
            )
            for kind, found in times.items()
        )
        or "at unknown times"
    )


def _result(kind: str, data: Any, summary: str) -> ToolResult:
    return ToolResult(
        response_type=kind,
        data=data,
        summary=shorten(summary, 480),
        sources=(SOURCE,),
        untrusted=True,
    )


def _films(rows: list[dict[str, Any]], nothing: str) -> ToolResult:
    films = [film for row in rows if (film := _film(row))["name"]]
    told = "; ".join(", ".join(filter(None, (f["name"], f["age_rating"]))) for f in films[:6])
    return _result("films", {"films": fitting(films)}, f"Films: {told}." if films else nothing)


def _cinemas(rows: list[dict[str, Any]], nothing: str) -> ToolResult:
    cinemas = [cinema for row in rows if (cinema := _cinema(row))["name"]]
    told = "; ".join(
        c["name"] + ("" if c["distance_miles"] is None else f", {c['distance_miles']:g} miles")
        for c in cinemas[:5]
    )
    return _result("theaters", {"theaters": cinemas}, f"Cinemas: {told}." if cinemas else nothing)


@tool(progress="Checking what's on…")
async def get_films_showing_near_location(ctx: ToolContext, *, limit: Limit = 8) -> ToolResult:
    """List the films now showing in cinemas of the user's country, with ids for showtimes.

    Args:
        limit: How many, 1 to 10.
    """
    body = await _get(ctx, "filmsNowShowing", n=limit)
    return _films(records(body.get("films"))[:limit], "MovieGlu lists no films now.")


@tool(progress="Searching films…")
async def search_films_near_location(
    ctx: ToolContext, *, query: str, limit: Limit = 5
) -> ToolResult:
    """Find a film in cinemas by its title, with its id for showtimes.

    Args:
        query: The title or its beginning.
        limit: How many, 1 to 10.
    """
    if not query.strip():
        raise InvalidInput("query must hold a film's title.")
    body = await _get(ctx, "filmLiveSearch", query=query.strip(), n=limit)
    nothing = f"No film called {query.strip()} is in cinemas."
    return _films(records(body.get("films"))[:limit], nothing)


@tool(progress="Searching cinemas…")
async def search_theaters_near_location(
    ctx: ToolContext, *, query: str, location: str = "", limit: Limit = 5
) -> ToolResult:
    """Find a cinema by its name, with its id for showtimes. Distances are from the place named.

    Args:
        query: The cinema's name, three letters at least.
        location: A city, as "Portland, OR"; "" for where the user is.
        limit: How many, 1 to 10.
    """
    if len(query.strip()) < 3:
        raise InvalidInput("query must hold at least three letters of a cinema's name.")
    position = ""
    if location or ctx.location:
        place = await _place(ctx, location, None, None)
        if isinstance(place, ToolResult):
            return place
        position = _position(ctx, place)
    body = await _get(ctx, "cinemaLiveSearch", place=position, query=query.strip(), n=limit)
    nothing = f"MovieGlu knows no cinema called {query.strip()}."
    return _cinemas(records(body.get("cinemas"))[:limit], nothing)


@tool(progress="Finding cinemas nearby…")
async def get_nearby_theaters_near_location(
    ctx: ToolContext,
    *,
    location: str = "",
    latitude: Latitude | None = None,
    longitude: Longitude | None = None,
    limit: Limit = 5,
) -> ToolResult:
    """List cinemas near a city or position, the nearest first, with ids for showtimes.

    Args:
        location: A city, as "Portland, OR"; "" for the position or where the user is.
        latitude: Degrees north; null for where the user is.
        longitude: Degrees east; null for where the user is.
        limit: How many, 1 to 10.
    """
    place = await _place(ctx, location, latitude, longitude)
    if isinstance(place, ToolResult):
        return place
    body = await _get(ctx, "cinemasNearby", place=_position(ctx, place), n=limit)
    nothing = f"There is no cinema near {place.name}."
    return _cinemas(records(body.get("cinemas"))[:limit], nothing)


@tool(progress="Loading showtimes…")
async def get_theater_showtimes_near_location(
    ctx: ToolContext, *, theater_id: Id, date: str | None = None, film_id: Id | None = None
) -> ToolResult:
    """Tell what a cinema shows on a day, and when. Times are the cinema's own.

    Args:
        theater_id: The id that a search of cinemas gives.
        date: The day, as 2026-11-23; null for today.
        film_id: Only this film; null for all.
    """
    day = _day(ctx, date)
    body = await _get(
        ctx,
        "cinemaShowTimes",
        cinema_id=theater_id,
        date=day.isoformat(),
        film_id=film_id,
        sort="popularity",
    )
    name = plain(record(body.get("cinema")).get("cinema_name")) or "That cinema"
    rows = [row for row in records(body.get("films")) if plain(row.get("film_name"))][:12]
    films = [
        {
            "film_id": integer(row.get("film_id")),
            "name": plain(row.get("film_name")),
            "times": _times(row),
        }
        for row in rows
    ]
    told = "; ".join(f"{plain(r.get('film_name'))} {_say_times(_times(r))}" for r in rows[:4])
    return _result(
        "theater_showtimes",
        {"theater": name, "date": day.isoformat(), "films": fitting(films)},
        f"{name} on {spoken_date(day)}: {told}."
        if films
        else f"No showtimes were found there on {spoken_date(day)}.",
    )


@tool(progress="Finding showings of the film…")
async def get_film_showtimes_near_location(
    ctx: ToolContext,
    *,
    film_id: Id,
    date: str | None = None,
    location: str = "",
    latitude: Latitude | None = None,
    longitude: Longitude | None = None,
    limit: Limit = 5,
) -> ToolResult:
    """Tell where near a city a film is shown on a day, and when. Times are the cinemas' own.

    Args:
        film_id: The id that search_films_near_location gives.
        date: The day, as 2026-11-23; null for today.
        location: A city, as "Portland, OR"; "" for the position or where the user is.
        latitude: Degrees north; null for where the user is.
        longitude: Degrees east; null for where the user is.
        limit: How many cinemas, 1 to 10.
    """
    day, place = _day(ctx, date), await _place(ctx, location, latitude, longitude)
    if isinstance(place, ToolResult):
        return place
    position = _position(ctx, place)
    body = await _get(
        ctx, "filmShowTimes", place=position, film_id=film_id, date=day.isoformat(), n=limit
    )
    name = plain(record(body.get("film")).get("film_name")) or "That film"
    rows = [row for row in records(body.get("cinemas")) if plain(row.get("cinema_name"))][:limit]
    told = "; ".join(f"{plain(r.get('cinema_name'))} {_say_times(_times(r))}" for r in rows[:4])
    return _result(
        "film_showtimes",
        {
            "film": name,
            "date": day.isoformat(),
            "theaters": fitting([{**_cinema(row), "times": _times(row)} for row in rows]),
        },
        f"{name} on {spoken_date(day)}: {told}."
        if rows
        else f"No showing was found near {place.name} on {spoken_date(day)}.",
    )
