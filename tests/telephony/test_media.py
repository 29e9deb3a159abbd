"""Media Streams: what a stream may say and when, and what we answer."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidInput
from common.telephony.media import (
    MOST_DAMAGED,
    Key,
    MediaStream,
    Played,
    Sound,
    Started,
    Stopped,
)

SID = "MZ" + "0" * 32
CALL = "CA" + "1" * 32


def frame(event: str, **fields: Any) -> str:
    return json.dumps({"event": event, "sequenceNumber": "3", "streamSid": SID, **fields})


def start(**changes: Any) -> str:
    told: dict[str, Any] = {
        "streamSid": SID, "accountSid": "AC1", "callSid": CALL, "tracks": ["inbound"],
        "customParameters": {"ticket": "t"},
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        **changes,
    }  # fmt: skip
    return frame("start", start=told)


def media(data: bytes = b"\xff" * 160, **fields: Any) -> str:
    payload = base64.b64encode(data).decode()
    return frame("media", media={"track": "inbound", "chunk": "1", "payload": payload}, **fields)


def started() -> MediaStream:
    stream = MediaStream()
    assert stream.receive('{"event":"connected","protocol":"Call","version":"1.0.0"}') is None
    assert stream.receive(start()) == Started(SID, CALL, "AC1", {"ticket": "t"})
    return stream


def test_a_stream_is_read_from_start_to_stop() -> None:
    """Sound, keys and marks are told apart, in order, until the call is over."""
    stream = started()
    sound = stream.receive(media(b"\x01" * 160))
    assert isinstance(sound, Sound) and sound.data == b"\x01" * 160
    assert base64.b64decode(sound.payload) == sound.data
    key = frame("dtmf", dtmf={"track": "inbound_track", "digit": "5"})
    assert stream.receive(key) == Key("5")
    assert stream.receive(frame("mark", mark={"name": "1.7"})) == Played("1.7")
    assert stream.receive(frame("stop", stop={"callSid": CALL})) == Stopped()
    assert stream.stopped


def test_what_is_sent_names_the_stream() -> None:
    """Every frame of ours is JSON with the stream's own id, its sound as base64."""
    stream = started()
    sent = json.loads(stream.sound(b"\x00\x7f\xff"))
    assert sent == {"event": "media", "streamSid": SID, "media": {"payload": "AH//"}}
    mark = {"event": "mark", "streamSid": SID, "mark": {"name": 'a"b'}}
    assert json.loads(stream.mark('a"b')) == mark
    assert json.loads(stream.clear()) == {"event": "clear", "streamSid": SID}


@pytest.mark.parametrize(
    "early", [media(), frame("mark", mark={"name": "1"}), frame("dtmf", dtmf={"digit": "1"})]
)
def test_nothing_comes_before_the_start(early: str) -> None:
    """A stream whose call is not known yet cannot speak."""
    with pytest.raises(InvalidInput, match="before"):
        MediaStream().receive(early)


@pytest.mark.parametrize("foreign", [media(streamSid="MZ" + "9" * 32), media(streamSid="")])
def test_another_streams_frame_is_refused(foreign: str) -> None:
    """A frame of another stream does not reach this call."""
    with pytest.raises(InvalidInput, match="another stream"):
        started().receive(foreign)


def test_a_stream_starts_once() -> None:
    """A second start, with whatever ticket, is refused."""
    with pytest.raises(InvalidInput, match="once"):
        started().receive(start(customParameters={"ticket": "other"}))


@pytest.mark.parametrize(
    "bad",
    [
        start(callSid="CA1/../x"),
        start(mediaFormat={"encoding": "audio/opus", "sampleRate": 48000, "channels": 2}),
        frame("start"),
        frame("start", start={"accountSid": "AC1"}),
    ],
)
def test_a_start_must_name_its_call_and_a_format_we_speak(bad: str) -> None:
    """A start without a call's id, or in another format, is no start."""
    with pytest.raises(InvalidInput):
        MediaStream().receive(bad)


def test_a_damaged_payload_costs_its_frame_and_many_cost_the_stream() -> None:
    """One broken frame is a click; a stream of them is refused."""
    stream = started()
    broken = frame("media", media={"track": "inbound", "payload": "§§§"})
    for _ in range(MOST_DAMAGED):
        assert stream.receive(broken) is None
    assert isinstance(stream.receive(media()), Sound)
    with pytest.raises(InvalidInput, match="damaged"):
        stream.receive(broken)


def test_an_oversize_payload_is_refused() -> None:
    """A frame with more than a second of sound is none of Twilio's."""
    with pytest.raises(InvalidInput, match="a second"):
        started().receive(media(b"\xff" * 20_000))


@pytest.mark.parametrize("text", ["", "[]", "null", '{"event":7}', '{"event"', "[" * 10_000])
def test_what_is_no_frame_is_refused(text: str) -> None:
    """Anything but a JSON object with an event ends the stream."""
    with pytest.raises(InvalidInput):
        started().receive(text)


def test_events_of_the_future_are_passed_over() -> None:
    """A later version of the protocol may say more: the call goes on."""
    stream = started()
    assert stream.receive(frame("weather", weather={})) is None
    assert stream.receive(frame("dtmf", dtmf={"digit": "x"})) is None
    outbound = frame("media", media={"track": "outbound", "payload": "/w=="})
    assert stream.receive(outbound) is None


@given(st.binary(min_size=1, max_size=4000))
def test_sound_survives_both_ways(data: bytes) -> None:
    """Whatever bytes are sent are the bytes that are heard."""
    stream = started()
    payload = json.loads(stream.sound(data))["media"]["payload"]
    heard = stream.receive(frame("media", media={"track": "inbound", "payload": payload}))
    assert isinstance(heard, Sound) and heard.data == data


@given(st.text(max_size=200))
def test_no_text_breaks_the_machine(text: str) -> None:
    """Hostile text is refused by name, never by a crash."""
    stream = started()
    with contextlib.suppress(InvalidInput):
        stream.receive(text)
