"""Our own platform as a caller: task and event deliveries prove that they come from us.

`OidcCallers` checks the bearer token that Cloud Tasks, Pub/Sub, Scheduler and Eventarc attach;
`LocalCallers` signs and checks the deliveries of the embedded queue, so that a laptop's functions
are no more open than the cloud's.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from common.documents import Clock, now
from common.errors import NotAllowed
from common.identity.development import LocalSigner
from common.identity.signed import Claims, lifetime, refused, unverified
from common.identity.signing_keys import SigningKeys
from common.identity.users import bearer
from common.log import get_logger

_KIND = "caller"
_GOOGLE = ("https://accounts.google.com", "accounts.google.com")
_SIGNATURE_REMOVED = ".SIGNATURE_REMOVED_BY_GOOGLE"
_LOCAL_TTL_S = 300

_log = get_logger(__name__)


class Callers(Protocol):
    """Checks that a request was made by our own platform."""

    async def verify(self, authorization: str | None) -> str:
        """Return who called, given the Authorization header.

        Raises NotAuthenticated for no valid token, NotAllowed for somebody else's.
        """


class OidcCallers:
    """Google's OIDC bearer tokens, for one audience, from the service accounts in `emails`.

    Cloud Run with "require authentication" checks the token before us and may hand it on without
    its signature. `signature_checked_by_platform` accepts that form; set it only where the
    deployment requires authentication, for otherwise anybody can write such a token.
    """

    def __init__(
        self,
        *,
        audience: str,
        emails: Collection[str],
        keys: SigningKeys,
        signature_checked_by_platform: bool = False,
        clock: Clock = now,
    ) -> None:
        self._audience = audience
        self._emails = frozenset(emails)
        self._keys = keys
        self._platform_checks = signature_checked_by_platform
        self._clock = clock

    async def verify(self, authorization: str | None) -> str:
        """Return the service account's address.

        Raises NotAuthenticated, NotAllowed (another audience or account), VendorUnavailable.
        """
        claims = await self._claims(bearer(authorization))
        if claims.get("iss") not in _GOOGLE:
            raise refused(_KIND, "issuer")
        lifetime(claims, clock=self._clock, kind=_KIND)
        if claims.get("aud") != self._audience:
            raise _not_allowed("audience")
        email = claims.get("email")
        known = isinstance(email, str) and email in self._emails
        if not known or claims.get("email_verified") is not True:
            raise _not_allowed("account")
        return str(email)

    async def _claims(self, token: str | None) -> Claims:
        if token is None:
            raise refused(_KIND, "missing")
        if self._platform_checks and token.endswith(_SIGNATURE_REMOVED):
            return unverified(token, kind=_KIND)
        return await self._keys.verified(token, kind=_KIND)


class LocalCallers:
    """Signs the embedded queue's deliveries and recognises them."""

    def __init__(self, signer: LocalSigner) -> None:
        self._signer = signer

    @classmethod
    def open(cls, folder: Path, *, production: bool, clock: Clock = now) -> LocalCallers:
        """Use the key file in `folder`. Raises Misconfigured in production."""
        return cls(LocalSigner(folder, purpose="callers", production=production, clock=clock))

    def sign(self) -> str:
        """Return an Authorization header value for one delivery, good for five minutes."""
        return "Bearer " + self._signer.sign({}, ttl_s=_LOCAL_TTL_S)

    async def verify(self, authorization: str | None) -> str:
        """Return "local". Raises NotAuthenticated."""
        self._signer.read(bearer(authorization) or "")
        return "local"


def _not_allowed(reason: str) -> NotAllowed:
    _log.warning("caller refused", extra={"token_kind": _KIND, "reason": reason})
    return NotAllowed("This address serves the platform's own deliveries only.")
