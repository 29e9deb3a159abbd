"""A finished answer as the Responses API would send it: items, usage and the events of a stream.

For models that are code rather than an endpoint; the Agents SDK cannot tell the difference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from agents.items import TResponseOutputItem, TResponseStreamEvent
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseContentPartAddedEvent,
    ResponseContentPartDoneEvent,
    ResponseCreatedEvent,
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseFunctionCallArgumentsDoneEvent,
    ResponseFunctionToolCall,
    ResponseInProgressEvent,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseTextDeltaEvent,
    ResponseTextDoneEvent,
    ResponseUsage,
)
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

from common.documents import new_id

_WORDS_PER_DELTA = 3


def call(name: str, arguments: dict[str, Any]) -> ResponseFunctionToolCall:
    """Return a tool call with ids of its own."""
    unique = new_id()
    return ResponseFunctionToolCall(
        type="function_call",
        id=f"fc_{unique}",
        call_id=f"call_{unique}",
        name=name,
        arguments=json.dumps(arguments, ensure_ascii=False),
        status="completed",
    )


def message(text: str) -> ResponseOutputMessage:
    """Return an answer in words."""
    part = ResponseOutputText(type="output_text", text=text, annotations=[], logprobs=[])
    return ResponseOutputMessage(
        id=f"msg_{new_id()}", type="message", role="assistant", status="completed", content=[part]
    )


def response(output: Sequence[TResponseOutputItem], *, spent: tuple[int, int]) -> Response:
    """Return the finished response; `spent` are the characters taken in and given out."""
    taken, given = (max(1, characters // 4) for characters in spent)  # four letters to a token
    return Response(
        id=f"resp_{new_id()}",
        created_at=0,
        model="odai-offline-planner",
        object="response",
        output=list(output),
        tool_choice="auto",
        tools=[],
        parallel_tool_calls=True,
        status="completed",
        usage=ResponseUsage(
            input_tokens=taken,
            output_tokens=given,
            total_tokens=taken + given,
            input_tokens_details=InputTokensDetails(cached_tokens=0, cache_write_tokens=0),
            output_tokens_details=OutputTokensDetails(reasoning_tokens=0),
        ),
    )


def events(whole: Response) -> list[TResponseStreamEvent]:
    """Return the events a model endpoint would have streamed `whole` with."""
    made: list[Any] = []

    def add(event: type[Any], kind: str, **fields: Any) -> None:
        made.append(event(type=f"response.{kind}", sequence_number=len(made), **fields))

    begun = whole.model_copy(update={"output": [], "status": "in_progress", "usage": None})
    add(ResponseCreatedEvent, "created", response=begun)
    add(ResponseInProgressEvent, "in_progress", response=begun)
    for index, item in enumerate(whole.output):
        is_call = isinstance(item, ResponseFunctionToolCall)
        empty: dict[str, Any] = {"arguments": ""} if is_call else {"content": []}
        opened = item.model_copy(update={**empty, "status": "in_progress"})
        add(ResponseOutputItemAddedEvent, "output_item.added", item=opened, output_index=index)
        at = {"item_id": item.id, "output_index": index}
        if isinstance(item, ResponseFunctionToolCall):
            add(
                ResponseFunctionCallArgumentsDeltaEvent,
                "function_call_arguments.delta",
                delta=item.arguments,
                **at,
            )
            add(
                ResponseFunctionCallArgumentsDoneEvent,
                "function_call_arguments.done",
                arguments=item.arguments,
                name=item.name,
                **at,
            )
        elif isinstance(item, ResponseOutputMessage):
            _speak(item, {**at, "content_index": 0}, add)
        add(ResponseOutputItemDoneEvent, "output_item.done", item=item, output_index=index)
    add(ResponseCompletedEvent, "completed", response=whole)
    return made


def _speak(item: ResponseOutputMessage, at: dict[str, Any], add: Any) -> None:
    part = item.content[0]
    text = part.text if isinstance(part, ResponseOutputText) else ""
    empty = part.model_copy(update={"text": ""})
    add(ResponseContentPartAddedEvent, "content_part.added", part=empty, **at)
    words = re.findall(r"\s*\S+\s*?", text)
    for i in range(0, len(words), _WORDS_PER_DELTA):
        delta = "".join(words[i : i + _WORDS_PER_DELTA])
        add(ResponseTextDeltaEvent, "output_text.delta", delta=delta, logprobs=[], **at)
    add(ResponseTextDoneEvent, "output_text.done", text=text, logprobs=[], **at)
    add(ResponseContentPartDoneEvent, "content_part.done", part=part, **at)
