"""What the user asked the assistant to remember: sentences, sealed, seen and changed by them.

Nothing gets here by itself. A tool call that remembers is made for the user's own words; in a chat
that has read strangers' text it waits for their yes like any other write (`authority`). Of what is
kept, the few items that fit a prompt go into a turn's instructions, from memory: no turn waits for
them.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from common import documents
from common.assistant.retrying import create_once
from common.documents import Clock, new_id
from common.errors import Conflict, InvalidInput, NotFound, OdaiError
from common.log import get_logger
from common.store import Create, Delete, Query, Snapshot, Store, Update
from common.tools.shapes import STOP, WORD, stem
from common.vault import Vault

log = get_logger(__name__)

MOST = 200  # items of one user
LONGEST = 400  # characters of one
SHOWN = 12  # items in a turn's instructions
SHOWN_CHARACTERS = 2000
_ALWAYS = 6  # the latest ones are told whatever the prompt is about
_FRESH = dt.timedelta(minutes=5)  # how long another process's changes may go unnoticed
_CACHED = 5000


@dataclass(frozen=True, slots=True)
class Memory:
    """One thing remembered. `by` is who noted it: the "assistant" when asked to, or the "user"."""

    id: str
    text: str
    created_at: dt.datetime
    updated_at: dt.datetime
    by: str = "assistant"


@dataclass(slots=True)
class _Known:
    items: list[Memory]
    until: dt.datetime


class Memories:
    """Keeps every user's memories; one for each process."""

    def __init__(self, store: Store, vault: Vault, *, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._reading: dict[str, asyncio.Task[list[Memory]]] = {}

    def of(self, uid: str) -> UserMemories:
        """Return the memories of `uid`, as tools use them."""
        return UserMemories(self, uid)

    async def listed(self, uid: str) -> list[Memory]:
        """Return all of a user's memories, the latest first."""
        return list(await self._read(uid))

    async def add(self, uid: str, text: str, *, by: str = "assistant", key: str = "") -> Memory:
        """Remember `text`; what is known already is returned as it is.

        The same `key` adds once. Raises InvalidInput (empty, too long, too many).
        """
        text = _checked(text)
        known = await self._read(uid)
        if same := next((m for m in known if _plain(m.text) == _plain(text)), None):
            return same
        if len(known) >= MOST:
            raise InvalidInput(f"{MOST} things are remembered already. Forget some first.")
        moment = self._clock()
        name = hashlib.sha256(key.encode()).hexdigest()[:26].upper() if key else new_id()
        memory = Memory(name, text, moment, moment, by)
        path = _path(uid, name)
        sealer = await self._vault.open(uid)
        await create_once(self._store, Create(path, {
            "text": sealer.seal(path, "text", text.encode()), "by": by,
            "created_at": moment, "updated_at": moment,
        }))  # fmt: skip
        self._changed(uid)
        return memory

    async def change(self, uid: str, memory_id: str, text: str) -> Memory:
        """Replace what a memory says. Raises NotFound and InvalidInput."""
        text = _checked(text)
        found = await self._one(uid, memory_id)
        path, now = _path(uid, memory_id), self._clock()
        sealer = await self._vault.open(uid)
        changes = {"text": sealer.seal(path, "text", text.encode()), "updated_at": now}
        try:
            await self._store.commit(Update(path, changes))
        except Conflict as err:
            raise _unknown() from err
        finally:
            self._changed(uid)
        return replace(found, text=text, updated_at=now)

    async def remove(self, uid: str, memory_id: str) -> None:
        """Forget one. Raises NotFound."""
        await self._one(uid, memory_id)
        await self._store.commit(Delete(_path(uid, memory_id)))
        self._changed(uid)

    async def warm(self, uid: str) -> None:
        """Read a user's memories now, so that no turn waits for them."""
        try:
            await self._read(uid)
        except OdaiError as err:
            log.warning("memories not read", extra={"code": err.code})

    def fitting(self, uid: str, prompt: str) -> list[Memory]:
        """Return the few memories that may matter for `prompt`, as far as they are in memory.

        Where they are older than a few minutes they are read again aside, for the next time.
        """
        known = self._known.get(uid)
        if known is None or known.until < self._clock():
            self._refresh(uid)
        return chosen(known.items, prompt) if known else []

    def _changed(self, uid: str) -> None:
        # What is being read now may be from before the change.
        self._known.pop(uid, None)
        self._reading.pop(uid, None)

    def _refresh(self, uid: str) -> asyncio.Task[list[Memory]]:
        if uid not in self._reading:
            task = self._reading[uid] = asyncio.create_task(self._fetch(uid))
            task.add_done_callback(lambda done: self._refreshed(uid, done))
        return self._reading[uid]

    def _refreshed(self, uid: str, done: asyncio.Task[list[Memory]]) -> None:
        if self._reading.get(uid) is done:
            del self._reading[uid]
        if not done.cancelled() and (err := done.exception()):
            log.warning("memories not read", extra={"reason": type(err).__name__})

    async def _read(self, uid: str) -> list[Memory]:
        known = self._known.get(uid)
        if known and known.until >= self._clock():
            return known.items
        return await asyncio.shield(self._refresh(uid))

    async def _fetch(self, uid: str) -> list[Memory]:
        found = await self._store.query(Query(f"{documents.user(uid)}/memories", limit=2 * MOST))
        sealer = await self._vault.open(uid) if found else None
        items = [_memory(sealer, each) for each in found]
        items.sort(key=lambda m: (m.created_at, m.id), reverse=True)
        if self._reading.get(uid) is not asyncio.current_task():
            return items  # changed meanwhile
        self._known[uid] = _Known(items, self._clock() + _FRESH)
        self._known.move_to_end(uid)
        if len(self._known) > _CACHED:
            self._known.popitem(last=False)
        return items

    async def _one(self, uid: str, memory_id: str) -> Memory:
        self._changed(uid)
        found = next((m for m in await self._read(uid) if m.id == memory_id), None)
        if found is None:
            raise _unknown()
        return found


class UserMemories:
    """One user's memories: `common.tools.context.Memories`."""

    def __init__(self, memories: Memories, uid: str) -> None:
        self._memories = memories
        self._uid = uid

    async def remember(self, text: str, *, key: str) -> dict[str, Any]:
        """Remember a sentence, once for each `key`."""
        return shown(await self._memories.add(self._uid, text, key=key))

    async def forget(self, about: str) -> list[dict[str, Any]]:
        """Forget the one memory that is meant; return it, or the several that may be meant."""
        known = await self._memories.listed(self._uid)
        meant = _meant(known, about)
        if not meant:
            raise NotFound("Nothing like that is remembered. List what is.")
        if len(meant) == 1:
            await self._memories.remove(self._uid, meant[0].id)
        return [shown(memory) for memory in meant]

    async def listed(self) -> list[dict[str, Any]]:
        """Return all, the latest first."""
        return [shown(memory) for memory in await self._memories.listed(self._uid)]


def chosen(items: Sequence[Memory], prompt: str) -> list[Memory]:
    """Return those of `items` (latest first) that share words with `prompt`, then the latest."""
    asked = _stems(prompt)
    scored = [(len(asked & _stems(memory.text)), memory) for memory in items]
    fitting = [m for score, m in sorted(scored, key=lambda s: -s[0]) if score]
    latest = [m for m in items[:_ALWAYS] if m not in fitting]
    kept: list[Memory] = []
    size = 0
    for memory in [*fitting[: SHOWN - min(len(latest), 3)], *latest][:SHOWN]:
        size += len(memory.text)
        if size > SHOWN_CHARACTERS:
            break
        kept.append(memory)
    return kept


def shown(memory: Memory) -> dict[str, Any]:
    """Return a memory as clients read it."""
    return {
        "id": memory.id,
        "text": memory.text,
        "by": memory.by,
        "created_at": memory.created_at.isoformat(),
        "updated_at": memory.updated_at.isoformat(),
    }


def _meant(known: Sequence[Memory], about: str) -> list[Memory]:
    """Return the memories that `about` names: by id, whole, or by all of its telling words."""
    exact = [m for m in known if m.id == about.strip() or _plain(m.text) == _plain(about)]
    if exact:
        return exact[:1]
    words = _stems(about) - _FILLERS
    return [m for m in known if words and words <= _stems(m.text)]


_FILLERS = {stem(word) for word in ("forget", "remember", "remembered", "memory", "please")}


def _stems(text: str) -> set[str]:
    return {stem(word) for word in WORD.findall(text.casefold()) if word not in STOP}


def _plain(text: str) -> str:
    return " ".join(WORD.findall(text.casefold()))


def _checked(text: str) -> str:
    text = " ".join(text.split())
    if not 0 < len(text) <= LONGEST:
        raise InvalidInput(f"text must be one sentence of at most {LONGEST} characters.")
    return text


def _memory(sealer: Any, found: Snapshot) -> Memory:
    data = found.data
    text = sealer.unseal(found.path, "text", data["text"]).decode()
    return Memory(
        found.id, text, data["created_at"], data["updated_at"], data.get("by", "assistant")
    )


def _path(uid: str, memory_id: str) -> str:
    if not memory_id.isalnum():
        raise _unknown()
    return f"{documents.user(uid)}/memories/{memory_id}"


def _unknown() -> NotFound:
    return NotFound("That is not remembered.")
