"""Approvals: nothing risky happens before a person's yes, and then once, whatever dies."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common import documents
from common.assistant.approvals import ACT_WITHIN, LIFETIME
from common.assistant.protocol import Approve, Deny, Edit, Regenerate
from common.bootstrap import Services
from common.errors import Conflict, InvalidInput, NotFound, OdaiError, VendorUnavailable
from common.store import Merge, Query, Update
from tests.assistant.acting import (
    TO_ACTS,
    Make,
    acting,
    approval_of,
    bury,
    check_whole,
    dies,
    effects,
)
from tests.assistant.conversation import Conversation, Event, ends, of, text_of, until, wait_for
from tests.fakes.openai_responses import Calls, FakeOpenAI, Gate, Reply, Text

NOTE = Calls([("save_note", {"text": "milk", "colour": "red"}, "call_n")])
PAY = Calls([("pay", {"payee": "Ada", "amount": 5})])
LETTER = Calls([("send_letter", {"recipient": "Ada", "text": "hi"})])


def decide(conversation: Conversation, frame: Approve | Deny) -> None:
    """Send the user's decision."""
    turns = conversation.services.turns
    conversation.do(lambda: turns.decide(conversation.room, frame))


def waiting(conversation: Conversation, text: str = "save a note") -> str:
    """Ask for something risky; return the id of what waits."""
    events = conversation.turn(text)
    check_whole(events)
    assert of(events, "end_of_stream")[0]["status"] == "waiting_for_approval"
    approval_id: str = approval_of(events)["approval_id"]
    return approval_id


def after(conversation: Conversation, action: Callable[[], None]) -> list[Event]:
    """Act, wait for the turn it opens, and return that turn's events."""
    before, ends = len(conversation.events), len(of(conversation.events, "end_of_stream"))
    action()
    conversation.until(lambda events: len(of(events, "end_of_stream")) > ends)
    turn = conversation.settled()[before:]
    check_whole(turn)
    return turn


async def delivered(services: Services, approval_id: str) -> None:
    """Deliver the task of a decision as the queue does: again until it is taken."""
    async with asyncio.timeout(50.0):
        while True:
            with contextlib.suppress(VendorUnavailable):
                return await services.turns.follow_up(uid="u1", approval_id=approval_id)


def status(services: Services, approval_id: str) -> str:
    """Return where an approval stands."""
    found = services.loop.run(services.store.get(f"approvals/{approval_id}"))
    assert found is not None
    return str(found.data["status"])


def audited(services: Services) -> list[tuple[str, str]]:
    """Return the audit trail as (what, how it ended)."""
    rows = services.loop.run(services.store.query(Query("audit")))
    return [(row.data["what"], row.data["status"]) for row in rows]


# --- one decision --------------------------------------------------------------------------------


def test_a_yes_does_exactly_what_was_shown(services: Make, tmp_path: Path) -> None:
    """The exact arguments are shown; after the yes it happens once and the answer tells of it."""
    with FakeOpenAI(TO_ACTS, NOTE, Text("Saved.")) as model:
        made = acting(services, model, tmp_path)
        conversation = Conversation(made)
        approval_id = waiting(conversation)
        required = approval_of(conversation.events)
        assert required["arguments"] == {"text": "milk", "colour": "red"}
        assert (required["tool"], required["risk"]) == ("save_note", "write")
        assert set(required["editable"]) == {"text", "colour"}
        assert effects(tmp_path).all == []
        turn = after(conversation, lambda: decide(conversation, Approve(approval_id)))
        assert of(turn, "approval_decided")[0]["decision"] == "approved"
        assert of(turn, "tool_output")[0]["summary"] == "Saved milk."
        assert text_of(turn) == "Saved."
        assert effects(tmp_path).of("save_note") == ["milk"]
        assert audited(made) == [("save_note", "done")]
        assert status(made, approval_id) == "done"
        made.loop.run(made.tasks.drain())  # type: ignore[attr-defined]  # the decision's own task
        assert effects(tmp_path).of("save_note") == ["milk"]
        assert len(of(conversation.settled(), "turn_started")) == 2
        conversation.leave()


def test_a_no_is_told_to_the_model_and_nothing_happens(services: Make, tmp_path: Path) -> None:
    """After a no, with the user's reason, the assistant goes on without the action."""
    with FakeOpenAI(TO_ACTS, NOTE, Text("As you like.")) as model:
        made = acting(services, model, tmp_path)
        conversation = Conversation(made)
        approval_id = waiting(conversation)
        turn = after(conversation, lambda: decide(conversation, Deny(approval_id, "too red")))
        assert of(turn, "approval_decided")[0]["decision"] == "denied"
        assert "too red" in str(model.requests[-1].body["input"][-1])
        assert (effects(tmp_path).all, audited(made)) == ([], [])
        conversation.leave()


def test_edited_arguments_are_what_happens(services: Make, tmp_path: Path) -> None:
    """What the user corrected in the card is what is done."""
    with FakeOpenAI(TO_ACTS, NOTE, Text("Saved.")) as model:
        conversation = Conversation(acting(services, model, tmp_path))
        edited = Approve(waiting(conversation), {"text": "bread"})
        after(conversation, lambda: decide(conversation, edited))
        assert effects(tmp_path).of("save_note") == ["bread"]
        conversation.leave()


@pytest.mark.parametrize("arguments", [{}, {"text": ["x"]}, {"text": "x", "to": "y"}])
def test_an_edit_that_does_not_fit_leaves_it_waiting(
    services: Make, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    """Arguments that the tool does not take are refused with the reason; a good yes still works."""
    with FakeOpenAI(TO_ACTS, NOTE, Text("Saved.")) as model:
        made = acting(services, model, tmp_path)
        conversation = Conversation(made)
        approval_id = waiting(conversation)
        with pytest.raises(InvalidInput):
            decide(conversation, Approve(approval_id, arguments))
        assert status(made, approval_id) == "pending"
        assert effects(tmp_path).all == []
        after(conversation, lambda: decide(conversation, Approve(approval_id)))
        assert effects(tmp_path).of("save_note") == ["milk"]
        conversation.leave()


def test_a_late_yes_is_no_yes(services: Make, tmp_path: Path) -> None:
    """An approval that was left for a day has expired: the user is told and nothing happens."""
    with FakeOpenAI(TO_ACTS, NOTE, Text("That has expired.")) as model:
        made = acting(services, model, tmp_path)
        conversation = Conversation(made)
        approval_id = waiting(conversation)
        late = documents.now() + LIFETIME + dt.timedelta(seconds=1)
        made.approvals._clock = lambda: late
        turn = after(conversation, lambda: decide(conversation, Approve(approval_id)))
        assert of(turn, "approval_decided")[0]["decision"] == "expired"
        assert effects(tmp_path).all == []
        conversation.leave()


def test_somebody_else_s_approval_does_not_exist(services: Make, tmp_path: Path) -> None:
    """Whoever learns an approval's id can neither decide it nor learn that it exists."""
    with FakeOpenAI(TO_ACTS, NOTE) as model:
        made = acting(services, model, tmp_path)
        conversation = Conversation(made)
        approval_id = waiting(conversation)
        for wrong in (approval_id, documents.new_id(), "../../users/u1", ""):
            uid = "u2" if wrong == approval_id else "u1"
            with pytest.raises(NotFound):
                made.loop.run(made.approvals.decide(wrong, uid, approve=True))
            with pytest.raises(NotFound):
                made.loop.run(made.approvals.get(wrong, uid))
        assert status(made, approval_id) == "pending"
        with pytest.raises(Conflict):
            made.loop.run(made.approvals.get(approval_id, "u1"))
        conversation.leave()


def test_what_cannot_run_is_corrected_before_anybody_is_asked(
    services: Make, tmp_path: Path
) -> None:
    """Nobody is asked to approve a call that does not fit; the model corrects it first."""
    wrong = Calls([("save_note", {"text": 7, "size": 1})])
    with FakeOpenAI(TO_ACTS, wrong, NOTE, Text("Saved.")) as model:
        conversation = Conversation(acting(services, model, tmp_path))
        waiting(conversation)
        assert len(of(conversation.events, "approval_required")) == 1
        model.then()
        after(conversation, lambda: decide(
            conversation, Approve(approval_of(conversation.events)["approval_id"])
        ))  # fmt: skip
        conversation.leave()


def test_two_actions_wait_and_are_decided_one_by_one(services: Make, tmp_path: Path) -> None:
    """Actions proposed together each have their own card; one yes and one no are both kept."""
    both = Calls([
        ("save_note", {"text": "milk"}, "call_a"), ("pay", {"payee": "Ada", "amount": 5}, "call_b"),
    ])  # fmt: skip
    with FakeOpenAI(TO_ACTS, both, Text("Paid."), Text("Not saved.")) as model:
        conversation = Conversation(acting(services, model, tmp_path))
        conversation.turn("save a note and pay Ada")
        cards = {e["tool"]: e["approval_id"] for e in of(conversation.events, "approval_required")}
        after(conversation, lambda: decide(conversation, Approve(cards["pay"])))
        after(conversation, lambda: decide(conversation, Deny(cards["save_note"])))
        assert [effect["tool"] for effect in effects(tmp_path).all] == ["pay"]
        conversation.leave()


def test_a_failed_act_is_told_and_not_repeated(services: Make, tmp_path: Path) -> None:
    """When the vendor refuses an approved action the user hears it, and it is not tried again."""
    call = Calls([("save_note", {"text": "wrong"})])
    with FakeOpenAI(TO_ACTS, call, Text("It was refused.")) as model:
        made = acting(services, model, tmp_path)
        conversation = Conversation(made)
        approval_id = waiting(conversation)
        turn = after(conversation, lambda: decide(conversation, Approve(approval_id)))
        assert of(turn, "tool_output")[0]["ok"] is False
        assert audited(made) == [("save_note", "vendor_rejected")]
        assert effects(tmp_path).of("save_note") == ["wrong"]
        conversation.leave()


def test_an_approved_tool_that_a_deploy_took_away(services: Make, tmp_path: Path) -> None:
    """A yes to something that no longer exists ends with an explanation, not in silence."""
    with FakeOpenAI(TO_ACTS, NOTE, Text("It is not available.")) as model:
        made = acting(services, model, tmp_path)
        conversation = Conversation(made)
        approval_id = waiting(conversation)
        del made.registry._providers["save_note"]
        turn = after(conversation, lambda: decide(conversation, Approve(approval_id)))
        assert of(turn, "end_of_stream")[0]["status"] == "done"
        assert "no tool named" in str(model.requests[-1].body["input"][-1])
        assert status(made, approval_id) == "done"
        conversation.leave()


def test_an_approved_slow_act_is_a_job(services: Make, tmp_path: Path) -> None:
    """A yes to something slow streams its job, and the answer has its result."""
    call = Calls([("book_slowly", {"what": "table"})])
    with FakeOpenAI(TO_ACTS, call, Text("Booked.")) as model:
        conversation = Conversation(acting(services, model, tmp_path))
        approval_id = waiting(conversation, "book a table")
        turn = after(conversation, lambda: decide(conversation, Approve(approval_id)))
        assert [event["status"] for event in of(turn, "job")][-1] == "done"
        assert effects(tmp_path).of("book_slowly") == ["table"]
        conversation.leave()


# --- twice, at once, elsewhere -------------------------------------------------------------------


def test_a_double_yes_is_one_act(services: Make, tmp_path: Path) -> None:
    """A second click is told that it was decided already; the action happens once."""
    with FakeOpenAI(TO_ACTS, NOTE, Text("Saved.")) as model:
        conversation = Conversation(acting(services, model, tmp_path))
        approval_id = waiting(conversation)
        after(conversation, lambda: decide(conversation, Approve(approval_id)))
        for frame in (Approve(approval_id), Approve(approval_id, {"text": "x"}), Deny(approval_id)):
            with pytest.raises(Conflict):
                decide(conversation, frame)
        conversation.settled()
        assert effects(tmp_path).of("save_note") == ["milk"]
        conversation.leave()


@pytest.mark.parametrize("answer", ["Saved.", "Not saved."])
def test_yes_and_no_at_once_is_one_of_them(services: Make, tmp_path: Path, answer: str) -> None:
    """Of decisions from several devices in the same moment the first one counts, alone."""
    with FakeOpenAI(TO_ACTS, NOTE, Text(answer)) as model:
        made = acting(services, model, tmp_path)
        conversation = Conversation(made)
        approval_id = waiting(conversation)
        frames: list[Approve | Deny] = [Approve(approval_id), Deny(approval_id)] * 3
        if answer == "Not saved.":
            frames.reverse()

        async def together() -> list[Any]:
            ways = (made.turns.decide(conversation.room, frame) for frame in frames)
            return await asyncio.gather(*ways, return_exceptions=True)

        results: list[Any] = []
        turn = after(conversation, lambda: results.extend(made.loop.run(together())))
        assert [type(r) for r in results if r is not None] == [Conflict] * 5
        approved = of(turn, "approval_decided")[0]["decision"] == "approved"
        assert effects(tmp_path).of("save_note") == (["milk"] if approved else [])
        conversation.leave()


def test_two_servers_act_once(services: Make, tmp_path: Path) -> None:
    """Approved on two servers at once, with the queue delivering as well: it happens once."""
    with FakeOpenAI(TO_ACTS, NOTE, Text("Saved.")) as model:
        here = acting(services, model, tmp_path)
        conversation = Conversation(here)
        approval_id = waiting(conversation)
        there = acting(services, model, tmp_path)
        other = Conversation(there)

        def approve(each: Conversation) -> Any:
            turns = each.services.turns
            return asyncio.run_coroutine_threadsafe(
                turns.decide(each.room, Approve(approval_id)), each.services.loop.loop
            )

        def both() -> None:
            clicks = [approve(conversation), approve(other)]
            failed = [click.exception(50.0) for click in clicks]
            assert [type(err) for err in failed if err] == [Conflict]

        after(conversation, both)
        for each in (here, there):
            each.loop.run(delivered(each, approval_id))
        conversation.settled()
        assert effects(tmp_path).of("save_note") == ["milk"]
        stored = here.loop.run(here.store.query(Query(documents.turns("c1"))))
        assert len(stored) == 2
        conversation.leave()
        other.leave()


def test_a_decision_from_another_channel_is_acted_on(services: Make, tmp_path: Path) -> None:
    """A yes from a server on which nobody watches the chat is acted on, and shown here."""
    with FakeOpenAI(TO_ACTS, NOTE, Text("Saved.")) as model:
        made = acting(services, model, tmp_path)
        conversation = Conversation(made)
        approval_id = waiting(conversation)

        async def elsewhere() -> None:
            await made.approvals.decide(approval_id, "u1", approve=True)
            await made.jobs.enqueue_decision(approval_id, "u1")

        turn = after(conversation, lambda: made.loop.run(elsewhere()))
        assert text_of(turn) == "Saved."
        assert effects(tmp_path).of("save_note") == ["milk"]
        conversation.leave()


def test_a_yes_whose_socket_closes_is_acted_on(services: Make, tmp_path: Path) -> None:
    """The connection drops while a yes is being stored: what it allowed happens, once."""
    with FakeOpenAI(TO_ACTS, NOTE, Text("Saved.")) as model:
        made = acting(services, model, tmp_path)
        conversation = Conversation(made)
        approval_id = waiting(conversation)
        real, stored, answered = made.store.transact, asyncio.Event(), asyncio.Event()

        async def transact(work: Any) -> Any:
            result = await real(work)
            stored.set()
            await answered.wait()
            return result

        made.store.transact = transact  # type: ignore[method-assign]

        async def yes_and_gone() -> None:
            deciding = made.turns.decide(conversation.room, Approve(approval_id))
            task = asyncio.create_task(deciding)
            await until(stored.is_set)
            task.cancel()
            await asyncio.wait([task])
            answered.set()

        conversation.do(yes_and_gone)
        conversation.until(ends(2))
        made.loop.run(made.tasks.drain())  # type: ignore[attr-defined]
        assert text_of(conversation.settled()) == "Saved."
        assert effects(tmp_path).of("save_note") == ["milk"]
        conversation.leave()


# --- meanwhile -----------------------------------------------------------------------------------


def test_the_conversation_goes_on_while_something_waits(services: Make, tmp_path: Path) -> None:
    """Text sent meanwhile is answered, knowing that something waits; the yes still works."""
    with FakeOpenAI(TO_ACTS, NOTE, Text("It waits for you."), Text("Saved.")) as model:
        conversation = Conversation(acting(services, model, tmp_path))
        approval_id = waiting(conversation)
        between = conversation.turn("what are you waiting for?")
        assert text_of(between) == "It waits for you."
        assert "waiting_for_approval" in str(model.requests[-1].body["input"])
        after(conversation, lambda: decide(conversation, Approve(approval_id)))
        assert effects(tmp_path).of("save_note") == ["milk"]
        conversation.leave()


@pytest.mark.parametrize("how", ["regenerate", "edit"])
def test_asking_again_withdraws_what_waited(services: Make, tmp_path: Path, how: str) -> None:
    """A card of an answer that was replaced does nothing any more; the new one does."""
    with FakeOpenAI(TO_ACTS, NOTE, TO_ACTS, NOTE, Text("Saved.")) as model:
        made = acting(services, model, tmp_path)
        conversation = Conversation(made)
        old = waiting(conversation)
        turn_id = conversation.events[-1]["turn_id"]
        frame = Regenerate(turn_id) if how == "regenerate" else Edit(turn_id, "save another note")
        again = after(conversation, lambda: conversation.do(
            lambda: made.turns.ask_again(conversation.room, frame)
        ))  # fmt: skip
        with pytest.raises(Conflict):
            decide(conversation, Approve(old))
        assert effects(tmp_path).all == []
        new = approval_of(again)["approval_id"]
        after(conversation, lambda: decide(conversation, Approve(new)))
        assert effects(tmp_path).of("save_note") == ["milk"]
        conversation.leave()


def test_always_is_not_asked_again(services: Make, tmp_path: Path) -> None:
    """What is always allowed is not asked about again, after a restart as well."""
    more = Calls([("save_note", {"text": "bread"}), ("pay", {"payee": "Ada", "amount": 1})])
    with FakeOpenAI(TO_ACTS, NOTE, Text("Saved."), TO_ACTS, more) as model:
        made = acting(services, model, tmp_path)
        conversation = Conversation(made)
        always = Approve(waiting(conversation), always=True)
        after(conversation, lambda: decide(conversation, always))
        conversation.leave()
        heir = acting(services, model, tmp_path)
        later = Conversation(heir)
        events = later.turn("save another note and pay Ada")
        assert [e["tool"] for e in of(events, "approval_required")] == ["pay"]
        assert effects(tmp_path).of("save_note") == ["milk", "bread"]
        assert sorted(audited(heir)) == [("save_note", "done"), ("save_note", "done")]
        later.leave()


@pytest.mark.parametrize("url", ["https://evil.example/?q=secret", "https://cited.example/next"])
def test_a_page_cannot_send_the_assistant_elsewhere(
    services: Make, tmp_path: Path, url: str
) -> None:
    """After reading a page, an address that nobody named needs a yes; a cited one does not."""
    with FakeOpenAI(
        Calls([("read_page", {"url": "https://said.example/"})]),
        Calls([("look_up", {"topic": "x", "url": url})]),
        *([] if "evil" in url else [Text("Read.")]),
    ) as model:
        conversation = Conversation(acting(services, model, tmp_path))
        events = conversation.turn("read the page https://said.example/ and look up what it says")
        cards = [event["tool"] for event in of(events, "approval_required")]
        assert cards == (["look_up"] if "evil" in url else [])
        assert len(effects(tmp_path).of("look_up")) == ("cited" in url)
        conversation.leave()


def test_stopping_in_the_middle_of_an_act_says_that_it_may_have_happened(
    services: Make, tmp_path: Path
) -> None:
    """Stop ends the turn at once, and does not pretend that an act under way was undone."""
    held = Calls([("save_note", {"text": "held milk"})])
    with FakeOpenAI(TO_ACTS, held) as model:
        made = acting(services, model, tmp_path)
        conversation = Conversation(made)
        approval_id = waiting(conversation)
        decide(conversation, Approve(approval_id))
        conversation.until(lambda events: of(events, "tool_call"))
        wait_for(lambda: effects(tmp_path).all)
        conversation.do(lambda: made.turns.stop(conversation.room))
        events = conversation.settled()
        assert of(events, "end_of_stream")[-1]["status"] == "stopped"
        assert "may have happened" in of(events, "tool_output")[0]["summary"]
        assert status(made, approval_id) == "unknown"
        assert audited(made) == [("save_note", "unknown")]
        conversation.leave()


# --- crashes -------------------------------------------------------------------------------------


class Crash:
    """A server that dies at a point of an approved action, and the one that comes after it."""

    def __init__(self, services: Services, heir: Callable[[], Services], folder: Path) -> None:
        self.dead = Conversation(services)
        self._heir = heir
        self._folder = folder
        self.approval_id = waiting(self.dead)

    def die(self, *, before: Any = None, after: Any = None, until: Any) -> Conversation:
        """Approve, die there once `until()` holds, and come back as the next server's viewer."""
        store: Any = self.dead.services.store
        store.before, store.after = before or store.before, after or store.after
        asyncio.run_coroutine_threadsafe(
            self.dead.services.turns.decide(self.dead.room, Approve(self.approval_id)),
            self.dead.services.loop.loop,
        )
        wait_for(lambda: store.dead and until())
        bury(self.dead.services)
        watcher = self.dead.watcher
        return Conversation(self._heir(), cursor=f"{watcher.turn_id}:{watcher.seq}")

    def die_with_the_yes(self, *, down: dt.timedelta) -> Conversation:
        """Die once the yes is stored, and come back as if that had been so long ago."""
        heir, late = self._heir(), documents.now() + down
        heir.approvals._clock = lambda: late
        self._heir = lambda: heir
        return self.die(after=dies("approvals/", status="approved"), until=lambda: True)

    def told(self, heir: Conversation, ends: int) -> list[list[Event]]:
        """Return each turn as the viewer saw it across the crash, once `ends` more have ended."""
        heir.until(lambda events: len(of(events, "end_of_stream")) == ends)
        heir.settled()
        events = [e for e in [*self.dead.events, *heir.events] if e["turn_id"]]
        turns = [
            [event for event in events if event["turn_id"] == each]
            for each in dict.fromkeys(event["turn_id"] for event in events)
        ]
        for turn in turns:
            check_whole(turn)
        return turns


def crash(make: Make, model: FakeOpenAI, folder: Path) -> Crash:
    """Have an action wait on a server that will die."""
    return Crash(
        acting(make, model, folder, deliver=False), lambda: acting(make, model, folder), folder
    )


def test_death_between_the_yes_and_its_turn(services: Make, tmp_path: Path) -> None:
    """The yes is stored and the server dies: the next one does it, once."""
    with FakeOpenAI(TO_ACTS, NOTE, Text("Saved.")) as model:
        point = crash(services, model, tmp_path)
        heir = point.die(after=dies("approvals/", status="approved"), until=lambda: True)
        turns = point.told(heir, ends=1)
        assert text_of(turns[-1]) == "Saved."
        assert effects(tmp_path).of("save_note") == ["milk"]
        heir.leave()


def test_a_yes_that_nobody_acted_on_in_time_has_expired(services: Make, tmp_path: Path) -> None:
    """The yes is stored and everything is down for an hour: then it is not done, and told so."""
    with FakeOpenAI(TO_ACTS, NOTE, Text("It is too late.")) as model:
        point = crash(services, model, tmp_path)
        viewer = point.die_with_the_yes(down=ACT_WITHIN + dt.timedelta(minutes=1))
        turns = point.told(viewer, ends=1)
        decided = of(turns[-1], "approval_decided")[0]
        assert decided["decision"] == "expired"
        assert "nothing was done" in decided["reason"]
        assert text_of(turns[-1]) == "It is too late."
        assert effects(tmp_path).all == []
        assert status(viewer.services, point.approval_id) == "expired"
        with pytest.raises(Conflict):
            decide(viewer, Approve(point.approval_id))
        viewer.leave()


def test_a_yes_is_acted_on_late_where_its_turn_waited(services: Make, tmp_path: Path) -> None:
    """A yes of most of an hour ago still counts."""
    with FakeOpenAI(TO_ACTS, NOTE, Text("Saved.")) as model:
        point = crash(services, model, tmp_path)
        viewer = point.die_with_the_yes(down=ACT_WITHIN - dt.timedelta(minutes=1))
        point.told(viewer, ends=1)
        assert effects(tmp_path).of("save_note") == ["milk"]
        viewer.leave()


def test_death_before_the_claim(services: Make, tmp_path: Path) -> None:
    """The turn had begun and not acted: it is closed, taken up again, and acts once."""
    with FakeOpenAI(TO_ACTS, NOTE, Text("Saved.")) as model:
        point = crash(services, model, tmp_path)
        heir = point.die(before=dies("approvals/", status="running"), until=lambda: True)
        turns = point.told(heir, ends=2)
        assert [of(t, "end_of_stream")[0]["status"] for t in turns[1:]] == ["failed", "done"]
        assert "takes this up again" in of(turns[1], "error")[0]["message"]
        assert effects(tmp_path).of("save_note") == ["milk"]
        assert status(heir.services, point.approval_id) == "done"
        heir.leave()


@pytest.mark.parametrize(
    ("before", "after", "happened"),
    [
        (None, ("approvals/", {"status": "running"}), 0),  # claimed, nothing done
        (("audit/", {"status": "done"}), None, 1),  # done, and not yet noted
    ],
)
def test_death_between_the_claim_and_its_note(
    services: Make, tmp_path: Path, before: Any, after: Any, happened: int
) -> None:
    """Nobody knows whether it happened: the user is told to look, and it is not done again."""
    with FakeOpenAI(TO_ACTS, NOTE) as model:
        point = crash(services, model, tmp_path)
        heir = point.die(
            before=before and dies(before[0], **before[1]),
            after=after and dies(after[0], **after[1]),
            until=lambda: True,
        )
        turns = point.told(heir, ends=1)
        assert "may have happened" in of(turns[-1], "error")[0]["message"]
        assert "save_note" in of(turns[-1], "error")[0]["message"]
        assert len(effects(tmp_path).all) == happened
        assert status(heir.services, point.approval_id) == "unknown"
        with pytest.raises(Conflict):
            decide(heir, Approve(point.approval_id))
        heir.idle()
        heir.leave()


def test_death_after_the_note(services: Make, tmp_path: Path) -> None:
    """It was done and noted, and the answer was lost: the user is told that it was done."""
    with FakeOpenAI(TO_ACTS, NOTE) as model:
        point = crash(services, model, tmp_path)
        heir = point.die(after=dies("approvals/", status="done"), until=lambda: True)
        turns = point.told(heir, ends=1)
        message = of(turns[-1], "error")[0]["message"]
        assert "carried out: save_note" in message
        assert "ask again" not in message.lower()
        assert effects(tmp_path).of("save_note") == ["milk"]
        heir.leave()


def test_death_in_a_granted_act_is_told_too(services: Make, tmp_path: Path) -> None:
    """What the user always allows leaves a trace as well: its crash is not called "ask again"."""
    with FakeOpenAI(TO_ACTS, Calls([("save_note", {"text": "held milk"})])) as model:
        dead = acting(services, model, tmp_path, deliver=False)
        granted = Merge(documents.user("u1"), {"granted": ["save_note"]})
        dead.loop.run(dead.store.commit(granted))
        conversation = Conversation(dead)
        conversation.prompt("save a note")
        wait_for(lambda: effects(tmp_path).all)
        bury(dead)
        heir = Conversation(acting(services, model, tmp_path))
        wait_for(lambda: heir.room.journal and of(heir.events, "error"))
        assert "may have happened" in of(heir.settled(), "error")[0]["message"]
        effects(tmp_path).release()
        heir.leave()


def test_a_shredded_user_s_decision_ends_quietly(services: Make, tmp_path: Path) -> None:
    """The task of a decision whose user is gone does not come back for ever, and does nothing."""
    with FakeOpenAI(TO_ACTS, NOTE) as model:
        made = acting(services, model, tmp_path, deliver=False)
        conversation = Conversation(made)
        approval_id = waiting(conversation)
        conversation.leave()
        made.loop.run(made.approvals.decide(approval_id, "u1", approve=True))
        made.loop.run(made.vault.shred("u1"))
        made.loop.run(made.turns.follow_up(uid="u1", approval_id=approval_id))
        made.loop.run(made.turns.follow_up(uid="u1", approval_id="unknown"))
        assert effects(tmp_path).all == []


def test_a_decision_waits_for_the_turn_that_runs(
    services: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue keeps a decision until its turn has begun: a busy chat loses none."""
    monkeypatch.setattr("common.assistant.turns._BEGIN_SECONDS", 0.05)
    gate = Gate()
    busy = Reply(Text("one two"), gate=gate, gate_after=1)
    with FakeOpenAI(TO_ACTS, NOTE, busy, Text("Saved.")) as model:
        made = acting(services, model, tmp_path, deliver=False)
        conversation = Conversation(made)
        approval_id = waiting(conversation)
        conversation.prompt("count")
        conversation.until(lambda events: text_of(events).endswith("one"))
        made.loop.run(made.approvals.decide(approval_id, "u1", approve=True))
        for _ in range(2):
            with pytest.raises(OdaiError) as later:
                made.loop.run(made.turns.follow_up(uid="u1", approval_id=approval_id))
            assert later.value.status == 503
        gate.open()
        conversation.until(lambda events: text_of(events).endswith("Saved."))
        conversation.settled()
        made.loop.run(made.turns.follow_up(uid="u1", approval_id=approval_id))
        assert effects(tmp_path).of("save_note") == ["milk"]
        assert len(of(conversation.settled(), "turn_started")) == 3
        conversation.leave()


def test_an_approval_never_names_its_contents_in_clear(services: Make, tmp_path: Path) -> None:
    """Whoever reads the stored approvals and the audit trail without keys learns no content."""
    with FakeOpenAI(TO_ACTS, NOTE, Text("Saved.")) as model:
        made = acting(services, model, tmp_path)
        conversation = Conversation(made)
        approval_id = waiting(conversation)
        after(conversation, lambda: decide(conversation, Approve(approval_id)))
        for collection in ("approvals", "audit", "jobs"):
            found = made.loop.run(made.store.query(Query(collection)))
            assert "milk" not in str([snapshot.data for snapshot in found])
        update = Update(f"approvals/{approval_id}", {"uid": "u2"})
        made.loop.run(made.store.commit(update))
        with pytest.raises(OdaiError):
            made.loop.run(made.approvals.get(approval_id, "u2"))
        conversation.leave()


def test_an_act_is_claimed_by_one_turn_alone(services: Make, tmp_path: Path) -> None:
    """Of turns that act on one yes at once a single one may go on; without a yes none may."""
    with FakeOpenAI(TO_ACTS, NOTE) as model:
        made = acting(services, model, tmp_path, deliver=False)
        conversation = Conversation(made)
        approval_id = waiting(conversation)
        claim = made.approvals.claim
        assert not made.loop.run(claim(approval_id, "u1", "t0"))
        made.loop.run(made.approvals.decide(approval_id, "u1", approve=True))

        async def together() -> list[bool]:
            return await asyncio.gather(*(claim(approval_id, "u1", f"t{n}") for n in range(5)))

        assert sorted(made.loop.run(together())) == [False] * 4 + [True]
        assert made.loop.run(made.approvals.unfinished("c1", "u1")) == []
        with pytest.raises(NotFound):
            made.loop.run(claim(approval_id, "u2", "t9"))
        conversation.leave()
