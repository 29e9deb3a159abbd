"""The document store in one SQLite file: the laptop's, with Firestore's semantics.

Every statement runs in one thread of the store's own, so that the event loop never waits for a
disk. A commit is whole or not there: it is a SQLite transaction in a write-ahead log or, together
with others that wait at the same moment, a savepoint of one, told as done once that has ended.
Several processes may share a file; watches see each other's commits within WATCH_POLL_S.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import os
import random
import sqlite3
import threading
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, TypeVar

import msgspec

from common.errors import Conflict, Misconfigured, VendorUnavailable
from common.store import (
    MAX_DOCUMENT_BYTES,
    Change,
    Create,
    Delete,
    Put,
    Query,
    Snapshot,
    Update,
    Write,
    semantics,
)
from common.store.semantics import Order, Parts
from common.wal import into_wal

T = TypeVar("T")

WATCH_POLL_S: Final = 0.05
BUSY_TIMEOUT_S: Final = 5.0  # how long a commit waits for another process's
MAX_ATTEMPTS: Final = 10  # of one transaction
KEPT_CHANGES: Final = 1024  # a watch further behind reads its whole query again
_LARGEST_GROUP: Final = 64  # commits in one SQLite transaction
_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS documents (
  collection TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,
  data BLOB NOT NULL, UNIQUE (collection, id));
CREATE INDEX IF NOT EXISTS by_name ON documents (name);
CREATE TABLE IF NOT EXISTS changes (
  version INTEGER PRIMARY KEY, collection TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL);
"""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_logger = logging.getLogger(__name__)

_Planned = tuple[Write, Parts]
_Placed = tuple[tuple[Any, ...], Snapshot]  # a document and its position in an order
_Read = tuple[str | Query, list[tuple[str, str]]]  # what was read, and the versions found


class _Stale(Exception):
    """What a transaction read has changed since."""


class SqliteStore:
    """The `Store` port over one file. Every coroutine may raise VendorUnavailable (disk full)."""

    def __init__(self, database: sqlite3.Connection, path: Path) -> None:
        self._database = database
        self._path = path
        self._thread = _StoreThread(self._commit)
        self._watches: list[_SqliteWatch] = []  # the thread's
        self._poll: asyncio.Task[None] | None = None

    @classmethod
    def open(cls, path: Path) -> SqliteStore:
        """Open the file, making it (mode 0600) and its folder where missing.

        Raises Misconfigured, saying which folder or file and what to do, when that fails.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            return cls(_connect(path), path)
        except OSError as err:
            raise Misconfigured(
                f"The folder {path.parent} cannot be used for the store ({err.strerror}): "
                "make it writable for this user, or choose another data folder."
            ) from err
        except sqlite3.Error as err:
            raise Misconfigured(
                f"The store {path} cannot be opened ({err}): make the file and its folder "
                f"{path.parent} writable for this user and leave room on the disk, or choose "
                "another data folder."
            ) from err

    async def get(self, path: str) -> Snapshot | None:
        """Return the document, or None."""
        collection, name = semantics.split_document_path(path)
        return await self._run(self._get, collection, name)

    async def get_many(self, paths: Sequence[str]) -> list[Snapshot | None]:
        """Return the documents in the order asked, all of one moment."""
        keys = [semantics.split_document_path(path) for path in paths]

        def read() -> list[Snapshot | None]:
            with self._reading():
                return [self._get(*key) for key in keys]

        return await self._run(read)

    async def query(self, query: Query) -> list[Snapshot]:
        """Return the matching documents in order."""
        semantics.check_query(query)
        return await self._run(self._query, query)

    async def count(self, query: Query) -> int:
        """Return how many documents match."""
        semantics.check_query(query)
        return await self._run(self._count, query)

    async def commit(self, *writes: Write) -> list[str]:
        """Apply the writes at once or not at all; return each document's new version."""
        return await self._write([], _planned(writes))

    async def transact(self, work: Callable[[SqliteTransaction], Awaitable[T]]) -> T:
        """Run `work` until its writes commit against unchanged reads."""
        for attempt in range(MAX_ATTEMPTS):
            transaction = SqliteTransaction(self)
            try:
                result = await work(transaction)
            except Exception:
                # reads are of several moments: what `work` met may be a state that never was
                if await self._run(self._unchanged, transaction.reads):
                    raise
            else:
                with suppress(_Stale):
                    await self._write(transaction.reads, transaction.planned)
                    return result
            await asyncio.sleep(random.uniform(0, 0.002 * 2 ** min(attempt, 5)))
        raise Conflict("Others kept changing the same documents. Please try again.")

    async def watch(
        self, query: Query, on_change: Callable[[Sequence[Change]], None]
    ) -> _SqliteWatch:
        """Call `on_change` on the event loop with the current documents, then with each change."""
        semantics.check_query(query)
        watch = _SqliteWatch(query, on_change, asyncio.get_running_loop())
        try:
            await self._run(self._start, watch)
        except BaseException:
            watch.close()
            raise
        if self._poll is None or self._poll.done():
            self._poll = asyncio.create_task(self._poll_changes())
        return watch

    async def close(self) -> None:
        """Stop the watches and close the file behind what was asked before; the rest is refused."""
        if self._poll is not None:
            self._poll.cancel()
            await asyncio.gather(self._poll, return_exceptions=True)
        await self._thread.stop(self._end)

    # --- in the event loop

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        try:
            return await self._thread.run(work, *args)
        except sqlite3.Error as err:
            raise VendorUnavailable(_trouble(err, self._path)) from err

    async def _write(self, reads: Sequence[_Read], planned: Sequence[_Planned]) -> list[str]:
        lone = planned[0] if len(planned) == 1 and not reads else None
        creates = lone if lone and isinstance(lone[0], Create) else None
        try:
            return await self._thread.run(self._stage, reads, planned, joins=True, creates=creates)
        except sqlite3.Error as err:
            raise VendorUnavailable(_trouble(err, self._path)) from err

    async def _poll_changes(self) -> None:
        """Look for other processes' commits while anybody watches."""
        while True:
            await asyncio.sleep(WATCH_POLL_S)
            try:
                if not await self._run(self._tell):
                    return
            except VendorUnavailable as err:
                _logger.warning("store watch: %s", err)
                await asyncio.sleep(1.0)

    # --- in the store's thread

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Make several statements see one moment."""
        self._database.execute("BEGIN")
        try:
            yield
        finally:
            self._database.execute("ROLLBACK")

    def _get(self, collection: str, name: str) -> Snapshot | None:
        row = self._database.execute(
            "SELECT version, data FROM documents WHERE collection=? AND id=?", (collection, name)
        ).fetchone()
        return row and Snapshot(f"{collection}/{name}", _decode(row[1]), str(row[0]))

    def _count(self, query: Query) -> int:
        if query.order_by or query.start_after or query.limit is not None:
            return len(self._query(query))
        if query.where:
            return sum(1 for _ in self._scan(query))
        where, values = _scope(query)
        row = self._database.execute(f"SELECT count(*) FROM documents WHERE {where}", values)
        return int(row.fetchone()[0])

    def _query(self, query: Query) -> list[Snapshot]:
        if query.limit == 0:
            return []
        orders = semantics.ordering(query)
        found = self._matching(query, orders)
        if orders[0][0] is None and not query.all_groups:  # the rows come in this order already
            return [snapshot for _, snapshot in found]
        return [snapshot for _, snapshot in _sorted(found, orders)[: query.limit]]

    def _matching(self, query: Query, orders: Sequence[Order]) -> list[_Placed]:
        """Return the query's documents with their positions, unordered unless by name."""
        marks = semantics.cursor(query, orders)
        mark = marks and tuple(
            tuple(value.split("/")) if path is None else semantics.order_key(value)
            for value, (path, _) in zip(marks, orders, strict=True)
        )
        by_name = orders[0][0] is None and not query.all_groups
        found: list[_Placed] = []
        for snapshot in self._scan(query, descending=by_name and orders[0][1]):
            keys = semantics.position(snapshot, orders)
            if keys is None or (mark and not semantics.is_behind(keys, mark, orders)):
                continue
            found.append((keys, snapshot))
            if query.limit is None:
                continue
            if by_name and len(found) == query.limit:
                break
            if len(found) >= 4 * query.limit + 1000:  # keeps memory bounded, whatever it reads
                found = _sorted(found, orders)[: query.limit]
        return found

    def _scan(self, query: Query, *, descending: bool = False) -> Iterator[Snapshot]:
        """Yield the documents of the query's collection that meet its conditions, by id."""
        where, values = _scope(query)
        for clause, needles in _byte_filters(query):
            where += clause
            values += needles
        order = "" if query.all_groups else f" ORDER BY id {'DESC' if descending else 'ASC'}"
        matches = semantics.matcher(query)
        rows = self._database.execute(
            f"SELECT collection, id, version, data FROM documents WHERE {where}{order}", values
        )
        for collection, name, version, blob in rows:
            data = _decode(blob)
            if matches(data):
                yield Snapshot(f"{collection}/{name}", data, str(version))

    def _unchanged(self, reads: Sequence[_Read]) -> bool:
        return all(self._found(what) == versions for what, versions in reads)

    def _found(self, what: str | Query) -> list[tuple[str, str]]:
        if isinstance(what, Query):
            return versions(self._query(what))
        return versions([self._get(*semantics.split_document_path(what))])

    def _commit(self, jobs: Sequence[_Job]) -> None:
        """Do what these commits ask in one transaction: writing it out costs most of each."""
        try:
            self._database.execute("BEGIN IMMEDIATE")
            for alike in _alike(jobs):
                if len(alike) > 1:
                    self._create_together(alike)
                else:
                    self._do(alike[0])
            self._database.execute("COMMIT")
        except sqlite3.Error as err:
            for job in jobs:
                job.error = job.error or err
            if self._database.in_transaction:  # SQLite itself rolls back on a full disk
                self._database.execute("ROLLBACK")
        with suppress(sqlite3.Error):  # committed all the same; the next look tells it
            self._tell()

    def _do(self, job: _Job) -> None:
        self._database.execute("SAVEPOINT job")
        job.do()
        if job.error is not None:
            self._database.execute("ROLLBACK TO job")
        self._database.execute("RELEASE job")

    def _create_together(self, jobs: Sequence[_Job]) -> None:
        """Do jobs that create one document each, in three statements for all of them.

        For each statement this thread gives the interpreter away and waits to have it back: beside
        a busy loop that takes longer than what SQLite does.
        """
        now = dt.datetime.now(dt.UTC)
        plans = [job.creates for job in jobs if job.creates]
        places = [write.path.rpartition("/")[::2] for write, _ in plans]
        taken = self._database.execute(
            # The order of a cross join is kept: each place is looked up, nothing is scanned.
            f"WITH sought (a, b) AS (VALUES {_marks(2, len(places))}) "
            "SELECT a, b FROM sought CROSS JOIN documents ON collection=a AND id=b",
            [*chain.from_iterable(places)],
        ).fetchall()
        made: list[tuple[_Job, tuple[str, str], bytes]] = []
        for job, place, (write, parts) in zip(jobs, places, plans, strict=True):
            try:
                _check_precondition(write, "" if place in taken else None)
                made.append((job, place, _blob(write.path, semantics.apply(parts, {}, now))))
            except BaseException as err:  # it is for who waits
                job.error = err
        if not made:
            return
        first = self._log(*(place for _, place, _ in made)) - len(made) + 1
        rows = []
        for version, (job, (collection, name), blob) in enumerate(made, first):
            rows += [collection, name, collection.rpartition("/")[2], version, blob]
            job.result = [str(version)]
        self._database.execute(f"INSERT INTO documents VALUES {_marks(5, len(made))}", rows)

    def _stage(self, reads: Sequence[_Read], planned: Sequence[_Planned]) -> list[str]:
        if not self._unchanged(reads):
            raise _Stale
        now = dt.datetime.now(dt.UTC)
        return [self._apply(write, parts, now) for write, parts in planned]

    def _apply(self, write: Write, parts: Parts, now: dt.datetime) -> str:
        collection, _, name = write.path.rpartition("/")
        row = self._database.execute(
            "SELECT version, data FROM documents WHERE collection=? AND id=?", (collection, name)
        ).fetchone()
        _check_precondition(write, None if row is None else str(row[0]))
        if isinstance(write, Delete):
            if row is not None:
                self._database.execute(
                    "DELETE FROM documents WHERE collection=? AND id=?", (collection, name)
                )
                self._log((collection, name))
            return ""
        base = {} if row is None or isinstance(write, Create | Put) else _decode(row[1])
        data = semantics.apply(parts, base, now)
        blob = _blob(write.path, data)
        if row is not None and row[1] == blob:
            return str(row[0])  # as in Firestore, writing what is there already changes nothing
        version = self._log((collection, name))
        self._database.execute(
            "INSERT INTO documents VALUES (?, ?, ?, ?, ?) ON CONFLICT (collection, id) "
            "DO UPDATE SET version=excluded.version, data=excluded.data",
            (collection, name, collection.rpartition("/")[2], version, blob),
        )
        return str(version)

    def _log(self, *places: tuple[str, str]) -> int:
        """Note that documents changed; their rows' numbers are their versions, ever rising.

        Returns the last one; they follow each other, as nobody else writes meanwhile.
        """
        rows = [(collection, name, collection.rpartition("/")[2]) for collection, name in places]
        added = self._database.execute(
            f"INSERT INTO changes (collection, id, name) VALUES {_marks(3, len(rows))}",
            [*chain.from_iterable(rows)],
        )
        version = int(added.lastrowid or 0)
        if version % 128 < len(rows):
            self._database.execute(
                "DELETE FROM changes WHERE version<=?", (version - KEPT_CHANGES,)
            )
        return version

    def _start(self, watch: _SqliteWatch) -> None:
        with self._reading():
            self._reread(watch)
            _, watch.seen = self._logged()
        self._watches.append(watch)

    def _tell(self) -> bool:
        """Tell the watches what changed since they looked; False when there are none."""
        self._watches = [watch for watch in self._watches if not watch.closed]
        if not self._watches:
            return False
        _, latest = self._logged()
        if behind := [watch for watch in self._watches if watch.seen != latest]:
            with self._reading():
                self._catch_up(behind)
        return True

    def _catch_up(self, watches: Sequence[_SqliteWatch]) -> None:
        oldest, latest = self._logged()
        touched = self._touched(min(watch.seen for watch in watches))
        for watch in watches:
            if watch.seen + 1 < oldest:
                self._reread(watch)
            elif paths := touched.get((watch.query.all_groups, watch.query.collection)):
                current = [self._get(*key) for key in paths]
                watch.tell(["/".join(key) for key in paths], current)
            watch.seen = latest

    def _reread(self, watch: _SqliteWatch) -> None:
        current = list(self._scan(watch.query))
        watch.tell(watch.known.keys() | {snapshot.path for snapshot in current}, current)

    def _touched(self, since: int) -> dict[tuple[bool, str], list[tuple[str, str]]]:
        """Return the documents changed since, under the collections and groups they belong to."""
        names = {watch.query.collection.rpartition("/")[2] for watch in self._watches}
        touched: dict[tuple[bool, str], list[tuple[str, str]]] = defaultdict(list)
        for collection, key, name in self._database.execute(
            "SELECT DISTINCT collection, id, name FROM changes WHERE version>? AND name IN "
            f"{_marks(len(names), 1)}",
            (since, *names),
        ):
            touched[False, collection].append((collection, key))
            touched[True, name].append((collection, key))
        return touched

    def _end(self) -> None:
        for watch in self._watches:
            watch.close()
        self._database.close()

    def _logged(self) -> tuple[int, int]:
        row = self._database.execute(
            "SELECT (SELECT min(version) FROM changes), (SELECT max(version) FROM changes)"
        ).fetchone()
        return row[0] or 0, row[1] or 0


class SqliteTransaction:
    """Reads remembered for the commit to check again, and writes kept for it."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.reads: list[_Read] = []
        self.planned: list[_Planned] = []

    async def get(self, path: str) -> Snapshot | None:
        """Return the document, or None."""
        self._check()
        found = await self._store.get(path)
        self.reads.append((path, versions([found])))
        return found

    async def query(self, query: Query) -> list[Snapshot]:
        """Return the matching documents in order."""
        self._check()
        found = await self._store.query(query)
        self.reads.append((query, versions(found)))
        return found

    def write(self, *writes: Write) -> None:
        """Add writes to the commit."""
        self.planned += _planned(writes)
        semantics.check_count([write for write, _ in self.planned])

    def _check(self) -> None:
        if self.planned:
            raise TypeError("a transaction reads before it writes")


@dataclass(slots=True, eq=False)
class _SqliteWatch:
    """A subscription. `known` and `seen` belong to the store's thread, `told` to the loop."""

    query: Query
    on_change: Callable[[Sequence[Change]], None]
    loop: asyncio.AbstractEventLoop
    known: dict[str, str] = field(default_factory=dict)
    seen: int = 0
    told: bool = False
    closed: bool = False
    matches: Callable[[dict[str, Any]], bool] = field(init=False)

    def __post_init__(self) -> None:
        self.matches = semantics.matcher(self.query)

    def tell(self, touched: Iterable[str], documents: Iterable[Snapshot | None]) -> None:
        """Hand what changed among the `touched` paths to the loop, and know it from now on."""
        current = {found.path: found for found in documents if found and self.matches(found.data)}
        changes: list[Change] = []
        for path in touched:
            snapshot = current.get(path)
            if snapshot is None:
                if self.known.pop(path, None) is not None:
                    changes.append(Change(path, None, None))
            elif self.known.get(path) != snapshot.version:
                self.known[path] = snapshot.version
                changes.append(Change(path, snapshot.data, snapshot.version))
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self.loop.call_soon_threadsafe(self._deliver, changes)

    def _deliver(self, changes: Sequence[Change]) -> None:
        if self.closed or (self.told and not changes):
            return
        self.told = True
        self.on_change(changes)

    def close(self) -> None:
        """Stop; no callback starts afterwards."""
        self.closed = True


class _Job:
    """Work for the store's thread, and the one who waits for it.

    `joins`: it is a commit; `creates`: one that creates this document and does nothing else.
    """

    __slots__ = ("_future", "_work", "creates", "error", "joins", "loop", "result")

    def __init__(self, work: Callable[[], Any], *, joins: bool, creates: _Planned | None) -> None:
        self.joins = joins
        self.creates = creates
        self.result: Any = None
        self.error: BaseException | None = None
        self._work = work
        self.loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Any] = self.loop.create_future()

    async def done(self) -> Any:
        return await self._future

    def do(self) -> None:
        try:
            self.result = self._work()
        except BaseException as err:
            self.error = err

    def resolve(self) -> None:
        if self._future.done():  # who waited for it was cancelled
            return
        if self.error is not None:
            self._future.set_exception(self.error)
        else:
            self._future.set_result(self.result)


class _StoreThread:
    """One thread that runs what it is given, in order; commits that wait together go together.

    A ThreadPoolExecutor does the same at three times the cost of a whole read.
    """

    def __init__(self, commit: Callable[[Sequence[_Job]], None]) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._commit = commit
        self._stopped = False
        threading.Thread(target=self._main, name="odai-store", daemon=True).start()

    async def run(
        self,
        work: Callable[..., T],
        *args: Any,
        joins: bool = False,
        creates: _Planned | None = None,
    ) -> T:
        """Return what `work` returns, or raise what it raises."""
        if self._stopped:
            raise sqlite3.ProgrammingError("it is closed")
        job = _Job(partial(work, *args), joins=joins, creates=creates)
        self._jobs.put(job)
        result: T = await job.done()
        return result

    async def stop(self, last: Callable[[], None]) -> None:
        """End the thread behind what it was given, and `last`."""
        if self._stopped:
            return
        self._stopped = True
        job = _Job(last, joins=False, creates=None)
        self._jobs.put(job)
        self._jobs.put(None)
        await job.done()

    def _main(self) -> None:
        waiting: deque[_Job | None] = deque()
        while True:
            if not waiting:
                waiting.append(self._jobs.get())
            while len(waiting) < _LARGEST_GROUP and not self._jobs.empty():
                waiting.append(self._jobs.get())
            job = waiting.popleft()
            if job is None:
                return
            group = [job]
            if job.joins:
                while waiting and (after := waiting[0]) and after.joins:
                    group.append(after)
                    waiting.popleft()
                self._commit(group)
            else:
                job.do()
            _tell(group)
            del job, group  # what they hold is not kept until the next one comes


def _tell(group: Sequence[_Job]) -> None:
    """Let those who wait for these jobs go on."""
    for loop, jobs in groupby(group, key=lambda job: job.loop):
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, [*jobs])


def _resolve(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        job.resolve()


def _alike(jobs: Sequence[_Job]) -> Iterator[list[_Job]]:
    """Yield the jobs in their order: those together that create different documents."""
    together: dict[str, _Job] = {}
    for job in jobs:
        path = job.creates[0].path if job.creates else ""
        if together and (not path or path in together):
            yield [*together.values()]
            together.clear()
        if path:
            together[path] = job
        else:
            yield [job]
    if together:
        yield [*together.values()]


def _marks(columns: int, rows: int) -> str:
    """Return the placeholders of so many rows."""
    return ", ".join([f"({', '.join('?' * columns)})"] * rows)


def _blob(path: str, data: dict[str, Any]) -> bytes:
    blob: bytes = _encode(data)
    if len(blob) * 8 > MAX_DOCUMENT_BYTES:  # Firestore counts a value at most 8 times higher
        semantics.check_size(path, data)
    return blob


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        # Documents are mostly a few kilobytes: of larger pages, each would leave half one empty.
        database.execute("PRAGMA page_size=1024")
        into_wal(database)
        database.execute("PRAGMA wal_autocheckpoint=4000")
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute("PRAGMA cache_size=-16000")
        stored = database.execute("PRAGMA user_version").fetchone()[0]
        if stored not in (0, _SCHEMA_VERSION):
            raise Misconfigured(
                f"The store {path} was written by a newer version of this program: update it, or "
                "choose another data folder."
            )
        database.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.split(";"):
            database.execute(statement)
        database.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")
        database.execute("COMMIT")
    except BaseException:
        database.close()
        raise
    return database


def _trouble(err: sqlite3.Error, path: Path) -> str:
    code = getattr(err, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return f"The disk that holds {path.parent} is full. Make room, then try again."
    if code == sqlite3.SQLITE_READONLY:
        return f"The store in {path.parent} cannot be written. Make it writable, then try again."
    return f"The store in {path.parent} does not answer ({err}). Please try again."


def _planned(writes: Sequence[Write]) -> list[_Planned]:
    semantics.check_count(writes)
    for write in writes:
        semantics.split_document_path(write.path)
    return [(write, semantics.take_apart(write)) for write in writes]


def _check_precondition(write: Write, stored: str | None) -> None:
    if isinstance(write, Create) and stored is not None:
        raise Conflict("That exists already.")
    if isinstance(write, Update) and stored is None:
        raise Conflict("That does not exist any more.")
    wanted = getattr(write, "if_version", None)
    if wanted is not None and wanted != stored:
        raise Conflict("Somebody else changed that first. Read it again, then decide.")


def versions(found: Iterable[Snapshot | None]) -> list[tuple[str, str]]:
    """Return what a read found, in the form a commit compares: paths and versions."""
    return [(snapshot.path, snapshot.version) for snapshot in found if snapshot is not None]


def _scope(query: Query) -> tuple[str, tuple[Any, ...]]:
    return ("name=?" if query.all_groups else "collection=?"), (query.collection,)


def _sorted(found: list[_Placed], orders: Sequence[Order]) -> list[_Placed]:
    for index, (_, descending) in reversed(list(enumerate(orders))):  # stable: the last key first
        found.sort(key=lambda placed, at=index: placed[0][at], reverse=descending)  # type: ignore[misc]
    return found


def _byte_filters(query: Query) -> Iterator[tuple[str, tuple[bytes, ...]]]:
    """Yield SQL conditions that leave few documents to decode.

    A document that has `owner == "u1"` holds the bytes of that key and value side by side, so
    SQLite can look for them at memory speed and outside Python's lock. They may occur elsewhere as
    well: what is found is decoded and matched again. This needs no index to keep up at each write.
    """
    for name, operator, value in query.where:
        if operator not in ("==", "in", "array_contains"):
            continue
        key = b"" if operator == "array_contains" else _encode(name.rpartition(".")[2])
        alternatives = [_encodings(v) for v in (value if operator == "in" else [value])]
        if not all(alternatives):
            continue
        needles = tuple(key + encoded for group in alternatives for encoded in group)
        yield f" AND ({' OR '.join(['instr(data, ?)'] * len(needles))})", needles


def _encodings(value: Any) -> list[bytes]:
    """Return every form in which a value equal to this one is stored; none where unknown."""
    if isinstance(value, list | tuple | dict) or value != value:
        return []
    if isinstance(value, bool) or not isinstance(value, int | float):
        return [_encode(semantics.plain(value))]
    forms: list[int | float] = [value]
    with suppress(OverflowError, ValueError):
        forms = [form for form in (int(value), float(value)) if form == value]
    if value == 0:
        forms.append(-0.0)
    return [
        _encode(form) for form in forms if not isinstance(form, int) or -(2**63) <= form < 2**64
    ]
