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
import secrets
import sys
from typing import Any, TextIO

trace_id: contextvars.ContextVar[str] = contextvars.ContextVar("trace_id", default="")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def get_logger(name: str) -> logging.Logger:
    """Return the logger `name`; pass facts to its calls as `extra={"chat_id": …}`."""
    return logging.getLogger(name)


def new_trace(header: str | None = None) -> str:
    """Start a trace: the id of a W3C `traceparent` header if it holds one, else a new random id.

    Sets `trace_id` for the current context and returns it (32 hexadecimal digits).
    """
    parts = (header or "").split("-")
    known = len(parts) >= 3 and len(parts[1]) == 32 and set(parts[1]) <= set("0123456789abcdef")
    value = parts[1] if known else secrets.token_hex(16)
    trace_id.set(value)
    return value


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
        if record.exc_info and record.exc_info[0]:
            line["exception"] = _where(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def _where(exc_info: Any) -> dict[str, Any]:
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
