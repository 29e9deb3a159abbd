"""The pages of linking accounts, for the function `oauth_google`.

    GET    /login            Bearer: JSON {url} and the flow's cookie, for the client to go there.
                             ?ticket=: the same by navigation. Neither: back to the client, to ask.
                             ?provider=google &feature=mail,calendar &next=/… &account=google:…
    GET    /callback         the provider sends the browser back; always ends in a redirect
    POST   /ticket           Bearer: a one-time ticket for /login in another browser
    GET    /accounts         Bearer: the linked accounts, no secrets
    DELETE /accounts/{id}    Bearer: revokes at the provider, then forgets
    POST   /access_request   Bearer: asks for early access to Google

A flow ends at `next` with `?linked=<provider>` (and `link_missing=<features>`) or
`?link_error=<code>&link_message=<sentence>`; neither a token, a code nor a state is ever in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol, TypeAlias

from flask import Request, Response, jsonify, redirect
from markupsafe import escape

from common.documents import Clock
from common.errors import InvalidInput, NotAllowed, NotAuthenticated, NotFound, OdaiError
from common.events.facts import AccountLinked, Analytics
from common.identity import Identity, Tickets
from common.identity.members import Members
from common.log import get_logger
from common.oauth import Account, Failed, Finished, LinkedAccounts, Links, Started
from common.oauth.links import GONE
from common.oauth.states import TTL_S, Cookie, with_query
from common.settings import Settings
from common.store import Merge, Store
from common.vault import Vault
from common.web.edge import json_body
from common.web.endpoint import EndpointServices, signed_in

log = get_logger(__name__)

_PREFIX = re.compile(r"/(?:oauth_google|auth/google)(?=/)|/google_(?=access_request\Z)")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}\Z")
_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
)
_CONFIRM = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Connect {service}</title>
<meta name="viewport" content="width=device-width"><style>
body{{font:1rem/1.5 system-ui;max-width:32rem;margin:20vh auto;padding:0 1rem}}
a{{display:inline-block;padding:.6rem 1.2rem;border-radius:.5rem;background:#174ea6;color:#fff}}
</style><h1>Connect {service}</h1>
<p>This connects your {service} account to the assistant of <strong>{name}</strong>. If that is not
you, close this page: whoever sent you here would read your data.</p>
<p><a id="continue" href="{url}">Continue to {service}</a></p></html>"""


class Trail(Protocol):
    """The part of the audit trail that these pages write."""

    async def begin(self, uid: str, what: str, *, details: str = "", by: str = "user") -> str: ...

    async def complete(self, row: str, status: str) -> None: ...

    async def refused(self, what: str, reason: str) -> None: ...


class LinkServices(EndpointServices, Protocol):
    """What these pages need of the composition root."""

    settings: Settings
    clock: Clock

    @property
    def analytics(self) -> Analytics: ...

    @property
    def audit(self) -> Trail: ...

    @property
    def links(self) -> Links: ...

    @property
    def linked(self) -> LinkedAccounts: ...

    @property
    def members(self) -> Members: ...

    @property
    def tickets(self) -> Tickets: ...

    @property
    def store(self) -> Store: ...

    @property
    def vault(self) -> Vault: ...


Page: TypeAlias = Callable[[Request, LinkServices], Response]


def serve(request: Request, services: LinkServices) -> Response:
    """Answer one request, whichever of its paths it came by."""
    path = _PREFIX.sub("/", request.path, count=1).replace("//", "/").rstrip("/")
    page = _PAGES.get((request.method, path))
    if page is None and request.method == "DELETE" and path.startswith("/accounts/"):
        page = _unlink
    if page is None:
        raise NotFound("There is no such page.")
    response = page(request, services)
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


# --- linking ------------------------------------------------------------------------------------


def _login(request: Request, services: LinkServices) -> Response:
    if request.headers.get("Authorization"):
        started = _start(_admitted(request, services), request.args, services)
        return _with_cookie(jsonify(url=started.url), started.cookie)
    if "ticket" not in request.args:
        return _ask_client(request, services)
    try:
        ticket = request.args["ticket"]
        redeemed = services.loop.run(services.tickets.redeem(ticket, purpose="link"))
        services.loop.run(services.members.admit(redeemed.identity))
        started = _start(redeemed.identity, request.args, services)
    except OdaiError as err:
        if isinstance(err, NotAuthenticated):
            services.loop.run(services.audit.refused("link account", "ticket_refused"))
        return _back(f"{services.settings.base_url}/", err.code, str(err))
    if request.headers.get("Sec-Fetch-Site") == "same-origin":
        response = redirect(started.url)
    else:
        # A link can be sent to anybody: they learn first whose assistant their account would join.
        response = _confirm(started, redeemed.identity)
    return _with_cookie(response, started.cookie)  # type: ignore[arg-type]


def _start(identity: Identity, query: Mapping[str, str], services: LinkServices) -> Started:
    if identity.anonymous:
        raise NotAllowed("Sign in with an account of your own before you connect another one.")
    features = [name for name in query.get("feature", "").split(",") if name]
    begun = services.links.begin(
        identity.uid,
        provider=query.get("provider", "google"),
        features=features,
        redirect=query.get("next", ""),
        account=query.get("account", ""),
    )
    return services.loop.run(begun)


def _ask_client(request: Request, services: LinkServices) -> Response:
    """Send somebody who just followed a link to the client, which knows who they are."""
    wanted = {name: request.args.get(name, "") for name in ("feature", "account", "next")}
    home = with_query(
        f"{services.settings.base_url}/", link=request.args.get("provider", "google"), **wanted
    )
    return redirect(home)  # type: ignore[return-value]


def _confirm(started: Started, identity: Identity) -> Response:
    name = identity.name or identity.email or identity.uid
    service = started.provider.name
    page = _CONFIRM.format(service=escape(service), name=escape(name), url=escape(started.url))
    response = Response(page, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _PAGE_POLICY
    return response


def _callback(request: Request, services: LinkServices) -> Response:
    # Whatever happens here, a person with a browser is waiting: they get a page, never a status.
    try:
        finished = services.loop.run(
            _finish(services, request.args.to_dict(), dict(request.cookies)), timeout=50.0
        )
    except OdaiError as err:
        return _broken(services, err.code, str(err))
    except Exception:
        log.exception("linking failed")
        return _broken(services, "unexpected", "Connecting the account failed. Start again.")
    if isinstance(finished.result, Failed):
        return _back(finished.redirect, finished.result.code, finished.result.message)
    done = with_query(
        finished.redirect, linked=finished.provider, link_missing=",".join(finished.missing)
    )
    return redirect(done)  # type: ignore[return-value]


async def _finish(
    services: LinkServices, query: Mapping[str, str], cookies: Mapping[str, str]
) -> Finished:
    """Finish the flow, with one row in the audit trail about how it ended."""
    finished = await services.links.finish(query, cookies)
    result = finished.result
    what = f"link {finished.provider or 'account'}"
    if isinstance(result, Failed) and (not finished.uid or result.code == GONE):
        await services.audit.refused(what, result.code)  # sealed for nobody
        return finished
    details = result.id if isinstance(result, Account) else ""
    status = "partial" if finished.missing else "done"
    row = await services.audit.begin(finished.uid, what, details=details)
    await services.audit.complete(row, result.code if isinstance(result, Failed) else status)
    if isinstance(result, Account):
        services.analytics.emit(AccountLinked(finished.provider), uid=finished.uid, key=row)
        await services.analytics.flush(1.0)
    return finished


def _broken(services: LinkServices, code: str, message: str) -> Response:
    """Answer a callback that broke off; where the store is what broke, it is in the log alone."""
    with suppress(OdaiError):
        services.loop.run(services.audit.refused("link account", code))
    return _back(f"{services.settings.base_url}/", code, message)


def _back(address: str, code: str, message: str) -> Response:
    told = with_query(address, link_error=code, link_message=message)
    return redirect(told)  # type: ignore[return-value]


def _with_cookie(response: Response, cookie: Cookie) -> Response:
    # Lax: the provider's redirect back is a navigation from another site, and must carry it.
    response.set_cookie(
        cookie.name, cookie.value, max_age=TTL_S, path="/", secure=cookie.secure, httponly=True,
        samesite="Lax",
    )  # fmt: skip
    return response


# --- what is linked -----------------------------------------------------------------------------


def _ticket(request: Request, services: LinkServices) -> Response:
    identity = _admitted(request, services)
    made = services.loop.run(services.tickets.mint(identity, purpose="link"))
    return jsonify(ticket=made, expires_in=60)


def _accounts(request: Request, services: LinkServices) -> Response:
    identity = _admitted(request, services, terms=False)
    accounts = services.loop.run(services.linked.of(identity.uid))
    return jsonify(accounts=[_shown(account) for account in accounts])


def _shown(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "provider": account.provider,
        "label": account.label,
        "scopes": list(account.scopes),
        "status": account.status,
        "linked_at": account.linked_at.isoformat(),
        "used_at": account.used_at.isoformat() if account.used_at else None,
    }


def _unlink(request: Request, services: LinkServices) -> Response:
    identity = _admitted(request, services, terms=False)
    account_id = request.path.rstrip("/").rpartition("/")[2]
    services.loop.run(_unlinked(services, identity.uid, account_id))
    return Response(status=204)


async def _unlinked(services: LinkServices, uid: str, account_id: str) -> None:
    row = await services.audit.begin(uid, "unlink account", details=account_id[:160])
    status = "unknown"
    try:
        await services.links.unlink(uid, account_id)
        status = "done"
    except OdaiError as err:
        status = err.code
        raise
    finally:
        await services.audit.complete(row, status)


def _admitted(request: Request, services: LinkServices, *, terms: bool = True) -> Identity:
    """Return the user; what is linked may be seen and ended without accepting new terms."""
    identity = signed_in(request, services)
    services.loop.run(services.members.admit(identity, terms=terms))
    return identity


def _request_access(request: Request, services: LinkServices) -> Response:
    """Note that a user would like to connect Google while its access is limited to testers."""
    identity = _admitted(request, services)
    body = json_body(request) if request.get_data(cache=True) else {}
    email = str(body.get("email") or identity.email or "").strip()
    if not _EMAIL.match(email):
        raise InvalidInput("email must be the address of the Google account.")
    services.loop.run(_requested(services, identity.uid, email))
    return jsonify(ok=True)


async def _requested(services: LinkServices, uid: str, email: str) -> None:
    path = f"access_requests/{uid}"
    sealer = await services.vault.open(uid)
    sealed = sealer.seal(path, "email", email.encode())
    row = await services.audit.begin(uid, "request google access")
    asked = {"uid": uid, "email": sealed, "provider": "google", "requested_at": services.clock()}
    await services.store.commit(Merge(path, asked))
    await services.audit.complete(row, "done")


_PAGES: dict[tuple[str, str], Page] = {
    ("GET", "/login"): _login,
    ("GET", "/callback"): _callback,
    ("GET", "/accounts"): _accounts,
    ("POST", "/ticket"): _ticket,
    ("POST", "/access_request"): _request_access,
}
