"""A phone call's line: a Media Streams socket, from its `start` to the end of the call."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from common.errors import InvalidInput, NotAuthenticated, OdaiError
from common.log import get_logger
from common.telephony import twiml
from common.telephony.audio import PHONE
from common.telephony.media import Key, MediaStream, Played, Sound, Started, Stopped
from run.chat_stream.socket import SocketConnection

if TYPE_CHECKING:
    from common.bootstrap import Services
    from run.chat_stream.voice.call import Call
    from run.chat_stream.voice.sockets import VoiceSockets

log = get_logger(__name__)

POLICY = 1008
_START_SECONDS = 10.0  # from the handshake to the stream's start
_EARLY_FRAMES = 250  # of the caller's sound, until the call is set up


class PhoneLine:
    """A `Session` of the socket and the `Line` of its call."""

    form = PHONE
    channel = "phone"
    marked = True

    def __init__(self, sockets: VoiceSockets, services: Services) -> None:
        self.uid = ""
        self.call: Call | None = None
        self.work: asyncio.Task[None] | None = None
        self._sockets = sockets
        self._services = services
        self._stream = MediaStream()
        self._connection: SocketConnection | None = None
        self._call_sid = ""
        self._early: deque[str] = deque(maxlen=_EARLY_FRAMES)
        self._waiting: asyncio.TimerHandle | None = None

    # --- Session ----------------------------------------------------------------------------

    def opened(self, connection: SocketConnection) -> None:
        """Wait for the stream to start."""
        self._connection = connection
        self._sockets.enter(self)
        loop = asyncio.get_running_loop()
        self._waiting = loop.call_later(
            _START_SECONDS, lambda: self.close(POLICY, "The stream did not start.")
        )

    def text(self, data: str) -> None:
        """Read a frame; a stream that breaks the rules ends."""
        try:
            event = self._stream.receive(data)
        except InvalidInput as err:
            log.warning("media stream refused", extra={"call_sid": self._call_sid})
            self.close(POLICY, str(err))
            return
        match event:
            case Sound():
                if self.call:
                    self.call.sound(event.payload)
                else:
                    self._early.append(event.payload)
            case Played() if self.call:
                self.call.played(event.name)
            case Key() if self.call:
                self.call.key(event.digit)
            case Started():
                self._started(event)
            case Stopped():
                if self.call:
                    self.call.end()
                self.close(1000, "The call is over.")
            case _:
                pass

    def binary(self, data: bytes) -> None:
        """Refuse: the protocol has none."""
        self.close(POLICY, "A media stream has no binary frames.")

    def writable(self) -> None:
        """Nothing waited: Twilio takes sound faster than it plays it."""

    def closed(self) -> None:
        """The call is over, however it ended."""
        if self._waiting:
            self._waiting.cancel()
        if self.call:
            self.call.end()
        elif self.work:
            self.work.cancel()
        self._connection = None
        self._sockets.leave(self)

    # --- Line -------------------------------------------------------------------------------

    def play(self, sound: bytes, item_id: str) -> None:
        """Play mu-law."""
        if self._connection:
            self._connection.send(self._stream.sound(sound))

    def mark(self, name: str) -> None:
        """Ask for a mark."""
        if self._connection:
            self._connection.send(self._stream.mark(name))

    def clear(self, item_id: str) -> None:
        """Throw away what waits at Twilio."""
        if self._connection:
            self._connection.send(self._stream.clear())

    def show(self, payload: bytes) -> None:
        """A telephone shows nothing."""

    async def farewell(self, text: str) -> bool:
        """Let Twilio say it, and hang up."""
        if not self._call_sid:
            return False
        goodbye = twiml.document(twiml.say(text), twiml.hang_up())
        try:
            await self._services.twilio.redirect(self._call_sid, goodbye)
        except OdaiError as err:
            log.warning("goodbye not said", extra={"code": err.code, "call_sid": self._call_sid})
            return False
        return True

    def close(self, code: int, reason: str) -> None:
        """Close the stream: Twilio goes on with the next verb, which hangs up."""
        if self._connection:
            self._connection.close(code, reason)

    # --- the call ---------------------------------------------------------------------------

    def _started(self, event: Started) -> None:
        self._call_sid = event.call_sid
        if self._waiting:
            self._waiting.cancel()
        self.work = asyncio.create_task(self._serve(event), name="phone-call")

    async def _serve(self, event: Started) -> None:
        from run.chat_stream.voice.call import Call  # with it come the model libraries

        services = self._services
        try:
            ticket = event.parameters.get("ticket", "")
            found = await services.tickets.redeem(ticket, purpose="voice")
            claims = found.claims
            if claims.get("call_sid") != event.call_sid or claims.get("channel") != "phone":
                raise NotAuthenticated("That ticket is for another call.")
            await services.members.admit(found.identity)
        except OdaiError as err:
            log.warning("call refused", extra={"code": err.code, "call_sid": event.call_sid})
            self.close(POLICY, str(err))
            return
        except Exception:
            log.exception("call not begun")
            self.close(1011, "Something went wrong on our side.")
            return
        self.uid = found.identity.uid
        sid = event.call_sid
        try:
            self.call = Call(
                services,
                self,
                uid=self.uid,
                chat_id=str(claims.get("chat_id", "")),
                proven=bool(claims.get("proven")),
                guest=bool(claims.get("guest")),
                on_proof=lambda: self._proven(sid),
            )
            for payload in self._early:
                self.call.sound(payload)
            self._early.clear()
            await self.call.run()
        except Exception:
            # A broken call must not leave its line open and silent.
            log.exception("call failed", extra={"call_sid": sid})
            self.close(1011, "Something went wrong on our side.")
        finally:
            await self._over(sid)

    async def _proven(self, sid: str) -> None:
        try:
            await self._services.calls.note(sid, proven=True)
        except OdaiError as err:  # this call knows it all the same
            log.info("proof not noted", extra={"code": err.code, "call_sid": sid})

    async def _over(self, sid: str) -> None:
        try:
            await self._services.calls.end(sid)
        except OdaiError as err:  # the status callback tells it as well
            log.info("call's end not noted", extra={"code": err.code, "call_sid": sid})
