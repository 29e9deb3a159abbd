"""Requests that say they come from Twilio: checked, then read.

The addresses over which Twilio signs are configured, or told by a proxy that the operator has
declared to trust; the `Host` header, which the sender writes, decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from flask import Request, Response

from common.errors import InvalidInput, NotAllowed
from common.settings import Settings
from common.telephony import twiml
from common.telephony.signature import Keys, Params, signed
from common.web.endpoint import EndpointServices

MAX_FORM_BYTES = 65_536
_FORM = "application/x-www-form-urlencoded"


class SignedServices(EndpointServices, Protocol):
    """What checking needs of the composition root."""

    settings: Settings


def check_signed(request: Request, services: SignedServices, *, function: str = "") -> None:
    """Let only Twilio through: NotAllowed otherwise, with an audit row.

    Works for webhooks of any kind and for a WebSocket's handshake. `function` is the name of the
    function that serves the request, which may be reached at an address of its own.
    """
    if (request.content_length or 0) > MAX_FORM_BYTES:
        raise InvalidInput("That is larger than anything Twilio sends.")
    handshake = request.headers.get("Upgrade", "").lower() == "websocket"
    urls = public_urls(request, services.settings, function=function, handshake=handshake)
    is_form = request.method == "POST" and request.mimetype == _FORM
    params: Params | None = request.form.to_dict(flat=False) if is_form else None
    body = b"" if is_form else request.get_data()
    keys = Keys.of(services.settings.secret)
    if not signed(urls, params, request.headers.get, keys, body=body):
        services.loop.run(services.audit.refused(request.path, "twilio_signature"))
        raise NotAllowed("Only Twilio may call this address.")


def form_of(request: Request, services: SignedServices, *, function: str = "") -> Mapping[str, str]:
    """Return the fields of a signed webhook, the first value of each. Raises as `check_signed`."""
    check_signed(request, services, function=function)
    return (request.form if request.method == "POST" else request.args).to_dict()


def public_urls(
    request: Request, settings: Settings, *, function: str = "", handshake: bool = False
) -> list[str]:
    """Return the addresses under which the outside may know this request."""
    raw = _raw_target(request)
    urls = [f"{base}{raw}" for base in _bases(request, settings, function)]
    if not handshake:
        return urls
    return [f"ws{url.removeprefix('http')}" for url in urls]


def answered(*elements: str) -> Response:
    """Return TwiML as the answer to a webhook."""
    response = Response(twiml.document(*elements), content_type=twiml.CONTENT_TYPE)
    response.headers["Cache-Control"] = "no-store"  # it may hold a ticket
    return response


def _bases(request: Request, settings: Settings, function: str) -> Iterator[str]:
    yield settings.base_url
    if settings.functions_url:
        own = settings.functions_url.rstrip("/")
        yield own
        if function:  # where it is deployed, its name is not in the path that it sees
            yield f"{own}/{function}"
    if settings.trust_proxy:
        scheme = _last(request.headers.get("X-Forwarded-Proto"))
        host = _last(request.headers.get("X-Forwarded-Host"))
        if scheme in ("http", "https") and host:
            yield f"{scheme}://{host}"


def _last(header: str | None) -> str:
    """Return what the nearest proxy said: earlier parts may be the sender's own."""
    return (header or "").rpartition(",")[2].strip()


def _raw_target(request: Request) -> str:
    """Return path and query exactly as they were sent: decoding and encoding again may differ."""
    environ: Mapping[str, Any] = request.environ
    raw = str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or "")
    if raw.startswith("/") and ("?" in raw or not request.query_string):
        return raw  # a server that leaves the query out would have us answer to an unsigned one
    return request.full_path if request.query_string else request.path
