"""Where the user is: known from the device, guessed from the network, never invented."""

from __future__ import annotations

import pytest

from common.errors import InvalidInput

from ..conftest import Replay

WHERE = "get_user_location"


def test_the_device_knows_best(replay: Replay) -> None:
    """A shared position needs no guess, and nobody is asked."""
    outcome = replay(f"{WHERE}__device")
    assert outcome.summary == "Your device is at 60.3943, 5.3259, in the time zone Europe/Oslo."


def test_a_guess_is_called_one(replay: Replay) -> None:
    """What the network suggests is said to be near and perhaps wrong, without the address."""
    outcome = replay(f"{WHERE}__success")
    assert outcome.summary.startswith("You seem to be near Bergen, Vestland, Norway")
    assert "8.8.8.8" not in outcome.for_model()


@pytest.mark.parametrize("address", ["", "10.0.0.8", "127.0.0.1", "::1", "not an address"])
def test_an_address_that_tells_nothing(replay: Replay, address: str) -> None:
    """Private addresses are nobody's business; the user is asked."""
    outcome = replay.run(WHERE, {}, address=address)
    assert isinstance(outcome.error, InvalidInput)


def test_without_a_token_nobody_is_told_the_address(replay: Replay) -> None:
    """The address of a user leaves only where the operator decided so."""
    outcome = replay.run(WHERE, {}, address="8.8.8.8", secrets={})
    assert isinstance(outcome.error, InvalidInput)
