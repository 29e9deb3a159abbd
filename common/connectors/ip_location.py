"""Where the user is: the device's own position first, else a guess from the network address.

https://ipinfo.io/developers

The guess needs IPINFO_TOKEN and the address that our own edge saw; an address names a person, so
that it is asked about over https only and never logged or shown. Quirks seen in November 2026:
- A private address is a 200 with `bogon`. The country-only plan has no `geo.city`.
- The city is right in two of three cases; VPNs and mobile networks are far off: "near", never "at".
"""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import quote

from common.errors import InvalidInput, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import number, record, text

CONNECTOR = Connector(
    name="Location",
    category="information",
    description="Tells where the user is, from the device or roughly from the network.",
    examples=(
        "Where am I?",
        "What is my current location?",
        "Which city am I in right now?",
    ),
    keywords=words(
        "location, where am, my location, my position, current location, where i, located, "
        "gps, time zone, timezone, city am, ip, we, i located, what town, town, country am, "
        "am i, are we, what city, which country, here, whereabouts, my city, my town, lost, "
        "neighborhood, country, know where, we at, my whereabouts, i am, city is, state am, "
        "pinpoint, locate me, near what, my area, my coordinates, where are, sitting, my ip, "
        "network, current city, which town, timezone am, roughly where, my place"
    ),
    hosts=("api.ipinfo.io",),
    attribution="IP data by IPinfo where the device shares no position",
    licence="Approximate",
)

API = "https://api.ipinfo.io/lookup"
IPINFO = Source("IP address data by IPinfo", "https://ipinfo.io/")


def _public(address: str) -> str:
    """Return the address if it is a public one, else ""."""
    try:
        found = ipaddress.ip_address(address.strip())
    except ValueError:
        return ""
    mapped = getattr(found, "ipv4_mapped", None)
    found = mapped or found
    return str(found) if found.is_global and not found.is_multicast else ""


async def _guess(ctx: ToolContext, address: str, token: str) -> dict[str, Any]:
    """Return what the network address tells, {} for nothing."""
    body = record(
        await ctx.http.get_json(
            f"{API}/{quote(address, safe='')}",
            headers={"Authorization": f"Bearer {token}"},
            timeout_s=3,
        )
    )
    if not body:
        raise VendorUnavailable("IPinfo's answer cannot be read. Name a city instead.")
    geo = record(body.get("geo")) or body
    if body.get("bogon") is True or not text(geo.get("country_code") or geo.get("country")):
        return {}
    latitude, longitude = number(geo.get("latitude")), number(geo.get("longitude"))
    return {
        "source": "network",
        "approximate": True,
        "latitude": latitude,
        "longitude": longitude,
        "city": text(geo.get("city")),
        "region": text(geo.get("region")),
        "country": text(geo.get("country")),
        "country_code": text(geo.get("country_code")),
        "time_zone": text(geo.get("timezone")) or ctx.timezone,
    }


@tool(progress="Working out where you are…")
async def get_user_location(ctx: ToolContext) -> ToolResult:
    """Tell where the user is: the device's position if shared, else roughly from the network."""
    if ctx.location:
        here = ctx.location
        return ToolResult(
            response_type="user_location",
            data={
                "source": "device",
                "approximate": False,
                "latitude": here.latitude,
                "longitude": here.longitude,
                "time_zone": ctx.timezone,
            },
            summary=f"Your device is at {here.latitude:.4f}, {here.longitude:.4f}, "
            f"in the time zone {ctx.timezone}.",
        )
    address, token = _public(ctx.address), ctx.secrets("IPINFO_TOKEN")
    found = await _guess(ctx, address, token) if address and token else {}
    if not found:
        raise InvalidInput("I cannot see where you are. Share your location or name a city.")
    near = ", ".join(filter(None, (found["city"], found["region"], found["country"])))
    return ToolResult(
        response_type="user_location",
        data=found,
        summary=f"You seem to be near {near}, judging by your network; that may be wrong.",
        sources=(IPINFO,),
    )
