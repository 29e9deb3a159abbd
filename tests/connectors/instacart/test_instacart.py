"""Pages to order from: made after approval, with links passed on as they are."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.errors import InvalidInput

from ..conftest import HERE, Replay

LIST = "create_shopping_list_at_instacart"


def data(outcome: Any) -> Any:
    assert outcome.result, outcome.error
    return outcome.result.data


def test_a_list_and_its_link(replay: Replay) -> None:
    """The link keeps its parameters and the user is told that Instacart takes the order."""
    outcome = replay(f"{LIST}__success")
    assert outcome.summary == (
        "The page Weekend is ready with whole milk, bananas. "
        "You choose the shop and order on Instacart."
    )
    assert data(outcome)["url"].endswith("1234567?aff_id=1&utm=x")


def test_publishing_waits_for_approval(replay: Replay) -> None:
    """A page that anyone can open is not made behind the user's back."""
    risks = {t.name: t.risk for t in replay.registry.entries["instacart"].tools}
    assert risks[LIST] == risks["create_recipe_page_at_instacart"] == "write"


def test_development_keys_have_a_host(replay: Replay) -> None:
    """A development key is sent to the development host only."""
    case = json.loads((HERE / "instacart" / f"{LIST}__success.json").read_text())
    exchange = case["exchanges"][0]
    exchange["request"]["host"] = "connect.dev.instacart.tools"
    keys = {"INSTACART_API_KEY": "key-of-a-test", "INSTACART_DEVELOPMENT": "true"}
    assert replay.run(LIST, case["arguments"], exchange, secrets=keys).ok


@pytest.mark.parametrize(
    "wrong",
    [
        {"items": []},
        {"title": " "},
        {"items": [{"name": " ", "quantity": 1, "unit": "each"}]},
        {"items": [{"name": "milk", "quantity": -1, "unit": "each"}]},
        {"items": [{"name": "milk", "quantity": 1, "unit": "barrel"}]},
    ],
    ids=repr,
)
def test_a_list_that_cannot_be(replay: Replay, wrong: dict[str, Any]) -> None:
    """Empty lists, negative amounts and unknown units come back as corrections."""
    items = [{"name": "milk", "quantity": 1, "unit": "each"}]
    outcome = replay.run(LIST, {"title": "x", "items": items, **wrong})
    assert isinstance(outcome.error, InvalidInput)
