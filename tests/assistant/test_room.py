"""A room: who is shown what, at which pace, and what a slow viewer may cost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from common.assistant import room as rooms
from common.assistant.chats import ChatState
from common.assistant.journal import Chunk, TurnJournal
from common.assistant.protocol import EndOfStream
from common.assistant.room import Room
from common.documents import new_id
from tests.assistant.conversation import Watcher, numbers, text_of


async def stored(_: Chunk) -> None:
    """A store that takes everything at once."""


def a_room() -> Room:
    sealer: Any = None  # nothing here is sealed
    return Room(ChatState(id="c1", uid="u1", sealer=sealer))


def a_journal(room: Room) -> TurnJournal:
    last = room.journal.turn_id if room.journal else ""
    journal = TurnJournal(
        chat_id="c1", turn_id=new_id(after=last), store_chunk=stored, on_visible=room.spread
    )
    room.open_journal(journal)
    return journal


async def a_turn(room: Room, text: str) -> TurnJournal:
    journal = a_journal(room)
    journal.delta(text)
    journal.event(EndOfStream("done", {}))
    await journal.flush()
    await asyncio.sleep(0)  # the announcement is one turn of the loop behind
    return journal


def test_two_viewers_see_the_same(run: Any) -> None:
    """Two windows on one chat show the same events, byte for byte."""

    async def scene() -> None:
        room, one, other = a_room(), Watcher(), Watcher()
        room.join(one)
        room.join(other)
        for text in ("first", "second"):
            await a_turn(room, text)
        assert one.payloads == other.payloads
        assert len(one.payloads) == 4

    run(scene())


def test_a_slow_viewer_never_slows_another_and_misses_nothing(run: Any) -> None:
    """A window that hangs for some turns then shows all of them; the other one never waited."""

    async def scene() -> None:
        room, quick, slow = a_room(), Watcher(), Watcher()
        room.join(quick)
        room.join(slow)
        await a_turn(room, "seen")
        slow.ready = False
        turns = [await a_turn(room, f"turn {n}") for n in range(5)]
        assert text_of(quick.events).endswith("turn 4")
        assert text_of(slow.events) == "seen"
        slow.ready = True
        room.pull(slow)
        assert text_of(slow.events) == text_of(quick.events)
        assert (slow.turn_id, slow.seq) == (turns[-1].turn_id, turns[-1].last)

    run(scene())


def test_a_viewer_too_far_behind_is_dropped_alone(run: Any) -> None:
    """Past the limit the slow window is told to reconnect; the other goes on."""

    async def scene() -> None:
        room, quick, slow = a_room(), Watcher(), Watcher()
        room.join(quick)
        room.join(slow)
        slow.ready = False
        journal = a_journal(room)
        piece = "x" * 10_000
        for _ in range(rooms.MAX_BACKLOG // len(piece)):
            journal.delta(piece)
        await journal.flush()
        await asyncio.sleep(0)
        assert slow.closed is None
        for _ in range(3):
            journal.delta(piece)
        await journal.flush()
        await asyncio.sleep(0)
        assert slow.closed == 1013
        assert slow not in room.viewers
        assert quick.closed is None
        assert quick.seq == journal.last

    run(scene())


def test_a_long_answer_already_read_does_not_count_as_backlog(run: Any) -> None:
    """A window that hangs at the end of a very long answer is not dropped for what it has read."""

    async def scene() -> None:
        room, viewer = a_room(), Watcher()
        room.join(viewer)
        journal = a_journal(room)
        for _ in range(rooms.MAX_BACKLOG // 10_000 + 10):
            journal.delta("x" * 10_000)
        await journal.flush()
        await asyncio.sleep(0)
        viewer.ready = False
        journal.delta("a little more")
        await journal.flush()
        await asyncio.sleep(0)
        assert viewer.closed is None

    run(scene())


def test_who_joins_in_the_middle_sees_what_follows(run: Any) -> None:
    """A second window opened during an answer continues it from there."""

    async def scene() -> None:
        room, late = a_room(), Watcher()
        journal = a_journal(room)
        journal.delta("before ")
        await journal.flush()
        room.join(late)
        assert late.payloads == []
        journal.delta("after")
        await journal.flush()
        await asyncio.sleep(0)
        assert text_of(late.events) == "after"
        assert numbers(late.events) == [2]

    run(scene())


def test_who_joins_with_a_position_sees_everything_after_it(run: Any) -> None:
    """A window that comes back with its cursor gets the rest of its turn and all later ones."""

    async def scene() -> None:
        room = a_room()
        first = await a_turn(room, "one")
        await a_turn(room, "two")
        back = Watcher(first.turn_id, 1)
        room.join(back)
        assert [event["type"] for event in back.events] == [
            "end_of_stream",
            "raw_response_event",
            "end_of_stream",
        ]

    run(scene())


@pytest.mark.parametrize("slow", [False, True])
def test_journals_are_kept_only_while_somebody_may_read_them(run: Any, slow: bool) -> None:
    """A long conversation does not grow the server's memory, unless a slow window needs it."""

    async def scene() -> None:
        room, viewer = a_room(), Watcher()
        room.join(viewer)
        await a_turn(room, "first")
        viewer.ready = not slow
        for n in range(6):
            await a_turn(room, str(n))
        assert len(room.journals) == (7 if slow else 2)
        room.leave(viewer)
        await a_turn(room, "last")
        assert len(room.journals) == 2

    run(scene())
