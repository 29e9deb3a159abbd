"""Google News through SerpApi: the day's top stories, and news about a topic.

https://serpapi.com/google-news-api

Quirks seen in November 2026:
- A row is a story or a cluster of stories without a link of its own: clusters are opened.
- Dates are `iso_date` or an odd text, always UTC; authors and pictures may be missing.
- There are no pages: up to a hundred rows come at once.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any, TypeAlias, TypedDict

from msgspec import Meta

from common.errors import InvalidInput
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import fitting, instant, plain, record, records, shorten, text
from common.tools.serpapi import serpapi

CONNECTOR = Connector(
    name="Google News",
    category="information",
    description="The day's top stories and the latest news about any topic.",
    examples=(
        "What's in the news today?",
        "Latest news about the Mars rover.",
        "Show me today's headlines in Canada.",
    ),
    keywords=words(
        "news, headline, headlines, story, stories, top stories, breaking, latest, press, "
        "newspaper, journalist, article, articles, politics, world, current, happening, "
        "report, reports, reporting, reported, update, updates, happened, developments, "
        "coverage, media, papers, newspapers, election, war, crisis, announced, recent, up "
        "to, catch up, new about, going on, events, making, happening in, latest on, strike, "
        "protest, policy, economy, business news, sports news, tech news, today in, this "
        "week, local news, what happened, developing, journal, bulletin, brief, briefing, "
        "digest, in the, the press, papers saying, saying about, headlines pls, news on, news "
        "about, any news, story on, newsworthy, top news, morning paper, scandal, verdict, "
        "layoffs, recall, deal with, update on, updates on, whats new, breaking news, front "
        "page"
    ),
    hosts=("serpapi.com",),
    auth="key",
    secrets=("SERPAPI_API_KEY",),
    attribution="Stories found by Google News; each publisher is named and linked",
    licence="Stories belong to their publishers",
)

HOME = Source("Google News", "https://news.google.com/")

Limit: TypeAlias = Annotated[int, Meta(ge=1, le=12)]


class Story(TypedDict):
    """A story; `published_at` is UTC in ISO 8601, "" where unknown."""

    title: str
    publisher: str
    authors: list[str]
    published_at: str
    url: str


def _stories(rows: list[dict[str, Any]]) -> list[Story]:
    """Open clusters and leave out what was linked before."""
    found: dict[str, Story] = {}
    for row in rows:
        inside = [record(row.get("highlight")), *records(row.get("stories"))]
        for item in (row, *inside):
            url, title = text(item.get("link")), plain(item.get("title"))
            if url.startswith("https://") and title and len(url) <= 300:
                found.setdefault(url, _story(item, title, url))
    return list(found.values())


def _story(row: dict[str, Any], title: str, url: str) -> Story:
    source = record(row.get("source"))
    authors = source.get("authors")
    moment = instant(row.get("iso_date")) or _odd_date(row.get("date"))
    return Story(
        title=shorten(title, 200),
        publisher=text(source.get("name")) or text(row.get("source")),
        authors=[text(a) for a in authors][:3] if isinstance(authors, list) else [],
        published_at=moment.isoformat() if moment else "",
        url=url,
    )


def _odd_date(value: object) -> dt.datetime | None:
    """Read "02/01/2027, 08:30 AM, +0000 UTC"."""
    try:
        return dt.datetime.strptime(text(value), "%m/%d/%Y, %I:%M %p, %z UTC")
    except ValueError:
        return None


async def _news(
    ctx: ToolContext, country: str, limit: int, *, query: str | None, nothing: str
) -> ToolResult:
    where = country.strip().lower()
    if not re.fullmatch("[a-z]{2}", where):
        raise InvalidInput("country must be a two-letter code such as us or ca.")
    body = await serpapi(ctx, "google_news", q=query, gl=where, hl="en")
    stories = fitting(_stories(records(body.get("news_results")))[:limit])
    told = "; ".join(
        s["title"] + (f" ({s['publisher']})" if s["publisher"] else "") for s in stories[:3]
    )
    return ToolResult(
        response_type="google_news",
        data={"country": where, "query": query, "news": stories},
        summary=shorten(f"In the news: {told}.", 480) if stories else nothing,
        sources=tuple(Source(s["title"], s["url"]) for s in stories[:5]) or (HOME,),
        untrusted=True,
    )


@tool(progress="Checking the top stories…", cache_s=300, timeout_s=20)
async def get_google_news_top_stories(
    ctx: ToolContext, *, country: str = "us", limit: Limit = 8
) -> ToolResult:
    """List the top news stories of a country right now: the headlines, the news today.

    Args:
        country: Two-letter code of the country, such as us or ca.
        limit: How many, 1 to 12.
    """
    nothing = "Google News has no top stories for that country."
    return await _news(ctx, country, limit, query=None, nothing=nothing)


@tool(progress="Searching the news…", cache_s=300, timeout_s=20)
async def search_google_news(
    ctx: ToolContext, *, query: str, country: str = "us", limit: Limit = 8
) -> ToolResult:
    """Find news about a topic, person, company or place.

    Args:
        query: What the news is about.
        country: Two-letter code of the country whose edition is read, such as us or ca.
        limit: How many, 1 to 12.
    """
    words = query.strip()
    if not words:
        raise InvalidInput("query must say what the news is about.")
    nothing = f"Google News found nothing about {words}."
    return await _news(ctx, country, limit, query=words, nothing=nothing)
