"""Where a place named in words lies: Open-Meteo's place search (GeoNames), which needs no key.

https://open-meteo.com/en/docs/geocoding-api

Vendors that take coordinates alone would ignore the city a user names. A connector that asks here
lists HOSTS among its own. Nothing found is a 200 without `results` (November 2026); keyless use is
non-commercial, OPEN_METEO_API_KEY opens the paid hosts.
"""

from __future__ import annotations

from typing import Any

from common.tools.context import ToolContext
from common.tools.declare import Source
from common.tools.places import Place, full_name
from common.tools.reading import integer, number, record, records, text

HOSTS = ("geocoding-api.open-meteo.com", "customer-geocoding-api.open-meteo.com")
SOURCE = Source("Place names by GeoNames through Open-Meteo.com", "https://open-meteo.com/")


async def ask_open_meteo(
    ctx: ToolContext, host: str, path: str, **params: str | int | float
) -> dict[str, Any]:
    """Return what the host ("api", "geocoding-api") answers, from the paid one with a key."""
    if key := ctx.secrets("OPEN_METEO_API_KEY"):
        host, params = f"customer-{host}", {**params, "apikey": key}
    return record(await ctx.http.get_json(f"https://{host}.open-meteo.com{path}", params=params))


async def search_places(ctx: ToolContext, name: str) -> list[Place]:
    """Return the places whose name begins with `name`."""
    body = await ask_open_meteo(
        ctx, "geocoding-api", "/v1/search", name=name, count=50, language="en"
    )
    return [place for row in records(body.get("results")) if (place := _place(row))]


def _place(row: dict[str, Any]) -> Place | None:
    latitude, longitude = number(row.get("latitude")), number(row.get("longitude"))
    if latitude is None or longitude is None or not text(row.get("name")):
        return None
    fields = ("name", "country", "country_code", "admin1", "admin2", "admin3")
    return Place(
        name=full_name(*(text(row.get(field)) for field in ("name", "admin1", "country"))),
        latitude=latitude,
        longitude=longitude,
        time_zone=text(row.get("timezone")),
        population=integer(row.get("population")),
        weight=number(row.get("population")) or 0.0,
        names=tuple(text(row.get(field)) for field in fields),
    )
