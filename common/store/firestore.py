"""The document store on Cloud Firestore, through the official asynchronous client.

Requests are built as the API's own messages and sent through the client's transport: the client's
write helpers cannot put a precondition on a replacing write, and its transactions take neither a
timeout nor a first read that begins them (a round trip saved on every lease).

Every call has a timeout, is tried at most MAX_TRIES times, and every Google error is mapped here.
Watches use the synchronous client, the only one with `on_snapshot`; each has threads of its own.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import random
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

from google.api_core import exceptions as google
from google.auth import exceptions as google_auth
from google.cloud.firestore_v1 import AsyncClient, Client, types
from google.cloud.firestore_v1.base_query import FieldFilter
from google.cloud.firestore_v1.field_path import render_field_path

from common.errors import Conflict, InvalidInput, Misconfigured, OdaiError, VendorUnavailable
from common.store import (
    MAX_DOCUMENT_BYTES,
    SERVER_TIME,
    Change,
    Create,
    Delete,
    Increment,
    Put,
    Query,
    Snapshot,
    Union,
    Update,
    Write,
    semantics,
)

T = TypeVar("T")

CALL_TIMEOUT_S: Final = 10.0  # one try of a read or a commit
QUERY_TIMEOUT_S: Final = 30.0
MAX_TRIES: Final = 3
MAX_ATTEMPTS: Final = 5  # of one transaction
FIRST_SNAPSHOT_TIMEOUT_S: Final = 20.0
WATCH_CHECK_S: Final = 2.0  # how soon a watch whose stream died is opened again

_Call = Callable[[], Awaitable[T]]
_UNAVAILABLE = (  # may have happened or not
    google.ServiceUnavailable,
    google.InternalServerError,
    google.DeadlineExceeded,
    google.GatewayTimeout,
    google.Unknown,
    google.Cancelled,
)
_NOT_DONE = (google.Aborted, google.ResourceExhausted)  # certain not to have happened
_OPERATORS: Final = {
    "==": "EQUAL",
    "!=": "NOT_EQUAL",
    "<": "LESS_THAN",
    "<=": "LESS_THAN_OR_EQUAL",
    ">": "GREATER_THAN",
    ">=": "GREATER_THAN_OR_EQUAL",
    "in": "IN",
    "array_contains": "ARRAY_CONTAINS",
}
_Operator: Any = types.StructuredQuery.FieldFilter.Operator
_Unary: Any = types.StructuredQuery.UnaryFilter.Operator
_Direction: Any = types.StructuredQuery.Direction
_WritePb: Any = types.Write.pb()
_ValuePb: Any = types.Value.pb()
_QueryPb: Any = types.StructuredQuery.pb()
_logger = logging.getLogger(__name__)


def open_firestore(project: str, database: str = "(default)") -> FirestoreStore:
    """Return a store on a project's database, with the credentials of the environment.

    Call it once per process; the event loop that first uses the store is the one it keeps.
    Raises Misconfigured where there are no credentials.
    """
    try:
        client = AsyncClient(project=project, database=database)
    except google_auth.GoogleAuthError as err:
        raise Misconfigured(
            "There are no Google credentials: run `gcloud auth application-default login`, or set "
            "GOOGLE_APPLICATION_CREDENTIALS to a key file."
        ) from err
    return FirestoreStore(client, lambda: Client(project=project, database=database))


class FirestoreStore:
    """The `Store` port over Firestore. `sync_client_factory` is called at the first watch."""

    def __init__(self, client: AsyncClient, sync_client_factory: Callable[[], Client]) -> None:
        self._client = client
        self._sync_client_factory = sync_client_factory
        self._sync_client: Client | None = None
        self._watches: set[_FirestoreWatch] = set()
        self._database: str = client._database_string
        self._root = f"{self._database}/documents"

    async def get(self, path: str) -> Snapshot | None:
        """Return the document, or None."""
        return (await self.get_many([path]))[0]

    async def get_many(self, paths: Sequence[str]) -> list[Snapshot | None]:
        """Return the documents in the order asked, in one round trip."""
        found, _ = await self._read(paths, {})
        return found

    async def query(self, query: Query) -> list[Snapshot]:
        """Return the matching documents in order."""
        found, _ = await self._run_query(query, {})
        return found

    async def count(self, query: Query) -> int:
        """Return how many documents match, without reading them."""
        parent, structured = self._structured(query)
        if query.limit == 0:
            return 0
        aggregation = {"alias": "n", "count": {}}
        request = {
            "parent": parent,
            "structured_aggregation_query": {
                "structured_query": structured,
                "aggregations": [aggregation],
            },
        }

        async def call() -> int:
            answers = await self._api.run_aggregation_query(
                request=request, **self._options(QUERY_TIMEOUT_S)
            )
            async for answer in answers:
                return int(answer._pb.result.aggregate_fields["n"].integer_value)
            return 0

        return await self._try(call, _UNAVAILABLE + _NOT_DONE, query.collection)

    async def commit(self, *writes: Write) -> list[str]:
        """Apply the writes at once or not at all; return each document's new version."""
        messages = self._write_messages(writes)
        # A commit that may have happened is sent again only if twice is as good as once.
        retried = _NOT_DONE + (_UNAVAILABLE if all(map(_is_idempotent, writes)) else ())
        return await self._try(lambda: self._commit(writes, messages, {}), retried)

    async def transact(self, work: Callable[[FirestoreTransaction], Awaitable[T]]) -> T:
        """Run `work` until its writes commit against unchanged reads."""
        retry_of = b""
        for attempt in range(MAX_ATTEMPTS):
            transaction = FirestoreTransaction(self, retry_of)
            try:
                result = await work(transaction)
                await transaction.finish()
            except BaseException as err:
                await transaction.roll_back()
                if not transaction.contended or not isinstance(err, Exception):
                    raise
            else:
                return result
            retry_of = transaction.id or retry_of
            await asyncio.sleep(random.uniform(0, 0.05 * 2**attempt))
        raise Conflict("Others kept changing the same documents. Please try again.")

    async def watch(
        self, query: Query, on_change: Callable[[Sequence[Change]], None]
    ) -> _FirestoreWatch:
        """Call `on_change` on the event loop with the current documents, then with each change."""
        semantics.check_query(query)
        if self._sync_client is None:
            self._sync_client = self._sync_client_factory()
        watch = _FirestoreWatch(_sync_query(self._sync_client, query), on_change, self._watches)
        try:
            await watch.start()
        except google.GoogleAPICallError as err:
            raise mapped(err, query.collection) from err
        return watch

    async def close(self) -> None:
        """Stop the watches and close the channels."""
        watches = list(self._watches)
        for watch in watches:
            watch.close()
        for watch in watches:
            await watch.closed()
        if self._sync_client is not None:
            sync: Any = self._sync_client  # its close has no annotations
            sync.close()
        await self._api.transport.close()

    # --- one call each; FirestoreTransaction makes them too

    @property
    def _api(self) -> Any:
        return self._client._firestore_api

    def _options(self, timeout: float) -> dict[str, Any]:
        return {"timeout": timeout, "retry": None, "metadata": self._client._rpc_metadata}

    async def _read(
        self, paths: Sequence[str], within: dict[str, Any]
    ) -> tuple[list[Snapshot | None], bytes]:
        """Read documents; return them and the id of the transaction `within` began, if it did."""
        for path in paths:
            semantics.split_document_path(path)
        if not paths:
            return [], b""
        names = [f"{self._root}/{path}" for path in paths]
        request = {"database": self._database, "documents": list(dict.fromkeys(names)), **within}

        async def call() -> tuple[list[Snapshot | None], bytes]:
            found: dict[str, Snapshot] = {}
            begun = b""
            answers = await self._api.batch_get_documents(
                request=request, **self._options(CALL_TIMEOUT_S)
            )
            async for answer in answers:
                begun = answer._pb.transaction or begun
                if answer._pb.HasField("found"):
                    found[answer._pb.found.name] = self._snapshot(answer._pb.found)
            return [found.get(name) for name in names], begun

        return await self._try(call, _UNAVAILABLE + (() if within else _NOT_DONE))

    async def _run_query(
        self, query: Query, within: dict[str, Any]
    ) -> tuple[list[Snapshot], bytes]:
        parent, structured = self._structured(query)
        if query.limit == 0:
            return [], b""
        request = {"parent": parent, "structured_query": structured, **within}

        async def call() -> tuple[list[Snapshot], bytes]:
            found: list[Snapshot] = []
            begun = b""
            answers = await self._api.run_query(request=request, **self._options(QUERY_TIMEOUT_S))
            async for answer in answers:
                begun = answer._pb.transaction or begun
                if answer._pb.HasField("document"):
                    found.append(self._snapshot(answer._pb.document))
            return found, begun

        retried = _UNAVAILABLE + (() if within else _NOT_DONE)
        return await self._try(call, retried, query.collection)

    async def _commit(
        self, writes: Sequence[Write], messages: Sequence[Any], within: dict[str, Any]
    ) -> list[str]:
        answer = await self._api.commit(
            request={"database": self._database, "writes": messages, **within},
            **self._options(CALL_TIMEOUT_S),
        )
        return [
            "" if isinstance(write, Delete) else _version(result.update_time)
            for write, result in zip(writes, answer._pb.write_results, strict=True)
        ]

    async def _try(
        self,
        call: _Call[T],
        retried: tuple[type[Exception], ...],
        collection: str = "",
    ) -> T:
        for left in reversed(range(MAX_TRIES)):
            try:
                return await call()
            except (google.GoogleAPIError, google_auth.GoogleAuthError) as err:
                if not left or not isinstance(err, retried):
                    raise mapped(err, collection) from err
            await asyncio.sleep(random.uniform(0.05, 0.2) * 4 ** (MAX_TRIES - 1 - left))
        raise AssertionError("unreachable: the last try returns or raises")

    # --- messages

    def _snapshot(self, document: Any) -> Snapshot:
        return Snapshot(
            document.name[len(self._root) + 1 :],
            {name: _decoded(value) for name, value in document.fields.items()},
            _version(document.update_time),
        )

    def _write_messages(self, writes: Sequence[Write]) -> list[Any]:
        semantics.check_count(writes)
        return [types.Write.wrap(self._write_message(write)) for write in writes]

    def _write_message(self, write: Write) -> Any:
        semantics.split_document_path(write.path)
        message = _WritePb()
        name = f"{self._root}/{write.path}"
        if isinstance(write, Create | Update):
            message.current_document.exists = isinstance(write, Update)
        if (version := getattr(write, "if_version", None)) is not None:
            _set_time(message.current_document.update_time, version)
        if isinstance(write, Delete):
            message.delete = name
            return message
        parts = semantics.take_apart(write)
        message.update.name = name
        for path, value in parts.values.items():
            _encode(_field(message.update.fields, path), value)
        if not isinstance(write, Create | Put):
            mask = [render_field_path(path) for path in (*parts.values, *parts.removed)]
            message.update_mask.SetInParent()  # present though empty: nothing is replaced
            message.update_mask.field_paths.extend(mask)
        elif message.update.ByteSize() * 8 > MAX_DOCUMENT_BYTES:
            semantics.check_size(write.path, {path[0]: v for path, v in parts.values.items()})
        for path, transform in parts.transforms:
            _add_transform(message.update_transforms.add(), path, transform)
        return message

    def _structured(self, query: Query) -> tuple[str, Any]:
        """Return the parent and the message of a query."""
        semantics.check_query(query)
        parent, _, name = query.collection.rpartition("/")
        message = _QueryPb()
        source = message.from_.add()
        source.collection_id = name
        source.all_descendants = query.all_groups
        _add_filters(message, query)
        orders = semantics.ordering(query)
        for path, descending in orders:
            order = message.order_by.add()
            order.field.field_path = "__name__" if path is None else render_field_path(path)
            order.direction = _Direction.DESCENDING if descending else _Direction.ASCENDING
        for (path, _), value in zip(orders, semantics.cursor(query, orders), strict=False):
            mark = message.start_at.values.add()
            if path is None:
                mark.reference_value = f"{self._root}/{value}"
            else:
                _encode(mark, value)
        if query.limit is not None:
            message.limit.value = query.limit
        return f"{self._root}/{parent}" if parent else self._root, types.StructuredQuery.wrap(
            message
        )


class FirestoreTransaction:
    """One attempt: its first read begins it, `finish` commits what was written."""

    def __init__(self, store: FirestoreStore, retry_of: bytes) -> None:
        self._store = store
        self._retry_of = retry_of
        self._writes: list[Write] = []
        self._beginning = asyncio.Lock()
        self.id = b""
        self.contended = False  # what failed, failed because of others: try the whole again

    async def get(self, path: str) -> Snapshot | None:
        """Return the document, or None."""
        found = await self._read(lambda within: self._store._read([path], within))
        return found[0]

    async def query(self, query: Query) -> list[Snapshot]:
        """Return the matching documents in order."""
        return await self._read(lambda within: self._store._run_query(query, within))

    def write(self, *writes: Write) -> None:
        """Add writes to the commit."""
        self._store._write_messages(writes)  # refuses here what the commit would refuse
        self._writes += writes

    async def finish(self) -> None:
        """Commit; a transaction that only read is committed as well, which proves its reads."""
        if not self._writes and not self.id:
            return
        messages = self._store._write_messages(self._writes)
        within = {"transaction": self.id} if self.id else {}
        with self._noting_contention():
            await self._store._try(lambda: self._store._commit(self._writes, messages, within), ())
        self.id = b""

    async def roll_back(self) -> None:
        """Release what the attempt locked; failing that, the server does after a while."""
        if not self.id:
            return
        with suppress(google.GoogleAPIError, google_auth.GoogleAuthError):
            await self._store._api.rollback(
                request={"database": self._store._database, "transaction": self.id},
                **self._store._options(CALL_TIMEOUT_S),
            )

    async def _read(self, read: Callable[[dict[str, Any]], Awaitable[tuple[T, bytes]]]) -> T:
        if self._writes:
            raise TypeError("a transaction reads before it writes")
        async with self._beginning:  # two reads at once must not begin two transactions
            if not self.id:
                options = {"read_write": {"retry_transaction": self._retry_of}}
                with self._noting_contention():
                    found, self.id = await read({"new_transaction": options})
                return found
        with self._noting_contention():
            found, _ = await read({"transaction": self.id})
        return found

    def _noting_contention(self) -> _NotingContention:
        return _NotingContention(self)


class _NotingContention:
    def __init__(self, transaction: FirestoreTransaction) -> None:
        self._transaction = transaction

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, err: BaseException | None, trace: object) -> None:
        if err is not None and isinstance(err.__cause__, google.Aborted):
            self._transaction.contended = True


class _FirestoreWatch:
    """A subscription that opens the client's stream again whenever that ends for good."""

    def __init__(
        self,
        query: Any,
        on_change: Callable[[Sequence[Change]], None],
        running: set[_FirestoreWatch],
    ) -> None:
        self._query = query
        self._on_change = on_change
        self._running = running
        self._loop = asyncio.get_running_loop()
        self._known: dict[str, str] = {}
        self._first: asyncio.Future[None] = self._loop.create_future()
        self._stream: Any = None
        self._generation = 0
        self._done = False
        self._keeper: asyncio.Task[None] | None = None
        self._closer: threading.Thread | None = None

    async def start(self) -> None:
        """Open the stream and wait for what it has first. Raises VendorUnavailable."""
        self._running.add(self)
        try:
            await self._open()
            async with asyncio.timeout(FIRST_SNAPSHOT_TIMEOUT_S):
                await self._first_or_death()
        except TimeoutError as err:
            self.close()
            raise VendorUnavailable("Firestore does not answer. Please try again.") from err
        except BaseException:
            self.close()
            raise
        self._keeper = asyncio.create_task(self._keep())

    def close(self) -> None:
        """Stop; no callback starts afterwards."""
        if self._done:
            return
        self._done = True
        self._running.discard(self)
        if self._keeper is not None:
            self._keeper.cancel()
        if self._stream is not None:  # joins a thread of the library's for up to a second
            self._closer = threading.Thread(target=self._stream.close, daemon=True)
            self._closer.start()

    async def closed(self) -> None:
        """Wait until the library's threads have ended."""
        if self._closer is not None:
            await asyncio.to_thread(self._closer.join)

    async def _open(self) -> None:
        self._generation += 1
        generation = self._generation
        whole = True  # a new stream tells everything again

        def on_snapshot(documents: Sequence[Any], changes: Sequence[Any], _: Any) -> None:
            nonlocal whole
            touched = documents if whole else [c.document for c in changes]
            gone = (
                set() if whole else {_path(c.document) for c in changes if c.type.name == "REMOVED"}
            )
            current = [_watched(d) for d in touched if _path(d) not in gone]
            arguments = (generation, whole, current, gone)
            whole = False
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                self._loop.call_soon_threadsafe(self._receive, *arguments)

        self._stream = await asyncio.to_thread(self._query.on_snapshot, on_snapshot)

    async def _first_or_death(self) -> None:
        while not self._first.done():
            if not self._stream.is_active:
                raise VendorUnavailable("Firestore ended the subscription. Please try again.")
            await asyncio.wait([self._first], timeout=0.25)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(WATCH_CHECK_S)
            if self._stream.is_active:
                continue
            try:
                await self._open()
            except google.GoogleAPICallError as err:
                _logger.warning("a watch could not be opened again: %s", type(err).__name__)

    def _receive(
        self, generation: int, whole: bool, current: Iterable[Snapshot], gone: Iterable[str]
    ) -> None:
        if self._done or generation != self._generation:
            return
        current = list(current)
        if whole:
            gone = self._known.keys() - {snapshot.path for snapshot in current}
        changes = [Change(path, None, None) for path in gone if self._known.pop(path, None)]
        for snapshot in current:
            if self._known.get(snapshot.path) != snapshot.version:
                self._known[snapshot.path] = snapshot.version
                changes.append(Change(snapshot.path, snapshot.data, snapshot.version))
        first = not self._first.done()
        if first:
            self._first.set_result(None)
        if changes or first:
            self._on_change(changes)


def mapped(err: Exception, collection: str = "") -> OdaiError:
    """Return our error for one of Google's; `collection` is what a query read, if it was one."""
    said = str(err).lower()
    if isinstance(err, google.AlreadyExists):
        return Conflict("That exists already.")
    if isinstance(err, google.Aborted):
        return Conflict("Others kept changing the same documents. Please try again.")
    if isinstance(err, google.MethodNotImplemented) or "datastore mode" in said:
        return Misconfigured("The Firestore database is not in native mode.")
    if isinstance(err, google.FailedPrecondition):
        if collection:
            return Misconfigured(
                f"Firestore has no index for a query on {collection}: add it to "
                "terraform/firestore.indexes.json and apply."
            )
        return Conflict("Somebody else changed that first. Read it again, then decide.")
    if isinstance(err, google.NotFound):
        if "database" in said and "does not exist" in said:
            return Misconfigured("The project has no such Firestore database: apply Terraform.")
        return Conflict("That does not exist any more.")
    if isinstance(err, google.Forbidden | google.Unauthorized):
        return Misconfigured(
            "Firestore refuses these credentials: give the service account roles/datastore.user."
        )
    if isinstance(err, google.InvalidArgument | google.OutOfRange):
        return InvalidInput("Firestore refuses the request: a document or a query is over a limit.")
    if isinstance(err, google_auth.DefaultCredentialsError):
        return Misconfigured("There are no Google credentials for Firestore.")
    return VendorUnavailable("Firestore does not answer. Please try again.")


def _is_idempotent(write: Write) -> bool:
    if isinstance(write, Create) or getattr(write, "if_version", None) is not None:
        return False
    if isinstance(write, Delete):
        return True
    return not any(isinstance(t, Increment) for _, t in semantics.take_apart(write).transforms)


def _version(time: Any) -> str:
    return f"{time.seconds}.{time.nanos:09d}"


def _set_time(time: Any, version: str) -> None:
    seconds, _, nanos = version.partition(".")
    try:
        time.seconds, time.nanos = int(seconds), int(nanos)
    except ValueError as err:
        raise Conflict("Somebody else changed that first. Read it again, then decide.") from err


def _field(fields: Any, path: Sequence[str]) -> Any:
    for name in path[:-1]:
        fields = fields[name].map_value.fields
    return fields[path[-1]]


def _encode(message: Any, value: Any) -> None:
    if value is None:
        message.null_value = 0
    elif isinstance(value, bool):
        message.boolean_value = value
    elif isinstance(value, int):
        message.integer_value = value
    elif isinstance(value, float):
        message.double_value = value
    elif isinstance(value, str):
        message.string_value = value
    elif isinstance(value, bytes):
        message.bytes_value = value
    elif isinstance(value, dt.datetime):
        message.timestamp_value.FromDatetime(value)
    elif isinstance(value, dict):
        message.map_value.SetInParent()
        for name, inner in value.items():
            _encode(message.map_value.fields[name], inner)
    else:
        message.array_value.SetInParent()
        for inner in value:
            _encode(message.array_value.values.add(), inner)


def _decoded(message: Any) -> Any:
    kind = message.WhichOneof("value_type")
    if kind == "null_value":
        return None
    value = getattr(message, kind)
    if kind == "timestamp_value":
        return value.ToDatetime(tzinfo=dt.UTC)
    if kind == "map_value":
        return {name: _decoded(inner) for name, inner in value.fields.items()}
    if kind == "array_value":
        return [_decoded(inner) for inner in value.values]
    return value


def _add_transform(message: Any, path: Sequence[str], transform: Any) -> None:
    message.field_path = render_field_path(path)
    if transform is SERVER_TIME:
        message.set_to_server_value = 1  # REQUEST_TIME
        return
    if isinstance(transform, Increment):
        _encode(message.increment, transform.amount)
        return
    values = (
        message.append_missing_elements
        if isinstance(transform, Union)
        else message.remove_all_from_array
    )
    values.SetInParent()
    for value in transform.values:
        _encode(values.values.add(), value)


def _add_filters(message: Any, query: Query) -> None:
    if not query.where:
        return
    message.where.composite_filter.op = 1  # AND
    for name, operator, value in query.where:
        condition = message.where.composite_filter.filters.add()
        path = render_field_path(name.split("."))
        if value is None or value != value:
            condition.unary_filter.field.field_path = path
            unary = f"IS_{'NOT_' if operator == '!=' else ''}{'NULL' if value is None else 'NAN'}"
            condition.unary_filter.op = _Unary[unary]
            continue
        condition.field_filter.field.field_path = path
        condition.field_filter.op = _Operator[_OPERATORS[operator]]
        checked = (
            [semantics.plain(v) for v in value] if operator == "in" else semantics.plain(value)
        )
        _encode(condition.field_filter.value, checked)


def _sync_query(client: Client, query: Query) -> Any:
    """Return the query for the synchronous client: its conditions, without order and limit."""
    result: Any = (
        client.collection_group(query.collection)
        if query.all_groups
        else client.collection(query.collection)
    )
    for name, operator, value in query.where:
        path = render_field_path(name.split("."))
        result = result.where(filter=FieldFilter(path, operator, value))
    return result


def _path(document: Any) -> str:
    return str(document.reference.path)


def _watched(document: Any) -> Snapshot:
    data = {name: _without_nanoseconds(v) for name, v in document.to_dict().items()}
    return Snapshot(_path(document), data, _version(document.update_time.timestamp_pb()))


def _without_nanoseconds(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return semantics.plain(value)
    if isinstance(value, dict):
        return {name: _without_nanoseconds(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_nanoseconds(inner) for inner in value]
    return value
