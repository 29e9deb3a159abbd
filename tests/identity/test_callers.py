"""Deliveries: only our own queues and topics reach the functions behind them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import NotAllowed, NotAuthenticated
from common.identity import LocalCallers, OidcCallers

TASKS = "tasks@demo-project.iam.gserviceaccount.com"


@pytest.fixture
def callers(oidc_keys: Any, clock: Any) -> OidcCallers:
    return OidcCallers(
        audience="https://worker.example", emails=[TASKS], keys=oidc_keys, clock=clock
    )


@pytest.fixture
def local(tmp_path: Path, clock: Any) -> LocalCallers:
    return LocalCallers.open(tmp_path, production=False, clock=clock)


@pytest.mark.parametrize("issuer", ["https://accounts.google.com", "accounts.google.com"])
def test_delivery_is_recognised(callers: Any, authority: Any, server: Any, issuer: str) -> None:
    """A task delivered by our queue is let in, under either of Google's names."""
    header = "Bearer " + authority.oidc_token(iss=issuer)
    assert asyncio.run(callers.verify(header)) == TASKS
    assert server.asked == ["https://www.googleapis.com/oauth2/v3/certs"]


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "https://elsewhere.example"},
        {"aud": None},
        {"email": "stranger@other.iam.gserviceaccount.com"},
        {"email": None},
        {"email": [TASKS]},
        {"email_verified": False},
        {"email_verified": None},
        {"email_verified": "true"},
    ],
)
def test_somebody_elses_delivery_is_not_allowed(callers: Any, authority: Any, changes: Any) -> None:
    """Google's signature alone opens nothing: it must be our account, calling this address."""
    with pytest.raises(NotAllowed):
        asyncio.run(callers.verify("Bearer " + authority.oidc_token(**changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://securetoken.google.com/demo-project"},
        {"iss": ["accounts.google.com"]},
        {"iss": None},
        {"exp": 1},
        {"exp": None},
        {"iat": None},
        {"iat": 4_000_000_000},
        {"header": {"kid": "unknown"}},
        {"header": {"kid": None}},
    ],
)
def test_invalid_token_is_refused(callers: Any, authority: Any, changes: Any) -> None:
    """An expired, foreign or unsigned token is no credential."""
    with pytest.raises(NotAuthenticated):
        asyncio.run(callers.verify("Bearer " + authority.oidc_token(**changes)))


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic eDp5", "Bearer a.b.c", "Bearer x"])
def test_no_token_is_refused(callers: Any, local: Any, header: str | None) -> None:
    """Without a token there is no way in, in the cloud or on the laptop."""
    for door in (callers, local):
        with pytest.raises(NotAuthenticated):
            asyncio.run(door.verify(header))


def stripped(token: str) -> str:
    return "Bearer " + token.rpartition(".")[0] + ".SIGNATURE_REMOVED_BY_GOOGLE"


def test_signature_removed_by_the_platform(
    callers: Any, oidc_keys: Any, authority: Any, clock: Any, server: Any
) -> None:
    """Where the platform has checked the signature and cut it off, the rest is still checked."""
    behind = OidcCallers(
        audience="https://worker.example",
        emails=[TASKS],
        keys=oidc_keys,
        signature_checked_by_platform=True,
        clock=clock,
    )
    assert asyncio.run(behind.verify(stripped(authority.oidc_token()))) == TASKS
    assert server.asked == []
    with pytest.raises(NotAllowed):
        asyncio.run(behind.verify(stripped(authority.oidc_token(email="other@example.com"))))
    with pytest.raises(NotAuthenticated):
        asyncio.run(behind.verify(stripped(authority.oidc_token(exp=1))))
    with pytest.raises(NotAuthenticated):
        asyncio.run(behind.verify("Bearer a.b.SIGNATURE_REMOVED_BY_GOOGLE"))
    with pytest.raises(NotAuthenticated):
        asyncio.run(behind.verify("Bearer " + authority.oidc_token()[:-2] + "AA"))
    with pytest.raises(NotAuthenticated):
        asyncio.run(callers.verify(stripped(authority.oidc_token())))


def test_local_delivery(local: Any, tmp_path: Path, clock: Any) -> None:
    """The embedded queue's deliveries are recognised for five minutes, another machine's never."""
    header = local.sign()
    assert asyncio.run(local.verify(header)) == "local"
    elsewhere = LocalCallers.open(tmp_path / "other", production=False, clock=clock)
    with pytest.raises(NotAuthenticated):
        asyncio.run(local.verify(elsewhere.sign()))
    clock.tick(311)
    with pytest.raises(NotAuthenticated):
        asyncio.run(local.verify(header))


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(header=st.none() | st.text(max_size=80) | st.from_regex(r"Bearer [\w-]+\.[\w-]+\.[\w-]+"))
def test_garbage_is_only_ever_refused(callers: Any, local: Any, header: str | None) -> None:
    """Whatever a stranger sends, the answer is a refusal, never a fault of ours."""
    for door in (callers, local):
        with pytest.raises(NotAuthenticated):
            asyncio.run(door.verify(header))
