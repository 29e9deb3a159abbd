"""Traces and errors: what leads to what, where it is sent, and that nobody's words go with it."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import log, telemetry, tracing
from common.bootstrap import Services
from common.errors import NotFound
from common.events import Event
from common.events.push import read_push
from common.google_rest import GoogleRest
from common.loop import LoopThread
from common.settings import Settings
from common.tasks import Task
from tests.fakes.openai_responses import Answer, Calls, FakeOpenAI, Text
from tests.fakes.suite import Suite
from tests.run.clients import Client
from tests.run.test_canary import KEY, POSITION, C, live
from tests.run.test_canary import model as canary_model

Span = dict[str, Any]
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECONDS = 60.0


class Collector:
    """Takes whatever is posted to it, as a collector, Cloud Trace or Sentry would."""

    def __init__(self, *, status: int = 200) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        self._changed = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                with outer._changed:
                    outer.bodies.append((self.path, body))
                    outer._changed.notify_all()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def until(self, wanted: Callable[[], Any]) -> Any:
        """Wait until `wanted()` holds of what was posted; return it."""
        with self._changed:
            assert self._changed.wait_for(wanted, SECONDS), self.bodies
        return wanted()

    @property
    def spans(self) -> list[Span]:
        """Every span posted in OTLP's form."""
        return [
            span
            for path, body in list(self.bodies) if path == "/v1/traces"
            for resource in json.loads(body)["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]  # fmt: skip

    @property
    def errors(self) -> list[dict[str, Any]]:
        """Every error posted in Sentry's form."""
        return [
            json.loads(line)
            for path, body in list(self.bodies) if path.endswith("/envelope/")
            for line in body.splitlines() if b'"logger"' in line
        ]  # fmt: skip


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    made = LoopThread()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def outside() -> Iterator[None]:
    """Begin and end every test outside of any trace, with no tracer in use."""
    log.enter_span("", "", False)
    yield
    log.enter_span("", "", False)
    tracing.use(None)


# --- context ------------------------------------------------------------------------------------


def test_nothing_of_opentelemetry_is_loaded_without_an_exporter() -> None:
    """A function that exports nothing starts without paying for it."""
    code = (
        "import sys; from common.bootstrap import Services; from common.settings import Settings; "
        "from common.loop import LoopThread; import common.tasks, common.events, common.tracing; "
        "Services(Settings.from_env({}), LoopThread()).observe(); "
        "print(sorted(m for m in sys.modules if m.startswith(('opentelemetry', 'sentry_sdk'))))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_a_header_is_continued_and_passed_on() -> None:
    """What arrives with a `traceparent` leaves with the same trace, from a span of its own."""
    with tracing.operation("request", within=PARENT):
        version, trace, span, flags = tracing.traceparent().split("-")
    assert (version, trace, flags) == ("00", "0af7651916cd43dd8448eb211c80319c", "01")
    assert span != "b7ad6b7169203331"


@given(st.one_of(st.text(), st.from_regex(r"00-[0-9a-f]{30,34}-[0-9a-f]{14,18}-[0-9a-f]{2}")))
def test_whatever_a_header_says_there_is_a_valid_trace(header: str) -> None:
    """A caller's nonsense never becomes a trace's name or an error."""
    trace = log.new_trace(header)
    assert len(trace) == 32 and set(trace) <= set("0123456789abcdef") and set(trace) != {"0"}
    assert log.new_trace(tracing.traceparent()) == trace


def test_tasks_and_events_take_the_trace_along() -> None:
    """A worker's and a listener's work belongs to the trace of the prompt that caused it."""
    assert Task("q", "/p", b"").headers == {} == Event("t", "1", {}).attributes
    with tracing.operation("turn", within=PARENT):
        task, event = Task("q", "/p", b""), Event("t", "1", {})
        inside = tracing.traceparent()
    assert task.headers == {"traceparent": inside} == dict(event.attributes)
    log.new_trace()
    read_push({"message": {"messageId": "1", "data": "e30=", "attributes": dict(event.attributes)}})
    assert log.trace_id.get() == "0af7651916cd43dd8448eb211c80319c"


def test_an_operation_leaves_one_line_with_its_rate_error_and_duration() -> None:
    """The line has what the log-based metrics read, and the trace as Cloud Logging wants it."""
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(log.JsonFormatter("my-project"))
    logger = logging.getLogger("common.tracing")
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.INFO)
    try:
        with suppress(NotFound), tracing.operation("tool", "x.y", within=PARENT) as measured:
            measured.facts["first_token_ms"] = 7
            raise NotFound("a message for somebody else")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    (line,) = [json.loads(text) for text in stream.getvalue().splitlines()]
    assert isinstance(line["duration_ms"], int)
    assert (line["operation"], line["target"], line["outcome"]) == ("tool", "x.y", "not_found")
    assert line["first_token_ms"] == 7
    trace = "projects/my-project/traces/0af7651916cd43dd8448eb211c80319c"
    assert line["logging.googleapis.com/trace"] == trace
    assert line["logging.googleapis.com/trace_sampled"] is True
    assert "somebody" not in stream.getvalue()


# --- exporters ----------------------------------------------------------------------------------


def test_cloud_trace_is_told_the_spans_and_nothing_of_their_errors(
    collector: Collector, loop: LoopThread
) -> None:
    """A span goes to the project's traces with its parent; an exception's message stays here."""
    settings = Settings(traces="google", trace_share=1.0, google_project="p-1")
    made = telemetry.start(settings, loop, lambda: GoogleRest(root=f"http://{collector.host}"))
    with tracing.operation("turn", within=PARENT):
        inner = log.trace_id.get()
        with pytest.raises(ValueError, match="canary"), tracing.operation("tool", "a.b"):
            raise ValueError("canary")
    made.close()
    (path, body) = collector.until(lambda: collector.bodies)[0]
    assert path == "/v2/projects/p-1/traces:batchWrite"
    tool, turn = json.loads(body)["spans"]
    assert inner == "0af7651916cd43dd8448eb211c80319c"
    assert turn["name"] == f"projects/p-1/traces/{inner}/spans/{turn['spanId']}"
    assert (turn["parentSpanId"], tool["parentSpanId"]) == ("b7ad6b7169203331", turn["spanId"])
    assert tool["status"] == {"code": 2} and turn["status"] == {"code": 0}
    assert tool["attributes"]["attributeMap"]["target"] == {"stringValue": {"value": "a.b"}}
    assert b"canary" not in body


def test_a_collector_that_is_down_costs_spans_and_nothing_else(loop: LoopThread) -> None:
    """Turns go on while traces cannot be sent; the log says so."""
    refusing = Collector(status=400)
    settings = Settings(traces=f"http://{refusing.host}", trace_share=1.0)
    made = telemetry.start(settings, loop, GoogleRest)
    with tracing.operation("turn"):
        pass
    made.close()
    assert refusing.bodies
    refusing.close()


def test_sampling_follows_whoever_began_the_trace(collector: Collector, loop: LoopThread) -> None:
    """A trace is kept whole or not at all, over all processes that take part in it."""
    settings = Settings(traces=f"http://{collector.host}", trace_share=0.000001)
    made = telemetry.start(settings, loop, GoogleRest)
    with tracing.operation("turn", within=PARENT):
        pass
    with tracing.operation("turn", within=PARENT[:-2] + "00"):
        assert tracing.traceparent().endswith("-00")
    made.close()
    assert [span["parentSpanId"] for span in collector.spans] == ["b7ad6b7169203331"]


def test_sentry_hears_where_it_broke_and_not_what_was_said(
    collector: Collector, loop: LoopThread
) -> None:
    """An error report has the type and the places; arguments, messages and locals are left out."""
    settings = Settings(sentry_dsn=f"http://public@{collector.host}/1")
    made = telemetry.start(settings, loop, GoogleRest)
    try:
        secret = "canary"
        raise ValueError(secret)
    except ValueError:
        logging.getLogger("common.test").exception("it broke", extra={"said": "canary"})
    logging.getLogger("foreign").error("canary")
    made.close()
    (error,) = collector.until(lambda: collector.errors)
    (value,) = error["exception"]["values"]
    assert (error["logger"], value["type"]) == ("common.test", "ValueError")
    assert value["stacktrace"]["frames"][-1]["filename"] == "test_tracing.py"
    assert "canary" not in str(collector.bodies)


# --- the whole way ------------------------------------------------------------------------------


def slow_search(body: dict[str, Any]) -> Answer:
    """Search slowly, then answer."""
    asked = body["input"][-1].get("role") == "user"
    return Calls([("search_slowly", {"topic": "whales"})]) if asked else Text("Here it is.")


@pytest.mark.timeout(180)
def test_one_trace_leads_from_the_socket_to_the_title(tmp_path: Path, collector: Collector) -> None:
    """A prompt's trace shows its frame, turn, the tool that ran in the worker, and the title."""

    async def scene(suite: Suite) -> None:
        async with aiohttp.ClientSession() as http:
            client = Client(suite, http, "chat", await suite.sign_in(http, "Ada"))
            client.open()
            await client.until(lambda: client.connected)
            await client.send(type="prompt", text="search for whales")
            await client.until(lambda: client.of("end_of_stream"))
            await client.close()

    with (
        FakeOpenAI(default=slow_search) as fake,
        Suite(
            tmp_path,
            OPENAI_BASE_URL=fake.base_url, OPENAI_API_KEY="k",
            ODAI_TRACES=f"http://{collector.host}", ODAI_TRACE_SHARE="1",
            OTEL_BSP_SCHEDULE_DELAY="50",
        ) as suite,
    ):  # fmt: skip
        asyncio.run(scene(suite))
        wanted = ("frame", "turn", "tool", "request", "title")
        names = collector.until(lambda: _named(collector.spans, *wanted))
    frame, turn, tool, request, title = names
    assert len({span["traceId"] for span in names}) == 1
    assert turn["parentSpanId"] == frame["spanId"]
    assert request["parentSpanId"] == turn["spanId"]  # the task was enqueued by the turn
    assert tool["parentSpanId"] == request["spanId"]
    assert title["parentSpanId"] == turn["spanId"]
    target = {"key": "target", "value": {"stringValue": "connector_worker"}}
    assert target in request["attributes"]


def _named(spans: list[Span], *names: str) -> list[Span] | None:
    """Return the first span of each name in the trace of the first frame, None before all came."""
    trace = next((span["traceId"] for span in spans if span["name"] == "frame"), "")
    found = {span["name"]: span for span in reversed(spans) if span["traceId"] == trace}
    return [found[name] for name in names] if set(names) <= set(found) else None


@pytest.mark.timeout(240)
def test_no_exporter_is_told_what_anybody_wrote(tmp_path: Path, collector: Collector) -> None:
    """Every path of the product, at its most talkative: no marker reaches a collector or Sentry."""
    with (
        FakeOpenAI(default=canary_model) as fake,
        Suite(
            tmp_path,
            OPENAI_BASE_URL=fake.base_url, OPENAI_API_KEY=KEY,
            ODAI_TEST_PATIENCE="0.3", ODAI_LOG_LEVEL="DEBUG",
            ODAI_TRACES=f"http://{collector.host}", ODAI_TRACE_SHARE="1",
            SENTRY_DSN=f"http://public@{collector.host}/1", OTEL_BSP_SCHEDULE_DELAY="50",
        ) as suite,
    ):  # fmt: skip
        person = asyncio.run(live(suite))
        collector.until(lambda: {s["name"] for s in collector.spans} >= {"frame", "turn", "tool"})
    sent = b"\n".join(body for _, body in collector.bodies)
    secrets = [*C.values(), KEY, str(POSITION), *person.secrets]
    assert [secret for secret in secrets if secret.encode() in sent] == []


def test_services_observe_only_where_they_are_told(services: Callable[..., Services]) -> None:
    """Nothing is sent anywhere unless the operator names a place."""
    made = services()
    made.observe()
    assert made.telemetry is None
