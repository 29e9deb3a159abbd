"""Google's JSON APIs over one authorised session: what the KMS, Tasks, Pub/Sub and Secret Manager
adapters share.

The official clients cost a function 0.1 to 0.5 s of import each; these four adapters need nine
methods between them (docs/decisions/0003-google-clients.md has the figures). Credentials stay
google-auth's business.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import aiohttp

from common.errors import Misconfigured, VendorUnavailable

Token: TypeAlias = Callable[[], Awaitable[str]]
_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class GoogleRefusal(Exception):
    """A final answer of 4xx: `code` is Google's (`NOT_FOUND`). Adapters map it; it goes no higher.

    `detail` is Google's message, for comparisons only: it may quote the request.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail


class GoogleRest:
    """Calls Google's APIs, retrying what may be retried.

    `root` replaces `https://<service>.googleapis.com` (an emulator's address). `token` returns a
    bearer token, None where none is needed. An attempt lasts at most `timeout_s`; there are
    `attempts` of them, `backoff_s` apart, doubling, with jitter.
    """

    def __init__(
        self,
        *,
        root: str | None = None,
        token: Token | None = None,
        attempts: int = 4,
        backoff_s: float = 0.2,
        timeout_s: float = 10.0,
    ) -> None:
        self._root = root
        self._token = token
        self._attempts = attempts
        self._backoff_s = backoff_s
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def call(
        self,
        service: str,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Make one call and return its JSON answer.

        Raises GoogleRefusal for a final 4xx, Misconfigured where the service account may not,
        VendorUnavailable once the attempts are spent.
        """
        root = self._root or f"https://{service}.googleapis.com"
        for attempt in range(self._attempts):
            if attempt:
                await asyncio.sleep(self._backoff_s * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))
            try:
                status, answer = await self._once(method, root + path, body, query)
            except (aiohttp.ClientError, TimeoutError, ValueError) as err:
                failure: Exception | None = err
                continue
            if status < 300:
                return answer
            if status not in _RETRIED:
                raise _refusal(service, status, answer)
            failure = None
        raise VendorUnavailable(f"Google's {service} does not answer. Try again.") from failure

    async def close(self) -> None:
        """Close the connections."""
        if self._session:
            await self._session.close()

    async def _once(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, str] | None,
    ) -> tuple[int, dict[str, Any]]:
        if self._session is None:  # made on the loop that uses it
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        headers = {"Authorization": f"Bearer {await self._token()}"} if self._token else {}
        async with self._session.request(
            method, url, json=body, params=query, headers=headers, allow_redirects=False
        ) as response:
            if response.status in _RETRIED:
                return response.status, {}
            answer = await response.json(content_type=None)
            return response.status, answer if isinstance(answer, dict) else {}


class DefaultToken:
    """Bearer tokens of the process's own Google identity, as google-auth finds it."""

    def __init__(self) -> None:
        self._credentials: Any = None
        self._lock = asyncio.Lock()

    async def __call__(self) -> str:
        """Return a token valid for some minutes; raises Misconfigured, VendorUnavailable."""
        if self._credentials is None or not self._credentials.valid:
            async with self._lock:
                if self._credentials is None or not self._credentials.valid:
                    await asyncio.to_thread(self._refresh)
        token: str = self._credentials.token
        return token

    def _refresh(self) -> None:
        # Here: 0.25 s of import that only a process with Google's adapters should pay.
        import google.auth
        import google.auth.exceptions
        import google.auth.transport.requests

        try:
            if self._credentials is None:
                self._credentials, _ = google.auth.default(scopes=[_SCOPE])
            self._credentials.refresh(google.auth.transport.requests.Request())
        except google.auth.exceptions.DefaultCredentialsError as err:
            raise Misconfigured(
                "No Google credentials: run `gcloud auth application-default login`, "
                "or give the service an account."
            ) from err
        except google.auth.exceptions.GoogleAuthError as err:
            raise VendorUnavailable("Google gives no access token. Try again.") from err


def crc32c(data: bytes) -> int:
    """Return the Castagnoli CRC of `data`; Python is fast enough for keys and secrets."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _CRC[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def encode(data: bytes) -> str:
    """Return `data` as JSON APIs carry bytes."""
    return base64.b64encode(data).decode()


def decode(answer: Mapping[str, Any], field: str) -> bytes:
    """Return the bytes of `answer[field]`; Google leaves an empty one out."""
    return base64.b64decode(answer.get(field, ""))


def _refusal(service: str, status: int, answer: Mapping[str, Any]) -> Exception:
    error = answer.get("error")
    error = error if isinstance(error, dict) else {}
    if status in (401, 403):
        return Misconfigured(f"This service's account may not use {service}: grant it the role.")
    return GoogleRefusal(str(error.get("status", status)), str(error.get("message", "")))


def _crc_entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC = tuple(_crc_entry(byte) for byte in range(256))
