"""An authority of our own in place of Google's: RSA keys, self-signed certificates, tokens."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from common.errors import VendorUnavailable
from common.identity import FirebaseTokens, SigningKeys, google_certificates, google_oidc_keys

START = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
PROJECT = "demo-project"
_PRIVATE = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(3)]


class Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> dt.datetime:
        return self.now

    def tick(self, seconds: float) -> None:
        self.now += dt.timedelta(seconds=seconds)

    @property
    def seconds(self) -> int:
        return int(self.now.timestamp())


class Authority:
    """Signs as Google would; `kids` maps key ids to the private keys that are published."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.kids = {"k1": _PRIVATE[0]}
        self.spare = list(_PRIVATE[1:])

    def rotate(self, kid: str) -> None:
        """Publish a new key under `kid`, and no other."""
        self.kids = {kid: self.spare.pop()}

    def certificate(self, kid: str, *, days: int = 14) -> str:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority.example")])
        key = self.kids[kid]
        made = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(START - dt.timedelta(days=1))
            .not_valid_after(START + dt.timedelta(days=days))
            .sign(key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM).decode()

    def certificates(self) -> dict[str, str]:
        return {kid: self.certificate(kid) for kid in self.kids}

    def jwks(self) -> dict[str, Any]:
        to_jwk = jwt.algorithms.RSAAlgorithm.to_jwk
        return {
            "keys": [
                {**to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", "alg": "RS256"}
                for kid, key in self.kids.items()
            ]
        }

    def id_token(self, *, header: Mapping[str, Any] | None = None, **changes: Any) -> str:
        """Return a good Firebase ID token with claims changed (None: left out)."""
        now = self.clock.seconds
        claims = {
            "iss": f"https://securetoken.google.com/{PROJECT}",
            "aud": PROJECT,
            "auth_time": now - 300,
            "user_id": "uid1",
            "sub": "uid1",
            "iat": now - 60,
            "exp": now + 3540,
            "name": "Ada Example",
            "email": "ada@example.com",
            "email_verified": True,
            "firebase": {"identities": {}, "sign_in_provider": "google.com"},
        }
        return self.sign({**claims, **changes}, header=header)

    def oidc_token(self, *, header: Mapping[str, Any] | None = None, **changes: Any) -> str:
        """Return the bearer that Cloud Tasks would send, with claims changed (None: left out)."""
        now = self.clock.seconds
        claims = {
            "iss": "https://accounts.google.com",
            "aud": "https://worker.example",
            "azp": "1080",
            "sub": "1080",
            "email": "tasks@demo-project.iam.gserviceaccount.com",
            "email_verified": True,
            "iat": now,
            "exp": now + 3600,
        }
        return self.sign({**claims, **changes}, header=header)

    def sign(self, claims: Mapping[str, Any], *, header: Mapping[str, Any] | None = None) -> str:
        kept = {name: value for name, value in claims.items() if value is not None}
        headers = {"kid": next(iter(self.kids)), **(header or {})}
        key = self.kids.get(headers["kid"] or "", _PRIVATE[0])
        if headers["kid"] is None:
            del headers["kid"]
        # Below the library's claims layer, which refuses to write the odd ones tests need.
        body = json.dumps(kept).encode()
        return jwt.PyJWS().encode(body, key, algorithm="RS256", headers=headers)


class KeyServer:
    """Google's key addresses behind an `Egress`-shaped front; counts what it is asked."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.asked: list[str] = []
        self.headers = {"cache-control": "public, max-age=18000, must-revalidate"}
        self.down = False
        self.body: Callable[[], object] | None = None

    def client(self, policy: Any) -> KeyServer:
        assert policy.hosts == ("www.googleapis.com",)
        return self

    async def get(self, url: str) -> Any:
        from common.egress import Reply

        self.asked.append(url)
        if self.down:
            raise VendorUnavailable("Google sign-in does not answer.")
        jwks = url.endswith("/oauth2/v3/certs")
        made = self.body or (self.authority.jwks if jwks else self.authority.certificates)
        return Reply(200, self.headers, json.dumps(made()).encode(), url)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authority(clock: Clock) -> Authority:
    return Authority(clock)


@pytest.fixture
def server(authority: Authority) -> KeyServer:
    return KeyServer(authority)


@pytest.fixture
def keys(server: Any, clock: Clock) -> SigningKeys:
    return SigningKeys(google_certificates(server), clock=clock)


@pytest.fixture
def oidc_keys(server: Any, clock: Clock) -> SigningKeys:
    return SigningKeys(google_oidc_keys(server), clock=clock)


@pytest.fixture
def firebase(keys: SigningKeys, clock: Clock) -> FirebaseTokens:
    return FirebaseTokens(PROJECT, keys, clock=clock)
