"""What the offline planner makes of "every morning at 7", on Wednesday 25 November 2026."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from common.connectors.reminders import CONNECTOR
from common.llm import recurring
from common.llm.arguments import ToolSpec
from common.llm.planner import Plan, Planner
from common.tools import Registry

NOW = dt.datetime(2026, 11, 25, 10, 0, tzinfo=dt.UTC)
REMIND, BRIEF = "create_reminder", "create_daily_briefing"


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover()


@pytest.fixture(scope="module")
def planner(registry: Registry) -> Planner:
    """Plans as where no key is set."""
    return Planner(registry, lambda _: None)


def plan(planner: Planner, registry: Registry, *texts: str, without: str = "") -> Plan:
    specs = [
        ToolSpec(t.name, t.description, t.parameters.schema)
        for t in registry.tools.values()
        if t.connector != without
    ]
    return planner.plan(texts, now=NOW, tools=specs)


def calls(made: Plan) -> list[tuple[str, dict[str, Any]]]:
    return [(c.tool, {k: v for k, v in c.arguments.items() if v is not None}) for c in made.calls]


EXAMPLES = {
    "Tell me when AAPL passes 300.": ("watch_price", {"symbol": "AAPL", "price": 300}),
    "Remind me at 5pm to call the bank.": (REMIND, {"title": "call the bank", "time": "17:00"}),
    "Brief me daily at 8 on the weather.": (
        BRIEF, {"prompt": "What is the weather?", "time": "08:00", "days": "daily"}
    ),
    "What have you scheduled for me?": ("list_scheduled", {}),
}  # fmt: skip


def test_every_example_of_the_reminders_works(planner: Planner, registry: Registry) -> None:
    """What the service itself offers to try does what it says, without a model or a key."""
    made = {text: calls(plan(planner, registry, text)) for text in CONNECTOR.examples}
    assert made == {text: [call] for text, call in EXAMPLES.items()}


@pytest.mark.parametrize(
    ("text", "tool", "arguments"),
    [
        ("Every morning at 7 tell me the weather in Paris", BRIEF,
         {"prompt": "Tell me the weather in Paris", "time": "07:00", "days": "daily"}),
        ("Every morning at 7, please tell me the weather in Paris and the news.", BRIEF,
         {"prompt": "Tell me the weather in Paris and the news.", "time": "07:00",
          "days": "daily"}),
        ("tell me the weather and the news every morning at 7", BRIEF,
         {"prompt": "Tell me the weather and the news", "time": "07:00", "days": "daily"}),
        ("What's the weather in Paris every evening at 7?", BRIEF,
         {"prompt": "What's the weather in Paris?", "time": "19:00", "days": "daily"}),
        ("on weekdays at 7:30 tell me the weather in Bern", BRIEF,
         {"prompt": "Tell me the weather in Bern", "time": "07:30", "days": "weekdays"}),
        ("Brief me daily at 8 on the weather in Boston", BRIEF,
         {"prompt": "What is the weather in Boston?", "time": "08:00", "days": "daily"}),
        ("set up a daily briefing on the news at 8", BRIEF,
         {"prompt": "What is the news?", "time": "08:00", "days": "daily"}),
        ("remind me every day at 9 to take my pills", REMIND,
         {"title": "take my pills", "time": "09:00", "repeat": "daily"}),
        ("every Monday at 9 remind me to water the plants", REMIND,
         {"title": "water the plants", "time": "2026-11-30T09:00", "repeat": "weekly"}),
        ("remind me tomorrow at 9 to call Ann", REMIND,
         {"title": "call Ann", "time": "2026-11-26T09:00"}),
        ("pause my daily briefing", "change_scheduled",
         {"action": "pause", "which": "pause my daily briefing"}),
    ],
)  # fmt: skip
def test_what_is_wanted_again_is_scheduled(
    planner: Planner, registry: Registry, text: str, tool: str, arguments: dict[str, Any]
) -> None:
    """It becomes a briefing or a reminder at its time, and is not answered once and forgotten."""
    assert calls(plan(planner, registry, text)) == [(tool, arguments)]


def test_a_briefing_asks_what_the_planner_understands(planner: Planner, registry: Registry) -> None:
    """What is asked at its time is answered then, as if its user had typed it."""
    (call,) = plan(planner, registry, "Brief me daily at 8 on the weather in Boston").calls
    (then,) = plan(planner, registry, call.arguments["prompt"]).calls
    assert then.tool == "get_current_weather_by_location"
    assert then.arguments["location"] == "Boston"


def test_the_time_is_asked_for(planner: Planner, registry: Registry) -> None:
    """A briefing without a time is no guess: the time is asked for, and the answer completes it."""
    said = "Brief me daily on the weather"
    assert plan(planner, registry, said).notes == ("At what time?",)
    ((tool, given),) = calls(plan(planner, registry, said, "8:30"))
    assert (tool, given["time"], given["days"]) == (BRIEF, "08:30", "daily")


@pytest.mark.parametrize(
    "text",
    ["every Monday at 9 tell me the weather in Oslo", "every hour tell me the weather in Oslo",
     "every day at 9 add milk to my list"],
)  # fmt: skip
def test_what_cannot_recur_is_said_so(planner: Planner, registry: Registry, text: str) -> None:
    """It is not done once instead, in silence."""
    made = plan(planner, registry, text)
    assert made.calls == () and "again and again" in made.notes[0]


def test_without_reminders_nothing_is_answered_once_instead(
    planner: Planner, registry: Registry
) -> None:
    """Where no service schedules, the words "every morning" are not dropped either."""
    said = "Every morning at 7 tell me the weather in Paris"
    made = plan(planner, registry, said, without="reminders")
    assert made.calls == () and "again and again" in made.notes[0]


@pytest.mark.parametrize(
    "text",
    ["How many people fly every day?", "exchange rates daily for the Swiss franc",
     "weather in Boston", "what did Darwin do every morning"],
)  # fmt: skip
def test_a_habit_is_no_wish(text: str) -> None:
    """What others do every day, or is made daily, is not to be scheduled."""
    assert recurring.read(text) is None


def test_two_wishes_stay_two(planner: Planner, registry: Registry) -> None:
    """Only what is wanted again is scheduled; the rest is answered now."""
    said = "weather in Boston and remind me daily at 8 to stretch"
    made = calls(plan(planner, registry, said))
    assert [tool for tool, _ in made] == ["get_current_weather_by_location", REMIND]
    assert made[1][1]["repeat"] == "daily"
