"""Kill the server again and again while slow searches run: none is lost, none is told twice.

`ODAI_TEST_KILLS` sets how often (50 and more for the long form).
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from common.store import Query, Snapshot
from common.store.sqlite import SqliteStore
from tests.fakes.openai_responses import Answer, Calls, FakeOpenAI, Text
from tests.fakes.suite import Suite
from tests.run.clients import Client

KILLS = int(os.environ.get("ODAI_TEST_KILLS", "5"))
USERS = 6
WANTED = "search slowly for "


def model(body: dict[str, Any]) -> Answer:
    """Search when asked to, and tell what is found."""
    last = body["input"][-1]
    text = str(last.get("output") or last.get("content"))
    if last.get("role") == "user" and text.startswith(WANTED):
        return Calls([("search_slowly", {"topic": text.removeprefix(WANTED), "seconds": 0.15})])
    return Text("Here it is." if "Found" in text else "Later.")


class User:
    """Somebody who asks for one search after the other in one chat."""

    def __init__(self, name: str, client: Client) -> None:
        self.name, self.client = name, client
        self.asked = 0

    async def ask(self) -> None:
        """Ask for another search; return when it has begun."""
        self.asked += 1
        wanted = f"{self.name}-{self.asked}"

        def begun() -> bool:
            return any(e["prompt_id"] == wanted for e in self.client.of("turn_started"))

        await self.client.insist(begun, type="prompt", id=wanted, text=f"{WANTED}{wanted}")

    async def searching(self) -> None:
        """Return once the search asked for last has a job."""
        wanted = f"{self.name}-{self.asked}"

        def has_job() -> bool:
            began = self.client.of("turn_started")
            turns = {event["turn_id"] for event in began if event["prompt_id"] == wanted}
            return any(event["turn_id"] in turns for event in self.client.of("job"))

        await self.client.until(has_job)

    def results(self, job: Snapshot) -> int:
        """Return how often this user was told the job's result to the end."""
        events = self.client.events
        calls = {e["call_id"] for e in events if e["type"] == "job" and e["job_id"] == job.id}
        inside = [
            e for e in self.client.of("tool_output")
            if e["call_id"] in calls and e["output"]["response_type"] != "job_pending"
        ]  # fmt: skip
        ended = {e["turn_id"]: e["status"] for e in self.client.of("end_of_stream")}
        later = [
            e for e in self.client.of("turn_started")
            if e["prompt_id"].startswith(f"job:{job.id}") and ended.get(e["turn_id"]) == "done"
        ]  # fmt: skip
        return len(inside) + len(later)


@pytest.mark.timeout(120 + 10 * KILLS)
def test_no_job_is_lost_or_told_twice(tmp_path: Path) -> None:
    """Every search that was started ends, done or failed, and its user is told exactly once."""
    with FakeOpenAI(default=model) as fake:
        environ = {"OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEY": "k"}
        with Suite(tmp_path, ODAI_TEST_PATIENCE="0.1", **environ) as suite:
            asyncio.run(survive(suite))


async def survive(suite: Suite) -> None:
    """Ask, kill, restart; then look at what became of it all."""
    chance = random.Random(KILLS)
    async with aiohttp.ClientSession() as http:
        users = []
        for number in range(USERS):
            name = f"user{number}"
            token = await suite.sign_in(http, name)
            users.append(User(name, Client(suite, http, f"chat-{name}", token)))
            users[-1].client.open()
        for number in range(KILLS):
            await asyncio.gather(*(user.ask() for user in users))
            if number % 2 == 0:  # a slow machine would be killed before any search
                await asyncio.gather(*(user.searching() for user in users))
            # Somewhere between the call, the queue, the worker, the result and its telling.
            await asyncio.sleep(chance.uniform(0.0, 0.5))
            suite.kill()
            suite.start()
        store = SqliteStore.open(suite.folder / "data" / "store.sqlite")
        jobs = await settled(store, users)
        await store.close()
        assert len(jobs) >= KILLS * USERS / 2
        assert {job.data["status"] for job in jobs} <= {"done", "failed"}
        assert [told_of(users, job) for job in jobs] == [1] * len(jobs)
        for user in users:
            assert user.client.problems == []
            await user.client.close()


def told_of(users: list[User], job: Snapshot) -> int:
    """Return how often the job's user was told its result."""
    (user,) = (user for user in users if job.data["chat_id"] == f"chat-{user.name}")
    return user.results(job)


async def settled(store: SqliteStore, users: list[User]) -> list[Snapshot]:
    """Wait until every job has ended and been told; return them."""
    async with asyncio.timeout(100.0):
        while True:
            jobs = await store.query(Query("jobs"))
            left = [
                job for job in jobs
                if job.data["status"] not in ("done", "failed") or not told_of(users, job)
            ]  # fmt: skip
            if not left:
                return jobs
            await asyncio.sleep(0.1)
