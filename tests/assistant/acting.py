"""Services whose tools act, whole with their queue and worker; and a way for them to die."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common import documents
from common.bootstrap import Services
from common.store import Update, Write
from run.local.suite import create_suite
from tests.assistant.conversation import Event, numbers, of, text_of
from tests.fakes import acts
from tests.fakes.acts import Effects
from tests.fakes.openai_responses import Calls, FakeOpenAI

Make = Callable[..., Services]
TO_ACTS = Calls([("transfer_to_acts", {})])


def acting(make: Make, model: FakeOpenAI, folder: Path, *, deliver: bool = True) -> Services:
    """Return services with the connector `acts`, delivering tasks to themselves if asked to."""
    made = make(
        OPENAI_BASE_URL=model.base_url,
        OPENAI_API_KEY="key-of-a-test",
        ODAI_TEST_EFFECTS=str(effects(folder).path),
    )
    acts.install(made)
    made.__dict__["store"] = Mortal(made.store)
    if deliver:
        create_suite(made)
    return made


def effects(folder: Path) -> Effects:
    """Return what the tools of `acting(..., folder)` did."""
    return Effects(folder / "effects")


def approval_of(events: Sequence[Event]) -> Event:
    """Return the one action that waits for the user."""
    (required,) = of(events, "approval_required")
    return required


def check_whole(events: Sequence[Event]) -> None:
    """Fail unless these are a whole turn: contiguous from 1, each call before its output, one end.

    `conversation.check_turn` for turns whose calls have jobs and approvals of the same call id.
    """
    events = [event for event in events if event["turn_id"]]
    assert len({event["turn_id"] for event in events}) == 1
    assert numbers(events) == list(range(1, events[-1]["seq"] + 1))
    kinds = [event["type"] for event in events]
    assert kinds[0] == "turn_started"
    assert kinds.count("end_of_stream") == 1
    assert set(kinds[kinds.index("end_of_stream") + 1 :]) <= {"suggested_prompts", "title"}
    paired = [e for e in events if e["type"] in ("tool_call", "tool_output")]
    for call in {event["call_id"] for event in paired}:
        kinds = [event["type"] for event in paired if event["call_id"] == call]
        assert kinds == ["tool_call", "tool_output"]
    assert "".join(e["response"] for e in of(events, "llm_response")) == text_of(events)


class Mortal:
    """A store that may die with its process: from then on nothing is read, written or answered."""

    def __init__(self, store: Any) -> None:
        self.dead = False
        self.before: Callable[[Write], bool] = lambda _: False
        self.after: Callable[[Write], bool] = lambda _: False
        self._store = store
        self._cancelled = False

    async def commit(self, *writes: Write) -> Any:
        """Commit, or die before or after it."""
        self.dead |= any(map(self.before, writes))
        result = await self._alive(self._store.commit, *writes)
        await self._die_after(writes)
        return result

    async def transact(self, work: Any) -> Any:
        """Run the transaction, or die before or after its commit."""
        written: list[Write] = []

        async def watched(transaction: Any) -> Any:
            result = await work(transaction)
            written[:] = [write for write, _ in transaction.planned]
            if any(map(self.before, written)):
                self.dead = True
                await self._nothing()
            return result

        result = await self._alive(self._store.transact, watched)
        await self._die_after(written)
        return result

    async def _die_after(self, writes: Sequence[Write]) -> None:
        if any(map(self.after, writes)):
            self.dead = True
            await self._nothing()

    async def _alive(self, call: Any, *args: Any) -> Any:
        if self.dead:
            await self._nothing()
        result = await call(*args)
        if self.dead:
            await self._nothing()
        return result

    async def _nothing(self) -> None:
        if self._cancelled:
            raise asyncio.CancelledError
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._cancelled = True

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in ("get", "get_many", "query", "count"):
            return found

        async def call(*args: Any) -> Any:
            return await self._alive(found, *args)

        return call


def bury(services: Services) -> None:
    """Let the machine notice that the process of `services` has died, as after a kill -9."""
    services.store.dead = True  # type: ignore[attr-defined]

    async def release() -> None:
        if services.presence:
            await services.presence.close()
        await services.tasks.close()

        # Nothing of it goes on, whatever it had still to do.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.wait(others, timeout=0.05)

    services.loop.run(release())
    services.__dict__.pop("presence", None)


def lapse(services: Services, turn_id: str) -> None:
    """Let the lease of a turn of chat c1 run out, as where its process answers no more."""
    past = documents.now() - dt.timedelta(seconds=1)
    write = Update(f"{documents.turns('c1')}/{turn_id}", {"lease_until": past})
    services.loop.run(services.store.commit(write))


def dies(path: str, **fields: Any) -> Callable[[Write], bool]:
    """Return a predicate for a write under `path` that sets these fields."""

    def matches(write: Write) -> bool:
        data = getattr(write, "changes", None) or getattr(write, "data", {})
        return write.path.startswith(path) and all(data.get(k) == v for k, v in fields.items())

    return matches
