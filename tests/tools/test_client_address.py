"""The address a client connects from reaches the tools, and a private one never does."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from flask import Flask, request

from common.assistant.chats import ChatState
from common.assistant.protocol import Stop
from common.assistant.room import Room
from common.settings import Settings
from common.web.edge import client_address
from run.chat_stream.chat_socket import ChatSession


@pytest.mark.parametrize(
    ("header", "peer", "proxies", "expected"),
    [
        ("9.9.9.9, 8.8.8.8", "169.254.1.1", "1", "8.8.8.8"),  # the first one is forged
        ("8.8.8.8", "169.254.1.1", "1", "8.8.8.8"),
        ("2606:4700::1111", "::1", "1", "2606:4700::1111"),
        ("9.9.9.9, 8.8.8.8, 35.191.0.1", "169.254.1.1", "2", "8.8.8.8"),  # the balancer is last
        ("35.191.0.1", "169.254.1.1", "2", ""),
        ("", "8.8.8.8", "1", ""),
        ("9.9.9.9", "8.8.8.8", "", "8.8.8.8"),  # nothing stands before a laptop's server
    ],
)
def test_only_the_platforms_own_entry_counts(
    header: str, peer: str, proxies: str, expected: str
) -> None:
    """What a client writes itself is not believed, however many proxies there are."""
    google = {
        "ODAI_BACKEND": "google", "GOOGLE_CLOUD_PROJECT": "p", "ODAI_INVOKER": "i",
        "ODAI_PUBLIC_URL": "https://odai.example.com", "ODAI_KMS_KEY": "k", "ODAI_PROXIES": proxies,
    }  # fmt: skip
    settings = Settings.from_env(google if proxies else {})
    headers = {"X-Forwarded-For": header} if header else {}
    with Flask("test").test_request_context(headers=headers, environ_base={"REMOTE_ADDR": peer}):
        assert client_address(request, settings) == expected


def test_the_device_that_asks_is_the_one_located() -> None:
    """A chat open in two places is answered for the place where the question was typed."""
    room = Room(ChatState("c", "u", cast(Any, None)))
    turns = SimpleNamespace(stop=lambda *_: None)
    services = cast(Any, SimpleNamespace(turns=turns, settings=SimpleNamespace(idle_seconds=9.0)))

    async def ask_from(address: str) -> str:
        identity = cast(Any, SimpleNamespace(uid="u"))
        session = ChatSession(cast(Any, None), services, "c", identity, None)
        session.address = address
        await session._act(room, Stop())
        return room.asker.address

    assert asyncio.run(ask_from("8.8.8.8")) == "8.8.8.8"
    assert asyncio.run(ask_from("1.1.1.1")) == "1.1.1.1"
