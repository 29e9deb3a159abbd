"""The app's line: sound over a WebSocket of ours, JSON text frames both ways, or binary sound.

The original backend's path. Sound is 16-bit little-endian mono, at 24 kHz unless the address says
`?rate=` 8000, 16000 or 48000.

    from the app                                       to the app
    binary frame                    sound              {"type":"audio","audio":"<base64>","item_id"}
    {"type":"audio","audio":"<base64>"}                {"type":"audio_interrupted","item_id"}
    {"type":"audio","data":[samples]}                  {"type":"mark","name"}
    {"type":"mark","name"}          was played         every event of the chat, as on its socket
    {"type":"interrupt"}            stop the answer
    {"type":"stop"}                 hang up
    a chat socket's `prompt`, `approve`, `deny`, `location`

An app that answers marks is believed about what was heard; one that does not, to play at once.
"""

from __future__ import annotations

import array
import asyncio
import base64
import binascii
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from common.assistant import protocol
from common.assistant.protocol import ErrorEvent
from common.errors import InvalidInput, OdaiError
from common.log import get_logger
from common.telephony.audio import STUDIO, STUDIO_RATE, Resampler
from run.chat_stream.socket import SocketConnection

if TYPE_CHECKING:
    from common.bootstrap import Services
    from run.chat_stream.voice.call import Call
    from run.chat_stream.voice.sockets import VoiceSockets

log = get_logger(__name__)

RATES = (8_000, 16_000, 24_000, 48_000)
MAX_FRAME_BYTES = 262_144
_MAX_SOUND_BYTES = 96_000 * 2  # two seconds at the highest rate
_MAX_WAITING = 64
_PATIENCE_SECONDS = 60.0  # of silence, twice: who holds a button to talk sees that the call is on


class AppLine:
    """A `Session` of the socket and the `Line` of its call."""

    form = STUDIO
    channel = "app"

    def __init__(
        self,
        sockets: VoiceSockets,
        services: Services,
        *,
        uid: str,
        chat_id: str,
        rate: int = STUDIO_RATE,
        marked: bool = False,
    ) -> None:
        self.uid = uid
        self.marked = marked
        self.call: Call | None = None
        self.work: asyncio.Task[None] | None = None
        self._sockets = sockets
        self._services = services
        self._chat_id = chat_id
        self._up, self._down = Resampler(rate, STUDIO_RATE), Resampler(STUDIO_RATE, rate)
        self._connection: SocketConnection | None = None
        self._frames: asyncio.Queue[protocol.Frame] = asyncio.Queue(_MAX_WAITING)

    # --- Session ----------------------------------------------------------------------------

    def opened(self, connection: SocketConnection) -> None:
        """Begin the call."""
        self._connection = connection
        self._sockets.enter(self)
        self.work = asyncio.create_task(self._serve(), name="app-call")

    def text(self, data: str) -> None:
        """Read a frame; what cannot be read is answered, and the call goes on."""
        try:
            self._read(data)
        except InvalidInput as err:
            self._say_error(err)

    def binary(self, data: bytes) -> None:
        """Hear sound."""
        self._hear(data)

    def writable(self) -> None:
        """Nothing waited."""

    def closed(self) -> None:
        """The call is over."""
        if self.call:
            self.call.end()
        elif self.work:
            self.work.cancel()
        self._connection = None
        self._sockets.leave(self)

    # --- Line -------------------------------------------------------------------------------

    def play(self, sound: bytes, item_id: str) -> None:
        """Play sound."""
        audio = base64.b64encode(self._down.feed(sound)).decode()
        self._send({"type": "audio", "audio": audio, "item_id": item_id})

    def mark(self, name: str) -> None:
        """Ask for a mark."""
        self._send({"type": "mark", "name": name})

    def clear(self, item_id: str) -> None:
        """Have the app throw away what it has not played."""
        self._send({"type": "audio_interrupted", "item_id": item_id})

    def show(self, payload: bytes) -> None:
        """Show an event of the chat."""
        if self._connection:
            self._connection.send(payload)

    async def farewell(self, text: str) -> bool:
        """The app shows it; the notes say it."""
        self._say_error(OdaiError(text))
        return False

    def close(self, code: int, reason: str) -> None:
        """End the call."""
        if self._connection:
            self._connection.close(code, reason)

    # --- frames -----------------------------------------------------------------------------

    def _read(self, data: str) -> None:
        try:
            frame = msgspec.json.decode(data)
        except (msgspec.DecodeError, RecursionError) as err:
            raise InvalidInput("Send JSON objects with a type, or binary sound.") from err
        kind = frame.get("type") if isinstance(frame, dict) else None
        match kind:
            case "audio":
                self._hear(_sound(frame))
            case "mark":
                if self.call and isinstance(name := frame.get("name"), str):
                    self.call.played(name)
            case "interrupt":
                if self.call:
                    self.call.interrupt()
            case "stop":
                self.close(1000, "goodbye")
            case "prompt" | "approve" | "deny" | "location":
                if self._frames.full():
                    raise InvalidInput("Too many frames at once.")
                self._frames.put_nowait(protocol.parse_frame(data))
            case _:
                raise InvalidInput("A voice frame is audio, mark, interrupt, prompt or stop.")

    def _hear(self, sound: bytes) -> None:
        if len(sound) > _MAX_SOUND_BYTES:
            self.close(1009, "A frame holds at most two seconds of sound.")
        elif self.call and (whole := self._up.feed(sound)):
            self.call.sound(base64.b64encode(whole).decode())

    def _send(self, event: dict[str, Any]) -> None:
        if self._connection:
            self._connection.send(msgspec.json.encode(event))

    def _say_error(self, err: OdaiError) -> None:
        event = ErrorEvent(err.code, str(err), err.retryable)
        payload = protocol.encode_event(event, chat_id=self._chat_id, turn_id=None, seq=0)
        self.show(payload)

    # --- the call ---------------------------------------------------------------------------

    async def _serve(self) -> None:
        from run.chat_stream.voice.call import Call, Limits  # with it come the model libraries

        acting: asyncio.Task[None] | None = None
        try:
            self.call = Call(
                self._services,
                self,
                uid=self.uid,
                chat_id=self._chat_id,
                proven=True,
                limits=Limits(ask_after=_PATIENCE_SECONDS, leave_after=_PATIENCE_SECONDS),
            )
            acting = asyncio.create_task(self._act())
            await self.call.run()
        except Exception:
            # A broken call must not leave its line open and silent.
            log.exception("call failed", extra={"chat_id": self._chat_id})
            self.close(1011, "Something went wrong on our side.")
        finally:
            self.call = None
            if acting:
                acting.cancel()

    async def _act(self) -> None:
        while True:
            frame = await self._frames.get()
            try:
                if self.call:
                    await self.call.act(frame)
            except OdaiError as err:
                self._say_error(err)


def _sound(frame: dict[str, Any]) -> bytes:
    """Return a frame's sound; InvalidInput where it has none that can be read."""
    audio, samples = frame.get("audio"), frame.get("data")
    try:
        if isinstance(audio, str):
            return base64.b64decode(audio, validate=True)
        if isinstance(samples, list):
            numbers = array.array("h", samples)
            if sys.byteorder == "big":
                numbers.byteswap()
            return numbers.tobytes()
    except (binascii.Error, ValueError, TypeError, OverflowError) as err:
        raise InvalidInput("audio is base64 of 16-bit samples, data a list of them.") from err
    raise InvalidInput("An audio frame has audio (base64) or data (a list of samples).")
