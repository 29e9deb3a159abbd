"""Webhooks: who sent one is known before a byte of it is believed."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from common.bootstrap import Services
from common.errors import NotAuthenticated, RateLimited
from common.plaid_items import Bank, WebhookKeys, check_webhook
from tests.fakes.plaid import FakePlaid, transaction
from tests.identity.conftest import Clock


class Door:
    """Checks webhooks as the function does, at a time of the test's own."""

    def __init__(self, app: Services, plaid: FakePlaid) -> None:
        self.clock = Clock()
        self.plaid, self._app = plaid, app
        self.keys = WebhookKeys(app.banks.api.webhook_key, clock=self.clock)

    def made(self, **changes: Any) -> tuple[bytes, str]:
        made = {"now": self.clock.seconds, "item_id": "item1", **changes}
        return self.plaid.webhook("ITEM", "LOGIN_REPAIRED", **made)

    def check(self, body: bytes, token: str | None) -> dict[str, Any]:
        work = check_webhook(token, body, keys=self.keys, clock=self.clock)
        return self._app.loop.run(work)


@pytest.fixture
def door(app: Services, plaid: FakePlaid) -> Door:
    return Door(app, plaid)


def test_a_signed_webhook_is_read_and_its_key_fetched_once(door: Door) -> None:
    """Plaid's word is taken; its key is asked for once in hours."""
    for _ in range(3):
        assert door.check(*door.made())["item_id"] == "item1"
    assert door.plaid.paths().count("/webhook_verification_key/get") == 1
    door.clock.tick(7 * 3600)
    door.check(*door.made())
    assert door.plaid.paths().count("/webhook_verification_key/get") == 2


def test_an_altered_body_is_refused(door: Door) -> None:
    """One byte more or less, or the same JSON written anew, is not what was signed."""
    body, token = door.made()
    for altered in (body + b" ", body.replace(b"item1", b"item2"), json.dumps(json.loads(body))):
        raw = altered if isinstance(altered, bytes) else altered.encode()
        with pytest.raises(NotAuthenticated):
            door.check(raw, token)


@pytest.mark.parametrize(("age", "good"), [(299, True), (301, False), (-9, True), (-60, False)])
def test_a_webhook_is_good_for_five_minutes(door: Door, age: float, good: bool) -> None:
    """One kept back or dated ahead is refused, so that it cannot be replayed later."""
    body, token = door.made(age=age)
    if good:
        assert door.check(body, token)
        return
    with pytest.raises(NotAuthenticated):
        door.check(body, token)


def test_a_signature_of_somebody_else_is_refused(door: Door) -> None:
    """Another key under Plaid's key id, no signature, a secret's signature, garbage: refused."""
    other = ec.generate_private_key(ec.SECP256R1())
    body, good = door.made()
    claims = jwt.decode(good, options={"verify_signature": False})
    tokens = [
        door.made(key=other)[1],
        door.made(algorithm="HS256", key="k" * 32)[1],
        jwt.encode(claims, "", algorithm="none", headers={"kid": door.plaid.kid}),
        jwt.encode({"iat": claims["iat"]}, door.plaid.key, "ES256", {"kid": door.plaid.kid}),
        jwt.encode({**claims, "iat": "now"}, door.plaid.key, "ES256", {"kid": door.plaid.kid}),
        jwt.encode(claims, door.plaid.key, "ES256"),
        good[:-4], good.replace(".", "", 1), "x", "", None, "a" * 9000,
    ]  # fmt: skip
    for token in tokens:
        with pytest.raises(NotAuthenticated):
            door.check(body, token)


def test_an_expired_key_signs_nothing(door: Door) -> None:
    """A key that Plaid has retired is refused."""
    door.plaid.key_expired = True
    with pytest.raises(NotAuthenticated):
        door.check(*door.made())


def test_strangers_cannot_make_us_ask_without_end(door: Door) -> None:
    """An unknown key id is asked for once, and only so many of them a minute; known ones go on."""
    door.check(*door.made())
    body, token = door.made(kid=str(uuid.uuid4()))
    for _ in range(3):
        with pytest.raises(NotAuthenticated):
            door.check(body, token)
    assert len(door.plaid.asked) == 2
    for _ in range(18):
        with pytest.raises(NotAuthenticated):
            door.check(*door.made(kid=str(uuid.uuid4())))
    with pytest.raises(RateLimited):
        door.check(*door.made(kid=str(uuid.uuid4())))
    assert door.check(*door.made())


# --- what they do -------------------------------------------------------------------------------


def tell(app: Services, kind: str, code: str, item_id: str, **fields: Any) -> str:
    event = {"webhook_type": kind, "webhook_code": code, "item_id": item_id, **fields}
    return app.loop.run(app.banks.heard(event))


def status(app: Services) -> str:
    return app.loop.run(app.banks.listed("ada"))[0].status


def test_news_are_taken_in(app: Services, plaid: FakePlaid, linked: Bank) -> None:
    """New transactions are there before anybody asks; told twice, they are there once."""
    plaid.item(linked.id).happen("added", transaction("t1", "2026-11-01", 1))
    for _ in range(2):
        assert tell(app, "TRANSACTIONS", "SYNC_UPDATES_AVAILABLE", linked.id) == "done"
    path = f"users/ada/banks/{linked.id}"
    rows = app.banks.ledger.rows("ada", path, dt.date(2026, 1, 1), dt.date(2026, 12, 31))
    assert len(app.loop.run(rows)) == 1


def test_news_while_plaid_is_down_are_remembered(
    app: Services, plaid: FakePlaid, linked: Bank
) -> None:
    """Plaid is answered all the same, and whoever reads next takes the changes in."""
    plaid.fail["/transactions/sync"] = [503] * 3
    assert tell(app, "TRANSACTIONS", "SYNC_UPDATES_AVAILABLE", linked.id) == "done"
    plaid.item(linked.id).happen("added", transaction("t1", "2026-11-01", 1))
    banks = app.banks.of("ada")
    read = app.loop.run(banks.transactions(dt.date(2026, 1, 1), dt.date(2026, 12, 31)))
    assert len(read["transactions"]) == 1 and read["complete"]


def test_a_bank_says_how_it_stands(app: Services, linked: Bank) -> None:
    """A sign-in that ended, one that will end, and one that was mended are shown as such."""
    error = {"error_code": "ITEM_LOGIN_REQUIRED"}
    assert tell(app, "ITEM", "ERROR", linked.id, error=error) == "done"
    assert status(app) == "login_required"
    tell(app, "ITEM", "LOGIN_REPAIRED", linked.id)
    assert status(app) == "active"
    tell(app, "ITEM", "PENDING_DISCONNECT", linked.id)
    assert status(app) == "expiring"


def test_a_permission_taken_back_deletes_what_was_read(
    app: Services, plaid: FakePlaid, linked: Bank
) -> None:
    """A user who revokes at the bank leaves nothing here, and the next webhook finds nobody."""
    assert tell(app, "ITEM", "USER_PERMISSION_REVOKED", linked.id) == "done"
    assert app.loop.run(app.banks.listed("ada")) == []
    assert tell(app, "ITEM", "LOGIN_REPAIRED", linked.id) == "unknown_item"


def test_one_account_taken_back_is_forgotten_alone(
    app: Services, plaid: FakePlaid, linked: Bank
) -> None:
    """The other accounts of the bank, and their transactions, stay."""
    gone, stays = (account["account_id"] for account in linked.accounts)
    item = plaid.item(linked.id)
    item.happen("added", transaction("t1", "2026-11-01", 1, account_id=gone))
    item.happen("added", transaction("t2", "2026-11-01", 1, account_id=stays))
    tell(app, "TRANSACTIONS", "SYNC_UPDATES_AVAILABLE", linked.id)
    tell(app, "ITEM", "USER_ACCOUNT_REVOKED", linked.id, account_id=gone)
    (bank,) = app.loop.run(app.banks.listed("ada"))
    assert [account["account_id"] for account in bank.accounts] == [stays]
    path = f"users/ada/banks/{linked.id}"
    rows = app.banks.ledger.rows("ada", path, dt.date(2026, 1, 1), dt.date(2026, 12, 31))
    assert [row["transaction_id"] for row in app.loop.run(rows)] == ["t2"]


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        ({}, "ignored"),
        ({"item_id": "../../users/ada"}, "ignored"),
        ({"item_id": 7, "webhook_type": "ITEM"}, "ignored"),
        ({"item_id": "nobodys", "webhook_type": "ITEM", "webhook_code": "ERROR"}, "unknown_item"),
        ({"webhook_type": "LINK", "webhook_code": "SESSION_FINISHED"}, "unknown_item"),
    ],
)
def test_what_means_nothing_does_nothing(
    app: Services, linked: Bank, event: dict[str, Any], outcome: str
) -> None:
    """An event about nobody, or of a kind we do not know, changes nothing."""
    assert app.loop.run(app.banks.heard(event)) == outcome
    assert status(app) == "active"
