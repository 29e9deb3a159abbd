"""A vendor on loopback and a model that uses it: both do what the fault plan says, on the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from common.egress import Quota
from common.tools import Connector, Entry, ToolContext, ToolResult, tool
from tests.fakes.openai_responses import (
    Answer,
    Calls,
    Cut,
    HttpError,
    Raw,
    Reply,
    StreamError,
    Text,
)
from tests.fakes.served import Served
from tests.trust.faults import PAUSE, Plan

HOST = "api.shop.example"
SILENCE = 2.0  # seconds until a model or vendor that says nothing is given up
HELLO = "Good morning"
PRICE = "What is the price at the shop of this"
ORDER = "Order this at the shop"
SEARCH = "Search slowly for whales"
DIG = "Search slowly and long for whales"
BOOK = "Book this slowly"
_WIRE = ("error", "busy", "refused", "timeout", "slow", "lost", "torn", "garbled")
_MODEL = (*_WIRE, "failed")

CONNECTOR = Connector(
    name="Shop",
    category="shopping",
    description="Tells prices and orders things.",
    examples=("What is the price of tea?", "Order tea", "How much is tea?"),
    keywords=("price", "order", "shop"),
    hosts=(HOST,),
    quota=Quota(1000, 1.0),
)


@tool(progress="Asking the price…", timeout_s=SILENCE)
async def get_price(ctx: ToolContext, *, item: str) -> ToolResult:
    """Tell the price of something.

    Args:
        item: What it is.
    """
    found = await ctx.http.get_json(f"https://{HOST}/prices/{item}")
    return ToolResult(
        response_type="price", data=found, summary=f"{item} costs {found['price']} euros."
    )


@tool(progress="Ordering…", risk="external", timeout_s=SILENCE)
async def order(ctx: ToolContext, *, item: str) -> ToolResult:
    """Order something.

    Args:
        item: What it is.
    """
    made = await ctx.http.post_json(f"https://{HOST}/orders", json={"item": item})
    return ToolResult(response_type="order", data=made, summary=f"Ordered {item}.")


_TOOLS = (get_price, order)
ENTRY = Entry(__name__.rpartition(".")[2], CONNECTOR, _TOOLS)


class Shop(Served):
    """The vendor; `orders` is what it was asked to do, each time it was."""

    cancels = True

    def __init__(self, plan: Plan) -> None:
        self.orders: list[str] = []
        self._plan = plan

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/prices/{item}", self._price)
        app.router.add_post("/orders", self._order)
        return app

    async def _price(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, "egress GET", {"price": 7})

    async def _order(self, request: web.Request) -> web.StreamResponse:
        item = (await request.json())["item"]
        return await self._answer(request, "egress POST", {"ordered": item}, does=item)

    async def _answer(
        self, request: web.Request, label: str, body: Any, does: str = ""
    ) -> web.StreamResponse:
        kind = self._plan.arrive(label, _WIRE)
        if kind == "timeout":
            await asyncio.sleep(30.0)
        if kind == "slow":
            await asyncio.sleep(PAUSE)
        status = {"error": 503, "busy": 429, "refused": 422}.get(kind, 200)
        if status != 200:
            return web.json_response({"message": "no"}, status=status)
        if does:
            self.orders.append(does)
        text = json.dumps(body).encode()
        if kind in ("lost", "torn"):
            if kind == "torn":
                response = web.StreamResponse(headers={"Content-Length": str(len(text))})
                await response.prepare(request)
                await response.write(text[:-3])
            assert request.transport
            request.transport.abort()
            return web.Response()
        body_sent = text[: len(text) // 2] if kind == "garbled" else text
        return web.Response(body=body_sent, content_type="application/json")


class Script:
    """The model: it does what the last prompt says, and tells what came of it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def answer(self, body: dict[str, Any]) -> Answer:
        """Answer a turn's request."""
        return self._spoilt("model", _said(body))

    def aside(self, body: dict[str, Any]) -> Answer | None:
        """Answer the small model's questions; None for the turns'."""
        form = body.get("text", {}).get("format", {})
        if form.get("type") != "json_schema":
            return None
        filled: dict[str, Any] = {"moved": True, "title": "A talk"}
        if form["name"] == "_Thoughts":
            filled = {"suggestions": [], "missing": "", "reason": "other"}
        return self._spoilt(f"small {form['name']}", Text(json.dumps(filled)))

    def _spoilt(self, label: str, said: Text | Calls) -> Answer:
        match self._plan.arrive(label, _MODEL):
            case "error":
                return HttpError(500)
            case "busy":
                return HttpError(429, retry_after=0.05)
            case "refused":
                return HttpError(400)
            case "timeout":
                return Reply(said, first_delay_s=30.0)
            case "slow":
                return Reply(said, first_delay_s=PAUSE)
            case "lost":
                return Cut(None)
            case "torn":
                return Cut(1 if isinstance(said, Text) else 0, of=said)
            case "garbled":
                half = b'event: response.output_text.delta\ndata: {"type":"response.output_te'
                return Raw((half,), cut=True)
            case "failed":
                return StreamError(after=1 if isinstance(said, Text) else 0, of=said)
        return said


def _said(body: dict[str, Any]) -> Text | Calls:
    items: Sequence[dict[str, Any]] = body["input"]
    names = {i["call_id"]: i["name"] for i in items if i.get("type") == "function_call"}
    asked = [i["content"] for i in items if i.get("role") == "user"]
    wish, _, what = (asked[-1] if asked else "").partition(": ")
    last = items[-1]
    if last.get("role") == "user":
        if wish == PRICE:
            return Calls([("get_price", {"item": what})])
        if wish == ORDER:
            return Calls([("transfer_to_faults_shop", {})])
        if wish == SEARCH:
            return Calls([("search_slowly", {"topic": what, "seconds": 0.02})])
        if wish == DIG:
            return Calls([("search_slowly", {"topic": what, "seconds": 0.3})])
        if wish == BOOK:
            return Calls([("transfer_to_acts", {})])
    match names.get(str(last.get("call_id"))):
        case "transfer_to_faults_shop":
            return Calls([("order", {"item": what})])
        case "transfer_to_acts":
            return Calls([("book_slowly", {"what": what})])
    return Text("That is all there is to say about it.")
