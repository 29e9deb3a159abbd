"""Clients that bring no cursor: those whose first connection was lost before they had one."""

from __future__ import annotations

from typing import Any

import pytest

from common.assistant.protocol import START
from tests.fakes.openai_responses import FakeOpenAI, Gate, Reply, Text
from tests.run.serving import Client, Server, connected, told, turn_events


@pytest.fixture(scope="module")
def token(server: Server) -> str:
    """Sign in as the user of these tests."""
    return server.token("Ann")


async def asked(client: Client, prompt_id: str) -> None:
    """Send the same prompt under this id."""
    await client.send(type="prompt", text=f"tell me about {prompt_id}", id=prompt_id)


async def everything(client: Client) -> list[dict[str, Any]]:
    """Return the events of turns that came before an answer to a ping."""
    await client.send(type="ping")
    await client.until_type("pong")
    return turn_events(client.events)


async def until_told(client: Client, turns: int) -> list[dict[str, Any]]:
    """Wait until so many turns were told to their end, which is their title or last word."""
    for _ in range(turns):
        await client.until_type("end_of_stream")
    return await everything(client)


def numbers(events: list[dict[str, Any]], prompt_id: str) -> list[int]:
    """Return the numbers of the turn of this prompt, in the order they were shown."""
    (turn,) = {e["turn_id"] for e in events if e.get("prompt_id") == prompt_id}
    of_turn = [e for e in events if e["turn_id"] == turn]
    return [n for e in of_turn for n in range(e.get("from_seq", e["seq"]), e["seq"] + 1)]


def test_an_empty_chat_gives_a_cursor_from_which_nothing_is_missed(
    server: Server, model: FakeOpenAI, token: str, run: Any
) -> None:
    """Lost right after the prompt, a client comes back with hello's cursor and sees all, once."""
    model.then(Text("one"), Text("two"))

    async def scene() -> None:
        async with connected(server, "empty", token=token) as client:
            cursor = (await client.until_type("hello"))["cursor"]
            assert cursor == str(START)
            await asked(client, "p1")
        async with connected(server, "empty", token=token) as other:
            await asked(other, "p1")  # whether the first one arrived, it cannot know
            await asked(other, "p2")
            live = await until_told(other, 2)
        async with connected(server, "empty", token=token, cursor=cursor) as back:
            assert told(await until_told(back, 2)) == told(live)
            assert server.get("/chats/empty/turns", token)["cursor"] != cursor

    run(scene())


def test_a_turn_that_runs_is_shown_to_a_newcomer_from_its_beginning(
    server: Server, model: FakeOpenAI, token: str, run: Any
) -> None:
    """Nobody is shown the second half of a sentence; hello's cursor is where that begins."""
    gate = Gate()
    model.then(Reply(Text("one two three"), gate=gate, gate_after=1))

    async def scene() -> None:
        async with connected(server, "half", token=token) as client:
            await asked(client, "p1")
            first = await client.until_type("raw_response_event")
            async with connected(server, "half", token=token) as late:
                hello = await late.until_type("hello")
                assert hello["cursor"] == f"{first['turn_id']}:0"
                assert hello["running_turn"] == first["turn_id"]
                gate.open()
                shown = await until_told(late, 1)
            assert told(shown) == told(await until_told(client, 1))
            assert numbers(shown, "p1")[0] == 1

    run(scene())


def test_who_sends_a_prompt_again_without_a_cursor_is_shown_its_answer_once(
    server: Server, model: FakeOpenAI, token: str, run: Any
) -> None:
    """The turn ended while nobody was there: it is told to who asks again, and nothing twice."""
    model.then(Text("one"), Text("two"), Text("three"))

    async def scene() -> None:
        async with connected(server, "again", token=token) as client:
            await asked(client, "p1")
            await asked(client, "p2")
            live = await until_told(client, 2)
            await asked(client, "p1")  # it has been shown that
            assert await everything(client) == live
        async with connected(server, "again", token=token) as back:
            for _ in range(3):
                await asked(back, "p2")
            shown = await until_told(back, 1)
            assert told(shown) == told([e for e in live if e["turn_id"] == live[-1]["turn_id"]])
            await asked(back, "p3")
            shown = await until_told(back, 1)
            assert numbers(shown, "p3")[0] == 1
            await asked(back, "p3")
            await asked(back, "p1")  # an older one, behind newer ones
            shown = await until_told(back, 1)
            for prompt in ("p1", "p2", "p3"):
                assert numbers(shown, prompt) == list(range(1, len(numbers(shown, prompt)) + 1))

    run(scene())


def test_a_prompt_whose_turn_was_answered_anew_is_said_to_be_gone(
    server: Server, model: FakeOpenAI, token: str, run: Any
) -> None:
    """What an edit has taken the place of is neither shown nor answered again."""
    model.then(Text("one"), Text("another"))

    async def scene() -> None:
        async with connected(server, "edited", token=token) as client:
            await asked(client, "p1")
            old = (await until_told(client, 1))[0]["turn_id"]
            await client.send(type="edit", message_id=old, text="something else")
            await until_told(client, 1)
        async with connected(server, "edited", token=token) as back:
            await asked(back, "p1")
            error = await back.until_type("error")
            assert (error["code"], error["prompt_id"]) == ("not_found", "p1")
            assert await everything(back) == []

    run(scene())
