"""Which composite index a query needs on Firestore, and whether the deployed file has it.

The emulator runs any query and production refuses one whose index is missing, so a test collects
the queries the code makes and holds them against `terraform/firestore.indexes.json` (the format of
the Firebase CLI). Where Firebase's rules leave doubt, an index is asked for: one too many costs a
little, one too few an outage. Rules: https://firebase.google.com/docs/firestore/query-data/indexing
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.store import Query
from common.store.semantics import check_query, ordering


@dataclass(frozen=True, slots=True)
class Index:
    """An index on a collection's last name, or one that a query needs.

    `anywhere`: over every collection of that name. `fields` are (path, "asc" | "desc" |
    "contains"); the name's own "asc" at the end is left out. Of a needed index, the first `equal`
    fields are compared for equality: their place among one another and direction do not matter.
    """

    collection: str
    anywhere: bool
    fields: tuple[tuple[str, str], ...]
    equal: int = 0

    def entry(self) -> dict[str, Any]:
        """Return what to add to the file: to "indexes", or of one field to "fieldOverrides"."""
        scope = {"queryScope": "COLLECTION_GROUP" if self.anywhere else "COLLECTION"}
        if self._is_single:
            path, mode = self.fields[0]
            return {
                "collectionGroup": self.collection,
                "fieldPath": path,
                "indexes": [{**_mode_entry(mode), **scope}],
            }
        fields = [{"fieldPath": path, **_mode_entry(mode)} for path, mode in self.fields]
        return {"collectionGroup": self.collection, **scope, "fields": fields}

    @property
    def _is_single(self) -> bool:
        return len(self.fields) == 1

    def is_served_by(self, other: Index) -> bool:
        """Tell whether a query that needs this index can use `other`."""
        if (self.collection, self.anywhere) != (other.collection, other.anywhere):
            return False
        if len(self.fields) != len(other.fields):
            return False
        if _freed(self.fields[: self.equal]) != _freed(other.fields[: self.equal]):
            return False
        return self.fields[self.equal :] == other.fields[self.equal :]


def required_index(query: Query) -> Index | None:
    """Return the index that must be declared for `query`, or None where the automatic ones do.

    Automatic, in one collection: any one field in either direction, merged for several
    equalities. Over all collections of a name nothing is automatic but the order by path.
    """
    check_query(query)
    equal = {name: "asc" for name, operator, _ in query.where if operator in ("==", "in")}
    holding = {name: "contains" for name, op, _ in query.where if op == "array_contains"}
    compared = tuple(sorted((equal | holding).items()))
    ordered = [
        ("__name__" if path is None else ".".join(path), "desc" if descending else "asc")
        for path, descending in ordering(query)
    ]
    # what equals one value has no order of its own
    ordered = [(name, direction) for name, direction in ordered if name not in equal]
    _, by_name = ordered.pop()
    direction = ordered[-1][1] if ordered else "asc"
    if by_name != direction:
        ordered.append(("__name__", by_name))
    fields = (*compared, *ordered)
    automatic = len(fields) <= 1 or (not ordered and not holding)
    if not fields or (automatic and not query.all_groups):
        return None
    return Index(query.collection.rpartition("/")[2], query.all_groups, fields, len(compared))


def load_indexes(path: Path) -> tuple[Index, ...]:
    """Read a firestore.indexes.json: its composite indexes and its single-field overrides."""
    content = json.loads(path.read_text())
    return (
        *(_composite(entry) for entry in content.get("indexes", [])),
        *(
            Index(entry["collectionGroup"], _anywhere(index), ((entry["fieldPath"], _mode(index)),))
            for entry in content.get("fieldOverrides", [])
            for index in entry.get("indexes", [])
        ),
    )


def missing_indexes(queries: Iterable[Query], declared: Iterable[Index]) -> list[Index]:
    """Return the indexes these queries need and `declared` does not serve, each once."""
    declared = list(declared)
    needed = dict.fromkeys(index for query in queries if (index := required_index(query)))
    return [need for need in needed if not any(need.is_served_by(index) for index in declared)]


def _composite(entry: Mapping[str, Any]) -> Index:
    fields = [(field["fieldPath"], _mode(field)) for field in entry["fields"]]
    if fields[-1][0] == "__name__" and fields[-1][1] == (fields[-2][1] if fields[1:] else "asc"):
        fields.pop()  # Firestore adds it, in the direction of the last field
    return Index(entry["collectionGroup"], _anywhere(entry), tuple(fields))


def _anywhere(entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("queryScope", "COLLECTION") == "COLLECTION_GROUP")


def _mode(field: Mapping[str, Any]) -> str:
    if field.get("arrayConfig") == "CONTAINS":
        return "contains"
    return "desc" if field["order"] == "DESCENDING" else "asc"


def _mode_entry(mode: str) -> dict[str, str]:
    if mode == "contains":
        return {"arrayConfig": "CONTAINS"}
    return {"order": "DESCENDING" if mode == "desc" else "ASCENDING"}


def _freed(fields: Iterable[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    return frozenset((name, "contains" if mode == "contains" else "") for name, mode in fields)
