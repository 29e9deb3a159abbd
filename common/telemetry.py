"""Where spans and errors go, once an operator has named a place; loaded only then.

Spans go to Cloud Trace (https://cloud.google.com/trace/docs/reference/v2/rest, 2026-11) or to any
OTLP/HTTP collector (https://opentelemetry.io/docs/specs/otlp, its JSON form), through the session
of our other Google adapters: Google's own exporter would load gRPC. Errors go to Sentry with none
of its integrations, which would load every library they know (1.2 s).

Both are told what `_SHOWN` and `_error` list and nothing else: an exception's message or a span's
events may quote a prompt, an address or a key.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags

from common import log, tracing
from common.errors import OdaiError
from common.google_rest import GoogleRefusal, GoogleRest
from common.log import get_logger
from common.loop import LoopThread
from common.settings import Settings

_SHOWN: Final = ("target", "outcome", "peer.service")
_SETTLED: Final = frozenset(
    {"ok", "done", "stopped", "cancelled", "waiting_for_approval"}
)  # outcomes that are nobody's failure
_EXPORT_SECONDS: Final = 5.0
_log = get_logger(__name__)


def start(settings: Settings, loop: LoopThread, google: Callable[[], GoogleRest]) -> Telemetry:
    """Send spans and errors where `settings` say, until `close`; `google` opens Google's APIs."""
    return Telemetry(settings, loop, google)


class Telemetry:
    """What was started; to be closed before the loop ends."""

    def __init__(
        self, settings: Settings, loop: LoopThread, google: Callable[[], GoogleRest]
    ) -> None:
        self._provider: TracerProvider | None = None
        self._handler: logging.Handler | None = None
        if settings.traces:
            self._trace(_exporter(settings, loop, google), settings.trace_share)
        if settings.sentry_dsn:
            self._report(settings)

    def close(self) -> None:
        """Send what waits, then stop."""
        tracing.use(None)
        if self._provider:
            self._provider.shutdown()
        if self._handler:
            import sentry_sdk  # loaded already

            for name in _OURS:
                logging.getLogger(name).removeHandler(self._handler)
            sentry_sdk.flush(2.0)

    def _trace(self, exporter: SpanExporter, share: float) -> None:
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(min(1.0, share))),
            resource=Resource({"service.name": "odai"}),
            id_generator=_OurIds(),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        trace.set_tracer_provider(self._provider)  # for the egress client's spans
        tracing.use(_spans(self._provider.get_tracer("odai")))

    def _report(self, settings: Settings) -> None:
        import sentry_sdk  # only here: 0.2 s

        sentry_sdk.init(
            dsn=settings.sentry_dsn,
            environment=settings.environment,
            default_integrations=False,
            auto_enabling_integrations=False,
            data_collection={"user_info": False, "http_bodies": []},
            max_request_body_size="never",
            traces_sample_rate=0.0,
            server_name="",
            max_breadcrumbs=0,
        )
        self._handler = _ToSentry(logging.ERROR)
        for name in _OURS:
            logging.getLogger(name).addHandler(self._handler)


# --- spans --------------------------------------------------------------------------------------


class _OurIds(RandomIdGenerator):
    """Gives a new root span the trace id that its log lines have."""

    def generate_trace_id(self) -> int:
        return int(log.trace_id.get() or "0", 16) or super().generate_trace_id()


class _OurSpan:
    def __init__(self, span: trace.Span) -> None:
        context = span.get_span_context()
        self._span = span
        self.trace, self.id = f"{context.trace_id:032x}", f"{context.span_id:016x}"
        self.sampled = context.trace_flags.sampled

    def end(self, outcome: str) -> None:
        self._span.set_attribute("outcome", outcome)
        if outcome not in _SETTLED:
            self._span.set_status(Status(StatusCode.ERROR))


def _spans(tracer: trace.Tracer) -> tracing.Tracer:
    @contextmanager
    def begin(name: str, target: str) -> Iterator[tracing.Span]:
        with tracer.start_as_current_span(
            name,
            context=_parent(),
            attributes={"target": target} if target else {},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield _OurSpan(span)

    return begin


def _parent() -> Any:
    """Return the span our own context names: it may have come with a task, an event or a header."""
    trace_id, span_id = log.trace_id.get(), log.span_id.get()
    if not span_id:
        return trace.set_span_in_context(trace.INVALID_SPAN)
    flags = TraceFlags(TraceFlags.SAMPLED if log.sampled.get() else TraceFlags.DEFAULT)
    known = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(NonRecordingSpan(known))


def _exporter(
    settings: Settings, loop: LoopThread, google: Callable[[], GoogleRest]
) -> SpanExporter:
    if settings.traces == "google":
        project = settings.google_project
        path = f"/v2/projects/{project}/traces:batchWrite"
        return _Exporter(
            google(), loop, "cloudtrace", path, lambda spans: _cloud_trace(spans, project)
        )
    return _Exporter(
        GoogleRest(root=settings.traces.rstrip("/")), loop, "otlp", "/v1/traces", _otlp
    )


class _Exporter(SpanExporter):
    """Posts batches as JSON; called in the processor's thread."""

    def __init__(
        self,
        api: GoogleRest,
        loop: LoopThread,
        service: str,
        path: str,
        body: Callable[[Sequence[ReadableSpan]], dict[str, Any]],
    ) -> None:
        self._api, self._loop, self._service = api, loop, service
        self._path, self._body = path, body

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        call = self._api.call(self._service, "POST", self._path, body=self._body(spans))
        try:
            self._loop.run(call, timeout=_EXPORT_SECONDS)
        except (OdaiError, GoogleRefusal) as err:
            _log.warning("spans not exported", extra={"code": err.code, "spans": len(spans)})
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._loop.run(self._api.close(), timeout=_EXPORT_SECONDS)


def _facts(span: ReadableSpan) -> dict[str, str]:
    known = span.attributes or {}
    return {name: str(known[name]) for name in _SHOWN if name in known}


def _cloud_trace(spans: Sequence[ReadableSpan], project: str) -> dict[str, Any]:
    made = []
    for span in spans:
        trace_id, span_id, parent = _ids(span)
        made.append({
            "name": f"projects/{project}/traces/{trace_id}/spans/{span_id}",
            "spanId": span_id,
            **({"parentSpanId": parent} if parent else {}),
            "displayName": {"value": span.name},
            "startTime": _time(span.start_time),
            "endTime": _time(span.end_time),
            "attributes": {
                "attributeMap": {k: {"stringValue": {"value": v}} for k, v in _facts(span).items()}
            },
            "status": {"code": 2 if span.status.status_code is StatusCode.ERROR else 0},
        })  # fmt: skip
    return {"spans": made}


def _otlp(spans: Sequence[ReadableSpan]) -> dict[str, Any]:
    made = []
    for span in spans:
        trace_id, span_id, parent = _ids(span)
        made.append({
            "traceId": trace_id,
            "spanId": span_id,
            "parentSpanId": parent,
            "name": span.name,
            "kind": 1,
            "startTimeUnixNano": str(span.start_time),
            "endTimeUnixNano": str(span.end_time),
            "attributes": _pairs(_facts(span)),
            "status": {"code": 2 if span.status.status_code is StatusCode.ERROR else 0},
        })  # fmt: skip
    resource = {"attributes": _pairs({"service.name": "odai"})}
    scope = {"scope": {"name": "odai"}, "spans": made}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}


def _pairs(facts: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": name, "value": {"stringValue": value}} for name, value in facts.items()]


def _ids(span: ReadableSpan) -> tuple[str, str, str]:
    context = span.get_span_context()
    assert context is not None  # a span that was recorded has one
    parent = f"{span.parent.span_id:016x}" if span.parent else ""
    return f"{context.trace_id:032x}", f"{context.span_id:016x}", parent


def _time(nanoseconds: int | None) -> str:
    moment = dt.datetime.fromtimestamp((nanoseconds or 0) / 1e9, dt.UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


# --- errors -------------------------------------------------------------------------------------

_OURS: Final = ("common", "run")  # our own loggers: others' records may quote anything


class _ToSentry(logging.Handler):
    """Reports records of our own loggers, put together anew from what may be told."""

    def emit(self, record: logging.LogRecord) -> None:
        import sentry_sdk  # loaded already

        sentry_sdk.capture_event(_error(record))  # type: ignore[arg-type]  # a plain dict serves


def _error(record: logging.LogRecord) -> dict[str, Any]:
    event: dict[str, Any] = {
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": str(record.msg),  # the constant text, never what would be filled in
        "tags": {"trace": log.trace_id.get()},
    }
    if record.exc_info and record.exc_info[0]:
        where = log.where(record.exc_info)
        frames = [_frame(text) for text in where["frames"]]
        event["exception"] = {"values": [{"type": where["type"], "stacktrace": {"frames": frames}}]}
    return event


def _frame(text: str) -> dict[str, Any]:
    place, _, function = text.partition(" ")
    name, _, line = place.rpartition(":")
    return {"filename": name, "lineno": int(line), "function": function}
