"""The fast Responses model beside the SDK's own: what one tells and returns, so does the other."""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import re
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import openai
import pytest
from agents import (
    Agent,
    AgentOutputSchema,
    FunctionTool,
    Model,
    ModelResponse,
    ModelSettings,
    ModelTracing,
    OpenAIResponsesModel,
    WebSearchTool,
    handoff,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.shared import Reasoning as ReasoningSettings

from common.errors import (
    BudgetExceeded,
    InvalidInput,
    Misconfigured,
    OdaiError,
    RateLimited,
    VendorRejected,
    VendorUnavailable,
)
from common.llm.fast import FastResponsesModel, _Call, _Stream
from common.llm.provider import EndpointModel
from common.llm.relay import RelayModel, sink
from common.settings import Settings
from tests.fakes.openai_responses import (
    Answer,
    Calls,
    Cut,
    Failed,
    FakeOpenAI,
    HttpError,
    Incomplete,
    Raw,
    Reasoning,
    Refusal,
    Reply,
    StreamError,
    Text,
    Usage,
)

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


async def _invoke(_: Any, arguments: str) -> str:
    return arguments


WEATHER = FunctionTool(
    name="get_weather", description="Weather.", params_json_schema=SCHEMA, on_invoke_tool=_invoke
)
NEWS = FunctionTool(
    name="get_news", description="News.", params_json_schema=SCHEMA, on_invoke_tool=_invoke
)
BODY = {
    "model": "gpt-fake",
    "input": "hello",
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "reasoning": {"summary": "auto"},
    "tools": [
        {"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": True},
        {"type": "function", "name": "get_news", "parameters": SCHEMA, "strict": True},
    ],
}


class Told:
    """A sink that keeps what it hears, in order."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def delta(self, *texts: str) -> None:
        self.calls += texts

    def answered(self, response: ModelResponse) -> None:
        self.calls.append(response.output)


async def _no_pause(_: float) -> None:
    await asyncio.sleep(0)


def arguments(**changed: Any) -> dict[str, Any]:
    """The arguments of a model call as the SDK's runner gives them."""
    return {
        "system_instructions": "Be brief.",
        "input": [{"role": "user", "content": "hello"}],
        "model_settings": ModelSettings(),
        "tools": [],
        "output_schema": None,
        "handoffs": [],
        "tracing": ModelTracing.DISABLED,
        "previous_response_id": None,
        "conversation_id": None,
        "prompt": None,
        **changed,
    }


@asynccontextmanager
async def models(
    base_url: str, *, sleep: Callable[[float], Awaitable[None]] = _no_pause
) -> AsyncIterator[tuple[FastResponsesModel, RelayModel]]:
    """The fast model and the SDK's, both closed at the end."""
    client = openai.AsyncOpenAI(base_url=base_url, api_key="test", max_retries=0)
    fast = FastResponsesModel("gpt-fake", client, silence_s=5.0, sleep=sleep)
    try:
        yield fast, RelayModel(OpenAIResponsesModel("gpt-fake", client))
    finally:
        await fast.close()
        await client.close()


async def heard(model: Model, **changed: Any) -> tuple[list[Any], ModelResponse | type[Exception]]:
    """Everything the sink was told, then the response or the class of the error."""
    told = Told()
    sink.set(told)
    try:
        return told.calls, await model.get_response(**arguments(**changed))
    except OdaiError as err:
        return told.calls, type(err)


def compared(*steps: Answer, **changed: Any) -> tuple[list[Any], Any]:
    """Serve the same bytes to both models; fail unless both heard and returned the same."""

    async def run() -> tuple[list[Any], Any]:
        with FakeOpenAI(*steps, *steps, validate=False) as fake:
            async with models(fake.base_url) as (fast, sdk):
                ours, theirs = await heard(fast, **changed), await heard(sdk, **changed)
        assert ours == theirs
        return ours

    return asyncio.run(run())


def wire(step: Answer, body: dict[str, Any] = BODY) -> bytes:
    """The bytes that the fake would stream for `step`."""
    with FakeOpenAI(step) as fake:
        request = urllib.request.Request(
            f"{fake.base_url}/responses",
            data=json.dumps(body).encode(),
            headers={"Authorization": "Bearer test", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:
            return bytes(response.read())


def events(data: bytes) -> list[dict[str, Any]]:
    """The events of a stream, as objects."""
    return [json.loads(line[6:]) for line in data.split(b"\n") if line.startswith(b"data: ")]


def framed(stream: Sequence[dict[str, Any]]) -> bytes:
    """Events as a stream's bytes."""
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (e["type"].encode(), msgspec.json.encode(e)) for e in stream
    )


SPEECHES: dict[str, Any] = {
    "text": Text("Hello there, how are you?"),
    "empty text": Text(""),
    "unicode": Text(
        'naïve 🌧️ 日本 \u2028 "quoted" \\ tab\t',
        chunks=["naïve 🌧", "️ 日本 \u2028", ' "quoted" \\ tab\t'],
    ),
    "annotations": Text(
        "See.",
        annotations=[
            {
                "type": "url_citation",
                "start_index": 0,
                "end_index": 3,
                "title": "A",
                "url": "https://a",
            }
        ],
    ),
    "phases": [Text("Looking.", phase="commentary"), Text("Rain.", phase="final_answer")],
    "reasoning": [Reasoning("It may rain.\nOr not."), Text("Rain.")],
    "silent reasoning": [Reasoning(), Text("Rain.")],
    "refusal": Refusal(),
    "a call": Calls([("get_weather", {"city": "Oslo"})]),
    "parallel calls": Calls([("get_weather", {"city": "Ålesund"}), ("get_news", {"city": "Rome"})]),
    "broken arguments": Calls([("get_weather", '{"city": "Os')]),
    "reasoning, text and calls": [
        Reasoning("Both."),
        Text("Let me look."),
        Calls([("get_weather", {"city": "Oslo"})]),
    ],
    "usage": Reply(Text("Hi"), usage=Usage(1200, 7, cached=1024, reasoning=3)),
    "cut by length": Incomplete(of=Text("Once upon a")),
    "cut while calling": Incomplete(of=[Text("So"), Calls([("get_weather", {"city": "O"})])]),
    "cut with nothing said": Incomplete(of=Calls([("get_weather", {"city": "O"})])),
    "cut by a filter": Incomplete(reason="content_filter"),
    "failed": Failed(of=Text("One two three")),
    "failed for the rate": Failed(code="rate_limit_exceeded"),
    "failed for an unknown reason": Failed(code="bio_policy"),
    "typed error": StreamError(after=2),
    "nested error": StreamError("nested", after=2),
    "nested error, then nothing": StreamError("nested", then_failed=False),
    "too long, typed": StreamError(code="context_length_exceeded"),
    "no quota, nested": StreamError("nested", code="insufficient_quota"),
}


@pytest.mark.parametrize("name", SPEECHES)
def test_it_hears_what_the_sdk_hears(name: str) -> None:
    """Every kind of answer and every way to fail reads the same as through the client library."""
    data = wire(SPEECHES[name])
    calls, result = compared(Raw([data]))
    if isinstance(result, ModelResponse):
        assert calls[-1] == result.output
        said = [
            e["delta"]
            for e in events(data)
            if re.match(r"response\.(output_text|refusal)\.delta", e["type"]) and e["delta"]
        ]
        assert calls[:-1] == said
    else:
        assert issubclass(result, OdaiError)


def _without(stream: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in event.items() if k not in names} for event in stream]


def _other_ids(stream: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # Some endpoints give an item another id each time they mention it.
    for number, event in enumerate(stream):
        if "item_id" in event:
            event["item_id"] = f"msg_{number}"
        if event["type"] == "response.output_item.added":
            event["item"]["id"] = "msg_changed"
    return stream


def _empty_output(stream: list[dict[str, Any]]) -> list[dict[str, Any]]:
    stream[-1]["response"]["output"] = []
    return stream


def _bare_response(stream: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept = ("id", "status", "output")
    stream[-1]["response"] = {k: stream[-1]["response"][k] for k in kept}
    return stream


def _unknown(stream: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for event in stream:
        event["new_field"] = {"delta": "no", "type": "response.failed"}
    stream[-1]["response"]["output"][0]["new_field"] = [1, 2.5, None]
    stream[-1]["response"]["output"].append({"type": "telepathy_call", "id": "tp_1", "waves": 3})
    odd = [{"type": "keepalive"}, {"type": "response.dream.delta", "delta": {"a": 1}}, {"x": 1}]
    return [*stream[:2], *[{"type": "", **event} for event in odd], *stream[2:]]


VARIANTS: dict[str, Callable[[list[dict[str, Any]]], list[dict[str, Any]]]] = {
    "without sequence_number": lambda stream: _without(stream, "sequence_number"),
    "without logprobs and padding": lambda stream: _without(stream, "logprobs", "obfuscation"),
    "with changing item ids": _other_ids,
    "with an empty final output": _empty_output,
    "with a bare final response": _bare_response,
    "with unknown events, fields and items": _unknown,
}


@pytest.mark.parametrize("name", VARIANTS)
def test_it_reads_other_endpoints_as_the_sdk_does(name: str) -> None:
    """Compatible servers leave fields out, add some and change ids: the answer is the same."""
    speech = [Reasoning("Both."), Text("Let me look."), Calls([("get_weather", {"city": "Oslo"})])]
    calls, result = compared(Raw([framed(VARIANTS[name](events(wire(speech))))]))
    assert isinstance(result, ModelResponse)
    assert "".join(call for call in calls if isinstance(call, str)) == "Let me look."


FRAMINGS: dict[str, Callable[[bytes], bytes]] = {
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "CR": lambda data: data.replace(b"\n", b"\r"),
    "no event lines": lambda data: re.sub(rb"event: [^\n]*\n", b"", data),
    "no space after the colon": lambda data: data.replace(b"data: ", b"data:"),
    "comments between": lambda data: data.replace(b"event: ", b": ping\n\n: ping\nevent: "),
    "blank lines between": lambda data: data.replace(b"\n\n", b"\n\n\n"),
    "data in two lines": lambda data: data.replace(b'data: {"type"', b'data: {\ndata: "type"'),
    "data in two lines, CRLF": lambda data: data.replace(
        b'data: {"type"', b'data: {\ndata: "type"'
    ).replace(b"\n", b"\r\n"),
    "ids": lambda data: data.replace(b"event: ", b"retry: 5\nevent: "),
    "[DONE] at the end": lambda data: data + b"data: [DONE]\n\n",
}


@pytest.mark.parametrize("name", FRAMINGS)
def test_it_reads_every_framing(name: str) -> None:
    """However a server lays out its events, the same is heard."""
    data = wire([Reasoning(), Text("naïve 🌧️ rain")])
    plain = asyncio.run(_read_alone(data))
    changed = FRAMINGS[name](data)
    assert changed != data
    _, result = compared(Raw([changed]))
    assert asyncio.run(_read_alone(changed)) == plain
    assert isinstance(result, ModelResponse)


def test_done_without_an_end_is_an_error() -> None:
    """A stream that says [DONE] before it said how it ended has broken off."""
    data = framed(events(wire(Text("One two")))[:-1]) + b"data: [DONE]\n\n"
    assert compared(Raw([data]))[1] is VendorUnavailable


@pytest.mark.parametrize(
    ("kept", "cut"), [(-400, False), (-400, True), (0, False), (0, True), (900, True)]
)
def test_a_stream_that_breaks_off_is_not_tried_again(kept: int, cut: bool) -> None:
    """What was shown stays shown, once, and the person is told that the rest is missing."""
    data = wire(Text("One two three"))[:kept]
    assert compared(Raw([data], cut=cut))[1] is VendorUnavailable


async def _read_alone(*chunks: bytes) -> tuple[list[Any], Any]:
    told = Told()
    try:
        stream = _Stream(told)
        any(map(stream.feed, (*filter(None, chunks), b"")))
        result: Any = stream.result
    except OdaiError as err:
        result = type(err)
    return told.calls, result


@functools.cache
def mixed() -> bytes:
    """A stream with everything in it, letters of several bytes too."""
    speech = [
        Reasoning("Schön."),
        Text("naïve 🌧️ 日本 rain"),
        Refusal("Nö."),
        Calls([("get_weather", {"city": "Ålesund"})]),
    ]
    return wire(speech)


@given(
    cuts=st.lists(st.integers(0, 12_000), max_size=40),
    framing=st.sampled_from([lambda data: data, *FRAMINGS.values()]),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
def test_where_the_network_cuts_does_not_matter(
    cuts: list[int], framing: Callable[[bytes], bytes]
) -> None:
    """Whatever pieces the bytes come in, inside a letter or a line end, the same is heard."""
    data = framing(mixed())
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    assert asyncio.run(_read_alone(*pieces)) == asyncio.run(_read_alone(mixed()))


@pytest.mark.parametrize("name", ["CR", "CRLF", "data in two lines, CRLF", "no event lines"])
def test_one_byte_at_a_time(name: str) -> None:
    """The smallest pieces change nothing, not even between the two halves of a line end."""
    whole = asyncio.run(_read_alone(mixed()))
    data = FRAMINGS[name](mixed())
    assert isinstance(whole[1], ModelResponse)
    assert asyncio.run(_read_alone(*(data[i : i + 1] for i in range(len(data))))) == whole


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "content",
                    "text",
                    "output",
                    "usage",
                    "status",
                    "id",
                    "error",
                    "code",
                    "reason",
                    "incomplete_details",
                    "name",
                    "call_id",
                    "arguments",
                    "input_tokens",
                    "total_tokens",
                    "output_tokens",
                    "input_tokens_details",
                    "cached_tokens",
                    "summary",
                    "refusal",
                ]
            ),
            inner
            | st.sampled_from(
                [
                    "message",
                    "function_call",
                    "reasoning",
                    "output_text",
                    "failed",
                    "incomplete",
                    "completed",
                ]
            ),
            max_size=5,
        )
    ),
    max_leaves=12,
)
_odd_events = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            [
                "response.created",
                "response.output_text.delta",
                "response.refusal.delta",
                "response.output_item.done",
                "response.completed",
                "response.failed",
                "response.incomplete",
                "response.error",
                "error",
                "x",
            ]
        )
        | _json
    },
    optional={"delta": _json, "item": _json, "response": _json, "error": _json, "code": _json},
)


@given(st.lists(_odd_events | _json, max_size=4))
@settings(max_examples=600, deadline=None)
def test_events_that_make_no_sense_end_in_our_errors(stream: list[Any]) -> None:
    """Any JSON at all is a usable response or one of our errors."""
    data = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in stream)
    _usable(asyncio.run(_read_alone(data)))


@given(st.binary(max_size=60), st.integers(0, 6_000), st.integers(0, 60))
@settings(max_examples=600, deadline=None)
def test_garbage_ends_in_our_errors(garbage: bytes, at: int, lost: int) -> None:
    """Bytes that were damaged on their way are a usable response or one of our errors."""
    _usable(asyncio.run(_read_alone(garbage)))
    _usable(asyncio.run(_read_alone(mixed()[:at] + garbage + mixed()[at + lost :])))


def _usable(heard: tuple[list[Any], Any]) -> None:
    calls, result = heard
    assert all(isinstance(call, str) for call in calls)
    msgspec.json.encode(calls)
    if isinstance(result, ModelResponse):
        msgspec.json.encode([item.model_dump(exclude_unset=True) for item in result.output])


def test_an_endless_event_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never ends its line cannot fill our memory."""
    monkeypatch.setattr("common.llm.fast._LARGEST_EVENT", 10_000)
    assert asyncio.run(_read_alone(*[b"x" * 1000] * 50))[1] is VendorRejected


# --- the request ----------------------------------------------------------------------------------

_OTHER = Agent(name="Other", handoff_description="Helps.")
REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "text input": {"input": "hello", "system_instructions": None},
    "tools": {"tools": [WEATHER, NEWS], "handoffs": [handoff(_OTHER)]},
    "parallel": {"tools": [WEATHER], "model_settings": ModelSettings(parallel_tool_calls=True)},
    "parallel without tools": {"model_settings": ModelSettings(parallel_tool_calls=False)},
    "forced tool": {
        "tools": [WEATHER, NEWS],
        "model_settings": ModelSettings(tool_choice="get_news", parallel_tool_calls=False),
    },
    "no tool": {"tools": [WEATHER], "model_settings": ModelSettings(tool_choice="none")},
    "everything": {
        "tools": [WEATHER],
        "model_settings": ModelSettings(
            temperature=0.2,
            top_p=0.9,
            max_tokens=100,
            truncation="auto",
            store=False,
            metadata={"a": "b"},
            reasoning=ReasoningSettings(effort="low", summary="auto"),
            verbosity="low",
            include_usage=True,
            response_include=["reasoning.encrypted_content"],
            extra_args={"prompt_cache_key": "k", "safety_identifier": "s"},
        ),
    },
    "history": {
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Wetter in Ålesund? 🌧"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
            {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": '{"a": 1}'},
            {"role": "assistant", "content": "Rain."},
            {"role": "user", "content": "And now?"},
        ],
        "tools": [WEATHER],
    },
}


@pytest.mark.parametrize("name", REQUESTS)
def test_it_asks_what_the_sdk_asks(name: str) -> None:
    """The endpoint cannot tell the two models apart by what they send; not the second time."""

    async def run() -> None:
        with FakeOpenAI(default=Raw([wire(Text("Hi"))]), validate=False) as fake:
            async with models(fake.base_url) as (fast, sdk):
                for model in (fast, fast, sdk):
                    await heard(model, **REQUESTS[name])
        ours, again, theirs = fake.requests
        assert ours.body == again.body == theirs.body
        assert list(ours.body.get("tools", [])) == theirs.body.get("tools", [])
        for header in ("content-type", "authorization"):
            assert ours.headers[header] == theirs.headers[header]

    asyncio.run(run())


def test_a_tool_that_changes_is_sent_as_it_is() -> None:
    """Two tools of one name in two agents are not taken for each other."""
    other = FunctionTool(
        name="get_weather", description="Other.", params_json_schema=SCHEMA, on_invoke_tool=_invoke
    )

    async def run() -> list[str]:
        async with models("http://127.0.0.1:9/v1") as (fast, _):
            bodies = [
                fast.body(_Call(**arguments(tools=[tool]))) for tool in (WEATHER, other, WEATHER)
            ]
        return [json.loads(body)["tools"][0]["description"] for body in bodies]

    assert asyncio.run(run()) == ["Weather.", "Other.", "Weather."]


def test_only_openai_is_asked_to_leave_the_padding_out() -> None:
    """The parameter that makes deltas smaller goes to the endpoint that is known to have it."""

    async def options(base_url: str) -> Any:
        async with models(base_url) as (fast, _):
            return json.loads(fast.body(_Call(**arguments()))).get("stream_options")

    official = asyncio.run(options("https://api.openai.com/v1"))
    assert official == {"include_obfuscation": False}
    assert asyncio.run(options("http://localhost:11434/v1")) is None


SPECIAL: dict[str, dict[str, Any]] = {
    "hosted tools": {"tools": [WebSearchTool()]},
    "a previous response": {"previous_response_id": "resp_1"},
    "a stored prompt": {"prompt": {"id": "pmpt_1"}},
    "structured output": {"output_schema": AgentOutputSchema(dict[str, str], False)},
    "own headers": {"model_settings": ModelSettings(extra_headers={"x-a": "b"})},
    "own body": {"model_settings": ModelSettings(extra_body={"a": "b"})},
    "unknown arguments": {"model_settings": ModelSettings(extra_args={"timeout": 9})},
}


@pytest.mark.parametrize("name", SPECIAL)
def test_what_it_does_not_know_the_sdk_does(name: str) -> None:
    """An unusual request works as ever, made by the SDK's own model."""

    async def run() -> None:
        with FakeOpenAI(default=Raw([wire(Text("Hi there"))]), validate=False) as fake:
            async with models(fake.base_url) as (fast, sdk):
                ours, theirs = await heard(fast, **SPECIAL[name]), await heard(sdk, **SPECIAL[name])
        assert ours == theirs
        assert ours[0][:-1] == ["Hi", " there"]
        assert fake.requests[0].body == fake.requests[1].body
        assert fake.requests[0].headers["user-agent"] == fake.requests[1].headers["user-agent"]

    asyncio.run(run())


# --- before the answer begins ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (HttpError(400), VendorRejected),
        (HttpError(400, "context_length_exceeded"), InvalidInput),
        (HttpError(401), Misconfigured),
        (HttpError(403), Misconfigured),
        (HttpError(404), Misconfigured),
        (HttpError(413), InvalidInput),
        (HttpError(429, retry_after=60.0), RateLimited),
        (HttpError(429, "insufficient_quota"), BudgetExceeded),
        (HttpError(503, headers={"x-should-retry": "false"}), VendorUnavailable),
        (Raw([b"<html>"], status=502), VendorUnavailable),
        (Raw([b'{"error": "odd"}'], status=400), VendorRejected),
    ],
)
def test_refusals_read_as_with_the_sdk(step: Answer, error: type[OdaiError]) -> None:
    """A refused request is the same error whichever model was refused."""

    async def run() -> None:
        with FakeOpenAI(default=step, validate=False) as fake:
            async with models(fake.base_url) as (fast, sdk):
                assert await heard(fast) == await heard(sdk) == ([], error)

    asyncio.run(run())


def _tried(*steps: Answer) -> tuple[list[Any], Any, list[float], int]:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def run() -> tuple[list[Any], Any, list[float], int]:
        with FakeOpenAI(*steps) as fake:
            async with models(fake.base_url, sleep=sleep) as (fast, _):
                calls, result = await heard(fast)
        return calls, result, pauses, len(fake.requests)

    return asyncio.run(run())


@pytest.mark.parametrize(
    "step",
    [
        HttpError(429),
        HttpError(408),
        HttpError(409),
        HttpError(500),
        Cut(after=None),
        HttpError(400, headers={"x-should-retry": "true"}),
    ],
    ids=str,
)
def test_a_passing_failure_is_not_noticed(step: Answer) -> None:
    """The answer comes although the endpoint failed twice before it began."""
    calls, result, pauses, requests = _tried(step, step, Text("Here I am."))
    assert isinstance(result, ModelResponse)
    assert "".join(calls[:-1]) == "Here I am."
    assert requests == 3
    assert 0.37 <= pauses[0] <= 0.5 < 0.75 <= pauses[1] <= 1.0


def test_the_endpoint_names_the_pause() -> None:
    """We wait as long as the endpoint asks, where that is short."""
    _, result, pauses, _ = _tried(
        HttpError(429, retry_after=1.5),
        HttpError(503, headers={"retry-after-ms": "20"}),
        Text("Hi"),
    )
    assert isinstance(result, ModelResponse)
    assert pauses == [1.5, 0.02]


@pytest.mark.parametrize(
    ("steps", "error", "requests"),
    [
        ([HttpError(503)] * 3, VendorUnavailable, 3),
        ([HttpError(429, retry_after=30.0)], RateLimited, 1),
        ([HttpError(429, "insufficient_quota")], BudgetExceeded, 1),
        ([HttpError(503, headers={"x-should-retry": "false"})], VendorUnavailable, 1),
        ([HttpError(400)], VendorRejected, 1),
        ([Cut(after=1)], VendorUnavailable, 1),
    ],
)
def test_what_lasts_is_told(steps: list[Answer], error: type[OdaiError], requests: int) -> None:
    """Where trying again cannot help, or has not helped, the person hears it at once."""
    _, result, _, made = _tried(*steps)
    assert (result, made) == (error, requests)


def test_the_wait_that_was_asked_for_is_told() -> None:
    """A rate limit says when it ends."""

    async def run() -> float | None:
        with FakeOpenAI(HttpError(429, retry_after=30.0)) as fake:
            async with models(fake.base_url) as (fast, _):
                sink.set(Told())
                with pytest.raises(RateLimited) as caught:
                    await fast.get_response(**arguments())
        return caught.value.retry_after

    assert asyncio.run(run()) == 30.0


def test_nobody_listens() -> None:
    """An endpoint that is not there is unavailable, after three attempts."""

    async def run() -> tuple[list[Any], Any]:
        async with models("http://127.0.0.1:9/v1") as (fast, _):
            return await heard(fast)

    assert asyncio.run(run()) == ([], VendorUnavailable)


def test_silence_ends_the_call() -> None:
    """An endpoint that stops talking is given up after the configured time."""

    async def run() -> tuple[list[Any], Any]:
        with FakeOpenAI(Raw([wire(Text("Hi"))[:700], b": late\n\n"], pause_s=1.0)) as fake:
            client = openai.AsyncOpenAI(base_url=fake.base_url, api_key="test")
            fast = FastResponsesModel("gpt-fake", client, silence_s=0.05)
            try:
                return await heard(fast)
            finally:
                await fast.close()
                await client.close()

    assert asyncio.run(run())[1] is VendorUnavailable


def test_one_connection_serves_call_after_call() -> None:
    """A second call does not wait for a new connection."""

    async def run() -> int:
        with FakeOpenAI(Text("Hi"), Text("Ho")) as fake:
            async with models(fake.base_url) as (fast, _):
                for _ in range(2):
                    await heard(fast)
                    async with asyncio.timeout(5.0):
                        while not fast._connections.idle:
                            await asyncio.sleep(0.001)
                return len(fast._connections.all)

    assert asyncio.run(run()) == 1


def test_a_stopped_call_leaves_the_endpoint() -> None:
    """Stopping a turn ends the stream at the endpoint as well."""

    async def run() -> str:
        with FakeOpenAI(Reply(Text("a b c"), interval_s=60.0)) as fake:
            async with models(fake.base_url) as (fast, _):
                task = asyncio.create_task(heard(fast))
                request = await asyncio.to_thread(fake.wait_for, 1)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await asyncio.to_thread(request.finished.wait, 5.0)
            return request.outcome

    assert asyncio.run(run()) == "client_gone"


# --- in the provider ------------------------------------------------------------------------------


def _endpoint(base_url: str, api: str = "auto") -> EndpointModel:
    return EndpointModel(
        Settings.from_env(
            {"OPENAI_BASE_URL": base_url, "ODAI_MODEL": "gpt-fake", "ODAI_MODEL_API": api}
        )
    )


def test_an_endpoint_without_responses_is_asked_by_chat() -> None:
    """A server that has only Chat Completions answers, and is asked the old way once only."""

    async def run() -> None:
        with FakeOpenAI(Text("Hi there"), Text("Again"), responses_api=False) as fake:
            model = _endpoint(fake.base_url)
            try:
                assert (await heard(model))[0][:-1] == ["Hi", " there"]
                assert (await heard(model))[0][:-1] == ["Again"]
            finally:
                await model.close()
        paths = [request.path for request in fake.requests]
        assert paths == ["/v1/responses", "/v1/chat/completions", "/v1/chat/completions"]

    asyncio.run(run())


@pytest.mark.parametrize("code", [None, "model_not_found"])
def test_an_unknown_model_is_not_an_unknown_path(code: str | None) -> None:
    """A wrong model name is reported as such and not tried by Chat Completions."""

    async def run() -> None:
        with FakeOpenAI(HttpError(404, code)) as fake:
            model = _endpoint(fake.base_url)
            try:
                assert await heard(model) == ([], Misconfigured)
            finally:
                await model.close()
        assert len(fake.requests) == 1

    asyncio.run(run())
