"""Ask a chat and wait for its answer, with no socket: for texts, spoken turns and scheduled work.

A headless viewer of the chat's room: it sees the events any client sees and keeps what a person
would be told. A prompt's id makes asking safe to repeat: the same id is one turn, and whoever asks
again, in this process or another, hears the answer of that turn.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

from common.assistant.chats import Chats
from common.assistant.manner import ON_SCREEN, Manner
from common.assistant.protocol import Approve, Cursor, Deny, Prompt
from common.assistant.room import APPROVAL, Room
from common.assistant.turns import Turns
from common.errors import NotFound, VendorUnavailable

_LOOK_AGAIN_S = 2.0  # whether the turn has begun in another process
_GONE = 1008

Status: TypeAlias = Literal["done", "stopped", "waiting_for_approval", "failed"]


@dataclass(frozen=True, slots=True)
class Asked:
    """An action that the turn wants a yes for."""

    approval_id: str
    tool: str
    title: str
    arguments: Any
    risk: str


@dataclass(frozen=True, slots=True)
class Answer:
    """How a turn ended. `text` is all it said (Markdown), `error` what went wrong, for the user.

    `later`: a slow call goes on, and its result comes in a turn of its own. `hang_up`: the
    assistant ends the call.
    """

    turn_id: str
    status: Status
    text: str
    error: str = ""
    asked: tuple[Asked, ...] = ()
    later: bool = False
    hang_up: bool = False


class Answering:
    """Asks chats; lives on the event loop."""

    def __init__(self, turns: Turns, chats: Chats) -> None:
        self._turns = turns
        self._chats = chats

    async def ask(
        self,
        uid: str,
        chat_id: str,
        prompt: Prompt,
        *,
        patience: float,
        manner: Manner = ON_SCREEN,
    ) -> Answer | None:
        """Answer `prompt`, which must have an id; None where that takes over `patience` seconds.

        The turn goes on all the same: ask again with the same id, or `answer_to` it. Raises
        NotFound (another user's chat), RateLimited (too many in line) and VendorUnavailable.
        """
        return await self._hear(
            uid, chat_id, prompt.id, patience,
            begin=lambda room: self._turns.prompt(room, prompt, manner=manner),
        )  # fmt: skip

    async def answer_to(
        self, uid: str, chat_id: str, prompt_id: str, *, patience: float
    ) -> Answer | None:
        """Return the answer to a prompt that somebody else asked; None as for `ask`."""
        return await self._hear(uid, chat_id, prompt_id, patience)

    async def decide(
        self, uid: str, chat_id: str, approval_id: str, *, approve: bool, patience: float
    ) -> Answer | None:
        """Decide an action that waits and return what came of it; None as for `ask`.

        Raises NotFound and Conflict as `Approvals.decide` does.
        """
        frame: Approve | Deny = Approve(approval_id) if approve else Deny(approval_id)
        room = await self._turns.enter(chat_id, uid)
        try:
            await self._turns.decide(room, frame)
            return await self._hear(uid, chat_id, f"{APPROVAL}{approval_id}", patience)
        finally:
            self._turns.leave(room)

    async def _hear(
        self, uid: str, chat_id: str, prompt_id: str, patience: float, begin: Any = None
    ) -> Answer | None:
        room = await self._turns.enter(chat_id, uid)
        listener = _Listener(prompt_id)
        try:
            begun = await self._attach(room, listener)
            if begin and not begun:
                begin(room)
            async with asyncio.timeout(patience):
                while not listener.ended.done():
                    await asyncio.wait([listener.ended], timeout=_LOOK_AGAIN_S)
                    if not listener.turn and not listener.ended.done():
                        room.leave(listener)
                        await self._attach(room, listener)
                return listener.ended.result()
        except TimeoutError:
            return None
        finally:
            listener.ended.cancel()
            self._turns.leave(room, listener)

    async def _attach(self, room: Room, listener: _Listener) -> bool:
        """Show the listener its turn from the start, if that has begun; tell whether it has."""
        turn_id = await self._chats.answered_in(room.state, listener.prompt_id)
        await self._turns.attach(room, listener, f"{turn_id}:0" if turn_id else None)
        return turn_id is not None


class _Listener:
    """A `Viewer` that keeps what is said in the turn of one prompt."""

    def __init__(self, prompt_id: str) -> None:
        self.turn_id = ""
        self.seq = 0
        self.began: Cursor | None = None
        self.ready = True
        self.prompt_id = prompt_id
        self.turn = ""
        self.ended: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._texts: list[str] = []
        self._asked: list[Asked] = []
        self._error = ""
        self._later = self._hang_up = False

    def show(self, payload: bytes) -> None:
        event = msgspec.json.decode(payload)
        if event["type"] == "turn_started" and event["prompt_id"] == self.prompt_id:
            self.turn = event["turn_id"]
        if event["type"] == "error" and event["turn_id"] is None:
            self._fail(VendorUnavailable(event["message"]))
        elif event["turn_id"] is not None and event["turn_id"] == self.turn:
            self._take(event)

    async def writable_again(self) -> None:
        """Return at once: memory takes everything."""

    def drop(self, code: int, reason: str) -> None:
        self._fail(NotFound(reason) if code == _GONE else VendorUnavailable(reason))

    def _take(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "llm_response":
                self._texts.append(event["response"])
            case "approval_required":
                self._asked.append(Asked(
                    event["approval_id"], event["tool"], event["title"], event["arguments"],
                    event["risk"],
                ))  # fmt: skip
            case "tool_output":
                kind = event["output"]["response_type"]
                self._later |= kind == "job_pending"
                self._hang_up |= kind == "hangup_call"
            case "error":
                self._error = event["message"]
            case "end_of_stream" if not self.ended.done():
                self.ended.set_result(self._answer(event["status"]))

    def _answer(self, status: Status) -> Answer:
        return Answer(
            self.turn, status, "\n\n".join(text.strip() for text in self._texts).strip(),
            error=self._error, asked=tuple(self._asked), later=self._later, hang_up=self._hang_up,
        )  # fmt: skip

    def _fail(self, error: Exception) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)
            self.ended.exception()  # seen, in case its waiter has gone
