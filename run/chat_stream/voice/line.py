"""A line: the caller's side of a call, whatever carries it."""

from __future__ import annotations

from typing import Protocol

from common.telephony.audio import Format


class Line(Protocol):
    """What a call does with its caller. Sound is in the line's `form`, whole frames of 20 ms."""

    form: Format
    channel: str  # "phone" or "app"
    marked: bool  # whether marks come back

    def play(self, sound: bytes, item_id: str) -> None:
        """Play sound behind what was sent before."""

    def mark(self, name: str) -> None:
        """Ask to be told (`Call.played`) when everything before was played."""

    def clear(self, item_id: str) -> None:
        """Throw away what was not played yet; `item_id` is the answer that this interrupts."""

    def show(self, payload: bytes) -> None:
        """Show an event of the chat, where the line has eyes."""

    async def farewell(self, text: str) -> bool:
        """Say `text` without the voice model and end the call; False where the line cannot."""

    def close(self, code: int, reason: str) -> None:
        """End the call."""
