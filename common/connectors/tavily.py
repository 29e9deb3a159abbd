"""Tavily: web search made for language models, without a key too, within tight limits.

https://docs.tavily.com/documentation/api-reference/endpoint/search

Without TAVILY_API_KEY calls are keyless. Quirks seen in November 2026:
- 432 and 433 are used-up plans. A keyless limit says in the body how long to wait.
- `content` may be a page's furniture or a stringified mapping: it is shown, never parsed.
- `published_date` comes with news only; scores below 0.4 are weak.
"""

from __future__ import annotations

from typing import Any

from common.errors import RateLimited, VendorUnavailable
from common.tools import Connector, ToolContext, words
from common.tools.reading import number, plain, record, records, text
from common.tools.web_search import Found, Recency, SearchVendor, hit, web_search_tool

CONNECTOR = Connector(
    name="Tavily",
    category="information",
    description="Searches the web, with no key needed.",
    examples=(
        "Search the internet for the tallest building in the world.",
        "Find information online about heat pumps.",
        "Look up the rules of pickleball.",
    ),
    keywords=words(
        "tavily, search, web, internet, look up, find out, online, results, website, "
        "websites, page, information, look, lookup, query, sites, pages, research, best way, "
        "how to, tutorial, guide, rules, hours, manual, who, answer, papers, review, look on, "
        "search for, forum, reddit, any information, how can, how do, coupon, coupons, "
        "discount code, discount codes, promo code, return policy, policy, warranty, tips, "
        "trick, hack, remove, stain, stains, instructions, step by, diy, versus, vs, pros "
        "and, fix, unclog, troubleshoot, symptoms, articles about, articles, meaning of, "
        "opinions, look into, dig up, search up, anything about, should i, can you, what to, "
        "who won, score, scores, release date, phone number, opening times, tell if, good "
        "ways, ways to, cure, clean, get rid, install, set up, reset, fix a, lyrics, "
        "statistics, study, studies, paper on, substitute for, experiences with, office "
        "closes, do people, closes, what are, good substitute, alternatives to, is there, "
        "which is, better than"
    ),
    hosts=("api.tavily.com",),
    capability="web_search",
    rank=90,
    concurrency=3,
    attribution="Each page is linked",
    licence="Results belong to their pages",
)

API = "https://api.tavily.com/search"
WEAK = 0.4


async def _search(ctx: ToolContext, words: str, recency: Recency, limit: int) -> Found:
    key = ctx.secrets("TAVILY_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {"X-Tavily-Access-Mode": "keyless"}
    asked: dict[str, Any] = {"query": words, "max_results": limit, "search_depth": "basic"}
    if recency != "any":
        asked["time_range"] = recency
    # Searching changes nothing, so that a retry is safe though it is a POST.
    reply = await ctx.http.request(
        "POST",
        API,
        json=asked,
        headers=headers,
        timeout_s=15,
        idempotent=True,
        expect=(432, 433),
    )
    body = record(reply.json())
    if reply.status >= 400:
        raise RateLimited("The plan's Tavily searches are used up. Try again next month.")
    problem = record(body.get("error"))
    if "retry_after_seconds" in problem:
        wait = number(problem["retry_after_seconds"])
        raise RateLimited("Tavily takes no more keyless searches for now.", retry_after=wait)
    if "results" not in body:
        raise VendorUnavailable("Tavily's answer cannot be read. Try again later.")
    rows = records(body["results"])
    strong = [row for row in rows if (number(row.get("score")) or 1.0) >= WEAK]
    made = (
        hit(
            row.get("title"),
            text(row.get("url")),
            row.get("content"),
            text(row.get("published_date")),
        )
        for row in strong or rows
    )
    return Found([found for found in made if found], plain(body.get("answer")))


search_web = web_search_tool(
    __name__, SearchVendor(name="Tavily", home="https://tavily.com/", search=_search)
)
