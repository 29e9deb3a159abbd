"""Two processes, one chat: what is said in one is seen in the other, once and in order."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from common.bootstrap import Services
from tests.assistant.conversation import Conversation, Event
from tests.fakes.openai_responses import FakeOpenAI, Gate, Reply, Step, Text

WORDS = [f"word{n} " for n in range(150)]


def endless() -> Reply:
    """Return an answer that pauses in the middle until somebody stops it."""
    return Reply((Text("".join(WORDS), chunks=WORDS),), gate=Gate(), gate_after=20)


@pytest.fixture
def two(services: Callable[..., Services]) -> Callable[..., Any]:
    """Open one chat in two processes' services over the same data."""

    def open_both(fake: FakeOpenAI) -> tuple[Conversation, Conversation]:
        environ = {"OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEY": "key-of-a-test"}
        first, second = Conversation(services(**environ)), services(**environ)
        _ = second.turns  # made now: who comes late sees only what is said from then on
        first.prompt("one")
        first.until(_has("raw_response_event"))
        return first, Conversation(second)

    return open_both


def test_a_turn_is_followed_and_stopped_from_another_process(two: Callable[..., Any]) -> None:
    """A second device on another instance sees the answer grow, and its stop button works."""
    with FakeOpenAI(endless()) as fake:
        here, there = two(fake)
        there.until(_has("raw_response_event"))
        there.do(lambda: there.services.turns.stop(there.room))
        assert here.until(_has("end_of_stream"))[-2]["status"] == "stopped"
        there.until(_has("end_of_stream"))
    _in_step(here, there)


def test_both_processes_may_answer_in_turn(two: Callable[..., Any]) -> None:
    """A prompt typed on either device is seen on both, and the model knows what both said."""
    steps: list[Step] = [endless(), Text("second"), Text("third")]
    with FakeOpenAI(*steps) as fake:
        here, there = two(fake)
        here.do(lambda: here.services.turns.stop(here.room))
        there.until(_has("end_of_stream"))
        there.prompt("two")
        here.until(_answered("second"))
        here.prompt("three")
        there.until(_answered("third"))
        here.until(_answered("third"))
        asked = fake.requests[-1].body["input"]
    prompts = [item["content"] for item in asked if item.get("role") == "user"]
    assert prompts == ["one", "two", "three"]
    _in_step(here, there)


def _has(kind: str) -> Callable[[list[Event]], bool]:
    return lambda events: any(event["type"] == kind for event in events)


def _answered(text: str) -> Callable[[list[Event]], bool]:
    return lambda events: any(event.get("response") == text for event in events)


def _in_step(*talks: Conversation) -> None:
    """Nothing is lost, repeated or out of order, in either process."""
    for talk in talks:
        numbered = [event for event in talk.events if event["turn_id"]]
        for before, after in pairwise(numbered):
            first = after.get("from_seq", after["seq"])
            if before["turn_id"] == after["turn_id"]:
                assert first == before["seq"] + 1
            else:
                assert (first, after["turn_id"] > before["turn_id"]) == (1, True)
