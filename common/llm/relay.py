"""Text deltas take a side channel: from the model straight to the turn's journal.

The Agents SDK moves every delta through a queue and several layers of objects; measured, that and
the event parsing are most of what a streamed token costs. `RelayModel` streams the inner model
itself, hands each delta to the run's `Sink`, and gives the SDK the finished response alone. So a
run is an ordinary `Runner.run`, and order is simple: whatever the sink is told happened in that
order.
"""

from __future__ import annotations

import contextvars
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, Protocol, cast

from agents import Model, ModelResponse, Usage

from common.errors import VendorUnavailable
from common.llm.failures import incomplete, reported, translated


class Sink(Protocol):
    """Who hears a run's model output as it comes."""

    def delta(self, *texts: str) -> None:
        """Pieces of the answer's text that came together."""

    def answered(self, response: ModelResponse) -> None:
        """A model call ended with these output items and this usage."""


sink: contextvars.ContextVar[Sink] = contextvars.ContextVar("sink")

_DELTAS = frozenset(("response.output_text.delta", "response.refusal.delta"))
_ENDS = frozenset(("response.completed", "response.incomplete", "response.failed"))


class RelayModel(Model):
    """Any `Model`, its deltas sent aside. Raises our own errors (see `common.llm.failures`)."""

    def __init__(self, inner: Model) -> None:
        self._inner = inner

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        """Stream the inner model to the context's sink; return the whole response."""
        target = sink.get()
        with translated():
            stream = cast("AsyncGenerator[Any]", self._inner.stream_response(*args, **kwargs))
            # Left early, a stream keeps its connection until somebody closes it.
            async with aclosing(stream) as events:
                response = await self._consume(events, target)
        target.answered(response)
        return response

    def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Stream the inner model unchanged."""
        return self._inner.stream_response(*args, **kwargs)

    async def close(self) -> None:
        """Close the inner model's connections."""
        await self._inner.close()

    async def _consume(self, events: AsyncIterator[Any], target: Sink) -> ModelResponse:
        done: list[Any] = []
        async for event in events:
            kind = event.type
            if kind in _DELTAS:
                if event.delta:
                    target.delta(event.delta)
            elif kind == "response.output_item.done":
                done.append(event.item)
            elif kind in _ENDS:
                return finished(event.response, done)
            elif kind == "error":
                raise reported(event.code, event.message)
        raise broken_off()


def broken_off() -> VendorUnavailable:
    """Return the error for a stream that ends without saying so."""
    return VendorUnavailable("The language model broke off in the middle. Please try again.")


def finished(response: Any, done: Sequence[Any] = ()) -> ModelResponse:
    """Return what a stream's last event says (the SDK's `Response`, or what looks like it).

    `done` are the items that came one by one. Raises our error for a response that failed, or was
    cut and cannot be used.
    """
    if response.status == "failed":
        error = response.error
        raise reported(error.code if error else None, error.message if error else "")
    # Some endpoints leave the terminal event's output empty and send items one by one only.
    output = list(response.output or done)
    if response.status == "incomplete":
        reason = response.incomplete_details.reason if response.incomplete_details else None
        output = incomplete(output, reason)
    return ModelResponse(output=output, usage=_usage(response.usage), response_id=response.id)


def _usage(used: Any) -> Usage:
    """Return the SDK's usage record; zeros where the endpoint does not tell."""
    if used is None:
        return Usage(requests=1)
    return Usage(
        requests=1,
        input_tokens=used.input_tokens or 0,
        output_tokens=used.output_tokens or 0,
        total_tokens=used.total_tokens or 0,
        input_tokens_details=used.input_tokens_details,
        output_tokens_details=used.output_tokens_details,
    )
