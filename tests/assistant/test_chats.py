"""Chats as stored: what a turn costs, who owns it, and that none of it can be read in the file."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common import documents
from common.assistant.chats import LEASE_SECONDS, ChatBusy, Chats, DuplicatePrompt, TurnRecord
from common.assistant.journal import Chunk, Deltas, encode_entries
from common.assistant.protocol import Regenerate
from common.assistant.room import Room
from common.bootstrap import Services
from common.documents import new_id
from common.errors import Conflict, NotFound, VendorUnavailable
from common.store import Store, Update
from tests.assistant.conversation import (
    Conversation,
    check_costs,
    check_turn,
    numbers,
    of,
    text_of,
)
from tests.fakes.openai_responses import FakeOpenAI, Gate, Reply, Text

Make = Callable[..., Services]
Talk = Callable[..., Conversation]
USER = {"role": "user", "content": "hello"}


class Unsure:
    """A store whose next commit arrives and is reported lost, as a torn connection would."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.unsure = 0
        self.away = 0
        self.refusals = threading.Semaphore(0)

    async def commit(self, *writes: Any) -> list[str]:
        if self.away:
            self.away -= 1
            self.refusals.release()
            raise VendorUnavailable("The store is away.")
        versions = await self.inner.commit(*writes)
        if self.unsure:
            self.unsure -= 1
            raise VendorUnavailable("The connection was lost.")
        return versions

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def record(chats: Chats, prompt: str = "hello", **changed: Any) -> TurnRecord:
    moment = documents.now()
    values = {
        "id": new_id(),
        "prompt": prompt,
        "prompt_id": "",
        "started_at": moment,
        "status": "running",
        "owner": chats.instance,
        "lease_until": moment + dt.timedelta(seconds=LEASE_SECONDS),
    }
    return TurnRecord(**{**values, **changed})


def chunk(number: int, first: int, text: str = "word") -> Chunk:
    return Chunk(number, first, first, encode_entries([Deltas(first, "ODAI", [text])]))


# --- what a turn costs ---------------------------------------------------------------------------


def test_a_plain_turn_costs_two_reads_and_three_commits_at_most(services: Make) -> None:
    """Asking and being answered stays within the bill the design promises, every time."""
    with FakeOpenAI(Text("One."), Text("Two."), Text("Three.")) as fake:
        check_costs(services(OPENAI_BASE_URL=fake.base_url, OPENAI_API_KEY="k"))


def test_nothing_said_can_be_read_in_the_file(services: Make, tmp_path: Path) -> None:
    """Somebody who steals the database file finds no prompt, answer or title in it."""
    with FakeOpenAI(Text("The answer is marzipan.")) as fake:
        made = services(OPENAI_BASE_URL=fake.base_url, OPENAI_API_KEY="k")
        talk = Conversation(made)
        talk.turn("Tell my secret word: xylophone-juggler")
        talk.leave()
    stored = b"".join(
        path.read_bytes() for path in (tmp_path / "data").iterdir() if "sqlite" in path.name
    )
    assert b"users/u1" in stored or b"u1" in stored  # it is the right file
    for secret in (b"xylophone", b"juggler", b"marzipan", b"secret word"):
        assert secret not in stored


# --- who owns a turn -----------------------------------------------------------------------------


def test_the_same_prompt_twice_is_one_turn(services: Make) -> None:
    """A client that sends a prompt again after a lost connection is answered once."""
    made = services()
    chats, run = made.chats, made.loop.run
    state = run(chats.load("c1", "u1"))
    first = record(chats, prompt_id="p1")
    run(chats.begin(state, first, USER, chunk(1, 1)))
    run(chats.end(state, first.id, items=[USER], chunk=chunk(2, 2), status="done", usage={}))
    again = run(chats.load("c1", "u1"))
    with pytest.raises(DuplicatePrompt):
        run(chats.begin(again, record(chats, prompt_id="p1"), USER, chunk(1, 1)))
    assert again.running is None


def test_a_chat_that_answers_elsewhere_is_busy(services: Make) -> None:
    """Two servers never answer in one chat at once: the second is told so."""
    one, other = services().chats, services().chats
    run = services().loop.run

    async def scene() -> None:
        mine = await one.load("c1", "u1")
        theirs = await other.load("c1", "u1")
        await one.begin(mine, record(one), USER, chunk(1, 1))
        with pytest.raises(ChatBusy):
            await other.begin(theirs, record(other), USER, chunk(1, 1))
        assert theirs.running == mine.running

    run(scene())


def test_of_two_owners_the_second_to_write_a_piece_stops(services: Make) -> None:
    """A server that lost its turn without noticing cannot write into it any more."""
    one, other = services().chats, services().chats

    async def scene() -> None:
        mine = await one.load("c1", "u1")
        turn = record(one)
        await one.begin(mine, turn, USER, chunk(1, 1))
        theirs = await other.load("c1", "u1")
        await other.end(theirs, turn.id, items=[USER], chunk=chunk(2, 2), status="failed", usage={})
        with pytest.raises(Conflict):
            await one.store_chunk(mine, turn.id, chunk(2, 2))
        with pytest.raises(Conflict):
            await one.end(mine, turn.id, items=[], chunk=chunk(2, 3), status="done", usage={})
        stored = await other.turn(theirs, turn.id)
        assert stored.status == "failed"

    services().loop.run(scene())


@pytest.mark.parametrize("step", ["begin", "chunk", "end"])
def test_a_commit_that_arrived_unheard_counts_once(services: Make, step: str) -> None:
    """A connection torn just after a commit neither repeats nor loses anything."""
    made = services()
    made.store = Unsure(made.store)  # type: ignore[misc]
    chats, run = made.chats, made.loop.run

    async def twice(act: Callable[[], Any], *, unsure: bool) -> None:
        if unsure:
            made.store.unsure = 1
            with pytest.raises(VendorUnavailable):
                await act()
        await act()

    async def scene() -> None:
        state = await chats.load("c1", "u1")
        turn = record(chats, prompt_id="p1")
        await twice(lambda: chats.begin(state, turn, USER, chunk(1, 1)), unsure=step == "begin")
        assert state.running == turn.id
        assert [pair[0] for pair in state.history] == [turn.id]
        await twice(lambda: chats.store_chunk(state, turn.id, chunk(2, 2)), unsure=step == "chunk")
        await twice(
            lambda: chats.end(
                state, turn.id, items=[USER], chunk=chunk(3, 3), status="done", usage={}
            ),
            unsure=step == "end",
        )
        fresh = await chats.load("c1", "u1")
        assert fresh.running is None
        assert fresh.version == state.version
        entries, count = await chats.entries(fresh, turn.id)
        assert [e.first for e in entries] == [1, 2, 3]
        assert count == 3

    run(scene())


def test_what_another_server_answered_is_part_of_the_conversation(services: Make) -> None:
    """A chat that was open here while another server answered knows that answer afterwards."""
    one, other = services().chats, services().chats
    answer = {"role": "assistant", "content": "forty-two"}

    async def scene() -> None:
        mine = await one.load("c1", "u1")
        turn = record(one)
        await one.begin(mine, turn, USER, chunk(1, 1))
        theirs = await other.load("c1", "u1")
        await one.end(
            mine, turn.id, items=[USER, answer], chunk=chunk(2, 2), status="done", usage={}
        )
        await other.refresh(theirs)
        assert theirs.input_items() == [USER, answer]

    services().loop.run(scene())


def test_news_that_was_read_before_it_was_heard_is_still_news(services: Make) -> None:
    """Whoever reads the chat between a change and word of it does not hide it from viewers."""
    both = services(), services()
    chats, there = (each.chats for each in both)

    async def scene() -> None:
        state = await chats.load("c1", "u1")
        begun = record(chats)
        await chats.begin(state, begun, USER, chunk(1, 1))
        following = await there.load("c1", "u1")
        following.heard = following.running, following.last
        await chats.end(state, begun.id, items=[USER], chunk=chunk(2, 2), status="done", usage={})
        await there.refresh(following)  # as the next turn does, or the watch over a lease
        stored = await both[1].store.get(documents.chat("c1"))
        assert stored is not None
        assert there.take_in(following, stored.data)
        assert not there.take_in(following, stored.data)  # once

    both[0].loop.run(scene())


def test_another_users_chat_is_not_there(services: Make) -> None:
    """Whether a chat of somebody else exists cannot be found out."""
    made = services()

    async def scene() -> None:
        state = await made.chats.load("c1", "u1")
        await made.chats.begin(state, record(made.chats), USER, chunk(1, 1))
        with pytest.raises(NotFound):
            await made.chats.load("c1", "u2")

    made.loop.run(scene())


def test_a_page_is_full_though_turns_were_answered_again(talk: Talk) -> None:
    """Scrolling back reaches the oldest turn, however often later ones were regenerated."""
    conversation = talk(*(Text(f"Answer {n}.") for n in range(6)))
    first, second = (conversation.turn(text)[0]["turn_id"] for text in ("one", "two"))
    for _ in range(4):
        turns = conversation.services.turns
        again = second
        conversation.do(lambda: turns.ask_again(conversation.room, Regenerate(again)))  # noqa: B023
        second = conversation.settled()[-1]["turn_id"]
    chats, state = conversation.services.chats, conversation.room.state
    page = conversation.do(lambda: chats.page(state, before=None, limit=2))
    assert [turn.id for turn in page] == [first, second]
    assert [t.id for t in conversation.do(lambda: chats.page(state, before=second, limit=2))] == [
        first
    ]


def test_editing_an_early_message_forgets_all_that_followed(services: Make) -> None:
    """However long the chat has become, none of it is shown or told the model any more."""
    made = services()

    async def edited() -> tuple[list[str], list[Any]]:
        chats = made.chats
        state = await chats.load("c1", "u1")

        async def turn(prompt: str, replaces: str | None = None) -> str:
            last = state.last.turn_id if state.last else ""
            begun, item = record(chats, prompt, id=new_id(after=last)), {**USER, "content": prompt}
            await chats.begin(state, begun, item, chunk(1, 1), replaces=replaces)
            await chats.end(
                state, begun.id, items=[item], chunk=chunk(2, 2), status="done", usage={}
            )
            return begun.id

        first = await turn("first")
        for n in range(201):  # more than one page of turns
            await turn(f"later {n}")
        await turn("edited", replaces=first)
        fresh = await chats.load("c1", "u1")
        page = await chats.page(fresh, before=None, limit=50)
        return [each.prompt for each in page], fresh.input_items()

    assert made.loop.run(edited()) == (["edited"], [{**USER, "content": "edited"}])


# --- what a crash leaves -------------------------------------------------------------------------


async def lease_runs_out(services: Services, room: Room) -> str:
    """Let the running turn's lease be over, as 30 seconds after a crash."""
    turn_id = room.state.running
    assert turn_id is not None
    past = documents.now() - dt.timedelta(seconds=1)
    await services.store.commit(
        Update(f"{documents.turns(room.state.id)}/{turn_id}", {"lease_until": past})
    )
    return turn_id


def test_a_turn_whose_server_died_is_closed_by_the_next(services: Make) -> None:
    """After a crash the client sees a retryable error and the end of the turn, nothing twice."""
    gate = Gate()
    with FakeOpenAI(
        Reply(Text("one two three four"), gate=gate, gate_after=2), Text("Again.")
    ) as fake:
        environ = {"OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEY": "k"}
        dead, heir = services(**environ), services(**environ)
        before = Conversation(dead)
        before.prompt("count")
        before.until(lambda events: text_of(events) == "one two")
        turn_id = dead.loop.run(lease_runs_out(dead, before.room))
        journal = before.room.journal
        assert journal is not None
        dead.loop.run(journal.flush())

        after = Conversation(heir, cursor=f"{turn_id}:1")
        seen = after.until_type("end_of_stream")
        closed = [event for event in seen if event["turn_id"] == turn_id]
        (error,), (end,) = of(closed, "error"), of(closed, "end_of_stream")
        assert error["retryable"] is True
        assert end["status"] == "failed"
        assert end == closed[-1]
        assert text_of(closed) == "one two"
        assert numbers(closed) == list(range(2, end["seq"] + 1))
        assert error["from_seq"] == 4 < error["seq"]
        told = after.turn("and now?")
        check_turn(told)
        history = fake.requests[-1].body["input"]
        assert {"role": "assistant", "content": "one two"} in history
        after.leave()
        gate.open()
        before.idle()
        before.leave()


def test_a_turn_that_runs_elsewhere_is_waited_for(services: Make) -> None:
    """A prompt sent to a second server is answered after the first one's answer, not beside it."""
    gate = Gate()
    with FakeOpenAI(Reply(Text("one two"), gate=gate, gate_after=1), Text("second")) as fake:
        environ = {"OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEY": "k"}
        here, there = Conversation(services(**environ)), None
        here.prompt("first")
        here.until(lambda events: text_of(events) == "one")
        there = Conversation(services(**environ))
        there.prompt("second")
        assert there.room.turn is None or len(fake.requests) == 1
        gate.open()
        here.settled()
        told = there.settled()
        assert len(fake.requests) == 2
        check_turn([e for e in told if e["turn_id"] == told[-1]["turn_id"]])
        roles = [item.get("role") for item in fake.requests[1].body["input"]]
        assert roles == ["user", "assistant", "user"]
        here.leave()
        there.leave()


def test_a_turn_ends_though_the_store_was_away_at_its_end(services: Make) -> None:
    """A store that is away for a moment delays the end of an answer; it does not lose it."""
    gate = Gate()
    with FakeOpenAI(Reply(Text("one two"), gate=gate, gate_after=1), Text("more")) as fake:
        made = services(OPENAI_BASE_URL=fake.base_url, OPENAI_API_KEY="k")
        made.store = Unsure(made.store)  # type: ignore[misc]
        talk = Conversation(made)
        talk.prompt("hi")
        talk.until(lambda events: text_of(events) == "one")
        made.store.away = 9
        for _ in range(4):  # a piece of the journal is given up for now
            assert made.store.refusals.acquire(timeout=50)
        gate.open()
        told = [event for event in talk.settled() if event["turn_id"]]
        check_turn(told)
        assert of(told, "end_of_stream")[0]["status"] == "done"
        check_turn(talk.turn("again"))
        talk.leave()
