"""Foreign failures in our words: the one place where they become errors of our tree.

A sentence names the vendor and says what to do. None quotes the foreign message, which may hold
the URL and, in its query, a key; for the same reason callers raise these `from None`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import zlib
from email.utils import parsedate_to_datetime

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from common.egress.reply import Reply
from common.errors import InvalidInput, OdaiError, RateLimited, VendorRejected, VendorUnavailable

# What a transport may raise; RuntimeError is how event loops report a transport closed meanwhile.
FOREIGN = (
    aiohttp.ClientError,
    HttpProcessingError,
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    asyncio.LimitOverrunError,
    asyncio.InvalidStateError,
    zlib.error,
)
_A_DAY = 86_400.0
_BAD_REQUEST = (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)


def from_exception(vendor: str, err: Exception) -> OdaiError:
    """Map one of FOREIGN: unsendable requests to InvalidInput, the rest to VendorUnavailable."""
    if isinstance(err, TimeoutError):
        return VendorUnavailable(f"{vendor} took too long to answer. Try again in a moment.")
    if isinstance(err, _BAD_REQUEST) or _is_plain_value_error(err):
        return InvalidInput(
            f"The request to {vendor} cannot be sent: correct the characters in its arguments."
        )
    return VendorUnavailable(f"{vendor} cannot be reached. Try again in a moment.")


def from_status(reply: Reply) -> OdaiError:
    """Map a status that the caller did not expect; the table is in the docstring of Client."""
    vendor, status = reply.vendor, reply.status
    if status == 429:
        wait = retry_after(reply)
        when = f"in {math.ceil(wait)} seconds" if wait is not None else "in a minute"
        return RateLimited(
            f"{vendor} takes no more requests now. Try again {when}.", retry_after=wait
        )
    if status >= 500:
        return VendorUnavailable(f"{vendor} has a problem of its own. Try again in a few minutes.")
    return VendorRejected(f"{vendor} {_refusal(status)}", vendor_status=status)


def too_large(vendor: str) -> VendorRejected:
    """Say that an answer passed the size cap."""
    return VendorRejected(f"{vendor} sent more than can be taken in. Ask for less at a time.")


def retry_after(reply: Reply) -> float | None:
    """Return the seconds a `Retry-After` header asks for, or None without one that can be read.

    A date is compared with the answer's own `Date`, so that the two clocks need not agree.
    """
    value = reply.headers.get("retry-after", "").strip()
    if value.isascii() and value.replace(".", "", 1).isdigit():
        return min(float(value), _A_DAY)
    then, now = _date(value), _date(reply.headers.get("date", ""))
    if then is None:
        return None
    wait = (then - (now or dt.datetime.now(dt.UTC))).total_seconds()
    return min(max(0.0, wait), _A_DAY)


def _refusal(status: int) -> str:
    if status in (401, 403):
        return "refused our key or permission. Check its key, or link the account again."
    if status in (404, 410):
        return "knows nothing by that name. Check the name or id, or search for it first."
    if status < 400:
        return "answered with a redirect that is not followed. Report this to the operator."
    return "did not accept the request. Change what was asked for."


def _is_plain_value_error(err: Exception) -> bool:
    return isinstance(err, ValueError) and not isinstance(err, (OSError, aiohttp.ClientError))


def _date(value: str) -> dt.datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
