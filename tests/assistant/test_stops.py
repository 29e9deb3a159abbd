"""Stop: pressed twice, on another device, in the middle of an act or where it cannot be sent."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from common.assistant.protocol import Approve
from common.bootstrap import Services
from common.errors import VendorUnavailable
from common.store import Query, Union, Update, Write
from tests.assistant.acting import TO_ACTS, Make, acting, effects
from tests.assistant.conversation import Conversation, asking, ends, of, text_of, until, wait_for
from tests.assistant.test_approvals import audited, decide, status, waiting
from tests.fakes.openai_responses import Calls, FakeOpenAI, Gate, Reply, Text

HELD_NOTE = Calls([("save_note", {"text": "held milk"})])


class SlowAudit:
    """Holds what `services` write into the audit trail until `through` is set."""

    def __init__(self, services: Services) -> None:
        self.reached, self.through = asyncio.Event(), asyncio.Event()
        self.commit = services.store.commit
        services.store.commit = self._slowly  # type: ignore[method-assign]

    async def _slowly(self, *writes: Write) -> Any:
        if any(write.path.startswith("audit/") for write in writes):
            self.reached.set()
            await self.through.wait()
        return await self.commit(*writes)


def held_in_an_act(conversation: Conversation, folder: Path) -> str:
    """Have an act approved that takes its time; return the approval's id once it is under way."""
    approval_id = waiting(conversation)
    decide(conversation, Approve(approval_id))
    conversation.until_type("tool_call")
    wait_for(lambda: effects(folder).all)
    return approval_id


@pytest.mark.parametrize("again", ["pressed", "heard"])
def test_a_stop_that_comes_twice_leaves_no_open_ends(
    services: Make, tmp_path: Path, again: str
) -> None:
    """The audit trail and the approval tell how an act ended, though stop was pressed twice.

    Or was asked for on another device, of which more news came while that was being noted.
    """
    with FakeOpenAI(TO_ACTS, HELD_NOTE) as model:
        made = acting(services, model, tmp_path)
        conversation = Conversation(made)
        room, turns = conversation.room, made.turns
        approval_id = held_in_an_act(conversation, tmp_path)
        assert room.turn is not None
        turn_id = room.turn.id

        async def twice() -> None:
            slow = SlowAudit(made)
            if again == "pressed":
                turns.stop(room)
                await slow.reached.wait()
                turns.stop(room)
            else:
                await slow.commit(Update("chats/c1", {"stop": turn_id}))
                await slow.reached.wait()
                await slow.commit(Update("chats/c1", {"viewers": Union(("elsewhere",))}))
                await until(lambda: "elsewhere" in room.state.others)
            await asyncio.sleep(0)  # whatever the second one breaks off is broken off
            slow.through.set()

        conversation.do(twice)
        assert of(conversation.settled(), "end_of_stream")[-1]["status"] == "stopped"
        effects(tmp_path).release()
        wait_for(lambda: status(made, approval_id) == "unknown")
        assert audited(made) == [("save_note", "unknown")]
        conversation.leave()


def test_a_stopped_turn_proposes_nothing(services: Make, tmp_path: Path) -> None:
    """Stopped while another call ran, it leaves no action that waits and that nobody was shown."""
    both = Calls([("save_note", {"text": "milk"}), ("look_up", {"topic": "held whales"})])
    with FakeOpenAI(TO_ACTS, both, Text("ok")) as model:
        made = acting(services, model, tmp_path)
        conversation = Conversation(made)
        conversation.prompt("save a note and look up whales")
        wait_for(lambda: effects(tmp_path).all)
        conversation.do(lambda: made.turns.stop(conversation.room))
        events = conversation.settled()
        effects(tmp_path).release()
        assert of(events, "end_of_stream")[0]["status"] == "stopped"
        assert of(events, "approval_required") == []
        assert made.loop.run(made.store.query(Query("approvals"))) == []
        conversation.turn("and?")
        assert "waiting_for_approval" not in str(model.requests[-1].body["input"])
        conversation.leave()


def test_a_stop_that_cannot_be_sent_is_told(
    services: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who presses stop for an answer of another server learns that it did not get there."""
    gate = Gate()
    with FakeOpenAI(Reply(Text("one two"), gate=gate, gate_after=1)) as model:
        there = Conversation(asking(services, model))
        there.prompt("count")
        assert gate.reached.wait(50)
        here = Conversation(asking(services, model))

        async def away(*_: Any) -> None:
            raise VendorUnavailable("The store is away. Try again.")

        monkeypatch.setattr(here.services.chats, "ask_to_stop", away)
        here.do(lambda: here.services.turns.stop(here.room))
        (told,) = of(here.until_type("error"), "error")
        assert told["message"] == "The store is away. Try again."
        gate.open()
        there.idle()


def test_stop_ends_what_runs_elsewhere_and_not_what_waits_for_it(services: Make) -> None:
    """While a prompt waits for another server's answer, stop ends the answer that is running."""
    gate = Gate()
    with FakeOpenAI(Reply(Text("one two"), gate=gate, gate_after=1), Text("second")) as model:
        there = Conversation(asking(services, model))
        there.prompt("first")
        assert gate.reached.wait(50)
        here = Conversation(asking(services, model))
        here.prompt("second")
        wait_for(here.room.recovering.locked)
        here.do(lambda: here.services.turns.stop(here.room))
        first = of(there.until(ends(1)), "end_of_stream")[0]
        assert first["status"] == "stopped"
        here.until(ends(2))
        assert "second" in text_of(here.events)
        gate.open()
        there.idle()
