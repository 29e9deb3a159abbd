"""The journal of one turn: its events numbered, kept, shown and stored.

One structure serves four readers. Entries are runs of text deltas or single events, in order of
`seq`; live viewers, viewers that lag, viewers that come back with a cursor, and the store all read
the same list, each from its own position. So a slow viewer costs no queue of its own, and a replay
cannot differ from what was sent live.

Durability. Every event but a text delta is stored before anybody sees it; deltas are shown at once
and stored within FLUSH_SECONDS. If this process dies, its successor may therefore not know the
last few deltas that somebody saw. It must not reuse their numbers: it continues RESERVE beyond the
last stored one, with an event whose `from_seq` covers the gap, and the owner in turn never shows
more than RESERVE deltas that are not stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from common.assistant.protocol import Event, encode_delta, encode_event
from common.errors import Conflict, OdaiError, VendorUnavailable
from common.log import get_logger

log = get_logger(__name__)

FLUSH_SECONDS = 0.5
LAZY_SECONDS = 0.03
RESERVE = 4096
_BEAT_SECONDS = 0.02


@dataclass(slots=True)
class Deltas:
    """A run of text deltas: `texts[i]` is event `first + i`."""

    first: int
    agent: str
    texts: list[str]

    @property
    def last(self) -> int:
        """The number of the run's last event."""
        return self.first + len(self.texts) - 1


@dataclass(frozen=True, slots=True)
class Single:
    """One event as encoded, standing for `first` to `last` (one number but after a takeover)."""

    first: int
    last: int
    payload: bytes


Entry: TypeAlias = Deltas | Single


@dataclass(frozen=True, slots=True)
class Chunk:
    """The events `first` to `last` as bytes, the turn's `number`-th piece (from 1)."""

    number: int
    first: int
    last: int
    blob: bytes


class TurnJournal:
    """The events of one turn, in memory; `store_chunk` makes a piece of them durable.

    `store_chunk` is awaited with rising numbers, one at a time, and retries by itself what may be
    retried. `on_visible` is called when there is more to show. Everything runs on the event loop.
    """

    def __init__(
        self,
        *,
        chat_id: str,
        turn_id: str,
        store_chunk: Callable[[Chunk], Awaitable[None]],
        on_visible: Callable[[TurnJournal], None],
        entries: list[Entry] | None = None,
        chunks: int = 0,
    ) -> None:
        self.chat_id = chat_id
        self.turn_id = turn_id
        self.entries: list[Entry] = entries or []
        self.last = self.entries[-1].last if self.entries else 0
        self.visible = self.last
        self.agent = ""
        self._durable = self.last  # stored up to here
        self._taken = self.last  # handed to a commit up to here
        self._chunks = chunks
        self._pending_singles = 0
        self._refused: Chunk | None = None
        self._fenced = False  # another process owns the turn: nothing more is stored by itself
        self._store_chunk = store_chunk
        self._on_visible = on_visible
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._announced = False

    def delta(self, *texts: str) -> None:
        """Append pieces of the answer; shown as soon as nothing before them is waiting."""
        first = self.last + 1
        self.last += len(texts)
        tail = self.entries[-1] if self.entries else None
        # A run that is partly stored still grows: chunks name their own first and last.
        if isinstance(tail, Deltas) and tail.agent == self.agent:
            tail.texts += texts
        else:
            self.entries.append(Deltas(first, self.agent, [*texts]))
        if self._timer is None:
            self._flush_within(FLUSH_SECONDS)
        self._advance()

    def event(self, event: Event, *, first: int | None = None, soon: bool = True) -> int:
        """Append any other event and start storing it; return its number.

        `soon=False` lets it wait a moment for the commit that ends the turn. `first` is given by
        a successor alone: the numbers from there on are spent.
        """
        self.last = self.last + 1 if first is None else first + RESERVE
        payload = encode_event(
            event, chat_id=self.chat_id, turn_id=self.turn_id, seq=self.last, from_seq=first
        )
        self.entries.append(Single(first or self.last, self.last, payload))
        self._pending_singles += 1
        if soon:
            self._flush_soon()
        else:
            self._flush_within(LAZY_SECONDS)
        return self.last

    @property
    def chunks(self) -> int:
        """How many pieces are stored or being stored."""
        return self._chunks

    def absorb(self, entries: list[Entry], chunks: int) -> None:
        """Take in what another process stored behind the pieces known here."""
        # Two may have read the same pieces: each counts once.
        entries = [entry for entry in entries if entry.first > self.last]
        if not entries:
            return
        self.entries.extend(entries)
        self.last = self._taken = self._durable = entries[-1].last
        self._chunks = chunks
        self._advance()

    def take_unstored(self) -> Chunk | None:
        """Return what no commit has taken yet, or None.

        The caller stores it in a commit of its own, then calls `stored` or `untake`.
        """
        if self._refused:
            chunk, self._refused = self._refused, None
            return chunk
        if self._taken == self.last:
            return None
        first, last = self._taken + 1, self.last
        self._taken = last
        self._chunks += 1
        return Chunk(self._chunks, first, last, encode_entries(_between(self.entries, first, last)))

    def untake(self, chunk: Chunk) -> None:
        """Note that the commit failed: the same piece, under the same number, is taken next.

        It may have been stored without our hearing of it, and numbers without a gap are the fence.
        """
        self._refused = chunk

    def stored(self, last: int) -> None:
        """Note that everything up to `last` is durable, and show what waited for that."""
        self._durable = max(self._durable, last)
        self._pending_singles = sum(
            isinstance(entry, Single) and entry.last > self._durable
            for entry in reversed(self.entries[-64:])
        )
        self._advance()

    async def settle(self) -> None:
        """Wait until no chunk is being stored, and start no other by itself.

        One that failed before is stored now; raises the store's error where it fails again.
        """
        if self._timer:
            self._timer.cancel()
            self._timer = None
        while self._flushing and not self._flushing.done():
            await asyncio.wait([self._flushing])
        if self._refused:
            await self._flush()

    async def flush(self) -> None:
        """Store what is not stored yet; raises the store's error once its retries are spent."""
        await self.settle()
        await self._flush()

    async def fence(self) -> None:
        """Wait until all that was told so far is stored: the turn is ours as of then.

        Raises VendorUnavailable where it cannot be stored.
        """
        last = self.last
        while self._durable < last:
            self._flush_soon()
            if self._flushing:
                await asyncio.wait([self._flushing])
            if self._refused:
                raise VendorUnavailable("That could not be noted, so it was not done. Try again.")

    def after(self, seq: int) -> list[tuple[int, bytes]]:
        """Return (last number, payload) of what follows `seq` and may be shown, deltas merged."""
        return replay(self.entries, seq, self.visible, chat_id=self.chat_id, turn_id=self.turn_id)

    def backlog(self, seq: int) -> int:
        """Return about how many bytes `after(seq)` would yield."""
        total = 0
        for entry in reversed(self.entries):
            if entry.last <= seq:
                break
            total += _size(entry, seq)
        return total

    def _advance(self) -> None:
        limit = self.last if not self._pending_singles else self._first_pending() - 1
        limit = min(limit, self._durable + RESERVE)
        if limit <= self.visible:
            return
        self.visible = limit
        if not self._announced:
            # Once for all that arrives in this turn of the loop: one send for each viewer.
            self._announced = True
            self._loop.call_soon(self._announce)

    def _announce(self) -> None:
        self._announced = False
        self._on_visible(self)

    def _first_pending(self) -> int:
        pending = self.last + 1
        for entry in reversed(self.entries):
            if entry.last <= self._durable:
                break
            if isinstance(entry, Single):
                pending = entry.first
        return pending

    def _flush_soon(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if not self._fenced and (self._flushing is None or self._flushing.done()):
            self._flushing = self._loop.create_task(self._flush_until_durable())

    async def _flush_until_durable(self) -> None:
        # What arrives while a chunk is being written goes out with the next one.
        while (self._refused or self._taken < self.last) and (
            self._pending_singles or self._timer is None
        ):
            try:
                await self._flush()
            except OdaiError as err:
                # Nothing more is shown until a later chunk, or the turn's end, can be stored.
                log.error("journal not stored", extra={"code": err.code, "turn_id": self.turn_id})
                self._flush_within(FLUSH_SECONDS)
                return

    async def _flush(self) -> None:
        chunk = self.take_unstored()
        if chunk is None:
            return
        try:
            await self._store_chunk(chunk)
        except BaseException as err:
            self._fenced = isinstance(err, Conflict)
            self.untake(chunk)  # whatever went wrong: a number left out would end the turn's fence
            raise
        self.stored(chunk.last)

    def _flush_within(self, seconds: float) -> None:
        if self._timer is None and not self._fenced:
            due = self._loop.time() + seconds
            # The turns of a process take the same beats: the store commits them together.
            self._timer = self._loop.call_at(due - due % _BEAT_SECONDS, self._flush_soon)


def replay(
    entries: list[Entry], seq: int, until: int, *, chat_id: str, turn_id: str
) -> list[tuple[int, bytes]]:
    """Return (last number, payload) of the events after `seq` up to `until`, deltas merged."""
    found: list[tuple[int, bytes]] = []
    for entry in _tail(entries, seq):
        if entry.first > until:
            break
        if isinstance(entry, Single):
            found.append((entry.last, entry.payload))
            continue
        first, last = max(entry.first, seq + 1), min(entry.last, until)
        texts = entry.texts[first - entry.first : last - entry.first + 1]
        text = texts[0] if first == last else "".join(texts)
        payload = encode_delta(
            text, entry.agent, chat_id=chat_id, turn_id=turn_id, seq=last, from_seq=first
        )
        found.append((last, payload))
    return found


def encode_entries(entries: list[Entry]) -> bytes:
    """Return entries as the bytes of a chunk; text costs little more than itself."""
    packed: list[Any] = [
        [e.first, e.agent, e.texts] if isinstance(e, Deltas) else [e.first, e.last, e.payload]
        for e in entries
    ]
    return msgspec.msgpack.encode(packed)


def decode_entries(blob: bytes) -> list[Entry]:
    """Return the entries of a chunk that `encode_entries` made."""
    entries: list[Entry] = []
    for first, second, third in msgspec.msgpack.decode(blob):
        entries.append(
            Deltas(first, second, third)
            if isinstance(second, str)
            else Single(first, second, third)
        )
    return entries


def _tail(entries: list[Entry], seq: int) -> list[Entry]:
    index = len(entries)
    while index and entries[index - 1].last > seq:
        index -= 1
    return entries[index:]


def _between(entries: list[Entry], first: int, last: int) -> list[Entry]:
    cut: list[Entry] = []
    for entry in _tail(entries, first - 1):
        if entry.first > last:
            break
        if isinstance(entry, Deltas):
            start = max(entry.first, first)
            texts = entry.texts[start - entry.first : last - entry.first + 1]
            entry = Deltas(start, entry.agent, texts)
        cut.append(entry)
    return cut


def _size(entry: Entry, seq: int) -> int:
    if isinstance(entry, Single):
        return len(entry.payload)
    return sum(map(len, entry.texts[max(0, seq + 1 - entry.first) :])) + 160
