"""Linking Google through the function: every way it can end, as a browser and a client see it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient

from common.bootstrap import Services
from common.errors import NotAuthenticated
from common.oauth.endpoints import Endpoints
from common.store import Query
from common.web.edge import install
from run.local.functions import mount_functions, own_paths
from tests.fakes.google import CLIENT_SECRET, Failure, Google

ROOT = Path(__file__).parents[2]
HOME = "http://127.0.0.1:8080"
SCOPE = "https://www.googleapis.com/auth/"
MAIL = [f"{SCOPE}gmail.{name}" for name in ("readonly", "compose", "modify")]
Shown = dict[str, str]


@pytest.fixture
def google() -> Iterator[Google]:
    with Google() as served:
        yield served


class Site:
    """The functions on a server that uses the simulated Google; each user has a browser."""

    def __init__(self, services: Services, google: Google) -> None:
        self.services, self.google = services, google
        self.app = Flask(__name__)
        install(self.app)
        mount_functions(self.app, services, ["oauth_google"])
        self.browsers: dict[str, FlaskClient] = {}

    def browser(self, name: str) -> FlaskClient:
        return self.browsers.setdefault(name, self.app.test_client())

    def bearer(self, user: str) -> dict[str, str]:
        assert self.services.development
        token = self.services.development.mint(user, name=user.title())
        return {"Authorization": f"Bearer {token}"}

    def login(self, user: str = "ada", query: str = "feature=mail") -> str:
        """Start a flow in the user's browser; return Google's address."""
        answer = self.browser(user).get(
            f"{HOME}/auth/google/login?{query}", headers=self.bearer(user)
        )
        assert answer.status_code == 200, answer.text
        url: str = answer.json["url"]
        return url

    def back(self, address: str, user: str = "ada") -> Shown:
        """Follow Google's redirect in the user's browser; return the outcome's parameters."""
        answer = self.browser(user).get(address)
        assert answer.status_code == 302
        where = answer.headers["Location"]
        assert not any(secret in where for secret in ("ya29", "1//0e", "4/0A", CLIENT_SECRET))
        assert urlsplit(where).netloc == "127.0.0.1:8080"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        return dict(parse_qsl(urlsplit(where).query))

    def link(self, user: str = "ada", **how: Any) -> Shown:
        """Run a whole flow."""
        return self.back(self.google.consent(self.login(user), **how), user)

    def accounts(self, user: str = "ada") -> list[dict[str, Any]]:
        answer = self.browser(user).get("/oauth_google/accounts", headers=self.bearer(user))
        listed: list[dict[str, Any]] = answer.json["accounts"]
        return listed

    def rows(self) -> list[tuple[str, str, str]]:
        found = self.services.loop.run(self.services.store.query(Query("audit")))
        return [(row.data["uid"], row.data["what"], row.data["status"]) for row in found]

    def kept(self) -> list[str]:
        """Return the paths of everything that a flow may leave behind."""
        run, store = self.services.loop.run, self.services.store
        groups = [Query("accounts", all_groups=True), Query("account_owners")]
        return [row.path for query in groups for row in run(store.query(query))]


@pytest.fixture
def site(services: Callable[..., Services], google: Google) -> Site:
    return Site(services(**google.settings), google)


# --- the way it should go -----------------------------------------------------------------------


def test_an_account_is_linked(site: Site) -> None:
    """Consent, and the account is there with its address and permissions, and no secrets."""
    url = site.login(query="feature=mail&next=/%23/chats/c1")
    query = dict(parse_qsl(urlsplit(url).query))
    assert set(MAIL) <= set(query["scope"].split())
    assert f"{SCOPE}calendar.events" not in query["scope"]
    answer = site.browser("ada").get(site.google.consent(url))
    assert answer.headers["Location"] == f"{HOME}/?linked=google#/chats/c1"
    [account] = site.accounts()
    assert account["id"] == "google:108000000000000000001"
    assert account["label"] == "ada@example.com" and account["status"] == "ok"
    assert set(MAIL) <= set(account["scopes"])
    assert not {"tokens", "access", "refresh"} & account.keys()
    assert site.rows() == [("ada", "link google", "done")]


def test_several_accounts_and_more_permissions_later(site: Site) -> None:
    """A second account joins the first; a new feature adds to what was allowed before."""
    site.link()
    site.link(account="work")
    assert [a["label"] for a in site.accounts()] == ["ada@example.com", "work@example.com"]
    first = site.accounts()[0]["id"]
    url = site.login(query=f"feature=calendar&account={first}")
    query = dict(parse_qsl(urlsplit(url).query))
    assert query["login_hint"] == "108000000000000000001" and "prompt" not in query
    assert site.back(site.google.consent(url)) == {"linked": "google"}
    again = site.accounts()
    assert len(again) == 2
    assert {*MAIL, f"{SCOPE}calendar.events"} <= set(again[0]["scopes"])
    held = site.services.loop.run(site.services.linked.get("ada", first))
    assert held.tokens.refresh  # Google gave no new one: the old one stays


def test_a_tool_uses_what_was_linked(site: Site) -> None:
    """After linking, a search of the user's mail is answered."""
    from common.tools import Asker

    site.link()
    ask = site.services.runner.run(
        "search_google_mail", {"query": "invoice"}, Asker(uid="ada"), key="k"
    )
    outcome = site.services.loop.run(ask)
    assert "Invoice 4711" in outcome.summary
    other = site.services.runner.run(
        "search_google_mail", {"query": "invoice"}, Asker(uid="bob"), key="k"
    )
    assert "/auth/google/login?feature=mail" in site.services.loop.run(other).summary


def test_unlinking_revokes_and_forgets(site: Site) -> None:
    """Google is told first; then nothing is left, and another user may have the account."""
    site.link()
    account_id = site.accounts()[0]["id"]
    path = f"/oauth_google/accounts/{account_id}"
    browser, mine = site.browser("ada"), site.bearer("ada")
    assert browser.delete(path, headers=site.bearer("bob")).status_code == 404
    site.google.fail("/revoke", *[Failure(503)] * 3)
    assert browser.delete(path, headers=mine).status_code == 503
    assert len(site.accounts()) == 1
    assert browser.delete(path, headers=mine).status_code == 204
    assert site.kept() == []
    assert all(not grant.live for grant in site.google.refresh_tokens.values())
    assert browser.delete(path, headers=mine).status_code == 404
    statuses = [status for _, what, status in site.rows() if what == "unlink account"]
    assert sorted(statuses) == ["done", "not_found", "not_found", "vendor_unavailable"]
    assert site.link("bob") == {"linked": "google"}


def test_an_account_that_google_forgot_can_be_unlinked(site: Site) -> None:
    """Revoked at Google already: unlinking here still works."""
    site.link()
    site.google.withdraw()
    path = f"/oauth_google/accounts/{site.accounts()[0]['id']}"
    assert site.browser("ada").delete(path, headers=site.bearer("ada")).status_code == 204
    assert site.kept() == []


def test_a_user_who_leaves_leaves_no_links(site: Site) -> None:
    """Deleting a user ends every link."""
    site.link()
    site.link(account="work")
    site.services.loop.run(site.services.links.unlink_all("ada"))
    assert site.kept() == [] and site.google.count("POST oauth2.googleapis.com/revoke") == 2


# --- who may start ------------------------------------------------------------------------------


def test_a_ticket_starts_a_flow_by_navigation(site: Site) -> None:
    """A page of ours goes straight on; from elsewhere the user sees whose assistant it is."""
    made = site.browser("ada").post("/oauth_google/ticket", headers=site.bearer("ada")).json
    first = site.browser("ada").get(
        f"{HOME}/oauth_google/login?feature=mail&ticket={made['ticket']}",
        headers={"Sec-Fetch-Site": "same-origin"},
    )
    assert first.status_code == 302
    assert site.back(site.google.consent(first.headers["Location"])) == {"linked": "google"}
    again = site.browser("ada").get(f"{HOME}/oauth_google/login?ticket={made['ticket']}")
    assert dict(parse_qsl(urlsplit(again.headers["Location"]).query))["link_error"] == (
        "not_authenticated"
    )

    made = site.browser("ada").post("/oauth_google/ticket", headers=site.bearer("<b>ada")).json
    page = site.browser("eve").get(f"{HOME}/oauth_google/login?ticket={made['ticket']}")
    assert page.status_code == 200 and "&lt;B&gt;Ada" in page.text and "<B>" not in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert site.google.origin in page.text


def test_a_chat_ticket_links_nothing(site: Site) -> None:
    """A ticket is good for what it was made for."""

    async def make() -> str:
        assert site.services.development
        token = site.bearer("ada")["Authorization"].removeprefix("Bearer ")
        identity = await site.services.development.verify(token)
        return await site.services.tickets.mint(identity, purpose="chat")

    ticket = site.services.loop.run(make())
    answer = site.browser("ada").get(f"{HOME}/auth/google/login?ticket={ticket}")
    assert "link_error=not_authenticated" in answer.headers["Location"]
    assert site.rows() == [("", "link account", "ticket_refused")]
    with pytest.raises(NotAuthenticated):
        site.services.loop.run(site.services.tickets.redeem("x", purpose="link"))


def test_a_bare_link_leads_to_the_client(site: Site) -> None:
    """Who opens the button's address without a ticket lands where they are signed in."""
    answer = site.browser("ada").get(f"{HOME}/auth/google/login?feature=mail&next=/x")
    assert answer.headers["Location"] == f"{HOME}/?link=google&feature=mail&next=%2Fx"


@pytest.mark.parametrize(
    ("query", "status", "told"),
    [
        ("next=https://evil.example/", 400, "next must be"),
        ("next=//evil.example", 400, "next must be"),
        ("feature=mail,everything", 400, "feature 'everything'"),
        ("provider=nowhere", 404, "cannot be connected"),
        ("provider=slack", 403, "Set SLACK_CLIENT_ID and SLACK_CLIENT_SECRET"),
        ("account=google:1", 404, "No such account"),
        ("account=../../x", 404, "No such account"),
    ],
)
def test_a_flow_that_cannot_start_says_why(site: Site, query: str, status: int, told: str) -> None:
    """Nothing is begun, and the client can show the reason."""
    answer = site.browser("ada").get(f"/auth/google/login?{query}", headers=site.bearer("ada"))
    assert answer.status_code == status and told in answer.json["error"]["message"]
    assert site.services.loop.run(site.services.store.query(Query("oauth_states"))) == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/oauth_google/accounts"),
        ("DELETE", "/oauth_google/accounts/google:1"),
        ("POST", "/oauth_google/ticket"),
        ("POST", "/google_access_request"),
    ],
)
def test_strangers_are_refused(site: Site, method: str, path: str) -> None:
    """Everything about accounts needs a signed-in user."""
    for headers in ({}, {"Authorization": "Bearer x.y.z"}):
        assert site.browser("eve").open(path, method=method, headers=headers).status_code == 401


# --- bad input ----------------------------------------------------------------------------------


def state_of(url: str) -> str:
    return dict(parse_qsl(urlsplit(url).query))["state"]


def test_a_callback_without_a_known_state(site: Site) -> None:
    """Missing, unknown and odd states end on our page with a reason, and in the audit trail."""
    for query, code in (
        ("", "state_missing"),
        ("code=x", "state_missing"),
        (f"code=x&state={'A' * 43}", "state_unknown"),
        ("code=x&state=%00%ff", "state_unknown"),
        (f"error=access_denied&state={'B' * 43}", "state_unknown"),
    ):
        shown = site.back(f"{HOME}/auth/google/callback?{query}")
        assert shown["link_error"] == code and "Start again" in shown["link_message"]
    assert [row[0::2] for row in site.rows()] == [
        ("", "state_missing"), ("", "state_missing"), ("", "state_unknown"),
        ("", "state_unknown"), ("", "state_unknown"),
    ]  # fmt: skip
    assert site.kept() == [] and site.google.asked == []


def test_a_replayed_callback_changes_nothing(site: Site) -> None:
    """The same answer twice links once."""
    address = site.google.consent(site.login())
    assert site.back(address) == {"linked": "google"}
    before = site.kept()
    assert site.back(address)["link_error"] == "state_used"
    assert site.kept() == before
    assert site.google.count("POST oauth2.googleapis.com/token") == 1
    assert site.rows() == [("ada", "link google", "done"), ("ada", "link account", "state_used")]


def test_a_callback_in_another_browser_is_refused(site: Site) -> None:
    """A stolen answer is worth nothing elsewhere, whoever is signed in there; at home it works."""
    address = site.google.consent(site.login("ada"))
    site.login("eve")
    assert site.back(address, "eve")["link_error"] == "other_browser"
    assert site.kept() == []
    assert site.rows() == [("ada", "link account", "other_browser")]
    assert site.back(address, "ada") == {"linked": "google"}


def test_another_persons_code_is_not_taken(site: Site) -> None:
    """A code slipped into the user's own flow fails: its challenge is another flow's."""
    mine, foreign = site.login("ada"), site.google.consent(site.login("eve"))
    code = dict(parse_qsl(urlsplit(foreign).query))["code"]
    shown = site.back(f"{HOME}/auth/google/callback?state={state_of(mine)}&code={code}")
    assert shown["link_error"] == "code_refused" and site.kept() == []
    assert site.rows() == [("ada", "link google", "code_refused")]


def test_an_answer_that_comes_too_late(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten minutes the flow is over."""
    import datetime as dt

    address = site.google.consent(site.login())
    later = site.services.clock() + dt.timedelta(minutes=10, seconds=1)
    monkeypatch.setattr(site.services.links._states, "_clock", lambda: later)
    assert site.back(address)["link_error"] == "state_expired"
    assert site.rows() == [("ada", "link account", "state_expired")]


def test_a_user_who_says_no(site: Site) -> None:
    """Denied consent is said plainly and leaves nothing."""
    shown = site.back(site.google.deny(site.login()))
    assert shown["link_error"] == "consent_denied" and "did not allow" in shown["link_message"]
    assert site.kept() == [] and site.rows() == [("ada", "link google", "consent_denied")]
    bare = f"{HOME}/auth/google/callback?state={state_of(site.login())}"
    assert site.back(bare)["link_error"] == "code_missing"
    odd = f"{HOME}/auth/google/callback?error=%3Cscript%3E&state={state_of(site.login())}"
    shown = site.back(odd)
    assert shown["link_error"] == "sign_in_refused" and "<" not in shown["link_message"]


def test_permissions_left_out_are_told_and_switch_off_only_their_tools(site: Site) -> None:
    """The account is linked for what was allowed; what needs more says so."""
    url = site.login(query="feature=mail,calendar")
    shown = site.back(site.google.consent(url, without=MAIL))
    assert shown == {"linked": "google", "link_missing": "mail"}
    assert site.rows() == [("ada", "link google", "partial")]
    port = site.services.accounts_for("ada")
    assert site.services.loop.run(port.token("google", (f"{SCOPE}calendar.events",)))
    from common.errors import NotAllowed

    with pytest.raises(NotAllowed, match="without permission"):
        site.services.loop.run(port.token("google", tuple(MAIL)))


def test_without_identity_nothing_is_linked(site: Site) -> None:
    """Whoever Google does not name is not linked."""
    shown = site.link(without=["openid", "email", "profile"])
    assert shown["link_error"] == "profile_missing" and site.kept() == []
    assert site.rows() == [("ada", "link google", "profile_missing")]


def test_a_code_that_was_used(site: Site) -> None:
    """Google refuses a second use; the user starts again."""
    address = site.google.consent(site.login())
    code = dict(parse_qsl(urlsplit(address).query))["code"]
    site.google.codes[code].used = True
    assert site.back(address)["link_error"] == "code_refused"
    assert site.kept() == [] and site.rows() == [("ada", "link google", "code_refused")]


@pytest.mark.parametrize(
    ("path", "failure", "code"),
    [
        ("/token", Failure(400, {"error": "invalid_request"}), "sign_in_refused"),
        ("/token", Failure(400, {"error": "internal_failure"}), "vendor_unavailable"),
        ("/token", Failure(401, {"error": "invalid_client"}), "client_refused"),
        ("/token", Failure(403, {"error": "forbidden"}), "sign_in_refused"),
        ("/token", Failure(429, {}, {"Retry-After": "30"}), "rate_limited"),
        ("/token", Failure(500, {"error": "server_error"}), "vendor_unavailable"),
        ("/token", Failure(503), "vendor_unavailable"),
        ("/token", Failure(302, None, {"Location": "https://evil.example"}), "vendor_rejected"),
        ("/token", Failure(200, ["odd"]), "sign_in_refused"),
        ("/token", Failure(200, hang=True), "vendor_unavailable"),
        ("/v1/userinfo", Failure(401, {}), "profile_missing"),
        ("/v1/userinfo", Failure(200, {"email": "ada@example.com"}), "profile_missing"),
        ("/v1/userinfo", Failure(429, {}, {"Retry-After": "30"}), "rate_limited"),
        ("/v1/userinfo", Failure(200, hang=True), "vendor_unavailable"),
    ],
)
def test_trouble_at_google_leaves_nothing(
    site: Site, path: str, failure: Failure, code: str
) -> None:
    """Refusals, overload, outages and silence each have their outcome, one row, nothing stored."""
    endpoints = Endpoints(
        lambda: site.services.egress, site.services.settings.secret, timeout_s=0.5
    )
    site.services.__dict__["_endpoints"] = endpoints
    site.google.fail(path, failure)
    shown = site.link()
    assert shown["link_error"] == code and shown["link_message"]
    assert site.kept() == []
    assert site.rows() == [("ada", "link google", code)]
    assert site.google.count("POST oauth2.googleapis.com/token") == 1  # a code is never resent


def test_access_for_an_hour_only_is_not_taken(site: Site) -> None:
    """Without a lasting token the assistant would forget the user within the hour."""
    site.google.gives_refresh_token = False
    assert site.link()["link_error"] == "not_lasting"
    assert site.kept() == [] and site.rows() == [("ada", "link google", "not_lasting")]


def test_a_user_deleted_meanwhile_is_not_brought_back(site: Site) -> None:
    """Whoever left while the consent page was open has nothing linked, and no new key."""
    address = site.google.consent(site.login())
    run = site.services.loop.run
    run(site.services.members.leave("ada", "revoked"))
    run(site.services.vault.shred("ada"))
    run(site.services.members.bury("ada"))
    assert site.back(address)["link_error"] == "user_deleted"
    assert site.kept() == [] and site.google.count("POST oauth2.googleapis.com/token") == 0
    assert site.rows()[-1] == ("", "link google", "user_deleted")
    user = run(site.services.store.get("users/ada"))
    assert user is not None and set(user.data) == {"deletion", "deletion_at"}


def test_a_user_who_is_leaving_starts_nothing(site: Site) -> None:
    """From the first step of a deletion on no page of linking admits them."""
    mine = site.bearer("ada")
    made = site.browser("ada").post("/oauth_google/ticket", headers=mine).json["ticket"]
    site.services.loop.run(site.services.members.leave("ada", "deleting"))
    for method, path in (
        ("GET", "/auth/google/login"), ("GET", "/oauth_google/accounts"),
        ("POST", "/oauth_google/ticket"), ("DELETE", "/oauth_google/accounts/google:1"),
        ("POST", "/google_access_request"),
    ):  # fmt: skip
        answer = site.browser("ada").open(path, method=method, headers=mine)
        assert answer.status_code == 403 and "deleted" in answer.json["error"]["message"]
    shown = site.back(f"{HOME}/auth/google/login?ticket={made}")
    assert shown["link_error"] == "not_allowed"


def test_an_account_belongs_to_one_user(site: Site) -> None:
    """The second user hears it and nobody loses anything; the first may link again."""
    site.link("ada")
    before = site.kept()
    shown = site.link("bob")
    assert shown["link_error"] == "account_taken" and "another user" in shown["link_message"]
    assert site.kept() == before and site.accounts("bob") == []
    assert site.link("ada") == {"linked": "google"}
    assert site.google.count("POST oauth2.googleapis.com/revoke") == 0
    assert [row[0::2] for row in site.rows()] == [
        ("ada", "done"), ("bob", "account_taken"), ("ada", "done")
    ]  # fmt: skip


def test_two_users_at_once_link_it_once(site: Site) -> None:
    """Of two users racing for one account exactly one gets it."""
    ways = {user: site.google.consent(site.login(user)) for user in ("ada", "bob")}
    queries = {user: dict(parse_qsl(urlsplit(way).query)) for user, way in ways.items()}
    cookies = {
        user: {c.key: c.value for c in site.browser(user)._cookies.values()} for user in ways
    }

    async def race() -> list[Any]:
        links = site.services.links
        return await asyncio.gather(*(links.finish(queries[u], cookies[u]) for u in ways))

    ended = site.services.loop.run(race())
    linked = [end for end in ended if not hasattr(end.result, "code")]
    assert len(linked) == 1
    assert len(site.accounts("ada")) + len(site.accounts("bob")) == 1
    assert len(site.kept()) == 2  # the account and whose it is


def test_a_defect_ends_on_our_page_too(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser never sees a bare error, whatever breaks behind it."""

    async def broken(*_: Any) -> None:
        raise RuntimeError("defect")

    address = site.google.consent(site.login())
    monkeypatch.setattr(site.services.links, "finish", broken)
    shown = site.back(address)
    assert shown["link_error"] == "unexpected" and "defect" not in shown["link_message"]
    assert site.rows() == [("", "link account", "unexpected")]


# --- the rest -----------------------------------------------------------------------------------


def test_cookies_of_a_flow_are_kept_from_scripts_and_other_sites(
    services: Callable[..., Services], google: Google
) -> None:
    """Over https the cookie is for this host alone; on a laptop it has a plain name."""
    for url, name, secure in (
        ("https://odai.example", "__Host-odai_link_", True),
        ("", "odai_link_", False),
    ):
        site = Site(services(**google.settings, ODAI_PUBLIC_URL=url), google)
        answer = site.browser("ada").get("/auth/google/login", headers=site.bearer("ada"))
        cookie = answer.headers["Set-Cookie"]
        assert cookie.startswith(name) and "HttpOnly" in cookie and "SameSite=Lax" in cookie
        assert "Path=/" in cookie and "Domain" not in cookie and ("Secure" in cookie) == secure
        assert state_of(answer.json["url"]) not in cookie


def test_early_access_can_be_asked_for(site: Site) -> None:
    """The original's request is kept, sealed, once for each user, with a row in the trail."""
    browser, mine = site.browser("ada"), site.bearer("ada")
    for path in ("/google_access_request", "/oauth_google/access_request"):
        answer = browser.post(path, headers=mine, json={"email": "ada@example.com"})
        assert answer.status_code == 200 and answer.json == {"ok": True}
    assert browser.post(
        "/google_access_request", headers=mine, json={"email": "x"}
    ).status_code == (400)
    found = site.services.loop.run(site.services.store.query(Query("access_requests")))
    assert [row.data["uid"] for row in found] == ["ada"]
    assert b"ada@example.com" not in found[0].data["email"]
    assert [row[1] for row in site.rows()] == ["request google access"] * 2


def test_the_original_paths_are_listed() -> None:
    """The local suite, and the load balancer, read them from the function's own folder."""
    assert own_paths("oauth_google") == [
        "/auth/google/login", "/auth/google/callback", "/google_access_request"
    ]  # fmt: skip
    assert own_paths("connector_worker") == []


def test_unknown_pages_are_not_found(site: Site) -> None:
    """Nothing else is served."""
    for method, path in (
        ("GET", "/oauth_google"), ("GET", "/oauth_google/x"), ("POST", "/auth/google/login"),
        ("GET", "/google_access_request"), ("DELETE", "/oauth_google/accounts"),
        ("GET", "/oauth_google/auth/google/login"),
    ):  # fmt: skip
        assert site.browser("ada").open(path, method=method).status_code == 404


def test_no_model_library_is_loaded() -> None:
    """A cold start costs what linking needs: neither the agents nor the model client."""
    script = """
import sys, tempfile, os
os.environ["ODAI_DATA"] = tempfile.mkdtemp()
os.environ["GOOGLE_CLIENT_ID"] = os.environ["GOOGLE_CLIENT_SECRET"] = "x"
from flask import Flask
from common.bootstrap import Services
from run.local.functions import _load
main = _load("oauth_google")
from flask import request
app = Flask("t")
app.add_url_rule("/<path:_>", view_func=lambda _: main.oauth_google(request), methods=["GET"])
services = Services.of_process()
token = services.development.mint("ada")
client = app.test_client()
assert client.get("/login", headers={"Authorization": f"Bearer {token}"}).status_code == 200
assert client.get("/callback?state=x").status_code == 302
listed = client.get("/accounts", headers={"Authorization": f"Bearer {token}"})
assert listed.json == {"accounts": []}
heavy = {"agents", "openai", "google.cloud.firestore", "grpc", "common.tools", "common.connectors"}
print(sorted(heavy & set(sys.modules)))
services.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
