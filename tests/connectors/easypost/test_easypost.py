"""Parcels: the last scan, no promised minutes, and codes nobody knows."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput, NotFound

from ..conftest import Replay

TRACK = "get_tracking_info_with_easypost"


def data(outcome: Any) -> Any:
    assert outcome.result, outcome.error
    return outcome.result.data


def test_the_newest_scan_is_told(replay: Replay) -> None:
    """A code is tidied, the newest scan comes first, dates are told without times."""
    outcome = replay(f"{TRACK}__success")
    assert outcome.summary == (
        "Package EZ2000000002 with USPS is on its way; last scan on Saturday 21 November 2026 in "
        "SAMPLEVILLE, OR: Arrived at facility; expected on Tuesday 24 November 2026."
    )
    assert len(data(outcome)["scans"]) == 2


def test_a_code_the_carrier_does_not_know(replay: Replay) -> None:
    """The vendor's processing error is an answer, not a failure."""
    assert "is not known to the carrier" in replay(f"{TRACK}__empty").summary


def test_a_refused_code(replay: Replay) -> None:
    """Errors as text lists are survived, and the code is what is asked to be checked."""
    assert isinstance(replay(f"{TRACK}__refused").error, NotFound)


def test_one_parcel_is_listed_once(replay: Replay) -> None:
    """Of two trackers for a code the one in error is left out."""
    parcels = data(replay("get_all_packages_with_easypost__success"))["packages"]
    assert [parcel["status"] for parcel in parcels] == ["in_transit", "delivered"]


@pytest.mark.parametrize("code", ["", "12", "where is it?", "../trackers"])
def test_what_is_no_code_is_not_billed(replay: Replay, code: str) -> None:
    """Nobody is asked for what cannot be a code."""
    assert isinstance(replay.run(TRACK, {"tracking_code": code}).error, InvalidInput)
