"""Twilio's REST API, as far as conversations need it: send a text, find one, look at a call.

https://www.twilio.com/docs/messaging/api/message-resource,
https://www.twilio.com/docs/voice/api/call-resource (2026-11). There is no idempotency key: nothing
is repeated by itself, and a caller who does not know how a send ended looks into the list. The
tools with which the assistant writes to others are a connector (`common.connectors.twilio`).
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from common.errors import NotAllowed, VendorRejected

if TYPE_CHECKING:  # cold start: the client behind it imports aiohttp
    from common.egress import Egress

_HOST: Final = "api.twilio.com"
_ACCOUNT, _TOKEN = "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"
NUMBER: Final = "TWILIO_PHONE_NUMBER"
OPTED_OUT: Final = 21610
_LISTED: Final = 50


class Refused(VendorRejected):
    """Twilio said no for good; `reason` is its own error number, 0 where it gave none."""

    def __init__(self, reason: int) -> None:
        super().__init__("Twilio did not accept that. Check number and sender.", vendor_status=400)
        self.reason = reason


class TwilioApi:
    """The operator's account."""

    def __init__(self, egress: Callable[[], Egress], secret: Callable[[str], str | None]) -> None:
        self._egress = egress
        self._secret = secret

    @property
    def ours(self) -> str:
        """The operator's number; NotAllowed, naming the setting, where it is not set."""
        return self._key(NUMBER)

    async def send(self, *, theirs: str, ours: str, text: str, callback: str = "") -> str:
        """Send one text and return its sid.

        Raises Refused (nothing was sent), RateLimited (likewise), VendorUnavailable (nobody knows).
        """
        form = {"To": theirs, "From": ours, "Body": text, "StatusCallback": callback or None}
        return str((await self._post("/Messages", form)).get("sid", ""))

    async def was_sent(self, *, theirs: str, ours: str, text: str, since: dt.datetime) -> bool:
        """Tell whether a text of these words went out since then, by Twilio's own list."""
        # The list is by days and has seconds: a little slack for clocks that differ.
        earliest = since - dt.timedelta(seconds=10)
        page = await self._get("/Messages", {
            "To": theirs, "From": ours, "DateSent>": f"{earliest:%Y-%m-%d}",
            "PageSize": str(_LISTED),
        })  # fmt: skip
        return any(
            row.get("body") == text and _made_at(row) >= earliest
            for row in page.get("messages") or ()
            if isinstance(row, Mapping)
        )

    async def call_status(self, sid: str) -> str:
        """Return how a call stands, in Twilio's words, "" for an unknown one."""
        return str((await self._get(f"/Calls/{sid}", {}, expect=(404,))).get("status") or "")

    async def call(self, *, theirs: str, url: str, callback: str) -> str:
        """Place a call that asks `url` what to do once it is answered; return its sid."""
        form = {
            "To": theirs, "From": self.ours, "Url": url, "Timeout": "30", "TimeLimit": "3600",
            "StatusCallback": callback,
        }  # fmt: skip
        return str((await self._post("/Calls", form)).get("sid", ""))

    async def redirect(self, sid: str, document: str) -> None:
        """Let a call go on with a TwiML `document`. Refused: it is over, or unknown."""
        await self._post(f"/Calls/{sid}", {"Twiml": document})

    async def _post(self, path: str, form: Mapping[str, str | None]) -> Mapping[str, Any]:
        client, base, headers = self._client()
        reply = await client.request(
            "POST", f"{base}{path}.json", form=form, headers=headers, expect=(400, 404)
        )
        body = reply.json()
        body = body if isinstance(body, dict) else {}
        if reply.status in (400, 404):
            code = body.get("code")
            raise Refused(code if isinstance(code, int) else 0)
        return body

    async def _get(
        self, path: str, params: Mapping[str, str], expect: tuple[int, ...] = ()
    ) -> Mapping[str, Any]:
        client, base, headers = self._client()
        reply = await client.get(
            f"{base}{path}.json", params=params, headers=headers, expect=expect, timeout_s=5.0
        )
        body = reply.json()
        return body if isinstance(body, dict) and reply.status < 400 else {}

    def _client(self) -> tuple[Any, str, dict[str, str]]:
        from common.egress import Policy  # cold start, as above

        account = self._key(_ACCOUNT)
        pair = base64.b64encode(f"{account}:{self._key(_TOKEN)}".encode()).decode()
        client = self._egress().client(Policy(name="Twilio", hosts=(_HOST,)))
        base = f"https://{_HOST}/2010-04-01/Accounts/{account}"
        return client, base, {"Authorization": f"Basic {pair}"}

    def _key(self, name: str) -> str:
        if value := self._secret(name):
            return value
        raise NotAllowed(f"Calls and texts are not set up here. Set {name}.")


def _made_at(row: Mapping[str, Any]) -> dt.datetime:
    try:
        made = parsedate_to_datetime(str(row.get("date_created")))
    except ValueError:
        return dt.datetime.max.replace(tzinfo=dt.UTC)  # of unknown age: taken for ours
    return made if made.tzinfo else made.replace(tzinfo=dt.UTC)
