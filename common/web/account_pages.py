"""The pages of `account`, below `/account`; `/waitlist` and `/email` as in the original backend.

    GET    /              sign-up state: terms, phone, PIN
    GET    /terms         the present version and whether it is accepted; POST {"version"} accepts
    POST   /phone         {"number"}: sends a code; POST /phone/verify {"code"}; DELETE /phone
    POST   /pin           {"pin"}: sets the PIN for voice
    GET    /integrations  every service, whether it is on, and what the user has linked
    GET    /connections   what can be connected, what it would allow, and what is connected
    POST   /tickets       a one-time ticket for a chat socket, as the container makes them
    GET    /export        a zip of all that is the user's
    DELETE /              {"confirm": true, "force"?}: deletes the user
    GET    /update_integrations   the original's: writes `integrations/{slug}` anew; no sign-in
    POST   /waitlist, /email   an e-mail address, form or JSON; no sign-in

A deletion revokes, shreds, removes and buries, in this order; where it broke off it goes on
when it is asked for again.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from flask import Request, Response, jsonify

from common.assistant.audit import Audit
from common.documents import Clock
from common.errors import Conflict, InvalidInput, NotAllowed, NotFound, OdaiError, VendorUnavailable
from common.identity import Identity, Tickets
from common.identity.members import TERMS, Member, Members
from common.identity.texts import NEEDED as TEXTS_NEED
from common.log import get_logger
from common.store import Create, Delete, Put, Query, Store, Write
from common.web.audited import audited
from common.web.belongings import Belongings, zipped
from common.web.edge import client_address, json_body, json_object, text_field
from common.web.endpoint import EndpointServices, signed_in
from common.web.routes import tail

if TYPE_CHECKING:  # cold start: what a request does not use is not loaded for it
    from common.identity.blind import BlindIndex
    from common.identity.limits import Limits
    from common.identity.phones import Phones
    from common.identity.pins import Pins
    from common.oauth import LinkedAccounts
    from common.plaid_items import Banks
    from common.settings import Settings
    from common.tools import Entry, Registry
    from common.vault import Vault

log = get_logger(__name__)

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+\Z")
_WAITLIST_OWNER = "odai.waitlist"  # whose data key seals the addresses: nobody signs in by that id
_HOUR, _DAY = 3600.0, 86_400.0
_LONG = 240.0


class AccountServices(EndpointServices, Protocol):
    """What these pages need of the composition root."""

    settings: Settings
    clock: Clock

    @property
    def audit(self) -> Audit: ...

    @property
    def banks(self) -> Banks: ...

    @property
    def blind(self) -> BlindIndex: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def linked(self) -> LinkedAccounts: ...

    @property
    def members(self) -> Members: ...

    @property
    def phones(self) -> Phones: ...

    @property
    def pins(self) -> Pins: ...

    @property
    def registry(self) -> Registry: ...

    @property
    def revokers(self) -> list[Callable[[str], Awaitable[None]]]: ...

    @property
    def store(self) -> Store: ...

    @property
    def tickets(self) -> Tickets: ...

    @property
    def vault(self) -> Vault: ...


def answer(request: Request, services: AccountServices) -> Response:
    """Answer one request, wherever the function is mounted."""
    path, run = tail(request.path, "/account"), services.loop.run
    match request.method, path:
        case "POST", "/waitlist" | "/email":
            return _join_waitlist(request, services)
        case "GET", "/":
            return _state(_admitted(request, services), services)
        case "GET", "/terms":
            return _terms(run(services.members.member(_admitted(request, services).uid)))
        case "POST", "/terms":
            return _accept_terms(request, services)
        case "POST", "/phone":
            return _send_code(request, services)
        case "POST", "/phone/verify":
            return _verify_phone(request, services)
        case "DELETE", "/phone":
            run(services.phones.forget(_admitted(request, services).uid))
            return jsonify(ok=True)
        case "POST", "/pin":
            return _set_pin(request, services)
        case "GET", "/integrations":
            return _integrations(_admitted(request, services), services)
        case "GET", "/connections":
            return _connections(_admitted(request, services), services)
        case "GET", "/update_integrations":
            return _update_integrations(services)
        case "POST", "/tickets":
            ticket = run(services.tickets.mint(_admitted(request, services), purpose="chat"))
            return jsonify(ticket=ticket, expires_in=60)
        case "GET", "/export":
            return _export(request, services)
        case "DELETE", "/":
            return _delete(request, services)
    raise NotFound("There is no such page.")


def _admitted(request: Request, services: AccountServices, *, terms: bool = False) -> Identity:
    """Return the user; of these pages few need the terms, which are accepted on one of them."""
    identity = signed_in(request, services)
    services.loop.run(services.members.admit(identity, terms=terms))
    return identity


def _own_account(request: Request, services: AccountServices) -> Identity:
    identity = _admitted(request, services, terms=True)
    if identity.anonymous:
        raise NotAllowed("Sign in with an account first.")
    return identity


# --- membership ---------------------------------------------------------------------------------


def _state(user: Identity, services: AccountServices) -> Response:
    member = services.loop.run(services.members.member(user.uid))
    return jsonify(
        uid=user.uid,
        anonymous=user.anonymous,
        signed_up=member.standing == "member",
        signed_up_at=member.signed_up_at.isoformat() if member.signed_up_at else None,
        terms=_shown_terms(member),
        phone={
            "verified": bool(member.phone_ending),
            "ending": member.phone_ending,
            "missing": [name for name in TEXTS_NEED if not services.settings.secret(name)],
        },
        pin_set=member.has_pin,
    )


def _shown_terms(member: Member) -> dict[str, Any]:
    when = member.accepted_at
    return {
        "version": TERMS,
        "accepted": member.accepted,
        "accepted_at": when.isoformat() if when and member.accepted else None,
    }


def _terms(member: Member) -> Response:
    return jsonify(_shown_terms(member))


def _accept_terms(request: Request, services: AccountServices) -> Response:
    user = _admitted(request, services)
    version = text_field(json_body(request), "version", longest=20)
    with audited(services.loop, services.audit, user.uid, "accept_terms"):
        member = services.loop.run(services.members.accept_terms(user.uid, version))
    return _terms(member)


def _send_code(request: Request, services: AccountServices) -> Response:
    user = _own_account(request, services)
    number = text_field(json_body(request), "number", longest=40)
    limits, run = services.limits, services.loop.run
    run(
        limits.spend(
            "code from address", client_address(request, services.settings), most=10, seconds=_HOUR
        )
    )
    run(services.phones.start(user.uid, number))
    return jsonify(ok=True, expires_in=600)


def _verify_phone(request: Request, services: AccountServices) -> Response:
    user = _own_account(request, services)
    code = text_field(json_body(request), "code", longest=20)
    with audited(services.loop, services.audit, user.uid, "verify_phone"):
        ending = services.loop.run(services.phones.confirm(user.uid, code))
    return jsonify(verified=True, ending=ending)


def _set_pin(request: Request, services: AccountServices) -> Response:
    user = _own_account(request, services)
    pin = text_field(json_body(request), "pin", longest=8)
    with audited(services.loop, services.audit, user.uid, "set_pin"):
        services.loop.run(services.pins.set(user.uid, pin))
    return jsonify(ok=True)


# --- integrations -------------------------------------------------------------------------------


def _integrations(user: Identity, services: AccountServices) -> Response:
    accounts = services.loop.run(services.linked.of(user.uid))
    banks = services.loop.run(services.banks.listed(user.uid))
    linked: dict[str, list[dict[str, Any]]] = {}
    for account in accounts:
        linked.setdefault(account.provider, []).append(
            {"id": account.id, "label": account.label, "status": account.status}
        )
    linked["plaid"] = [{"id": b.id, "label": b.institution, "status": b.status} for b in banks]
    shown = []
    for entry in services.registry.entries.values():
        described = _described(entry)
        shown.append({
            "slug": entry.slug, **described, "on": not entry.missing(services.settings.secret),
            "linked": linked.get(described["provider"], []),
        })  # fmt: skip
    return jsonify(integrations=shown)


def _connections(user: Identity, services: AccountServices) -> Response:
    from common.web.connections import connections  # cold start: no other page needs it

    run = services.loop.run
    accounts, banks = run(services.linked.of(user.uid)), run(services.banks.listed(user.uid))
    return jsonify(services=connections(services.registry, services.settings, accounts, banks))


def _update_integrations(services: AccountServices) -> Response:
    """Write down every service as it is now, for who reads the store rather than `/integrations`.

    Whoever asks can change nothing by it: all comes from the connectors, and what is the same is
    not written.
    """
    run = services.loop.run
    run(services.limits.spend("integrations", "everybody", most=20, seconds=_HOUR))
    changed = run(_write_integrations(services))
    return jsonify(status="success", updated=changed)


async def _write_integrations(services: AccountServices) -> int:
    wanted = {
        f"integrations/{entry.slug}": _described(entry)
        for entry in services.registry.entries.values()
    }
    kept = {row.path: row.data for row in await services.store.query(Query("integrations"))}
    writes: list[Write] = [Put(p, data) for p, data in wanted.items() if kept.get(p) != data]
    writes += [Delete(path) for path in kept if path not in wanted]
    if writes:
        await services.store.commit(*writes)
    return len(writes)


def _described(entry: Entry) -> dict[str, Any]:
    c = entry.connector
    return {
        "name": c.name, "category": c.category, "description": c.description,
        "examples": list(c.examples), "auth": c.auth,
        "provider": "plaid" if c.auth == "plaid" else c.account,
    }  # fmt: skip


# --- the waitlist -------------------------------------------------------------------------------


def _join_waitlist(request: Request, services: AccountServices) -> Response:
    """Note an address, once; whether it was there already is nobody's to learn."""
    given = (json_object(request) or request.form).get("email")
    email = given.strip().casefold() if isinstance(given, str) else ""
    if len(email) > 254 or not _EMAIL.match(email):
        raise InvalidInput("email must be an e-mail address.")
    run, limits = services.loop.run, services.limits
    run(
        limits.spend("waitlist", client_address(request, services.settings), most=10, seconds=_HOUR)
    )
    run(limits.spend("waitlist", "everybody", most=1000, seconds=_HOUR))
    run(_note_email(services, email))
    return jsonify(status="success")


async def _note_email(services: AccountServices, email: str) -> None:
    path = await _waitlist_path(services, email)
    sealer = await services.vault.open(_WAITLIST_OWNER)
    sealed = sealer.seal(path, "email", email.encode())
    try:
        await services.store.commit(Create(path, {"email": sealed, "at": services.clock()}))
    except Conflict:  # it is on the list
        return


async def _waitlist_path(services: AccountServices, email: str) -> str:
    return f"waitlist/{await services.blind.of('waitlist', email)}"


# --- leaving ------------------------------------------------------------------------------------


def _export(request: Request, services: AccountServices) -> Response:
    user = _admitted(request, services)
    run, audit = services.loop.run, services.audit
    run(services.limits.spend("export", user.uid, most=5, seconds=_DAY))
    row = run(audit.begin(user.uid, "export"))
    entries = _belongings(services).entries(user.uid)

    def stream() -> Any:
        status = "broken_off"
        try:
            yield from zipped(entries, run)
            status = "done"
        finally:
            run(audit.complete(row, status))

    headers = {"Content-Disposition": 'attachment; filename="odai-export.zip"'}
    return Response(stream(), content_type="application/zip", headers=headers)


def _delete(request: Request, services: AccountServices) -> Response:
    """Delete the user. A deletion that broke off is continued by asking again."""
    user = signed_in(request, services)
    body = json_body(request)
    if body.get("confirm") is not True:
        raise InvalidInput('Deleting cannot be undone. Send {"confirm": true} to go on.')
    with audited(services.loop, services.audit, user.uid, "delete_account"):
        erased = _erase(services, user, force=body.get("force") is True)
        services.loop.run(erased, timeout=_LONG)
    return jsonify(deleted=True)


async def _erase(services: AccountServices, user: Identity, *, force: bool) -> None:
    """End every link, make all that is sealed unreadable, remove it, leave the tombstone.

    VendorUnavailable where a service could not be told; `force` goes on without.
    """
    uid, members = user.uid, services.members
    if (await members.member(uid)).standing != "revoked":
        await members.leave(uid, "deleting")
        if failure := await _revoke_all(services, uid):
            if not force:
                raise VendorUnavailable(
                    "A linked service could not be told that the link ends. Try again in a while, "
                    'or send {"force": true} to delete without telling it.'
                ) from failure
            log.warning("deleted with a link not revoked", extra={"code": failure.code})
        await members.leave(uid, "revoked")
    await services.vault.shred(uid)
    await _belongings(services).remove(uid)
    if user.email:
        listed = await _waitlist_path(services, user.email.strip().casefold())
        await services.store.commit(Delete(listed))
    await members.bury(uid)


async def _revoke_all(services: AccountServices, uid: str) -> OdaiError | None:
    """End the user's links everywhere; return the first failure."""
    failure: OdaiError | None = None
    for revoke in services.revokers:
        try:
            await revoke(uid)
        except OdaiError as err:
            failure = failure or err
    return failure


def _belongings(services: AccountServices) -> Belongings:
    return Belongings(services.store, services.vault, services.banks)
