"""Reading signed tokens (JWT): the checks that every kind of token shares, and how one is refused.

PyJWT checks the form and the signature; the claims are checked here, against an injected clock.
Each caller names the one algorithm it accepts: a token's own `alg` is only ever compared with it.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from common.documents import Clock
from common.errors import NotAuthenticated
from common.log import get_logger

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from jwt import PyJWS

Claims: TypeAlias = Mapping[str, Any]

SKEW_S: Final = 10
_MAX_TOKEN = 8192  # characters; an ID token has one to two thousand
_MAX_TIME = 253_402_300_799  # the last second a datetime can hold

_log = get_logger(__name__)


@cache
def _jws() -> PyJWS:
    import jwt  # cold start: a tenth of a second, and no webhook of others reads our tokens

    return jwt.PyJWS()


def refused(kind: str, reason: str, *, message: str = "Please sign in again.") -> NotAuthenticated:
    """Log which check failed, as a short code, and return the error that does not tell it."""
    _log.info("token refused", extra={"token_kind": kind, "reason": reason})
    return NotAuthenticated(message)


def key_id(token: str, *, kind: str) -> str:
    """Return the id of the key an RS256 token claims to be signed with. Raises NotAuthenticated."""
    if len(token) > _MAX_TOKEN:
        raise refused(kind, "too_long")
    from jwt import PyJWTError  # cold start, as above

    try:
        header = _jws().get_unverified_header(token)
    except (PyJWTError, ValueError) as err:
        raise refused(kind, "malformed") from err
    if header.get("alg") != "RS256":
        raise refused(kind, "algorithm")
    kid = header.get("kid")
    if not isinstance(kid, str):
        raise refused(kind, "key_missing")
    return kid


def verified(
    token: str, key: RSAPublicKey | bytes, *, algorithm: Literal["RS256", "HS256"], kind: str
) -> Claims:
    """Return the claims of a token whose signature holds under `key`. Raises NotAuthenticated."""
    if len(token) > _MAX_TOKEN:
        raise refused(kind, "too_long")
    from jwt import PyJWTError  # cold start, as above

    try:
        payload = _jws().decode_complete(token, key, algorithms=[algorithm])["payload"]
    except (PyJWTError, ValueError) as err:
        raise refused(kind, "signature") from err
    return _claims(payload, kind)


def unverified(token: str, *, kind: str) -> Claims:
    """Return the claims of a token that somebody else has verified; its signature is ignored."""
    unsigned = token[:_MAX_TOKEN].rpartition(".")[0] + "."
    from jwt import PyJWTError  # cold start, as above

    try:
        parts = _jws().decode_complete(unsigned, options={"verify_signature": False})
    except (PyJWTError, ValueError) as err:
        raise refused(kind, "malformed") from err
    return _claims(parts["payload"], kind)


def seconds(claims: Claims, name: str, *, kind: str) -> int:
    """Return a claim that is a time, in whole seconds since 1970. Raises NotAuthenticated."""
    value = claims.get(name)
    if type(value) is not int or not 0 <= value <= _MAX_TIME:  # a bool is an int as well
        raise refused(kind, f"{name}_malformed")
    return value


def lifetime(claims: Claims, *, clock: Clock, kind: str) -> tuple[dt.datetime, dt.datetime]:
    """Return when the token was issued and when it expires (aware), if it is valid now.

    Clocks may differ by SKEW_S. Raises NotAuthenticated.
    """
    issued, expires = seconds(claims, "iat", kind=kind), seconds(claims, "exp", kind=kind)
    now = clock().timestamp()
    if issued > now + SKEW_S:
        raise refused(kind, "issued_in_future")
    if expires <= now - SKEW_S:
        raise refused(kind, "expired")
    return dt.datetime.fromtimestamp(issued, dt.UTC), dt.datetime.fromtimestamp(expires, dt.UTC)


def _claims(payload: bytes, kind: str) -> Claims:
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError) as err:
        raise refused(kind, "malformed") from err
    if not isinstance(claims, dict):
        raise refused(kind, "malformed")
    return claims
