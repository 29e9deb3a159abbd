"""Known vulnerabilities of what is pinned: asked of the index, or of a file of our own.

pip-audit asks the index. Where that answers nothing (no network, a mirror without advisories) it
skips the packages and still ends with 0, so that its report is read and not its exit code, and
`advisories.json` is consulted instead: a subset of OSV's records, in OSV's format
(https://ossf.github.io/osv-schema/), about packages of the lock. It holds what was known when it
was last renewed: it guards against going back to a bad release, not against news.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.supply.lock import ROOT, Pin

FILE = Path(__file__).with_name("advisories.json")


@dataclass(frozen=True, slots=True)
class Found:
    """A pinned release that an advisory is about."""

    name: str
    version: str
    advisory: str
    fixed: str


def known() -> list[dict[str, Any]]:
    """Return the vendored OSV records."""
    records: list[dict[str, Any]] = json.loads(FILE.read_text())["vulns"]
    return records


def offline(locked: Iterable[Pin]) -> list[Found]:
    """Return what the vendored file says about these releases."""
    records = known()
    return [found for pin in locked for record in records for found in _affected(pin, record)]


def online(path: str) -> list[Found] | None:
    """Return what the index says about a lock; None where it cannot tell of every package."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(ROOT / path), "--disable-pip",
               "--progress-spinner", "off", "--timeout", "10", "-f", "json"]  # fmt: skip
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        report = json.loads(ended.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return None
    if any("skip_reason" in package for package in report):
        return None
    return [
        Found(each["name"], each["version"], vuln["id"], ", ".join(vuln["fix_versions"]))
        for each in report
        for vuln in each["vulns"]
    ]


def _affected(pin: Pin, record: dict[str, Any]) -> list[Found]:
    return [
        Found(pin.name, pin.version, record["id"], fixed)
        for affected in record["affected"]
        if canonicalize_name(affected["package"]["name"]) == pin.name
        for span in affected["ranges"]
        for since, fixed in _spans(span["events"])
        if _within(pin.version, since, fixed)
    ]


def _within(version: str, since: str, fixed: str) -> bool:
    here = Version(version)
    return Version(since) <= here and not (fixed and Version(fixed) <= here)


def _spans(events: list[dict[str, str]]) -> list[tuple[str, str]]:
    """Return OSV's events as pairs of the first bad release and the first good one, "" for none."""
    spans: list[tuple[str, str]] = []
    for event in events:
        if "introduced" in event:
            spans.append((event["introduced"], ""))
        elif "fixed" in event:
            spans[-1] = (spans[-1][0], event["fixed"])
    return spans
