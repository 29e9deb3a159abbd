"""What a service lacks to work is known before anybody is asked to approve what it would do."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest

from common.errors import NotAllowed, ReauthRequired, VendorUnavailable
from common.oauth.providers import PROVIDERS
from common.tools import (
    Asker,
    Connector,
    Entry,
    Registry,
    ToolContext,
    ToolResult,
    ToolRunner,
    tool,
)

SCOPES = ("mail.read", "mail.write")


@tool(progress="Sending…", risk="external")
async def send_it(ctx: ToolContext) -> ToolResult:
    """Send it."""
    raise AssertionError("nothing is run to find out whether it could")


class Linked:
    """A user's accounts: `held` are the scopes of the one that is linked."""

    def __init__(self, held: tuple[str, ...], error: Exception | None = None) -> None:
        self.held, self.error = held, error

    async def token(self, provider: str, scopes: tuple[str, ...]) -> str:
        if self.error:
            raise self.error
        if not set(scopes) <= set(self.held):
            raise NotAllowed(f"No account for {' '.join(scopes)}")
        return "token"


def hindrance(linked: Linked, *, keys: bool = True, owner: bool = True, **more: Any) -> str:
    """Return what keeps the tool from running, "" for nothing."""
    manifest: dict[str, Any] = {"auth": "google", "scopes": SCOPES, **more}
    connector = Connector(
        name="Post", category="productivity", description="Sends.", examples=("a", "b", "c"),
        **manifest,
    )  # fmt: skip
    runner = ToolRunner(
        Registry([Entry(send_it.connector, connector, (send_it,))]),
        egress=None,  # type: ignore[arg-type]  # nothing leaves
        secret=lambda _: "set" if keys else None,
        clock=lambda: dt.datetime(2026, 11, 22, tzinfo=dt.UTC),
        accounts_for=lambda _: linked,
        is_owner=lambda _: owner,
    )
    found = asyncio.run(runner.hindrance("send_it", Asker("u1")))
    return found.summary if found else ""


def test_the_client_is_named_as_its_provider_names_it() -> None:
    """The settings a service asks for are those that linking its users' accounts reads."""
    linked = [e.connector for e in Registry.discover().entries.values() if e.connector.client]
    assert {connector.account for connector in linked} == set(PROVIDERS)
    for connector in linked:
        assert connector.client == PROVIDERS[connector.account].settings


def test_a_service_without_its_client_is_not_set_up() -> None:
    """Google's services lack their client id as others lack a key; one of two is not enough."""
    mail = Registry.discover().entries["gmail"]
    assert mail.missing(lambda _: None) == ["GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"]
    only = {"GOOGLE_CLIENT_ID": "x"}
    assert mail.missing(only.get) == ["GOOGLE_CLIENT_SECRET"]
    assert mail.missing(lambda _: "x") == []


def test_nothing_hinders_what_can_run() -> None:
    """An account with permission for any of the service will do: the tool asks for its own."""
    assert hindrance(Linked(SCOPES)) == ""
    assert hindrance(Linked(("mail.write",))) == ""


@pytest.mark.parametrize(
    ("linked", "more", "said"),
    [
        (Linked(SCOPES), {"keys": False}, "Post is not set up. Set GOOGLE_CLIENT_ID"),
        (Linked(()), {}, "No account for mail.read mail.write"),
        (Linked(("calendar",)), {}, "No account for mail.read mail.write"),
        (Linked((), ReauthRequired("Link it again.")), {}, "Link it again."),
        (Linked(SCOPES), {"personal": True, "owner": False}, "the operator's own account"),
    ],
)  # fmt: skip
def test_what_hinders_is_said(linked: Linked, more: dict[str, Any], said: str) -> None:
    """No client, no account, one for something else, one that is dead, or somebody else's."""
    assert said in hindrance(linked, **more)


def test_a_moments_trouble_hinders_nothing() -> None:
    """Where nobody knows whether the account works, the user is asked and the call finds out."""
    assert hindrance(Linked((), VendorUnavailable("Later."))) == ""
