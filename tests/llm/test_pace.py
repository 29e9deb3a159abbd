"""Streams gather while their loop is late; nothing is lost or changed by it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import openai
import pytest
from agents import ModelSettings, ModelTracing

from common.llm.fast import FastResponsesModel
from common.llm.pace import _MOST as MOST
from common.llm.pace import Pace
from common.llm.relay import sink
from tests.fakes.openai_responses import FakeOpenAI, Reply, Text

WORDS = " ".join(f"word{number}" for number in range(60))


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose clock is the test's: it comes `late` to each of its timers."""

    def __init__(self) -> None:
        super().__init__()
        self.moment, self.late = 1000.0, 0.0
        self._due: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.moment

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        self._due.append((when, partial(callback, *args)))
        return self

    def spend(self, seconds: float) -> None:
        """Let time pass and what is due happen."""
        self.moment += seconds
        for due in [due for due in self._due if due[0] + self.late <= self.moment]:
            self._due.remove(due)
            due[1]()


@pytest.fixture
def loop() -> Iterator[Loop]:
    """The loop that runs."""
    made = Loop()
    asyncio._set_running_loop(made)
    yield made
    asyncio._set_running_loop(None)
    made.close()


def after(pace: Pace, loop: Loop, seconds: float, late: float) -> float:
    """Ask every 5 ms for so long, as streams do, on a late loop; return the last answer."""
    loop.late = late
    for _ in range(round(seconds / 0.005)):
        loop.spend(0.005)
        pace.hold()
    return pace.hold()


def test_nothing_is_held_while_the_loop_is_in_time(loop: Loop) -> None:
    """From the first delta on, and however long it goes on."""
    pace = Pace()
    assert pace.hold() == 0.0
    assert after(pace, loop, 10.0, 0.0) == 0.0


def test_a_late_loop_holds_longer_up_to_a_limit_and_lets_go_again(loop: Loop) -> None:
    """Slowly up while it is late, kept in between, down when it is in time again."""
    pace = Pace()
    some = after(pace, loop, 0.4, 0.05)
    assert 0.0 < some < MOST
    assert after(pace, loop, 2.0, 0.012) == some
    assert after(pace, loop, 5.0, 0.05) == MOST
    assert 0.0 < after(pace, loop, 0.25, 0.0) < MOST
    assert after(pace, loop, 2.0, 0.0) == 0.0


def test_one_late_moment_is_no_lateness(loop: Loop) -> None:
    """A pause of the whole machine makes nobody wait afterwards."""
    pace = Pace()
    for _ in range(5):
        assert after(pace, loop, 0.5, 0.0) == 0.0
        assert after(pace, loop, 0.15, 0.08) == 0.0


def test_who_comes_after_a_rush_is_not_held_by_it(loop: Loop) -> None:
    """Where nothing came for a while the loop had time."""
    pace = Pace()
    assert after(pace, loop, 5.0, 0.05) == MOST
    loop.spend(1.0)  # the last look
    loop.spend(60.0)
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
    """Holds for so long, however late the loop is."""

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
