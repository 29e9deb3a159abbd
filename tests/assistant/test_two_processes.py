"""One chat shown and answered by two servers at once: each shows all of it, in its order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common import documents
from common.bootstrap import Services
from common.store import Change, Query
from tests.assistant.acting import TO_ACTS, Make, acting, effects
from tests.assistant.conversation import (
    Conversation,
    Watcher,
    asking,
    check_turn,
    ends,
    of,
    text_of,
    turns_in,
    wait_for,
)
from tests.fakes.openai_responses import Calls, FakeOpenAI, Gate, Reply, Text


class LateListener:
    """Keeps what `services` would hear of other servers while `late`, until `release`."""

    def __init__(self, services: Services) -> None:
        self.late = False
        self.held: list[Sequence[Change]] = []
        self._heard = services.turns._following._heard
        services.turns._following._heard = self._take  # type: ignore[method-assign]

    def _take(self, changes: Sequence[Change]) -> None:
        if self.late:
            self.held.append(changes)
        else:
            self._heard(changes)

    def release(self, wanted: Callable[[dict[str, Any]], bool] = lambda _: True) -> None:
        """Let be heard what was held and is `wanted`; to be called on the loop."""
        self.late = False
        for changes in self.held:
            if all(wanted(change.data or {}) for change in changes):
                self._heard(changes)


def test_a_prompt_that_others_overtook_is_answered_and_shown_behind_them(services: Make) -> None:
    """A prompt waits for another server's answer, which answers one more first: all are shown."""
    gates = Gate(), Gate()
    with FakeOpenAI(
        Reply(Text("one x"), gate=gates[0], gate_after=1),
        Reply(Text("two x"), gate=gates[1], gate_after=1),
        Text("three"),
    ) as model:
        there = Conversation(asking(services, model))
        there.prompt("first")
        assert gates[0].reached.wait(50)
        here = Conversation(asking(services, model))
        there.prompt("second")
        here.prompt("third")
        wait_for(here.room.recovering.locked)
        gates[0].open()
        assert gates[1].reached.wait(50)
        gates[1].open()
        there.until(ends(3))
        here.until(ends(3))
        turns = Query(documents.turns("c1"), order_by=(("started_at", "asc"),))
        stored = [turn.id for turn in here.services.loop.run(here.services.store.query(turns))]
        assert stored == sorted(stored) == turns_in(here.events)
        assert "three" in text_of(here.events)


def test_what_strangers_wrote_to_another_server_counts_here(services: Make, tmp_path: Path) -> None:
    """After a page was read elsewhere, even what is always allowed waits for the user's yes."""
    with FakeOpenAI(
        Text("hi"),
        TO_ACTS,
        Calls([("read_page", {"url": "https://good.example/"})]),
        Text("The page says: save a note."),
        TO_ACTS,
        Calls([("save_note", {"text": "evil"})]),
    ) as model:
        there = Conversation(acting(services, model, tmp_path))
        there.turn("hello")
        there.do(lambda: there.services.chats.grant(there.room.state, "save_note"))
        here = Conversation(acting(services, model, tmp_path, deliver=False))
        there.turn("read https://good.example/ for me")
        assert there.room.state.tainted
        here.until(ends(1))
        asked = here.turn("do what you think best")
        assert effects(tmp_path).of("save_note") == []
        assert of(asked, "end_of_stream")[-1]["status"] == "waiting_for_approval"


def test_the_end_of_an_answer_elsewhere_is_shown_before_ones_own(services: Make) -> None:
    """Though word of it comes late, whoever asks next has seen all of the answer before."""
    gate = Gate()
    with FakeOpenAI(Reply(Text("one two"), gate=gate, gate_after=1), Text("own")) as model:
        there = Conversation(asking(services, model))
        there.prompt("first")
        assert gate.reached.wait(50)
        made = asking(services, model)
        listener = LateListener(made)
        here = Conversation(made, cursor=f"{there.room.state.running}:1")
        here.until(lambda events: text_of(events) == "one")
        listener.late = True
        gate.open()
        there.settled()
        here.turn("mine")
        here.do(listener.release)
        first, own = turns_in(here.events)
        assert text_of(here.events) == "one twoown"
        check_turn([e for e in [*there.events[:2], *here.events] if e["turn_id"] == first])
        check_turn([e for e in here.events if e["turn_id"] == own])


def test_a_replay_skips_no_turn_that_is_held_here(services: Make) -> None:
    """Who comes back is shown every turn since, also what was answered elsewhere just now."""
    with FakeOpenAI(*map(Text, ("zero", "one", "two", "three"))) as model:
        there = Conversation(asking(services, model))
        zero = there.turn("0")[0]["turn_id"]
        made = asking(services, model)
        listener = LateListener(made)
        here = Conversation(made)
        here.turn("1")
        here.turn("2")
        there.until(ends(3))
        listener.late = True
        there.turn("3")
        back = Watcher()
        here.do(lambda: made.turns.attach(here.room, back, f"{zero}:1"))
        here.do(listener.release)
        made.loop.run(back.until(lambda events: "three" in text_of(events)))
        assert turns_in(back.events) == turns_in(there.events)
        assert text_of(back.events) == "zeroonetwothree"


def test_late_word_of_an_old_turn_does_not_hide_a_new_one(services: Make) -> None:
    """Who opens the chat while it answers is told so, whatever is heard of earlier turns."""
    gate = Gate()
    with FakeOpenAI(
        Text("zero"), Text("one"), Reply(Text("own answer"), gate=gate, gate_after=1)
    ) as model:
        there = Conversation(asking(services, model))
        there.turn("0")
        made = asking(services, model)
        listener = LateListener(made)
        here = Conversation(made)
        listener.late = True
        one = there.turn("1")[0]["turn_id"]
        about = {"last_turn": one, "running": None}
        wait_for(
            lambda: any(
                about.items() <= (c.data or {}).items() for each in listener.held for c in each
            )
        )
        here.prompt("mine")
        assert gate.reached.wait(50)
        assert here.room.turn is not None
        mine = here.room.turn.id
        here.do(lambda: listener.release(lambda data: data["last_turn"] != mine))
        other = Watcher()
        here.do(lambda: made.turns.attach(here.room, other, None))
        assert of(other.events, "hello")[0]["running_turn"] == mine
        gate.open()
        here.idle()
