"""What led to what: trace context as W3C writes it, and operations that are measured.

An operation (a frame, turn, tool or request) is a span of its trace, and ends with one log line
from which rates, errors and durations are made (`terraform/log_metrics.tf`). The context goes
with tasks and events as `traceparent`, so that a worker's or a title's lines carry the trace of the
prompt that caused them.

Nothing of OpenTelemetry is loaded here: `common.telemetry` puts its tracer in where the settings
name an exporter. Facts are names, codes and counts; nobody's words, numbers or tokens.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from common import log
from common.errors import OdaiError
from common.log import get_logger, new_trace, sampled, span_id, trace_id

HEADER = "traceparent"
_log = get_logger(__name__)


class Span(Protocol):
    """What a tracer makes of an operation."""

    trace: str
    id: str
    sampled: bool

    def end(self, outcome: str) -> None:
        """Note how the operation ended."""


Tracer = Callable[[str, str], AbstractContextManager[Span]]
_tracer: Tracer | None = None


@dataclass(slots=True)
class Operation:
    """One while it lasts: `outcome` is `ok` or a short code, `facts` go into its log line."""

    outcome: str = "ok"
    facts: dict[str, int | str] = field(default_factory=dict)


def use(tracer: Tracer | None) -> None:
    """Let `tracer(name, target)` make a span of each operation from now on; None: nobody."""
    global _tracer
    _tracer = tracer


def traceparent() -> str:
    """Return the present context as W3C's header has it, "" outside of any trace."""
    if not (trace := trace_id.get()):
        return ""
    return f"00-{trace}-{span_id.get() or secrets.token_hex(8)}-{'01' if sampled.get() else '00'}"


def carried() -> dict[str, str]:
    """Return the headers that take the present context along; none outside of any trace."""
    context = traceparent()
    return {HEADER: context} if context else {}


@contextmanager
def operation(name: str, target: str = "", *, within: str = "") -> Iterator[Operation]:
    """Measure what happens in the block; `within` is the `traceparent` of what caused it.

    What the block raises ends the operation with the error's code and is raised on.
    """
    if within or not trace_id.get():
        new_trace(within)
    running = Operation()
    started = time.perf_counter()
    with _span(name, target) as span:
        try:
            yield running
        except BaseException as err:
            running.outcome = _code(err)
            raise
        finally:
            span.end(running.outcome)
            _log.info(
                "operation ended",
                extra={
                    **running.facts,
                    "operation": name,
                    "target": target,
                    "outcome": running.outcome,
                    "duration_ms": round((time.perf_counter() - started) * 1000),
                },
            )


@contextmanager
def _span(name: str, target: str) -> Iterator[Span]:
    with _tracer(name, target) if _tracer else nullcontext(_Bare()) as span:
        before = (trace_id.get(), span_id.get(), sampled.get())
        log.enter_span(span.trace, span.id, span.sampled)
        try:
            yield span
        finally:
            log.enter_span(*before)


class _Bare:
    """A span that only has an id, for the logs and for whatever it leads to."""

    def __init__(self) -> None:
        self.trace = trace_id.get()
        self.id = secrets.token_hex(8)
        self.sampled = sampled.get()

    def end(self, outcome: str) -> None:
        """Tell nobody."""


def _code(err: BaseException) -> str:
    if isinstance(err, OdaiError):
        return err.code
    return "cancelled" if isinstance(err, asyncio.CancelledError) else "unexpected"
