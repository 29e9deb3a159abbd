"""The caller's sound on its way to the model, and what of it a new connection has to hear again."""

from __future__ import annotations

from collections import deque
from typing import Final

from run.chat_stream.voice import wire
from run.chat_stream.voice.model import RealtimeSocket

_KEPT_FRAMES: Final = 750  # of 20 ms
_PREFIX_FRAMES: Final = 25  # before the model noticed that the caller speaks


class Ear:
    """Hands frames of the caller's sound to `socket`; `deaf` while no model is there."""

    def __init__(self, socket: RealtimeSocket) -> None:
        self.deaf = False
        self._socket = socket
        self._recent: deque[str] = deque(maxlen=_KEPT_FRAMES)
        self._uttered = 0  # frames since the caller began to speak
        self._unsent = 0  # frames that no model heard

    def hear(self, payload: str) -> None:
        """Take a frame, base64, in the line's form."""
        self._recent.append(payload)
        if self._uttered:
            self._uttered += 1
        if self._socket.connected and not self.deaf:
            self._socket.send_bytes(wire.append(payload))
        else:
            self._unsent += 1

    def speech_started(self) -> None:
        """Note that the caller speaks: from here on, a new model must hear it again."""
        self._uttered = _PREFIX_FRAMES

    def understood(self) -> None:
        """Note that the caller's words are known."""
        self._uttered = 0

    def repeat(self) -> None:
        """Let a new model hear what the last one did not, or did not make words of."""
        again = min(len(self._recent), max(self._uttered, self._unsent))
        self._unsent = 0
        for payload in list(self._recent)[len(self._recent) - again :]:
            self._socket.send_bytes(wire.append(payload))
