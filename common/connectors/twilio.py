"""Twilio: send a text, place a call that says something, hang a call up.

https://www.twilio.com/docs/messaging/api/message-resource
https://www.twilio.com/docs/voice/api/call-resource

The account is the operator's and serves every user: nothing of it is listed. Quirks seen in
November 2026:
- One curly quote or emoji makes a text cost up to three times as much: quotes and dashes are made
  plain. Texts are cut at 1600 characters by refusal.
- There is no idempotency key: nothing is repeated by itself.
- Whoever answered STOP must not be written to (21610). A call that has ended is a 400 (21220).
"""

from __future__ import annotations

import base64
import re
from typing import Any
from xml.sax.saxutils import escape

from common.errors import InvalidInput, NotAllowed, VendorRejected
from common.tools import Connector, Source, ToolContext, ToolResult, tool
from common.tools.reading import integer, record, text

CONNECTOR = Connector(
    name="Twilio",
    category="productivity",
    description="Sends text messages and places phone calls that say a message.",
    examples=(
        "Text +1 415 555 0100 that I'm on my way.",
        "Call +1 415 555 0100 and say that dinner is ready.",
        "Hang up.",
    ),
    keywords=(
        "text",
        "sms",
        "texting",
        "text message",
        "call",
        "phone",
        "phone call",
        "dial",
        "ring",
        "hang up",
        "hangup",
        "voice message",
        "goodbye",
        "mobile",
        "cell",
        "texts",
        "message",
        "telephone",
        "number",
        "ring up",
        "call up",
        "calling",
        "dialing",
        "voicemail",
        "speak",
        "tell them",
        "end the",
        "end call",
        "end this",
        "this call",
        "saying",
        "say goodbye",
        "bye",
        "landline",
        "wake-up",
        "notify",
        "off the",
        "get off",
        "give a",
        "phone me",
        "text me",
        "message my",
        "let know",
        "inform",
        "ask her",
        "ask him",
        "callback",
        "call back",
        "speakerphone",
        "outside line",
    ),
    hosts=("api.twilio.com",),
    auth="key",
    secrets=("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_PHONE_NUMBER"),
    per_second=1,
)

API = "https://api.twilio.com/2010-04-01/Accounts"
SOURCE = Source("Twilio", "https://console.twilio.com/")
PLAIN = str.maketrans(
    {
        "‘": "'",
        "’": "'",
        "“": '"',
        "”": '"',
        "–": "-",
        "—": "-",
        "…": "...",
        "\u00a0": " ",
        "\u202f": " ",
    }
)
NUMBER = {21211, 21214, 21217, 21401, 21421, 21614}
COUNTRY = {21215, 21408}
ENDED = {20404, 21220}


async def _post(ctx: ToolContext, path: str, **form: str) -> tuple[int, dict[str, Any]]:
    """Return Twilio's error code (0 for none) and the answer's object."""
    account = ctx.secret("TWILIO_ACCOUNT_SID")
    if "To" in form:
        form["From"] = ctx.secret("TWILIO_PHONE_NUMBER")
    pair = f"{account}:{ctx.secret('TWILIO_AUTH_TOKEN')}".encode()
    reply = await ctx.http.request(
        "POST",
        f"{API}/{account}{path}.json",
        form=form,
        expect=(400, 404),
        headers={"Authorization": f"Basic {base64.b64encode(pair).decode()}"},
    )
    body = record(reply.json())
    if reply.status >= 400:
        return integer(body.get("code")) or reply.status, body
    return 0, body


def _refuse(code: int) -> None:
    """Raise what the code means; without one, return."""
    if code in NUMBER:
        raise InvalidInput("That is no phone number that can be reached. Check it.")
    if code in COUNTRY:
        raise NotAllowed("The operator's Twilio account does not reach that country.")
    if code == 21610:
        raise NotAllowed("That person has opted out of texts from us. They must not be written to.")
    if code:
        raise VendorRejected("Twilio did not accept the request. Check number and sender.")


def _number(value: str) -> str:
    bare = re.sub(r"[\s().\-\u00a0/]", "", value)
    if not re.fullmatch(r"\+[1-9]\d{6,14}", bare):
        raise InvalidInput("phone_number must begin with + and the country code: +14155550100.")
    return bare


@tool(progress="Sending a text…", asks="Send this text message?", risk="external")
async def send_sms(ctx: ToolContext, *, phone_number: str, message: str) -> ToolResult:
    """Send a text message (SMS) to a phone number.

    Args:
        phone_number: The number with country code, such as +14155550100.
        message: The text, best below 320 characters.
    """
    said = message.translate(PLAIN).strip()
    if not said or len(said) > 1600:
        raise InvalidInput("message must hold 1 to 1600 characters.")
    code, body = await _post(ctx, "/Messages", To=_number(phone_number), Body=said)
    _refuse(code)
    return ToolResult(
        response_type="sms_sent",
        data={"id": text(body.get("sid"))[:40], "status": text(body.get("status"))[:20]},
        summary="The text is on its way.",
        sources=(SOURCE,),
    )


@tool(progress="Calling…", asks="Call this number and say the message?", risk="external")
async def place_phone_call(ctx: ToolContext, *, phone_number: str, message: str) -> ToolResult:
    """Call a phone number and say a message, twice, in an automatic voice. No conversation.

    Args:
        phone_number: The number with country code, such as +14155550100.
        message: What is said, as one would speak it.
    """
    said = " ".join(message.split())
    if not said or len(said) > 1000:
        raise InvalidInput("message must hold 1 to 1000 characters.")
    say = f"<Say>{escape(said)}</Say>"
    code, body = await _post(
        ctx,
        "/Calls",
        To=_number(phone_number),
        Twiml=f'<Response>{say}<Pause length="1"/>{say}<Hangup/></Response>',
        TimeLimit="300",
    )
    _refuse(code)
    return ToolResult(
        response_type="call_placed",
        data={"call_id": text(body.get("sid"))[:40], "status": text(body.get("status"))[:20]},
        summary="The call is being placed.",
        sources=(SOURCE,),
    )


@tool(progress="Hanging up…")
async def hangup_call(ctx: ToolContext, *, call_id: str | None = None) -> ToolResult:
    """End a phone call: the one being held with the user, or one placed for them.

    Args:
        call_id: The id that place_phone_call gave; null for the call with the user.
    """
    if call_id is None:
        # The phone bridge holds this call: it hangs up when it sees this answer.
        return _hung_up("", "Goodbye.")
    if not re.fullmatch(r"CA[0-9a-f]{32}", call_id.strip()):
        raise InvalidInput("call_id must be the id that place_phone_call gave.")
    code, _ = await _post(ctx, f"/Calls/{call_id.strip()}", Status="completed")
    if code in ENDED or code == 404:
        return _hung_up(call_id.strip(), "That call had ended already.")
    _refuse(code)
    return _hung_up(call_id.strip(), "The call is ended.")


def _hung_up(call_id: str, summary: str) -> ToolResult:
    return ToolResult(
        response_type="hangup_call", data={"call_id": call_id}, summary=summary, sources=(SOURCE,)
    )
