"""The voice model's socket, as a `RealtimeModel` of the Agents SDK.

The SDK's session keeps what it is good at: which tools there are, running them, each once. Sound
and transcripts do not pass through it. Its own transport checks every event against some fifty
vendor types and puts each into an unbounded queue twice; here an event is decoded once and handed
on in the same turn of the loop (docs/decisions/0008-voice.md).

One response at a time: `respond` waits until the model is free, the caller silent and every tool
call answered, and many wishes become one response.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

import aiohttp
from agents import FunctionTool
from agents.realtime import RealtimeModel, RealtimeModelConfig, RealtimeModelListener
from agents.realtime.model_events import RealtimeModelToolCallEvent
from agents.realtime.model_inputs import (
    RealtimeModelSendAudio,
    RealtimeModelSendEvent,
    RealtimeModelSendInterrupt,
    RealtimeModelSendRawMessage,
    RealtimeModelSendSessionUpdate,
    RealtimeModelSendToolOutput,
    RealtimeModelSendUserInput,
)

from common.errors import (
    InvalidInput,
    Misconfigured,
    OdaiError,
    RateLimited,
    VendorRejected,
    VendorUnavailable,
)
from common.log import get_logger
from common.settings import Settings
from run.chat_stream.voice import wire
from run.chat_stream.voice.wire import ServerEvent

log = get_logger(__name__)

CONNECT_SECONDS = 5.0
_HEARTBEAT_SECONDS = 10.0
_CLOSE_SECONDS = 0.5
_MAX_EVENT_BYTES = 16 * 1024 * 1024
_MAX_WAITING = 1_000  # events not sent yet: twenty seconds of the caller's sound
_TRAVEL_SECONDS = 0.3  # what an event may take to the server
_STUCK_SECONDS = 15.0
_EXPECTED_SECONDS = 1.5  # how long the server's own answer to a caller is waited for


def realtime_url(settings: Settings) -> str:
    """Return the address of the Realtime endpoint, with the model."""
    base = settings.realtime_url
    if not base:
        http = (settings.openai_base_url or "https://api.openai.com/v1").rstrip("/")
        base = f"ws{http.removeprefix('http')}/realtime"
    return f"{base}{'&' if '?' in base else '?'}model={settings.voice_model}"


class RealtimeSocket(RealtimeModel):
    """One call's connection to the voice model; `open` again after it was lost.

    `on_event` hears every event of the server in order, on the loop; `on_lost` is called once for
    each connection that ends without our closing it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        encoding: str,
        on_event: Callable[[ServerEvent], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._encoding = encoding
        self._on_event = on_event
        self._on_lost = on_lost
        self._listeners: list[RealtimeModelListener] = []
        self._instructions = ""
        self._tools: dict[str, dict[str, Any]] = {}
        self._http: aiohttp.ClientSession | None = None
        self._ws: aiohttp.ClientWebSocketResponse[Literal[False]] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._outbox: deque[bytes] = deque(maxlen=_MAX_WAITING)
        self._filled = asyncio.Event()
        self._retry: asyncio.TimerHandle | None = None
        self.last_words = False  # the call ends: what tools give is not spoken of
        self._reset()

    def _reset(self) -> None:
        self.response_id: str | None = None
        self.active = False  # a response is being made
        self.caller_speaks = False
        self.expires_at: int | None = None
        self._requested = False  # we asked for a response that has not begun
        self._wanted = False  # and shall, once the model is free
        self._wanted_at = 0.0
        self._expected_until = 0.0  # the server answers the caller by itself until then
        self._heard_at = time.monotonic()
        self._calls: set[str] = set()  # tool calls that wait for their output

    # --- for the call -----------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self._http is not None

    @property
    def busy(self) -> bool:
        """Whether an answer is being made, or will be without anybody's doing."""
        expected = time.monotonic() < self._expected_until
        return self.active or self._requested or self._wanted or bool(self._calls) or expected

    @property
    def stuck(self) -> bool:
        """Whether it has owed us something for longer than it ever takes."""
        if self._http is None or not (self.active or self._requested):
            return False
        return time.monotonic() - self._heard_at > _STUCK_SECONDS

    @property
    def calling(self) -> bool:
        """Whether the model waits for a tool."""
        return bool(self._calls)

    def send(self, event: dict[str, Any]) -> None:
        """Send an event; dropped where there is no connection."""
        self.send_bytes(wire.encode(event))

    def send_bytes(self, event: bytes) -> None:
        """Send an encoded event; dropped where there is no connection."""
        if self._http is None:
            return
        self._outbox.append(event)
        self._filled.set()

    def respond(self) -> None:
        """Let the model say something, as soon as it is free."""
        if not self._wanted:
            self._wanted, self._wanted_at = True, time.monotonic()
        self._respond_if_free()

    def cancel(self) -> None:
        """Stop the response that is being made."""
        self._wanted = False
        if self.active:
            self.send({"type": "response.cancel"})

    def forget_calls(self) -> None:
        """Say nothing about calls that the user stopped."""
        self._calls.clear()

    def expect_outputs(self, call_ids: set[str]) -> None:
        """Answer nothing before these calls of an earlier connection have their outputs."""
        self._calls |= call_ids

    def output(self, call_id: str, text: str) -> None:
        """Hand a tool's output to the model."""
        known = call_id in self._calls
        self._calls.discard(call_id)
        if event := wire.item({"type": "function_call_output", "call_id": call_id, "output": text}):
            self.send(event)
        if known and not self.last_words:
            self.respond()

    async def open(self) -> None:
        """Connect and set the session up.

        Raises Misconfigured (the key is refused), RateLimited, VendorUnavailable.
        """
        await self.close()
        key = self._settings.openai_api_key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        http = aiohttp.ClientSession()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                ws = await http.ws_connect(
                    realtime_url(self._settings),
                    headers=headers,
                    max_msg_size=_MAX_EVENT_BYTES,
                    heartbeat=_HEARTBEAT_SECONDS,
                    decode_text=False,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
                )
        except aiohttp.WSServerHandshakeError as err:
            await http.close()
            raise _refusal(err.status) from err
        except (aiohttp.ClientError, OSError, TimeoutError) as err:
            await http.close()
            raise VendorUnavailable("The voice model does not answer.") from err
        except BaseException:
            await http.close()
            raise
        self._reset()
        self._outbox.clear()
        self._http, self._ws = http, ws
        self._tasks = [
            asyncio.create_task(self._write(ws), name="voice-model-write"),
            asyncio.create_task(self._read(ws), name="voice-model-read"),
        ]
        self.send(wire.session(
            model=self._settings.voice_model,
            voice=self._settings.voice,
            encoding=self._encoding,
            instructions=self._instructions,
            tools=self._tools.values(),
        ))  # fmt: skip

    # --- RealtimeModel ----------------------------------------------------------------------

    async def connect(self, options: RealtimeModelConfig) -> None:
        """Connect with the SDK session's instructions and tools."""
        self._take_settings(options.get("initial_model_settings", {}))
        await self.open()

    def add_listener(self, listener: RealtimeModelListener) -> None:
        """Let the SDK's session hear of tool calls."""
        self._listeners.append(listener)

    def remove_listener(self, listener: RealtimeModelListener) -> None:
        """Forget a listener."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    async def send_event(self, event: RealtimeModelSendEvent) -> None:
        """Do what the SDK's session asks."""
        match event:
            case RealtimeModelSendToolOutput():
                self.output(event.tool_call.call_id, event.output)
            case RealtimeModelSendSessionUpdate():
                self._take_settings(event.session_settings)
                self.send(wire.tools_update(self._instructions, self._tools.values()))
            case RealtimeModelSendInterrupt():
                self.cancel()
            case RealtimeModelSendRawMessage():
                self.send({"type": event.message["type"], **event.message.get("other_data", {})})
            case RealtimeModelSendUserInput() | RealtimeModelSendAudio():
                raise NotImplementedError("the call sends these itself")

    async def close(self) -> None:
        """End the connection; nothing of it is left."""
        http, self._http = self._http, None
        ws, self._ws = self._ws, None
        tasks, self._tasks = self._tasks, []
        if self._retry:
            self._retry.cancel()
        current = asyncio.current_task()
        for task in tasks:
            if task is not current:
                task.cancel()
        others = [task for task in tasks if task is not current]
        try:
            if others:
                await asyncio.wait(others)
            if ws:
                await ws.close()
        finally:  # whoever closes may be cancelled, as the end of a call does to its renewal
            if http:
                await http.close()

    # --- inside -----------------------------------------------------------------------------

    def _take_settings(self, settings: Any) -> None:
        self._instructions = settings.get("instructions") or ""
        self._tools = {
            tool.name: wire.function(tool.name, tool.description, tool.params_json_schema)
            for tool in settings.get("tools") or ()
            if isinstance(tool, FunctionTool)
        }

    async def _write(self, ws: aiohttp.ClientWebSocketResponse[Literal[False]]) -> None:
        try:
            while True:
                await self._filled.wait()
                self._filled.clear()
                while self._outbox:
                    await ws.send_frame(self._outbox.popleft(), aiohttp.WSMsgType.TEXT)
        except (aiohttp.ClientError, ConnectionError):
            return  # the reader hears of it as well

    async def _read(self, ws: aiohttp.ClientWebSocketResponse[Literal[False]]) -> None:
        try:
            async for message in ws:
                if message.type is aiohttp.WSMsgType.TEXT:
                    await self._take(message.data)
        except (aiohttp.ClientError, ConnectionError) as err:
            log.info("voice model lost", extra={"error": type(err).__name__})
        if self._http is not None and asyncio.current_task() in self._tasks:
            await self.close()
            self._on_lost()

    async def _take(self, data: bytes) -> None:
        try:
            event = wire.read(data)
        except InvalidInput:
            log.warning("voice model event not understood")
            return
        self._note(event)
        self._on_event(event)
        if event.type == "response.output_item.done":
            await self._tool_call(event)
        elif event.type == "response.done":
            self._respond_if_free()

    def _note(self, event: ServerEvent) -> None:
        """Follow who speaks."""
        self._heard_at = time.monotonic()
        match event.type:
            case "response.created":
                if not self._requested and time.monotonic() - self._wanted_at > _TRAVEL_SECONDS:
                    self._wanted = False  # the server's own answer covers what we sent before
                self.active, self._requested = True, False
                self._expected_until = 0.0
                self.response_id = event.response.id if event.response else None
            case "response.done":
                self.active, self.response_id = False, None
            case "input_audio_buffer.speech_started":
                self.caller_speaks = True
            case "input_audio_buffer.committed":
                self.caller_speaks = False
                self._expected_until = time.monotonic() + _EXPECTED_SECONDS
            case "session.created" | "session.updated" if event.session:
                self.expires_at = event.session.expires_at or self.expires_at
            case "error":
                self._failed(event.error.code if event.error else None)
            case _:
                pass

    def _failed(self, code: str | None) -> None:
        # None of these ends a call; a response that was refused is asked for again when it can be.
        log.info("voice model error", extra={"code": code})
        if code == "conversation_already_has_active_response" and self._requested:
            self._requested, self._wanted = False, True
            self._respond_if_free()
        elif self._requested and not self.active:
            self._requested = False

    async def _tool_call(self, event: ServerEvent) -> None:
        item = event.item
        if item is None or item.type != "function_call" or not item.call_id or not item.name:
            return
        if item.status == "incomplete" or item.call_id in self._calls:
            return
        self._calls.add(item.call_id)
        if item.name not in self._tools:
            self.output(item.call_id, wire.encode({
                "error": "not_found", "message": "There is no such tool. Use find_connector.",
            }).decode())  # fmt: skip
            return
        call = RealtimeModelToolCallEvent(
            name=item.name, call_id=item.call_id, arguments=item.arguments or "{}", id=item.id
        )
        for listener in list(self._listeners):
            await listener.on_event(call)

    def _respond_if_free(self) -> None:
        if not self._wanted or self.active or self._requested or self._calls:
            return
        if self.caller_speaks or self._http is None:
            return
        wait = self._expected_until - time.monotonic()
        if wait > 0:
            if self._retry:
                self._retry.cancel()
            loop = asyncio.get_running_loop()
            self._retry = loop.call_later(wait, self._respond_if_free)
            return
        self._wanted, self._requested = False, True
        self._heard_at = time.monotonic()
        self.send(wire.respond())


def _refusal(status: int) -> OdaiError:
    if status in (401, 403):
        return Misconfigured("The voice model refuses OPENAI_API_KEY.")
    if status == 429:
        return RateLimited("The voice model is busy. Try again in a moment.")
    if status < 500:
        return VendorRejected("The voice model refuses the call.", vendor_status=status)
    return VendorUnavailable("The voice model does not answer.")
