"""The process's own Google identity: one refresh for many, and errors an operator can act on."""

from __future__ import annotations

import asyncio
from typing import Any

import google.auth
import pytest
from google.auth.exceptions import DefaultCredentialsError, TransportError

from common.errors import Misconfigured, VendorUnavailable
from common.google_rest import DefaultToken


class Credentials:
    """Credentials that count their refreshes."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.refreshes = 0
        self.valid = False
        self.token = ""

    def refresh(self, _: Any) -> None:
        if self.failure:
            raise self.failure
        self.refreshes += 1
        self.token = f"ya29.{self.refreshes}"
        self.valid = True


def found(monkeypatch: pytest.MonkeyPatch, credentials: Credentials) -> None:
    monkeypatch.setattr(google.auth, "default", lambda scopes: (credentials, "p"))


def test_a_burst_refreshes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parallel calls share one refresh, and an expired token is replaced."""
    credentials = Credentials()
    found(monkeypatch, credentials)

    async def main() -> None:
        token = DefaultToken()
        assert await asyncio.gather(*(token() for _ in range(5))) == ["ya29.1"] * 5
        credentials.valid = False
        assert await token() == "ya29.2"

    asyncio.run(main())


def test_trouble_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """No identity is a setting to change; a failing metadata server is an outage."""

    async def main() -> None:
        outage = TransportError("metadata server")  # type: ignore[no-untyped-call]
        found(monkeypatch, Credentials(outage))
        with pytest.raises(VendorUnavailable):
            await DefaultToken()()
        nobody = DefaultCredentialsError("none")  # type: ignore[no-untyped-call]
        found(monkeypatch, Credentials(nobody))
        with pytest.raises(Misconfigured, match="gcloud auth"):
            await DefaultToken()()

    asyncio.run(main())
