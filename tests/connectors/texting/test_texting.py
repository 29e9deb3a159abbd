"""Texts to the user's own number, wherever they ask from."""

from __future__ import annotations

import pytest

from common.errors import InvalidInput, NotAllowed, VendorRejected

from ..conftest import Linked, Replay

TOOL = "send_sms_to_me"


def test_it_goes_to_the_number_that_the_user_has_proven(replay: Replay) -> None:
    """Neither the model nor a page chooses the number, and it comes back to neither."""
    outcome = replay(f"{TOOL}__success")
    assert outcome.summary == "I texted that to your own number."
    assert "415" not in outcome.for_model()


@pytest.mark.parametrize(
    ("case", "error", "told"),
    [("opted_out", NotAllowed, "START"), ("no_number", VendorRejected, "settings")],
)
def test_refusals_say_what_to_do(
    replay: Replay, case: str, error: type[Exception], told: str
) -> None:
    """Whoever opted out is told how to come back; a wrong number is corrected in the settings."""
    outcome = replay(f"{TOOL}__{case}")
    assert isinstance(outcome.error, error) and told in outcome.summary


def test_who_has_no_number_is_told(replay: Replay) -> None:
    """Nothing is sent before a number is proven."""
    outcome = replay.run(TOOL, {"message": "hi"}, accounts=Linked(any=False))
    assert isinstance(outcome.error, NotAllowed)


@pytest.mark.parametrize("message", [" ", "x" * 1601, "```\n```"])
def test_bad_input_is_sent_back(replay: Replay, message: str) -> None:
    """Nothing, or more than a text holds, is not sent."""
    assert isinstance(replay.run(TOOL, {"message": message}).error, InvalidInput)
