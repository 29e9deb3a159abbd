"""Turns whose server died or stalled: another ends them, for everybody, and the first is quiet."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from common import documents
from common.assistant import journal
from common.assistant.room import Room
from common.bootstrap import Services
from common.documents import new_id
from common.errors import VendorUnavailable
from common.store import Create
from common.tools import Registry
from tests.assistant.acting import TO_ACTS, Make, acting, bury, effects, lapse
from tests.assistant.conversation import Conversation, Watcher, of, text_of, wait_for
from tests.fakes.openai_responses import Calls, FakeOpenAI, Gate, Reply, Text


def running(services: Services) -> str | None:
    """Return the turn that the chat's document says is running."""
    chat = services.loop.run(services.store.get("chats/c1"))
    assert chat is not None
    turn_id: str | None = chat.data["running"]
    return turn_id


def stored(conversation: Conversation) -> str:
    """Have all that was told so far stored; return the running turn."""
    room = conversation.room
    assert room.journal is not None
    conversation.do(room.journal.flush)
    return str(room.state.running)


def silent(services: Make, model: FakeOpenAI, folder: Path) -> Services:
    """Return one more server, whose queue delivers nothing by itself."""
    return acting(services, model, folder, deliver=False)


# --- servers that died ---------------------------------------------------------------------------


def test_a_turn_that_died_ends_for_who_has_its_chat_open(services: Make, tmp_path: Path) -> None:
    """Somebody watches another server's answer: when that dies, they see the end of it."""
    gate = Gate()
    with FakeOpenAI(Text("hi"), Reply(Text("one two"), gate=gate, gate_after=1)) as model:
        dead = Conversation(silent(services, model, tmp_path))
        dead.turn("hello")
        here = Conversation(silent(services, model, tmp_path))
        dead.prompt("go")
        assert gate.reached.wait(50)
        here.until(lambda events: text_of(events) == "one")
        turn_id = stored(dead)
        bury(dead.services)
        lapse(here.services, turn_id)
        here.do(here.services.turns.recover_abandoned)
        end = of(here.until_type("end_of_stream"), "end_of_stream")[0]
        assert (end["turn_id"], end["status"]) == (turn_id, "failed")
        gate.open()


def test_a_takeover_that_failed_hides_nothing_of_the_one_that_worked(
    services: Make, tmp_path: Path
) -> None:
    """One server cannot store the end of a dead turn, another can: both show it."""
    gate = Gate()
    with FakeOpenAI(Reply(Text("one two"), gate=gate, gate_after=1)) as model:
        dead = Conversation(silent(services, model, tmp_path))
        dead.prompt("go")
        assert gate.reached.wait(50)
        stored(dead)
        made, tried = silent(services, model, tmp_path), asyncio.Event()

        async def away(*_: Any, **__: Any) -> None:
            tried.set()
            raise VendorUnavailable("The store is away.")

        made.chats.end = away  # type: ignore[method-assign]
        here = Conversation(made)
        bury(dead.services)
        wait_for(lambda: tried.is_set() and not here.room.recovering.locked())
        Conversation(silent(services, model, tmp_path))
        wait_for(lambda: running(made) is None)
        here.until_type("end_of_stream")
        gate.open()


def test_what_is_left_of_deleted_chats_keeps_no_turn_from_ending(
    services: Make, tmp_path: Path
) -> None:
    """However many turns of chats that are gone were left running, a real one is closed."""
    gate = Gate()
    with FakeOpenAI(Reply(Text("one two"), gate=gate, gate_after=1)) as model:
        dead = Conversation(silent(services, model, tmp_path))
        dead.prompt("go")
        assert gate.reached.wait(50)
        made, past = silent(services, model, tmp_path), documents.now() - dt.timedelta(seconds=1)

        async def orphans() -> None:
            for n in range(20):
                turn: dict[str, Any] = {"status": "running", "lease_until": past, "id": "x"}
                await made.store.commit(Create(f"chats/a{n:02}/turns/{new_id()}", turn))

        made.loop.run(orphans())
        lapse(made, str(dead.room.state.running))
        bury(dead.services)
        for _ in range(2):
            made.loop.run(made.turns.recover_abandoned())
        wait_for(lambda: running(made) is None)
        gate.open()


def test_a_deploy_that_took_a_slow_tool_away_leaves_the_chat_usable(
    services: Make, tmp_path: Path
) -> None:
    """A turn died in a call of a tool that the new server has not: the next prompt is answered."""
    search = Calls([("search_slowly", {"topic": "held whales"})])
    with FakeOpenAI(TO_ACTS, search, Text("fine")) as model:
        dead = Conversation(silent(services, model, tmp_path))
        dead.prompt("search slowly for whales")
        dead.until_type("job")
        stored(dead)
        bury(dead.services)
        made = silent(services, model, tmp_path)
        (entry,) = made.registry.entries.values()
        kept = tuple(tool for tool in entry.tools if tool.name != "search_slowly")
        made.__dict__["registry"] = Registry([dataclasses.replace(entry, tools=kept)])
        here = Conversation(made)
        assert "fine" in text_of(here.turn("hello?"))


# --- servers that stalled ------------------------------------------------------------------------


def test_a_server_that_lost_its_turn_acts_no_more(services: Make, tmp_path: Path) -> None:
    """Its turn was closed ("ask again") while it hung: when it goes on, it does nothing."""
    gate = Gate()
    note = Calls([("save_note", {"text": "milk"})])
    with FakeOpenAI(TO_ACTS, Reply(note, gate=gate)) as model:
        slow = Conversation(silent(services, model, tmp_path))
        slow.do(lambda: slow.services.chats.grant(slow.room.state, "save_note"))
        slow.prompt("save a note")
        assert gate.reached.wait(50)
        turn_id = stored(slow)
        heir = silent(services, model, tmp_path)
        lapse(heir, turn_id)
        here = Conversation(heir, cursor=f"{turn_id}:1")
        here.until_type("end_of_stream")
        assert "ask again" in of(here.events, "error")[0]["message"]
        gate.open()
        slow.idle()
        assert effects(tmp_path).of("save_note") == []


def test_a_server_that_lost_its_turn_writes_no_more(
    services: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It drops who watched, tries nothing for ever after, and leaves in peace who comes back."""
    monkeypatch.setattr(journal, "FLUSH_SECONDS", 0.02)
    gate = Gate()
    look_up = Calls([("look_up", {"topic": "whales"})])
    with FakeOpenAI(TO_ACTS, Reply(look_up, gate=gate), default=Text("x")) as model:
        made = silent(services, model, tmp_path)
        slow = Conversation(made)
        slow.prompt("look up whales")
        assert gate.reached.wait(50)
        turn_id = stored(slow)
        lapse(made, turn_id)
        after = Conversation(silent(services, model, tmp_path), cursor=f"{turn_id}:1")
        after.until_type("end_of_stream")
        room: Room = slow.do(lambda: made.turns.enter("c1", "u1"))  # another tab, or a call
        gate.open()
        slow.idle()
        assert slow.watcher.closed == 1013
        tries: list[Any] = []
        store_chunk, back = made.chats.store_chunk, Watcher()

        async def counted(*args: Any) -> None:
            tries.append(args)
            await store_chunk(*args)

        async def come_back() -> None:
            await made.turns.attach(room, back, f"{turn_id}:1")
            made.chats.store_chunk = counted  # type: ignore[method-assign]
            await asyncio.sleep(10 * journal.FLUSH_SECONDS)  # nothing is to happen in them

        slow.do(come_back)
        assert (back.closed, tries) == (None, [])
