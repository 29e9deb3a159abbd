"""All that a store on this machine holds, read from its file: nothing has to be listed."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from common.bootstrap import Services

ROOT = Path(__file__).parents[2]
_TOP = re.compile(r"f\"([a-z_]+)/\{|Query\(\s*\"([a-z_]+)\"|\(\"([a-z_]+)\", \"(?:uid|owner)\"\)")
_BELOW_USER = re.compile(r"\{(?:documents\.)?user\([^}]*\)\}/([a-z_]+)|users/\{[^}]*\}/([a-z_]+)")
_BELOW_CHAT = re.compile(r"\{(?:documents\.)?chat\([^}]*\)\}/([a-z_]+)|chats/\{[^}]*\}/([a-z_]+)")
# Beginnings of addresses and of file names, and a query over all chats' turns.
_NO_COLLECTION = frozenset(("projects", "search", "all", "banks", "chats/export", "turns"))


def versions(services: Services) -> dict[str, int]:
    """Return each document's path with its version."""
    file = services.settings.data_dir / "store.sqlite"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        return dict(db.execute("SELECT collection || '/' || id, version FROM documents"))


def kind(path: str) -> str:
    """Return the collections that a document is in, without the ids between them."""
    return "/".join(path.split("/")[::2])


def spelled() -> set[str]:
    """Return every collection that the code spells out, as `kind` names them."""
    found: set[str] = set()
    for folder in ("common", "run", "functions"):
        for file in (ROOT / folder).rglob("*.py"):
            if "connectors" not in file.parts:
                found |= set(_spelled_in(file.read_text()))
    return found - _NO_COLLECTION


def _spelled_in(text: str) -> Iterator[str]:
    for before, pattern in (("", _TOP), ("users/", _BELOW_USER), ("chats/", _BELOW_CHAT)):
        for names in pattern.findall(text):
            yield before + "".join(names)
