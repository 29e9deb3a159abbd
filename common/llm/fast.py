"""The Responses API without the client library in the way: a `Model` that reads the stream itself.

Measured, most of what a streamed token costs is spent between the socket and us: the HTTP client,
an object with validation for every event, a queue. A turn needs little of that. So this module
posts the request itself (see `common.llm.connections`) and takes the server-sent events apart. One
small decode per event looks at `type` and `delta` and skips the rest unread; text goes straight to
the run's `Sink` (see `common.llm.relay`); only the items of the finished response become the SDK's
objects.

Who decides what. Everything about the *request* is the SDK's: its own builder makes the body, in
which we only replace the tools by bytes encoded once for each tool, as a schema does not change
while the process lives. Everything about the *response* equals `RelayModel` over the SDK's model:
the same pieces of text in the same order, the same items (the client library's own constructor
makes them), usage, ids and errors. `tests/llm/test_fast.py` holds the two side by side, event by
event, and cuts the bytes anywhere.

What we do not know, we do not touch. A call that asks for hosted tools, structured output, stored
prompts or conversations, own headers or parameters, tracing, or the SDK's own retries is made by
the SDK's model, before anything is sent. Unknown events and fields are skipped, unknown items pass
through. What is not an event stream at all becomes one of our errors, never a foreign exception.

Failures before the answer begins are tried again, twice, as the client library would: no
connection, 408, 409, 429 and 5xx, after the time the endpoint names, else half a second and one.
Not when it names more than 8 seconds, as a person is waiting, nor without quota, nor once it has
begun to answer: what was shown cannot be taken back. A longer silence than configured ends the
call.

Connections are kept and shared on the process's one event loop. After the last event the end of the
body is awaited aside, so that the connection can serve the next call and this one does not wait for
it. Where the environment names a proxy, the SDK's model makes every call.
"""

from __future__ import annotations

import asyncio
import random
import re
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
import openai
from agents import FunctionTool, Model, ModelResponse, ModelSettings, OpenAIResponsesModel
from agents.models.openai_responses import Converter
from openai._models import construct_type
from openai.types.responses import ResponseOutputItem, ResponseUsage
from pydantic import BaseModel

from common.llm.connections import Answer, Connections, Heard
from common.llm.failures import Refused, reported, translated, unusable
from common.llm.relay import RelayModel, Sink, broken_off, finished, sink

Sleep = Callable[[float], Awaitable[None]]

_RETRIES = 2
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0
_LARGEST_EVENT = 64 * 2**20  # bytes; no answer is so long

# Parameters that reach the body as they are when `ModelSettings.extra_args` has them.
_PLAIN_ARGUMENTS = frozenset(
    ("prompt_cache_key", "safety_identifier", "service_tier", "max_tool_calls", "top_logprobs")
)


class FastResponsesModel(Model):
    """`POST {base}/responses`, streamed to the context's `Sink`; raises our own errors.

    `client` says where and with which key, and serves the calls that this model leaves to the
    SDK's. `silence_s` is the longest time without a byte.
    """

    def __init__(
        self,
        name: str,
        client: openai.AsyncOpenAI,
        *,
        silence_s: float,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._sdk = OpenAIResponsesModel(name, client)
        self._slow = RelayModel(self._sdk)
        self._url = str(client.base_url).rstrip("/") + "/responses"
        self._official = urlsplit(self._url).hostname == "api.openai.com"
        self._by_proxy = _has_proxy(self._url)
        self._connections = Connections(self._url, _headers(client), silence_s=silence_s)
        self._sleep = sleep
        self._encoded: dict[str, tuple[Any, msgspec.Raw]] = {}

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        """Stream one response to the context's sink; return it whole."""
        call = _Call(*args, **kwargs)
        if self._by_proxy or call.is_special():
            return await self._slow.get_response(*args, **kwargs)
        target = sink.get()
        with translated():
            stream = _Stream(target)
            await self._post(self.body(call), stream.feed)
        assert stream.result is not None  # nothing else ends a stream without an error
        target.answered(stream.result)
        return stream.result

    def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Stream the SDK's events, by the SDK's model."""
        return self._sdk.stream_response(*args, **kwargs)

    async def close(self) -> None:
        """Close our connections; the client stays its owner's."""
        await self._connections.close()

    def body(self, call: _Call) -> bytes:
        """Return the JSON of the request, as the SDK's model would send it."""
        plain = call.model_settings.tool_choice is None
        given = self._sdk._build_response_create_kwargs(
            system_instructions=call.system_instructions,
            input=call.input,
            model_settings=call.model_settings,
            # The builder copies every schema through and through: 30 µs a tool and call.
            tools=[] if plain else call.tools,
            output_schema=None,
            handoffs=[] if plain else call.handoffs,
            stream=True,
        )
        fields = {
            name: value
            for name, value in given.items()
            if not isinstance(value, openai.Omit) and not name.startswith("extra_")
        }
        fields["tools"] = self._tools(call)
        if fields["tools"] and call.model_settings.parallel_tool_calls is not None:
            fields["parallel_tool_calls"] = call.model_settings.parallel_tool_calls
        if self._official:
            # The padding that hides a delta's length is as long as the delta. Other endpoints may
            # not know the option.
            fields["stream_options"] = {"include_obfuscation": False}
        return msgspec.json.encode(fields, enc_hook=_plain)

    def _tools(self, call: _Call) -> list[msgspec.Raw]:
        converted = Converter.convert_tools(
            call.tools,
            call.handoffs,
            model=self._sdk.model,
            tool_choice=call.model_settings.tool_choice,
        )
        return [self._once(dict(tool)) for tool in converted.tools]

    def _once(self, tool: dict[str, Any]) -> msgspec.Raw:
        # Comparing is quick: the schema is the same object from one call to the next.
        known, encoded = self._encoded.get(tool["name"], (None, msgspec.Raw()))
        if known != tool:
            encoded = msgspec.Raw(msgspec.json.encode(tool, enc_hook=_plain))
            self._encoded[tool["name"]] = (tool, encoded)
        return encoded

    # --- the connection -------------------------------------------------------------------------

    async def _post(self, body: bytes, heard: Heard) -> None:
        """Post until an answer has begun well; `Refused` or a connection error if none does."""
        for attempt in range(_RETRIES):
            pause = _FIRST_PAUSE_S * 2**attempt * random.uniform(0.75, 1.0)
            try:
                return await self._attempt(body, heard)
            except Refused as err:
                if not err.again or (err.retry_after or 0.0) > _LONGEST_PAUSE_S:
                    raise
                pause = err.retry_after or pause
            except ConnectionError:
                pass
            await self._sleep(pause)
        return await self._attempt(body, heard)

    async def _attempt(self, body: bytes, heard: Heard) -> None:
        answer = await self._connections.post(body, heard)
        if answer.status != 200:
            raise _refusal(answer)


class _Call:
    """The arguments of one call, named as the SDK's interface names them."""

    def __init__(
        self,
        system_instructions: str | None,
        input: Any,
        model_settings: ModelSettings,
        tools: list[Any],
        output_schema: Any,
        handoffs: list[Any],
        tracing: Any,
        previous_response_id: str | None = None,
        conversation_id: str | None = None,
        prompt: Any = None,
    ) -> None:
        self.system_instructions = system_instructions
        self.input = input
        self.model_settings = model_settings
        self.tools = tools
        self.output_schema = output_schema
        self.handoffs = handoffs
        self.tracing = tracing
        self.stored = (previous_response_id, conversation_id, prompt)

    def is_special(self) -> bool:
        """True where the call asks for something this module does not know."""
        given = self.model_settings
        schema = self.output_schema
        return (
            any(self.stored)
            or not self.tracing.is_disabled()
            or not (schema is None or schema.is_plain_text())
            or any(type(tool) is not FunctionTool or tool.defer_loading for tool in self.tools)
            or bool(given.extra_headers or given.extra_query or given.extra_body)
            or not _PLAIN_ARGUMENTS.issuperset(given.extra_args or ())
            or given.retry is not None
            or given.preserve_raw_usage is True
        )


# --- the stream ---------------------------------------------------------------------------------


class _Event(msgspec.Struct, gc=False):
    """What an event may tell us; any of it may be missing or odd."""

    type: str | None = None
    delta: Any = None
    error: Any = None
    code: Any = None
    item: msgspec.Raw = msgspec.Raw()
    response: msgspec.Raw = msgspec.Raw()


class _Error(msgspec.Struct):
    code: Any = None
    message: Any = None


class _Cut(msgspec.Struct):
    reason: Any = None


class _Response(msgspec.Struct):
    """What we use of the response in the last event; its tools and instructions are not read."""

    id: str | None = None
    status: Any = None
    output: list[Any] | None = None
    usage: dict[str, Any] | None = None
    error: _Error | None = None
    incomplete_details: _Cut | None = None


_event = msgspec.json.Decoder(_Event).decode
_response = msgspec.json.Decoder(_Response).decode
_USUAL = re.compile(rb"event:[^\n]*\ndata: ([^\n]+)\n\n")
_ENDS = frozenset(("response.completed", "response.incomplete", "response.failed"))


class EventSplitter:
    """Cuts a byte stream into the data of its server-sent events, however it arrives."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of each event that `chunk` completes; events without data are left out.

        An empty chunk is the end of the stream. Raises VendorRejected for an endless event.
        """
        if not self._rest and chunk.endswith(b"\n\n") and b"\r" not in chunk:
            return _data(chunk)
        text, held = self._rest + chunk, b""
        if b"\r" in text:
            # A final CR may be half of a CRLF.
            if chunk and text.endswith(b"\r"):
                text, held = text[:-1], b"\r"
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        end = text.rfind(b"\n\n") + 2 if b"\n\n" in text else 0
        self._rest = text[end:] + held
        if len(self._rest) > _LARGEST_EVENT:
            raise unusable()
        return _data(text[:end]) if end else []


def _data(text: bytes) -> list[bytes]:
    if one := _USUAL.fullmatch(text):
        return [one[1]]
    found: list[bytes] = _USUAL.findall(text)
    # A match holds three line ends: so many and no more means nothing but these.
    if len(found) * 3 == text.count(b"\n"):
        return found
    return [data for block in text.split(b"\n\n") if (data := _unusual(block))]


def _unusual(block: bytes) -> bytes:
    lines = [line.partition(b":") for line in block.split(b"\n")]
    return b"\n".join(value.removeprefix(b" ") for name, _, value in lines if name == b"data")


class _Stream:
    """One answer as it comes: its text goes to `target`, `result` is the whole of it."""

    def __init__(self, target: Sink) -> None:
        self._target = target
        self._splitter = EventSplitter()
        self._done: list[msgspec.Raw] = []
        self.result: ModelResponse | None = None

    def feed(self, chunk: bytes) -> bool:
        """Take a piece, b"" at the end; True once the last event was read. Raises our errors."""
        if last := _told(self._splitter.feed(chunk), self._done, self._target):
            self.result = _whole(last, self._done)
            return True
        if not chunk:
            raise broken_off()
        return False


def _told(events: list[bytes], done: list[msgspec.Raw], target: Sink) -> _Event | None:
    """Tell `target` the text of these events at once, keep what is done; return the last event."""
    texts: list[str] = []
    try:
        for data in events:
            event = _decoded(data)
            kind = event.type
            if event.error:
                raise reported(_code_in(event.error), "")
            if kind == "response.output_text.delta" or kind == "response.refusal.delta":
                if text := event.delta:
                    if type(text) is not str:
                        raise unusable()
                    texts.append(text)
            elif kind == "response.output_item.done":
                done.append(event.item)
            elif kind in _ENDS:
                return event
            elif kind == "error":
                raise reported(event.code, "")
            elif kind == "response.error":
                raise unusable()
    finally:
        if texts:
            target.delta(*texts)
    return None


def _decoded(data: bytes) -> _Event:
    try:
        return _event(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        if data.startswith(b"[DONE]"):
            raise broken_off() from None
        raise unusable() from err


def _whole(event: _Event, done: list[msgspec.Raw]) -> ModelResponse:
    try:
        response: Any = _response(event.response)
        # Some endpoints leave the last event's output empty and send items one by one only.
        items = response.output or [msgspec.json.decode(item) for item in done]
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise unusable() from err
    response.output = [_item(item) for item in items]
    response.usage = construct_type(type_=ResponseUsage, value=response.usage)
    if response.status is None and event.type:
        response.status = event.type.removeprefix("response.")
    try:
        return finished(response)
    except (ValueError, TypeError, AttributeError) as err:  # usage that does not count
        raise unusable() from err


def _item(raw: Any) -> Any:
    """Return an item as the client library would make it; `unusable` if nobody could use it."""
    item: Any = construct_type(type_=ResponseOutputItem, value=raw)
    if not isinstance(item, BaseModel):
        raise unusable()
    kind = getattr(item, "type", None)
    parts = getattr(item, "content", None) if kind == "message" else []
    if not isinstance(parts, list) or not all(isinstance(part, BaseModel) for part in parts):
        raise unusable()
    texts = ("call_id", "name", "arguments") if kind == "function_call" else ()
    if not all(isinstance(getattr(item, name, None), str) for name in ("type", *texts)):
        raise unusable()
    return item


# --- small parts --------------------------------------------------------------------------------


def _refusal(answer: Answer) -> Refused:
    status, headers = answer.status, answer.headers
    try:
        body = msgspec.json.decode(answer.told)
    except (msgspec.DecodeError, UnicodeDecodeError):
        body = None
    error = body.get("error", body) if isinstance(body, dict) else None
    refused = Refused(status, _code_in(error), retry_after=_seconds(headers))
    advice = headers.get("x-should-retry")
    usual = status in (408, 409, 429) or status >= 500
    refused.again = refused.code != "insufficient_quota" and (
        advice == "true" or (usual and advice != "false")
    )
    return refused


def _code_in(error: Any) -> Any:
    return error.get("code") if isinstance(error, dict) else None


def _seconds(headers: Mapping[str, str]) -> float | None:
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:  # absent, or an HTTP date: our own pause serves as well
            continue
        if 0 < seconds < float("inf"):
            return seconds
    return None


def _headers(client: openai.AsyncOpenAI) -> dict[str, str]:
    headers = {
        "Authorization": f"Bearer {client.api_key}",
        "Content-Type": "application/json",
        "Accept": "text/event-stream",
        # A compressed stream may hold events back.
        "Accept-Encoding": "identity",
        "User-Agent": "odai",
    }
    if client.organization:
        headers["OpenAI-Organization"] = client.organization
    if client.project:
        headers["OpenAI-Project"] = client.project
    return headers


def _has_proxy(url: str) -> bool:
    parts = urlsplit(url)
    bypassed = urllib.request.proxy_bypass(parts.hostname or "")
    return not bypassed and bool(urllib.request.getproxies().get(parts.scheme))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True)
    raise TypeError(f"{type(value).__name__} is not JSON")
