"""Notion: find, read and write pages that the user shared with us.

https://developers.notion.com/reference/intro · https://developers.notion.com/reference/versioning

Quirks seen in November 2026:
- Users choose pages while linking; any other page is a 404. Search knows titles only, and lags.
- Since 2025-09-03 databases are split into data sources; pages as Markdown need 2026-03-11.
- A page's title is the property whose type is "title", whatever its name; it may be empty.
- At most 100 blocks a request, 2000 characters a text; three requests a second.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

from msgspec import Meta

from common.errors import InvalidInput, NotFound, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import fitting, instant, record, records, shorten, spoken_date, text

CONNECTOR = Connector(
    name="Notion",
    category="productivity",
    description="Finds, reads and writes pages in the user's Notion.",
    examples=(
        "Find the onboarding page in Notion.",
        "What does our Notion roadmap say?",
        "Add these notes to my Notion journal.",
    ),
    keywords=words(
        "notion, page, pages, wiki, workspace, database, notes, journal, roadmap, document, "
        "knowledge, write, append, notion page, notion database, minutes, template, "
        "templates, handbook, policy, meeting notes, doc, docs, table, entry, entries, board, "
        "write up, spec, specs, company wiki, project plan, checklist, hiring, guide, "
        "guidelines, project, tracker, gallery, subpage, brainstorm, okr, knowledge base, "
        "pull up, team wiki, our wiki, our docs, in notion, on notion, retro, roadmap doc, "
        "page called, notes page, add page, docs page"
    ),
    hosts=("api.notion.com",),
    auth="oauth",
    provider="notion",
    per_second=3,
)

API = "https://api.notion.com/v1"
VERSION = "2026-03-11"
SHOWN = 4200

Limit: TypeAlias = Annotated[int, Meta(ge=1, le=20)]


class Page(TypedDict):
    """A page or data source."""

    id: str
    title: str
    kind: str
    edited: str
    url: str


async def _call(ctx: ToolContext, method: str, path: str, *, json: Any = None) -> dict[str, Any]:
    reply = await ctx.http.request(
        method,
        f"{API}{path}",
        json=json,
        expect=(400, 404),
        idempotent=method == "GET" or path == "/search",
        headers={
            "Authorization": f"Bearer {await ctx.access_token()}",
            "Notion-Version": VERSION,
        },
    )
    if reply.status == 404:
        raise NotFound("Notion has no such page, or it was not shared. Share it while linking.")
    if reply.status == 400:
        raise InvalidInput("Notion did not accept the request. Check the id and the text.")
    body = record(reply.json())
    if not body.get("object"):
        raise VendorUnavailable("Notion sent no answer. Try again in a moment.")
    return body


def _id(value: str) -> str:
    found = value.strip().rpartition("-")[2] if "notion" in value else value.strip()
    if not re.fullmatch(r"[0-9a-fA-F-]{32,36}", found):
        raise InvalidInput("page_id must be an id from search_notion.")
    return found


def _words(value: object) -> str:
    return "".join(text(part.get("plain_text")) for part in records(value)).strip()


def _page(row: dict[str, Any]) -> Page:
    properties = record(row.get("properties")).values()
    titles = (_words(record(p).get("title")) for p in properties if record(p).get("title"))
    changed = instant(row.get("last_edited_time"))
    return Page(
        id=text(row.get("id"))[:40],
        title=shorten(next(titles, "") or _words(row.get("title")), 120) or "(no title)",
        kind=text(row.get("object"))[:20],
        edited=f"{changed:%Y-%m-%d}" if changed else "",
        url=text(row.get("url"))[:300],
    )


def _source(page: Page) -> Source:
    return Source(page["title"], page["url"] or "https://www.notion.so/")


def _blocks(content: str) -> list[dict[str, Any]]:
    """Return a paragraph for each, cut where Notion's limits want it."""
    pieces = [
        part[at : at + 2000]
        for part in re.split(r"\n\s*\n", content.strip())
        if part.strip()
        for at in range(0, len(part), 2000)
    ]
    if not pieces or len(pieces) > 100:
        raise InvalidInput("content must hold 1 to 100 paragraphs of text.")
    return [
        {
            "object": "block",
            "type": "paragraph",
            "paragraph": {"rich_text": [{"type": "text", "text": {"content": piece}}]},
        }
        for piece in pieces
    ]


@tool(progress="Searching Notion…")
async def search_notion(
    ctx: ToolContext,
    *,
    query: str,
    kind: Literal["page", "data_source"] | None = None,
    limit: Limit = 8,
) -> ToolResult:
    """Find pages and databases in the user's Notion by their title.

    Args:
        query: Words of the title; "" for what was edited last.
        kind: Kind of result; null for both.
        limit: How many, 1 to 20.
    """
    search: dict[str, Any] = {
        "query": query.strip(),
        "page_size": limit,
        "sort": {"direction": "descending", "timestamp": "last_edited_time"},
    }
    if kind:
        search["filter"] = {"property": "object", "value": kind}
    body = await _call(ctx, "POST", "/search", json=search)
    pages = [_page(row) for row in records(body.get("results")) if row.get("in_trash") is not True]
    told = "; ".join(
        page["title"]
        + (f", edited {spoken_date(day.date())}" if (day := instant(page["edited"])) else "")
        for page in pages[:4]
    )
    return ToolResult(
        response_type="page_list",
        data={"query": query, "pages": fitting(pages[:limit])},
        summary=shorten(
            f"In Notion: {told}." if told else f"Notion has no shared page titled {query}.", 480
        ),
        sources=tuple(_source(page) for page in pages[:5])
        or (Source("Notion", "https://www.notion.so/"),),
        untrusted=True,
    )


@tool(progress="Reading the page…")
async def read_notion_page(ctx: ToolContext, *, page_id: str) -> ToolResult:
    """Read a page of the user's Notion as Markdown.

    Args:
        page_id: The id that search_notion gives.
    """
    key = _id(page_id)
    page = _page(await _call(ctx, "GET", f"/pages/{key}"))
    body = await _call(ctx, "GET", f"/pages/{key}/markdown")
    if "markdown" not in body:
        raise VendorUnavailable("Notion sent no text. Try again in a moment.")
    whole = text(body["markdown"])
    start = shorten(" ".join(whole.split()), 260)
    return ToolResult(
        response_type="document",
        data={
            **page,
            "markdown": shorten(whole, SHOWN),
            "characters": len(whole),
            "cut": len(whole.encode()) > SHOWN or body.get("truncated") is True,
        },
        summary=f"{page['title']}: {start}" if start else f"{page['title']} is empty.",
        sources=(_source(page),),
        untrusted=True,
    )


@tool(progress="Writing the page…", asks="Add this page to your Notion?", risk="write")
async def create_notion_page(
    ctx: ToolContext, *, parent_page_id: str, title: str, content: str
) -> ToolResult:
    """Make a new page in the user's Notion, below another page.

    Args:
        parent_page_id: Id of the page to put it under, from search_notion.
        title: Title of the new page.
        content: Its text; a blank line begins a paragraph.
    """
    if not title.strip():
        raise InvalidInput("title must name the page.")
    made = _page(
        await _call(
            ctx,
            "POST",
            "/pages",
            json={
                "parent": {"type": "page_id", "page_id": _id(parent_page_id)},
                "properties": {"title": {"title": [{"text": {"content": title.strip()[:2000]}}]}},
                "children": _blocks(content),
            },
        )
    )
    return ToolResult(
        response_type="document_saved",
        data=made,
        summary=f"Made the page {title.strip()[:120]}.",
        sources=(_source(made),),
    )


@tool(
    progress="Adding to the page…",
    asks="Add this text to the page in your Notion?",
    risk="write",
)
async def append_to_notion_page(ctx: ToolContext, *, page_id: str, content: str) -> ToolResult:
    """Add text at the end of a page in the user's Notion.

    Args:
        page_id: The id that search_notion gives.
        content: The text to add; a blank line begins a paragraph.
    """
    key = _id(page_id)
    blocks = _blocks(content)
    await _call(ctx, "PATCH", f"/blocks/{key}/children", json={"children": blocks})
    return ToolResult(
        response_type="document_changed",
        data={"id": key, "paragraphs": len(blocks)},
        summary="Added the text to the page.",
        sources=(Source("Notion", f"https://www.notion.so/{key.replace('-', '')}"),),
    )
