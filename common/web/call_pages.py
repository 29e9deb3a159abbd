"""The pages of `twilio_voice`: what Twilio asks about calls, and the browser's calls.

    POST /twilio/incoming       a call: TwiML that connects it, or says why not (GET likewise)
    POST /twilio/status         how a call stands
    POST /voice/token           what a signed-in user's browser calls with
    POST /voice/call            calls a signed-in user about a chat of theirs

Twilio proves itself by its signature, users by their token. A caller is their verified number's
user; a stranger is invited, no more. No answer here waits for a model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit

from flask import Request, Response, jsonify

from common.assistant.audit import Audit
from common.assistant.calls import FINAL, Busy, Call, Calls, check_sid
from common.assistant.phone_book import Caller, PhoneBook
from common.assistant.twilio_api import TwilioApi
from common.documents import CHAT_ID, Clock, new_id
from common.errors import InvalidInput, NotAllowed, NotFound, OdaiError, RateLimited
from common.identity import Tickets
from common.identity.limits import Limits
from common.identity.members import Members
from common.log import get_logger
from common.telephony import twiml
from common.telephony.callers import Address, browser_identity, parse_address
from common.web.edge import json_body
from common.web.endpoint import signed_in
from common.web.routes import tail
from common.web.twilio_requests import SignedServices, answered, form_of

log = get_logger(__name__)

FUNCTION = "twilio_voice"
GREETING = "Hello, this is your assistant. What can I do for you?"
PIN_HINT = "For your own accounts, key in your PIN and the pound sign first."
BROWSER_KEYS = ("TWILIO_ACCOUNT_SID", "TWILIO_API_KEY", "TWILIO_API_SECRET", "TWILIO_APP_SID")
_TOKEN_S = 600
_HOUR, _DAY = 3600.0, 86_400.0
_REPEATED_S = 30.0  # how long a webhook that Twilio repeats is the same one
_STRANGER = (
    "Hello, this is O.D.A.I., a personal assistant. I do not know this number. "
    "Sign up in the app and add your number there, then call again. Goodbye."
)
_HIDDEN = "I cannot see your number. Please call again without hiding it. Goodbye."
_SORRY = "Sorry, I cannot take your call right now. Please try again in a little while."


class CallServices(SignedServices, Protocol):
    """What these pages need of the composition root."""

    clock: Clock

    @property
    def audit(self) -> Audit: ...

    @property
    def calls(self) -> Calls: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def members(self) -> Members: ...

    @property
    def phone_book(self) -> PhoneBook: ...

    @property
    def tickets(self) -> Tickets: ...

    @property
    def twilio(self) -> TwilioApi: ...


def answer(request: Request, services: CallServices) -> Response:
    """Answer one request to `twilio_voice`, wherever it is mounted."""
    match request.method, tail(request.path, "/twilio_voice", "/twilio", "/voice"):
        case "POST" | "GET", "/incoming":
            return _incoming(form_of(request, services, function=FUNCTION), request, services)
        case "POST", "/status":
            return _call_status(form_of(request, services, function=FUNCTION), services)
        case "POST", "/token":
            return _token(request, services)
        case "POST", "/call":
            return _call_me(request, services)
    raise NotFound("There is no such page.")


def _incoming(form: Mapping[str, str], request: Request, services: CallServices) -> Response:
    sid = check_sid(form.get("CallSid", ""))
    planned = request.args.get("call", "")
    try:
        # Twilio waits 15 s and then tells the caller that the application failed.
        return answered(*services.loop.run(_greeted(sid, planned, form, services), timeout=12.0))
    except NotAllowed as err:
        return answered(twiml.say(str(err)), twiml.hang_up())
    except OdaiError as err:
        log.error("call not taken", extra={"code": err.code})
        return answered(twiml.say(_SORRY), twiml.hang_up())


async def _greeted(
    sid: str, planned: str, form: Mapping[str, str], services: CallServices
) -> list[str]:
    """Return what the call is answered with."""
    ours_to_them = form.get("Direction", "inbound").startswith("outbound")
    address = parse_address(form.get("To" if ours_to_them else "From", ""))
    caller = await services.phone_book.caller(address)
    if caller is None:
        return await _turned_away(address, services)
    chat_id = await _chat_of_call(planned, caller, address, form, services)
    try:
        await services.limits.spend("call", caller.uid, most=30, seconds=_HOUR)
        call = await _begun(sid, caller, chat_id, services)
    except (RateLimited, Busy):
        return [twiml.reject("busy")]
    age = (services.clock() - call.started_at).total_seconds()
    if call.uid != caller.uid or call.over or age > _REPEATED_S:
        log.warning("webhook of an old call", extra={"call_sid": sid})
        return [twiml.hang_up()]
    return await _connected(call, caller, services)


async def _turned_away(address: Address, services: CallServices) -> list[str]:
    if not address.number:
        return [twiml.say(_HIDDEN), twiml.hang_up()]
    try:
        await services.limits.spend("stranger's call", address.number, most=3, seconds=_DAY)
    except RateLimited:
        return [twiml.reject("rejected")]
    return [twiml.say(_STRANGER), twiml.hang_up()]


async def _chat_of_call(
    planned: str,
    caller: Caller,
    address: Address,
    form: Mapping[str, str],
    services: CallServices,
) -> str:
    """Return the chat that the call goes on with, a new one where none is asked for.

    A browser's own parameters may name any chat: opening another user's fails later, as always.
    """
    if planned and (chat_id := await services.calls.planned(planned, caller.uid)):
        return chat_id
    asked = form.get("chat_id", "")
    return asked if address.kind == "browser" and CHAT_ID.match(asked) else new_id()


async def _begun(sid: str, caller: Caller, chat_id: str, services: CallServices) -> Call:
    """Note the call; Busy while the user is on another one, by Twilio's word."""
    calls, manner = services.calls, {"proven": caller.proven, "guest": caller.guest}
    try:
        return await calls.begin(sid, caller.uid, chat_id=chat_id, **manner)
    except Busy as err:
        # Status callbacks may not be set up, or get lost: the user must not be locked out by that.
        if not await _has_ended(err.other, services):
            raise
        await calls.end(err.other)
        return await calls.begin(sid, caller.uid, chat_id=chat_id, **manner)


async def _has_ended(sid: str, services: CallServices) -> bool:
    try:
        return await services.twilio.call_status(sid) in (*FINAL, "")
    except OdaiError as err:
        log.warning("call not looked up", extra={"code": err.code})
        return False


async def _connected(call: Call, caller: Caller, services: CallServices) -> list[str]:
    settings = services.settings
    if not (settings.openai_api_key or settings.realtime_url):
        heard = f"{settings.base_url}/twilio/heard?n=1"
        known = not (caller.proven or caller.guest)
        has_pin = known and (await services.members.member(caller.uid)).has_pin
        greeting = f"{GREETING} {PIN_HINT}" if has_pin else GREETING
        return [twiml.gather(heard, twiml.say(greeting)), twiml.redirect(heard)]
    ticket = await services.tickets.mint(
        caller.identity,
        purpose="voice",
        claims={
            "call_sid": call.sid, "chat_id": call.chat_id, "channel": "phone",
            "proven": caller.proven, "guest": caller.guest,
        },
    )  # fmt: skip
    base = urlsplit(settings.base_url)
    scheme = "wss" if base.scheme == "https" else "ws"
    url = f"{scheme}://{base.netloc}{base.path}/twilio/connect"
    return [twiml.connect(url, {"ticket": ticket}), twiml.hang_up()]


def _call_status(form: Mapping[str, str], services: CallServices) -> Response:
    sid, number = check_sid(form.get("CallSid", "")), form.get("SequenceNumber", "0")
    if not re.fullmatch(r"[0-9]{1,6}", number):
        raise InvalidInput("SequenceNumber must be a number.")
    status = form.get("CallStatus", "").strip().lower()[:20]
    new = services.loop.run(services.calls.heard(sid, int(number), status))
    log.info("call", extra={"call_sid": sid, "status": status, "new": new})
    return Response(status=204)


def _token(request: Request, services: CallServices) -> Response:
    """Return `{token, identity, expires_in}` for the browser's voice client."""
    secret = services.settings.secret
    identity = signed_in(request, services)
    if identity.anonymous:
        raise NotAllowed("Sign in with an account to make calls.")
    services.loop.run(services.members.admit(identity))
    if missing := [name for name in BROWSER_KEYS if not secret(name)]:
        raise NotAllowed(f"Calls from the browser are not set up here. Set {', '.join(missing)}.")
    services.loop.run(services.limits.spend("call token", identity.uid, most=60, seconds=_HOUR))
    name = browser_identity(identity.uid)

    # 0.1 s of imports that no webhook needs.
    from twilio.jwt.access_token import AccessToken
    from twilio.jwt.access_token.grants import VoiceGrant

    account, key, value, app = (secret(name) or "" for name in BROWSER_KEYS)
    token = AccessToken(account, key, value, identity=name, ttl=_TOKEN_S)
    token.add_grant(VoiceGrant(outgoing_application_sid=app, incoming_allow=True))
    made = token.to_jwt()
    response = jsonify(token=made, identity=name, expires_in=_TOKEN_S)
    response.headers["Cache-Control"] = "no-store"
    return response


def _call_me(request: Request, services: CallServices) -> Response:
    """Call the user on their own number; with `{"chat_id"}`, to go on with that chat."""
    identity = signed_in(request, services)
    services.loop.run(services.members.admit(identity))
    given = json_body(request) if request.get_data(cache=True) else {}
    chat_id = given.get("chat_id") or new_id()
    if not isinstance(chat_id, str) or not CHAT_ID.match(chat_id):
        raise InvalidInput("chat_id must be the id of a chat.")
    sid = services.loop.run(call_user(services, identity.uid, chat_id))
    return jsonify(call_sid=sid, chat_id=chat_id)


async def call_user(services: CallServices, uid: str, chat_id: str) -> str:
    """Call a user on their own verified number about a chat; return the call's sid.

    Raises NotAllowed (no number, not set up, opted out), RateLimited and what Twilio's API does.
    """
    number = await services.phone_book.number_of(uid)
    await services.limits.spend("call to user", uid, most=10, seconds=_HOUR)
    planned = await services.calls.plan(uid, chat_id)
    base = services.settings.base_url
    row = await services.audit.begin(uid, "call user")
    status = "unknown"
    try:
        sid = await services.twilio.call(
            theirs=number,
            url=f"{base}/twilio/incoming?call={planned}",
            callback=f"{base}/twilio/status",
        )
        status = "done"
    except OdaiError as err:
        status = err.code
        raise
    finally:
        await services.audit.complete(row, status)
    return sid
