"""Reads the locks: which releases, under which conditions, with which hashes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.txt", "tests/requirements.txt")
# What may be added without anybody deciding so: a little more than there is.
MOST_DIRECT, MOST_ALL = 29, 108

_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Pin:
    """One release of a lock; `marker` says where it is installed, None for everywhere."""

    name: str
    version: str
    marker: Marker | None
    hashes: tuple[str, ...]

    @property
    def here(self) -> bool:
        """Whether it is installed on this platform."""
        return self.marker is None or self.marker.evaluate()


def pins(path: str = LOCKS[0]) -> list[Pin]:
    """Return the releases that a lock pins."""
    text = (ROOT / path).read_text().replace("\\\n", " ")
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return [_pin(line) for line in lines]


def direct(path: str = "requirements.in") -> list[str]:
    """Return the names that the product asks for itself."""
    lines = (ROOT / path).read_text().splitlines()
    wanted = (line for line in lines if line and not line.startswith("#"))
    return [canonicalize_name(Requirement(line).name) for line in wanted]


def _pin(line: str) -> Pin:
    wanted = Requirement(line.partition("--hash")[0].strip())
    version = str(wanted.specifier).removeprefix("==")
    hashes = tuple(_HASH.findall(line))
    return Pin(canonicalize_name(wanted.name), version, wanted.marker, hashes)
