"""Errors that the bank button mends: none is linked, or the bank wants its user to sign in again.

They are NotAllowed and ReauthRequired to everybody; a client that can draw a button finds here
what it says and where it leads.
"""

from __future__ import annotations

from common.errors import NotAllowed, OdaiError, ReauthRequired

LOGIN = "/auth/plaid/login"


class Linkable(OdaiError):
    """`path` is our own page where consent begins; the card is the original backend's."""

    provider = "plaid"
    name = "your bank"
    path = LOGIN
    response_type = "connect_plaid_account"


class BankNeeded(Linkable, NotAllowed):
    """The user has linked no bank."""


class BankExpired(Linkable, ReauthRequired):
    """The bank `item_id` wants its user to sign in again."""

    def __init__(self, message: str, item_id: str) -> None:
        super().__init__(message)
        self.path = f"{LOGIN}?item_id={item_id}"
