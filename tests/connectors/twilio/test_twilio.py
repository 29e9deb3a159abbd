"""Texts and calls, in plain letters, to whole numbers, and no listing of anybody's."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput, NotAllowed

from ..conftest import Replay

SMS, HANG_UP = "send_sms", "hangup_call"


def test_a_text_is_sent_in_plain_letters(replay: Replay) -> None:
    """Curly quotes would triple the price; the number does not come back in the answer."""
    outcome = replay(f"{SMS}__success")
    assert outcome.summary == "The text is on its way."
    assert "415" not in outcome.for_model()


@pytest.mark.parametrize(
    ("case", "error", "told"),
    [
        ("opted_out", NotAllowed, "opted out"),
        ("no_number", InvalidInput, "no phone number"),
        ("country", NotAllowed, "country"),
    ],
)
def test_refusals_say_what_to_do(
    replay: Replay, case: str, error: type[Exception], told: str
) -> None:
    """Whoever opted out is left alone; a wrong number is checked."""
    outcome = replay(f"{SMS}__{case}")
    assert isinstance(outcome.error, error) and told in outcome.summary


def test_a_call_says_exactly_the_message(replay: Replay) -> None:
    """What looks like markup is spoken, not obeyed."""
    outcome = replay("place_phone_call__success")
    assert outcome.result and outcome.result.data["call_id"].startswith("CA")


def test_hanging_up_twice_is_no_failure(replay: Replay) -> None:
    """A call that has ended is ended; without an id the call with the user ends."""
    assert replay(f"{HANG_UP}__success").summary == "The call is ended."
    for case in ("empty", "gone"):
        assert replay(f"{HANG_UP}__{case}").summary == "That call had ended already."
    goodbye = replay(f"{HANG_UP}__this_call")
    assert goodbye.result and goodbye.result.response_type == "hangup_call"


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        (SMS, {"phone_number": "415 555 0100", "message": "x"}),
        (SMS, {"phone_number": "Dana", "message": "x"}),
        (SMS, {"phone_number": "+14155550100", "message": " "}),
        (SMS, {"phone_number": "+14155550100", "message": "x" * 1601}),
        ("place_phone_call", {"phone_number": "911", "message": "x"}),
        (HANG_UP, {"call_id": "CA/../x"}),
    ],
)
def test_bad_input_is_sent_back(replay: Replay, tool: str, given: dict[str, Any]) -> None:
    """Numbers need their country, and short ones (911) are never called."""
    assert isinstance(replay.run(tool, given).error, InvalidInput)
