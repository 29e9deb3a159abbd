"""What the offline planner decides to do, on Wednesday 25 November 2026, with the real registry."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from common.llm.arguments import ToolSpec
from common.llm.planner import Plan, Planner
from common.tools import Registry

NOW = dt.datetime(2026, 11, 25, 10, 0, tzinfo=dt.UTC)
SLUGS = ("amtrak", "finnhub", "frankfurter", "open_meteo", "wikipedia", "yelp")
NOW_HERE, FORECAST = "get_current_weather_by_location", "get_forecast_weather_by_location"
CONVERT, PRICE = "get_exchange_rate_for_currency_pair", "get_stock_price_at_finnhub"
FIND, ARTICLE = "search_businesses_at_yelp", "get_wikipedia_article"


@pytest.fixture(scope="module")
def registry() -> Registry:
    """Six services only, so that a seventh with the same skill changes nothing here."""
    found = Registry.discover()
    return Registry(found.entries[slug] for slug in SLUGS)


@pytest.fixture(scope="module")
def planner(registry: Registry) -> Planner:
    return Planner(registry)


def plan(planner: Planner, registry: Registry, *texts: str) -> Plan:
    specs = [ToolSpec(t.name, t.description, t.parameters.schema) for t in registry.tools.values()]
    return planner.plan(texts, now=NOW, tools=specs)


def calls(made: Plan) -> list[tuple[str, dict[str, Any]]]:
    return [
        (call.tool, {k: v for k, v in call.arguments.items() if v is not None})
        for call in made.calls
    ]


ONE = [
    ("what's the weather in Boston tomorrow?", FORECAST,
     {"location": "Boston", "date": "2026-11-26"}),
    ("boston weather tomorrow", FORECAST, {"location": "boston", "date": "2026-11-26"}),
    ("wether in boston", NOW_HERE, {"location": "boston"}),
    ("Hello, what's the weather in Oslo?", NOW_HERE, {"location": "Oslo"}),
    ("how hot will it be in phoenix next friday", FORECAST,
     {"location": "phoenix", "date": "2026-12-04"}),
    ("forecast for Tokyo for the next 5 days", FORECAST, {"location": "Tokyo", "days": 5}),
    ("weather at 46.2, 6.15", "get_current_weather_by_latitude_longitude",
     {"latitude": 46.2, "longitude": 6.15}),
    ("convert 250 euros to dollars", CONVERT,
     {"from_currency": "EUR", "to_currency": "USD", "amount": 250}),
    ("how many yen is £20", CONVERT, {"from_currency": "GBP", "to_currency": "JPY", "amount": 20}),
    ("What was the pound worth in yen on 3 March 2025?", CONVERT,
     {"from_currency": "GBP", "to_currency": "JPY", "date": "2025-03-03"}),
    ("exchange rates for the Swiss franc", "get_exchange_rates_for_currency",
     {"currency": "CHF"}),
    ("AAPL price", PRICE, {"symbol": "AAPL"}),
    ("What is Apple's stock price?", PRICE, {"symbol": "Apple"}),
    ("Find sushi in Boston", FIND, {"term": "sushi", "location": "Boston"}),
    ("give me 3 coffee shops in Austin", FIND,
     {"term": "coffee shops", "location": "Austin", "limit": 3}),
    ("find bars and restaurants in Boston", FIND,
     {"term": "bars and restaurants", "location": "Boston"}),
    ("find coffee shops near me open now", FIND, {"term": "coffee shops", "open_now": True}),
    ("Who was Ada Lovelace?", ARTICLE, {"title": "Ada Lovelace"}),
    ("tell me about the rise and fall of Rome", ARTICLE, {"title": "rise and fall of Rome"}),
    ("Is Amtrak train 171 on time?", "get_amtrak_train_status", {"train_number": "171"}),
    ("next trains at South Station", "get_amtrak_station_board", {"station": "South Station"}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "tool", "arguments"), ONE)
def test_one_question_becomes_one_call(
    planner: Planner, registry: Registry, text: str, tool: str, arguments: dict[str, Any]
) -> None:
    """The fitting tool is called with what the user said, and nothing else."""
    assert calls(plan(planner, registry, text)) == [(tool, arguments)]


def test_every_property_is_sent(planner: Planner, registry: Registry) -> None:
    """Strict schemas want every argument, so what was not said is null."""
    (call,) = plan(planner, registry, "weather in Boston tomorrow").calls
    assert set(call.arguments) == set(registry.tool(call.tool).parameters.schema["properties"])


@pytest.mark.parametrize(
    ("text", "tools"),
    [
        ("what's the weather in Boston tomorrow and convert 250 euros to dollars",
         [FORECAST, CONVERT]),
        ("what's 5 usd in eur, and who was Marie Curie?", [CONVERT, ARTICLE]),
        ("12 EUR in USD and weather in Rome", [CONVERT, NOW_HERE]),
        ("weather in Boston and Paris tomorrow", [FORECAST, FORECAST]),
        ("AAPL and MSFT stock price", [PRICE, PRICE]),
        ("convert 100 USD to EUR and GBP", [CONVERT, CONVERT]),
    ],
)  # fmt: skip
def test_two_questions_become_two_calls(
    planner: Planner, registry: Registry, text: str, tools: list[str]
) -> None:
    """Both halves of a sentence are answered."""
    assert [call.tool for call in plan(planner, registry, text).calls] == tools


@pytest.mark.parametrize(
    ("texts", "tool", "arguments"),
    [
        (["what's the weather in Boston?", "and in Chicago?"], NOW_HERE, {"location": "Chicago"}),
        (["what's the weather in Boston?", "and tomorrow?"], FORECAST,
         {"location": "Boston", "date": "2026-11-26"}),
        (["weather in Boston", "and in Chicago?", "thanks", "and on Friday?"], FORECAST,
         {"location": "Chicago", "date": "2026-11-27"}),
        (["convert 250 euros to dollars", "and to yen?"], CONVERT,
         {"from_currency": "EUR", "to_currency": "JPY", "amount": 250}),
        (["price of $TSLA", "what about MSFT?"], PRICE, {"symbol": "MSFT"}),
        (["what's the weather", "Boston"], NOW_HERE, {"location": "Boston"}),
        (["get me the stock price", "Apple"], PRICE, {"symbol": "Apple"}),
        (["convert 100 dollars", "euros"], CONVERT,
         {"from_currency": "USD", "to_currency": "EUR", "amount": 100}),
        (["weather in Boston", "who was Alan Turing?"], ARTICLE, {"title": "Alan Turing"}),
    ],
)  # fmt: skip
def test_a_follow_up_keeps_what_was_said(
    planner: Planner, registry: Registry, texts: list[str], tool: str, arguments: dict[str, Any]
) -> None:
    """A short follow-up or answer is understood from the turn before; a new question is new."""
    assert calls(plan(planner, registry, *texts)) == [(tool, arguments)]


def test_a_missing_argument_is_asked_for(planner: Planner, registry: Registry) -> None:
    """Instead of guessing, the assistant asks one question."""
    made = plan(planner, registry, "convert 100 dollars")
    assert (made.calls, made.notes, made.asked) == ((), ("To which currency?",), "currency")


@pytest.mark.parametrize("text", ["write me a poem about the sea", "book me a table for two"])
def test_what_cannot_be_done_is_said(planner: Planner, registry: Registry, text: str) -> None:
    """The assistant does not pretend, and names the setting that helps."""
    made = plan(planner, registry, text)
    assert made.calls == ()
    assert "can't" in made.notes[0]
    assert "OPENAI_API_KEY" in made.notes[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hi", "Hello"), ("Good morning!", "Hello"), ("thanks a lot", "welcome"),
        ("who are you?", "offline planner"), ("are you ChatGPT?", "offline planner"),
        ("help", "Ask, for example"), ("what can you do?", "Ask, for example"),
    ],
)  # fmt: skip
def test_small_talk_needs_no_tool(
    planner: Planner, registry: Registry, text: str, said: str
) -> None:
    """Greetings, thanks and questions about itself get plain words."""
    made = plan(planner, registry, text)
    assert made.calls == ()
    assert said in made.notes[0]


@pytest.mark.parametrize("text", ["", " ", "?", "{}", "and", "and and and", "\x00", "x" * 3000])
def test_any_text_may_come(planner: Planner, registry: Registry, text: str) -> None:
    """Nothing a user types breaks the planner."""
    assert plan(planner, registry, "weather in Boston", text).notes is not None
