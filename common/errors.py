"""The one error tree, by what the caller must do about it.

    OdaiError
    ├── InvalidInput        correct the request            user, model   400
    ├── NotAuthenticated    sign in                        user          401
    ├── NotAllowed          ask somebody who may           user, model   403
    ├── NotFound            name something that exists     user, model   404
    ├── Conflict            read again, then retry         user          409
    ├── ReauthRequired      link the account again         user, model   401
    ├── RateLimited         wait `retry_after` seconds     user, model   429
    ├── BudgetExceeded      raise the limit or wait        user          429
    ├── VendorRejected      the vendor said no: final      user, model   502
    ├── VendorUnavailable   the vendor is down: retry      user, model   503
    └── Misconfigured       change a setting               operator      500

`str(error)` is written for whoever the last column but one names: it says what to do next and never
holds a secret, a token, a phone number or message text. What an operator needs beside it goes into
the log line that reports the error.
"""

from __future__ import annotations


class OdaiError(Exception):
    """Base of every error this code raises on purpose.

    `code` is stable and machine-readable, `status` the HTTP status at the web edge, `retryable`
    tells whether the same request may succeed later.
    """

    code = "internal"
    status = 500
    retryable = False


class InvalidInput(OdaiError):
    """The request cannot be understood; the message names the field and the form expected."""

    code = "invalid_input"
    status = 400


class NotAuthenticated(OdaiError):
    """No credentials, or ones that do not hold. The message never says which check failed."""

    code = "not_authenticated"
    status = 401


class NotAllowed(OdaiError):
    """The caller is known and may not do this."""

    code = "not_allowed"
    status = 403


class NotFound(OdaiError):
    """The thing named does not exist, or is not the caller's to see."""

    code = "not_found"
    status = 404


class Conflict(OdaiError):
    """Somebody else changed it first, or it exists already: read again, then decide."""

    code = "conflict"
    status = 409
    retryable = True


class ReauthRequired(OdaiError):
    """A linked account no longer accepts our token; the user must link it again."""

    code = "reauth_required"
    status = 401


class RateLimited(OdaiError):
    """Too many requests; `retry_after` is in seconds, None where the vendor did not say."""

    code = "rate_limited"
    status = 429
    retryable = True

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BudgetExceeded(OdaiError):
    """The user's or task's spending limit is reached; nothing was started."""

    code = "budget_exceeded"
    status = 429


class VendorRejected(OdaiError):
    """The vendor refused the request for good; `vendor_status` is its HTTP status, if any."""

    code = "vendor_rejected"
    status = 502

    def __init__(self, message: str, *, vendor_status: int | None = None) -> None:
        super().__init__(message)
        self.vendor_status = vendor_status


class VendorUnavailable(OdaiError):
    """The vendor, or one of our own backing services, does not answer now."""

    code = "vendor_unavailable"
    status = 503
    retryable = True


class Misconfigured(OdaiError):
    """A setting is missing or wrong; the message names it and its expected form."""

    code = "misconfigured"
    status = 500
