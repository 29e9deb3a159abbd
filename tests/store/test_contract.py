"""What every store does, run against SQLite and against Google's Firestore emulator."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from collections.abc import Sequence
from typing import Any

import pytest

from common.errors import Conflict, InvalidInput
from common.store import (
    DELETE_FIELD,
    MAX_WRITES,
    SERVER_TIME,
    Change,
    Create,
    Delete,
    Increment,
    Merge,
    Put,
    Query,
    Remove,
    Snapshot,
    Store,
    Transaction,
    Union,
    Update,
    Write,
)
from tests.store.conftest import Against

MOMENT = dt.datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=dt.UTC)

EVERY_TYPE: dict[str, Any] = {
    "null": None,
    "yes": True,
    "no": False,
    "zero": 0,
    "small": -(2**63),
    "large": 2**63 - 1,
    "pi": 3.14159,
    "whole": 2.0,
    "endless": math.inf,
    "text": "Grüße, 世界 🌍\x00\n",
    "empty": "",
    "raw": bytes(range(256)),
    "at": MOMENT,
    "long ago": dt.datetime(1901, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC),
    "list": [1, "two", None, {"three": [3]}],
    "no items": [],
    "map": {"a": {"b": {"c": b"deep"}}},
    "no fields": {},
    "dotted.name": 1,
    "quo`ted": 2,
    "1st": 3,
}


async def data(store: Store, path: str) -> dict[str, Any]:
    found = await store.get(path)
    assert found is not None
    return found.data


async def ids(store: Store, query: Query) -> list[str]:
    return [found.id for found in await store.query(query)]


async def fill(store: Store, collection: str, **fields: dict[str, Any]) -> None:
    await store.commit(*(Put(f"{collection}/{name}", held) for name, held in fields.items()))


# --- documents


def test_every_value_comes_back_as_it_was_stored(against: Against) -> None:
    """Text, bytes, times to the microsecond, numbers and nested values survive unchanged."""

    async def body(store: Store) -> None:
        [version] = await store.commit(Create("things/every", EVERY_TYPE))
        found = await store.get("things/every")
        assert found == Snapshot("things/every", EVERY_TYPE, version)
        assert {name: type(value) for name, value in found.data.items()} == {
            name: type(value) for name, value in EVERY_TYPE.items()
        }

    against(body)


def test_a_time_of_another_zone_comes_back_in_utc(against: Against) -> None:
    """An appointment entered in Berlin is the same moment when it is read."""

    async def body(store: Store) -> None:
        berlin = dt.timezone(dt.timedelta(hours=2))
        await store.commit(Put("things/t", {"at": MOMENT.astimezone(berlin)}))
        at = (await data(store, "things/t"))["at"]
        assert at == MOMENT
        assert at.utcoffset() == dt.timedelta(0)

    against(body)


def test_nan_comes_back(against: Against) -> None:
    """A quotient that is not a number is stored as such."""

    async def body(store: Store) -> None:
        await store.commit(Put("things/n", {"n": math.nan}))
        assert math.isnan((await data(store, "things/n"))["n"])

    against(body)


def test_an_empty_document_exists(against: Against) -> None:
    """A document without a field is there; an unknown one is not."""

    async def body(store: Store) -> None:
        await store.commit(Create("things/empty", {}))
        assert await data(store, "things/empty") == {}
        assert await store.get("things/unknown") is None

    against(body)


@pytest.mark.parametrize("name", ["google:7", "Grüße 世界", "a.b", "x y", "🌍", "%2F", "'\"`"])
def test_ids_of_any_script_work(against: Against, name: str) -> None:
    """A document may be named in any script, and its subcollections too."""

    async def body(store: Store) -> None:
        path = f"users/{name}/accounts/{name}"
        await store.commit(Create(path, {"n": 1}))
        assert await data(store, path) == {"n": 1}
        [found] = await store.query(Query(f"users/{name}/accounts"))
        assert (found.path, found.id) == (path, name)

    against(body)


@pytest.mark.parametrize(
    "path", ["", "users", "users/", "users/u1/accounts", "a//b/c", "a/.", "a/..", "a/__x__"]
)
def test_a_path_that_names_no_document_is_refused(against: Against, path: str) -> None:
    """A malformed path is an error of the caller, not a missing document."""

    async def body(store: Store) -> None:
        with pytest.raises(InvalidInput):
            await store.get(path)
        with pytest.raises(InvalidInput):
            await store.commit(Put(path, {}))

    against(body)


@pytest.mark.parametrize(
    "value",
    [2**63, [[1]], {"__x__": 1}, {"": 1}, "\ud800"],
    ids=["65 bits", "list in list", "reserved name", "empty name", "half a surrogate pair"],
)
def test_a_value_firestore_cannot_hold_is_refused(against: Against, value: Any) -> None:
    """What the cloud would refuse, the laptop refuses."""

    async def body(store: Store) -> None:
        for write in (Put("things/a", {"v": value}), Merge("things/a", {"v": value})):
            with pytest.raises(InvalidInput):
                await store.commit(write)
        assert await store.get("things/a") is None

    against(body)


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, dt.datetime(2026, 1, 1), {1: 2}, DELETE_FIELD, [SERVER_TIME]]
)
def test_a_value_no_store_holds_is_a_type_error(against: Against, value: Any) -> None:
    """A programming mistake (a naive time, a set) is reported as one."""

    async def body(store: Store) -> None:
        with pytest.raises(TypeError):
            await store.commit(Put("things/a", {"v": value}))

    against(body)


def test_deep_nesting_works_up_to_firestores_limit(against: Against) -> None:
    """Twenty levels below a field are stored, the twenty-first is refused."""

    async def body(store: Store) -> None:
        deep: Any = 1
        for _ in range(20):
            deep = {"k": deep}
        await store.commit(Put("things/deep", {"d": deep}))
        assert await data(store, "things/deep") == {"d": deep}
        with pytest.raises(InvalidInput):
            await store.commit(Put("things/deep", {"d": {"k": deep}}))

    against(body)


def test_many_documents_come_in_the_order_asked(against: Against) -> None:
    """Missing ones are None, and one asked for twice comes twice."""

    async def body(store: Store) -> None:
        await fill(store, "things", a={"n": 1}, b={"n": 2})
        found = await store.get_many(["things/b", "things/none", "things/a", "things/b"])
        assert [f and f.data["n"] for f in found] == [2, None, 1, 2]
        assert await store.get_many([]) == []

    against(body)


def test_the_caller_may_change_what_it_wrote_and_read(against: Against) -> None:
    """The store keeps no hold on the caller's mappings."""

    async def body(store: Store) -> None:
        mine = {"list": [1]}
        await store.commit(Put("things/a", mine))
        mine["list"].append(2)
        (await data(store, "things/a"))["list"].append(3)
        assert await data(store, "things/a") == {"list": [1]}

    against(body)


# --- writes


def test_create_makes_only_what_is_not_there(against: Against) -> None:
    """The second of two who create the same document is told so, and changes nothing."""

    async def body(store: Store) -> None:
        await store.commit(Create("things/a", {"n": 1}))
        with pytest.raises(Conflict):
            await store.commit(Create("things/a", {"n": 2}))
        assert await data(store, "things/a") == {"n": 1}

    against(body)


def test_put_replaces_the_whole_document(against: Against) -> None:
    """No field of the old document is left."""

    async def body(store: Store) -> None:
        await store.commit(Put("things/a", {"old": 1, "map": {"x": 1}}))
        await store.commit(Put("things/a", {"map": {"y": 1}}))
        assert await data(store, "things/a") == {"map": {"y": 1}}

    against(body)


def test_update_changes_the_fields_it_names(against: Against) -> None:
    """Dotted names reach inside; a mapping as a value replaces the field."""

    async def body(store: Store) -> None:
        before = {
            "keep": 1,
            "lease": {"owner": "a", "until": 5},
            "map": {"x": 1},
            "gone": 1,
            "n": 7,
        }
        await store.commit(Put("things/a", before))
        changes = {
            "lease.owner": "b",
            "map": {"y": 2},
            "gone": DELETE_FIELD,
            "new.deep.er": True,
            "n.m": 1,
            "lease.until": DELETE_FIELD,
            "never.there": DELETE_FIELD,
            "1st.süß": 3,
        }
        await store.commit(Update("things/a", changes))
        assert await data(store, "things/a") == {
            "keep": 1,
            "lease": {"owner": "b"},
            "map": {"y": 2},
            "new": {"deep": {"er": True}},
            "n": {"m": 1},
            "1st": {"süß": 3},
        }

    against(body)


def test_deleting_inside_a_plain_value_changes_nothing(against: Against) -> None:
    """A dotted name that ends in a number leaves the number."""

    async def body(store: Store) -> None:
        await store.commit(Put("things/a", {"n": 7}))
        await store.commit(Update("things/a", {"n.m": DELETE_FIELD}))
        assert await data(store, "things/a") == {"n": 7}

    against(body)


def test_update_needs_the_document(against: Against) -> None:
    """A document deleted meanwhile is not brought back by half."""

    async def body(store: Store) -> None:
        with pytest.raises(Conflict):
            await store.commit(Update("things/a", {"n": 1}))
        assert await store.get("things/a") is None

    against(body)


def test_merge_makes_or_changes(against: Against) -> None:
    """Merging into a missing document makes it; nested siblings of a dotted name stay."""

    async def body(store: Store) -> None:
        await store.commit(Merge("things/a", {"plan.name": "pro", "n": Increment(1)}))
        assert await data(store, "things/a") == {"plan": {"name": "pro"}, "n": 1}
        await store.commit(
            Merge(
                "things/a", {"plan.seats": 3, "n": Increment(2), "m": {"x": 1}, "y": DELETE_FIELD}
            )
        )
        expected = {"plan": {"name": "pro", "seats": 3}, "n": 3, "m": {"x": 1}}
        assert await data(store, "things/a") == expected
        await store.commit(Merge("things/b", {}))
        assert await data(store, "things/b") == {}

    against(body)


def test_a_field_and_one_inside_it_cannot_change_together(against: Against) -> None:
    """Which of the two would win is anybody's guess, so neither is written."""

    async def body(store: Store) -> None:
        with pytest.raises(InvalidInput):
            await store.commit(Merge("things/a", {"a": {}, "a.b": 1}))
        with pytest.raises(InvalidInput):
            await store.commit(Merge("things/a", {"a.b.c": 1, "a": Increment(1)}))

    against(body)


def test_delete_leaves_subcollections(against: Against) -> None:
    """Deleting twice is fine, and what lies below a document stays."""

    async def body(store: Store) -> None:
        await store.commit(Put("users/u", {}), Put("users/u/banks/b", {"n": 1}))
        assert await store.commit(Delete("users/u")) == [""]
        assert await store.commit(Delete("users/u")) == [""]
        assert await store.get("users/u") is None
        assert await data(store, "users/u/banks/b") == {"n": 1}

    against(body)


def test_versions_change_and_guard_writes(against: Against) -> None:
    """Only who read the last version may write by version."""

    async def body(store: Store) -> None:
        [first] = await store.commit(Create("things/a", {"n": 1}))
        [second] = await store.commit(Put("things/a", {"n": 2}, if_version=first))
        assert first != second
        stale: list[Write] = [
            Put("things/a", {"n": 9}, if_version=first),
            Update("things/a", {"n": 9}, if_version=first),
            Delete("things/a", if_version=first),
            Put("things/none", {"n": 9}, if_version=first),
            Update("things/none", {"n": 9}, if_version=first),
            Delete("things/none", if_version=first),
            Put("things/a", {"n": 9}, if_version="no version"),
        ]
        for write in stale:
            with pytest.raises(Conflict):
                await store.commit(write)
        found = await store.get("things/a")
        assert found == Snapshot("things/a", {"n": 2}, second)
        [third] = await store.commit(Update("things/a", {"n": 3}, if_version=second))
        await store.commit(Delete("things/a", if_version=third))
        assert await store.get("things/a") is None

    against(body)


def test_a_document_made_again_has_a_version_of_its_own(against: Against) -> None:
    """A version seen before a deletion never fits the document made after it."""

    async def body(store: Store) -> None:
        [old] = await store.commit(Create("things/a", {"n": 1}))
        await store.commit(Delete("things/a"))
        [new] = await store.commit(Create("things/a", {"n": 1}))
        assert new != old

    against(body)


def test_writing_what_is_there_already_changes_nothing(against: Against) -> None:
    """The version stays: compare-and-set must write something that differs, an owner or a time."""

    async def body(store: Store) -> None:
        [first] = await store.commit(Put("things/a", {"n": 1}))
        assert await store.commit(Put("things/a", {"n": 1})) == [first]
        assert await store.commit(Update("things/a", {"n": 1})) == [first]

    against(body)


def test_a_commit_is_all_or_nothing(against: Against) -> None:
    """When one write of several fails, none is done."""

    async def body(store: Store) -> None:
        await store.commit(*(Put(f"things/{name}", {"n": 1}) for name in "abd"))
        with pytest.raises(Conflict):
            await store.commit(
                Put("things/a", {"n": 2}),
                Delete("things/b"),
                Create("things/c", {}),
                Create("things/d", {}),
            )
        found = await store.get_many(["things/a", "things/b", "things/c"])
        assert [f and f.data for f in found] == [{"n": 1}, {"n": 1}, None]

    against(body)


def test_writes_of_one_commit_happen_in_order(against: Against) -> None:
    """A later write sees what an earlier one did to the same document."""

    async def body(store: Store) -> None:
        versions = await store.commit(
            Create("things/a", {"n": 1}),
            Update("things/a", {"n": Increment(1)}),
            Merge("things/a", {"m": Increment(1)}),
        )
        assert await data(store, "things/a") == {"n": 2, "m": 1}
        found = await store.get("things/a")
        assert found is not None
        assert found.version == versions[-1]

    against(body)


def test_an_empty_commit_does_nothing(against: Against) -> None:
    """Committing no write is fine."""

    async def body(store: Store) -> None:
        assert await store.commit() == []

    against(body)


def test_too_many_writes_are_refused(against: Against) -> None:
    """The limit itself passes; one more writes nothing."""

    async def body(store: Store) -> None:
        writes = [Put(f"things/{n}", {"n": n}) for n in range(MAX_WRITES + 1)]
        with pytest.raises(InvalidInput):
            await store.commit(*writes)
        assert await store.count(Query("things")) == 0
        assert len(set(await store.commit(*writes[:-1]))) >= 1
        assert await store.count(Query("things")) == MAX_WRITES

    against(body)


def test_a_document_over_the_limit_is_refused(against: Against) -> None:
    """Just under a mebibyte passes, whole or grown by a merge; over it nothing is written."""

    async def body(store: Store) -> None:
        await store.commit(Put("things/a", {"b": b"x" * 1_048_000}))
        with pytest.raises(InvalidInput):
            await store.commit(Put("things/a", {"b": b"x" * 1_048_577}))
        with pytest.raises(InvalidInput):
            await store.commit(Merge("things/a", {"c": b"x" * 100_000}))
        with pytest.raises(InvalidInput):
            await store.commit(Put("things/b", {"n": list(range(140_000))}))
        assert list(await data(store, "things/a")) == ["b"]

    against(body)


# --- transforms


@pytest.mark.parametrize(
    ("old", "amount", "new"),
    [
        (None, 5, 5),
        (1, 2, 3),
        (1, -3, -2),
        (1, 0.5, 1.5),
        (0.5, 1, 1.5),
        ("text", 4, 4),
        (True, 4, 4),
        (2**63 - 2, 5, 2**63 - 1),
        (-(2**63), -1, -(2**63)),
    ],
)
def test_increment(against: Against, old: Any, amount: float, new: float) -> None:
    """Counters start at nothing, keep their kind, and stop at 64 bits."""

    async def body(store: Store) -> None:
        await store.commit(Put("things/a", {"n": old}))
        await store.commit(Update("things/a", {"n": Increment(amount)}))
        held = (await data(store, "things/a"))["n"]
        assert held == new
        assert type(held) is type(new)

    against(body)


def test_increment_where_nothing_is(against: Against) -> None:
    """A missing field, a missing parent and a fresh document count from 0."""

    async def body(store: Store) -> None:
        await store.commit(Create("things/a", {"n": Increment(2), "deep": {"n": Increment(3)}}))
        await store.commit(Update("things/a", {"m.k": Increment(1), "n": Increment(1)}))
        assert await data(store, "things/a") == {"n": 3, "deep": {"n": 3}, "m": {"k": 1}}
        await store.commit(Put("things/a", {"n": Increment(7)}))
        assert await data(store, "things/a") == {"n": 7}

    against(body)


def test_union_adds_what_is_missing(against: Against) -> None:
    """Equal numbers are one value, order is kept, anything but a list starts afresh."""

    async def body(store: Store) -> None:
        await store.commit(Put("things/a", {"l": [1, "x"], "n": 3}))
        await store.commit(
            Update(
                "things/a",
                {
                    "l": Union((1.0, "y", "y", True, {"k": 1}, None)),
                    "n": Union((1,)),
                    "new.l": Union((2, 3)),
                },
            )
        )
        expected = {"l": [1, "x", "y", True, {"k": 1}, None], "n": [1], "new": {"l": [2, 3]}}
        assert await data(store, "things/a") == expected
        await store.commit(Update("things/a", {"l": Union(({"k": 1.0},))}))
        assert (await data(store, "things/a"))["l"] == expected["l"]

    against(body)


def test_remove_takes_every_equal_value(against: Against) -> None:
    """1 and 1.0 are equal, True is not; a missing list becomes an empty one."""

    async def body(store: Store) -> None:
        held = [1, 1.0, True, math.nan, None, {"a": 1}, b"1", "1"]
        await store.commit(Put("things/a", {"l": held, "n": 3}))
        gone = (1.0, math.nan, None, {"a": 1.0})
        await store.commit(
            Update("things/a", {"l": Remove(gone), "n": Remove((3,)), "m": Remove((1,))})
        )
        assert await data(store, "things/a") == {"l": [True, b"1", "1"], "n": [], "m": []}

    against(body)


def test_server_time_is_the_commits(against: Against) -> None:
    """Every SERVER_TIME of a commit is one moment, near the clock's."""

    async def body(store: Store) -> None:
        before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=5)
        await store.commit(
            Create("things/a", {"at": SERVER_TIME, "in": {"at": SERVER_TIME, "x": 1}}),
            Merge("things/b", {"t.at": SERVER_TIME}),
        )
        a, b = await data(store, "things/a"), await data(store, "things/b")
        assert a["at"] == a["in"]["at"] == b["t"]["at"]
        assert a["in"]["x"] == 1
        assert before < a["at"] < dt.datetime.now(dt.UTC) + dt.timedelta(seconds=5)

    against(body)


def test_counting_concurrently_loses_nothing(against: Against) -> None:
    """Ten increments at once make ten."""

    async def body(store: Store) -> None:
        await asyncio.gather(
            *(store.commit(Merge("things/a", {"n": Increment(1)})) for _ in range(10))
        )
        assert await data(store, "things/a") == {"n": 10}

    against(body)


# --- queries

MIXED: dict[str, Any] = {
    "null": None,
    "no": False,
    "yes": True,
    "nan": math.nan,
    "minus": -1.5,
    "one": 1,
    "onef": 1.0,
    "two": 2,
    "early": MOMENT,
    "late": MOMENT + dt.timedelta(microseconds=1),
    "A": "A",
    "a": "a",
    "ab": "ab",
    "umlaut": "ä",
    "emoji": "🌍",
    "private": "\uffee",
    "bytes": b"a",
    "bytes2": b"\xff",
    "list": [1],
    "list2": [1, 2],
    "list3": [2],
    "nolist": [],
    "map": {"a": 1},
    "map2": {"a": 1, "b": 0},
    "map3": {"a": 2},
    "map4": {"b": 0},
    "nomap": {},
}
MIXED_ORDER = [
    "null", "no", "yes", "nan", "minus", "one", "onef", "two", "early", "late",
    "A", "a", "ab", "umlaut", "private", "emoji", "bytes", "bytes2",
    "nolist", "list", "list2", "list3", "nomap", "map", "map2", "map3", "map4",
]  # fmt: skip


async def fill_mixed(store: Store) -> None:
    writes = [Put(f"mixed/{name}", {"v": value}) for name, value in MIXED.items()]
    await store.commit(*writes, Put("mixed/missing", {"w": 1}))


def test_values_of_all_types_have_one_order(against: Against) -> None:
    """Sorting by a field that holds anything is the same everywhere; who lacks it is left out."""

    async def body(store: Store) -> None:
        await fill_mixed(store)
        assert await ids(store, Query("mixed", order_by=(("v", "asc"),))) == MIXED_ORDER
        assert await ids(store, Query("mixed", order_by=(("v", "desc"),))) == MIXED_ORDER[::-1]

    against(body)


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("==", 1, ["one", "onef"]),
        ("==", 1.0, ["one", "onef"]),
        ("==", True, ["yes"]),
        ("==", None, ["null"]),
        ("==", math.nan, ["nan"]),
        ("==", "a", ["a"]),
        ("==", "ä", ["umlaut"]),
        ("==", b"a", ["bytes"]),
        ("==", MOMENT, ["early"]),
        ("==", [1.0], ["list"]),
        ("==", {"a": 1.0}, ["map"]),
        ("==", [], ["nolist"]),
        ("==", {}, ["nomap"]),
        ("==", "none such", []),
        ("!=", 1, [n for n in MIXED if n not in ("one", "onef", "null")]),
        ("!=", None, [n for n in MIXED if n != "null"]),
        ("!=", math.nan, [n for n in MIXED if n not in ("nan", "null")]),
        ("!=", "a", [n for n in MIXED if n not in ("a", "null")]),
        ("<", 1, ["minus"]),
        ("<=", 1, ["minus", "one", "onef"]),
        (">", 1, ["two"]),
        (">=", 1.0, ["one", "onef", "two"]),
        (">", False, ["yes"]),
        (">", MOMENT, ["late"]),
        ("<=", MOMENT, ["early"]),
        (">", "a", ["ab", "umlaut", "private", "emoji"]),
        ("<", "a", ["A"]),
        (">=", b"b", ["bytes2"]),
        (">", [1], ["list2", "list3"]),
        (">", {"a": 1}, ["map2", "map3", "map4"]),
        ("in", [1, "a", b"a", {"a": 1}, [1]], ["one", "onef", "a", "bytes", "map", "list"]),
        ("in", [2.0], ["two"]),
        ("in", [None, True], ["yes"]),
        ("in", [math.nan, True], ["yes"]),
        ("array_contains", 1, ["list", "list2"]),
        ("array_contains", 2.0, ["list2", "list3"]),
        ("array_contains", "a", []),
    ],
)
def test_operators(against: Against, operator: Any, value: Any, expected: list[str]) -> None:
    """Conditions compare values of one type, and never match a missing field."""

    async def body(store: Store) -> None:
        await fill_mixed(store)
        query = Query("mixed", where=(("v", operator, value),))
        assert sorted(await ids(store, query)) == sorted(expected)
        assert await store.count(query) == len(expected)

    against(body)


@pytest.mark.parametrize("operator", ["<", "<=", ">", ">=", "array_contains"])
@pytest.mark.parametrize("value", [None, math.nan])
def test_null_and_nan_have_no_range(against: Against, operator: Any, value: Any) -> None:
    """Asking for more than nothing is refused."""

    async def body(store: Store) -> None:
        with pytest.raises(InvalidInput):
            await store.query(Query("mixed", where=(("v", operator, value),)))

    against(body)


@pytest.mark.parametrize("value", [[], list(range(31)), "text", 5])
def test_in_takes_up_to_thirty_values(against: Against, value: Any) -> None:
    """None, too many or no list at all are refused; thirty pass."""

    async def body(store: Store) -> None:
        with pytest.raises(InvalidInput):
            await store.query(Query("mixed", where=(("v", "in", value),)))
        await store.commit(Put("mixed/a", {"v": 29}))
        assert await ids(store, Query("mixed", where=(("v", "in", list(range(30))),))) == ["a"]

    against(body)


def test_conditions_add_up(against: Against) -> None:
    """All conditions hold at once, on nested fields too."""

    async def body(store: Store) -> None:
        await fill(
            store,
            "jobs",
            a={"owner": {"id": "u1"}, "n": 1, "tags": ["x", "y"]},
            b={"owner": {"id": "u1"}, "n": 2, "tags": ["x"]},
            c={"owner": {"id": "u2"}, "n": 2, "tags": ["x"]},
            d={"owner": "u1", "n": 2, "tags": "x"},
        )
        mine: Any = ("owner.id", "==", "u1")
        assert await ids(store, Query("jobs", where=(mine,))) == ["a", "b"]
        assert await ids(store, Query("jobs", where=(mine, ("n", ">", 1)))) == ["b"]
        assert await ids(store, Query("jobs", where=(mine, ("tags", "array_contains", "y")))) == [
            "a"
        ]
        between = Query("jobs", where=(("n", ">=", 1), ("n", "<", 2)))
        assert await ids(store, between) == ["a"]

    against(body)


def test_text_that_looks_like_a_field_does_not_match(against: Against) -> None:
    """A condition is on the field, not on a value that happens to read like it."""

    async def body(store: Store) -> None:
        await fill(
            store,
            "jobs",
            a={"text": "\xa5owner\xa2u1", "owner": "u2"},
            b={"inner": {"owner": "u1"}, "owner": "u3"},
            c={"owner": "u1"},
            d={"list": ["owner", "u1"]},
        )
        assert await ids(store, Query("jobs", where=(("owner", "==", "u1"),))) == ["c"]
        assert await ids(store, Query("jobs", where=(("owner", "in", ["u1", "u9"]),))) == ["c"]

    against(body)


def test_a_range_orders_by_its_field(against: Against) -> None:
    """Without an order of its own a query with a range comes by that field, then by id."""

    async def body(store: Store) -> None:
        await fill(store, "jobs", a={"n": 3}, b={"n": 2}, c={"n": 3}, d={"n": 1}, e={"m": 1})
        assert await ids(store, Query("jobs", where=(("n", ">", 1),))) == ["b", "a", "c"]
        assert await ids(store, Query("jobs", where=(("n", "!=", 2),))) == ["d", "a", "c"]
        down = Query("jobs", where=(("n", ">", 1),), order_by=(("n", "desc"),))
        assert await ids(store, down) == ["c", "a", "b"]

    against(body)


def test_orders_follow_one_another(against: Against) -> None:
    """The second order decides among equals, the id after that, in the last direction."""

    async def body(store: Store) -> None:
        await fill(
            store,
            "jobs",
            a={"n": 1, "m": 1},
            b={"n": 1, "m": 2},
            c={"n": 2, "m": 1},
            d={"n": 1, "m": 2},
            e={"n": 1},
            f={"m": 1},
        )
        up_down = Query("jobs", order_by=(("n", "asc"), ("m", "desc")))
        assert await ids(store, up_down) == ["d", "b", "a", "c"]
        down_up = Query("jobs", order_by=(("n", "desc"), ("m", "asc")))
        assert await ids(store, down_up) == ["c", "a", "b", "d"]
        by_id = Query("jobs", order_by=(("n", "asc"), ("__id__", "desc")))
        assert await ids(store, by_id) == ["e", "d", "b", "a", "c"]

    against(body)


def test_ids_order_by_their_bytes(against: Against) -> None:
    """The default order is the id's, upper case before lower, and it runs backwards too."""

    async def body(store: Store) -> None:
        names = ["10", "9", "A", "Z", "a", "a-b", "ab", "ä", "\uffee", "🌍"]
        await store.commit(*(Put(f"jobs/{name}", {"n": 1}) for name in reversed(names)))
        assert await ids(store, Query("jobs")) == names
        assert await ids(store, Query("jobs", order_by=(("__id__", "asc"),))) == names
        down = Query("jobs", where=(("n", "==", 1),), order_by=(("__id__", "desc"),))
        assert await ids(store, down) == names[::-1]
        some = Query("jobs", down.where, down.order_by, Snapshot("jobs/b", {}, ""), limit=2)
        assert await ids(store, some) == ["ab", "a-b"]
        assert await ids(store, Query("jobs", limit=3)) == names[:3]

    against(body)


@pytest.mark.parametrize(
    ("where", "order_by"),
    [
        ((), (("__id__", "desc"),)),
        ((), (("__id__", "asc"), ("n", "asc"))),
        ((("n", ">", 1),), (("__id__", "asc"),)),
    ],
)
def test_orders_firestore_cannot_follow_are_refused(
    against: Against, where: Any, order_by: Any
) -> None:
    """Ids alone do not run backwards, and nothing is ordered after an id."""

    async def body(store: Store) -> None:
        with pytest.raises(InvalidInput):
            await store.query(Query("jobs", where, order_by))

    against(body)


def test_pages_follow_without_gap_or_repeat(against: Against) -> None:
    """Paging by a snapshot reaches everything once, in any order, over equal values."""

    async def body(store: Store) -> None:
        await store.commit(*(Put(f"jobs/{n:02}", {"n": n % 3, "t": str(n)}) for n in range(10)))
        orders: list[Any] = [
            (),
            (("n", "asc"),),
            (("n", "desc"), ("t", "asc")),
            (("n", "desc"), ("__id__", "asc")),
        ]
        for order_by in orders:
            whole = await ids(store, Query("jobs", order_by=order_by))
            seen: list[str] = []
            after: Snapshot | None = None
            while page := await store.query(
                Query("jobs", order_by=order_by, start_after=after, limit=3)
            ):
                seen += [found.id for found in page]
                after = page[-1]
            assert seen == whole
            assert len(seen) == 10

    against(body)


def test_pages_follow_with_a_range(against: Against) -> None:
    """The order a range implies is one that pages can follow."""

    async def body(store: Store) -> None:
        await fill(store, "jobs", a={"n": 2}, b={"n": 1}, c={"n": 2}, d={"n": 0})
        ranged = Query("jobs", where=(("n", ">", 0),), limit=2)
        first = await store.query(ranged)
        second = await store.query(Query(ranged.collection, ranged.where, (), first[-1], 2))
        assert [found.id for found in first + second] == ["b", "a", "c"]

    against(body)


def test_a_page_resumes_behind_a_deleted_document(against: Against) -> None:
    """The last document of a page may be gone when the next page is asked for."""

    async def body(store: Store) -> None:
        await fill(store, "jobs", a={"n": 1}, b={"n": 2}, c={"n": 3})
        [_, last] = await store.query(Query("jobs", order_by=(("n", "asc"),), limit=2))
        await store.commit(Delete("jobs/b"))
        rest = Query("jobs", order_by=(("n", "asc"),), start_after=last)
        assert await ids(store, rest) == ["c"]

    against(body)


def test_a_page_cannot_start_at_another_querys_document(against: Against) -> None:
    """A snapshot that lacks the ordered field is no place to resume."""

    async def body(store: Store) -> None:
        query = Query("jobs", order_by=(("n", "asc"),), start_after=Snapshot("jobs/a", {}, "1"))
        with pytest.raises(InvalidInput):
            await store.query(query)

    against(body)


def test_limits(against: Against) -> None:
    """A limit cuts, zero gives nothing, and counting heeds both."""

    async def body(store: Store) -> None:
        await fill(store, "jobs", a={"n": 1}, b={"n": 2}, c={"n": 3})
        assert await ids(store, Query("jobs", order_by=(("n", "desc"),), limit=2)) == ["c", "b"]
        assert await store.query(Query("jobs", limit=0)) == []
        assert await store.count(Query("jobs", limit=0)) == 0
        assert await store.count(Query("jobs", limit=2)) == 2
        assert await store.count(Query("jobs")) == 3
        assert await store.count(Query("nothing")) == 0
        assert await store.query(Query("nothing")) == []
        with pytest.raises(InvalidInput):
            await store.query(Query("jobs", limit=-1))

    against(body)


def test_a_query_keeps_to_its_collection(against: Against) -> None:
    """Neither subcollections nor collections with a longer name belong to it."""

    async def body(store: Store) -> None:
        await store.commit(
            Put("jobs/a", {}), Put("jobs/a/jobs/b", {}), Put("jobs2/c", {}), Put("job/d", {})
        )
        assert await ids(store, Query("jobs")) == ["a"]
        assert await ids(store, Query("jobs/a/jobs")) == ["b"]

    against(body)


def test_a_group_is_every_collection_of_that_name(against: Against) -> None:
    """Wherever it lies, ordered by the whole path, part by part."""

    async def body(store: Store) -> None:
        paths = ["g/a/s/x", "g/a/s/y", "g/a-/s/x", "g/ab/s/x", "s/q", "g/a/ss/x", "s/q/t/x"]
        await store.commit(*(Put(path, {"n": len(path)}) for path in paths))
        group = Query("s", all_groups=True)
        assert [found.path for found in await store.query(group)] == paths[:5]
        down = Query("s", (("n", "<", 99),), (("n", "desc"), ("__id__", "desc")), all_groups=True)
        assert [found.path for found in await store.query(down)] == [
            "g/ab/s/x", "g/a-/s/x", "g/a/s/y", "g/a/s/x", "s/q"
        ]  # fmt: skip
        where = Query("s", where=(("n", "==", 7),), all_groups=True)
        assert [found.path for found in await store.query(where)] == ["g/a/s/x", "g/a/s/y"]
        by_n = Query("s", order_by=(("n", "desc"),), limit=3, all_groups=True)
        first = await store.query(by_n)
        assert [found.path for found in first] == ["g/ab/s/x", "g/a-/s/x", "g/a/s/y"]
        rest = Query("s", order_by=by_n.order_by, start_after=first[-1], all_groups=True)
        assert [found.path for found in await store.query(rest)] == ["g/a/s/x", "s/q"]
        assert await store.count(group) == 5

    against(body)


@pytest.mark.parametrize("collection", ["", "a/b", "a//b", "a/b/c/"])
def test_a_query_on_no_collection_is_refused(against: Against, collection: str) -> None:
    """A document's path is no collection."""

    async def body(store: Store) -> None:
        with pytest.raises(InvalidInput):
            await store.query(Query(collection))
        with pytest.raises(InvalidInput):
            await store.query(Query("a/b/c", all_groups=True))

    against(body)


# --- transactions


def test_a_transaction_reads_then_writes(against: Against) -> None:
    """Its result is returned, its writes are there; a read after a write is a mistake."""

    async def body(store: Store) -> None:
        await fill(store, "jobs", a={"n": 1}, b={"n": 2})

        async def work(transaction: Transaction) -> int:
            found = await transaction.get("jobs/a")
            assert await transaction.get("jobs/none") is None
            others = await transaction.query(Query("jobs", where=(("n", ">", 1),)))
            assert found is not None
            total = found.data["n"] + sum(other.data["n"] for other in others)
            transaction.write(Put("jobs/sum", {"n": total}), Delete("jobs/b"))
            with pytest.raises(TypeError):
                await transaction.get("jobs/b")
            with pytest.raises(TypeError):
                await transaction.query(Query("jobs"))
            return int(total)

        assert await store.transact(work) == 3
        assert await ids(store, Query("jobs")) == ["a", "sum"]

    against(body)


def test_reads_of_a_transaction_may_run_at_once(against: Against) -> None:
    """Two documents read side by side belong to one transaction."""

    async def body(store: Store) -> None:
        await fill(store, "jobs", a={"n": 1}, b={"n": 2})

        async def work(transaction: Transaction) -> int:
            found = await asyncio.gather(*(transaction.get(f"jobs/{name}") for name in "ab"))
            transaction.write(Put("jobs/c", {"n": 3}))
            return sum(f.data["n"] for f in found if f)

        assert await store.transact(work) == 3

    against(body)


def test_a_transaction_that_fails_writes_nothing(against: Against) -> None:
    """What `work` raises arrives, and so does a failed precondition."""

    async def body(store: Store) -> None:
        await fill(store, "jobs", a={"n": 1})

        async def broken(transaction: Transaction) -> None:
            await transaction.get("jobs/a")
            transaction.write(Put("jobs/a", {"n": 2}))
            raise LookupError("no")

        async def refused(transaction: Transaction) -> None:
            transaction.write(Put("jobs/b", {"n": 2}), Create("jobs/a", {}))

        with pytest.raises(LookupError):
            await store.transact(broken)
        with pytest.raises(Conflict):
            await store.transact(refused)
        assert await data(store, "jobs/a") == {"n": 1}
        assert await store.get("jobs/b") is None

    against(body)


def test_a_transaction_may_only_read(against: Against) -> None:
    """Without a write it returns what it read; without anything it returns."""

    async def body(store: Store) -> None:
        await fill(store, "jobs", a={"n": 1})

        async def reading(transaction: Transaction) -> Snapshot | None:
            return await transaction.get("jobs/a")

        async def idle(transaction: Transaction) -> str:
            return "done"

        found = await store.transact(reading)
        assert found is not None
        assert found.data == {"n": 1}
        assert await store.transact(idle) == "done"

    against(body)


def test_two_workers_never_lose_each_others_work(against: Against) -> None:
    """Read, add one, write, by two at once: every step counts."""

    async def body(store: Store) -> None:
        await fill(store, "jobs", a={"n": 0})

        async def add(transaction: Transaction) -> None:
            found = await transaction.get("jobs/a")
            assert found is not None
            transaction.write(Update("jobs/a", {"n": found.data["n"] + 1}))

        async def worker() -> None:
            for _ in range(2):
                await store.transact(add)

        await asyncio.gather(worker(), worker())
        assert await data(store, "jobs/a") == {"n": 4}

    against(body)


def test_one_of_two_claims(against: Against) -> None:
    """Of two who claim by version at once, one succeeds and one is told."""

    async def body(store: Store) -> None:
        [free] = await store.commit(Put("approvals/a", {"state": "open"}))

        async def claim(who: str) -> bool:
            try:
                await store.commit(Update("approvals/a", {"state": who}, if_version=free))
            except Conflict:
                return False
            return True

        won = await asyncio.gather(claim("one"), claim("two"))
        assert sorted(won) == [False, True]

    against(body)


# --- watches


class Seen:
    """What a watch told: the calls, and the state they add up to."""

    def __init__(self) -> None:
        self.calls: list[list[Change]] = []
        self.state: dict[str, Any] = {}
        self._told = asyncio.Event()

    def __call__(self, changes: Sequence[Change]) -> None:
        self.calls.append(list(changes))
        for change in changes:
            if change.data is None:
                del self.state[change.path]
            else:
                self.state[change.path] = change.data
        self._told.set()

    async def until(self, state: dict[str, Any]) -> None:
        async with asyncio.timeout(50):
            while not self.calls or self.state != state:
                self._told.clear()
                await self._told.wait()


def test_a_watch_tells_what_is_there_and_what_changes(against: Against) -> None:
    """First the present documents, then additions, changes and removals."""

    async def body(store: Store) -> None:
        await fill(store, "jobs", a={"n": 1}, b={"n": 2, "at": MOMENT})
        seen = Seen()
        watch = await store.watch(Query("jobs"), seen)
        await seen.until({"jobs/a": {"n": 1}, "jobs/b": {"n": 2, "at": MOMENT}})
        assert len(seen.calls) == 1
        [version] = await store.commit(Put("jobs/c", {"n": 3}))
        await seen.until({**seen.state, "jobs/c": {"n": 3}})
        assert seen.calls[-1] == [Change("jobs/c", {"n": 3}, version)]
        await store.commit(Update("jobs/a", {"n": 9}), Put("other/x", {"n": 1}))
        await seen.until({**seen.state, "jobs/a": {"n": 9}})
        await store.commit(Delete("jobs/b"))
        await seen.until({"jobs/a": {"n": 9}, "jobs/c": {"n": 3}})
        assert seen.calls[-1] == [Change("jobs/b", None, None)]
        watch.close()

    against(body)


def test_a_watch_on_nothing_says_so(against: Against) -> None:
    """The first call comes, empty, and later the first document."""

    async def body(store: Store) -> None:
        seen = Seen()
        watch = await store.watch(Query("jobs"), seen)
        await seen.until({})
        assert seen.calls == [[]]
        await store.commit(Create("jobs/a", {"n": 1}))
        await seen.until({"jobs/a": {"n": 1}})
        watch.close()

    against(body)


def test_a_watch_follows_its_conditions(against: Against) -> None:
    """A document that stops matching is removed, one that starts is added."""

    async def body(store: Store) -> None:
        await fill(store, "jobs", a={"state": "open", "n": 5}, b={"state": "done", "n": 5})
        seen = Seen()
        where: Any = (("state", "==", "open"), ("n", "==", 5.0))
        watch = await store.watch(Query("jobs", where=where, limit=1), seen)
        await seen.until({"jobs/a": {"state": "open", "n": 5}})
        await store.commit(Update("jobs/b", {"state": "open"}))
        await seen.until({**seen.state, "jobs/b": {"state": "open", "n": 5}})
        await store.commit(Update("jobs/a", {"state": "done"}))
        await seen.until({"jobs/b": {"state": "open", "n": 5}})
        watch.close()

    against(body)


def test_a_watch_on_a_group_hears_every_collection(against: Against) -> None:
    """A document in any collection of the name is told, with its path."""

    async def body(store: Store) -> None:
        seen = Seen()
        watch = await store.watch(Query("turns", all_groups=True), seen)
        await store.commit(
            Put("chats/c/turns/t", {"n": 1}), Put("turns/x", {"n": 2}), Put("chats/c/turn/t", {})
        )
        await seen.until({"chats/c/turns/t": {"n": 1}, "turns/x": {"n": 2}})
        watch.close()

    against(body)


def test_a_closed_watch_is_silent(against: Against) -> None:
    """After close no call comes, while another watch goes on."""

    async def body(store: Store) -> None:
        closed, other = Seen(), Seen()
        watch = await store.watch(Query("jobs"), closed)
        still = await store.watch(Query("jobs"), other)
        await closed.until({})
        await other.until({})
        watch.close()
        watch.close()
        await store.commit(Put("jobs/a", {"n": 1}))
        await other.until({"jobs/a": {"n": 1}})
        assert closed.calls == [[]]
        still.close()

    against(body)


def test_the_last_state_of_a_burst_arrives(against: Against) -> None:
    """Calls may be merged, but what is there at the end is told, whole."""

    async def body(store: Store) -> None:
        seen = Seen()
        watch = await store.watch(Query("jobs"), seen)
        for n in range(20):
            await store.commit(Put("jobs/a", {"n": n}), Put(f"jobs/{n % 4}", {"n": n}))
        await store.commit(Delete("jobs/0"))
        last = {"jobs/a": {"n": 19}} | {f"jobs/{k}": {"n": 16 + k} for k in (1, 2, 3)}
        await seen.until(last)
        watch.close()

    against(body)
