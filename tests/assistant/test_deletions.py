"""A chat that is deleted while somebody watches it, answers in it or types into it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from common.assistant.protocol import Prompt
from common.bootstrap import Services
from common.errors import NotFound
from common.store import Query
from tests.assistant.acting import TO_ACTS, Make, acting, effects
from tests.assistant.conversation import Conversation, asking, wait_for
from tests.fakes.openai_responses import Calls, FakeOpenAI, Gate, Reply, Text

SECRET = Calls([("look_up", {"topic": "a secret"})])
GROUPS = ("turns", "journal", "items")


def left(services: Services) -> list[str]:
    """Return the paths of all that is stored of what was said."""

    async def look() -> list[str]:
        found = [await services.store.query(Query(name, all_groups=True)) for name in GROUPS]
        return [each.path for group in found for each in group]

    return services.loop.run(look())


def test_a_chat_deleted_elsewhere_is_told_to_who_watches(services: Make) -> None:
    """The page of another server's user closes, instead of letting them type into nothing."""
    with FakeOpenAI(Text("hi")) as model:
        there = Conversation(asking(services, model))
        there.turn("hello")
        here = Conversation(asking(services, model))
        there.do(lambda: there.services.turns.forget(there.room.state))
        here.until(lambda _: here.watcher.closed)
        assert here.watcher.closed == 1008
        with pytest.raises(NotFound):
            here.prompt("again")


def test_deleting_while_another_server_answers_leaves_nothing(
    services: Make, tmp_path: Path
) -> None:
    """What the answer that ran elsewhere had told, and tells before it hears of it, is gone."""
    gate = Gate()
    with FakeOpenAI(TO_ACTS, Reply(SECRET, gate=gate), default=Text("x")) as model:
        there = Conversation(acting(services, model, tmp_path, deliver=False))
        there.prompt("look up a secret")
        assert gate.reached.wait(50)
        here = acting(services, model, tmp_path, deliver=False)
        state = here.loop.run(here.chats.load("c1", "u1"))
        here.loop.run(here.turns.forget(state))
        gate.open()
        there.idle()
        wait_for(lambda: left(here) == [])


def test_deleting_while_another_tab_types_leaves_nothing(services: Make, tmp_path: Path) -> None:
    """A prompt sent while its chat is being deleted is refused, and begins no chat anew."""
    gate = Gate()
    with FakeOpenAI(Reply(Text("one two"), gate=gate, gate_after=1)) as model:
        made = acting(services, model, tmp_path, deliver=False)
        conversation = Conversation(made)
        conversation.prompt("first")
        assert gate.reached.wait(50)

        async def both() -> None:
            deleting = asyncio.create_task(made.turns.forget(conversation.room.state))
            await asyncio.sleep(0)
            with pytest.raises(NotFound):
                made.turns.prompt(conversation.room, Prompt("look up a secret"))
            await deleting

        conversation.do(both)
        assert conversation.watcher.closed == 1008
        gate.open()
        conversation.idle()
        wait_for(lambda: left(made) == [])
        assert effects(tmp_path).all == []
