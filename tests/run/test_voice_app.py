"""Voice in the app: the same call over a WebSocket of ours, with 16-bit samples."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import pytest

from common.bootstrap import Services
from tests.fakes import sound
from tests.fakes.acts import Effects
from tests.fakes.openai_realtime import Calls, FakeRealtime, Speak
from tests.fakes.openai_responses import Gate
from tests.run.calling import SECONDS, Container, containers, of

GREETING = Speak("Hello, this is ODAI.", ms=400)
LONG = Speak("One two three four five six seven eight nine ten eleven twelve.", ms=6000)
Make: TypeAlias = Callable[..., Container]


@pytest.fixture
def container(services: Callable[..., Services], tmp_path: Path) -> Iterator[Make]:
    """Open a container whose voice model is the one given."""
    yield from containers(services, tmp_path)


class App:
    """The app on a call: it keeps what it is sent, and plays nothing."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.events: list[dict[str, Any]] = []

    @property
    def heard(self) -> bytes:
        """All sound so far."""
        return b"".join(base64.b64decode(e["audio"]) for e in self.of("audio"))

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of one type."""
        return [event for event in self.events if event["type"] == kind]

    async def until(self, ready: Callable[[], Any]) -> Any:
        """Read until `ready()` holds."""
        async with asyncio.timeout(SECONDS):
            while not (found := ready()):
                message = await self.ws.receive()
                assert message.type is aiohttp.WSMsgType.TEXT, message
                self.events.append(json.loads(message.data))
        return found

    async def say(self, ms: int, rate: int = 24000) -> None:
        """Speak, then be silent, in frames of 20 ms, as fast as the socket takes them."""
        samples = sound.pcm(sound.voice(ms, sound.CALLER_PITCH, rate))
        size = rate // 50 * 2
        samples += bytes(rate // 50 * 2 * 40)
        for start in range(0, len(samples), size):
            await self.ws.send_bytes(samples[start : start + size])

    async def closed(self) -> int:
        """Read to the end; return the close code."""
        async with asyncio.timeout(SECONDS):
            while (message := await self.ws.receive()).type is aiohttp.WSMsgType.TEXT:
                self.events.append(json.loads(message.data))
        assert self.ws.close_code is not None
        return self.ws.close_code


@contextlib.asynccontextmanager
async def app(
    box: Container, *, chat: str = "call-1", query: str = "", **how: Any
) -> AsyncIterator[App]:
    """Connect as the app does: by a ticket for voice unless told otherwise."""
    url = f"{box.url}/app/voice/stream/{chat}"
    if not query and "protocols" not in how:
        ticket = await asyncio.to_thread(
            box.services.loop.run,
            box.services.tickets.mint(box.identity(), purpose="voice", claims={"channel": "app"}),
        )
        how["protocols"] = ("odai.v1", f"ticket.{ticket}")
    async with aiohttp.ClientSession() as http, http.ws_connect(url + query, **how) as ws:
        yield App(ws)


def token(box: Container, name: str = "Ann") -> str:
    """Return a development token."""
    assert box.services.development
    return box.services.development.mint("dev-ann", name=name)


@pytest.mark.parametrize("by", ["ticket", "token"])
def test_the_app_talks(container: Make, by: str) -> None:
    """The app speaks and hears; it is shown the chat's events on the same socket."""
    with FakeRealtime(GREETING, Speak("It is sunny.", ms=400), hears=["How is Oslo?"]) as model:
        box = container(model)

        async def call() -> None:
            query = f"?token={token(box)}" if by == "token" else ""
            async with app(box, query=query) as client:
                await client.until(lambda: len(client.of("end_of_stream")) == 1)
                assert len(client.heard) == 400 * 48
                await client.say(600)
                await client.until(lambda: len(client.of("end_of_stream")) == 2)
                assert len(client.heard) == 800 * 48
                (said,) = [e["response"] for e in client.of("llm_response")][1:]
                assert said == "It is sunny."
                await client.ws.send_str('{"type":"stop"}')
                assert await client.closed() == 1000

        asyncio.run(call())
        box.nothing_left()
        assert [t["prompt"] for t in box.turns()] == ["", "How is Oslo?"]
        assert model.session.config["audio"]["input"]["format"] == {
            "type": "audio/pcm", "rate": 24000,
        }  # fmt: skip


def test_other_rates_are_changed_both_ways(container: Make) -> None:
    """An app whose sound has 16 kHz hears as long as one with 24."""
    with FakeRealtime(GREETING, Speak("Yes.", ms=400), hears=["Hello?"]) as model:
        box = container(model)

        async def call() -> None:
            async with app(box, query=f"?token={token(box)}&rate=16000") as client:
                await client.until(lambda: len(client.of("end_of_stream")) == 1)
                assert abs(len(client.heard) - 400 * 32) <= 64
                await client.say(600, 16000)
                await client.until(lambda: len(client.of("end_of_stream")) == 2)

        asyncio.run(call())
        box.nothing_left()
        assert box.turns()[1]["prompt"] == "Hello?"


@pytest.mark.parametrize("how", ["speaks", "taps"])
def test_an_answer_is_interrupted(container: Make, how: str) -> None:
    """Speaking over an answer, or tapping stop, ends it; the chat keeps what was heard."""
    with FakeRealtime(GREETING, LONG, Speak("Yes?", ms=100), hears=["Count.", "Stop."]) as model:
        box = container(model)

        async def call() -> None:
            async with app(box) as client:
                await client.until(lambda: len(client.of("end_of_stream")) == 1)
                await client.say(400)
                await client.until(lambda: len(client.of("raw_response_event")) >= 4)
                if how == "speaks":
                    await client.say(400)
                else:
                    await client.ws.send_str('{"type":"interrupt"}')
                await client.until(lambda: client.of("audio_interrupted"))
                await client.until(lambda: len(client.of("end_of_stream")) >= 2)
                await asyncio.to_thread(model.wait, lambda: model.session.truncations)

        asyncio.run(call())
        box.nothing_left()
        (told,) = [e["response"] for e in of(box.turns()[1], "llm_response")]
        assert LONG.text.startswith(told) and told != LONG.text
        if how == "taps":
            model.add()
            model._script.clear()


def test_what_the_app_types_and_taps_reaches_the_call(container: Make, tmp_path: Path) -> None:
    """A prompt typed during the call is answered aloud; an approval tapped is carried out."""
    with FakeRealtime(
        GREETING,
        Calls([("save_note", {"text": "milk", "colour": "white"})]),
        Speak("Shall I?", ms=200),
        Speak("Saved.", ms=200),
    ) as model:
        box = container(model)

        async def call() -> None:
            async with app(box) as client:
                await client.until(lambda: len(client.of("end_of_stream")) == 1)
                await client.ws.send_str('{"type":"prompt","text":"Note milk"}')
                (asked,) = await client.until(lambda: client.of("approval_required"))
                frame = {"type": "approve", "approval_id": asked["approval_id"]}
                await client.ws.send_str(json.dumps(frame))
                await client.until(lambda: len(client.of("end_of_stream")) == 3)

        asyncio.run(call())
        box.nothing_left()
        assert Effects(tmp_path / "effects").of("save_note") == ["milk"]


def test_frames_that_cannot_be_read_are_answered(container: Make) -> None:
    """A broken frame is an error event; the call goes on."""
    frames = [
        "", "no json", "[]", '{"type":"dance"}', '{"type":"audio"}',
        '{"type":"audio","audio":"§"}', '{"type":"audio","data":[99999999]}',
        '{"type":"prompt","text":""}', '{"type":"regenerate","message_id":"m"}',
    ]  # fmt: skip
    with FakeRealtime(GREETING) as model:
        box = container(model)

        async def call() -> None:
            async with app(box) as client:
                await client.until(lambda: len(client.of("end_of_stream")) == 1)
                for frame in frames:
                    await client.ws.send_str(frame)
                await client.until(lambda: len(client.of("error")) == len(frames))
                await client.ws.send_str('{"type":"audio","data":[0,1,-1]}')
                await client.ws.send_bytes(b"\0" * 500_000)
                assert await client.closed() == 1009

        asyncio.run(call())
        box.nothing_left()


@pytest.mark.parametrize(
    ("chat", "query"),
    [
        ("call-1", ""),
        ("call-1", "?token=forged"),
        ("call-1", "?token={token}&rate=44100"),
        ("a%20b", "?token={token}"),
    ],
)
def test_who_may_not_talk_is_told_so(container: Make, chat: str, query: str) -> None:
    """Without credentials that hold, or with an address that makes no sense, there is no call."""
    with FakeRealtime() as model:
        box = container(model)

        async def call() -> None:
            made = query.format(token=token(box))
            async with app(box, chat=chat, query=made, protocols=("odai.v1",)) as client:
                assert await client.closed() == 1008

        asyncio.run(call())
        box.nothing_left()
        assert not model.sessions


def test_a_phone_calls_ticket_does_not_open_the_app(container: Make) -> None:
    """A ticket made for a phone call is good for nothing else."""
    with FakeRealtime() as model:
        box = container(model)
        ticket = box.ticket("CA" + "1" * 32)

        async def call() -> None:
            async with app(box, protocols=("odai.v1", f"ticket.{ticket}")) as client:
                assert await client.closed() == 1008

        asyncio.run(call())


def test_another_users_chat_is_not_talked_about(container: Make) -> None:
    """A call about a chat of somebody else's ends without a word of it."""
    with FakeRealtime(GREETING) as model:
        box = container(model)

        async def call() -> None:
            async with app(box) as client:
                await client.until(lambda: len(client.of("end_of_stream")) == 1)
            other = box.services.development.mint("dev-bob", name="Bob")
            async with app(box, query=f"?token={other}") as client:
                await client.closed()
                assert not client.of("llm_response")

        asyncio.run(call())
        box.nothing_left()
        assert len(model.sessions) == 1


def test_without_a_voice_model_the_app_is_told(container: Make) -> None:
    """Where no voice model is set up, the socket says what to set."""
    box = container(None, OPENAI_API_KEY="")

    async def call() -> None:
        async with app(box) as client:
            assert await client.closed() == 1013

    asyncio.run(call())


def test_words_that_come_late_are_shown_all_the_same(container: Make) -> None:
    """A turn that began before its transcript is told what it began with, and keeps it."""
    gate = Gate()  # the transcript is told behind the answer's first piece of sound
    answer = Speak("It is sunny.", ms=400, gate=gate, gate_after=1)
    with FakeRealtime(GREETING, answer, hears=["How is Oslo?"]) as model:
        box = container(model)

        async def call() -> None:
            async with app(box) as client:
                await client.until(lambda: len(client.of("end_of_stream")) == 1)
                await client.say(600)
                began = await client.until(lambda: client.of("turn_started")[1:])
                assert began[0]["prompt"] == ""
                gate.open()
                (said,) = await client.until(lambda: client.of("transcript"))
                assert (said["text"], said["begins"]) == ("How is Oslo?", True)
                assert said["turn_id"] == began[0]["turn_id"]
                await client.until(lambda: len(client.of("end_of_stream")) == 2)

        asyncio.run(call())
        box.nothing_left()
        assert [i["content"] for i in box.items() if i["role"] == "user"] == ["How is Oslo?"]


def test_what_is_said_while_a_tool_runs_is_shown(container: Make, tmp_path: Path) -> None:
    """A second question asked before the first is answered is seen by who reads along."""
    with FakeRealtime(
        GREETING,
        Calls([("look_up", {"topic": "held whales", "url": ""})]),
        Speak("One moment.", ms=200),
        Speak("Whales are large.", ms=200),
        hears=["What about whales?", "Hurry, please."],
    ) as model:
        box = container(model)

        async def call() -> None:
            async with app(box) as client:
                await client.until(lambda: len(client.of("end_of_stream")) == 1)
                await client.say(600)
                await client.until(lambda: client.of("tool_call"))
                await client.say(600)
                (said,) = await client.until(lambda: client.of("transcript"))
                assert (said["text"], said["begins"]) == ("Hurry, please.", False)
                Effects(tmp_path / "effects").release()
                await client.until(lambda: len(client.of("end_of_stream")) == 2)

        asyncio.run(call())
        box.nothing_left()
        assert len(of(box.turns()[1], "transcript")) == 1
