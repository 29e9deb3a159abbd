"""Google Search through SerpApi, for Google has no general web search of its own to offer.

https://serpapi.com/search-api

Quirks seen in November 2026:
- Every block but the first two is optional; rows may lack snippet or date.
- `answer_box` has many shapes: the first text in it is taken.
- Identical searches within an hour are free: parameters keep their order and case.
"""

from __future__ import annotations

from typing import Any

from common.tools import Connector, ToolContext, ToolResult, tool, words
from common.tools.reading import plain, record, records, text, values
from common.tools.serpapi import serpapi
from common.tools.web_search import (
    Found,
    Limit,
    Recency,
    SearchVendor,
    hit,
    search_with,
    web_search_tool,
)

CONNECTOR = Connector(
    name="Google Search",
    category="information",
    description="Searches the web with Google.",
    examples=(
        "Google the opening hours of the Louvre.",
        "Search the web for how to descale an espresso machine.",
        "Look up who won the election in Norway.",
        "Google how to fix a bike tire.",
    ),
    keywords=words(
        "google, search, web, internet, look up, find out, online, results, website, "
        "websites, page, information, answer, who, how, look, lookup, googling, query, sites, "
        "pages, somewhere online, research, best way, how to, tutorial, guide, rules, opening "
        "hours, hours, manual, recommendations, review, compare, look on, search for, who "
        "can, where do, how can, article on, forum, reddit, blog, latest version, price of, "
        "documentation, any information, on the, google it, how do, coupon, coupons, discount "
        "code, discount codes, promo code, return policy, policy, warranty, tips, trick, "
        "hack, remove, stain, stains, instructions, step by, diy, versus, vs, pros and, fix, "
        "unclog, troubleshoot, symptoms, articles about, articles, meaning of, opinions, look "
        "into, dig up, search up, anything about, should i, can you, what to, who won, score, "
        "scores, release date, phone number, opening times, tell if, good ways, ways to, "
        "cure, clean, get rid, install, set up, reset, fix a, lyrics, statistics, study, "
        "studies, paper on, is safe, safe to, how long, does anyone, recipe for, who makes, "
        "what does, change a, substitute for, experiences with, office closes, do people, "
        "closes, what are, good substitute, alternatives to, is there, which is, better than, "
        "recall on, trending on, good explanation"
    ),
    hosts=("serpapi.com",),
    auth="key",
    secrets=("SERPAPI_API_KEY",),
    capability="web_search",
    rank=10,
    attribution="Results from Google; each page is linked",
    licence="Results belong to their pages",
)

AGES: dict[Recency, str | None] = {
    "any": None,
    "day": "qdr:d",
    "week": "qdr:w",
    "month": "qdr:m",
    "year": "qdr:y",
}


async def _search(ctx: ToolContext, words: str, recency: Recency, limit: int) -> Found:
    body = await serpapi(ctx, "google", q=words, hl="en", tbs=AGES[recency])
    hits = [
        found
        for row in records(body.get("organic_results"))
        if (
            found := hit(
                row.get("title"), text(row.get("link")), row.get("snippet"), text(row.get("date"))
            )
        )
    ]
    return Found(hits, _answer(body))


def _answer(body: dict[str, Any]) -> str:
    box, known = record(body.get("answer_box")), record(body.get("knowledge_graph"))
    said = [plain(box.get(name)) for name in ("answer", "result", "snippet")]
    listed = "; ".join(list(filter(None, map(plain, values(box.get("list")))))[:5])
    return next(filter(None, (*said, listed, plain(known.get("description")))), "")


GOOGLE = SearchVendor(name="Google", home="https://www.google.com/", search=_search)
search_web = web_search_tool(__name__, GOOGLE)


@tool(progress="Searching Google…", cache_s=600, timeout_s=20)
async def search_google(
    ctx: ToolContext, *, query: str, recency: Recency = "any", limit: Limit = 5
) -> ToolResult:
    """Search the web with Google: pages, and Google's own answer where it has one.

    Args:
        query: What is looked for, in a few words.
        recency: How old a page may be.
        limit: How many pages, 1 to 8.
    """
    return await search_with(ctx, GOOGLE, query=query, recency=recency, limit=limit)
