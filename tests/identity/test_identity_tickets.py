"""One-time tickets: one socket each, for a minute."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.documents import ticket as ticket_path
from common.errors import InvalidInput, NotAuthenticated
from common.identity import Identity, Tickets
from common.store import Query, Store, Update
from common.store.sqlite import SqliteStore

ADA = Identity(
    uid="uid1",
    provider="google.com",
    anonymous=False,
    email="ada@example.com",
    name="Ada Example",
    issued_at=dt.datetime(2026, 11, 21, 11, 0, tzinfo=dt.UTC),
    expires_at=dt.datetime(2026, 11, 21, 12, 0, 30, tzinfo=dt.UTC),
)


def with_tickets(
    tmp_path: Path, clock: Any, scenario: Callable[[Tickets, Store], Awaitable[None]]
) -> None:
    async def run() -> None:
        store = SqliteStore.open(tmp_path / "odai.db")
        try:
            await scenario(Tickets(store, clock=clock), store)
        finally:
            await store.close()

    asyncio.run(run())


def test_ticket_opens_once(tmp_path: Path, clock: Any) -> None:
    """A ticket tells whose the socket is, with what it was minted for, and then never again."""

    async def scenario(tickets: Tickets, _: Store) -> None:
        ticket = await tickets.mint(ADA, purpose="voice", claims={"call": "CA1", "pin": True})
        found = await tickets.redeem(ticket, purpose="voice")
        assert found.identity == ADA
        assert found.claims == {"call": "CA1", "pin": True}
        with pytest.raises(NotAuthenticated):
            await tickets.redeem(ticket, purpose="voice")

    with_tickets(tmp_path, clock, scenario)


def test_race_has_one_winner(tmp_path: Path, clock: Any) -> None:
    """Of many sockets presenting the same ticket at once exactly one opens."""

    async def scenario(tickets: Tickets, _: Store) -> None:
        ticket = await tickets.mint(ADA, purpose="chat")
        tries = (tickets.redeem(ticket, purpose="chat") for _ in range(20))
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        refused = [found for found in outcomes if isinstance(found, NotAuthenticated)]
        assert len(refused) == 19

    with_tickets(tmp_path, clock, scenario)


def test_both_read_before_either_deletes(tmp_path: Path, clock: Any) -> None:
    """The same where two instances hold the ticket in hand before either uses it up."""

    async def scenario(_: Tickets, store: Store) -> None:
        both_read = asyncio.Barrier(2)

        class Paused:
            async def get(self, path: str) -> Any:
                found = await store.get(path)
                await both_read.wait()
                return found

            def __getattr__(self, name: str) -> Any:
                return getattr(store, name)

        paused: Any = Paused()
        tickets = Tickets(paused, clock=clock)
        ticket = await tickets.mint(ADA, purpose="chat")
        outcomes = await asyncio.gather(
            tickets.redeem(ticket, purpose="chat"),
            tickets.redeem(ticket, purpose="chat"),
            return_exceptions=True,
        )
        assert sorted(type(found).__name__ for found in outcomes) == ["NotAuthenticated", "Ticket"]

    with_tickets(tmp_path, clock, scenario)


def test_wrong_purpose_is_refused(tmp_path: Path, clock: Any) -> None:
    """A chat's ticket does not open a call, and still opens the chat afterwards."""

    async def scenario(tickets: Tickets, _: Store) -> None:
        ticket = await tickets.mint(ADA, purpose="chat")
        with pytest.raises(NotAuthenticated):
            await tickets.redeem(ticket, purpose="voice")
        assert (await tickets.redeem(ticket, purpose="chat")).identity.uid == "uid1"

    with_tickets(tmp_path, clock, scenario)


def test_ticket_lives_a_minute(tmp_path: Path, clock: Any) -> None:
    """A ticket picked up after 59 seconds works, after 60 it does not."""

    async def scenario(tickets: Tickets, _: Store) -> None:
        first, second = [await tickets.mint(ADA, purpose="chat") for _ in range(2)]
        clock.tick(59)
        await tickets.redeem(first, purpose="chat")
        clock.tick(1)
        with pytest.raises(NotAuthenticated):
            await tickets.redeem(second, purpose="chat")

    with_tickets(tmp_path, clock, scenario)


def test_tampering_is_refused(tmp_path: Path, clock: Any) -> None:
    """Neither a changed ticket nor a changed stored one opens anything."""

    async def scenario(tickets: Tickets, store: Store) -> None:
        ticket = await tickets.mint(ADA, purpose="chat")
        swapped = ticket[:-1] + ("A" if ticket[-1] != "A" else "B")
        for wrong in (swapped, ticket + "A", ticket[:-1], "", "é" * 43, "\ud800" * 43):
            with pytest.raises(NotAuthenticated):
                await tickets.redeem(wrong, purpose="chat")
        other = await tickets.mint(ADA, purpose="chat", claims={"chat": "c2"})
        stored = {found.id: found for found in await store.query(Query("tickets"))}
        assert len(stored) == 2
        donor = next(found for found in stored.values() if found.path != path_of(ticket))
        await store.commit(Update(path_of(ticket), {"sealed": donor.data["sealed"]}))
        with pytest.raises(NotAuthenticated):
            await tickets.redeem(ticket, purpose="chat")
        assert (await tickets.redeem(other, purpose="chat")).claims == {"chat": "c2"}

    with_tickets(tmp_path, clock, scenario)


def path_of(ticket: str) -> str:
    from hashlib import sha256

    return ticket_path(sha256(ticket.encode()).hexdigest())


def test_store_shows_neither_ticket_nor_owner(tmp_path: Path, clock: Any) -> None:
    """Whoever reads the database finds no usable ticket and nobody's address in it."""

    async def scenario(tickets: Tickets, store: Store) -> None:
        ticket = await tickets.mint(ADA, purpose="voice", claims={"from": "+15550100"})
        (found,) = await store.query(Query("tickets"))
        shown = repr(found)
        for private in (ticket, "ada@example.com", "Ada", "uid1", "5550100"):
            assert private not in shown
        assert (found.data["expires_at"] - clock.now).total_seconds() == 60
        assert "5550100" not in repr(await tickets.redeem(ticket, purpose="voice"))
        assert await store.query(Query("tickets")) == []

    with_tickets(tmp_path, clock, scenario)


def test_claims_stay_small(tmp_path: Path, clock: Any) -> None:
    """A ticket is no place for a document."""

    async def scenario(tickets: Tickets, store: Store) -> None:
        with pytest.raises(InvalidInput):
            await tickets.mint(ADA, purpose="chat", claims={"x": "y" * 5000})
        with pytest.raises(TypeError):
            await tickets.mint(ADA, purpose="chat", claims={"x": object()})
        assert await store.query(Query("tickets")) == []

    with_tickets(tmp_path, clock, scenario)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tickets=st.lists(st.text(max_size=60) | st.text(min_size=43, max_size=43), max_size=4))
def test_garbage_is_only_ever_refused(tmp_path: Path, clock: Any, tickets: list[str]) -> None:
    """Whatever a stranger sends as a ticket, the answer is "sign in", never a fault of ours."""

    async def scenario(redeemer: Tickets, _: Store) -> None:
        for ticket in tickets:
            with pytest.raises(NotAuthenticated):
                await redeemer.redeem(ticket, purpose="chat")

    with_tickets(tmp_path, clock, scenario)


def test_minted_tickets_fit_a_subprotocol(tmp_path: Path, clock: Any) -> None:
    """A ticket travels as part of a WebSocket subprotocol name, and no two are alike."""

    async def scenario(tickets: Tickets, _: Store) -> None:
        made = {await tickets.mint(ADA, purpose="chat") for _ in range(20)}
        assert len(made) == 20
        assert all(set(ticket) <= set(ALPHABET) and len(ticket) == 43 for ticket in made)
        assert json.dumps(sorted(made))

    with_tickets(tmp_path, clock, scenario)


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
