"""Reading streams in larger pieces while this process is busy.

To handle a piece of a stream costs about the same whether it brings one delta or ten: a wake-up, a
parse, a frame to encode and to send. So a process that is near its limit lets each stream gather
for a moment before it reads on, as a network card does with its interrupts: what it has to do
shrinks, nobody waits behind a full core, and everybody's text comes in somewhat larger steps. While
there is time to spare nothing is held.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_EVERY = 0.25  # seconds between two looks at how busy the process is
_BUSY, _EASY = 0.75, 0.55  # of a core: gather longer from here on, shorter down there
_STEP, _MOST = 0.01, 0.04  # seconds

Seconds = Callable[[], float]


class Pace:
    """How long the streams of a process gather. `used` is the CPU time that it has spent.

    All of its threads count: they share one interpreter, and so about one core.
    """

    def __init__(
        self, *, used: Seconds = time.process_time, clock: Seconds = time.monotonic
    ) -> None:
        self._used, self._clock = used, clock
        self._looked = (float("-inf"), 0.0)
        self._hold = 0.0

    def hold(self) -> float:
        """Return for how many seconds to let a stream gather before it is read again."""
        moment = self._clock()
        if moment - self._looked[0] >= _EVERY:
            self._look(moment, self._used())
        return self._hold

    def _look(self, moment: float, used: float) -> None:
        since, before = self._looked
        self._looked = moment, used
        share = (used - before) / (moment - since)
        if share > _BUSY:
            self._hold = min(self._hold + _STEP, _MOST)
        elif share < _EASY:  # looks are further apart while little arrives
            self._hold = max(self._hold - _STEP * (moment - since) / _EVERY, 0.0)
