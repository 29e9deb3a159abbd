"""What runs cost: no cent is lost between days, months and years, in any zone."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.assistant.budgets import Budgets, Caps
from common.assistant.usage import (
    Price,
    Prices,
    Spent,
    Tokens,
    Usage,
    day_of,
    dollars,
    path_of,
    total,
)
from common.bootstrap import Services
from common.errors import InvalidInput, Misconfigured
from common.store import Create

Make = Callable[..., Services]
ZONES = ("UTC", "America/New_York", "Europe/Paris", "Pacific/Apia", "Australia/Lord_Howe",
         "Asia/Kathmandu", "America/Santiago", "Africa/Casablanca")  # fmt: skip
FIRST = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
TEN_YEARS = 10 * 365 * 86_400
PRICES = Prices.parse("m=0.10/0.01/0.50,dear=4/0.40/24/32/64")
counts = st.integers(0, 3_000_000)


@given(st.integers(0, TEN_YEARS), st.sampled_from(ZONES))
def test_every_moment_of_ten_years_belongs_to_one_day(seconds: int, zone: str) -> None:
    """A day is the one on the user's wall clock, and the next begins where it ends."""
    moment = FIRST + dt.timedelta(seconds=seconds)
    day = day_of(moment, zone)
    assert moment.astimezone(ZoneInfo(zone)).date() == day
    # It never runs backwards, whatever the clocks do, and skips none but what the zone skips.
    assert day_of(moment + dt.timedelta(seconds=1), zone) in (day, day + dt.timedelta(1))
    assert day_of(moment + dt.timedelta(days=1, hours=2), zone) > day


@pytest.mark.parametrize(
    ("moment", "zone", "day"),
    [
        ("2027-12-31T23:59:59.999999+00:00", "UTC", "2027-12-31"),
        ("2028-01-01T00:00:00+00:00", "UTC", "2028-01-01"),
        ("2028-01-01T04:59:59+00:00", "America/New_York", "2027-12-31"),
        ("2028-03-01T04:59:59+00:00", "America/New_York", "2028-02-29"),
        ("2027-03-01T04:59:59+00:00", "America/New_York", "2027-02-28"),
        ("2028-04-30T22:00:00+00:00", "Europe/Paris", "2028-05-01"),
    ],
)
def test_days_roll_over_at_the_users_midnight(moment: str, zone: str, day: str) -> None:
    """Year's end, month's end and 29 February come when the user's own clock says so."""
    assert day_of(dt.datetime.fromisoformat(moment), zone).isoformat() == day


@given(st.lists(st.builds(Tokens, st.just(1), counts, counts, counts), max_size=40))
@settings(deadline=None)
def test_what_runs_cost_adds_up(calls: list[Tokens]) -> None:
    """A day's figure is the sum of its runs' figures, to the micro-dollar."""
    runs = []
    for tokens in calls:
        runs.append(Spent())
        runs[-1].add("m", tokens)
    added: Counter[str] = Counter()
    for run in runs:
        added.update({name: change.amount for name, change in run.increments(PRICES).items()})
    assert added["cost"] == sum(run.micros(PRICES) for run in runs)
    assert added["models.m.cost"] == added["cost"]
    assert added["input"] == sum(tokens.input for tokens in calls)


@pytest.mark.parametrize(
    ("tokens", "micros"),
    [
        (Tokens(1, 1_000_000, 0, 0), 4_000_000),
        (Tokens(1, 1_000_000, 1_000_000, 0), 400_000),
        (Tokens(1, 0, 0, 1_000_000), 24_000_000),
        (Tokens(1, 1_000_000, 0, 1_000_000, 1_000_000, 1_000_000), 96_000_000),
        (Tokens(1, 1_000_000, 400_000, 0, 1_000_000, 0), 19_360_000),
        (Tokens(1, 5, 9, 0), 4),  # an endpoint that counts more cached than sent
        (Tokens(), 0),
    ],
)
def test_tokens_cost_what_the_table_says(tokens: Tokens, micros: int) -> None:
    """Cached input, sound in and sound out have prices of their own."""
    assert PRICES.of("dear").micros(tokens) == micros


def test_a_model_that_is_not_listed_has_the_general_price_or_none() -> None:
    """An unknown model costs nothing unless the operator says what any model costs."""
    assert PRICES.of("unknown") == Price()
    assert Prices.parse("*=1/1/1, m=0/0/0").of("unknown").input == Decimal(1)


@pytest.mark.parametrize("text", ["m", "m=1/2", "=1/2/3", "m=a/b/c", "m=-1/0/0", "m=nan/0/0"])
def test_a_malformed_price_is_named(text: str) -> None:
    """An operator's slip stops the start with the setting's name."""
    with pytest.raises(Misconfigured, match="ODAI_PRICES"):
        Prices.parse(text)


def test_ten_thousand_turns_across_ends_of_months_and_years(services: Make) -> None:
    """The days' totals are the sum of all turns, over new year, 29 February and changed clocks."""
    made, chance = services(), random.Random(7)
    moment = dt.datetime(2027, 12, 30, tzinfo=dt.UTC)
    until = dt.datetime(2028, 4, 2, tzinfo=dt.UTC)
    step = (until - moment) / 10_000
    clock = [moment]
    budgets = Budgets(made.store, PRICES, model="m", caps=Caps(), clock=lambda: clock[0])
    spent_by: Counter[str] = Counter()
    tools_by: Counter[str] = Counter()

    async def turns() -> None:
        for place in range(0, 10_000, 40):  # side by side, one of each of forty users
            running = []
            for user in range(40):
                clock[0] = moment + step * (place + user)
                uid, zone = f"u{user}", ZONES[user % len(ZONES)]
                spent = Spent()
                spent.add("m", Tokens(1, chance.randrange(200_000), 0, chance.randrange(3000)))
                spent.calls["open_meteo"] += chance.randrange(3)
                spent_by[uid] += spent.micros(PRICES)
                tools_by[uid] += spent.calls["open_meteo"]
                hold = budgets.plan(uid, zone, f"t{place}", 0)
                running.append(budgets.settle(hold, spent))
            await asyncio.gather(*running)

    made.loop.run(turns(), timeout=120.0)
    usage = Usage(made.store, clock=lambda: until)
    first, last = dt.date(2027, 12, 1), dt.date(2028, 4, 30)
    for uid, micros in spent_by.items():
        days = made.loop.run(usage.days(uid, first, last))
        assert total(days) == dollars(micros)
        assert sum(day.turns for day in days) == 250
        assert sum(day.tools["open_meteo"] for day in days if day.tools) == tools_by[uid]
        months = {
            month: total([d for d in days if (d.date.year, d.date.month) == month])
            for month in {(d.date.year, d.date.month) for d in days}
        }
        assert sum(months.values()) == dollars(micros)
        assert {(2027, 12), (2028, 1), (2028, 2), (2028, 3)} <= set(months)


def test_days_before_there_were_counters_are_empty(services: Make) -> None:
    """Whoever has spent nothing reads an empty list, and an endless span is refused."""
    made = services()
    usage = Usage(made.store, clock=made.clock)
    day = dt.date(2026, 11, 22)
    assert made.loop.run(usage.days("u1", day, day)) == []
    made.loop.run(made.store.commit(Create(path_of("u1", day), {"day": "2026-11-22"})))
    [found] = made.loop.run(usage.days("u1", day, day))
    assert (found.cost, found.turns) == (0, 0)
    with pytest.raises(InvalidInput):
        made.loop.run(usage.days("u1", day, day + dt.timedelta(400)))
    with pytest.raises(InvalidInput):
        made.loop.run(usage.days("u1", day, day - dt.timedelta(1)))
