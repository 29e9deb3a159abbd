"""Suggested prompts: what may be shown, when they come, and when they do not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.assistant.protocol import Cursor
from common.assistant.suggestions import MAX_CHARACTERS, MOST, Idea, chosen, offered, suggest
from common.bootstrap import Services
from common.oauth.flow import Profile, Tokens
from common.store import Update
from common.tools import Registry
from tests.assistant.conversation import Conversation, check_turn, of
from tests.fakes.openai_responses import Calls, FakeOpenAI, Gate, HttpError, Reply, Text
from tests.fakes.recording_store import RecordingStore
from tests.fakes.vendors import Vendors

Make = Callable[..., Services]
RATE = ("get_exchange_rate_for_currency_pair", {"from_currency": "EUR", "to_currency": "USD"})
TOOL = RATE[0]
# On a busy machine making up examples takes its time.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def thoughts(*ideas: tuple[str, str, float], missing: str = "", reason: str = "") -> Text:
    """Return what a model would fill in."""
    listed = [{"prompt": p, "tool": t, "likelihood": n} for p, t, n in ideas]
    return Text(json.dumps({"suggestions": listed, "missing": missing, "reason": reason}))


class Thinker:
    """Answers what is asked aside, and keeps what it was told."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.told: list[dict[str, Any]] = []

    def __call__(self, body: dict[str, Any]) -> Any:
        if (body.get("text") or {}).get("format", {}).get("name") != "_Thoughts":
            return None
        self.told.append(json.loads(body["input"][0]["content"]))
        return self.answers.pop(0) if self.answers else thoughts()


class Suggesting:
    """A conversation whose model is asked for suggestions."""

    def __init__(self, make: Make, fake: FakeOpenAI, vendors: Vendors, thinker: Thinker) -> None:
        self.fake, self.thinker, self.make = fake, thinker, make
        self.environ = {
            "OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEY": "k", "ODAI_SMALL_MODEL": "same",
            "ODAI_EGRESS_MAP": vendors.egress_map,
        }  # fmt: skip
        self.made = make(**self.environ)
        self.talk = Conversation(self.made)

    def ask(self, prompt: str = "convert a euro to dollars") -> None:
        """Have a prompt answered by a tool."""
        self.fake.then(Calls([RATE]), Text("A euro is 1.08 dollars."))
        self.talk.turn(prompt)

    def shown(self) -> list[dict[str, Any]]:
        """Wait for suggestions and return them."""
        events = self.talk.until_type("suggested_prompts")
        prompts: list[dict[str, Any]] = of(events, "suggested_prompts")[-1]["prompts"]
        return prompts

    def quiet(self) -> None:
        """Wait until nothing is thought about any more."""

        self.made.loop.run(_over(self.made))


@pytest.fixture
def suggesting(services: Make) -> Iterator[Suggesting]:
    """Open a chat."""
    thinker = Thinker()
    with Vendors() as vendors, FakeOpenAI(aside=thinker) as fake:
        opened = Suggesting(services, fake, vendors, thinker)
        yield opened
        opened.quiet()


# --- what may be shown ----------------------------------------------------------------------------

IDEAS = st.builds(
    Idea, prompt=st.text(max_size=60), tool=st.sampled_from(["a", "b", "other"]),
    likelihood=st.floats(),
)  # fmt: skip


@_PATIENT
@given(st.lists(IDEAS), st.lists(st.text(max_size=40)))
def test_whatever_a_model_proposes_what_is_shown_fits(ideas: list[Idea], asked: list[str]) -> None:
    """Three at most, short, printable, of a tool that is on, never asked, each once, best first."""
    shown = chosen(ideas, tools={"a": "", "b": ""}, asked=asked)
    prompts = [each.prompt for each in shown]
    assert len(shown) <= MOST
    assert len({prompt.casefold().rstrip("?.! ") for prompt in prompts}) == len(prompts)
    assert all(0 < len(prompt) <= MAX_CHARACTERS and prompt.isprintable() for prompt in prompts)
    assert {prompt.casefold() for prompt in prompts}.isdisjoint(p.casefold() for p in asked)
    likelihoods = [each.likelihood for each in shown]
    assert likelihoods == sorted(likelihoods, reverse=True)
    assert all(0 <= likelihood <= 1 for likelihood in likelihoods)


def test_ideas_are_filtered() -> None:
    """Too long, asked before, for a tool that is off, or twice the same: not shown."""
    ideas = [
        Idea("What about pounds?", "a", 0.5),
        Idea("what about pounds", "a", 0.4),
        Idea("Convert a euro to dollars?", "a", 0.9),
        Idea("Read my mail", "off", 0.9),
        Idea("x" * (MAX_CHARACTERS + 1), "a", 0.9),
        Idea('"And yen?"', "a", 7.0),
    ]
    shown = chosen(ideas, tools={"a": ""}, asked=["convert a euro to dollars"])
    assert [(each.prompt, each.likelihood) for each in shown] == [
        ("And yen?", 1.0), ("What about pounds?", 0.5)
    ]  # fmt: skip


def test_examples_are_suggested_without_a_model() -> None:
    """Offline, the used connectors' own examples are suggested, none that was asked before."""
    entry = Registry.discover().entries["frankfurter"]
    short = [e for e in entry.connector.examples if len(e) <= MAX_CHARACTERS]
    assert [s.prompt for s in suggest([entry], asked=[])] == short[:MOST]
    assert short[0] not in [s.prompt for s in suggest([entry], asked=[short[0].upper()])]


# --- when they come -------------------------------------------------------------------------------


def test_suggestions_come_behind_the_end_as_the_turn_s_last_event(suggesting: Suggesting) -> None:
    """The answer ends first; what a model proposes follows with the next number, and is kept."""
    gate = Gate()
    pounds = ("And in pounds?", TOOL, 0.8)
    suggesting.thinker.answers = [Reply((thoughts(pounds),), gate=gate)]
    suggesting.ask()
    before = suggesting.talk.events
    assert of(before, "end_of_stream")  # although the model is still thinking
    assert not of(before, "suggested_prompts")
    gate.open()
    assert suggesting.shown() == [{"prompt": "And in pounds?", "likelihood": 0.8}]
    check_turn([e for e in suggesting.talk.events if e["type"] != "hello"])

    suggesting.talk.leave()
    suggesting.quiet()
    end = of(before, "end_of_stream")[0]
    again = Conversation(suggesting.make(**suggesting.environ), f"{end['turn_id']}:{end['seq']}")
    missed = again.until_type("suggested_prompts")
    assert of(missed, "suggested_prompts") == of(suggesting.talk.events, "suggested_prompts")
    assert missed[0]["cursor"] == str(Cursor(end["turn_id"], end["seq"] + 2))  # after the title


def test_nothing_is_read_or_stored_for_suggestions_before_the_end(suggesting: Suggesting) -> None:
    """Up to the end of its answer a turn does the same with a model behind it and without."""
    suggesting.fake.then(Text("Hello."))
    suggesting.talk.turn("hello")  # what comes first of a day, a chat and a user lies behind
    suggesting.quiet()
    off, on = (_spent_until_the_end(suggesting, model) for model in ("off", "same"))
    assert off == on
    assert suggesting.thinker.told[1]["prompt"] == "hi"  # it was asked, and only then


def _spent_until_the_end(suggesting: Suggesting, small_model: str) -> tuple[int, int]:
    """Return the reads and commits between a prompt and its end."""
    made = suggesting.make(**{**suggesting.environ, "ODAI_SMALL_MODEL": small_model})
    made.store = store = RecordingStore(made.store)  # type: ignore[misc]
    suggesting.fake.then(Text("Hello."))
    talk = Conversation(made)
    counted: list[tuple[int, int]] = []
    show = talk.watcher.show

    def count_and_show(payload: bytes) -> None:
        if b'"type":"end_of_stream"' in payload:
            counted.append((store.counted.reads, store.counted.commits))
        show(payload)

    talk.watcher.show = count_and_show  # type: ignore[method-assign]
    reads, commits = store.counted.reads, store.counted.commits
    talk.turn("hi")
    talk.until(lambda _: counted)
    if small_model != "off":
        made.loop.run(_over(made))
    talk.leave()
    return counted[0][0] - reads, counted[0][1] - commits


def test_the_model_is_told_of_tools_that_are_on_and_of_what_was_asked(
    suggesting: Suggesting,
) -> None:
    """It sees the exchange, the earlier prompts and the tools within reach, and no others."""
    suggesting.ask()
    suggesting.quiet()
    (told,) = suggesting.thinker.told
    assert told["prompt"] == "convert a euro to dollars"
    assert told["answer"] == "A euro is 1.08 dollars."
    assert told["already_asked"] == ["convert a euro to dollars"]
    assert TOOL in told["tools"]
    assert not [tool for tool in told["tools"] if "mail" in tool]


@pytest.mark.parametrize(
    "answer", [HttpError(500), Text("nonsense"), Text(""), thoughts(("Read my mail", "gone", 1.0))]
)
def test_a_model_that_fails_leaves_the_examples(suggesting: Suggesting, answer: Any) -> None:
    """Nonsense, nothing or 500: the used connectors' example prompts are suggested instead."""
    suggesting.thinker.answers = [answer] * 3
    suggesting.ask()
    entry = suggesting.made.registry.entries["frankfurter"]
    expected = [s.prompt for s in suggest([entry], asked=["convert a euro to dollars"])]
    assert [each["prompt"] for each in suggesting.shown()] == expected


def test_whoever_types_first_is_not_interrupted(suggesting: Suggesting) -> None:
    """A prompt typed while the model thinks takes the suggestions away, and their request."""
    gate = Gate()
    late = Reply((thoughts(("And in pounds?", TOOL, 0.8)),), gate=gate)
    suggesting.thinker.answers = [late, thoughts(("And in yen?", TOOL, 0.7))]
    suggesting.ask()
    assert gate.reached.wait(50)
    suggesting.ask("and once more")
    assert [each["prompt"] for each in suggesting.shown()] == ["And in yen?"]
    given_up = next(r for r in suggesting.fake.requests if "text" in r.body)
    assert given_up.finished.wait(50)  # long before its own time limit
    assert given_up.outcome == "client_gone"
    gate.open()
    suggesting.quiet()
    assert len(of(suggesting.talk.events, "suggested_prompts")) == 1
    first, second = of(suggesting.talk.events, "end_of_stream")
    assert of(suggesting.talk.events, "suggested_prompts")[0]["turn_id"] == second["turn_id"]
    assert first["turn_id"] != second["turn_id"]


def test_a_chat_that_moved_on_elsewhere_gets_no_late_suggestions(suggesting: Suggesting) -> None:
    """While the model thinks, another device's prompt is answered by another process: too late."""
    gate = Gate()
    suggesting.thinker.answers = [Reply((thoughts(("And in pounds?", TOOL, 0.8)),), gate=gate)]
    suggesting.ask()
    assert gate.reached.wait(50)
    there = Conversation(suggesting.make(**suggesting.environ))
    suggesting.fake.then(Text("Hello."))
    there.turn("hi")
    gate.open()
    suggesting.quiet()
    stored = suggesting.made.loop.run(_stored(suggesting.made))
    assert sum("And in pounds" in event for event in stored) == 0


def test_a_title_given_meanwhile_does_not_cost_the_suggestions(suggesting: Suggesting) -> None:
    """Two things that happen behind a turn's end do not get into each other's way."""
    gate = Gate()
    suggesting.thinker.answers = [Reply((thoughts(("And in pounds?", TOOL, 0.8)),), gate=gate)]
    suggesting.ask()
    assert gate.reached.wait(50)
    made = suggesting.made
    state = made.loop.run(made.chats.load("c1", "u1"))
    made.loop.run(made.chats.rename(state, "Money"))
    gate.open()
    assert [each["prompt"] for each in suggesting.shown()] == ["And in pounds?"]
    suggesting.ask("and now?")
    assert of(suggesting.talk.events, "end_of_stream")[-1]["status"] == "done"


def test_a_chat_deleted_meanwhile_stays_deleted(suggesting: Suggesting) -> None:
    """Deleting a chat gives up what is thought about it, and nothing comes back."""
    gate = Gate()
    suggesting.thinker.answers = [Reply((thoughts(("And in pounds?", TOOL, 0.8)),), gate=gate)]
    suggesting.ask()
    assert gate.reached.wait(50)
    made = suggesting.made
    made.loop.run(made.turns.forget(made.loop.run(made.chats.load("c1", "u1"))))
    gate.open()
    suggesting.quiet()
    assert made.loop.run(made.store.get("chats/c1")) is None
    assert made.loop.run(_stored(made)) == []


def test_what_strangers_wrote_does_not_choose_what_is_suggested(suggesting: Suggesting) -> None:
    """In a chat that has read a page or mail, the model sees no answers when it proposes."""
    suggesting.ask()
    suggesting.quiet()
    made = suggesting.made
    made.loop.run(made.store.commit(Update("chats/c1", {"tainted": True})))
    suggesting.talk.leave()
    suggesting.talk = Conversation(suggesting.make(**suggesting.environ))
    suggesting.ask("once more")
    suggesting.talk.until(lambda _: len(suggesting.thinker.told) == 2 or None)
    assert suggesting.thinker.told[1]["answer"] == ""


# --- which connectors are on ----------------------------------------------------------------------


def test_an_account_s_connector_is_on_once_the_account_is_linked(services: Make) -> None:
    """Mail is suggested to those who have connected it with the permission it needs."""
    made = services(GOOGLE_CLIENT_ID="id", GOOGLE_CLIENT_SECRET="s")
    registry, reach = made.registry, made.closing._reach
    entries = [registry.entries[slug] for slug in ("gmail", "frankfurter", "plaid_connector")]

    def on(uid: str) -> list[str]:
        return [entry.slug for entry in made.loop.run(reach.within(uid, entries))]

    assert on("u1") == ["frankfurter"]
    scopes = registry.entries["gmail"].connector.scopes
    for uid, granted in (("u2", ()), ("u3", scopes)):
        tokens = Tokens(access="a", refresh="r", scopes=tuple(granted), expires_at=made.clock())
        made.loop.run(made.linked.link(uid, "google", Profile(uid, uid), tokens))
    assert on("u2") == ["frankfurter"]
    assert on("u3") == ["gmail", "frankfurter"]
    assert TOOL in offered([registry.entries["frankfurter"]])


async def _over(made: Services) -> None:
    await made.closing.finish(timeout=50.0)


async def _stored(made: Services) -> list[str]:
    state = await made.chats.load("c1", "u1")
    turns = await made.chats.turns_after(state, "0")
    return [
        event.decode() for turn in turns for event in (await made.chats.told(state, turn.id))[0]
    ]
