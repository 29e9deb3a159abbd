"""Evernote: search, read and make notes through Evernote's own MCP server.

https://evernote.com/integrations/mcp · https://modelcontextprotocol.io/specification

Evernote gives out no new keys for its old API; its MCP server (paid plans) reads and creates, and
neither changes nor deletes. The operator sets its address. Quirks seen in November 2026:
- The names of the server's tools are not published: they are read from its list, by what they do.
- Every call is a JSON-RPC POST; the answer is JSON or one server-sent event; a session id may come
  with the first. Failures of a tool are a result with `isError`.
- Making a note has no idempotency key: it is never repeated by itself.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from common.errors import InvalidInput, NotFound, VendorRejected, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import record, records, shorten, text, values

CONNECTOR = Connector(
    name="Evernote",
    category="productivity",
    description="Searches, reads and makes notes in the user's Evernote.",
    examples=(
        "Find my Evernote note about the boiler.",
        "Read my packing list from Evernote.",
        "Save this as a note in Evernote.",
    ),
    keywords=words(
        "evernote, note, notes, notebook, notebooks, jot, clip, clipping, remember, write "
        "down, save, jotted, noted, clipped, note down, memo, memos, ideas, idea, recipes, "
        "scribble, diary, list, packing, web clip, my notes, wrote down, save this, written, "
        "garden, pull up, scanned, scan, receipt, reminders, jot down, thoughts, quick note, "
        "keep a, my evernote, evernotes, note about, note to, thought"
    ),
    hosts=("*.evernote.com",),
    auth="oauth",
    provider="evernote",
    secrets=("EVERNOTE_MCP_URL",),
    per_second=2,
)

SOURCE = Source("Evernote", "https://www.evernote.com/client/web")
VERSION = "2025-06-18"
SHOWN = 4500


@dataclass(frozen=True)
class Session:
    """An open conversation with the server: its headers, and its tools by name."""

    headers: dict[str, str]
    tools: dict[str, dict[str, Any]]


async def _rpc(
    ctx: ToolContext, headers: dict[str, str], method: str, params: Any, *, read: bool = True
) -> tuple[dict[str, Any], str]:
    """Return the result of a call and the session id that came with it, if any."""
    call: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
    notice = method.startswith("notifications/")
    if not notice:
        call["id"] = 1
    reply = await ctx.http.request(
        "POST",
        ctx.secret("EVERNOTE_MCP_URL"),
        json=call,
        headers=headers,
        idempotent=read,
        timeout_s=15,
    )
    if notice:
        return {}, ""
    raw = reply.body
    if reply.headers.get("content-type", "").startswith("text/event-stream"):
        events = re.findall(r"^data: ?(.*)$", reply.text(), re.MULTILINE)
        answers = [event for event in events if '"result"' in event or '"error"' in event]
        raw = (answers or [""])[-1].encode()
    try:
        answer = record(json.loads(raw))
    except ValueError:
        answer = {}
    if not isinstance(answer.get("result"), dict):
        raise VendorUnavailable("Evernote sent an answer that cannot be read. Try again.")
    return answer["result"], reply.headers.get("mcp-session-id", "")


async def _open(ctx: ToolContext) -> Session:
    ctx.secret("EVERNOTE_MCP_URL")
    headers = {
        "Authorization": f"Bearer {await ctx.access_token()}",
        "Accept": "application/json, text/event-stream",
    }
    hello = {
        "protocolVersion": VERSION,
        "capabilities": {},
        "clientInfo": {"name": "odai", "version": "1"},
    }
    told, session = await _rpc(ctx, headers, "initialize", hello)
    headers["MCP-Protocol-Version"] = text(told.get("protocolVersion")) or VERSION
    if session:
        headers["Mcp-Session-Id"] = session
    await _rpc(ctx, headers, "notifications/initialized", {})
    listed, _ = await _rpc(ctx, headers, "tools/list", {})
    return Session(headers, {text(t.get("name")): t for t in records(listed.get("tools"))})


def _choose(session: Session, verbs: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """Return the server's tool for notes whose name has one of `verbs`, the first verb first."""
    for verb in verbs:
        for name in sorted(session.tools, key=lambda name: ("note" not in name.lower(), name)):
            words = re.findall("[a-z]+", re.sub("([A-Z])", r"_\1", name).lower())
            if verb in words and not {"notebook", "notebooks", "tag", "tags"} & set(words):
                return name, record(record(session.tools[name].get("inputSchema")))
    raise VendorRejected("This Evernote account does not offer that. It may need a paid plan.")


def _argument(schema: dict[str, Any], *names: str) -> str:
    """Return the tool's own name of an argument that is called like one of `names`."""
    known = record(schema.get("properties"))
    for name in names:
        for key in known:
            if name in key.lower():
                return key
    needed = [text(key) for key in values(schema.get("required"))]
    return next(filter(None, needed), names[0])


async def _call(
    ctx: ToolContext, session: Session, name: str, arguments: dict[str, Any], *, read: bool = True
) -> str:
    result, _ = await _rpc(
        ctx, session.headers, "tools/call", {"name": name, "arguments": arguments}, read=read
    )
    if result.get("isError") is True:
        raise NotFound("Evernote could not do that. Check the note's id, or search for it first.")
    if not isinstance(result.get("content"), list):
        raise VendorUnavailable("Evernote sent no answer. Try again in a moment.")
    parts = (text(part.get("text")) for part in records(result["content"]))
    return "\n".join(filter(None, parts))


def _answer(kind: str, found: str, nothing: str, *, lead: str = "") -> ToolResult:
    start = shorten(" ".join(found.split()), 300)
    shown = shorten(found, SHOWN)
    while len(json.dumps(shown, ensure_ascii=False).encode()) > SHOWN + 400:
        shown = shorten(shown, len(shown.encode()) - 300)
    return ToolResult(
        response_type=kind,
        data={"text": shown, "cut": shown != found},
        summary=f"{lead}{start}" if start else nothing,
        sources=(SOURCE,),
        untrusted=True,
    )


@tool(progress="Searching your notes…", timeout_s=30)
async def search_evernote_notes(ctx: ToolContext, *, query: str) -> ToolResult:
    """Find notes in the user's Evernote.

    Args:
        query: Words to look for.
    """
    if not query.strip():
        raise InvalidInput("query must say what to look for.")
    session = await _open(ctx)
    name, schema = _choose(session, ("search", "find", "query"))
    key = _argument(schema, "query", "text", "search", "words")
    found = await _call(ctx, session, name, {key: query.strip()})
    empty = found.strip() in ("", "[]", "{}", "null")
    nothing = f"Evernote has no note about {query.strip()}."
    return _answer("note_list", "" if empty else found, nothing, lead="In Evernote: ")


@tool(progress="Opening the note…", timeout_s=30)
async def read_evernote_note(ctx: ToolContext, *, note_id: str) -> ToolResult:
    """Read a note of the user's Evernote.

    Args:
        note_id: The id that search_evernote_notes gives.
    """
    if not note_id.strip():
        raise InvalidInput("note_id must be an id from search_evernote_notes.")
    session = await _open(ctx)
    name, schema = _choose(session, ("read", "get", "fetch", "open"))
    key = _argument(schema, "guid", "id", "note")
    found = await _call(ctx, session, name, {key: note_id.strip()})
    return _answer("note", found, "The note is empty.")


@tool(
    progress="Saving a note…",
    asks="Save this note in your Evernote?",
    risk="write",
    timeout_s=30,
)
async def create_evernote_note(ctx: ToolContext, *, title: str, content: str) -> ToolResult:
    """Make a new note in the user's Evernote.

    Args:
        title: Title, up to 255 characters.
        content: The text of the note.
    """
    if not title.strip() or len(title.strip()) > 255:
        raise InvalidInput("title must hold 1 to 255 characters.")
    session = await _open(ctx)
    name, schema = _choose(session, ("create", "add", "new"))
    arguments = {
        _argument(schema, "title", "name"): " ".join(title.split()),
        _argument(schema, "content", "body", "text", "markdown"): content,
    }
    made = await _call(ctx, session, name, arguments, read=False)
    return ToolResult(
        response_type="note_saved",
        data={"title": title.strip(), "text": shorten(made, 600)},
        summary=f"Saved the note {title.strip()}.",
        sources=(SOURCE,),
    )
