"""Streams gather while the process is busy; nothing is lost or changed by it."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
from agents import ModelSettings, ModelTracing

from common.llm.fast import FastResponsesModel
from common.llm.pace import _MOST as MOST
from common.llm.pace import Pace
from common.llm.relay import sink
from tests.fakes.openai_responses import FakeOpenAI, Reply, Text

WORDS = " ".join(f"word{number}" for number in range(60))


class Thread:
    """A thread's clocks: `spend` lets time pass, of which it works a share."""

    def __init__(self) -> None:
        self.time = self.used = 0.0

    def spend(self, seconds: float, share: float) -> None:
        self.time += seconds
        self.used += seconds * share


def pace_of(thread: Thread) -> Pace:
    return Pace(used=lambda: thread.used, clock=lambda: thread.time)


def after(pace: Pace, thread: Thread, seconds: float, share: float) -> float:
    """Ask every 20 ms for so long, as a stream does; return the last answer."""
    for _ in range(round(seconds / 0.02)):
        thread.spend(0.02, share)
        pace.hold()
    return pace.hold()


def test_nothing_is_held_while_there_is_time_to_spare() -> None:
    """From the first delta on, and however long it goes on."""
    thread = Thread()
    pace = pace_of(thread)
    assert pace.hold() == 0.0
    assert after(pace, thread, 10.0, 0.5) == 0.0


def test_a_busy_thread_holds_longer_up_to_a_limit_and_lets_go_again() -> None:
    """Slowly up while it is busy, kept in between, down when there is time again."""
    thread = Thread()
    pace = pace_of(thread)
    after(pace, thread, 0.5, 0.95)
    some = after(pace, thread, 1.0, 0.65)
    assert 0.0 < some < MOST
    assert after(pace, thread, 2.0, 0.65) == some
    assert after(pace, thread, 10.0, 1.0) == MOST
    assert 0.0 < after(pace, thread, 0.6, 0.3) < MOST
    assert after(pace, thread, 5.0, 0.3) == 0.0


def test_a_pause_between_two_streams_is_time_to_spare() -> None:
    """Whoever comes after a rush is not held by it."""
    thread = Thread()
    pace = pace_of(thread)
    assert after(pace, thread, 10.0, 1.0) == MOST
    thread.spend(60.0, 0.0)
    assert pace.hold() == 0.0


class Told:
    """A sink that counts how often it was told something."""

    def __init__(self) -> None:
        self.times = 0
        self.texts: list[str] = []

    def delta(self, *texts: str) -> None:
        self.times += 1
        self.texts += texts

    def answered(self, response: Any) -> None:
        """It is returned as well."""


class Held(Pace):
    """Holds for so long, however busy the thread is."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def hold(self) -> float:
        return self._seconds


def told_with(seconds: float) -> tuple[Told, Any]:
    """Stream an answer of a word each 2 ms; return what was told and the whole response."""

    async def scene(base_url: str) -> tuple[Told, Any]:
        client = openai.AsyncOpenAI(base_url=base_url, api_key="k")
        model, told = FastResponsesModel("gpt-fake", client, silence_s=20.0), Told()
        model._connections.pace = Held(seconds)
        sink.set(told)
        whole = await model.get_response(
            None, "hello", ModelSettings(), [], None, [], ModelTracing.DISABLED,
            previous_response_id=None, conversation_id=None, prompt=None,
        )  # fmt: skip
        again = await model.get_response(  # its connection serves the next call
            None, "hello", ModelSettings(), [], None, [], ModelTracing.DISABLED,
            previous_response_id=None, conversation_id=None, prompt=None,
        )  # fmt: skip
        assert again.output[0].model_dump()["content"] == whole.output[0].model_dump()["content"]
        await model.close()
        await client.close()
        return told, whole

    with FakeOpenAI(default=lambda _: Reply(Text(WORDS), interval_s=0.002)) as fake:
        return asyncio.run(scene(fake.base_url))


def test_what_gathers_is_told_in_fewer_pieces_and_whole() -> None:
    """The same deltas in the same order, in fewer steps."""
    at_once, whole = told_with(0.0)
    held, the_same = told_with(0.04)
    assert "".join(held.texts) == "".join(at_once.texts) == WORDS * 2
    assert held.texts == at_once.texts
    assert held.times < at_once.times / 3
    assert held.times > 2
    assert the_same.usage == whole.usage
