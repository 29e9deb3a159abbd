"""Wikipedia: search and read articles in any language edition, without a key.

https://www.mediawiki.org/wiki/API:REST_API/Reference · https://www.mediawiki.org/wiki/API:Query
https://www.mediawiki.org/wiki/Wikimedia_APIs/Rate_limits

Quirks seen in November 2026:
- Since spring 2026 anonymous callers are limited by the minute; a User-Agent without a contact
  gets the least. At most two calls at a time.
- The Action API reports errors with status 200 and an `error` member: read that first.
- Descriptions and excerpts hold HTML. Anybody can edit the text: it is untrusted.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias, TypedDict
from urllib.parse import quote

from msgspec import Meta

from common.errors import InvalidInput, RateLimited, VendorRejected, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import integer, plain, record, records, shorten, text

CONNECTOR = Connector(
    name="Wikipedia",
    category="information",
    description="Searches Wikipedia and reads its articles, in any language.",
    examples=(
        "Who was Ada Lovelace?",
        "What does Wikipedia say about the Hardangervidda?",
        "Find Wikipedia articles about the history of chess.",
    ),
    keywords=words(
        "wikipedia, encyclopedia, article, who, history, biography, born, definition, "
        "meaning, explain, facts, capital, population, invented, founded, wiki, wrote, "
        "written, painted, composed, discovered, died, king, queen, emperor, empire, war, "
        "century, ancient, science, physics, chemistry, biology, philosophy, scientist, "
        "painter, writer, philosopher, composer, inventor, country, river, mountain, planet, "
        "species, animal, theory, largest, tallest, oldest, origin, when was, who was, who "
        "is, what is, what are, how does, why is, why do, why are, tell me, how many, "
        "invention, work, works, cause, causes, inhabitants, language, religion, revolution, "
        "mean, year did, what year, sink, sank, happened, history of, battle, event, "
        "disaster, disease, medicine, vaccine, machine, engine, book, novel, film, movie, "
        "actor, actress, singer, footballer, athlete, politician, president, prime minister, "
        "called, famous, known for, life, death, married, god, mythology, art, music, sport, "
        "flag, official, borders, continent, ocean, lake, island, desert, building, bridge, "
        "tower, dinosaur, bird, plant, tree, element, chemical, math, computer, software, "
        "internet, company, organization, capital of, population of, how tall, how old, how "
        "far, how long, how big, how deep, when did, where did, year was, who invented, who "
        "discovered, who wrote, who painted, background on, origin of, come down, first "
        "person, dynasty, treaty, independence, constitution, currency of, spoken in, "
        "national anthem, speed of, boiling point, distance to, height of, length of, in "
        "short"
    ),
    hosts=("*.wikipedia.org",),
    concurrency=2,
    attribution="Wikipedia",
    licence="CC BY-SA 4.0: show the title with its link; images have licences of their own",
)

# Codes of the Action API that mean "later", not "no".
BUSY = ("maxlag", "ratelimited", "readonly")

Limit: TypeAlias = Annotated[int, Meta(ge=1, le=10)]
Detail: TypeAlias = Literal["summary", "full"]


class Hit(TypedDict):
    """An article found; `title` reads it."""

    title: str
    description: str
    excerpt: str
    url: str


def _host(language: str) -> str:
    # The code becomes part of a host name: nothing else may.
    if not re.fullmatch(r"[a-z]{2,3}(-[a-z]+)*", language):
        raise InvalidInput("language must be a Wikipedia language code such as en, de or pt.")
    return f"{language}.wikipedia.org"


def _url(host: str, title: str) -> str:
    return f"https://{host}/wiki/{quote(title.replace(' ', '_'), safe='/:(),')}"


async def _search(ctx: ToolContext, host: str, query: str, limit: int) -> list[Hit]:
    body = await ctx.http.get_json(
        f"https://{host}/w/rest.php/v1/search/page", params={"q": query, "limit": limit}
    )
    if not isinstance(record(body).get("pages"), list):
        raise VendorUnavailable("Wikipedia sent no search result. Try again later.")
    return [
        Hit(
            title=title,
            description=shorten(plain(page.get("description")), 90),
            excerpt=shorten(plain(page.get("excerpt")), 160),
            url=_url(host, title),
        )
        for page in records(body["pages"])
        if (title := text(page.get("title")))
    ]


async def _page(ctx: ToolContext, host: str, title: str, detail: Detail) -> dict[str, Any]:
    """Return the page of that title, redirects followed; it may be `missing`."""
    params = {
        "action": "query",
        "prop": "extracts|pageprops|info|description",
        "titles": title,
        "explaintext": "1",
        "redirects": "1",
        "inprop": "url",
        "format": "json",
        "formatversion": "2",
        **({"exintro": "1"} if detail == "summary" else {}),
    }
    body = record(await ctx.http.get_json(f"https://{host}/w/api.php", params=params))
    if error := record(body.get("error")):
        if text(error.get("code")) in BUSY:
            raise RateLimited("Wikipedia is busy. Try again in a minute.")
        raise VendorRejected("Wikipedia could not read this request. Try another title.")
    pages = records(record(body.get("query")).get("pages"))
    if not pages:
        raise VendorUnavailable("Wikipedia sent no article. Try again later.")
    return pages[0]


def _spoken(extract: str) -> str:
    """Return the first whole sentences within 320 characters, or the cut beginning."""
    first = " ".join(extract.partition("\n")[0].split())
    ends = [match.end() for match in re.finditer(r"[.!?](?= [A-Z\d\"])|[.!?]$|。", first[:320])]
    return first[: ends[-1]] if ends and ends[-1] > 60 else shorten(first, 320)


def _choices(title: str, hits: list[Hit]) -> ToolResult:
    others = [hit for hit in hits if hit["title"].casefold() != title.casefold()]
    names = ", ".join(hit["title"] for hit in others[:3])
    return ToolResult(
        response_type="article_choices",
        data={"asked": title, "articles": others},
        summary=f"Wikipedia has several articles that could be meant by {title}: {names}."
        if others
        else f"Wikipedia has no article called {title}.",
        sources=tuple(Source(hit["title"], hit["url"]) for hit in others[:3]),
        untrusted=True,
    )


@tool(progress="Searching Wikipedia…", cache_s=3600)
async def search_wikipedia(
    ctx: ToolContext, *, query: str, limit: Limit = 5, language: str = "en"
) -> ToolResult:
    """Find Wikipedia articles about something; read one with get_wikipedia_article.

    Args:
        query: What to look for, a few words.
        limit: How many articles, 1 to 10.
        language: Code of the language edition, such as en or de.
    """
    if not query.strip():
        raise InvalidInput("query must say what to look for.")
    hits = await _search(ctx, _host(language), query.strip(), limit)
    told = "; ".join(
        f"{hit['title']} ({hit['description']})" if hit["description"] else hit["title"]
        for hit in hits[:3]
    )
    return ToolResult(
        response_type="article_list",
        data={"query": query, "articles": hits},
        summary=f"Wikipedia has {told}." if hits else f"Wikipedia has nothing about {query}.",
        sources=tuple(Source(f"{hit['title']} on Wikipedia", hit["url"]) for hit in hits[:5]),
        untrusted=True,
    )


@tool(progress="Reading Wikipedia…", cache_s=86400)
async def get_wikipedia_article(
    ctx: ToolContext, *, title: str, detail: Detail = "summary", language: str = "en"
) -> ToolResult:
    """Read a Wikipedia article. A title with several meanings, or none, comes back as choices.

    Args:
        title: The article's title, as search_wikipedia gives it.
        detail: "summary" for the introduction, "full" for the beginning of the whole text.
        language: Code of the language edition, such as en or de.
    """
    asked, host = " ".join(title.split()), _host(language)
    if not asked:
        raise InvalidInput("title must name an article.")
    # One page is asked for: a "|" would name several, and no title may hold these characters.
    page = await _page(ctx, host, re.sub(r"[|<>\[\]{}#\n]", " ", asked), detail)
    extract = text(page.get("extract"))
    several = "disambiguation" in record(page.get("pageprops"))
    if several or not extract:  # missing and invalid pages have no text either
        return _choices(asked, await _search(ctx, host, asked, 6))
    name = text(page.get("title")) or asked
    url = text(page.get("canonicalurl") or page.get("fullurl")) or _url(host, name)
    return ToolResult(
        response_type="article",
        data={
            "title": name,
            "description": plain(page.get("description")),
            "url": url,
            "language": language,
            "text": shorten(extract, 1500 if detail == "summary" else 4500),
            "article_bytes": integer(page.get("length")),
            "licence": "CC BY-SA 4.0",
        },
        summary=_spoken(extract),
        sources=(Source(f"{name} on Wikipedia", url),),
        untrusted=True,
    )
