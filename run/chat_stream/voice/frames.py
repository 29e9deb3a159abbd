"""A socket that reads telephone frames quickly: fifty small text messages a second and call.

The WebSocket library takes 45 us for each, in Python: a third of all that a call costs. A whole,
unfragmented text message needs four lines and 3 us; whatever else arrives (pings, closes,
fragments, what breaks the rules) goes to the library, whole frame by whole frame.
"""

from __future__ import annotations

from typing import Any

from run.chat_stream.socket import SocketConnection

_TEXT = 0x81  # final, no extension, text
_CONTROL = 0x08


class MediaConnection(SocketConnection):
    """A `SocketConnection` with a short way for text messages."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._rest = b""
        self._in_fragments = False
        self._library_only = False

    def data_received(self, data: bytes) -> None:
        """Read frames."""
        if self._library_only or self._deaf:
            super().data_received(data)
            return
        self._heard = True
        if self._rest:
            data = self._rest + data
        at = 0
        while (size := self._frame_size(data, at)) and len(data) - at >= size:
            if data[at] != _TEXT or self._in_fragments or not self._take_text(data, at, size):
                self._hand_on(data[at : at + size])
            at += size
            if self._library_only or self._deaf:
                break
        self._rest = data[at:]
        if self._library_only:
            rest, self._rest = self._rest, b""
            super().data_received(rest)

    def _frame_size(self, data: bytes, at: int) -> int:
        """Return the size of the frame that begins at `at`, 0 where that is not known yet."""
        if len(data) - at < 2:
            return 0
        length, head = data[at + 1] & 0x7F, 6
        if length == 126:
            if len(data) - at < 4:
                return 0
            length, head = int.from_bytes(data[at + 2 : at + 4], "big"), 8
        if length == 127 or length > self._max_bytes or not data[at + 1] & 0x80:
            # Too large, or no client's frame: nothing of it is gathered here.
            self._library_only = True
            return 0
        return head + length

    def _take_text(self, data: bytes, at: int, size: int) -> bool:
        """Hand a whole text message to the session; False where the library must look at it."""
        start = at + (8 if data[at + 1] & 0x7F == 126 else 6)
        payload = data[start : at + size]
        mask = data[start - 4 : start]
        if any(mask):
            count = len(payload)
            key = int.from_bytes((mask * (count // 4 + 1))[:count], "big")
            payload = (int.from_bytes(payload, "big") ^ key).to_bytes(count, "big")
        try:
            text = payload.decode()
        except UnicodeDecodeError:
            return False
        if not self._closing:
            self._session.text(text)
        return True

    def _hand_on(self, frame: bytes) -> None:
        opcode, final = frame[0] & 0x0F, frame[0] & 0x80
        if opcode < _CONTROL:
            self._in_fragments = not final
        super().data_received(frame)
