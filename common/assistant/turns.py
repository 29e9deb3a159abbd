"""The turn service: prompts in, journals out, whoever watches.

A turn belongs to no socket. It runs in a task of its own under the chat's lease, and ends in one
commit. Prompts that arrive meanwhile wait in line. Loads `agents`: only the container imports it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal, Protocol, TypeAlias

import agents
import msgspec
from agents import ModelResponse, ModelSettings, RunConfig, Runner

from common.assistant.analytics import facts_of
from common.assistant.approvals import Decided
from common.assistant.authority import Trust
from common.assistant.budgets import Commit, Tab
from common.assistant.chats import (
    HISTORY_TURNS,
    LEASE_SECONDS,
    ChatBusy,
    Chats,
    ChatState,
    DuplicatePrompt,
    Item,
    TurnRecord,
)
from common.assistant.closing import Closing, Ended
from common.assistant.following import Following
from common.assistant.journal import Chunk, Entry, TurnJournal
from common.assistant.manner import ON_SCREEN, Manner
from common.assistant.orchestrator import Orchestrator
from common.assistant.protocol import (
    SUBPROTOCOL,
    Approve,
    Cursor,
    Deny,
    DeviceLocation,
    Edit,
    EndOfStream,
    ErrorEvent,
    Hello,
    Prompt,
    PromptQueued,
    Regenerate,
    SuggestedPrompts,
    Title,
    TurnStarted,
)
from common.assistant.recovery import Recovery
from common.assistant.replays import Replays
from common.assistant.retrying import WHILE, retrying
from common.assistant.room import APPROVAL, JOB, Request, Room, Viewer
from common.assistant.routing import Router
from common.assistant.schedules import DUE
from common.assistant.titles import exchange_of, title_of
from common.assistant.turn import Means, Turn
from common.documents import Clock, new_id
from common.errors import (
    BudgetExceeded,
    Conflict,
    InvalidInput,
    NotAllowed,
    NotFound,
    OdaiError,
    RateLimited,
    VendorRejected,
    VendorUnavailable,
)
from common.events import Event, Events
from common.events.facts import Analytics, ChatCreated, PromptSubmitted, ResponseSent
from common.llm.failures import translated
from common.llm.offline import OfflinePlanner
from common.llm.relay import RelayModel, sink
from common.log import get_logger
from common.store import Write
from common.tools import Asker, Location
from common.tracing import Operation, operation

log = get_logger(__name__)

MAX_STEPS = 12  # model calls in one turn
MAX_QUEUED = 20  # prompts waiting in one chat
_BEGIN_ATTEMPTS = 16
_BEGIN_SECONDS = 2.0  # how long a follow-up's task waits for its turn to begin
_TOKENS = ("input_tokens", "cached_tokens", "output_tokens")
Status: TypeAlias = Literal["done", "stopped", "waiting_for_approval", "failed"]


class Voice(Protocol):
    """A call that speaks for a chat: while it lasts, the chat's turns are answered on the line."""

    async def answer(self, turn: Turn, request: Request) -> bool:
        """Answer the turn by speaking, and return when that was heard or interrupted.

        False where the call is over: nothing was said, and the turn is answered in writing.
        """


class Turns:
    """Every live chat of this process."""

    def __init__(
        self,
        *,
        chats: Chats,
        router: Router,
        orchestrator: Orchestrator,
        means: Means,
        events: Events,
        closing: Closing,
        analytics: Analytics,
        clock: Clock,
        model_settings: ModelSettings,
    ) -> None:
        self._chats = chats
        self._router = router
        self.orchestrator = self._orchestrator = orchestrator
        self._means = means
        self._events = events
        self._closing = closing
        self._analytics = analytics
        self._clock = clock
        self._rooms: dict[tuple[str, str], asyncio.Task[Room]] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._draining = False
        self._voices: dict[Room, Voice] = {}
        self._manners: dict[str, Manner] = {}  # by prompt id, of those not typed on a screen
        self._config = RunConfig(
            tracing_disabled=True,  # the SDK's tracing would send prompts to a third party
            model_settings=model_settings,
            tool_not_found_behavior="return_error_to_model",
        )
        self._replays = Replays(chats)
        self._recovery = Recovery(chats, means, self._journal)
        self._following = Following(chats, make_journal=self._journal, spawn=self._spawn)

    async def warm_up(self) -> None:
        """Make what the first turn would otherwise wait for: tool schemas and a stub run."""
        self._orchestrator.build_tools()
        planner = RelayModel(OfflinePlanner(self._means.runner.registry, clock=self._clock))
        sink.set(_Silence())
        await Runner.run(
            agents.Agent(name="warm-up", model=planner), "hello", run_config=self._config
        )

    # --- rooms and viewers ------------------------------------------------------------------

    async def enter(self, chat_id: str, uid: str) -> Room:
        """Return the chat's room, held open until `leave`. NotFound: it is another user's."""
        key = (chat_id, uid)
        if key not in self._rooms:
            self._rooms[key] = asyncio.create_task(self._open(chat_id, uid))
        opening = self._rooms[key]
        try:
            room = await asyncio.shield(opening)
        except OdaiError:
            self._rooms.pop(key, None)
            raise
        except asyncio.CancelledError:
            # Whoever wanted it has gone; what is being opened for nobody is closed again.
            opening.add_done_callback(self._close_unused)
            raise
        room.users += 1
        return room

    def _close_unused(self, opening: asyncio.Task[Room]) -> None:
        if not opening.cancelled() and not opening.exception() and not opening.result().users:
            opening.result().users = 1
            self.leave(opening.result())

    def leave(self, room: Room, viewer: Viewer | None = None) -> None:
        """Let go of the room; the last to leave closes it."""
        if viewer:
            room.leave(viewer)
        room.users -= 1
        if room.users == 0:
            self._rooms.pop((room.state.id, room.state.uid), None)
            self._spawn(self._following.leave(room))

    async def attach(self, room: Room, viewer: Viewer, cursor: str | None) -> None:
        """Greet `viewer`, replay what it missed, and show it what comes."""
        state = room.state
        room.say(
            Hello(SUBPROTOCOL, state.title, str(state.last) if state.last else None, state.running),
            to=viewer,
        )
        try:
            if cursor:
                await self._replays.show(room, viewer, Cursor.parse(cursor))
        except OdaiError as err:
            room.say(_error(err), to=viewer)
        room.join(viewer)

    def speak(self, room: Room, voice: Voice) -> None:
        """Let `voice` answer the room's turns. Conflict where another call does already."""
        if self._voices.setdefault(room, voice) is not voice:
            raise Conflict("This chat is on the phone already. Hang up there first.")

    def hush(self, room: Room, voice: Voice) -> None:
        """Let the room's turns be answered in writing again."""
        if self._voices.get(room) is voice:
            del self._voices[room]

    # --- what clients ask -------------------------------------------------------------------

    def prompt(
        self,
        room: Room,
        prompt: Prompt,
        *,
        replaces: str | None = None,
        manner: Manner = ON_SCREEN,
    ) -> None:
        """Answer `prompt`, now or when it is its turn; the same id is answered once.

        One that came in another `manner` than on a screen must have an id.
        """
        if self._draining:
            raise VendorUnavailable("The server is restarting. Please send that again.")
        if len(room.queue) >= MAX_QUEUED:
            raise RateLimited("Too many messages are waiting. Let me answer some first.")
        if prompt.id and not room.remember(prompt.id):
            return
        if manner is not ON_SCREEN:
            self._manners[prompt.id] = manner
        if self._enqueue(room, Request(prompt, replaces=replaces)):
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
        approve = isinstance(frame, Approve)
        decided = await self._means.approvals.decide(
            frame.approval_id,
            room.state.uid,
            approve=approve,
            arguments=frame.arguments if isinstance(frame, Approve) else None,
            reason=frame.reason if isinstance(frame, Deny) else "",
        )
        if isinstance(frame, Approve) and frame.always and decided.decision == "approved":
            await self._chats.grant(room.state, decided.proposal.tool)
        # Whatever happens to this process, the decision is acted on; whoever is first begins it.
        await self._means.jobs.enqueue_decision(decided.proposal.id, room.state.uid)
        if decided.chat_id == room.state.id:
            self._act_on(room, decided)

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
        if room.turn and turn_id in ("", room.turn.id):
            room.turn.stop()
        elif (running := room.state.running) and turn_id in ("", running):
            self._spawn(self._chats.ask_to_stop(room.state, running))

    def locate(self, room: Room, where: DeviceLocation) -> None:
        """Remember where the user's device is, while the room is open."""
        room.location = Location(where.latitude, where.longitude)
        if where.timezone:
            room.timezone = _zone(where.timezone)
            if room.timezone != room.state.timezone:
                self._spawn(self._note_timezone(room))

    async def _note_timezone(self, room: Room) -> None:
        try:
            await self._chats.note_timezone(room.state, room.timezone)
        except OdaiError as err:
            log.warning("timezone not noted", extra={"code": err.code})

    async def forget(self, state: ChatState) -> None:
        """Delete a chat, stopping its turn and closing its sockets first."""
        opening = self._rooms.get((state.id, state.uid))
        if opening and opening.done() and not opening.exception():
            room = opening.result()
            room.queue.clear()
            self.stop(room)
            if room.worker:
                await asyncio.wait([room.worker], timeout=5.0)
            for viewer in list(room.viewers):
                viewer.drop(1008, "This chat was deleted.")
        await self._closing.stand_down(state)
        await self._chats.delete(state)

    async def recover_abandoned(self) -> None:
        """Close turns whose process died and whose chat nobody has opened since."""
        for chat_id, uid in await self._chats.abandoned():
            try:
                self.leave(await self.enter(chat_id, uid))  # opening a chat recovers it
            except OdaiError as err:
                log.warning("turn not recovered", extra={"code": err.code, "chat_id": chat_id})

    async def drain(self, seconds: float) -> None:
        """Take no more prompts; let turns end for `seconds`, then close them as failed."""
        self._draining = True
        self._following.close()
        workers = [
            task.result().worker
            for task in self._rooms.values()
            if task.done() and not task.cancelled() and not task.exception()
        ]
        running = [worker for worker in workers if worker]
        if running:
            await asyncio.wait(running, timeout=seconds)
        for task in self._rooms.values():
            if task.done() and not task.exception() and (turn := task.result().turn) and turn.task:
                turn.task.cancel()
        if self._background:
            await asyncio.wait(self._background, timeout=2.0)

    # --- one turn ---------------------------------------------------------------------------

    async def _work(self, room: Room) -> None:
        try:
            while room.queue:
                request = room.queue.popleft()
                prompt = request.prompt
                try:
                    with operation("turn", within=request.trace) as measured:
                        await self._turn(room, request, measured)
                except OdaiError as err:
                    room.prompt_ids.pop(prompt.id, None)
                    room.say(_error(err))
                except Exception:
                    # What waits in line is answered even so.
                    log.exception("turn lost", extra={"chat_id": room.state.id})
                    room.prompt_ids.pop(prompt.id, None)
                    room.say(_error(OdaiError("Something went wrong on our side. Try again.")))
                finally:
                    self._manners.pop(prompt.id, None)
        finally:
            room.worker = None
            self.leave(room)

    def _enqueue(self, room: Room, request: Request) -> bool:
        """Put a request in line; True where it has to wait."""
        room.queue.append(request)
        if room.worker is not None:
            return True
        room.users += 1
        room.worker = self._spawn(self._work(room))
        return False

    def _act_on(self, room: Room, decided: Decided) -> None:
        prompt = Prompt("", f"{APPROVAL}{decided.proposal.id}")
        if room.remember(prompt.id):
            self._enqueue(room, Request(prompt, decided=decided))

    async def _turn(self, room: Room, request: Request, measured: Operation) -> None:
        await self._closing.stand_down(room.state)
        last = room.state.last.turn_id if room.state.last else ""
        journal = self._journal(room, new_id(after=last))
        earlier = _prompts(room.state.input_items())
        prompt = request.prompt
        trust = Trust("\n".join([*earlier, prompt.text]), tainted=room.state.tainted)
        if request.finished and request.finished.outcome:
            trust.note(request.finished.outcome)
        if request.due:
            trust.tainted |= request.due.untrusted
        turn = Turn(
            journal,
            _first_item(request),
            means=self._means,
            asker=request.decided.asker if request.decided else self._asker(room),
            trust=trust,
            granted=room.state.granted,
        )
        turn.manner = self._manners.get(prompt.id, ON_SCREEN)
        room.turn = turn  # from here on it may be stopped
        try:
            if not await self._begin(room, turn, request):
                measured.outcome = "duplicate"
                return
            request.begun.set()
            heart = self._spawn(self._renew(room, turn))
            try:
                status = await self._answer(room, turn, request, earlier)
            finally:
                heart.cancel()
            measured.outcome = status
            if turn.first_token_ms is not None:
                measured.facts["first_token_ms"] = turn.first_token_ms
        finally:
            room.turn = None
        if turn.lost:
            self._spawn(self._pay(turn))
            return
        try:
            await self._end(room, turn, status, asked=[*earlier, prompt.text])
        except Conflict:
            self._lose(room, turn.id)
            self._spawn(self._pay(turn))

    async def _begin(self, room: Room, turn: Turn, request: Request) -> bool:
        """Store the turn's start; False where this prompt was answered before."""
        prompt, replaces = request.prompt, request.replaces
        turn.journal.event(TurnStarted(prompt.text, turn.id, prompt.id, replaces))
        chunk = turn.journal.take_unstored()
        assert chunk is not None  # it holds turn_started
        record = self._record(turn, prompt)
        item = turn.items[0]
        if request.due:
            turn.plain = request.due.say

        async def begin(also: Sequence[Write]) -> Sequence[str]:
            return await self._chats.begin(
                room.state, record, item, chunk, replaces=replaces, also=also
            )

        for attempt in range(_BEGIN_ATTEMPTS):
            turn.tab = tab = self._tab(room, turn, request)
            try:
                await self._recovery.recovered(room)
                if new := not room.state.version:
                    room.state.title = title_of(
                        prompt.text
                        or (request.due.text if request.due else "")
                        or ("Voice call" if turn.manner.channel == "voice" else "")
                    )
                await retrying(
                    lambda: self._means.budgets.hold(tab.hold, begin)  # noqa: B023
                )
                break
            except BudgetExceeded as err:
                if not (request.due or request.decided or request.finished):
                    raise
                turn.plain = _unpaid(request, err)
            except DuplicatePrompt:
                return False
            except ChatBusy:
                continue
            except Conflict:  # of the chat, or of the budget: another process moved on
                if attempt == _BEGIN_ATTEMPTS - 1:
                    raise
                await asyncio.sleep(0.002 * attempt)
        room.open_journal(turn.journal)
        turn.journal.stored(chunk.last)
        self._note_beginning(room, turn, prompt, new=new)
        return True

    def _tab(self, room: Room, turn: Turn, request: Request) -> Tab:
        """Return what the turn runs on: money for two steps, none where no model is asked."""
        budgets = self._means.budgets
        history = room.state.history[-HISTORY_TURNS:] if budgets.priced else []
        step = budgets.estimate(sum(len(msgspec.json.encode(items)) for _, items in history))
        task = request.due.task if request.due else ""
        micros = 0 if turn.plain else 2 * step
        hold = budgets.plan(room.state.uid, room.timezone, turn.id, micros, task=task)
        return Tab(budgets, hold, step)

    async def _pay(self, turn: Turn) -> None:
        """Settle what a turn has spent that another process closed, or will."""
        try:
            if turn.tab:
                await turn.tab.settle()
        except OdaiError as err:
            log.error("usage not settled", extra={"code": err.code, "turn_id": turn.id})

    def _note_beginning(self, room: Room, turn: Turn, prompt: Prompt, *, new: bool) -> None:
        turn.begun_at, turn.names_chat = self._clock(), new
        at = {"uid": room.state.uid, "chat_id": room.state.id}
        if new:
            self._analytics.emit(ChatCreated(), **at, key=turn.id)
        if prompt.text:
            fact = PromptSubmitted(len(prompt.text), turn.manner.channel)
            self._analytics.emit(fact, **at, turn_id=turn.id, key=turn.id)

    async def _answer(self, room: Room, turn: Turn, request: Request, earlier: list[str]) -> Status:
        if turn.stopped:
            return "stopped"
        turn.task = asyncio.create_task(self._run(room, turn, request, earlier))
        try:
            await turn.task
        except asyncio.CancelledError:
            if not turn.task.cancelled():
                turn.task.cancel()
                raise
            turn.tell_cut_off()
            if turn.stopped:
                return "stopped"
            turn.journal.event(
                _error(VendorUnavailable("The server is restarting. Please ask again."))
            )
            return "failed"
        except OdaiError as err:
            turn.tell_cut_off()
            turn.journal.event(_error(err))
            return "failed"
        except Exception:
            # The turn loop is one of the three places that catch broadly: the person gets an
            # answer whatever is broken, and the log gets the place.
            log.exception("turn failed", extra={"turn_id": turn.id})
            turn.tell_cut_off()
            turn.journal.event(_error(OdaiError("Something went wrong on our side. Try again.")))
            return "failed"
        return "waiting_for_approval" if turn.pending else "done"

    async def _run(self, room: Room, turn: Turn, request: Request, earlier: list[str]) -> None:
        sink.set(turn)
        if request.decided:
            await turn.carry_out(request.decided)
        if (voice := self._voices.get(room)) and await voice.answer(turn, request):
            return
        if turn.plain:
            text = _told(turn) if request.decided else turn.plain
            turn.delta(text)
            turn.said(text)
            return
        begun = len(turn.items)
        prompt = request.prompt.text or (earlier or [""])[-1]
        agent = self._agent(room, prompt, earlier, turn.manner)
        history: list[Any] = [*room.state.input_items(), *turn.items[1:]]
        try:
            with translated():
                result = await Runner.run(
                    agent, history, context=turn, max_turns=MAX_STEPS, run_config=self._config
                )
        except VendorRejected as err:
            if isinstance(err.__cause__, agents.ModelRefusalError):
                turn.items = turn.kept_items()  # declining is an answer, and it was heard
                return
            if isinstance(err.__cause__, agents.MaxTurnsExceeded):
                raise VendorRejected("That took too many steps. Ask for one part of it.") from err
            raise
        if turn.broke:
            turn.items = turn.kept_items()
            raise turn.broke
        # The SDK's items are typed dicts; ours are stored as plain JSON.
        turn.items = [dict(item) for item in result.to_input_list()[len(history) - begun :]]

    async def _end(self, room: Room, turn: Turn, status: Status, *, asked: list[str]) -> None:
        journal = turn.journal
        if turn.left:
            await retrying(lambda: self._means.jobs.leave_all(turn.id, told=turn.told))
        proposals = await self._proposals(turn, room)
        await retrying(journal.settle, attempts=WHILE)
        # Nothing is awaited from here to the commit, which stores these events or none of them.
        if status == "waiting_for_approval":
            turn.tell_pending()
        journal.event(EndOfStream(status, turn.usage))
        self._afterthoughts(turn, status, room.state.title if turn.names_chat else None, asked)
        items = turn.kept_items() if status in ("stopped", "failed") else turn.items
        chunk = journal.take_unstored()
        assert chunk is not None  # it holds end_of_stream

        async def end(also: Sequence[Write]) -> Sequence[str]:
            return await self._chats.end(
                room.state,
                turn.id,
                items=items,
                chunk=chunk,
                status=status,
                usage=turn.usage,
                tainted=turn.tainted,
                also=[*proposals, *also],
            )

        await retrying(lambda: self._settle(room, turn, end), attempts=WHILE)
        journal.stored(chunk.last)
        self._spawn(self._publish(room, turn, status))
        if status == "done" and asked[-1] and self._closing.thinks:
            self._close(room, turn, asked)

    async def _settle(self, room: Room, turn: Turn, end: Commit) -> None:
        """Note what the turn has spent in the commit that ends it."""
        assert turn.tab is not None  # it has begun
        if await turn.tab.settle(end):
            text = "Most of today's budget is used up. What runs by itself waits until tomorrow."
            room.say(ErrorEvent("budget_low", text, False))

    def _close(self, room: Room, turn: Turn, asked: list[str]) -> None:
        """Think about a turn that has ended, keeping the room open meanwhile."""
        room.users += 1
        prompt, answer = exchange_of(turn.items)
        self._closing.begin(Ended(
            state=room.state, journal=turn.journal, prompt=prompt, answer=answer, asked=asked,
            worked=list(turn.worked.values()),
        )).add_done_callback(lambda _: self.leave(room))  # fmt: skip

    async def _proposals(self, turn: Turn, room: Room) -> list[Write]:
        asker = self._asker(room)
        return [
            await self._means.approvals.write(
                proposal, asker, chat_id=room.state.id, turn_id=turn.id
            )
            for proposal in turn.pending
        ]

    def _afterthoughts(
        self, turn: Turn, status: Status, title: str | None, asked: list[str]
    ) -> None:
        worked = list(turn.worked.values())
        if status == "done" and (found := self._closing.at_once(worked, asked=asked)):
            turn.journal.event(SuggestedPrompts(found))
        if title is not None:
            turn.journal.event(Title(title))

    async def _publish(self, room: Room, turn: Turn, status: Status) -> None:
        data = {
            "chat_id": room.state.id,
            "turn_id": turn.id,
            "uid": room.state.uid,
            "status": status,
            "connectors": list(turn.used),
        }
        self._note_end(room, turn, status)
        try:
            await self._events.publish(Event("turn.finished", turn.id, data))
        except OdaiError as err:
            log.error("event not published", extra={"code": err.code, "turn_id": turn.id})

    def _note_end(self, room: Room, turn: Turn, status: Status) -> None:
        at = {"uid": room.state.uid, "chat_id": room.state.id, "turn_id": turn.id}
        for place, fact in enumerate(facts_of(turn.journal.entries)):
            self._analytics.emit(fact, **at, key=f"{turn.id}:{place}")
        spent = {name: turn.usage.get(name, 0) for name in _TOKENS}
        took = (self._clock() - turn.begun_at).total_seconds() if turn.begun_at else 0.0
        fact = ResponseSent(status, round(took * 1000), **spent)
        self._analytics.emit(fact, **at, key=turn.id)

    async def _renew(self, room: Room, turn: Turn) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            try:
                also = self._means.budgets.prolonged(turn.tab.hold) if turn.tab else []
                await self._chats.renew(room.state, turn.id, also=also)
            except OdaiError as err:
                log.warning("lease not renewed", extra={"code": err.code, "turn_id": turn.id})

    # --- turns of processes that died -------------------------------------------------------

    async def _open(self, chat_id: str, uid: str) -> Room:
        room = Room(await self._chats.load(chat_id, uid))
        room.timezone = room.state.timezone
        await self._means.memories.warm(uid)
        await self._following.enter(room)
        if room.state.running:
            room.users += 1
            self._spawn(self._recover(room))
        else:
            await self._resume_decided(room)
        return room

    async def _resume_decided(self, room: Room) -> None:
        """Act on what was decided before a process died and no turn has begun to act on."""
        for decided in await self._means.approvals.unfinished(room.state.id, room.state.uid):
            self._act_on(room, decided)

    async def _recover(self, room: Room) -> None:
        try:
            await self._recovery.recovered(room)
            await self._resume_decided(room)
        except OdaiError as err:
            log.error("turn not recovered", extra={"code": err.code, "chat_id": room.state.id})
        finally:
            self.leave(room)

    def _lose(self, room: Room, turn_id: str) -> None:
        """Give up a turn that another process has taken over; viewers see the rest of it there."""
        log.error("turn lost to another process", extra={"turn_id": turn_id})
        room.state.stale = True
        if room.turn and room.turn.id == turn_id:
            room.turn.lost = True
            room.turn.stop()
        for viewer in list(room.viewers):
            room.leave(viewer)
            viewer.drop(1013, "This chat moved. Reconnect with your cursor.")
        room.journals.pop(turn_id, None)

    # --- small parts ------------------------------------------------------------------------

    def _journal(
        self, room: Room, turn_id: str, entries: list[Entry] | None = None, chunks: int = 0
    ) -> TurnJournal:
        async def store_chunk(chunk: Chunk) -> None:
            try:
                await retrying(lambda: self._chats.store_chunk(room.state, turn_id, chunk))
            except Conflict:
                self._lose(room, turn_id)
                raise

        return TurnJournal(
            chat_id=room.state.id,
            turn_id=turn_id,
            store_chunk=store_chunk,
            on_visible=room.spread,
            entries=entries,
            chunks=chunks,
        )

    def _agent(
        self, room: Room, prompt: str, earlier: list[str], manner: Manner
    ) -> agents.Agent[Any]:
        uid, remembered = room.state.uid, list[str]()
        if manner.proven:
            remembered = [each.text for each in self._means.memories.fitting(uid, prompt)]
        choice = self._router.choose(prompt, earlier)
        place = (
            f"{room.location.latitude:.3f}, {room.location.longitude:.3f}" if room.location else ""
        )
        return self._orchestrator.agent_for(
            choice, now=self._clock(), timezone=room.timezone, place=place, hint=manner.hint,
            remembered=remembered,
        )  # fmt: skip

    def _asker(self, room: Room) -> Asker:
        where = room.location
        return Asker(
            room.state.uid,
            room.timezone,
            where.latitude if where else None,
            where.longitude if where else None,
            room.address,
            room.state.id,
        )

    def _record(self, turn: Turn, prompt: Prompt) -> TurnRecord:
        now = self._clock()
        return TurnRecord(
            id=turn.id,
            prompt=prompt.text,
            prompt_id=prompt.id,
            started_at=now,
            status="running",
            owner=self._chats.instance,
            lease_until=now + dt.timedelta(seconds=LEASE_SECONDS),
        )

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


class _Silence:
    """A `Sink` for the warm-up, whom nobody hears."""

    def delta(self, text: str) -> None:
        """Drop it."""

    def answered(self, response: ModelResponse) -> None:
        """Drop it."""


def _error(err: OdaiError) -> ErrorEvent:
    return ErrorEvent(err.code, str(err), err.retryable)


def _first_item(request: Request) -> Item:
    """Return what begins the turn's items: the prompt, or news that the model did not ask for."""
    if finished := request.finished:
        known = finished.outcome
        result = known.for_model() if known else "its service is not available any more."
        text = f"The slow call of {finished.tool} has ended. Tell the user its result: {result}"
        return {"role": "developer", "content": text}
    if decided := request.decided:
        text = f"The user decided about {decided.proposal.tool}: {decided.decision}."
        return {"role": "developer", "content": text}
    if request.due and request.due.say:
        text = "Something that the user has scheduled is due, and is told to them."
        return {"role": "developer", "content": text}
    return {"role": "user", "content": request.prompt.text}


def _unpaid(request: Request, err: BudgetExceeded) -> str:
    """Return what is told without a model, for want of money, of what nobody typed."""
    if request.due:
        return f"I have left this out: {request.due.text} {err}"
    if request.finished and (outcome := request.finished.outcome):
        return outcome.summary
    return str(err)


def _told(turn: Turn) -> str:
    """Return in words the news that a decision ended with."""
    news = str(turn.items[-1].get("content", ""))
    try:
        result = msgspec.json.decode(news[news.index("{") :])
    except (ValueError, msgspec.DecodeError):
        return "All right."
    return str(result.get("summary") or result.get("message") or "That is done.")


def _prompts(items: list[Item]) -> list[str]:
    return [
        item["content"]
        for item in items
        if item.get("role") == "user" and isinstance(item.get("content"), str)
    ]


def _zone(name: str) -> str:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as err:  # "America" is a folder
        raise InvalidInput("timezone is an IANA name such as Europe/Paris.") from err
    return name
