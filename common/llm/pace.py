"""Reading streams in larger pieces while this process is behind with its work.

To handle a piece of a stream costs about the same whether it brings one delta or ten: a wake-up, a
parse, a frame to encode and to send. So where the event loop comes late to what it has to do, each
stream gathers for a moment before it is read on, as a network card does with its interrupts: what
there is to do shrinks, and nobody waits behind a full core. While the loop is in time nothing is
held, however busy it is.
"""

from __future__ import annotations

import asyncio
from typing import Final

_EVERY: Final = 0.1  # seconds between two looks
_BEHIND, _IN_TIME = 0.02, 0.005  # seconds late: gather longer from here on, shorter down there
_STEP, _MOST = 0.01, 0.04  # seconds


class Pace:
    """How long the streams on an event loop gather."""

    def __init__(self) -> None:
        self._hold = 0.0
        self._late = 0.0  # how late the last look was, in seconds
        self._looked = 0.0  # when that was, on the loop's clock
        self._timer: asyncio.TimerHandle | None = None

    def hold(self) -> float:
        """Return for how many seconds to let a stream gather before it is read again."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            moment = loop.time()
            if moment - self._looked > 2 * _EVERY:  # nothing came meanwhile
                self._hold = self._late = 0.0
            self._timer = loop.call_at(moment + _EVERY, self._look, loop, moment + _EVERY)
        return self._hold

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._timer, self._looked = None, loop.time()
        before, self._late = self._late, self._looked - due
        late = min(before, self._late)  # one late moment is no lasting lateness
        if late > _BEHIND:
            self._hold = min(self._hold + _STEP, _MOST)
        elif late < _IN_TIME:
            self._hold = max(self._hold - _STEP, 0.0)
