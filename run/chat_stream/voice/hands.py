"""What the model of a call does: the `Run` of its tool calls, and the sound of somebody at work."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from common.errors import OdaiError
from common.telephony.audio import Format, typing_sound
from run.chat_stream.voice.repertoire import HANG_UP, PIN, Repertoire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.bootstrap import Services
    from common.tools import Tool
    from run.chat_stream.voice.call import Call
    from run.chat_stream.voice.exchange import Exchange
    from run.chat_stream.voice.keys import Keys
    from run.chat_stream.voice.wire import WireItem

_TYPING_AFTER: Final = 0.8  # how long a tool runs before the caller hears somebody at work


class Hands:
    """The tools of one call. Each runs in the exchange that its call was made in."""

    agent = "ODAI"

    def __init__(self, call: Call, services: Services, keys: Keys, *, channel: str) -> None:
        self._call, self._services, self._keys = call, services, keys
        self._channel = channel
        self._repertoire: Repertoire | None = None
        self._callers: dict[str, Exchange] = {}  # by call id
        self._running: dict[str, float] = {}  # by call id, since when
        self._typed_ms = 0

    @property
    def busy(self) -> bool:
        """Whether tools run."""
        return bool(self._running)

    # --- what there is to do ----------------------------------------------------------------

    def take_up(self, asked: Sequence[str]) -> None:
        """Lay out what the chat's prompts so far call for."""
        services = self._services
        self._repertoire = Repertoire(
            services.registry, services.router, services.orchestrator, channel=self._channel
        )
        if asked:
            self._repertoire.open_for(asked[-1], asked[:-1])

    def open_for(self, text: str, earlier: Sequence[str]) -> bool:
        """Lay out what fits the caller's words; True where that is news to the model."""
        return self._repertoire is not None and self._repertoire.open_for(text, earlier)

    def described(self) -> Any:
        """Return the SDK's agent as it is now."""
        assert self._repertoire is not None
        return self._repertoire.agent(
            now=self._services.clock(), timezone=self._call.room.timezone, pin=self._keys.pin_due
        )

    # --- Run --------------------------------------------------------------------------------

    def called(self, item: WireItem) -> None:
        """Note a call as soon as the model has written it."""
        if item.type != "function_call" or not item.call_id or not item.name:
            return
        exchange = self._callers[item.call_id] = self._call.current()
        arguments = '{"pin":"••••"}' if item.name == PIN else item.arguments or "{}"
        exchange.called(item.name, arguments, item.call_id)

    async def call(self, tool: Tool, arguments: str, call_id: str) -> str:
        """Run a tool as a text turn would; the caller's own things only once they are known."""
        call, exchange = self._call, self._exchange_of(call_id)
        connector = self._services.registry.entry_of(tool).connector
        if call.manner.withheld(connector, tool) and not self._keys.pin_asked:
            self._keys.pin_asked = not call.guest
            await call.retool()
        self._running[call_id] = call.now()
        self._typed_ms = 0
        try:
            return await exchange.run(tool, arguments, call_id)
        except OdaiError as err:
            text = json.dumps({"error": err.code, "message": str(err)})
            exchange.answered(call_id, text)
            return text
        except asyncio.CancelledError:
            if not exchange.over or call.over:
                raise
            return json.dumps({"error": "stopped", "message": "The user stopped this."})
        finally:
            self._running.pop(call_id, None)

    def paused(self) -> bool:
        """A call goes on while something waits for the user."""
        return False

    def speaker(self, name: str) -> None:
        """There are no handoffs on a call."""

    async def hang_up(self, call_id: str) -> str:
        """End this call once the goodbye was heard."""
        exchange = self._exchange_of(call_id)
        self._call.end_after_goodbye(said=exchange.sounding)
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
        exchange = self._exchange_of(call_id)
        text, new = self._repertoire.found(query)
        if new:
            await self._call.retool()
        exchange.answered(call_id, text)
        return text

    async def enter_pin(self, pin: str, call_id: str) -> str:
        """Check a spoken PIN."""
        exchange = self._exchange_of(call_id)
        text = await self._keys.check_pin("".join(filter(str.isdecimal, pin)))
        answer = json.dumps({"result": text})
        exchange.answered(call_id, answer)
        return answer

    def _exchange_of(self, call_id: str) -> Exchange:
        return self._callers.pop(call_id, None) or self._call.current()

    # --- somebody at work -------------------------------------------------------------------

    def typing(self, form: Format, ms: int) -> bytes:
        """Return the next `ms` of typing, b"" where no tool has run for long enough."""
        if not self._running or self._call.now() - min(self._running.values()) < _TYPING_AFTER:
            return b""
        sound, size = typing_sound(form), form.frame_bytes * ms // 20
        start = self._typed_ms * form.frame_bytes // 20 % len(sound)
        self._typed_ms += ms
        return sound[start : start + size]
