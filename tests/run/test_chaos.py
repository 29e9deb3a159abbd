"""Cut the socket, the client or the whole server at every event of a turn: nothing is lost.

The turn has text, two tools (one of them a job), a handoff and an approval; three clients watch
it. `ODAI_TEST_CHAOS=1` kills the server at every event, not only at every third.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.fakes.openai_responses import Answer, Calls, FakeOpenAI, Reply, Text
from tests.fakes.suite import Suite
from tests.run.clients import SECONDS, Client, Event, said, told

KILLED_EVERY = 1 if os.environ.get("ODAI_TEST_CHAOS") else 3
PROMPT = "look up and search for whales, then save a note: "
ACTS = ("save_note", "book_slowly")
Fault = Callable[["Chat"], Awaitable[None]]


def model(body: dict[str, Any]) -> Answer:
    """Say something, use two tools, hand off, propose a note, and tell how that went."""
    items = body["input"]
    names = {i["call_id"]: i["name"] for i in items if i.get("type") == "function_call"}
    last = items[-1]
    if last.get("role") == "user":
        topic = last["content"].removeprefix(PROMPT)
        calls = Calls([
            ("look_up", {"topic": topic}), ("search_slowly", {"topic": topic, "seconds": 0.05}),
        ])  # fmt: skip
        return Reply((Text("Let me look. "), calls), interval_s=0.002)
    name = names.get(last.get("call_id"))
    if name in ("look_up", "search_slowly"):
        return Calls([("transfer_to_acts", {})])
    if name == "transfer_to_acts":
        asked = [i["content"] for i in items if i.get("role") == "user"][-1]
        return Calls([("save_note", {"text": asked.removeprefix(PROMPT)})])
    return Reply(Text("That is what there was to tell about it."), interval_s=0.002)


class Chat:
    """Three clients of one chat; the first is also the one that asks and approves."""

    def __init__(self, suite: Suite, http: aiohttp.ClientSession, name: str, token: str) -> None:
        self.suite, self.name = suite, name
        self.clients = [Client(suite, http, name, token) for _ in range(3)]
        self.notes: dict[str, set[int]] = {}  # how often each act may have been done
        self._http, self._token = http, token
        self._asked = 0

    async def play(self) -> None:
        """Ask until the note was decided about and that was told, whatever happens meanwhile."""
        for client in self.clients:
            client.open()
            await client.until(lambda: client.connected)  # noqa: B023
        await self.insist(PROMPT, "save_note")

    async def insist(self, wish: str, tool: str) -> None:
        """Ask until the act was decided about and that was told."""
        while not await self._asked_and_approved(wish, tool):
            pass

    async def ask(self, wish: str) -> tuple[str, str]:
        """Ask for something new; return its turn and how that ended."""
        client = self.clients[0]
        self._asked += 1
        wanted = f"{self.name}-{self._asked}"

        def turn() -> str | None:
            started = client.of("turn_started")
            return next((e["turn_id"] for e in started if e["prompt_id"] == wanted), None)

        turn_id = await client.insist(turn, type="prompt", id=wanted, text=wish + wanted)
        return turn_id, await self._end_of(turn_id)

    async def _asked_and_approved(self, wish: str, tool: str) -> bool:
        client = self.clients[0]
        turn_id, status = await self.ask(wish)
        if status != "waiting_for_approval":
            return False
        wanted = f"{self.name}-{self._asked}"
        (card,) = (e for e in client.of("approval_required") if e["turn_id"] == turn_id)

        def decided() -> list[Event]:
            found = client.of("approval_decided")
            return [e for e in found if e["approval_id"] == card["approval_id"]]

        await client.insist(decided, type="approve", approval_id=card["approval_id"])
        seen = 0
        while True:
            await client.until(lambda: len(decided()) > seen)  # noqa: B023
            turn_id = decided()[seen]["turn_id"]
            seen += 1
            if await self._end_of(turn_id) == "done":
                self.notes[wanted] = {1}
                return True
            (error,) = (e for e in client.of("error") if e["turn_id"] == turn_id)
            if "takes this up again" not in error["message"]:
                assert tool in error["message"]
                self.notes[wanted] = {1} if "carried out" in error["message"] else {0, 1}
                return True

    async def _end_of(self, turn_id: str) -> str:
        client = self.clients[0]
        ends = await client.until(
            lambda: [e["status"] for e in client.of("end_of_stream") if e["turn_id"] == turn_id]
        )
        assert len(ends) == 1
        return str(ends[0])

    async def check(self) -> None:
        """Wait until all clients have seen everything; compare with what is stored."""
        async with asyncio.timeout(SECONDS):
            while True:
                stored = await self._stored()
                idle = all(turn["status"] != "running" for turn in stored["turns"])
                if idle and {c.cursor for c in self.clients} == {stored["cursor"]}:
                    break
                await asyncio.sleep(0.05)
        kept = [event for turn in stored["turns"] for event in turn["events"]]
        failed = {turn["turn_id"] for turn in stored["turns"] if turn["status"] == "failed"}
        for client in self.clients:
            assert client.problems == []
            assert _besides_text(client.events) == _besides_text(kept)
            for turn_id, text in said(kept).items():
                # What a dead server had shown and not stored stays with those who saw it.
                seen = said(client.events)[turn_id]
                assert seen.startswith(text) if turn_id in failed else seen == text
            await client.close()
        done = [e["of"] for e in self.suite.effects.all if e["tool"] in ACTS]
        for note, counts in self.notes.items():
            assert done.count(note) in counts
        assert all(topic.startswith(self.name) for topic in self.notes)

    async def _stored(self) -> dict[str, Any]:
        url = f"{self.suite.url}/chats/{self.name}/turns"
        headers = {"Authorization": f"Bearer {self._token}"}
        async with self._http.get(url, headers=headers) as answer:
            found: dict[str, Any] = json.loads(await answer.text())
            return found


def _besides_text(events: list[Event]) -> list[Event]:
    return [event for event in told(events) if event["type"] != "raw_response_event"]


@pytest.fixture
def suite(tmp_path: Path) -> Iterator[Suite]:
    """A server with the model above."""
    with FakeOpenAI(default=model) as fake:
        environ = {"OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEY": "k"}
        with Suite(tmp_path, ODAI_SOCKETS_PER_USER="1000", **environ) as started:
            yield started


async def events_of(suite: Suite, http: aiohttp.ClientSession, token: str) -> int:
    """Play undisturbed; return how many events that shows."""
    chat = Chat(suite, http, "undisturbed", token)
    await chat.play()
    await chat.check()
    assert chat.notes == {"undisturbed-1": {1}}
    kinds = {event["type"] for event in chat.clients[0].events}
    assert kinds >= {
        "raw_response_event", "tool_call", "tool_output", "job", "handoff", "approval_required",
        "approval_decided", "llm_response", "end_of_stream", "title",
    }  # fmt: skip
    return len(chat.clients[0].events)


async def disturbed(suite: Suite, fault: Fault, *, every: int, kind: str) -> None:
    """Play once for each event of the first client, with the fault at that event."""
    async with aiohttp.ClientSession() as http:
        token = await suite.sign_in(http, "Ada")
        for index in range(1, await events_of(suite, http, token) + 1, every):
            chat = Chat(suite, http, f"{kind}-{index}", token)
            playing = asyncio.create_task(chat.play())
            # Deltas may be merged: this play may show fewer events than the first.
            coming = asyncio.create_task(
                chat.clients[0].until(lambda: len(chat.clients[0].events) >= index)  # noqa: B023
            )
            await asyncio.wait((coming, playing), return_when=asyncio.FIRST_COMPLETED)
            coming.cancel()
            for client in chat.clients:  # one that has seen nothing has no place to come back to
                await client.until(lambda: client.cursor)  # noqa: B023
            await fault(chat)
            await playing
            await chat.check()


async def _cut(chat: Chat) -> None:
    for client in chat.clients:
        client.cut()


async def _leave(chat: Chat) -> None:
    """The third client goes away and comes back when the turn has gone on without it."""
    away, there = chat.clients[2], chat.clients[0]
    await away.close()
    seen = len(there.events)
    await there.until(lambda: len(there.events) > seen + 5 or len(there.of("end_of_stream")) == 2)
    away.open()


async def _kill(chat: Chat) -> None:
    await asyncio.to_thread(chat.suite.kill)
    await asyncio.to_thread(chat.suite.start)


@pytest.mark.timeout(300)
def test_a_cut_socket_loses_nothing(suite: Suite) -> None:
    """Every client's connection is torn at every event: each sees each event once, in order."""
    asyncio.run(disturbed(suite, _cut, every=1, kind="cut"))


@pytest.mark.timeout(300)
def test_a_client_that_was_away_loses_nothing(suite: Suite) -> None:
    """A client leaves at any event and comes back later with its cursor: it has seen it all."""
    asyncio.run(disturbed(suite, _leave, every=1, kind="left"))


@pytest.mark.timeout(400)
def test_a_killed_server_loses_nothing(suite: Suite) -> None:
    """The server is killed at any event: clients see what was and what became of it, once."""
    asyncio.run(disturbed(suite, _kill, every=KILLED_EVERY, kind="killed"))
