"""The local suite as an attacker finds it: every function mounted, simulated services behind it.

`Target` opens it in this process; `signing` lets requests pass Twilio's check, so that what comes
after the signature is attacked as well.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

from flask import Flask
from flask.testing import FlaskClient

from common.bootstrap import Services
from common.web.openapi import ENDPOINTS, Endpoint
from run.local.suite import create_suite
from tests.fakes.google import Google
from tests.fakes.plaid import FakePlaid
from tests.fakes.twilio import ACCOUNT, FakeTwilio

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]
BY_ROUTE = {(each.method, each.path): each for each in ENDPOINTS}
SIGNED_IN = [each for each in ENDPOINTS if each.caller == "user"]


class Target:
    """The suite over services of the test's own, with every account configured."""

    def __init__(self, make: Callable[..., Services], **environ: str) -> None:
        self._stack = [Google(), FakePlaid(), FakeTwilio()]
        google, plaid, twilio = (fake.__enter__() for fake in self._stack)
        maps = [
            google.settings["ODAI_EGRESS_MAP"], plaid.environ["ODAI_EGRESS_MAP"],
            twilio.environ["ODAI_EGRESS_MAP"],
        ]  # fmt: skip
        settings = {**google.settings, **plaid.environ, **twilio.environ, **environ}
        self.google, self.plaid, self.twilio = google, plaid, twilio
        self.services = make(**{**settings, "ODAI_EGRESS_MAP": ",".join(maps)})
        self.app: Flask = create_suite(self.services)
        self.client: FlaskClient = self.app.test_client()

    def close(self) -> None:
        """Stop the simulated services."""
        for fake in self._stack:
            fake.__exit__(None, None, None)

    def bearer(self, uid: str) -> dict[str, str]:
        """Return the headers of a signed-in user."""
        assert self.services.development
        return {"Authorization": f"Bearer {self.services.development.mint(uid, name=uid)}"}

    def headers(self, endpoint: Endpoint, uid: str) -> dict[str, str]:
        """Return the credentials that `endpoint` wants; Twilio's are added by `signing`."""
        if endpoint.caller == "platform":
            return {"Authorization": self.services.sign_call()}
        return self.bearer(uid) if endpoint.caller == "user" else {}


def signing(app: Wsgi, base: str) -> Wsgi:
    """Sign each request as Twilio would, over `base` and the address it came to."""

    def signed(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        environ.pop("HTTP_ACCEPT_ENCODING", None)  # what is asked in this process is not unpacked
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        query = f"?{environ['QUERY_STRING']}" if environ.get("QUERY_STRING") else ""
        form: dict[str, Any] | None = None
        if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = io.BytesIO(body)
            form = dict(parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True))
        for name, value in ACCOUNT.headers(f"{base}{path}{query}", form).items():
            environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
        answer = app(environ, start)
        try:
            return list(answer)
        finally:  # whoever asks through schemathesis leaves files open
            getattr(answer, "close", lambda: None)()

    return signed


def targets(make: Callable[..., Services], **environ: str) -> Iterator[Target]:
    """Open a target for a fixture, and close it afterwards."""
    before = Services._of_process
    target = Target(make, **environ)
    yield target
    target.close()
    Services._of_process = before
