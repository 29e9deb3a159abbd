"""Firebase Authentication on loopback: its REST API for clients, and the keys of its tokens.

Answers and errors have the shapes of the real one (Identity Toolkit v1 and securetoken, November
2026): numbers of seconds are texts, an error's code stands first in its message. Passwords alone;
tokens are RS256, signed by a key whose certificate is served where Google serves its own::

    with FakeFirebase() as firebase:
        environ = firebase.environ
"""

from __future__ import annotations

import datetime as dt
import json
import secrets
import time
from typing import Any

import jwt
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fakes.served import Served

PROJECT, API_KEY = "demo-project", "web-key-of-a-test"
HOSTS = ("identitytoolkit.googleapis.com", "securetoken.googleapis.com", "www.googleapis.com")
_CERTIFICATES = "/robot/v1/metadata/x509/securetoken@system.gserviceaccount.com"
_KID = "f1"
# What a browser asks before it posts JSON to another origin.
_CORS = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "Content-Type"}


class Refused(Exception):
    """A refusal with its code, as `error.message` has it."""


class FakeFirebase(Served):
    """The server, in a thread of its own.

    `users` are those who signed up, by address; `asked` names every call; `mailed` who was sent a
    link to a new password. `seconds` is how long the tokens made from now on are said to last.
    """

    def __init__(self) -> None:
        self.users: dict[str, dict[str, str]] = {}
        self.refresh_tokens: dict[str, str] = {}
        self.asked: list[str] = []
        self.mailed: list[str] = []
        self.seconds = 3600
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def environ(self) -> dict[str, str]:
        """Return the settings that send the server and its client here."""
        return {
            "ODAI_FIREBASE_PROJECT": PROJECT,
            "ODAI_FIREBASE_API_KEY": API_KEY,
            "ODAI_EGRESS_MAP": ",".join(f"{host}={self.origin}" for host in HOSTS),
        }

    def disable(self, email: str) -> None:
        """Close an account: its tokens can no longer be renewed."""
        self.users[email]["disabled"] = "yes"

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/accounts:{method}", self._accounts)
        app.router.add_post("/v1/token", self._token)
        app.router.add_get(_CERTIFICATES, self._certificates)
        app.router.add_route("OPTIONS", "/{_:.*}", self._preflight)
        return app

    async def _preflight(self, _: web.Request) -> web.Response:
        return web.Response(headers=_CORS)

    async def _accounts(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        answers = {
            "signUp": self._sign_up, "signInWithPassword": self._sign_in, "sendOobCode": self._mail,
        }  # fmt: skip
        self.asked.append(method)
        try:
            self._check_key(request)
            return web.json_response(answers[method](await request.json()), headers=_CORS)
        except Refused as err:
            return _refusal(str(err))

    async def _token(self, request: web.Request) -> web.Response:
        self.asked.append("token")
        form = await request.post()
        try:
            self._check_key(request)
            if form.get("grant_type") != "refresh_token":
                raise Refused("INVALID_GRANT_TYPE")
            email = self.refresh_tokens.get(str(form.get("refresh_token")), "")
            if not email:
                raise Refused("INVALID_REFRESH_TOKEN")
            user = self.users[email]
            if "disabled" in user:
                raise Refused("USER_DISABLED")
        except Refused as err:
            return _refusal(str(err))
        token = self._id_token(email)
        return web.json_response(
            {
                "access_token": token, "expires_in": str(self.seconds), "token_type": "Bearer",
                "refresh_token": str(form["refresh_token"]), "id_token": token,
                "user_id": user["localId"], "project_id": "1080",
            },
            headers=_CORS,
        )  # fmt: skip

    def _sign_up(self, body: dict[str, Any]) -> dict[str, Any]:
        email, password = str(body.get("email", "")).lower(), str(body.get("password", ""))
        if "@" not in email:
            raise Refused("INVALID_EMAIL")
        if email in self.users:
            raise Refused("EMAIL_EXISTS")
        if len(password) < 6:
            raise Refused("WEAK_PASSWORD : Password should be at least 6 characters")
        self.users[email] = {"localId": secrets.token_hex(14), "password": password}
        return {"kind": "identitytoolkit#SignupNewUserResponse", **self._granted(email)}

    def _sign_in(self, body: dict[str, Any]) -> dict[str, Any]:
        email = str(body.get("email", "")).lower()
        user = self.users.get(email)
        if user is None or user["password"] != body.get("password"):
            raise Refused("INVALID_LOGIN_CREDENTIALS")
        if "disabled" in user:
            raise Refused("USER_DISABLED")
        kind = {"kind": "identitytoolkit#VerifyPasswordResponse", "displayName": ""}
        return {**kind, "registered": True, **self._granted(email)}

    def _mail(self, body: dict[str, Any]) -> dict[str, Any]:
        if body.get("requestType") != "PASSWORD_RESET":
            raise Refused("INVALID_REQ_TYPE")
        self.mailed.append(str(body["email"]))
        return {"kind": "identitytoolkit#GetOobConfirmationCodeResponse", "email": body["email"]}

    def _granted(self, email: str) -> dict[str, Any]:
        refresh = secrets.token_urlsafe(40)
        self.refresh_tokens[refresh] = email
        return {
            "localId": self.users[email]["localId"], "email": email,
            "idToken": self._id_token(email), "refreshToken": refresh,
            "expiresIn": str(self.seconds),
        }  # fmt: skip

    def _id_token(self, email: str) -> str:
        now, uid = int(time.time()), self.users[email]["localId"]
        claims = {
            "iss": f"https://securetoken.google.com/{PROJECT}", "aud": PROJECT, "auth_time": now,
            "user_id": uid, "sub": uid, "iat": now, "exp": now + 3600, "email": email,
            "email_verified": False,
            "firebase": {"identities": {"email": [email]}, "sign_in_provider": "password"},
        }  # fmt: skip
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": _KID})

    async def _certificates(self, _: web.Request) -> web.Response:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "securetoken.example")])
        now = dt.datetime.now(dt.UTC)
        made = (
            x509.CertificateBuilder(name, name, self._key.public_key(), x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=14))
            .sign(self._key, hashes.SHA256())
        )
        pem = made.public_bytes(serialization.Encoding.PEM).decode()
        body = json.dumps({_KID: pem})
        headers = {"Cache-Control": "public, max-age=20000"}
        return web.Response(text=body, content_type="application/json", headers=headers)

    def _check_key(self, request: web.Request) -> None:
        if request.query.get("key") != API_KEY:
            raise Refused("API key not valid. Please pass a valid API key.")


def _refusal(message: str) -> web.Response:
    error = {
        "code": 400, "message": message,
        "errors": [{"message": message, "domain": "global", "reason": "invalid"}],
    }  # fmt: skip
    return web.json_response({"error": error}, status=400, headers=_CORS)
