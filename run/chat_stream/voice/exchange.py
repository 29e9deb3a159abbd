"""One exchange of a call, written into a turn of its chat: what was said, called, and heard.

Speech does not wait for the store: an exchange begins when the caller has spoken, and what happens
before its turn has begun is written as soon as it has. The answer's text is told as far as it was
heard, so that a chat's viewers read along, and an interrupted answer ends where the caller's
hearing of it did.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.documents import new_id
from common.errors import VendorUnavailable
from common.telephony.clock import Cut, Playback

if TYPE_CHECKING:
    from common.assistant.turn import Turn
    from common.tools import Tool

_PATIENCE_SECONDS = 10.0  # how long a tool waits for the turn it belongs to
_FASTEST = 0.02  # characters of speech in a millisecond
UNCLEAR = "(unclear)"
_STOPPED = '{"error":"stopped","message":"The call ended before this did."}'
_PREFIX = "voice:"


@dataclass(slots=True)
class _Speech:
    """An answer: its text as the model gave it, and how much of it was told."""

    text: str = ""
    told: int = 0
    sent_ms: float = 0.0
    whole: bool = False  # no more text or sound is coming


class Exchange:
    """What the caller said and what was answered.

    `news` is what the model was told in place of the caller's words; `given` marks an exchange
    whose turn brings its own beginning: a typed prompt, a job's result, a decision.
    """

    def __init__(self, *, news: str = "", given: bool = False) -> None:
        self.id = f"{_PREFIX}{new_id()}"
        self.news = news
        self._given = given
        self.asked = ""
        self.heard = asyncio.Event()  # the caller's words are known
        self.over = False
        self.asked_for = False  # its turn was …
        self.prompted = ""  # … with these of the caller's words
        self.turn: Turn | None = None
        self._speeches: dict[str, _Speech] = {}
        self._later: list[Callable[[Turn], None]] = []
        self._bound: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        self._ended = asyncio.Event()
        self._calls: dict[str, asyncio.Task[str]] = {}
        self._known: set[str] = set()  # calls noted, so that a repeated event adds none

    @property
    def understood(self) -> bool:
        """Whether the model can be told in words what this is about."""
        return bool(self.news) or self._given or self.heard.is_set()

    @property
    def sounding(self) -> bool:
        """Whether any of its answer was sent."""
        return any(speech.sent_ms for speech in self._speeches.values())

    @property
    def working(self) -> bool:
        """Whether tools are running."""
        return bool(self._calls)

    @property
    def unanswered(self) -> set[str]:
        """The calls that run."""
        return set(self._calls)

    # --- its turn ---------------------------------------------------------------------------

    async def hold(self, turn: Turn) -> None:
        """Write into `turn` until the exchange is over."""
        self.turn = turn
        if self.news:
            turn.items[0] = {"role": "developer", "content": self.news}
        elif not self._given and self.asked and not self.prompted:
            turn.heard(self.asked, begins=True)
        elif not self._given:
            turn.items[0] = {"role": "user", "content": self.asked or UNCLEAR}
        for write in self._later:
            write(turn)
        self._later.clear()
        if not self._bound.done():
            self._bound.set_result(turn)
        await self._ended.wait()

    def refuse(self) -> None:
        """Note that there will be no turn: tools cannot run, and nothing is written."""
        if not self._bound.done():
            self._bound.cancel()

    def end(self) -> None:
        """Let the turn end; what still runs is stopped with it."""
        self.over = True
        self._ended.set()
        if self._calls:
            if self.turn and not self.turn.stopped:
                self.turn.stop()
            for call_id, call in self._calls.items():
                call.cancel()
                if self.turn is None:
                    self.answered(call_id, _STOPPED)

    def _write(self, write: Callable[[Turn], None]) -> None:
        if self.turn:
            write(self.turn)
        else:
            self._later.append(write)

    # --- what is said -----------------------------------------------------------------------

    def transcribed(self, text: str) -> None:
        """Note the caller's words; those of a second utterance are added."""
        text = text.strip()
        if self.news or self._given or (self.heard.is_set() and self.asked):
            if text:
                self._write(lambda turn: turn.heard(text))
            return
        self.asked = text
        self.heard.set()
        if self.turn and text:
            self.turn.heard(text, begins=True)

    def words(self, item_id: str, text: str) -> None:
        """Note a piece of an answer's text, which runs ahead of its sound."""
        self._speech(item_id).text += text

    def sounded(self, item_id: str, ms: float) -> None:
        """Note that a piece of an answer was sent."""
        self._speech(item_id).sent_ms += ms

    def whole(self) -> None:
        """Note that the response ended: its text and its sound are all there."""
        for speech in self._speeches.values():
            speech.whole = True

    def progress(self, playback: Playback, now: float) -> None:
        """Tell what was heard by now."""
        for item_id, speech in self._speeches.items():
            if speech.told < len(speech.text) or not speech.whole:
                self._tell(speech, playback.heard_ms(item_id, now))

    def finish(self, cuts: Sequence[Cut] = (), *, interrupted: bool = False) -> None:
        """Tell the rest, or of what was cut as much as was heard, as whole answers."""
        cut_at = {cut.item_id: cut.heard_ms for cut in cuts}
        for item_id, speech in self._speeches.items():
            if item_id in cut_at or interrupted:
                self._tell(speech, cut_at.get(item_id, speech.sent_ms))
            else:
                self._reveal(speech, len(speech.text))
            if text := speech.text[: speech.told].strip():
                self._write(lambda turn, said=text: turn.said(said))  # type: ignore[misc]
        self._speeches.clear()

    def so_far(self) -> list[dict[str, Any]]:
        """Return all there is of it as items: what a new connection's model must know."""
        items: list[dict[str, Any]] = []
        if self.turn:
            items += self.turn.items
        elif self.news:
            items.append({"role": "developer", "content": self.news})
        elif self.asked:
            items.append({"role": "user", "content": self.asked})
        said = (speech.text for speech in self._speeches.values())
        return [*items, *({"role": "assistant", "content": text} for text in said if text)]

    def spent(self, counts: dict[str, int]) -> None:
        """Count what the model used."""
        self._write(lambda turn: turn.spend(counts))

    def _speech(self, item_id: str) -> _Speech:
        return self._speeches.setdefault(item_id, _Speech())

    def _tell(self, speech: _Speech, heard_ms: float) -> None:
        if speech.sent_ms <= 0:
            return
        share = 1.0 if heard_ms >= speech.sent_ms - 1 else heard_ms / speech.sent_ms
        upto = int(len(speech.text) * share)
        if not speech.whole:  # the text is ahead of the sound, nobody knows how far
            upto = min(upto, int(heard_ms * _FASTEST))
        if upto < len(speech.text):
            upto = speech.text.rfind(" ", 0, upto + 1) + 1  # whole words
        self._reveal(speech, upto)

    def _reveal(self, speech: _Speech, upto: int) -> None:
        if upto > speech.told:
            piece = speech.text[speech.told : upto]
            speech.told = upto
            self._write(lambda turn: turn.delta(piece))

    # --- what is called ---------------------------------------------------------------------

    def called(self, name: str, arguments: str, call_id: str) -> None:
        """Note that the model called a tool."""
        if call_id in self._known:
            return
        self._known.add(call_id)
        item = {
            "type": "function_call", "name": name, "arguments": arguments, "call_id": call_id,
        }  # fmt: skip
        self._write(lambda turn: turn.items.append(item))

    def answered(self, call_id: str, text: str) -> None:
        """Note the output of a call that no tool of a connector made."""
        item = {"type": "function_call_output", "call_id": call_id, "output": text}
        self._write(lambda turn: turn.items.append(item))

    async def run(self, tool: Tool, arguments: str, call_id: str) -> str:
        """Run a tool in the exchange's turn; VendorUnavailable where there is none in time."""

        async def call() -> str:
            turn = self.turn
            if turn is None:
                try:
                    async with asyncio.timeout(_PATIENCE_SECONDS):
                        turn = await asyncio.shield(self._bound)
                except (TimeoutError, asyncio.CancelledError) as err:
                    if self._bound.cancelled() or isinstance(err, TimeoutError):
                        raise VendorUnavailable("The chat is busy. Try again.") from err
                    raise
            return await turn.call(tool, arguments, call_id)

        task = self._calls[call_id] = asyncio.create_task(call())
        try:
            return await task
        finally:
            self._calls.pop(call_id, None)
            if not task.done():
                task.cancel()


def spoken(prompt_id: str) -> bool:
    """Whether a prompt was spoken on a call."""
    return prompt_id.startswith(_PREFIX)
