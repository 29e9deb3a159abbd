"""The turn service: prompts in, journals out, whoever watches.

A turn belongs to no socket; prompts that arrive meanwhile wait in line. Loads `agents`: only the
container imports it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

from common.assistant.approvals import Decided
from common.assistant.chats import Chats, ChatState
from common.assistant.closing import Closing
from common.assistant.conduct import WENT_WRONG, Conductor, Voice
from common.assistant.manner import ON_SCREEN, Manner
from common.assistant.protocol import (
    START,
    SUBPROTOCOL,
    Approve,
    Cursor,
    Deny,
    DeviceLocation,
    Edit,
    Hello,
    Prompt,
    PromptQueued,
    Regenerate,
    error_event,
)
from common.assistant.replays import Replays
from common.assistant.retrying import retrying
from common.assistant.room import APPROVAL, JOB, Request, Room, Viewer
from common.assistant.schedules import DUE
from common.assistant.turn import Means
from common.background import Background
from common.documents import time_zone
from common.errors import (
    Conflict,
    InvalidInput,
    NotAllowed,
    NotFound,
    OdaiError,
    RateLimited,
    VendorUnavailable,
)
from common.log import get_logger
from common.tools import Location
from common.tracing import operation

log = get_logger(__name__)

MAX_QUEUED = 20  # prompts waiting in one chat
_RESTARTING = "The server is restarting. Please send that again."
_BEGIN_SECONDS = 2.0  # how long a follow-up's task waits for its turn to begin


class Turns:
    """Every live chat of this process."""

    def __init__(
        self,
        *,
        conductor: Conductor,
        chats: Chats,
        means: Means,
        closing: Closing,
        background: Background,
    ) -> None:
        self._conductor = conductor
        self._chats = chats
        self._means = means
        self._closing = closing
        self._background = background
        self._rooms: dict[tuple[str, str], asyncio.Task[Room]] = {}
        self._entering: Counter[tuple[str, str]] = Counter()
        self._draining = False
        self._replays = Replays(chats)
        self._following = conductor.following

    async def warm_up(self) -> None:
        """Make what the first turn would otherwise wait for."""
        await self._conductor.warm_up()

    # --- rooms and viewers ------------------------------------------------------------------

    async def enter(self, chat_id: str, uid: str) -> Room:
        """Return the chat's room, held open until `leave`. NotFound: it is another user's."""
        key = (chat_id, uid)
        if key not in self._rooms:
            self._rooms[key] = asyncio.create_task(self._open(chat_id, uid))
        opening = self._rooms[key]
        self._entering[key] += 1
        try:
            room = await asyncio.shield(opening)
            room.users += 1
            return room
        finally:
            self._entering[key] -= 1
            if not self._entering[key]:
                del self._entering[key]
                # Everybody who wanted it may have gone, or it could not be opened.
                if opening.done():
                    self._close_unused(key)
                else:
                    opening.add_done_callback(lambda _: self._close_unused(key))

    def _close_unused(self, key: tuple[str, str]) -> None:
        opening = self._rooms.get(key)
        if key in self._entering or opening is None or not opening.done():
            return
        room = _opened(opening)
        if room is None:
            del self._rooms[key]
        elif not room.users:
            room.users = 1
            self.leave(room)

    def leave(self, room: Room, viewer: Viewer | None = None) -> None:
        """Let go of the room; the last to leave closes it."""
        if viewer:
            room.leave(viewer)
        room.users -= 1
        if room.users == 0:
            self._rooms.pop((room.state.id, room.state.uid), None)
            self._background.spawn(self._following.leave(room))

    def _hold(self, room: Room, task: asyncio.Task[Any]) -> asyncio.Task[Any]:
        """Keep the room open until `task` has ended."""
        room.users += 1
        task.add_done_callback(lambda _: self.leave(room))
        return task

    async def attach(self, room: Room, viewer: Viewer, cursor: str | None) -> None:
        """Greet `viewer`, replay what it missed, and show it what comes."""
        state = room.state
        room.say(Hello(SUBPROTOCOL, state.title, str(room.here), state.running), to=viewer)
        try:
            if cursor:
                await self._replays.show(room, viewer, Cursor.parse(cursor))
        except InvalidInput as err:
            room.say(error_event(err), to=viewer)
        except OdaiError as err:  # what comes now would leave a gap behind it
            log.warning("chat not replayed", extra={"code": err.code, "chat_id": state.id})
            viewer.drop(1013, "This chat could not be read. Reconnect with your cursor.")
            return
        room.join(viewer)

    async def shown_again(self, room: Room, viewer: Viewer, prompt: Prompt) -> bool:
        """Show `viewer` the answer to a prompt that it sends again, having missed it.

        False where it missed none: who brought a cursor misses nothing, and what runs is shown.
        """
        if not prompt.id or viewer.began in (None, START):
            return False
        turn_id = await self._chats.answered_in(room.state, prompt.id)
        if turn_id is None or Cursor(turn_id, 0).order >= viewer.began.order:
            return False
        turn = await self._chats.turn(room.state, turn_id)
        room.leave(viewer)
        try:
            await self._replays.show_again(room, viewer, turn)
        finally:
            room.join(viewer)
        return True

    def speak(self, room: Room, voice: Voice) -> None:
        """Let `voice` answer the room's turns. Conflict where another call does already."""
        if self._conductor.voices.setdefault(room, voice) is not voice:
            raise Conflict("This chat is on the phone already. Hang up there first.")

    def hush(self, room: Room, voice: Voice) -> None:
        """Let the room's turns be answered in writing again."""
        if self._conductor.voices.get(room) is voice:
            del self._conductor.voices[room]

    # --- what clients ask -------------------------------------------------------------------

    def prompt(
        self,
        room: Room,
        prompt: Prompt,
        *,
        replaces: str | None = None,
        manner: Manner = ON_SCREEN,
    ) -> None:
        """Answer `prompt`, now or when it is its turn; the same id is answered once."""
        if self._draining:
            raise VendorUnavailable(_RESTARTING)
        if room.deleted:
            raise NotFound("This chat was deleted.")
        if len(room.queue) >= MAX_QUEUED:
            raise RateLimited("Too many messages are waiting. Let me answer some first.")
        if prompt.id and not room.remember(prompt.id):
            return
        if self._enqueue(room, Request(prompt, replaces=replaces, manner=manner)):
            room.say(PromptQueued(prompt.id, len(room.queue)))

    async def ask_again(self, room: Room, request: Regenerate | Edit) -> None:
        """Answer an earlier prompt again, as it was or edited, forgetting what followed it."""
        turn = await self._chats.turn(room.state, request.message_id)
        text = request.text if isinstance(request, Edit) else turn.prompt
        if not text:
            raise InvalidInput("Nobody asked for that message: it told you a result.")
        self.prompt(room, Prompt(text), replaces=turn.id)

    async def decide(self, room: Room, frame: Approve | Deny) -> None:
        """Take the user's decision about a waiting action, once, and act on it."""
        # Gone through with, though the socket that brought it may close meanwhile.
        await asyncio.shield(self._hold(room, self._background.spawn(self._decide(room, frame))))

    async def _decide(self, room: Room, frame: Approve | Deny) -> None:
        try:
            decided = await self._means.approvals.decide(
                frame.approval_id,
                room.state.uid,
                approve=isinstance(frame, Approve),
                arguments=frame.arguments if isinstance(frame, Approve) else None,
                reason=frame.reason if isinstance(frame, Deny) else "",
            )
        except Conflict:
            await self._act_all_the_same(room, frame)
            raise
        here = decided.chat_id == room.state.id
        if here:
            self._act_on(room, decided)
        # Whatever happens to this process, the decision is acted on; whoever is first begins it.
        try:
            await self._means.jobs.enqueue_decision(decided.proposal.id, room.state.uid)
        except OdaiError as err:
            if not here:
                raise
            log.error("decision not enqueued", extra={"code": err.code})
        if isinstance(frame, Approve) and frame.always and decided.decision == "approved":
            await self._chats.grant(room.state, decided.proposal.tool)

    async def _act_all_the_same(self, room: Room, frame: Approve | Deny) -> None:
        """Have a decision acted on that was stored without anybody's hearing of it, if it was."""
        uid, approve = room.state.uid, isinstance(frame, Approve)
        if await self._means.approvals.decided_so(frame.approval_id, uid, approve=approve):
            await self._means.jobs.enqueue_decision(frame.approval_id, uid)

    async def follow_up(
        self,
        *,
        uid: str,
        job_id: str = "",
        approval_id: str = "",
        due_id: str = "",
        after: str = "",
    ) -> None:
        """Open the turn for a job's result, a decision or what a schedule tells, once for each.

        `after` names a turn that died at it. Returns once the turn has begun, or is known to have
        begun before, or never will (the chat or the user is gone); VendorUnavailable: not yet.
        """
        if self._draining:
            raise VendorUnavailable(_RESTARTING)
        try:
            request, uid, chat_id = await self._asked(uid, job_id, approval_id, due_id, after)
            room = await self.enter(chat_id, uid)
        except (NotFound, NotAllowed) as err:
            log.warning("follow-up dropped", extra={"code": err.code})
            return
        try:
            if not room.state.version and not request.due:
                return  # the chat was deleted; what is scheduled opens it anew
            if room.remember(request.prompt.id):
                self._enqueue(room, request)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_BEGIN_SECONDS):
                        await request.begun.wait()
            if await self._chats.answered_in(room.state, request.prompt.id) is None:
                raise VendorUnavailable("The chat is still answering. Try again later.")
        finally:
            self.leave(room)

    async def _asked(
        self, uid: str, job_id: str, approval_id: str, due_id: str, after: str
    ) -> tuple[Request, str, str]:
        """Return what a follow-up asks for, of whom, in which chat."""
        suffix = f":{after}" if after else ""
        if job_id:
            finished = await self._means.jobs.finished(job_id)
            prompt = Prompt("", f"{JOB}{job_id}{suffix}")
            return Request(prompt, finished=finished), finished.uid, finished.chat_id
        if due_id:
            due = await self._means.schedules.told(uid, due_id)
            prompt = Prompt("" if due.say else due.text, f"{DUE}{due_id}{suffix}")
            return Request(prompt, due=due), uid, due.chat_id
        decided = await self._means.approvals.get(approval_id, uid)
        prompt = Prompt("", f"{APPROVAL}{approval_id}{suffix}")
        return Request(prompt, decided=decided), uid, decided.chat_id

    def stop(self, room: Room, turn_id: str = "") -> None:
        """Stop the running turn (or only `turn_id`), keeping what was said."""
        turn, running = room.turn, room.state.running
        # One that waits for another process's turn to end is not what is running.
        if turn and turn_id in ("", turn.id) and (turn.begun_at or not running):
            turn.stop()
        elif running and running != room.leading and turn_id in ("", running):
            self._background.spawn(self._ask_to_stop(room, running))
        elif room.worker and not room.leading and not turn_id:
            room.stop_next = True

    async def _ask_to_stop(self, room: Room, turn_id: str) -> None:
        try:
            await retrying(lambda: self._chats.ask_to_stop(room.state, turn_id))
        except OdaiError as err:
            room.say(error_event(err))

    def locate(self, room: Room, where: DeviceLocation) -> None:
        """Remember where the user's device is, while the room is open."""
        room.location = Location(where.latitude, where.longitude)
        if where.timezone:
            room.timezone = time_zone(where.timezone).key
            if room.timezone != room.state.timezone:
                self._background.spawn(self._note_timezone(room))

    async def _note_timezone(self, room: Room) -> None:
        try:
            await self._chats.note_timezone(room.state, room.timezone)
        except OdaiError as err:
            log.warning("timezone not noted", extra={"code": err.code})

    async def forget(self, state: ChatState) -> None:
        """Delete a chat, stopping its turn and closing its sockets first."""
        if room := _opened(self._rooms.get((state.id, state.uid))):
            room.delete()
            if room.worker:
                await asyncio.wait([room.worker], timeout=5.0)
        await self._closing.stand_down(state)
        await self._chats.delete(state)

    async def recover_abandoned(self) -> None:
        """Close turns whose process died and whose chat nobody has opened since."""
        for chat_id, uid in await self._chats.abandoned():
            self._background.spawn(self._recover_in(chat_id, uid))

    async def _recover_in(self, chat_id: str, uid: str) -> None:
        try:
            room = await self.enter(chat_id, uid)
        except OdaiError as err:
            log.warning("turn not recovered", extra={"code": err.code, "chat_id": chat_id})
            return
        try:
            await self._recover(room)  # one that somebody has open is not recovered by being opened
        finally:
            self.leave(room)

    async def drain(self, seconds: float) -> None:
        """Take no more prompts; let turns end for `seconds`, then close them as failed."""
        self._draining = True
        self._following.close()
        for room in self._open_rooms():
            self._refuse(room)
        if working := [room.worker for room in self._open_rooms() if room.worker]:
            await asyncio.wait(working, timeout=seconds)
        for room in self._open_rooms():
            if room.turn and room.turn.task:
                room.turn.task.cancel()
        await self._background.finish(timeout=2.0)

    def _open_rooms(self) -> list[Room]:
        return [room for opening in self._rooms.values() if (room := _opened(opening))]

    def _refuse(self, room: Room) -> None:
        """Tell who waits in line to ask again; what nobody typed is delivered again."""
        for request in room.queue:
            if request.prompt.text and not request.due:
                room.say(error_event(VendorUnavailable(_RESTARTING), request.typed_id))
        room.queue.clear()

    # --- one turn ---------------------------------------------------------------------------

    async def _work(self, room: Room, first: Request) -> None:
        following: Request | None = first
        try:
            while request := following:
                prompt = request.prompt
                try:
                    with operation("turn", within=request.trace) as measured:
                        behind = await self._conductor.lead(room, request, measured)
                    if behind:
                        self._hold(room, behind)
                except OdaiError as err:
                    room.prompt_ids.pop(prompt.id, None)
                    room.say(error_event(err, request.typed_id))
                except Exception:
                    # What waits in line is answered even so.
                    log.exception("turn lost", extra={"chat_id": room.state.id})
                    room.prompt_ids.pop(prompt.id, None)
                    room.say(error_event(OdaiError(WENT_WRONG), request.typed_id))
                following = room.queue.popleft() if room.queue else None
        finally:
            room.worker = None

    def _enqueue(self, room: Room, request: Request) -> bool:
        """Answer a request now, or put it in line; True where it has to wait."""
        if room.worker is not None:
            room.queue.append(request)
            return True
        room.worker = self._hold(room, self._background.spawn(self._work(room, request)))
        return False

    def _act_on(self, room: Room, decided: Decided) -> None:
        prompt = Prompt("", f"{APPROVAL}{decided.proposal.id}")
        if not self._draining and room.remember(prompt.id):
            self._enqueue(room, Request(prompt, decided=decided))

    # --- turns of processes that died -------------------------------------------------------

    async def _open(self, chat_id: str, uid: str) -> Room:
        room = Room(await self._chats.load(chat_id, uid))
        room.timezone = room.state.timezone
        await self._means.memories.warm(uid)
        try:
            await self._following.enter(room)
            if room.state.running:
                self._hold(room, self._background.spawn(self._recover(room)))
            else:
                await self._resume_decided(room)
        except BaseException:
            self._background.spawn(self._following.leave(room))
            raise
        return room

    async def _resume_decided(self, room: Room) -> None:
        """Act on what was decided before a process died and no turn has begun to act on."""
        for decided in await self._means.approvals.unfinished(room.state.id, room.state.uid):
            self._act_on(room, decided)

    async def _recover(self, room: Room) -> None:
        try:
            await self._conductor.recovery.recovered(room)
            await self._resume_decided(room)
        except OdaiError as err:
            log.error("turn not recovered", extra={"code": err.code, "chat_id": room.state.id})


def _opened(opening: asyncio.Task[Room] | None) -> Room | None:
    """Return the room, if it could be opened."""
    if opening is None or not opening.done() or opening.cancelled() or opening.exception():
        return None
    return opening.result()
