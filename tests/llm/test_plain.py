"""One plain question to a model endpoint, and what becomes of answers that are none."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from common.egress import Egress
from common.errors import OdaiError, RateLimited, VendorRejected, VendorUnavailable
from common.llm.plain import Answer, PlainModel, schema_of
from tests.fakes.openai_responses import (
    Cut,
    FakeOpenAI,
    HttpError,
    Incomplete,
    Raw,
    Reasoning,
    Refusal,
    Reply,
    Step,
    Text,
    Usage,
)


class Part(msgspec.Struct):
    """One of the things asked for."""

    name: str
    weight: float


class Form(msgspec.Struct):
    """What the model is to fill in."""

    parts: list[Part]
    said: str


FILLED = json.dumps({"parts": [{"name": "a", "weight": 1}], "said": "ü"})


async def ask(fake: FakeOpenAI, api: str = "auto", times: int = 1) -> Answer[Form]:
    """Ask with a client that gives up soon."""
    egress = Egress()
    model = PlainModel(
        egress, model="small", key="k", base_url=fake.base_url, api=api, timeout_s=5.0
    )
    try:
        for _ in range(times):
            answer = await model.ask(Form, instructions="Fill in.", text="What?")
        return answer
    finally:
        await egress.close()


def test_a_form_is_filled_in_by_one_strict_request() -> None:
    """The endpoint is told the form, keeps nothing, and its answer comes back as values."""
    with FakeOpenAI(Reply((Reasoning(), Text(FILLED)), usage=Usage(40, 9, cached=8))) as fake:
        answer = asyncio.run(ask(fake))
    assert answer.value == Form([Part("a", 1.0)], "ü")
    assert answer.usage == {
        "requests": 1, "input_tokens": 40, "cached_tokens": 8, "output_tokens": 9
    }  # fmt: skip
    (request,) = fake.requests
    assert request.body["store"] is False
    assert "stream" not in request.body
    assert request.body["text"]["format"]["strict"] is True
    assert request.body["instructions"] == "Fill in."


def test_an_endpoint_without_the_responses_api_is_asked_in_the_other_way() -> None:
    """A compatible server that knows Chat Completions alone serves as well, found out once."""
    script: list[Step] = [Text(FILLED), Text(f"```json\n{FILLED}\n```")]
    with FakeOpenAI(*script, responses_api=False) as fake:
        answer = asyncio.run(ask(fake, times=2))
    assert answer.value.said == "ü"
    assert [request.path for request in fake.requests] == [
        "/v1/responses", "/v1/chat/completions", "/v1/chat/completions",
    ]  # fmt: skip
    assert answer.usage["requests"] == 1


def test_chat_completions_may_be_asked_for_outright() -> None:
    """With the interface named, nothing else is tried."""
    with FakeOpenAI(Text(FILLED)) as fake:
        assert asyncio.run(ask(fake, api="chat")).value.said == "ü"
    assert fake.requests[0].body["response_format"]["json_schema"]["name"] == "Form"


@pytest.mark.parametrize(
    "answer",
    [
        Text("word word word"), Text(""), Text("{}"), Text('{"parts": 3, "said": "x"}'),
        Text("[" * 20_000), Text('"\\ud800"'), Refusal(), Incomplete(of=Text('{"parts": [')),
    ],
)  # fmt: skip
def test_nonsense_is_refused_not_returned(answer: Any) -> None:
    """Prose, half a form, another form or none at all are an error, never a guess."""
    with FakeOpenAI(answer) as fake, pytest.raises(VendorRejected) as caught:
        asyncio.run(ask(fake))
    assert "word" not in str(caught.value)


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (HttpError(500), VendorUnavailable),
        (HttpError(429), RateLimited),
        (HttpError(401), VendorRejected),
        (HttpError(400), VendorRejected),
        (HttpError(404, "model_not_found"), VendorRejected),
        (Cut(None), VendorUnavailable),
        (Raw([b"<html>"], content_type="text/html"), VendorUnavailable),
        (Raw([b"[]"], content_type="application/json"), VendorUnavailable),
        (Raw([b'{"output": 3}'], content_type="application/json"), VendorUnavailable),
        (Raw([b'{"output": []}'], content_type="application/json"), VendorRejected),
    ],
)
def test_an_endpoint_s_failures_are_ours(step: Any, error: type[OdaiError]) -> None:
    """Whatever the endpoint does, what comes out is an error of our own."""
    with FakeOpenAI(default=step) as fake, pytest.raises(error):
        asyncio.run(ask(fake))
    assert len(fake.requests) <= 3


def test_a_failure_that_passes_is_not_noticed() -> None:
    """One 500 is tried again."""
    with FakeOpenAI(HttpError(500), Text(FILLED)) as fake:
        assert asyncio.run(ask(fake)).value.said == "ü"


def test_the_schema_is_strict_through_and_through() -> None:
    """Every object of a form closes itself, as strict structured output demands."""
    schema = schema_of(Form)
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Part"]["additionalProperties"] is False
    assert schema["required"] == ["parts", "said"]


def test_asking_plainly_loads_no_model_library() -> None:
    """A function that asks for a title starts without `agents` and `openai`."""
    code = (
        "import common.llm.plain, sys; print(any(m in sys.modules for m in ('agents', 'openai')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"
