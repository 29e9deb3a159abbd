"""What a tool can reach: its manifest's hosts, the operator's own server, public pages; no more."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from common.bootstrap import Services
from common.egress import Egress
from common.errors import NotAllowed
from common.settings import Settings
from common.tools import (
    Asker,
    Connector,
    Entry,
    Outcome,
    Registry,
    ToolContext,
    ToolResult,
    ToolRunner,
    tool,
)

NOON = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)


@tool(progress="Asking…")
async def ask_server(ctx: ToolContext, *, url: str) -> ToolResult:
    """Ask a server whose address is given."""
    reply = await ctx.http.get(url)
    return ToolResult(response_type="text", data=None, summary=reply.text())


@tool(progress="Reading…")
async def read_page(ctx: ToolContext, *, url: str) -> ToolResult:
    """Read a page whose address is given."""
    reply = await ctx.fetch_public(url)
    return ToolResult(response_type="text", data=None, summary=reply.text())


@tool(progress="Looking…")
async def tell_address(ctx: ToolContext) -> ToolResult:
    """Tell the address the user connects from."""
    return ToolResult(response_type="text", data=None, summary=ctx.address or "unknown")


def run(name: str, arguments: dict[str, Any], **manifest: Any) -> Outcome:
    """Run a tool of a connector with this manifest; {port} in an argument is a live server's."""

    async def play() -> Outcome:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(text="hello")

        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        server = web.AppRunner(app)
        await server.setup()
        await web.TCPSite(server, "127.0.0.1", 0).start()
        port = server.addresses[0][1]
        egress = Egress(host_map={"www.example.org": f"http://127.0.0.1:{port}"}, max_attempts=1)
        connector = Connector(
            name="Own", category="information", description="Own.", examples=(), **manifest
        )
        entry = Entry(
            slug="test_reach", connector=connector, tools=(ask_server, read_page, tell_address)
        )
        keys = {"OWN_URL": f"http://127.0.0.1:{port}/base/"}
        runner = ToolRunner(Registry([entry]), egress, secret=keys.get, clock=lambda: NOON)
        filled = {k: v.replace("{port}", str(port)) for k, v in arguments.items()}
        try:
            return await runner.run(name, filled, Asker(uid="u1", address="192.0.2.7"), key="k")
        finally:
            await egress.close()
            await server.cleanup()

    return asyncio.run(play())


def test_the_operators_own_server_may_be_private() -> None:
    """A search server in the next container is reached without TLS, for its operator set it."""
    outcome = run("ask_server", {"url": "http://127.0.0.1:{port}/base/x"}, server="OWN_URL")
    assert outcome.summary == "hello"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/",
        "http://localhost:{port}/",
        "https://127.0.0.1:{port}/",
        "http://user@127.0.0.1:{port}/",
        "http://www.example.org/",
    ],
)
def test_no_other_server_is_its_own(url: str) -> None:
    """Another port, name or scheme is another server."""
    outcome = run("ask_server", {"url": url}, server="OWN_URL")
    assert isinstance(outcome.error, NotAllowed)


def test_a_setting_is_not_enough() -> None:
    """Without the manifest's word the address in a setting opens nothing."""
    outcome = run("ask_server", {"url": "http://127.0.0.1:{port}/"})
    assert isinstance(outcome.error, NotAllowed)


def test_pages_are_for_those_who_declare_them() -> None:
    """A connector that does not say so cannot fetch pages, whatever a user names."""
    url = {"url": "http://www.example.org/"}
    assert run("read_page", url, public_web=True).summary == "hello"
    assert isinstance(run("read_page", url).error, NotAllowed)


def test_the_guard_stays_for_pages() -> None:
    """Private addresses stay closed to page readers, the operator's own server too."""
    url = {"url": "http://127.0.0.1:{port}/"}
    outcome = run("read_page", url, public_web=True, server="OWN_URL")
    assert not outcome.ok


def test_a_tool_knows_where_its_user_connects_from() -> None:
    """The address our own edge saw reaches the tools that may guess a place from it."""
    assert run("tell_address", {}).summary == "192.0.2.7"


def test_one_persons_account_is_not_everybodys(services: Callable[..., Services]) -> None:
    """In production nobody but the operator's own user sees or trades the operator's account."""
    shared = Settings.from_env(
        {
            "ODAI_ENV": "production", "ODAI_BACKEND": "google", "GOOGLE_CLOUD_PROJECT": "p",
            "ODAI_KMS_KEY": "k", "ODAI_INVOKER": "i", "ODAI_PUBLIC_URL": "https://odai.example",
            "ODAI_OWNER": "owner",
        }
    )  # fmt: skip
    made = services(ALPACA_API_KEY_ID="id", ALPACA_API_SECRET_KEY="secret")
    runner = ToolRunner(
        made.registry, made.egress, secret=made.settings.secret, clock=made.clock,
        is_owner=shared.is_owner,
    )  # fmt: skip
    name = next(t.name for t in made.registry.entries["alpaca"].tools if t.risk == "read")

    def code_for(uid: str) -> str:
        outcome = made.loop.run(runner.run(name, "{}", Asker(uid), key="k"))
        return outcome.error.code if outcome.error else "ok"

    assert code_for("somebody") == "not_allowed"
    assert code_for("owner") != "not_allowed"
