"""Linked accounts: a tool gets the asking user's token, for what it needs, or says why not."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable

import pytest

from common.egress import Egress
from common.errors import NotAllowed, ReauthRequired, VendorRejected
from common.tools import (
    Accounts,
    Asker,
    Connector,
    Entry,
    Outcome,
    Registry,
    Tool,
    ToolContext,
    ToolResult,
    ToolRunner,
    tool,
)

NOON = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)


class Shelf:
    """Accounts of one user: provider to scopes."""

    def __init__(self, uid: str, linked: dict[str, set[str]]) -> None:
        self.uid, self._linked = uid, linked

    async def token(self, provider: str, scopes: tuple[str, ...]) -> str:
        if not set(scopes) <= self._linked.get(provider, set()):
            raise NotAllowed(f"No {provider} account is connected for this. Connect it first.")
        return f"{self.uid}/{provider}/{'+'.join(scopes)}"


@tool(progress="Reading…")
async def read_notes(ctx: ToolContext) -> ToolResult:
    """Read the notes of the user."""
    return ToolResult(response_type="notes", data=None, summary=await ctx.access_token())


@tool(progress="Reading…")
async def read_titles(ctx: ToolContext) -> ToolResult:
    """Read the titles of the user's notes."""
    return ToolResult(response_type="notes", data=None, summary=await ctx.access_token("read"))


@tool(progress="Reading…")
async def read_refused(ctx: ToolContext) -> ToolResult:
    """Read notes of an account that took its permission back."""
    raise VendorRejected("Notes refused our key.", vendor_status=401)


def connector(auth: str = "oauth", provider: str = "notes") -> Connector:
    return Connector(
        name="Notes",
        category="productivity",
        description="Notes.",
        examples=("a", "b", "c"),
        hosts=("api.notes.example",),
        auth=auth,
        provider=provider,
        scopes=("read", "write"),  # type: ignore[arg-type]  # parametrized
    )


def run(used: Tool, *, of: Connector, accounts_for: Callable[[str], Accounts] | None) -> Outcome:
    async def play() -> Outcome:
        registry = Registry([Entry(used.connector, of, (used,))])
        runner = ToolRunner(
            registry,
            Egress(),
            secret=lambda _: None,
            clock=lambda: NOON,
            accounts_for=accounts_for,
        )
        return await runner.run(used.name, "{}", Asker(uid="ada"), key="k")

    return asyncio.run(play())


def all_linked(uid: str) -> Accounts:
    return Shelf(uid, {"notes": {"read", "write"}, "google": {"read", "write"}})


@pytest.mark.parametrize(
    ("auth", "provider", "token"),
    [("oauth", "notes", "ada/notes/read+write"), ("google", "", "ada/google/read+write")],
)
def test_the_askers_own_account_is_used(auth: str, provider: str, token: str) -> None:
    """A tool reads the account of whoever asks, at the provider and with the scopes declared."""
    outcome = run(read_notes, of=connector(auth, provider), accounts_for=all_linked)
    assert outcome.summary == token


def test_a_tool_may_need_less_than_its_connector() -> None:
    """Who allowed reading alone can use the tools that only read."""

    def reader(uid: str) -> Accounts:
        return Shelf(uid, {"notes": {"read"}})

    assert run(read_titles, of=connector(), accounts_for=reader).summary == "ada/notes/read"
    assert isinstance(run(read_notes, of=connector(), accounts_for=reader).error, NotAllowed)


def test_an_account_that_is_not_linked_is_asked_for() -> None:
    """The user hears what to connect, also where nothing can be linked at all."""
    unlinked = run(read_notes, of=connector(), accounts_for=lambda uid: Shelf(uid, {}))
    assert isinstance(unlinked.error, NotAllowed) and "Connect it" in unlinked.summary
    nowhere = run(read_notes, of=connector(), accounts_for=None)
    assert isinstance(nowhere.error, NotAllowed) and "Connect it" in nowhere.summary


def test_a_permission_taken_back_asks_to_link_again() -> None:
    """A 401 from a linked service means linking again; from one with our own key it does not."""
    linked = run(read_refused, of=connector(), accounts_for=all_linked)
    assert isinstance(linked.error, ReauthRequired) and "Link it again" in linked.summary
    keyed = run(read_refused, of=connector("key", ""), accounts_for=all_linked)
    assert isinstance(keyed.error, VendorRejected)
