"""Google's public signing keys: fetched rarely, kept in memory, shared by all who check tokens.

The keys rotate about daily and are published ahead of use. What a stranger can send (unknown key
ids, garbage) costs at most one fetch a minute; an outage of the key server is bridged with the
keys at hand.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from common.documents import Clock, now
from common.errors import OdaiError, VendorUnavailable
from common.identity.signed import Claims, key_id, refused, verified
from common.log import get_logger

if TYPE_CHECKING:  # cold start: these, and aiohttp behind the client
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    from common.egress import Egress, Reply

_CERTIFICATES = (
    "https://www.googleapis.com/robot/v1/metadata/x509/securetoken@system.gserviceaccount.com"
)
_OIDC_KEYS = "https://www.googleapis.com/oauth2/v3/certs"
_MIN_BITS = 2048
_LONGEST = dt.timedelta(days=1)
_BETWEEN_FETCHES = dt.timedelta(minutes=1)
_GRACE = dt.timedelta(hours=6)

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key and the moment its certificate ends, where it has one."""

    public: RSAPublicKey
    not_after: dt.datetime | None = None


Fetch: TypeAlias = Callable[[], Awaitable[tuple[Mapping[str, SigningKey], float]]]


class SigningKeys:
    """Keys by their id (`kid`). `fetch` returns them with the seconds they may be kept.

    They are fetched again when that time is over, or when an unknown id is asked for, but never
    twice within a minute, so that a shorter time counts as a minute. Callers at the same moment
    share one fetch. Where a fetch fails the old keys serve six hours more.
    """

    def __init__(self, fetch: Fetch, *, clock: Clock = now) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: Mapping[str, SigningKey] = {}
        self._fresh_until = self._next_fetch = dt.datetime.min.replace(tzinfo=dt.UTC)
        self._fetches = 0
        self._fetching = asyncio.Lock()

    async def verified(self, token: str, *, kind: str) -> Claims:
        """Return the claims of an RS256 token signed with one of these keys, nothing else checked.

        Raises NotAuthenticated, and VendorUnavailable as `key` does; `kind` is for the log.
        """
        key = await self.key(key_id(token, kind=kind))
        if key is None:
            raise refused(kind, "key_unknown")
        return verified(token, key, algorithm="RS256", kind=kind)

    async def key(self, kid: str) -> RSAPublicKey | None:
        """Return the key, None where there is none of that id.

        Raises VendorUnavailable when no keys could be fetched: nobody can be told apart now.
        """
        if self._due(kid):
            await self.refresh()
        if not self._usable():
            raise VendorUnavailable("Sign-in cannot be checked right now. Please try again soon.")
        found = self._keys.get(kid)
        if found is None or (found.not_after and found.not_after <= self._clock()):
            return None
        return found.public

    async def refresh(self) -> None:
        """Fetch the keys now (at start-up, say), or wait for the fetch under way.

        A failure is logged and not raised.
        """
        seen = self._fetches
        async with self._fetching:
            if seen == self._fetches:
                await self._load()

    async def _load(self) -> None:
        try:
            keys, max_age_s = await self._fetch()
        except OdaiError as err:
            _log.warning("signing keys not fetched", extra={"reason": err.code})
        else:
            kept = min(dt.timedelta(seconds=max_age_s), _LONGEST)
            self._keys, self._fresh_until = keys, self._clock() + kept
        self._fetches += 1
        self._next_fetch = self._clock() + _BETWEEN_FETCHES

    def _due(self, kid: str) -> bool:
        if not self._usable():
            return True
        wanted = kid not in self._keys or self._clock() >= self._fresh_until
        return wanted and self._clock() >= self._next_fetch

    def _usable(self) -> bool:
        return bool(self._keys) and self._clock() - self._fresh_until < _GRACE


def google_certificates(egress: Egress) -> Fetch:
    """Return the fetch of the certificates that sign Firebase ID tokens."""

    async def fetch() -> tuple[Mapping[str, SigningKey], float]:
        reply = await _get(egress, _CERTIFICATES)
        return _all_of(reply.json(), _from_certificate), _max_age(reply)

    return fetch


def google_oidc_keys(egress: Egress) -> Fetch:
    """Return the fetch of the keys that sign Google's OIDC tokens (Tasks, Pub/Sub, Scheduler)."""

    async def fetch() -> tuple[Mapping[str, SigningKey], float]:
        reply = await _get(egress, _OIDC_KEYS)
        body = reply.json()
        listed = body.get("keys") if isinstance(body, dict) else None
        by_id = {str(jwk.get("kid")): jwk for jwk in listed or () if isinstance(jwk, dict)}
        return _all_of(by_id, _from_jwk), _max_age(reply)

    return fetch


async def _get(egress: Egress, url: str) -> Reply:
    from common.egress import Policy  # cold start, as above

    policy = Policy(name="Google sign-in", hosts=("www.googleapis.com",), timeout_s=5.0)
    return await egress.client(policy).get(url)


def _all_of(listed: Any, parse: Callable[[Any], SigningKey]) -> Mapping[str, SigningKey]:
    """Parse what can be parsed: one odd key must not lock everybody out."""
    from cryptography.exceptions import UnsupportedAlgorithm  # cold start, as above
    from jwt import PyJWTError

    keys = {}
    for kid, material in listed.items() if isinstance(listed, dict) else ():
        try:
            keys[kid] = parse(material)
        except (PyJWTError, ValueError, TypeError, UnsupportedAlgorithm):
            _log.warning("signing key not readable", extra={"kid": kid[:64]})
    if not keys:
        raise VendorUnavailable("Google sign-in sent no readable keys. Please try again soon.")
    return keys


def _from_certificate(pem: Any) -> SigningKey:
    from cryptography import x509  # cold start, as above

    certificate = x509.load_pem_x509_certificate(str(pem).encode())
    return SigningKey(_strong(certificate.public_key()), certificate.not_valid_after_utc)


def _from_jwk(jwk: Any) -> SigningKey:
    from jwt import PyJWK  # cold start, as above

    return SigningKey(_strong(PyJWK(jwk, algorithm="RS256").key))


def _strong(key: Any) -> RSAPublicKey:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # cold start, as above

    if not isinstance(key, RSAPublicKey) or key.key_size < _MIN_BITS:
        raise ValueError("not an RSA public key of 2048 bits or more")
    return key


def _max_age(reply: Reply) -> float:
    """Return the seconds the answer stays fresh: max-age less the time it spent in caches."""
    found = re.search(r"\bmax-age=(\d{1,9})\b", reply.headers.get("cache-control", ""))
    age = re.fullmatch(r"\d{1,9}", reply.headers.get("age", ""))
    return max(0, int(found[1] if found else 0) - int(age[0] if age else 0))
