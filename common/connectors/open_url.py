"""Opening an address in the user's browser: the client does it, nothing is fetched here.

https://url.spec.whatwg.org/ (the living standard of November 2026)

Clients know the response types `open_window` and `open_tab`. Only http and https addresses pass:
others would run scripts or start programs on the user's machine.
"""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from common.errors import InvalidInput
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words

CONNECTOR = Connector(
    name="Browser",
    category="information",
    description="Opens a web address in a new window or tab of the user's browser.",
    examples=(
        "Open bbc.com in a new tab.",
        "Open https://example.com in a window.",
        "Take me to the website of the New York Times.",
    ),
    keywords=words(
        "open, tab, window, browser, website, url, link, site, visit, go to, take me, "
        "navigate, show page, launch, opening, webpage, homepage, bring up, pull up, go, web "
        "address, new tab, new window, browse, load, direct me, jump, surf, page, website of, "
        "please open, display, visit the, to the, browser tab, surf to, launch site, view, "
        "pull that, that link, link up, my browser, the browser, a window, go there, open it, "
        "load up, fire up, site up, show me, youtube, open up, new page, google maps"
    ),
)


def _address(url: str) -> str:
    bare = url.strip()
    if re.fullmatch(r"[\w-]+(\.[\w-]+)+(/\S*)?", bare):
        bare = f"https://{bare}"
    problem = InvalidInput("url must be a web address such as https://example.com/page.")
    if len(bare) > 2048 or re.search(r"[\x00-\x20\\\x7f]", bare):
        raise problem
    try:
        parts = urlsplit(bare)
        port = parts.port
    except ValueError:
        raise problem from None
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname or port == 0:
        raise problem
    if parts.username is not None or "." not in parts.hostname:
        raise problem  # "https://bank.example@evil.example" shows one name and leads to another
    return bare


def _opened(url: str, kind: Literal["open_window", "open_tab"], place: str) -> ToolResult:
    address = _address(url)
    host = urlsplit(address).hostname or ""
    return ToolResult(
        response_type=kind,
        data={"url": address},
        summary=f"I am opening {host} in a new {place}.",
        sources=(Source(host, address),) if address.startswith("https://") else (),
    )


@tool(progress="Opening a window…", asks="Open this address in a new window?", voice=False)
async def open_external_url_in_window(ctx: ToolContext, *, url: str) -> ToolResult:
    """Open a web address in a new window of the user's browser, when the user asks for that.

    Args:
        url: The address, beginning with https:// or http://.
    """
    return _opened(url, "open_window", "window")


@tool(progress="Opening a tab…", asks="Open this address in a new tab?", voice=False)
async def open_external_url_in_tab(ctx: ToolContext, *, url: str) -> ToolResult:
    """Open a web address in a new tab of the user's browser, when the user asks for that.

    Args:
        url: The address, beginning with https:// or http://.
    """
    return _opened(url, "open_tab", "tab")
