"""OAuth 2.0's authorization code flow as functions over values: no I/O, no provider's name.

A provider is data (`Provider`); a step makes a `Request` for somebody to send and reads the answer.
RFC 6749 (the flow), RFC 7636 (PKCE), RFC 7009 (revocation).
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from urllib.parse import urlencode

Scopes: TypeAlias = tuple[str, ...]
Reason: TypeAlias = Literal["grant", "client", "transient", "refused"]

# What providers call a code or refresh token that no longer works, our own credentials refused,
# and a moment's trouble; some say all of them with status 200.
_GRANT = {
    "invalid_grant", "bad_verification_code", "invalid_code", "code_already_used",
    "invalid_refresh_token", "bad_refresh_token", "token_revoked", "token_expired",
    "account_inactive",
}  # fmt: skip
_CLIENT = {
    "invalid_client", "unauthorized_client", "bad_client_secret", "invalid_client_id",
    "incorrect_client_credentials", "bad_redirect_uri", "redirect_uri_mismatch",
}  # fmt: skip
_TRANSIENT = {
    "internal_failure", "server_error", "temporarily_unavailable", "internal_error", "fatal_error",
    "service_unavailable", "ratelimited", "rate_limited",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoke:
    """How a grant is taken back: where the token goes, and under which name."""

    url: str
    carries: Literal["form", "bearer", "basic_json"]
    method: str = "POST"
    field: str = "token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A service whose accounts can be linked.

    `keys` begins the names of its settings (`GOOGLE` → GOOGLE_CLIENT_ID). `features` are the scopes
    asked for by what the user wants to do; `words` what each of them lets us do, in words for the
    user ("" for what the provider asks by itself); `implied` what a scope includes besides. Dotted
    paths reach into answers: `grant_at` to the object with the tokens, `id_at` to the parts of the
    account's id, `label_at` to what a user knows it by, the first that is there. Without a
    `profile_url` the token's own answer tells whose it is. `lasting` providers must give a refresh
    token. `basic` sends our credentials by HTTP Basic, `json` the token request as JSON.
    """

    slug: str
    name: str
    keys: str
    authorize_url: str
    token_url: str
    id_at: tuple[str, ...]
    label_at: tuple[str, ...]
    profile_url: str = ""
    features: Mapping[str, Scopes] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    base_scopes: Scopes = ()
    implied: Mapping[str, Scopes] = field(default_factory=dict)
    scope_field: str = "scope"
    scope_separator: str = " "
    extra: Mapping[str, str] = field(default_factory=dict)
    pkce: bool = True
    basic: bool = False
    json: bool = False
    grant_at: str = ""
    lasting: bool = False
    retries_refresh: bool = False
    revoke: Revoke | None = None
    hosts: tuple[str, ...] = ()
    callback: str = "/oauth_google/callback"
    login: str = ""

    @property
    def settings(self) -> tuple[str, str]:
        """The names of the settings with what the operator registered."""
        return f"{self.keys}_CLIENT_ID", f"{self.keys}_CLIENT_SECRET"

    def scopes_for(self, features: Iterable[str]) -> Scopes:
        """Return the scopes to ask for, without repeats; KeyError for an unknown feature."""
        wanted = [*self.base_scopes, *(s for name in features for s in self.features[name])]
        return tuple(dict.fromkeys(wanted))

    def covers(self, granted: Collection[str], wanted: Collection[str]) -> bool:
        """Tell whether the granted scopes allow all that is wanted."""
        held = {*granted, *(s for scope in granted for s in self.implied.get(scope, ()))}
        return held.issuperset(wanted)

    def feature_of(self, wanted: Collection[str]) -> str:
        """Return the narrowest feature that gives these scopes, else those they hold, by commas."""
        fitting = [n for n, s in self.features.items() if wanted and self.covers(s, wanted)]
        held = ",".join(n for n, s in self.features.items() if self.covers(wanted, s))
        return min(fitting, key=lambda name: len(self.features[name]), default=held)

    def login_path(self, wanted: Collection[str] = ()) -> str:
        """Return the path at which a user links an account for these scopes."""
        feature = self.feature_of(wanted)
        query = {} if self.login else {"provider": self.slug}
        query |= {"feature": feature} if feature else {}
        asked = f"?{urlencode(query, safe=',')}" if query else ""
        return (self.login or "/oauth_google/login") + asked


@dataclass(frozen=True, slots=True)
class Client:
    """What the operator registered with a provider."""

    id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request to send; it holds secrets and shows none. At most one of `form` and `json`."""

    url: str
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)
    json: Mapping[str, str] | None = field(default=None, repr=False)
    idempotent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What was granted. `expires_at` is None for an access token that does not end."""

    access: str = field(repr=False)
    refresh: str = field(default="", repr=False)
    expires_at: dt.datetime | None = None
    scopes: Scopes = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """Whose account it is: the provider's stable id, and what the user knows it by."""

    id: str
    label: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a flow ended without an account: a stable code, and a sentence for the user.

    `uid` is whose flow it was, "" where that is unknown.
    """

    code: str
    message: str
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The token endpoint's no: whose fault it is, and the provider's word for it."""

    reason: Reason
    error: str


def challenge(verifier: str) -> str:
    """Return the PKCE challenge (S256) of a verifier."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def authorize_url(
    provider: Provider,
    client: Client,
    *,
    state: str,
    verifier: str,
    scopes: Scopes,
    redirect_uri: str,
    hint: Mapping[str, str] | None = None,
) -> str:
    """Return where the browser asks the user; `hint` adds to the provider's own parameters."""
    query = {
        "client_id": client.id, "redirect_uri": redirect_uri, "response_type": "code",
        "state": state, **provider.extra, **(hint or {}),
    }  # fmt: skip
    if scopes:
        query[provider.scope_field] = provider.scope_separator.join(scopes)
    if provider.pkce:
        query |= {"code_challenge": challenge(verifier), "code_challenge_method": "S256"}
    return f"{provider.authorize_url}?{urlencode({k: v for k, v in query.items() if v})}"


def exchange(
    provider: Provider, client: Client, *, code: str, verifier: str, redirect_uri: str
) -> Request:
    """Return the request that turns a code into tokens; sent once, for codes work once."""
    fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
    if provider.pkce:
        fields["code_verifier"] = verifier
    return _token_request(provider, client, fields)


def refresh(provider: Provider, client: Client, token: str) -> Request:
    """Return the request for a new access token."""
    fields = {"grant_type": "refresh_token", "refresh_token": token}
    # Where refresh tokens work once, an attempt that timed out may have used it up.
    return _token_request(provider, client, fields, idempotent=provider.retries_refresh)


def profile_request(provider: Provider, access: str) -> Request:
    """Return the request that tells whose account a token opens."""
    headers = {"Authorization": f"Bearer {access}", "Accept": "application/json"}
    return Request(url=provider.profile_url, method="GET", headers=headers, idempotent=True)


def revoke(provider: Provider, client: Client, tokens: Tokens) -> Request | None:
    """Return the request that takes the grant back; None where the provider has none."""
    how = provider.revoke
    if how is None:
        return None
    token = tokens.refresh or tokens.access
    url = how.url.replace("{client_id}", client.id)
    if how.carries == "bearer":
        headers = {"Authorization": f"Bearer {tokens.access}"}
        return Request(url=url, method=how.method, headers=headers, idempotent=True)
    if how.carries == "form":
        fields = {how.field: token, "client_id": client.id, "client_secret": client.secret}
        return Request(url=url, method=how.method, form=fields, idempotent=True)
    return Request(
        url=url, method=how.method, headers={**_basic(client), "Accept": "application/json"},
        json={how.field: tokens.access}, idempotent=True,
    )  # fmt: skip


def read_tokens(
    provider: Provider, status: int, body: Any, *, asked: Scopes, sent_at: dt.datetime
) -> Tokens | Refused:
    """Read the token endpoint's answer; a scope list left out means that all was granted.

    Lifetimes count from when the request was sent, so that a slow answer never stretches them.
    """
    if not isinstance(body, Mapping):
        return Refused("transient" if status >= 500 else "refused", "unreadable")
    error = body.get("error")
    if status >= 400 or error or body.get("ok") is False:
        return _refused(status, error)
    grant = at(body, provider.grant_at) if provider.grant_at else body
    access = grant.get("access_token") if isinstance(grant, Mapping) else None
    if not isinstance(access, str) or not access:
        return Refused("refused", "no_token")
    refresh_token = grant.get("refresh_token")
    return Tokens(
        access=access,
        refresh=refresh_token if isinstance(refresh_token, str) else "",
        expires_at=_expiry(grant.get("expires_in"), sent_at),
        scopes=_scopes(provider, grant.get("scope"), asked),
    )


def read_profile(provider: Provider, body: Any) -> Profile | None:
    """Read whose account it is; None where the answer does not say."""
    parts = [at(body, path) for path in provider.id_at]
    if not all(isinstance(part, str | int) and str(part) for part in parts):
        return None
    key = "-".join(str(part) for part in parts)
    labels = (at(body, path) for path in provider.label_at)
    label = next((text for text in labels if isinstance(text, str) and text.strip()), key)
    return Profile(key, " ".join(label.split())[:100])


def at(body: Any, path: str) -> Any:
    """Return what a dotted path reaches in nested mappings, None where it leads nowhere."""
    for name in path.split("."):
        body = body.get(name) if isinstance(body, Mapping) else None
    return body


def _token_request(
    provider: Provider, client: Client, fields: dict[str, str], *, idempotent: bool = False
) -> Request:
    headers = {"Accept": "application/json"}
    if provider.basic:
        headers |= _basic(client)
    else:
        fields |= {"client_id": client.id, "client_secret": client.secret}
    return Request(
        url=provider.token_url,
        headers=headers,
        form=None if provider.json else fields,
        json=fields if provider.json else None,
        idempotent=idempotent,
    )


def _basic(client: Client) -> dict[str, str]:
    pair = base64.b64encode(f"{client.id}:{client.secret}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def _refused(status: int, error: Any) -> Refused:
    word = error if isinstance(error, str) else "unnamed"
    if word in _GRANT:
        return Refused("grant", word)
    if word in _CLIENT or (status == 401 and word == "unnamed"):
        return Refused("client", word)
    if word in _TRANSIENT or status >= 500 or status in (408, 429):
        return Refused("transient", word)
    return Refused("refused", word)


def _expiry(seconds: Any, sent_at: dt.datetime) -> dt.datetime | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float | str):
        return None
    try:
        return sent_at + dt.timedelta(seconds=min(max(0.0, float(seconds)), 366 * 86_400.0))
    except ValueError:
        return None


def _scopes(provider: Provider, granted: Any, asked: Scopes) -> Scopes:
    if not isinstance(granted, str):
        return tuple(sorted(asked))
    separated = granted.replace(provider.scope_separator, " ").replace(",", " ")
    return tuple(sorted(set(separated.split())))
