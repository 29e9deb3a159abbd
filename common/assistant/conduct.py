"""One turn: from its request to the commit that ends it.

A turn runs in a task of its own under the chat's lease, whoever watches, and ends in one commit.
Loads `agents`: only the container imports it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import weakref
from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeAlias

import agents
import msgspec
from agents import ModelResponse, ModelSettings, RunConfig, Runner

from common.assistant.analytics import facts_of
from common.assistant.authority import Trust
from common.assistant.budgets import Commit, Tab
from common.assistant.chats import (
    LEASE_SECONDS,
    Chats,
    DuplicatePrompt,
    Item,
    TurnRecord,
)
from common.assistant.closing import Closing, Ended
from common.assistant.following import Following
from common.assistant.journal import Chunk, Entry, TurnJournal
from common.assistant.manner import Manner
from common.assistant.orchestrator import Orchestrator, RunAgent
from common.assistant.protocol import (
    BUDGET_LOW,
    EndOfStream,
    ErrorEvent,
    Prompt,
    SuggestedPrompts,
    Title,
    TurnStarted,
    error_event,
)
from common.assistant.recovery import Recovery
from common.assistant.retrying import WHILE, retrying
from common.assistant.room import Request, Room
from common.assistant.routing import Router
from common.assistant.titles import exchange_of, title_of
from common.assistant.turn import Means, Turn
from common.background import Background
from common.documents import Clock, new_id
from common.errors import (
    BudgetExceeded,
    Conflict,
    OdaiError,
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
from common.tracing import Operation

log = get_logger(__name__)

WENT_WRONG = "Something went wrong on our side. Try again."
MAX_STEPS = 12  # model calls in one turn
_BEGIN_ATTEMPTS = 16
_TOKENS = ("input_tokens", "cached_tokens", "output_tokens")
Status: TypeAlias = Literal["done", "stopped", "waiting_for_approval", "failed"]


class Voice(Protocol):
    """A call that speaks for a chat: while it lasts, the chat's turns are answered on the line."""

    async def answer(self, turn: Turn, request: Request) -> bool:
        """Answer the turn by speaking, and return when that was heard or interrupted.

        False where the call is over: nothing was said, and the turn is answered in writing.
        """


class Conductor:
    """Leads the turns of this process."""

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
        background: Background,
    ) -> None:
        self._chats = chats
        self._router = router
        self._orchestrator = orchestrator
        self._means = means
        self._events = events
        self._closing = closing
        self._analytics = analytics
        self._clock = clock
        self._background = background
        self._config = RunConfig(
            tracing_disabled=True,  # the SDK's tracing would send prompts to a third party
            model_settings=model_settings,
            tool_not_found_behavior="return_error_to_model",
        )
        self.recovery = Recovery(chats, means, self.journal)
        self.following = Following(chats, make_journal=self.journal, spawn=background.spawn)
        self.voices: dict[Room, Voice] = {}  # of the rooms that are on the phone

    async def warm_up(self) -> None:
        """Make what the first turn would otherwise wait for: tool schemas and a stub run."""
        self._orchestrator.build_tools()
        planner = RelayModel(OfflinePlanner(self._means.runner.registry, clock=self._clock))
        sink.set(_Silence())
        await Runner.run(
            agents.Agent(name="warm-up", model=planner), "hello", run_config=self._config
        )

    async def lead(
        self, room: Room, request: Request, measured: Operation
    ) -> asyncio.Task[None] | None:
        """Answer one request in the room, from its turn's first event to its last.

        Returns what goes on behind the turn and needs the room, if anything does. Raises what keeps
        the turn from beginning; whatever happens later is told in the turn.
        """
        await self._closing.stand_down(room.state)
        try:
            turn = await self._begin(room, request)
            if turn is None:
                request.begun.set()
                measured.outcome = "duplicate"
                return None
            return await self._led(room, turn, request, measured)
        finally:
            room.turn, room.leading, room.stop_next = None, "", False

    def _turn(self, room: Room, request: Request) -> Turn:
        """Return a turn behind all that the chat holds now."""
        last = room.state.last.turn_id if room.state.last else ""
        journal = self.journal(room, new_id(after=last))
        items = room.state.input_items()
        earlier = _prompts(items)
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
            asker=request.decided.asker if request.decided else room.asker,
            trust=trust,
            granted=room.state.granted,
        )
        turn.manner = request.manner
        turn.earlier, turn.asked = items, earlier
        return turn

    async def _led(
        self, room: Room, turn: Turn, request: Request, measured: Operation
    ) -> asyncio.Task[None] | None:
        try:
            request.begun.set()
            heart = self._background.spawn(self._renew(room, turn))
            try:
                status = await self._answer(room, turn, request)
            finally:
                heart.cancel()
            measured.outcome = status
            if turn.first_token_ms is not None:
                measured.facts["first_token_ms"] = turn.first_token_ms
        finally:
            room.turn = None
        if turn.lost:
            self._background.spawn(self._pay(turn))
            return None
        try:
            return await self._end(room, turn, status, asked=[*turn.asked, request.prompt.text])
        except Conflict:
            self._lose(room, turn.id)
            self._background.spawn(self._pay(turn))
            self._background.spawn(retrying(lambda: self._chats.clear(room.state, turn.id)))
        except OdaiError as err:
            log.error("turn not ended", extra={"code": err.code, "turn_id": turn.id})
            self._background.spawn(self._pay(turn))
            room.leading = ""  # it is closed as a dead process's would be
            await retrying(lambda: self.recovery.recovered(room), attempts=WHILE)
        return None

    async def _begin(self, room: Room, request: Request) -> Turn | None:
        """Make a turn and store its start; None where this prompt was answered before."""
        prompt, plain = request.prompt, request.due.say if request.due else ""
        for attempt in range(_BEGIN_ATTEMPTS):
            await self.recovery.recovered(room)
            await self.following.catch_up(room)
            # Made anew for each attempt: what others did meanwhile comes before it, and counts.
            turn, before = self._turn(room, request), room.turn
            turn.plain = plain
            turn.stopped = room.stop_next or (before is not None and before.stopped)
            room.stop_next = False
            room.turn, room.leading = turn, turn.id  # from here on it may be stopped
            turn.tab = tab = self._tab(room, turn, request)
            turn.journal.event(TurnStarted(prompt.text, turn.id, prompt.id, request.replaces))
            chunk = turn.journal.take_unstored()
            assert chunk is not None  # it holds turn_started
            begin = self._beginning(room, turn, request, chunk)
            try:
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
                plain = _unpaid(request, err)
            except DuplicatePrompt:
                return None
            except Conflict:  # of the chat, or of the budget: another process moved on
                if attempt == _BEGIN_ATTEMPTS - 1:
                    raise
                await asyncio.sleep(0.002 * attempt)
        else:
            raise VendorUnavailable("This chat is busy elsewhere. Please send that again.")
        room.open_journal(turn.journal)
        turn.journal.stored(chunk.last)
        self._note_beginning(room, turn, prompt, new=new)
        return turn

    def _beginning(self, room: Room, turn: Turn, request: Request, chunk: Chunk) -> Commit:
        record, item = self._record(turn, request.prompt), turn.items[0]

        async def begin(also: Sequence[Write]) -> Sequence[str]:
            return await self._chats.begin(
                room.state, record, item, chunk, replaces=request.replaces, also=also
            )

        return begin

    def _tab(self, room: Room, turn: Turn, request: Request) -> Tab:
        """Return what the turn runs on: money for two steps, none where no model is asked."""
        budgets = self._means.budgets
        step = budgets.estimate(room.state.input_bytes() if budgets.priced else 0)
        task = request.due.task if request.due else ""
        micros = 0 if turn.plain else 2 * step
        hold = budgets.plan(room.state.uid, room.timezone, turn.id, micros, task=task)
        return Tab(budgets, hold, step)

    def _note_beginning(self, room: Room, turn: Turn, prompt: Prompt, *, new: bool) -> None:
        turn.begun_at, turn.names_chat = self._clock(), new
        at = {"uid": room.state.uid, "chat_id": room.state.id}
        if new:
            self._analytics.emit(ChatCreated(), **at, key=turn.id)
        if prompt.text:
            fact = PromptSubmitted(len(prompt.text), turn.manner.channel)
            self._analytics.emit(fact, **at, turn_id=turn.id, key=turn.id)

    async def _answer(self, room: Room, turn: Turn, request: Request) -> Status:
        if turn.stopped:
            return "stopped"
        turn.task = asyncio.create_task(self._run(room, turn, request))
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
                error_event(VendorUnavailable("The server is restarting. Please ask again."))
            )
            return "failed"
        except OdaiError as err:
            turn.tell_cut_off()
            if request.finished and (outcome := request.finished.outcome):
                turn.items = turn.kept_items()
                turn.tell_plainly(outcome.summary)  # no other turn will tell it
                return "done"
            turn.journal.event(error_event(err))
            return "failed"
        except Exception:
            # The turn loop is one of the three places that catch broadly: the person gets an
            # answer whatever is broken, and the log gets the place.
            log.exception("turn failed", extra={"turn_id": turn.id})
            turn.tell_cut_off()
            turn.journal.event(error_event(OdaiError(WENT_WRONG)))
            return "failed"
        return "waiting_for_approval" if turn.pending else "done"

    async def _run(self, room: Room, turn: Turn, request: Request) -> None:
        # Connections to the model live on in copies of this context, and would keep the turn.
        sink.set(weakref.proxy(turn))
        if request.decided:
            await turn.carry_out(request.decided)
        if (voice := self.voices.get(room)) and await voice.answer(turn, request):
            return
        if turn.plain:
            turn.tell_plainly(_told(turn) if request.decided else turn.plain)
            return
        begun = len(turn.items)
        prompt = request.prompt.text or (turn.asked or [""])[-1]
        agent = self._agent(room, prompt, turn.asked, turn.manner)
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
        finally:
            agent.dissolve()
        if turn.broke:
            turn.items = turn.kept_items()
            raise turn.broke
        # The SDK's items are typed dicts; ours are stored as plain JSON.
        turn.items = [dict(item) for item in result.to_input_list()[len(history) - begun :]]

    async def _end(
        self, room: Room, turn: Turn, status: Status, *, asked: list[str]
    ) -> asyncio.Task[None] | None:
        journal = turn.journal
        if turn.left:
            await retrying(lambda: self._means.jobs.leave_all(turn.id, told=turn.told))
        # Stopped or failed, it did not come to ask.
        asks = status == "waiting_for_approval"
        proposals = await self._proposals(turn, room) if asks else []
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
        self._background.spawn(self._publish(room, turn, status))
        if status == "done" and asked[-1] and self._closing.thinks:
            return self._close(room, turn, asked)
        return None

    async def _settle(self, room: Room, turn: Turn, end: Commit) -> None:
        """Note what the turn has spent in the commit that ends it."""
        assert turn.tab is not None  # it has begun
        if await turn.tab.settle(end):
            text = "Most of today's budget is used up. What runs by itself waits until tomorrow."
            room.say(ErrorEvent(BUDGET_LOW, text, False))

    async def _proposals(self, turn: Turn, room: Room) -> list[Write]:
        asker = room.asker
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

    def _close(self, room: Room, turn: Turn, asked: list[str]) -> asyncio.Task[None]:
        """Begin to think about a turn that has ended."""
        prompt, answer = exchange_of(turn.items)
        return self._closing.begin(Ended(
            state=room.state, journal=turn.journal, prompt=prompt, answer=answer, asked=asked,
            worked=list(turn.worked.values()),
        ))  # fmt: skip

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
            event = Event("turn.finished", turn.id, data)
            await retrying(lambda: self._events.publish(event))
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

    async def _pay(self, turn: Turn) -> None:
        """Settle what a turn has spent that another process closed, or will."""
        try:
            if turn.tab:
                await turn.tab.settle()
        except OdaiError as err:
            log.error("usage not settled", extra={"code": err.code, "turn_id": turn.id})

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

    def journal(
        self, room: Room, turn_id: str, entries: list[Entry] | None = None, chunks: int = 0
    ) -> TurnJournal:
        """Return a journal of a turn in the room, whose pieces go into the store."""

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

    def _agent(self, room: Room, prompt: str, earlier: Sequence[str], manner: Manner) -> RunAgent:
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


class _Silence:
    """A `Sink` for the warm-up, whom nobody hears."""

    def delta(self, *texts: str) -> None:
        """Drop it."""

    def answered(self, response: ModelResponse) -> None:
        """Drop it."""


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
