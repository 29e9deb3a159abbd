"""Turns whose process died: waited for, closed, and told of honestly.

What was sent stays. What a dead turn had done, or may have done, decides what the user is told;
only what nobody typed (a job's result, a decision) is taken up again by itself.
"""

from __future__ import annotations

import asyncio

from common.assistant.authority import Trust
from common.assistant.chats import Chats, TurnRecord
from common.assistant.following import MakeJournal
from common.assistant.journal import Deltas
from common.assistant.protocol import EndOfStream, ErrorEvent
from common.assistant.room import APPROVAL, JOB, Room
from common.assistant.schedules import DUE
from common.assistant.turn import Means, Turn
from common.errors import Conflict, OdaiError
from common.tools import Asker


class Recovery:
    """Frees chats that a dead process left running."""

    def __init__(self, chats: Chats, means: Means, make_journal: MakeJournal) -> None:
        self._chats = chats
        self._means = means
        self._make_journal = make_journal

    async def recovered(self, room: Room) -> None:
        """Wait until the chat is free, closing a turn whose owner's lease has run out."""
        # The room's opening and its next turn both ask for this: of two closers in one process the
        # second would take the first one's chunk for its own.
        async with room.recovering:
            await self._free(room)

    async def _free(self, room: Room) -> None:
        if room.state.stale:
            await self._chats.refresh(room.state)
        while turn_id := room.state.running:
            record = await self._chats.turn(room.state, turn_id)
            remaining = self._chats.remaining(record)
            if record.status != "running" or room.leading == turn_id:
                await self._chats.refresh(room.state)
                return
            # One of our own that nobody leads could not be ended: the store would not take it.
            if remaining <= 0 or record.owner == self._chats.instance:
                await self._close_abandoned(room, record)
                return
            await asyncio.sleep(min(remaining, 1.0))
            await self._chats.refresh(room.state)

    async def _close_abandoned(self, room: Room, record: TurnRecord) -> None:
        entries, chunks = await self._chats.entries(room.state, record.id)
        journal = self._make_journal(room, record.id, entries, chunks)
        turn = Turn(
            journal, {}, means=self._means, asker=Asker(room.state.uid), trust=Trust("")
        )  # fmt: skip
        turn.take_over(entries)
        await self._means.jobs.leave_all(record.id, told=turn.told)
        message = await self._fate(room, record)
        text = "".join(t for e in entries if isinstance(e, Deltas) for t in e.texts)
        items = [*dict(room.state.history).get(record.id, [])]
        if text:
            items.append({"role": "assistant", "content": text})
        items.append({"role": "developer", "content": message})
        room.open_journal(journal)
        journal.event(ErrorEvent("vendor_unavailable", message, True), first=journal.last + 1)
        turn.tell_cut_off()
        journal.event(EndOfStream("failed", {}))
        chunk = journal.take_unstored()
        assert chunk is not None
        try:
            await self._chats.end(
                room.state, record.id, items=items, chunk=chunk, status="failed", usage={},
                tainted=bool(turn.told),  # by whom a result was written, its journal does not say
            )  # fmt: skip
            journal.stored(chunk.last)
        except OdaiError as err:
            # What is stored is what happened, whoever wrote it.
            room.discard_journal(journal)
            if not isinstance(err, Conflict):
                raise
            await self._chats.refresh(room.state)

    async def _fate(self, room: Room, record: TurnRecord) -> str:
        """Return what a turn that died did, for the user; have it asked again if that was nothing.

        Only what nobody typed is asked again by itself.
        """
        acts = await self._means.audit.acts_of(record.id)
        claimed = await self._means.approvals.abandon(record.id)
        unknown = sorted({*claimed, *(what for what, status in acts if status == "unknown")})
        if unknown:
            return (
                f"The server restarted in the middle of {', '.join(unknown)}. "
                "It may have happened: check before you ask again."
            )
        if acts:
            done = ", ".join(what for what, _ in acts)
            return f"The server restarted in the middle. Before that, this was carried out: {done}."
        for kind, name in ((JOB, "job_id"), (APPROVAL, "approval_id"), (DUE, "due_id")):
            if record.prompt_id.startswith(kind):
                about = record.prompt_id.removeprefix(kind).partition(":")[0]
                await self._means.jobs.enqueue_follow_up(
                    f"{about}-{record.id}",
                    {name: about, "uid": room.state.uid, "after": record.id},
                )
                return "The server restarted in the middle, and takes this up again."
        return "The server restarted in the middle. Please ask again."
