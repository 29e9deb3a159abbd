"""Chats as stored: what a turn reads before it starts and writes as it goes.

A chat's document is small and names the turn that runs. A turn's document holds its owner and
lease. Journal chunks are created with contiguous numbers, and that is the fence: of two processes
that both think they own a turn, the second to create chunk *n* fails and stops.

A plain text turn costs two commits: `begin` (chat, turn, the user's item, first chunk) and `end`
(chat, turn, items, last chunk).
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from common import documents
from common.assistant.journal import Chunk, Entry, decode_entries, replay
from common.assistant.protocol import Cursor
from common.documents import TURN_ID, Clock, Data
from common.errors import Conflict, InvalidInput, NotFound, VendorUnavailable
from common.presence import unknown
from common.store import (
    Change,
    Create,
    Delete,
    Merge,
    Query,
    Remove,
    Snapshot,
    Store,
    Transaction,
    Union,
    Update,
    Watch,
    Write,
)
from common.vault import Sealer, Vault

LEASE_SECONDS = 30.0
HISTORY_TURNS = 40
HISTORY_BYTES = 400_000
_PROMPT_ID_DAYS = 7
_APPEND_ATTEMPTS = 3
_MOST_OTHERS = 4  # processes named beside this one: who is dropped names itself again
_ITEM = "items"

Item = dict[str, Any]  # a Responses API input item


@dataclass(slots=True)
class ChatState:
    """A chat as this process knows it. `version` is "" while nothing is stored yet."""

    id: str
    uid: str
    sealer: Sealer
    title: str = ""
    version: str = ""
    running: str | None = None
    stale: bool = False  # another process moved on: read again before the next turn
    others: frozenset[str] = frozenset()  # other processes that show the chat
    last: Cursor | None = None
    heard: tuple[str | None, Cursor | None] = (None, None)  # what was running and last, by word
    tainted: bool = False  # it holds text written by strangers
    granted: frozenset[str] = frozenset()  # tools the user always allows
    timezone: str = "UTC"  # IANA name of the zone that the user's device was in last
    updated_at: dt.datetime | None = None
    history: list[tuple[str, list[Item]]] = field(default_factory=list)  # (turn id, its items)
    _sizes: dict[str, tuple[list[Item], int]] = field(default_factory=dict, repr=False)

    def input_items(self) -> list[Item]:
        """Return the model's history: the latest turns that fit HISTORY_TURNS and _BYTES."""
        return [item for items, _ in self._kept() for item in items]

    def input_bytes(self) -> int:
        """Return the size of the model's history as JSON."""
        return sum(size for _, size in self._kept())

    def _kept(self) -> list[tuple[list[Item], int]]:
        """Return the latest turns' items that fit, oldest first, each with its size."""
        known, self._sizes = self._sizes, {}
        kept: list[tuple[list[Item], int]] = []
        total = 0
        for turn_id, items in reversed(self.history[-HISTORY_TURNS:]):
            of, size = known.get(turn_id, (None, 0))
            if of is not items:  # a turn's items are replaced whole, never changed
                size = len(msgspec.json.encode(items))
            self._sizes[turn_id] = items, size
            total += size
            if kept and total > HISTORY_BYTES:
                break
            kept.append((items, size))
        return kept[::-1]


@dataclass(frozen=True, slots=True)
class Naming:
    """Whose a chat's title is ("auto", "model" or "user"), and after which turn it was given."""

    by: str
    turn: str


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """A turn as stored. `prompt` is in clear here, sealed in the store."""

    id: str
    prompt: str
    prompt_id: str
    started_at: dt.datetime
    status: str
    owner: str
    lease_until: dt.datetime


class DuplicatePrompt(Conflict):
    """A prompt with this id was accepted before."""


class ChatBusy(Conflict):
    """Another process runs a turn of this chat."""


class Chats:
    """Reads and writes chats.

    `instance` names this process in leases; `gone(instance)` says of one that it is known to be
    dead, whatever its lease says.
    """

    def __init__(
        self,
        store: Store,
        vault: Vault,
        *,
        clock: Clock,
        instance: str,
        gone: Callable[[str], bool] = unknown,
    ) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._gone = gone
        self.instance = instance

    async def load(self, chat_id: str, uid: str) -> ChatState:
        """Return the chat with its recent history; a new one where it is unknown.

        Raises NotFound where it is another user's: whether it exists is not theirs to know.
        """
        state = ChatState(id=chat_id, uid=uid, sealer=await self._vault.open(uid))
        user = await self._store.get(documents.user(uid))
        state.granted = frozenset(user.data.get("granted", ())) if user else frozenset()
        state.timezone = (user.data.get("timezone") if user else None) or "UTC"
        await self.refresh(state)
        return state

    async def grant(self, state: ChatState, tool: str) -> None:
        """Note that the user always allows `tool`."""
        await self._store.commit(Merge(documents.user(state.uid), {"granted": Union((tool,))}))
        state.granted |= {tool}

    async def note_timezone(self, state: ChatState, zone: str) -> None:
        """Note where the user's device is, for what happens when none is there."""
        await self._store.commit(Merge(documents.user(state.uid), {"timezone": zone}))
        state.timezone = zone

    async def refresh(self, state: ChatState) -> None:
        """Read the chat again, and its history where it has moved on."""
        snapshot = await self._store.get(documents.chat(state.id))
        if snapshot is None:
            return
        if snapshot.data.get("owner") != state.uid:
            raise NotFound("There is no such chat. Start a new one.")
        moved = state.stale or snapshot.version != state.version
        self._read(state, snapshot)
        if moved:
            state.history = await self._history(state)

    async def begin(
        self,
        state: ChatState,
        turn: TurnRecord,
        item: Item,
        chunk: Chunk,
        *,
        replaces: str | None = None,
        also: Sequence[Write] = (),
    ) -> Sequence[str]:
        """Take the chat for `turn` and store how it starts, in one commit with `also`.

        Returns the versions of `also`, none where they are not known. `replaces` names a turn that
        is forgotten, with all that followed it. Raises
        DuplicatePrompt, ChatBusy, or Conflict when the chat changed meanwhile: refresh, retry.
        """
        items_path = f"{documents.items(state.id)}/{turn.id}"
        chunk_write = self._chunk(state, turn.id, chunk)
        writes = [
            self._take(state, turn),
            Create(f"{documents.turns(state.id)}/{turn.id}", self._turn_data(state, turn)),
            Create(items_path, self._items_data(state, items_path, [item])),
            chunk_write,
            *self._prompt_marker(state, turn),
            *await self._forgotten(state, replaces),
            *also,
        ]
        try:
            versions = await self._store.commit(*writes)
        except Conflict:
            if await self._is_ours(chunk_write):  # an earlier attempt, unheard of
                await self.refresh(state)
                return ()
            await self._explain_conflict(state, turn)
            raise
        state.version = versions[0]
        state.running = turn.id
        state.last = Cursor(turn.id, chunk.last)
        if replaces:
            state.history = [pair for pair in state.history if pair[0] < replaces]
        state.history.append((turn.id, [item]))
        return versions[len(writes) - len(also) :]

    async def watch(self, on_change: Callable[[Sequence[Change]], None]) -> Watch:
        """Hear of every change to the chats that name this process (see `announce`)."""
        named = Query("chats", where=(("viewers", "array_contains", self.instance),))
        return await self._store.watch(named, on_change)

    async def announce(self, state: ChatState) -> None:
        """Name this process among those that show the chat; a new chat is named when it begins."""
        if state.version:
            await self._change(state, {"viewers": Union((self.instance,))})
            await self.refresh(state)

    async def retire(self, state: ChatState) -> None:
        """Take this process's name out of the chat."""
        if state.version:
            await self._change(state, {"viewers": Remove((self.instance,))})

    async def ask_to_stop(self, state: ChatState, turn_id: str) -> None:
        """Tell the process that runs the turn to stop it."""
        await self._change(state, {"stop": turn_id})

    def take_in(self, state: ChatState, data: Data) -> bool:
        """Take in the chat's document as it was heard; return whether a turn elsewhere moved on.

        What this process wrote itself may be heard late, and tells it nothing. What it has read
        meanwhile (`refresh`) is still news: those who watch have not been shown it.
        """
        if data.get("owner") != state.uid:
            return False
        state.others = frozenset(data.get("viewers", ())) - {self.instance}
        state.title = self._title(state, data)
        before, state.heard = (
            state.heard,
            (data["running"], Cursor(data["last_turn"], data["last_seq"])),
        )
        if data.get("by") == self.instance or state.heard == before:
            return False
        running, last = state.heard
        # Word of an earlier turn may come while the next one runs here: news, but not of now.
        if last and (state.last is None or last.order >= state.last.order):
            state.running, state.last = running, last
        state.stale = True
        return True

    async def _change(self, state: ChatState, changes: Data) -> None:
        try:
            await self._store.commit(Update(documents.chat(state.id), changes))
            state.stale = True  # others may have written in between
        except Conflict as err:  # the chat is gone
            raise NotFound("There is no such chat any more.") from err

    async def store_chunk(self, state: ChatState, turn_id: str, chunk: Chunk) -> None:
        """Store a piece of the journal. Conflict: another process owns the turn now."""
        write = self._chunk(state, turn_id, chunk)
        try:
            versions = await self._store.commit(write, *self._word(state, chunk))
            if len(versions) > 1:
                state.version = versions[1]
        except Conflict as err:
            # An earlier attempt of the same commit may have succeeded without our hearing of it.
            if not await self._is_ours(write):
                await self._explain_loss(state, turn_id, write, err)
                raise

    async def end(
        self,
        state: ChatState,
        turn_id: str,
        *,
        items: list[Item],
        chunk: Chunk,
        status: str,
        usage: dict[str, int],
        tainted: bool = False,
        also: Sequence[Write] = (),
    ) -> Sequence[str]:
        """Store how the turn ended and release the chat, in one commit with `also`.

        Returns the versions of `also`, none where they are not known.
        """
        now = self._clock()
        items_path = f"{documents.items(state.id)}/{turn_id}"
        chunk_write = self._chunk(state, turn_id, chunk)
        chat_changes: Data = {
            "running": None,
            "updated_at": now,
            "last_seq": chunk.last,
            "by": self.instance,
        }
        if tainted and not state.tainted:
            chat_changes["tainted"] = True
        writes: list[Write] = [
            Update(documents.chat(state.id), chat_changes),
            Update(
                f"{documents.turns(state.id)}/{turn_id}",
                {"status": status, "ended_at": now, "usage": usage, "last_seq": chunk.last},
            ),
            Update(items_path, self._items_data(state, items_path, items)),
            chunk_write,
            *also,
        ]
        versions: Sequence[str] = ()
        try:
            versions = await self._store.commit(*writes)
            state.version = versions[0]
        except Conflict as err:
            if not await self._is_ours(chunk_write):
                await self._explain_loss(state, turn_id, chunk_write, err)
                raise
            await self.refresh(state)
        state.running, state.last = None, Cursor(turn_id, chunk.last)
        state.tainted |= tainted
        state.history = [pair for pair in state.history if pair[0] != turn_id][-HISTORY_TURNS:]
        state.history.append((turn_id, items))
        return versions[len(writes) - len(also) :] if versions else ()

    async def renew(self, state: ChatState, turn_id: str, *, also: Sequence[Write] = ()) -> None:
        """Prolong the lease of a turn that still runs, in one commit with `also`."""
        until = self._clock() + dt.timedelta(seconds=LEASE_SECONDS)
        await self._store.commit(
            Update(f"{documents.turns(state.id)}/{turn_id}", {"lease_until": until}), *also
        )

    def remaining(self, turn: TurnRecord) -> float:
        """Return for how many seconds a running turn is its owner's; 0 or less: it is dead."""
        if self._gone(turn.owner):
            return 0.0
        return (turn.lease_until - self._clock()).total_seconds()

    async def abandoned(self, *, limit: int = 20) -> list[tuple[str, str]]:
        """Return (chat, user) of turns that nobody has renewed in time."""
        query = Query(
            "turns",
            where=(("status", "==", "running"), ("lease_until", "<", self._clock())),
            all_groups=True,
            limit=limit,
        )
        turns = await self._store.query(query)
        chats = await self._store.get_many([turn.path.rsplit("/", 2)[0] for turn in turns])
        for turn, chat in zip(turns, chats, strict=True):
            if chat is None:  # it was deleted while it ran: left here, it would fill the query
                await self._clear(turn.path)
        return [(chat.id, chat.data["owner"]) for chat in chats if chat]

    async def clear(self, state: ChatState, turn_id: str) -> None:
        """Remove what is left of a turn whose chat was deleted while it ran."""
        path = f"{documents.turns(state.id)}/{turn_id}"
        if None in await self._store.get_many([documents.chat(state.id), path]):
            await self._clear(path)

    async def _clear(self, path: str) -> None:
        chat, _, turn_id = path.rsplit("/", 2)
        chunks = await self._store.query(Query(f"{path}/journal"))
        await self._remove([*(each.path for each in chunks), f"{chat}/items/{turn_id}", path])

    async def answered_in(self, state: ChatState, prompt_id: str) -> str | None:
        """Return the turn that this prompt began, if it began one."""
        marker = await self._store.get(_marker_path(state.id, prompt_id))
        return marker.data["turn"] if marker else None

    async def turn(self, state: ChatState, turn_id: str) -> TurnRecord:
        """Return a stored turn; NotFound where the chat has none of that id."""
        named = turn_id.isalnum()  # a path would lead to another kind of document
        path = f"{documents.turns(state.id)}/{turn_id}"
        snapshot = await self._store.get(path) if named else None
        if snapshot is None or snapshot.data.get("status") == "superseded":
            raise NotFound("That message is not part of this chat any more.")
        return self._turn(state, snapshot)

    async def turns_after(
        self, state: ChatState, turn_id: str, *, limit: int | None = 200
    ) -> list[TurnRecord]:
        """Return the stored turns from `turn_id` on, itself included, oldest first."""
        query = Query(
            documents.turns(state.id),
            where=(("id", ">=", turn_id),),
            order_by=(("id", "asc"),),
            limit=limit,
        )
        found = await self._store.query(query)
        return [self._turn(state, s) for s in found if s.data.get("status") != "superseded"]

    async def page(self, state: ChatState, *, before: str | None, limit: int) -> list[TurnRecord]:
        """Return the latest `limit` turns, or those before turn `before`, oldest first.

        InvalidInput where `before` is no turn's id.
        """
        if before and not TURN_ID.match(before):
            raise InvalidInput("before is the turn_id of the oldest turn that you have.")
        page: list[Snapshot] = []
        while len(page) < limit:
            query = Query(
                documents.turns(state.id),
                where=(("id", "<", before),) if before else (),
                order_by=(("id", "desc"),),
                limit=limit,
            )
            found = await self._store.query(query)
            page += [s for s in found if s.data["status"] != "superseded"]
            if len(found) < limit:
                break
            before = found[-1].id
        return [self._turn(state, snapshot) for snapshot in reversed(page[:limit])]

    async def entries(
        self, state: ChatState, turn_id: str, *, after: int = 0
    ) -> tuple[list[Entry], int]:
        """Return a turn's stored events behind its first `after` chunks, and the chunks in all."""
        path = documents.journal(state.id, turn_id)
        query = Query(path, where=(("n", ">", after),), order_by=(("n", "asc"),))
        entries: list[Entry] = []
        for chunk in await self._store.query(query):
            blob = state.sealer.unseal(chunk.path, "events", chunk.data["events"])
            entries.extend(decode_entries(blob))
            after = chunk.data["n"]
        return entries, after

    async def told(self, state: ChatState, turn_id: str) -> tuple[list[bytes], int]:
        """Return a turn's stored events as clients read them, deltas merged, and the last seq."""
        entries, _ = await self.entries(state, turn_id)
        last = entries[-1].last if entries else 0
        events = replay(entries, 0, last, chat_id=state.id, turn_id=turn_id)
        return [payload for _, payload in events], last

    async def listed(self, uid: str, *, limit: int = 50) -> list[ChatState]:
        """Return a user's chats, the latest first, without their history."""
        sealer = await self._vault.open(uid)
        query = Query(
            "chats",
            where=(("owner", "==", uid),),
            order_by=(("updated_at", "desc"),),
            limit=limit,
        )
        states = []
        for snapshot in await self._store.query(query):
            state = ChatState(id=snapshot.id, uid=uid, sealer=sealer)
            self._read(state, snapshot)
            states.append(state)
        return states

    async def rename(self, state: ChatState, title: str) -> None:
        """Give the chat a title of the user's own, which nothing overwrites."""
        path = documents.chat(state.id)
        sealed = self._seal(state, path, "title", title)
        await self._store.commit(Update(path, {"title": sealed, "title_by": "user"}))
        await self.refresh(state)

    async def naming(self, chat_id: str, uid: str) -> Naming | None:
        """Return how the chat got its title; None where `uid` has no such chat (any more)."""
        snapshot = await self._store.get(documents.chat(chat_id))
        if snapshot is None or snapshot.data.get("owner") != uid:
            return None
        return Naming(snapshot.data.get("title_by", "auto"), snapshot.data.get("title_turn", ""))

    async def turns_between(self, chat_id: str, after: str, until: str, *, limit: int) -> int:
        """Count the latest `limit` turns behind `after` up to `until`, without the forgotten."""
        query = Query(
            documents.turns(chat_id),
            where=(("id", ">", after), ("id", "<=", until)),
            order_by=(("id", "desc"),),
            limit=limit,
        )
        found = await self._store.query(query)
        return sum(snapshot.data["status"] != "superseded" for snapshot in found)

    async def retitle(
        self, chat_id: str, uid: str, turn_id: str, *, title: str | None, by: str
    ) -> Literal["titled", "kept", "gone"]:
        """Give the chat a title after `turn_id` (None: note that the present one still fits).

        "kept" where the user gave it one or a later turn was looked at first, meanwhile.
        """
        path = documents.chat(chat_id)

        async def work(transaction: Transaction) -> Literal["titled", "kept", "gone"]:
            chat = await transaction.get(path)
            if chat is None or chat.data.get("owner") != uid:
                return "gone"
            given_by, seen = chat.data.get("title_by", "auto"), chat.data.get("title_turn", "")
            if given_by == "user" or (seen >= turn_id and given_by == by):
                return "kept"
            changes: Data = {"title_turn": max(seen, turn_id), "title_by": by}
            if title is not None:
                sealer = await self._vault.open(uid)
                changes["title"] = sealer.seal(path, "title", title.encode())
            transaction.write(Update(path, changes))
            return "kept" if title is None else "titled"

        return await self._store.transact(work)

    async def append(self, state: ChatState, turn_id: str, chunk: Chunk) -> bool:
        """Store a piece behind the end of the chat's last turn; False where the chat moved on."""
        chunk_write = self._chunk(state, turn_id, chunk)
        changes = {"last_seq": chunk.last, "by": self.instance}
        for _ in range(_APPEND_ATTEMPTS):
            if state.running or state.last is None or state.last.turn_id != turn_id:
                return False
            try:
                versions = await self._store.commit(
                    Update(documents.chat(state.id), changes, if_version=state.version),
                    Update(f"{documents.turns(state.id)}/{turn_id}", {"last_seq": chunk.last}),
                    chunk_write,
                )
            except Conflict:
                if not await self._is_ours(chunk_write):
                    state.stale = True
                    await self.refresh(state)  # its title, say, was changed meanwhile
                    continue
                await self.refresh(state)
            else:
                state.version = versions[0]
            state.last = Cursor(turn_id, chunk.last)
            return True
        return False

    async def delete(self, state: ChatState) -> None:
        """Remove the chat and everything below it; what is left of a crash is removed again."""
        for turn in await self._store.query(Query(documents.turns(state.id))):
            chunks = await self._store.query(Query(f"{turn.path}/journal"))
            await self._remove([snapshot.path for snapshot in chunks])
        for collection in (
            documents.items(state.id),
            documents.turns(state.id),
            f"{documents.chat(state.id)}/prompts",
        ):
            found = await self._store.query(Query(collection))
            await self._remove([snapshot.path for snapshot in found])
        for collection in ("approvals", "jobs"):
            found = await self._store.query(
                Query(collection, where=(("chat_id", "==", state.id), ("uid", "==", state.uid)))
            )
            await self._remove([snapshot.path for snapshot in found])
        await self._remove([documents.chat(state.id)])

    # --- what the documents hold -----------------------------------------------------------

    def _take(self, state: ChatState, turn: TurnRecord) -> Write:
        path = documents.chat(state.id)
        changes: Data = {
            "running": turn.id,
            "last_turn": turn.id,
            "last_seq": 0,
            "updated_at": turn.started_at,
            "by": self.instance,
            "viewers": [self.instance, *sorted(state.others)[:_MOST_OTHERS]],
        }
        if state.version:
            return Update(path, changes, if_version=state.version)
        return Create(
            path,
            {
                **changes,
                "owner": state.uid,
                "created_at": turn.started_at,
                "title": self._seal(state, path, "title", state.title),
                "title_by": "auto",
                "title_turn": turn.id,
            },
        )

    def _turn_data(self, state: ChatState, turn: TurnRecord) -> Data:
        path = f"{documents.turns(state.id)}/{turn.id}"
        return {
            "id": turn.id,
            "status": turn.status,
            "owner": turn.owner,
            "lease_until": turn.lease_until,
            "started_at": turn.started_at,
            "prompt": self._seal(state, path, "prompt", turn.prompt),
            "prompt_id": turn.prompt_id,
        }

    def _turn(self, state: ChatState, snapshot: Snapshot) -> TurnRecord:
        data = snapshot.data
        return TurnRecord(
            id=snapshot.id,
            prompt=state.sealer.unseal(snapshot.path, "prompt", data["prompt"]).decode(),
            prompt_id=data["prompt_id"],
            started_at=data["started_at"],
            status=data["status"],
            owner=data["owner"],
            lease_until=data["lease_until"],
        )

    def _items_data(self, state: ChatState, path: str, items: list[Item]) -> Data:
        sealed = state.sealer.seal(path, _ITEM, msgspec.json.encode(items))
        return {"id": path.rpartition("/")[2], _ITEM: sealed}

    def _chunk(self, state: ChatState, turn_id: str, chunk: Chunk) -> Create:
        path = f"{documents.journal(state.id, turn_id)}/{chunk.number:06d}"
        sealed = state.sealer.seal(path, "events", chunk.blob)
        data = {"n": chunk.number, "last": chunk.last, "by": self.instance, "events": sealed}
        return Create(path, data)

    def _word(self, state: ChatState, chunk: Chunk) -> list[Write]:
        """Return what tells other processes that show the chat of a stored chunk."""
        if not state.others:
            return []
        return [Update(documents.chat(state.id), {"last_seq": chunk.last})]

    async def _is_ours(self, write: Create) -> bool:
        stored = await self._store.get(write.path)
        keys = ("last", "by")
        return stored is not None and all(stored.data[k] == write.data[k] for k in keys)

    def _prompt_marker(self, state: ChatState, turn: TurnRecord) -> list[Write]:
        if not turn.prompt_id:
            return []
        expires = turn.started_at + dt.timedelta(days=_PROMPT_ID_DAYS)
        path = _marker_path(state.id, turn.prompt_id)
        return [Create(path, {"turn": turn.id, "expires_at": expires})]

    async def _forgotten(self, state: ChatState, replaces: str | None) -> list[Write]:
        if replaces is None:
            return []
        writes: list[Write] = []
        for turn in await self.turns_after(state, replaces, limit=None):
            writes.append(
                Update(f"{documents.turns(state.id)}/{turn.id}", {"status": "superseded"})
            )
            writes.append(Delete(f"{documents.items(state.id)}/{turn.id}"))
        return writes

    async def _explain_loss(
        self, state: ChatState, turn_id: str, write: Create, err: Conflict
    ) -> None:
        """Raise VendorUnavailable, to be tried again, where a turn's commit met only crowding.

        Google reports that as a conflict too; the turn is another's only once the fence is.
        """
        turn, taken = await self._store.get_many(
            [f"{documents.turns(state.id)}/{turn_id}", write.path]
        )
        ours = turn and turn.data["status"] == "running" and turn.data["owner"] == self.instance
        if ours and taken is None:
            raise VendorUnavailable("The store is crowded. Please try again.") from err

    async def _explain_conflict(self, state: ChatState, turn: TurnRecord) -> None:
        if turn.prompt_id:
            marker = await self._store.get(_marker_path(state.id, turn.prompt_id))
            if marker is not None:
                raise DuplicatePrompt("That message was received already.")
        await self.refresh(state)
        if state.running is None:
            return
        running = await self.turn(state, state.running)
        if running.owner != self.instance and self.remaining(running) > 0:
            raise ChatBusy("This chat is answering on another device. Please wait.")

    def _read(self, state: ChatState, snapshot: Snapshot) -> None:
        data = snapshot.data
        state.title = self._title(state, data)
        state.others = frozenset(data.get("viewers", ())) - {self.instance}
        state.version, state.stale = snapshot.version, False
        state.running = data["running"]
        state.tainted = data.get("tainted", False)
        state.updated_at = data["updated_at"]
        state.last = Cursor(data["last_turn"], data["last_seq"])

    def _title(self, state: ChatState, data: Data) -> str:
        return state.sealer.unseal(documents.chat(state.id), "title", data["title"]).decode()

    async def _history(self, state: ChatState) -> list[tuple[str, list[Item]]]:
        query = Query(documents.items(state.id), order_by=(("id", "desc"),), limit=HISTORY_TURNS)
        found = await self._store.query(query)
        history = []
        for snapshot in reversed(found):
            blob = state.sealer.unseal(snapshot.path, _ITEM, snapshot.data[_ITEM])
            history.append((snapshot.id, msgspec.json.decode(blob)))
        return history

    def _seal(self, state: ChatState, path: str, name: str, text: str) -> bytes:
        return state.sealer.seal(path, name, text.encode())

    async def _remove(self, paths: list[str]) -> None:
        for start in range(0, len(paths), 400):
            await self._store.commit(*(Delete(path) for path in paths[start : start + 400]))


def _marker_path(chat_id: str, prompt_id: str) -> str:
    digest = hashlib.sha256(prompt_id.encode()).hexdigest()[:32]
    return f"{documents.chat(chat_id)}/prompts/{digest}"
