"""Texts through Twilio: one request each, and refusals in words that say what to do."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from aiohttp import web

from common.egress import Egress
from common.errors import (
    InvalidInput,
    NotAllowed,
    OdaiError,
    RateLimited,
    VendorRejected,
    VendorUnavailable,
)
from common.identity.texts import Texts

KEYS = {
    "TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "token-of-a-test",
    "TWILIO_PHONE_NUMBER": "+14155550199",
}  # fmt: skip
Asked = list[tuple[str, dict[str, str], str]]


def send(status: int, body: Any) -> Asked:
    """Send one text to a Twilio that answers so; return (path, form, authorization) of requests."""
    asked: Asked = []

    async def answer(request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        asked.append((request.path, form, request.headers["Authorization"]))
        return web.json_response(body, status=status)

    async def play() -> None:
        app = web.Application()
        app.router.add_post("/{path:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
        egress = Egress(host_map={"api.twilio.com": origin})
        try:
            await Texts(egress, KEYS.get).send("+14155550100", "Your code is 123456.")
        finally:
            await egress.close()
            await runner.cleanup()

    try:
        asyncio.run(play())
    finally:
        assert len(asked) == 1  # a text is never sent twice by itself
    return asked


def test_a_text_is_sent_from_the_operators_number() -> None:
    """To, from and words, with the operator's credentials."""
    ((path, form, authorization),) = send(201, {"sid": "SM1", "status": "queued"})
    assert path == "/2010-04-01/Accounts/AC1/Messages.json"
    assert form == {
        "To": "+14155550100", "From": "+14155550199", "Body": "Your code is 123456.",
    }  # fmt: skip
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"AC1:token-of-a-test"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, {"code": 21211}, InvalidInput), (400, {"code": 21614}, InvalidInput),
        (400, {"code": 21408}, NotAllowed), (400, {"code": 21610}, NotAllowed),
        (400, {"code": 99999}, VendorRejected), (400, [], VendorRejected),
        (401, {"code": 20003}, VendorRejected), (429, {"code": 20429}, RateLimited),
        (503, {}, VendorUnavailable),
    ],
)  # fmt: skip
def test_a_refusal_is_told_without_the_number(
    status: int, body: Any, expected: type[OdaiError]
) -> None:
    """No number, an unreachable country, an opt-out, our own keys, a limit and an outage differ."""
    with pytest.raises(expected) as raised:
        send(status, body)
    assert type(raised.value) is expected and "555" not in str(raised.value)
