"""People of the user's address book."""

from __future__ import annotations

from common.errors import InvalidInput

from ..conftest import Replay

TOOL = "search_google_contacts"


def test_a_person_is_told_with_address_and_number(replay: Replay) -> None:
    """Kinds are said, numbers are dialable, nameless empty entries are left out."""
    outcome = replay(f"{TOOL}__success")
    assert outcome.summary == (
        "Ada Example: ada@example.com (work), a@example.org, +4930123 (mobile); "
        "Adam: no address or number."
    )
    assert outcome.result and outcome.result.data["contacts"][0]["organization"] == "Acme"


def test_nobody_is_an_answer(replay: Replay) -> None:
    """An empty object means that nobody was found."""
    assert replay(f"{TOOL}__empty").summary == "Nobody called Zed was found."


def test_somebody_must_be_named(replay: Replay) -> None:
    """Nobody is looked for without a name."""
    assert isinstance(replay.run(TOOL, {"name": " "}).error, InvalidInput)


def test_people_written_to_are_marked_unsaved(replay: Replay) -> None:
    """An address one wrote to once is not passed off as a saved contact."""
    outcome = replay("search_google_other_contacts__success")
    assert outcome.result and outcome.result.data["contacts"][0]["saved"] is False
