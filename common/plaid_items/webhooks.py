"""Plaid's webhooks: who really sent one. Checked before a byte of the body is believed.

The header `Plaid-Verification` is a JWT signed with one of Plaid's keys (ES256), a few minutes old
at most, that holds the SHA-256 of the raw body. https://plaid.com/docs/api/webhooks/
webhook-verification/
"""

from __future__ import annotations

import datetime as dt
import hmac
import json
import re
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any, Final, TypeAlias

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from common.documents import Clock
from common.errors import NotFound, RateLimited
from common.identity.signed import SKEW_S, refused, seconds

Fetch: TypeAlias = Callable[[str], Awaitable[Mapping[str, Any]]]

MAX_AGE_S: Final = 300
_KIND: Final = "plaid webhook"
_MAX_TOKEN: Final = 4096
_KEPT: Final = dt.timedelta(hours=6)
_KEPT_UNKNOWN: Final = dt.timedelta(minutes=5)
_MAX_UNKNOWN: Final = 100
_FETCHES_A_MINUTE: Final = 20
_jws = jwt.PyJWS()


class WebhookKeys:
    """Plaid's keys by their id, fetched when first named and kept for six hours.

    Strangers can name any id: unknown ones are remembered for a while, beside the known ones so
    that they push none of those out, and fetches are few a minute.
    """

    def __init__(self, fetch: Fetch, *, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, tuple[EllipticCurvePublicKey, dt.datetime]] = {}
        self._unknown: OrderedDict[str, dt.datetime] = OrderedDict()
        self._fetched: deque[dt.datetime] = deque()

    async def key(self, kid: str) -> EllipticCurvePublicKey | None:
        """Return the key, None where Plaid has none of that id or it has expired.

        Raises VendorUnavailable, and RateLimited where too many unknown ids were asked for.
        """
        now = self._clock()
        known = self._keys.get(kid)
        if known and now < known[1]:
            return known[0]
        if now < self._unknown.get(kid, now):
            return None
        self._count(now)
        try:
            key = _parsed(await self._fetch(kid))
        except NotFound:
            key = None
        if key is None:
            self._keys.pop(kid, None)
            self._unknown[kid] = now + _KEPT_UNKNOWN
            if len(self._unknown) > _MAX_UNKNOWN:
                self._unknown.popitem(last=False)
            return None
        self._keys[kid] = (key, now + _KEPT)
        return key

    def _count(self, now: dt.datetime) -> None:
        while self._fetched and now - self._fetched[0] > dt.timedelta(minutes=1):
            self._fetched.popleft()
        if len(self._fetched) >= _FETCHES_A_MINUTE:
            raise RateLimited("Too many unknown keys at once.", retry_after=60.0)
        self._fetched.append(now)


async def check_webhook(
    token: str | None, body: bytes, *, keys: WebhookKeys, clock: Clock
) -> dict[str, Any]:
    """Return the JSON of a webhook that Plaid signed within five minutes. NotAuthenticated else."""
    if not token or len(token) > _MAX_TOKEN:
        raise refused(_KIND, "no_token")
    key = await keys.key(_key_id(token))
    if key is None:
        raise refused(_KIND, "key_unknown")
    try:
        payload = _jws.decode_complete(token, key, algorithms=["ES256"])["payload"]
        claims = json.loads(payload)
    except (jwt.PyJWTError, ValueError, RecursionError) as err:
        raise refused(_KIND, "signature") from err
    if not isinstance(claims, dict):
        raise refused(_KIND, "malformed")
    age = clock().timestamp() - seconds(claims, "iat", kind=_KIND)
    if age > MAX_AGE_S or age < -SKEW_S:
        raise refused(_KIND, "too_old" if age > 0 else "issued_in_future")
    claimed = claims.get("request_body_sha256")
    if not isinstance(claimed, str) or not hmac.compare_digest(
        claimed.encode(), sha256(body).hexdigest().encode()
    ):
        raise refused(_KIND, "body_altered")
    return _event(body)


def _key_id(token: str) -> str:
    try:
        header = _jws.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError) as err:
        raise refused(_KIND, "malformed") from err
    if header.get("alg") != "ES256":
        raise refused(_KIND, "algorithm")
    kid = header.get("kid")
    if not isinstance(kid, str) or not re.fullmatch(r"[\w-]{1,64}", kid):
        raise refused(_KIND, "key_missing")
    return kid


def _event(body: bytes) -> dict[str, Any]:
    try:
        event = json.loads(body)
    except (ValueError, RecursionError) as err:
        raise refused(_KIND, "body_unreadable") from err
    if not isinstance(event, dict):
        raise refused(_KIND, "body_unreadable")
    return event


def _parsed(jwk: Mapping[str, Any]) -> EllipticCurvePublicKey | None:
    """Return the public key, None for an expired or odd one."""
    if jwk.get("expired_at") is not None or jwk.get("crv") != "P-256":
        return None
    try:
        key = jwt.PyJWK(dict(jwk), algorithm="ES256").key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return key if isinstance(key, EllipticCurvePublicKey) else None
