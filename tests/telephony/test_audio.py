"""Sound: mu-law, rates, frames, and the sounds of our own."""

from __future__ import annotations

import array
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.telephony.audio import (
    PHONE,
    STUDIO,
    Framer,
    Resampler,
    decode_mulaw,
    encode_mulaw,
    farewell_sound,
    typing_sound,
)
from tests.fakes import sound


def tone(hertz: float, rate: int, ms: int = 200) -> bytes:
    count = rate * ms // 1000
    wave = (round(8000 * math.sin(2 * math.pi * hertz * i / rate)) for i in range(count))
    return array.array("h", wave).tobytes()


def level(samples: bytes) -> float:
    values = array.array("h", samples)
    return math.sqrt(sum(v * v for v in values) / len(values))


def test_mulaw_is_g711() -> None:
    """All 256 codes decode as an independent table says, and come back as themselves."""
    codes = bytes(range(256))
    assert array.array("h", decode_mulaw(codes)) == sound.linear(codes)
    again = encode_mulaw(decode_mulaw(codes))
    assert [a for a, b in zip(codes, again, strict=True) if a != b] == [0x7F]  # minus zero


def test_mulaw_keeps_loudness_within_its_steps() -> None:
    """No sample there is changes by more than half its step, which grows with it.

    The codec first drops the two lowest of 16 bits: up to 4 more, at the edges of the steps.
    """
    values = array.array("h", range(-32768, 32768))
    heard = array.array("h", decode_mulaw(encode_mulaw(values.tobytes())))
    for before, after in zip(values, heard, strict=True):
        assert abs(before - after) <= (abs(before) + 132) / 32 + 4


@pytest.mark.parametrize(
    ("source", "target"), [(8000, 24000), (16000, 24000), (48000, 24000), (24000, 8000)]
)
def test_a_tone_keeps_its_pitch_and_length_at_another_rate(source: int, target: int) -> None:
    """A tone of 440 Hz is one of 440 Hz as long as before, whatever pieces it comes in."""
    whole = tone(440, source, 1000)
    change = Resampler(source, target)
    pieces = [whole[i : i + 301] for i in range(0, len(whole), 301)]  # half samples on the way
    heard = array.array("h", b"".join(change.feed(piece) for piece in pieces))
    assert abs(len(heard) - target) <= 2
    crossings = sum(a < 0 <= b for a, b in itertools.pairwise(heard))
    assert abs(crossings - 440) <= 2
    assert level(heard.tobytes()) == pytest.approx(level(whole), rel=0.1)


def test_the_same_rate_changes_nothing() -> None:
    """Sound that has the rate already is handed on as it is."""
    assert Resampler(24000, 24000).feed(b"\1\2\3\4") == b"\1\2\3\4"


@given(st.lists(st.binary(max_size=700), max_size=20))
def test_frames_are_whole_and_nothing_is_lost(pieces: list[bytes]) -> None:
    """Pieces become whole frames of 20 ms; the last is filled up with silence, not cut."""
    framer = Framer(PHONE)
    sent = [framer.feed(piece) for piece in pieces]
    assert all(len(piece) % 160 == 0 for piece in sent)
    rest = framer.flush()
    assert len(rest) in (0, 160)
    heard, given_ = b"".join(sent) + rest, b"".join(pieces)
    assert heard.startswith(given_) and set(heard[len(given_) :]) <= {0xFF}
    assert framer.flush() == b""


def test_a_dropped_rest_is_not_played_into_the_next_answer() -> None:
    """What was left over of an interrupted answer does not begin the next one."""
    framer = Framer(PHONE)
    framer.feed(b"\1" * 100)
    framer.drop()
    assert framer.feed(b"\2" * 160) == b"\2" * 160


def test_typing_is_soft_repeats_and_is_always_the_same() -> None:
    """The typing sound is audible, far softer than speech, whole frames, and made once."""
    for form in (PHONE, STUDIO):
        made = typing_sound(form)
        assert len(made) % form.frame_bytes == 0 and form.ms(len(made)) == pytest.approx(2000, 20)
        assert made is typing_sound(form)
    samples = decode_mulaw(typing_sound(PHONE))
    assert 20 < level(samples) < 0.2 * level(sound.voice(1000).tobytes())


def test_the_farewell_is_heard() -> None:
    """The notes that end a call without words are louder than typing."""
    made = decode_mulaw(farewell_sound(PHONE))
    assert level(made) > 3 * level(decode_mulaw(typing_sound(PHONE)))
