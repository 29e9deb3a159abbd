"""Slack: search, read and write messages as the user.

https://docs.slack.dev/reference/methods · https://docs.slack.dev/apis/web-api/rate-limits

Quirks seen in November 2026:
- Failures are a 200 with `ok: false` and a word; only rate limits have a status (429).
- Apps outside Slack's marketplace may read a channel's history once a minute, 15 messages at most:
  searching is the better way.
- `ts` is an id in text, never a number. Text is escaped and holds `<@U…>`, `<#C…|name>`, `<url|…>`.
- Posting has no idempotency key: it is never repeated by itself.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import html
import re
from typing import Annotated, Any, TypeAlias, TypedDict

from msgspec import Meta

from common.errors import (
    InvalidInput,
    NotAllowed,
    NotFound,
    OdaiError,
    RateLimited,
    ReauthRequired,
    VendorRejected,
    VendorUnavailable,
)
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import fitting, from_unix, record, records, shorten, spoken_date, text

CONNECTOR = Connector(
    name="Slack",
    category="productivity",
    description="Searches, reads and posts messages in the user's Slack.",
    examples=(
        "Search Slack for the launch date.",
        "What was said in #design today?",
        "Send a Slack message to Dana that I'm running late.",
    ),
    keywords=words(
        "slack, channel, channels, message, messages, dm, direct message, post, team, "
        "colleague, workspace, thread, mention, chat, announce, ping, pinged, said, wrote, "
        "write, tell, mentions, mentioned, posted, conversation, reply, group, huddle, emoji, "
        "coworker, coworkers, direct messages, dms, channel called, announcement, discussion, "
        "direct, teammates, write in, team channel, told, channel messages, unread, what did, "
        "hashtag, tell everyone, notify, inform, let everyone, post in, posted in, send a, "
        "the channel, channel im, did i, miss in, missed in, catch me, catch up, slack "
        "message, on slack, in slack, standup notes, out sick, the team, emoji reaction, "
        "slackbot"
    ),
    hosts=("slack.com",),
    auth="oauth",
    provider="slack",
    scopes=(
        "channels:read",
        "groups:read",
        "im:read",
        "im:write",
        "mpim:read",
        "channels:history",
        "groups:history",
        "im:history",
        "mpim:history",
        "users:read",
        "users:read.email",
        "chat:write",
        "search:read",
    ),
    per_second=2,
    licence="Found messages must not be kept",
)

API = "https://slack.com/api/"
APP = Source("Slack", "https://app.slack.com/client")
REVOKED = {"not_authed", "invalid_auth", "account_inactive", "token_revoked", "token_expired"}
MISSING = {
    "channel_not_found",
    "user_not_found",
    "users_not_found",
    "thread_not_found",
    "not_in_channel",
}

Limit: TypeAlias = Annotated[int, Meta(ge=1, le=15)]


class Message(TypedDict):
    """A message; `time` is in the user's zone; `ts` with `channel_id` answers its thread."""

    ts: str
    channel_id: str
    channel: str
    author: str
    time: str
    text: str
    url: str


async def _call(
    ctx: ToolContext, method: str, *, json: Any = None, **params: Any
) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {await ctx.access_token()}"}
    if json is None:
        reply = await ctx.http.get(API + method, params=params, headers=headers)
    else:
        headers["Content-Type"] = "application/json; charset=utf-8"
        reply = await ctx.http.request("POST", API + method, json=json, headers=headers)
    body = record(reply.json())
    if body.get("ok") is not True:
        raise _problem(text(body.get("error")))
    return body


def _problem(word: str) -> OdaiError:
    if word in REVOKED:
        return ReauthRequired("Slack no longer lets us in. Link it again, then ask again.")
    if word in ("missing_scope", "restricted_action", "ekm_access_denied", "cant_post"):
        return NotAllowed("Slack does not allow this to your account. Link it with more rights.")
    if word in ("ratelimited", "rate_limited"):
        return RateLimited("Slack takes no more requests now. Try again in a minute.")
    if word in MISSING:
        return NotFound("Slack has no such channel or person, or you are not in it.")
    if word in ("", "internal_error", "fatal_error", "service_unavailable"):
        return VendorUnavailable("Slack has a problem of its own. Try again in a few minutes.")
    return VendorRejected("Slack did not accept the request. Change what was asked for.")


def _readable(value: object) -> str:
    """Return a message's text with its references written out and entities resolved."""
    said = re.sub(r"<[@#!][^|<>]*\|([^<>]*)>", r"\1", text(value))
    said = re.sub(r"<([@#!][^<>]*)>", r"\1", said)
    said = re.sub(r"<([^|<>]+)\|([^<>]*)>", r"\2 (\1)", said)
    return shorten(html.unescape(re.sub(r"<([^<>]+)>", r"\1", said)), 420)


def _time(ctx: ToolContext, ts: object) -> str:
    sent = from_unix(ts)
    zone = ctx.local_now().tzinfo
    return sent.astimezone(zone).isoformat(timespec="minutes") if sent else ""


def _when(message: Message) -> str:
    sent = dt.datetime.fromisoformat(message["time"]) if message["time"] else None
    return f" on {spoken_date(sent.date())}" if sent else ""


def _listed(kind: str, messages: list[Message], nothing: str) -> ToolResult:
    messages = fitting(messages)
    told = "; ".join(
        f"{m['author']}{_when(m)}: {shorten(' '.join(m['text'].split()), 100) or '(no text)'}"
        for m in messages[:3]
    )
    return ToolResult(
        response_type=kind,
        data={"messages": messages},
        summary=shorten(told, 480) if told else nothing,
        untrusted=True,
        sources=tuple(Source(f"Slack, {m['channel']}", m["url"]) for m in messages[:5] if m["url"])
        or (APP,),
    )


@tool(progress="Searching Slack…")
async def search_slack_messages(ctx: ToolContext, *, query: str, limit: Limit = 8) -> ToolResult:
    """Search all messages in the user's Slack, newest first.

    Args:
        query: Words, or Slack's modifiers, such as "launch in:#design from:@dana".
        limit: How many, 1 to 15.
    """
    if not query.strip():
        raise InvalidInput("query must say what to look for.")
    body = await _call(ctx, "search.messages", query=query.strip(), count=limit, sort="timestamp")
    messages = []
    for row in records(record(body.get("messages")).get("matches"))[:limit]:
        channel = record(row.get("channel"))
        messages.append(
            Message(
                ts=text(row.get("ts")),
                channel_id=text(channel.get("id")),
                channel="a direct message"
                if channel.get("is_im")
                else f"#{text(channel.get('name'))}",
                author=text(row.get("username")) or text(row.get("user")) or "someone",
                time=_time(ctx, row.get("ts")),
                text=_readable(row.get("text")),
                url=text(row.get("permalink")),
            )
        )
    return _listed("slack_messages", messages, f"Slack has no message about {query.strip()}.")


@tool(progress="Listing your Slack channels…", cache_s=60)
async def list_slack_channels(ctx: ToolContext, *, name: str | None = None) -> ToolResult:
    """List channels of the user's Slack with their ids.

    Args:
        name: Part of a channel's name; null for all the user is in.
    """
    wanted = (name or "").strip().lstrip("#").lower()
    found: list[dict[str, Any]] = []
    cursor = ""
    for _ in range(5):  # a thousand channels; more are found by their name in a search
        body = await _call(
            ctx,
            "conversations.list",
            types="public_channel,private_channel",
            limit=200,
            exclude_archived=True,
            cursor=cursor or None,
        )
        found += records(body.get("channels"))
        cursor = text(record(body.get("response_metadata")).get("next_cursor"))
        if not cursor:
            break
    rows = [
        {
            "id": text(row.get("id"))[:20],
            "name": text(row.get("name"))[:80],
            "topic": shorten(_readable(record(row.get("topic")).get("value")), 80),
            "member": row.get("is_member") is True,
        }
        for row in found
        if wanted in text(row.get("name")) and (wanted or row.get("is_member") is True)
    ]
    rows.sort(key=lambda row: (row["name"] != wanted, not row["member"], str(row["name"])))
    told = ", ".join(f"#{row['name']}" for row in rows[:10])
    return ToolResult(
        response_type="slack_channels",
        data={"channels": fitting(rows[:25]), "total": len(rows)},
        summary=shorten(f"Slack channels: {told}.", 400) if told else "No such channel in Slack.",
        sources=(APP,),
        untrusted=True,
    )


@tool(progress="Reading the channel…", timeout_s=20)
async def fetch_slack_messages(
    ctx: ToolContext, *, channel_id: str, thread_ts: str | None = None, limit: Limit = 10
) -> ToolResult:
    """Read the latest messages of a Slack channel, or of one thread. Allowed once a minute.

    Args:
        channel_id: The id that list_slack_channels or a search gives.
        thread_ts: The ts of a message, to read its thread; null for the channel.
        limit: How many, 1 to 15.
    """
    channel = _id(channel_id)
    if thread_ts:
        body = await _call(ctx, "conversations.replies", channel=channel, ts=thread_ts, limit=limit)
    else:
        body = await _call(ctx, "conversations.history", channel=channel, limit=limit)
    rows = records(body.get("messages"))[:limit]
    names = await _names(ctx, [text(row.get("user")) for row in rows])
    messages = [
        Message(
            ts=text(row.get("ts")),
            channel_id=channel,
            channel=channel,
            author=names.get(text(row.get("user")))
            or text(record(row.get("bot_profile")).get("name"))
            or "an app",
            time=_time(ctx, row.get("ts")),
            text=_readable(row.get("text")),
            url="",
        )
        for row in rows
    ]
    return _listed("slack_messages", messages, "There are no messages in that channel.")


def _id(value: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Z0-9]{6,20}", value.strip()):
        raise InvalidInput("The id must be one that list_slack_channels or find_slack_user gives.")
    return value.strip()


async def _names(ctx: ToolContext, ids: list[str]) -> dict[str, str]:
    """Return the names of the first few authors; who cannot be looked up keeps the id."""

    async def name(user: str) -> str:
        try:
            return _person((await _call(ctx, "users.info", user=user)).get("user"))["name"]
        except (NotFound, VendorUnavailable, RateLimited, NotAllowed):
            return user

    wanted = list(dict.fromkeys(filter(None, ids)))[:6]
    found = await asyncio.gather(*(name(user) for user in wanted))
    return {**{user: user for user in ids}, **dict(zip(wanted, found, strict=True))}


def _person(value: object) -> dict[str, str]:
    row = record(value)
    profile = record(row.get("profile"))
    names = (profile.get("real_name"), row.get("real_name"), row.get("name"))
    return {
        "id": text(row.get("id"))[:20],
        "name": shorten(next(filter(None, map(text, names)), "someone"), 80),
        "title": shorten(text(profile.get("title")), 80),
        "email": text(profile.get("email"))[:80],
        "time_zone": text(row.get("tz"))[:40],
    }


@tool(progress="Finding that person on Slack…", cache_s=300)
async def find_slack_user(ctx: ToolContext, *, name: str) -> ToolResult:
    """Find a colleague in the user's Slack by name or email address.

    Args:
        name: Part of the name, or the whole email address.
    """
    wanted = name.strip().lstrip("@").casefold()
    if not wanted:
        raise InvalidInput("name must say who is looked for.")
    people: list[dict[str, str]] = []
    if "@" in wanted:
        try:
            people = [_person((await _call(ctx, "users.lookupByEmail", email=wanted)).get("user"))]
        except NotFound:
            people = []
    else:
        body = await _call(ctx, "users.list", limit=200)
        for row in records(body.get("members")):
            told = " ".join([text(row.get("name")), *_person(row).values()]).casefold()
            if wanted in told and row.get("deleted") is not True:
                people.append(_person(row))
    told = "; ".join(", ".join(filter(None, (p["name"], p["title"]))) for p in people[:4])
    return ToolResult(
        response_type="slack_people",
        data={"people": fitting(people[:10])},
        summary=shorten(
            f"On Slack: {told}." if told else f"Slack knows nobody called {name}.", 400
        ),
        sources=(APP,),
        untrusted=True,
    )


@tool(progress="Posting to Slack…", asks="Post this message in Slack as you?", risk="external")
async def send_slack_message(
    ctx: ToolContext, *, channel_id: str, message: str, thread_ts: str | None = None
) -> ToolResult:
    """Post a message in the user's Slack as the user, to a channel or a person.

    Args:
        channel_id: Id of the channel, or of a person for a direct message.
        message: The text to post.
        thread_ts: The ts of the message to answer in its thread; null for a new message.
    """
    channel, said = _id(channel_id), message.strip()
    if not said or len(said) > 4000:
        raise InvalidInput("message must hold 1 to 4000 characters.")
    if channel[0] in "UW":
        opened = await _call(ctx, "conversations.open", json={"users": channel})
        channel = text(record(opened.get("channel")).get("id")) or channel
    escaped = html.escape(said, quote=False)  # what the user wrote is text, not references
    post = {"channel": channel, "text": escaped}
    if thread_ts:
        post["thread_ts"] = thread_ts
    body = await _call(ctx, "chat.postMessage", json=post)
    return ToolResult(
        response_type="slack_message_sent",
        data={"channel_id": channel, "ts": text(body.get("ts"))[:40]},
        summary="The message is posted on Slack.",
        sources=(APP,),
    )
