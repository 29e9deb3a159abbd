"""A scriptable loopback OpenAI: `POST /v1/responses` and a small `POST /v1/chat/completions`.

Tests and benchmarks speak to it through the real clients, so what they exercise is the wire: event
order, `sequence_number`, error shapes, torn streams. It refuses what the real API refuses, above
all a history with an unanswered tool call, and it fails loudly on a request nobody scripted.

In a test (own thread, own event loop, a free port of 127.0.0.1)::

    with FakeOpenAI(Calls([("get_weather", {"city": "Oslo"})]), Text("It rains.")) as fake:
        client = AsyncOpenAI(base_url=fake.base_url, api_key="test")
        ...
    # leaving the block fails on an unexpected request or an unused step

As a process, for benchmarks::

    python -m tests.fakes.openai_responses --port 8123 --deltas 200 --interval-ms 20 --text "word "

Not imitated: background responses, conversations, hosted tools, the WebSocket form, compaction.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import resource
import secrets
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, Self

import msgspec
from aiohttp import web

from tests.fakes.served import Served

Json = dict[str, Any]

MODEL_SNAPSHOT = "2026-01-01"
STAMP = b"@%019d" % 0
_HOLDER = "~" * 40
_STORED_RESPONSES = 256
_encode = msgspec.json.encode


# --- what a script says ---------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Text:
    """Say `text`, in the given `chunks` (which must join to it) or word by word.

    `phase` is `commentary` or `final_answer`; `annotations` are sent as they are.
    """

    text: str
    chunks: Sequence[str] = ()
    phase: str | None = None
    annotations: Sequence[Json] = ()

    def __post_init__(self) -> None:
        if self.chunks and "".join(self.chunks) != self.text:
            raise ValueError("the chunks of a Text must join to its text")

    def pieces(self) -> list[str]:
        return list(self.chunks) or re.findall(r"\s*\S+|\s+$", self.text) or [""]


@dataclass(frozen=True, eq=False)
class Calls:
    """Call functions in parallel: `(name, arguments)` or `(name, arguments, call_id)` each.

    Arguments are a dict, or a string sent as it is (for malformed JSON). A call the request does
    not offer (name, `tool_choice`, `parallel_tool_calls`) is a mistake of the script, unless
    `offered=False` says that the model invents it.
    """

    calls: Sequence[tuple[str, Json | str] | tuple[str, Json | str, str]]
    offered: bool = True


@dataclass(frozen=True, eq=False)
class Reasoning:
    """Think first.

    The summary streams only if the request asks for one (`reasoning.summary`), and `encrypted` is
    sent only if `include` has `reasoning.encrypted_content`.
    """

    summary: str = ""
    encrypted: str = "gAAAAAB-fake-reasoning"
    tokens: int = 64


@dataclass(frozen=True, eq=False)
class Refusal:
    """Decline, as a refusal part of a message."""

    refusal: str = "I can't help with that."


Part = Text | Calls | Reasoning | Refusal


@dataclass(frozen=True)
class Usage:
    """Token counts to report instead of the estimate (4 bytes a token in, a piece a token out)."""

    input: int
    output: int
    cached: int = 0
    reasoning: int = 0


class Gate:
    """Holds a stream until the test opens it; `reached` is set when a stream stands before it."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._lock = threading.Lock()
        self._open = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def open(self) -> None:
        """Let the held streams, and all later ones, go on. Callable from any thread."""
        with self._lock:
            self._open = True
            waiting, self._waiting = self._waiting, []
        for loop, event in waiting:
            loop.call_soon_threadsafe(event.set)

    async def passed(self) -> None:
        """Return once the gate is open."""
        event = asyncio.Event()
        with self._lock:
            if self._open:
                event.set()
            else:
                self._waiting.append((asyncio.get_running_loop(), event))
        self.reached.set()
        await event.wait()


@dataclass(frozen=True, eq=False)
class Reply:
    """Answer with several parts, or with a pace.

    `first_delay_s` passes before the first delta and `interval_s` between deltas, on an absolute
    schedule. A `gate` stops the stream before delta number `gate_after` (from 0).
    """

    parts: Part | Sequence[Part] = ()
    usage: Usage | None = None
    interval_s: float = 0.0
    first_delay_s: float = 0.0
    gate: Gate | None = None
    gate_after: int = 0

    def __iter__(self) -> Iterator[Part]:
        return iter((self.parts,) if isinstance(self.parts, Part) else self.parts)


Speech = Part | Sequence[Part] | Reply
_SAMPLE = Text("Hello there, how are you?")


@dataclass(frozen=True, eq=False)
class Incomplete:
    """End early with `response.incomplete`: max_output_tokens, content_filter, ..."""

    reason: str = "max_output_tokens"
    of: Speech = _SAMPLE


@dataclass(frozen=True, eq=False)
class Failed:
    """Send the deltas of `of`, then `response.failed` with `response.error`."""

    code: str = "server_error"
    message: str = "The server had an error while processing your request."
    of: Speech = ()


@dataclass(frozen=True, eq=False)
class StreamError:
    """Send an `error` event after `after` deltas of `of`, in either shape seen on the wire.

    `response.failed` follows unless `then_failed=False`. Without streaming it is an HTTP 500.
    """

    shape: Literal["typed", "nested"] = "typed"
    after: int = 0
    code: str = "server_error"
    message: str = "The server had an error while processing your request."
    of: Speech = _SAMPLE
    then_failed: bool = True


@dataclass(frozen=True, eq=False)
class Cut:
    """Drop the connection after `after` deltas of `of`; `None`: before any byte of an answer."""

    after: int | None = 0
    of: Speech = _SAMPLE


@dataclass(frozen=True, eq=False)
class HttpError:
    """Answer with an HTTP error; type and message follow from status and code if not given.

    `retry_after` is in seconds and becomes the `retry-after` header.
    """

    status: int
    code: str | None = None
    retry_after: float | None = None
    message: str | None = None
    type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Raw:
    """Send these bytes as they are, one HTTP chunk each; `cut` then drops the connection."""

    chunks: Sequence[bytes]
    cut: bool = False
    status: int = 200
    content_type: str = "text/event-stream; charset=utf-8"
    pause_s: float = 0.001


class Steady:
    """A reply encoded once and sent to everybody, for benchmarks.

    Only the ids differ between its streams; tools and instructions echo the first request. With
    `stamp`, each text delta starts with `@` and the sender's 19-digit `time.monotonic_ns()`.
    """

    def __init__(self, of: Speech, *, stamp: bool = False) -> None:
        self.reply = _reply(of)
        self.stamp = stamp
        self._answers: dict[tuple[str, bool], _Slots] = {}

    def slots(self, path: str, body: Json) -> _Slots:
        key = (path, _obfuscates(body))
        if key not in self._answers:
            answer = _answer(path, body, _Plan(self.reply), _HOLDER)
            self._answers[key] = _Slots.of(answer)
        return self._answers[key]


Answer = Part | Sequence[Part] | Reply | Incomplete | Failed | StreamError | Cut | HttpError | Raw
Step = Answer | Steady | Callable[[Json], "Answer | Steady"]


def _reply(of: Speech) -> Reply:
    return of if isinstance(of, Reply) else Reply(of)


# --- what the real API refuses --------------------------------------------------------------------

_RESPONSES_PARAMETERS = frozenset(
    re.findall(
        r"\w+",
        """access_programs background background_options context_management conversation image
    include input instructions max_output_tokens max_tool_calls metadata model moderation
    parallel_tool_calls previous_response_id prompt prompt_cache_key prompt_cache_options
    prompt_cache_retention reasoning safety_identifier service_tier store stream stream_options
    temperature text tool_choice tools top_logprobs top_p truncation user""",
    )
)
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "max_output_tokens": (16, 1e9),
    "temperature": (0, 2),
    "top_p": (0, 1),
}
_ID_PREFIXES = {"message": "msg", "function_call": "fc", "reasoning": "rs"}
_LIMIT_NAME = 64
_LIMIT_SAFETY_IDENTIFIER = 128


class _Refused(Exception):
    """The request is one the real API would not take."""

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = {
            "message": message,
            "type": "invalid_request_error",
            "param": param,
            "code": code,
        }


@dataclass
class _Memory:
    """What the server keeps of earlier responses: with `store`, and which item needs which."""

    stored: dict[str, tuple[list[Json], Json]] = field(default_factory=dict)
    reasoning: set[str] = field(default_factory=set)
    reasoned: dict[str, str] = field(default_factory=dict)

    def remember(self, body: Json, response: Json) -> None:
        output = response["output"]
        for before, after in pairwise(output):
            if before["type"] == "reasoning":
                self.reasoned[after["id"]] = before["id"]
        if body.get("store") is False:
            return
        self.reasoning.update(item["id"] for item in output if item["type"] == "reasoning")
        earlier = self.history(body)
        self.stored[response["id"]] = ([*earlier, *_items(body), *output], response)
        while len(self.stored) > _STORED_RESPONSES:
            del self.stored[next(iter(self.stored))]

    def history(self, body: Json) -> list[Json]:
        """Return the items behind `previous_response_id`."""
        previous = body.get("previous_response_id")
        if previous is None:
            return []
        if previous not in self.stored:
            raise _Refused(
                f"Previous response with id '{previous}' not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        return self.stored[previous][0]


def _items(body: Json) -> list[Json]:
    given = body.get("input")
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return list(given or [])


def _check_responses(body: Json, memory: _Memory) -> None:
    for name in body:
        if name == "messages":
            raise _Refused(
                "Unsupported parameter: 'messages'. In the Responses API, this parameter has moved "
                "to 'input'. Try again with the new parameter.",
                param=name,
                code="unsupported_parameter",
            )
        if name not in _RESPONSES_PARAMETERS:
            raise _Refused(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    _require(body, "model")
    if not any(body.get(name) for name in ("previous_response_id", "prompt", "conversation")):
        _require(body, "input")
    if body.get("previous_response_id") and body.get("conversation"):
        raise _Refused(
            "Mutually exclusive parameters: 'previous_response_id' and 'conversation'.",
            code="mutually_exclusive_parameters",
        )
    _check_ranges(body)
    _check_tools(body.get("tools") or [], body.get("tool_choice"))
    form = (body.get("text") or {}).get("format") or {}
    if form.get("type") == "json_schema" and form.get("strict"):
        _check_schema(
            form.get("schema"),
            f"response_format '{form.get('name')}'",
            param="text.format.schema",
            code="invalid_json_schema",
        )
    _check_items(_items(body), memory.history(body), memory)


def _require(body: Json, name: str) -> None:
    if body.get(name) is None:
        raise _Refused(
            f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
        )


def _check_ranges(body: Json) -> None:
    for name, (low, high) in _BOUNDS.items():
        value = body.get(name)
        if value is None or low <= value <= high:
            continue
        kind = "integer" if isinstance(value, int) else "decimal"
        side, sign, bound = (
            ("below minimum", ">=", low) if value < low else ("above maximum", "<=", high)
        )
        raise _Refused(
            f"Invalid '{name}': {kind} {side} value. Expected a value {sign} {bound}, "
            f"but got {value} instead.",
            param=name,
            code=f"{kind}_{side.replace(' ', '_').removesuffix('imum')}_value",
        )
    _check_length(body.get("safety_identifier"), "safety_identifier", _LIMIT_SAFETY_IDENTIFIER)
    metadata = body.get("metadata") or {}
    if len(metadata) > 16:
        raise _Refused(
            f"Invalid 'metadata': too many properties. Expected an object with at most 16 "
            f"properties, but got an object with {len(metadata)} properties instead.",
            param="metadata",
            code="object_above_max_properties",
        )
    for key, value in metadata.items():
        _check_length(key, "metadata", 64)
        _check_length(value, f"metadata.{key}", 512)


def _check_length(value: str | None, param: str, limit: int) -> None:
    if value is not None and len(value) > limit:
        raise _Refused(
            f"Invalid '{param}': string too long. Expected a string with maximum length {limit}, "
            f"but got a string with length {len(value)} instead.",
            param=param,
            code="string_above_max_length",
        )


def _check_tools(tools: Sequence[Json], choice: Any, *, nested: str = "") -> None:
    """Check the function tools of either endpoint; `nested` is chat's `function.` level."""
    for index, tool in enumerate(tools):
        if tool.get("type") != "function":
            continue
        at = f"tools[{index}].{nested}"
        spec = tool.get("function", {}) if nested else tool
        name = spec.get("name")
        if not isinstance(name, str):
            raise _Refused(
                f"Missing required parameter: '{at}name'.",
                param=f"{at}name",
                code="missing_required_parameter",
            )
        _check_length(name, f"{at}name", _LIMIT_NAME)
        if not re.fullmatch(r"[a-zA-Z0-9_-]+", name):
            raise _Refused(
                f"Invalid '{at}name': string does not match pattern. Expected a string that "
                "matches the pattern '^[a-zA-Z0-9_-]+$'.",
                param=f"{at}name",
                code="invalid_value",
            )
        if spec.get("strict"):
            _check_schema(
                spec.get("parameters"),
                f"function '{name}'",
                param=f"{at}parameters",
                code="invalid_function_parameters",
            )
    if isinstance(choice, dict) and choice.get("type") == "function":
        wanted = choice.get("function", choice).get("name")
        if wanted not in _offered({"tools": tools}):
            raise _Refused(
                f"Tool choice 'function' not found in 'tools' parameter: '{wanted}'.",
                param="tool_choice",
            )


def _check_schema(schema: Any, owner: str, *, param: str, code: str) -> None:
    problem = _strict_problem(schema if isinstance(schema, dict) else {}, (), top=True)
    if problem:
        raise _Refused(f"Invalid schema for {owner}: {problem}", param=param, code=code)


def _strict_problem(schema: Json, context: tuple[str, ...], *, top: bool = False) -> str | None:
    if top and schema.get("type") != "object":
        kind = schema.get("type")
        return f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
    properties = schema.get("properties") or {}
    if "object" in (schema.get("type"), *_listed(schema.get("type"))) or properties:
        if schema.get("additionalProperties") is not False:
            return (
                f"In context={context}, 'additionalProperties' is required to be supplied and to "
                "be false."
            )
        missing = next((key for key in properties if key not in schema.get("required", [])), None)
        if missing is not None:
            return (
                f"In context={context}, 'required' is required to be supplied and to be an array "
                f"including every key in properties. Missing '{missing}'."
            )
        extra = next((key for key in schema.get("required", []) if key not in properties), None)
        if extra is not None:
            return f"In context={context}, 'required' has an extra key '{extra}'."
    children: list[tuple[tuple[str, ...], Any]] = [
        ((*context, group, key), child)
        for group in ("properties", "$defs", "definitions")
        for key, child in (schema.get(group) or {}).items()
    ]
    children += [
        ((*context, "anyOf", str(number)), child)
        for number, child in enumerate(schema.get("anyOf") or [])
    ]
    children.append(((*context, "items"), schema.get("items")))
    problems = (_strict_problem(child, at) for at, child in children if isinstance(child, dict))
    return next(filter(None, problems), None)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _check_items(items: Sequence[Json], history: Sequence[Json], memory: _Memory) -> None:
    for index, item in enumerate(items):
        at = f"input[{index}]"
        kind = item.get("type", "message")
        prefix, given = _ID_PREFIXES.get(kind), item.get("id")
        if prefix and isinstance(given, str) and not given.startswith(prefix):
            raise _Refused(
                f"Invalid '{at}.id': '{given}'. Expected an ID that begins with '{prefix}'.",
                param=f"{at}.id",
                code="invalid_value",
            )
        if kind in ("function_call", "function_call_output"):
            _require_in(item, "call_id", at)
            _check_length(item["call_id"], f"{at}.call_id", _LIMIT_NAME)
        if kind == "function_call":
            _require_in(item, "name", at)
            _check_text(item.get("arguments"), f"{at}.arguments", (str,))
        if kind == "function_call_output":
            _check_text(item.get("output"), f"{at}.output", (str, list))
    everything = [*history, *items]
    calls = [item["call_id"] for item in everything if item.get("type") == "function_call"]
    answered = [item["call_id"] for item in items if item.get("type") == "function_call_output"]
    earlier = {item["call_id"] for item in history if item.get("type") == "function_call_output"}
    for call_id in calls:
        if call_id not in earlier and call_id not in answered:
            raise _Refused(f"No tool output found for function call {call_id}.", param="input")
    for call_id in answered:
        if call_id not in calls:
            raise _Refused(
                f"No tool call found for function call output with call_id {call_id}.",
                param="input",
            )
    _check_reasoning(items, {str(item.get("id")) for item in everything}, memory)


def _require_in(item: Json, name: str, at: str) -> None:
    if item.get(name) is None:
        raise _Refused(
            f"Missing required parameter: '{at}.{name}'.",
            param=f"{at}.{name}",
            code="missing_required_parameter",
        )


def _check_text(value: Any, param: str, kinds: tuple[type, ...]) -> None:
    if isinstance(value, kinds):
        return
    names = {dict: "an object", type(None): "null", list: "an array", int: "an integer"}
    wanted = "a string" if kinds == (str,) else "one of an array of objects or string"
    raise _Refused(
        f"Invalid type for '{param}': expected {wanted}, but got "
        f"{names.get(type(value), type(value).__name__)} instead.",
        param=param,
        code="invalid_type",
    )


def _check_reasoning(items: Sequence[Json], present: set[str], memory: _Memory) -> None:
    for index, item in enumerate(items):
        given = item.get("id")
        if item.get("type") == "reasoning" and given:
            if not item.get("encrypted_content") and given not in memory.reasoning:
                raise _Refused(
                    f"Item with id '{given}' not found. Items are not persisted when `store` is "
                    "set to false. Try again with `store` set to true, or remove this item from "
                    "your input.",
                    param="input",
                    status=404,
                )
            follower = items[index + 1] if index + 1 < len(items) else {}
            if given in memory.reasoned.values() and (
                follower.get("type") not in ("message", "function_call", "reasoning")
                and follower.get("role") != "assistant"
            ):
                raise _Refused(
                    f"Item '{given}' of type 'reasoning' was provided without its required "
                    "following item.",
                    param="input",
                )
        needed = memory.reasoned.get(str(given))
        if needed and needed not in present:
            raise _Refused(
                f"Item '{given}' of type '{item.get('type', 'message')}' was provided without its "
                f"required 'reasoning' item: '{needed}'.",
                param="input",
            )


def _check_chat(body: Json) -> None:
    _require(body, "model")
    _require(body, "messages")
    _check_tools(body.get("tools") or [], body.get("tool_choice"), nested="function.")
    messages = body["messages"]
    for index, message in enumerate(messages):
        calls = [call["id"] for call in message.get("tool_calls") or []]
        after = messages[index + 1 : index + 1 + len(calls)]
        answered = {item.get("tool_call_id") for item in after if item.get("role") == "tool"}
        missing = [call_id for call_id in calls if call_id not in answered]
        if missing:
            raise _Refused(
                "An assistant message with 'tool_calls' must be followed by tool messages "
                "responding to each 'tool_call_id'. The following tool_call_ids did not have "
                f"response messages: {', '.join(missing)}",
                param="messages",
            )


def _offered(body: Json) -> set[str]:
    """Return the names of all function tools a request offers, those in namespaces too."""
    names: set[str] = set()
    for tool in body.get("tools") or []:
        spec = tool.get("function") or tool
        if tool.get("type") == "function":
            names.add(str(spec.get("name")))
        names |= _offered(tool)
    return names


def _misscripted(body: Json, reply: Reply) -> str | None:
    """Say why the real model could not have answered this request with these calls."""
    groups = [part for part in reply if isinstance(part, Calls) and part.offered]
    calls = [call for group in groups for call in group.calls]
    if not calls:
        return None
    offered = _offered(body)
    unknown = [call[0] for call in calls if call[0] not in offered]
    if unknown:
        return f"the step calls {unknown}, the request offers only {sorted(offered)}"
    if body.get("tool_choice") == "none":
        return "the step calls tools, the request forbids it (tool_choice none)"
    if len(calls) > 1 and body.get("parallel_tool_calls") is False:
        return "the step makes parallel calls, the request forbids it (parallel_tool_calls false)"
    return None


# --- what goes over the wire ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Frame:
    data: bytes
    delta: bool = False


@dataclass(frozen=True)
class _Plan:
    """One answer in full: what is said, and how it ends."""

    reply: Reply
    ending: Literal["completed", "incomplete", "failed", "error", "cut"] = "completed"
    code: str = ""
    message: str = ""
    after: int | None = None
    nested: bool = False
    then_failed: bool = False


@dataclass(frozen=True)
class _Encoded:
    """A streamed answer as frames, and the same answer as the one object of a plain request."""

    frames: Sequence[_Frame]
    whole: Json


def _plan(step: Answer) -> _Plan:
    match step:
        case Incomplete(reason, of):
            return _Plan(_reply(of), "incomplete", code=reason)
        case Failed(code, message, of):
            return _Plan(_reply(of), "failed", code=code, message=message)
        case StreamError():
            return _Plan(
                _reply(step.of),
                "error",
                code=step.code,
                message=step.message,
                after=step.after,
                nested=step.shape == "nested",
                then_failed=step.then_failed,
            )
        case Cut(after, of):
            return _Plan(_reply(of), "cut", after=after)
        case HttpError() | Raw():
            raise TypeError(f"{type(step).__name__} is not a reply")
        case _:
            return _Plan(_reply(step))


def _answer(path: str, body: Json, plan: _Plan, ident: str) -> _Encoded:
    if path == "/v1/responses":
        return _ResponseStream(body, plan, ident).encode()
    return _ChatStream(body, plan, ident).encode()


def _cut(frames: Sequence[_Frame], after: int) -> list[_Frame]:
    """Return the frames before delta number `after`, or before the end if there are not so many."""
    deltas = [index for index, frame in enumerate(frames) if frame.delta]
    return list(frames[: deltas[after]] if after < len(deltas) else frames[:-1])


def _up_to_last_delta(frames: Sequence[_Frame]) -> list[_Frame]:
    deltas = [index for index, frame in enumerate(frames) if frame.delta]
    return list(frames[: deltas[-1] + 1] if deltas else frames)


def _obfuscates(body: Json) -> bool:
    return (body.get("stream_options") or {}).get("include_obfuscation") is not False


def _snapshot(model: str) -> str:
    return model if re.search(r"\d{4}-\d\d-\d\d$", model) else f"{model}-{MODEL_SNAPSHOT}"


def _arguments(call: Sequence[Any]) -> str:
    given = call[1]
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)


def _split(text: str, size: int = 8) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def _usage(body: Json, reply: Reply, pieces: int) -> Usage:
    if reply.usage:
        return reply.usage
    read = {name: body.get(name) for name in ("input", "messages", "instructions", "tools")}
    thought = sum(part.tokens for part in reply if isinstance(part, Reasoning))
    return Usage(len(_encode(read)) // 4, pieces + thought, reasoning=thought)


class _ResponseStream:
    """Lays out one Responses answer as server-sent events."""

    def __init__(self, body: Json, plan: _Plan, ident: str) -> None:
        self._body, self._plan, self._ident = body, plan, ident
        self._frames: list[_Frame] = []
        self._padding = random.Random(ident) if _obfuscates(body) else None
        self._output: list[Json] = []
        self._made = int(time.time())

    def encode(self) -> _Encoded:
        plan = self._plan
        start = self._object("in_progress")
        self._emit("response.created", response=start)
        self._emit("response.in_progress", response=start)
        singles = [single for part in plan.reply for single in _singles(part)]
        for index, single in enumerate(singles):
            last = index == len(singles) - 1
            cut_short = plan.ending == "incomplete" and last
            self._item(index, single, "incomplete" if cut_short else "completed")
        whole = self._object(plan.ending)
        if plan.ending == "failed":
            self._frames = _up_to_last_delta(self._frames)
        if plan.ending in ("completed", "incomplete", "failed"):
            self._emit(f"response.{plan.ending}", response=whole)
            return _Encoded(self._frames, whole)
        self._emit("response.completed", response=whole)
        if plan.after is not None:
            self._frames = _cut(self._frames, plan.after)
        if plan.ending == "error":
            self._error()
        return _Encoded(self._frames, whole)

    def _emit(self, type_: str, *, piece: str | None = None, **fields: Any) -> None:
        event = {"type": type_, "sequence_number": len(self._frames), **fields}
        if piece is not None:
            event["delta"] = piece
        if piece is not None and self._padding is not None:
            # The real padding hides the length of the delta: the two together fill 16 characters.
            size = 16 - len(piece) % 16
            event["obfuscation"] = "".join(self._padding.choices("abcdefghijkABCDEFGH0123", k=size))
        self._frames.append(
            _Frame(b"event: %b\ndata: %b\n\n" % (type_.encode(), _encode(event)), piece is not None)
        )

    def _id(self, prefix: str, number: int = 0) -> str:
        return f"{prefix}_{self._ident}{number:08d}"

    def _error(self) -> None:
        plan = self._plan
        detail = {"code": plan.code, "message": plan.message, "param": None}
        if plan.nested:
            self._emit("error", error={"type": plan.code, **detail})
        else:
            self._emit("error", **detail)
        if plan.then_failed:
            self._emit("response.failed", response=self._object("failed"))

    def _object(self, status: str) -> Json:
        body, plan = self._body, self._plan
        ended = status in ("completed", "incomplete", "error", "cut")
        failed = {"code": plan.code, "message": plan.message} if status == "failed" else None
        cut_short = {"reason": plan.code} if status == "incomplete" else None
        text = body.get("text") or {}
        reasoning = body.get("reasoning") or {}
        return {
            "id": self._id("resp"),
            "object": "response",
            "created_at": self._made,
            "status": "completed" if status in ("error", "cut") else status,
            "background": False,
            "completed_at": int(time.time()) if status == "completed" else None,
            "error": failed,
            "incomplete_details": cut_short,
            "instructions": body.get("instructions"),
            "max_output_tokens": body.get("max_output_tokens"),
            "max_tool_calls": body.get("max_tool_calls"),
            "model": _snapshot(body["model"]),
            "output": self._output if ended else [],
            "parallel_tool_calls": body.get("parallel_tool_calls", True),
            "previous_response_id": body.get("previous_response_id"),
            "prompt_cache_key": body.get("prompt_cache_key"),
            "prompt_cache_retention": None,
            "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
            "safety_identifier": body.get("safety_identifier"),
            "service_tier": body.get("service_tier") or "auto",
            "store": body.get("store") is not False,
            "temperature": body.get("temperature", 1.0),
            "text": {
                "format": text.get("format") or {"type": "text"},
                "verbosity": text.get("verbosity") or "medium",
            },
            "tool_choice": body.get("tool_choice") or "auto",
            "tools": body.get("tools") or [],
            "top_logprobs": body.get("top_logprobs") or 0,
            "top_p": body.get("top_p", 1.0),
            "truncation": body.get("truncation") or "disabled",
            "usage": self._counted() if ended else None,
            "user": body.get("user"),
            "metadata": body.get("metadata") or {},
        }

    def _counted(self) -> Json:
        pieces = sum(frame.delta for frame in self._frames)
        usage = _usage(self._body, self._plan.reply, pieces)
        return {
            "input_tokens": usage.input,
            "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
            "output_tokens": usage.output,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.input + usage.output,
        }

    def _item(self, index: int, single: _Single, status: str) -> None:
        match single:
            case Text():
                content = {
                    "type": "output_text",
                    "text": single.text,
                    "annotations": list(single.annotations),
                    "logprobs": [],
                }
                self._message(index, content, single.pieces(), status, single.phase)
            case Refusal(refusal):
                content = {"type": "refusal", "refusal": refusal}
                self._message(index, content, Text(refusal).pieces(), status, None)
            case Reasoning():
                self._reasoning(index, single)
            case _:
                self._call(index, single, status)

    def _added(self, index: int, item: Json) -> None:
        self._emit("response.output_item.added", output_index=index, item=item)

    def _done(self, index: int, item: Json) -> None:
        self._emit("response.output_item.done", output_index=index, item=item)
        self._output.append(item)

    def _message(
        self, index: int, content: Json, pieces: Sequence[str], status: str, phase: str | None
    ) -> None:
        item: Json = {"id": self._id("msg", index), "type": "message", "role": "assistant"}
        if phase:
            item["phase"] = phase
        at: Json = {"item_id": item["id"], "output_index": index, "content_index": 0}
        key = "text" if content["type"] == "output_text" else "refusal"
        probabilities: Json = {"logprobs": []} if key == "text" else {}
        empty = {**content, key: ""} | ({"annotations": []} if key == "text" else {})
        self._added(index, {**item, "status": "in_progress", "content": []})
        self._emit("response.content_part.added", **at, part=empty)
        for piece in pieces:
            name = f"response.{content['type']}.delta"
            self._emit(name, piece=piece, **at, **probabilities)
        for number, annotation in enumerate(content.get("annotations", ())):
            self._emit(
                "response.output_text.annotation.added",
                **at,
                annotation_index=number,
                annotation=annotation,
            )
        self._emit(f"response.{content['type']}.done", **at, **{key: content[key]}, **probabilities)
        self._emit("response.content_part.done", **at, part=content)
        self._done(index, {**item, "status": status, "content": [content]})

    def _call(self, index: int, call: Sequence[Any], status: str) -> None:
        arguments = _arguments(call)
        item: Json = {
            "id": self._id("fc", index),
            "type": "function_call",
            "call_id": call[2] if len(call) > 2 else f"call_{self._ident}{index:02d}",
            "name": call[0],
        }
        at: Json = {"item_id": item["id"], "output_index": index}
        self._added(index, {**item, "status": "in_progress", "arguments": ""})
        for piece in _split(arguments):
            self._emit("response.function_call_arguments.delta", delta=True, **at, piece=piece)
        self._emit("response.function_call_arguments.done", **at, arguments=arguments)
        self._done(index, {**item, "status": status, "arguments": arguments})

    def _reasoning(self, index: int, thought: Reasoning) -> None:
        item: Json = {"id": self._id("rs", index), "type": "reasoning", "summary": []}
        if "reasoning.encrypted_content" in (self._body.get("include") or []):
            item["encrypted_content"] = thought.encrypted
        self._added(index, item)
        if not thought.summary or not (self._body.get("reasoning") or {}).get("summary"):
            self._done(index, item)
            return
        at: Json = {"item_id": item["id"], "output_index": index, "summary_index": 0}
        part = {"type": "summary_text", "text": thought.summary}
        name = "response.reasoning_summary"
        self._emit(f"{name}_part.added", **at, part={**part, "text": ""})
        for piece in Text(thought.summary).pieces():
            self._emit(f"{name}_text.delta", piece=piece, **at)
        self._emit(f"{name}_text.done", **at, text=thought.summary)
        self._emit(f"{name}_part.done", **at, part=part)
        self._done(index, {**item, "summary": [part]})


_Single = Text | Refusal | Reasoning | Sequence[Any]


def _singles(part: Part) -> Sequence[_Single]:
    return list(part.calls) if isinstance(part, Calls) else [part]


class _ChatStream:
    """Lays out one chat completion, as OpenAI-compatible servers send it."""

    def __init__(self, body: Json, plan: _Plan, ident: str) -> None:
        self._body, self._plan, self._ident = body, plan, ident
        self._frames: list[_Frame] = []
        self._made = int(time.time())
        self._counts = bool((body.get("stream_options") or {}).get("include_usage"))

    def encode(self) -> _Encoded:
        plan = self._plan
        texts = [part for part in plan.reply if isinstance(part, Text)]
        refusals = [part.refusal for part in plan.reply if isinstance(part, Refusal)]
        calls = [
            {
                "id": call[2] if len(call) > 2 else f"call_{self._ident}{index:02d}",
                "type": "function",
                "function": {"name": call[0], "arguments": _arguments(call)},
            }
            for index, call in enumerate(
                call for part in plan.reply if isinstance(part, Calls) for call in part.calls
            )
        ]
        self._chunk({"role": "assistant", "content": "", "refusal": None})
        for piece in (piece for text in texts for piece in text.pieces()):
            self._chunk({"content": piece}, delta=True)
        for piece in (piece for refusal in refusals for piece in Text(refusal).pieces()):
            self._chunk({"refusal": piece}, delta=True)
        for index, call in enumerate(calls):
            self._call(index, call)
        reason = "tool_calls" if calls else "stop"
        if plan.ending == "incomplete":
            reason = "content_filter" if plan.code == "content_filter" else "length"
        usage = self._counted()
        message: Json = {
            "role": "assistant",
            "content": "".join(text.text for text in texts) or None,
            "refusal": "".join(refusals) or None,
        }
        if calls:
            message["tool_calls"] = calls
        whole = {
            **self._head("chat.completion"),
            "choices": [
                {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
            ],
            "usage": usage,
        }
        self._end(reason, usage)
        return _Encoded(self._frames, whole)

    def _end(self, reason: str, usage: Json) -> None:
        plan = self._plan
        if plan.ending == "failed":
            self._frames = _up_to_last_delta(self._frames)
        else:
            self._chunk({}, reason=reason)
            if self._counts:
                self._send({**self._head("chat.completion.chunk"), "choices": [], "usage": usage})
            self._frames.append(_Frame(b"data: [DONE]\n\n"))
        if plan.after is not None:
            self._frames = _cut(self._frames, plan.after)
        if plan.ending in ("failed", "error"):
            error = {"message": plan.message, "type": plan.code, "param": None, "code": plan.code}
            self._send({"error": error})

    def _head(self, kind: str) -> Json:
        return {
            "id": f"chatcmpl-{self._ident}",
            "object": kind,
            "created": self._made,
            "model": _snapshot(self._body["model"]),
            "service_tier": "default",
            "system_fingerprint": None,
        }

    def _send(self, chunk: Json, *, delta: bool = False) -> None:
        self._frames.append(_Frame(b"data: %b\n\n" % _encode(chunk), delta))

    def _chunk(self, part: Json, *, delta: bool = False, reason: str | None = None) -> None:
        choice = {"index": 0, "delta": part, "logprobs": None, "finish_reason": reason}
        unused: Json = {"usage": None} if self._counts else {}
        chunk = {**self._head("chat.completion.chunk"), "choices": [choice], **unused}
        self._send(chunk, delta=delta)

    def _call(self, index: int, call: Json) -> None:
        opening = {**call, "function": {**call["function"], "arguments": ""}}
        self._chunk({"tool_calls": [{"index": index, **opening}]})
        for piece in _split(call["function"]["arguments"]):
            part = {"index": index, "function": {"arguments": piece}}
            self._chunk({"tool_calls": [part]}, delta=True)

    def _counted(self) -> Json:
        pieces = sum(frame.delta for frame in self._frames)
        usage = _usage(self._body, self._plan.reply, pieces)
        return {
            "prompt_tokens": usage.input,
            "completion_tokens": usage.output,
            "total_tokens": usage.input + usage.output,
            "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": 0},
        }


def _envelope(step: HttpError) -> Json:
    code = step.code
    if code is None:
        code = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}.get(
            step.status
        )
    messages = {
        "insufficient_quota": "You exceeded your current quota, please check your plan and billing "
        "details.",
        "rate_limit_exceeded": "Rate limit reached for requests. Please try again later.",
        "context_length_exceeded": "Your input exceeds the context window of this model. Please "
        "adjust your input and try again.",
        "invalid_api_key": "Incorrect API key provided.",
        "model_not_found": "The model does not exist or you do not have access to it.",
    }
    kinds = {"insufficient_quota": "insufficient_quota", "rate_limit_exceeded": "requests"}
    fallback = "server_error" if step.status >= 500 else "invalid_request_error"
    message = step.message or messages.get(
        code or "", "The server had an error while processing your request."
    )
    kind = step.type or kinds.get(code or "", fallback)
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _headers() -> dict[str, str]:
    return {
        "x-request-id": f"req_{secrets.token_hex(16)}",
        "openai-processing-ms": "12",
        "openai-version": "2020-10-01",
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-limit-tokens": "2000000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-remaining-tokens": "1999000",
        "x-ratelimit-reset-requests": "6ms",
        "x-ratelimit-reset-tokens": "30ms",
    }


# --- pacing ---------------------------------------------------------------------------------------


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


@dataclass(frozen=True)
class _Slots:
    """An answer cut at its paced deltas: what is sent at once, then one slot per tick.

    Slots are complete HTTP chunks, so that a tick is one write to the socket. What opens or ends
    an item travels with the delta before it, as on the real wire.
    """

    head: bytes
    ticks: Sequence[bytes]
    whole: bytes

    @classmethod
    def of(cls, answer: _Encoded) -> Self:
        groups: list[list[bytes]] = [[]]
        for frame in answer.frames:
            if frame.delta:
                groups.append([])
            groups[-1].append(frame.data)
        ticks = [b"".join(map(_framed, group)) for group in groups[1:]]
        return cls(b"".join(groups[0]), ticks, _encode(answer.whole))


@dataclass
class Load:
    """How a bench server fares: streams open and served, and its worst delay behind schedule."""

    active: int = 0
    served: int = 0
    worst_late_ms: float = 0.0


class _Pacer:
    """Writes slots to one connection at start + n * interval; late slots go out together."""

    def __init__(self, transport: asyncio.Transport, slots: Sequence[bytes], reply: Reply) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport, self._slots, self._interval = transport, slots, reply.interval_s
        self._next = 0
        self._start = self._loop.time() + reply.first_delay_s
        self._timer: asyncio.TimerHandle | None = None
        self._done: asyncio.Future[None] = self._loop.create_future()
        self.ident = b""
        self.stamp = False
        self.worst_late_s = 0.0

    async def run(self) -> None:
        if not self._slots:
            return
        self._timer = self._loop.call_at(self._start, self._tick)
        try:
            await self._done
        finally:
            self._timer.cancel()

    def _tick(self) -> None:
        if self._done.done():
            return
        if self._transport.is_closing():
            self._done.set_exception(ConnectionResetError("the client left"))
            return
        late = self._loop.time() - self._start - self._next * self._interval
        self.worst_late_s = max(self.worst_late_s, late)
        due = 1 + int(late / self._interval) if self._interval and late > 0 else 1
        if not self._interval:
            due = len(self._slots)
        until = self._next + due
        data = b"".join(self._slots[self._next : until])
        if self.ident:
            data = data.replace(_HOLDER.encode(), self.ident)
        if self.stamp:
            data = data.replace(STAMP, b"@%019d" % time.monotonic_ns())
        self._transport.write(data)
        self._next = until
        if until >= len(self._slots):
            self._done.set_result(None)
            return
        self._timer = self._loop.call_at(self._start + until * self._interval, self._tick)


# --- the server -----------------------------------------------------------------------------------


@dataclass
class Recorded:
    """One request as it arrived, `authorization` redacted; `finished` is set when it is over.

    `outcome`: pending, answered, refused (400 and the like), unexpected, cut, client_gone.
    """

    path: str
    headers: Mapping[str, str]
    body: Json
    outcome: str = "pending"
    finished: threading.Event = field(default_factory=threading.Event)


class _Unexpected(Exception):
    """The script has no answer to a request, or one that cannot be."""


class FakeOpenAI(Served):
    """The server. Steps are consumed one per accepted request, in order of arrival.

    `aside(body)` is asked first and answers what is not part of the script (titles, suggestions);
    `default` answers once the script is used up. `responses_api=False` answers 404 on
    `/v1/responses`, as compatible servers without it do. Given an `api_key`, any other is a 401.
    Leaving the `with` block calls `assert_done()` unless an exception is on its way.
    """

    cancels = True  # a client that hangs up ends its stream, and is recorded

    def __init__(
        self,
        *script: Step,
        default: Step | None = None,
        aside: Callable[[Json], Answer | Steady | None] | None = None,
        responses_api: bool = True,
        api_key: str | None = None,
        record: bool = True,
        validate: bool = True,
    ) -> None:
        self.requests: list[Recorded] = []
        self.unexpected: list[str] = []
        self.refused: list[str] = []
        self.load = Load()
        self.base_url = ""
        self._script = deque(script)
        self._default, self._aside = default, aside
        self._responses_api, self._api_key = responses_api, api_key
        self._record, self._validate = record, validate
        self._memory = _Memory()
        self._arrived = threading.Condition()

    # -- for tests

    def __exit__(self, kind: object, err: BaseException | None, trace: object) -> None:
        super().__exit__(kind, err, trace)
        if err is None:
            self.assert_done()
        elif problems := self._problems():
            err.add_note(f"fake OpenAI: {problems}")

    def then(self, *steps: Step) -> None:
        """Add steps to the script of a running server."""
        self._script.extend(steps)

    def wait_for(self, count: int, *, timeout_s: float = 50.0) -> Recorded:
        """Wait until `count` requests have arrived and return that one."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.requests) >= count, timeout_s):
                raise AssertionError(f"{len(self.requests)} of {count} requests arrived")
        return self.requests[count - 1]

    def assert_done(self) -> None:
        """Fail if a request came unexpected or a step is unused."""
        if problems := self._problems():
            raise AssertionError(f"fake OpenAI: {problems}")

    def _problems(self) -> str:
        problems = [f"unexpected: {line}" for line in self.unexpected]
        if self._script:
            problems.append(f"{len(self._script)} steps unused: {list(self._script)!r}")
            problems += [f"refused: {line}" for line in self.refused]
        return "; ".join(problems)

    # -- the server proper

    async def start(self, *, host: str = "127.0.0.1", port: int = 0) -> web.AppRunner:
        """Listen on the running loop and set `base_url`; the caller owes `runner.cleanup()`."""
        runner = await super().start(host=host, port=port)
        self.base_url = f"{self.origin}/v1"
        return runner

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/responses", self._post)
        app.router.add_post("/v1/chat/completions", self._post)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/v1/responses/{id}", self._stored)
        app.router.add_delete("/v1/responses/{id}", self._stored)
        app.router.add_get("/_fake/load", self._load)
        return app

    async def _load(self, request: web.Request) -> web.Response:
        return web.json_response(vars(self.load))

    async def _models(self, request: web.Request) -> web.Response:
        try:
            self._authorize(request)
        except _Refused as refusal:
            return web.json_response({"error": refusal.error}, status=refusal.status)
        model = {"id": "gpt-fake", "object": "model", "created": 1790000000, "owned_by": "openai"}
        return web.json_response({"object": "list", "data": [model]}, headers=_headers())

    async def _stored(self, request: web.Request) -> web.Response:
        ident = request.match_info["id"]
        try:
            self._authorize(request)
            if ident not in self._memory.stored:
                raise _Refused(f"Response with id '{ident}' not found.", param="id", status=404)
        except _Refused as refusal:
            return web.json_response({"error": refusal.error}, status=refusal.status)
        if request.method == "GET":
            return web.json_response(self._memory.stored[ident][1], headers=_headers())
        del self._memory.stored[ident]
        return web.json_response({"id": ident, "object": "response", "deleted": True})

    async def _post(self, request: web.Request) -> web.StreamResponse:
        recorded = Recorded(request.path, _redacted(request), {})
        self.load.active += 1
        try:
            await self._read(request, recorded)
            if request.path == "/v1/responses" and not self._responses_api:
                recorded.outcome = "refused"
                return web.json_response({"detail": "Not Found"}, status=404)
            self._check(request, recorded.body)
            return await self._respond(request, recorded)
        except _Refused as refusal:
            recorded.outcome = "refused"
            self.refused.append(str(refusal))
            envelope = {"error": refusal.error}
            return web.json_response(envelope, status=refusal.status, headers=_headers())
        except _Unexpected as problem:
            recorded.outcome = "unexpected"
            self.unexpected.append(f"{request.path}: {problem}")
            message = f"fake OpenAI: unexpected request: {problem}"
            error = {
                "message": message,
                "type": "server_error",
                "param": None,
                "code": "unscripted",
            }
            headers = {**_headers(), "x-should-retry": "false"}
            return web.json_response({"error": error}, status=500, headers=headers)
        except (ConnectionError, asyncio.CancelledError):
            if recorded.outcome == "pending":
                recorded.outcome = "client_gone"
            raise
        finally:
            self.load.active -= 1
            self.load.served += 1
            recorded.finished.set()

    async def _read(self, request: web.Request, recorded: Recorded) -> None:
        try:
            body = msgspec.json.decode(await request.read())
        except msgspec.DecodeError:
            body = None
        recorded.body = body if isinstance(body, dict) else {}
        if self._record:
            with self._arrived:
                self.requests.append(recorded)
                self._arrived.notify_all()
        if not isinstance(body, dict):
            raise _Refused("We could not parse the JSON body of your request.")

    def _check(self, request: web.Request, body: Json) -> None:
        self._authorize(request)
        if self._validate and request.path == "/v1/responses":
            _check_responses(body, self._memory)
        elif self._validate:
            _check_chat(body)

    def _authorize(self, request: web.Request) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not key:
            raise _Refused(
                "You didn't provide an API key. You need to provide your API key in an "
                "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
                status=401,
            )
        if self._api_key is not None and key != self._api_key:
            raise _Refused("Incorrect API key provided.", code="invalid_api_key", status=401)

    def _step(self, body: Json) -> Answer | Steady:
        try:
            step: Step | None = self._aside(body) if self._aside else None
            if step is None:
                step = self._script.popleft() if self._script else self._default
            if step is None:
                raise _Unexpected("the script is used up")
            return step(body) if callable(step) else step
        except _Unexpected:
            raise
        except Exception as err:
            raise _Unexpected(f"the step failed: {err!r}") from err

    async def _respond(self, request: web.Request, recorded: Recorded) -> web.StreamResponse:
        body = recorded.body
        step = self._step(body)
        match step:
            case HttpError():
                recorded.outcome = "answered"
                return _http_error(step)
            case Raw():
                return await self._raw(request, step, recorded)
            case Steady():
                return await self._steady(request, step, recorded)
        plan = _plan(step)
        if problem := _misscripted(body, plan.reply):
            raise _Unexpected(problem)
        if plan.ending == "cut" and (plan.after is None or not body.get("stream")):
            return _drop(request, recorded)
        answer = _answer(request.path, body, plan, secrets.token_hex(20))
        if request.path == "/v1/responses" and plan.ending in ("completed", "incomplete"):
            self._memory.remember(body, answer.whole)
        if not body.get("stream"):
            return await self._whole(plan, answer, recorded)
        response = _event_stream()
        await response.prepare(request)
        if plan.reply.interval_s or plan.reply.first_delay_s:
            await self._paced(request, response, _Slots.of(answer), plan.reply)
        else:
            await _flow(response, answer.frames, plan.reply)
        if plan.ending == "cut":
            return _drop(request, recorded, response)
        await response.write_eof()
        recorded.outcome = "answered"
        return response

    async def _whole(self, plan: _Plan, answer: _Encoded, recorded: Recorded) -> web.Response:
        reply = plan.reply
        deltas = sum(frame.delta for frame in answer.frames)
        await asyncio.sleep(reply.first_delay_s + reply.interval_s * deltas)
        if reply.gate:
            await reply.gate.passed()
        recorded.outcome = "answered"
        if plan.ending == "error":
            return _http_error(HttpError(500, plan.code, message=plan.message))
        return web.json_response(answer.whole, headers=_headers())

    async def _raw(self, request: web.Request, step: Raw, recorded: Recorded) -> web.StreamResponse:
        response = web.StreamResponse(
            status=step.status, headers={**_headers(), "content-type": step.content_type}
        )
        response.enable_chunked_encoding()
        await response.prepare(request)
        for chunk in step.chunks:
            await response.write(chunk)
            await asyncio.sleep(step.pause_s)
        if step.cut:
            return _drop(request, recorded, response)
        await response.write_eof()
        recorded.outcome = "answered"
        return response

    async def _steady(
        self, request: web.Request, step: Steady, recorded: Recorded
    ) -> web.StreamResponse:
        ident = secrets.token_hex(20).encode()
        slots = step.slots(request.path, recorded.body)
        if not recorded.body.get("stream"):
            recorded.outcome = "answered"
            whole = slots.whole.replace(_HOLDER.encode(), ident)
            return web.Response(body=whole, content_type="application/json", headers=_headers())
        response = _event_stream()
        await response.prepare(request)
        await self._paced(request, response, slots, step.reply, ident=ident, stamp=step.stamp)
        await response.write_eof()
        recorded.outcome = "answered"
        return response

    async def _paced(
        self,
        request: web.Request,
        response: web.StreamResponse,
        slots: _Slots,
        reply: Reply,
        *,
        ident: bytes = b"",
        stamp: bool = False,
    ) -> None:
        head = slots.head.replace(_HOLDER.encode(), ident) if ident else slots.head
        # aiohttp sends the headers with this first write; after it the chunks go to the socket.
        await response.write(head)
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client left")
        pacer = _Pacer(transport, slots.ticks, reply)
        pacer.ident, pacer.stamp = ident, stamp
        await pacer.run()
        self.load.worst_late_ms = max(self.load.worst_late_ms, pacer.worst_late_s * 1000)


def _redacted(request: web.Request) -> dict[str, str]:
    headers = {name.lower(): value for name, value in request.headers.items()}
    if "authorization" in headers:
        headers["authorization"] = "[redacted]"
    return headers


def _event_stream() -> web.StreamResponse:
    response = web.StreamResponse(
        headers={**_headers(), "content-type": "text/event-stream; charset=utf-8"}
    )
    response.enable_chunked_encoding()
    return response


async def _flow(response: web.StreamResponse, frames: Sequence[_Frame], reply: Reply) -> None:
    deltas = 0
    for frame in frames:
        if frame.delta:
            if reply.gate and deltas == reply.gate_after:
                await reply.gate.passed()
            deltas += 1
        await response.write(frame.data)


def _drop(
    request: web.Request, recorded: Recorded, response: web.StreamResponse | None = None
) -> web.StreamResponse:
    """Close the connection after what was written, without the chunk that would end the body."""
    recorded.outcome = "cut"
    if request.transport is not None:
        request.transport.close()
    return response or web.Response(status=500)


def _http_error(step: HttpError) -> web.Response:
    headers = {**_headers(), **step.headers}
    if step.retry_after is not None:
        headers["retry-after"] = f"{step.retry_after:g}"
    return web.json_response(_envelope(step), status=step.status, headers=headers)


# --- as a process ---------------------------------------------------------------------------------


def _bench_step(options: argparse.Namespace) -> Step:
    words = Text(options.text).pieces()
    mark = STAMP.decode() + " " if options.stamp else ""
    pieces = [mark + words[number % len(words)] for number in range(options.deltas)]
    interval_s, first_delay_s = options.interval_ms / 1000, options.first_ms / 1000

    def paced(part: Part) -> Reply:
        return Reply(part, interval_s=interval_s, first_delay_s=first_delay_s)

    text = Steady(paced(Text("".join(pieces), chunks=pieces)), stamp=options.stamp)
    if not options.tool:
        return text
    call = Steady(paced(Calls([(options.tool, options.arguments)])))

    def call_first(body: Json) -> Steady:
        items = _items(body) or body.get("messages") or [{}]
        answered = (
            items[-1].get("type") == "function_call_output" or items[-1].get("role") == "tool"
        )
        return text if answered else call

    return call_first


async def _serve(options: argparse.Namespace) -> None:
    fake = FakeOpenAI(default=_bench_step(options), record=False, validate=options.validate)
    runner = await fake.start(host=options.host, port=options.port)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(json.dumps({"base_url": fake.base_url}), flush=True)
    await stop.wait()
    await runner.cleanup()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve one paced answer to everybody; prints `{"base_url": ...}` once it listens.

    `GET /_fake/load` tells streams open and served, and how far behind schedule the worst was.
    """
    parser = argparse.ArgumentParser(prog="openai_responses", description=main.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--deltas", type=int, default=50, help="text deltas per answer")
    parser.add_argument("--interval-ms", type=float, default=20.0, help="0: all at once")
    parser.add_argument("--first-ms", type=float, default=0.0, help="before the first delta")
    parser.add_argument("--text", default="The quick brown fox jumps over the lazy dog. ")
    parser.add_argument("--stamp", action="store_true", help="deltas carry their send time")
    parser.add_argument("--tool", help="call this function before answering")
    parser.add_argument("--arguments", default="{}", help="JSON for --tool")
    parser.add_argument("--validate", action="store_true", help="refuse what the API refuses")
    options = parser.parse_args(arguments)
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(options))
    else:
        uvloop.run(_serve(options))


if __name__ == "__main__":
    main()
