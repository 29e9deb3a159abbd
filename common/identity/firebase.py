"""Firebase Authentication's ID tokens, checked without the vendor's SDK.

https://firebase.google.com/docs/auth/admin/verify-id-tokens (2026-11-21): RS256, one hour, keys
from `google_certificates`. Custom tokens (another audience) and session cookies (another issuer)
look alike and are refused. Revocation is not looked up here: a token lives an hour at most.
"""

from __future__ import annotations

from collections.abc import Mapping

from common.documents import Clock, now
from common.identity.signed import SKEW_S, lifetime, refused, seconds
from common.identity.signing_keys import SigningKeys
from common.identity.users import Identity, one_line, valid_uid

_KIND = "firebase"


class FirebaseTokens:
    """The verifier of one Firebase project's ID tokens."""

    def __init__(self, project: str, keys: SigningKeys, *, clock: Clock = now) -> None:
        self._project = project
        self._issuer = f"https://securetoken.google.com/{project}"
        self._keys = keys
        self._clock = clock

    async def verify(self, token: str) -> Identity:
        """Return whose ID token it is.

        Raises NotAuthenticated, or VendorUnavailable while no signing keys can be had.
        """
        claims = await self._keys.verified(token, kind=_KIND)
        if claims.get("aud") != self._project:
            raise refused(_KIND, "audience")
        if claims.get("iss") != self._issuer:
            raise refused(_KIND, "issuer")
        issued_at, expires_at = lifetime(claims, clock=self._clock, kind=_KIND)
        if seconds(claims, "auth_time", kind=_KIND) > self._clock().timestamp() + SKEW_S:
            raise refused(_KIND, "signed_in_in_future")
        uid, sign_in = claims.get("sub"), claims.get("firebase")
        if not valid_uid(uid):
            raise refused(_KIND, "subject")
        provider = sign_in.get("sign_in_provider") if isinstance(sign_in, Mapping) else None
        if not isinstance(provider, str) or not provider:
            raise refused(_KIND, "provider")  # without it, an anonymous user could not be told
        return Identity(
            uid=uid,
            provider=provider,
            anonymous="anonymous" in (provider, claims.get("provider_id")),
            email=one_line(claims.get("email")) if claims.get("email_verified") is True else None,
            name=one_line(claims.get("name")),
            issued_at=issued_at,
            expires_at=expires_at,
        )
