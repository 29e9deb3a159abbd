"""Sending a text message through Twilio, for codes that prove a phone number.

https://www.twilio.com/docs/messaging/api/message-resource (2026-11). There is no idempotency key:
a text is sent once or not at all, and nothing is repeated by itself.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from common.errors import InvalidInput, NotAllowed, VendorRejected

if TYPE_CHECKING:  # cold start: the client behind it imports aiohttp
    from common.egress import Egress

_HOST: Final = "api.twilio.com"
NEEDED: Final = ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_PHONE_NUMBER")
_NO_NUMBER = {21211, 21214, 21217, 21614}
_NOT_THERE = {21215, 21408, 21612}
_OPTED_OUT = 21610


class Texts:
    """Sends texts from the operator's number."""

    def __init__(self, egress: Egress, secret: Callable[[str], str | None]) -> None:
        self._egress = egress
        self._secret = secret

    async def send(self, number: str, text: str) -> None:
        """Send `text` to `number` (E.164).

        Raises NotAllowed (not set up, no such country, opted out), InvalidInput (no number that
        takes texts), VendorRejected, RateLimited and VendorUnavailable.
        """
        from common.egress import Policy  # cold start, as above

        missing = [name for name in NEEDED if not self._secret(name)]
        if missing:
            raise NotAllowed(f"Texts are not set up here. Set {', '.join(missing)}.")
        account, token, sender = (self._secret(name) or "" for name in NEEDED)
        pair = base64.b64encode(f"{account}:{token}".encode()).decode()
        client = self._egress.client(Policy(name="Twilio", hosts=(_HOST,)))
        reply = await client.request(
            "POST",
            f"https://{_HOST}/2010-04-01/Accounts/{account}/Messages.json",
            form={"To": number, "From": sender, "Body": text},
            headers={"Authorization": f"Basic {pair}"},
            expect=(400,),
        )
        if reply.status == 400:
            raise _refusal(reply.json())


def _refusal(body: Any) -> Exception:
    code = body.get("code") if isinstance(body, dict) else None
    if code in _NO_NUMBER:
        return InvalidInput("That number takes no texts. Give a mobile number.")
    if code in _NOT_THERE:
        return NotAllowed("Texts to that country are not possible from here.")
    if code == _OPTED_OUT:
        return NotAllowed("That number has opted out of our texts. Text START to us first.")
    return VendorRejected("The text could not be sent. Check the number.", vendor_status=400)
