"""What linking keeps, on every store: states, accounts, banks, and who wins where two ask."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from common.assistant.audit import Audit
from common.documents import now
from common.egress import Egress
from common.errors import Conflict
from common.identity.blind import BlindIndex
from common.keys.local import LocalKeys
from common.oauth.accounts import Account, Held, LinkedAccounts
from common.oauth.endpoints import Endpoints
from common.oauth.flow import Failed, Profile, Tokens
from common.oauth.keeper import Keeper
from common.oauth.states import Pending, States
from common.plaid_items import Banks, PlaidApi
from common.store import Query, Store
from common.vault import Vault
from tests.fakes.google import Google, Grant
from tests.fakes.plaid import FakePlaid

Against = Callable[[Callable[[Store], Awaitable[None]]], None]
PROFILE = Profile("108", "ada@example.com")
OLD = Tokens(access="old", refresh="r1", expires_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
NEW = Tokens(access="new", refresh="r2", scopes=("mail",))
PENDING = Pending(uid="ada", provider="google", scopes=("a",), redirect="/", verifier="v" * 64)


@pytest.fixture
def vault_on(tmp_path: Path) -> Callable[[Store], Vault]:
    keys = LocalKeys.open(tmp_path)
    return lambda store: Vault(store, keys, clock=now)


def test_a_state_works_once_even_for_two_at_once(against: Against) -> None:
    """Of two callbacks with one state exactly one goes on; a later one is told why."""

    async def body(store: Store) -> None:
        states = States(store, clock=now, secure=True)
        state, cookie = await states.begin(PENDING)
        cookies = {cookie.name: cookie.value}
        ended = await asyncio.gather(*(states.finish(state, cookies) for _ in range(5)))
        assert [end for end in ended if isinstance(end, Pending)] == [PENDING]
        assert {end.code for end in ended if isinstance(end, Failed)} == {"state_used"}
        late = await states.finish(state, cookies)
        assert isinstance(late, Failed) and late.code == "state_used" and late.uid == "ada"

    against(body)


def test_an_account_is_one_users_even_for_two_at_once(
    against: Against, vault_on: Callable[[Store], Vault]
) -> None:
    """Five users link one account at once: one has it, whole, and nobody has half of it."""

    async def body(store: Store) -> None:
        linked = LinkedAccounts(store, vault_on(store), clock=now)
        users = [f"u{n}" for n in range(5)]
        ended = await asyncio.gather(
            *(linked.link(u, "google", PROFILE, NEW) for u in users), return_exceptions=True
        )
        assert all(end is None or isinstance(end, Account | Conflict) for end in ended)
        assert sum(isinstance(end, Account) for end in ended) == 1
        kept = [await linked.of(user) for user in users]
        assert sorted(map(len, kept)) == [0, 0, 0, 0, 1]
        assert await store.count(Query("account_owners")) == 1
        winner = users[next(n for n, rows in enumerate(kept) if rows)]
        await linked.forget(winner, "google:108")
        assert await linked.link("bob", "google", PROFILE, NEW) is not None

    against(body)


def test_twenty_instances_at_expiry_make_one_refresh(
    against: Against, vault_on: Callable[[Store], Vault]
) -> None:
    """Twenty servers that know nothing of each other ask Google once; all get the new token."""
    with Google() as google:

        async def body(store: Store) -> None:
            linked = LinkedAccounts(store, vault_on(store), clock=now)
            google.refresh_tokens["r1"] = Grant("108", ["mail"], refresh="r1")
            await linked.link("ada", "google", PROFILE, OLD)
            egress = Egress(host_map={"oauth2.googleapis.com": google.origin})
            endpoints = Endpoints(lambda: egress, google.settings.get)
            trail = Audit(store, vault_on(store), clock=now)
            keepers = [Keeper(linked, endpoints, trail, clock=now, home="") for _ in range(20)]
            tokens = await asyncio.gather(*(k.token("ada", "google", ()) for k in keepers))
            assert len(set(tokens)) == 1 and tokens[0] in google.access_tokens
            assert google.count("POST oauth2.googleapis.com/token") == 1
            assert await store.count(Query("audit")) == 1
            google.asked.clear()
            google.access_tokens.clear()
            renewed = await asyncio.gather(*(k.renewed(tokens[0]) for k in keepers))
            assert len(set(renewed)) == 1 and renewed[0] != tokens[0]
            assert google.count("POST oauth2.googleapis.com/token") == 1
            google.asked.clear()
            await egress.close()

        against(body)


def test_newer_tokens_outlive_late_answers(
    against: Against, vault_on: Callable[[Store], Vault]
) -> None:
    """The lease is one caller's; neither a late answer nor a late refusal undoes a refresh."""

    async def body(store: Store) -> None:
        linked = LinkedAccounts(store, vault_on(store), clock=now)
        await linked.link("ada", "google", PROFILE, OLD)

        def fresh(tokens: Tokens) -> bool:
            return tokens.access == "new"

        claims = [
            await linked.claim("ada", "google:108", owner=str(n), fresh=fresh) for n in range(3)
        ]
        assert [claim.mine for claim in claims] == [True, False, False]
        mine = claims[0].held
        renewed = await linked.renewed("ada", mine, NEW)
        assert renewed.tokens == NEW
        assert (await linked.renewed("ada", mine, OLD)).tokens.access == "new"
        assert await linked.refused("ada", mine) is False
        assert await linked.refused("ada", renewed) is True
        [held] = await linked.held("ada")
        assert held.account.status == "reauth" and held.tokens.refresh == ""
        assert isinstance(held, Held) and held.account.label == "ada@example.com"

    against(body)


def test_a_bank_is_kept_whole_and_forgotten_whole(
    against: Against, vault_on: Callable[[Store], Vault]
) -> None:
    """Linked by a hosted page, refused to a second user, ended: nothing is left."""
    with FakePlaid() as plaid:
        environ = plaid.environ

        async def body(store: Store) -> None:
            vault = vault_on(store)
            egress = Egress(host_map=dict.fromkeys(("sandbox.plaid.com",), plaid.origin))
            api = PlaidApi(lambda: egress, environ.get)
            banks = Banks(store, vault, api, BlindIndex(store, vault), clock=now)
            uid = f"u{uuid.uuid4().hex[:8]}"
            link = await banks.link(uid, hosted=True)
            event = {"webhook_type": "LINK", "webhook_code": "SESSION_FINISHED",
                     "link_token": link.token, "public_tokens": [plaid.consent()]}  # fmt: skip
            assert await banks.session_owner(event) == uid
            assert await banks.heard(event) == "done"
            assert await banks.session_owner(event) == ""
            [bank] = await banks.listed(uid)
            plaid.public_tokens["again"] = plaid.item(bank.id)
            with pytest.raises(Conflict):
                await banks.exchange("bob", "again")
            read = await banks.of(uid).accounts()
            assert len(read["accounts"]) == 2
            await banks.remove_all(uid)
            for name in ("bank_items", "link_sessions", f"users/{uid}/banks"):
                assert await store.count(Query(name)) == 0
            await egress.close()

        against(body)
