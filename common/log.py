"""Structured logs: one JSON object a line, with the trace it belongs to.

The field names are those Cloud Logging reads (`severity`, `message`, the trace's), so that the same
line is useful in a terminal and in the console. Callers pass facts as `extra` fields; message text,
tokens and phone numbers have no place in any of them.
"""

from __future__ import annotations

import contextvars
import datetime as dt
import json
import logging
import re
import secrets
import sys
from typing import Any, TextIO

trace_id: contextvars.ContextVar[str] = contextvars.ContextVar("trace_id", default="")
span_id: contextvars.ContextVar[str] = contextvars.ContextVar("span_id", default="")
sampled: contextvars.ContextVar[bool] = contextvars.ContextVar("sampled", default=False)

_TRACEPARENT = re.compile(
    "[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})"
)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def get_logger(name: str) -> logging.Logger:
    """Return the logger `name`; pass facts to its calls as `extra={"chat_id": …}`."""
    return logging.getLogger(name)


def new_trace(header: str | None = None) -> str:
    """Start a trace: that of a W3C `traceparent` header if it holds one, else one of a random id.

    Sets `trace_id`, and the caller's span as the parent, for the current context; returns the id
    (32 hexadecimal digits).
    """
    known = _TRACEPARENT.match(header or "")
    if known is None:
        enter_span(secrets.token_hex(16), "", False)
    else:
        trace, span, flags = known.groups()
        enter_span(trace, span, bool(int(flags, 16) & 1))
    return trace_id.get()


def enter_span(trace: str, span: str, is_sampled: bool) -> None:
    """Make these the current context's trace and span."""
    trace_id.set(trace)
    span_id.set(span)
    sampled.set(is_sampled)


def configure(*, project: str = "", level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send every log record to `stream` (standard error by default) as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(project))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # These two log every request's URL, and a URL may carry an original client's `?token=`.
    for name in ("werkzeug", "gunicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
    server = logging.getLogger("gunicorn.error")
    server.handlers[:] = []  # what it says is one JSON line as well
    server.propagate = True
    server.addFilter(_without_quotes)


def _without_quotes(record: logging.LogRecord) -> bool:
    """Keep gunicorn from quoting what a stranger sent: a broken request line may hold a token."""
    said = record.getMessage()
    if said.startswith("Invalid request"):
        found = re.search(r": ([A-Za-z ]+)", said)
        record.msg, record.args = "malformed request", ()
        record.reason = found[1].strip() if found else ""
    elif said.startswith("Error handling request"):
        record.msg, record.args = "request failed in the server", ()
    return True


class JsonFormatter(logging.Formatter):
    """Format a record as one JSON line; `project` is the Google Cloud project of the trace URL."""

    def __init__(self, project: str = "") -> None:
        super().__init__()
        self._project = project

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(),
            "severity": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update({k: v for k, v in vars(record).items() if k not in _STANDARD})
        if trace := trace_id.get():
            prefix = f"projects/{self._project}/traces/" if self._project else ""
            line["logging.googleapis.com/trace"] = prefix + trace
            if span := span_id.get():
                line["logging.googleapis.com/spanId"] = span
                line["logging.googleapis.com/trace_sampled"] = sampled.get()
        if record.exc_info and record.exc_info[0]:
            line["exception"] = where(record.exc_info)
        # ASCII alone: half a surrogate pair cannot be written, and a terminal obeys U+009B.
        return json.dumps(line, default=str)


def where(exc_info: Any) -> dict[str, Any]:
    """Describe an exception by its type and the places it passed, without its message.

    A foreign exception's message may quote the request that caused it (a URL with a key, a
    prompt), so that only our own errors, whose messages are written to be read, keep theirs.
    """
    from traceback import extract_tb

    from common.errors import OdaiError

    kind, value, trace = exc_info
    frames = [f"{f.filename.rsplit('/', 1)[-1]}:{f.lineno} {f.name}" for f in extract_tb(trace)]
    described = {"type": kind.__name__, "frames": frames[-12:]}
    if isinstance(value, OdaiError):
        described["message"] = str(value)
    return described
