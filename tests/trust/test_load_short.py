"""The load's short form: what `python -m tests.soak.load` shows in ten minutes, in seconds."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from common.assistant.journal import TurnJournal
from common.assistant.orchestrator import RunAgent
from common.assistant.room import Room
from common.assistant.turn import Turn
from common.bootstrap import Services
from run.chat_stream.chat_socket import ChatSession
from run.chat_stream.socket import SocketConnection
from tests.assistant.conversation import Conversation, of
from tests.fakes import acts
from tests.fakes.openai_responses import Calls, FakeOpenAI, Text
from tests.run.calling import Container
from tests.soak.load import Plan, load

SECONDS = 20.0
ENDS = {"done", "waiting_for_approval"}
KINDS = (TurnJournal, Room, Turn, RunAgent, ChatSession, SocketConnection)
GROWN = 12.0  # per cent that a young server may still grow: chats fill up, caches as well


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Let nothing be freed but by the last reference to it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def living() -> Counter[str]:
    """Return how many objects there are of what a turn and a socket are made of."""
    found = (type(each) for each in gc.get_objects())
    return Counter(kind.__name__ for kind in found if kind in KINDS)


def all_gone(wait: Callable[[], Any]) -> None:
    """Wait until none of them is left; fail, naming those that are."""
    until = time.monotonic() + SECONDS
    while (left := living()) and time.monotonic() < until:
        wait()
    assert not left


def test_a_chat_that_is_left_frees_its_memory_at_once(
    services: Callable[..., Services], tmp_path: Path, uncollected: None
) -> None:
    """Turns that ended, with tools or handoffs or waiting for a yes, leave nothing to collect.

    What only a garbage collection frees stays for thousands of turns, and stops every stream when
    it goes.
    """
    with FakeOpenAI(
        Text("Hello."),
        Calls([("look_up", {"topic": "whales"}), ("transfer_to_acts", {})]), Text("About whales."),
        Calls([("find_connector", {"query": "save a note"})]), Text("There is one."),
        Calls([("transfer_to_acts", {})]), Calls([("save_note", {"text": "a"})]),
    ) as model:  # fmt: skip
        made = services(
            OPENAI_BASE_URL=model.base_url, OPENAI_API_KEY="k",
            ODAI_TEST_EFFECTS=str(tmp_path / "effects"),
        )  # fmt: skip
        acts.install(made)
        talk = Conversation(made)
        for text in ("hello", "look up whales", "what is there?", "save a note: a"):
            talk.turn(text)
        assert {end["status"] for end in of(talk.events, "end_of_stream")} == ENDS
        assert living() == {"Room": 1, "TurnJournal": 2}  # what a viewer may still ask for
        talk.leave()
        loop = made.loop
        del talk
        all_gone(lambda: loop.run(asyncio.sleep(0.05)))


def test_a_socket_that_closed_frees_its_memory_at_once(
    services: Callable[..., Services], uncollected: None
) -> None:
    """Whether the client said goodbye or vanished, nothing of its socket waits to be collected."""
    with FakeOpenAI(default=Text("Hello.")) as model:
        made = services(OPENAI_BASE_URL=model.base_url, OPENAI_API_KEY="k")
        with Container(made) as box:
            assert made.development
            token = made.development.mint("dev-ann", name="Ann")

            async def scene() -> None:
                for chat in ("closed", "cut"):
                    async with aiohttp.ClientSession() as http:
                        url = f"{box.url}/chats/{chat}?token={token}"
                        ws = await http.ws_connect(url)
                        await ws.send_str("hello")
                        while b"end_of_stream" not in (await ws.receive()).data.encode():
                            pass
                        if chat == "closed":
                            await ws.close()

            asyncio.run(scene())
            all_gone(lambda: made.loop.run(asyncio.sleep(0.05)))


@pytest.mark.timeout(300)
def test_memory_stays_flat_under_load() -> None:
    """Sockets that stream, idle, read slowly, never read, or vanished: the server stays as it is.

    Nobody but those who do not read is dropped, and nobody is shown an error.
    """
    outcome = load(Plan(
        sockets=60, streaming=10, odd=2, deltas=40, turns=2, seconds=14.0, warm_s=6.0, every_s=1.0,
    ))  # fmt: skip
    assert sum(row.answers for row in outcome.rows) > 20
    assert outcome.rows[-1].open >= 50
    assert not outcome.harmed
    assert not outcome.problems
    assert outcome.drift < GROWN, [row.resident_kb for row in outcome.rows]
