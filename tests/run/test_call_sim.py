"""`call-sim`: what a person gets to hear and see of a simulated call."""

from __future__ import annotations

import subprocess
import sys
import wave
from array import array
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from run.local.call_sim import Span, Story, picture, spans, summary, write_wav
from tests.fakes import sound
from tests.fakes.twilio import Caller, Moment


def call(*moments: tuple[int, str, str], spoken: bytes = b"", heard: bytes = b"") -> Caller:
    caller = Caller("http://127.0.0.1:9")
    caller.timeline = [Moment(*moment) for moment in moments]
    caller.spoken, caller.heard = bytearray(spoken), bytearray(heard)
    caller.status = "completed"
    return caller


TALK = (
    (100, "hears", ""),
    (900, "words", "Wait <a> moment"),
    (900, "speaks", ""),
    (960, "clear", "700 ms dropped"),
    (970, "hears nothing", ""),
    (1500, "tool", "get_weather"),
    (1800, "tool ends", "get_weather"),
    (2000, "ends", "completed"),
)


def test_what_never_ended_ends_with_the_call() -> None:
    """A stretch begins once, ends once, and at the latest when the call does."""
    timeline = call(*TALK).timeline
    assert spans(timeline, "hears", "hears nothing") == [Span(100, 970)]
    assert spans(timeline, "speaks", "is silent") == [Span(900, 2000)]
    assert spans(timeline, "tool", "tool ends") == [Span(1500, 1800, "get_weather")]


def test_the_picture_shows_who_spoke_when() -> None:
    """The picture is well formed and holds speech, tool, interruption and end."""
    root = ElementTree.fromstring(picture(Story(call(*TALK))))
    texts = {"".join(element.itertext()) for element in root.iter()}
    assert {"Wait <a> moment", "get_weather", "cut in: 700 ms dropped", "ends completed"} <= texts
    bars = [e for e in root.iter("{http://www.w3.org/2000/svg}rect") if e.get("rx")]
    assert [float(bar.get("width", "0")) for bar in bars] == [99.0, 78.3, 27.0]


def test_the_recording_has_the_caller_left_and_the_assistant_right(tmp_path: Path) -> None:
    """Both sides are heard beside one another, at the speed they were spoken."""
    spoken, heard = sound.voice_mulaw(200), sound.SILENCE * 10
    write_wav(tmp_path / "call.wav", call(spoken=spoken, heard=heard))
    with wave.open(str(tmp_path / "call.wav")) as recording:
        assert (recording.getnchannels(), recording.getframerate()) == (2, 8000)
        assert recording.getnframes() == 1600
        samples = array("h", recording.readframes(1600))
    assert samples[0::2] == sound.linear(spoken) and not any(samples[1::2])


def test_the_summary_tells_problems() -> None:
    """A problem is told, with everything that happened."""
    caller: Any = call(*TALK)
    caller.problems.append("31951: no message")
    told = summary(Story(caller))
    assert "Problem: 31951" in told and "2.0 s" in told and "clear  700 ms dropped" in told


def test_a_call_from_end_to_end(tmp_path: Path) -> None:
    """The command holds a whole call with a tool and an interruption, and writes what it was."""
    command = [sys.executable, "-m", "run.local", "call-sim", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "called: find_connector, hangup_call" in done.stdout
    assert "Interrupted:" in done.stdout
    ElementTree.parse(tmp_path / "call.svg")
    with wave.open(str(tmp_path / "call.wav")) as recording:
        samples = array("h", recording.readframes(recording.getnframes()))
    assert max(samples[0::2]) > 5000 and max(samples[1::2]) > 5000
