"""OpenStreetMap Nominatim: where an address is, and which address a position has.

https://nominatim.org/release-docs/latest/api/Overview/

The public server takes one request a second from the whole application and no typing ahead. Quirks
seen in November 2026:
- Coordinates and bounding boxes are text. Nothing there is `[]` for an address, and a 200 with an
  `error` text for a position.
- A settlement may be called city, town, village, hamlet, municipality or suburb.
- `place_id` changes: OSM's type and id are what lasts.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, TypedDict

from msgspec import Meta

from common.egress import Quota
from common.errors import InvalidInput, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import number, record, records, shorten, text

CONNECTOR = Connector(
    name="OpenStreetMap",
    category="information",
    description="Finds addresses and landmarks on the map, and the address at a position.",
    examples=(
        "Where is 10 Downing Street?",
        "What are the coordinates of the Eiffel Tower?",
        "Which address is at 52.5163, 13.3777?",
    ),
    keywords=words(
        "address, coordinates, latitude, longitude, geocode, map, street, position, landmark, "
        "located, where, openstreetmap, zip code, postcode, place, addresses, house number, "
        "road, avenue, square, town, district, county, postal, zip, postal code, location of, "
        "lat, lon, longitude and, gps, reverse, pin, osm, far, the map, exact, find the, "
        "place is, what place, location, building, monument, museum, park, church, station, "
        "located at, whereabouts, which street, country is, postcode of, directions, "
        "distance, north, south, lat long, long, st, ave, blvd, cross street, latlong, "
        "geolocation of, what street, map location, which county, address is, full address, "
        "exact location, lat lng, plus code, zipcode"
    ),
    hosts=("nominatim.openstreetmap.org",),
    capability="geocoding",
    rank=90,
    per_second=1,
    quota=Quota(1, seconds=1),
    concurrency=1,
    attribution="© OpenStreetMap contributors",
    licence="ODbL 1.0, https://www.openstreetmap.org/copyright",
)

API = "https://nominatim.openstreetmap.org"
SOURCE = Source("© OpenStreetMap contributors", "https://www.openstreetmap.org/copyright")
SETTLEMENTS = ("city", "town", "village", "hamlet", "municipality", "suburb", "county")

Latitude: TypeAlias = Annotated[float, Meta(ge=-90, le=90)]
Longitude: TypeAlias = Annotated[float, Meta(ge=-180, le=180)]
Limit: TypeAlias = Annotated[int, Meta(ge=1, le=8)]


class Spot(TypedDict):
    """A place on the map; `osm_id` is OpenStreetMap's lasting name for it, such as "W5013364"."""

    name: str
    address: str
    kind: str
    latitude: float
    longitude: float
    city: str
    region: str
    postal_code: str
    country: str
    country_code: str
    osm_id: str


async def _get(ctx: ToolContext, path: str, **params: str | int | float | None) -> Any:
    asked = {"format": "jsonv2", "addressdetails": 1, "accept-language": "en", **params}
    return await ctx.http.get_json(f"{API}{path}", params=asked)


def _spot(row: dict[str, Any]) -> Spot | None:
    latitude, longitude = number(row.get("lat")), number(row.get("lon"))
    if latitude is None or longitude is None:
        return None
    parts = record(row.get("address"))
    city = next((text(parts[kind]) for kind in SETTLEMENTS if text(parts.get(kind))), "")
    address = shorten(text(row.get("display_name")) or _joined(parts), 240)
    osm_type = text(row.get("osm_type"))[:1].upper()
    return Spot(
        name=text(row.get("name")) or address.partition(",")[0],
        address=address,
        kind=text(row.get("type")).replace("_", " "),
        latitude=latitude,
        longitude=longitude,
        city=city,
        region=text(parts.get("state")),
        postal_code=text(parts.get("postcode")),
        country=text(parts.get("country")),
        country_code=text(parts.get("country_code")).upper(),
        osm_id=f"{osm_type}{text(row.get('osm_id'))}" if osm_type else "",
    )


def _joined(parts: dict[str, Any]) -> str:
    """Return an address from its parts, each name once; "an unnamed place" where there are none."""
    names = [text(value) for key, value in parts.items() if not key.startswith("ISO")]
    return ", ".join(dict.fromkeys(filter(None, names))) or "an unnamed place"


def _result(kind: str, data: Any, summary: str) -> ToolResult:
    return ToolResult(
        response_type=kind, data=data, summary=summary, sources=(SOURCE,), untrusted=True
    )


@tool(progress="Finding it on the map…", cache_s=7 * 86400)
async def geocode_address(
    ctx: ToolContext, *, address: str, country_code: str | None = None, limit: Limit = 3
) -> ToolResult:
    """Find where an address, landmark or place is: coordinates and full address.

    Args:
        address: Street and city, landmark, or place, as complete as known.
        country_code: Two-letter country to look in, such as GB; null for everywhere.
        limit: How many candidates, 1 to 8.
    """
    words = " ".join(address.split())
    country = (country_code or "").strip().lower()
    if not words or len(words) > 300:
        raise InvalidInput("address must name a street, landmark or place.")
    if country and not (len(country) == 2 and country.isalpha()):
        raise InvalidInput("country_code must be two letters, such as GB.")
    body = await _get(ctx, "/search", q=words, limit=limit, countrycodes=country or None)
    if not isinstance(body, list):
        raise VendorUnavailable("OpenStreetMap's answer cannot be read. Try again later.")
    spots = [spot for row in records(body) if (spot := _spot(row))][:limit]
    summary = f"OpenStreetMap knows no place called {words}."
    if spots:
        first = spots[0]
        summary = f"{first['address']} is at {first['latitude']:.5f}, {first['longitude']:.5f}."
        if len(spots) > 1:
            others = len(spots) - 1
            summary += f" There {'is' if others == 1 else 'are'} {others} other"
            summary += " candidate." if others == 1 else " candidates."
    return _result("places_on_map", {"asked": words, "places": spots}, shorten(summary, 480))


@tool(progress="Working out the address…", cache_s=7 * 86400)
async def get_address_by_latitude_longitude(
    ctx: ToolContext, *, latitude: Latitude | None = None, longitude: Longitude | None = None
) -> ToolResult:
    """Tell the address nearest to a position, or to where the user is.

    Args:
        latitude: Degrees north; null for where the user is.
        longitude: Degrees east; null for where the user is.
    """
    if latitude is None or longitude is None:
        if ctx.location is None:
            raise InvalidInput("Where? Give both coordinates, or share the device's location.")
        latitude, longitude = ctx.location.latitude, ctx.location.longitude
    # Four decimals are ten metres: enough for an address, and kinder to who asks.
    body = await _get(ctx, "/reverse", lat=round(latitude, 4), lon=round(longitude, 4))
    row = record(body)
    if "error" not in row and "lat" not in row:
        raise VendorUnavailable("OpenStreetMap's answer cannot be read. Try again later.")
    spot = _spot(row)
    summary = f"There is no address at {latitude:.4f}, {longitude:.4f}."
    if spot:
        summary = f"The nearest address is {spot['address']}."
    return _result("place_on_map", {"place": spot}, summary)
