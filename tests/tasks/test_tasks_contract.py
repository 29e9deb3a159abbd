"""What `Tasks` promises, kept by the embedded queue and by Cloud Tasks alike."""

from __future__ import annotations

import datetime as dt

import pytest

from common.errors import InvalidInput, Misconfigured
from common.tasks import Task
from common.tasks.embedded import Response
from tests.tasks.conftest import Against, Harness


def test_a_task_arrives_as_it_was_sent(against: Against) -> None:
    """Path, body and headers arrive unchanged, with the queue's own headers beside them."""

    async def body(h: Harness) -> None:
        sent = Task("mail", "/worker", b'{"job": "1"}', name="job-1", headers={"traceparent": "00"})
        assert await h.tasks.enqueue(sent) is True
        await h.settle()
        (got,) = h.received
        assert (got.path, got.body, got.headers["traceparent"]) == ("/worker", sent.body, "00")
        assert got.headers["user-agent"] == "Google-Cloud-Tasks"
        assert got.headers["x-cloudtasks-queuename"] == "mail"
        assert got.headers["x-cloudtasks-taskname"] == "job-1"
        assert got.headers["x-cloudtasks-taskretrycount"] == "0"
        assert got.headers["x-cloudtasks-taskexecutioncount"] == "0"
        assert float(got.headers["x-cloudtasks-tasketa"]) == h.clock().timestamp()
        assert "x-cloudtasks-taskretryreason" not in got.headers

    against(body)


def test_a_name_is_used_once_a_day(against: Against) -> None:
    """A name is refused while its task waits and for a day after; other names are not."""

    async def body(h: Harness) -> None:
        later = h.clock() + dt.timedelta(hours=1)
        named = Task("mail", "/worker", b"{}", name="once", schedule_at=later)
        assert await h.tasks.enqueue(named)
        assert not await h.tasks.enqueue(named)
        assert await h.tasks.enqueue(Task("mail", "/worker", b"{}", name="other"))
        h.clock.advance(3600)
        await h.settle()
        assert not await h.tasks.enqueue(named)
        h.clock.advance(23 * 3600)
        assert not await h.tasks.enqueue(named)
        h.clock.advance(3601)
        assert await h.tasks.enqueue(Task("mail", "/worker", b"{}", name="once"))
        await h.settle()
        assert len(h.received) == 3

    against(body)


def test_nameless_tasks_are_all_kept(against: Against) -> None:
    """Equal tasks without names are delivered each."""

    async def body(h: Harness) -> None:
        for _ in range(3):
            assert await h.tasks.enqueue(Task("mail", "/worker", b"{}"))
        await h.settle()
        assert len({r.headers["x-cloudtasks-taskname"] for r in h.received}) == 3

    against(body)


def test_a_schedule_is_kept(against: Against) -> None:
    """A task for later is not delivered before its time, whatever its time zone."""

    async def body(h: Harness) -> None:
        zone = dt.timezone(dt.timedelta(hours=-8))
        at = (h.clock() + dt.timedelta(seconds=90)).astimezone(zone)
        await h.tasks.enqueue(Task("mail", "/worker", b"{}", schedule_at=at))
        h.clock.advance(89)
        await h.settle()
        assert h.received == []
        h.clock.advance(1)
        await h.settle()
        assert float(h.received[0].headers["x-cloudtasks-tasketa"]) == at.timestamp()

    against(body)


def test_a_time_past_is_now(against: Against) -> None:
    """A task scheduled for a moment gone is delivered at once."""

    async def body(h: Harness) -> None:
        gone = h.clock() - dt.timedelta(days=1)
        await h.tasks.enqueue(Task("mail", "/worker", b"{}", schedule_at=gone))
        await h.settle()
        assert len(h.received) == 1

    against(body)


@pytest.mark.parametrize("status", [302, 400, 429, 500, 503])
def test_everything_but_2xx_is_retried(against: Against, status: int) -> None:
    """A refusal is retried after a pause, and the handler is told what it answered."""

    async def body(h: Harness) -> None:
        h.answers[:] = [Response(status), Response(204)]
        await h.tasks.enqueue(Task("mail", "/worker", b"{}", name="t"))
        await h.settle()
        h.clock.advance(9)
        await h.settle()
        assert len(h.received) == 1
        h.clock.advance(1)
        await h.settle()
        again = h.received[1].headers
        assert again["x-cloudtasks-taskretrycount"] == "1"
        assert again["x-cloudtasks-taskexecutioncount"] == ("1" if status < 500 else "0")
        assert again["x-cloudtasks-taskpreviousresponse"] == str(status)
        assert "x-cloudtasks-taskretryreason" in again
        h.clock.advance(3600)
        await h.settle()
        assert len(h.received) == 2

    against(body)


def test_pauses_double_up_to_a_bound_and_attempts_end(against: Against) -> None:
    """Pauses double up to the queue's bound; after the last attempt the task is left alone."""

    async def body(h: Harness) -> None:
        h.answers[:] = [Response(500)] * 9
        await h.tasks.enqueue(Task("mail", "/worker", b"{}", name="t"))
        await h.settle()
        for pause, attempts in ((10, 2), (15, 3), (15, 4)):
            h.clock.advance(pause - 1)
            await h.settle()
            assert len(h.received) == attempts - 1
            h.clock.advance(1)
            await h.settle()
            assert len(h.received) == attempts
        h.clock.advance(7200)
        await h.settle()
        assert len(h.received) == 4
        assert not await h.tasks.enqueue(Task("mail", "/worker", b"{}", name="t"))

    against(body)


def test_retry_after_is_honoured(against: Against) -> None:
    """A handler that asks for two minutes' peace gets it."""

    async def body(h: Harness) -> None:
        h.answers[:] = [Response(429, retry_after=120)]
        await h.tasks.enqueue(Task("mail", "/worker", b"{}"))
        await h.settle()
        h.clock.advance(119)
        await h.settle()
        assert len(h.received) == 1
        h.clock.advance(1)
        await h.settle()
        assert len(h.received) == 2

    against(body)


def test_a_cancelled_task_is_not_delivered(against: Against) -> None:
    """A reminder cancelled in time is not sent, and its name stays used."""

    async def body(h: Harness) -> None:
        later = h.clock() + dt.timedelta(hours=1)
        task = Task("mail", "/worker", b"{}", name="reminder", schedule_at=later)
        await h.tasks.enqueue(task)
        assert await h.tasks.cancel("mail", "reminder") is True
        assert await h.tasks.cancel("mail", "reminder") is False
        assert await h.tasks.cancel("mail", "never-was") is False
        assert not await h.tasks.enqueue(task)
        h.clock.advance(7200)
        await h.settle()
        assert h.received == []

    against(body)


def test_a_delivered_task_cannot_be_cancelled(against: Against) -> None:
    """Cancelling what was done already says so."""

    async def body(h: Harness) -> None:
        await h.tasks.enqueue(Task("mail", "/worker", b"{}", name="t"))
        await h.settle()
        assert await h.tasks.cancel("mail", "t") is False

    against(body)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "spaces are out"},
        {"name": ""},
        {"name": "n" * 501},
        {"path": "worker"},
        {"deadline_s": 14},
        {"deadline_s": 1801},
        {"body": b"x" * 1_000_001},
        {"headers": {"X-CloudTasks-TaskName": "forged"}},
        {"schedule_at": dt.datetime(2026, 11, 1)},
        {"schedule_at": dt.datetime(2026, 12, 2, tzinfo=dt.UTC)},
    ],
    ids=str,
)
def test_what_cannot_be_kept_is_refused(against: Against, wrong: dict[str, object]) -> None:
    """A task Cloud Tasks would refuse is refused on a laptop as well."""

    async def body(h: Harness) -> None:
        fields = {"queue": "mail", "path": "/worker", "body": b"{}", **wrong}
        with pytest.raises(InvalidInput):
            await h.tasks.enqueue(Task(**fields))  # type: ignore[arg-type]

    against(body)


def test_an_undeclared_queue_is_a_setting(against: Against) -> None:
    """A queue nobody declared is named in the error the operator reads."""

    async def body(h: Harness) -> None:
        with pytest.raises(Misconfigured, match="nowhere"):
            await h.tasks.enqueue(Task("nowhere", "/worker", b"{}"))

    against(body)
