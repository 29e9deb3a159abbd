"""Forged answers of providers and forged webhooks, over the whole suite.

What the flow and the signature check refuse by themselves is in tests/oauth, tests/functions and
tests/telephony; here is what an attacker tries at the pages around them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest

from common.bootstrap import Services
from common.loop import LoopThread
from common.settings import Settings
from common.store import Query
from common.web.openapi import ENDPOINTS, Endpoint
from tests.fakes.twilio import ACCOUNT
from tests.trust.attacked import Target, targets
from tests.trust.stored import versions

HOME = "http://127.0.0.1:8080"
EVIL = "evil.example"
SCRIPT = "\"'><script>alert(1)</script>"
TWILIO = [each for each in ENDPOINTS if each.caller == "twilio"]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder, made = tmp_path_factory.mktemp("forgeries"), []

    def make(**environ: str) -> Services:
        environ = {"ODAI_DATA": str(folder), "ODAI_SMALL_MODEL": "off", **environ}
        made.append(Services(Settings.from_env(environ), LoopThread()))
        return made[-1]

    yield from targets(make)
    for each in made:
        each.close()


# --- linking ------------------------------------------------------------------------------------


def _login(target: Target, uid: str, query: str = "feature=mail", **headers: str) -> Any:
    return target.client.get(
        f"/oauth_google/login?{query}", base_url=HOME, headers={**target.bearer(uid), **headers}
    )


def _linked(target: Target, uid: str) -> list[Any]:
    return target.services.loop.run(target.services.linked.of(uid))


@pytest.mark.parametrize("name", ["error", "error_description", "state", "code", "scope", "iss"])
def test_what_a_provider_says_is_not_repeated(name: str, target: Target) -> None:
    """A script, a line break or an address in the callback's parameters is in no answer of ours."""
    for text in (
        SCRIPT,
        f"x\r\nSet-Cookie: a=b\r\n\r\n{SCRIPT}",
        f"//{EVIL}",
        f"javascript:{EVIL}",
    ):
        with target.app.test_client() as browser:
            started = browser.get("/oauth_google/login?feature=mail", base_url=HOME,
                                  headers=target.bearer("ada"))  # fmt: skip
            state = dict(parse_qsl(urlsplit(started.json["url"]).query))["state"]
            answer = browser.get(
                "/oauth_google/callback", base_url=HOME, query_string={"state": state, name: text}
            )
        assert answer.status_code == 302 and answer.location.startswith(f"{HOME}/?link_error=")
        told = str(answer.headers) + answer.text
        assert "script" not in told.lower() and EVIL not in told and "a=b" not in told
    assert _linked(target, "ada") == []


NEXT = [
    f"//{EVIL}", f"https://{EVIL}/", f"/\\{EVIL}", f"\\\\{EVIL}", f"https:{EVIL}", f"///{EVIL}",
    f"{HOME}@{EVIL}/", f"{HOME}.{EVIL}/", f"https://127.0.0.1:8080@{EVIL}", "javascript:alert(1)",
    f"data:text/html,{SCRIPT}", f"/%0d%0aLocation: https://{EVIL}", "\thttps://" + EVIL,
    f"http://127.0.0.1:8080#@{EVIL}/", f"http://{EVIL}\\@127.0.0.1:8080/", "/\t/" + EVIL,
]  # fmt: skip


@pytest.mark.parametrize("wanted", NEXT)
def test_a_flow_ends_with_us(wanted: str, target: Target) -> None:
    """Whatever `next` says, a finished flow's browser stays on our own site."""
    started = _login(target, "walker", f"feature=mail&next={quote(wanted, safe='')}")
    if started.status_code == 400:
        return
    back = target.client.get(target.google.consent(started.json["url"]), base_url=HOME)
    where = urlsplit(back.location)
    assert (where.scheme, where.netloc) == ("http", "127.0.0.1:8080") and "\r" not in back.location


def test_the_provider_hears_of_our_own_address_alone(target: Target) -> None:
    """The redirect address is the registered one whatever `Host` says; PKCE is S256; no secret."""
    started = _login(target, "ada", **{"X-Forwarded-Host": EVIL, "Origin": f"https://{EVIL}"})
    query = dict(parse_qsl(urlsplit(started.json["url"]).query))
    assert query["redirect_uri"] == f"{HOME}/auth/google/callback"
    assert query["code_challenge_method"] == "S256" and len(query["code_challenge"]) == 43
    assert "client_secret" not in query and query["response_type"] == "code"
    cookie = started.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and query["state"] not in cookie


def test_states_and_cookies_of_two_users_do_not_mix(target: Target) -> None:
    """One user's state in another's browser, or with another's cookie: nobody is linked."""
    ada, bob = target.app.test_client(), target.app.test_client()
    flows = {}
    for name, browser in (("ada", ada), ("bob", bob)):
        started = browser.get("/oauth_google/login?feature=mail", base_url=HOME,
                              headers=target.bearer(name))  # fmt: skip
        key, value = started.headers["Set-Cookie"].split(";")[0].split("=", 1)
        flows[name] = (target.google.consent(started.json["url"], account="work"), key, value)
    (ada_back, ada_key, ada_value), (bob_back, bob_key, bob_value) = flows["ada"], flows["bob"]
    for back, browser in ((ada_back, bob), (bob_back, ada)):
        assert "link_error=other_browser" in browser.get(back, base_url=HOME).location
    for key, value in (
        (ada_key, bob_value),
        (bob_key, ada_value),
        (ada_key, ""),
        (ada_key, "0" * 64),
    ):
        with target.app.test_client() as stranger:
            stranger.set_cookie(key, value, domain="127.0.0.1")
            assert "link_error=other_browser" in stranger.get(ada_back, base_url=HOME).location
    assert _linked(target, "ada") == [] == _linked(target, "bob")
    assert "linked=google" in ada.get(ada_back, base_url=HOME).location
    assert len(_linked(target, "ada")) == 1 and _linked(target, "bob") == []
    assert "link_error=state_used" in ada.get(ada_back, base_url=HOME).location


def test_a_name_is_text_on_the_page_that_asks(target: Target) -> None:
    """The page between a link and the provider shows whose assistant it is, and runs nothing."""
    services = target.services
    assert services.development
    token = services.development.mint("mallory", name=SCRIPT)
    identity = services.loop.run(services.verifier.verify(token))
    ticket = services.loop.run(services.tickets.mint(identity, purpose="link"))
    page = target.client.get(f"/oauth_google/login?feature=mail&ticket={ticket}", base_url=HOME,
                             headers={"Sec-Fetch-Site": "cross-site"})  # fmt: skip
    assert page.status_code == 200 and "<script" not in page.text and "&lt;script" in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy


# --- Twilio -------------------------------------------------------------------------------------


def _hook(target: Target, endpoint: Endpoint, headers: dict[str, str], **how: Any) -> Any:
    return target.client.open(endpoint.path, method=endpoint.method, headers=headers, **how)


@pytest.mark.parametrize("endpoint", TWILIO, ids=lambda each: each.id)
def test_no_forged_webhook_is_heard(endpoint: Endpoint, target: Target) -> None:
    """Another address, key, body, kind of body or nothing: 403, an audit row, and nothing done."""
    form = {"CallSid": "CA" + "0" * 32, "MessageSid": "SM" + "0" * 32, "From": "+14155550100",
            "To": ACCOUNT.number, "Body": "hello", "CallStatus": "ringing"}  # fmt: skip
    posted = form if endpoint.method == "POST" else None
    url = f"{HOME}{endpoint.path}"
    good = ACCOUNT.headers(url, posted)
    stranger = type(ACCOUNT)(token="token-of-somebody-else-0000000001")
    body = json.dumps(form).encode()
    digest = sha256(b"another body").hexdigest()
    forged: list[tuple[dict[str, str], dict[str, Any]]] = [
        ({}, {"data": posted}),
        ({"X-Twilio-Signature": ""}, {"data": posted}),
        (stranger.headers(url, posted), {"data": posted}),
        (ACCOUNT.headers(f"http://{EVIL}{endpoint.path}", posted),
         {"data": posted, "base_url": f"http://{EVIL}"}),
        (ACCOUNT.headers(f"http://{EVIL}{endpoint.path}", posted)
         | {"Host": EVIL, "X-Forwarded-Host": EVIL, "X-Forwarded-Proto": "http"}, {"data": posted}),
        (ACCOUNT.headers(f"{HOME}/twilio/other", posted), {"data": posted}),
        (ACCOUNT.headers(f"{url}?x=1", posted), {"data": posted}),
        (good, {"data": posted, "query_string": {"call": "planned"}}),
        (good | {"Content-Type": "application/json"}, {"data": body, "query_string": {"a": "b"}}),
        (ACCOUNT.headers(f"{url}?bodySHA256={digest}") | {"Content-Type": "application/json"},
         {"data": body, "query_string": {"bodySHA256": digest}}),
    ]  # fmt: skip
    if posted:
        forged += [
            (good, {"data": {**form, "Body": "send money"}}),
            (good, {"data": {**form, "From": "+14155550199"}}),
            (good, {"data": {**form, "Extra": "1"}}),
            (good, {"data": {k: v for k, v in form.items() if k != "Body"}}),
            (good, {"json": form}),
        ]
    before = {p: v for p, v in versions(target.services).items() if not p.startswith("audit/")}
    rows = len(target.services.loop.run(target.services.store.query(Query("audit"))))
    for n, (headers, how) in enumerate(forged):
        answer = _hook(target, endpoint, headers, **how)
        assert answer.status_code == 403, (n, answer.status_code, answer.text[:200])
    after = {p: v for p, v in versions(target.services).items() if not p.startswith("audit/")}
    assert after == before
    now = len(target.services.loop.run(target.services.store.query(Query("audit"))))
    assert now == rows + len(forged)
    assert _hook(target, endpoint, good, data=posted).status_code != 403
