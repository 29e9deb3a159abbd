"""Brave Search: the web from an index of its own.

https://api-dashboard.search.brave.com/app/documentation

Quirks seen in November 2026:
- A bad key is a 422, told from a bad query by the body's code only.
- `web` is absent when nothing matches; titles and texts carry tags and entities.
- `offset` counts pages; `age` is words, `page_age` has no zone.
"""

from __future__ import annotations

from common.errors import VendorRejected, VendorUnavailable
from common.tools import Connector, ToolContext, words
from common.tools.reading import record, records, text
from common.tools.web_search import Found, Recency, SearchVendor, hit, web_search_tool

CONNECTOR = Connector(
    name="Brave Search",
    category="information",
    description="Searches the web with Brave's own index.",
    examples=(
        "Search the web for the best hiking boots.",
        "Find pages about solar eclipses with Brave.",
        "Look online for a recipe for sourdough.",
        "Search Brave for hiking boots.",
    ),
    keywords=words(
        "brave, search, web, internet, look up, find out, online, results, website, websites, "
        "page, information, look, lookup, query, sites, pages, research, best way, how to, "
        "tutorial, guide, rules, hours, manual, who, answer, review, look on, search for, "
        "forum, reddit, any information, how can"
    ),
    hosts=("api.search.brave.com",),
    auth="key",
    secrets=("BRAVE_API_KEY",),
    capability="web_search",
    rank=20,
    per_second=10,
    attribution="Powered by Brave",
    licence="Results may be kept ten minutes",
)

API = "https://api.search.brave.com/res/v1/web/search"
AGES: dict[Recency, str | None] = {
    "any": None,
    "day": "pd",
    "week": "pw",
    "month": "pm",
    "year": "py",
}


async def _search(ctx: ToolContext, words: str, recency: Recency, limit: int) -> Found:
    headers = {
        "X-Subscription-Token": ctx.secret("BRAVE_API_KEY"),
        "Accept": "application/json",
    }
    params = {
        "q": words,
        "count": limit,
        "freshness": AGES[recency],
        "text_decorations": False,
        "result_filter": "web",
    }
    reply = await ctx.http.get(API, params=params, headers=headers, expect=(422,))
    body = record(reply.json())
    if reply.status == 422:
        code = text(record(body.get("error")).get("code"))
        raise VendorRejected(
            "Brave Search refused our key. Check BRAVE_API_KEY."
            if "TOKEN" in code
            else "Brave Search did not accept the query. Use fewer or other words.",
            vendor_status=422,
        )
    if body.get("type") != "search":
        raise VendorUnavailable("Brave Search's answer cannot be read. Try again later.")
    rows = records(record(body.get("web")).get("results"))
    made = (
        hit(
            row.get("title"),
            text(row.get("url")),
            row.get("description"),
            text(row.get("page_age"))[:10] or text(row.get("age")),
        )
        for row in rows
    )
    return Found([found for found in made if found])


search_web = web_search_tool(
    __name__, SearchVendor(name="Brave Search", home="https://search.brave.com/", search=_search)
)
