"""The server as a process: how it starts, what it says when it cannot, how it ends."""

from __future__ import annotations

import datetime as dt
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common import documents
from common.store import Query, Update
from common.store.sqlite import SqliteStore
from run.local.ports import free_port
from tests.fakes.openai_responses import FakeOpenAI, Gate, Reply, Text
from tests.run.serving import (
    ROOT,
    Server,
    connected,
    environment,
    told,
    turn_events,
)

Start = Callable[..., Server]


def refused(data: Path, **settings: str) -> str:
    """Start a server that cannot start; return what it says."""
    ended = subprocess.run(
        [sys.executable, "-m", "run.local", "serve"],
        cwd=ROOT,
        env=environment(data, **settings),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    said = ended.stderr
    assert "Traceback" not in said
    assert said.count("\n") == 1, said
    return said


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """Starting twice says which port is taken and how to choose another."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused(tmp_path / "data", PORT=str(port))
    assert str(port) in said
    assert "PORT=" in said


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A data folder that cannot be made says so, with the setting that changes it."""
    (tmp_path / "file").write_text("in the way")
    said = refused(tmp_path / "file" / "data", PORT=str(free_port()))
    assert "ODAI_DATA" in said
    assert str(tmp_path / "file" / "data") in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    """A read-only data folder says so, with the setting that changes it."""
    data = tmp_path / "data"
    data.mkdir(mode=0o500)
    assert "ODAI_DATA" in refused(data, PORT=str(free_port()))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"ODAI_ENV": "production"}, "ODAI_BACKEND"),
        ({"ODAI_BACKEND": "google"}, "GOOGLE_CLOUD_PROJECT"),
        ({"PORT": "many"}, "PORT"),
        ({"ODAI_EGRESS_MAP": "nonsense"}, "ODAI_EGRESS_MAP"),
    ],
    ids=lambda v: str(v)[:40],
)
def test_a_setting_that_is_missing_or_wrong_is_named(
    tmp_path: Path, settings: dict[str, str], named: str
) -> None:
    """A server that cannot start says in one line which setting to change."""
    assert named in refused(tmp_path / "data", **{"PORT": str(free_port()), **settings})


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_stopping_tells_clients_to_come_back(start: Start, run: Any, how: signal.Signals) -> None:
    """On a stop every socket closes with 1001, a running turn ends as failed, and it exits 0."""
    gate = Gate()
    with FakeOpenAI(Reply(Text("one two"), gate=gate, gate_after=1)) as fake:
        server = start(OPENAI_BASE_URL=fake.base_url, OPENAI_API_KEY="k")
        token = server.token("Ann")

        async def scene() -> None:
            async with (
                connected(server, "c1", token=token) as busy,
                connected(server, "c2", token=token) as idle,
            ):
                await idle.until_type("hello")
                await busy.ws.send_str("count")
                await busy.until_type("raw_response_event")
                server.process.send_signal(how)
                assert await idle.until_closed() == 1001
                assert await busy.until_closed() == 1001
                ends = [e for e in busy.events if e["type"] == "end_of_stream"]
                assert [end["status"] for end in ends] == ["failed"]
                assert [e["retryable"] for e in busy.events if e["type"] == "error"] == [True]

        run(scene())
        gate.open()
        assert server.stop(how) == 0


async def leases_run_out(data: Path) -> None:
    """Let every lease be over, as half a minute after a crash."""
    store = SqliteStore.open(data / "store.sqlite")
    past = documents.now() - dt.timedelta(seconds=1)
    for turn in await store.query(Query(documents.turns("c1"))):
        await store.commit(Update(turn.path, {"lease_until": past}))
    await store.close()


def test_a_power_cut_in_the_middle_of_an_answer(start: Start, run: Any, tmp_path: Path) -> None:
    """After kill -9 and a restart, the turn ends as failed, to be retried, and nothing repeats."""
    gate = Gate()
    with FakeOpenAI(
        Reply(Text("one two three four"), gate=gate, gate_after=3),
        Text("Again."),
    ) as fake:
        environ = {"OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEY": "k"}
        server = start(**environ)
        token = server.token("Ann")

        async def before() -> list[Any]:
            async with connected(server, "c1", token=token) as client:
                await client.send(type="prompt", text="count", id="p1")
                await client.until(
                    lambda e: e["type"] == "raw_response_event" and "three" in e["delta"]
                )
                server.kill()
                return turn_events(client.events)

        seen = run(before())
        gate.open()
        run(leases_run_out(tmp_path / "data"))
        server = start(**environ)
        cursor = f"{seen[-1]['turn_id']}:{seen[-1]['seq']}"

        async def after() -> list[Any]:
            async with connected(server, "c1", token=token, cursor=cursor) as client:
                await client.until_type("end_of_stream")
                missed = turn_events(client.events)
                await client.send(type="prompt", text="count", id="p1")  # it was received
                await client.send(type="prompt", text="again", id="p2")
                await client.until_type("end_of_stream")
                starts = [e["prompt"] for e in client.events if e["type"] == "turn_started"]
                assert starts == ["again"]
                return missed

        missed = run(after())
        error, end = missed[0], missed[-1]
        assert (error["type"], error["retryable"]) == ("error", True)
        assert (end["type"], end["status"]) == ("end_of_stream", "failed")
        assert "raw_response_event" not in [event["type"] for event in missed]
        assert error.get("from_seq", error["seq"]) <= seen[-1]["seq"] + 1 <= error["seq"]
        assert ("text", "one two three") in told(seen)
        page = server.get("/chats/c1/turns", token)
        assert [turn["status"] for turn in page["turns"]] == ["failed", "done"]
        assert server.stop() == 0
