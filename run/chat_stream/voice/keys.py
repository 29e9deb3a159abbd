"""What a caller decides by key or proves by PIN.

A PIN is keyed, or spoken and handed in by the model; it is masked wherever words are written. 1 and
2 decide about the oldest action that waits, though never about one that moves money, or
that follows after strangers' text was read.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from common.assistant.protocol import Approve, Deny
from common.errors import NotFound, OdaiError, RateLimited

if TYPE_CHECKING:
    from common.bootstrap import Services
    from run.chat_stream.voice.call import Call

_MOST_DIGITS: Final = 8
_CODES: Final = re.compile(r"\d(?:[\s.-]?\d){3,}")


class Keys:
    """The keys of one call."""

    def __init__(self, call: Call, services: Services) -> None:
        self.pin_asked = False  # what they asked for needs it
        self._call, self._services = call, services
        self._digits = ""
        self._approvals: dict[str, str] = {}  # waiting, by id: what would be done
        self._choice: bool | None = None

    @property
    def pin_due(self) -> bool:
        """Whether the caller was asked for a PIN, and has not given it."""
        return self.pin_asked and not self._call.verified

    def press(self, digit: str) -> None:
        """The caller pressed a key: a digit of the PIN, or a decision."""
        if self.pin_due:
            self._pin_key(digit)
        elif digit in "12" and self._waiting():
            self._choice = digit == "1"
            self._call.interrupt()  # the turn that asks ends, and stores what it asked for
            self._decide()

    # --- the PIN ----------------------------------------------------------------------------

    def masked(self, text: str) -> str:
        """Return the caller's words as they may be written."""
        return _CODES.sub("••••", text) if self.pin_due else text

    async def check_pin(self, digits: str) -> str:
        """Return what the model is told."""
        call = self._call
        if call.verified:
            return "The caller is known already."
        try:
            right = bool(digits) and await self._services.pins.check(call.uid, digits)
        except NotFound:
            return "No PIN is set: they can set one in the app's settings, and call again."
        except RateLimited:
            return "Too many wrong PINs: it is locked for a while. Nothing of theirs can be told."
        except OdaiError as err:
            return f"It could not be checked: {err}"
        if not right:
            return "It is wrong. They may try again."
        await call.proved()
        return "It is right. Go on with what they asked for."

    def _pin_key(self, digit: str) -> None:
        if digit == "*":
            self._digits = ""
        elif digit == "#" or len(self._digits) == _MOST_DIGITS:
            digits, self._digits = self._digits, ""
            self._call.spawn(self._keyed_pin(digits))
        elif digit.isdecimal():
            self._digits += digit

    async def _keyed_pin(self, digits: str) -> None:
        self._call.interrupt()
        await self._call.tell(f"The caller keyed in a PIN. {await self.check_pin(digits)}")

    # --- approvals --------------------------------------------------------------------------

    def asked(self, approval_id: str, title: str) -> None:
        """An action waits that a key may decide about."""
        self._approvals[approval_id] = title
        self._decide()

    def settled(self, approval_id: str) -> None:
        """An action waits no more, whoever decided."""
        self._approvals.pop(approval_id, None)

    def _waiting(self) -> bool:
        turn, tool = self._call.turn, self._services.registry.tool
        proposed = turn.pending if turn and not turn.tainted else []
        return bool(self._approvals) or any(tool(p.tool).risk != "money" for p in proposed)

    def _decide(self) -> None:
        """Carry the caller's choice out on the oldest action that waits, once it is stored."""
        if self._choice is None or not self._approvals:
            return
        approve, self._choice = self._choice, None
        approval_id = next(iter(self._approvals))
        del self._approvals[approval_id]
        self._call.spawn(self._decided(approval_id, approve))

    async def _decided(self, approval_id: str, approve: bool) -> None:
        frame = Approve(approval_id) if approve else Deny(approval_id)
        try:
            await self._services.turns.decide(self._call.room, frame)
        except OdaiError as err:
            await self._call.tell(f"The caller's choice could not be carried out: {err}")
            return
        if self._approvals:
            title = next(iter(self._approvals.values()))
            await asyncio.sleep(0)
            await self._call.tell(f"Another action waits for them: {title}. Ask in the same way.")
