"""Fares from an Amadeus contract, cheapest first."""

from __future__ import annotations

import json

from common.errors import InvalidInput

from ..conftest import HERE, Replay

TOOL = "get_flight_info"


def test_fares_are_told_cheapest_first(replay: Replay) -> None:
    """Airlines get their names from the answer's dictionary, where it has them."""
    outcome = replay(f"{TOOL}__success")
    assert outcome.summary == (
        "Flights OSL to LIS on Tuesday 9 March 2027, back on Tuesday 16 March 2027: "
        "Tap Portugal TP 761, 08:05 to 11:40, nonstop, 214.60 EUR; "
        "LH 861, 07:05 to 12:40, 1 stop, 301.90 EUR."
    )
    assert outcome.result
    assert outcome.result.data["offers"][1]["return_legs"][0]["arrives"] == "2027-03-16T18:20"


def test_no_fare_is_an_answer(replay: Replay) -> None:
    """A day without offers is told, not reported as a failure."""
    assert replay(f"{TOOL}__empty").summary.startswith("Amadeus has no flights OSL to LIS")


def test_a_refused_search_is_sent_back(replay: Replay) -> None:
    """The model is told what to correct."""
    assert isinstance(replay(f"{TOOL}__refused").error, InvalidInput)


def test_the_contracts_own_host_is_called(replay: Replay) -> None:
    """An operator names the host of the contract; no other domain is let through."""
    case = json.loads((HERE / "amadeus" / f"{TOOL}__success.json").read_text())
    for exchange in case["exchanges"]:
        exchange["request"]["host"] = "test.api.amadeus.com"
    keys = dict.fromkeys(("AMADEUS_CLIENT_ID", "AMADEUS_CLIENT_SECRET"), "key-of-a-test")
    own = {**keys, "AMADEUS_HOST": "test.api.amadeus.com"}
    assert replay.run(TOOL, case["arguments"], *case["exchanges"], secrets=own).ok
    elsewhere = {**keys, "AMADEUS_HOST": "amadeus.example"}
    assert not replay.run(TOOL, case["arguments"], secrets=elsewhere).ok
