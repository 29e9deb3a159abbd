"""Spotify: find music and podcasts, and play them on the user's own devices.

https://developer.spotify.com/documentation/web-api

Development apps serve five users at most and need a Premium owner. Quirks seen in November 2026:
- A search gives ten results of a kind at most. Nothing playing is a 204 without a body.
- Commands answer with nothing, or with a 200 and text. No device awake is a 404.
- Titles may be null for local files and advertisements; podcasts come as episodes.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

from msgspec import Meta

from common.errors import InvalidInput, NotAllowed, NotFound, RateLimited, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import integer, record, records, shorten, text

CONNECTOR = Connector(
    name="Spotify",
    category="productivity",
    description="Finds music and podcasts on Spotify and plays them on the user's devices.",
    examples=(
        "Play some Miles Davis on Spotify.",
        "What song is this?",
        "Pause the music.",
        "Find the album Kind of Blue.",
    ),
    keywords=words(
        "spotify, music, song, songs, track, album, artist, playlist, play, pause, skip, next "
        "song, resume, podcast, listen, listening, playing, band, jazz, rock, pop, classical, "
        "hip-hop, rap, country, indie, techno, soul, tune, tunes, lyrics, sing, sings, "
        "singer, singing, sung, volume, queue, shuffle, repeat, stop, continue, next track, "
        "previous, put on, turn up, turn on, turn off, something to, hear, albums, artists, "
        "playlists, radio, podcasts, episode, soundtrack, workout, relaxing, tracks, louder, "
        "quieter, mute, unmute, favorite, favourites, liked, like this, musician, rhythm, "
        "beat, chill, party, remix, single, audiobook, sleep sounds, start playing, hear "
        "some, playback, speaker, stop playing, my music, some tunes, turn it, music off, "
        "music on, song is, this song, track is, skip this, skip song, jam, jams, play some, "
        "play me, a playlist, mixtape, top hits, discography, release radar, discover weekly, "
        "new album, latest album, throwback, karaoke, dance music, lo-fi, focus music, "
        "reggae, folk, metal, punk, blues, salsa, edm, house music, disco, funk, ambient, "
        "reggaeton, k-pop, bluegrass, gospel, latin, trance, dubstep, grunge, ballads, "
        "softer, next tune"
    ),
    hosts=("api.spotify.com",),
    auth="oauth",
    provider="spotify",
    scopes=("user-read-playback-state", "user-modify-playback-state"),
    per_second=5,
    attribution="Content from Spotify, with a link to each item",
    licence="Not to be kept or mixed with other services' content; no model training",
)

API = "https://api.spotify.com/v1"
SOURCE = Source("Spotify", "https://open.spotify.com/")

Kind: TypeAlias = Literal["track", "album", "artist", "playlist", "show", "episode"]
Limit: TypeAlias = Annotated[int, Meta(ge=1, le=10)]


class Item(TypedDict):
    """Something to play, by its `uri`."""

    uri: str
    kind: str
    name: str
    by: str
    album: str
    url: str


async def _call(
    ctx: ToolContext, method: str, path: str, *, json: Any = None, **params: Any
) -> dict[str, Any]:
    """Return the answer's object, {} for commands and where nothing is playing."""
    reply = await ctx.http.request(
        method,
        f"{API}{path}",
        params=params,
        json=json,
        expect=(400, 403, 404),
        headers={"Authorization": f"Bearer {await ctx.access_token()}"},
    )
    if reply.status < 300 and (reply.status == 204 or not reply.body):
        return {}
    # Commands may answer with bare text; a page is somebody else's answer.
    if method != "GET" and reply.status < 300 and not reply.body.lstrip().startswith(b"<"):
        return {}
    body = record(reply.json())
    reason = text(record(body.get("error")).get("reason"))
    if reason == "QUOTA_EXCEEDED":
        raise RateLimited("The Spotify app's quota is used up. Try again later.")
    if reply.status == 403:
        raise NotAllowed(
            "Spotify needs Premium for this."
            if reason == "PREMIUM_REQUIRED"
            else "Spotify does not allow this now."
        )
    if reply.status == 404:
        raise NotFound(
            "No Spotify device is awake. Open Spotify on a phone, computer or speaker first."
            if reason == "NO_ACTIVE_DEVICE" or "/player" in path
            else "Spotify has no such item."
        )
    if reply.status == 400:
        raise InvalidInput("Spotify did not accept the request. Check the words or the uri.")
    return body


def _item(row: dict[str, Any]) -> Item:
    people = records(row.get("artists")) or [
        record(row.get("owner")) or record(row.get("show")) or {"name": row.get("publisher")}
    ]
    names = (text(p.get("name")) or text(p.get("display_name")) for p in people[:3])
    return Item(
        uri=text(row.get("uri"))[:80],
        kind=text(row.get("type"))[:20],
        name=shorten(text(row.get("name")), 120) or "(no title)",
        by=shorten(", ".join(filter(None, names)), 120),
        album=shorten(text(record(row.get("album")).get("name")), 120),
        url=text(record(row.get("external_urls")).get("spotify"))[:120],
    )


def _say(item: Item) -> str:
    return f"{item['name']} by {item['by']}" if item["by"] else item["name"]


def _sources(*items: Item) -> tuple[Source, ...]:
    found = tuple(Source(f"{i['name']} on Spotify", i["url"]) for i in items if i["url"])
    return found or (SOURCE,)


@tool(progress="Searching Spotify…", cache_s=600)
async def search_spotify(
    ctx: ToolContext, *, query: str, kind: Kind = "track", limit: Limit = 5
) -> ToolResult:
    """Find music or podcasts on Spotify, with the uri that plays them.

    Args:
        query: Title, artist or both, such as "So What Miles Davis".
        kind: Kind of result.
        limit: How many, 1 to 10.
    """
    if not query.strip():
        raise InvalidInput("query must say what to look for.")
    body = await _call(ctx, "GET", "/search", q=query.strip(), type=kind, limit=limit)
    if not isinstance(record(body.get(f"{kind}s")).get("items"), list):
        raise VendorUnavailable("Spotify sent no results. Try again in a moment.")
    items = [_item(row) for row in records(record(body[f"{kind}s"]).get("items"))[:limit]]
    told = "; ".join(_say(item) for item in items[:4])
    return ToolResult(
        response_type="music_list",
        data={"query": query, "items": items},
        summary=shorten(f"On Spotify: {told}." if told else f"Spotify has no {kind} {query}.", 480),
        sources=_sources(*items[:5]),
        untrusted=True,
    )


def _seconds(milliseconds: object) -> int | None:
    found = integer(milliseconds)
    return None if found is None else found // 1000


@tool(progress="Checking what is playing…")
async def get_spotify_playback(ctx: ToolContext) -> ToolResult:
    """Tell what the user's Spotify is playing, and where."""
    body = await _call(ctx, "GET", "/me/player", additional_types="track,episode")
    row, device = record(body.get("item")), record(body.get("device"))
    if body and "is_playing" not in body:
        raise VendorUnavailable("Spotify did not tell what is playing. Try again in a moment.")
    item = _item(row) if row else None
    summary = "Nothing is playing on Spotify."
    if item:
        state = "Playing" if body.get("is_playing") is True else "Paused"
        where = f" on {text(device.get('name'))}" if text(device.get("name")) else ""
        summary = f"{state}{where}: {_say(item)}."
    return ToolResult(
        response_type="playback",
        data={
            "playing": body.get("is_playing") is True,
            "item": item,
            "device": text(device.get("name")),
            "volume_percent": integer(device.get("volume_percent")),
            "progress_s": _seconds(body.get("progress_ms")),
            "duration_s": _seconds(row.get("duration_ms")),
        },
        summary=summary,
        sources=_sources(*([item] if item else [])),
        untrusted=True,
    )


@tool(progress="Starting the music…", asks="Start the music on your Spotify?", risk="write")
async def play_on_spotify(ctx: ToolContext, *, uri: str | None = None) -> ToolResult:
    """Play something on the user's Spotify, or go on with what was paused.

    Args:
        uri: What to play, from search_spotify; null to resume.
    """
    command = None
    if uri:
        found = re.fullmatch(r"spotify:(track|episode|album|artist|playlist|show):\w{5,40}", uri)
        if not found:
            raise InvalidInput("uri must be one that search_spotify gives.")
        single = found[1] in ("track", "episode")
        command = {"uris": [uri]} if single else {"context_uri": uri}
    await _call(ctx, "PUT", "/me/player/play", json=command)
    return _done("playback_started", "Spotify is playing.")


@tool(progress="Pausing the music…", asks="Pause your Spotify?", risk="write")
async def pause_spotify(ctx: ToolContext) -> ToolResult:
    """Pause the user's Spotify."""
    await _call(ctx, "PUT", "/me/player/pause")
    return _done("playback_paused", "Spotify is paused.")


@tool(progress="Skipping…", asks="Skip on your Spotify?", risk="write")
async def skip_on_spotify(
    ctx: ToolContext, *, direction: Literal["next", "previous"] = "next"
) -> ToolResult:
    """Skip to the next or the previous item on the user's Spotify.

    Args:
        direction: Which way to skip.
    """
    await _call(ctx, "POST", f"/me/player/{direction}")
    return _done("playback_skipped", f"Skipped to the {direction} item.")


def _done(kind: str, summary: str) -> ToolResult:
    return ToolResult(response_type=kind, data={}, summary=summary, sources=(SOURCE,))
