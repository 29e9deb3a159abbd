"""Sound as bytes: telephone and studio formats, resampling, 20 ms frames, our own typing sound.

A phone call needs none of the conversions: mu-law goes from Twilio to the model and back as it is.
They serve the app's sockets whose microphone has another rate, and the sounds made here. The
interpreter's own C codec is used: 0.4 us for a frame, where a table in Python takes 50
(docs/decisions/0008-voice.md).
"""

from __future__ import annotations

import array
import math
import random
import sys
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

with warnings.catch_warnings():
    # Removed from the standard library in 3.13, where the package `audioop-lts` is the same module.
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

FRAME_MS: Final = 20
PHONE_RATE: Final = 8_000
STUDIO_RATE: Final = 24_000
_SILENT_MULAW: Final = b"\xff"
_TYPING_SEED: Final = 1868  # the year of the first typewriter that sold

Encoding: TypeAlias = Literal["pcmu", "pcm16"]


@dataclass(frozen=True, slots=True)
class Format:
    """How a line's sound is written: mono, 8-bit mu-law or 16-bit little-endian samples."""

    encoding: Encoding
    rate: int

    @property
    def bytes_per_ms(self) -> float:
        """How many bytes a millisecond has."""
        return self.rate / 1000 * (1 if self.encoding == "pcmu" else 2)

    @property
    def frame_bytes(self) -> int:
        """How many bytes a frame of 20 ms has."""
        return round(self.bytes_per_ms * FRAME_MS)

    def ms(self, size: int) -> float:
        """Return how long `size` bytes sound."""
        return size / self.bytes_per_ms

    def silence(self, size: int) -> bytes:
        """Return `size` bytes of silence."""
        return (_SILENT_MULAW if self.encoding == "pcmu" else b"\0") * size


PHONE: Final = Format("pcmu", PHONE_RATE)
STUDIO: Final = Format("pcm16", STUDIO_RATE)


def decode_mulaw(sound: bytes) -> bytes:
    """Return 16-bit samples (native little-endian machines' order) of G.711 mu-law bytes."""
    return audioop.ulaw2lin(sound, 2)


def encode_mulaw(samples: bytes) -> bytes:
    """Return G.711 mu-law bytes of 16-bit samples; an odd last byte is dropped."""
    return audioop.lin2ulaw(samples[: len(samples) & ~1], 2)


class Resampler:
    """Changes the rate of a stream of 16-bit mono samples, whatever pieces it comes in.

    Going down, neighbouring samples are averaged first, which keeps most of what would fold back
    into the speech out of it.
    """

    def __init__(self, source: int, target: int) -> None:
        self.source, self.target = source, target
        self._state: Any = None
        self._odd = b""

    def feed(self, samples: bytes) -> bytes:
        """Return what `samples` become; half a sample waits for its other half."""
        samples = self._odd + samples
        whole = len(samples) & ~1
        self._odd = samples[whole:]
        if self.source == self.target:
            return samples[:whole]
        weights = (1, 1) if self.source > self.target else (1, 0)
        changed, self._state = audioop.ratecv(
            samples[:whole], 2, 1, self.source, self.target, self._state, *weights
        )
        return changed


class Framer:
    """Cuts a stream of sound into whole frames of 20 ms, so that none is padded in its middle."""

    def __init__(self, form: Format) -> None:
        self._form = form
        self._rest = b""

    def feed(self, sound: bytes) -> bytes:
        """Return all whole frames there are now, in one piece."""
        if self._rest:
            sound = self._rest + sound
        whole = len(sound) - len(sound) % self._form.frame_bytes
        self._rest = sound[whole:]
        return sound[:whole] if self._rest else sound

    def flush(self) -> bytes:
        """Return what is left, filled up with silence, at the end of an answer."""
        rest, self._rest = self._rest, b""
        return rest + self._form.silence(-len(rest) % self._form.frame_bytes) if rest else b""

    def drop(self) -> None:
        """Forget what is left: nobody will hear it."""
        self._rest = b""


@lru_cache(maxsize=4)
def typing_sound(form: Format) -> bytes:
    """Return two seconds of soft typing, of our own making, that may be repeated.

    A person who hears it knows that somebody is at work and that the line has not dropped.
    """
    chance = random.Random(_TYPING_SEED)
    rate = PHONE_RATE
    track = [0.0] * (2 * rate)
    moment = 0.06
    while moment < 1.9:
        _press(track, round(moment * rate), rate, chance)
        moment += chance.uniform(0.09, 0.24)
    return _written(track, rate, form)


@lru_cache(maxsize=4)
def farewell_sound(form: Format) -> bytes:
    """Return two falling notes: the call ends, on purpose, though nobody can say so."""
    rate = PHONE_RATE
    track = [0.0] * round(0.9 * rate)
    for start, pitch in ((0.0, 523.25), (0.35, 392.0)):
        first = round(start * rate)
        for i in range(round(0.5 * rate)):
            rise = min(1.0, i / (0.01 * rate))
            fade = math.exp(-i / (0.14 * rate))
            track[first + i] += 0.16 * rise * fade * math.sin(2 * math.pi * pitch * i / rate)
    return _written(track, rate, form)


def _press(track: list[float], at: int, rate: int, chance: random.Random) -> None:
    """Add one key: a click of noise and the low knock of the key's way down."""
    loud = chance.uniform(0.03, 0.06)
    pitch = chance.uniform(160.0, 240.0)
    low = 0.0
    for i in range(min(round(0.05 * rate), len(track) - at)):
        low += 0.5 * (chance.uniform(-1.0, 1.0) - low)
        click = low * math.exp(-i / (0.004 * rate))
        knock = math.sin(2 * math.pi * pitch * i / rate) * math.exp(-i / (0.012 * rate))
        track[at + i] += loud * (click + 0.5 * knock)


def _written(track: list[float], rate: int, form: Format) -> bytes:
    samples = array.array("h", (round(max(-1.0, min(1.0, s)) * 32_767) for s in track))
    if sys.byteorder == "big":
        samples.byteswap()
    sound = Resampler(rate, form.rate).feed(samples.tobytes())
    sound = encode_mulaw(sound) if form.encoding == "pcmu" else sound
    framer = Framer(form)
    return framer.feed(sound) + framer.flush()
