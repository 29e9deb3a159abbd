"""The `state` of a flow: whose it is, in which browser, for ten minutes, once.

The state is 256 random bits; the store sees its SHA-256 as the document's id and a body sealed
under it, so that a copy of the store starts nothing. The browser that starts a flow gets a cookie
with the state's signature, by a key that only the sealed body holds: a state read elsewhere (a log,
a shoulder, a referrer) is worth nothing without that cookie.
"""

from __future__ import annotations

import datetime as dt
import hmac
import json
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common import documents
from common.documents import Clock
from common.errors import Conflict
from common.oauth.flow import Failed, Scopes
from common.store import Create, Put, Store, expires_in

TTL_S: Final = 600
_LENGTH = 43  # 32 bytes in base64url
_NONCE = bytes(12)  # each state is its own key and seals once
_ADDRESS = re.compile(r"[^\\\x00-\x20\x7f]{0,2000}\Z")
_OUTCOMES = ("linked", "link_missing", "link_error", "link_message")
_AGAIN = "Start again from the assistant."


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A flow under way; `redirect` is where the browser goes in the end."""

    uid: str
    provider: str
    scopes: Scopes
    redirect: str
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Cookie:
    """What binds a flow to the browser; sent to our own host only, for TTL_S seconds."""

    name: str
    value: str = field(repr=False)
    secure: bool


class States:
    """Makes states and uses them up. `secure` is False only for plain HTTP on this machine."""

    def __init__(self, store: Store, *, clock: Clock, secure: bool) -> None:
        self._store = store
        self._clock = clock
        self._secure = secure

    async def begin(self, pending: Pending) -> tuple[str, Cookie]:
        """Return the state of a new flow and the cookie for the browser that starts it."""
        state, key = secrets.token_urlsafe(32), secrets.token_hex(32)
        body = json.dumps({**asdict(pending), "key": key}).encode()
        await self._store.commit(Create(_path(state), {
            "expires_at": expires_in(self._clock, TTL_S),
            "sealed": _cipher(state).encrypt(_NONCE, body, b"oauth"),
        }))  # fmt: skip
        return state, Cookie(self._cookie_name(state), _signature(state, key), self._secure)

    async def finish(self, state: str, cookies: Mapping[str, str]) -> Pending | Failed:
        """Use the state up and return its flow, if this browser started it.

        A state that arrives in another browser is refused and stays good in its own.
        """
        if not state:
            return Failed("state_missing", f"The sign-in's answer was incomplete. {_AGAIN}")
        found = None
        if len(state) == _LENGTH and state.isascii():
            found = await self._store.get(_path(state))
        if found is None:
            return Failed("state_unknown", f"This sign-in is not known here. {_AGAIN}")
        if "sealed" not in found.data:
            uid = documents.require(found.data, "uid", str)
            return Failed("state_used", f"This sign-in was finished already. {_AGAIN}", uid)
        pending, key = _opened(state, documents.require(found.data, "sealed", bytes))
        if documents.require(found.data, "expires_at", dt.datetime) <= self._clock():
            message = f"This sign-in took longer than ten minutes. {_AGAIN}"
            return Failed("state_expired", message, pending.uid)
        signature = cookies.get(self._cookie_name(state), "")
        if not hmac.compare_digest(signature.encode(), _signature(state, key).encode()):
            message = f"This sign-in was started in another browser. {_AGAIN}"
            return Failed("other_browser", message, pending.uid)
        # A trace stays until the document's time is up, so that a replay is told from a guess.
        used = {"expires_at": found.data["expires_at"], "uid": pending.uid}
        try:
            await self._store.commit(Put(found.path, used, if_version=found.version))
        except Conflict:
            return Failed("state_used", f"This sign-in was finished already. {_AGAIN}", pending.uid)
        return pending

    def _cookie_name(self, state: str) -> str:
        # One for each flow: two tabs may link two accounts at once.
        name = f"odai_link_{sha256(state.encode()).hexdigest()[:12]}"
        return f"__Host-{name}" if self._secure else name


def redirect_target(wanted: str, *, home: str, origins: Collection[str]) -> str | None:
    """Return the address to end at: a path of ours or a page of an allowed origin, else None."""
    if not wanted:
        return f"{home}/"
    if not _ADDRESS.match(wanted):
        return None
    if wanted.startswith("/"):
        return None if wanted.startswith("//") else home + wanted
    try:
        parts = urlsplit(wanted)
        origin = f"{parts.scheme}://{parts.netloc}".lower()
    except ValueError:
        return None
    allowed = {urlunsplit((*urlsplit(each)[:2], "", "", "")).lower() for each in (home, *origins)}
    if parts.scheme not in ("https", "http") or "@" in parts.netloc or origin not in allowed:
        return None
    return wanted


def with_query(address: str, **values: str) -> str:
    """Return an address with these query parameters, its other ones and its fragment kept.

    Outcomes of earlier flows are taken out.
    """
    parts = urlsplit(address)
    given = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(k, v) for k, v in given if k not in values and k not in _OUTCOMES]
    query = urlencode([*kept, *((k, v) for k, v in values.items() if v)])
    return urlunsplit(parts._replace(query=query, path=parts.path or "/"))


def _path(state: str) -> str:
    return f"oauth_states/{sha256(state.encode()).hexdigest()}"


def _cipher(state: str) -> AESGCM:
    # The prefix keeps the key apart from the document's id, which is a hash of the state too.
    return AESGCM(sha256(b"oauth state\0" + state.encode()).digest())


def _signature(state: str, key: str) -> str:
    return hmac.digest(key.encode(), state.encode(), "sha256").hex()


def _opened(state: str, sealed: bytes) -> tuple[Pending, str]:
    try:
        body = json.loads(_cipher(state).decrypt(_NONCE, sealed, b"oauth"))
    except InvalidTag as err:
        raise TypeError("a stored state was altered") from err
    key = body.pop("key")
    return Pending(**{**body, "scopes": tuple(body["scopes"])}), key
