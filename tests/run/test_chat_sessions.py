"""One client's connection: what it is told when opening fails, and what it may send in a minute."""

from __future__ import annotations

from typing import Any

import pytest

from common import documents
from common.bootstrap import Services
from common.errors import RateLimited
from common.identity import Identity
from run.chat_stream.chat_socket import ChatSession, ChatSockets
from tests.assistant.acting import Make
from tests.assistant.conversation import until


class Wire:
    """A connection that keeps how it was closed."""

    ready = True

    def __init__(self) -> None:
        self.closed: int | None = None

    def send(self, payload: bytes) -> None:
        """Take an event."""

    def close(self, code: int, reason: str = "") -> None:
        """Note the code."""
        self.closed = code


def session(sockets: ChatSockets, services: Services) -> ChatSession:
    """Return a client's session in chat c1."""
    moment = documents.now()
    identity = Identity(
        uid="u1", provider="development", anonymous=False, issued_at=moment, expires_at=moment
    )
    return ChatSession(sockets, services, "c1", identity, None)


def test_a_chat_that_fails_to_open_closes_its_socket(
    services: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open socket that will hear nothing is closed as failed: the page connects anew."""
    made = services()

    async def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    async def scene() -> None:
        monkeypatch.setattr(made.turns, "enter", broken)
        one, wire = session(ChatSockets(made), made), Wire()
        one.opened(wire)  # type: ignore[arg-type]
        await until(lambda: wire.closed)
        assert wire.closed == 1011
        one.closed()

    made.loop.run(scene())


def test_connecting_anew_gives_no_more_prompts_in_a_minute(services: Make) -> None:
    """Whoever has sent what they may is refused on every later connection as well."""
    made = services(ODAI_PROMPTS_PER_MINUTE="3")

    async def scene() -> None:
        sockets = ChatSockets(made)
        for connection in range(3):
            one = session(sockets, made)
            sockets.enter(one)
            if connection == 0:
                for _ in range(3):
                    sockets.count_prompt("u1")
            with pytest.raises(RateLimited):
                sockets.count_prompt("u1")
            sockets.leave(one)

    made.loop.run(scene())
