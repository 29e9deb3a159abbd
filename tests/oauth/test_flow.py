"""The flow as values: what browsers and providers are sent, and how their answers are read."""

from __future__ import annotations

import datetime as dt
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from common.oauth import flow
from common.oauth.flow import Client, Provider, Refused, Tokens
from common.oauth.providers import PROVIDERS
from common.tools import Registry

NOON = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
CLIENT = Client("id-1", "secret-1")
EACH = pytest.mark.parametrize("provider", PROVIDERS.values(), ids=list(PROVIDERS))
G = "https://www.googleapis.com/auth/"


def read(provider: str, body: Any, *, status: int = 200) -> Tokens | Refused:
    asked = ("a", "b")
    return flow.read_tokens(PROVIDERS[provider], status, body, asked=asked, sent_at=NOON)


@EACH
def test_the_browser_is_asked_for_what_the_feature_needs(provider: Provider) -> None:
    """Every provider is told who asks, for what, where to return; the verifier stays with us."""
    scopes = provider.scopes_for(provider.features)
    url = flow.authorize_url(
        provider, CLIENT, state="s" * 43, verifier="v" * 64, scopes=scopes,
        redirect_uri="https://odai.example/oauth_google/callback",
    )  # fmt: skip
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert parts.scheme == "https"
    assert query["client_id"] == "id-1" and query["state"] == "s" * 43
    assert query["response_type"] == "code"
    assert query["redirect_uri"] == "https://odai.example/oauth_google/callback"
    if scopes:
        assert set(query[provider.scope_field].split(provider.scope_separator)) == set(scopes)
    assert ("code_challenge" in query) == provider.pkce
    assert "secret-1" not in url and "v" * 64 not in url


def test_the_challenge_is_the_one_of_the_standard() -> None:
    """The example of RFC 7636, appendix B."""
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert flow.challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@EACH
def test_codes_are_sent_once_with_our_credentials(provider: Provider) -> None:
    """A code works once, so that its exchange is never repeated by itself."""
    request = flow.exchange(provider, CLIENT, code="c", verifier="v", redirect_uri="https://o/c")
    fields = request.form or request.json or {}
    assert not request.idempotent
    assert fields["code"] == "c" and fields["grant_type"] == "authorization_code"
    assert ("code_verifier" in fields) == provider.pkce
    assert provider.basic == ("Authorization" in request.headers) != ("client_secret" in fields)
    assert "secret-1" not in repr(request) + repr(CLIENT)


@EACH
def test_only_declared_hosts_are_asked(provider: Provider) -> None:
    """Whatever is sent on our side goes to a host that the provider's entry lists."""
    tokens = Tokens(access="a", refresh="r")
    requests = [flow.refresh(provider, CLIENT, "r"), flow.revoke(provider, CLIENT, tokens)]
    if provider.profile_url:
        requests.append(flow.profile_request(provider, "a"))
    hosts = {urlsplit(request.url).hostname for request in requests if request}
    assert hosts <= set(provider.hosts)


def test_every_connector_with_accounts_can_be_linked() -> None:
    """What a connector needs is a feature of its provider, and leads to a page that asks for it."""
    for entry in Registry.discover().entries.values():
        provider = PROVIDERS.get(entry.connector.account)
        if provider is None or not entry.connector.scopes:
            continue
        assert provider.feature_of(entry.connector.scopes), entry.slug
        assert "feature=" in provider.login_path(entry.connector.scopes)


def test_every_permission_has_words_for_the_user() -> None:
    """Nobody is sent to a provider's page to be asked for what nobody has explained."""
    for provider in PROVIDERS.values():
        asked = {scope for scopes in provider.features.values() for scope in scopes}
        assert set(provider.words) == (asked or {""}), provider.slug


def test_what_google_grants_is_read() -> None:
    """Lifetimes count from when we asked; a user's choice of permissions is kept."""
    tokens = read("google", {
        "access_token": "ya29.x", "expires_in": 3599, "refresh_token": "1//r",
        "scope": f"openid {G}calendar.events", "token_type": "Bearer",
    })  # fmt: skip
    assert tokens == Tokens(
        access="ya29.x", refresh="1//r", expires_at=NOON + dt.timedelta(seconds=3599),
        scopes=(f"{G}calendar.events", "openid"),
    )  # fmt: skip
    assert "ya29" not in repr(tokens) and "1//r" not in repr(tokens)


def test_slack_hides_the_users_token_below() -> None:
    """The user's token is taken, not the bot's, and both ids name the account."""
    body = {
        "ok": True, "access_token": "xoxb-bot", "team": {"id": "T1", "name": "Acme"},
        "authed_user": {"id": "U1", "scope": "search:read,chat:write", "access_token": "xoxp-1"},
    }  # fmt: skip
    tokens = read("slack", body)
    assert isinstance(tokens, Tokens)
    assert (tokens.access, tokens.scopes) == ("xoxp-1", ("chat:write", "search:read"))
    assert flow.read_profile(PROVIDERS["slack"], body) == flow.Profile("T1-U1", "Acme")


def test_tokens_without_an_end_and_without_scopes() -> None:
    """No lifetime means that it does not end; no list of scopes that all were granted."""
    tokens = read("todoist", {"access_token": "t", "token_type": "Bearer"})
    assert tokens == Tokens(access="t", scopes=("a", "b"))


@pytest.mark.parametrize(
    ("provider", "status", "body", "reason"),
    [
        ("google", 400, {"error": "invalid_grant"}, "grant"),
        ("google", 401, {"error": "invalid_client"}, "client"),
        ("google", 400, {"error": "invalid_request"}, "refused"),
        ("google", 400, {"error": "temporarily_unavailable"}, "transient"),
        ("google", 403, None, "refused"),
        ("google", 200, ["odd"], "refused"),
        ("google", 200, {"scope": "openid"}, "refused"),
        ("google", 200, {"access_token": 7}, "refused"),
        ("slack", 200, {"ok": False, "error": "code_already_used"}, "grant"),
        ("slack", 200, {"ok": False, "error": "bad_client_secret"}, "client"),
        ("slack", 200, {"ok": True, "team": None, "authed_user": {"id": "U"}}, "refused"),
        ("github", 200, {"error": "bad_verification_code"}, "grant"),
        ("notion", 401, {"code": "unauthorized"}, "client"),
    ],
)
def test_refusals_are_told_apart(provider: str, status: int, body: Any, reason: str) -> None:
    """Whether to start again, to call the operator or to wait depends on who is at fault."""
    answer = read(provider, body, status=status)
    assert isinstance(answer, Refused) and answer.reason == reason


def test_a_wider_permission_includes_the_narrower() -> None:
    """Whoever may change mail may read it; whoever may only read it may not send."""
    google = PROVIDERS["google"]
    assert google.covers([f"{G}gmail.modify"], [f"{G}gmail.readonly", f"{G}gmail.compose"])
    assert not google.covers([f"{G}gmail.readonly"], [f"{G}gmail.compose"])
    assert google.login_path([f"{G}gmail.readonly"]) == "/auth/google/login?feature=mail"
    assert PROVIDERS["notion"].login_path() == "/oauth_google/login?provider=notion"


@pytest.mark.parametrize("body", [None, [], {}, {"sub": ""}, {"sub": None}, {"sub": {"a": 1}}])
def test_an_account_without_an_id_is_none(body: Any) -> None:
    """Nothing is linked to nobody."""
    assert flow.read_profile(PROVIDERS["google"], body) is None
