"""A user's past chats: paged, searched, exported.

Texts are sealed with the user's key, so that a store has nothing to build an index of: an index of
their words (SQLite's FTS as well as any search service) would hold them in clear. A search
therefore opens chats and reads them, the latest first, SCANNED of them at a time with the latest
TURNS turns of each, and says where to go on. A laptop reads tens of thousands of messages a second
that way; on Firestore each turn that is read is billed as a document (docs/decisions).
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from common import documents
from common.errors import InvalidInput, NotFound
from common.store import Query, Snapshot, Store
from common.vault import Sealer, Vault

SCANNED = 50  # chats opened for one page of results
TURNS = 200  # the latest turns of each
MOST_HITS = 30
LONGEST = 200  # characters of a search
_AROUND = 60  # characters shown on either side of a find
_PAGE = 100
_PHRASE = re.compile(r'"([^"]+)"|(\S+)')


@dataclass(frozen=True, slots=True)
class ChatLine:
    """A chat in a list."""

    id: str
    title: str
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Hit:
    """A find: in a chat's title (`turn_id` "") or in what was said in a turn."""

    chat: ChatLine
    turn_id: str
    role: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class Found:
    """A page of finds, the latest chats first; `after` is where the next begins, "" at the end."""

    hits: list[Hit]
    after: str


@dataclass(frozen=True, slots=True)
class Said:
    """A message or a tool call of a chat; `at` is when its turn began."""

    turn_id: str
    at: dt.datetime | None
    role: str
    text: str
    tool: str = ""
    arguments: str = ""


class History:
    """Reads past chats; one for each process."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault

    async def page(
        self, uid: str, *, after: str = "", limit: int = 50
    ) -> tuple[list[ChatLine], str]:
        """Return a page of a user's chats, the latest first, and where the next one begins."""
        found = await self._chats(uid, after, limit + 1)
        sealer = await self._vault.open(uid)
        lines = [_line(sealer, each) for each in found[:limit]]
        return lines, lines[-1].id if len(found) > limit else ""

    async def search(self, uid: str, text: str, *, after: str = "") -> Found:
        """Return where all words of `text` were said, "in quotes" as they stand; accents aside.

        A chat gives at most three finds. Raises InvalidInput for an empty or endless search.
        """
        needles = _needles(text)
        chats = await self._chats(uid, after, SCANNED + 1)
        sealer = await self._vault.open(uid)
        hits: list[Hit] = []
        last = ""
        for chat in chats[:SCANNED]:
            hits += await self._hits(sealer, chat, needles)
            last = chat.id
            if len(hits) >= MOST_HITS:
                break
        more = last != "" and last != chats[-1].id
        return Found(hits, last if more else "")

    async def messages(self, chat_id: str, uid: str) -> AsyncIterator[Said]:
        """Yield everything said in a chat, oldest first. NotFound: it is not this user's."""
        await self._own(chat_id, uid)
        sealer = await self._vault.open(uid)
        begun = {}
        async for turn in self._pages(documents.turns(chat_id)):
            begun[turn.id] = turn.data["started_at"]
        async for row in self._pages(documents.items(chat_id)):
            for said in _said(sealer, row):
                yield Said(row.id, begun.get(row.id), *said)

    async def title(self, chat_id: str, uid: str) -> str:
        """Return a chat's title."""
        chat = await self._own(chat_id, uid)
        return _line(await self._vault.open(uid), chat).title

    async def _own(self, chat_id: str, uid: str) -> Snapshot:
        chat = await self._store.get(documents.chat(chat_id))
        if chat is None or chat.data.get("owner") != uid:
            raise NotFound("There is no such chat.")
        return chat

    async def _hits(self, sealer: Sealer, chat: Snapshot, needles: Sequence[str]) -> list[Hit]:
        line = _line(sealer, chat)
        hits = []
        if excerpt := _excerpt(line.title, needles):
            hits.append(Hit(line, "", "title", excerpt))
        query = Query(documents.items(chat.id), order_by=(("id", "desc"),), limit=TURNS)
        for row in await self._store.query(query):
            for role, text, *_ in _said(sealer, row):
                if role != "tool" and (excerpt := _excerpt(text, needles)):
                    hits.append(Hit(line, row.id, role, excerpt))
                    break
            if len(hits) == 3:
                break
        return hits

    async def _chats(self, uid: str, after: str, limit: int) -> list[Snapshot]:
        start = await self._own(after, uid) if after else None
        return await self._store.query(Query(
            "chats", where=(("owner", "==", uid),), order_by=(("updated_at", "desc"),),
            start_after=start, limit=limit,
        ))  # fmt: skip

    async def _pages(self, collection: str) -> AsyncIterator[Snapshot]:
        after: Snapshot | None = None
        while True:
            page = await self._store.query(Query(
                collection, order_by=(("id", "asc"),), start_after=after, limit=_PAGE
            ))  # fmt: skip
            for row in page:
                yield row
            if len(page) < _PAGE:
                return
            after = page[-1]


def markdown(title: str, said: Sequence[Said]) -> str:
    """Return a chat as a Markdown page; calls of tools are named, their results left out."""
    lines = [f"# {title or 'Chat'}", ""]
    turn = ""
    for each in said:
        if each.turn_id != turn and each.at:
            lines += [f"*{each.at:%Y-%m-%d %H:%M} UTC*", ""]
        turn = each.turn_id
        match each.role:
            case "user":
                lines += [f"**You:** {each.text}", ""]
            case "assistant":
                lines += [f"**ODAI:** {each.text}", ""]
            case _:
                lines += [f"> {each.tool}", ""]
    return "\n".join(lines)


def _said(sealer: Sealer, row: Snapshot) -> Iterator[tuple[str, str, str, str]]:
    """Yield (role, text, tool, arguments) of what one turn's items say, in order."""
    items = msgspec.json.decode(sealer.unseal(row.path, "items", row.data["items"]))
    calls = {i["call_id"]: i for i in items if i.get("type") == "function_call"}
    for item in items:
        if item.get("role") in ("user", "assistant"):
            if text := _text(item.get("content")):
                yield item["role"], text, "", ""
        elif item.get("type") == "function_call_output":
            call = calls.get(item["call_id"], {})
            yield (
                "tool", _text(item.get("output")), call.get("name", ""), call.get("arguments", "")
            )  # fmt: skip


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(part.get("text") or part.get("refusal") or "" for part in parts)


def _line(sealer: Sealer, chat: Snapshot) -> ChatLine:
    title = sealer.unseal(chat.path, "title", chat.data["title"]).decode()
    return ChatLine(chat.id, title, chat.data["updated_at"])


def _needles(text: str) -> list[str]:
    if len(text) > LONGEST:
        raise InvalidInput(f"Search for at most {LONGEST} characters.")
    needles = [_folded(m[1] or m[2]) for m in _PHRASE.finditer(text)]
    needles = [needle for needle in needles if needle.strip()]
    if not needles:
        raise InvalidInput("Say what to search for.")
    return needles


def _excerpt(text: str, needles: Sequence[str]) -> str:
    """Return what is around the first needle, "" where one of them is not in `text`."""
    folded = _folded(text)
    places = [folded.find(needle) for needle in needles]
    if -1 in places:
        return ""
    # Folding may shorten or lengthen a text, by so little that the place still serves.
    at, length = places[0], len(needles[0])
    start, end = max(0, at - _AROUND), min(len(text), at + length + _AROUND)
    shown = " ".join(text[start:end].split())
    return f"{'…' if start else ''}{shown}{'…' if end < len(text) else ''}"


def _folded(text: str) -> str:
    """Return `text` as it is compared: without case and accents."""
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in plain if not unicodedata.combining(c))
