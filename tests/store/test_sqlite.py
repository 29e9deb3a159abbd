"""What only the SQLite store has: a file, other processes, a folder that may be unusable."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.errors import Conflict, InvalidInput, Misconfigured, VendorUnavailable
from common.store import (
    Create,
    Delete,
    Increment,
    Merge,
    Put,
    Query,
    Store,
    Transaction,
    Update,
    Write,
)
from common.store.sqlite import KEPT_CHANGES, SqliteStore
from tests.fakes.recording_store import RecordingStore
from tests.store.test_contract import Seen

ROOT = Path(__file__).parents[2]

WRITER = """
import asyncio, sys
from pathlib import Path
from common.store import Put
from common.store.sqlite import SqliteStore

async def main():
    store = SqliteStore.open(Path(sys.argv[1]))
    n = 0
    while True:
        n += 1
        await store.commit(Put("pairs/a", {"n": n}), Put(f"log/{n}", {"n": n, "x": b"x" * 3000}),
                           Put("pairs/b", {"n": n}))
        if n == 200:
            print("ready", flush=True)

asyncio.run(main())
"""

COUNTER = """
import asyncio, sys
from pathlib import Path
from common.store import Increment, Merge, Update
from common.store.sqlite import SqliteStore

async def main():
    store = SqliteStore.open(Path(sys.argv[1]))

    async def add(transaction):
        found = await transaction.get("jobs/read")
        transaction.write(Update("jobs/read", {"n": found.data["n"] + 1}))

    for _ in range(int(sys.argv[2])):
        await store.commit(Merge("jobs/inc", {"n": Increment(1)}))
        await store.transact(add)
    await store.close()

asyncio.run(main())
"""


def opened(path: Path, body: Callable[[SqliteStore], Awaitable[None]]) -> None:
    async def run() -> None:
        store = SqliteStore.open(path)
        try:
            async with asyncio.timeout(60):
                await body(store)
        finally:
            await store.close()

    asyncio.run(run())


@contextmanager
def running(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_a_killed_process_leaves_whole_commits(tmp_path: Path) -> None:
    """Pulling the plug while it writes loses at most the last commit, and never half of one."""
    path = tmp_path / "store.db"
    with running(WRITER, path) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        writer.send_signal(signal.SIGKILL)
        writer.wait()

    async def body(store: Store) -> None:
        a, b = await store.get_many(["pairs/a", "pairs/b"])
        assert a is not None
        assert b is not None
        assert a.data == b.data
        assert await store.count(Query("log")) == a.data["n"] >= 200
        await store.commit(Update("pairs/a", {"n": 0}))

    opened(path, body)
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def test_two_processes_count_together(tmp_path: Path) -> None:
    """Two servers on one file lose none of each other's increments and transactions."""
    path = tmp_path / "store.db"

    async def body(store: Store) -> None:
        await store.commit(Put("jobs/read", {"n": 0}))
        with running(COUNTER, path, 50) as other:

            async def add(transaction: Transaction) -> None:
                found = await transaction.get("jobs/read")
                assert found is not None
                transaction.write(Update("jobs/read", {"n": found.data["n"] + 1}))

            for _ in range(50):
                await store.commit(Merge("jobs/inc", {"n": Increment(1)}))
                await store.transact(add)
            assert await asyncio.to_thread(other.wait) == 0
        found = await store.get_many(["jobs/inc", "jobs/read"])
        assert [f and f.data["n"] for f in found] == [100, 100]

    opened(path, body)


def test_a_watch_hears_the_other_process(tmp_path: Path) -> None:
    """What one server stores, a viewer connected to another sees, removals too."""
    path = tmp_path / "store.db"

    async def body(store: Store) -> None:
        seen, back = Seen(), Seen()
        watch = await store.watch(Query("jobs"), seen)
        other = SqliteStore.open(path)
        try:
            await other.watch(Query("jobs"), back)
            await other.commit(Put("jobs/a", {"n": 1}), Put("jobs/b", {"n": 1}))
            await seen.until({"jobs/a": {"n": 1}, "jobs/b": {"n": 1}})
            await other.commit(Delete("jobs/a"))
            await seen.until({"jobs/b": {"n": 1}})
            await store.commit(Put("jobs/b", {"n": 2}))
            await back.until({"jobs/b": {"n": 2}})
        finally:
            await other.close()
        watch.close()

    opened(path, body)


def test_a_watch_far_behind_still_ends_right(tmp_path: Path) -> None:
    """A laptop that slept through more changes than are kept sees what is there now."""

    async def body(store: SqliteStore) -> None:
        await store.commit(Put("jobs/gone", {"n": 0}), Put("jobs/a", {"n": 0}))
        seen = Seen()
        watch = await store.watch(Query("jobs"), seen)
        await seen.until({"jobs/gone": {"n": 0}, "jobs/a": {"n": 0}})

        def sleep_through() -> None:  # in the store's own thread: the watch cannot look meanwhile
            other = SqliteStore.open(tmp_path / "store.db")
            planned: list[Write] = [
                Delete("jobs/gone"),
                *(Put("jobs/a", {"n": n}) for n in range(400)),
            ]
            more = [Put(f"other/{n % 7}", {"n": n}) for n in range(500)]

            async def write() -> None:
                await other.commit(*planned)
                for _ in range(KEPT_CHANGES // 500 + 2):
                    await other.commit(*more)
                await other.close()

            asyncio.run(write())

        await store._run(sleep_through)
        await seen.until({"jobs/a": {"n": 399}})
        watch.close()

    opened(tmp_path / "store.db", body)


def test_a_failing_callback_stops_no_other(tmp_path: Path) -> None:
    """One viewer's error is reported and the others go on."""

    async def body(store: Store) -> None:
        reported: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: reported.append(what))

        def broken(_: object) -> None:
            raise LookupError("broken")

        await store.watch(Query("jobs"), broken)
        seen = Seen()
        await store.watch(Query("jobs"), seen)
        await store.commit(Put("jobs/a", {"n": 1}))
        await seen.until({"jobs/a": {"n": 1}})
        assert reported

    opened(tmp_path / "store.db", body)


def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    """Documents and versions outlive the process, and versions keep rising."""
    kept: list[str] = []

    async def before(store: Store) -> None:
        kept.extend(await store.commit(Put("jobs/a", {"n": 1})))

    async def after(store: Store) -> None:
        found = await store.get("jobs/a")
        assert found is not None
        assert found.version == kept[0]
        [later] = await store.commit(Put("jobs/a", {"n": 2}, if_version=kept[0]))
        assert int(later) > int(kept[0])

    opened(tmp_path / "store.db", before)
    opened(tmp_path / "store.db", after)


def test_the_file_is_the_users_alone(tmp_path: Path) -> None:
    """Nobody else on the machine can read the store or its log."""
    path = tmp_path / "new" / "store.db"

    async def body(store: Store) -> None:
        await store.commit(Put("jobs/a", {"n": 1}))
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    opened(path, body)


def test_the_file_is_little_larger_than_what_it_holds(tmp_path: Path) -> None:
    """A conversation's kilobytes take at most 1.3 times their size on disk."""
    path = tmp_path / "store.db"
    payload = os.urandom(2000)

    async def body(store: Store) -> None:
        for start in range(0, 2000, 500):
            await store.commit(
                *(Put(f"chats/c/items/{n:026}", {"b": payload}) for n in range(start, start + 500))
            )

    opened(path, body)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 1.3 * 2000 * len(payload)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write anywhere, so that the test gives that up for a moment."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path, exists: bool) -> None:
    """Starting on a read-only folder names the folder and what to do about it."""
    folder = tmp_path / "data"
    folder.mkdir()
    path = folder / "store.db"
    if exists:
        path.touch(mode=0o400)
    folder.chmod(0o500)
    try:
        with as_nobody(), pytest.raises(Misconfigured) as refused:
            SqliteStore.open(path)
    finally:
        folder.chmod(0o700)
    assert str(folder) in str(refused.value)
    assert "writable" in str(refused.value)


def test_a_file_that_is_no_store_says_so(tmp_path: Path) -> None:
    """Another program's file is left alone, and named."""
    path = tmp_path / "store.db"
    path.write_text("hello" * 1000)
    with pytest.raises(Misconfigured, match=r"store\.db"):
        SqliteStore.open(path)
    assert path.read_text() == "hello" * 1000


def test_a_newer_programs_file_is_refused(tmp_path: Path) -> None:
    """After a downgrade the store says to update rather than guess."""
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(Misconfigured, match="newer"):
        SqliteStore.open(path)


def test_a_full_disk_says_so_and_loses_nothing(tmp_path: Path) -> None:
    """A commit that finds no room fails whole, and the store works on once there is room."""

    async def body(store: SqliteStore) -> None:
        await store.commit(Put("jobs/a", {"n": 1}))
        await store._run(store._database.execute, "PRAGMA max_page_count=12")
        with pytest.raises(VendorUnavailable, match="full"):
            await store.commit(Put("jobs/a", {"n": 2}), Put("jobs/b", {"b": b"x" * 900_000}))
        await store._run(store._database.execute, "PRAGMA max_page_count=100000")
        found = await store.get_many(["jobs/a", "jobs/b"])
        assert [f and f.data for f in found] == [{"n": 1}, None]
        await store.commit(Put("jobs/a", {"n": 3}))

    opened(tmp_path / "store.db", body)


def test_a_refused_commit_leaves_the_store_usable(tmp_path: Path) -> None:
    """A document found too large inside a commit undoes it and nothing else."""

    async def body(store: Store) -> None:
        await store.commit(Put("jobs/a", {"b": b"x" * 1_000_000}))
        with pytest.raises(InvalidInput):
            await store.commit(Put("jobs/b", {}), Merge("jobs/a", {"c": b"x" * 100_000}))
        assert await store.get("jobs/b") is None
        await store.commit(Put("jobs/b", {}))

    opened(tmp_path / "store.db", body)


def test_operations_are_counted_as_they_are_billed(tmp_path: Path) -> None:
    """The cost tables count documents read, queries made and commits."""

    async def body(inner: Store) -> None:
        store = RecordingStore(inner)
        await store.commit(Put("jobs/a", {"n": 1}), Put("jobs/b", {"n": 1}))
        await store.get_many(["jobs/a", "jobs/none"])
        query = Query("jobs", (("n", "==", 1),))
        assert len(await store.query(query)) == 2
        await store.query(Query("nothing"))

        async def work(transaction: Transaction) -> None:
            await transaction.get("jobs/a")
            transaction.write(Delete("jobs/a"))

        await store.transact(work)
        assert store.queries == [query, Query("nothing")]
        assert (store.counted.reads, store.counted.commits) == (6, 2)
        assert store.counted.paths[-2:] == ["jobs/a", "jobs/a"]

    opened(tmp_path / "store.db", body)


def test_commits_that_go_together_stand_and_fall_alone(tmp_path: Path) -> None:
    """Of a hundred commits at the same moment only those fail whose condition does not hold."""

    async def main() -> None:
        store = SqliteStore.open(tmp_path / "store.sqlite")
        await store.commit(Put("taken/0", {"n": -1}))
        results = await asyncio.gather(
            *(
                store.commit(Put(f"free/{n}", {"n": n}), Create(f"taken/{n % 2 * n}", {"n": n}))
                for n in range(100)
            ),
            return_exceptions=True,
        )
        refused = {n for n, result in enumerate(results) if isinstance(result, Conflict)}
        assert refused == {n for n in range(100) if n % 2 == 0}
        for n in range(100):
            assert (await store.get(f"free/{n}") is None) == (n in refused)
        await store.close()

    asyncio.run(main())


def test_creations_that_go_together_stand_and_fall_alone(tmp_path: Path) -> None:
    """Taken, twice at once, too large, unfit: each fails by itself; the others count up."""

    async def main() -> None:
        store, watched = SqliteStore.open(tmp_path / "store.sqlite"), Seen()
        await store.commit(Put("a/7", {"n": -1}))
        watch = await store.watch(Query("a"), watched)
        creations = [Create(f"a/{n % 90}", {"n": n}) for n in range(100)]
        creations[20] = Create("a/20", {"n": b"x" * 2_000_000})
        creations[30] = Create("a/30", {"n": object()})
        creations.insert(50, Create("b/1", {"n": 1}))
        results = await asyncio.gather(
            *(store.commit(each) for each in creations), return_exceptions=True
        )
        wrong = {place for place, each in enumerate(results) if isinstance(each, BaseException)}
        assert wrong == {7, 20, 30, *range(91, 101)}
        assert all(isinstance(results[place], Conflict) for place in wrong - {20, 30})
        assert isinstance(results[20], InvalidInput)
        versions = [int(each[0]) for each in results if isinstance(each, list)]
        assert versions == sorted(set(versions))
        for place, each in enumerate(creations):
            found = await store.get(each.path)
            if place not in wrong:
                assert found and found.data == each.data
                assert [found.version] == results[place]
        seven = await store.get("a/7")
        assert seven and seven.data == {"n": -1}
        assert [await store.get(f"a/{n}") for n in (20, 30)] == [None, None]
        await watched.until(
            {e.path: e.data for p, e in enumerate(creations) if p not in wrong and e.path != "b/1"}
            | {"a/7": {"n": -1}}
        )
        watch.close()
        await store.close()

    asyncio.run(main())


def test_more_creations_than_a_watch_remembers(tmp_path: Path) -> None:
    """The list of changes is kept short, and a watch that missed some of it still ends right."""

    async def main() -> None:
        store = SqliteStore.open(tmp_path / "store.sqlite")
        many = 3 * KEPT_CHANGES
        await asyncio.gather(*(store.commit(Create(f"a/{n}", {"n": n})) for n in range(many)))
        assert await store.count(Query("a")) == many
        await store.close()

    asyncio.run(main())
    with sqlite3.connect(tmp_path / "store.sqlite") as database:
        kept, last = database.execute("SELECT COUNT(*), MAX(version) FROM changes").fetchone()
    database.close()
    assert last == 3 * KEPT_CHANGES
    assert kept <= KEPT_CHANGES + 128 + 64


def test_what_comes_behind_the_end_is_refused(tmp_path: Path) -> None:
    """What was asked before the store closes is done; what comes while it does has an answer."""

    async def main() -> None:
        store = SqliteStore.open(tmp_path / "store.sqlite")
        before = asyncio.create_task(store.commit(Put("a/1", {"n": 1})))
        closing = asyncio.create_task(store.close())
        behind = asyncio.create_task(store.commit(Put("a/2", {"n": 2})))
        async with asyncio.timeout(30):
            await before
            with pytest.raises(VendorUnavailable, match="closed"):
                await behind
            await closing
            with pytest.raises(VendorUnavailable, match="closed"):
                await store.get("a/1")
            await store.close()

    asyncio.run(main())
    with sqlite3.connect(tmp_path / "store.sqlite") as database:
        assert database.execute("SELECT COUNT(*) FROM documents").fetchone() == (1,)
    database.close()
