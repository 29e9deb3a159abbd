"""The chat socket: who may open it, and what its frames do."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from typing import TYPE_CHECKING

from flask import request
from simple_websocket import Server

from common.assistant import protocol
from common.assistant.protocol import Cursor, ErrorEvent, Frame, Pong, error_event
from common.egress.guard import is_public
from common.errors import InvalidInput, OdaiError, RateLimited
from common.identity import Identity
from common.log import get_logger, new_trace
from common.tracing import operation
from common.web.edge import client_address
from run.chat_stream.admission import check_origin, identify
from run.chat_stream.socket import SocketConnection, hand_over

if TYPE_CHECKING:
    from common.assistant.room import Room
    from common.bootstrap import Services

log = get_logger(__name__)

_POLICY, _TRY_LATER, _GOING_AWAY, _IDLE, _INTERNAL = 1008, 1013, 1001, 4000, 1011
_CHECK_SECONDS = 30.0
_ROLLOVER_SECONDS = 55 * 60.0  # Cloud Run cuts at 60 minutes
_MAX_WAITING = 64  # frames read and not yet acted on


class ChatSockets:
    """Every chat socket of this process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._sessions: set[ChatSession] = set()
        self._by_user: Counter[str] = Counter()
        self._prompts: dict[str, deque[float]] = {}
        self._closing = False

    @property
    def count(self) -> int:
        """How many sockets are open."""
        return len(self._sessions)

    def accept(self, server: Server, chat_id: str) -> None:
        """Check who connects, in the request's thread; then the socket belongs to the loop."""
        services = self._services
        try:
            protocol.check_chat_id(chat_id)
            check_origin(services)
            identity = identify(services, purpose="chat")
            self._check_room_for(identity)
        except RateLimited as err:
            server.close(_TRY_LATER, str(err)[:120])
            return
        except OdaiError as err:
            log.info("socket refused", extra={"code": err.code})
            server.close(_TRY_LATER if err.retryable else _POLICY, str(err)[:120])
            return
        session = ChatSession(self, services, chat_id, identity, request.args.get("cursor"))
        address = client_address(request, services.settings)
        session.address = address if is_public(address) else ""
        hand_over(server, session, services.loop.loop, max_bytes=protocol.MAX_FRAME_BYTES)

    async def drain(self, seconds: float) -> None:
        """Let turns end for `seconds`, telling every client to come back elsewhere."""
        self._closing = True
        await self._services.turns.drain(seconds)
        for session in list(self._sessions):
            session.drop(_GOING_AWAY, "The server is restarting. Reconnect with your cursor.")

    # --- for sessions -----------------------------------------------------------------------

    def enter(self, session: ChatSession) -> None:
        """Count a session in."""
        self._sessions.add(session)
        self._by_user[session.uid] += 1

    def leave(self, session: ChatSession) -> None:
        """Count a session out."""
        if session in self._sessions:
            self._sessions.remove(session)
            self._by_user[session.uid] -= 1
            if not self._by_user[session.uid]:
                del self._by_user[session.uid]
                # Not at once: who comes again within the minute has sent what they have sent.
                loop = asyncio.get_running_loop()
                loop.call_later(60.0, self._forget_prompts, session.uid)

    def _forget_prompts(self, uid: str) -> None:
        if uid not in self._by_user:
            self._prompts.pop(uid, None)

    def count_prompt(self, uid: str) -> None:
        """RateLimited where the user has sent too many prompts within a minute."""
        sent = self._prompts.setdefault(uid, deque())
        moment = time.monotonic()
        while sent and sent[0] < moment - 60.0:
            sent.popleft()
        if len(sent) >= self._services.settings.prompts_per_minute:
            raise RateLimited("You are sending messages too quickly. Wait a minute.")
        sent.append(moment)

    # --- who may connect --------------------------------------------------------------------

    def _check_room_for(self, identity: Identity) -> None:
        if self._closing:
            raise RateLimited("The server is restarting. Try again in a moment.")
        if self._by_user[identity.uid] >= self._services.settings.sockets_per_user:
            raise RateLimited("Too many connections. Close another window first.")


class ChatSession:
    """One client's connection to one chat: a `Session` of its socket, a `Viewer` of its room."""

    def __init__(
        self,
        sockets: ChatSockets,
        services: Services,
        chat_id: str,
        identity: Identity,
        cursor: str | None,
    ) -> None:
        self.uid = identity.uid
        self.address = ""
        self.turn_id = ""
        self.seq = 0
        self.began: Cursor | None = None
        self._sockets = sockets
        self._turns = services.turns
        self._idle_seconds = services.settings.idle_seconds
        self._chat_id = chat_id
        self._cursor = cursor
        self._frames: asyncio.Queue[Frame | ErrorEvent] = asyncio.Queue(_MAX_WAITING)
        self._connection: SocketConnection | None = None
        self._room: Room | None = None
        self._work: asyncio.Task[None] | None = None
        self._can_write = asyncio.Event()
        self._opened = self._active = time.monotonic()
        self._check: asyncio.TimerHandle | None = None

    # --- Session ----------------------------------------------------------------------------

    def opened(self, connection: SocketConnection) -> None:
        """Start serving."""
        self._connection = connection
        self._can_write.set()
        self._sockets.enter(self)
        loop = asyncio.get_running_loop()
        self._work = loop.create_task(self._serve())
        self._check = loop.call_later(_CHECK_SECONDS, self._check_age)

    def text(self, data: str) -> None:
        """Read a frame; what cannot be read is answered and the socket stays open."""
        self._active = time.monotonic()
        try:
            self._wait(protocol.parse_frame(data))
        except InvalidInput as err:
            self._wait(error_event(err, protocol.prompt_id_of(data)))

    def binary(self, data: bytes) -> None:
        """Refuse binary messages; the socket stays open."""
        err = InvalidInput("Send text frames: this socket reads no binary ones.")
        self._wait(error_event(err))

    def _wait(self, frame: Frame | ErrorEvent) -> None:
        """Put what was read in line: all of it is answered after `hello`, in its order."""
        if self._frames.full():
            self.drop(_POLICY, "Too many frames at once.")
            return
        self._frames.put_nowait(frame)

    def writable(self) -> None:
        """Catch up."""
        self._can_write.set()
        if self._room and self in self._room.viewers:
            self._room.pull(self)

    def closed(self) -> None:
        """Let go of everything; a running turn goes on."""
        self._can_write.set()
        self._sockets.leave(self)
        if self._check:
            self._check.cancel()
        if self._work:
            self._work.cancel()
            self._work = None  # its traceback holds this session: neither would go by itself

    # --- Viewer -----------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether the connection takes more."""
        return self._connection is not None and self._connection.ready

    def show(self, payload: bytes) -> None:
        """Send one event."""
        if self._connection:
            self._connection.send(payload)
            if not self._connection.ready:
                self._can_write.clear()

    async def writable_again(self) -> None:
        """Wait until `ready`, or until the connection is gone."""
        await self._can_write.wait()

    def drop(self, code: int, reason: str) -> None:
        """Close the connection."""
        if self._connection:
            self._connection.close(code, reason)

    # --- serving ----------------------------------------------------------------------------

    async def _serve(self) -> None:
        try:
            room = await self._turns.enter(self._chat_id, self.uid)
        except OdaiError as err:
            self.drop(_TRY_LATER if err.retryable else _POLICY, str(err))
            return
        except Exception:
            self._fail()
            return
        self._room = room
        try:
            await self._turns.attach(room, self, self._cursor)
            while True:
                frame = await self._frames.get()
                if isinstance(frame, ErrorEvent):
                    room.say(frame, to=self)
                    continue
                try:
                    new_trace()  # each frame begins one: a socket lives too long to be one
                    with operation("frame", type(frame).__name__):
                        await self._act(room, frame)
                except OdaiError as err:
                    prompt_id = frame.id if isinstance(frame, protocol.Prompt) else ""
                    room.say(error_event(err, prompt_id), to=self)
        except Exception:
            self._fail()
        finally:
            self._turns.leave(room, self)

    def _fail(self) -> None:
        # An open socket that hears nothing is worse than one that is opened anew.
        log.exception("socket failed")
        self.drop(_INTERNAL, "Something went wrong on our side. Reconnect with your cursor.")

    async def _act(self, room: Room, frame: Frame) -> None:
        room.address = self.address  # a chat may be open in two places: where this was typed counts
        match frame:
            case protocol.Prompt():
                self._sockets.count_prompt(self.uid)
                if not await self._turns.shown_again(room, self, frame):
                    self._turns.prompt(room, frame)
            case protocol.Stop():
                self._turns.stop(room, frame.turn_id)
            case protocol.Regenerate() | protocol.Edit():
                self._sockets.count_prompt(self.uid)
                await self._turns.ask_again(room, frame)
            case protocol.Resume():
                room.leave(self)
                await self._turns.attach(room, self, frame.cursor)
            case protocol.DeviceLocation():
                self._turns.locate(room, frame)
            case protocol.Ping():
                room.say(Pong(), to=self)
            case protocol.Approve() | protocol.Deny():
                await self._turns.decide(room, frame)

    def _check_age(self) -> None:
        """Close an idle socket, or one that the platform would soon cut, between turns."""
        moment = time.monotonic()
        busy = self._room is not None and self._room.worker is not None
        if moment - self._opened > _ROLLOVER_SECONDS and not busy:
            self.drop(_GOING_AWAY, "Time to reconnect with your cursor.")
        elif moment - self._active > self._idle_seconds and not busy:
            self.drop(_IDLE, "idle")
        else:
            loop = asyncio.get_running_loop()
            self._check = loop.call_later(_CHECK_SECONDS, self._check_age)
