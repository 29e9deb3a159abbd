"""Places on the map, one question a second."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput

from ..conftest import Replay

FIND, NAME = "geocode_address", "get_address_by_latitude_longitude"


def data(outcome: Any) -> Any:
    assert outcome.result, outcome.error
    return outcome.result.data


def test_a_place_with_its_lasting_id(replay: Replay) -> None:
    """Coordinates are numbers; rows without a position or an id are survived."""
    outcome = replay(f"{FIND}__success")
    assert outcome.summary == (
        "Bergen, Vestland, Norway is at 60.39431, 5.32592. There is 1 other candidate."
    )
    assert [place["osm_id"] for place in data(outcome)["places"]] == ["R222222", ""]


def test_a_settlement_of_any_kind(replay: Replay) -> None:
    """A village is the city of its address; positions are rounded before they leave."""
    place = data(replay(f"{NAME}__success"))["place"]
    assert (place["city"], place["postal_code"], place["country_code"]) == ("Bergen", "5003", "NO")


def test_where_the_user_is(replay: Replay) -> None:
    """Without coordinates the device's are taken; without those the assistant asks."""
    assert replay(f"{NAME}__device").summary == "The nearest address is Bergen, Vestland, Norway."
    assert isinstance(replay.run(NAME, {"latitude": 5}).error, InvalidInput)


def test_the_sea_has_no_address(replay: Replay) -> None:
    """Nothing there is a sentence."""
    assert replay(f"{NAME}__empty").summary == "There is no address at 0.0000, -160.0000."


def test_the_public_servers_pace(replay: Replay) -> None:
    """One request a second and one at a time is what the server's operators allow."""
    connector = replay.registry.entries["nominatim"].connector
    assert (connector.per_second, connector.concurrency) == (1, 1)


@pytest.mark.parametrize("wrong", [{"address": " "}, {"country_code": "Norway"}], ids=repr)
def test_bad_input_takes_no_turn(replay: Replay, wrong: dict[str, Any]) -> None:
    """Nobody is asked for what cannot be."""
    assert isinstance(replay.run(FIND, {"address": "x", **wrong}).error, InvalidInput)
