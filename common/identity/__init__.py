"""Who is calling: a user (Firebase or development token, one-time ticket) or our own platform.

The web edge and the sockets know only `Verifier`, `Tickets` and `Callers`; the composition root
decides which of them there are. A token never decides how it is checked.
"""

from __future__ import annotations

from common.identity.callers import Callers, LocalCallers, OidcCallers
from common.identity.development import DevelopmentTokens
from common.identity.firebase import FirebaseTokens
from common.identity.signing_keys import (
    SigningKey,
    SigningKeys,
    google_certificates,
    google_oidc_keys,
)
from common.identity.tickets import Ticket, Tickets
from common.identity.users import AnyOf, Identity, Verifier, bearer

__all__ = [
    "AnyOf",
    "Callers",
    "DevelopmentTokens",
    "FirebaseTokens",
    "Identity",
    "LocalCallers",
    "OidcCallers",
    "SigningKey",
    "SigningKeys",
    "Ticket",
    "Tickets",
    "Verifier",
    "bearer",
    "google_certificates",
    "google_oidc_keys",
]
