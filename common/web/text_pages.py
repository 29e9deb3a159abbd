"""The pages of `twilio_sms`: texts that come in, and how ours fared.

    POST /twilio/sms/incoming   a text: taken in; answered later, from the container
    POST /twilio/sms/status     how a text of ours fared

Twilio proves itself by its signature. A sender is their verified number's user; a stranger is
invited, no more. No answer here waits for a model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from flask import Request, Response

from common.assistant.phone_book import PhoneBook
from common.assistant.texts import Line, Texts, chat_of
from common.assistant.twilio_api import OPTED_OUT
from common.errors import InvalidInput, NotAllowed, NotFound, RateLimited
from common.identity.blind import BlindIndex
from common.identity.limits import Limits
from common.log import get_logger
from common.telephony import twiml
from common.telephony.callers import Address, parse_address
from common.telephony.messages import keyword
from common.web.routes import tail
from common.web.twilio_requests import SignedServices, answered, form_of

log = get_logger(__name__)

FUNCTION = "twilio_sms"
_HOUR, _DAY = 3600.0, 86_400.0
_MESSAGE_SID = re.compile(r"[SM]M[0-9a-fA-F]{32}\Z")
_INVITED = (
    "This is ODAI, a personal assistant. I do not know this number: sign up at {home} and add "
    "your number there, then text me again."
)
_PICTURES = "I cannot look at pictures or recordings by text yet: I went by your words alone."
_ONLY_PICTURES = "I cannot look at pictures or recordings by text yet. Please tell me in words."
_STOPPED = "You will get no more messages from ODAI. Send START to get them again."
_STARTED = "You will get messages from ODAI again. Send STOP to end them."
_HELP = "ODAI, your personal assistant: ask me anything by text. Send STOP to end messages."


class TextServices(SignedServices, Protocol):
    """What these pages need of the composition root."""

    @property
    def blind(self) -> BlindIndex: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def phone_book(self) -> PhoneBook: ...

    @property
    def texts(self) -> Texts: ...


def answer(request: Request, services: TextServices) -> Response:
    """Answer one request to `twilio_sms`, wherever it is mounted."""
    match request.method, tail(request.path, "/twilio_sms", "/twilio/sms"):
        case "POST", "/incoming":
            return _text(form_of(request, services, function=FUNCTION), services)
        case "POST", "/status":
            return _text_status(form_of(request, services, function=FUNCTION), services)
    raise NotFound("There is no such page.")


def _text(form: Mapping[str, str], services: TextServices) -> Response:
    sid = form.get("MessageSid") or form.get("SmsSid") or ""
    if not _MESSAGE_SID.match(sid):
        raise InvalidInput("MessageSid must be SM or MM and 32 hexadecimal digits.")
    told = services.loop.run(_taken_in(sid, form, services), timeout=12.0)
    return answered(twiml.message(told)) if told else answered()


async def _taken_in(sid: str, form: Mapping[str, str], services: TextServices) -> str:
    """Take in a text; return what to say at once, "" for nothing."""
    raw, body = form.get("From", ""), form.get("Body", "").strip()
    address, book = parse_address(raw), services.phone_book
    gone = await book.opted_out(raw)
    word = keyword(body, form.get("OptOutType", ""), opted_out=gone)
    if word is not None:
        return await _obeyed(word, address, services)
    if gone:
        return ""
    try:
        caller = await book.caller(address)
        if caller is None:
            return await _invitation(address, services)
        await services.limits.spend("text", caller.uid, most=60, seconds=_HOUR)
        media = form.get("NumMedia", "0") not in ("", "0")
        if not body:
            return _ONLY_PICTURES if media else ""
        chat_id = chat_of(await services.blind.of("text chat", caller.uid))
        line = Line(theirs=raw, ours=form.get("To", ""))
        new = await services.texts.receive(
            caller.uid, chat_id, message_sid=sid, body=body, line=line, guest=caller.guest
        )
        return _PICTURES if media and new else ""
    except NotAllowed as err:
        return await _once_a_day("refused text", address, str(err), services)
    except RateLimited as err:
        return await _once_a_day("text limit", address, str(err), services)


async def _obeyed(word: str, address: Address, services: TextServices) -> str:
    """Note an opt-out word. On SMS Twilio answers it itself; on other channels nobody else does."""
    told = {"stop": _STOPPED, "start": _STARTED, "help": _HELP}[word]
    if word == "stop":
        await services.phone_book.opt_out(address.raw)
    elif word == "start":
        await services.phone_book.opt_in(address.raw)
    return "" if address.kind == "phone" else told


async def _invitation(address: Address, services: TextServices) -> str:
    if not address.number:  # short codes and names are machines: two of them would talk for ever
        return ""
    told = _INVITED.format(home=services.settings.base_url)
    return await _once_a_day("invitation", address, told, services)


async def _once_a_day(what: str, address: Address, told: str, services: TextServices) -> str:
    try:
        await services.limits.spend(what, address.raw, most=1, seconds=_DAY)
    except RateLimited:
        return ""
    return told


def _text_status(form: Mapping[str, str], services: TextServices) -> Response:
    code = form.get("ErrorCode", "")
    if code == str(OPTED_OUT):
        services.loop.run(services.phone_book.opt_out(form.get("To", "")))
    if code:
        log.warning("text not delivered", extra={"error_code": code[:10]})
    return Response(status=204)
