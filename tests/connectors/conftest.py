"""Replay: a tool run through the real outbound client against recordings on a loopback server.

A recording is a file `<tool>__<case>.json` beside the vendor's test:

    {"arguments": {…}, "now": "2026-11-22T15:00:00+00:00", "location": [41.9, -87.6],
     "exchanges": [{"request": {"host": …, "path": …, "query": {…}, "headers": {…}},
                    "response": {"status": 200, "headers": {…}, "json": … or "text": …}}]}

Only `exchanges` is required; a request's `query`, `headers` and `form` name what must be in it at
least, its `json` is the whole body. `timezone` is the user's. A vendor whose settings are no plain
keys has its own in `keys.json`; a linked account's token is "token-of-a-test".
`any__<failure>.json` holds one response in the vendor's own shape, for every tool of the vendor.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import web

from common.egress import Egress
from common.errors import NotAllowed
from common.tools import Entry, Location, Outcome, Registry, Tool, ToolContext, run_tool

HERE = Path(__file__).parent
NOW = "2026-11-22T15:00:00+00:00"
# Where public pages and an operator's own server are, in recordings.
NOBODYS = ("example.org", "*.example.org")


class Time:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def read(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)


@dataclass
class Linked:
    """The linked accounts of the user: all of them, or none."""

    any: bool = True
    asked: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    async def token(self, provider: str, scopes: tuple[str, ...]) -> str:
        self.asked.append((provider, scopes))
        if not self.any:
            raise NotAllowed(f"No {provider} account is connected. Connect it, then ask again.")
        return "token-of-a-test"


@dataclass
class Vendor:
    """Answers each request with its recording, or everything with `always`."""

    exchanges: list[dict[str, Any]]
    always: dict[str, Any] | None = None
    unexpected: list[str] = field(default_factory=list)
    requests: list[web.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        if request.path == "/robots.txt" and not self._records(request.path):
            return web.Response(status=404)
        self.requests.append(request)
        self.bodies.append(await request.read())
        if self.always is not None:
            return _response(self.always)
        for exchange in self.exchanges:
            if _fits(exchange["request"], request, self.bodies[-1]):
                self.exchanges.remove(exchange)
                return _response(exchange["response"])
        self.unexpected.append(f"{request.method} {request.host}{request.path_qs}")
        return web.Response(status=418)

    def _records(self, path: str) -> bool:
        return any(exchange["request"]["path"] == path for exchange in self.exchanges)

    def check(self) -> None:
        """Fail on requests that no recording answers and on recordings that nothing asked for."""
        assert not self.unexpected, f"unexpected requests: {self.unexpected}"
        unused = [exchange["request"] for exchange in self.exchanges]
        assert self.always is not None or not unused, f"unused recordings: {unused}"


def _fits(wanted: Mapping[str, Any], request: web.Request, body: bytes) -> bool:
    form = dict(parse_qsl(body.decode())) if "form" in wanted else {}
    return (
        wanted.get("method", "GET") == request.method
        and wanted["host"] == request.host
        and wanted["path"] in (request.path, request.raw_path.partition("?")[0])
        and all(request.query.get(name) == value for name, value in wanted.get("query", {}).items())
        and all(request.headers.get(k) == v for k, v in wanted.get("headers", {}).items())
        and all(form.get(name) == value for name, value in wanted.get("form", {}).items())
        and ("json" not in wanted or json.loads(body or b"null") == wanted["json"])
    )


def _response(recorded: Mapping[str, Any]) -> web.Response:
    if not {"text", "json"} & recorded.keys():
        return web.Response(status=recorded.get("status", 200), headers=recorded.get("headers"))
    text = recorded["text"] if "text" in recorded else json.dumps(recorded["json"])
    kind = "text/html" if "text" in recorded else "application/json"
    kind = recorded.get("content_type", kind)
    return web.Response(
        status=recorded.get("status", 200),
        headers=recorded.get("headers"),
        text=text,
        content_type=kind,
        charset=recorded.get("charset"),
    )


class Replay:
    """Runs tools of the registry; `requests` are those of the last run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = Registry.discover()
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        own = folder / "keys.json"
        self._keys: dict[str, str] = json.loads(own.read_text()) if own.exists() else {}

    def __call__(self, name: str, **changed: Any) -> Outcome:
        """Play the recording `name`, with its arguments `changed`."""
        case = json.loads((self.folder / f"{name}.json").read_text())
        tool = name.partition("__")[0]
        return self.run(
            tool,
            {**case.get("arguments", {}), **changed},
            *case["exchanges"],
            now=case.get("now", NOW),
            location=case.get("location"),
            timezone=case.get("timezone", "UTC"),
            address=case.get("address", ""),
        )

    def failing(self, tool: str, arguments: Mapping[str, Any], response: dict[str, Any]) -> Outcome:
        """Run `tool` while the vendor answers everything with `response`."""
        return self.run(tool, arguments, always=response)

    def declared(self, tool: str) -> Tool:
        """Return the tool; of interchangeable connectors' the one whose folder this is."""
        every = self.registry.providers(tool)
        return next((t for t in every if t.connector == self.folder.name), every[0])

    def context(
        self,
        tool: str,
        case: Mapping[str, Any],
        egress: Egress,
        secrets: Mapping[str, str] | None = None,
        accounts: Linked | None = None,
    ) -> tuple[Tool, ToolContext]:
        """Return the tool and what it may use in this `case`, its keys unless `secrets` are."""
        declared, place = self.declared(tool), case.get("location")
        entry = self.registry.entry_of(declared)
        usual = dict.fromkeys(entry.connector.secrets, "key-of-a-test") | self._keys
        keys = usual if secrets is None else secrets
        now = case.get("now") or NOW
        return declared, ToolContext(
            uid="u1",
            http=egress.client(entry.policy(keys.get), cache_s=declared.cache_s),
            secrets=keys.get,
            clock=lambda: dt.datetime.fromisoformat(now),
            timezone=case.get("timezone") or "UTC",
            location=Location(*place) if place else None,
            idempotency_key="act-1",
            address=case.get("address") or "",
            fetch_public=egress.read_page,
            accounts=accounts or Linked(),
            provider=entry.connector.account,
            scopes=entry.connector.scopes,
        )

    def run(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        *exchanges: dict[str, Any],
        always: dict[str, Any] | None = None,
        now: str = NOW,
        location: list[float] | None = None,
        timezone: str = "UTC",
        secrets: Mapping[str, str] | None = None,
        address: str = "",
        accounts: Linked | None = None,
    ) -> Outcome:
        """Run `tool` against exactly these exchanges; keys are there unless `secrets` says else."""
        entry = self.registry.entry_of(self.declared(tool))
        vendor = Vendor(list(exchanges), always)
        case = {"now": now, "location": location, "timezone": timezone, "address": address}

        async def play() -> Outcome:
            server, origin = await _serve(vendor)
            time = Time()
            egress = Egress(
                host_map=dict.fromkeys((*entry.connector.hosts, *NOBODYS), origin),
                clock=time.read,
                sleep=time.sleep,
            )
            declared, context = self.context(tool, case, egress, secrets, accounts)
            try:
                return await run_tool(declared, arguments, context)
            finally:
                await egress.close()
                await server.cleanup()

        outcome = asyncio.run(play())
        vendor.check()
        self.requests, self.bodies = vendor.requests, vendor.bodies
        return outcome


async def _serve(vendor: Vendor) -> tuple[web.AppRunner, str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", vendor.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


@pytest.fixture
def replay(request: pytest.FixtureRequest) -> Replay:
    """Play the recordings beside the test that asks."""
    return Replay(request.path.parent)


@pytest.fixture(scope="session")
def registry() -> Registry:
    """Return every connector there is."""
    return Registry.discover()


def entries() -> list[Entry]:
    """Return the connectors, for parametrizing."""
    return list(Registry.discover().entries.values())
