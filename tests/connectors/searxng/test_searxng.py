"""The operator's own search server: reached at its own address and nowhere else."""

from __future__ import annotations

import json

from common.errors import NotAllowed, VendorUnavailable

from ..conftest import HERE, Replay


def test_hits_from_the_operators_server(replay: Replay) -> None:
    """Rows without an address are left out; the engine is named."""
    outcome = replay("search_web__success")
    assert outcome.summary == "Bees & hives: Keeping bees. (SearXNG: example.com)"


def test_an_answer_of_either_age(replay: Replay) -> None:
    """Answers have been text, null and objects."""
    assert replay("search_web__answers").summary.startswith("2+2 = 4")


def test_silent_engines_are_an_outage(replay: Replay) -> None:
    """No results because nobody answered is not "nothing found": the next engine is asked."""
    assert isinstance(replay("search_web__outage").error, VendorUnavailable)


def test_json_switched_off_is_explained(replay: Replay) -> None:
    """The operator learns which setting is missing."""
    response = json.loads((HERE / "searxng" / "any__auth.json").read_text())
    outcome = replay.failing("search_web", {"query": "x"}, response)
    assert "search.formats" in outcome.summary


def test_an_address_that_is_none(replay: Replay) -> None:
    """A setting that is no address reaches nobody."""
    keys = {"SEARXNG_URL": "search"}
    outcome = replay.run("search_web", {"query": "x"}, secrets=keys)
    assert isinstance(outcome.error, NotAllowed)
