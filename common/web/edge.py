"""What every HTTP answer of this product has in common, for the container and the functions.

Errors become their status and one JSON shape; each request gets a trace; nothing foreign reaches a
caller.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from flask import Flask, Request, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from common.errors import InvalidInput, OdaiError, RateLimited
from common.log import get_logger, new_trace
from common.settings import Settings

log = get_logger(__name__)

MAX_BODY_BYTES = 1_048_576

# What is refused before a page is asked, beside the codes of `common.errors`.
HTTP_CODES = {
    400: "bad_request", 404: "not_found", 405: "method_not_allowed",
    413: "request_entity_too_large", 500: "internal",
}  # fmt: skip

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin-allow-popups",
}


def install(app: Flask, *, allowed_origins: tuple[str, ...] = ()) -> None:
    """Give `app` the common behaviour; `allowed_origins` may call it from a browser."""
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.url_map.merge_slashes = False  # else `//` is answered by a redirect to any `Host` named
    app.before_request(_start)
    app.register_error_handler(OdaiError, answer_error)
    app.register_error_handler(HTTPException, answer_http)
    app.register_error_handler(Exception, _answer_unexpected)

    def finish(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers["X-Request-Id"] = g.get("trace", "")
        origin = request.headers.get("Origin", "")
        if origin in allowed_origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, PATCH, DELETE"
            response.vary.add("Origin")
        return response

    app.after_request(finish)


def answer_error(error: OdaiError) -> Response:
    """Return the error as JSON `{"error": {code, message, retryable}}` with its status."""
    message = str(error)
    if error.status == 500:  # for the operator; the caller learns only that it is not theirs
        log.error("misconfigured", extra={"code": error.code, "detail": message})
        message = "The server is not set up for this. Its operator can see why in the log."
    response = jsonify(
        {"error": {"code": error.code, "message": message, "retryable": error.retryable}}
    )
    response.status_code = error.status
    if isinstance(error, RateLimited) and error.retry_after:
        response.headers["Retry-After"] = str(round(error.retry_after))
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
    return response


def json_object(of: Request) -> dict[str, Any] | None:
    """Return the JSON object that `of` carries, None where it carries anything else.

    Strict, as the standard library is not: half a surrogate pair, NaN and endless nesting would
    fail only later, where the text is stored or sent on.
    """
    if not of.is_json:
        return None
    try:
        body = msgspec.json.decode(of.get_data())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def json_body(of: Request | None = None) -> dict[str, Any]:
    """Return the JSON object of `of` (the current request); InvalidInput for anything else."""
    body = json_object(of or request)
    if body is None:
        raise InvalidInput("Send a JSON object with Content-Type: application/json.")
    return body


def text_field(
    body: Mapping[str, Any], name: str, *, longest: int, default: str | None = None
) -> str:
    """Return the text `body[name]`, stripped, of 1 to `longest` characters; else InvalidInput.

    It may be left out where there is a `default`, and be blank where that is "".
    """
    value = body.get(name, default)
    fits = isinstance(value, str) and len(value) <= longest and (value.strip() or default == "")
    if not fits:
        raise InvalidInput(f"{name} must be text of 1 to {longest} characters.")
    return str(value).strip()


def count_field(query: Mapping[str, str], name: str, *, default: int, most: int) -> int:
    """Return the number `query[name]` between 1 and `most`, `default` where it is left out."""
    text = query.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        raise InvalidInput(f"{name} must be 1 to {most}.")
    return int(text)


def _start() -> None:
    g.trace = new_trace(request.headers.get("traceparent"))


def answer_http(error: HTTPException) -> Response:
    """Return what Werkzeug refused (no such page, too large, malformed) in the same form."""
    response = jsonify(
        {
            "error": {
                "code": HTTP_CODES.get(error.code or 500, InvalidInput.code),
                "message": error.description or "",
                "retryable": False,
            }
        }
    )
    response.status_code = error.code or 500
    return response


def _answer_unexpected(error: Exception) -> Response:
    log.error("request failed", exc_info=error)
    return answer_error(OdaiError("unexpected"))


def client_address(asked: Request, settings: Settings) -> str:
    """Return the address a request comes from, "" where the header does not tell it.

    Each proxy of Google's appends the address it heard from; what stands before those entries the
    caller wrote, and may be anything. Nothing stands before a laptop's server.
    """
    if settings.local:
        return asked.remote_addr or ""
    listed = [part.strip() for part in asked.headers.get("X-Forwarded-For", "").split(",")]
    return listed[-settings.proxies] if len(listed) >= settings.proxies else ""
