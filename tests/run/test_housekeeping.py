"""What the server does by itself: nobody has to come back for a turn to end or a trace to go."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.bootstrap import Services
from common.documents import now
from common.errors import VendorUnavailable
from common.store import Put, Query
from common.store.expiring import EXPIRING, sweep
from run.chat_stream.housekeeping import keep_house
from tests.assistant.acting import acting, bury
from tests.assistant.conversation import Conversation, until
from tests.fakes.openai_responses import FakeOpenAI, Gate, Reply, Text

Make = Callable[..., Services]


def test_a_turn_whose_server_died_ends_though_nobody_looks(services: Make, tmp_path: Path) -> None:
    """After its lease has run out the turn is closed as failed, without a viewer."""
    gate = Gate()
    with FakeOpenAI(Reply(Text("One two"), gate=gate, gate_after=1)) as model:
        first = Conversation(acting(services, model, tmp_path, deliver=False))
        first.prompt("hello")
        first.until_type("raw_response_event")
        store: Any = first.services.store
        store.dead = True
        bury(first.services)
        heir = acting(services, model, tmp_path, deliver=False)
        heir.clock = lambda: now() + dt.timedelta(minutes=1)

        async def until_closed() -> None:
            house = asyncio.create_task(keep_house(heir, every=0.01))
            async with asyncio.timeout(50.0):
                while (await _turns(heir))[0]["status"] == "running":
                    await asyncio.sleep(0.01)
            house.cancel()

        assert heir.loop.run(_turns(heir))[0]["status"] == "running"
        heir.loop.run(until_closed())
        assert heir.loop.run(_turns(heir))[0]["status"] == "failed"
        gate.open()


def test_one_broken_chat_does_not_end_the_housekeeping(services: Make, monkeypatch: Any) -> None:
    """A chat that cannot be read, and a round that fails, keep no other turn from being ended."""
    made = services()
    looked, opened = 0, []

    async def abandoned() -> list[tuple[str, str]]:
        nonlocal looked
        looked += 1
        if looked == 1:
            raise RuntimeError("a bug, once")
        return [("broken", "u1"), ("fine", "u1")]

    async def enter(chat_id: str, _: str) -> None:
        opened.append(chat_id)
        if chat_id == "broken":
            raise KeyError("running")
        raise VendorUnavailable("The store is away.")

    async def kept() -> None:
        monkeypatch.setattr(made.chats, "abandoned", abandoned)
        monkeypatch.setattr(made.turns, "enter", enter)
        house = asyncio.create_task(keep_house(made, every=0.01))
        await until(lambda: opened.count("fine") >= 2 or house.done())
        assert not house.done()
        house.cancel()

    made.loop.run(kept())


async def _turns(services: Services) -> list[dict[str, Any]]:
    return [turn.data for turn in await services.store.query(Query("turns", all_groups=True))]


def test_what_has_expired_is_swept_and_nothing_else(services: Make) -> None:
    """Of every kind of document that ends, the sweep removes those past their time alone."""
    made = services()
    moment = now()
    past, future = (moment + dt.timedelta(seconds=s) for s in (-1, 60))
    documents = [
        *(Put(f"{name}/old{n}", {"expires_at": past}) for name in EXPIRING for n in range(3)),
        *(Put(f"{name}/new", {"expires_at": future}) for name in EXPIRING),
        Put("chats/c/prompts/old", {"expires_at": past}),
        Put("waitlist/w", {"expires_at": past}),
    ]

    async def swept() -> int:
        await made.store.commit(*documents)
        gone = await sweep(made.store, moment)
        assert await made.store.get("waitlist/w")
        assert await made.store.get("chats/c/prompts/old") is None
        for name in EXPIRING:
            assert await made.store.get(f"{name}/new")
        return gone

    assert made.loop.run(swept()) == 3 * len(EXPIRING) + 1
