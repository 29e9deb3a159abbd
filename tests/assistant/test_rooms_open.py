"""Opening a chat: whoever leaves or fails meanwhile closes it for nobody else, and for no time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from common.assistant.protocol import Prompt
from common.bootstrap import Services
from common.errors import NotFound, VendorUnavailable
from tests.assistant.acting import Make
from tests.assistant.conversation import Watcher, asking, ends, of, text_of, until
from tests.fakes.openai_responses import FakeOpenAI, Gate, Reply, Text


class SlowToLoad:
    """Lets the chats of `services` load once `through` is set, and fail as long as `failing`."""

    def __init__(self, services: Services) -> None:
        self.through = asyncio.Event()
        self.failing: Exception | None = None
        self.calls = 0
        self._load = services.chats.load
        services.chats.load = self._slowly  # type: ignore[method-assign]

    async def _slowly(self, chat_id: str, uid: str) -> Any:
        self.calls += 1
        await self.through.wait()
        if self.failing:
            raise self.failing
        return await self._load(chat_id, uid)


def test_a_client_that_leaves_while_opening_closes_nobody_elses_room(services: Make) -> None:
    """Of two tabs that open a chat one goes at once: the other and a third share its answers."""
    gate = Gate()
    with FakeOpenAI(Reply(Text("one two"), gate=gate, gate_after=1), Text("three")) as model:
        made = asking(services, model)
        slow, turns = SlowToLoad(made), made.turns

        async def scene() -> list[Watcher]:
            opening = [asyncio.create_task(turns.enter("c1", "u1")) for _ in range(2)]
            await until(lambda: slow.calls)
            opening[0].cancel()
            await asyncio.wait(opening[:1])
            slow.through.set()
            room, tabs = await opening[1], [Watcher(), Watcher()]
            await turns.attach(room, tabs[0], None)
            turns.prompt(room, Prompt("first"))
            await tabs[0].until(lambda events: text_of(events) == "one")
            third = await turns.enter("c1", "u1")
            assert third is room
            await turns.attach(third, tabs[1], None)
            turns.prompt(third, Prompt("second"))
            gate.open()
            for tab in tabs:
                await tab.until(ends(2))
            return tabs

        for tab in made.loop.run(scene()):
            assert tab.closed is None
            assert [e["status"] for e in of(tab.events, "end_of_stream")] == ["done", "done"]


def test_a_failure_nobody_expected_closes_a_chat_for_no_longer_than_it_lasts(
    services: Make,
) -> None:
    """A chat that could not be opened once opens when it is tried again."""
    made = services()

    async def scene() -> None:
        slow = SlowToLoad(made)
        slow.through.set()
        slow.failing = RuntimeError("a bug, once")
        with pytest.raises(RuntimeError):
            await made.turns.enter("c1", "u1")
        slow.failing = None
        room = await made.turns.enter("c1", "u1")
        assert room.state.id == "c1"

    made.loop.run(scene())


def test_openings_that_failed_when_nobody_waited_any_more_pile_up_nowhere(services: Make) -> None:
    """Clients that knock at chats of others and go leave nothing in the server's memory."""
    made = services()

    async def scene() -> None:
        slow = SlowToLoad(made)
        slow.failing = NotFound("There is no such chat.")
        opening = [asyncio.create_task(made.turns.enter(f"c{n}", "u1")) for n in range(3)]
        await until(lambda: slow.calls == len(opening))
        for each in opening:
            each.cancel()
        await asyncio.wait(opening)
        slow.through.set()
        await until(lambda: not made.turns._rooms)

    made.loop.run(scene())


def test_a_room_that_failed_to_open_is_followed_no_more(
    services: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chat that could not be opened is not listened to for ever after."""
    made = services()

    async def away(*_: Any) -> None:
        raise VendorUnavailable("The store is away.")

    async def scene() -> None:
        monkeypatch.setattr(made.approvals, "unfinished", away)
        for n in range(3):
            with pytest.raises(VendorUnavailable):
                await made.turns.enter(f"c{n}", "u1")
        await until(lambda: not made.turns._following._rooms)

    made.loop.run(scene())
