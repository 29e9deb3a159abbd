"""The document store port: what the product needs of Firestore, and no more.

Adapters: `common.store.sqlite` (one file, the laptop) and `common.store.firestore`. Both keep the
same documents under the same paths and pass one contract suite (tests/store).

Paths alternate collection and document (`users/u1/accounts/google:7`). A document is a mapping of
str, int, float, bool, None, bytes, aware datetime (microseconds, UTC), lists and mappings. A
document's version is an opaque string that changes with every write to it.

The types here are structs: each costs a function's cold start a fiftieth of what a dataclass does.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar

import msgspec

T = TypeVar("T")

MAX_DOCUMENT_BYTES: Final = 1_048_576  # Firestore's limit, kept by both adapters
MAX_WRITES: Final = 500  # in one commit, likewise


class Snapshot(msgspec.Struct, frozen=True):
    """A document as it was when read."""

    path: str
    data: dict[str, Any]
    version: str

    @property
    def id(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


class Create(msgspec.Struct, frozen=True):
    """Write a document that must not exist yet; Conflict otherwise."""

    path: str
    data: dict[str, Any]


class Put(msgspec.Struct, frozen=True):
    """Write a whole document, replacing what was there; `if_version` must match if given."""

    path: str
    data: dict[str, Any]
    if_version: str | None = None


class Update(msgspec.Struct, frozen=True):
    """Change some fields of a document that exists (Conflict otherwise).

    Keys may be dotted (`lease.owner`) to reach into mappings; a missing parent is made.
    `if_version` must match if given.
    """

    path: str
    changes: dict[str, Any]
    if_version: str | None = None


class Merge(msgspec.Struct, frozen=True):
    """Change some fields (keys may be dotted), creating the document where it is missing."""

    path: str
    changes: dict[str, Any]


class Delete(msgspec.Struct, frozen=True):
    """Remove a document; absent is fine unless `if_version` is given. Subcollections stay."""

    path: str
    if_version: str | None = None


Write: TypeAlias = Create | Put | Update | Merge | Delete


class Increment(msgspec.Struct, frozen=True):
    """As a field's value in a write: add to the stored number (0 where missing), atomically."""

    amount: int | float


class Union(msgspec.Struct, frozen=True):
    """As a field's value in a write: add to the stored list those values it does not hold."""

    values: tuple[Any, ...]


class Remove(msgspec.Struct, frozen=True):
    """As a field's value in a write: take every one of these values out of the stored list."""

    values: tuple[Any, ...]


class _Sentinel:
    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


SERVER_TIME: Final = _Sentinel("SERVER_TIME")  # as a value: the store's own clock at the commit
DELETE_FIELD: Final = _Sentinel("DELETE_FIELD")  # as a value in Update or Merge: remove the field

Operator: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">=", "in", "array_contains"]
Direction: TypeAlias = Literal["asc", "desc"]


class Query(msgspec.Struct, frozen=True):
    """Documents of one collection, or of every collection of that name (`all_groups`).

    `order_by` names fields (dotted for nested ones) or "__id__" (the document id, the default
    order; with `all_groups`, the whole path); documents lacking an ordered field are left out, as
    Firestore does. `start_after` resumes behind a snapshot of the same query.
    """

    collection: str
    where: tuple[tuple[str, Operator, Any], ...] = ()
    order_by: tuple[tuple[str, Direction], ...] = ()
    start_after: Snapshot | None = None
    limit: int | None = None
    all_groups: bool = False


class Change(msgspec.Struct, frozen=True):
    """What happened to one document a watch covers; `data` is None when it was removed."""

    path: str
    data: dict[str, Any] | None
    version: str | None


class Transaction(Protocol):
    """Reads, then writes, all or nothing. Reads after the first write raise TypeError."""

    async def get(self, path: str) -> Snapshot | None: ...

    async def query(self, query: Query) -> list[Snapshot]: ...

    def write(self, *writes: Write) -> None: ...


class Watch(Protocol):
    """A running subscription."""

    def close(self) -> None:
        """Stop it; no callback starts afterwards."""


class Store(Protocol):
    """The port. Every method may raise VendorUnavailable once its bounded retries are spent."""

    async def get(self, path: str) -> Snapshot | None:
        """Return the document, or None."""

    async def get_many(self, paths: Sequence[str]) -> list[Snapshot | None]:
        """Return the documents in the order asked, in one round trip."""

    async def query(self, query: Query) -> list[Snapshot]:
        """Return the matching documents in order."""

    async def count(self, query: Query) -> int:
        """Return how many documents match, without reading them."""

    async def commit(self, *writes: Write) -> list[str]:
        """Apply the writes at once or not at all; return each document's new version.

        Raises Conflict when a precondition fails, InvalidInput when a document is over
        MAX_DOCUMENT_BYTES or there are more than MAX_WRITES writes. A Delete's version is "".
        """

    async def transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` until its writes commit against unchanged reads; `work` may run again.

        Raises Conflict after a bounded number of attempts, and whatever `work` raises.
        """

    async def watch(self, query: Query, on_change: Callable[[Sequence[Change]], None]) -> Watch:
        """Call `on_change` on the event loop with the current documents, then with each change.

        The first call is made even when nothing matches (an empty sequence). Order and limit
        of the query are ignored. Bursts may be merged; the last state always arrives.
        """

    async def close(self) -> None:
        """Release connections; the store is not used afterwards."""


class Counted(msgspec.Struct):
    """How many operations a store served: tests and cost tables read it."""

    reads: int = 0
    commits: int = 0
    paths: list[str] = msgspec.field(default_factory=list)


def expires_in(clock: Callable[[], dt.datetime], seconds: float) -> dt.datetime:
    """Return the value for a TTL field `seconds` from now."""
    return clock() + dt.timedelta(seconds=seconds)
