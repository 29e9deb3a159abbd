"""A call: between the caller's line and the voice model, and the chat it belongs to.

Everything here happens on the event loop, most of it in plain callbacks: a piece of sound goes
from one socket to the other without a task or a queue in between. The call is a `Voice` of its
chat (its turns are answered on the line) and a `Viewer` (it hears what the chat's other clients and
the worker do). Its parts: `Ear` hands the caller's sound on, `Hands` run the model's tool calls,
`Keys` take the PIN and decisions, an `Exchange` is what is being said.

    caller speaks ─▶ committed ─▶ Exchange opens, its turn is asked for ─▶ answer, tools ─▶ heard
         └─▶ while the answer sounds: clear, truncate at the heard millisecond, the turn ends there
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from agents.realtime import RealtimeRunner, RealtimeSession

from common.assistant.manner import Manner
from common.assistant.protocol import Approve, Cursor, Deny, DeviceLocation, Frame, Prompt
from common.background import Background
from common.documents import new_id
from common.errors import InvalidInput, OdaiError, VendorUnavailable
from common.events.facts import CallEnded, CallStarted
from common.log import get_logger
from common.telephony.audio import Framer, farewell_sound
from common.telephony.clock import Patience, Playback
from run.chat_stream.voice import phrases, recall, wire
from run.chat_stream.voice.ear import Ear
from run.chat_stream.voice.exchange import Exchange
from run.chat_stream.voice.hands import Hands
from run.chat_stream.voice.keys import Keys
from run.chat_stream.voice.line import Line
from run.chat_stream.voice.model import RealtimeSocket
from run.chat_stream.voice.wire import ServerEvent

if TYPE_CHECKING:
    from common.assistant.chats import Item
    from common.assistant.room import Request, Room
    from common.assistant.turn import Turn
    from common.bootstrap import Services

log = get_logger(__name__)

_BEAT_SECONDS = 0.2
_TYPING_AHEAD_MS = 150.0
_TRANSCRIPT_SECONDS = 1.5  # how long a turn waits for the caller's words
_RELINK_SECONDS = 2.0
_LEAVE_SECONDS = 12.0  # for a goodbye
_WRITING_SECONDS = 10.0  # for the turns of what was said last
_RENEW_BEFORE = 30.0  # before the model's session ends


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
        self.guest, self._on_proof = guest, on_proof
        self.over = False
        self.turn_id, self.seq = "", 0  # of a `Viewer`
        self.began: Cursor | None = None
        self._services, self._line = services, line
        self._now = monotonic
        self._limits = limits or Limits()
        self._ended = asyncio.Event()
        self._background = Background()
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
        self._ear = Ear(self._socket)
        self._keys = Keys(self, services)
        self._hands = Hands(self, services, self._keys, channel=line.channel)
        self._relinking = False
        # what is being said
        self._exchange: Exchange | None = None
        self._free = asyncio.Event()
        self._free.set()
        self._exchanges: dict[str, Exchange] = {}  # by prompt id, until their turns end
        self._utterances: dict[str, Exchange] = {}  # by the caller's item, until transcribed
        self._asked: list[str] = []
        self._turns: set[str] = set()
        self._dropped: str | None = None  # the response that was interrupted
        self._items: set[str] = set()  # answers that this connection's model knows
        self._failures = 0
        self._leaving = 0.0  # when the call ends whatever happens; 0: nobody is leaving
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
            self._say(phrases.RETURNING if self._seed() else phrases.GREETING)
            await self._ended.wait()
        except OdaiError as err:
            log.warning("call failed", extra={"code": err.code, "chat_id": self.chat_id})
            reason, status = str(err), err.code
            await self._farewell(phrases.LOST)
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
        self._say(phrases.FAREWELLS[why])

    async def _link(self) -> None:
        """Connect to the voice model, with what the chat's last prompts call for."""
        self._hands.take_up(
            [str(i.get("content")) for i in self._told() if i.get("role") == "user"]
        )
        runner = RealtimeRunner(
            self._hands.described(), model=self._socket, config={"tracing_disabled": True}
        )
        deadline = self._now() + _RELINK_SECONDS
        while True:
            session = await runner.run(context=self._hands)
            try:
                await session.enter()
                break
            except OdaiError as err:
                if not err.retryable or self._now() >= deadline:
                    raise
                await asyncio.sleep(0.1)
        self._session = session
        self.spawn(self._follow(session))

    async def _follow(self, session: RealtimeSession) -> None:
        """Empty the SDK's queue, which grows without bound, and hear of its failures."""
        try:
            async for _ in session:
                pass
        except Exception:
            # A defect in a tool's plumbing: the caller is told, the log gets the place.
            log.exception("voice session failed", extra={"chat_id": self.chat_id})
            await self._farewell(phrases.LOST)
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
        self._background.cancel()
        if self._session:
            await self._session.close()
        await self._socket.close()
        await self._background.finish(timeout=5.0)
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

    # --- what the caller does ---------------------------------------------------------------

    def sound(self, payload: str) -> None:
        """The caller's sound, base64, in the line's form."""
        self._ear.hear(payload)

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
        self._keys.press(digit)

    # --- what the model does ----------------------------------------------------------------

    def _on_event(self, event: ServerEvent) -> None:
        if event.type == "response.output_audio.delta":
            self._model_sound(event)
        elif event.type == "response.output_audio_transcript.delta":
            if event.delta and event.item_id and not self._stale(event):
                self.current().words(event.item_id, event.delta)
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
            self.current().sounded(item_id, ms)

    def _stale(self, event: ServerEvent) -> bool:
        return event.response_id is not None and event.response_id == self._dropped

    def _item_done(self, event: ServerEvent) -> None:
        if event.item:
            self._hands.called(event.item)

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
            self.spawn(self._give_up())
        else:
            self._socket.respond()

    def _speech_started(self, _: ServerEvent) -> None:
        now = self._now()
        self._patience.caller_spoke(now)
        self._ear.speech_started()
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
            self.spawn(self._open(exchange))
        if event.item_id:
            self._utterances[event.item_id] = exchange

    def _transcribed(self, event: ServerEvent) -> None:
        exchange = self._utterances.pop(event.item_id or "", None)
        if exchange is None:
            return
        self._ear.understood()
        text = self._keys.masked(event.transcript or "")
        exchange.transcribed(text)
        if text and self._hands.open_for(text, self._asked[-3:]):
            self.spawn(self.retool())
        self._asked.append(text)

    # --- exchanges --------------------------------------------------------------------------

    def _begin(self, exchange: Exchange) -> Exchange:
        self._exchange = exchange
        self._exchanges[exchange.id] = exchange
        self._free.clear()
        return exchange

    def current(self) -> Exchange:
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
        exchange.asked_for, exchange.prompted = True, exchange.asked
        try:
            self._services.turns.prompt(
                self._room, Prompt(exchange.asked, exchange.id), manner=self.manner
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
        self.spawn(self.tell(news))

    async def tell(self, news: str) -> None:
        """Tell the model something, and let it speak of it."""
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
        turn.manner = self.manner  # whoever began it, the caller hears what comes of it
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

    # --- for its hands and keys -------------------------------------------------------------

    @property
    def room(self) -> Room:
        """The chat, which is open while the call lasts."""
        assert self._room is not None
        return self._room

    @property
    def turn(self) -> Turn | None:
        """The turn that is being spoken."""
        return self._exchange.turn if self._exchange else None

    @property
    def manner(self) -> Manner:
        """How the caller's words come, and whether it is they."""
        return Manner("voice", proven=self.verified, guest=self.guest)

    def now(self) -> float:
        """Return the time, in seconds of the call's clock."""
        return self._now()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something beside the call, and no longer than it."""
        self._background.spawn(work)

    async def retool(self) -> None:
        """Tell the model what it can do now."""
        if self._session:
            await self._session.update_agent(self._hands.described())

    def end_after_goodbye(self, *, said: bool) -> None:
        """End the call when the goodbye was heard; `said`: it was spoken already."""
        self._leaving = self._leaving or self._now() + _LEAVE_SECONDS
        self._socket.last_words = said

    async def proved(self) -> None:
        """The PIN was right: what was held back may be told."""
        held_back = self._told()[len(self._open_items()) :]
        self.verified = True
        if turn := self.turn:
            turn.manner = self.manner
        if self._on_proof:
            await self._on_proof()
        for item in held_back:
            self._hand(item)
        await self.retool()

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
            # Money, and what strangers' words may have led to, is read before it is allowed.
            if event["risk"] != "money" and not event.get("tainted"):
                self._keys.asked(event["approval_id"], str(event["title"]))
        elif payload.startswith(b'{"type":"approval_decided"'):
            self._keys.settled(msgspec.json.decode(payload)["approval_id"])
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
            self._say(phrases.SILENT)
        elif due:
            self.leave("limit" if due == "limit" else "silent")
        expires = self._socket.expires_at
        if expires and time.time() > expires - _RENEW_BEFORE and not self._talking():
            self._socket.expires_at = None
            self.spawn(self._renew())
        elif self._socket.stuck:
            log.warning("voice model stuck", extra={"chat_id": self.chat_id})
            self.spawn(self._renew())

    def _talking(self) -> bool:
        return self._exchange is not None or self._socket.caller_speaks

    def _busy(self, now: float) -> bool:
        return (
            self._socket.busy
            or self._socket.caller_speaks
            or self._relinking
            or self._hands.busy
            or not self._playback.done(now)
        )

    def _type(self, now: float) -> None:
        """Let the caller hear that somebody is at work."""
        if self._socket.caller_speaks or self._socket.active:
            return
        if self._playback.unheard_ms(now) > _TYPING_AHEAD_MS:
            return
        if sound := self._hands.typing(self._line.form, round(_BEAT_SECONDS * 1000)):
            self._play(sound, "")

    # --- when the model is lost -------------------------------------------------------------

    def _lost(self) -> None:
        if not self.over and not self._relinking:
            self._relinking = self._ear.deaf = True
            self.spawn(self._relink())

    async def _renew(self) -> None:
        """Move to a new session before the old one ends."""
        if not self._relinking:
            self._relinking = self._ear.deaf = True
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
        self._relinking = self._ear.deaf = False
        self._dropped = None
        self._items.clear()
        self._seed()
        if exchange:
            socket.expect_outputs(exchange.unanswered)
        self._ear.repeat()
        if mid_sentence:
            self._hand({"role": "developer", "content": phrases.BROKE_OFF})
        if unfinished:
            socket.respond()
        self._settle(self._now())

    def _seed(self) -> bool:
        """Hand the model what was said before; False where there is nothing."""
        items = self._told() if self.verified else self._open_items()
        for item in items:
            self._hand(item)
        if exchange := self._exchange:
            for item in exchange.so_far():
                self._hand(item)
        return bool(items)

    def _told(self) -> list[Item]:
        """Return the chat's items, without those of the turn that runs."""
        return recall.told(self.room, running=self.turn.id if self.turn else "")

    def _open_items(self) -> list[Item]:
        """Return those of them that may be told to whoever calls from this number."""
        return recall.before_own(self._told(), self._services.registry)

    async def _give_up(self) -> None:
        await self._farewell(phrases.LOST)
        self.end()

    async def _farewell(self, text: str) -> None:
        """Say goodbye without the model: by the line's own voice, or with two notes."""
        if self.over or await self._line.farewell(text):
            return
        self._interrupt(self._now())
        sound = farewell_sound(self._line.form)
        self._play(sound, "")
        await asyncio.sleep(self._line.form.ms(len(sound)) / 1000)
