"""The offline planner as the model of real agents, run by the real SDK."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from agents import Agent, FunctionTool, RunConfig, Runner

from common.llm.offline import OfflinePlanner
from common.tools import Registry
from common.tools.registry import Entry

NOW = dt.datetime(2026, 11, 26, 2, 0, tzinfo=dt.UTC)  # still the 25th in New York
SLUGS = ("amtrak", "finnhub", "frankfurter", "open_meteo", "wikipedia", "yelp")
Answer = Callable[[str, dict[str, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def registry() -> Registry:
    found = Registry.discover()
    return Registry(found.entries[slug] for slug in SLUGS)


@dataclass
class Desk:
    """An orchestrator over stand-ins for the registry's tools, which note their calls."""

    registry: Registry
    answer: Answer = lambda name, arguments: {"summary": f"Did {name}."}
    instructions: str = "Time zone: America/New_York"
    ran: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    deltas: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    call_ids: list[str] = field(default_factory=list)
    last_agent: str = ""
    tokens: int = 0

    def tool(self, name: str) -> FunctionTool:
        """A stand-in with the real tool's name and schema."""
        declared = self.registry.tool(name)

        async def invoke(ctx: Any, arguments: str) -> str:
            given = {k: v for k, v in json.loads(arguments).items() if v is not None}
            self.ran.append((name, given))
            return json.dumps(self.answer(name, given))

        return FunctionTool(
            name=name,
            description=declared.description,
            params_json_schema=declared.parameters.schema,
            on_invoke_tool=invoke,
        )

    def ask(
        self, prompt: Any, *, handoffs: tuple[str, ...] = SLUGS, tools: tuple[str, ...] = (),
        extra: tuple[FunctionTool, ...] = (),
    ) -> str:  # fmt: skip
        """Run one turn, streamed, and return the answer."""
        model = OfflinePlanner(self.registry, clock=lambda: NOW)
        specialists = [
            Agent(name=slug, model=model, instructions=self.instructions,
                  tools=[self.tool(t.name) for t in self.registry.entries[slug].tools])
            for slug in handoffs
        ]  # fmt: skip
        agent = Agent(
            name="odai", model=model, instructions=self.instructions, handoffs=list(specialists),
            tools=[*(self.tool(name) for name in tools), *extra],
        )  # fmt: skip
        return asyncio.run(self._run(agent, prompt))

    async def _run(self, agent: Agent[Any], prompt: Any) -> str:
        config = RunConfig(tracing_disabled=True)
        result = Runner.run_streamed(agent, prompt, run_config=config)
        async for event in result.stream_events():
            if event.type == "raw_response_event":
                self.kinds.append(event.data.type)
                if event.data.type == "response.output_text.delta":
                    self.deltas.append(event.data.delta)
                if event.data.type == "response.output_item.done":
                    self.call_ids.append(getattr(event.data.item, "call_id", ""))
        self.last_agent = result.last_agent.name
        self.tokens = result.context_wrapper.usage.total_tokens
        return str(result.final_output)


ALL = (
    "get_current_weather_by_location", "get_forecast_weather_by_location",
    "get_exchange_rate_for_currency_pair", "get_stock_price_at_finnhub",
)  # fmt: skip
BOTH = "what's the weather in Boston tomorrow and convert 250 euros to dollars"


def test_one_question_goes_to_its_specialist(registry: Registry) -> None:
    """A weather question is handed to the weather agent, on the user's own tomorrow."""
    desk = Desk(registry)
    said = desk.ask("what's the weather in Boston tomorrow?", tools=ALL)
    assert desk.last_agent == "open_meteo"
    assert desk.ran == [
        ("get_forecast_weather_by_location", {"location": "Boston", "date": "2026-11-26"})
    ]
    assert said == "Did get_forecast_weather_by_location. (Open-Meteo)"


def test_without_a_zone_the_day_is_counted_in_utc(registry: Registry) -> None:
    """Tomorrow is the day after today in UTC when the user's zone is unknown or unreadable."""
    for instructions in ("", "Time zone: Mars/Olympus"):
        desk = Desk(registry, instructions=instructions)
        desk.ask("what's the weather in Boston tomorrow?")
        assert desk.ran[0][1]["date"] == "2026-11-27"


def test_two_questions_are_answered_together_in_order(registry: Registry) -> None:
    """Two services are asked side by side, without a handoff, and both answers are told."""
    desk = Desk(registry)
    said = desk.ask(BOTH, tools=ALL)
    assert [name for name, _ in desk.ran] == [ALL[1], ALL[2]]
    assert said.split("\n\n") == [f"Did {ALL[1]}. (Open-Meteo)", f"Did {ALL[2]}. (Frankfurter)"]
    assert desk.last_agent == "odai"


def test_the_answer_streams_a_few_words_at_a_time(registry: Registry) -> None:
    """The answer arrives in pieces that add up to it, in a well-formed event stream."""
    desk = Desk(registry)
    said = desk.ask(BOTH, tools=ALL)
    assert "".join(desk.deltas) == said
    assert len(desk.deltas) > 1
    assert desk.kinds[0] == "response.created"
    assert desk.kinds[-1] == "response.completed"
    assert desk.kinds.count("response.output_item.added") == desk.kinds.count(
        "response.output_item.done"
    )
    calls = [call_id for call_id in desk.call_ids if call_id]
    assert len(calls) == len(set(calls)) == 2
    assert desk.tokens > 0


def test_a_failure_is_told_and_not_repeated(registry: Registry) -> None:
    """When a service is down the user hears so; the other half is still answered."""
    down = {"error": "vendor_unavailable", "message": "Open-Meteo is down. Try again later."}
    desk = Desk(registry, lambda name, _: down if "weather" in name else {"summary": "$290."})
    said = desk.ask(BOTH, tools=ALL)
    assert len(desk.ran) == 2
    assert said == "Open-Meteo is down. Try again later.\n\n$290. (Frankfurter)"


def test_another_service_of_the_same_kind_helps_out(registry: Registry) -> None:
    """When one weather service fails, the next one answers, once, and is named."""
    first = registry.entries["open_meteo"]
    second = _twin(first)
    both = Registry([*registry.entries.values(), second])
    twin = "get_weather_at_second_sky"
    down = {"error": "vendor_unavailable", "message": "Open-Meteo is down."}
    desk = Desk(both, lambda name, _: {"summary": "Sunny."} if name == twin else down)
    said = desk.ask("what's the weather in Boston?", handoffs=(), tools=(ALL[0], twin))
    assert [name for name, _ in desk.ran] == [ALL[0], twin]
    assert said == "Open-Meteo could not help this time.\n\nSunny. (Second Sky)"


def _twin(entry: Entry) -> Entry:
    import dataclasses

    connector = dataclasses.replace(entry.connector, name="Second Sky", rank=90)
    tool = next(t for t in entry.tools if t.name == ALL[0])
    renamed = dataclasses.replace(tool, name="get_weather_at_second_sky", connector="second_sky")
    return Entry("second_sky", connector, (renamed,))


def test_a_missing_value_is_asked_for_and_taken_from_the_answer(registry: Registry) -> None:
    """Asked which currency, the user's one word completes the question of the turn before."""
    desk = Desk(registry)
    question = desk.ask("convert 100 dollars", tools=ALL)
    assert question == "To which currency?"
    history = [
        {"role": "user", "content": "convert 100 dollars"},
        {"role": "assistant", "content": question},
        {"role": "user", "content": [{"type": "input_text", "text": "euros"}]},
    ]
    desk.ask(history, tools=ALL)
    assert desk.ran[-1][1] == {"from_currency": "USD", "to_currency": "EUR", "amount": 100}


def test_a_follow_up_asks_the_same_of_another_place(registry: Registry) -> None:
    """ "And in Chicago?" after a weather question is a weather question."""
    desk = Desk(registry)
    history = [
        {"role": "user", "content": "weather in Boston"},
        {"type": "function_call", "call_id": "call_1", "name": ALL[0],
         "arguments": '{"location": "Boston"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": '{"summary": "Cold."}'},
        {"role": "assistant", "content": "Cold. (Open-Meteo)"},
        {"role": "user", "content": "and in Chicago?"},
    ]  # fmt: skip
    desk.ask(history, tools=ALL)
    assert desk.ran == [(ALL[0], {"location": "Chicago"})]


def test_a_tool_out_of_reach_is_looked_for_and_then_named(registry: Registry) -> None:
    """What is not offered is looked up once; if it stays away, the user hears what to set."""
    asked: list[str] = []

    async def find(ctx: Any, arguments: str) -> str:
        asked.append(json.loads(arguments)["query"])
        return json.dumps({"connectors": []})

    schema = {"type": "object", "properties": {"query": {"type": "string"}},
              "required": ["query"], "additionalProperties": False}  # fmt: skip
    finder = FunctionTool(name="find_connector", description="Find.", params_json_schema=schema,
                          on_invoke_tool=find)  # fmt: skip
    desk = Desk(registry)
    said = desk.ask("find sushi in Boston", handoffs=(), extra=(finder,))
    assert asked == ["find sushi in Boston"]
    assert said == "That needs Yelp, which is not available here. Set YELP_API_KEY."


def test_it_says_what_it_is_and_what_it_cannot_do(registry: Registry) -> None:
    """Nobody takes the offline planner for a language model."""
    desk = Desk(registry)
    assert "offline planner" in desk.ask("who are you?")
    assert "OPENAI_API_KEY" in desk.ask("write a poem about the sea")
    assert desk.ran == []


@pytest.mark.parametrize("output", ["", "not json", "[]", '{"error": 1}', "null"])
def test_a_tool_may_answer_anything(registry: Registry, output: str) -> None:
    """An unreadable tool result still ends in an answer."""
    history = [
        {"role": "user", "content": "weather in Boston"},
        {"type": "function_call", "call_id": "c", "name": ALL[0],
         "arguments": '{"location": "Boston"}'},
        {"type": "function_call_output", "call_id": "c", "output": output},
    ]  # fmt: skip
    assert Desk(registry).ask(history, tools=ALL, handoffs=())


def test_whole_responses_equal_streamed_ones(registry: Registry) -> None:
    """Without streaming the answer is the same."""
    agent = Agent(name="odai", model=OfflinePlanner(registry, clock=lambda: NOW))
    result = asyncio.run(Runner.run(agent, "hi", run_config=RunConfig(tracing_disabled=True)))
    assert result.final_output == Desk(registry).ask("hi", handoffs=())
