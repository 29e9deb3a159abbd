"""An authenticated user, and what the rest of the code asks of a token: whose is it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Protocol, TypeGuard

from common.errors import NotAuthenticated
from common.identity.signed import refused

_MAX_UID = 128  # Firebase's limit
_MAX_NAME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A user whose token held. `provider` is Firebase's sign-in provider, or "development".

    `email` is present only where the provider verified it. `name` is what the user calls
    themselves: untrusted text, on one line. Neither is shown by `repr`.
    """

    uid: str
    provider: str
    anonymous: bool
    email: str | None = field(default=None, repr=False)
    name: str | None = field(default=None, repr=False)
    issued_at: dt.datetime
    expires_at: dt.datetime


class Verifier(Protocol):
    """Checks one kind of user token."""

    async def verify(self, token: str) -> Identity:
        """Return whose token it is. Raises NotAuthenticated; VendorUnavailable: retry."""


class AnyOf:
    """Accepts what any of its verifiers accepts.

    They are asked in the order given; a token never picks the one that checks it.
    """

    def __init__(self, *verifiers: Verifier) -> None:
        self._verifiers = verifiers

    async def verify(self, token: str) -> Identity:
        """Return the first verifier's answer that is not a refusal, else raise the last refusal."""
        refusal: NotAuthenticated | None = None
        for verifier in self._verifiers:
            try:
                return await verifier.verify(token)
            except NotAuthenticated as err:
                refusal = err
        raise refusal or refused("any", "no_verifier")


def bearer(header: str | None) -> str | None:
    """Return the token of an `Authorization: Bearer …` header, None where it is not one."""
    scheme, _, token = (header or "").strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or " " in token:
        return None
    return token


def valid_uid(uid: object) -> TypeGuard[str]:
    """Tell whether `uid` is a user id that may also be the id of a stored document.

    Firebase lets an administrator choose any 1 to 128 characters; a slash in one would reach into
    another document's path, and the store refuses the other shapes.
    """
    if not isinstance(uid, str) or not 0 < len(uid) <= _MAX_UID:
        return False
    reserved = uid in (".", "..") or (uid.startswith("__") and uid.endswith("__"))
    return uid.isprintable() and "/" not in uid and not reserved


def one_line(text: object) -> str | None:
    """Return a claim's text on one line, valid UTF-8, cut to 100 characters; None where empty."""
    if not isinstance(text, str):
        return None
    words = text.encode(errors="ignore").decode().split()
    return " ".join(words)[:_MAX_NAME] or None
