"""Who may open a voice socket, and every one of this process.

Loads no model library before the first call: the container's start does not wait for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias

from flask import request
from simple_websocket import Server

from common.assistant import protocol
from common.errors import (
    InvalidInput,
    Misconfigured,
    OdaiError,
    RateLimited,
)
from common.identity import Identity
from common.log import get_logger
from common.telephony import media
from common.web.twilio_requests import check_signed
from run.chat_stream.admission import check_origin, identify
from run.chat_stream.socket import hand_over
from run.chat_stream.voice.app_line import MAX_FRAME_BYTES, RATES, AppLine
from run.chat_stream.voice.frames import MediaConnection
from run.chat_stream.voice.phone_line import POLICY, PhoneLine

if TYPE_CHECKING:
    from common.bootstrap import Services
    from run.chat_stream.chat_socket import ChatSockets

log = get_logger(__name__)

_TRY_LATER = 1013
_CALLS_PER_USER = 2  # one on the phone, one in the app
_LAST_WORDS_SECONDS = 4.0
VoiceLine: TypeAlias = PhoneLine | AppLine


class VoiceSockets:
    """Every voice socket of this process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lines: set[VoiceLine] = set()
        self._closing = False

    @property
    def count(self) -> int:
        """How many sockets are open."""
        return len(self._lines)

    def accept_phone(self, server: Server) -> None:
        """Let Twilio in, in the request's thread; the stream's `start` tells whose call it is."""
        try:
            self._check_open()
            check_signed(request, self._services)
        except OdaiError as err:
            _refuse(server, err)
            return
        _preload()
        line = PhoneLine(self, self._services)
        loop = self._services.loop.loop
        hand_over(server, line, loop, max_bytes=media.MAX_FRAME_BYTES, connection=MediaConnection)

    def accept_app(self, server: Server, session_id: str) -> None:
        """Let a signed-in user of the app in; `session_id` is the chat."""
        services = self._services
        try:
            self._check_open()
            protocol.check_chat_id(session_id)
            check_origin(services)
            identity = identify(services, purpose="voice", channel="app")
            self._check_room_for(identity)
            rate, marked = _rate(request.args.get("rate", "24000")), request.args.get("marks")
        except OdaiError as err:
            _refuse(server, err)
            return
        _preload()
        line = AppLine(
            self, services, uid=identity.uid, chat_id=session_id, rate=rate, marked=marked == "1"
        )
        hand_over(server, line, services.loop.loop, max_bytes=MAX_FRAME_BYTES)

    async def drain(self, seconds: float) -> None:
        """Say goodbye on every line, then close it."""
        self._closing = True
        for line in self._lines:
            if line.call:
                line.call.leave("restart")
        working = [line.work for line in self._lines if line.work]
        if working:
            await asyncio.wait(working, timeout=min(seconds, _LAST_WORDS_SECONDS))
        for line in list(self._lines):
            line.close(1001, "The server is restarting.")
        if working:
            await asyncio.wait(working, timeout=2.0)

    # --- for lines --------------------------------------------------------------------------

    def enter(self, line: VoiceLine) -> None:
        """Count a line in."""
        self._lines.add(line)

    def leave(self, line: VoiceLine) -> None:
        """Count a line out."""
        self._lines.discard(line)

    # --- who may connect --------------------------------------------------------------------

    def _check_open(self) -> None:
        settings = self._services.settings
        if self._closing:
            raise RateLimited("The server is restarting. Try again in a moment.")
        if not (settings.openai_api_key or settings.realtime_url):
            raise Misconfigured("There is no voice model here: set OPENAI_API_KEY.")

    def _check_room_for(self, identity: Identity) -> None:
        if sum(line.uid == identity.uid for line in self._lines) >= _CALLS_PER_USER:
            raise RateLimited("You are on a call already. Hang up there first.")


class AllSockets:
    """The sockets of the process, for its end."""

    def __init__(self, chats: ChatSockets, voice: VoiceSockets) -> None:
        self._chats, self._voice = chats, voice

    async def drain(self, seconds: float) -> None:
        """Let turns and calls end for `seconds`, and tell everybody to come back elsewhere."""
        await asyncio.gather(self._voice.drain(seconds), self._chats.drain(seconds))


def _preload() -> None:
    """Load what calls are made of: in this request's thread, as the loop has calls to serve."""
    import run.chat_stream.voice.call  # noqa: F401 - the SDK's voice part, half a second


def _refuse(server: Server, err: OdaiError) -> None:
    log.info("voice socket refused", extra={"code": err.code})
    later = err.retryable or isinstance(err, Misconfigured)
    server.close(_TRY_LATER if later else POLICY, str(err)[:120])


def _rate(text: str) -> int:
    for rate in RATES:
        if text == str(rate):
            return rate
    raise InvalidInput("rate is 8000, 16000, 24000 or 48000.")
