"""Hotel prices from an Amadeus contract."""

from __future__ import annotations

from ..conftest import Replay

TOOL = "get_hotel_prices"


def test_prices_for_a_night_and_the_stay(replay: Replay) -> None:
    """The cheapest comes first when asked for; a missing nightly price is worked out."""
    outcome = replay(f"{TOOL}__success")
    assert "Hotel Example, 120 EUR a night (378 in all); Grand Example, 200 EUR" in outcome.summary
    assert outcome.result
    assert [hotel["id"] for hotel in outcome.result.data["hotels"]][-1] == "XYLIS125"


def test_nothing_found_is_an_answer(replay: Replay) -> None:
    """No offer, no hotel and no such place all say that nothing was found."""
    for case in ("empty", "unknown_place", "no_hotels"):
        assert replay(f"{TOOL}__{case}").summary.startswith("No hotel was found in Lisbon")
