"""Tokens that stay good: one refresh for everybody, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from common.bootstrap import Services
from common.errors import (
    NotAllowed,
    OdaiError,
    ReauthRequired,
    VendorRejected,
    VendorUnavailable,
)
from common.oauth.accounts import LEASE_S
from common.oauth.flow import Profile, Tokens
from common.store import Query
from tests.fakes.google import CLIENT_ID, Failure, Google, Grant

READ = "https://www.googleapis.com/auth/gmail.readonly"
SEND = "https://www.googleapis.com/auth/gmail.compose"
TOKEN = "POST oauth2.googleapis.com/token"
MINUTE = dt.timedelta(minutes=1)


@pytest.fixture
def google() -> Iterator[Google]:
    with Google() as served:
        yield served


class Desk:
    """A server with one linked account, whose token ends `left_s` seconds from now."""

    def __init__(self, services: Services, google: Google, *, left_s: float = 0.0) -> None:
        self.services, self.google = services, google
        grant = Grant("108", ["openid", READ], refresh="1//0e-first")
        google.refresh_tokens[grant.refresh] = grant
        until = services.clock() + dt.timedelta(seconds=left_s)
        tokens = Tokens(
            access="ya29.old", refresh=grant.refresh, expires_at=until, scopes=("openid", READ)
        )
        profile = Profile("108", "ada@example.com")
        services.loop.run(services.linked.link("ada", "google", profile, tokens))

    def token(self, *scopes: str) -> str:
        port = self.services.accounts_for("ada")
        return self.services.loop.run(port.token("google", scopes or (READ,)))

    def rows(self) -> list[tuple[str, str]]:
        found = self.services.loop.run(self.services.store.query(Query("audit")))
        return [(row.data["what"], row.data["status"]) for row in found]

    @property
    def status(self) -> str:
        [account] = self.services.loop.run(self.services.linked.of("ada"))
        return account.status


@pytest.fixture
def desk(services: Callable[..., Services], google: Google) -> Desk:
    return Desk(services(**google.settings), google)


def test_twenty_callers_at_expiry_make_one_refresh(desk: Desk, google: Google) -> None:
    """However many tools ask at once, Google is asked once and all get the same new token."""

    async def ask() -> list[str]:
        port = desk.services.accounts_for("ada")
        return await asyncio.gather(*(port.token("google", (READ,)) for _ in range(20)))

    tokens = desk.services.loop.run(ask())
    assert len(set(tokens)) == 1 and tokens[0] in google.access_tokens
    assert google.count(TOKEN) == 1
    assert desk.rows() == [("refresh google", "done")]


@pytest.mark.parametrize("rotates", [False, True])
def test_twenty_workers_of_two_instances_make_one_refresh(
    services: Callable[..., Services], google: Google, rotates: bool
) -> None:
    """Two servers on one store refresh once; a refresh token that works once is not lost."""
    google.rotates = rotates
    first, second = services(**google.settings), services(**google.settings)
    desk = Desk(first, google)

    def ask(number: int) -> str:
        return (desk if number % 2 else other).token()

    other = Desk.__new__(Desk)
    other.services, other.google = second, google
    with ThreadPoolExecutor(20) as workers:
        tokens = list(workers.map(ask, range(20)))
    assert len(set(tokens)) == 1 and tokens[0] in google.access_tokens
    assert google.count(TOKEN) == 1
    assert desk.rows() == [("refresh google", "done")]
    [held] = first.loop.run(first.linked.held("ada"))
    assert google.refresh_tokens[held.tokens.refresh].live


def test_a_good_token_is_used_and_one_about_to_end_is_not(
    services: Callable[..., Services], google: Google
) -> None:
    """Two minutes before its end a token is renewed: clocks may differ by that much."""
    desk = Desk(services(**google.settings), google, left_s=300)
    assert desk.token() == "ya29.old" and google.count(TOKEN) == 0
    later = desk.services.clock() + 4 * MINUTE
    desk.services.keeper._clock = lambda: later
    assert desk.token() != "ya29.old" and google.count(TOKEN) == 1


def test_when_an_account_was_last_used_is_known_to_the_hour(
    services: Callable[..., Services], google: Google
) -> None:
    """Giving a token to a tool is a use; one an hour is noted, and linking again keeps it."""
    desk = Desk(services(**google.settings), google, left_s=9000)
    run, linked = desk.services.loop.run, desk.services.linked

    def last() -> dt.datetime | None:
        [account] = run(linked.of("ada"))
        return account.used_at

    assert last() is None
    desk.token()
    first = last()
    assert first is not None and abs(first - desk.services.clock()) < MINUTE
    desk.token()
    assert last() == first
    linked._clock = lambda: first + 61 * MINUTE
    desk.token()
    assert last() == first + 61 * MINUTE
    run(linked.link("ada", "google", Profile("108", "ada@example.com"), Tokens(access="ya29.new")))
    assert last() == first + 61 * MINUTE


def test_a_slow_answer_does_not_stretch_a_token(desk: Desk) -> None:
    """A token's life counts from before it was asked for."""
    before = desk.services.clock()
    desk.google.lifetime_s = 200
    desk.token()
    [held] = desk.services.loop.run(desk.services.linked.held("ada"))
    assert held.tokens.expires_at is not None
    asked = desk.services.clock()
    assert before <= held.tokens.expires_at - dt.timedelta(seconds=200) <= asked


def test_a_permission_taken_back_asks_to_link_again(desk: Desk, google: Google) -> None:
    """Google's no marks the account, is not asked for twice, and says where to connect."""
    google.withdraw()
    for _ in range(2):
        with pytest.raises(ReauthRequired, match="/auth/google/login"):
            desk.token()
    assert google.count(TOKEN) == 1 and desk.status == "reauth"
    assert desk.rows() == [("refresh google", "reauth_required")]
    [held] = desk.services.loop.run(desk.services.linked.held("ada"))
    assert held.tokens.access == held.tokens.refresh == ""


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (Failure(400, {"error": "invalid_request"}), VendorRejected),
        (Failure(401, {"error": "invalid_client"}), VendorRejected),
        (Failure(400, {"error": "server_error"}), VendorUnavailable),
        (Failure(200, {"odd": True}), VendorRejected),
    ],
)
def test_trouble_at_google_keeps_the_account(
    desk: Desk, google: Google, failure: Failure, error: type[OdaiError]
) -> None:
    """Whoever is at fault, nothing is unlinked, and the next call may succeed at once."""
    google.fail("/token", failure)
    with pytest.raises(error):
        desk.token()
    assert desk.status == "ok"
    assert desk.token() in google.access_tokens
    assert [status for _, status in desk.rows()] == [error.code, "done"]


def test_an_overloaded_or_broken_google_is_asked_again(desk: Desk, google: Google) -> None:
    """Google's refresh may be repeated: a 503 costs the user nothing."""
    google.fail("/token", Failure(503, None, {"Retry-After": "0"}))
    assert desk.token() in google.access_tokens
    assert google.count(TOKEN) == 2


def test_a_token_that_still_works_outlives_trouble(
    services: Callable[..., Services], google: Google
) -> None:
    """In its last two minutes a token serves on while Google cannot renew it."""
    desk = Desk(services(**google.settings), google, left_s=60)
    google.fail("/token", Failure(429, None, {"Retry-After": "3600"}))
    assert desk.token() == "ya29.old"


def test_a_refresh_that_died_is_taken_over(desk: Desk, google: Google) -> None:
    """A server killed while it refreshed blocks nobody for longer than its lease."""

    async def die() -> None:
        await desk.services.linked.claim(
            "ada", "google:108", owner="dead", fresh=lambda tokens: False
        )

    desk.services.loop.run(die())
    start = desk.services.clock()
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        desk.services.linked._clock = lambda: start + dt.timedelta(seconds=sum(waited))

    desk.services.keeper._sleep = sleep
    assert desk.token() in google.access_tokens
    assert LEASE_S - 1 <= sum(waited) <= LEASE_S + 1 and google.count(TOKEN) == 1


def test_a_link_made_meanwhile_is_not_overwritten(desk: Desk, google: Google) -> None:
    """Who links again while an old token is refused has a good account afterwards."""
    linked, run = desk.services.linked, desk.services.loop.run
    [before] = run(linked.held("ada"))
    fresh = Tokens(access="ya29.new", refresh="1//new", scopes=(READ,))
    run(linked.link("ada", "google", Profile("108", "ada@example.com"), fresh))
    assert run(linked.refused("ada", before)) is False
    assert run(linked.renewed("ada", before, Tokens(access="late"))).tokens.access == "ya29.new"
    assert desk.token() == "ya29.new" and desk.status == "ok"


def test_a_user_without_the_permission_hears_where_to_give_it(
    desk: Desk, services: Callable[..., Services]
) -> None:
    """Not linked, not allowed and not set up are three answers, each with what to do."""
    with pytest.raises(NotAllowed, match=r"without permission.*feature=mail"):
        desk.token(SEND)
    port = desk.services.accounts_for("bob")
    with pytest.raises(NotAllowed, match=r"No Google account.*/auth/google/login\?feature=mail"):
        desk.services.loop.run(port.token("google", (READ,)))
    with pytest.raises(NotAllowed, match="Set SLACK_CLIENT_ID and SLACK_CLIENT_SECRET"):
        desk.services.loop.run(port.token("slack", ()))
    with pytest.raises(NotAllowed, match="cannot be connected"):
        desk.services.loop.run(port.token("nowhere", ()))
    assert CLIENT_ID not in repr(port)


def test_an_account_unlinked_meanwhile_is_not_revived(desk: Desk, google: Google) -> None:
    """A refresh that ends after the user unlinked leaves nothing behind."""
    linked, run = desk.services.linked, desk.services.loop.run
    [before] = run(linked.held("ada"))
    run(linked.forget("ada", "google:108"))
    with pytest.raises(OdaiError):
        run(linked.renewed("ada", before, Tokens(access="late", refresh="late")))
    assert run(linked.of("ada")) == []


def test_nothing_secret_is_stored_in_clear(desk: Desk, tmp_path: Any) -> None:
    """Neither tokens nor the address of the account can be read from the store."""
    token = desk.token()
    files = [path for path in (tmp_path / "data").iterdir() if "store" in path.name]
    copies = b"".join(path.read_bytes() for path in files)
    for secret in (token, "ya29.old", "1//0e-first", "ada@example.com"):
        assert secret.encode() not in copies
