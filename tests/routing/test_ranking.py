"""The router sends a sentence to the right service, whatever its words."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import pytest

from common.tools import Registry
from common.tools.ranking import Ranker

SENTENCES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "sentences.json").read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover()


@pytest.fixture(scope="module")
def ranker(registry: Registry) -> Ranker:
    return Ranker(registry)


def test_the_right_service_is_among_the_first(ranker: Ranker, registry: Registry) -> None:
    """Nearly every sentence finds its service among the first three, all but none in eight."""
    places, spent = [], []
    for sentence in SENTENCES:
        assert set(sentence["connectors"]) <= set(registry.entries), sentence
        started = time.perf_counter()
        ranked = ranker.rank(sentence["text"])
        spent.append(time.perf_counter() - started)
        places.append(min(i for i, r in enumerate(ranked) if r.slug in sentence["connectors"]))
    missed = [s["text"] for s, place in zip(SENTENCES, places, strict=True) if place > 2]
    print(
        f"{len(SENTENCES)} sentences: first {places.count(0)}, beyond third {missed}; "
        f"median {statistics.median(spent) * 1e3:.2f} ms, worst {max(spent) * 1e3:.2f} ms"
    )
    assert sum(place < 3 for place in places) >= 0.97 * len(places)
    assert sum(place < 8 for place in places) >= 0.995 * len(places)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("plumbers on Yelp", "yelp"),
        ("at finnhub, how is Ford", "finnhub"),
        ("ask wikipedia about the weather", "wikipedia"),
    ],
)
def test_a_service_called_by_name_comes_first(ranker: Ranker, text: str, first: str) -> None:
    """Who names a service gets that service."""
    assert ranker.rank(text)[0].slug == first


def test_scores_are_sorted_and_bounded(ranker: Ranker, registry: Registry) -> None:
    """Every connector is listed once, best first, with a score from 0 to 1."""
    ranked = ranker.rank("weather in Boston")
    scores = [r.score for r in ranked]
    assert sorted(r.slug for r in ranked) == sorted(registry.entries)
    assert scores == sorted(scores, reverse=True)
    assert 0 <= min(scores) <= max(scores) <= 1
    assert len(ranker.rank("weather", limit=2)) == 2


@pytest.mark.parametrize("text", ["", "   ", "?!", "🙂", "\x00", "a" * 5000])
def test_any_text_may_come(ranker: Ranker, text: str) -> None:
    """Nothing a user types breaks the router, and nonsense fits nothing well."""
    assert ranker.rank(text)[0].score < 0.3


def test_tools_are_ranked_among_those_offered(ranker: Ranker, registry: Registry) -> None:
    """Only tools within reach are named, the fitting one first."""
    offered = {t.name for t in registry.entries["frankfurter"].tools}
    ranked = ranker.rank_tools("convert 5 euros to dollars", among=offered)
    assert {name for name, _ in ranked} == offered
    assert ranked[0][0] == "get_exchange_rate_for_currency_pair"


def test_the_tools_own_words_are_told_from_values(ranker: Ranker) -> None:
    """Of "boston weather" the place is boston."""
    assert ranker.knows("get_current_weather_by_location", "weather")
    assert not ranker.knows("get_current_weather_by_location", "Boston")
