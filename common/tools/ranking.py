"""The router: which connectors, and which of their tools, a sentence is about. No model call.

Every connector is a document made of its manifest and its tools' docstrings; a sentence is scored
against them by BM25 over stems, word pairs, phrases and shapes ("a currency", "a flight number").
Words no manifest knows are matched by their trigrams, which forgives typing. Interchangeable
connectors (same `capability`) lend each other their words. An index is built on first use, once for
each registry (`ranker_of`); a call takes microseconds.
"""

from __future__ import annotations

import inspect
import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

from common.tools.declare import Tool
from common.tools.registry import Entry, Registry
from common.tools.shapes import CAPITALS, STOP, WORD, features, opening, stem, stems, vocabulary

# A shape a sentence may hold, and the words in a parameter's name that say a tool takes it.
_TAKES = {
    "#currency": {"currency"},
    "#pair": {"from_currency", "to_currency", "currency_pair"},
    "#budget": {"min_price", "max_price"},
    "#ticker": {"ticker", "symbol"},
    "#cashtag": {"ticker", "symbol"},
    "#asin": {"asin"},
    "#url": {"url"},
    "#email": {"email", "recipient", "attendee"},
    "#phone": {"phone"},
    "#coordinates": {"latitude"},
    "#flight": {"flight"},
    "#tracking": {"tracking"},
    "#airport": {"airport", "iata", "origin"},
    "#route": {"destination"},
    "#channel": {"channel"},
    "#zip": {"zip", "postal"},
    "#place": {"location", "city", "place"},
    "#question": {"query", "title", "topic"},
    "#anything": {"query", "topic"},
    "#date": {"date"},
    "#time": {"time"},
}
_VAGUE = {"#ticker", "#airport", "#zip", "#place", "#date", "#time", "#question"}
# How much of a field's words count; names and keywords are chosen by hand, prose is not.
_WEIGHTS = {
    "name": 4.0,
    "keywords": 3.0,
    "examples": 2.0,
    "description": 2.0,
    "tools": 2.4,
    "prose": 0.7,
    "arguments": 0.4,
    "peers": 0.8,
}
_CHOSEN = ("name", "keywords", "examples", "description")
# Words said of anything tell little.
_COMMON = frozenset(
    map(
        stem,
        vocabulary(
            "year month week place number name people person thing work look money home right next "
            "last first good best little any anything something everything anyone someone put"
        ),
    )
)
_FAINT = 0.38
_LENGTH = 0.25
# Small registries must not inflate how rare a word looks: thresholds would shift with their size.
_IMAGINED = 24
_HALF = 6.0
_ALIKE = 0.52
# Whatever is asked, the web may know it: a little for those that look anything up.
_ANYTHING = 0.8
# A second service that gives the same answer makes room for one that gives another.
_PEER = 0.5

_MARK = re.compile(r"#[a-z]+|\^\S+ \S+|~\S+")
_STOPS = re.compile(r"[.,;:!?()\n]")

Fields = Mapping[str, Iterable[str]]


@dataclass(frozen=True, slots=True)
class Ranked:
    """A connector and how well it fits: 0 not at all, towards 1 beyond doubt."""

    slug: str
    score: float


class Ranker:
    """Ranks the connectors and tools of one registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    @cached_property
    def _connectors(self) -> _Index:
        entries = self._registry.entries.values()
        return _Index({e.slug: _connector_fields(e, entries) for e in entries})

    @cached_property
    def _tools(self) -> _Index:
        tools, entry_of = self._registry.tools, self._registry.entry_of
        documents = {name: _tool_fields(tool, entry_of(tool)) for name, tool in tools.items()}
        return _Index(documents, saturation=1.2)

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        entries = self._registry.entries.values()
        return {e.slug: stems(f"{e.connector.name} {e.slug}") for e in entries}

    @cached_property
    def _fuzzy(self) -> _Fuzzy:
        return _Fuzzy(self._connectors.words, self._connectors.chosen)

    def build(self) -> None:
        """Make the index of connectors now; otherwise the first sentence waits for it."""
        _ = self._names, self._fuzzy

    def rank(self, text: str, *, limit: int | None = None, varied: bool = True) -> list[Ranked]:
        """Return every connector, best first; among equals by the manifests' `rank`.

        Where `varied`, services that give the same answer as a better one stand back.
        """
        scores = self._called(self._connectors.scores(self._query(text)), text)
        entries = self._registry.entries
        order = sorted(entries, key=lambda slug: (-scores[slug], entries[slug].connector.rank))
        seen: set[str] = set()
        for slug in order:
            same = entries[slug].connector.capability
            if varied and same in seen:
                scores[slug] *= _PEER
            elif same:
                seen.add(same)
        ranked = [Ranked(slug, _squash(scores[slug])) for slug in order]
        ranked.sort(key=lambda r: (-r.score, entries[r.slug].connector.rank))
        return ranked[:limit]

    def rank_tools(
        self, text: str, *, among: Collection[str] | None = None
    ) -> list[tuple[str, float]]:
        """Return tool names with scores 0..1, best first; of `among` only, where that is given."""
        query = self._query(text)
        connectors = self._called(self._connectors.scores(query), text)
        # Of one service's tools, the one that looks anything up is not the likelier one.
        tools = self._tools.scores({**query, "#anything": 0.0})
        found = []
        for name, tool in self._registry.tools.items():
            if among is not None and name not in among:
                continue
            # Its connector's words tell a tool from the many others that mention a place or a day.
            score = 0.5 * tools[name] + 0.7 * connectors[tool.connector]
            found.append((name, _squash(score)))
        found.sort(key=lambda pair: (-pair[1], self._order(pair[0])))
        return found

    def knows(self, tool: str, word: str) -> bool:
        """True where `word` belongs to the tool or its connector, rather than being a value."""
        slug = self._registry.tools[tool].connector
        # A capital means a name: it is not a mistyped word of ours.
        name = stem(word) if word[:1].isupper() else self._fuzzy.nearest(stem(word))[0]
        return self._connectors.has(slug, name) or self._tools.has(tool, name)

    def _order(self, tool: str) -> int:
        return self._registry.entries[self._registry.tools[tool].connector].connector.rank

    def _is_name(self, word: str) -> bool:
        """True for a word that one connector alone has, in its name: a service called by name."""
        holders = self._connectors.holders(word)
        return len(holders) == 1 and word in self._names[min(holders)]

    def _called(self, scores: dict[str, float], text: str) -> dict[str, float]:
        """Raise the services whose name of several words is said in full: "Google Tasks"."""
        said = " ".join(word.lower() for word in WORD.findall(text))
        for slug, entry in self._registry.entries.items():
            name = entry.connector.name.lower()
            if " " in name and f" {name} " in f" {said} ":
                scores[slug] += _HALF
        return scores

    def _query(self, text: str) -> dict[str, float]:
        query: dict[str, float] = defaultdict(float)
        # Capitals are a code or a name: "GOOG" is no mistyped "Google".
        codes = {stem(code) for code in CAPITALS.findall(text)} if not text.isupper() else set()
        words = [(w, 1.0) if w in codes else self._fuzzy.nearest(w) for w in stems(text)]
        for word, sure in words:
            query[word] = max(query[word], sure * (_FAINT if word in _COMMON else 1))
        for pair in _pairs([word for word, _ in words]):
            query[pair] = 0.6
        for word, sure in words:
            if self._is_name(word):
                query[word] = 2.5 * sure
        query[opening(text)] = 0.15
        query["#anything"] = _ANYTHING
        for shape in features(text):
            query[shape] = 0.6 if shape in _VAGUE else 1.4
        for phrase in _phrases(text):
            query[phrase] = 0.7
        return query


@lru_cache(maxsize=4)
def ranker_of(registry: Registry) -> Ranker:
    """Return the one ranker of `registry`: the router and the offline planner share its index."""
    return Ranker(registry)


class _Index:
    """Documents by word: each posting holds the document's finished weight for that word."""

    def __init__(self, documents: Mapping[str, Fields], *, saturation: float = 3.0) -> None:
        counted = {
            key: {
                f: Counter(t for text in texts for t in _tokens(text))
                for f, texts in fields.items()
            }
            for key, fields in documents.items()
        }
        lengths: dict[str, list[int]] = defaultdict(list)
        for fields in counted.values():
            for field, counter in fields.items():
                lengths[field].append(counter.total())
        usual = {field: max(1.0, sum(sizes) / len(sizes)) for field, sizes in lengths.items()}
        weights: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for key, fields in counted.items():
            for field, counter in fields.items():
                long = 1 - _LENGTH + _LENGTH * counter.total() / usual[field]
                for word, times in counter.items():
                    weights[word][key] += _WEIGHTS[field] * min(times, 3) / long
        self._postings = {
            word: self._finish(found, len(counted), saturation) for word, found in weights.items()
        }
        # Chosen words are what people mistype; prose holds everything ("whether" for "wether").
        held = (fields.get(f, ()) for fields in counted.values() for f in _CHOSEN)
        self.chosen = frozenset(word for words in held for word in words if _plain(word))
        self.words = frozenset(filter(_plain, weights))

    @staticmethod
    def _finish(found: Mapping[str, float], size: int, saturation: float) -> dict[str, float]:
        rare = math.log(1 + (size + _IMAGINED - len(found) + 0.5) / (len(found) + 0.5))
        return {key: rare * w * (saturation + 1) / (w + saturation) for key, w in found.items()}

    def scores(self, query: Mapping[str, float]) -> dict[str, float]:
        total: dict[str, float] = defaultdict(float)
        for word, weight in query.items():
            for key, score in self._postings.get(word, {}).items():
                total[key] += weight * score
        return total

    def holders(self, word: str) -> Collection[str]:
        return self._postings.get(word, {}).keys()

    def has(self, key: str, word: str) -> bool:
        return key in self._postings.get(word, {})


class _Fuzzy:
    """Finds the target that a word not `known` was meant to be, by shared trigrams."""

    def __init__(self, known: Collection[str], targets: Collection[str]) -> None:
        self._known = known
        self._grams = {word: _trigrams(word) for word in targets}
        self._holders: dict[str, list[str]] = defaultdict(list)
        for word, grams in self._grams.items():
            for gram in grams:
                self._holders[gram].append(word)
        self.nearest = lru_cache(maxsize=4096)(self._nearest)

    def _nearest(self, word: str) -> tuple[str, float]:
        """Return a known word and how sure that is; the word itself where nothing is near."""
        if word in self._known or len(word) < 4 or not word.isalpha():
            return word, 1.0
        grams = _trigrams(word)
        shared = Counter(held for gram in grams for held in self._holders.get(gram, ()))
        alike = (
            (2 * n / (len(grams) + len(self._grams[w])), w)
            for w, n in shared.items()
            if len(w) > 3 and w[0] == word[0]
        )
        likeness, best = max(alike, default=(0.0, word))
        return (best, likeness * 0.8) if likeness >= _ALIKE else (word, 1.0)


def _connector_fields(entry: Entry, entries: Iterable[Entry]) -> Fields:
    c = entry.connector
    peers = [
        word
        for p in entries
        if c.capability and p.connector.capability == c.capability and p is not entry
        for word in (*p.connector.keywords, *_marked(p.connector.keywords))
    ]
    return {
        "name": [c.name, entry.slug],
        "keywords": [*c.keywords, *_marked(c.keywords), c.capability],
        "examples": [_anonymous(example) for example in c.examples],
        "description": [c.description],
        "tools": [tool.name for tool in entry.tools],
        "prose": [tool.description for tool in entry.tools],
        "arguments": [_arguments(tool, entry) for tool in entry.tools],
        "peers": peers,
    }


def _tool_fields(tool: Tool, entry: Entry) -> Fields:
    prose = [_arguments(tool, entry)]
    return {"keywords": [tool.name], "description": [tool.description], "prose": prose}


def _arguments(tool: Tool, entry: Entry) -> str:
    # Names come from the annotations and words from the docstring: the schema is costly to build.
    names = [name for name in tool.handler.__annotations__ if name not in ("ctx", "return")]
    words = {part for name in names for part in (name, *name.split("_"))}
    takes = [shape for shape, marks in _TAKES.items() if marks & words]
    if entry.connector.category != "information":  # only what informs does so about anything
        takes = [shape for shape in takes if shape not in ("#question", "#anything")]
    section = (inspect.getdoc(tool.handler) or "").partition("\nArgs:")[2]
    return " ".join((*takes, *names, section))


def _anonymous(example: str) -> str:
    """Replace the names an example happens to use ("Boston") by their shapes."""
    words = re.sub(r"(?<=[a-z,] )[A-Z][\w'’-]*", ".", CAPITALS.sub(".", example))
    # Any example may be a question; being asked about anything at all is what `_arguments` marks.
    shapes = [shape for shape in features(example) if shape != "#question"]
    return " ".join((opening(example), ".", words, *shapes))


# A tool's text is read twice, for its connector and for itself; a keyword by every connector.
@lru_cache(maxsize=4096)
def _tokens(text: str) -> list[str]:
    if text.isalpha():
        return stems(text)
    made = _MARK.findall(text)
    for run in _STOPS.split(_MARK.sub(".", text) if made else text):
        if words := stems(run):
            made += [*words, *_pairs(words)]
    return made


def _marked(keywords: Iterable[str]) -> list[str]:
    return [phrase for keyword in keywords if " " in keyword for phrase in _phrases(keyword)]


def _phrases(text: str) -> list[str]:
    """Return neighbouring words of which one is an everyday word: "put on", "where am"."""
    words = [word.lower() for word in WORD.findall(text)]
    return [f"~{a}_{b}" for a, b in pairwise(words) if a in STOP or b in STOP]


def _pairs(words: list[str]) -> list[str]:
    return [f"{a} {b}" for a, b in pairwise(words)]


def _plain(token: str) -> bool:
    return token[0] not in "#^~" and " " not in token


def _trigrams(word: str) -> frozenset[str]:
    padded = f"^{word}$"
    return frozenset(padded[i : i + 3] for i in range(len(padded) - 2))


def _squash(score: float) -> float:
    return round(score / (score + _HALF), 3)
