"""One turn in the terminal: a viewer that prints."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from common.assistant.protocol import Cursor, Prompt
from common.assistant.turns import Turns


class Printer:
    """A `Viewer` that writes the answer to standard output and the work to standard error."""

    turn_id = ""
    seq = 0
    began: Cursor | None = None
    ready = True

    def __init__(self) -> None:
        self.status: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def writable_again(self) -> None:
        """Return at once: a terminal takes everything."""

    def drop(self, code: int, reason: str) -> None:
        """End with what the server said."""
        self._end(reason)

    def show(self, payload: bytes) -> None:
        """Print one event."""
        event = json.loads(payload)
        match event["type"]:
            case "raw_response_event":
                print(event["delta"], end="", flush=True)
            case "tool_call":
                _note(f"→ {event['description']}  {event['name']} {json.dumps(event['arguments'])}")
            case "tool_output":
                mark = "✓" if event["ok"] else "✗"
                _note(f"{mark} {event['summary']} ({event['duration_ms']} ms)")
            case "handoff":
                _note(f"→ {event['name']}")
            case "error":
                _note(f"✗ {event['message']}")
                if event["turn_id"] is None:
                    self._end("failed")
            case "end_of_stream":
                self._end(event["status"])

    def _end(self, status: str) -> None:
        if not self.status.done():
            self.status.set_result(status)


async def ask(turns: Turns, chat_id: str, uid: str, text: str) -> str:
    """Send one prompt, print what happens, and return the turn's status."""
    room = await turns.enter(chat_id, uid)
    printer: Any = Printer()
    try:
        await turns.attach(room, printer, None)
        turns.prompt(room, Prompt(text))
        status: str = await printer.status
    finally:
        turns.leave(room, printer)
    print()
    return status


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
