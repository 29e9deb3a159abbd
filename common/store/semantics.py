"""What Firestore does with paths, values, writes and queries, as plain functions over values.

Both adapters check and take apart their input here, so that the laptop refuses what the cloud would
refuse; the SQLite adapter also matches, orders and applies writes with it. The rules are those of
https://firebase.google.com/docs/firestore (data types, query limitations, quotas), held against
Google's emulator by the contract suite.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from common.errors import InvalidInput
from common.store import (
    DELETE_FIELD,
    MAX_DOCUMENT_BYTES,
    MAX_WRITES,
    SERVER_TIME,
    Create,
    Delete,
    Increment,
    Merge,
    Put,
    Query,
    Remove,
    Snapshot,
    Union,
    Update,
    Write,
)

FieldPath: TypeAlias = tuple[str, ...]
Order: TypeAlias = tuple[FieldPath | None, bool]  # None is the document's name; True descends

MAX_NESTING: Final = 20  # mappings and lists below one field
MAX_ALTERNATIVES: Final = 30  # values of one `in`
MAX_NAME_BYTES: Final = 1500
MISSING: Final = object()
_INT64: Final = 2**63
_RESERVED = re.compile(r"__.*__\Z", re.DOTALL)
_BAD_ID = re.compile(r"(\.\.?|__.*__)\Z", re.DOTALL)
_INEQUALITIES: Final = frozenset({"!=", "<", "<=", ">", ">="})


# --- paths


def split_document_path(path: str) -> tuple[str, str]:
    """Return the collection and the id of a document's path. Raises InvalidInput."""
    collection, _, name = path.rpartition("/")
    if path.count("/") % 2 == 0:
        raise InvalidInput("A document's path alternates collection and document id.")
    _check_segments(path)
    return collection, name


def check_collection(query: Query) -> None:
    """Refuse a query whose collection is no collection's path (with `all_groups`: name)."""
    slashes = query.collection.count("/")
    if slashes % 2 or (query.all_groups and slashes):
        raise InvalidInput("A query names a collection's path, or for all groups its last part.")
    _check_segments(query.collection)


def _check_segments(path: str) -> None:
    for part in path.split("/"):
        if not part or (part[0] in "._" and _BAD_ID.match(part)):
            raise InvalidInput("A document id is not empty, not '.' or '..', and not '__…__'.")
        if len(part) * 4 > MAX_NAME_BYTES and len(_utf8(part)) > MAX_NAME_BYTES:
            raise InvalidInput(f"A document id is at most {MAX_NAME_BYTES} bytes.")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as err:
        raise InvalidInput("Text holds half of a surrogate pair; it must be valid UTF-8.") from err


# --- writes


@dataclass(frozen=True, slots=True)
class Parts:
    """A write taken apart: values to set, fields to remove, and transforms to apply after both.

    The values are a copy of the caller's, checked, their times in UTC.
    """

    values: dict[FieldPath, Any]
    removed: tuple[FieldPath, ...] = ()
    transforms: tuple[tuple[FieldPath, Any], ...] = ()


def check_count(writes: Sequence[Write]) -> None:
    """Refuse more writes than one commit may hold."""
    if len(writes) > MAX_WRITES:
        raise InvalidInput(f"One commit holds at most {MAX_WRITES} writes.")


def take_apart(write: Write) -> Parts:
    """Check a write and separate what is set, removed and transformed.

    Raises InvalidInput for what Firestore would refuse, TypeError for a value no store can hold.
    """
    if isinstance(write, Delete):
        return Parts({})
    transforms: list[tuple[FieldPath, Any]] = []
    if isinstance(write, Create | Put):
        values: dict[FieldPath, Any] = {
            (name,): _copied(value, (name,), transforms)
            for name, value in write.data.items()
            if not _is_transform(name, value, (name,), transforms)
        }
        _check_names(write.data)
        return Parts(values, (), tuple(transforms))
    return _changes(write)


def _changes(write: Update | Merge) -> Parts:
    transforms: list[tuple[FieldPath, Any]] = []
    values: dict[FieldPath, Any] = {}
    removed: list[FieldPath] = []
    paths = {tuple(name.split(".")): value for name, value in write.changes.items()}
    for path, value in paths.items():
        _check_names(path)
        if len(path) > 1 and any(path[:n] in paths for n in range(1, len(path))):
            raise InvalidInput("One write changes a field and, besides, a field inside it.")
        if value is DELETE_FIELD:
            removed.append(path)
        elif not _is_transform(path[-1], value, path, transforms):
            values[path] = _copied(value, path, transforms)
    return Parts(values, tuple(removed), tuple(transforms))


def _is_transform(name: str, value: Any, at: FieldPath, found: list[tuple[FieldPath, Any]]) -> bool:
    if value is SERVER_TIME:
        found.append((at, value))
    elif isinstance(value, Increment):
        if isinstance(value.amount, bool) or not isinstance(value.amount, int | float):
            raise TypeError(f"{name}: Increment takes a number")
        found.append((at, Increment(plain(value.amount))))
    elif isinstance(value, Union | Remove):
        found.append((at, type(value)(tuple(plain(v, in_list=True) for v in value.values))))
    else:
        return False
    return True


def _check_names(names: Sequence[str] | Mapping[str, Any]) -> None:
    for name in names:
        if not isinstance(name, str):
            raise TypeError("a field's name is a str")
        if not name or (name[0] == "_" and _RESERVED.match(name)):
            raise InvalidInput("A field's name is not empty and not '__…__'.")
        if len(name) * 4 > MAX_NAME_BYTES and len(_utf8(name)) > MAX_NAME_BYTES:
            raise InvalidInput(f"A field's name is at most {MAX_NAME_BYTES} bytes.")


def plain(value: Any, *, in_list: bool = False) -> Any:
    """Return a checked copy of a value that holds no transforms: a query's or a transform's."""
    return _copied(value, (), None, 0, in_list)


def _copied(
    value: Any,
    at: FieldPath,
    transforms: list[tuple[FieldPath, Any]] | None,
    depth: int = 0,
    in_list: bool = False,
) -> Any:
    kind = type(value)
    if kind is str:
        return value if value.isascii() else _utf8(value).decode()
    if value is None or kind is bool or kind is float or kind is bytes:
        return value
    if kind is int:
        if not -_INT64 <= value < _INT64:
            raise InvalidInput("A whole number is stored in 64 bits; this one does not fit.")
        return value
    if isinstance(value, dt.datetime):
        return _in_utc(value)
    if depth >= MAX_NESTING and isinstance(value, Mapping | list | tuple):
        raise InvalidInput(f"A field nests at most {MAX_NESTING} mappings and lists.")
    if isinstance(value, Mapping):
        _check_names(value)
        held = None if in_list else transforms  # Firestore has no transforms inside lists
        return {
            name: _copied(v, (*at, name), held, depth + 1)
            for name, v in value.items()
            if held is None or not _is_transform(name, v, (*at, name), held)
        }
    if isinstance(value, list | tuple):
        if in_list:
            raise InvalidInput("A list cannot hold a list directly; put a mapping between them.")
        return [_copied(v, at, None, depth + 1, True) for v in value]
    raise TypeError(f"{'.'.join(at) or 'value'}: a store holds no {kind.__name__} there")


def _in_utc(value: dt.datetime) -> dt.datetime:
    if value.tzinfo is None:
        raise TypeError("a stored time is aware; this one has no time zone")
    if type(value) is dt.datetime and value.tzinfo is dt.UTC:
        return value
    utc = value.astimezone(dt.UTC)
    return dt.datetime.combine(utc.date(), utc.timetz())  # sheds subclasses


def apply(parts: Parts, data: dict[str, Any], now: dt.datetime) -> dict[str, Any]:
    """Change `data` in place as the write says, `now` being the commit's time; return it."""
    for path, value in parts.values.items():
        _parent(data, path)[path[-1]] = value
    for path in parts.removed:
        holder = value_at(data, path[:-1])
        if isinstance(holder, dict):
            holder.pop(path[-1], None)
    for path, transform in parts.transforms:
        _parent(data, path)[path[-1]] = _transformed(transform, value_at(data, path), now)
    return data


def _parent(data: dict[str, Any], path: FieldPath) -> dict[str, Any]:
    for name in path[:-1]:
        inner = data.get(name)
        if not isinstance(inner, dict):
            inner = data[name] = {}
        data = inner
    return data


def _transformed(transform: Any, old: Any, now: dt.datetime) -> Any:
    if transform is SERVER_TIME:
        return now
    if isinstance(transform, Increment):
        return _sum(old, transform.amount)
    held = old if isinstance(old, list) else []
    if isinstance(transform, Remove):
        gone = {order_key(value) for value in transform.values}
        return [value for value in held if order_key(value) not in gone]
    known = {order_key(value) for value in held}
    result = list(held)
    for value in transform.values:
        key = order_key(value)
        if key not in known:
            known.add(key)
            result.append(value)
    return result


def _sum(old: Any, amount: float) -> float:
    if isinstance(old, bool) or not isinstance(old, int | float):
        return amount
    total = old + amount
    if isinstance(total, int):  # 64 bits, and Firestore stops at either end
        return max(-_INT64, min(_INT64 - 1, total))
    return total


def check_size(path: str, data: Mapping[str, Any]) -> None:
    """Refuse a document over MAX_DOCUMENT_BYTES, counted as Firestore counts."""
    name = 16 + sum(len(part.encode()) + 1 for part in path.split("/"))
    if name + 32 + _size(data) > MAX_DOCUMENT_BYTES:
        raise InvalidInput(
            f"A document holds at most {MAX_DOCUMENT_BYTES} bytes; split this one in several."
        )


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode()) + 1
    if isinstance(value, bytes):
        return len(value)
    if value is None or isinstance(value, bool):
        return 1
    if isinstance(value, Mapping):
        return sum(len(name.encode()) + 1 + _size(v) for name, v in value.items())
    if isinstance(value, list):
        return sum(map(_size, value))
    return 8


# --- order and equality


def order_key(value: Any) -> tuple[Any, ...]:
    """Return a key that compares and hashes as Firestore orders and equates values of all types.

    Null, bools, numbers (NaN first; 1 equals 1.0), times, text and bytes by byte, lists, mappings.
    """
    if value is None:
        return (0,)
    if isinstance(value, bool):
        return (1, value)
    if isinstance(value, int | float):
        return (2, 0) if value != value else (2, 1, value)
    if isinstance(value, dt.datetime):
        return (3, value)
    if isinstance(value, str):
        return (4, value)  # code points sort as their UTF-8 bytes do
    if isinstance(value, bytes):
        return (5, value)
    if isinstance(value, list):
        return (6, tuple(map(order_key, value)))
    return (7, tuple((name, order_key(value[name])) for name in sorted(value)))


def value_at(data: Any, path: FieldPath) -> Any:
    """Return the value at a field path, or MISSING."""
    for name in path:
        if not isinstance(data, dict) or name not in data:
            return MISSING
        data = data[name]
    return data


# --- queries


def check_query(query: Query) -> None:
    """Refuse what Firestore refuses of a query. Raises InvalidInput."""
    check_collection(query)
    for name, operator, value in query.where:
        if name == "__id__":
            raise InvalidInput("A condition names a field; `__id__` is for the order alone.")
        _check_names(name.split("."))
        if operator == "in":
            _check_alternatives(value)
        elif operator not in ("==", "!=") and (value is None or _is_nan(value)):
            raise InvalidInput("Null and NaN are compared with == and != only.")
    _check_order(query)
    if query.limit is not None and query.limit < 0:
        raise InvalidInput("A query's limit is 0 or more.")


def _check_order(query: Query) -> None:
    names = [name for name, _ in query.order_by]
    for name in names:
        if name != "__id__":
            _check_names(name.split("."))
    if "__id__" not in names:
        return
    ranged = {name for name, operator, _ in query.where if operator in _INEQUALITIES}
    if names.index("__id__") < len(names) - 1 or ranged - set(names):
        raise InvalidInput("`__id__` comes last in an order, after the field of any range.")
    if query.order_by == (("__id__", "desc"),) and not query.where:
        raise InvalidInput("Firestore does not read ids backwards; order by a field instead.")


def _check_alternatives(value: Any) -> None:
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_ALTERNATIVES:
        raise InvalidInput(f"`in` takes a list of 1 to {MAX_ALTERNATIVES} values.")


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def ordering(query: Query) -> tuple[Order, ...]:
    """Return the whole order of a query: what it names, its inequalities' fields, the name.

    What is added takes the direction of the last order named.
    """
    named: list[Order] = [
        (None if name == "__id__" else tuple(name.split(".")), direction == "desc")
        for name, direction in query.order_by
    ]
    seen = {path for path, _ in named}
    descending = named[-1][1] if named else False
    if None in seen:
        return tuple(named)
    unnamed = {tuple(n.split(".")) for n, operator, _ in query.where if operator in _INEQUALITIES}
    added: list[Order] = [(path, descending) for path in sorted(unnamed - seen)]
    return (*named, *added, (None, descending))


def cursor(query: Query, orders: Sequence[Order]) -> list[Any]:
    """Return the values `start_after` has at each order; the path stands for the name.

    Raises InvalidInput when the snapshot lacks one: it cannot be one of this query's.
    """
    after = query.start_after
    if after is None:
        return []
    values = [after.path if path is None else value_at(after.data, path) for path, _ in orders]
    if MISSING in values:
        raise InvalidInput("The page's last document lacks a field this query is ordered by.")
    return values


def position(snapshot: Snapshot, orders: Sequence[Order]) -> tuple[Any, ...] | None:
    """Return where the document stands at each order, or None where it lacks an ordered field."""
    keys: list[Any] = []
    for path, _ in orders:
        if path is None:
            keys.append(tuple(snapshot.path.split("/")))  # names compare part by part
            continue
        value = value_at(snapshot.data, path)
        if value is MISSING:
            return None
        keys.append(order_key(value))
    return tuple(keys)


def is_behind(keys: tuple[Any, ...], mark: tuple[Any, ...], orders: Sequence[Order]) -> bool:
    """Tell whether a position comes strictly after `mark` in the query's order."""
    for key, other, (_, descending) in zip(keys, mark, orders, strict=True):
        if key != other:
            return bool(key < other) if descending else bool(key > other)
    return False


def matcher(query: Query) -> Callable[[Mapping[str, Any]], bool]:
    """Return a function that tells whether a document's data meets the query's conditions."""
    conditions = [
        (tuple(name.split(".")), _condition(operator, value))
        for name, operator, value in query.where
    ]
    if not conditions:
        return lambda data: True

    def matches(data: Mapping[str, Any]) -> bool:
        for path, holds in conditions:
            value = value_at(data, path)
            if value is MISSING or not holds(value):
                return False
        return True

    return matches


def _condition(operator: str, value: Any) -> Callable[[Any], bool]:
    if operator == "in":
        # as Firestore has it, null and NaN among the alternatives match nothing
        keys = {order_key(plain(v)) for v in value if v is not None and not _is_nan(v)}
        return lambda held: order_key(held) in keys
    key = order_key(plain(value))
    if operator == "==":
        return lambda held: order_key(held) == key
    if operator == "array_contains":
        return lambda held: isinstance(held, list) and any(order_key(v) == key for v in held)
    if operator == "!=":
        return lambda held: held is not None and order_key(held) != key
    return _range(operator, key)


def _range(operator: str, key: tuple[Any, ...]) -> Callable[[Any], bool]:
    def holds(held: Any) -> bool:
        other = order_key(held)
        if other[0] != key[0] or other == (2, 0):  # only its own type, and NaN is in no range
            return False
        if operator == "<":
            return other < key
        if operator == "<=":
            return other <= key
        return other > key if operator == ">" else other >= key

    return holds
