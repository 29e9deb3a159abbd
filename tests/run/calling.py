"""The container in this process, on a port, with a simulated voice model and telephone.

In this process, so that a test can look at what is left after a call: tasks, sockets, leases.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from werkzeug.serving import WSGIRequestHandler, make_server

from common.bootstrap import Services
from common.documents import now
from common.identity import Identity
from run.chat_stream.app import create_app
from tests.fakes import acts
from tests.fakes.openai_realtime import FakeRealtime
from tests.fakes.twilio import ACCOUNT, Caller, new_sid

SECONDS = 50.0


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        """Say nothing."""


class Container:
    """Serves `services` until the block is left, which fails where a call left something behind."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.app = create_app(services)
        self.server = make_server("127.0.0.1", 0, self.app, threaded=True, request_handler=_Quiet)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._before: set[str] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        _ = self.services.turns
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()
        if kind is None:
            self.nothing_left()

    # --- callers ----------------------------------------------------------------------------

    def identity(self, uid: str = "dev-ann") -> Identity:
        """Return a signed-in user."""
        moment = now()
        return Identity(
            uid=uid, provider="phone", anonymous=False, issued_at=moment, expires_at=moment
        )

    def ticket(
        self, sid: str, *, chat_id: str = "call-1", uid: str = "dev-ann", **claims: Any
    ) -> str:
        """Return a call's ticket, as the webhook mints it."""
        given = {"call_sid": sid, "chat_id": chat_id, "channel": "phone", "proven": True, **claims}
        return self.services.loop.run(
            self.services.tickets.mint(self.identity(uid), purpose="voice", claims=given)
        )

    def twiml(self, ticket: str) -> str:
        """Return the TwiML that connects a call."""
        url = f"{self.services.settings.base_url.replace('http', 'ws', 1)}/twilio/connect"
        return (
            f'<Response><Connect><Stream url="{url}"><Parameter name="ticket" value="{ticket}"/>'
            "</Stream></Connect><Hangup/></Response>"
        )

    def caller(self, **options: Any) -> Caller:
        """Return a telephone that reaches this container."""
        public = self.services.settings.base_url
        return Caller(self.url, public=public, account=ACCOUNT, sid=new_sid("CA"), **options)

    async def dial(self, caller: Caller, **ticket: Any) -> None:
        """Place the call and wait until its stream is open."""
        made = await asyncio.to_thread(lambda: self.ticket(caller.sid, **ticket))
        await caller.dial(twiml=self.twiml(made))
        await caller.until(lambda: caller.streaming)

    # --- what is there ----------------------------------------------------------------------

    def do(self, work: Callable[[], Any]) -> Any:
        """Run `work` on the event loop."""

        async def call() -> Any:
            found = work()
            return await found if asyncio.iscoroutine(found) else found

        return self.services.loop.run(call())

    def wait(self, ready: Callable[[], Any]) -> Any:
        """Wait on the event loop until `ready()` holds; return it."""

        async def waiting() -> Any:
            async with asyncio.timeout(SECONDS):
                while not (found := ready()):
                    await asyncio.sleep(0.01)
                return found

        return self.services.loop.run(waiting())

    async def until(self, ready: Callable[[], Any]) -> Any:
        """Wait likewise, from another loop."""
        return await asyncio.to_thread(self.wait, ready)

    def calls(self) -> list[Any]:
        """Return the calls that live."""
        lines = self.app.extensions["odai_voice"]._lines
        return [line.call for line in lines if line.call]

    def turns(self, chat_id: str = "call-1", uid: str = "dev-ann") -> list[dict[str, Any]]:
        """Return a chat's turns as stored: prompt, status, events."""
        chats = self.services.chats

        async def read() -> list[dict[str, Any]]:
            state = await chats.load(chat_id, uid)
            found = []
            for turn in await chats.page(state, before=None, limit=50):
                events, _ = await chats.told(state, turn.id)
                found.append({
                    "prompt": turn.prompt, "status": turn.status,
                    "events": [json.loads(event) for event in events],
                })  # fmt: skip
            return found

        return self.services.loop.run(read())

    def items(self, chat_id: str = "call-1", uid: str = "dev-ann") -> list[dict[str, Any]]:
        """Return a chat's items as a text turn's model would be given them."""
        state = self.services.loop.run(self.services.chats.load(chat_id, uid))
        return state.input_items()

    def nothing_left(self) -> None:
        """Fail where a call left a task, a socket, a session or a turn behind."""
        turns, voice = self.services.turns, self.app.extensions["odai_voice"]

        def busy() -> list[str]:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            own = [t.get_name() for t in tasks if _of_a_call(t)]
            return [
                *own,
                *(["line"] if voice.count else []),
                *(["voice"] if turns._conductor.voices else []),
                *(["room"] if turns._rooms else []),
            ]

        async def quiet() -> None:
            try:
                async with asyncio.timeout(SECONDS):
                    while busy():
                        await asyncio.sleep(0.02)
            except TimeoutError:
                raise AssertionError(f"left after the calls: {busy()}") from None

        self.services.loop.run(quiet(), timeout=60)


def containers(
    services: Callable[..., Services], folder: Path
) -> Iterator[Callable[..., Container]]:
    """Yield what opens a container whose voice model is the one given; for a fixture.

    Its only connector is `acts`. Leaving fails where a call left something behind.
    """
    opened: list[Container] = []

    def make(model: FakeRealtime | None, **environ: str) -> Container:
        made = services(**{
            "ODAI_REALTIME_URL": model.url if model else "",
            "OPENAI_API_KEY": "key-of-a-test",
            "OPENAI_BASE_URL": "http://127.0.0.1:9",
            "ODAI_PUBLIC_URL": "https://odai.example.com",
            "ODAI_TEST_EFFECTS": str(folder / "effects"),
            **ACCOUNT.environ,
            **environ,
        })  # fmt: skip
        acts.install(made)
        opened.append(Container(made).__enter__())
        return opened[-1]

    yield make
    for each in opened:
        each.__exit__(None, None, None)


def _of_a_call(task: asyncio.Task[Any]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    place = getattr(code, "co_filename", "")
    return "chat_stream" in place or "agents/realtime" in place or "turns.py" in place


def of(turn: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Return a turn's events of one type."""
    return [event for event in turn["events"] if event["type"] == kind]
