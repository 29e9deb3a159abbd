"""The web search tool, declared once for every vendor that can answer it.

A vendor brings one function from words to hits; the arguments, the shape of the answer and its
sentence are the same for all of them, and the answer names the engine that was used.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, TypeAlias, TypedDict
from urllib.parse import urlsplit

from msgspec import Meta

from common.errors import InvalidInput
from common.tools.context import ToolContext
from common.tools.declare import Source, Tool, ToolResult, tool
from common.tools.reading import fitting, plain, shorten

Recency: TypeAlias = Literal["any", "day", "week", "month", "year"]
Limit: TypeAlias = Annotated[int, Meta(ge=1, le=8)]


class Hit(TypedDict):
    """A page found; `published` is as the engine says it, "" where it does not."""

    title: str
    url: str
    site: str
    snippet: str
    published: str


@dataclass(frozen=True, slots=True)
class Found:
    """Hits, best first, and the engine's own short answer where it has one."""

    hits: list[Hit] = field(default_factory=list)
    answer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchVendor:
    """An engine's name, home page and search: (context, words, recency, how many)."""

    name: str
    home: str
    search: Callable[[ToolContext, str, Recency, int], Awaitable[Found]]


def hit(title: object, url: str, snippet: object, published: str = "") -> Hit | None:
    """Return a hit of plain text; None where there is no web address or no title."""
    site = _site(url)
    name = shorten(plain(title), 160)
    if not site or not name or len(url) > 300:
        return None
    return Hit(
        title=name,
        url=url,
        site=site.removeprefix("www."),
        snippet=shorten(plain(snippet), 320),
        published=published,
    )


def _site(url: str) -> str:
    try:
        parts = urlsplit(url)
        return parts.hostname or "" if parts.scheme in ("https", "http") else ""
    except ValueError:  # "http://[" is no address
        return ""


def web_search_tool(module: str, vendor: SearchVendor) -> Tool:
    """Return the web search tool of the connector in `module`, to be bound to its name there."""

    @tool(progress="Searching the web…", cache_s=600, timeout_s=20)
    async def search_web(
        ctx: ToolContext, *, query: str, recency: Recency = "any", limit: Limit = 5
    ) -> ToolResult:
        """Search the web: news, facts, opinions, anything that has a page.

        Args:
            query: What is looked for, in a few words.
            recency: How old a page may be.
            limit: How many pages, 1 to 8.
        """
        return await search_with(ctx, vendor, query=query, recency=recency, limit=limit)

    return replace(search_web, connector=module.rpartition(".")[2])


async def search_with(
    ctx: ToolContext, vendor: SearchVendor, *, query: str, recency: Recency, limit: int
) -> ToolResult:
    """Return what `vendor` finds for `query`; InvalidInput for one that is empty or too long."""
    words = " ".join(query.split())
    if not words or len(words) > 390:
        raise InvalidInput("query must hold some words, fewer than 390 characters.")
    found = await vendor.search(ctx, words, recency, limit)
    hits = fitting(found.hits[:limit])
    summary = f"{vendor.name} found nothing for {shorten(words, 200)}."
    if hits:
        first = hits[0]
        told = shorten(found.answer or f"{first['title']}: {first['snippet'] or first['url']}", 360)
        summary = f"{told.rstrip('.')}. ({vendor.name}: {first['site']})"
    home = Source(vendor.name, vendor.home)
    return ToolResult(
        response_type="web_results",
        data={
            "query": words,
            "engine": vendor.name,
            "answer": shorten(found.answer, 500),
            "results": hits,
        },
        summary=summary,
        sources=tuple(
            Source(h["title"], h["url"]) for h in hits[:5] if h["url"].startswith("https://")
        )
        or (home,),
        untrusted=True,
    )
