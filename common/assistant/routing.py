"""Which connectors a turn starts with: the router's choice for the conversation so far.

No model is asked. The ranker scores the sentence; the previous prompts count less. Interchangeable
connectors take one place between them: the best one that is set up is enabled, with those peers
whose tools are others, and the tool runner turns to the rest by itself. What fits best and is not
set up is named, so that the assistant can say what to set instead of pretending.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from common.tools import Entry, Registry
from common.tools.ranking import ranker_of

MOST = 4  # places enabled at the start of a turn
MOST_OFF = 3
_FLOOR = 0.05  # scores below it are noise
_NEAR = 0.5  # what is enabled, compared with the best score
_CLOSE = 0.8  # what is worth naming though it is off, compared with the best score
_NAMED = 1.15  # how far above its peers a service is that the user names
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
        self.ranker = ranker_of(registry)
        self.ranker.build()  # while the process starts, so that no turn waits for it

    def choose(self, text: str, earlier: Sequence[str] = ()) -> Choice:
        """Return the connectors for `text`, given the user's `earlier` prompts, oldest first."""
        scores = self._scores(text, earlier)
        top = max(scores.values(), default=0.0)
        on: list[str] = []
        off: dict[str, Sequence[str]] = {}
        taken = 0
        for place in self._places(scores):
            best, score = place[0], scores[place[0].slug]
            if score < max(_FLOOR, _NEAR * top) or taken == MOST:
                break
            ready = [entry for entry in place if not entry.missing(self._secret)]
            on += _distinct(ready)
            taken += bool(ready)
            named = not ready or score > _NAMED * scores[ready[0].slug]
            if best not in ready and named and score >= _CLOSE * top and len(off) < MOST_OFF:
                off[best.connector.name] = best.missing(self._secret)
        return Choice(tuple(on), off)

    def _scores(self, text: str, earlier: Sequence[str]) -> dict[str, float]:
        scores: dict[str, float] = {}
        weight = 1.0
        for prompt in (text, *reversed(earlier[-3:])):
            for ranked in self.ranker.rank(prompt, limit=16, varied=False):
                scores[ranked.slug] = max(scores.get(ranked.slug, 0.0), weight * ranked.score)
            weight *= _DECAY
        return scores

    def _places(self, scores: dict[str, float]) -> list[list[Entry]]:
        """Return the scored connectors, best first, those of one capability together."""
        places: dict[str, list[Entry]] = {}
        entries = self._registry.entries
        for slug in sorted(scores, key=lambda slug: (-scores[slug], entries[slug].connector.rank)):
            entry = entries[slug]
            places.setdefault(entry.connector.capability or slug, []).append(entry)
        return list(places.values())


def _distinct(ready: Sequence[Entry]) -> list[str]:
    """Return the first entry and those that bring none of the tools before them."""
    chosen, tools = [], set[str]()
    for entry in ready:
        names = {tool.name for tool in entry.tools}
        if not names & tools:
            chosen.append(entry.slug)
            tools |= names
    return chosen
