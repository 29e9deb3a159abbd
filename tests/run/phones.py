"""A user's telephone at the local suite, in one process with it: signed webhooks, fake Twilio."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

from flask import Flask
from flask.testing import FlaskClient

from common.bootstrap import Services
from common.identity.members import TERMS
from common.store import Query
from tests.fakes.twilio import ACCOUNT, FakeTwilio, new_sid

NUMBER = "+14155550100"
STRANGER = "+14155550177"


class Phone:
    """Somebody's telephone, and what the application answers it."""

    def __init__(self, services: Services, app: Flask, twilio: FakeTwilio | None = None) -> None:
        self.services = services
        self.client: FlaskClient = app.test_client()
        self.twilio = twilio

    def own(self, uid: str = "ada", number: str = NUMBER) -> None:
        """Prove that the number is the user's, as they do in the app."""
        codes: list[str] = []

        async def send(_: str, text: str) -> None:
            codes.append(text)

        phones, run = self.services.phones, self.services.loop.run
        phones._send = send
        run(phones.start(uid, number))
        found = re.search(r"\d{6}", codes[-1])
        assert found
        run(phones.confirm(uid, found[0]))
        run(self.services.members.accept_terms(uid, TERMS))

    def post(
        self, path: str, form: Mapping[str, Any], *, method: str = "POST", **headers: str
    ) -> Any:
        """Send a webhook, signed as Twilio does; `headers` (with _ for -) replace its own."""
        base = self.services.settings.base_url
        signed = ACCOUNT.headers(base + path, form if method == "POST" else None)
        given = signed | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.open(
            path, method=method, data=dict(form) if method == "POST" else None, headers=given
        )

    def text(self, body: str, *, sid: str = "", number: str = NUMBER, **fields: str) -> Any:
        """Send a text; return the answer."""
        sid = sid or new_sid("SM")
        form = {
            "MessageSid": sid, "SmsSid": sid, "AccountSid": ACCOUNT.sid, "From": number,
            "To": ACCOUNT.number, "Body": body, "NumMedia": "0", "FromCity": "", **fields,
        }  # fmt: skip
        return self.post("/twilio/sms/incoming", form)

    def told(self, body: str, **fields: str) -> list[str]:
        """Send a text; return what the TwiML answer says at once."""
        answer = self.text(body, **fields)
        assert answer.status_code == 200 and answer.mimetype == "text/xml"
        document = ElementTree.fromstring(answer.text)
        return ["".join(each.itertext()) for each in document.iter("Message")]

    def answers(self, count: int = 1, number: str = NUMBER) -> list[str]:
        """Wait for so many texts to the number; return all of them."""
        assert self.twilio
        twilio = self.twilio
        twilio.wait(lambda: len(twilio.texts(number)) >= count)
        return twilio.texts(number)

    def until(self, collection: str, ready: Callable[[], Any]) -> None:
        """Wait until `ready()`, looked at after each change to the documents of a collection."""

        async def wait() -> None:
            changed = asyncio.Event()
            watch = await self.services.store.watch(Query(collection), lambda _: changed.set())
            try:
                async with asyncio.timeout(50.0):
                    while not await asyncio.to_thread(ready):
                        await changed.wait()
                        changed.clear()
            finally:
                watch.close()

        self.services.loop.run(wait())

    def call(self, *, sid: str = "", number: str = NUMBER, path: str = "/twilio/incoming",
             method: str = "POST", **fields: str) -> Any:  # fmt: skip
        """Call; return the answer."""
        return self.post(path, call_form(sid or new_sid("CA"), number, **fields), method=method)


def call_form(sid: str, number: str = NUMBER, **fields: str) -> dict[str, str]:
    """Return what every webhook of a call carries."""
    return {
        "CallSid": sid, "AccountSid": ACCOUNT.sid, "From": number, "To": ACCOUNT.number,
        "CallStatus": "ringing", "Direction": "inbound", "FromCity": "", **fields,
    }  # fmt: skip


def verbs(answer: Any) -> list[str]:
    """Return the elements of a TwiML answer, in order."""
    assert answer.status_code == 200 and answer.mimetype == "text/xml", answer.text
    return [verb.tag for verb in ElementTree.fromstring(answer.text)]


def said(answer: Any) -> str:
    """Return all that a TwiML answer speaks."""
    return " ".join("".join(e.itertext()) for e in ElementTree.fromstring(answer.text).iter("Say"))


def onward(answer: Any, verb: str) -> str:
    """Return the path and query that the answer's `verb` leads to."""
    element = ElementTree.fromstring(answer.text).find(verb)
    assert element is not None
    parts = urlsplit(element.get("action") or element.text or "")
    return f"{parts.path}?{parts.query}"


class Clock:
    """A clock that tests move on."""

    def __init__(self) -> None:
        self.ahead = dt.timedelta()

    def __call__(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + self.ahead


Make = Callable[..., Services]
