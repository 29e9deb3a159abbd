"""The pages of `plaid_link`, at `/auth/plaid/…` as in the original backend, and at its own path.

    GET  /info                    what is linked, and where (no token is ever in an answer)
    GET  /login                   a page of Plaid's own, where a bank is linked: {"url"}; without a
                                  token back to the client. ?item_id= mends that link, ?next=/…
    POST /create_link_token       {"item_id"?, "hosted"?} → what Plaid Link opens with
    POST /set_access_token        public_token (form or JSON) → the linked bank
    GET  /accounts                the linked banks
    DELETE /accounts/{id}         ends a link, by its own id or an account's, at Plaid too
    POST /webhook                 from Plaid, signed

Users prove themselves by their token, Plaid by its signature.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Protocol
from urllib.parse import unquote

from flask import Request, Response, jsonify, redirect

from common.assistant.audit import Audit
from common.documents import Clock
from common.errors import InvalidInput, NotAllowed, NotAuthenticated, NotFound
from common.events.facts import AccountLinked, Analytics
from common.identity import Identity
from common.identity.members import Members
from common.plaid_items import Bank, Banks, WebhookKeys, check_webhook
from common.settings import Settings
from common.web.audited import audited
from common.web.edge import json_body
from common.web.endpoint import EndpointServices, signed_in
from common.web.routes import tail

_LONGEST = 200


class BankServices(EndpointServices, Protocol):
    """What these pages need of the composition root."""

    clock: Clock
    settings: Settings

    @property
    def analytics(self) -> Analytics: ...

    @property
    def audit(self) -> Audit: ...

    @property
    def banks(self) -> Banks: ...

    @property
    def bank_webhook_keys(self) -> WebhookKeys: ...

    @property
    def members(self) -> Members: ...


def answer(request: Request, services: BankServices) -> Response:
    """Answer one request, wherever the function is mounted."""
    path = tail(request.path, "/auth/plaid", "/plaid_link")
    if path == "/webhook" and request.method == "POST":
        return _webhook(request, services)
    match request.method, path:
        case "GET" | "POST", "/info":
            return _info(_user(request, services), services)
        case "GET", "/login":
            return _login(request, services)
        case "POST", "/create_link_token":
            return _create_link_token(request, _user(request, services), services)
        case "POST", "/set_access_token":
            return _set_access_token(request, _user(request, services), services)
        case "GET", "/accounts":
            return _accounts(_user(request, services), services)
        case "DELETE", _ if path.startswith("/accounts/"):
            which = unquote(path.removeprefix("/accounts/"))
            return _remove(which, _user(request, services), services)
    raise NotFound("There is no such page.")


def _user(request: Request, services: BankServices) -> Identity:
    identity = signed_in(request, services)
    if identity.anonymous:
        raise NotAllowed("Sign in with an account to connect a bank.")
    services.loop.run(services.members.admit(identity))
    return identity


def _info(user: Identity, services: BankServices) -> Response:
    banks = services.loop.run(services.banks.listed(user.uid))
    return jsonify(
        environment=services.banks.api.environment,
        products=["transactions"],
        item_id=banks[0].id if banks else None,
        items=[_shown(bank) for bank in banks],
    )


def _login(request: Request, services: BankServices) -> Response:
    """Begin consent for a client that shows a button: it asks in the user's name, then goes there.

    Somebody who just followed the address is sent to the client, which knows who they are.
    """
    home = services.settings.base_url
    if not request.headers.get("Authorization"):
        return redirect(f"{home}/?link=plaid")  # type: ignore[return-value]
    user = _user(request, services)
    from common.oauth.states import redirect_target  # cold start: no other page here needs it

    origins = services.settings.allowed_origins
    back = redirect_target(request.args.get("next", ""), home=home, origins=origins)
    if back is None:
        raise InvalidInput("next must be a path of this site or an address of an allowed one.")
    repair = _item_id(request.args.get("item_id"))
    link = services.loop.run(services.banks.link(user.uid, repair=repair, hosted=True, back=back))
    return jsonify(url=link.url, expires_at=link.expires_at)


def _create_link_token(request: Request, user: Identity, services: BankServices) -> Response:
    given = _fields(request)
    repair, hosted = _item_id(given.get("item_id")), given.get("hosted") in (True, "true", "1")
    link = services.loop.run(services.banks.link(user.uid, repair=repair, hosted=hosted))
    shown = {"link_token": link.token, "expiration": link.expires_at}
    return jsonify(shown | ({"hosted_link_url": link.url} if link.url else {}))


def _set_access_token(request: Request, user: Identity, services: BankServices) -> Response:
    token = _fields(request).get("public_token")
    if not isinstance(token, str) or not 0 < len(token) <= _LONGEST:
        raise InvalidInput("public_token must be the one that Plaid Link returned.")
    with audited(services.loop, services.audit, user.uid, "link_bank"):
        bank = services.loop.run(services.banks.exchange(user.uid, token))
    services.analytics.emit(AccountLinked("plaid"), uid=user.uid, key=bank.id)
    services.loop.run(services.analytics.flush(1.0))
    return jsonify(success=True, item_id=bank.id, bank=_shown(bank))


def _accounts(user: Identity, services: BankServices) -> Response:
    banks = services.loop.run(services.banks.listed(user.uid))
    return jsonify(accounts=[_shown(bank) for bank in banks])


def _remove(which: str, user: Identity, services: BankServices) -> Response:
    if not 0 < len(which) <= _LONGEST:
        raise NotFound("There is no such bank account. List them first.")
    with audited(services.loop, services.audit, user.uid, "unlink_bank"):
        bank = services.loop.run(services.banks.remove(user.uid, which))
    gone = [account["account_id"] for account in bank.accounts]
    return jsonify(success=True, item_id=bank.id, account_ids=gone)


def _webhook(request: Request, services: BankServices) -> Response:
    """Hear Plaid: refused ones are 401, whatever was understood is 200 and not sent again."""
    loop, audit = services.loop, services.audit
    token = request.headers.get("Plaid-Verification")
    try:
        event = loop.run(check_webhook(
            token, request.get_data(), keys=services.bank_webhook_keys, clock=services.clock,
        ))  # fmt: skip
    except NotAuthenticated as err:
        loop.run(audit.refused("plaid_webhook", err.code))
        raise
    owner = loop.run(services.banks.session_owner(event))
    noted = audited(loop, audit, owner, "link_bank") if owner else nullcontext()
    with noted:
        outcome = loop.run(services.banks.heard(event))
    if outcome == "unknown_item":
        loop.run(audit.refused("plaid_webhook", outcome))
    return jsonify(ok=True, outcome=outcome)


def _fields(request: Request) -> dict[str, Any]:
    """Return the fields of a JSON object or, as the original's clients send them, of a form."""
    return json_body(request) if request.is_json and request.get_data() else request.form.to_dict()


def _item_id(given: Any) -> str:
    if given is not None and (not isinstance(given, str) or len(given) > _LONGEST):
        raise InvalidInput("item_id must be the id of a linked bank.")
    return given or ""


def _shown(bank: Bank) -> dict[str, Any]:
    """Return a bank with the original's names for its parts, and ours."""
    return {
        "id": bank.id,
        "bank_name": bank.institution,
        "mask": [{"name": a.get("name"), "mask": a.get("mask")} for a in bank.accounts],
        "accounts": [dict(account) for account in bank.accounts],
        "status": bank.status,
        "linked_at": bank.linked_at.isoformat(),
        "synced_at": bank.synced_at.isoformat() if bank.synced_at else None,
        "used_at": bank.used_at.isoformat() if bank.used_at else None,
    }
