"""What the user may want to ask next, from what was just used. No model is asked here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from common.assistant.protocol import Suggestion
from common.tools import Entry

MOST = 3
MAX_CHARACTERS = 35


def suggest(entries: Iterable[Entry], *, asked: Sequence[str]) -> list[Suggestion]:
    """Return up to MOST example prompts of `entries` (best first) that were not asked yet."""
    known = {_plain(prompt) for prompt in asked}
    found: list[str] = []
    for example in (example for entry in entries for example in entry.connector.examples):
        if len(example) <= MAX_CHARACTERS and _plain(example) not in known:
            known.add(_plain(example))
            found.append(example)
    return [
        Suggestion(prompt=prompt, likelihood=round(0.6 - 0.15 * place, 2))
        for place, prompt in enumerate(found[:MOST])
    ]


def _plain(prompt: str) -> str:
    return " ".join(prompt.casefold().split()).rstrip("?.! ")
