"""The function of a user's membership, as deployed: terms, phone, PIN, export, deletion."""

from __future__ import annotations

import io
import json
import re
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import functions_framework
import pytest
from flask.testing import FlaskClient

from common.bootstrap import Services
from common.errors import NotFound, RateLimited, VendorUnavailable
from common.identity.members import TERMS
from common.oauth.flow import Profile, Tokens
from common.oauth.providers import PROVIDERS
from common.store import Create, Put, Query
from run.local.functions import FOLDER
from tests.fakes.plaid import FakePlaid, transaction

Make = Callable[..., Services]
NUMBER = "+14155550100"


class Account:
    """A caller of the function, with the texts that were sent."""

    def __init__(self, app: Services, client: FlaskClient) -> None:
        self.app, self.client = app, client
        self.texts: list[tuple[str, str]] = []
        app.phones._send = self._send

    async def _send(self, number: str, text: str) -> None:
        self.texts.append((number, text))

    def __call__(self, method: str, path: str, body: Any = None, *, uid: str | None = "ada") -> Any:
        """Return the answer; `uid` None: nobody is signed in."""
        assert self.app.development
        token = self.app.development.mint(uid) if uid else ""
        headers = {"Authorization": f"Bearer {token}"} if uid else {}
        return self.client.open(path, method=method, json=body, headers=headers)

    @property
    def code(self) -> str:
        """Return the code sent last."""
        found = re.search(r"\d{6}", self.texts[-1][1])
        assert found
        return found[0]

    def rows(self) -> list[tuple[str, str]]:
        """Return the audit trail as (act, how it ended)."""
        found = self.app.loop.run(self.app.store.query(Query("audit")))
        return [(row.data["what"], row.data["status"]) for row in found]


@pytest.fixture
def account(app: Services) -> Account:
    source = str(FOLDER / "account" / "main.py")
    return Account(app, functions_framework.create_app("account", source).test_client())


# --- terms --------------------------------------------------------------------------------------


def test_signing_up_is_accepting_the_terms(account: Account) -> None:
    """A new user is asked for the present terms; accepted once, they stay accepted."""
    assert account("GET", "/").json["signed_up"] is False
    assert account("GET", "/terms").json == {
        "version": TERMS, "accepted": False, "accepted_at": None,
    }  # fmt: skip
    assert account("POST", "/terms", {"version": "2019-01"}).status_code == 409
    first = account("POST", "/terms", {"version": TERMS}).json
    assert first["accepted"] is True
    assert account("POST", "/account/terms", {"version": TERMS}).json == first
    state = account("GET", "/account").json
    assert state["signed_up"] is True and state["terms"]["accepted"] is True
    assert account.rows() == [
        ("accept_terms", "conflict"), ("accept_terms", "done"), ("accept_terms", "done"),
    ]  # fmt: skip


def test_production_lets_nobody_in_without_the_terms(account: Account, app: Services) -> None:
    """Where terms are required, phones and banks wait for them; the terms' own page does not."""
    app.members._require_terms = True
    assert account("POST", "/phone", {"number": NUMBER}).status_code == 403
    assert account("POST", "/terms", {"version": TERMS}).status_code == 200
    assert account("POST", "/phone", {"number": NUMBER}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/terms"), ("POST", "/terms"), ("POST", "/phone"),
     ("POST", "/phone/verify"), ("DELETE", "/phone"), ("POST", "/pin"), ("GET", "/integrations"),
     ("GET", "/connections"),
     ("POST", "/tickets"), ("GET", "/export"), ("DELETE", "/")],
)  # fmt: skip
def test_every_page_asks_who_is_there(account: Account, method: str, path: str) -> None:
    """Without a token each of them is 401, and an unknown one is 404."""
    assert account(method, path, {}, uid=None).status_code == 401
    assert account(method, f"{path.rstrip('/')}/nothing", {}, uid=None).status_code == 404


# --- phone and PIN ------------------------------------------------------------------------------


def test_a_number_is_proven_by_the_code_sent_there(account: Account, app: Services) -> None:
    """After the code the number is the user's, who can be found by it; nothing is in clear."""
    assert account("POST", "/phone", {"number": "+1 (415) 555-0100"}).status_code == 200
    assert account.texts[0][0] == NUMBER
    answer = account("POST", "/phone/verify", {"code": account.code})
    assert answer.json == {"verified": True, "ending": "00"}
    assert app.loop.run(app.phones.owner(NUMBER)) == "ada"
    shown = account("GET", "/").json["phone"]
    assert (shown["verified"], shown["ending"]) == (True, "00")
    assert "TWILIO_PHONE_NUMBER" in shown["missing"]  # its page says so before a number is typed
    assert b"415555" not in b"".join(dump(app)) and b"users/ada" in b"".join(dump(app))
    assert account("POST", "/phone/verify", {"code": account.code}).status_code == 400
    assert account("DELETE", "/phone").status_code == 200
    assert app.loop.run(app.phones.owner(NUMBER)) is None
    assert account.rows() == [("verify_phone", "done"), ("verify_phone", "invalid_input")]


def test_guessing_a_code_ends_after_five(account: Account) -> None:
    """Five wrong codes use it up: the right one no longer works either."""
    account("POST", "/phone", {"number": NUMBER})
    wrong = "000000" if account.code != "000000" else "111111"
    statuses = [account("POST", "/phone/verify", {"code": wrong}).status_code for _ in range(5)]
    assert statuses == [400] * 5
    assert account("POST", "/phone/verify", {"code": account.code}).status_code == 429


def test_a_code_ends_after_ten_minutes(account: Account, app: Services) -> None:
    """An old code proves nothing."""
    account("POST", "/phone", {"number": NUMBER})
    (row,) = app.loop.run(app.store.query(Query("phone_codes")))
    app.loop.run(app.store.commit(Put(row.path, {**row.data, "expires_at": app.clock()})))
    assert account("POST", "/phone/verify", {"code": account.code}).status_code == 400


def test_a_code_is_its_users_alone(account: Account) -> None:
    """Another user cannot prove the number with the code they overheard."""
    account("POST", "/phone", {"number": NUMBER})
    assert account("POST", "/phone/verify", {"code": account.code}, uid="eve").status_code == 400


def test_texts_are_few(account: Account) -> None:
    """Three codes an hour for a user, and for a number whoever asks: texts cost money."""
    for _ in range(3):
        assert account("POST", "/phone", {"number": NUMBER}).status_code == 200
    answer = account("POST", "/phone", {"number": "+14155550111"})
    assert answer.status_code == 429 and int(answer.headers["Retry-After"]) > 3000
    assert account("POST", "/phone", {"number": NUMBER}, uid="bob").status_code == 429
    assert len(account.texts) == 3


@pytest.mark.parametrize("number", ["", "4155550100", "+0123", "+1415555010x", "+" + "1" * 20, 7])
def test_what_is_no_number_gets_no_text(account: Account, number: Any) -> None:
    """A number without its country, or none at all, is sent back."""
    assert account("POST", "/phone", {"number": number}).status_code == 400
    assert account.texts == []


def test_a_recycled_number_changes_hands(account: Account, app: Services) -> None:
    """Whoever proves a number last has it; its former owner is not called by it any more."""
    for uid in ("ada", "bob"):
        account("POST", "/phone", {"number": NUMBER}, uid=uid)
        account("POST", "/phone/verify", {"code": account.code}, uid=uid)
    assert app.loop.run(app.phones.owner(NUMBER)) == "bob"
    assert account("GET", "/").json["phone"]["verified"] is False
    account("DELETE", "/phone")
    assert app.loop.run(app.phones.owner(NUMBER)) == "bob"


def test_texts_that_are_not_set_up_name_the_setting(services: Make) -> None:
    """Without Twilio's keys the operator learns what to set."""
    app = services()
    with pytest.raises(Exception, match="TWILIO_ACCOUNT_SID"):
        app.loop.run(app.phones.start("ada", NUMBER))


def test_a_pin_is_checked_slowly_and_few_times(account: Account, app: Services) -> None:
    """The right PIN holds, five wrong ones lock it, and obvious ones are not taken."""
    for obvious in ("1234", "4321", "0000", "12a4", "123", "123456789"):
        assert account("POST", "/pin", {"pin": obvious}).status_code == 400
    assert account("POST", "/pin", {"pin": "8316"}).status_code == 200
    assert account("GET", "/").json["pin_set"] is True
    check = app.pins.check
    assert app.loop.run(check("ada", "8316")) is True
    assert [app.loop.run(check("ada", "8317")) for _ in range(5)] == [False] * 5
    with pytest.raises(RateLimited):
        app.loop.run(check("ada", "8316"))
    with pytest.raises(NotFound):
        app.loop.run(check("bob", "8316"))


# --- integrations, tickets, waitlist ------------------------------------------------------------


def test_integrations_show_what_is_linked(
    account: Account, app: Services, plaid: FakePlaid
) -> None:
    """Every service, whether it is on here, and this user's banks; nobody else's."""
    app.loop.run(app.banks.exchange("ada", plaid.consent()))
    shown = {each["slug"]: each for each in account("GET", "/integrations").json["integrations"]}
    assert set(shown) == set(app.registry.entries)
    assert shown["plaid"]["on"] is True and shown["plaid"]["linked"][0]["label"] == "First Bank"
    assert shown["open_meteo"]["linked"] == [] and shown["yelp"]["on"] is False
    other = account("GET", "/integrations", uid="bob").json["integrations"]
    assert all(each["linked"] == [] for each in other)


def test_what_each_connection_would_allow_is_told_before(
    account: Account, app: Services, plaid: FakePlaid
) -> None:
    """By feature: what is asked for, what is looked at, what waits for a yes; and what is held."""
    scopes = tuple(PROVIDERS["google"].features["calendar"])
    tokens = Tokens(access="ya29.a", refresh="1//r", scopes=scopes)
    profile = Profile("108", "ada@example.com")
    app.loop.run(app.linked.link("ada", "google", profile, tokens))
    app.loop.run(app.banks.exchange("ada", plaid.consent()))
    shown = {each["slug"]: each for each in account("GET", "/connections").json["services"]}
    assert set(shown) == {*PROVIDERS, "plaid"}

    google = shown["google"]
    assert google["missing"] == ["GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"] and not google["on"]
    [linked] = google["accounts"]
    assert linked["features"] == ["calendar"] and linked["used_at"] is None
    [mail] = [each for each in google["features"] if each["name"] == "mail"]
    assert "write drafts and send mail" in mail["asks"] and mail["connectors"] == ["Gmail"]
    assert "Search your Gmail" in mail["looks"] and "Send an email from your Gmail" in mail["acts"]

    bank = shown["plaid"]
    assert bank["on"] and bank["accounts"][0]["label"] == "First Bank"
    assert bank["accounts"][0]["parts"][0] == "Everyday Checking 4417"
    assert bank["accounts"][0]["status"] == "ok" and bank["features"][0]["acts"] == []
    for service in shown.values():
        for feature in service["features"]:
            assert feature["asks"] and feature["connectors"] and feature["looks"]
            assert not any("the user" in said for said in feature["looks"] + feature["acts"])
    others = account("GET", "/connections", uid="bob").json["services"]
    assert all(each["accounts"] == [] for each in others)


def test_the_list_of_services_is_written_down_anew(account: Account, app: Services) -> None:
    """The original's page: what changed is written, what is gone is removed, the rest is left."""
    run, count = app.loop.run, len(app.registry.entries)
    first = account("GET", "/update_integrations", uid=None)
    assert first.json == {"status": "success", "updated": count}
    run(app.store.commit(Put("integrations/gmail", {"name": "x"}), Put("integrations/old", {})))
    again = account("GET", "/update_integrations", uid=None)
    assert again.json == {"status": "success", "updated": 2}
    kept = {row.id: row.data for row in run(app.store.query(Query("integrations")))}
    assert kept.keys() == app.registry.entries.keys()
    assert kept["gmail"]["name"] == "Gmail" and kept["gmail"]["provider"] == "google"


def test_a_ticket_opens_a_chat(account: Account, app: Services) -> None:
    """Tickets made here are those the container takes."""
    ticket = account("POST", "/tickets").json["ticket"]
    assert app.loop.run(app.tickets.redeem(ticket, purpose="chat")).identity.uid == "ada"


@pytest.mark.parametrize("path", ["/waitlist", "/email"])
def test_an_address_joins_the_waitlist_once(account: Account, app: Services, path: str) -> None:
    """Form or JSON, in any case, twice: one entry, the same answer, and no address in clear."""
    for email in ("New.User@Example.com", " new.user@example.com"):
        answer = account.client.post(path, data={"email": email})
        assert (answer.status_code, answer.json) == (200, {"status": "success"})
    assert account("POST", path, {"email": "new.user@example.com"}, uid=None).status_code == 200
    assert app.loop.run(app.store.count(Query("waitlist"))) == 1
    assert b"example.com" not in b"".join(dump(app)).lower()


@pytest.mark.parametrize("email", ["", "x", "a@b", "a b@c.de", "a@b..de", "x" * 300 + "@b.de", 7])
def test_what_is_no_address_is_sent_back(account: Account, email: Any) -> None:
    """An address nobody can be written to at joins nothing."""
    assert account("POST", "/waitlist", {"email": email}, uid=None).status_code == 400


def test_the_waitlist_is_not_for_machines(account: Account) -> None:
    """More than ten addresses an hour from one place wait."""
    statuses = [
        account("POST", "/waitlist", {"email": f"u{n}@example.com"}, uid=None).status_code
        for n in range(11)
    ]
    assert statuses == [200] * 10 + [429]


# --- leaving ------------------------------------------------------------------------------------


def live(account: Account, app: Services, plaid: FakePlaid) -> str:
    """Give ada one of everything; return her bank's id."""
    account("POST", "/terms", {"version": TERMS})
    account("POST", "/phone", {"number": NUMBER})
    account("POST", "/phone/verify", {"code": account.code})
    account("POST", "/pin", {"pin": "8316"})
    bank = app.loop.run(app.banks.exchange("ada", plaid.consent()))
    plaid.item(bank.id).happen("added", transaction("t1", "2026-11-01", 18.25))
    app.loop.run(app.banks.ledger.sync("ada", f"users/ada/banks/{bank.id}"))
    app.loop.run(app.banks.of("ada").link())
    app.loop.run(store_more(app))
    return bank.id


async def store_more(app: Services) -> None:
    """Store a chat and every other document a user can have, sealed as their owners do."""
    sealer = await app.vault.open("ada")

    def sealed(path: str, name: str, value: Any) -> Create:
        return Create(path, {name: sealer.seal(path, name, json.dumps(value).encode())})

    def owned(path: str, **data: Any) -> Create:
        return Create(path, {"uid": "ada", **data})

    title = sealer.seal("chats/c1", "title", b"A title")
    await app.store.commit(
        Create("chats/c1", {"owner": "ada", "title": title}),
        Create("chats/c2", {"owner": "bob", "title": b"of bob"}),
        sealed("chats/c1/turns/t1", "prompt", "the doctor's letter"),
        sealed("chats/c1/turns/t1/journal/000001", "events", "journal words"),
        sealed("chats/c1/items/t1", "items", [{"role": "user", "content": "the doctor's letter"}]),
        Create("chats/c1/prompts/p1", {"turn": "t1"}),
        sealed("users/ada/memories/m1", "text", "likes tea"),
        Create("users/ada/usage/2026-11-22", {"prompts": 3}),
        owned("approvals/a1", tool="send"), owned("jobs/j1", status="done"),
        owned("unhandled_requests/u1"), owned("access_requests/ada"),
    )  # fmt: skip
    tokens = Tokens(access="token-of-google", refresh="refresh-of-google", scopes=("mail",))
    profile = Profile(id="7", label="her mail")
    await app.linked.link("ada", "google", profile, tokens)


def test_an_export_is_all_that_is_the_users(
    account: Account, app: Services, plaid: FakePlaid
) -> None:
    """The zip holds messages, memories and bank data in clear, and no token, key or PIN."""
    bank = live(account, app, plaid)
    answer = account("GET", "/export")
    assert answer.mimetype == "application/zip" and answer.is_streamed
    archive = zipfile.ZipFile(io.BytesIO(answer.data))
    files = {name: archive.read(name).decode() for name in archive.namelist()}
    assert archive.testzip() is None
    assert "the doctor's letter" in files["chats/c1.json"] and "chats/c2.json" not in files
    assert "likes tea" in files["memories.json"]
    assert "Corner Bakery" in files[f"banks/{bank}.json"]
    assert json.loads(files["profile.json"])["phone"] == NUMBER
    everything = "".join(files.values())
    assert "token-of-google" not in everything and plaid.item(bank).token not in everything
    assert '"pin"' not in everything and '"data_key"' not in everything
    assert ("export", "done") in account.rows()


def test_an_export_that_breaks_off_says_so_in_the_trail(
    account: Account, app: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download that the user cancels is not told as done."""
    answer = account("GET", "/export")
    stream = iter(answer.response)
    next(stream)
    answer.response.close()
    assert account.rows() == [("export", "broken_off")]


ADA = re.compile(rb"(?<![0-9A-Za-z])ada(?![0-9A-Za-z])")  # not within a hash


def dump(app: Services) -> list[bytes]:
    """Return every document that the store's file holds: its path and its bytes."""
    with sqlite3.connect(app.settings.data_dir / "store.sqlite") as file:
        columns = [row[1] for row in file.execute("PRAGMA table_info(documents)")]
        rows = file.execute("SELECT * FROM documents").fetchall()
    assert columns[:2] == ["collection", "id"]
    return [
        f"{row[0]}/{row[1]} ".encode() + b" ".join(c for c in row if isinstance(c, bytes))
        for row in rows
    ]


def test_a_deleted_user_leaves_nothing_readable(
    account: Account, app: Services, plaid: FakePlaid
) -> None:
    """Links are ended, the key is gone, documents are gone; other users keep theirs."""
    bank = live(account, app, plaid)
    assert len([document for document in dump(app) if ADA.search(document)]) > 15
    old = app.loop.run(app.store.get("users/ada"))
    assert old and "data_key" in old.data
    held = app.loop.run(app.vault.open("ada"))
    assert account("DELETE", "/", {}).status_code == 400
    answer = account("DELETE", "/", {"confirm": True})
    assert (answer.status_code, answer.json) == (200, {"deleted": True})
    assert plaid.removed == [bank]
    tombstone = app.loop.run(app.store.get("users/ada"))
    assert tombstone and set(tombstone.data) == {"deletion", "deletion_at"}
    left = [document.partition(b" ")[0] for document in dump(app) if ADA.search(document)]
    assert {path for path in left if not path.startswith(b"audit/")} == {b"users/ada"}
    assert app.loop.run(app.store.get("chats/c2")) is not None
    assert account.rows().count(("delete_account", "done")) == 1
    # What the trail says in detail opens for nobody, not even in a process that held the key.
    for row in app.loop.run(app.store.query(Query("audit", where=(("uid", "==", "ada"),)))):
        with pytest.raises(NotFound):
            held.unseal(row.path, "details", row.data["details"])


def test_a_deleted_user_stays_deleted(account: Account, app: Services, plaid: FakePlaid) -> None:
    """A token from before brings nothing back: every page refuses it, and nothing is made anew."""
    live(account, app, plaid)
    account("DELETE", "/", {"confirm": True})
    for method, path in (("GET", "/"), ("POST", "/terms"), ("DELETE", "/"), ("GET", "/export")):
        body = {"version": TERMS, "confirm": True}
        assert account(method, path, body).status_code == 401
    tombstone = app.loop.run(app.store.get("users/ada"))
    assert tombstone and "data_key" not in tombstone.data
    assert account("GET", "/", uid="bob").status_code == 200


def test_a_link_that_cannot_be_ended_stops_the_deletion_until_told(
    account: Account, app: Services, plaid: FakePlaid
) -> None:
    """While a service is down nothing is lost; asking again goes on, or `force` goes on without."""
    bank = live(account, app, plaid)
    plaid.fail["/item/remove"] = [503] * 3
    answer = account("DELETE", "/", {"confirm": True})
    assert answer.status_code == 503 and "force" in answer.json["error"]["message"]
    assert app.loop.run(app.store.get("chats/c1")) is not None
    assert account("GET", "/").status_code == 403
    plaid.fail["/item/remove"] = [503] * 3
    forced = account("DELETE", "/", {"confirm": True, "force": True})
    assert forced.status_code == 200 and plaid.removed == []
    assert app.loop.run(app.store.get(f"bank_items/{bank}")) is None
    acts = [row for row in account.rows() if row[0] == "delete_account"]
    assert acts == [("delete_account", "vendor_unavailable"), ("delete_account", "done")]


def test_a_deletion_that_broke_off_goes_on(
    account: Account, app: Services, plaid: FakePlaid, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash after the key was shredded leaves a user who can be deleted again, to the end."""
    live(account, app, plaid)

    async def crash(self: Any, uid: str) -> None:
        raise VendorUnavailable("The store is gone.")

    with monkeypatch.context() as patched:
        patched.setattr("common.web.belongings.Belongings.remove", crash)
        assert account("DELETE", "/", {"confirm": True}).status_code == 503
    assert account("DELETE", "/", {"confirm": True}).status_code == 200
    left = [document.partition(b" ")[0] for document in dump(app) if ADA.search(document)]
    assert {path for path in left if not path.startswith(b"audit/")} == {b"users/ada"}


def test_no_number_and_no_address_is_in_a_log_line(
    account: Account, app: Services, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What is logged of all this names nobody."""
    account("POST", "/phone", {"number": NUMBER})
    account("POST", "/waitlist", {"email": "secret@example.com"}, uid=None)
    said = capsys.readouterr()
    assert "555" not in said.out + said.err and "secret@" not in said.out + said.err
