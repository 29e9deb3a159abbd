"""The chat socket of the real server, as clients meet it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import aiohttp
import pytest

from common.assistant.protocol import START
from tests.fakes.openai_responses import Calls, FakeOpenAI, Gate, Reply, Text
from tests.run.serving import SECONDS, Client, Server, connected, told, turn_events

RATE = ("get_exchange_rate_for_currency_pair", {"from_currency": "EUR", "to_currency": "USD"})
SECRET = "xylophone-juggler"


@pytest.fixture(scope="module")
def token(server: Server) -> str:
    """Sign in as the user of most tests."""
    return server.token("Ann")


async def a_turn(client: Client, text: str) -> list[dict[str, Any]]:
    """Ask and return the turn's events."""
    before = len(client.events)
    await client.ws.send_str(text)
    end = await client.until_type("end_of_stream")
    return [e for e in client.events[before:] if e["turn_id"] == end["turn_id"]]


# --- who may connect -----------------------------------------------------------------------------


def test_an_original_client_works_unchanged(
    server: Server, model: FakeOpenAI, token: str, run: Any
) -> None:
    """Connect with the token in the address, send plain text, read frames by type: as ever."""
    model.then(Text("Hello Ann, how are you?"), Text("Fine."))
    known = ("raw_response_event", "tool_call", "tool_output", "llm_response", "end_of_stream")

    async def scene() -> None:
        async with connected(server, "original", token=token) as client:
            await client.ws.send_str("hi there")
            await client.until_type("end_of_stream")
            seen = [event for event in client.events if event["type"] in known]
            text = "".join(e["delta"] for e in seen if e["type"] == "raw_response_event")
            assert text == "Hello Ann, how are you?"
            assert [e["response"] for e in seen if e["type"] == "llm_response"] == [text]
            await client.ws.send_str(json.dumps({"message": "and you?", "thread_id": "t"}))
            assert (await client.until_type("llm_response"))["response"] == "Fine."

    run(scene())


def test_a_ticket_opens_one_socket(server: Server, token: str, run: Any) -> None:
    """A ticket works once; the subprotocol that carried it is answered without it."""
    ticket = server.ticket(token)

    async def scene() -> None:
        async with connected(server, "ticketed", ticket=ticket) as client:
            assert client.ws.protocol == "odai.v1"
            hello = await client.until_type("hello")
            assert hello["protocol"] == "odai.v1"
            assert hello["cursor"] == str(START)
        async with connected(server, "ticketed", ticket=ticket) as client:
            message = await client.ws.receive()
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1008)
            assert "works once" in str(message.extra)

    run(scene())


@pytest.mark.parametrize(
    ("chat", "wrong"),
    [
        ("c", {}),
        ("c", {"token": "nonsense"}),
        ("c", {"ticket": "nonsense"}),
        ("c", {"origin": "https://evil.example", "token": "GOOD"}),
        ("c", {"origin": "null", "token": "GOOD"}),
        ("bad!id", {"token": "GOOD"}),
        ("x" * 129, {"token": "GOOD"}),
    ],
    ids=lambda v: str(v)[:30],
)
def test_who_may_not_connect_is_told_so_and_leaves_no_trace(
    server: Server, token: str, run: Any, chat: str, wrong: dict[str, str]
) -> None:
    """Refused credentials, origins and names close with 1008; nothing was read or made."""
    given = {name: value.replace("GOOD", token) for name, value in wrong.items()}

    async def scene() -> None:
        async with connected(server, chat, **given) as client:
            assert await client.until_closed() == 1008
            assert client.events == []

    run(scene())
    assert "c" not in [listed["id"] for listed in server.get("/chats", token)["chats"]]


def test_our_own_page_may_connect(server: Server, token: str, run: Any) -> None:
    """A browser on our own address is let in."""

    async def scene() -> None:
        async with connected(server, "own", token=token, origin=server.base) as client:
            await client.until_type("hello")

    run(scene())


def test_another_users_chat_is_closed(
    server: Server, model: FakeOpenAI, token: str, run: Any
) -> None:
    """A chat of somebody else cannot be opened, and looks as one that does not exist."""
    model.then(Text("Yes."))
    stranger = server.token("Bob")

    async def scene() -> None:
        async with connected(server, "mine", token=token) as client:
            await a_turn(client, "mine?")
        async with connected(server, "mine", token=stranger) as client:
            assert await client.until_closed() == 1008
            assert client.events == []

    run(scene())
    assert server.get("/chats", stranger)["chats"] == []


def test_too_many_sockets_are_asked_to_come_later(server: Server, run: Any) -> None:
    """The user's seventh window is told to try later; after one closes, it opens."""
    carol = server.token("Carol")

    async def scene() -> None:
        async with contextlib.AsyncExitStack() as stack:
            open_ones = []
            for n in range(6):
                client = await stack.enter_async_context(connected(server, f"w{n}", token=carol))
                await client.until_type("hello")
                open_ones.append(client)
            async with connected(server, "w6", token=carol) as late:
                assert await late.until_closed() == 1013
            await open_ones[0].ws.close()
            async with asyncio.timeout(50):
                while True:
                    async with connected(server, "w6", token=carol) as again:
                        message = await again.ws.receive()
                        if message.type == aiohttp.WSMsgType.TEXT:
                            break

    run(scene())


# --- frames --------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_answered_and_the_socket_stays(
    server: Server, token: str, run: Any
) -> None:
    """Broken JSON, wrong fields, binary frames and deep nesting get an error; ping still works."""
    broken = ['{"type": ', '{"type": "stop", "turn_id": 5}', '{"a": ' + "[" * 30_000, " "]

    async def scene() -> None:
        async with connected(server, "frames", token=token) as client:
            for text in broken:
                await client.ws.send_str(text)
                error = await client.until_type("error")
                assert error["code"] == "invalid_input"
                assert error["turn_id"] is None
            await client.ws.send_bytes(b"\x00\x01")
            await client.until_type("error")
            for frame in (
                {"type": "location", "latitude": 1, "longitude": 1, "timezone": "America"},
                {"type": "regenerate", "message_id": "nothing"},
                {"type": "edit", "message_id": "../../users/u1", "text": "x"},
                {"type": "approve", "approval_id": "nothing"},
                {"type": "deny", "approval_id": "a/b"},
            ):
                await client.send(**frame)
                assert (await client.until_type("error"))["message"]
            await client.send(type="stop")
            await client.send(type="ping")
            await client.until_type("pong")

    run(scene())


def test_hello_comes_first_whatever_was_sent_before_it(
    server: Server, token: str, run: Any
) -> None:
    """Frames sent at once, good and bad, are answered behind `hello` and in their order."""

    async def scene() -> None:
        async with connected(server, "eager", token=token) as client:
            await client.ws.send_str('{"type": ')
            await client.ws.send_bytes(b"\x00")
            await client.send(type="prompt", id="mine-1", text=" ")
            await client.send(type="prompt", id="not mine", text=" ")
            await client.send(type="ping")
            await client.until_type("pong")
            assert [e["type"] for e in client.events] == ["hello", *["error"] * 4, "pong"]
            named = [e.get("prompt_id") for e in client.events[1:5]]
            assert named == [None, None, "mine-1", None]  # refused prompts, where they have an id

    run(scene())


def test_prompts_sent_at_once_are_answered_queued_or_refused_by_name(
    server: Server, model: FakeOpenAI, token: str, run: Any
) -> None:
    """Of 23 prompts one begins, twenty wait from the first in line on, two are named as refused."""
    gate = Gate()
    model.then(Reply(Text("a"), gate=gate))

    async def scene() -> None:
        async with connected(server, "burst", token=token) as client:
            for n in range(23):
                await client.send(type="prompt", id=f"p{n}", text="go on")
            await client.send(type="ping")
            await client.until_type("pong")
            queued = [e for e in client.events if e["type"] == "prompt_queued"]
            assert [e["position"] for e in queued] == list(range(1, 21))
            assert [e["prompt_id"] for e in queued] == [f"p{n}" for n in range(1, 21)]
            refused = [e["prompt_id"] for e in client.events if e["type"] == "error"]
            assert refused == ["p21", "p22"]
            # Deleted before the model was asked, the chat would leave its answer to another test.
            assert await asyncio.to_thread(gate.reached.wait, SECONDS)
        signed = {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession(headers=signed) as session,
            session.delete(f"{server.base}/chats/burst") as deleted,
        ):
            assert deleted.status == 204

    try:
        run(scene())
    finally:
        gate.open()


@pytest.mark.parametrize("letter", ["x", "é", "🙂"])
def test_a_frame_over_64_kib_closes(server: Server, token: str, run: Any, letter: str) -> None:
    """A message larger than 64 KiB closes the socket with 1009, in whatever alphabet."""

    async def scene() -> None:
        async with connected(server, "large", token=token) as client:
            await client.until_type("hello")
            await client.ws.send_str(letter * (65_537 // len(letter.encode()) + 1))
            assert await client.until_closed() == 1009

    run(scene())


def test_a_prompt_of_the_longest_kind_is_answered(
    server: Server, model: FakeOpenAI, token: str, run: Any
) -> None:
    """32,000 characters are a question; one more is refused with the limit named."""
    model.then(Text("Long."))

    async def scene() -> None:
        async with connected(server, "long", token=token) as client:
            await client.ws.send_str("x" * 32_001)
            assert "32,000" in (await client.until_type("error"))["message"]
            await a_turn(client, "y" * 32_000)

    run(scene())


# --- the same events for everybody, exactly once -------------------------------------------------


def test_two_windows_see_the_same_and_either_may_stop(
    server: Server, model: FakeOpenAI, token: str, run: Any
) -> None:
    """What one asks, both see; the second window's stop ends the first one's answer."""
    gate = Gate()
    model.then(Reply(Text("one two three"), gate=gate, gate_after=1))

    async def scene() -> None:
        async with (
            connected(server, "shared", token=token) as one,
            connected(server, "shared", ticket=await ticket(server, token)) as other,
        ):
            await other.until_type("hello")
            await one.ws.send_str("count")
            await other.until_type("raw_response_event")
            await other.send(type="stop")
            for client in (one, other):
                end = await client.until_type("end_of_stream")
                assert end["status"] == "stopped"
            assert told(one.events) == told(other.events)
            assert ("text", "one") in told(one.events)

    run(scene())
    gate.open()


async def ticket(server: Server, token: str) -> str:
    """Make a ticket without blocking the loop."""
    return await asyncio.to_thread(server.ticket, token)


def test_a_client_that_comes_back_at_any_event_misses_nothing(
    server: Server, model: FakeOpenAI, token: str, run: Any
) -> None:
    """From every cursor of a turn with a tool call, the rest arrives once and in order."""
    model.then(Calls([RATE]), Text("It is 1.0821 dollars."), Text("Second answer."))

    async def scene() -> None:
        async with connected(server, "resumed", token=token) as client:
            first = await a_turn(client, "Convert 250 euros to dollars")
            await a_turn(client, "and again?")
            live = turn_events(client.events)
        turn, last = first[0]["turn_id"], first[-1]["seq"]
        assert [e["type"] for e in first].count("tool_output") == 1
        for seq in range(last + 1):
            async with connected(server, "resumed", token=token, cursor=f"{turn}:{seq}") as back:
                await back.until(lambda e: e["id"] == live[-1]["id"])
                missed = turn_events(back.events)
                assert [*numbered(live)[:seq], *numbered(missed)] == numbered(live)
                assert said(live).endswith(said(missed))
                if seq in (e["seq"] for e in live if e["turn_id"] == turn):
                    before = [e for e in live if e["turn_id"] == turn and e["seq"] <= seq]
                    assert told([*before, *missed]) == told(live)

    run(scene())


def said(events: list[Any]) -> str:
    """Return what was streamed."""
    return "".join(e["delta"] for e in events if e["type"] == "raw_response_event")


def numbered(events: list[Any]) -> list[tuple[str, int]]:
    """Return every (turn, number) the events stand for."""
    return [
        (e["turn_id"], n) for e in events for n in range(e.get("from_seq", e["seq"]), e["seq"] + 1)
    ]


def test_a_turn_goes_on_without_its_viewer(
    server: Server, model: FakeOpenAI, token: str, run: Any
) -> None:
    """Closing the window in the middle stops nothing: who comes back sees the rest."""
    gate = Gate()
    model.then(Reply(Text("one two three"), gate=gate, gate_after=1))

    async def scene() -> None:
        async with connected(server, "left", token=token) as client:
            await client.ws.send_str("count")
            seen = await client.until_type("raw_response_event")
            cursor = f"{seen['turn_id']}:{seen['seq']}"
            before = turn_events(client.events)
        gate.open()
        async with connected(server, "left", token=token, cursor=cursor) as back:
            await back.until_type("end_of_stream")
            after = turn_events(back.events)
            assert ("text", "one two three") in told([*before, *after])
            numbers = [n for _, n in numbered([*before, *after])]
            assert numbers == list(range(1, len(numbers) + 1))

    run(scene())


def test_a_cursor_that_is_not_of_this_chat_is_refused_and_the_chat_works(
    server: Server, model: FakeOpenAI, token: str, run: Any
) -> None:
    """Cursors of another chat, of the future or of no form get an error; new events still come."""
    model.then(Text("a"), Text("b"), Text("c"))

    async def scene() -> None:
        async with connected(server, "other", token=token) as client:
            foreign = (await a_turn(client, "there"))[-1]
        async with connected(server, "here", token=token) as client:
            own = (await a_turn(client, "here"))[-1]
        wrong = (
            f"{foreign['turn_id']}:1",
            f"{own['turn_id']}:9999",
            "0" * 26 + ":1",
            "garbage",
            ":",
            "../../users:1",
        )
        for cursor in wrong:
            async with connected(server, "here", token=token, cursor=cursor) as client:
                assert (await client.until_type("error"))["code"] == "invalid_input"
                assert turn_events(client.events) == []
        async with connected(server, "here", token=token, cursor="garbage") as client:
            await client.until_type("error")
            await client.send(type="resume", cursor=f"{own['turn_id']}:0")
            await client.until(lambda e: e["id"] == own["id"])
            assert (await a_turn(client, "go on"))[0]["type"] == "turn_started"

    run(scene())


def test_the_same_prompt_twice_is_one_turn(
    server: Server, model: FakeOpenAI, token: str, run: Any
) -> None:
    """A prompt sent again, on this socket or after coming back, is answered once."""
    model.then(Text("once"), Text("next"))

    async def scene() -> None:
        async with connected(server, "twice", token=token) as client:
            for _ in range(2):
                await client.send(type="prompt", text="hi", id="p1")
            end = await client.until_type("end_of_stream")
        cursor = f"{end['turn_id']}:{end['seq']}"
        async with connected(server, "twice", token=token, cursor=cursor) as client:
            await client.send(type="prompt", text="hi", id="p1")
            await client.send(type="prompt", text="more", id="p2")
            await client.until_type("end_of_stream")
            assert [e["prompt"] for e in client.events if e["type"] == "turn_started"] == ["more"]

    run(scene())


def test_the_log_holds_no_secret_and_no_word(
    server: Server, model: FakeOpenAI, token: str, run: Any
) -> None:
    """Even in its most talkative setting the server logs no token, ticket, key or message."""
    model.then(Text(f"You said {SECRET}."))
    one_time = server.ticket(token)

    async def scene() -> None:
        async with connected(server, "secret", token=token) as client:
            await a_turn(client, f"my word is {SECRET}")
        async with connected(server, "secret", ticket=one_time) as client:
            await client.until_type("hello")
        async with connected(server, "secret", token=token, origin="https://evil.example") as c:
            assert await c.until_closed() == 1008

    run(scene())
    server.until("socket refused")
    logged = server.output.partition("Stop with Ctrl-C.")[2]
    for secret in (SECRET, token, one_time, "key-of-a-test", token.rpartition(".")[2]):
        assert secret not in logged
