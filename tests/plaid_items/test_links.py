"""Linking a bank, and what is left when it goes wrong or ends."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest

from common.bootstrap import Services
from common.errors import (
    Conflict,
    InvalidInput,
    Misconfigured,
    NotAllowed,
    NotFound,
    OdaiError,
    RateLimited,
    ReauthRequired,
    VendorRejected,
    VendorUnavailable,
)
from common.plaid_items import Bank
from common.plaid_items.needed import BankExpired
from common.store import Create, Query
from tests.fakes.plaid import FakePlaid, Refusal


def stored(app: Services) -> int:
    """Return how many documents about banks there are."""
    found = [app.store.count(Query(name)) for name in ("users/ada/banks", "bank_items")]
    return sum(app.loop.run(each) for each in found)


def test_a_linked_bank_is_listed_without_its_token(
    app: Services, plaid: FakePlaid, linked: Bank
) -> None:
    """The user sees bank and accounts; the token is nowhere in clear, in the store neither."""
    (bank,) = app.loop.run(app.banks.listed("ada"))
    assert bank == linked and bank.institution == "First Bank"
    assert [account["mask"] for account in bank.accounts] == ["4417", "1881"]
    (row,) = app.loop.run(app.store.query(Query("users/ada/banks")))
    assert plaid.item(bank.id).token.encode() not in repr(row).encode()
    assert "First Bank" not in repr(row)
    assert app.loop.run(app.banks.listed("bob")) == []


def test_plaid_learns_a_stable_name_that_is_not_the_users(app: Services, plaid: FakePlaid) -> None:
    """The same user is the same client to Plaid, which cannot tell who that is."""
    for uid in ("somebody", "somebody", "bob"):  # no word that a digest may hold by chance
        app.loop.run(app.banks.link(uid))
    first, again, other = (body["user"]["client_user_id"] for _, body, _ in plaid.asked)
    assert first == again != other
    assert "somebody" not in first and len(first) == 40


def test_repairing_a_bank_keeps_its_link(app: Services, plaid: FakePlaid, linked: Bank) -> None:
    """Update mode names the link and asks for no product; another user's link cannot be named."""
    app.loop.run(app.banks.link("ada", repair=linked.id))
    body = plaid.asked[-1][1]
    assert body["access_token"] == plaid.item(linked.id).token and "products" not in body
    with pytest.raises(NotFound):
        app.loop.run(app.banks.link("bob", repair=linked.id))


def test_a_public_token_works_once(app: Services, plaid: FakePlaid) -> None:
    """A second exchange is refused in words that say what to do, and stores nothing."""
    token = plaid.consent()
    app.loop.run(app.banks.exchange("ada", token))
    with pytest.raises(InvalidInput, match="Connect it again"):
        app.loop.run(app.banks.exchange("bob", token))
    assert stored(app) == 2 and app.loop.run(app.banks.listed("bob")) == []


def test_a_link_that_cannot_be_read_is_not_kept_half(app: Services, plaid: FakePlaid) -> None:
    """Where the accounts cannot be read the link is ended at Plaid: nobody pays for it."""
    plaid.fail["/accounts/get"] = [503, 503, 503]
    with pytest.raises(VendorUnavailable):
        app.loop.run(app.banks.exchange("ada", plaid.consent()))
    assert stored(app) == 0
    assert len(plaid.removed) == 1 and plaid.items == {}


def test_somebody_elses_link_is_neither_taken_nor_ended(app: Services, plaid: FakePlaid) -> None:
    """A link that another user holds stays theirs, whatever Plaid says."""
    token = plaid.consent()
    item = plaid.public_tokens[token]
    app.loop.run(app.store.commit(Create(f"bank_items/{item.id}", {"uid": "bob"})))
    with pytest.raises(Conflict):
        app.loop.run(app.banks.exchange("ada", token))
    assert plaid.removed == [] and app.loop.run(app.banks.listed("ada")) == []


@pytest.mark.parametrize("by", ["item", "account"])
def test_removing_ends_the_link_at_plaid(
    app: Services, plaid: FakePlaid, linked: Bank, by: str
) -> None:
    """A link ends by its own id or by one of its accounts', and nothing of it is left."""
    plaid.item(linked.id).happen("added", {**TRANSACTION})
    app.loop.run(app.banks.ledger.sync("ada", f"users/ada/banks/{linked.id}"))
    which = linked.id if by == "item" else linked.accounts[1]["account_id"]
    with pytest.raises(NotFound):
        app.loop.run(app.banks.remove("bob", which))
    app.loop.run(app.banks.remove("ada", which))
    assert plaid.removed == [linked.id] and stored(app) == 0
    months = Query("months", all_groups=True)
    assert app.loop.run(app.store.query(months)) == []


def test_a_link_that_is_gone_at_plaid_can_be_forgotten(
    app: Services, plaid: FakePlaid, linked: Bank
) -> None:
    """Whoever revoked the link at the bank can still take it out of the list here."""
    plaid.items.clear()
    app.loop.run(app.banks.remove("ada", linked.id))
    assert stored(app) == 0


def test_a_link_that_cannot_be_ended_is_kept(app: Services, plaid: FakePlaid, linked: Bank) -> None:
    """While Plaid is down nothing is forgotten: a forgotten token could never be revoked."""
    plaid.fail["/item/remove"] = [503, 503, 503]
    with pytest.raises(VendorUnavailable):
        app.loop.run(app.banks.remove_all("ada"))
    assert stored(app) == 2
    app.loop.run(app.banks.remove_all("ada"))
    assert stored(app) == 0


def test_a_hosted_link_finishes_by_webhook(app: Services, plaid: FakePlaid) -> None:
    """A link sent by text ends in a linked bank; told twice, it is linked once; then it is over."""
    link = app.loop.run(app.banks.of("ada").link())
    assert link["url"].startswith("https://secure.plaid.com/")
    (token,) = plaid.links
    event = {
        "webhook_type": "LINK", "webhook_code": "SESSION_FINISHED", "status": "SUCCESS",
        "link_token": token, "public_tokens": [plaid.consent()],
    }  # fmt: skip
    assert app.loop.run(app.banks.heard(event)) == "done"
    assert app.loop.run(app.banks.heard(event)) == "unknown_item"
    assert len(app.loop.run(app.banks.listed("ada"))) == 1


def test_without_keys_the_setting_is_named(services: Callable[..., Services]) -> None:
    """An operator who has not set Plaid up is told what to set."""
    app = services()
    with pytest.raises(NotAllowed, match="PLAID_CLIENT_ID"):
        app.loop.run(app.banks.link("ada"))


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (Refusal("ITEM_ERROR", "ITEM_LOGIN_REQUIRED"), BankExpired),
        (Refusal("INVALID_INPUT", "INVALID_API_KEYS"), Misconfigured),
        (Refusal("RATE_LIMIT_EXCEEDED", "ACCOUNTS_LIMIT"), RateLimited),
        (Refusal("INSTITUTION_ERROR", "INSTITUTION_DOWN"), VendorUnavailable),
        (Refusal("ITEM_ERROR", "PRODUCT_NOT_READY"), VendorUnavailable),
        (Refusal("INVALID_INPUT", "INVALID_ACCESS_TOKEN"), NotFound),
        (Refusal("INVALID_REQUEST", "UNKNOWN_FIELDS", "Told to people."), VendorRejected),
        ("not JSON", VendorUnavailable),
        ("[]", VendorUnavailable),
        (401, VendorRejected),
    ],
    ids=str,
)
def test_every_refusal_is_one_of_our_errors(
    app: Services,
    plaid: FakePlaid,
    linked: Bank,
    failure: Refusal | int | str,
    expected: type[OdaiError],
) -> None:
    """What Plaid says is told in our words; only what it means for people is passed on."""
    plaid.fail["/accounts/get"] = [failure]
    with pytest.raises(expected) as raised:
        app.loop.run(app.banks.of("ada").accounts())
    assert type(raised.value) is expected and "as the vendor words it" not in str(raised.value)


def test_a_bank_that_wants_its_user_is_marked_until_it_works_again(
    app: Services, plaid: FakePlaid, linked: Bank
) -> None:
    """The list says which bank to connect again, and stops saying so once it works."""
    plaid.item(linked.id).login_required = True
    with pytest.raises(ReauthRequired):
        app.loop.run(app.banks.of("ada").accounts())
    assert app.loop.run(app.banks.listed("ada"))[0].status == "login_required"
    plaid.item(linked.id).login_required = False
    app.loop.run(app.banks.of("ada").accounts())
    assert app.loop.run(app.banks.listed("ada"))[0].status == "active"


def test_one_bank_that_fails_does_not_hide_the_other(
    app: Services, plaid: FakePlaid, linked: Bank
) -> None:
    """The other bank's accounts are told, and which one could not be read."""
    app.loop.run(app.banks.exchange("ada", plaid.consent("Second Bank")))
    plaid.item(linked.id).login_required = True
    read = app.loop.run(app.banks.of("ada").accounts())
    assert {row["institution"] for row in read["accounts"]} == {"Second Bank"}
    assert "sign in again" in read["unread"]["First Bank"]


def test_when_a_bank_was_last_read_is_known_to_the_hour(app: Services, linked: Bank) -> None:
    """Asking for balances or for transactions is a use of it; one an hour is noted."""
    run, since = app.loop.run, dt.date(2026, 1, 1)

    def last() -> dt.datetime | None:
        return run(app.banks.listed("ada"))[0].used_at

    assert last() is None
    run(app.banks.of("ada").accounts())
    first = last()
    assert first is not None
    run(app.banks.of("ada").transactions(since, since))
    assert last() == first
    app.banks._clock = lambda: first + dt.timedelta(minutes=61)
    run(app.banks.of("ada").transactions(since, since))
    assert last() == first + dt.timedelta(minutes=61)


def test_banks_themselves_are_asked_seldom(app: Services, plaid: FakePlaid, linked: Bank) -> None:
    """A fresh balance is paid for: within five minutes the one at hand serves."""
    for _ in range(3):
        app.loop.run(app.banks.of("ada").accounts(fresh=True))
    assert plaid.balances_asked == 1


TRANSACTION = {
    "transaction_id": "t1", "account_id": "a", "amount": 1.5, "date": "2026-11-01", "name": "X",
}  # fmt: skip
