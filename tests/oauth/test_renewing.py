"""A vendor that refuses a linked account's token: one renewal, one more try, then the button."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from common.bootstrap import Services
from common.errors import VendorRejected
from common.oauth.needed import AccountExpired, AccountNeeded
from common.store import Query
from common.tools import Asker, Outcome
from tests.fakes.google import Failure, Google

TOKEN = "POST oauth2.googleapis.com/token"
LIST = "GET gmail.googleapis.com/gmail/v1/users/me/messages"
SEND = "POST gmail.googleapis.com/gmail/v1/users/me/messages/send"
MAIL = {"recipient_emails": ["bob@example.com"], "subject": "Noodles", "body": "At noon."}


@pytest.fixture
def google() -> Iterator[Google]:
    with Google() as served:
        yield served


class Desk:
    """A server and a user with a Google account linked for mail."""

    def __init__(self, services: Services, google: Google) -> None:
        self.services, self.google = services, google
        services.loop.run(self._link())
        google.asked.clear()

    async def _link(self) -> None:
        links = self.services.links
        begun = await links.begin("ada", provider="google", features=["mail"])
        query = dict(parse_qsl(urlsplit(self.google.consent(begun.url)).query))
        ended = await links.finish(query, {begun.cookie.name: begun.cookie.value})
        assert not hasattr(ended.result, "code"), ended.result

    def ask(self, tool: str = "search_google_mail", **arguments: Any) -> Outcome:
        run = self.services.runner.run(
            tool, arguments or {"query": "invoice"}, Asker(uid="ada"), key="k"
        )
        return self.services.loop.run(run)

    @property
    def status(self) -> str:
        [account] = self.services.loop.run(self.services.linked.of("ada"))
        return account.status

    def rows(self) -> list[tuple[str, str]]:
        found = self.services.loop.run(self.services.store.query(Query("audit")))
        return [(row.data["what"], row.data["status"]) for row in found]


@pytest.fixture
def desk(services: Callable[..., Services], google: Google) -> Desk:
    return Desk(services(**google.settings), google)


def test_a_token_that_ended_early_is_renewed_and_the_user_notices_nothing(
    desk: Desk, google: Google
) -> None:
    """The mail is found; Google was asked for one new token."""
    google.expire_access()
    assert "Invoice 4711" in desk.ask().summary
    assert google.count(TOKEN) == 1 and google.count(LIST) == 2
    assert desk.status == "ok"
    assert desk.rows() == [("refresh google", "done")]
    desk.ask()
    assert google.count(TOKEN) == 1


def test_twenty_calls_refused_at_once_make_one_renewal(desk: Desk, google: Google) -> None:
    """However many calls are refused, Google is asked once and all are answered."""
    google.expire_access()

    async def all_of_them() -> list[Outcome]:
        ask = desk.services.runner.run
        return await asyncio.gather(*(
            ask("search_google_mail", {"query": "invoice"}, Asker(uid="ada"), key=str(n))
            for n in range(20)
        ))  # fmt: skip

    assert all(outcome.ok for outcome in desk.services.loop.run(all_of_them()))
    assert google.count(TOKEN) == 1


def test_what_was_refused_is_done_once_after_the_renewal(desk: Desk, google: Google) -> None:
    """A mail whose sending was refused is sent, once."""
    google.fail("/gmail/v1/users/me/messages/send", Failure(401, {}))
    assert desk.ask("send_google_email", **MAIL).ok
    assert len(google.sent) == 1 and google.count(SEND) == 2 and google.count(TOKEN) == 1


def test_an_account_that_is_refused_again_must_be_linked_again(desk: Desk, google: Google) -> None:
    """After one more try the account is marked, nobody is asked again, and a button is offered."""
    refusal = Failure(401, {"error": {"code": 401, "message": "Invalid Credentials"}})
    google.fail("/gmail/v1/users/me/messages", refusal, refusal)
    first = desk.ask()
    assert isinstance(first.error, AccountExpired)
    assert first.error.path == "/auth/google/login?feature=mail"
    assert first.error.response_type == "google_account_needed"
    assert google.count(LIST) == 2 and desk.status == "reauth"
    assert desk.rows() == [("refresh google", "done"), ("google refused", "reauth_required")]
    assert isinstance(desk.ask().error, AccountExpired)
    assert google.count(LIST) == 2 and google.count(TOKEN) == 1


def test_a_grant_taken_back_is_noticed_at_the_first_refusal(desk: Desk, google: Google) -> None:
    """The user withdrew the permission: Google gives no other token, and says so once."""
    google.withdraw()
    assert isinstance(desk.ask().error, AccountExpired)
    assert desk.status == "reauth" and google.count(LIST) == 1 and google.count(TOKEN) == 1
    assert desk.rows() == [("refresh google", "reauth_required")]


def test_trouble_with_the_renewal_keeps_the_account(desk: Desk, google: Google) -> None:
    """Google refuses the token and then cannot make another one: later it may."""
    google.expire_access()
    google.fail("/token", Failure(429, None, {"Retry-After": "3600"}))
    failed = desk.ask().error
    assert failed is not None and failed.retryable and desk.status == "ok"
    assert desk.ask().ok


def test_a_refusal_of_another_kind_renews_nothing(desk: Desk, google: Google) -> None:
    """403 is about what is asked, not about who asks."""
    google.fail("/gmail/v1/users/me/messages", Failure(403, {"error": {"code": 403}}))
    assert isinstance(desk.ask().error, VendorRejected)
    assert google.count(TOKEN) == 0 and desk.status == "ok"


def test_linking_again_mends_it(desk: Desk, google: Google) -> None:
    """A marked account works again after the button was used."""
    refusal = Failure(401, {})
    google.fail("/gmail/v1/users/me/messages", refusal, refusal)
    desk.ask()
    desk.services.loop.run(desk._link())
    assert desk.status == "ok" and desk.ask().ok


def test_what_needs_another_permission_names_it(desk: Desk) -> None:
    """Linked for mail only: the calendar's button asks for the calendar."""
    failed = desk.ask("get_google_calendar_events", start_date="2026-11-23").error
    assert isinstance(failed, AccountNeeded)
    assert failed.path == "/auth/google/login?feature=calendar"
