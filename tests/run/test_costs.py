"""What 1,000 turns cost: counted on real turns, so that the handbook's table follows the code."""

from __future__ import annotations

from decimal import Decimal

import pytest

from run.local.costs import PRICES, Count, count_turn, standing_costs
from tests.terraform.configuration import ROOT


@pytest.fixture(scope="module")
def plain() -> Count:
    """A turn that asks nobody."""
    return count_turn("thank you")


def test_a_turn_reads_and_writes_what_is_billed(plain: Count) -> None:
    """Every operation counted has a price, and a turn is stored and told of."""
    assert set(plain.of) <= set(PRICES)
    assert plain.of["Firestore write"] >= 2 and plain.of["Pub/Sub message"] >= 1
    assert "Cloud Tasks operation" not in plain.of  # nothing slow was asked


def test_the_sum_is_the_parts(plain: Count) -> None:
    """A thousand turns cost a thousand times each operation's list price."""
    writes = plain.of["Firestore write"]
    assert plain.dollars()["Firestore write"] == 1000 * writes * PRICES["Firestore write"]
    assert sum(plain.dollars().values()) < Decimal("0.10")  # cents for a thousand, or look again
    assert standing_costs(2) == 2 * standing_costs(1) > 0 == standing_costs(0)


def test_the_handbook_shows_what_is_counted(plain: Count) -> None:
    """`python -m run.local costs --write` was run after an operation was added."""
    table = (ROOT / "docs" / "operations.md").read_text().partition("<!-- costs -->")[2]
    assert all(f"| {name}, ${PRICES[name]:.2e} |" in table for name in plain.of)
