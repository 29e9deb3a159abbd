"""Which place is meant: choosing among what a vendor's place search finds, or asking.

People write "Boston, MA" and mean the one in Massachusetts; "Springfield" alone is nobody's guess.
A connector brings its search; what is chosen, offered or refused is the same for all of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from common.errors import InvalidInput
from common.tools.context import ToolContext
from common.tools.declare import Source, ToolResult

# A place this many times as weighty as the next of its name is the one that is meant.
DOMINANCE = 3

# Place searches know "Massachusetts" where people write "MA".
REGIONS: dict[str, str] = dict(
    re.findall(
        r"(\w+)=([^|]+)",
        (
            "al=alabama|ak=alaska|az=arizona|ar=arkansas|ca=california|co=colorado|ct=connecticut|"
            "de=delaware|dc=district of columbia|fl=florida|ga=georgia|hi=hawaii|id=idaho|"
            "il=illinois|"
            "in=indiana|ia=iowa|ks=kansas|ky=kentucky|la=louisiana|me=maine|md=maryland|"
            "ma=massachusetts|mi=michigan|mn=minnesota|ms=mississippi|mo=missouri|mt=montana|ne=nebraska|"
            "nv=nevada|nh=new hampshire|nj=new jersey|nm=new mexico|ny=new york|nc=north carolina|"
            "nd=north dakota|oh=ohio|ok=oklahoma|or=oregon|pa=pennsylvania|ri=rhode island|"
            "sc=south carolina|sd=south dakota|tn=tennessee|tx=texas|ut=utah|vt=vermont|"
            "va=virginia|"
            "wa=washington|wv=west virginia|wi=wisconsin|wy=wyoming|ab=alberta|bc=british columbia|"
            "mb=manitoba|nb=new brunswick|nl=newfoundland and labrador|ns=nova scotia|on=ontario|"
            "pe=prince edward island|qc=quebec|sk=saskatchewan|uk=united kingdom|usa=united states|"
            "us=united states|uae=united arab emirates|holland=netherlands|nsw=new south wales"
        ),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place as it is shown; `name` is full ("Boston, Massachusetts, United States").

    `names` are its own name and those of all it lies in; `weight` compares places of one name
    (inhabitants, where the vendor knows them); `key` is the vendor's id for it.
    """

    name: str
    latitude: float
    longitude: float
    time_zone: str = ""
    population: int | None = None
    names: tuple[str, ...] = ()
    weight: float = 0.0
    key: str = ""


Search: TypeAlias = Callable[[ToolContext, str], Awaitable[list[Place]]]


def full_name(*parts: str) -> str:
    """Return "City, Region, Country" of what is known and not said twice."""
    return ", ".join(dict.fromkeys(part for part in parts if part))


def device_place(ctx: ToolContext) -> Place:
    """Return where the user's device is; InvalidInput where it does not share that."""
    if ctx.location is None:
        raise InvalidInput("Which place? Name a city, or share the device's location.")
    return Place(
        name="your location",
        latitude=ctx.location.latitude,
        longitude=ctx.location.longitude,
        time_zone=ctx.timezone,
    )


def point(latitude: float, longitude: float) -> Place:
    """Return a place known by its coordinates only."""
    return Place(name=f"{latitude:g}, {longitude:g}", latitude=latitude, longitude=longitude)


async def find_place(
    ctx: ToolContext, location: str, *, search: Search, source: Source
) -> Place | ToolResult:
    """Return the place meant, or the result that asks which one or says there is none."""
    name, *within = [part.strip() for part in location.split(",") if part.strip()] or [""]
    if not name:
        return device_place(ctx)
    found = await search(ctx, name)
    words = name.split()
    if not found and len(words) > 1:  # "Boston MA", "Paris France"
        name, within = " ".join(words[:-1]), [words[-1], *within]
        found = await search(ctx, name)
    named = _named(found, name)
    inside = [place for place in named if all(_lies_in(place, part) for part in within)]
    places = _distinct(inside or named)
    if inside and (len(places) == 1 or places[0].weight > DOMINANCE * places[1].weight):
        return places[0]
    names = "; ".join(place.name for place in places[:3])
    summary = f"I found no place called {location}."
    if places:
        summary = f"I found no {name} in {', '.join(within)}. There is {names}."
    if inside:
        summary = f"Which {name} do you mean: {names}?"
    return ToolResult(
        response_type="place_choices",
        data={"asked": location, "places": [_shown(place) for place in places[:6]]},
        summary=summary,
        sources=(source,),
    )


def _shown(place: Place) -> dict[str, object]:
    return {
        "name": place.name,
        "latitude": place.latitude,
        "longitude": place.longitude,
        "time_zone": place.time_zone,
        "population": place.population,
    }


def _fold(value: str) -> str:
    decomposed = unicodedata.normalize("NFKD", value.casefold())
    bare = "".join(c for c in decomposed if not unicodedata.combining(c))
    return bare.replace(".", "").removeprefix("the ")


def _named(places: list[Place], name: str) -> list[Place]:
    """Leave out places that only begin with `name`; another name ("NYC") has other letters."""
    wanted = _fold(name)
    found = [(place, _fold(place.names[0] if place.names else place.name)) for place in places]
    return [place for place, n in found if n == wanted or not n.startswith(wanted)] or places


def _lies_in(place: Place, region: str) -> bool:
    wanted = _fold(region)
    names = {_fold(name) for name in place.names} - {""}
    return bool(names & {wanted, REGIONS.get(wanted, wanted)})


def _distinct(places: list[Place]) -> list[Place]:
    """Return places, the weightiest first, one for each full name."""
    found: dict[str, Place] = {}
    for place in sorted(places, key=lambda place: -place.weight):
        found.setdefault(place.name, place)
    return list(found.values())
