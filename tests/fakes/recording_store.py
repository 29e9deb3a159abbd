"""A store that notes what passes through it: the queries made, the operations billed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from common.store import Change, Counted, Query, Snapshot, Store, Transaction, Watch, Write

T = TypeVar("T")


class RecordingStore:
    """Delegates to `inner` and keeps `queries` and `counted`.

    `counted.reads` counts documents as Firestore bills them (a query that finds none is one),
    `counted.commits` the commits with their transactions, `counted.paths` what each operation
    touched, in order: paths of documents, or a query's collection. What a watch reads is billed to
    nobody here; its query is recorded.
    """

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.queries: list[Query] = []
        self.counted = Counted()

    async def get(self, path: str) -> Snapshot | None:
        """Return the document, or None."""
        self._read(path)
        return await self.inner.get(path)

    async def get_many(self, paths: Sequence[str]) -> list[Snapshot | None]:
        """Return the documents in the order asked."""
        self._read(*paths)
        return await self.inner.get_many(paths)

    async def query(self, query: Query) -> list[Snapshot]:
        """Return the matching documents in order."""
        return self._found(query, await self.inner.query(query))

    async def count(self, query: Query) -> int:
        """Return how many documents match."""
        self.queries.append(query)
        self._read(query.collection)
        return await self.inner.count(query)

    async def commit(self, *writes: Write) -> list[str]:
        """Apply the writes at once or not at all."""
        versions = await self.inner.commit(*writes)
        self._committed(writes)
        return versions

    async def transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work`; every attempt's reads count, one commit counts if it wrote."""
        last: list[_RecordingTransaction] = []

        async def recorded(inner: Transaction) -> T:
            last[:] = [_RecordingTransaction(inner, self)]
            return await work(last[0])

        result = await self.inner.transact(recorded)
        if last[0].writes:
            self._committed(last[0].writes)
        return result

    async def watch(self, query: Query, on_change: Callable[[Sequence[Change]], None]) -> Watch:
        """Subscribe."""
        self.queries.append(query)
        return await self.inner.watch(query, on_change)

    async def close(self) -> None:
        """Close the store within."""
        await self.inner.close()

    def _read(self, *paths: str) -> None:
        self.counted.reads += len(paths)
        self.counted.paths += paths

    def _found(self, query: Query, found: list[Snapshot]) -> list[Snapshot]:
        self.queries.append(query)
        self.counted.reads += max(1, len(found))
        self.counted.paths.append(query.collection)
        return found

    def _committed(self, writes: Sequence[Write]) -> None:
        self.counted.commits += 1
        self.counted.paths += [write.path for write in writes]


class _RecordingTransaction:
    def __init__(self, inner: Transaction, store: RecordingStore) -> None:
        self._inner = inner
        self._store = store
        self.writes: list[Write] = []

    async def get(self, path: str) -> Snapshot | None:
        self._store._read(path)
        return await self._inner.get(path)

    async def query(self, query: Query) -> list[Snapshot]:
        return self._store._found(query, await self._inner.query(query))

    def write(self, *writes: Write) -> None:
        self._inner.write(*writes)
        self.writes += writes
