"""A chat that somebody watches or that is answering: its viewers and its turns' journals.

Viewers hold no queue. Each has a position (turn and seq) and pulls from the journals whatever lies
behind it whenever its connection takes more; a viewer that is up to date gets each event as it
becomes visible, encoded once for all. One that falls MAX_BACKLOG behind is dropped and comes back
with its cursor.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from common.assistant.approvals import Decided
from common.assistant.chats import ChatState
from common.assistant.jobs import Finished
from common.assistant.journal import TurnJournal
from common.assistant.manner import ON_SCREEN, Manner
from common.assistant.protocol import START, Cursor, Event, Prompt, encode_event
from common.assistant.schedules import Due
from common.assistant.turn import Turn
from common.tools import Asker, Location
from common.tracing import traceparent

MAX_BACKLOG = 1_048_576  # bytes
JOB, APPROVAL = "job:", "approval:"  # what the ids of prompts that nobody typed begin with
_KEPT_JOURNALS = 2
_KEPT_PROMPT_IDS = 200  # older ones are still known to the store


class Viewer(Protocol):
    """Somebody who watches a chat, always called on the event loop."""

    turn_id: str  # the turn shown last, "" before any
    seq: int  # the last event of it that was shown
    began: Cursor | None  # where it joined, if it brought no cursor

    @property
    def ready(self) -> bool:
        """False while its connection is full; it calls `Room.pull` when that has passed."""

    def show(self, payload: bytes) -> None:
        """Send one event, as encoded."""

    async def writable_again(self) -> None:
        """Wait until `ready`."""

    def drop(self, code: int, reason: str) -> None:
        """Close its connection."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a turn is asked for: a prompt, a slow call's result to tell, or a decision to act on.

    `due` is what a schedule tells or asks. `replaces` names the turn that this one takes the place
    of; `begun` is set once it has begun, here or elsewhere.
    """

    prompt: Prompt
    replaces: str | None = None
    finished: Finished | None = None
    decided: Decided | None = None
    due: Due | None = None
    manner: Manner = ON_SCREEN
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    trace: str = field(default_factory=traceparent)  # of the frame or task that asked

    @property
    def typed_id(self) -> str:
        """The prompt's id as its client knows it; "" where nobody typed it."""
        return "" if self.finished or self.decided or self.due else self.prompt.id


class Room:
    """One chat in this process."""

    def __init__(self, state: ChatState) -> None:
        self.state = state
        self.viewers: set[Viewer] = set()
        self.journals: OrderedDict[str, TurnJournal] = OrderedDict()
        self.queue: deque[Request] = deque()
        self.prompt_ids: OrderedDict[str, None] = OrderedDict()
        self.turn: Turn | None = None
        self.leading = ""  # the turn that this process has begun and not ended yet
        self.worker: asyncio.Task[None] | None = None
        self.recovering = asyncio.Lock()
        self.location: Location | None = None
        self.timezone = "UTC"
        self.address = ""  # the IP address of who asked last, "" where unknown
        self.users = 0  # sockets and workers that hold it open
        self.deleted = False  # nothing more is taken
        self.stop_next = False  # stop was asked for before the turn was made

    @property
    def journal(self) -> TurnJournal | None:
        """The latest turn's journal, if this process has it."""
        return next(reversed(self.journals.values()), None)

    @property
    def here(self) -> Cursor:
        """Where the chat stands: before the turn that runs, or behind the last one."""
        if running := self.state.running:
            return Cursor(running, 0)
        if journal := self.journal:
            return Cursor(journal.turn_id, journal.visible)
        return self.state.last or START

    @property
    def asker(self) -> Asker:
        """Whoever asks here, and where they are."""
        where = self.location
        return Asker(
            self.state.uid,
            self.timezone,
            where.latitude if where else None,
            where.longitude if where else None,
            self.address,
            self.state.id,
        )

    def open_journal(self, journal: TurnJournal) -> None:
        """Let `journal` be what viewers see next."""
        self.journals[journal.turn_id] = journal
        # What the slowest viewer has still to see stays, with all that came after it.
        oldest = min((viewer.turn_id for viewer in self.viewers), default=journal.turn_id)
        for turn_id in list(self.journals)[:-_KEPT_JOURNALS]:
            if turn_id < oldest:
                del self.journals[turn_id]

    def delete(self) -> None:
        """The chat is no more: stop what runs, forget what waits, send everybody away."""
        self.deleted = self.stop_next = True
        self.queue.clear()
        if self.turn:
            self.turn.stop()
        for viewer in list(self.viewers):
            self.leave(viewer)
            viewer.drop(1008, "This chat was deleted.")

    def discard_journal(self, journal: TurnJournal) -> None:
        """Forget a turn that could not start."""
        self.journals.pop(journal.turn_id, None)

    def remember(self, prompt_id: str) -> bool:
        """Note a prompt's id; False where it was noted before."""
        if prompt_id in self.prompt_ids:
            return False
        self.prompt_ids[prompt_id] = None
        if len(self.prompt_ids) > _KEPT_PROMPT_IDS:
            self.prompt_ids.popitem(last=False)
        return True

    def say(self, event: Event, *, to: Viewer | None = None) -> None:
        """Send an event of the chat itself (no turn, no seq) to one viewer or to all."""
        payload = encode_event(event, chat_id=self.state.id, turn_id=None, seq=0)
        for viewer in [to] if to else list(self.viewers):
            viewer.show(payload)

    def join(self, viewer: Viewer) -> None:
        """Show `viewer` what comes after its own position; it begins at `here` if it has none."""
        if not viewer.turn_id:
            viewer.began = self.here
            viewer.turn_id, viewer.seq = viewer.began.order
        self.viewers.add(viewer)
        self.pull(viewer)

    def leave(self, viewer: Viewer) -> None:
        """Stop showing anything to `viewer`."""
        self.viewers.discard(viewer)

    def spread(self, journal: TurnJournal) -> None:
        """Show every viewer what has become visible in `journal`."""
        shared: list[tuple[int, bytes]] = []
        shared_from = -1
        for viewer in list(self.viewers):
            if viewer.turn_id != journal.turn_id or not viewer.ready:
                self.pull(viewer)
                continue
            if viewer.seq != shared_from:
                shared, shared_from = journal.after(viewer.seq), viewer.seq
            self._show(viewer, shared)

    def pull(self, viewer: Viewer) -> None:
        """Show `viewer` what it has not seen, as far as its connection takes it."""
        following = self._following(viewer.turn_id)
        while viewer.ready:
            journal = self.journals.get(viewer.turn_id)
            if journal is not None:
                self._show(viewer, journal.after(viewer.seq))
                if viewer.seq < journal.visible:
                    break
            if not following:
                return
            viewer.turn_id, viewer.seq = following.popleft(), 0
        if self._backlog(viewer) > MAX_BACKLOG:
            self.leave(viewer)
            viewer.drop(1013, "You were reading too slowly. Reconnect with your cursor.")

    def _show(self, viewer: Viewer, events: Iterable[tuple[int, bytes]]) -> None:
        for last, payload in events:
            viewer.show(payload)
            viewer.seq = last
            if not viewer.ready:
                return

    def _following(self, turn_id: str) -> deque[str]:
        return deque(found for found in self.journals if found > turn_id)

    def _backlog(self, viewer: Viewer) -> int:
        total = 0
        for turn_id, journal in self.journals.items():
            if turn_id >= viewer.turn_id:
                total += journal.backlog(viewer.seq if turn_id == viewer.turn_id else 0)
        return total
