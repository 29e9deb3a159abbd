"""Asking SerpApi, which reads Google's pages for several connectors.

https://serpapi.com/search-api

The key can only be a query parameter. Nothing found is a 200 with an `error` text; so is a failed
read, whose `search_metadata.status` is "Error" (November 2026).
"""

from __future__ import annotations

from typing import Any

from common.errors import RateLimited, VendorRejected, VendorUnavailable
from common.tools.context import ToolContext
from common.tools.reading import record, text

API = "https://serpapi.com/search"
KEY = "SERPAPI_API_KEY"
NOTHING = "returned any results"


async def serpapi(
    ctx: ToolContext, engine: str, *, timeout_s: float = 20, **params: str | float | None
) -> dict[str, Any]:
    """Return the answer of `engine`; an empty mapping where Google found nothing.

    Raises what the client raises, and VendorUnavailable where Google's page could not be read.
    """
    asked = {"engine": engine, **params, "api_key": ctx.secret(KEY)}
    reply = await ctx.http.get(API, params=asked, timeout_s=timeout_s, expect=(400,))
    body = record(reply.json())
    problem = text(body.get("error"))
    if NOTHING in problem:
        return {}
    if "run out of searches" in problem:
        raise RateLimited("This month's Google searches are used up. Try again next month.")
    if reply.status == 400:
        raise VendorRejected("Google did not accept this search. Change its terms.")
    if problem or not any(map(_ours, body)):
        raise VendorUnavailable("Google's page could not be read. Try again in a moment.")
    return body


def priced_in(body: dict[str, Any], asked: str) -> str:
    """Return the currency of the prices in an answer, which repeats what it was asked."""
    return text(record(body.get("search_parameters")).get("currency")).upper()[:3] or asked


def _ours(key: str) -> bool:
    """Tell whether a key is one that an answer of any engine holds."""
    return key.startswith("search_") or key.endswith(("_results", "_flights", "properties"))
