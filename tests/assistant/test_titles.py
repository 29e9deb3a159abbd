"""Titles: by rule, by a model, never over the user's own, each turn looked at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.assistant.chats import ChatState
from common.assistant.titles import MAX_CHARACTERS, REFRESH_TURNS, moved, tidied, title_of
from common.bootstrap import Services
from common.documents import new_id
from common.errors import InvalidInput
from common.store import Update
from tests.assistant.conversation import Conversation, of
from tests.fakes.openai_responses import FakeOpenAI, HttpError, Text

Make = Callable[..., Services]
# On a busy machine making up examples takes its time.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Namer:
    """A model that answers prompts in words, and is asked for titles aside."""

    def __init__(self) -> None:
        self.titles: list[Any] = []  # what to answer, in order; then nothing new
        self.asked: list[dict[str, Any]] = []

    def __call__(self, body: dict[str, Any]) -> Any:
        if (body.get("text") or {}).get("format", {}).get("name") != "_Title":
            return self._thoughts(body)
        self.asked.append(json.loads(body["input"][0]["content"]))
        answer = self.titles.pop(0) if self.titles else {"moved": False, "title": ""}
        return Text(json.dumps(answer)) if isinstance(answer, dict) else answer

    def _thoughts(self, body: dict[str, Any]) -> Any:
        if (body.get("text") or {}).get("format", {}).get("name") != "_Thoughts":
            return None
        return Text(json.dumps({"suggestions": [], "missing": "", "reason": ""}))


class Named:
    """A conversation, the model that names it, and its finished turns."""

    def __init__(self, make: Make, fake: FakeOpenAI, namer: Namer) -> None:
        self.namer = namer
        self.made = make(OPENAI_BASE_URL=fake.base_url, OPENAI_API_KEY="k", ODAI_SMALL_MODEL="same")
        self.talk = Conversation(self.made)
        self.turns: list[str] = []

    def say(self, *prompts: str) -> None:
        """Have prompts answered."""
        for prompt in prompts:
            self.talk.turn(prompt)
            state = self.talk.room.state
            assert state.last
            self.turns.append(state.last.turn_id)

    def hear(self, turn: int | str = -1, **changes: Any) -> str:
        """Deliver a turn's event to the title generator."""
        turn_id = self.turns[turn] if isinstance(turn, int) else turn
        data = {"uid": "u1", "chat_id": "c1", "turn_id": turn_id, **changes}
        outcome: str = self.made.loop.run(self.made.titles.heard(data))
        return outcome

    def state(self) -> ChatState:
        """Return the chat as stored."""
        return self.made.loop.run(self.made.chats.load("c1", "u1"))


async def quiet(made: Services) -> None:
    """Wait until no ended turn is thought about, so that the model may go."""
    await made.closing.finish(timeout=50.0)


@pytest.fixture
def named(services: Make) -> Iterator[Named]:
    """Open a chat whose model answers `Yes.` and is asked for titles."""
    namer = Namer()
    with FakeOpenAI(default=Text("Yes."), aside=namer) as fake:
        opened = Named(services, fake, namer)
        yield opened
        opened.made.loop.run(quiet(opened.made))


# --- by rule --------------------------------------------------------------------------------------


@_PATIENT
@given(st.text())
def test_any_prompt_has_a_title(prompt: str) -> None:
    """A rule's title is one short line without double quotes, whatever was typed."""
    title = title_of(prompt)
    assert 0 < len(title) <= MAX_CHARACTERS + 2  # upper case of one letter may be three
    assert '"' not in title


@_PATIENT
@given(st.text())
def test_any_answer_of_a_model_is_tidied(answer: str) -> None:
    """A model's title is one printable line of the right length, or none."""
    title = tidied(answer)
    assert len(title) <= MAX_CHARACTERS
    assert title.isprintable()
    assert not set(title) & set('"“”„«»*_#`')


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ('"Weather in Boston"', "Weather in Boston"),
        ("**Trip to Paris.**", "Trip to Paris"),
        ("“Mum's birthday”", "Mum's birthday"),
        ("A title that goes on for quite a while", "A title that goes on for…"),
        ("two\nlines", "two lines"),
        ("...", ""),
        ("word " * 40, ""),
        ("", ""),
    ],
)
def test_a_model_s_title_is_cleaned(answer: str, title: str) -> None:
    """Quotes, marks and length are put right; what is no title is none."""
    assert tidied(answer) == title


def test_by_rule_the_subject_has_moved_when_no_word_is_left_of_it() -> None:
    """One common word keeps the title, none of the latest prompts sharing one changes it."""
    assert not moved("Weather in Boston", ["what about dollars", "and the weather tomorrow"])
    assert moved("Weather in Boston", ["what about dollars", "and euros"])
    assert not moved("Weather in Boston", [])


# --- with a model ---------------------------------------------------------------------------------


def test_a_chat_is_named_after_its_first_exchange_and_clients_are_told(named: Named) -> None:
    """At once there is the rule's title; soon the model's, which every open window shows."""
    named.namer.titles = [{"moved": True, "title": '"Boston trip"'}]
    named.say("can you plan a trip to Boston for me this spring please?")
    assert of(named.talk.events, "title")[0]["title"] == "Plan a trip to Boston for me…"
    assert named.hear() == "titled"
    assert named.namer.asked[0]["conversation"] == [
        {"user": "can you plan a trip to Boston for me this spring please?", "assistant": "Yes."}
    ]
    told = named.talk.until(lambda events: len(of(events, "title")) == 2)
    assert of(told, "title")[-1]["title"] == "Boston trip"
    assert named.state().title == "Boston trip"
    named.say("and then?")  # the chat goes on as if nobody had written in between
    assert of(named.talk.events, "end_of_stream")[-1]["status"] == "done"


def test_the_same_event_twice_asks_once(named: Named) -> None:
    """Pub/Sub may deliver a turn's event again: nothing is asked or changed."""
    named.namer.titles = [{"moved": True, "title": "First"}, {"moved": True, "title": "Second"}]
    named.say("hello there")
    assert [named.hear(), named.hear()] == ["titled", "kept"]
    assert len(named.namer.asked) == 1
    assert named.state().title == "First"


def test_two_deliveries_at_the_same_moment_name_the_chat_once(named: Named) -> None:
    """Of two instances that name a chat at once the first one counts."""
    named.namer.titles = [{"moved": True, "title": "First"}, {"moved": True, "title": "Second"}]
    named.say("hello there")
    data = {"uid": "u1", "chat_id": "c1", "turn_id": named.turns[0]}

    async def both() -> list[str]:
        titles = named.made.titles
        return list(await asyncio.gather(titles.heard(data), titles.heard(data)))

    assert sorted(named.made.loop.run(both())) == ["kept", "titled"]


def test_events_out_of_order_name_it_by_the_first_exchange(named: Named) -> None:
    """The third turn's event first, then the first one's, late: one title, of the first subject."""
    named.namer.titles = [{"moved": True, "title": "Subject"}]
    named.say("one", "two", "three")
    assert named.hear(2) == "titled"
    assert named.namer.asked[0]["conversation"][0]["user"] == "one"
    assert [named.hear(0), named.hear(1), named.hear(2)] == ["kept"] * 3
    assert len(named.namer.asked) == 1


def test_a_title_follows_the_subject_every_five_turns_at_most(named: Named) -> None:
    """Between two looks lie five turns; a subject that stays keeps its title."""
    named.namer.titles = [
        {"moved": True, "title": "Boston"},
        {"moved": False, "title": "Whatever"},
        {"moved": True, "title": "Exchange rates"},
    ]
    looked: list[int] = []
    for turn in range(2 * REFRESH_TURNS + 2):
        before = len(named.namer.asked)
        named.say(f"prompt {turn}")
        named.hear()
        if len(named.namer.asked) > before:
            looked.append(turn)
    assert looked == [0, REFRESH_TURNS, 2 * REFRESH_TURNS]
    assert named.namer.asked[1]["present_title"] == "Boston"
    assert named.state().title == "Exchange rates"


def test_a_user_s_own_title_stays(named: Named) -> None:
    """Who names a chat is not corrected, not even by a model that was asked before."""
    named.namer.titles = [{"moved": True, "title": "Model's"}]
    named.say("hello there")
    named.made.loop.run(named.made.chats.rename(named.state(), "Mine"))
    assert named.hear() == "kept"
    assert named.namer.asked == []

    naming = named.made.chats.retitle("c1", "u1", named.turns[0], title="Late", by="model")
    assert named.made.loop.run(naming) == "kept"  # renamed while the model thought
    named.say(*(f"more {turn}" for turn in range(REFRESH_TURNS)))
    assert named.hear() == "kept"
    assert named.namer.asked == []  # nobody is asked for a title that cannot be used
    assert named.state().title == "Mine"


@pytest.mark.parametrize(
    "answer",
    [HttpError(500), HttpError(401), Text("A title!"), Text(""), {"moved": True, "title": "***"}],
)
def test_a_model_that_fails_leaves_the_rule_s_title(named: Named, answer: Any) -> None:
    """Nonsense, nothing or 500: the title stays, the event is taken, the next turn asks again."""
    named.namer.titles = [answer] * 3
    named.say("what is a kumquat?")
    assert named.hear() == "kept"
    assert named.state().title == "Kumquat"
    named.namer.titles = [{"moved": True, "title": "Citrus fruit"}]
    named.say("and a yuzu?")
    assert named.hear() == "titled"
    assert named.state().title == "Citrus fruit"


def test_a_deleted_chat_stays_deleted(named: Named) -> None:
    """An event that comes after the deletion, or names another user, makes nothing."""
    named.say("hello there")
    assert named.hear(uid="u2") == "gone"
    assert named.made.loop.run(named.made.store.get("users/u2")) is None
    named.talk.leave()
    named.made.loop.run(named.made.turns.forget(named.state()))
    assert named.hear() == "gone"
    assert named.hear(new_id()) == "gone"
    assert named.made.loop.run(named.made.store.get("chats/c1")) is None
    assert named.namer.asked == []


def test_a_turn_that_was_forgotten_names_nothing(named: Named) -> None:
    """An event older than all that is left of the chat changes nothing."""
    named.say("hello there")
    assert named.hear("0" * 26) == "gone"


@pytest.mark.parametrize(
    "changes",
    [
        {"uid": ""}, {"uid": 3}, {"uid": "a/b"}, {"chat_id": None}, {"chat_id": "../x"},
        {"turn_id": "now"}, {"turn_id": "../../users/u1"}, {"turn_id": None},
    ],
)  # fmt: skip
def test_data_of_another_form_is_refused(named: Named, changes: dict[str, Any]) -> None:
    """What is no event of ours never reaches the store."""
    with pytest.raises(InvalidInput):
        named.hear("0" * 26, **changes)


def test_strangers_text_does_not_reach_the_namer(named: Named) -> None:
    """In a chat that has read web pages or mail, only the user's own words name it."""
    named.namer.titles = [{"moved": True, "title": "Fine"}]
    named.say("read that page")
    named.made.loop.run(named.made.store.commit(Update("chats/c1", {"tainted": True})))
    named.hear()
    assert named.namer.asked[0]["conversation"] == [{"user": "read that page", "assistant": ""}]


def test_without_a_model_the_rule_renames_when_the_subject_moves(services: Make) -> None:
    """Offline a chat about the weather that has turned to something else is called by that."""
    made = services()
    talk = Conversation(made)
    outcomes = []
    for prompt in ("hello weather friends", *["hi"] * REFRESH_TURNS):
        talk.turn(prompt)
        assert talk.room.state.last
        data = {"uid": "u1", "chat_id": "c1", "turn_id": talk.room.state.last.turn_id}
        outcomes.append(made.loop.run(made.titles.heard(data)))
    assert outcomes == ["kept"] * REFRESH_TURNS + ["titled"]
    assert made.loop.run(made.chats.load("c1", "u1")).title == "Hi"
