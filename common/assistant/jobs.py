"""Jobs: slow tool calls that leave the container and come back.

A turn stores a job and enqueues a task for it; the worker function claims the job, runs its tool
and stores the result; the turn, wherever it is, hears of it through the store. Tasks are delivered
at least once, late and in parallel; the job's document makes of that one effect and one result:
whoever moves it from `queued` to `running` by compare-and-set runs the tool.

A turn that has lost patience, or died, leaves the job to a follow-up: the worker then enqueues a
task that opens a new turn with the result.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

from common.assistant.retrying import WHILE, create_once, retrying
from common.documents import Clock, Data
from common.errors import (
    BudgetExceeded,
    Conflict,
    InvalidInput,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    OdaiError,
    RateLimited,
    ReauthRequired,
    VendorRejected,
    VendorUnavailable,
)
from common.log import get_logger
from common.presence import unknown
from common.store import Change, Create, Query, Snapshot, Store, Update, Watch
from common.tasks import Queue, Task, Tasks
from common.tools import Asker, Entry, Outcome, Registry, Source, Tool, ToolResult, ToolRunner
from common.vault import Vault

log = get_logger(__name__)

# A follow-up waits for the chat's turn to end, and a job for its worker's lease: both count their
# own attempts, and a queue that gave up before them would lose what it carries.
_PATIENT = 100
FOLLOW_UPS = Queue("follow-ups", per_second=50.0, max_attempts=_PATIENT, max_backoff_s=5.0)
WORKER_PATH = "/connector_worker"
FOLLOW_UP_PATH = "/follow_ups"
MAX_ATTEMPTS = 5
_KEPT = dt.timedelta(days=1)
_ASK_AGAIN_S = 5.0  # in case the store's listener misses something
_LOOK_AGAIN_S = 0.5  # after the store did not answer
_DEFAULT_RATE = 10.0

Status: TypeAlias = Literal["queued", "running", "done", "failed"]
_FINAL = ("done", "failed")
_BROKEN_OFF = "That broke off in the middle. It may have happened: check before repeating."

_ERRORS: dict[str, Callable[[str], OdaiError]] = {
    kind.code: kind
    for kind in (
        BudgetExceeded, InvalidInput, NotAllowed, NotAuthenticated, NotFound, RateLimited,
        ReauthRequired, VendorRejected, VendorUnavailable,
    )
}  # fmt: skip


class _Call(msgspec.Struct):
    """What the worker runs: sealed in the job."""

    tool: str
    arguments: str
    asker: Asker
    key: str


class _Result(msgspec.Struct):
    """How it went: sealed in the job."""

    provider: str
    duration_ms: int
    result: dict[str, Any] | None = None
    error: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the worker function tells the queue: 2xx ends the task, anything else repeats it."""

    status: int
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A job's result, for the turn that tells it; no outcome where a deploy took the tool away."""

    chat_id: str
    uid: str
    tool: str
    outcome: Outcome | None


def job_of(turn_id: str, call_id: str) -> str:
    """Return the id of the job that a turn's call makes."""
    return hashlib.sha256(f"{turn_id}:{call_id}".encode()).hexdigest()[:32]


def queue_of(entry: Entry) -> Queue:
    """Return the queue of a connector's slow calls; its rate is the vendor's own limit."""
    manifest = entry.connector
    return Queue(
        f"vendor-{entry.slug.replace('_', '-')}",
        per_second=manifest.per_second or _DEFAULT_RATE,
        concurrency=manifest.concurrency,
        max_attempts=_PATIENT,
    )


def queues(registry: Registry) -> list[Queue]:
    """Return every queue that the code enqueues into."""
    slow = [e for e in registry.entries.values() if any(tool.slow for tool in e.tools)]
    return [FOLLOW_UPS, *(queue_of(entry) for entry in slow)]


class Jobs:
    """Both ends of a job: `start`, `outcome` and `leave` for turns, `work` for the worker.

    `instance` names this process: its listener hears of the jobs it waits for. `gone(instance)`
    says of another that it is known to be dead, whatever its lease says.
    """

    def __init__(
        self,
        store: Store,
        vault: Vault,
        tasks: Tasks,
        runner: ToolRunner,
        *,
        clock: Clock,
        instance: str,
        gone: Callable[[str], bool] = unknown,
    ) -> None:
        self._store = store
        self._vault = vault
        self._tasks = tasks
        self._runner = runner
        self._clock = clock
        self._instance = instance
        self._gone = gone
        self._watch: Watch | None = None
        self._watching = asyncio.Lock()
        self._changed: dict[str, asyncio.Event] = {}
        self._working: set[str] = set()  # jobs that a delivery works on here

    # --- the turn's end ---------------------------------------------------------------------

    async def start(
        self, tool: Tool, arguments: str, asker: Asker, *, chat_id: str, turn_id: str, call_id: str
    ) -> str:
        """Store and enqueue a call; return the job's id, the same for the same call."""
        job_id = job_of(turn_id, call_id)
        path = _path(job_id)
        sealer = await self._vault.open(asker.uid)
        call = msgspec.json.encode(_Call(tool.name, arguments, asker, job_id))
        await self._listen()
        now = self._clock()
        job: Data = {
            "status": "queued", "uid": asker.uid, "chat_id": chat_id, "turn_id": turn_id,
            "tool": tool.name, "call": sealer.seal(path, "call", call), "waiter": self._instance,
            "attempts": 0, "follow_up": False, "created_at": now, "expires_at": now + _KEPT,
        }  # fmt: skip
        await create_once(self._store, Create(path, job))
        try:
            await retrying(lambda: self._enqueue(tool, job_id))
        except OdaiError as err:  # nobody will run it: nor may anybody who finds it later
            await self._finish(
                Snapshot(path, job, ""), _Result("", 0, error=err.code, message=str(err))
            )
            raise
        return job_id

    async def outcome(
        self, job_id: str, *, patience: float, on_status: Callable[[Status], None]
    ) -> Outcome | None:
        """Wait for the job at most `patience` seconds; None where it takes longer.

        `on_status` hears each new status but the last.
        """
        told: Status = "queued"
        self._changed[job_id] = asyncio.Event()
        try:
            async with asyncio.timeout(patience):
                while True:
                    try:
                        job = await self._get(job_id)
                    except VendorUnavailable:  # the store, for a moment: the job goes on
                        await self._wait_for_change(job_id, at_most=_LOOK_AGAIN_S)
                        continue
                    if job.data["status"] in _FINAL:
                        return await self._outcome(job)
                    if job.data["status"] != told:
                        told = job.data["status"]
                        on_status(told)
                    await self._wait_for_change(job_id)
        except TimeoutError:
            return None
        finally:
            self._changed.pop(job_id, None)

    async def leave(self, job_id: str) -> Outcome | None:
        """Leave the result to a follow-up turn; return it instead where it is there already."""
        job = await self._left(job_id)
        # Left by an earlier attempt that nobody heard of, it is told by the follow-up alone.
        return await self._outcome(job) if job and not job.data["follow_up"] else None

    async def _left(self, job_id: str) -> Snapshot | None:
        async def work(transaction: Any) -> Snapshot | None:
            job: Snapshot | None = await transaction.get(_path(job_id))
            if job is None or job.data["status"] in _FINAL:
                return job
            transaction.write(Update(job.path, {"follow_up": True, "waiter": ""}))
            return None

        return await retrying(lambda: self._store.transact(work), crowded=True)

    async def leave_all(self, turn_id: str, *, told: Collection[str]) -> None:
        """Leave to follow-ups what a turn that died was waiting for; safe to repeat.

        `told` are the calls whose results the user has seen.
        """
        known = {job_of(turn_id, call_id) for call_id in told}
        for job in await self._store.query(Query("jobs", where=(("turn_id", "==", turn_id),))):
            if job.id in known:
                continue
            tool = self._runner.registry.tools.get(job.data["tool"])
            if await self._left(job.id) is not None:
                await self.enqueue_follow_up(f"job-{job.id}", {"job_id": job.id})
            elif tool is None:  # a deploy took it away: nobody will run it
                gone = f"There is no tool named {job.data['tool']!r} any more."
                await self._finish(job, _Result("", 0, error=NotFound.code, message=gone))
            elif job.data["status"] == "queued":
                # Its process may have died before it could do so.
                await self._enqueue(tool, job.id)

    async def finished(self, job_id: str) -> Finished:
        """Return a finished job's result. NotFound where it is gone, Conflict where it runs."""
        job = await self._get(job_id)
        if job.data["status"] not in _FINAL:
            raise Conflict("That job has not finished yet.")
        tool = job.data["tool"]
        known = tool in self._runner.registry.tools
        outcome = await self._outcome(job) if known else None
        return Finished(job.data["chat_id"], job.data["uid"], tool, outcome)

    async def enqueue_decision(self, approval_id: str, uid: str) -> None:
        """Have a decision acted on, at least once, whatever happens to this process."""
        body = {"approval_id": approval_id, "uid": uid}
        await self.enqueue_follow_up(f"approval-{approval_id}", body)

    async def enqueue_follow_up(self, name: str, body: dict[str, str]) -> None:
        """Have a turn opened, at least once for each `name`; `body` says what for."""
        task = Task(FOLLOW_UPS.name, FOLLOW_UP_PATH, msgspec.json.encode(body), name=name)
        await retrying(lambda: self._tasks.enqueue(task))

    async def close(self) -> None:
        """Stop listening."""
        if self._watch:
            self._watch.close()

    # --- the worker's end -------------------------------------------------------------------

    async def work(self, job_id: str) -> Answer:
        """Run the job's tool if nobody else does or did; return what to tell the queue."""
        job = await self._store.get(_path(job_id))
        if job is None:
            log.warning("task for a job that is gone", extra={"job_id": job_id})
            return Answer(200)
        if job.data["status"] in _FINAL:
            if job.data["follow_up"]:
                await self.enqueue_follow_up(f"job-{job_id}", {"job_id": job_id})
            return Answer(200)
        try:
            call = await self._call(job)
            tool = self._runner.registry.tool(call.tool)
        except (NotFound, NotAllowed) as err:  # the tool or the user is gone
            return await self._finish(job, _Result("", 0, error=err.code, message=str(err)))
        if job_id in self._working:
            return Answer(503, retry_after=1.0)
        self._working.add(job_id)
        try:
            return await self._worked(job, call, tool)
        finally:
            self._working.discard(job_id)

    async def _worked(self, job: Snapshot, call: _Call, tool: Tool) -> Answer:
        claimed = await self._claim(job, tool)
        if isinstance(claimed, Answer):
            return claimed
        outcome = await self._runner.run(call.tool, call.arguments, call.asker, key=call.key)
        error = outcome.error
        # An act that got no answer may have happened all the same: only reads are made again.
        again = isinstance(error, RateLimited) or (
            tool.risk == "read" and error and error.retryable
        )
        if error and again and claimed.data["attempts"] < MAX_ATTEMPTS:
            return await self._again(claimed, error)
        return await self._finish(claimed, _packed(outcome))

    async def _claim(self, job: Snapshot, tool: Tool) -> Snapshot | Answer:
        now, data = self._clock(), job.data
        if data["status"] == "running":
            remaining = (data["lease_until"] - now).total_seconds()
            # One of our own broke off before its result was stored: here, one delivery works.
            ours = data["worker"] == self._instance
            if remaining > 0 and not ours and not self._gone(data["worker"]):
                return Answer(503, retry_after=remaining)
            if tool.risk != "read" or data["attempts"] >= MAX_ATTEMPTS:
                return await self._finish(job, _Result(
                    tool.connector, 0, error=VendorUnavailable.code, message=_BROKEN_OFF
                ))  # fmt: skip
        changes: Data = {
            "status": "running",
            "worker": self._instance,
            "attempts": data["attempts"] + 1,
            "lease_until": now + dt.timedelta(seconds=tool.timeout_s * 3 + 10.0),
        }
        claim = Update(job.path, changes, if_version=job.version)
        try:
            await retrying(lambda: self._store.commit(claim))
        except Conflict:
            # An earlier attempt may have been stored without our hearing of it.
            found = await self._store.get(job.path)
            if found is None or any(found.data[name] != changes[name] for name in changes):
                return Answer(503, retry_after=1.0)
        return Snapshot(job.path, {**data, **changes}, "")

    async def _again(self, job: Snapshot, error: OdaiError) -> Answer:
        async def work(transaction: Any) -> None:
            current: Snapshot | None = await transaction.get(job.path)
            ours = ("status", "worker", "attempts")
            # Who took longer than the lease may have been given up, and told of, meanwhile.
            if current and all(current.data[name] == job.data[name] for name in ours):
                transaction.write(Update(job.path, {"status": "queued"}))

        await retrying(lambda: self._store.transact(work), crowded=True)
        retry_after = error.retry_after if isinstance(error, RateLimited) else None
        return Answer(429 if isinstance(error, RateLimited) else 503, retry_after)

    async def _finish(self, job: Snapshot, result: _Result) -> Answer:
        """Store the result once, and open the follow-up if it has one."""

        async def work(transaction: Any) -> bool:
            current = await transaction.get(job.path)
            if current is None:
                return False
            if current.data["status"] in _FINAL:  # by us, perhaps: telling is safe to repeat
                return bool(current.data["follow_up"])
            sealer = await self._vault.open(job.data["uid"])
            transaction.write(Update(job.path, {
                "status": "failed" if result.error else "done",
                "result": sealer.seal(job.path, "result", msgspec.json.encode(result)),
                "waiter": "",
            }))  # fmt: skip
            return bool(current.data["follow_up"])

        if await retrying(lambda: self._store.transact(work), attempts=WHILE, crowded=True):
            await self.enqueue_follow_up(f"job-{job.id}", {"job_id": job.id})
        return Answer(200)

    async def _enqueue(self, tool: Tool, job_id: str) -> None:
        queue = queue_of(self._runner.registry.entry_of(tool))
        await self._tasks.enqueue(Task(
            queue.name, WORKER_PATH, msgspec.json.encode({"job_id": job_id}),
            name=f"job-{job_id}", deadline_s=max(15.0, tool.timeout_s + 15.0),
        ))  # fmt: skip

    # --- small parts ------------------------------------------------------------------------

    async def _get(self, job_id: str) -> Snapshot:
        job = await self._store.get(_path(job_id))
        if job is None:
            raise NotFound("That job is gone.")
        return job

    async def _call(self, job: Snapshot) -> _Call:
        sealer = await self._vault.open(job.data["uid"])
        blob = sealer.unseal(job.path, "call", job.data["call"])
        return msgspec.json.decode(blob, type=_Call)

    async def _outcome(self, job: Snapshot) -> Outcome:
        sealer = await self._vault.open(job.data["uid"])
        blob = sealer.unseal(job.path, "result", job.data["result"])
        packed = msgspec.json.decode(blob, type=_Result)
        providers = self._runner.registry.providers(job.data["tool"])
        tool = next((t for t in providers if t.connector == packed.provider), providers[0])
        return _unpacked(packed, tool)

    async def _listen(self) -> None:
        async with self._watching:
            if self._watch is None:
                query = Query("jobs", where=(("waiter", "==", self._instance),))
                self._watch = await self._store.watch(query, self._heard)

    def _heard(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if event := self._changed.get(change.path.rpartition("/")[2]):
                event.set()

    async def _wait_for_change(self, job_id: str, *, at_most: float = _ASK_AGAIN_S) -> None:
        changed = self._changed.setdefault(job_id, asyncio.Event())
        try:
            async with asyncio.timeout(at_most):
                await changed.wait()
        except TimeoutError:
            return
        changed.clear()


def _path(job_id: str) -> str:
    return f"jobs/{job_id}"


def _packed(outcome: Outcome) -> _Result:
    packed = _Result(outcome.tool.connector, outcome.duration_ms)
    if outcome.result:
        packed.result = {
            "response_type": outcome.result.response_type,
            "data": outcome.result.data,
            "summary": outcome.result.summary,
            "sources": [[source.title, source.url] for source in outcome.result.sources],
            "untrusted": outcome.result.untrusted,
        }
    elif outcome.error:
        packed.error, packed.message = outcome.error.code, str(outcome.error)
    return packed


def _unpacked(packed: _Result, tool: Tool) -> Outcome:
    if packed.result is None:
        kind = _ERRORS.get(packed.error, VendorUnavailable)
        return Outcome(tool, packed.duration_ms, error=kind(packed.message))
    sources = tuple(Source(title, url) for title, url in packed.result.pop("sources"))
    result = ToolResult(**packed.result, sources=sources)
    return Outcome(tool, packed.duration_ms, result=result)
