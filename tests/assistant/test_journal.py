"""A turn's journal: what is shown when, what is stored, and that a replay equals what was live."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.assistant import journal as journals
from common.assistant.journal import (
    RESERVE,
    Chunk,
    Deltas,
    Entry,
    Single,
    TurnJournal,
    decode_entries,
    encode_entries,
    replay,
)
from common.assistant.protocol import EndOfStream, ErrorEvent, Handoff
from common.errors import VendorUnavailable

EVENT = Handoff("Yelp", "ODAI")


class Disk:
    """Where chunks go: holds each until let through, and may be broken."""

    def __init__(self, *, held: bool = False) -> None:
        self.chunks: list[Chunk] = []
        self.broken = False
        self.arrived = asyncio.Event()
        self._through = asyncio.Event()
        if not held:
            self._through.set()

    async def store(self, chunk: Chunk) -> None:
        self.arrived.set()
        await self._through.wait()
        if self.broken:
            raise VendorUnavailable("The store is away.")
        self.chunks.append(chunk)

    def let_through(self) -> None:
        self._through.set()

    @property
    def entries(self) -> list[Entry]:
        return [entry for chunk in self.chunks for entry in decode_entries(chunk.blob)]


class Shown:
    """A viewer that is always up to date: takes what is visible whenever it is told."""

    def __init__(self) -> None:
        self.seq = 0
        self.events: list[dict[str, Any]] = []
        self.more = asyncio.Event()

    def take(self, journal: TurnJournal) -> None:
        for last, payload in journal.after(self.seq):
            self.events.append(json.loads(payload))
            self.seq = last
        self.more.set()

    async def until(self, seq: int) -> None:
        async with asyncio.timeout(50):
            while self.seq < seq:
                self.more.clear()
                await self.more.wait()


def opened(disk: Disk, shown: Shown, **known: Any) -> TurnJournal:
    return TurnJournal(
        chat_id="c", turn_id="T", store_chunk=disk.store, on_visible=shown.take, **known
    )


def flat(events: list[dict[str, Any]]) -> list[tuple[int, int, str, str]]:
    """Return events with neighbouring deltas of one agent joined, to compare two viewings."""
    joined: list[tuple[int, int, str, str]] = []
    for event in events:
        first, last = event.get("from_seq", event["seq"]), event["seq"]
        if event["type"] != "raw_response_event":
            joined.append((first, last, event["type"], json.dumps(event)))
            continue
        kind = f"text of {event['current_agent']}"
        if joined and joined[-1][2] == kind:
            before = joined.pop()
            joined.append((before[0], last, kind, before[3] + event["delta"]))
        else:
            joined.append((first, last, kind, event["delta"]))
    return joined


def test_text_is_shown_at_once_and_other_events_once_they_are_stored(run: Any) -> None:
    """Words appear while the disk is busy; a tool call appears when it is safe, words behind it."""

    async def scene() -> None:
        disk, shown = Disk(held=True), Shown()
        journal = opened(disk, shown)
        journal.delta("Hel")
        await shown.until(1)
        journal.delta("lo")
        await shown.until(2)
        journal.event(EVENT)
        journal.delta("more")
        await disk.arrived.wait()
        assert shown.seq == journal.visible == 2
        disk.let_through()
        await shown.until(4)
        assert [event["seq"] for event in shown.events] == [1, 2, 3, 4]

    run(scene())


def test_a_store_that_comes_back_gets_everything_once(run: Any, monkeypatch: Any) -> None:
    """While the store is away nothing unsafe is shown; afterwards nothing is missing or twice."""
    monkeypatch.setattr(journals, "FLUSH_SECONDS", 0.001)

    async def scene() -> None:
        disk, shown = Disk(), Shown()
        journal = opened(disk, shown)
        disk.broken = True
        journal.delta("a")
        journal.event(EVENT)
        async with asyncio.timeout(50):
            for _ in range(3):
                disk.arrived.clear()
                await disk.arrived.wait()
        assert shown.seq == 1
        with pytest.raises(VendorUnavailable):
            await journal.flush()
        disk.broken = False
        await journal.flush()
        await shown.until(2)
        assert [entry.last for entry in disk.entries] == [1, 2]
        assert [chunk.number for chunk in disk.chunks] == list(range(1, len(disk.chunks) + 1))

    run(scene())


def test_no_more_text_than_the_reserve_is_shown_unstored(run: Any) -> None:
    """A successor that continues RESERVE further can never reuse a number somebody saw."""

    async def scene() -> None:
        disk, shown = Disk(held=True), Shown()
        journal = opened(disk, shown)
        for _ in range(RESERVE + 10):
            journal.delta("x")
        await shown.until(RESERVE)
        assert journal.visible == RESERVE
        disk.let_through()
        await journal.flush()
        await shown.until(RESERVE + 10)

    run(scene())


def test_a_successor_leaves_a_gap_that_its_first_event_covers(run: Any) -> None:
    """After a crash, a viewer that saw unstored words goes on without a hole or a repetition."""

    async def scene() -> None:
        disk, shown = Disk(), Shown()
        journal = opened(disk, shown)
        journal.event(EVENT)
        journal.delta("a")
        await journal.flush()
        stored = disk.entries
        for word in "bcd":  # shown, and lost with the process
            journal.delta(word)
        await shown.until(5)
        later = Disk()
        heir = opened(later, shown, entries=stored, chunks=1)
        heir.event(ErrorEvent("vendor_unavailable", "Again.", True), first=heir.last + 1)
        heir.event(EndOfStream("failed", {}))
        await heir.flush()
        await shown.until(2 + RESERVE + 2)
        error, end = shown.events[-2:]
        assert error["from_seq"] == 3 <= 5 < error["seq"] == 3 + RESERVE
        assert end["seq"] == error["seq"] + 1
        assert [chunk.number for chunk in later.chunks] == [2]
        from_start = [json.loads(p) for _, p in heir.after(0)]
        assert [e["seq"] for e in from_start] == [1, 2, error["seq"], end["seq"]]

    run(scene())


def test_a_commit_that_failed_is_taken_again(run: Any) -> None:
    """A piece that could not be stored is tried again as it is, so that it cannot count twice."""

    async def scene() -> None:
        disk, shown = Disk(), Shown()
        journal = opened(disk, shown)
        journal.event(EVENT, soon=False)
        first = journal.take_unstored()
        assert first is not None
        assert journal.take_unstored() is None
        journal.untake(first)
        journal.delta("a")
        await journal.settle()
        assert disk.chunks == [first]
        await shown.until(2)
        await journal.flush()
        assert [(c.number, c.first, c.last) for c in disk.chunks] == [(1, 1, 1), (2, 2, 2)]

    run(scene())


def test_a_piece_that_failed_for_an_unknown_reason_is_stored_after_all(run: Any) -> None:
    """A bug in one attempt to store leaves no hole: all of the turn is shown and kept."""

    class Faulty(Disk):
        async def store(self, chunk: Chunk) -> None:
            if not self.arrived.is_set():
                self.arrived.set()
                raise RuntimeError("a bug, once")
            await super().store(chunk)

    async def scene() -> None:
        disk, shown = Faulty(), Shown()
        journal = opened(disk, shown)
        journal.event(EVENT)
        await disk.arrived.wait()
        journal.event(EVENT)
        await shown.until(2)
        assert (disk.chunks[0].number, disk.chunks[0].first) == (1, 1)
        assert disk.chunks[-1].last == 2

    run(scene())


def test_a_piece_taken_in_twice_is_shown_once(run: Any) -> None:
    """Two readers of what another server stored bring the same piece: it is shown once."""

    async def scene() -> None:
        disk, shown = Disk(), Shown()
        journal = opened(disk, shown)
        journal.absorb([Deltas(1, "ODAI", ["x"])], 1)
        for _ in range(2):
            journal.absorb([Single(2, 2, b'{"type": "title"}')], 2)
        assert [last for last, _ in journal.after(0)] == [1, 2]
        assert (journal.last, journal.chunks) == (2, 2)

    run(scene())


def test_backlog_counts_what_a_viewer_has_not_seen(run: Any) -> None:
    """A viewer nearly at the end of a long answer is not taken for one far behind."""

    async def scene() -> None:
        journal = opened(Disk(), Shown())
        for _ in range(1000):
            journal.delta("x" * 1000)
        await journal.flush()
        assert journal.backlog(0) >= 1_000_000
        assert journal.backlog(998) < 5_000
        assert journal.backlog(1000) == 0

    run(scene())


step = st.one_of(
    st.tuples(st.just("delta"), st.text(max_size=12)),
    st.tuples(st.just("event"), st.booleans()),
    st.tuples(st.just("agent"), st.sampled_from(["ODAI", "Yelp"])),
    st.tuples(st.just("flush"), st.none()),
    st.tuples(st.just("yield"), st.none()),
)


async def play(steps: list[tuple[str, Any]]) -> tuple[Disk, Shown, TurnJournal]:
    """Play a turn's events to the end."""
    disk, shown = Disk(), Shown()
    journal = opened(disk, shown)
    acts: dict[str, Callable[[Any], Any]] = {
        "delta": journal.delta,
        "event": lambda soon: journal.event(EVENT, soon=soon),
        "agent": lambda name: setattr(journal, "agent", name),
        "flush": lambda _: journal.flush(),
        "yield": lambda _: asyncio.sleep(0),
    }
    for kind, value in steps:
        done = acts[kind](value)
        if isinstance(done, Awaitable):
            await done
    await journal.flush()
    await shown.until(journal.last)
    return disk, shown, journal


@settings(deadline=None, max_examples=60)
@given(st.lists(step, max_size=30))
def test_a_replay_from_anywhere_equals_what_was_live(steps: list[tuple[str, Any]]) -> None:
    """Whoever comes back, at any event, from memory or the store, reads what a live viewer read."""
    disk, shown, journal = asyncio.run(play(steps))
    live = flat(shown.events)
    numbers = [n for first, last, *_ in live for n in range(first, last + 1)]
    assert numbers == list(range(1, journal.last + 1))
    for entries in (journal.entries, disk.entries):
        for seq in range(journal.last + 1):
            told = replay(entries, seq, journal.visible, chat_id="c", turn_id="T")
            told_events = [json.loads(payload) for _, payload in told]
            before = list(replay(entries, 0, seq, chat_id="c", turn_id="T"))
            whole = flat([json.loads(payload) for _, payload in before] + told_events)
            assert whole == live
    for one, other in zip(disk.chunks, disk.chunks[1:], strict=False):
        assert (other.number, other.first) == (one.number + 1, one.last + 1)


entry = st.one_of(
    st.builds(Deltas, st.integers(1, 99), st.text(max_size=8), st.lists(st.text(), min_size=1)),
    st.builds(Single, st.integers(1, 99), st.integers(1, 9999), st.binary(max_size=99)),
)


@given(st.lists(entry))
def test_a_chunk_reads_back_as_it_was(entries: list[Entry]) -> None:
    """What is stored is what is read, whatever letters an answer holds."""
    assert decode_entries(encode_entries(entries)) == entries


def test_stored_text_costs_little_more_than_itself() -> None:
    """A long answer of ordinary word-sized pieces takes at most 1.3 times its text in a chunk."""
    words = ("The", " forecast", " for", " tomorrow", " is", " light", " rain", ",", " with", " a")
    texts = [words[n % len(words)] for n in range(2000)]
    blob = encode_entries([Deltas(1, "ODAI", texts)])
    assert len(blob) <= 1.3 * sum(map(len, texts))
