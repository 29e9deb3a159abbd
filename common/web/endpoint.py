"""`@endpoint`: what turns a few lines into one of our HTTP functions.

The decorated function parses, calls, returns; a trace, the error answers and the caller's check
are the same for all of them. Works under functions-framework and inside the local suite.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol

from flask import Request, Response, g, jsonify
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from common.errors import NotAllowed, NotAuthenticated, OdaiError
from common.identity import Callers, Identity, Verifier, bearer
from common.log import get_logger, new_trace
from common.loop import LoopThread
from common.tracing import operation
from common.web.edge import MAX_BODY_BYTES, answer_error, answer_http

log = get_logger(__name__)


class Audits(Protocol):
    """The part of the audit trail that an endpoint writes."""

    async def refused(self, what: str, reason: str) -> None: ...


class EndpointServices(Protocol):
    """What endpoints need of the composition root."""

    loop: LoopThread

    @property
    def callers(self) -> Callers: ...

    @property
    def verifier(self) -> Verifier: ...

    @property
    def audit(self) -> Audits: ...


View = Callable[..., ResponseReturnValue]


def endpoint(services: Callable[[], Any]) -> Callable[[View], Callable[[Request], Any]]:
    """Make `view(request, services)` an HTTP function; `services()` is asked at each request."""

    def decorate(view: View) -> Callable[[Request], Any]:
        @wraps(view)
        def serve(request: Request) -> Any:
            g.trace = new_trace(request.headers.get("traceparent"))
            request.max_content_length = MAX_BODY_BYTES  # deployed, nobody else bounds it
            with operation("request", view.__name__) as measured:
                try:
                    return view(request, services())
                except OdaiError as err:
                    measured.outcome = err.code
                    return answer_error(err)
                except HTTPException as err:  # as it reads a body that is too large, say
                    measured.outcome = "refused"
                    return answer_http(err)
                except Exception:
                    measured.outcome = "unexpected"
                    log.exception("request failed")
                    return answer_error(OdaiError("unexpected"))
                finally:  # functions-framework reads what is left, and fails where it may not
                    request.max_content_length = None

        return serve

    return decorate


def check_platform(request: Request, services: EndpointServices) -> None:
    """Let only our own queues and topics through: 401 or 403 otherwise, with an audit row."""
    try:
        services.loop.run(services.callers.verify(request.headers.get("Authorization")))
    except (NotAuthenticated, NotAllowed) as err:
        services.loop.run(services.audit.refused(request.path, err.code))
        raise


def signed_in(request: Request, services: EndpointServices) -> Identity:
    """Return the user whose token the request carries; NotAuthenticated without one."""
    token = bearer(request.headers.get("Authorization"))
    if token is None:
        raise NotAuthenticated("Sign in first.")
    return services.loop.run(services.verifier.verify(token))


def acknowledge(status: int, retry_after: float | None = None) -> Response:
    """Answer a queue: 2xx ends the task, anything else repeats it."""
    response = jsonify(ok=status < 300)
    response.status_code = status
    if retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(retry_after)))
    return response
