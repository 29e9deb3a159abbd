"""What the caller has heard, and how long nobody said anything. Times are seconds of any clock.

The model makes sound faster than it is played, so what was sent is not what was heard. Marks come
back when everything before them was played; between two marks time passes as it does. What a
`clear` threw away was not heard, and the marks that come back because of it say nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

_KEPT_SEGMENTS: Final = 64
Due: TypeAlias = Literal["ask", "leave", "limit"]


@dataclass(frozen=True, slots=True)
class Cut:
    """An answer that was interrupted: `heard_ms` of the `sent_ms` that were sent."""

    item_id: str
    heard_ms: int
    sent_ms: float


@dataclass(slots=True)
class _Segment:
    item_id: str
    start: float
    end: float


class Playback:
    """How far the other side has played what it was sent.

    `item_id` names the model's item a sound belongs to; "" for sounds of our own. `marked` tells
    whether the other side answers marks; one that does not is believed to play at once and in
    time. Positions are milliseconds since the call began.
    """

    def __init__(self, *, marked: bool) -> None:
        self._marked = marked
        self._segments: deque[_Segment] = deque(maxlen=_KEPT_SEGMENTS)
        self._marks: deque[tuple[str, float]] = deque()
        self._sent = 0.0
        self._base = 0.0  # a position that was certainly reached …
        self._base_at = 0.0  # … and when
        self._epoch = 0  # counts `clear`: marks of an earlier one are stale
        self._count = 0

    def sent(self, item_id: str, ms: float, now: float) -> None:
        """Note that `ms` of sound were sent."""
        if self._position(now) >= self._sent:
            self._base, self._base_at = self._sent, now
        last = self._segments[-1] if self._segments else None
        if last and last.item_id == item_id and last.end == self._sent:
            last.end += ms
        else:
            self._segments.append(_Segment(item_id, self._sent, self._sent + ms))
        self._sent += ms

    def mark(self) -> str:
        """Return the name of a mark to be sent now, behind everything sent so far."""
        self._count += 1
        name = f"{self._epoch}.{self._count}"
        self._marks.append((name, self._sent))
        return name

    def returned(self, name: str, now: float) -> bool:
        """Note that a mark came back; False where it says nothing (stale, or not ours)."""
        if not any(name == waiting for waiting, _ in self._marks):
            return False
        while True:
            found, position = self._marks.popleft()
            if found == name:
                self._base, self._base_at = position, now
                return True

    def heard_ms(self, item_id: str, now: float) -> float:
        """Return how much of an item's sound was heard."""
        reached = self._position(now)
        return sum(
            max(0.0, min(segment.end, reached) - segment.start)
            for segment in self._segments
            if segment.item_id == item_id
        )

    def unheard_ms(self, now: float) -> float:
        """Return how much was sent and not heard yet."""
        return self._sent - self._position(now)

    def done(self, now: float) -> bool:
        """Return whether everything sent was heard."""
        if self._marked:
            return not self._marks and self._base >= self._sent
        return self._position(now) >= self._sent

    def clear(self, now: float) -> list[Cut]:
        """Note that what was not heard is thrown away; return the items that it cut."""
        reached = self._position(now)
        totals: dict[str, list[float]] = {}
        for segment in self._segments:
            if segment.item_id:
                total = totals.setdefault(segment.item_id, [0.0, 0.0])
                total[0] += max(0.0, min(segment.end, reached) - segment.start)
                total[1] += segment.end - segment.start
        self._epoch += 1
        self._marks.clear()
        self._segments.clear()
        self._sent = self._base = reached
        self._base_at = now
        return [
            Cut(item_id, int(heard), sent)
            for item_id, (heard, sent) in totals.items()
            if heard < sent
        ]

    def _position(self, now: float) -> float:
        passed = self._base + max(0.0, now - self._base_at) * 1000.0
        # A mark that has not come back has not been reached.
        bound = self._marks[0][1] if self._marked and self._marks else self._sent
        return max(self._base, min(passed, bound))


class Patience:
    """When a silent caller is asked whether they are there, and when the call ends.

    `ask_after` and `leave_after` are the silences before the question and after it, `longest` the
    whole call.
    """

    def __init__(self, now: float, *, ask_after: float, leave_after: float, longest: float) -> None:
        self._began = self._stirred = now
        self._asked = False
        self._limited = False
        self._ask_after, self._leave_after, self._longest = ask_after, leave_after, longest

    def caller_spoke(self, now: float) -> None:
        """Note that the caller is there."""
        self._stirred, self._asked = now, False

    def busy(self, now: float) -> None:
        """Note that the assistant speaks or works: nobody is waited for meanwhile."""
        self._stirred = max(self._stirred, now)

    def due(self, now: float) -> Due | None:
        """Return what is to be done now, each once."""
        if not self._limited and now - self._began >= self._longest:
            self._limited = True
            return "limit"
        silent = now - self._stirred
        if self._asked:
            return "leave" if silent >= self._leave_after else None
        if silent < self._ask_after:
            return None
        self._asked, self._stirred = True, now
        return "ask"
