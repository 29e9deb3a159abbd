"""What a site asks of programs is kept to, at the cost of one small file a day."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from common.egress.robots import Rules
from common.errors import NotAllowed, VendorRejected, VendorUnavailable

RULES = """
# everybody
User-agent: *
Disallow: /private
Allow: /private/open
Disallow: /*.pdf$
Disallow: /*?session=
Crawl-delay: 10

User-agent: Other
User-agent: ODAI   # us
Disallow: /no-odai
Disallow:
"""


@pytest.mark.parametrize(
    ("agent", "path", "allowed"),
    [
        ("someone", "/", True),
        ("someone", "/private", False),
        ("someone", "/private/x", False),
        ("someone", "/private/open/x", True),  # the longer pattern decides
        ("someone", "/a/b.pdf", False),
        ("someone", "/a/b.pdf?x=1", True),
        ("someone", "/a?session=1", False),
        ("someone", "/no-odai", True),
        ("odai", "/no-odai/x", False),
        ("odai", "/private", True),  # its own group replaces the common one
    ],
)
def test_rules_are_read(agent: str, path: str, allowed: bool) -> None:
    """Groups, wildcards, ends and the longest match, as the standard has them."""
    assert Rules.parse(RULES, agent).allow(path) is allowed


@pytest.mark.parametrize("text", ["", "<html>not found</html>", "Disallow: /", "\x00" * 99, "*:"])
def test_what_is_no_rule_forbids_nothing(text: str) -> None:
    """A site that answers with a page instead of rules may be read."""
    assert Rules.parse(text, "odai").allow("/x")


def test_a_pattern_of_a_stranger_costs_little() -> None:
    """Thousands of wildcards are matched piece by piece, without going back."""
    pattern = "/" + "a*" * 3000 + "b"
    assert Rules.parse(f"User-agent: *\nDisallow: {pattern}", "odai").allow("/" + "a" * 2000)


def site(rules: web.Response | None, answers: dict[str, web.Response] | None = None) -> Any:
    """Answer robots.txt with `rules` and everything else with 200."""

    async def answer(request: Any) -> web.StreamResponse:
        if request.path == "/robots.txt":
            if rules is None:
                raise web.HTTPNotFound
            return web.Response(status=rules.status, text=rules.text, headers=rules.headers)
        found = (answers or {}).get(request.path)
        return web.Response(status=found.status, headers=found.headers) if found else web.Response()

    return answer


NOTHING = web.Response(text="User-agent: *\nDisallow: /")


def test_a_page_that_programs_may_not_read_is_not_asked_for(world: Any) -> None:
    """The refusal says what else could be done, and the page itself is never fetched."""

    async def main() -> None:
        async with world(site(NOTHING), mapped=("example.com",)) as w:
            for _ in range(2):
                with pytest.raises(VendorRejected, match="Search for the same facts elsewhere"):
                    await w.egress.read_page("https://example.com/page")
            assert w.origin.paths == ["/robots.txt"]  # asked once, kept

    asyncio.run(main())


def test_rules_are_read_again_after_a_day(world: Any) -> None:
    """A site that changes its mind is believed the next day."""

    async def main() -> None:
        async with world(site(None), mapped=("example.com",)) as w:
            for _ in range(2):
                await w.egress.read_page("https://example.com/page")
            w.clock.now += 24 * 3600
            await w.egress.read_page("https://example.com/page")
            assert w.origin.paths.count("/robots.txt") == 2

    asyncio.run(main())


def test_a_redirect_is_asked_about_as_well(world: Any) -> None:
    """A page of one site cannot lead into a closed part of another."""
    moved = web.Response(status=302, headers={"Location": "https://b.example.com/private"})
    rules = web.Response(text="User-agent: *\nDisallow: /private")

    async def main() -> None:
        async with world(
            site(rules, {"/page": moved}), mapped=("a.example.com", "b.example.com")
        ) as w:
            with pytest.raises(VendorRejected):
                await w.egress.read_page("https://a.example.com/page")
            assert w.origin.paths == ["/robots.txt", "/page", "/robots.txt"]

    asyncio.run(main())


def test_a_site_in_trouble_is_left_alone(world: Any) -> None:
    """Where the rules cannot be had the page is not read, and it may be tried again."""

    async def main() -> None:
        async with world(site(web.Response(status=503)), mapped=("example.com",)) as w:
            with pytest.raises(VendorUnavailable, match="Try again"):
                await w.egress.read_page("https://example.com/page")

    asyncio.run(main())


def test_rules_that_lead_inward_are_no_rules(world: Any) -> None:
    """The file is fetched through the same guard: a redirect into our house is not followed."""
    inward = web.Response(status=302, headers={"Location": "http://169.254.169.254/robots.txt"})

    async def main() -> None:
        async with world(site(inward), mapped=("example.com",)) as w:
            assert (await w.egress.read_page("https://example.com/page")).status == 200
            with pytest.raises(NotAllowed):
                await w.egress.read_page("http://127.0.0.1/page")
            assert w.origin.paths == ["/robots.txt", "/page"]

    asyncio.run(main())
