"""The function that links banks, as deployed: its pages, and Plaid's webhooks over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import functions_framework
import pytest
from flask.testing import FlaskClient

from common.bootstrap import Services
from common.store import Query
from run.local.functions import FOLDER
from tests.fakes.plaid import FakePlaid, transaction

Make = Callable[..., Services]


@pytest.fixture
def client(app: Services) -> FlaskClient:
    """A caller of the function."""
    source = str(FOLDER / "plaid_link" / "main.py")
    client: FlaskClient = functions_framework.create_app("plaid_link", source).test_client()
    return client


def signed(app: Services, uid: str = "ada") -> dict[str, str]:
    """Return the headers of a signed-in user."""
    assert app.development
    return {"Authorization": f"Bearer {app.development.mint(uid)}"}


def rows(app: Services) -> list[tuple[str, str, str]]:
    """Return the audit trail as (user, act, how it ended)."""
    found = app.loop.run(app.store.query(Query("audit")))
    return [(row.data["uid"], row.data["what"], row.data["status"]) for row in found]


def link(app: Services, client: FlaskClient, plaid: FakePlaid) -> str:
    """Link a bank as the original's clients do; return its id."""
    answer = client.post(
        "/auth/plaid/set_access_token", data={"public_token": plaid.consent()}, headers=signed(app)
    )
    assert answer.status_code == 200 and answer.json
    return str(answer.json["item_id"])


def test_a_bank_is_linked_listed_and_ended(
    app: Services, client: FlaskClient, plaid: FakePlaid
) -> None:
    """The original's pages, by its paths and ours; no token is ever in an answer."""
    opened = client.post("/auth/plaid/create_link_token", headers=signed(app))
    assert opened.json and opened.json["link_token"].startswith("link-sandbox-")
    item_id = link(app, client, plaid)
    token = plaid.item(item_id).token
    listed = client.get("/plaid_link/accounts", headers=signed(app))
    assert listed.json
    (bank,) = listed.json["accounts"]
    assert bank["bank_name"] == "First Bank" and bank["id"] == item_id
    assert bank["mask"][0] == {"name": "Everyday Checking", "mask": "4417"}
    info = client.post("/auth/plaid/info", headers=signed(app))
    assert info.json and info.json["item_id"] == item_id
    assert token not in listed.text + info.text + opened.text
    ended = client.delete(f"/auth/plaid/accounts/{item_id}", headers=signed(app))
    assert ended.json and ended.json["success"] is True and plaid.removed == [item_id]
    assert rows(app) == [("ada", "link_bank", "done"), ("ada", "unlink_bank", "done")]


def test_a_hosted_link_and_a_repair_can_be_asked_for(
    app: Services, client: FlaskClient, plaid: FakePlaid
) -> None:
    """Who has no client of ours gets a page; a broken link is mended, not made anew."""
    item_id = link(app, client, plaid)
    answer = client.post("/create_link_token", json={"hosted": True}, headers=signed(app))
    assert answer.json and answer.json["hosted_link_url"].startswith("https://")
    client.post("/create_link_token", json={"item_id": item_id}, headers=signed(app))
    assert plaid.asked[-1][1]["access_token"] == plaid.item(item_id).token


def test_the_button_leads_to_plaids_own_page(
    app: Services, client: FlaskClient, plaid: FakePlaid
) -> None:
    """Asked in the user's name it says where to go; who only followed it is sent to the client."""
    shown = client.get("/auth/plaid/login?next=/%23/chats/c1", headers=signed(app))
    assert shown.json and shown.json["url"].startswith("https://secure.plaid.com/hl/")
    assert "hosted_link" in plaid.asked[-1][1]
    item_id = link(app, client, plaid)
    client.get(f"/auth/plaid/login?item_id={item_id}", headers=signed(app))
    assert plaid.asked[-1][1]["access_token"] == plaid.item(item_id).token
    for query, status in (("item_id=nobodys", 404), ("next=//evil.example", 400)):
        answer = client.get(f"/auth/plaid/login?{query}", headers=signed(app))
        assert answer.status_code == status
    bare = client.get("/auth/plaid/login")
    assert bare.status_code == 302 and bare.headers["Location"].endswith("/?link=plaid")


def test_plaids_page_leads_back_to_a_secure_site(services: Make, plaid: FakePlaid) -> None:
    """Where we are reached by https, the user comes back to the chat they left."""
    made = services(**plaid.environ, ODAI_PUBLIC_URL="https://odai.example")
    made.loop.run(made.banks.link("ada", hosted=True, back="https://odai.example/#/chats/c1"))
    hosted = plaid.asked[-1][1]["hosted_link"]
    assert hosted["completion_redirect_uri"] == "https://odai.example/#/chats/c1"


@pytest.mark.parametrize(
    ("path", "failures", "code", "status"),
    [
        ("/item/public_token/exchange", [429], "rate_limited", 429),
        ("/item/public_token/exchange", [500], "vendor_unavailable", 503),
        ("/item/public_token/exchange", ["not JSON"], "vendor_unavailable", 503),
        ("/item/public_token/exchange", [401], "vendor_rejected", 502),
        ("/accounts/get", [503] * 3, "vendor_unavailable", 503),
        ("/accounts/get", ["[]"], "vendor_unavailable", 503),
    ],
)
def test_trouble_at_plaid_leaves_nothing(
    app: Services, client: FlaskClient, plaid: FakePlaid, path: str, failures: list[Any],
    code: str, status: int,
) -> None:  # fmt: skip
    """A clear answer, one row, nothing stored, and no link left at Plaid that nobody has."""
    plaid.fail[path] = list(failures)
    body = {"public_token": plaid.consent()}
    answer = client.post("/set_access_token", json=body, headers=signed(app))
    assert answer.status_code == status and answer.json["error"]["code"] == code
    assert rows(app) == [("ada", "link_bank", code)]
    for name in ("bank_items", "users/ada/banks"):
        assert app.loop.run(app.store.count(Query(name))) == 0
    assert plaid.items == {}


def test_a_bank_of_another_user_is_not_taken(
    app: Services, client: FlaskClient, plaid: FakePlaid
) -> None:
    """The second user hears it, one row says so, and the first keeps the bank."""
    token = plaid.consent()
    item = plaid.public_tokens[token]
    link_body = {"public_token": token}
    assert client.post("/set_access_token", json=link_body, headers=signed(app)).status_code == 200
    plaid.public_tokens["public-sandbox-again"] = item
    again = {"public_token": "public-sandbox-again"}
    answer = client.post("/set_access_token", json=again, headers=signed(app, "bob"))
    assert answer.status_code == 409
    assert rows(app)[1:] == [("bob", "link_bank", "conflict")]
    assert len(app.loop.run(app.banks.listed("ada"))) == 1 and plaid.removed == []


def test_nobody_reaches_anothers_bank(app: Services, client: FlaskClient, plaid: FakePlaid) -> None:
    """Without a token 401; with another user's, there is no such bank."""
    item_id = link(app, client, plaid)
    for method, path in (
        ("GET", "/accounts"), ("GET", "/info"), ("POST", "/create_link_token"),
        ("POST", "/set_access_token"), ("DELETE", f"/accounts/{item_id}"),
    ):  # fmt: skip
        assert client.open(path, method=method).status_code == 401
    bob = signed(app, "bob")
    assert client.get("/accounts", headers=bob).json == {"accounts": []}
    assert client.delete(f"/accounts/{item_id}", headers=bob).status_code == 404
    assert client.post("/create_link_token", json={"item_id": item_id}, headers=bob
                       ).status_code == 404  # fmt: skip
    assert plaid.removed == []


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 400), ({"public_token": ""}, 400), ({"public_token": 7}, 400),
     ({"public_token": "x" * 300}, 400), ({"public_token": "public-sandbox-unknown"}, 400)],
)  # fmt: skip
def test_a_public_token_that_is_none_is_refused(
    app: Services, client: FlaskClient, body: dict[str, Any], status: int
) -> None:
    """What is no token, or was used before, links nothing and says so; what was tried is noted."""
    answer = client.post("/set_access_token", json=body, headers=signed(app))
    assert answer.status_code == status
    assert app.loop.run(app.store.count(Query("bank_items"))) == 0
    asked = body.get("public_token") == "public-sandbox-unknown"
    assert rows(app) == ([("ada", "link_bank", "invalid_input")] if asked else [])


def test_pages_that_are_not_there(client: FlaskClient) -> None:
    """Unknown paths and methods are 404."""
    assert client.get("/auth/plaid/nothing").status_code == 404
    assert client.get("/auth/plaid/webhook").status_code == 404
    assert client.delete("/auth/plaid/info").status_code == 404


# --- webhooks -----------------------------------------------------------------------------------


def told(client: FlaskClient, body: bytes, signature: str | None) -> int:
    headers = {"Plaid-Verification": signature} if signature else {}
    answer = client.post(
        "/auth/plaid/webhook", data=body, headers=headers, content_type="application/json"
    )
    return answer.status_code


def test_a_signed_webhook_brings_new_transactions(
    app: Services, client: FlaskClient, plaid: FakePlaid
) -> None:
    """Plaid's word is acted on, and one told twice is acted on once."""
    item_id = link(app, client, plaid)
    plaid.item(item_id).happen("added", transaction("t1", "2026-11-01", 18.25))
    body, signature = plaid.webhook("TRANSACTIONS", "SYNC_UPDATES_AVAILABLE", item_id=item_id)
    assert told(client, body, signature) == told(client, body, signature) == 200
    months = app.store.query(Query(f"users/ada/banks/{item_id}/months"))
    assert len(app.loop.run(months)) == 1


@pytest.mark.parametrize("how", ["unsigned", "wrong signature", "old", "altered"])
def test_a_webhook_that_is_not_plaids_is_refused(
    app: Services, client: FlaskClient, plaid: FakePlaid, how: str
) -> None:
    """A clear refusal, one row in the audit trail, and the bank as it was."""
    item_id = link(app, client, plaid)
    age = 400 if how == "old" else 0
    body, signature = plaid.webhook("ITEM", "PENDING_DISCONNECT", item_id=item_id, age=age)
    sent = None if how == "unsigned" else signature
    if how == "wrong signature":
        head, claims, proof = signature.split(".")
        sent = f"{head}.{claims}.{proof[::-1]}"
    if how == "altered":
        body = body.replace(b"PENDING_DISCONNECT", b"USER_PERMISSION_REVOKED")
    assert told(client, body, sent) == 401
    assert rows(app)[1:] == [("", "plaid_webhook", "not_authenticated")]
    (bank,) = app.loop.run(app.banks.listed("ada"))
    assert bank.status == "active"


def test_a_webhook_about_nobodys_bank_is_noted(
    app: Services, client: FlaskClient, plaid: FakePlaid
) -> None:
    """It is answered, so that Plaid does not repeat it for a day, and leaves one row."""
    body, signature = plaid.webhook("ITEM", "LOGIN_REPAIRED", item_id="somebody-else")
    assert told(client, body, signature) == 200
    assert rows(app) == [("", "plaid_webhook", "unknown_item")]


def test_a_bank_linked_on_plaids_page_leaves_one_row(
    app: Services, client: FlaskClient, plaid: FakePlaid
) -> None:
    """A webhook that links is noted with the user it links for; told again, it is nobody's."""
    app.loop.run(app.banks.link("ada", hosted=True))
    (token,) = plaid.links
    body, signature = plaid.webhook(
        "LINK", "SESSION_FINISHED", link_token=token, public_tokens=[plaid.consent()]
    )
    assert told(client, body, signature) == told(client, body, signature) == 200
    assert rows(app) == [("ada", "link_bank", "done"), ("", "plaid_webhook", "unknown_item")]


def test_a_hosted_link_that_fails_is_told_again(
    app: Services, client: FlaskClient, plaid: FakePlaid
) -> None:
    """While Plaid is down its webhook is refused, so that it comes again; nothing is kept half."""
    app.loop.run(app.banks.link("ada", hosted=True))
    (token,) = plaid.links
    body, signature = plaid.webhook(
        "LINK", "SESSION_FINISHED", link_token=token, public_tokens=[plaid.consent()]
    )
    plaid.fail["/item/public_token/exchange"] = [503]
    assert told(client, body, signature) == 503
    assert rows(app) == [("ada", "link_bank", "vendor_unavailable")]
    assert app.loop.run(app.banks.listed("ada")) == []
    assert told(client, body, signature) == 200
    assert len(app.loop.run(app.banks.listed("ada"))) == 1
