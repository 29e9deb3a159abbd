"""Sound for simulated calls: speech-like tones of our own, μ-law, and how loud a frame is.

A "voice" is a pitched buzz whose loudness rises and falls five times a second, so that an energy
detector takes it for speech, a listener can tell two voices apart, and nothing is recorded from
anybody. Samples are signed 16-bit, mono.
"""

from __future__ import annotations

import math
import sys
from array import array
from functools import cache, lru_cache

RATE = 8000  # samples a second on a phone line
FRAME = 160  # bytes of μ-law in 20 ms
SILENCE = b"\xff" * FRAME
CALLER_PITCH, MODEL_PITCH = 190.0, 110.0  # Hz
_BIAS, _CLIP = 132, 32635
_SYLLABLE_S = 0.2
_LOUDNESS = 9000


@cache
def _decoding() -> tuple[int, ...]:
    table = []
    for code in range(256):
        bits = ~code & 0xFF
        magnitude = (((bits & 0x0F) << 3) + _BIAS << ((bits & 0x70) >> 4)) - _BIAS
        table.append(-magnitude if bits & 0x80 else magnitude)
    return tuple(table)


@cache
def _magnitudes() -> bytes:
    """The loudness of each μ-law code in 256 steps, as a table for `bytes.translate`."""
    return bytes(min(255, abs(sample) >> 7) for sample in _decoding())


def _code(sample: int) -> int:
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), _CLIP) + _BIAS
    exponent = magnitude.bit_length() - 8
    return ~(sign | exponent << 4 | (magnitude >> exponent + 3) & 0x0F) & 0xFF


@cache
def _encoding() -> bytes:
    """The code of every sample in steps of 4, from -32768 up."""
    return bytes(_code(sample) for sample in range(-32768, 32768, 4))


def mulaw(samples: array[int]) -> bytes:
    """Encode samples at their rate as μ-law, a byte each."""
    table = _encoding()
    return bytes(table[sample + 32768 >> 2] for sample in samples)


def linear(payload: bytes) -> array[int]:
    """Decode μ-law."""
    table = _decoding()
    return array("h", [table[code] for code in payload])


def pcm(samples: array[int]) -> bytes:
    """Return samples as little-endian bytes."""
    if sys.byteorder == "big":
        samples = array("h", samples)
        samples.byteswap()
    return samples.tobytes()


def loudness(payload: bytes) -> float:
    """Return the mean magnitude of μ-law from 0 to 1."""
    return sum(payload.translate(_magnitudes())) / (len(payload) * 256) if payload else 0.0


def pcm_loudness(payload: bytes) -> float:
    """Return the mean magnitude of little-endian samples from 0 to 1."""
    samples = array("h", payload[: len(payload) // 2 * 2])
    if sys.byteorder == "big":
        samples.byteswap()
    return sum(map(abs, samples)) / (len(samples) * 32768) if samples else 0.0


@lru_cache(maxsize=64)
def voice(ms: int, pitch: float = CALLER_PITCH, rate: int = RATE) -> array[int]:
    """Return `ms` of something like speech."""
    samples = array("h", bytes(2 * (ms * rate // 1000)))
    phase = 0.0
    for number in range(len(samples)):
        second = number / rate
        phase += 2 * math.pi * pitch * (1 + 0.12 * math.sin(2.3 * second)) / rate
        # Never silent between syllables: a detector would hear a pause.
        envelope = 0.35 + 0.65 * math.sin(math.pi * second / _SYLLABLE_S) ** 2
        tone = math.sin(phase) + 0.6 * math.sin(2 * phase) + 0.4 * math.sin(5 * phase)
        samples[number] = int(_LOUDNESS * envelope * tone)
    return samples


@lru_cache(maxsize=64)
def voice_mulaw(ms: int, pitch: float = CALLER_PITCH) -> bytes:
    """Return `ms` of something like speech as μ-law at 8 kHz."""
    return mulaw(voice(ms, pitch))


def spoken_ms(text: str) -> int:
    """Return how long a text takes to say, in whole frames."""
    return max(200, len(text) * 60 // 20 * 20)
