"""What only the Firestore store has: Google's errors, its retries, its nanoseconds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from google.api_core import exceptions as google
from google.auth import exceptions as google_auth

from common.errors import Conflict, InvalidInput, Misconfigured, OdaiError, VendorUnavailable
from common.store import Change, Create, Delete, Increment, Merge, Put, Query, Store, Transaction
from common.store import firestore as adapter


def subclasses(kind: type[Exception]) -> set[type[Exception]]:
    return {kind}.union(*(subclasses(inner) for inner in kind.__subclasses__()))


@pytest.mark.parametrize("kind", sorted(subclasses(google.GoogleAPICallError), key=str))
@pytest.mark.parametrize("collection", ["", "jobs"])
def test_every_google_error_is_one_of_ours(kind: type[Exception], collection: str) -> None:
    """Whatever Google answers, the caller learns what to do, and no request is quoted."""
    ours = adapter.mapped(kind("secret value"), collection)
    assert isinstance(ours, OdaiError)
    assert "secret" not in str(ours)


@pytest.mark.parametrize(
    ("theirs", "collection", "ours"),
    [
        (google.AlreadyExists("x"), "", Conflict),
        (google.NotFound("no entity to update"), "", Conflict),
        (google.NotFound("The database (default) does not exist"), "", Misconfigured),
        (google.FailedPrecondition("version mismatch"), "", Conflict),
        (google.FailedPrecondition("The query requires an index"), "jobs", Misconfigured),
        (google.FailedPrecondition("is in Datastore Mode"), "", Misconfigured),
        (google.Aborted("x"), "", Conflict),
        (google.InvalidArgument("x"), "", InvalidInput),
        (google.PermissionDenied("x"), "", Misconfigured),
        (google.Unauthenticated("x"), "", Misconfigured),
        (google.DeadlineExceeded("x"), "", VendorUnavailable),
        (google.ServiceUnavailable("x"), "", VendorUnavailable),
        (google.ResourceExhausted("x"), "", VendorUnavailable),
        (google.InternalServerError("x"), "", VendorUnavailable),
        (google.Unknown("x"), "", VendorUnavailable),
        (google.Cancelled("x"), "", VendorUnavailable),
        (google_auth.DefaultCredentialsError("x"), "", Misconfigured),
        (google_auth.TransportError("x"), "", VendorUnavailable),
    ],
)
def test_errors_tell_what_to_do(theirs: Exception, collection: str, ours: type[Exception]) -> None:
    """A lost race, a wrong setting and an outage are told apart."""
    assert type(adapter.mapped(theirs, collection)) is ours


def test_a_missing_index_names_the_collection() -> None:
    """An operator learns which collection's index to declare, and where."""
    said = str(adapter.mapped(google.FailedPrecondition("no index"), "chats/c/items"))
    assert "chats/c/items" in said
    assert "firestore.indexes.json" in said


class FailingStore(adapter.FirestoreStore):
    """A store whose commits fail as scripted before one succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.tries = 0
        self._database = "projects/p/databases/d"
        self._root = f"{self._database}/documents"

    async def _commit(self, writes: Sequence[Any], messages: Any, within: Any) -> list[str]:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        return ["1.000000001" for _ in writes]


def test_a_commit_is_tried_again_where_twice_is_as_good_as_once() -> None:
    """A short outage costs nothing, and a lasting one ends after a bounded number of tries."""
    outage = [google.ServiceUnavailable("x") for _ in range(adapter.MAX_TRIES)]

    async def body() -> None:
        store = FailingStore(*outage[:2])
        assert await store.commit(Put("jobs/a", {})) == ["1.000000001"]
        assert store.tries == 3
        store = FailingStore(*outage)
        with pytest.raises(VendorUnavailable):
            await store.commit(Put("jobs/a", {}))
        assert store.tries == adapter.MAX_TRIES

    asyncio.run(body())


@pytest.mark.parametrize(
    "write",
    [
        Create("jobs/a", {}),
        Merge("jobs/a", {"n": Increment(1)}),
        Put("jobs/a", {}, if_version="1.000000001"),
    ],
)
def test_a_commit_that_may_have_happened_is_not_repeated(write: Any) -> None:
    """An outage never counts twice; contention, which wrote nothing, is tried again."""

    async def body() -> None:
        store = FailingStore(google.ServiceUnavailable("x"))
        with pytest.raises(VendorUnavailable):
            await store.commit(write)
        assert store.tries == 1
        store = FailingStore(google.Aborted("x"))
        await store.commit(write)
        assert store.tries == 2

    asyncio.run(body())


def test_versions_keep_nanoseconds() -> None:
    """A version goes to Firestore and back without losing its last digit."""
    message = adapter._WritePb()
    for version in ("1769000000.000000001", "1769000000.999999999", "0.000000000"):
        adapter._set_time(message.current_document.update_time, version)
        assert adapter._version(message.current_document.update_time) == version


@pytest.fixture
def store_of(firestore_host: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_host)
    return adapter.open_firestore


def test_a_watch_whose_stream_died_opens_it_again(
    store_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A viewer misses nothing of what happened while the stream was down, removals included."""
    monkeypatch.setattr(adapter, "WATCH_CHECK_S", 0.05)

    async def body() -> None:
        store: Store = store_of("test-reopened")
        state: dict[str, Any] = {}
        told = asyncio.Event()

        def on_change(changes: Sequence[Change]) -> None:
            for change in changes:
                state.pop(change.path, None)
                if change.data is not None:
                    state[change.path] = change.data
            told.set()

        async def until(expected: dict[str, Any]) -> None:
            async with asyncio.timeout(50):
                while state != expected:
                    told.clear()
                    await told.wait()

        try:
            await store.commit(Put("jobs/a", {"n": 1}), Put("jobs/b", {"n": 1}))
            watch: Any = await store.watch(Query("jobs"), on_change)
            await until({"jobs/a": {"n": 1}, "jobs/b": {"n": 1}})
            await asyncio.to_thread(watch._stream.close)
            await store.commit(Put("jobs/c", {"n": 1}), Delete("jobs/a"))
            await until({"jobs/b": {"n": 1}, "jobs/c": {"n": 1}})
        finally:
            await store.close()

    asyncio.run(body())


def test_a_lost_race_is_run_again(store_of: Any) -> None:
    """A transaction whose commit Firestore aborts runs again, a bounded number of times."""

    async def body() -> None:
        store = store_of("test-aborted")
        commit, failures, runs = store._commit, [2], [0]

        async def aborted(*arguments: Any) -> Any:
            if failures[0]:
                failures[0] -= 1
                raise google.Aborted("contention")
            return await commit(*arguments)

        async def work(transaction: Transaction) -> None:
            runs[0] += 1
            await transaction.get("jobs/a")
            transaction.write(Put("jobs/a", {"n": runs[0]}))

        store._commit = aborted
        try:
            await store.transact(work)
            assert runs == [3]
            assert (await store.get("jobs/a")).data == {"n": 3}
            failures[0] = 99
            with pytest.raises(Conflict):
                await store.transact(work)
            assert runs == [3 + adapter.MAX_ATTEMPTS]
        finally:
            await store.close()

    asyncio.run(body())
