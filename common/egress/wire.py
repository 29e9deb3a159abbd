"""One request and its answer, as aiohttp carries them: no retry, no redirect, no policy."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from common.egress.failures import FOREIGN, from_exception, too_large
from common.egress.pace import Quota
from common.egress.reply import Reply
from common.log import get_logger

_log = get_logger(__name__)

CONNECT_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a connector's manifest allows: the vendor as a user knows it, and its hosts.

    A host is exact or `*.example.com` (any name below it). `server` is the address of an operator's
    own server ("http://search:8080"), which may be private and unencrypted. `per_second` is the
    pace of this process, `quota` that of all processes together, `timeout_s` the whole call with
    its waits and retries, `max_bytes` the decoded body.
    """

    name: str
    hosts: tuple[str, ...]
    server: str = ""
    per_second: float | None = None
    quota: Quota | None = None
    concurrency: int = 8
    timeout_s: float = 10.0
    max_bytes: int = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call to a vendor, checked and encoded; `url` is the vendor's, mapped or not."""

    policy: Policy
    method: str
    url: URL
    headers: Mapping[str, str]
    data: bytes | None = None
    timeout_s: float = 10.0
    idempotent: bool = True
    expect: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """Name the read by everything that may change its answer, hashed: headers hold tokens."""
        headers = sorted((name.lower(), value) for name, value in self.headers.items())
        told = [self.policy.name, str(self.url), headers, self.timeout_s, sorted(self.expect)]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def open_session(
    user_agent: str, *, resolver: AbstractResolver | None = None
) -> aiohttp.ClientSession:
    """Open a session on the running loop: no cookies, no proxy from the environment.

    With a `resolver` every request looks its host up anew through it and connects to exactly the
    addresses it returned: no DNS cache and no kept connection can carry another answer.
    """
    connector = aiohttp.TCPConnector(
        limit=0,  # the vendors' lanes bound concurrency
        resolver=resolver,
        use_dns_cache=resolver is None,
        force_close=resolver is not None,
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_S),
        # What the standard library decodes, so that no optional package changes what we accept.
        headers={"User-Agent": user_agent, "Accept-Encoding": "gzip, deflate"},
    )
    # aiohttp would resend PUT and DELETE by itself on a dropped connection; retries are ours.
    session._retry_connection = False
    return session


async def send(
    session: aiohttp.ClientSession,
    call: Call,
    *,
    dial: URL,
    headers: Mapping[str, str],
    timeout_s: float,
) -> Reply:
    """Send `call` to `dial` and read the answer, whatever its status, within `timeout_s` seconds.

    Raises VendorUnavailable (time, connection), VendorRejected (answer too large) and InvalidInput
    (not a request that HTTP can carry). Logs failures without URL, headers or body.
    """
    facts = {"vendor": call.policy.name, "method": call.method}
    try:
        request = session.request(
            call.method, dial, headers=headers, data=call.data, allow_redirects=False
        )
        async with asyncio.timeout(timeout_s), request as response:
            body = await _read(response, call.policy)
    except FOREIGN as err:
        _log.warning("outbound call failed", extra={**facts, "failure": type(err).__name__})
        raise from_exception(call.policy.name, err) from None
    if response.status >= 400:
        _log.warning("outbound call refused", extra={**facts, "status": response.status})
    fields = {name.lower(): ", ".join(response.headers.getall(name)) for name in response.headers}
    return Reply(response.status, fields, body, str(call.url), call.policy.name)


async def _read(response: aiohttp.ClientResponse, policy: Policy) -> bytes:
    """Read the decoded body in pieces, and stop at the cap: a bomb never unfolds further."""
    body = bytearray()
    declared = response.content_length or 0
    async for piece in response.content.iter_any():
        body += piece
        if max(len(body), declared) > policy.max_bytes:
            response.close()
            raise too_large(policy.name)
    return bytes(body)
