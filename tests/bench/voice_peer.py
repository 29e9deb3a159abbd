"""The peer of phone calls: the Agents SDK's Twilio example in shape, on FastAPI.

A handler for each media stream: a `RealtimeRunner` with the SDK's own transport, the caller's
audio handed on in pieces of 50 ms, each piece of the model's audio sent with a mark, `clear` on
interruption, a playback tracker fed by the marks. Nothing is checked, stored or resumed, there are
no tools and no chat: it does less than we do.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
from typing import Any

import uvicorn
from agents.realtime import RealtimeAgent, RealtimePlaybackTracker, RealtimeRunner, RealtimeSession
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

_PIECE = 400  # bytes: 50 ms of μ-law


class Handler:
    """One call."""

    def __init__(self, twilio: WebSocket, url: str) -> None:
        self._twilio = twilio
        self._url = f"{url}?model=gpt-realtime-2.1"
        self._tracker = RealtimePlaybackTracker()
        self._stream_sid = ""
        self._heard = bytearray()
        self._marks: dict[str, tuple[str, int, int]] = {}
        self._count = 0

    async def run(self) -> None:
        """Serve the call until either side leaves."""
        agent = RealtimeAgent(name="Assistant", instructions="You are a helpful assistant.")
        session = await RealtimeRunner(agent, config={"tracing_disabled": True}).run(
            model_config={
                "api_key": "bench",
                "url": self._url,
                "initial_model_settings": {
                    "input_audio_format": "g711_ulaw",
                    "output_audio_format": "g711_ulaw",
                    "turn_detection": {
                        "type": "semantic_vad",
                        "interrupt_response": True,
                        "create_response": True,
                    },
                },
                "playback_tracker": self._tracker,
            }
        )
        await session.enter()
        await self._twilio.accept()
        tasks = [
            asyncio.create_task(part) for part in (self._from_model(session), self._flush(session))
        ]
        try:
            await self._from_twilio(session)
        except WebSocketDisconnect:
            pass
        finally:
            for task in tasks:
                task.cancel()
            await session.close()

    async def _from_model(self, session: RealtimeSession) -> None:
        async for event in session:
            if event.type == "audio":
                await self._send({
                    "event": "media",
                    "streamSid": self._stream_sid,
                    "media": {"payload": base64.b64encode(event.audio.data).decode()},
                })  # fmt: skip
                self._count += 1
                name = str(self._count)
                self._marks[name] = (event.item_id, event.content_index, len(event.audio.data))
                await self._send(
                    {"event": "mark", "streamSid": self._stream_sid, "mark": {"name": name}}
                )
            elif event.type == "audio_interrupted":
                await self._send({"event": "clear", "streamSid": self._stream_sid})

    async def _from_twilio(self, session: RealtimeSession) -> None:
        while True:
            message: dict[str, Any] = json.loads(await self._twilio.receive_text())
            if message["event"] == "start":
                self._stream_sid = message["start"]["streamSid"]
                # Ours greets its caller; so does this one.
                await session.send_message("Greet the caller.")
            elif message["event"] == "media":
                self._heard += base64.b64decode(message["media"]["payload"])
                if len(self._heard) >= _PIECE:
                    await self._hand_on(session)
            elif message["event"] == "mark":
                item_id, index, count = self._marks.pop(message["mark"]["name"])
                self._tracker.on_play_bytes(item_id, index, b"\xff" * count)
            elif message["event"] == "stop":
                return

    async def _flush(self, session: RealtimeSession) -> None:
        while True:
            await asyncio.sleep(0.05)
            await self._hand_on(session)

    async def _hand_on(self, session: RealtimeSession) -> None:
        if self._heard:
            piece = bytes(self._heard)
            self._heard.clear()
            await session.send_audio(piece)

    async def _send(self, message: dict[str, Any]) -> None:
        await self._twilio.send_text(json.dumps(message))


def create_app(url: str) -> FastAPI:
    """Return the application; media streams come to `/twilio/connect`."""
    app = FastAPI()

    @app.websocket("/twilio/connect")
    async def connect(twilio: WebSocket) -> None:
        await Handler(twilio, url).run()

    return app


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True, help="ws address of the Realtime server")
    options = parser.parse_args()
    uvicorn.run(
        create_app(options.upstream),
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        ws_ping_interval=None,  # as for the chat's peer
        log_level="warning",
        backlog=4096,
    )


if __name__ == "__main__":
    main()
