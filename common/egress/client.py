"""The outbound HTTP client: what may be called, how often, how long, with what retries."""

from __future__ import annotations

import asyncio
import json as jsonlib
import random
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from common.egress import guard
from common.egress.failures import from_status, retry_after
from common.egress.pace import Clock, Lane, Sleep, Slots
from common.egress.reads import SharedReads
from common.egress.reply import Reply
from common.egress.robots import MAX_BYTES as _ROBOTS_BYTES
from common.egress.robots import Robots
from common.egress.wire import Call, Policy, open_session, send
from common.errors import InvalidInput, NotAllowed, VendorRejected, VendorUnavailable

__all__ = ["Client", "Egress", "Policy", "Reply"]

_RETRIED = frozenset({429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_VENDOR_REDIRECTS = 3
_QUEUE_S = 5.0  # how long a call may wait for its place in a quota that all processes share
_PAGE_TYPES = "text/markdown, text/html;q=0.9, text/plain;q=0.8, */*;q=0.1"
_Session = Callable[[], aiohttp.ClientSession]
# The headers that may follow a redirect to another host: keys travel under too many other names.
_HARMLESS = frozenset({"accept", "accept-language"})


class Egress:
    """Everything outbound of one process; lives on the one event loop.

    `host_map` sends a host (exact or `*.example.com`) to another origin, such as
    `http://127.0.0.1:8080`, with path, query and `Host` unchanged: for simulators and replay.
    `slots`, called on first need, shares out the quotas that all processes have together.
    """

    def __init__(
        self,
        *,
        host_map: Mapping[str, str] | None = None,
        user_agent: str = "odai/1",
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        rng: random.Random | None = None,
        max_attempts: int = 3,
        public_ports: Collection[int] = (80, 443),
        lookup: guard.Lookup = guard.lookup,
        slots: Callable[[], Slots] | None = None,
    ) -> None:
        self._host_map = {host.lower(): _origin(where) for host, where in (host_map or {}).items()}
        self._user_agent = user_agent
        self._clock, self._sleep, self._rng = clock, sleep, rng or random.Random()
        self._max_attempts = max_attempts
        self._public_ports, self._lookup = public_ports, lookup
        self._slots = slots
        self._lanes: dict[str, Lane] = {}
        self._reads = SharedReads(clock)
        self._robots = Robots(self._fetch_robots, agent=user_agent.partition("/")[0], clock=clock)
        self._vendors: aiohttp.ClientSession | None = None
        self._public: aiohttp.ClientSession | None = None

    def client(self, policy: Policy, *, cache_s: float = 0.0) -> Client:
        """Return a client for `policy`; its GETs are shared and kept for `cache_s` seconds."""
        return Client(self, policy, cache_s)

    async def close(self) -> None:
        """Close the connections."""
        for session in (self._vendors, self._public):
            if session is not None:
                await session.close()
        self._vendors = self._public = None

    async def fetch_public(
        self,
        url: str,
        *,
        max_bytes: int = 5_000_000,
        timeout_s: float = 15.0,
        max_redirects: int = 5,
        accept: str = _PAGE_TYPES,
        robots: bool = False,
    ) -> Reply:
        """Get a page whose address came from outside, following redirects; any status comes back.

        Raises InvalidInput (no web address), NotAllowed (not a public one), VendorRejected (too
        large, too many redirects; with `robots`, a site that wants no programs) and
        VendorUnavailable.
        """
        deadline = self._clock() + timeout_s
        policy = Policy(name="That page", hosts=(), max_bytes=max_bytes)
        target = guard.public_url(url, ports=self._public_ports)
        for _ in range(max_redirects + 1):
            if robots:
                await self._robots.check(target)
            call = Call(policy=policy, method="GET", url=target, headers={"Accept": accept})
            reply = await self._send(call, self._public_session, deadline)
            onward = _location(reply, target)
            if onward is None:
                return reply
            target = self._next_page(target, onward)
        raise VendorRejected("That page redirects too often. Give another address.")

    async def read_page(self, url: str) -> Reply:
        """Get a page as `fetch_public` does, where its site lets programs read it."""
        return await self.fetch_public(url, robots=True)

    async def _fetch_robots(self, url: str) -> Reply:
        return await self.fetch_public(
            url, max_bytes=4 * _ROBOTS_BYTES, timeout_s=5.0, accept="text/plain, */*;q=0.1"
        )

    def _next_page(self, page: URL, onward: URL) -> URL:
        target = guard.public_url(str(onward), ports=self._public_ports)
        if page.scheme == "https" and target.scheme == "http":
            raise NotAllowed("That page leads to an unprotected one. Give another address.")
        return target

    async def perform(self, call: Call, cache_s: float) -> Reply:
        """Make a vendor call; see Client for what it raises."""
        if call.method == "GET" and call.data is None and cache_s > 0:
            return await self._reads.get(call.key, lambda: self._follow(call), max_age_s=cache_s)
        return await self._follow(call)

    async def _follow(self, call: Call) -> Reply:
        deadline = self._clock() + call.timeout_s
        for hop in range(_MAX_VENDOR_REDIRECTS + 1):
            reply = await self._try(call, deadline)
            if reply.status in call.expect or reply.status < 300:
                return reply
            onward = _location(reply, call.url) if call.method == "GET" else None
            if (
                onward is None
                or hop == _MAX_VENDOR_REDIRECTS
                or not self._allows(call.policy, onward)
            ):
                break
            call = _redirected(call, onward)
        raise from_status(reply)

    async def _try(self, call: Call, deadline: float) -> Reply:
        """Make the call until it is answered for good or its attempts or time are used up."""
        attempt = 1
        while True:
            lane = await self._enter(call.policy, deadline)
            asked = None
            try:
                reply = await self._exchange(call, lane, deadline)
                if reply.status not in _RETRIED or reply.status in call.expect:
                    return reply
                asked = retry_after(reply)
                failure = from_status(reply)
            except VendorUnavailable as err:
                failure = err
            pause = self._pause(call, attempt, asked)
            if pause is None or pause >= deadline - self._clock():
                raise failure from None
            await self._sleep(pause)
            attempt += 1

    async def _enter(self, policy: Policy, deadline: float) -> Lane:
        lane = self._lanes.get(policy.name)
        if lane is None:
            lane = self._lanes[policy.name] = Lane(
                policy.name,
                concurrency=policy.concurrency,
                per_second=policy.per_second,
                clock=self._clock,
                sleep=self._sleep,
            )
        await lane.enter(deadline - self._clock())
        try:
            await self._wait_for_quota(policy, deadline)
        except BaseException:
            lane.leave(None)
            raise
        return lane

    async def _wait_for_quota(self, policy: Policy, deadline: float) -> None:
        if policy.quota is None or self._slots is None:
            return
        patience = min(_QUEUE_S, deadline - self._clock())
        wait = await self._slots().claim(policy.name, policy.quota, patience=patience)
        if wait:
            await self._sleep(wait)

    async def _exchange(self, call: Call, lane: Lane, deadline: float) -> Reply:
        ok: bool | None = None
        try:
            with _span(call):
                reply = await self._send(call, self._session, deadline)
            ok = reply.status < 500
            return reply
        except VendorUnavailable:
            ok = False
            raise
        except VendorRejected:  # too large: the vendor is up
            ok = True
            raise
        finally:
            lane.leave(ok)

    def _pause(self, call: Call, attempt: int, asked: float | None) -> float | None:
        """Return the seconds to wait before the next attempt, None where there shall be none."""
        if not call.idempotent or attempt >= self._max_attempts:
            return None
        return self._rng.uniform(0.0, 0.25 * 2**attempt) if asked is None else asked

    async def _send(self, call: Call, session: _Session, deadline: float) -> Reply:
        dial, headers = self._route(call.url, call.headers)
        through = session() if dial is call.url else self._session()
        left = deadline - self._clock()
        return await send(through, call, dial=dial, headers=headers, timeout_s=left)

    def _route(self, url: URL, headers: Mapping[str, str]) -> tuple[URL, Mapping[str, str]]:
        """Return where `url` really goes, itself unless its host is mapped, and the headers."""
        origin = self._mapped(url)
        if origin is None:
            return url, headers
        dial = URL(f"{origin}{url.raw_path_qs}", encoded=True)
        return dial, {**headers, "Host": url.raw_host or ""}

    def _mapped(self, url: URL) -> str | None:
        host = _host(url)
        return next((to for name, to in self._host_map.items() if _matches(name, host)), None)

    def _allows(self, policy: Policy, url: URL) -> bool:
        plain = url.user is None and url.password is None
        if policy.server and plain and _same_server(url, policy.server):
            return True
        listed = any(_matches(name.lower(), _host(url)) for name in policy.hosts)
        secure = url.scheme == "https" and url.port == 443
        mapped = url.scheme in ("http", "https") and self._mapped(url) is not None
        return listed and plain and (secure or mapped)

    def check(self, policy: Policy, url: URL) -> None:
        """Raise NotAllowed unless `policy` lists the host of `url` and the way there is safe."""
        if not self._allows(policy, url):
            raise NotAllowed(f"{policy.name} may only be called at the hosts its manifest lists.")

    def _session(self) -> aiohttp.ClientSession:
        if self._vendors is None:
            self._vendors = open_session(self._user_agent)
        return self._vendors

    def _public_session(self) -> aiohttp.ClientSession:
        if self._public is None:
            resolver = guard.PublicResolver(self._lookup)
            self._public = open_session(self._user_agent, resolver=resolver)
        return self._public


class Client:
    """Calls to one vendor. 2xx and the statuses in `expect` come back, everything else raises:

        401, 403, 404, 400, 422, other 3xx and 4xx     VendorRejected(vendor_status)
        429, our own pace                              RateLimited(retry_after)
        5xx, time, connection, breaker open            VendorUnavailable
        a host that is not listed                      NotAllowed
        no request HTTP can carry                      InvalidInput

    `params` with the value None are left out; `timeout_s` is for the whole call.
    """

    def __init__(self, egress: Egress, policy: Policy, cache_s: float) -> None:
        self._egress, self._policy, self._cache_s = egress, policy, cache_s

    async def get(
        self,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        expect: tuple[int, ...] = (),
    ) -> Reply:
        """Read `url`, through the cache if the client has one."""
        return await self.request(
            "GET", url, params=params, headers=headers, timeout_s=timeout_s, expect=expect
        )

    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        form: Mapping[str, Any] | None = None,
        body: bytes | None = None,
        timeout_s: float | None = None,
        idempotent: bool | None = None,
        expect: tuple[int, ...] = (),
    ) -> Reply:
        """Send one of `json`, `form` or `body`, or nothing.

        `idempotent` permits retries; None means that GET and HEAD are.
        """
        method = method.upper()
        data, kind = _encoded(json, form, body)
        call = Call(
            policy=self._policy,
            method=method,
            url=self._target(url, params),
            headers={**kind, **(headers or {})},
            data=data,
            timeout_s=self._policy.timeout_s if timeout_s is None else timeout_s,
            idempotent=method in ("GET", "HEAD") if idempotent is None else idempotent,
            expect=expect,
        )
        return await self._egress.perform(call, self._cache_s)

    async def get_json(self, url: str, **same: Any) -> Any:
        """Read `url` and return its JSON; takes what `get` takes."""
        return (await self.get(url, **same)).json()

    async def post_json(self, url: str, *, json: Any, **same: Any) -> Any:
        """Post `json` and return the JSON answered; takes what `request` takes."""
        return (await self.request("POST", url, json=json, **same)).json()

    def _target(self, url: str, params: Mapping[str, Any] | None) -> URL:
        try:
            target = URL(url)
            target = target.extend_query(_query(params)) if params else target
        except (ValueError, TypeError):
            name = self._policy.name
            raise InvalidInput(f"The address for {name} cannot be read. Correct it.") from None
        self._egress.check(self._policy, target)
        return target


def _encoded(
    json: Any, form: Mapping[str, Any] | None, body: bytes | None
) -> tuple[bytes | None, dict[str, str]]:
    if sum(given is not None for given in (json, form, body)) > 1:
        raise ValueError("give one of json, form and body")
    if json is not None:
        return jsonlib.dumps(json).encode(), {"Content-Type": "application/json"}
    if form is not None:
        encoded = urlencode(_query(form), doseq=True).encode()
        return encoded, {"Content-Type": "application/x-www-form-urlencoded"}
    return body, {}


def _query(values: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: value for name, value in values.items() if value is not None}
    return {k: str(v).lower() if isinstance(v, bool) else v for k, v in known.items()}


def _origin(where: str) -> str:
    return (where if "://" in where else f"http://{where}").rstrip("/")


def _host(url: URL) -> str:
    return (url.raw_host or "").lower().removesuffix(".")


def _same_server(url: URL, server: str) -> bool:
    try:
        return url.origin() == URL(server).origin()
    except ValueError:
        return False


def _matches(pattern: str, host: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return host == pattern


def _location(reply: Reply, url: URL) -> URL | None:
    """Return where a redirect leads; None for other answers and unreadable addresses."""
    where = reply.headers.get("location", "")
    if reply.status not in _REDIRECTS or not where:
        return None
    try:
        return url.join(URL(where))
    except ValueError:
        return None


def _redirected(call: Call, url: URL) -> Call:
    if _host(url) == _host(call.url):
        return replace(call, url=url)
    harmless = {name: value for name, value in call.headers.items() if name.lower() in _HARMLESS}
    return replace(call, url=url, headers=harmless)


def _span(call: Call) -> AbstractContextManager[object]:
    """Open a span where tracing is set up; importing it here would cost 60 ms of cold start."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return nullcontext()
    span: AbstractContextManager[object] = trace.get_tracer(__name__).start_as_current_span(
        f"{call.method} {call.policy.name}", attributes={"peer.service": call.policy.name}
    )
    return span
