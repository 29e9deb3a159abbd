"""Sign-in for a laptop: tokens signed with a random key in a local file, never in production.

Issuer, audience and algorithm differ from Firebase's, so that neither verifier takes the other's
tokens. Deleting the key file signs everybody out.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hmac
import os
import secrets
from pathlib import Path

from common.documents import Clock, now
from common.errors import InvalidInput, Misconfigured
from common.identity.signed import Claims, lifetime, refused, verified
from common.identity.users import Identity, one_line, valid_uid

_FILE = "development.key"
_KEY_BYTES = 32


class LocalSigner:
    """Signs and checks this machine's own tokens for one purpose, with a key of that purpose.

    The key is derived from the key file in `folder`, made (mode 0600) where missing. Raises
    Misconfigured in production, before anything is read or written, and where the file cannot be
    used or does not hold a key.
    """

    def __init__(self, folder: Path, *, purpose: str, production: bool, clock: Clock) -> None:
        if production:
            raise Misconfigured("ODAI_ENV=production refuses development tokens: use Firebase.")
        self._key = hmac.digest(_read_key(folder / _FILE), purpose.encode(), "sha256")
        self._name = f"odai-development-{purpose}"
        self._clock = clock

    def sign(self, claims: Claims, *, ttl_s: int) -> str:
        """Return a token with these claims, valid `ttl_s` seconds from now."""
        import jwt  # cold start, as in `signed`

        issued = int(self._clock().timestamp())
        ours = {"iss": self._name, "aud": self._name, "iat": issued, "exp": issued + ttl_s}
        return jwt.encode({**claims, **ours}, self._key, algorithm="HS256")

    def read(self, token: str) -> tuple[Claims, tuple[dt.datetime, dt.datetime]]:
        """Return a token's claims, and when it was issued and expires. Raises NotAuthenticated."""
        claims = verified(token, self._key, algorithm="HS256", kind=self._name)
        if claims.get("iss") != self._name or claims.get("aud") != self._name:
            raise refused(self._name, "audience")
        return claims, lifetime(claims, clock=self._clock, kind=self._name)


class DevelopmentTokens:
    """Mints and verifies development tokens."""

    def __init__(self, signer: LocalSigner) -> None:
        self._signer = signer

    @classmethod
    def open(cls, folder: Path, *, production: bool, clock: Clock = now) -> DevelopmentTokens:
        """Use the key file in `folder`. Raises Misconfigured in production."""
        return cls(LocalSigner(folder, purpose="users", production=production, clock=clock))

    def mint(self, uid: str, *, name: str | None = None, ttl_s: int = 86_400 * 30) -> str:
        """Return a token for `uid`, valid `ttl_s` seconds. Raises InvalidInput for a bad uid."""
        if not valid_uid(uid):
            raise InvalidInput("A user id has 1 to 128 printable characters and no slash.")
        return self._signer.sign({"sub": uid, "name": name}, ttl_s=ttl_s)

    async def verify(self, token: str) -> Identity:
        """Return whose token it is. Raises NotAuthenticated."""
        claims, (issued_at, expires_at) = self._signer.read(token)
        return Identity(
            uid=claims["sub"],
            provider="development",
            anonymous=False,
            name=one_line(claims.get("name")),
            issued_at=issued_at,
            expires_at=expires_at,
        )


def _read_key(path: Path) -> bytes:
    try:
        if not path.exists():
            _create(path)
        path.chmod(0o600)  # a copied or restored file may have come back readable by others
        key = path.read_bytes()
    except OSError as err:
        raise Misconfigured(
            f"{_FILE} in ODAI_DATA cannot be used ({err.strerror}): make the folder writable."
        ) from err
    if len(key) != _KEY_BYTES:
        raise Misconfigured(f"{_FILE} in ODAI_DATA does not hold a key: delete it and start again.")
    return key


def _create(path: Path) -> None:
    """Write a new key as a whole file or not at all: of two processes starting, one's is kept."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(_KEY_BYTES))
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
