"""Which connectors a turn starts with: the router's choice for the conversation so far.

No model is asked. The ranker scores the sentence; the previous prompts count less; what is not set
up is named, so that the assistant can say what to set instead of pretending.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from common.tools import Registry
from common.tools.ranking import Ranker

MOST = 5  # connectors enabled at the start of a turn
_FLOOR = 0.05  # scores below it are noise
_DECAY = 0.5  # what a prompt counts, compared with the one after it


@dataclass(frozen=True, slots=True)
class Choice:
    """`on`: slugs to enable, best first; `off`: by name, the keys that fitting ones lack."""

    on: tuple[str, ...] = ()
    off: dict[str, Sequence[str]] = field(default_factory=dict)


class Router:
    """Chooses connectors; one for each process."""

    def __init__(self, registry: Registry, secret: Callable[[str], str | None]) -> None:
        self._registry = registry
        self._secret = secret
        self.ranker = Ranker(registry)

    def choose(self, text: str, earlier: Sequence[str] = ()) -> Choice:
        """Return the connectors for `text`, given the user's `earlier` prompts, oldest first."""
        scores: dict[str, float] = {}
        weight = 1.0
        for prompt in (text, *reversed(earlier[-3:])):
            for ranked in self.ranker.rank(prompt, limit=8):
                scores[ranked.slug] = max(scores.get(ranked.slug, 0.0), weight * ranked.score)
            weight *= _DECAY
        on: list[str] = []
        off: dict[str, Sequence[str]] = {}
        for slug in sorted(scores, key=lambda slug: (-scores[slug], slug)):
            if scores[slug] < _FLOOR or len(on) == MOST:
                break
            entry = self._registry.entries[slug]
            if missing := entry.missing(self._secret):
                off[entry.connector.name] = missing
            else:
                on.append(slug)
        return Choice(tuple(on), off)
