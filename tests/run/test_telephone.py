"""The real server, a real call and real texts over HTTP: the whole way of a new user."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable

import aiohttp

from tests.fakes.twilio import Caller, FakeTwilio, Texter
from tests.run.serving import SECONDS, Server

NUMBER = "+14155550100"


async def _verify(server: Server, twilio: FakeTwilio, token: str) -> None:
    """Prove the number, with the code that comes by text."""
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(server.base, headers=headers) as http:
        async with http.post("/account/phone", json={"number": NUMBER}) as answer:
            assert answer.status < 300, await answer.text()
        found = re.search(r"\d{6}", twilio.texts(NUMBER)[-1])
        assert found
        async with http.post("/account/phone/verify", json={"code": found[0]}) as answer:
            assert answer.status < 300, await answer.text()


def _more(caller: Caller, heard: int) -> bool:
    return len(caller.said) > heard


def test_a_new_user_texts_and_calls(start: Callable[..., Server]) -> None:
    """Verify a number, text, call, speak, have it texted, say goodbye: without any model key."""
    with FakeTwilio() as twilio:
        server = start(**{**twilio.environ, "OPENAI_API_KEY": ""})

        async def live() -> None:
            await _verify(server, twilio, server.token("Ada"))
            async with Texter(server.base, number=NUMBER) as texter:
                assert await texter.send("hello") == []
            await asyncio.to_thread(twilio.wait, lambda: len(twilio.texts(NUMBER)) == 2)
            async with Caller(
                server.base, number=NUMBER, status_url="/twilio/status", rest=twilio
            ) as caller:
                await caller.dial()
                await caller.until(lambda: caller.said)
                assert "What can I do for you?" in caller.said[0]
                for words in ("hello", "text me that"):
                    heard = len(caller.said)
                    caller.answer(words)
                    await caller.until(functools.partial(_more, caller, heard), timeout=SECONDS)
                caller.answer("thank you, goodbye")
                await caller.ended()
                assert caller.status == "completed" and caller.said[-1] == "Goodbye."
            await asyncio.to_thread(twilio.wait, lambda: len(twilio.texts(NUMBER)) == 3)

        asyncio.run(live())
        assert server.stop() == 0
        assert NUMBER[1:] not in server.output
