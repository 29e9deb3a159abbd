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


# --- over every service there is -----------------------------------------------------------------


@pytest.fixture(scope="module")
def everything() -> Registry:
    return Registry.discover()


@pytest.fixture(scope="module")
def keyed(everything: Registry) -> Planner:
    """Plans as where every key is set."""
    return Planner(everything, lambda _: "set")


@pytest.fixture(scope="module")
def keyless(everything: Registry) -> Planner:
    """Plans as where no key is set."""
    return Planner(everything, lambda _: None)


BEYOND = [
    "Write a poem about autumn.", "write a haiku", "Compose a short story about a fox",
    "Book a table for two and cancel my gym membership.", "cancel my gym membership",
    "what is 2+2", "5 * 7", "15% of 80", "what is the square root of 144",
    "translate hello to French", "how do you say goodbye in German",
    "who am I", "what's my name", "how are you?", "tell me a joke", "I'm bored",
    "what do you think about love", "draw me a cat", "rewrite this: me go home",
    "write a python function to sort a list", "turn off the lights",
    "set a timer for 10 minutes", "call me a taxi", "order me a pizza", "delete my account",
    "transfer 50 dollars to Bob", "pay my electricity bill", "what time is it",
]  # fmt: skip


@pytest.mark.parametrize("text", BEYOND)
@pytest.mark.parametrize("keys", ["keyed", "keyless"])
def test_what_takes_a_model_is_not_searched_for(
    everything: Registry, text: str, keys: str, request: pytest.FixtureRequest
) -> None:
    """Words no service can act on get a plain no and the setting that helps, and nothing else."""
    made = plan(request.getfixturevalue(keys), everything, text)
    assert made.calls == () and len(made.notes) == 1
    assert "can't do that" in made.notes[0] and "OPENAI_API_KEY" in made.notes[0]


DONE = [
    ("who was Ada Lovelace", ARTICLE, {"title": "Ada Lovelace"}),
    ("how tall is Mount Everest", ARTICLE, {"title": "Mount Everest"}),
    ("what's the capital of Mongolia", ARTICLE, {"title": "capital of Mongolia"}),
    ("why is the sky blue", ARTICLE, {"title": "sky blue"}),
    ("buy 10 shares of MSFT", "place_order_at_alpaca",
     {"symbol": "MSFT", "side": "buy", "quantity": 10}),
    ("sell 5 shares of KO", "place_order_at_alpaca",
     {"symbol": "KO", "side": "sell", "quantity": 5}),
    ("how much is bitcoin", "check_crypto_price_at_coinmarketcap", {"symbol": "BTC"}),
    ("AAPL price", PRICE, {"symbol": "AAPL"}),
    ("put dentist on my calendar tomorrow at 3pm", "create_google_calendar_event",
     {"title": "dentist", "start_time": "2026-11-26T15:00"}),
    ("new event: team offsite Friday at 10am", "create_google_calendar_event",
     {"title": "team offsite", "start_time": "2026-11-27T10:00"}),
    ("schedule lunch with dana@example.com on Tuesday at noon", "create_google_calendar_event",
     {"title": "lunch", "start_time": "2026-12-01T12:00", "attendee_emails": ["dana@example.com"]}),
    ("add buy milk to my Google Tasks", "create_google_task", {"title": "buy milk"}),
    ("add eggs and milk to my Instacart list", "create_shopping_list_at_instacart",
     {"title": "eggs and milk", "items": "eggs and milk"}),
    ("what do I have on Friday", "get_google_calendar_events", {"start_date": "2026-11-27"}),
    ("create an issue in acme/web that login fails", "create_github_issue",
     {"repository": "acme/web", "title": "login fails", "body": "login fails"}),
    ("send an email to kim@example.net saying hello", "send_google_email",
     {"recipient_emails": ["kim@example.net"], "subject": "hello", "body": "hello"}),
    ("text +14155550100 that I'm late", "send_sms",
     {"phone_number": "+14155550100", "message": "I'm late"}),
    ("hotel in Porto for three nights from Friday", "get_hotel_prices",
     {"location": "Porto", "check_in_date": "2026-11-27", "check_out_date": "2026-11-30"}),
    ("compare prices for a tent", "get_google_products", {"query": "tent"}),
    ("open bbc.com in a new tab", "open_external_url_in_tab", {"url": "bbc.com"}),
    ("pause the music", "pause_spotify", {}),
    ("put lunch with Ann on my calendar tomorrow at noon", "create_google_calendar_event",
     {"title": "lunch with Ann", "start_time": "2026-11-26T12:00"}),
    ("schedule a meeting with the team on Friday at 10am", "create_google_calendar_event",
     {"title": "meeting with the team", "start_time": "2026-11-27T10:00"}),
    ("Where is 10 Downing Street?", "geocode_address", {"address": "10 Downing Street"}),
    ("Where is 221B Baker Street, London?", "geocode_address",
     {"address": "221B Baker Street, London"}),
    ("How's the weather right here?", NOW_HERE, {}),
    ("weather here", NOW_HERE, {}),
    ("what's the news today", "get_google_news_top_stories", {}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "tool", "arguments"), DONE)
def test_requests_reach_the_fitting_tool(
    keyed: Planner, everything: Registry, text: str, tool: str, arguments: dict[str, Any]
) -> None:
    """Among all the services the one that is meant is called, with just what was said."""
    assert calls(plan(keyed, everything, text)) == [(tool, arguments)]


def test_a_place_is_no_part_of_a_title(keyed: Planner, everything: Registry) -> None:
    """Showtimes for a film in a town look for the film, and the town is the place."""
    (call,) = plan(keyed, everything, "showtimes for Dune in Boston").calls
    assert everything.tool(call.tool).connector == "movieglu"
    assert call.arguments.get("location", "Boston") == "Boston"
    assert call.arguments["query"] == "Dune"


def test_buying_waits_for_a_yes(keyed: Planner, everything: Registry) -> None:
    """What costs money goes to a tool that asks first."""
    (call,) = plan(keyed, everything, "buy 10 shares of MSFT").calls
    assert everything.tool(call.tool).risk == "money"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("find sushi in Boston", "YELP_API_KEY"), ("AAPL price", "FINNHUB_API_KEY"),
        ("how much is bitcoin", "COINMARKETCAP_API_KEY"),
        ("buy 10 shares of MSFT", "ALPACA_API_KEY_ID"),
        ("search amazon for a kettle", "CANOPY_API_KEY"),
        ("track 1Z999AA10123456784", "EASYPOST_API_KEY"),
        ("is flight UA 1234 on time", "FLIGHTAWARE_API_KEY"),
        ("send an email to bob@example.com saying hi", "GOOGLE_CLIENT_ID"),
        ("add buy milk to my Google Tasks", "GOOGLE_CLIENT_ID"),
        ("search slack for the offsite", "SLACK_CLIENT_ID"),
        ("hotel in Porto for three nights from Friday", "SERPAPI_API_KEY"),
    ],
)  # fmt: skip
def test_a_missing_key_is_named_at_once(
    keyless: Planner, everything: Registry, text: str, key: str
) -> None:
    """Where only a service without its key fits, the answer says which key to set."""
    made = plan(keyless, everything, text)
    assert made.calls == ()
    assert key in made.notes[0] and "not set up" in made.notes[0]


@pytest.mark.parametrize(
    ("text", "tool"),
    [
        ("weather in Boston", NOW_HERE), ("convert 20 dollars to euros", CONVERT),
        ("what's the news today", "search_web"), ("when did World War II end", ARTICLE),
        ("search for standing desks on the web", "search_web"),
    ],
)  # fmt: skip
def test_what_is_set_up_is_preferred(
    keyless: Planner, everything: Registry, text: str, tool: str
) -> None:
    """Without keys, keyless services answer what they can."""
    assert [call.tool for call in plan(keyless, everything, text).calls] == [tool]


def test_only_what_works_is_offered(keyless: Planner, everything: Registry) -> None:
    """What a greeting offers to try needs no key and no client id."""
    (said,) = plan(keyless, everything, "hi").notes
    offered = [e for e in everything.entries.values() if f"“{e.connector.examples[0]}”" in said]
    assert len(offered) == 3
    assert not [e.slug for e in offered if e.connector.secrets or e.connector.account]
