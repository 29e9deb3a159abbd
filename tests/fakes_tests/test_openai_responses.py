"""The fake OpenAI, driven by the real client and the real Agents SDK.

If these fail after an upgrade, the wire format or the clients have moved and every test that
leans on the fake is in doubt.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import agents
import openai
import pytest
from agents import Agent, ModelSettings, RunConfig, Runner, function_tool
from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.shared import Reasoning as ReasoningSetting
from pydantic import TypeAdapter

from tests.fakes.openai_responses import (
    Calls,
    Cut,
    Failed,
    FakeOpenAI,
    Gate,
    HttpError,
    Incomplete,
    Raw,
    Reasoning,
    Refusal,
    Reply,
    Steady,
    Step,
    StreamError,
    Text,
    Usage,
)

QUIET = RunConfig(tracing_disabled=True)
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Weather of a city.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
ASK: dict[str, Any] = {"model": "gpt-5", "input": "Hi"}


@function_tool
def get_weather(city: str) -> str:
    """Say the weather of a city."""
    return f"rain in {city}"


@asynccontextmanager
async def connected(fake: FakeOpenAI, *, retries: int = 0) -> AsyncIterator[AsyncOpenAI]:
    client = AsyncOpenAI(base_url=fake.base_url, api_key="test", max_retries=retries)
    try:
        yield client
    finally:
        await client.close()


async def collect(client: AsyncOpenAI, **request: Any) -> list[Any]:
    stream = await client.responses.create(**{**ASK, **request}, stream=True)
    return [event async for event in stream]


def events_of(fake: FakeOpenAI, **request: Any) -> list[Any]:
    async def main() -> list[Any]:
        async with connected(fake) as client:
            return await collect(client, **request)

    return asyncio.run(main())


def create(fake: FakeOpenAI, *, retries: int = 0, **request: Any) -> Any:
    async def main() -> Any:
        async with connected(fake, retries=retries) as client:
            return await client.responses.create(**{**ASK, **request})

    return asyncio.run(main())


def post(fake: FakeOpenAI, body: dict[str, Any], path: str = "/responses") -> tuple[Any, bytes]:
    request = urllib.request.Request(
        fake.base_url + path,
        json.dumps(body).encode(),
        {"authorization": "Bearer secret", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=50) as answer:
        return answer.headers, answer.read()


def run_agent(
    fake: FakeOpenAI,
    make: Callable[[agents.Model], Agent[Any]],
    *,
    chat: bool = False,
    says: Any = "Weather in Oslo?",
) -> Any:
    """Run an agent to its end; the result carries `.seen`, the stream's events."""

    async def main() -> Any:
        async with connected(fake) as client:
            kind = agents.OpenAIChatCompletionsModel if chat else agents.OpenAIResponsesModel
            agent = make(kind(model="gpt-5", openai_client=client))
            result = Runner.run_streamed(agent, says, run_config=QUIET)
            seen = [event async for event in result.stream_events()]
            return result, seen

    return asyncio.run(main())


def weather_agent(model: agents.Model) -> Agent[Any]:
    return Agent(name="Ada", model=model, tools=[get_weather])


def names(seen: list[Any]) -> list[str]:
    return [event.name for event in seen if event.type == "run_item_stream_event"]


# --- the wire -------------------------------------------------------------------------------------


def test_a_text_answer_streams_its_events_in_the_order_of_the_real_api() -> None:
    """A client sees created, one item with its parts, and completed with the whole answer."""
    with FakeOpenAI(Text("Hello there", chunks=["Hel", "lo ", "there"])) as fake:
        events = events_of(fake)
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 3,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.delta for event in events[4:7]] == ["Hel", "lo ", "there"]
    final = events[-1].response
    assert (final.output_text, final.status) == ("Hello there", "completed")
    assert final.usage.output_tokens == 3
    assert final.model == "gpt-5-2026-01-01"
    assert final.output[0].id == events[4].item_id


def test_every_event_is_valid_in_the_sdks_own_types() -> None:
    """Strict parsing of each event finds no missing or mistyped field."""
    adapter: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    script: list[Step] = [
        (Reasoning("Think."), Text("Well,", phase="commentary"), Calls([("get_weather", {})])),
        Refusal(),
        Incomplete(),
        StreamError(),
        Failed(of=Text("Half")),
    ]
    request = {
        **ASK,
        "stream": True,
        "tools": [WEATHER],
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
    }
    kinds = set()
    with FakeOpenAI(*script) as fake:
        for _ in script:
            _, raw = post(fake, request)
            for block in raw.decode().strip().split("\n\n"):
                head, _, data = block.partition("\ndata: ")
                event = json.loads(data)
                adapter.validate_python(event)
                assert head == f"event: {event['type']}"
                kinds.add(event["type"])
                if "response" in event:
                    Response.model_validate(event["response"])
    assert len(kinds) == 20


def test_headers_framing_and_obfuscation_are_those_of_the_real_api() -> None:
    """No [DONE], the documented headers, and padding unless the client declines it."""
    with FakeOpenAI(Text("Hé"), Text("Hé")) as fake:
        headers, raw = post(fake, {**ASK, "stream": True})
        _, plain = post(
            fake, {**ASK, "stream": True, "stream_options": {"include_obfuscation": False}}
        )
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["openai-version"] == "2020-10-01"
    assert headers["x-request-id"].startswith("req_")
    assert headers["x-ratelimit-remaining-tokens"]
    assert b"[DONE]" not in raw and raw.endswith(b"\n\n")
    assert b'"obfuscation":"' in raw and b"obfuscation" not in plain
    assert fake.requests[0].headers["authorization"] == "[redacted]"
    assert "secret" not in repr(fake.requests)


def test_a_plain_request_gets_the_whole_response() -> None:
    """Without streaming the answer is one object; given usage is reported as it is."""
    reply = Reply(Text("Hi."), usage=Usage(40, 9, cached=8, reasoning=2))
    with FakeOpenAI(reply) as fake:
        response = create(fake)
    assert response.output_text == "Hi."
    assert response.usage.total_tokens == 49
    assert response.usage.input_tokens_details.cached_tokens == 8


def test_parallel_calls_come_one_item_after_another() -> None:
    """Each call has its own output_index, its ids, and arguments that join to JSON."""
    calls = Calls(
        [("get_weather", {"city": "Oslo"}, "call_1"), ("get_weather", {"city": "Bergen"}, "call_2")]
    )
    with FakeOpenAI(calls) as fake:
        events = events_of(fake, tools=[WEATHER])
    deltas = [event for event in events if event.type == "response.function_call_arguments.delta"]
    indexes = [event.output_index for event in deltas]
    assert indexes == sorted(indexes) and set(indexes) == {0, 1}
    first = "".join(event.delta for event in deltas if event.output_index == 0)
    assert json.loads(first) == {"city": "Oslo"}
    assert [item.call_id for item in events[-1].response.output] == ["call_1", "call_2"]


def test_reasoning_is_shown_only_as_far_as_it_was_asked_for() -> None:
    """The summary needs `reasoning.summary`, the encrypted content needs `include`."""
    step = (Reasoning("Think first."), Text("Yes."))
    with FakeOpenAI(step, step) as fake:
        shy = events_of(fake)
        full = events_of(
            fake,
            reasoning={"summary": "auto"},
            include=["reasoning.encrypted_content"],
        )
    assert not any("reasoning_summary" in event.type for event in shy)
    assert shy[-1].response.output[0].encrypted_content is None
    text = [e.delta for e in full if e.type == "response.reasoning_summary_text.delta"]
    assert "".join(text) == "Think first."
    thought = full[-1].response.output[0]
    assert thought.encrypted_content and thought.summary[0].text == "Think first."
    assert full[-1].response.usage.output_tokens_details.reasoning_tokens == 64


def test_a_refusal_and_an_early_end_are_told_apart_from_an_answer() -> None:
    """Refusals have their own part; incomplete names its reason and keeps the partial text."""
    with FakeOpenAI(Refusal("No."), Incomplete("content_filter", of=Text("Par"))) as fake:
        refused = events_of(fake)
        ended = events_of(fake)
    assert refused[-1].response.output[0].content[0].refusal == "No."
    assert ended[-1].type == "response.incomplete"
    assert ended[-1].response.incomplete_details.reason == "content_filter"
    assert ended[-1].response.output[0].status == "incomplete"
    assert ended[-1].response.output_text == "Par"


# --- errors ---------------------------------------------------------------------------------------


def test_a_typed_stream_error_arrives_as_an_event_after_the_deltas() -> None:
    """The client gets the deltas, the error event, and response.failed."""
    with FakeOpenAI(StreamError("typed", after=2, code="rate_limit_exceeded")) as fake:
        events = events_of(fake)
    assert [event.type for event in events[-4:]] == [
        "response.output_text.delta",
        "response.output_text.delta",
        "error",
        "response.failed",
    ]
    assert events[-2].code == "rate_limit_exceeded"
    assert events[-1].response.error.code == "rate_limit_exceeded"
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_a_nested_stream_error_is_raised_by_the_client() -> None:
    """The shape with a top-level `error` key becomes an APIError of the SDK."""
    with (
        FakeOpenAI(StreamError("nested", after=1, message="Broken.")) as fake,
        pytest.raises(openai.APIError, match=r"Broken\."),
    ):
        events_of(fake)


@pytest.mark.parametrize("step", [Cut(after=2), Cut(after=0), Cut(after=99)])
def test_a_cut_connection_breaks_the_stream_without_a_terminal_event(step: Cut) -> None:
    """The client sees a transport error, never a completed answer."""
    seen: list[str] = []

    async def main(fake: FakeOpenAI) -> None:
        async with connected(fake) as client:
            async for event in await client.responses.create(**ASK, stream=True):
                seen.append(event.type)

    with FakeOpenAI(step) as fake, pytest.raises(openai.APIConnectionError):
        asyncio.run(main(fake))
    assert "response.completed" not in seen
    assert seen.count("response.output_text.delta") == min(step.after or 0, 5)
    assert fake.requests[0].outcome == "cut"


def test_a_connection_lost_before_the_answer_is_retried_by_the_client() -> None:
    """`Cut(None)` sends no byte, so the SDK may try again."""
    with FakeOpenAI(Cut(after=None), Text("Back.")) as fake:
        assert create(fake, retries=1).output_text == "Back."
    assert [recorded.outcome for recorded in fake.requests] == ["cut", "answered"]


def test_a_rate_limit_with_retry_after_is_obeyed_and_then_succeeds() -> None:
    """The SDK waits as told and its second request is answered."""
    limited = HttpError(429, retry_after=0.01)
    with FakeOpenAI(limited, Text("Now."), limited) as fake:
        assert create(fake, retries=2).output_text == "Now."
        with pytest.raises(openai.RateLimitError) as caught:
            create(fake)
    assert len(fake.requests) == 3
    assert caught.value.response.headers["retry-after"] == "0.01"
    assert caught.value.code == "rate_limit_exceeded"


def test_insufficient_quota_names_itself() -> None:
    """It is a 429 that only its code tells from a rate limit."""
    with (
        FakeOpenAI(HttpError(429, "insufficient_quota")) as fake,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        create(fake)
    assert caught.value.code == "insufficient_quota"
    assert caught.value.type == "insufficient_quota"


def test_a_failed_response_carries_its_error() -> None:
    """`response.failed` ends the stream with status and code."""
    with FakeOpenAI(Failed("server_error", "Oops.", of=Text("Half an"))) as fake:
        events = events_of(fake)
    assert events[-1].type == "response.failed"
    assert events[-1].response.error.message == "Oops."
    assert events[-2].type == "response.output_text.delta"


def test_raw_bytes_reach_the_client_as_they_are() -> None:
    """Torn UTF-8, CRLF lines, comments and [DONE] are the client's to cope with."""
    response = {"type": "response.output_text.delta", "delta": "ø", "item_id": "msg_1"}
    line = json.dumps({**response, "sequence_number": 0}, ensure_ascii=False).encode()
    middle = line.index("ø".encode()) + 1
    chunks = [
        b": hi\r\n\r\nevent: response.output_text.delta\r\ndata: " + line[:middle],
        line[middle:] + b"\r\n\r\n",
        b"data: [DONE]\n\n",
    ]
    with FakeOpenAI(Raw(chunks)) as fake:
        events = events_of(fake)
    assert [event.delta for event in events] == ["ø"]


# --- what is refused ------------------------------------------------------------------------------

_CALL = {"type": "function_call", "call_id": "call_9", "name": "get_weather", "arguments": "{}"}
_LOOSE = {**WEATHER, "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
_OPTIONAL = {**WEATHER, "parameters": {**WEATHER["parameters"], "required": []}}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"model": None}, "missing_required_parameter", "'model'"),
        ({"input": None}, "missing_required_parameter", "'input'"),
        ({"messages": []}, "unsupported_parameter", "moved to 'input'"),
        ({"max_tokens": 5}, "unknown_parameter", "'max_tokens'"),
        ({"max_output_tokens": 5}, "integer_below_min_value", ">= 16"),
        ({"input": [_CALL]}, None, "No tool output found for function call call_9."),
        (
            {"input": [{"type": "function_call_output", "call_id": "call_8", "output": "x"}]},
            None,
            "No tool call found for function call output with call_id call_8.",
        ),
        (
            {"input": [_CALL, {"type": "function_call_output", "call_id": "call_9", "output": {}}]},
            "invalid_type",
            "but got an object",
        ),
        ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, None, "rs_1"),
        ({"input": [{**_CALL, "id": "__fake_id__"}]}, "invalid_value", "begins with 'fc'"),
        ({"tools": [{**WEATHER, "name": "no spaces"}]}, "invalid_value", "pattern"),
        ({"tools": [{**WEATHER, "name": "n" * 65}]}, "string_above_max_length", "65"),
        ({"tools": [_LOOSE]}, "invalid_function_parameters", "additionalProperties"),
        ({"tools": [_OPTIONAL]}, "invalid_function_parameters", "Missing 'city'"),
        ({"previous_response_id": "resp_x"}, "previous_response_not_found", "resp_x"),
        ({"tool_choice": {"type": "function", "name": "nope"}}, None, "nope"),
    ],
)
def test_what_the_real_api_refuses_is_refused(
    change: dict[str, Any], code: str | None, message: str
) -> None:
    """A bad request gets the API's status, code and message, and uses up no step."""
    body = {name: value for name, value in {**ASK, **change}.items() if value is not None}
    with FakeOpenAI(Text("unused")) as fake:
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(fake, body)
        error = json.loads(caught.value.read())["error"]
        assert caught.value.code == (404 if message == "rs_1" else 400)
        assert error["code"] == code and message in error["message"]
        with pytest.raises(AssertionError, match="steps unused"):
            fake.assert_done()
        post(fake, ASK)


def test_a_missing_or_wrong_key_is_a_401() -> None:
    """Nothing is answered without a bearer token, nor with another one than the server's."""
    with FakeOpenAI(api_key="right") as fake:
        request = urllib.request.Request(fake.base_url + "/responses", b"{}")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=50)
        assert caught.value.code == 401
        with pytest.raises(openai.AuthenticationError) as refused:
            create(fake)
    assert refused.value.code == "invalid_api_key"


def test_an_unscripted_request_fails_loudly_and_is_remembered() -> None:
    """The client gets an explained 500 without retries; leaving the block fails the test."""
    with pytest.raises(AssertionError, match="used up"), FakeOpenAI() as fake:  # noqa: PT012
        with pytest.raises(openai.InternalServerError, match="unexpected request"):
            create(fake, retries=2)
        assert len(fake.requests) == 1


def test_a_scripted_call_the_request_does_not_offer_is_a_mistake() -> None:
    """A test cannot pass because the fake called a tool the model never had."""
    with (
        pytest.raises(AssertionError, match="get_weather"),
        FakeOpenAI(Calls([("get_weather", {})])) as fake,
        pytest.raises(openai.InternalServerError),
    ):
        create(fake)


def test_a_callable_step_answers_by_the_request_and_aside_stays_out_of_the_script() -> None:
    """Side requests are answered apart; a failing assertion in a step fails the test."""

    def echo(body: dict[str, Any]) -> Text:
        return Text(f"You said {body['input']}")

    def titles(body: dict[str, Any]) -> Text | None:
        return Text("A title") if body["model"] == "gpt-5-mini" else None

    with FakeOpenAI(echo, aside=titles) as fake:
        assert create(fake, model="gpt-5-mini").output_text == "A title"
        assert create(fake).output_text == "You said Hi"


def test_previous_response_id_continues_a_stored_response_only() -> None:
    """A call stored earlier may be answered by id; with `store: false` there is nothing to find."""
    output = [{"type": "function_call_output", "call_id": "call_1", "output": "rain"}]
    call = Calls([("get_weather", {"city": "Oslo"}, "call_1")])
    with FakeOpenAI(call, Text("Rain."), call) as fake:
        first = create(fake, tools=[WEATHER])
        second = create(fake, previous_response_id=first.id, input=output)
        assert second.output_text == "Rain."
        assert second.previous_response_id == first.id
        unstored = create(fake, tools=[WEATHER], store=False)
        with pytest.raises(openai.BadRequestError, match="not found"):
            create(fake, previous_response_id=unstored.id, input=output)


# --- streams under a test's control ---------------------------------------------------------------


def test_a_gate_holds_the_stream_and_a_hang_up_is_noticed() -> None:
    """A test can stop the model mid-sentence and see that the product closed its request."""
    gate = Gate()
    seen: list[str] = []

    async def main(fake: FakeOpenAI) -> None:
        async with connected(fake) as client:
            stream = await client.responses.create(**ASK, stream=True)
            async for event in stream:
                if event.type == "response.output_text.delta":
                    seen.append(event.delta)
                if len(seen) == 2:
                    await asyncio.to_thread(gate.reached.wait, 10)
                    break
            await stream.close()

    with FakeOpenAI(Reply(Text("One two three four"), gate=gate, gate_after=2)) as fake:
        asyncio.run(main(fake))
        assert fake.requests[0].finished.wait(50)
        assert fake.requests[0].outcome == "client_gone"
    assert seen == ["One", " two"]


def test_an_opened_gate_lets_the_stream_end() -> None:
    """Nothing is lost by having waited."""
    gate = Gate()

    def opens(body: dict[str, Any]) -> Reply:
        return Reply(Text("One two"), gate=gate, gate_after=1)

    async def main(fake: FakeOpenAI) -> str:
        async with connected(fake) as client:
            answer = asyncio.create_task(collect(client))
            await asyncio.to_thread(gate.reached.wait, 10)
            assert not answer.done()
            gate.open()
            return str((await answer)[-1].response.output_text)

    with FakeOpenAI(opens) as fake:
        assert asyncio.run(main(fake)) == "One two"


def test_paced_and_shared_streams_say_the_same_as_plain_ones() -> None:
    """The fast paths of the benchmarks send a valid stream with ids of its own."""
    paced = Reply(Text("a b c"), interval_s=0.001)
    with FakeOpenAI(paced, default=Steady(Reply(Text("a b c"), interval_s=0.001))) as fake:
        answers = [events_of(fake) for _ in range(3)]
    assert [events[-1].response.output_text for events in answers] == ["a b c"] * 3
    assert len({events[-1].response.id for events in answers}) == 3
    assert all(events[4].item_id == events[-1].response.output[0].id for events in answers)
    assert fake.load.served == 3


def test_the_bench_process_serves_stamped_deltas() -> None:
    """`python -m` prints its address, streams the asked number of deltas, and ends on SIGTERM."""
    command = [sys.executable, "-m", "tests.fakes.openai_responses", "--deltas", "5"]
    with subprocess.Popen([*command, "--interval-ms", "1", "--stamp"], stdout=-1) as process:
        assert process.stdout is not None
        base_url = json.loads(process.stdout.readline())["base_url"]
        fake = FakeOpenAI()
        fake.base_url = base_url
        events = events_of(fake)
        process.send_signal(signal.SIGTERM)
        assert process.wait(50) == 0
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) == 5
    assert all(int(delta[1:20]) > 0 for delta in deltas)


# --- the Agents SDK -------------------------------------------------------------------------------


def test_an_agent_calls_a_tool_and_answers() -> None:
    """The tool runs once and its output is in the second request."""
    call = Calls([("get_weather", {"city": "Oslo"}, "call_1")])
    with FakeOpenAI(call, Text("It rains in Oslo.")) as fake:
        result, seen = run_agent(fake, weather_agent)
    assert result.final_output == "It rains in Oslo."
    assert names(seen) == ["tool_called", "tool_output", "message_output_created"]
    output = fake.requests[1].body["input"][-1]
    assert (output["call_id"], output["output"]) == ("call_1", "rain in Oslo")
    assert result.context_wrapper.usage.requests == 2


def test_an_agent_runs_parallel_calls_and_sends_all_their_outputs() -> None:
    """Two calls in one answer become two outputs in the next request."""
    cities = ["Oslo", "Bergen"]
    calls = Calls([("get_weather", {"city": city}, f"call_{city}") for city in cities])
    with FakeOpenAI(calls, Text("Rain everywhere.")) as fake:
        result, _ = run_agent(fake, weather_agent)
    sent = [i for i in fake.requests[1].body["input"] if i.get("type") == "function_call_output"]
    assert [item["call_id"] for item in sent] == ["call_Oslo", "call_Bergen"]
    assert result.final_output == "Rain everywhere."


def test_an_agent_hands_off() -> None:
    """The specialist answers, and the stream says that the agent changed."""

    def make(model: agents.Model) -> Agent[Any]:
        return Agent(name="Front", model=model, handoffs=[Agent(name="Weather", model=model)])

    with FakeOpenAI(Calls([("transfer_to_weather", {}, "call_h")]), Text("Rain.")) as fake:
        result, seen = run_agent(fake, make)
    assert result.last_agent.name == "Weather"
    assert names(seen)[:2] == ["handoff_requested", "handoff_occured"]
    assert result.final_output == "Rain."


def test_an_agent_sends_reasoning_back_with_its_call() -> None:
    """The history of a reasoning model passes the server's pairing rules."""

    def make(model: agents.Model) -> Agent[Any]:
        settings = ModelSettings(
            store=False,
            reasoning=ReasoningSetting(effort="low", summary="auto"),
            response_include=["reasoning.encrypted_content"],
        )
        return Agent(name="Ada", model=model, tools=[get_weather], model_settings=settings)

    call = Calls([("get_weather", {"city": "Oslo"})])
    with FakeOpenAI((Reasoning("Hm."), call), Text("Rain.")) as fake:
        result, seen = run_agent(fake, make)
    assert result.final_output == "Rain."
    assert names(seen)[0] == "reasoning_item_created"
    thought = next(i for i in fake.requests[1].body["input"] if i.get("type") == "reasoning")
    assert thought["encrypted_content"]


@pytest.mark.parametrize(
    "step",
    [StreamError("typed", after=1), StreamError("nested", after=1), Cut(after=1), Failed()],
    ids=["typed", "nested", "cut", "failed"],
)
def test_an_agents_run_fails_on_a_broken_stream(step: StreamError | Cut | Failed) -> None:
    """No broken stream ends as an answer."""
    failures = (openai.APIError, agents.exceptions.AgentsException)
    with FakeOpenAI(step) as fake, pytest.raises(failures):
        run_agent(fake, weather_agent)


def test_an_agents_refusal_and_early_end() -> None:
    """A refusal raises its own error or text; an incomplete answer is an error."""
    with FakeOpenAI(Refusal("No."), Incomplete()) as fake:
        with pytest.raises(agents.exceptions.ModelRefusalError):
            run_agent(fake, weather_agent)
        with pytest.raises(agents.exceptions.AgentsException):
            run_agent(fake, weather_agent)


# --- servers without /v1/responses ----------------------------------------------------------------


def test_a_compatible_server_answers_404_on_responses_and_serves_chat_completions() -> None:
    """Code that falls back finds out by the 404 and gets its answer, tool call and usage."""
    call = Calls([("get_weather", {"city": "Oslo"}, "call_1")])
    with FakeOpenAI(call, Text("Rain."), responses_api=False) as fake:
        with pytest.raises(openai.NotFoundError):
            create(fake)

        def make(model: agents.Model) -> Agent[Any]:
            settings = ModelSettings(include_usage=True)
            return Agent(name="Ada", model=model, tools=[get_weather], model_settings=settings)

        result, _ = run_agent(fake, make, chat=True)
    assert result.final_output == "Rain."
    assert result.context_wrapper.usage.output_tokens > 0
    assert [recorded.path.removeprefix("/v1") for recorded in fake.requests] == [
        "/responses",
        "/chat/completions",
        "/chat/completions",
    ]


def test_chat_completions_stream_ends_with_usage_and_done() -> None:
    """The usage chunk has no choices and comes only if asked for; without streaming one object."""
    ask = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    with FakeOpenAI(Text("Hi you"), Text("Hi you"), Incomplete(of=Text("Hi"))) as fake:
        _, raw = post(
            fake,
            {**ask, "stream": True, "stream_options": {"include_usage": True}},
            "/chat/completions",
        )
        _, whole = post(fake, ask, "/chat/completions")
        _, short = post(fake, ask, "/chat/completions")
    blocks = raw.decode().strip().split("\n\n")
    assert blocks[-1] == "data: [DONE]"
    usage = json.loads(blocks[-2].removeprefix("data: "))
    assert usage["choices"] == [] and usage["usage"]["completion_tokens"] == 2
    assert json.loads(whole)["choices"][0]["message"]["content"] == "Hi you"
    assert json.loads(short)["choices"][0]["finish_reason"] == "length"


def test_chat_completions_refuse_an_unanswered_tool_call_and_break_like_the_real_thing() -> None:
    """The history is checked; a cut and an error in the stream reach the client as errors."""
    called = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ask: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    history = [*ask["messages"], {"role": "assistant", "tool_calls": [called]}]

    async def stream(fake: FakeOpenAI) -> None:
        async with connected(fake) as client:
            async for _ in await client.chat.completions.create(**ask, stream=True):
                pass

    with FakeOpenAI(StreamError(after=1), Cut(after=1)) as fake:
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(fake, {**ask, "messages": history}, "/chat/completions")
        assert b"call_1" in caught.value.read()
        with pytest.raises(openai.APIError):
            asyncio.run(stream(fake))
        with pytest.raises(openai.APIConnectionError):
            asyncio.run(stream(fake))
