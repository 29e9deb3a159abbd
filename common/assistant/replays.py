"""Showing a client that comes back what it missed: from the store up to what this process holds."""

from __future__ import annotations

from itertools import takewhile

from common.assistant.chats import Chats, TurnRecord
from common.assistant.journal import RESERVE, replay
from common.assistant.protocol import START, Cursor
from common.assistant.room import Room, Viewer
from common.errors import InvalidInput


class Replays:
    """Replays stored turns to viewers."""

    def __init__(self, chats: Chats) -> None:
        self._chats = chats

    async def show(self, room: Room, viewer: Viewer, cursor: Cursor) -> None:
        """Show what is stored after `cursor`, up to the turns that this process holds."""
        known = await self._known_after(room, cursor)
        viewer.turn_id, viewer.seq = cursor.turn_id, cursor.seq
        while known:
            for turn in takewhile(lambda turn: turn.id not in room.journals, known):
                await self._show_turn(room, viewer, turn.id)
            # Turns may have come and gone while these were sent. What this process holds comes
            # first: whatever is behind it, the room shows.
            later = await self._chats.turns_after(room.state, viewer.turn_id)
            later = [turn for turn in later if turn.id > viewer.turn_id]
            known = [*takewhile(lambda turn: turn.id not in room.journals, later)]

    async def show_again(self, room: Room, viewer: Viewer, turn: TurnRecord) -> None:
        """Show a turn that ended before `viewer` came, which then stands where it stood."""
        place, viewer.began = (viewer.turn_id, viewer.seq), Cursor(turn.id, 0)
        viewer.turn_id, viewer.seq = viewer.began.order
        try:
            await self._show_turn(room, viewer, turn.id)
        finally:
            viewer.turn_id, viewer.seq = place

    async def _show_turn(self, room: Room, viewer: Viewer, turn_id: str) -> None:
        entries, _ = await self._chats.entries(room.state, turn_id)
        last = entries[-1].last if entries else 0
        start = viewer.seq if turn_id == viewer.turn_id else 0
        viewer.turn_id, viewer.seq = turn_id, start
        for seq, payload in replay(entries, start, last, chat_id=room.state.id, turn_id=turn_id):
            await viewer.writable_again()
            viewer.show(payload)
            viewer.seq = seq

    async def _known_after(self, room: Room, cursor: Cursor) -> list[TurnRecord]:
        if cursor == START:
            empty = room.state.last is None
            return [] if empty else await self._chats.turns_after(room.state, START.turn_id)
        journal = room.journals.get(cursor.turn_id)
        if journal is not None:
            known, last = True, journal.visible
        else:
            turns = await self._chats.turns_after(room.state, cursor.turn_id)
            known = bool(turns) and turns[0].id == cursor.turn_id
            entries, _ = await self._chats.entries(room.state, cursor.turn_id)
            last = entries[-1].last if entries else 0
        own = room.turn is not None and room.turn.id == cursor.turn_id
        if cursor.turn_id == room.state.running and not own:
            last += RESERVE  # its owner may have shown more than it has stored
        if not known or cursor.seq > last:
            raise InvalidInput("That cursor is not of this chat. Reload the conversation.")
        return [] if journal is not None else turns
