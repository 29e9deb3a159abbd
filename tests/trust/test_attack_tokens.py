"""Tokens that are not for us, at every door: the endpoints' own list says which doors there are.

The services are set up as in production (Firebase and OIDC, no development tokens), over the
embedded store, and an authority of ours stands for Google's keys.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from flask import Flask

from common.bootstrap import Services
from common.errors import Misconfigured, NotAllowed, NotAuthenticated
from common.events.embedded import EmbeddedEvents
from common.identity import DevelopmentTokens, LocalCallers
from common.identity.members import TERMS
from common.identity.tickets import Purpose
from common.keys.local import LocalKeys
from common.loop import LoopThread
from common.settings import Settings
from common.store.sqlite import SqliteStore
from common.web.openapi import ENDPOINTS, Endpoint
from run.chat_stream.admission import identify
from run.chat_stream.app import create_app
from run.local.functions import mount_functions
from tests.identity.conftest import PROJECT, Authority, Clock, KeyServer

HOME = "https://odai.example"
INVOKER = "tasks@demo-project.iam.gserviceaccount.com"
ENVIRON = {
    "ODAI_ENV": "production", "ODAI_BACKEND": "google", "GOOGLE_CLOUD_PROJECT": PROJECT,
    "ODAI_INVOKER": INVOKER, "ODAI_PUBLIC_URL": HOME, "ODAI_SMALL_MODEL": "off",
    "ODAI_KMS_KEY": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
}  # fmt: skip
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SIGNED_IN = [each for each in ENDPOINTS if each.caller == "user"]
PLATFORM = [each for each in ENDPOINTS if each.caller == "platform"]


class Production:
    """The application as it is deployed, but for where it keeps things."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.clock = Clock()
        self.authority = Authority(self.clock)
        settings = Settings.from_env({**ENVIRON, "ODAI_DATA": str(folder), **environ})
        self.services = Services(settings, LoopThread())
        self.services.clock = self.clock
        kept = {
            "store": SqliteStore.open(folder / "store.sqlite"), "keys": LocalKeys.open(folder),
            "events": EmbeddedEvents(), "egress": KeyServer(self.authority),
        }  # fmt: skip
        vars(self.services).update(kept)
        self.file = folder / "store.sqlite"
        self.app: Flask = create_app(self.services)
        mount_functions(self.app, self.services)
        self.client = self.app.test_client()
        self.services.loop.run(self.services.members.accept_terms("uid1", TERMS))

    def ask(self, endpoint: Endpoint, authorization: str | None) -> Any:
        """Call an endpoint with ids and a body that fit nothing."""
        path = endpoint.path.replace("{", "").replace("}", "")
        headers = {"Authorization": authorization} if authorization is not None else {}
        return self.client.open(path, method=endpoint.method, json={}, headers=headers)

    def kept(self) -> set[tuple[Any, ...]]:
        """Return all documents but the audit trail, which notes refusals."""
        with closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)) as db:
            rows = db.execute("SELECT collection, id, version FROM documents")
            return {row for row in rows if row[0] != "audit"}


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    before = Services._of_process
    made = Production(tmp_path_factory.mktemp("production"))
    yield made
    Services._of_process = before
    made.services.close()


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _claims(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def _forged(good: str, authority: Authority, clock: Clock) -> dict[str, str]:
    """Return forgeries of a signed token: the claims are as they should be."""
    claims, (head, body, signature) = _claims(good), good.split(".")
    public = authority.kids["k1"].public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    certificate = authority.certificate("k1").encode()

    def by(key: Any, algorithm: str, **header: Any) -> str:
        header = {"kid": "k1", **header}
        return jwt.PyJWS().encode(json.dumps(claims).encode(), key, algorithm, header)

    def as_hmac(secret: bytes) -> str:  # the library refuses to sign with a public key
        import hashlib
        import hmac

        head = f"{_part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'k1'})}.{body}"
        mac = hmac.digest(secret, head.encode(), hashlib.sha256)
        return f"{head}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"

    none = {name: f"{_part({'alg': name, 'typ': 'JWT', 'kid': 'k1'})}.{body}."
            for name in ("none", "None", "NONE", "nOnE", "")}  # fmt: skip
    return {
        **{f"alg {name or 'empty'}": token for name, token in none.items()},
        "alg none with a signature": none["none"] + signature,
        "no signature": f"{head}.{body}.",
        "HS256 by the public key": as_hmac(public),
        "HS256 by the certificate": as_hmac(certificate),
        "HS256 by nothing": as_hmac(b""),
        "another's key": by(STRANGER, "RS256"),
        "another's key, with it in the header": by(
            STRANGER, "RS256", jwk=jwt.algorithms.RSAAlgorithm.to_jwk(
                STRANGER.public_key(), as_dict=True),
        ),
        "a key to be fetched": by(STRANGER, "RS256", jku="https://evil.example/k", x5u="https://e/"),
        "RS512 by the right key": by(authority.kids["k1"], "RS512"),
        "PS256 by the right key": by(authority.kids["k1"], "PS256"),
        "unknown kid": by(STRANGER, "RS256", kid="k9"),
        "kid as a path": by(STRANGER, "RS256", kid="../../../../dev/null"),
        "kid as SQL": by(STRANGER, "RS256", kid="x' UNION SELECT 'k'; --"),
        "kid as a number": f"{_part({'alg': 'RS256', 'kid': 1})}.{body}.{signature}",
        "kid as a list": f"{_part({'alg': 'RS256', 'kid': ['k1']})}.{body}.{signature}",
        "critical extension": by(authority.kids["k1"], "RS256", crit=["b64"], b64=False),
        "other claims, same signature": f"{head}.{_part({**claims, 'sub': 'victim'})}.{signature}",
        "four parts": f"{good}.{signature}",
        "signature removed": f"{head}.{body}.SIGNATURE_REMOVED_BY_GOOGLE",
        "longer than any token": good + "A" * 9000,
        "not a token": "odai",
        "JSON": json.dumps(claims).replace(" ", ""),
    }  # fmt: skip


def _users(production: Production) -> dict[str, str]:
    """Return user tokens that sign nobody in."""
    authority, clock = production.authority, production.clock
    token, now = authority.id_token, clock.seconds
    other = "other-project"
    folder = production.services.settings.data_dir
    development = DevelopmentTokens.open(folder, production=False, clock=clock)
    emulated = {**_claims(token()), "iss": f"https://securetoken.google.com/{PROJECT}"}
    return {
        **_forged(token(), authority, clock),
        "another project": token(aud=other, iss=f"https://securetoken.google.com/{other}"),
        "another audience": token(aud=other),
        "our audience among others": token(aud=[other, PROJECT]),
        "another issuer": token(iss=f"https://securetoken.google.com/{other}"),
        "issuer with more": token(iss=f"https://securetoken.google.com/{PROJECT}/"),
        "a session cookie": token(iss=f"https://session.firebase.google.com/{PROJECT}"),
        "a custom token": token(aud="https://identitytoolkit.googleapis.com/google.identity."
                                "identitytoolkit.v1.IdentityToolkit"),
        "an emulator's token": f"{_part({'alg': 'none', 'typ': 'JWT'})}.{_part(emulated)}.",
        "expired": token(iat=now - 7200, exp=now - 60),
        "issued in the future": token(iat=now + 600),
        "signed in in the future": token(auth_time=now + 600),
        "never expires": token(exp=None),
        "expires as text": token(exp=str(now + 600)),
        "no subject": token(sub=None),
        "empty subject": token(sub=""),
        "a path as subject": token(sub="a/../victim"),
        "an endless subject": token(sub="u" * 129),
        "no provider": token(firebase={}),
        "a development token": development.mint("uid1"),
        "a delivery of our queue": LocalCallers.open(folder, production=False, clock=clock).sign()
        .removeprefix("Bearer "),
        "a service account's OIDC token": authority.oidc_token(aud=HOME),
        "an OIDC token for the project": authority.oidc_token(aud=PROJECT),
        "a ticket": production.services.loop.run(
            production.services.tickets.mint(_identity(production), purpose="chat")
        ),
    }  # fmt: skip


def _identity(production: Production) -> Any:
    return production.services.loop.run(
        production.services.verifier.verify(production.authority.id_token())
    )


def test_the_list_is_long(production: Production) -> None:
    """There are many ways to be wrong, and no two are the same token."""
    tokens = _users(production)
    assert len(set(tokens.values())) == len(tokens) > 40


@pytest.mark.parametrize("endpoint", SIGNED_IN, ids=lambda each: each.id)
def test_no_such_token_opens_a_page(endpoint: Endpoint, production: Production) -> None:
    """Every page of a user's answers 401 to each of them, writes nothing, and knows a good one."""
    tokens = {name: f"Bearer {token}" for name, token in _users(production).items()}
    good = f"Bearer {production.authority.id_token()}"
    odd = {
        "an empty token": "Bearer ", "another scheme": good.replace("Bearer", "Basic"),
        "no scheme": good.partition(" ")[2], "two tokens": f"{good} {good}",
    }  # fmt: skip
    before = production.kept()
    for name, header in {**tokens, **odd}.items():
        answer = production.ask(endpoint, header)
        assert answer.status_code == 401, (name, answer.status_code, answer.text[:200])
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert production.kept() == before
    assert production.ask(endpoint, good).status_code != 401


@pytest.mark.parametrize("endpoint", PLATFORM, ids=lambda each: each.id)
def test_only_our_own_platform_calls_what_is_its_own(
    endpoint: Endpoint, production: Production
) -> None:
    """Another's service account, another audience, a user or a forger: refused, and noted."""
    token, now = production.authority.oidc_token, production.clock.seconds
    ours = {"aud": HOME, "email": INVOKER}
    folder = production.services.settings.data_dir
    local = LocalCallers.open(folder, production=False, clock=production.clock)
    refused = {
        **_forged(token(**ours), production.authority, production.clock),
        "another account": token(aud=HOME, email="evil@other.iam.gserviceaccount.com"),
        "another audience": token(aud="https://other.example"),
        "an audience that begins as ours": token(aud=f"{HOME}.evil.example"),
        "several audiences": token(aud=[HOME]),
        "an account nobody verified": token(**ours, email_verified=False),
        "verified as text": token(**ours, email_verified="true"),
        "several accounts": token(aud=HOME, email=[INVOKER]),
        "no account": token(aud=HOME, email=None),
        "another issuer": token(**ours, iss="https://accounts.evil.example"),
        "expired": token(**ours, iat=now - 7200, exp=now - 60),
        "from the future": token(**ours, iat=now + 600),
        "a user's token": production.authority.id_token(),
        "a user's token with the account": production.authority.id_token(email=INVOKER, aud=HOME),
        "a laptop's delivery": local.sign().removeprefix("Bearer "),
    }
    before = production.kept()
    for name, forged in refused.items():
        answer = production.ask(endpoint, f"Bearer {forged}")
        assert answer.status_code in (401, 403), (name, answer.status_code, answer.text[:200])
    assert production.ask(endpoint, None).status_code == 401
    assert production.kept() == before
    # What is ours goes on to the body, which says nothing.
    assert production.ask(endpoint, f"Bearer {token(**ours)}").status_code not in (401, 403)


def test_no_such_token_opens_a_socket(production: Production) -> None:
    """The sockets' `?token=` and subprotocol take what the pages take, and nothing else."""
    for forged in _users(production).values():
        context = production.app.test_request_context("/", query_string={"token": forged})
        with context, pytest.raises(NotAuthenticated):
            identify(production.services, purpose="chat")
    with production.app.test_request_context(
        "/chats/c1", query_string={"token": production.authority.id_token()}
    ):
        assert identify(production.services, purpose="chat").uid == "uid1"


def test_a_ticket_is_for_one_purpose_once(production: Production) -> None:
    """A ticket opens what it was made for; the first time only, and nothing else before that."""
    services, identity = production.services, _identity(production)
    purposes = get_args(Purpose)

    def present(ticket: str, purpose: Any, channel: str) -> Any:
        header = {"Sec-WebSocket-Protocol": f"odai.v1, ticket.{ticket}"}
        with production.app.test_request_context("/chats/c1", headers=header):
            return identify(services, purpose=purpose, channel=channel)

    for made_for in purposes:
        for claims in ({}, {"channel": "app"}, {"channel": "phone"}):
            mint = services.tickets.mint(identity, purpose=made_for, claims=claims)
            ticket = services.loop.run(mint)
            for other in set(purposes) - {made_for}:
                with pytest.raises(NotAuthenticated):
                    present(ticket, other, "")
            answer = production.client.get(f"/oauth_google/login?ticket={ticket}")
            assert answer.status_code == 302 and "link_error" in answer.location
            if made_for == "link":
                continue  # used up by that
            assert present(ticket, made_for, "").uid == "uid1"
            with pytest.raises(NotAuthenticated):
                present(ticket, made_for, "")
    for claims in ({}, {"channel": "phone"}):  # a call's ticket is not the app's
        ticket = services.loop.run(services.tickets.mint(identity, purpose="voice", claims=claims))
        with pytest.raises(NotAuthenticated):
            present(ticket, "voice", "app")


def test_strangers_have_no_account_in_production(production: Production) -> None:
    """Signed in anonymously, nobody links, calls or chats."""
    anonymous = production.authority.id_token(
        sub="nobody", provider_id="anonymous", firebase={"sign_in_provider": "anonymous"}
    )
    run = production.services.loop.run
    run(production.services.members.accept_terms("nobody", TERMS))
    header = f"Bearer {anonymous}"
    for endpoint in SIGNED_IN:
        if endpoint.function in ("plaid_link", "twilio_voice") or endpoint.path.endswith("/phone"):
            status = production.ask(endpoint, header).status_code
            assert status >= 400 or endpoint.method == "DELETE", (endpoint.id, status)
    context = production.app.test_request_context("/", query_string={"token": anonymous})
    with context, pytest.raises(NotAllowed):
        identify(production.services, purpose="chat")


@pytest.mark.parametrize(
    "environ",
    [
        {"FIREBASE_AUTH_EMULATOR_HOST": "127.0.0.1:9099"}, {"ODAI_BACKEND": "embedded"},
        {"ODAI_BACKEND": "emulators"}, {"ODAI_SANDBOX": "1"},
    ],
    ids=str,
)  # fmt: skip
def test_production_does_not_start_with_a_way_around(environ: dict[str, str]) -> None:
    """An emulator's tokens, a laptop's keys and a sandbox's users never reach production."""
    with pytest.raises(Misconfigured):
        Settings.from_env({**ENVIRON, **environ})
