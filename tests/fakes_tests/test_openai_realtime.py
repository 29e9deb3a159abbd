"""The fake Realtime API, driven by the Agents SDK's client and by a bare WebSocket.

If these fail after an upgrade, the wire format or the client has moved and every voice test that
leans on the fake is in doubt.
"""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import subprocess
import sys
from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets
from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner, RealtimeSession
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from tests.fakes import sound
from tests.fakes.openai_realtime import (
    Asked,
    Calls,
    Drop,
    Failed,
    FakeRealtime,
    Incomplete,
    Speak,
    Step,
    stamps,
)
from tests.fakes.openai_responses import Gate

SETTINGS: dict[str, Any] = {
    "input_audio_format": "g711_ulaw",
    "output_audio_format": "g711_ulaw",
    "turn_detection": {"type": "server_vad", "interrupt_response": True, "create_response": True},
}
PCMU = {
    "type": "realtime",
    "audio": {
        "input": {
            "format": {"type": "audio/pcmu"},
            "transcription": {"model": "gpt-4o-mini-transcribe"},
        },
        "output": {"format": {"type": "audio/pcmu"}},
    },
}
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


@function_tool
def get_weather(city: str) -> str:
    """Weather of a city."""
    return f"rain in {city}"


@asynccontextmanager
async def sdk(fake: FakeRealtime, **settings: Any) -> AsyncIterator[RealtimeSession]:
    agent = RealtimeAgent(name="voice", instructions="Be brief.", tools=[get_weather])
    runner = RealtimeRunner(agent, config={"tracing_disabled": True})
    session = await runner.run(
        model_config={
            "api_key": "test",
            "url": f"{fake.url}?model=gpt-realtime-2.1",
            "initial_model_settings": {**SETTINGS, **settings},
        }
    )
    async with session:
        yield session


async def speak(session: RealtimeSession, ms: int = 600) -> None:
    """Send the caller's voice and then silence, in pieces as a phone gives them."""
    audio = sound.voice_mulaw(ms) + sound.SILENCE * 40
    for start in range(0, len(audio), 400):
        await session.send_audio(audio[start : start + 400])


async def events_until(session: RealtimeSession, last: str, count: int = 1) -> list[Any]:
    found: list[Any] = []
    async for event in session:
        if event.type == "error":
            raise AssertionError(event)
        found.append(event)
        if sum(e.type == last for e in found) == count:
            break
    return found


class Wire:
    """A bare client that keeps every event and checks its shape."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self._shape: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def until(self, kind: str) -> dict[str, Any]:
        async with asyncio.timeout(50):
            while True:
                event: dict[str, Any] = json.loads(await self.socket.recv())
                # The one place where the types lag behind the wire.
                nullable = {**event, "previous_item_id": event.get("previous_item_id") or ""}
                self._shape.validate_python(nullable if "previous_item_id" in event else event)
                self.events.append(event)
                if event["type"] == kind:
                    return event

    async def audio(self, audio: bytes) -> None:
        await self.send("input_audio_buffer.append", audio=base64.b64encode(audio).decode())

    def types(self) -> list[str]:
        """What was received, runs of the same type once."""
        kinds = [event["type"] for event in self.events]
        return [k for n, k in enumerate(kinds) if n == 0 or kinds[n - 1] != k]


@asynccontextmanager
async def wire(
    fake: FakeRealtime, model: str = "gpt-realtime-2.1", **headers: str
) -> AsyncIterator[Wire]:
    async with websockets.connect(
        f"{fake.url}?model={model}",
        additional_headers={"Authorization": "Bearer test", **headers},
    ) as socket:
        client = Wire(socket)
        await client.until("session.created")
        yield client


def on_wire(
    fake: FakeRealtime, talk: Callable[[Wire], Any], session: dict[str, Any] | None = None
) -> Wire:
    """Run `talk` on an open socket whose session was updated."""

    async def scenario() -> Wire:
        async with wire(fake) as client:
            await client.send("session.update", session=session or PCMU)
            await client.until("session.updated")
            await talk(client)
            return client

    return asyncio.run(scenario())


# --- through the Agents SDK -------------------------------------------------------------------


def test_the_sdk_hears_an_answer_and_runs_a_tool() -> None:
    """Speech is detected, a function is called and its result is spoken."""

    async def scenario(fake: FakeRealtime) -> list[Any]:
        async with sdk(fake) as session:
            await speak(session)
            return await events_until(session, "audio_end")

    script: list[Step] = [
        Calls([("get_weather", {"city": "Oslo"}, "call_1")]),
        lambda asked: Speak(json.dumps(asked.items[-1]["output"]), ms=500),
    ]
    with FakeRealtime(*script, hears=["Weather in Oslo?"]) as fake:
        events = asyncio.run(scenario(fake))
        kinds = [event.type for event in events]
        assert kinds.index("tool_start") < kinds.index("tool_end") < kinds.index("audio")
        audio = b"".join(event.audio.data for event in events if event.type == "audio")
        assert audio == sound.voice_mulaw(500, sound.MODEL_PITCH)
        done = fake.session.told("response.output_audio_transcript.done")
        assert done[0]["transcript"] == '"rain in Oslo"'
        heard = fake.session.told("conversation.item.input_audio_transcription.completed")
        assert heard[0]["transcript"] == "Weather in Oslo?"
        assert fake.session.headers["authorization"] == "[redacted]"


def test_the_sdk_truncates_what_the_caller_talks_over() -> None:
    """Speech over an answer cancels it; the SDK says how much was heard, within what was said."""
    gate = Gate()

    async def scenario(fake: FakeRealtime) -> None:
        async with sdk(fake) as session:
            await speak(session)
            await events_until(session, "audio", 4)
            await speak(session)
            await events_until(session, "audio_interrupted")
            await events_until(session, "audio_end")
            fake.wait(lambda: fake.session.truncations)

    with FakeRealtime(Speak("A long answer.", ms=4000, gate=gate, gate_after=5), Speak("Yes?")) as (
        fake
    ):
        asyncio.run(scenario(fake))
        first, second = fake.session.told("response.done")
        assert first["response"]["status"] == "cancelled"
        assert first["response"]["status_details"]["reason"] == "turn_detected"
        assert first["response"]["output"][0]["status"] == "incomplete"
        assert second["response"]["status"] == "completed"
        [cut] = fake.session.truncations
        assert cut.audio_end_ms <= cut.generated_ms == 500


def test_the_sdk_sees_a_drop_and_a_new_session_goes_on() -> None:
    """A dropped connection raises in the SDK; the script goes on in the next session."""
    all_said = Gate()

    async def scenario(fake: FakeRealtime) -> None:
        async with sdk(fake) as session:
            await speak(session)
            all_said.open()  # dropped earlier, it is the sending that raises
            with pytest.raises(websockets.exceptions.ConnectionClosedError):
                await events_until(session, "audio_end")
        async with sdk(fake) as session:
            await speak(session)
            await events_until(session, "audio_end")

    well = Speak("Well", ms=800, gate=all_said, gate_after=1)
    with FakeRealtime(Drop(after=2, of=well), Speak("Again.")) as fake:
        asyncio.run(scenario(fake))
        fake.wait(lambda: all(session.closed for session in fake.sessions))
        assert len(fake.sessions[0].told("response.output_audio.delta")) == 2
        assert not fake.sessions[0].told("response.done")


# --- on the bare wire -------------------------------------------------------------------------


def test_the_order_of_a_turn_by_voice() -> None:
    """A turn's events come in the recorded order, each in the shape of the vendor's types."""

    async def talk(client: Wire) -> None:
        await client.audio(sound.voice_mulaw(500))
        await client.audio(sound.SILENCE * 20)
        await client.until("rate_limits.updated")

    with FakeRealtime(Speak("Well, hello there.", ms=240), transcribe="before") as fake:
        client = on_wire(fake, talk)
    transcription = "conversation.item.input_audio_transcription"
    assert client.types() == [
        "session.created", "session.updated", "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped", "input_audio_buffer.committed",
        "conversation.item.added", "conversation.item.done", f"{transcription}.delta",
        f"{transcription}.completed", "response.created", "response.output_item.added",
        "conversation.item.added", "response.content_part.added",
        "response.output_audio_transcript.delta", "response.output_audio.delta",
        "response.output_audio_transcript.delta", "response.output_audio.delta",
        "response.output_audio.done", "response.output_audio_transcript.done",
        "response.content_part.done", "conversation.item.done", "response.output_item.done",
        "response.done", "rate_limits.updated",
    ]  # fmt: skip
    started, stopped = (
        next(e for e in client.events if e["type"].endswith(kind))
        for kind in ("speech_started", "speech_stopped")
    )
    assert started["item_id"] == stopped["item_id"]
    assert started["audio_start_ms"] == 0 and stopped["audio_end_ms"] == 700
    sizes = [
        len(base64.b64decode(e["delta"]))
        for e in client.events
        if e["type"] == "response.output_audio.delta"
    ]
    assert sizes == [800, 800, 320]


def test_silence_and_murmur_are_not_speech() -> None:
    """Silence, a click and what is too soft start nothing."""

    async def talk(client: Wire) -> None:
        await client.audio(sound.SILENCE * 50 + sound.voice_mulaw(40) + sound.SILENCE * 50)
        await client.audio(sound.mulaw(array("h", [s // 9 for s in sound.voice(800)])))
        await client.send("input_audio_buffer.clear")
        await client.until("input_audio_buffer.cleared")

    with FakeRealtime() as fake:
        client = on_wire(fake, talk)
    assert "input_audio_buffer.speech_started" not in client.types()


def test_pcm_is_heard_and_spoken() -> None:
    """With 16-bit sound at 24 kHz, speech is detected and spoken in that format."""

    async def talk(client: Wire) -> None:
        await client.audio(sound.pcm(sound.voice(400, rate=24000)) + bytes(48000))
        await client.until("response.done")

    with FakeRealtime(Speak("Hm.", ms=200)) as fake:
        client = on_wire(fake, talk, {"type": "realtime"})
    audio = b"".join(
        base64.b64decode(e["delta"])
        for e in client.events
        if e["type"] == "response.output_audio.delta"
    )
    assert len(audio) == 200 * 48 and sound.pcm_loudness(audio) > 0.05


def test_manual_turns_text_answers_and_a_seeded_history() -> None:
    """Without detection a commit makes the turn; history is seeded in order; text is text."""
    session = {
        "type": "realtime",
        "output_modalities": ["text"],
        "audio": {"input": {"format": {"type": "audio/pcmu"}, "turn_detection": None}},
    }

    def text(role: str, said: str) -> dict[str, Any]:
        kind = "input_text" if role == "user" else "output_text"
        return {"type": "message", "role": role, "content": [{"type": kind, "text": said}]}

    async def talk(client: Wire) -> None:
        await client.send("conversation.item.create", item={**text("user", "one"), "id": "item_a"})
        await client.send("conversation.item.create", item=text("assistant", "two"))
        zero = text("user", "zero")
        await client.send("conversation.item.create", item=zero, previous_item_id="root")
        await client.audio(sound.voice_mulaw(300))
        await client.send("input_audio_buffer.commit")
        await client.until("input_audio_buffer.committed")
        await client.send("response.create", response={"metadata": {"k": "v"}})
        await client.until("response.done")
        await client.send("conversation.item.retrieve", item_id="item_a")
        await client.until("conversation.item.retrieved")
        await client.send("conversation.item.delete", item_id="item_a")
        await client.until("conversation.item.deleted")

    def answer(asked: Asked) -> Speak:
        assert asked.by == "client" and asked.params["metadata"] == {"k": "v"}
        texts = [item["content"][0].get("text") for item in asked.items]
        assert texts == ["zero", "one", "two", None]
        return Speak("As text.")

    with FakeRealtime(answer) as fake:
        client = on_wire(fake, talk, session)
    done = next(e for e in client.events if e["type"] == "response.output_text.done")
    assert done["text"] == "As text."
    assert "response.output_audio.delta" not in client.types()


@pytest.mark.parametrize(
    ("step", "status", "detail"),
    [
        (Failed("rate_limit_exceeded"), "failed", "rate_limit_exceeded"),
        (Incomplete("max_output_tokens", of=Speak("I was")), "incomplete", "max_output_tokens"),
    ],
)
def test_answers_that_fail(step: Step, status: str, detail: str) -> None:
    """A failure arrives in response.done, not as an error event."""

    async def talk(client: Wire) -> None:
        await client.send("response.create")
        done = await client.until("response.done")
        assert done["response"]["status"] == status
        assert detail in json.dumps(done["response"]["status_details"])

    with FakeRealtime(step) as fake:
        assert "error" not in on_wire(fake, talk).types()


def test_cancelling_by_the_client() -> None:
    """response.cancel ends the answer as client_cancelled; a second one is refused as a race."""

    async def talk(client: Wire) -> None:
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        await client.send("response.create")
        error = await client.until("error")
        assert error["error"]["code"] == "conversation_already_has_active_response"
        await client.send("response.cancel")
        done = await client.until("response.done")
        assert done["response"]["status_details"]["reason"] == "client_cancelled"
        await client.send("response.cancel")
        error = await client.until("error")
        assert error["error"]["code"] == "response_cancel_not_active"

    with FakeRealtime(Speak("On and on", ms=60_000, speed=1.0)) as fake:
        on_wire(fake, talk)


REFUSED: Sequence[tuple[str, dict[str, Any], str]] = [
    ("conversation.item.truncate",
     {"item_id": "item_x", "content_index": 0, "audio_end_ms": 5},
     "item_truncate_invalid_item_id"),
    ("conversation.item.truncate", {"item_id": "item_x"}, "missing_required_parameter"),
    ("input_audio_buffer.append", {"audio": "not base64!"}, "invalid_value"),
    ("response.create", {"response": {"modalities": ["audio"]}}, "unknown_parameter"),
    ("session.update", {"session": {"voice": "ash", "type": "realtime"}}, "unknown_parameter"),
    ("session.update", {"session": {"instructions": "x"}}, "missing_required_parameter"),
    ("session.update", {"session": {"type": "realtime", "output_modalities": ["audio", "text"]}},
     "invalid_value"),
    ("session.update", {"session": {"type": "realtime", "tools": [
        {"type": "function", "function": {"name": "x"}}]}}, "missing_required_parameter"),
    ("session.update", {"session": {"type": "realtime", "audio": {"input": {
        "format": "g711_ulaw"}}}}, "invalid_value"),
    ("conversation.item.create",
     {"item": {"type": "function_call_output", "call_id": "call_no", "output": "x"}},
     "invalid_tool_call_id"),
    ("conversation.item.create",
     {"item": {"type": "message", "role": "assistant",
               "content": [{"type": "input_text", "text": "x"}]}}, "invalid_value"),
    ("audio.shout", {}, "invalid_value"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "fields", "code"), REFUSED)
def test_what_the_real_api_refuses(kind: str, fields: dict[str, Any], code: str) -> None:
    """A wrong event gets an error that names it, and fails the test that leaves the block."""

    async def talk(client: Wire) -> None:
        await client.send(kind, **fields, event_id="mine")
        error = (await client.until("error"))["error"]
        assert error["code"] == code and error["event_id"] == "mine"

    with pytest.raises(AssertionError, match="refused"), FakeRealtime() as fake:
        on_wire(fake, talk)
    with FakeRealtime(tolerated=[code]) as fake:
        on_wire(fake, talk)


def test_truncation_has_limits() -> None:
    """More than was said cannot be heard; what was heard can be truncated further."""

    async def talk(client: Wire) -> None:
        await client.send("response.create")
        done = await client.until("response.done")
        about = {"item_id": done["response"]["output"][0]["id"], "content_index": 0}
        await client.send("conversation.item.truncate", **about, audio_end_ms=401)
        error = await client.until("error")
        assert "already shorter" in error["error"]["message"]
        await client.send("conversation.item.truncate", **about, audio_end_ms=400)
        await client.send("conversation.item.truncate", **about, audio_end_ms=120)
        await client.until("conversation.item.truncated")
        await client.until("conversation.item.truncated")

    with FakeRealtime(Speak("Hello.", ms=400), tolerated=["invalid_value"]) as fake:
        on_wire(fake, talk)
        assert [cut.audio_end_ms for cut in fake.session.truncations] == [400, 120]
        assert "transcript" not in fake.session.items[0]["content"][0]


def test_speech_by_script_errors_and_the_end_of_the_hour() -> None:
    """A test can start and stop speech, send an error, and let the session end."""

    async def talk(client: Wire) -> None:
        session = fake.session
        session.speech_started()
        await client.until("input_audio_buffer.speech_started")
        session.speech_stopped()
        await client.until("response.done")
        session.error("server_error", "Oops.")
        assert (await client.until("error"))["error"]["message"] == "Oops."
        session.expire()
        assert (await client.until("error"))["error"]["code"] == "session_expired"
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            await client.until("session.created")

    with FakeRealtime(Speak("Yes."), vad=False) as fake:
        on_wire(fake, talk)
        fake.wait(lambda: fake.session.closed)


def test_a_session_ends_at_its_maximum() -> None:
    """A session that reaches its maximum duration is told so and closed."""

    async def scenario(fake: FakeRealtime) -> None:
        async with wire(fake) as client:
            assert (await client.until("error"))["error"]["code"] == "session_expired"

    with FakeRealtime(longest_s=0.05) as fake:
        asyncio.run(scenario(fake))


def test_silence_is_told_when_asked_for() -> None:
    """With idle_timeout_ms, long silence is reported and answered."""
    session = {
        **PCMU,
        "audio": {
            **PCMU["audio"],  # type: ignore[dict-item]
            "input": {
                "format": {"type": "audio/pcmu"},
                "turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000},
            },
        },
    }

    async def talk(client: Wire) -> None:
        await client.audio(sound.SILENCE * 250)
        event = await client.until("input_audio_buffer.timeout_triggered")
        assert (event["audio_start_ms"], event["audio_end_ms"]) == (0, 5000)
        await client.until("response.done")

    with FakeRealtime(Speak("Are you there?")) as fake:
        on_wire(fake, talk, session)


def test_unscripted_unused_and_unoffered_fail() -> None:
    """A response nobody scripted, a step nobody asked for and an unknown function are failures."""

    async def ask(client: Wire) -> None:
        await client.send("response.create")
        assert (await client.until("response.done"))["response"]["status"] == "failed"

    with pytest.raises(AssertionError, match="used up"), FakeRealtime() as fake:
        on_wire(fake, ask)
    with pytest.raises(AssertionError, match="1 steps unused"), FakeRealtime(Speak("x")):
        pass
    with (
        pytest.raises(AssertionError, match="does not offer"),
        FakeRealtime(Calls([("get_weather", {})])) as fake,
    ):
        on_wire(fake, ask)


@pytest.mark.parametrize(
    ("given", "headers", "status"),
    [
        ({"api_key": "other"}, {}, 401),
        ({}, {"OpenAI-Beta": "realtime=v1"}, 400),
        ({"refusals": [429]}, {}, 429),
    ],
)
def test_handshakes_that_are_refused(
    given: dict[str, Any], headers: dict[str, str], status: int
) -> None:
    """A wrong key, the beta's header and a planned refusal end the handshake."""

    async def scenario(fake: FakeRealtime) -> None:
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            async with wire(fake, **headers):
                pass
        assert refused.value.response.status_code == status

    fake = FakeRealtime(**given)
    with fake:
        asyncio.run(scenario(fake))
        fake.unexpected.clear()


def test_it_runs_as_a_process_with_stamps() -> None:
    """As a process it answers everybody, and each delta tells when it was sent."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.openai_realtime", "--ms", "200", "--stamp"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    try:
        fake = FakeRealtime()
        fake.url = json.loads(process.stdout.readline())["url"]

        async def talk(client: Wire) -> None:
            await client.send("response.create")
            await client.until("response.done")

        client = on_wire(fake, talk)
        deltas = [e for e in client.events if e["type"] == "response.output_audio.delta"]
        found = [stamps(base64.b64decode(delta["delta"])) for delta in deltas]
        assert len(found) == 2 and all(len(each) == 1 for each in found)
        assert found[0][0][0] < found[1][0][0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(50)
        process.stdout.close()
