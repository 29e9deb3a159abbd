"""Errors that a button mends: no account is linked, not for this, or it no longer lets us in.

They are NotAllowed and ReauthRequired to everybody; a client that can draw a button finds here
what it says and where it leads.
"""

from __future__ import annotations

from typing import Self

from common.errors import NotAllowed, OdaiError, ReauthRequired
from common.oauth.flow import Provider, Scopes
from common.oauth.providers import PROVIDERS


class Linkable(OdaiError):
    """`path` is our own page where linking begins, `name` the service as users know it.

    `response_type` is that of the card; the original backend's clients know Google's own. `beside`
    is the message for whoever sees the button: an address opens where nobody is signed in.
    """

    def __init__(self, message: str, *, provider: Provider, path: str, beside: str = "") -> None:
        super().__init__(message)
        self._beside, self._provider = beside or message, provider
        self.provider = provider.slug
        self.name = provider.name
        self.path = path
        self.response_type = (
            "google_account_needed" if provider.slug == "google" else "account_needed"
        )

    def beside_button(self) -> Self:
        """Return the same error with the message for whoever sees the button."""
        return type(self)(self._beside, provider=self._provider, path=self.path)


class AccountNeeded(Linkable, NotAllowed):
    """The user has linked no account of the provider, or none that may do this."""


class AccountExpired(Linkable, ReauthRequired):
    """The linked account lets us in no longer."""


def expired(error: ReauthRequired, provider: str, scopes: Scopes) -> ReauthRequired:
    """Return the error with its button, where a tool noticed by itself that an account is dead.

    Slack, for one, says so with a status of success.
    """
    if isinstance(error, Linkable) or (known := PROVIDERS.get(provider)) is None:
        return error
    return AccountExpired(str(error), provider=known, path=known.login_path(scopes))
