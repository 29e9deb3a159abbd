"""The index checker: which queries production would refuse, and what to add for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.store import Query
from common.store.indexes import Index, load_indexes, missing_indexes, required_index

FILE = Path(__file__).parents[2] / "terraform" / "firestore.indexes.json"
A: Any = ("a", "==", 1)
B: Any = ("b", "==", 2)


@pytest.mark.parametrize(
    "query",
    [
        Query("jobs"),
        Query("jobs", all_groups=True),
        Query("jobs", order_by=(("__id__", "asc"),)),
        Query("jobs", (A,)),
        Query("jobs", (A, B)),
        Query("jobs", (A, ("b", "in", [1, 2]))),
        Query("jobs", (A,), (("__id__", "asc"),)),
        Query("jobs", (A,), (("a", "desc"), ("__id__", "asc"))),
        Query("jobs", (("a", "array_contains", 1),)),
        Query("jobs", (("a", ">", 1), ("a", "<", 5))),
        Query("jobs", (("a", ">", 1),), (("a", "desc"),)),
        Query("jobs", order_by=(("a", "desc"),)),
        Query("users/u/jobs", order_by=(("a.b", "asc"), ("__id__", "asc"))),
    ],
    ids=str,
)
def test_what_automatic_indexes_serve_needs_no_entry(query: Query) -> None:
    """One field in either direction, or any equalities together, run without a declared index."""
    assert required_index(query) is None


@pytest.mark.parametrize(
    ("query", "needed"),
    [
        (
            Query("users/u/jobs", (A,), (("b", "desc"),)),
            Index("jobs", False, (("a", "asc"), ("b", "desc")), 1),
        ),
        (
            Query("jobs", (B, ("c", ">", 1), A)),
            Index("jobs", False, (("a", "asc"), ("b", "asc"), ("c", "asc")), 2),
        ),
        (
            Query("jobs", (("a", ">", 1),), (("b", "desc"),)),
            Index("jobs", False, (("b", "desc"), ("a", "desc")), 0),
        ),
        (
            Query("jobs", order_by=(("a", "asc"), ("b", "desc"))),
            Index("jobs", False, (("a", "asc"), ("b", "desc")), 0),
        ),
        (
            Query("jobs", order_by=(("a", "asc"), ("__id__", "desc"))),
            Index("jobs", False, (("a", "asc"), ("__name__", "desc")), 0),
        ),
        (
            Query("jobs", (("a", "in", [1, 2]),), (("__id__", "desc"),)),
            Index("jobs", False, (("a", "asc"), ("__name__", "desc")), 1),
        ),
        (
            Query("jobs", (A, ("t", "array_contains", 1))),
            Index("jobs", False, (("a", "asc"), ("t", "contains")), 2),
        ),
        (Query("jobs", (A,), all_groups=True), Index("jobs", True, (("a", "asc"),), 1)),
        (
            Query("jobs", order_by=(("a", "desc"),), all_groups=True),
            Index("jobs", True, (("a", "desc"),), 0),
        ),
        (
            Query("jobs", (A, B), all_groups=True),
            Index("jobs", True, (("a", "asc"), ("b", "asc")), 2),
        ),
    ],
    ids=str,
)
def test_what_production_would_refuse_names_its_index(
    query: Query, needed: Index, tmp_path: Path
) -> None:
    """The entry the checker offers is the one that satisfies it, and no other does."""
    assert required_index(query) == needed
    assert missing_indexes([query, query], []) == [needed]
    file = tmp_path / "firestore.indexes.json"
    kind = "indexes" if len(needed.fields) > 1 else "fieldOverrides"
    file.write_text(json.dumps({kind: [needed.entry()]}))
    [declared] = load_indexes(file)
    assert missing_indexes([query], [declared]) == []
    other = Index("others", declared.anywhere, declared.fields)
    scope = Index(declared.collection, not declared.anywhere, declared.fields)
    assert missing_indexes([query], [other, scope]) == [needed]


def test_direction_matters_for_order_and_not_for_equality(tmp_path: Path) -> None:
    """Firestore reads an index one way: an order needs its own directions."""
    query = Query("jobs", (A, B), (("c", "desc"),))

    def serves(*fields: tuple[str, str]) -> bool:
        return not missing_indexes([query], [Index("jobs", False, fields)])

    assert serves(("a", "asc"), ("b", "asc"), ("c", "desc"))
    assert serves(("b", "desc"), ("a", "asc"), ("c", "desc"))
    assert not serves(("a", "asc"), ("b", "asc"), ("c", "asc"))
    assert not serves(("a", "asc"), ("c", "desc"), ("b", "asc"))
    assert not serves(("a", "asc"), ("c", "desc"))


def test_a_written_out_name_is_understood(tmp_path: Path) -> None:
    """Exported files spell the name's column; it is the one Firestore adds."""
    entry = Index("jobs", False, (("a", "asc"), ("b", "desc"), ("__name__", "desc"))).entry()
    file = tmp_path / "firestore.indexes.json"
    file.write_text(json.dumps({"indexes": [entry]}))
    assert missing_indexes([Query("jobs", (A,), (("b", "desc"),))], load_indexes(file)) == []


def test_the_deployed_file_can_be_read() -> None:
    """Terraform and this checker read the same file."""
    for index in load_indexes(FILE):
        assert index.collection
        assert index.fields
