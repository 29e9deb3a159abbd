"""What goes wrong at a model endpoint, mapped once to our errors, in words for the user."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from common.errors import (
    BudgetExceeded,
    InvalidInput,
    Misconfigured,
    OdaiError,
    RateLimited,
    VendorRejected,
    VendorUnavailable,
)

_BUSY = "The language model is busy. Please try again in a moment."
_DOWN = "The language model does not answer. Please try again in a moment."


class Refused(Exception):
    """An endpoint's answer that is not a success; `translated` makes it one of our errors.

    `code` is the endpoint's own. `again`: the same request may succeed later.
    """

    def __init__(self, status: int, code: Any, *, retry_after: float | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.code = code
        self.retry_after = retry_after
        self.again = False


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn `Refused` and the model libraries' exceptions into our own.

    The foreign message may quote the request, so it is not repeated.
    """
    import agents
    import aiohttp
    import openai

    try:
        yield
    except Refused as err:
        raise _refused(err.status, err.code, err.retry_after) from err
    except openai.APIStatusError as err:
        wait = _seconds(err.response.headers.get("retry-after"))
        raise _refused(err.status_code, err.code, wait) from err
    except (openai.APIConnectionError, openai.APITimeoutError) as err:
        raise VendorUnavailable(_DOWN) from err
    except openai.APIError as err:  # an error event inside a stream
        raise reported(err.code, "") from err
    except openai.OpenAIError as err:
        raise VendorUnavailable(_DOWN) from err
    except agents.AgentsException as err:
        raise unusable() from err
    except (OSError, EOFError, TimeoutError, aiohttp.ClientError) as err:
        raise VendorUnavailable(_DOWN) from err


def lacks_path(err: OdaiError) -> bool:
    """True where an endpoint does not know the path asked, as opposed to the model."""
    cause: Any = err.__cause__
    status = getattr(cause, "status", None) or getattr(cause, "status_code", None)
    return status == 404 and cause.code != "model_not_found"


def unusable() -> OdaiError:
    """Return the error for an answer that is none, or that nothing can be made of."""
    return VendorRejected("The language model answered in a form I cannot use.")


def reported(code: str | None, message: str | None) -> OdaiError:
    """Return our error for a code the endpoint reported inside a stream; `message` is unused."""
    if code in ("rate_limit_exceeded", "slow_down"):
        return RateLimited(_BUSY)
    if code == "insufficient_quota":
        return _no_quota()
    if code == "context_length_exceeded":
        return _too_long()
    if code in ("server_error", "vector_store_timeout", None):
        return VendorUnavailable("The language model failed on its side. Please try again.")
    return VendorRejected("The language model declined this request.")


def incomplete(output: list[Any], reason: str | None) -> list[Any]:
    """Return what of a cut response can be used: finished calls are dropped, text is kept.

    Raises VendorRejected where a filter stopped it or nothing was said.
    """
    if reason == "content_filter":
        raise VendorRejected("The language model's filter stopped this answer.")
    kept = [item for item in output if item.type == "message" and item.content]
    if not kept:
        raise VendorRejected("The answer was longer than the model may write. Ask for less.")
    return kept


def _refused(status: int, code: Any, retry_after: float | None) -> OdaiError:
    if code == "insufficient_quota":
        return _no_quota()
    if code == "context_length_exceeded" or status == 413:
        return _too_long()
    if status == 429:
        return RateLimited(_BUSY, retry_after=retry_after)
    if status in (401, 403):
        return Misconfigured("The language model refused our key: check OPENAI_API_KEY.")
    if status == 404:
        return Misconfigured("The endpoint does not know the model: check ODAI_MODEL.")
    if status >= 500 or status in (408, 409):
        return VendorUnavailable(_DOWN)
    return VendorRejected("The language model rejected the request.", vendor_status=status)


def _no_quota() -> OdaiError:
    return BudgetExceeded("The language model's account has no quota left. Add some, then retry.")


def _too_long() -> OdaiError:
    return InvalidInput("This conversation is longer than the model can read. Start a new chat.")


def _seconds(value: str | None) -> float | None:
    try:
        return float(value) if value else None
    except ValueError:  # an HTTP date: the caller's own backoff serves as well
        return None
