"""A simulator of Google for one person, on loopback: sign-in, tokens, and what they open.

The consent page works in a browser (#allow, #deny, a box for each permission); tests without one
call `consent`. Tokens are checked as Google does: PKCE, codes that work once, scopes, expiry,
revocation. `fail` makes the next answers of a path fail; `asked` lists `METHOD host/path`::

    with Google() as google:
        environ = {**google.settings, "ODAI_EGRESS_MAP": google.egress_map}
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from aiohttp import web

from tests.fakes.google_workspace import Workspace, api_error
from tests.fakes.served import Served

HOSTS = (
    "accounts.google.com", "oauth2.googleapis.com", "openidconnect.googleapis.com",
    "gmail.googleapis.com", "www.googleapis.com", "docs.googleapis.com", "sheets.googleapis.com",
    "people.googleapis.com", "tasks.googleapis.com",
)  # fmt: skip
CLIENT_ID, CLIENT_SECRET = "client-of-a-test.apps.googleusercontent.com", "secret-of-a-test"
CALLBACK = "/auth/google/callback"
IDENTITY = {"openid": "openid", "email": "userinfo.email", "profile": "userinfo.profile"}
SCOPE = "https://www.googleapis.com/auth/"


@dataclass
class Grant:
    """What one consent allowed."""

    sub: str
    scopes: list[str]
    refresh: str = ""
    live: bool = True


@dataclass
class Code:
    """An authorization code before it is exchanged."""

    grant: Grant
    challenge: str
    redirect_uri: str
    used: bool = False


@dataclass
class Failure:
    """What a path answers instead; with `hang`, nothing until the server ends."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False


class Google(Served):
    """The server, in a thread of its own. Change its attributes to change its behaviour."""

    def __init__(self) -> None:
        self.accounts = {"ada": "108000000000000000001", "work": "108000000000000000002"}
        self.lifetime_s = 3599
        self.rotates = False
        self.gives_refresh_token = True
        self.asked: list[str] = []
        self.codes: dict[str, Code] = {}
        self.refresh_tokens: dict[str, Grant] = {}
        self.access_tokens: dict[str, tuple[Grant, float]] = {}
        self.workspace = Workspace(self._refusal)
        self._failures: dict[str, list[Failure]] = defaultdict(list)
        self._released = threading.Event()

    # --- for tests ------------------------------------------------------------------------------

    @property
    def egress_map(self) -> str:
        """Return the value of ODAI_EGRESS_MAP that sends Google's hosts here."""
        return ",".join(f"{host}={self.origin}" for host in HOSTS)

    @property
    def settings(self) -> dict[str, str]:
        """Return the settings of a server that uses this Google."""
        return {"GOOGLE_CLIENT_ID": CLIENT_ID, "GOOGLE_CLIENT_SECRET": CLIENT_SECRET,
                "ODAI_EGRESS_MAP": self.egress_map}  # fmt: skip

    @property
    def sent(self) -> list[dict[str, Any]]:
        """Return the bodies of the mails sent."""
        return self.workspace.sent

    def fail(self, path: str, *failures: Failure) -> None:
        """Answer the next requests to `path` with these, one each."""
        self._failures[path].extend(failures)

    def count(self, what: str) -> int:
        """Return how often `METHOD host/path` was asked."""
        return self.asked.count(what)

    def consent(self, url: str, *, account: str = "ada", without: Collection[str] = ()) -> str:
        """Allow what an authorization URL asks for, but `without` some scopes; return the way back.

        The address is the callback's, as the browser would be sent to it.
        """
        query = dict(parse_qsl(urlsplit(url).query))
        assert not (problem := _problem(query)), problem
        allowed = [s for s in query["scope"].split() if s not in without]
        return self._allowed(query, account, allowed)

    def deny(self, url: str) -> str:
        """Refuse what an authorization URL asks for; return the way back."""
        return _denied(dict(parse_qsl(urlsplit(url).query)))

    def expire_access(self) -> None:
        """Let every access token end now."""
        self.access_tokens = {t: (grant, 0.0) for t, (grant, _) in self.access_tokens.items()}

    def withdraw(self) -> None:
        """Take every permission back, as the account's owner can at any time."""
        for grant in self.refresh_tokens.values():
            grant.live = False

    def __exit__(self, kind: object, err: BaseException | None, trace: object) -> None:
        self._released.set()
        super().__exit__(kind, err, trace)

    # --- sign-in --------------------------------------------------------------------------------

    async def _authorize(self, request: web.Request) -> web.Response:
        query = dict(request.query)
        if problem := _problem(query):
            return _page(f"<h1>Error 400: {problem}</h1>", status=400)
        boxes = "".join(
            f'<p><label><input type="checkbox" name="scope" value="{html.escape(scope)}" checked> '
            f"{html.escape(scope)}</label></p>"
            for scope in query["scope"].split()
            if scope not in IDENTITY
        )
        kept = "".join(
            f'<input type="hidden" name="{html.escape(k)}" value="{html.escape(v)}">'
            for k, v in query.items()
            if k != "scope"
        )
        accounts = "".join(f"<option>{name}</option>" for name in self.accounts)
        return _page(
            "<h1>Simulated Google: an app wants access to your account</h1>"
            f'<form method="post" action="/o/oauth2/v2/decide">{kept}{boxes}'
            f'<select name="account">{accounts}</select>'
            '<button id="deny" name="decision" value="deny">Deny</button>'
            '<button id="allow" name="decision" value="allow">Allow</button></form>'
        )

    async def _decide(self, request: web.Request) -> web.Response:
        form = await request.post()
        query = {k: str(v) for k, v in form.items() if k not in ("scope", "account", "decision")}
        if form.get("decision") != "allow":
            raise web.HTTPFound(_denied(query))
        scopes = [*IDENTITY, *(str(scope) for scope in form.getall("scope", []))]
        raise web.HTTPFound(self._allowed(query, str(form["account"]), scopes))

    def _allowed(self, query: Mapping[str, str], account: str, scopes: list[str]) -> str:
        named = [f"{SCOPE}{IDENTITY[s]}" if s in ("email", "profile") else s for s in scopes]
        sub = self.accounts[account]
        if query.get("include_granted_scopes") == "true":
            earlier = [g.scopes for g in self.refresh_tokens.values() if g.live and g.sub == sub]
            named = [*named, *(s for each in earlier for s in each)]
        # Granted scopes come back in another order than asked for.
        grant = Grant(sub, sorted(set(named), reverse=True))
        if self.gives_refresh_token and "consent" in query.get("prompt", ""):
            grant.refresh = f"1//0e{secrets.token_urlsafe(24)}"
        code = f"4/0A{secrets.token_urlsafe(24)}"
        self.codes[code] = Code(grant, query["code_challenge"], query["redirect_uri"])
        back = {"state": query["state"], "code": code, "scope": " ".join(grant.scopes),
                "authuser": "0", "prompt": "consent"}  # fmt: skip
        return f"{query['redirect_uri']}?{urlencode(back)}"

    async def _token(self, request: web.Request) -> web.Response:
        form = {k: str(v) for k, v in (await request.post()).items()}
        if form.get("client_id") != CLIENT_ID or form.get("client_secret") != CLIENT_SECRET:
            return _oauth_error("invalid_client", "Unauthorized", status=401)
        if form.get("grant_type") == "authorization_code":
            return self._exchange(form)
        if form.get("grant_type") == "refresh_token":
            return self._refresh(form)
        return _oauth_error("unsupported_grant_type", "Invalid grant_type")

    def _exchange(self, form: Mapping[str, str]) -> web.Response:
        code = self.codes.get(form.get("code", ""))
        if code is None or code.used:
            return _oauth_error("invalid_grant", "Bad Request")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != code.challenge:
            return _oauth_error("invalid_grant", "Invalid code verifier.")
        if form.get("redirect_uri") != code.redirect_uri:
            return _oauth_error("redirect_uri_mismatch", "Bad Request")
        code.used = True
        answer = self._granted(code.grant)
        if code.grant.refresh:
            self.refresh_tokens[code.grant.refresh] = code.grant
            answer["refresh_token"] = code.grant.refresh
        return web.json_response(answer)

    def _refresh(self, form: Mapping[str, str]) -> web.Response:
        grant = self.refresh_tokens.get(form.get("refresh_token", ""))
        if grant is None or not grant.live:
            return _oauth_error("invalid_grant", "Token has been expired or revoked.")
        answer = self._granted(grant)
        if self.rotates:
            del self.refresh_tokens[form["refresh_token"]]
            grant.refresh = answer["refresh_token"] = f"1//0e{secrets.token_urlsafe(24)}"
            self.refresh_tokens[grant.refresh] = grant
        return web.json_response(answer)

    def _granted(self, grant: Grant) -> dict[str, Any]:
        token = f"ya29.{secrets.token_urlsafe(24)}"
        self.access_tokens[token] = (grant, time.time() + self.lifetime_s)
        return {"access_token": token, "expires_in": self.lifetime_s,
                "scope": " ".join(grant.scopes), "token_type": "Bearer",
                "id_token": "eyJ.EXAMPLE.x"}  # fmt: skip

    async def _revoke(self, request: web.Request) -> web.Response:
        token = str((await request.post()).get("token", ""))
        grant = self.refresh_tokens.get(token)
        if grant is None and token in self.access_tokens:
            grant = self.access_tokens[token][0]
        if grant is None or not grant.live:
            return web.json_response({"error": "invalid_token"}, status=400)
        for each in [*self.refresh_tokens.values(), *(g for g, _ in self.access_tokens.values())]:
            if each.sub == grant.sub:  # the whole grant of the account ends
                each.live = False
        return web.Response()

    async def _userinfo(self, request: web.Request) -> web.Response:
        grant = self._holder(request)
        if grant is None or "openid" not in grant.scopes:
            return api_error(401, "UNAUTHENTICATED", "Invalid Credentials")
        name = next(name for name, sub in self.accounts.items() if sub == grant.sub)
        return web.json_response({
            "sub": grant.sub, "name": f"{name.title()} Example", "given_name": name.title(),
            "email": f"{name}@example.com", "email_verified": True,
        })  # fmt: skip

    # --- the services ---------------------------------------------------------------------------

    def _holder(self, request: web.Request) -> Grant | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        grant, until = self.access_tokens.get(token, (None, 0.0))
        return grant if grant and grant.live and until > time.time() else None

    def _refusal(self, request: web.Request, *scopes: str) -> web.Response | None:
        grant = self._holder(request)
        if grant is None:
            return api_error(401, "UNAUTHENTICATED", "Invalid Credentials")
        if not {f"{SCOPE}{scope}" for scope in scopes} & set(grant.scopes):
            return api_error(403, "PERMISSION_DENIED", "Insufficient Permission",
                              reason="insufficientPermissions")  # fmt: skip
        return None

    # --- the server -----------------------------------------------------------------------------

    @web.middleware
    async def _arrived(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.host}{request.path}")
        if failures := self._failures[request.path]:
            failure = failures.pop(0)
            if failure.hang:
                await asyncio.get_running_loop().run_in_executor(None, self._released.wait)
            return web.json_response(failure.body, status=failure.status, headers=failure.headers)
        answer: web.StreamResponse = await handler(request)
        return answer

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._arrived])
        routes = app.router
        routes.add_get("/o/oauth2/v2/auth", self._authorize)
        routes.add_post("/o/oauth2/v2/decide", self._decide)
        routes.add_post("/token", self._token)
        routes.add_post("/revoke", self._revoke)
        routes.add_get("/v1/userinfo", self._userinfo)
        self.workspace.routes(app)
        return app


def _problem(query: Mapping[str, str]) -> str:
    """Return why Google would show its own error page, "" where it would ask the user."""
    back = urlsplit(query.get("redirect_uri", ""))
    if query.get("client_id") != CLIENT_ID:
        return "invalid_client"
    if back.path != CALLBACK or back.hostname not in ("127.0.0.1", "localhost"):
        return "redirect_uri_mismatch"
    if query.get("response_type") != "code" or not query.get("scope") or not query.get("state"):
        return "invalid_request"
    if query.get("code_challenge_method") != "S256" or not query.get("code_challenge"):
        return "invalid_request"
    return ""


def _denied(query: Mapping[str, str]) -> str:
    back = {"error": "access_denied", "state": query["state"]}
    return f"{query['redirect_uri']}?{urlencode(back)}"


def _page(body: str, *, status: int = 200) -> web.Response:
    text = f"<!doctype html><meta charset=utf-8><title>Sign in (simulated)</title>{body}"
    return web.Response(text=text, content_type="text/html", status=status)


def _oauth_error(error: str, description: str, *, status: int = 400) -> web.Response:
    return web.json_response({"error": error, "error_description": description}, status=status)
