"""A call: between the caller's line and the voice model, and the chat it belongs to.

Everything here happens on the event loop, most of it in plain callbacks: a piece of sound goes
from one socket to the other without a task or a queue in between. The call is a `Voice` of its
chat (its turns are answered on the line), a `Viewer` (it hears what the chat's other clients and
the worker do) and the `Run` of the model's tool calls.

    caller speaks ─▶ committed ─▶ Exchange opens, its turn is asked for ─▶ answer, tools ─▶ heard
         └─▶ while the answer sounds: clear, truncate at the heard millisecond, the turn ends there
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from agents.realtime import RealtimeRunner, RealtimeSession

from common.assistant.manner import Manner, is_public
from common.assistant.protocol import Approve, Deny, DeviceLocation, Frame, Prompt
from common.documents import new_id
from common.errors import InvalidInput, NotFound, OdaiError, RateLimited, VendorUnavailable
from common.events.facts import CallEnded, CallStarted
from common.log import get_logger
from common.telephony.audio import Framer, farewell_sound, typing_sound
from common.telephony.clock import Patience, Playback
from run.chat_stream.voice import wire
from run.chat_stream.voice.exchange import Exchange
from run.chat_stream.voice.line import Line
from run.chat_stream.voice.model import RealtimeSocket
from run.chat_stream.voice.repertoire import HANG_UP, PIN, Repertoire
from run.chat_stream.voice.wire import ServerEvent

if TYPE_CHECKING:
    from common.assistant.chats import Item
    from common.assistant.room import Request, Room
    from common.assistant.turn import Turn
    from common.bootstrap import Services
    from common.tools import Tool

log = get_logger(__name__)

_BEAT_SECONDS = 0.2
_TYPING_AFTER = 0.8  # how long a tool runs before the caller hears somebody at work
_TYPING_AHEAD_MS = 150.0
_TRANSCRIPT_SECONDS = 1.5  # how long a turn waits for the caller's words
_RELINK_SECONDS = 2.0
_LEAVE_SECONDS = 12.0  # for a goodbye
_WRITING_SECONDS = 10.0  # for the turns of what was said last
_RENEW_BEFORE = 30.0  # before the model's session ends
_KEPT_FRAMES = 750  # of the caller's sound: what a new connection may have to hear again
_PREFIX_FRAMES = 25  # before the model noticed that the caller speaks
_MOST_DIGITS = 8
_SEED_ITEMS = 60

_GREETING = "The call begins. Greet the caller as ODAI in one short sentence."
_RETURNING = (
    "The call begins, and goes on from the conversation above. Greet the caller in one short "
    "sentence, naming what it was about."
)
_SILENT = "The caller has said nothing for a while. Ask in a few words if they are still there."
_FAREWELLS = {
    "silent": "The caller still says nothing. Say a short goodbye; the call ends now.",
    "limit": "The call has reached its longest time. Say so, and goodbye, in one short sentence.",
    "restart": "The service restarts. Say in one short sentence that they may call again at once.",
    "budget": "The caller's budget is used up. Say so, and goodbye, in one short sentence.",
}
_BROKE_OFF = "The connection broke off. Go on where the answer above stopped, without apologies."
_LOST = "I am sorry, I have lost my connection. Please call again in a moment. Goodbye."
_CODES = re.compile(r"\d(?:[\s.-]?\d){3,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a call may do nothing, and how long it may last, in seconds."""

    ask_after: float = 15.0
    leave_after: float = 15.0
    longest: float = 55 * 60.0  # the platform cuts a socket at 60 minutes


class Call:
    """One live call. Its line calls `run` once, and the methods for what the caller does.

    `proven`: who calls is known for sure, and not only the number they call from; `on_proof` is
    awaited when the PIN shows it. `guest`: they have no account.
    """

    def __init__(
        self,
        services: Services,
        line: Line,
        *,
        uid: str,
        chat_id: str,
        proven: bool,
        guest: bool = False,
        on_proof: Callable[[], Awaitable[None]] | None = None,
        limits: Limits | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.uid, self.chat_id = uid, chat_id
        self.verified = proven
        self._guest, self._on_proof = guest, on_proof
        self.over = False
        self.agent = "ODAI"
        self.turn_id, self.seq = "", 0  # of a `Viewer`
        self._services, self._line = services, line
        self._now = monotonic
        self._limits = limits or Limits()
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._room: Room | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._playback = Playback(marked=line.marked)
        self._framer = Framer(line.form)
        self._patience = Patience(
            monotonic(),
            ask_after=self._limits.ask_after,
            leave_after=self._limits.leave_after,
            longest=self._limits.longest,
        )
        self._socket = RealtimeSocket(
            services.settings,
            encoding=line.form.encoding,
            on_event=self._on_event,
            on_lost=self._lost,
        )
        self._session: RealtimeSession | None = None
        self._setting_up: asyncio.Task[Any] | None = None
        self._repertoire: Repertoire | None = None
        self._relinking = False
        # what is being said
        self._exchange: Exchange | None = None
        self._free = asyncio.Event()
        self._free.set()
        self._exchanges: dict[str, Exchange] = {}  # by prompt id, until their turns end
        self._utterances: dict[str, Exchange] = {}  # by the caller's item, until transcribed
        self._callers: dict[str, Exchange] = {}  # by call id
        self._asked: list[str] = []
        self._turns: set[str] = set()
        self._dropped: str | None = None  # the response that was interrupted
        self._items: set[str] = set()  # answers that this connection's model knows
        self._failures = 0
        self._leaving = 0.0  # when the call ends whatever happens; 0: nobody is leaving
        # the caller's sound
        self._recent: deque[str] = deque(maxlen=_KEPT_FRAMES)
        self._uttered = 0  # frames since the caller began to speak
        self._unsent = 0  # frames that no model heard
        # tools
        self._tools: dict[str, float] = {}  # running, by call id, since when
        self._typed_ms = 0
        # keys
        self._pin_asked = False
        self._digits = ""
        self._approvals: dict[str, str] = {}  # waiting, by id: what would be done
        self._choice: bool | None = None
        self._handlers: dict[str, Callable[[ServerEvent], None]] = {
            "response.output_audio.done": self._sound_done,
            "response.output_item.done": self._item_done,
            "response.done": self._response_done,
            "input_audio_buffer.speech_started": self._speech_started,
            "input_audio_buffer.committed": self._committed,
            "conversation.item.input_audio_transcription.completed": self._transcribed,
            "conversation.item.input_audio_transcription.failed": self._transcribed,
        }

    # --- its life ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Hold the call until it is over; nothing of it is left then."""
        turns, analytics = self._services.turns, self._services.analytics
        reason, status, began, key = "goodbye", "ended", self._now(), new_id()
        whose = {"uid": self.uid, "chat_id": self.chat_id, "key": key}
        analytics.emit(CallStarted(self._line.channel), **whose)
        self._setting_up = asyncio.current_task()
        try:
            room = self._room = await turns.enter(self.chat_id, self.uid)
            turns.speak(room, self)
            await turns.attach(room, self, None)
            await self._link()
            self._setting_up = None
            self._beat()
            self._say(_RETURNING if self._seed() else _GREETING)
            await self._ended.wait()
        except OdaiError as err:
            log.warning("call failed", extra={"code": err.code, "chat_id": self.chat_id})
            reason, status = str(err), err.code
            await self._farewell(_LOST)
        finally:
            self._setting_up = None
            await self._close()
            self._line.close(1000, reason)
            lasted = round((self._now() - began) * 1000)
            analytics.emit(CallEnded(self._line.channel, status, lasted), **whose)

    def end(self) -> None:
        """End the call now. `run` must not be cancelled in place of this: it has to tidy up."""
        self.over = True
        self._ended.set()
        if self._setting_up:
            self._setting_up.cancel()
            self._setting_up = None

    def leave(self, why: str) -> None:
        """Say goodbye, then end the call: `silent`, `limit`, `restart` or `budget`."""
        if self._leaving or self.over:
            return
        self._leaving = self._now() + _LEAVE_SECONDS
        self.interrupt()
        self._say(_FAREWELLS[why])

    async def _link(self) -> None:
        """Connect to the voice model, with what the chat's last prompts call for."""
        room, services = self._room, self._services
        assert room is not None
        self._repertoire = Repertoire(
            services.registry,
            services.router,
            services.turns.orchestrator,
            channel=self._line.channel,
        )
        history = [str(i.get("content")) for i in self._told() if i.get("role") == "user"]
        if history:
            self._repertoire.open_for(history[-1], history[:-1])
        runner = RealtimeRunner(
            self._agent(), model=self._socket, config={"tracing_disabled": True}
        )
        deadline = self._now() + _RELINK_SECONDS
        while True:
            session = await runner.run(context=self)
            try:
                await session.enter()
                break
            except OdaiError as err:
                if not err.retryable or self._now() >= deadline:
                    raise
                await asyncio.sleep(0.1)
        self._session = session
        self._spawn(self._follow(session))

    async def _follow(self, session: RealtimeSession) -> None:
        """Empty the SDK's queue, which grows without bound, and hear of its failures."""
        try:
            async for _ in session:
                pass
        except Exception:
            # A defect in a tool's plumbing: the caller is told, the log gets the place.
            log.exception("voice session failed", extra={"chat_id": self.chat_id})
            await self._farewell(_LOST)
            self.end()

    async def _close(self) -> None:
        self.over = True
        if self._timer:
            self._timer.cancel()
        self._interrupt(self._now())
        for exchange in list(self._exchanges.values()):
            exchange.refuse()
            exchange.end()
            if not exchange.asked_for:
                self._forget(exchange)
        self._free.set()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if self._session:
            await self._session.close()
        await self._socket.close()
        if tasks:
            await asyncio.wait(tasks)
        if room := self._room:
            await self._turns_written()
            self._exchanges.clear()
            self._room = None
            self._services.turns.hush(room, self)
            self._services.turns.leave(room, self)

    async def _turns_written(self) -> None:
        """Wait for the turns of what was said last: nobody else can write those."""
        assert self._room is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(_WRITING_SECONDS):
                while self._exchanges and (worker := self._room.worker):
                    await asyncio.wait([worker])

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- what the caller does ---------------------------------------------------------------

    def sound(self, payload: str) -> None:
        """The caller's sound, base64, in the line's form."""
        self._recent.append(payload)
        if self._uttered:
            self._uttered += 1
        if self._socket.connected and not self._relinking:
            self._socket.send_bytes(wire.append(payload))
        else:
            self._unsent += 1

    def played(self, name: str) -> None:
        """A mark came back."""
        now = self._now()
        if self._playback.returned(name, now):
            if self._exchange:
                self._exchange.progress(self._playback, now)
            self._settle(now)

    async def act(self, frame: Frame) -> None:
        """Do what the app's caller typed or tapped."""
        room, turns = self._room, self._services.turns
        if room is None:
            raise VendorUnavailable("The call is still being set up. Try that again.")
        match frame:
            case Prompt():
                self._patience.caller_spoke(self._now())
                turns.prompt(room, frame)
            case Approve() | Deny():
                await turns.decide(room, frame)
            case DeviceLocation():
                turns.locate(room, frame)
            case _:
                raise InvalidInput("That is not done on a call.")

    def interrupt(self) -> None:
        """Stop the answer, as a caller does by hand."""
        self._socket.cancel()
        self._interrupt(self._now())

    def key(self, digit: str) -> None:
        """The caller pressed a key: a digit of the PIN, or a decision."""
        self._patience.caller_spoke(self._now())
        if self._pin_asked and not self.verified:
            self._pin_key(digit)
        elif digit in "12" and self._waiting():
            self._choice = digit == "1"
            self.interrupt()  # the turn that asks ends, and stores what it asked for
            self._decide()

    # --- what the model does ----------------------------------------------------------------

    def _on_event(self, event: ServerEvent) -> None:
        if event.type == "response.output_audio.delta":
            self._model_sound(event)
        elif event.type == "response.output_audio_transcript.delta":
            if event.delta and event.item_id and not self._stale(event):
                self._current().words(event.item_id, event.delta)
        elif handler := self._handlers.get(event.type):
            handler(event)

    def _model_sound(self, event: ServerEvent) -> None:
        if self._stale(event) or not event.delta or not event.item_id:
            return
        if sound := self._framer.feed(base64.b64decode(event.delta)):
            self._play(sound, event.item_id)

    def _sound_done(self, event: ServerEvent) -> None:
        if not self._stale(event) and event.item_id and (sound := self._framer.flush()):
            self._play(sound, event.item_id)

    def _play(self, sound: bytes, item_id: str) -> None:
        ms = self._line.form.ms(len(sound))
        self._line.play(sound, item_id)
        self._playback.sent(item_id, ms, self._now())
        if self._line.marked:
            self._line.mark(self._playback.mark())
        if item_id:
            self._items.add(item_id)
            self._current().sounded(item_id, ms)

    def _stale(self, event: ServerEvent) -> bool:
        return event.response_id is not None and event.response_id == self._dropped

    def _item_done(self, event: ServerEvent) -> None:
        item = event.item
        if item is None or item.type != "function_call" or not item.call_id or not item.name:
            return
        exchange = self._callers[item.call_id] = self._current()
        arguments = '{"pin":"••••"}' if item.name == PIN else item.arguments or "{}"
        exchange.called(item.name, arguments, item.call_id)

    def _response_done(self, event: ServerEvent) -> None:
        response = event.response
        exchange = self._exchange
        if exchange and response and response.usage:
            exchange.spent(response.usage.spent())
        status = response.status if response else None
        if status == "failed":
            self._response_failed()
        elif status == "completed":
            self._failures = 0
        if exchange:
            exchange.whole()
        self._settle(self._now())

    def _response_failed(self) -> None:
        self._failures += 1
        log.warning("voice response failed", extra={"chat_id": self.chat_id})
        if self._failures > 1:
            self._spawn(self._give_up())
        else:
            self._socket.respond()

    def _speech_started(self, _: ServerEvent) -> None:
        now = self._now()
        self._patience.caller_spoke(now)
        self._uttered = _PREFIX_FRAMES
        if self._socket.active or not self._playback.done(now):
            self._interrupt(now)

    def _interrupt(self, now: float) -> None:
        """Stop what sounds: what was not heard was not said."""
        cuts = self._playback.clear(now)
        self._framer.drop()
        self._line.clear(cuts[-1].item_id if cuts else "")
        for cut in cuts:
            if cut.item_id in self._items:
                self._socket.send(wire.truncate(cut.item_id, cut.heard_ms))
        if self._socket.active:
            self._dropped = self._socket.response_id
        exchange = self._exchange
        if exchange is None:
            return
        began = exchange.sounding
        exchange.finish(cuts, interrupted=True)
        if self.over or (began and not exchange.working):
            self._over_with(exchange)

    def _committed(self, event: ServerEvent) -> None:
        exchange = self._exchange
        if exchange is None:
            exchange = self._begin(Exchange())
            self._spawn(self._open(exchange))
        if event.item_id:
            self._utterances[event.item_id] = exchange

    def _transcribed(self, event: ServerEvent) -> None:
        exchange = self._utterances.pop(event.item_id or "", None)
        if exchange is None:
            return
        self._uttered = 0
        text = event.transcript or ""
        if self._pin_asked and not self.verified:
            text = _CODES.sub("••••", text)  # a PIN is written nowhere
        exchange.transcribed(text)
        if text and self._repertoire and self._repertoire.open_for(text, self._asked[-3:]):
            self._spawn(self._retool())
        self._asked.append(text)

    # --- exchanges --------------------------------------------------------------------------

    def _begin(self, exchange: Exchange) -> Exchange:
        self._exchange = exchange
        self._exchanges[exchange.id] = exchange
        self._free.clear()
        return exchange

    def _current(self) -> Exchange:
        """Return the exchange; one of its own for what the model says unasked."""
        if self._exchange is None:
            exchange = self._begin(Exchange(news="The assistant spoke first."))
            self._ask(exchange)
        assert self._exchange is not None
        return self._exchange

    async def _open(self, exchange: Exchange) -> None:
        """Ask for the exchange's turn, with the caller's words if they are known soon."""
        try:
            async with asyncio.timeout(_TRANSCRIPT_SECONDS):
                await exchange.heard.wait()
        except TimeoutError:
            log.info("transcript late", extra={"chat_id": self.chat_id})
        self._ask(exchange)

    def _ask(self, exchange: Exchange) -> None:
        assert self._room is not None
        exchange.asked_for = True
        try:
            self._services.turns.prompt(
                self._room, Prompt(exchange.asked, exchange.id), manner=self._manner
            )
        except OdaiError as err:
            log.info("exchange not written", extra={"code": err.code, "chat_id": self.chat_id})
            self._forget(exchange)
            exchange.refuse()

    def _forget(self, exchange: Exchange) -> None:
        self._exchanges.pop(exchange.id, None)

    def _settle(self, now: float) -> None:
        """End the exchange once everything was made, sent and heard."""
        exchange = self._exchange
        if exchange is None or self._relinking or exchange.working or self._socket.busy:
            return
        if self._socket.caller_speaks or not self._playback.done(now):
            return
        exchange.finish()
        self._over_with(exchange)
        if self._leaving:
            self.end()

    def _over_with(self, exchange: Exchange) -> None:
        exchange.end()
        if self._exchange is exchange:
            self._exchange = None
            self._free.set()

    def _say(self, news: str) -> None:
        """Tell the model something, and let it speak, once nobody else does."""
        self._spawn(self._tell(news))

    async def _tell(self, news: str) -> None:
        await self._silence()
        if self.over:
            return
        exchange = self._begin(Exchange(news=news))
        self._hand({"role": "developer", "content": news})
        self._socket.respond()
        self._ask(exchange)

    async def _silence(self) -> None:
        """Wait until neither the caller nor the assistant speaks."""
        while self._exchange is not None and not self.over:
            await self._free.wait()

    def _hand(self, item: Item) -> None:
        if event := wire.item(item):
            self._socket.send(event)

    # --- Voice: the chat's turns ------------------------------------------------------------

    async def answer(self, turn: Turn, request: Request) -> bool:
        """Answer one of the chat's turns on the line."""
        exchange = self._exchanges.get(request.prompt.id)
        if exchange is None:
            await self._silence()
            if self.over:
                return False
            exchange = self._begin(Exchange(given=True))
            for item in turn.items:
                self._hand(item)
            self._socket.respond()
        self._turns.add(turn.id)
        turn.manner = self._manner  # whoever began it, the caller hears what comes of it
        try:
            await exchange.hold(turn)
        except asyncio.CancelledError:
            if not exchange.over:  # somebody stopped it, in another window
                self._socket.forget_calls()
                self.interrupt()
                self._over_with(exchange)
            raise
        finally:
            self._forget(exchange)
        return True

    # --- Run: the model's tool calls --------------------------------------------------------

    async def call(self, tool: Tool, arguments: str, call_id: str) -> str:
        """Run a tool as a text turn would; the caller's own things only once they are known."""
        exchange = self._callers.pop(call_id, None) or self._current()
        connector = self._services.registry.entry_of(tool).connector
        if self._manner.withheld(connector, tool) and not self._pin_asked:
            self._pin_asked = not self._guest
            await self._retool()
        self._tools[call_id] = self._now()
        self._typed_ms = 0
        try:
            return await exchange.run(tool, arguments, call_id)
        except OdaiError as err:
            text = json.dumps({"error": err.code, "message": str(err)})
            exchange.answered(call_id, text)
            return text
        except asyncio.CancelledError:
            if not exchange.over or self.over:
                raise
            return json.dumps({"error": "stopped", "message": "The user stopped this."})
        finally:
            self._tools.pop(call_id, None)

    def paused(self) -> bool:
        """A call goes on while something waits for the user."""
        return False

    def speaker(self, name: str) -> None:
        """There are no handoffs on a call."""

    async def hang_up(self, call_id: str) -> str:
        """End this call once the goodbye was heard."""
        exchange = self._callers.pop(call_id, None) or self._current()
        self._leaving = self._leaving or self._now() + _LEAVE_SECONDS
        self._socket.last_words = exchange.sounding  # the goodbye was said already
        try:
            tool = self._services.registry.tool(HANG_UP)
            return await exchange.run(tool, '{"call_id":null}', call_id)
        except OdaiError:  # the connector is not there, or the chat is busy: it ends all the same
            text = json.dumps({"summary": "Goodbye."})
            exchange.answered(call_id, text)
            return text

    async def find(self, query: str, call_id: str) -> str:
        """Open services that fit `query`."""
        assert self._repertoire is not None
        exchange = self._callers.pop(call_id, None) or self._current()
        text, new = self._repertoire.found(query)
        if new:
            await self._retool()
        exchange.answered(call_id, text)
        return text

    async def enter_pin(self, pin: str, call_id: str) -> str:
        """Check a spoken PIN."""
        exchange = self._callers.pop(call_id, None) or self._current()
        text = await self._check_pin("".join(filter(str.isdecimal, pin)))
        answer = json.dumps({"result": text})
        exchange.answered(call_id, answer)
        return answer

    @property
    def _manner(self) -> Manner:
        return Manner("voice", proven=self.verified, guest=self._guest)

    def _agent(self) -> Any:
        assert self._repertoire is not None
        assert self._room is not None
        return self._repertoire.agent(
            now=self._services.clock(),
            timezone=self._room.timezone,
            pin=self._pin_asked and not self.verified,
        )

    async def _retool(self) -> None:
        if self._session:
            await self._session.update_agent(self._agent())

    # --- keys: PIN and approvals ------------------------------------------------------------

    def _pin_key(self, digit: str) -> None:
        if digit == "*":
            self._digits = ""
        elif digit == "#" or len(self._digits) == _MOST_DIGITS:
            digits, self._digits = self._digits, ""
            self._spawn(self._keyed_pin(digits))
        elif digit.isdecimal():
            self._digits += digit

    async def _keyed_pin(self, digits: str) -> None:
        self.interrupt()
        await self._tell(f"The caller keyed in a PIN. {await self._check_pin(digits)}")

    async def _check_pin(self, digits: str) -> str:
        """Return what the model is told."""
        if self.verified:
            return "The caller is known already."
        try:
            right = bool(digits) and await self._services.pins.check(self.uid, digits)
        except NotFound:
            return "No PIN is set: they can set one in the app's settings, and call again."
        except RateLimited:
            return "Too many wrong PINs: it is locked for a while. Nothing of theirs can be told."
        except OdaiError as err:
            return f"It could not be checked: {err}"
        if not right:
            return "It is wrong. They may try again."
        held_back = self._held_back()
        self.verified = True
        if self._exchange and self._exchange.turn:
            self._exchange.turn.manner = self._manner
        if self._on_proof:
            await self._on_proof()
        for item in held_back:
            self._hand(item)
        await self._retool()
        return "It is right. Go on with what they asked for."

    def _waiting(self) -> bool:
        turn, tool = self._exchange.turn if self._exchange else None, self._services.registry.tool
        proposed = turn.pending if turn else []
        return bool(self._approvals) or any(tool(p.tool).risk != "money" for p in proposed)

    def _decide(self) -> None:
        """Carry the caller's choice out on the oldest action that waits, once it is stored."""
        if self._choice is None or not self._approvals:
            return
        approve, self._choice = self._choice, None
        approval_id = next(iter(self._approvals))
        del self._approvals[approval_id]
        self._spawn(self._decided(approval_id, approve))

    async def _decided(self, approval_id: str, approve: bool) -> None:
        assert self._room is not None
        frame = Approve(approval_id) if approve else Deny(approval_id)
        try:
            await self._services.turns.decide(self._room, frame)
        except OdaiError as err:
            await self._tell(f"The caller's choice could not be carried out: {err}")
            return
        if self._approvals:
            title = next(iter(self._approvals.values()))
            await asyncio.sleep(0)
            await self._tell(f"Another action waits for them: {title}. Ask in the same way.")

    # --- Viewer: what happens in the chat ---------------------------------------------------

    @property
    def ready(self) -> bool:
        """A call takes every event."""
        return True

    def show(self, payload: bytes) -> None:
        """Hear an event of the chat."""
        self._line.show(payload)
        if payload.startswith(b'{"type":"approval_required"'):
            event = msgspec.json.decode(payload)
            if event["risk"] != "money":  # that needs more than a key
                self._approvals[event["approval_id"]] = str(event["title"])
            self._decide()
        elif payload.startswith(b'{"type":"approval_decided"'):
            self._approvals.pop(msgspec.json.decode(payload)["approval_id"], None)
        elif payload.startswith(b'{"type":"llm_response"'):
            event = msgspec.json.decode(payload)
            if event["turn_id"] and event["turn_id"] not in self._turns:
                text = f"Meanwhile the assistant wrote in this chat: {event['response']}"
                self._hand({"role": "developer", "content": text})

        elif payload.startswith(b'{"type":"error"') and b'"budget_exceeded"' in payload:
            self.leave("budget")

    async def writable_again(self) -> None:
        """Return at once."""

    def drop(self, code: int, reason: str) -> None:
        """The chat is gone, or elsewhere."""
        self.leave("restart")

    # --- time -------------------------------------------------------------------------------

    def _beat(self) -> None:
        self.tick()
        if not self.over:
            self._timer = asyncio.get_running_loop().call_later(_BEAT_SECONDS, self._beat)

    def tick(self) -> None:
        """Do what is due: text as heard, typing, silence, limits."""
        now = self._now()
        if self._exchange:
            self._exchange.progress(self._playback, now)
        self._settle(now)
        self._type(now)
        if self._busy(now):
            self._patience.busy(now)
        if self._leaving and now >= self._leaving:
            self.end()
            return
        due = self._patience.due(now)
        if due == "ask":
            self._say(_SILENT)
        elif due:
            self.leave("limit" if due == "limit" else "silent")
        expires = self._socket.expires_at
        if expires and time.time() > expires - _RENEW_BEFORE and not self._talking():
            self._socket.expires_at = None
            self._spawn(self._renew())
        elif self._socket.stuck:
            log.warning("voice model stuck", extra={"chat_id": self.chat_id})
            self._spawn(self._renew())

    def _talking(self) -> bool:
        return self._exchange is not None or self._socket.caller_speaks

    def _busy(self, now: float) -> bool:
        return (
            self._socket.busy
            or self._socket.caller_speaks
            or self._relinking
            or bool(self._tools)
            or not self._playback.done(now)
        )

    def _type(self, now: float) -> None:
        """Let the caller hear that somebody is at work."""
        if not self._tools or self._socket.caller_speaks or self._socket.active:
            return
        if now - min(self._tools.values()) < _TYPING_AFTER:
            return
        if self._playback.unheard_ms(now) > _TYPING_AHEAD_MS:
            return
        sound, form = typing_sound(self._line.form), self._line.form
        size = form.frame_bytes * round(_BEAT_SECONDS * 1000 / 20)
        start = self._typed_ms * form.frame_bytes // 20 % len(sound)
        self._play(sound[start : start + size], "")
        self._typed_ms += round(_BEAT_SECONDS * 1000)

    # --- when the model is lost -------------------------------------------------------------

    def _lost(self) -> None:
        if not self.over and not self._relinking:
            self._relinking = True
            self._spawn(self._relink())

    async def _renew(self) -> None:
        """Move to a new session before the old one ends."""
        if not self._relinking:
            self._relinking = True
            await self._relink()

    async def _relink(self) -> None:
        """Connect again within two seconds and go on; else say goodbye."""
        socket, exchange = self._socket, self._exchange
        heard = exchange is None or exchange.understood
        unfinished = socket.busy and heard and not socket.calling and not socket.caller_speaks
        mid_sentence = socket.active and exchange is not None and exchange.sounding
        deadline = self._now() + _RELINK_SECONDS
        while True:
            try:
                await socket.open()
                break
            except OdaiError as err:
                if not err.retryable or self._now() >= deadline:
                    log.error("voice model lost", extra={"code": err.code})
                    await self._give_up()
                    return
                await asyncio.sleep(0.1)
        log.info("voice model found again", extra={"chat_id": self.chat_id})
        self._relinking = False
        self._dropped = None
        self._items.clear()
        self._seed()
        if exchange:
            socket.expect_outputs(exchange.unanswered)
        again = min(len(self._recent), max(self._uttered, self._unsent))
        self._unsent = 0
        for payload in list(self._recent)[len(self._recent) - again :]:
            socket.send_bytes(wire.append(payload))
        if mid_sentence:
            self._hand({"role": "developer", "content": _BROKE_OFF})
        if unfinished:
            socket.respond()
        self._settle(self._now())

    def _seed(self) -> bool:
        """Hand the model what was said before; False where there is nothing."""
        items = self._told() if self.verified else self._open_items()
        for item in items:
            self._hand(item)
        if exchange := self._exchange:
            if exchange.turn:
                for item in exchange.turn.items:
                    self._hand(item)
            for item in exchange.unsaid():
                self._hand(item)
        return bool(items)

    def _told(self) -> list[Item]:
        """Return the chat's items, without those of the turn that runs."""
        assert self._room is not None
        exchange = self._exchange
        running = exchange.turn.id if exchange and exchange.turn else ""
        history = [items for turn_id, items in self._room.state.history if turn_id != running]
        return _whole([item for items in history for item in items][-_SEED_ITEMS:])

    def _open_items(self) -> list[Item]:
        """Return the items up to where the user's own accounts were first read."""
        items = self._told()
        for at, item in enumerate(items):
            if item.get("type") == "function_call" and self._is_own(str(item.get("name"))):
                first = max((i for i in range(at) if items[i].get("role") == "user"), default=0)
                return items[:first]
        return items

    def _held_back(self) -> list[Item]:
        return self._told()[len(self._open_items()) :]

    def _is_own(self, name: str) -> bool:
        registry = self._services.registry
        try:
            tool = registry.tool(name)
            return not is_public(registry.entry_of(tool).connector, tool)
        except NotFound:
            return False

    async def _give_up(self) -> None:
        await self._farewell(_LOST)
        self.end()

    async def _farewell(self, text: str) -> None:
        """Say goodbye without the model: by the line's own voice, or with two notes."""
        if self.over or await self._line.farewell(text):
            return
        self._interrupt(self._now())
        sound = farewell_sound(self._line.form)
        self._play(sound, "")
        await asyncio.sleep(self._line.form.ms(len(sound)) / 1000)


def _whole(items: list[Item]) -> list[Item]:
    """Return items without outputs whose calls are not among them."""
    calls = {item["call_id"] for item in items if item.get("type") == "function_call"}
    return [
        item
        for item in items
        if item.get("type") != "function_call_output" or item["call_id"] in calls
    ]
