"""Web pages: the readable text of a page whose address the user or a search gave.

https://trafilatura.readthedocs.io/ · https://developers.cloudflare.com/browser-rendering/rest-api/

The address comes from outside, so that the page is fetched through the guard of the outbound
client: public servers only, every redirect checked, 5 MB at most. Pages that scripts build have
hardly any text; with CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN set, Cloudflare's browser
renders those. Checked in November 2026 with trafilatura 2.3.
"""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from msgspec import Meta

from common.egress import Reply
from common.egress.failures import from_status
from common.errors import InvalidInput, NotFound, OdaiError, VendorRejected, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import record, shorten, text

CONNECTOR = Connector(
    name="Web Pages",
    category="information",
    description="Reads a web page or article at an address.",
    examples=(
        "Read https://example.com/article and summarize it.",
        "What does this page say: https://example.com/news?",
        "Summarize the article at example.com/report.",
        "Summarize example.com/report.",
    ),
    keywords=words(
        "page, website, webpage, web page, article, url, link, site, read, summarize, "
        "summary, fetch, blog, post, https, says, tldr, tl-dr, gist, main points, key points, "
        "text, extract, content, contents, mention, mentions, say, written, skim, scrape, "
        "document, overview, story, paragraph, reading, page say, what does, http, faq, "
        "terms, takeaways, what are, details on, main idea, this url, this site, content of, "
        "translate, transcribe, look at, check out, through, tl dr, sum up, this page, this "
        "article, the article, article says, key takeaways, read me, bullet points, digest "
        "this, in this, this link, the page"
    ),
    hosts=("api.cloudflare.com",),
    public_web=True,
    attribution="A link to the page",
    licence="Text belongs to its page",
)

RENDER = "https://api.cloudflare.com/client/v4/accounts/{}/browser-rendering/markdown"
READABLE = ("text/plain", "text/markdown", "application/json", "application/xml", "text/xml")
PAGES = ("text/html", "application/xhtml+xml", "")
PART_BYTES = 4300
# What a page that scripts build looks like before they run, where it has hardly any text.
# What is known of the page comes before its text as well, where only a program would look for it.
FRONT_MATTER = re.compile(r"\A---\n.*?^---\n+", re.S | re.M)
SHELL, THIN = re.compile(r"<noscript|id=[\"']?(root|app|__next)\b", re.I), 200

Part: TypeAlias = Annotated[int, Meta(ge=1, le=50)]


@dataclass(frozen=True, slots=True)
class Page:
    """What could be read of a page; `content` is Markdown or plain text."""

    content: str
    title: str = ""
    site: str = ""
    published: str = ""


@tool(progress="Reading the page…", asks="Read this web page?", slow=True, timeout_s=60)
async def fetch_website(ctx: ToolContext, *, url: str, part: Part = 1) -> ToolResult:
    """Read the text of a web page. Long pages come in parts.

    Args:
        url: Address of the page, beginning with https:// or http://.
        part: Which part of a long page, from 1.
    """
    reply = await ctx.fetch_public(_address(url))
    _check(reply)
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in READABLE:
        page = Page(reply.text().strip())
    elif kind in PAGES:
        # Parsing takes up to a second of pure computing: the loop must not wait for it.
        page = await asyncio.to_thread(_extract, reply.text(), reply.url)
        if not page.content:
            page = await _rendered(ctx, reply.url, page)
    else:
        what = "a PDF" if kind == "application/pdf" else "no text"
        raise VendorRejected(f"That address holds {what}, which I cannot read.")
    if not page.content:
        raise VendorUnavailable("That page has no text that can be read without a browser.")
    return _result(reply.url, page, part)


def _address(url: str) -> str:
    """Return the address with its scheme; people leave it out."""
    bare = url.strip()
    return (
        bare
        if "://" in bare or not re.match(r"[\w-]+(\.[\w-]+)+(/|$)", bare)
        else (f"https://{bare}")
    )


def _check(reply: Reply) -> None:
    if reply.status in (404, 410):
        raise NotFound("There is no page at that address. Check it, or search for the page.")
    if reply.status in (401, 402, 403, 407, 451, 999):
        raise VendorRejected("That site does not let its page be read by programs.")
    if reply.status >= 300:
        raise from_status(reply)


def _extract(html: str, url: str) -> Page:
    """Return the main text of a page, "" where scripts have to make it first."""
    from trafilatura import extract_with_metadata  # 0.4 s to import: only who reads a page pays

    # It calls pages it cannot read errors; they are the pages', and may be quoted there.
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    try:
        found = extract_with_metadata(
            html, url=url, output_format="markdown", include_comments=False, include_tables=True
        )
    except Exception as err:
        # Parsers raise anything on hostile pages; the user can only be told to try another one.
        raise VendorUnavailable("That page cannot be read: its text is broken.") from err
    if found is None:
        return Page("")
    content = FRONT_MATTER.sub("", text(found.text), count=1)
    if len(content) < THIN and SHELL.search(html):
        content = ""
    return Page(
        content,
        title=shorten(text(found.title), 200),
        site=text(found.sitename),
        published=text(found.date),
    )


async def _rendered(ctx: ToolContext, url: str, page: Page) -> Page:
    """Return the page as Cloudflare's browser sees it, where that is set up."""
    account, token = ctx.secrets("CLOUDFLARE_ACCOUNT_ID"), ctx.secrets("CLOUDFLARE_API_TOKEN")
    if not account or not token:
        return page
    try:
        body = await ctx.http.post_json(
            RENDER.format(account),
            json={"url": url},
            timeout_s=35,
            headers={"Authorization": f"Bearer {token}"},
        )
    except OdaiError:
        return page  # the page itself was reached: that it has no text is what is told
    seen = text(record(body).get("result")) if record(body).get("success") is True else ""
    return Page(seen, page.title, page.site, page.published) if seen else page


def _parts(content: str) -> list[str]:
    """Cut text into parts of PART_BYTES at most, between lines or words."""
    parts, piece = [], ""
    for word in re.findall(r"\S+\s*", content):
        for bit in (word[i : i + 1000] for i in range(0, len(word), 1000)):
            if len((piece + bit).encode()) > PART_BYTES:
                parts.append(piece.strip())
                piece = ""
            piece += bit
    return [*parts, piece.strip()]


def _result(url: str, page: Page, part: int) -> ToolResult:
    parts = _parts(page.content)
    if part > len(parts):
        raise InvalidInput(f"That page has {len(parts)} parts.")
    content = parts[part - 1]
    name = page.title or url.partition("://")[2].partition("/")[0]
    rest = f" This is part {part} of {len(parts)}." if len(parts) > 1 else ""
    start = shorten(" ".join(re.sub(r"[#*_>|`\[\]{}]+", " ", content).split()), 240)
    source = (Source(name, url),) if url.startswith("https://") and len(url) < 400 else ()
    return ToolResult(
        response_type="website_content",
        data={
            "url": url if len(url) < 400 else "",
            "title": page.title,
            "site": page.site,
            "published": page.published,
            "part": part,
            "parts": len(parts),
            "content": content,
        },
        summary=f"{name}: {start}{rest}",
        sources=source,
        untrusted=True,
    )
