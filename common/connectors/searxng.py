"""SearXNG: web search on the operator's own server, without a vendor.

https://docs.searxng.org/dev/search_api.html

SEARXNG_URL is the server's address, which may be private; JSON must be among `search.formats` in
its settings. Quirks seen in November 2026:
- Errors are HTML: 403 means that JSON is off, 429 its limiter.
- No results beside engines that did not answer is an outage, not an empty answer.
- Titles and texts may carry entities; an address may be null or no web address.
"""

from __future__ import annotations

from common.errors import VendorRejected, VendorUnavailable
from common.tools import Connector, ToolContext, words
from common.tools.reading import plain, record, records, text, values
from common.tools.web_search import Found, Recency, SearchVendor, hit, web_search_tool

CONNECTOR = Connector(
    name="SearXNG",
    category="information",
    description="Searches the web through the operator's own SearXNG server.",
    examples=(
        "Search the web for open source note apps.",
        "Look up reviews of the Fairphone online.",
        "Find websites about beekeeping with SearXNG.",
        "Search the web for note apps.",
    ),
    keywords=words(
        "searxng, search, web, internet, look up, find out, online, results, website, "
        "websites, page, information, look, lookup, query, sites, pages, research, best way, "
        "how to, tutorial, guide, rules, hours, manual, who, answer, review, look on, search "
        "for, forum, reddit, any information, how can"
    ),
    server="SEARXNG_URL",
    auth="key",
    secrets=("SEARXNG_URL",),
    capability="web_search",
    rank=30,
    attribution="Each page is linked",
    licence="AGPL server; results belong to their pages",
)


async def _search(ctx: ToolContext, words: str, recency: Recency, limit: int) -> Found:
    base = ctx.secret("SEARXNG_URL").rstrip("/")
    guard = ctx.secrets("SEARXNG_AUTHORIZATION")
    params = {
        "q": words,
        "format": "json",
        "categories": "general",
        "time_range": None if recency == "any" else recency,
    }
    reply = await ctx.http.get(
        f"{base}/search",
        params=params,
        headers={"Authorization": guard} if guard else {},
        expect=(403,),
    )
    if reply.status == 403:
        raise VendorRejected(
            "SearXNG does not answer in JSON. Add json to search.formats in its settings.",
            vendor_status=403,
        )
    body = record(reply.json())
    rows = body.get("results")
    if not isinstance(rows, list) or (not rows and values(body.get("unresponsive_engines"))):
        raise VendorUnavailable("SearXNG's engines do not answer now. Try again later.")
    made = (
        hit(
            row.get("title"),
            text(row.get("url")),
            row.get("content"),
            text(row.get("publishedDate"))[:10],
        )
        for row in records(rows)
    )
    answers = (plain(record(a).get("answer")) or plain(a) for a in values(body.get("answers")))
    return Found([found for found in made if found][:limit], next(filter(None, answers), ""))


search_web = web_search_tool(
    __name__, SearchVendor(name="SearXNG", home="https://docs.searxng.org/", search=_search)
)
