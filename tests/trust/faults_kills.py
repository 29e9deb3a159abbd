"""The whole server killed at random moments of conversations, and what must hold when it is back.

Each round plays one conversation in three chats at once, of tool calls, a job, a note and a slow
booking that need a yes, and kills the server with SIGKILL somewhere in it. Clients reconnect with
their cursors and ask again what they were honestly told was broken off. In the end every chat holds
the same facts as one that was never disturbed, whatever the point.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.fakes.openai_responses import Answer, Calls, Text
from tests.fakes.suite import Suite
from tests.run.clients import Event
from tests.run.test_chaos import PROMPT, Chat
from tests.run.test_chaos import model as chaos_model

CHATS = 3  # at once
BOOK = "book this slowly: "
LOOK = "look up this: "
HELLO = "good morning: "
_ASKED_FOR = {BOOK: "book_slowly", LOOK: "look_up"}


@dataclass
class Figures:
    """What came of it: kills, the turns they hit, and failures by kind."""

    kills: int = 0
    chats: int = 0
    hit: int = 0  # turns that ended as failed
    unknown: int = 0  # acts of which the user was told that they may have happened
    failures: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        failed = ", ".join(f"{kind} {n}" for kind, n in self.failures.items()) or "none"
        return (
            f"kills {self.kills}: {self.chats} chats, {self.hit} turns cut off, "
            f"{self.unknown} acts told as unknown, failures: {failed}"
        )


def model(body: dict[str, Any]) -> Answer:
    """Look up, book or just talk; everything else as in `tests.run.test_chaos`."""
    items = body["input"]
    names = {i["call_id"]: i["name"] for i in items if i.get("type") == "function_call"}
    asked = [i["content"] for i in items if i.get("role") == "user"]
    wish, _, what = (asked[-1] if asked else "").partition(": ")
    last = items[-1]
    name = names.get(last.get("call_id"))
    if f"{wish}: " == PROMPT:
        return chaos_model(body)
    if last.get("role") == "user" and f"{wish}: " == LOOK:
        return Calls([("look_up", {"topic": what})])
    if last.get("role") == "user" and f"{wish}: " == BOOK:
        return Calls([("transfer_to_acts", {})])
    if name == "transfer_to_acts":
        return Calls([("book_slowly", {"what": what})])
    return Text("That is what there was to say.")


class Talk(Chat):
    """The conversation; `facts` are what its user has in the end."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.facts: list[tuple[str, ...]] = []

    async def play(self) -> None:
        """Play all of it, whatever happens meanwhile."""
        for client in self.clients:
            client.open()
            await client.until(lambda: client.connected)  # noqa: B023
        await self._told(HELLO)
        await self._told(LOOK)
        await self.insist(PROMPT, "save_note")
        self._note("save_note")
        await self.insist(BOOK, "book_slowly")
        self._note("book_slowly")
        await self._told(HELLO)

    async def _told(self, wish: str) -> None:
        while True:
            turn_id, status = await self.ask(wish)
            events = [e for e in self.clients[0].events if e["turn_id"] == turn_id]
            if status == "done":
                self.facts.append((wish, _answer(events), *_tools(events)))
                return
            (error,) = (e for e in events if e["type"] == "error")
            assert "restart" in error["message"], error

    def _note(self, tool: str) -> None:
        (*_, counts) = self.notes.values()
        self.facts.append((tool, "done" if counts == {1} else "unknown"))


async def survive(suite: Suite, kills: int, seed: int, tell: Callable[[str], None]) -> Figures:
    """Kill `kills` times at moments that `seed` decides; raises nothing, counts what fails."""
    chance, figures = random.Random(seed), Figures()
    async with aiohttp.ClientSession() as http:
        token = await suite.sign_in(http, "Ada")
        whole = Talk(suite, http, "undisturbed", token)
        began = time.monotonic()
        await whole.play()
        seconds = time.monotonic() - began
        await whole.check()
        for number in range(kills):
            point = chance.uniform(0.0, seconds * 1.2)  # three at once take a little longer
            names = [f"k{number}x{place}" for place in range(CHATS)]
            talks = [Talk(suite, http, name, token) for name in names]
            playing = [asyncio.create_task(talk.play()) for talk in talks]
            await asyncio.sleep(point)
            await asyncio.to_thread(suite.kill)
            await asyncio.to_thread(suite.start)
            figures.kills += 1
            for talk, play in zip(talks, playing, strict=True):
                figures.chats += 1
                try:
                    await play
                    await talk.check()
                    _compare(talk, whole, figures)
                except (AssertionError, TimeoutError, ValueError) as err:
                    figures.failures[type(err).__name__] += 1
                    tell(f"seed {seed}, kill {number} at {point:.3f} s, {talk.name}: {err!r}")
                    for client in talk.clients:
                        await client.close()
    return figures


def _compare(talk: Talk, whole: Talk, figures: Figures) -> None:
    """Fail unless the facts are the undisturbed ones but for acts told as unknown."""
    unknown = sum(fact[1] == "unknown" for fact in talk.facts)
    facts = [(f[0], "done") if f[1] == "unknown" else f for f in talk.facts]
    assert facts == whole.facts, (facts, whole.facts)
    ends = talk.clients[0].of("end_of_stream")
    figures.hit += sum(end["status"] == "failed" for end in ends)
    figures.unknown += unknown


def _answer(events: list[Event]) -> str:
    return "\n".join(e["response"] for e in events if e["type"] == "llm_response")


def _tools(events: list[Event]) -> list[str]:
    return [e["name"] for e in events if e["type"] == "tool_call"]
