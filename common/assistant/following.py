"""Following a chat whose turn runs in another process.

Every process that shows a chat names itself in the chat's document, and listens, once for all its
chats, to the documents that name it. The process that runs a turn touches the chat's document with
each chunk it stores while somebody else is named there. So word of a new turn, more events, a stop
or a title travels through one listener for each process, and a chat shown in one place costs
nothing extra.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from common.assistant.chats import Chats
from common.assistant.journal import Entry, TurnJournal
from common.assistant.protocol import Title
from common.assistant.retrying import WHILE, retrying
from common.assistant.room import Room
from common.errors import NotFound, OdaiError
from common.log import get_logger
from common.store import Change, Watch

log = get_logger(__name__)

_CATCH_UPS = 3

MakeJournal = Callable[[Room, str, list[Entry], int], TurnJournal]


class Following:
    """Keeps this process's rooms in step with what other processes write.

    `spawn` runs a coroutine in the background.
    """

    def __init__(
        self,
        chats: Chats,
        *,
        make_journal: MakeJournal,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._chats = chats
        self._rooms: dict[str, dict[str, Room]] = {}  # by chat, by user
        self._make_journal = make_journal
        self._spawn = spawn
        self._watch: Watch | None = None
        self._opening = asyncio.Lock()
        self._reading: set[Room] = set()  # rooms whose news are being read, one reader each
        self._again: set[Room] = set()  # and those that have more since

    async def enter(self, room: Room) -> None:
        """Name this process in the chat, and show what another one is answering there."""
        async with self._opening:
            if self._watch is None:
                self._watch = await self._chats.watch(self._heard)
        self._rooms.setdefault(room.state.id, {})[room.state.uid] = room
        await self._chats.announce(room.state)
        room.state.heard = room.state.running, room.state.last
        if room.state.running and room not in self._reading:
            self._reading.add(room)
            await self._read_all(room)

    async def leave(self, room: Room) -> None:
        """Take this process's name out of the chat."""
        rooms = self._rooms.get(room.state.id, {})
        rooms.pop(room.state.uid, None)
        if not rooms:
            self._rooms.pop(room.state.id, None)
        try:
            await self._chats.retire(room.state)
        except OdaiError as err:  # a name left behind costs a little, and is pruned later
            log.info("chat not left", extra={"code": err.code, "chat_id": room.state.id})
        room.journals.clear()  # they show themselves through the room: neither would go by itself

    def close(self) -> None:
        """Stop listening."""
        if self._watch:
            self._watch.close()

    def _heard(self, changes: Sequence[Change]) -> None:
        for change in changes:
            for room in self._rooms.get(change.path.rpartition("/")[2], {}).values():
                self._heard_of(room, change)

    def _heard_of(self, room: Room, change: Change) -> None:
        if change.data is None:
            # Pruned by another process, or deleted: naming ourselves again tells which.
            self._spawn(self._name_again(room))
            return
        title = room.state.title
        moved = self._chats.take_in(room.state, change.data)
        if room.state.title != title:
            room.say(Title(room.state.title))
        if room.turn and change.data.get("stop") == room.turn.id:
            room.turn.stop()
        if moved:
            self._note(room)

    async def _name_again(self, room: Room) -> None:
        try:
            await self._chats.announce(room.state)
        except NotFound:
            room.delete()
        except OdaiError as err:
            log.info("chat not named again", extra={"code": err.code, "chat_id": room.state.id})

    def _note(self, room: Room) -> None:
        if room in self._reading:
            self._again.add(room)
            return
        self._reading.add(room)
        self._spawn(self._read_all(room))

    async def _read_all(self, room: Room) -> None:
        try:
            while True:
                self._again.discard(room)
                await retrying(lambda: self._read(room), attempts=WHILE)
                if room not in self._again:
                    return
        except OdaiError as err:
            extra = {"code": err.code, "chat_id": room.state.id}
            log.warning("chat not followed", extra=extra)
            for viewer in list(room.viewers):
                room.leave(viewer)
                viewer.drop(1013, "This chat could not be read. Reconnect with your cursor.")
        finally:
            self._reading.discard(room)

    async def catch_up(self, room: Room) -> None:
        """Show what others said last, before this process speaks: its listener may be late."""
        for _ in range(_CATCH_UPS):
            if not _behind(room):
                return
            await retrying(lambda: self._read(room))

    async def _read(self, room: Room) -> None:
        """Take in what other processes stored of the latest turns."""
        state = room.state
        if state.last is None:
            return
        # Several turns may have come since this was noted: whoever watches has seen none of them.
        seen = [viewer.turn_id for viewer in room.viewers if viewer.turn_id]
        known = room.journal.turn_id if room.journal else min(seen, default=state.last.turn_id)
        for turn in await self._chats.turns_after(state, min(known, state.last.turn_id)):
            if room.turn and turn.id == room.turn.id:
                continue
            journal = room.journals.get(turn.id)
            chunks = journal.chunks if journal else 0
            entries, count = await self._chats.entries(state, turn.id, after=chunks)
            if room.journals.get(turn.id) is not journal:
                continue  # this process has taken the turn over meanwhile
            if journal is None:
                room.open_journal(self._make_journal(room, turn.id, entries, count))
                for viewer in list(room.viewers):
                    room.pull(viewer)
            else:
                journal.absorb(entries, count)


def _behind(room: Room) -> bool:
    """Whether somebody who watches has not been shown all of the last turn."""
    last = room.state.last
    if last is None:
        return False
    journal = room.journals.get(last.turn_id)
    if journal is not None:
        return journal.last < last.seq
    return any((each.turn_id, each.seq) < (last.turn_id, last.seq) for each in room.viewers)
