"""Budgets: nobody spends more than the cap, whatever runs side by side, and nothing stays held."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.assistant.budgets import HOLD_SECONDS, Budgets, Caps, Hold, Tab
from common.assistant.protocol import Prompt
from common.assistant.usage import Prices, Spent, Tokens
from common.bootstrap import Services
from common.errors import BudgetExceeded, Conflict, Misconfigured
from common.store.sqlite import SqliteStore
from tests.assistant.conversation import Conversation, check_costs, check_turn, of, text_of
from tests.fakes.openai_responses import Calls, FakeOpenAI, Gate, Reply, Text, Usage
from tests.fakes.vendors import Vendors

Make = Callable[..., Services]
# A dollar a token: what a run spends is easy to count.
PRICES = Prices.parse("m=1/1/1")
NOON = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
RATE = ("get_exchange_rate_for_currency_pair", {"from_currency": "EUR", "to_currency": "USD"})


def spent_of(micros: int) -> Spent:
    spent = Spent()
    spent.add("m", Tokens(1, micros))
    return spent


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> dt.datetime:
        return self.now


def budgets(store: Any, clock: Callable[[], dt.datetime], **caps: int) -> Budgets:
    return Budgets(store, PRICES, model="m", caps=Caps(**caps), clock=clock)


async def held(mine: Budgets, hold: Hold) -> bool:
    """Hold, as a turn does: again after a conflict; False where the budget does not allow it."""
    while True:
        try:
            await mine.hold(hold)
            return True
        except BudgetExceeded:
            return False
        except Conflict:
            await asyncio.sleep(0)


@given(
    cap=st.integers(50, 2000),
    runs=st.lists(st.integers(1, 100), min_size=50, max_size=50),
    seed=st.integers(0, 9999),
)
@settings(max_examples=8, deadline=None)
def test_fifty_runs_at_once_stay_within_the_cap(cap: int, runs: list[int], seed: int) -> None:
    """What is spent and set aside is never more than the cap, in two processes at the same time."""
    chance = random.Random(seed)

    async def play(folder: str) -> tuple[int, int]:
        store = SqliteStore.open(Path(folder) / "store.sqlite")
        processes = [budgets(store, Clock(), hard=cap) for _ in range(2)]
        spent, refused, most = 0, 0, 0

        async def run(number: int, micros: int) -> None:
            nonlocal spent, refused, most
            mine = processes[number % 2]
            hold = mine.plan("u1", "UTC", f"r{number}", micros)
            if not await held(mine, hold):
                refused += 1
                return
            found = await store.get(hold.path)
            assert found is not None
            aside = sum(each["micros"] for each in found.data["held"].values())
            most = max(most, found.data["cost"] + aside)
            await asyncio.sleep(0)
            actual = chance.randint(0, micros)
            spent += actual
            await mine.settle(hold, spent_of(actual))

        await asyncio.gather(*(run(n, micros) for n, micros in enumerate(runs)))
        found = await store.get(processes[0].plan("u1", "UTC", "x", 1).path)
        assert found is not None
        assert found.data["held"] == {}
        assert found.data["cost"] == spent <= cap
        assert most <= cap
        await store.close()
        return refused, spent

    with tempfile.TemporaryDirectory() as folder:
        refused, spent = asyncio.run(play(folder))
    if sum(runs) <= cap:
        assert refused == 0
    if refused:
        assert spent <= cap < sum(runs)


def test_what_a_dead_run_held_comes_back(services: Make) -> None:
    """After a crash the money is stuck for a minute and a half, and no longer."""
    made, clock = services(), Clock()
    dead, living = (budgets(made.store, clock, hard=100) for _ in range(2))
    run = made.loop.run
    assert run(held(dead, dead.plan("u1", "UTC", "r1", 80)))
    assert not run(held(living, living.plan("u1", "UTC", "r2", 80)))
    clock.now += dt.timedelta(seconds=HOLD_SECONDS + 1)
    hold = living.plan("u1", "UTC", "r2", 80)
    assert run(held(living, hold))
    found = run(made.store.get(hold.path))
    assert found is not None and list(found.data["held"]) == ["r2"]


def test_a_long_run_keeps_what_it_holds(services: Make) -> None:
    """A run that prolongs its hold is not overtaken by others."""
    made, clock = services(), Clock()
    mine, other = (budgets(made.store, clock, hard=100) for _ in range(2))
    run = made.loop.run
    hold = mine.plan("u1", "UTC", "r1", 80)
    assert run(held(mine, hold))
    for _ in range(5):
        clock.now += dt.timedelta(seconds=HOLD_SECONDS / 2)
        run(made.store.commit(*mine.prolonged(hold)))
    assert not run(held(other, other.plan("u1", "UTC", "r2", 80)))


def test_a_run_over_midnight_is_the_day_it_began(services: Make) -> None:
    """The last run of a day is settled there, and the new day has its whole budget."""
    made, clock = services(), Clock()
    mine = budgets(made.store, clock, hard=100)
    run = made.loop.run
    clock.now = dt.datetime(2028, 3, 1, 4, 59, 59, tzinfo=dt.UTC)  # 29 February in New York
    late = mine.plan("u1", "America/New_York", "r1", 90)
    assert run(held(mine, late))
    clock.now += dt.timedelta(seconds=2)
    early = mine.plan("u1", "America/New_York", "r2", 90)
    assert run(held(mine, early))
    run(mine.settle(late, spent_of(85)))
    run(mine.settle(early, spent_of(5)))
    costs = {path: run(made.store.get(path)).data["cost"] for path in (late.path, early.path)}  # type: ignore[union-attr]
    assert costs == {"users/u1/usage/2028-02-29": 85, "users/u1/usage/2028-03-01": 5}


def test_what_runs_by_itself_leaves_something_for_the_user(services: Make) -> None:
    """A task has a cap of its own, and stops at the soft limit where the user goes on."""
    made = services()
    mine = budgets(made.store, Clock(), soft=60, hard=100, task=30)
    run = made.loop.run
    first = mine.plan("u1", "UTC", "r1", 25, task="s1")
    assert run(held(mine, first))
    assert not run(held(mine, mine.plan("u1", "UTC", "r2", 25, task="s1")))
    assert run(held(mine, mine.plan("u1", "UTC", "r3", 30, task="s2")))
    assert not run(held(mine, mine.plan("u1", "UTC", "r4", 10, task="s3")))
    assert run(held(mine, mine.plan("u1", "UTC", "r5", 40)))
    run(mine.settle(first, spent_of(25)))
    assert not run(held(mine, mine.plan("u1", "UTC", "r6", 10, task="s1")))


def test_a_run_holds_more_before_each_step_or_ends(services: Make) -> None:
    """What a run spends beyond its hold is set aside first; where that fails it goes no further."""
    made = services()
    mine = budgets(made.store, Clock(), hard=100)
    run = made.loop.run
    hold = mine.plan("u1", "UTC", "r1", 20)
    run(mine.hold(hold))
    tab = Tab(mine, hold, 10)
    tab.count({"requests": 1, "input_tokens": 5})
    run(tab.afford())
    assert tab.hold.micros == 20
    tab.count({"requests": 1, "input_tokens": 20})
    run(tab.afford())
    assert tab.hold.micros == 45
    tab.count({"requests": 1, "input_tokens": 60})
    with pytest.raises(BudgetExceeded, match="midnight"):
        run(tab.afford())
    run(tab.settle())
    found = run(made.store.get(hold.path))
    assert found is not None and (found.data["cost"], found.data["held"]) == (85, {})


def test_the_soft_limit_is_told_once(services: Make) -> None:
    """Passing it is said when it happens, and not again."""
    made = services()
    mine = budgets(made.store, Clock(), soft=50, hard=100)
    told = []
    for number in range(4):
        hold = mine.plan("u1", "UTC", f"r{number}", 20)
        made.loop.run(mine.hold(hold))
        told.append(made.loop.run(mine.settle(hold, spent_of(20))))
    assert told == [False, False, True, False]


@pytest.mark.parametrize("text", ["much", "-1", "nan", "1e9"])
def test_a_malformed_budget_is_refused(text: str) -> None:
    """An operator's slip stops the start instead of switching the limit off."""
    with pytest.raises(Misconfigured):
        Caps.parse("1", text, "1")


# --- turns ---------------------------------------------------------------------------------------


def priced(services: Make, fake: FakeOpenAI, **environ: str) -> Services:
    return services(
        OPENAI_BASE_URL=fake.base_url, OPENAI_API_KEY="k", ODAI_PRICES="*=1/0.1/10", **environ
    )


def test_a_turn_that_costs_money_costs_no_more_reads_and_commits(services: Make) -> None:
    """The budget rides in the commits that a turn makes anyway."""
    with FakeOpenAI(Text("One."), Text("Two."), Text("Three.")) as fake:
        made = priced(services, fake)
        check_costs(made)
        day = made.usage.today("UTC")
        [used] = made.loop.run(made.usage.days("u1", day, day))
    assert used.turns == 3 and used.tokens.requests == 3 and used.cost > 0
    found = made.loop.run(made.store.get(f"users/u1/usage/{day}"))
    assert found.data["held"] == {}


def test_over_the_limit_nothing_is_begun(services: Make) -> None:
    """Who has spent the day's budget is told so at once, and no model is asked."""
    with FakeOpenAI(Reply((Text("Costly."),), usage=Usage(30_000, 1000))) as fake:
        made = priced(services, fake, ODAI_DAILY_HARD="0.06", ODAI_DAILY_SOFT="0")
        talk = Conversation(made)
        assert text_of(talk.turn("first")) == "Costly."
        events = talk.turn("second")
        assert [event["type"] for event in events] == ["error"]
        assert events[0]["code"] == "budget_exceeded" and "$0.06" in events[0]["message"]
        assert len(fake.requests) == 1
        talk.leave()


def test_a_run_that_would_spend_too_much_ends_before_the_next_step(services: Make) -> None:
    """A costly step is the last: its tools are not called, the user hears why, and it is paid."""
    costly = Reply((Calls([RATE]),), usage=Usage(60_000, 0))
    with Vendors() as vendors, FakeOpenAI(costly) as fake:
        made = priced(
            services, fake, ODAI_DAILY_HARD="0.10", ODAI_DAILY_SOFT="0",
            ODAI_EGRESS_MAP=vendors.egress_map,
        )  # fmt: skip
        talk = Conversation(made)
        events = talk.turn("convert 5 euros to dollars")
        check_turn(events)
        assert of(events, "error")[0]["code"] == "budget_exceeded"
        assert of(events, "end_of_stream")[0]["status"] == "failed"
        assert not of(events, "tool_call")
        day = made.usage.today("UTC")
        [used] = made.loop.run(made.usage.days("u1", day, day))
        assert used.tokens.input == 60_000
        talk.leave()


def test_tool_calls_are_counted_by_service(services: Make) -> None:
    """The user sees how often each service was asked."""
    with Vendors() as vendors, FakeOpenAI(Calls([RATE]), Text("It is 1.1.")) as fake:
        made = priced(services, fake, ODAI_EGRESS_MAP=vendors.egress_map)
        talk = Conversation(made)
        check_turn(talk.turn("convert 5 euros to dollars"))
        day = made.usage.today("UTC")
        [used] = made.loop.run(made.usage.days("u1", day, day))
        assert sum(used.tools.values()) == 1 and used.tokens.requests == 2
        talk.leave()


def test_without_a_model_nothing_is_held_and_tools_are_counted(services: Make) -> None:
    """The offline assistant has no budget to run out of."""
    with Vendors() as vendors:
        made = services(ODAI_EGRESS_MAP=vendors.egress_map, ODAI_DAILY_HARD="0.000001")
        talk = Conversation(made)
        check_turn(talk.turn("convert 5 euros to dollars"))
        day = made.usage.today("UTC")
        [used] = made.loop.run(made.usage.days("u1", day, day))
        assert used.cost == 0 and sum(used.tools.values()) == 1
        talk.leave()


def test_many_chats_at_once_stay_within_the_cap(services: Make) -> None:
    """Eight chats of one user begin together: those that fit are answered, the others refused."""
    gate = Gate()
    answer = Reply((Text("Done."),), usage=Usage(20_000, 100), gate=gate)
    with FakeOpenAI(*[answer] * 3) as fake:
        made = priced(services, fake, ODAI_DAILY_HARD="0.17", ODAI_DAILY_SOFT="0")

        async def ask() -> list[Any]:
            rooms = [await made.turns.enter(f"c{n}", "u1") for n in range(8)]
            for room in rooms:
                made.turns.prompt(room, Prompt("hello"))
            workers = [room.worker for room in rooms if room.worker]
            ended = asyncio.as_completed(workers)
            for _ in range(5):  # the refused end while the others are being answered
                await next(ended)
            gate.open()
            await asyncio.wait(workers)
            return [room for room in rooms if room.state.version]

        answered = made.loop.run(ask(), timeout=60.0)
        assert len(answered) == 3
        day = made.usage.today("UTC")
        [used] = made.loop.run(made.usage.days("u1", day, day))
        assert used.turns == 3 and used.cost < 1
