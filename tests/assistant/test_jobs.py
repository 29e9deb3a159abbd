"""Jobs: slow calls leave the turn and come back once, whatever is delivered how often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common import documents
from common.assistant import turn
from common.assistant.jobs import MAX_ATTEMPTS, Answer
from common.bootstrap import Services
from common.errors import Conflict, NotFound, OdaiError, VendorUnavailable
from common.store import Merge, Snapshot, Update
from common.tools import Asker
from tests.assistant.acting import Make, acting, bury, check_whole, dies, effects
from tests.assistant.conversation import Conversation, Event, of, text_of
from tests.fakes.openai_responses import Calls, FakeOpenAI, Gate, Reply, Text

Start = Callable[..., str]


@pytest.fixture
def silent() -> Iterator[FakeOpenAI]:
    """A model that nobody asks."""
    with FakeOpenAI() as model:
        yield model


@pytest.fixture
def worker(services: Make, silent: FakeOpenAI, tmp_path: Path) -> Services:
    """Services that deliver nothing by themselves: the test is the queue."""
    return acting(services, silent, tmp_path, deliver=False)


def started(
    services: Services, tool: str, arguments: str, *, call_id: str = "call", uid: str = "u1"
) -> str:
    """Start a job; return its id."""
    return services.loop.run(services.jobs.start(
        services.registry.tool(tool), arguments, Asker(uid),
        chat_id="c1", turn_id="t1", call_id=call_id,
    ))  # fmt: skip


def work(services: Services, job_id: str) -> Answer:
    """Deliver the job's task."""
    return services.loop.run(services.jobs.work(job_id))


def stored(services: Services, job_id: str) -> dict[str, Any]:
    """Return the job's document."""
    found: Snapshot | None = services.loop.run(services.store.get(f"jobs/{job_id}"))
    assert found is not None
    return found.data


def result(services: Services, job_id: str) -> str:
    """Return what the job's turn reads."""
    finished = services.loop.run(services.jobs.finished(job_id))
    assert finished.outcome is not None
    return finished.outcome.summary


def queued(services: Services, queue: str) -> int:
    """Return how many tasks wait in a queue."""
    import sqlite3

    path = services.settings.data_dir / "tasks.sqlite"
    with sqlite3.connect(path) as file:
        found = file.execute(
            "SELECT count(*) FROM tasks WHERE queue=? AND state='pending'", (queue,)
        )
        count: int = found.fetchone()[0]
    file.close()
    return count


# --- deliveries ----------------------------------------------------------------------------------


def test_a_call_started_twice_is_one_job(worker: Services) -> None:
    """A turn that asks again for the same call finds the job it has."""
    first = started(worker, "search_slowly", '{"topic": "whales"}')
    assert started(worker, "search_slowly", '{"topic": "whales"}') == first
    assert queued(worker, "vendor-acts") == 1


def test_calls_that_cannot_be_started_pile_up_nowhere(
    worker: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the queue is away each call fails, and the server keeps nothing of them."""

    async def away(*_: Any) -> None:
        raise VendorUnavailable("The queue is away. Try again.")

    monkeypatch.setattr(worker.tasks, "enqueue", away)
    for call_id in ("first", "second"):
        with pytest.raises(VendorUnavailable):
            started(worker, "search_slowly", '{"topic": "whales"}', call_id=call_id)
    assert worker.jobs._changed == {}


@pytest.mark.parametrize("tool", ["search_slowly", "book_slowly"])
def test_duplicated_and_late_deliveries_run_once(
    worker: Services, tool: str, tmp_path: Path
) -> None:
    """However often the queue delivers a job, its tool runs once and its result stays."""
    arguments = '{"topic": "whales"}' if tool == "search_slowly" else '{"what": "whales"}'
    job_id = started(worker, tool, arguments)
    for _ in range(3):
        assert work(worker, job_id) == Answer(200)
    assert effects(tmp_path).of(tool) == ["whales"]
    assert "whales" in result(worker, job_id)
    assert queued(worker, "follow-ups") == 0


def test_concurrent_deliveries_run_once(worker: Services, tmp_path: Path) -> None:
    """Of five deliveries at once one runs the tool; the others are told to come back later."""
    job_id = started(worker, "book_slowly", '{"what": "held table"}')

    async def together() -> list[Answer]:
        deliveries = [asyncio.create_task(worker.jobs.work(job_id)) for _ in range(5)]
        await asyncio.wait(deliveries, return_when=asyncio.FIRST_COMPLETED)
        effects(tmp_path).release()
        return await asyncio.gather(*deliveries)

    answers = worker.loop.run(together())
    assert sorted(answer.status for answer in answers) == [200, 503, 503, 503, 503]
    assert all(answer.retry_after for answer in answers if answer.status == 503)
    assert effects(tmp_path).of("book_slowly") == ["held table"]
    assert work(worker, job_id) == Answer(200)


# --- failures ------------------------------------------------------------------------------------


def test_a_busy_vendor_is_asked_again_when_it_says(worker: Services, tmp_path: Path) -> None:
    """A 429 goes back to the queue with the vendor's own pause, and the next delivery succeeds."""
    job_id = started(worker, "book_slowly", '{"what": "busy once"}')
    assert work(worker, job_id) == Answer(429, retry_after=7)
    assert stored(worker, job_id)["status"] == "queued"
    assert work(worker, job_id) == Answer(200)
    assert stored(worker, job_id)["status"] == "done"
    keys = [effect["key"] for effect in effects(tmp_path).all]
    assert len(keys) == 2 and len(set(keys)) == 1  # the vendor knows it for the same act


def test_a_vendor_that_is_down_for_a_moment_is_asked_again(worker: Services) -> None:
    """A 503 goes back to the queue; the next delivery brings the result."""
    job_id = started(worker, "search_slowly", '{"topic": "away once"}')
    assert work(worker, job_id).status == 503
    assert work(worker, job_id) == Answer(200)
    assert result(worker, job_id) == "Found away once."


def test_attempts_come_to_an_end(worker: Services, tmp_path: Path) -> None:
    """A vendor that stays down fails the job after a few attempts, and the queue stops."""
    job_id = started(worker, "search_slowly", '{"topic": "away"}')
    statuses = [work(worker, job_id).status for _ in range(MAX_ATTEMPTS + 2)]
    assert statuses == [503] * (MAX_ATTEMPTS - 1) + [200, 200, 200]
    assert len(effects(tmp_path).all) == MAX_ATTEMPTS
    assert stored(worker, job_id)["status"] == "failed"
    assert "does not answer" in result(worker, job_id)


def test_an_act_without_an_answer_is_not_repeated(worker: Services, tmp_path: Path) -> None:
    """A booking whose vendor stopped answering may stand: it fails rather than happen twice."""
    job_id = started(worker, "book_slowly", '{"what": "away"}')
    assert work(worker, job_id) == Answer(200)
    assert stored(worker, job_id)["status"] == "failed"
    assert effects(tmp_path).of("book_slowly") == ["away"]


def test_a_final_refusal_is_not_repeated(worker: Services) -> None:
    """What the vendor refuses for good fails at once."""
    job_id = started(worker, "search_slowly", '{"topic": "wrong"}')
    assert work(worker, job_id) == Answer(200)
    assert stored(worker, job_id)["status"] == "failed"
    assert result(worker, job_id) == "Acts does not want that."


def test_a_task_for_a_job_that_is_gone_ends(worker: Services) -> None:
    """A job that was deleted with its user's data leaves no task that comes back for ever."""
    assert work(worker, "0" * 32) == Answer(200)
    with pytest.raises(NotFound):
        worker.loop.run(worker.jobs.finished("0" * 32))


def test_a_job_for_a_tool_that_is_gone_fails_once(worker: Services, tmp_path: Path) -> None:
    """A deploy that takes a tool away fails its waiting jobs; nothing storms the queue."""
    job_id = started(worker, "search_slowly", '{"topic": "whales"}')
    del worker.registry._providers["search_slowly"], worker.registry.tools["search_slowly"]
    assert work(worker, job_id) == Answer(200)
    assert stored(worker, job_id)["status"] == "failed"
    assert worker.loop.run(worker.jobs.finished(job_id)).outcome is None
    assert effects(tmp_path).all == []


def test_a_job_of_a_deleted_user_fails_once(worker: Services, tmp_path: Path) -> None:
    """Once a user's key is shredded nobody can read what they asked for, and nothing is run."""
    job_id = started(worker, "book_slowly", '{"what": "table"}')
    worker.loop.run(worker.vault.shred("u1"))
    assert work(worker, job_id) == Answer(200)
    assert work(worker, job_id) == Answer(200)
    assert stored(worker, job_id)["status"] == "failed"
    assert effects(tmp_path).all == []


def test_a_result_is_not_there_before_the_end(worker: Services) -> None:
    """Asking for the result of a job that runs is a conflict, to be asked again later."""
    job_id = started(worker, "search_slowly", '{"topic": "whales"}')
    with pytest.raises(Conflict):
        worker.loop.run(worker.jobs.finished(job_id))


# --- workers that die ----------------------------------------------------------------------------


def died_while_running(
    services: Make, model: FakeOpenAI, folder: Path, tool: str, arguments: str
) -> tuple[Services, str, Services]:
    """Kill a worker after its tool has run and before the result is stored."""
    dead = acting(services, model, folder, deliver=False)
    job_id = started(dead, tool, arguments)
    dead.store.before = dies("jobs/", waiter="")  # type: ignore[attr-defined]
    asyncio.run_coroutine_threadsafe(dead.jobs.work(job_id), dead.loop.loop)
    heir = acting(services, model, folder, deliver=False)

    async def ran() -> None:
        async with asyncio.timeout(50.0):
            while not effects(folder).of(tool):
                await asyncio.sleep(0.01)

    heir.loop.run(ran())
    return dead, job_id, heir


def test_a_killed_worker_s_search_is_made_again(
    services: Make, silent: FakeOpenAI, tmp_path: Path
) -> None:
    """A read whose worker died is made again as soon as the machine knows that it died."""
    dead, job_id, heir = died_while_running(
        services, silent, tmp_path, "search_slowly", '{"topic": "whales"}'
    )
    assert work(heir, job_id).status == 503  # it may still be running
    bury(dead)
    assert work(heir, job_id) == Answer(200)
    assert result(heir, job_id) == "Found whales."


def test_a_killed_worker_s_act_is_never_made_again(
    services: Make, silent: FakeOpenAI, tmp_path: Path
) -> None:
    """A booking whose worker died may stand: the user is told to look, and it is not repeated."""
    dead, job_id, heir = died_while_running(
        services, silent, tmp_path, "book_slowly", '{"what": "table"}'
    )
    bury(dead)
    assert work(heir, job_id) == Answer(200)
    assert effects(tmp_path).of("book_slowly") == ["table"]
    assert "may have happened" in result(heir, job_id)


def test_a_worker_elsewhere_is_dead_when_its_lease_is_over(
    services: Make, silent: FakeOpenAI, worker: Services, tmp_path: Path
) -> None:
    """Where the machine cannot tell, the queue is asked back when the lease ends, not before."""
    job_id = started(worker, "search_slowly", '{"topic": "whales"}')
    elsewhere = acting(services, silent, tmp_path, deliver=False)
    assert elsewhere.presence
    soon = documents.now().replace(year=documents.now().year + 1)
    running = {
        "status": "running", "worker": elsewhere.instance, "attempts": 1, "lease_until": soon,
    }  # fmt: skip
    worker.loop.run(worker.store.commit(Update(f"jobs/{job_id}", running)))
    answer = work(worker, job_id)
    assert answer.status == 503 and answer.retry_after
    assert answer.retry_after > 300 * 24 * 3600
    past = {"lease_until": documents.now()}
    worker.loop.run(worker.store.commit(Update(f"jobs/{job_id}", past)))
    assert work(worker, job_id) == Answer(200)
    assert effects(tmp_path).of("search_slowly") == ["whales"]


def test_a_refusal_that_comes_too_late_does_not_wake_the_job(
    services: Make, silent: FakeOpenAI, worker: Services, tmp_path: Path
) -> None:
    """An act given up with its lease stays given up when its vendor says "busy" at last."""
    job_id = started(worker, "book_slowly", '{"what": "held busy once"}')
    elsewhere = acting(services, silent, tmp_path, deliver=False)

    async def overtaken() -> Answer:
        slow = asyncio.create_task(worker.jobs.work(job_id))
        async with asyncio.timeout(50.0):
            while not effects(tmp_path).all:
                await asyncio.sleep(0.01)
        past = {"lease_until": documents.now(), "worker": "gone"}
        await worker.store.commit(Update(f"jobs/{job_id}", past))
        assert await elsewhere.jobs.work(job_id) == Answer(200)
        effects(tmp_path).release()
        return await slow

    assert worker.loop.run(overtaken()).status == 429
    assert "may have happened" in result(worker, job_id)
    assert work(worker, job_id) == Answer(200)
    assert len(effects(tmp_path).all) == 1


def test_a_job_that_kills_its_workers_ends(worker: Services, tmp_path: Path) -> None:
    """A search that takes every worker down with it is given up like any other."""
    job_id = started(worker, "search_slowly", '{"topic": "whales"}')
    worker.loop.run(worker.store.commit(Update(f"jobs/{job_id}", {
        "status": "running", "worker": "x", "attempts": MAX_ATTEMPTS,
        "lease_until": documents.now(),
    })))  # fmt: skip
    assert work(worker, job_id) == Answer(200)
    assert stored(worker, job_id)["status"] == "failed"
    assert effects(tmp_path).all == []


# --- the turn that waits -------------------------------------------------------------------------


SEARCH = Calls([("search_slowly", {"topic": "whales", "seconds": 0.0}, "call_s")])
HELD = Calls([("search_slowly", {"topic": "held whales"}, "call_s")])


def test_a_job_streams_and_its_result_is_in_the_answer(services: Make, tmp_path: Path) -> None:
    """The user sees the search being queued and done, and the answer made from its result."""
    with FakeOpenAI(SEARCH, Text("There are whales.")) as model:
        conversation = Conversation(acting(services, model, tmp_path))
        events = conversation.turn("search slowly for whales")
        check_whole(events)
        statuses = [event["status"] for event in of(events, "job")]
        assert (statuses[0], statuses[-1]) == ("queued", "done")
        assert {event["call_id"] for event in of(events, "job")} == {"call_s"}
        assert of(events, "tool_output")[0]["summary"] == "Found whales."
        output = model.requests[-1].body["input"][-1]
        assert (output["type"], output["call_id"]) == ("function_call_output", "call_s")
        assert "Found whales." in output["output"]
        conversation.leave()


def test_what_takes_too_long_is_told_later_and_once(
    services: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The turn answers that it takes longer; the result opens a turn of its own, exactly once."""
    monkeypatch.setattr(turn, "PATIENCE", 0.05)
    with FakeOpenAI(HELD, Text("Later."), Text("Here they are.")) as model:
        made = acting(services, model, tmp_path)
        conversation = Conversation(made)
        first = conversation.turn("search slowly for whales")
        check_whole(first)
        (output,) = of(first, "tool_output")
        assert output["output"]["response_type"] == "job_pending" and output["ok"]
        assert text_of(first) == "Later."
        job_id = of(first, "job")[0]["job_id"]
        effects(tmp_path).release()
        told = conversation.until(lambda events: len(of(events, "end_of_stream")) == 2)
        second = [event for event in told if event["turn_id"] not in (None, first[0]["turn_id"])]
        check_whole(second)
        assert text_of(second) == "Here they are."
        assert "Found held whales." in model.requests[-1].body["input"][-1]["content"]
        for _ in range(2):  # the queue delivers it again
            made.loop.run(made.jobs.work(job_id))
            made.loop.run(made.turns.follow_up(uid="", job_id=job_id))
        conversation.idle()
        assert len(of(conversation.events, "turn_started")) == 2
        assert effects(tmp_path).of("search_slowly") == ["held whales"]
        conversation.leave()


def test_a_result_in_the_last_moment_is_in_the_answer(
    services: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result that comes as patience ends is told in the turn itself, and no second time."""
    monkeypatch.setattr(turn, "PATIENCE", 0.0)
    with FakeOpenAI(SEARCH, Text("There are whales.")) as model:
        made = acting(services, model, tmp_path, deliver=False)
        leave = made.jobs.leave

        async def late(job_id: str) -> Any:
            await made.jobs.work(job_id)
            return await leave(job_id)

        monkeypatch.setattr(made.jobs, "leave", late)
        conversation = Conversation(made)
        events = conversation.turn("search slowly for whales")
        check_whole(events)
        assert of(events, "tool_output")[0]["summary"] == "Found whales."
        assert queued(made, "follow-ups") == 0
        conversation.leave()


@pytest.mark.parametrize("first", ["leave", "finish"])
def test_leaving_and_finishing_at_once_tells_it_once(
    worker: Services, first: str, tmp_path: Path
) -> None:
    """Whoever is first, the turn that leaves or the worker that ends, it is told exactly once."""
    job_id = started(worker, "search_slowly", '{"topic": "whales"}')

    async def together() -> Any:
        ways = [worker.jobs.leave(job_id), worker.jobs.work(job_id)]
        if first == "finish":
            ways.reverse()
        both = await asyncio.gather(*ways)
        return next((each for each in both if not isinstance(each, Answer)), None)

    outcome = worker.loop.run(together())
    assert work(worker, job_id) == Answer(200)  # the queue's next delivery, if the first was late
    assert (outcome is not None) + queued(worker, "follow-ups") == 1


def test_a_job_that_was_left_without_anybody_s_hearing_of_it_is_told_once(
    worker: Services,
) -> None:
    """The store left it late, after it had said no: what the retry finds is the follow-up's."""
    job_id = started(worker, "search_slowly", '{"topic": "whales"}')
    run = worker.loop.run
    assert run(worker.jobs.leave(job_id)) is None  # the attempt that was not heard of
    work(worker, job_id)
    assert queued(worker, "follow-ups") == 1
    assert run(worker.jobs.leave(job_id)) is None


def test_a_follow_up_is_acknowledged_only_when_its_turn_has_begun(
    services: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the chat is busy the queue keeps the result: a restart would lose it otherwise."""
    monkeypatch.setattr("common.assistant.turns._BEGIN_SECONDS", 0.05)
    with FakeOpenAI(HELD, Text("Done."), Text("Whales.")) as model:
        made = acting(services, model, tmp_path, deliver=False)
        conversation = Conversation(made)
        conversation.prompt("search slowly for whales")
        conversation.until_type("job")
        effects(tmp_path).release()
        other = started(made, "search_slowly", '{"topic": "held too"}', call_id="other")
        work(made, other)
        with pytest.raises(OdaiError) as refused:
            made.loop.run(made.turns.follow_up(uid="", job_id=other))
        assert refused.value.status == 503
        work(made, of(conversation.events, "job")[0]["job_id"])
        conversation.until(lambda events: len(of(events, "end_of_stream")) == 2)
        made.loop.run(made.turns.follow_up(uid="", job_id=other))
        conversation.idle()
        assert len(of(conversation.events, "turn_started")) == 2
        conversation.leave()


def test_no_chat_comes_back_from_the_dead_to_tell_a_result(
    services: Make, silent: FakeOpenAI, tmp_path: Path
) -> None:
    """The result of a job whose chat was deleted is dropped, and the chat stays deleted."""
    made = acting(services, silent, tmp_path, deliver=False)
    job_id = started(made, "search_slowly", '{"topic": "whales"}')
    work(made, job_id)
    made.loop.run(made.turns.follow_up(uid="", job_id=job_id))
    assert made.loop.run(made.store.get(documents.chat("c1"))) is None


def test_what_strangers_wrote_taints_the_turn_that_tells_it(
    services: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that arrives late is no more trusted than one in time: notes are asked about."""
    monkeypatch.setattr(turn, "PATIENCE", 0.05)
    page = Calls([("read_page", {"url": "https://held.example/"})])
    note = Calls([("save_note", {"text": "what the page wants"})])
    with FakeOpenAI(page, Text("Later."), Calls([("transfer_to_acts", {})]), note) as model:
        made = acting(services, model, tmp_path)
        made.loop.run(made.store.commit(
            Merge(documents.user("u1"), {"granted": ["save_note"]})
        ))  # fmt: skip
        conversation = Conversation(made)
        conversation.turn("read the page https://held.example/ and save a note")
        effects(tmp_path).release()
        events = conversation.until_type("approval_required")
        assert of(events, "approval_required")[0]["tool"] == "save_note"
        conversation.settled()
        assert effects(tmp_path).of("save_note") == []
        conversation.leave()


# --- turns that die while they wait --------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after", "never delivered"])
def test_the_result_survives_the_turn_that_waited(
    services: Make, tmp_path: Path, when: str
) -> None:
    """A server that dies while a search runs: the next one closes the turn and tells the result."""
    with FakeOpenAI(HELD, Text("Here they are.")) as model:
        dead = acting(services, model, tmp_path, deliver=False)
        before = Conversation(dead)
        before.prompt("search slowly for whales")
        before.until_type("job")
        job_id = of(before.events, "job")[0]["job_id"]
        dead.loop.run(before.room.journal.flush())  # type: ignore[union-attr]
        bury(dead)
        effects(tmp_path).release()
        worker = acting(services, model, tmp_path, deliver=False)
        if when == "before":
            work(worker, job_id)
        if when == "never delivered":  # it died before the task was stored
            worker.loop.run(worker.tasks.cancel("vendor-acts", f"job-{job_id}"))
            forget_names(worker)
        heir = acting(services, model, tmp_path)
        after = Conversation(heir, cursor=f"{before.watcher.turn_id}:{before.watcher.seq}")
        told = after.until(lambda events: len(of(events, "end_of_stream")) == 2)
        whole = join(before.events, told)
        first, second = by_turn(whole)
        check_whole(first)
        check_whole(second)
        assert [of(each, "end_of_stream")[0]["status"] for each in (first, second)] == [
            "failed", "done",
        ]  # fmt: skip
        assert "Found held whales." in model.requests[-1].body["input"][-1]["content"]
        assert text_of(second) == "Here they are."
        after.idle()
        after.leave()


def test_a_follow_up_that_dies_is_taken_up_again(
    services: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that dies while it tells a result: the next one tells it."""
    monkeypatch.setattr(turn, "PATIENCE", 0.05)
    gate = Gate()
    stuck = Reply(Text("Here they are."), gate=gate, gate_after=1)
    with FakeOpenAI(HELD, Text("Later."), stuck, Text("Here they are.")) as model:
        dead = acting(services, model, tmp_path)
        before = Conversation(dead)
        before.turn("search slowly for whales")
        effects(tmp_path).release()
        before.until(lambda events: text_of(events) == "Later.Here")
        dead.loop.run(before.room.journal.flush())  # type: ignore[union-attr]
        bury(dead)
        heir = acting(services, model, tmp_path)
        after = Conversation(heir, cursor=f"{before.watcher.turn_id}:{before.watcher.seq}")
        told = after.until(lambda events: len(of(events, "end_of_stream")) == 2)
        turns = by_turn(join(before.events, told))
        for each in turns:
            check_whole(each)
        assert [of(each, "end_of_stream")[0]["status"] for each in turns] == [
            "done", "failed", "done",
        ]  # fmt: skip
        assert text_of(turns[-1]) == "Here they are."
        gate.open()
        after.idle()
        after.leave()


def forget_names(services: Services) -> None:
    """Forget that a cancelled task's name was ever used."""
    import sqlite3

    file = sqlite3.connect(services.settings.data_dir / "tasks.sqlite")
    file.execute("DELETE FROM tasks WHERE state='done'")
    file.commit()
    file.close()


def join(before: list[Event], after: list[Event]) -> list[Event]:
    """Return what a client has seen that came back with its cursor."""
    return [event for event in [*before, *after] if event["turn_id"]]


def by_turn(events: list[Event]) -> list[list[Event]]:
    """Return the events of each turn, in order."""
    turns = dict.fromkeys(event["turn_id"] for event in events)
    return [[event for event in events if event["turn_id"] == each] for each in turns]


def test_a_result_that_was_shown_before_the_crash_is_not_told_again(
    services: Make, tmp_path: Path
) -> None:
    """A search whose result the user has seen needs no turn of its own after the restart."""
    gate = Gate()
    with FakeOpenAI(SEARCH, Reply(Text("There are whales."), gate=gate)) as model:
        dead = acting(services, model, tmp_path)
        before = Conversation(dead)
        before.prompt("search slowly for whales")
        before.until_type("tool_output")
        model.wait_for(2)
        dead.loop.run(before.room.journal.flush())  # type: ignore[union-attr]
        bury(dead)
        heir = acting(services, model, tmp_path)
        after = Conversation(heir, cursor=f"{before.watcher.turn_id}:{before.watcher.seq}")
        after.until_type("end_of_stream")
        assert queued(heir, "follow-ups") == 0
        heir.loop.run(heir.tasks.drain())  # type: ignore[attr-defined]
        after.idle()
        assert of(after.events, "turn_started") == []
        (turn,) = by_turn(join(before.events, after.events))
        check_whole(turn)
        gate.open()
        after.leave()
