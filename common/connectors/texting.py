"""Texts to the user themselves: "text me that" from any chat or call.

https://www.twilio.com/docs/messaging/api/message-resource

The number is the one the user has proven (a provider named "phone" among their accounts), so that
no model and no page can choose where the text goes: nobody is asked first. Quirks seen in November
2026:
- One curly quote or emoji makes a text cost up to three times as much: letters are made plain.
- There is no idempotency key: nothing is repeated by itself.
- Whoever answered STOP must not be written to (21610).
"""

from __future__ import annotations

import base64

from common.errors import InvalidInput, NotAllowed, VendorRejected
from common.telephony.messages import economical, plain
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import integer, record, text

CONNECTOR = Connector(
    name="My phone",
    category="productivity",
    description="Sends what you want to keep to your own verified phone.",
    examples=(
        "Text me that.",
        "Send this to my own phone.",
        "Text me a summary for later.",
    ),
    keywords=words(
        "text me, text myself, texting me, message me, my phone, my mobile, my cell, to myself"
    ),
    hosts=("api.twilio.com",),
    auth="key",
    secrets=("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_PHONE_NUMBER"),
    rank=90,  # whoever names somebody else means them
    per_second=1,
)

API = "https://api.twilio.com/2010-04-01/Accounts"
LONGEST = 1600
OPTED_OUT = 21610


@tool(progress="Texting you that…")
async def send_sms_to_me(ctx: ToolContext, *, message: str) -> ToolResult:
    """Send something to the user's own phone, whose number is known. Never to anybody else.

    Args:
        message: The whole text, such as your last answer, in plain words; at most 1600 characters.
    """
    said = economical(plain(message))
    if not said or len(said) > LONGEST:
        raise InvalidInput(f"message must hold 1 to {LONGEST} characters.")
    account, token = ctx.secret("TWILIO_ACCOUNT_SID"), ctx.secret("TWILIO_AUTH_TOKEN")
    ours = ctx.secret("TWILIO_PHONE_NUMBER")
    if ctx.accounts is None:
        raise NotAllowed("No phone number is verified. Add yours in the settings, then ask again.")
    theirs = await ctx.accounts.token("phone", ())
    pair = base64.b64encode(f"{account}:{token}".encode()).decode()
    reply = await ctx.http.request(
        "POST",
        f"{API}/{account}/Messages.json",
        form={"To": theirs, "From": ours, "Body": said},
        expect=(400,),
        headers={"Authorization": f"Basic {pair}"},
    )
    body = record(reply.json())
    if reply.status == 400:
        if integer(body.get("code")) == OPTED_OUT:
            raise NotAllowed("You have opted out of our texts. Text START to us first.")
        raise VendorRejected("Twilio did not take the text. Check your number in the settings.")
    return ToolResult(
        response_type="sms_sent",
        data={"id": text(body.get("sid"))[:40], "status": text(body.get("status"))[:20]},
        summary="I texted that to your own number.",
        sources=(Source("Twilio", "https://console.twilio.com/"),),
    )
