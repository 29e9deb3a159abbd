"""`doctor --url …`: whether a deployment works, asked from outside, as its users and others ask it.

Its last question is a real turn. Whoever asks must sign in: with `ODAI_TOKEN`; or on a laptop as a
development user; or by Firebase as a user of its own, for whom a service account signs
(https://firebase.google.com/docs/auth/admin/create-custom-tokens, 2026-11): no key, no password.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import email.utils
import json
import ssl
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from common.assistant.protocol import SUBPROTOCOL
from common.documents import new_id
from common.errors import NotAuthenticated, OdaiError, VendorUnavailable
from common.google_rest import GoogleRefusal, GoogleRest
from common.settings import Settings
from run.local.checks import Finding

USER: Final = "odai-doctor"
PROMPT: Final = "Say hello in one short sentence."
_SECONDS: Final = 20.0
_TURN_SECONDS: Final = 90.0
_SKEW_S: Final = 5.0
_CERTIFICATE_DAYS: Final = 14
_IDENTITY: Final = "https://identitytoolkit.googleapis.com"
_AUDIENCE: Final = f"{_IDENTITY}/google.identity.identitytoolkit.v1.IdentityToolkit"

# What others call at fixed addresses: path, method, and the answers that show somebody is there who
# knows the caller is not who it should be.
_WEBHOOKS: Final = (
    ("Google's redirect", "GET", "/auth/google/callback", (302, 400)),
    ("Plaid's webhook", "POST", "/auth/plaid/webhook", (400, 401, 403)),
    ("Twilio's calls", "POST", "/twilio/incoming", (401, 403)),
    ("Twilio's texts", "POST", "/twilio/sms/incoming", (401, 403)),
)
# What only our own queues may call; 404 is the edge's answer.
_INNER: Final = ("/connector_worker", "/follow_ups")


@dataclass(frozen=True, slots=True)
class Asked:
    """An HTTP answer, as far as it is looked at."""

    status: int
    body: Any
    date: str
    ms: int


async def examine(url: str, settings: Settings, google: GoogleRest | None = None) -> list[Finding]:
    """Return what is found at `url`; nothing more where nobody answers."""
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        patient = _Patient(url.rstrip("/"), settings, http, google)
        findings = [await patient.answers()]
        if findings[0].broken:
            return findings
        findings += [*await patient.certificate(), patient.clock()]
        findings += await asyncio.gather(
            *(patient.webhook(*hook) for hook in _WEBHOOKS),
            *(patient.closed(path) for path in _INNER),
        )
        return [*findings, *await patient.turn()]


class _Patient:
    """A deployment that is looked at."""

    def __init__(
        self,
        url: str,
        settings: Settings,
        http: aiohttp.ClientSession,
        google: GoogleRest | None,
    ) -> None:
        self._url = url
        self._settings = settings
        self._http = http
        self._google = google
        self._date = ""

    async def answers(self) -> Finding:
        # Not /healthz: on run.app Google's front end keeps paths that end in z to itself.
        try:
            asked = await self._ask("GET", "/test")
        except (aiohttp.ClientError, TimeoutError) as err:
            return Finding("address", f"no answer: {type(err).__name__}", broken=True)
        self._date = asked.date
        if asked.status != 200 or not isinstance(asked.body, dict):
            return Finding("address", f"answers {asked.status}, not as ODAI", broken=True)
        said = f"{asked.body.get('environment', '')}, {asked.ms} ms"
        return Finding("address", f"answers: {said}")

    def clock(self) -> Finding:
        moment = email.utils.parsedate_to_datetime(self._date) if self._date else None
        if moment is None:
            return Finding("clock", "the server does not say the time", ok=False)
        skew = abs((dt.datetime.now(dt.UTC) - moment).total_seconds())
        # Tokens and signatures are good for minutes; beyond this they begin to fail by turns.
        return Finding("clock", f"{skew:.0f} s apart from here", broken=skew > _SKEW_S + 1)

    async def certificate(self) -> list[Finding]:
        address = urlsplit(self._url)
        if address.scheme != "https":
            return []
        try:
            _, writer = await asyncio.wait_for(
                asyncio.open_connection(
                    address.hostname, address.port or 443, ssl=ssl.create_default_context()
                ),
                _SECONDS,
            )
        except (OSError, TimeoutError) as err:
            return [Finding("certificate", type(err).__name__, broken=True)]
        known = writer.get_extra_info("ssl_object").getpeercert()
        writer.close()
        until = dt.datetime.fromtimestamp(ssl.cert_time_to_seconds(known["notAfter"]), dt.UTC)
        return [certificate_finding(until, dt.datetime.now(dt.UTC))]

    async def webhook(
        self, what: str, method: str, path: str, expected: tuple[int, ...]
    ) -> Finding:
        asked = await self._ask(method, path)
        if asked.status in expected:
            return Finding(what, f"{self._url}{path} is there and wants proof")
        if asked.status == 500:  # there, and without its keys
            return Finding(what, f"{path} is not set up: its keys are missing", ok=False)
        return Finding(what, f"{path} answers {asked.status}", broken=True)

    async def closed(self, path: str) -> Finding:
        asked = await self._ask("POST", path)
        shut = asked.status in (401, 403, 404)
        return Finding(path, "closed to strangers" if shut else "open!", broken=not shut)

    async def turn(self) -> list[Finding]:
        """Sign in, ask one thing, read the answer, and delete the chat."""
        try:
            token = await self._sign_in()
            await self._accept_terms(token)
            ticket = await self._ask("POST", "/tickets", token=token)
            if ticket.status != 200:
                return [Finding("sign-in", f"/tickets answers {ticket.status}", broken=True)]
        except (OdaiError, aiohttp.ClientError, TimeoutError) as err:
            said = str(err) if isinstance(err, OdaiError) else type(err).__name__
            return [Finding("sign-in", said, broken=True)]
        chat = f"doctor-{new_id()}"
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                return [Finding("sign-in", "works"), await self._talk(chat, ticket.body["ticket"])]
        except (aiohttp.ClientError, TimeoutError) as err:
            return [Finding("turn", f"broke off: {type(err).__name__}", broken=True)]
        finally:
            await self._ask("DELETE", f"/chats/{chat}", token=token)

    async def _talk(self, chat: str, ticket: str) -> Finding:
        began = time.monotonic()
        first = 0.0
        protocols = (SUBPROTOCOL, f"ticket.{ticket}")
        async with self._http.ws_connect(f"{self._url}/chats/{chat}", protocols=protocols) as ws:
            await ws.send_str(json.dumps({"type": "prompt", "text": PROMPT}))
            async for message in ws:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    break
                event = json.loads(message.data)
                if event["type"] == "raw_response_event" and not first:
                    first = time.monotonic() - began
                if event["type"] == "end_of_stream":
                    whole = time.monotonic() - began
                    said = f"{event['status']}; first words after {first:.2f} s, all {whole:.2f} s"
                    return Finding("turn", said, broken=event["status"] != "done" or not first)
        return Finding("turn", f"the socket closed with {ws.close_code}", broken=True)

    async def _sign_in(self) -> str:
        if token := self._settings.secret("ODAI_TOKEN"):
            return token
        config = await self._ask("GET", "/client/config")
        if isinstance(config.body, dict) and config.body.get("development_sign_in"):
            made = await self._ask("POST", "/client/sign_in", body={"name": "Doctor"})
            return str(made.body["token"])
        account = self._settings.secret("ODAI_DOCTOR_ACCOUNT")
        key = self._settings.secret("ODAI_FIREBASE_API_KEY")
        if not (account and key and self._google):
            raise NotAuthenticated(
                "Set ODAI_TOKEN, or ODAI_DOCTOR_ACCOUNT and ODAI_FIREBASE_API_KEY "
                "(`terraform output` has both), to send a turn."
            )
        return await firebase_token(account, key, google=self._google, http=self._http)

    async def _accept_terms(self, token: str) -> None:
        terms = await self._ask("GET", "/terms", token=token)
        if terms.status == 200 and not terms.body.get("accepted", True):
            await self._ask("POST", "/terms", token=token, body={"version": terms.body["version"]})

    async def _ask(
        self, method: str, path: str, *, token: str = "", body: dict[str, Any] | None = None
    ) -> Asked:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        began = time.monotonic()
        async with self._http.request(
            method, self._url + path, headers=headers, json=body, allow_redirects=False
        ) as answer:
            text = await answer.text()
        try:
            told = json.loads(text) if text else None
        except ValueError:
            told = None
        ms = round((time.monotonic() - began) * 1000)
        return Asked(answer.status, told, answer.headers.get("Date", ""), ms)


def certificate_finding(until: dt.datetime, now: dt.datetime) -> Finding:
    """Return what to say of a certificate that is good `until`."""
    days = (until - now).days
    return Finding("certificate", f"good for {days} days", broken=days < _CERTIFICATE_DAYS)


async def firebase_token(
    account: str,
    api_key: str,
    *,
    google: GoogleRest,
    http: aiohttp.ClientSession,
    identity: str = _IDENTITY,
) -> str:
    """Return an ID token of the doctor's user, for whom service account `account` signs.

    Raises NotAuthenticated where it may not, VendorUnavailable.
    """
    now = int(time.time())
    claims = {
        "iss": account, "sub": account, "aud": _AUDIENCE, "uid": USER, "iat": now,
        "exp": now + 600,
    }  # fmt: skip
    path = f"/v1/projects/-/serviceAccounts/{account}:signJwt"
    try:
        signed = await google.call(
            "iamcredentials", "POST", path, body={"payload": json.dumps(claims)}
        )
    except GoogleRefusal as err:
        raise NotAuthenticated(f"Nobody may sign as {account}: {err.code}.") from err
    body = {"token": signed["signedJwt"], "returnSecureToken": True}
    url = f"{identity}/v1/accounts:signInWithCustomToken"
    async with http.post(url, params={"key": api_key}, json=body) as answer:
        told = await answer.json()
    if answer.status >= 500:
        raise VendorUnavailable("Firebase does not answer. Try again.")
    if answer.status != 200:
        raise NotAuthenticated(f"Firebase refused to sign the doctor in: {answer.status}.")
    return str(told["idToken"])
