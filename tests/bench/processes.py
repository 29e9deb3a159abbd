"""Servers, the fake endpoint and the load as processes, each on its core, and what they use.

The server under test has the first core to itself, everything else the others. With one core in
all, figures are still printed and mean little.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.documents import now
from common.identity import DevelopmentTokens
from run.local.ports import free_port

_CORES = sorted(os.sched_getaffinity(0))
_SERVER_CORES = set(_CORES[:1])
_OTHER_CORES = set(_CORES[1:]) or _SERVER_CORES
_TICKS = os.sysconf("SC_CLK_TCK")
KINDS = ("ours", "peer", "relay")


def raise_limit() -> None:
    """Let this process and its children open as many files as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def spawn(
    arguments: Sequence[str], *, server: bool = False, **environment: str
) -> subprocess.Popen[str]:
    """Start `python -m …` on its core."""
    cores = _SERVER_CORES if server else _OTHER_CORES
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        preexec_fn=lambda: os.sched_setaffinity(0, cores),  # no threads here
    )


def end(process: subprocess.Popen[str]) -> None:
    """Stop a process we started, gently first."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()


def line_of(process: subprocess.Popen[str], *, seconds: float) -> dict[str, Any]:
    """Return the next line of JSON that a process prints."""
    assert process.stdout
    if not select.select([process.stdout], [], [], seconds)[0]:
        raise TimeoutError(f"{process.args!r} says nothing")
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found


@contextlib.contextmanager
def endpoint(*, deltas: int, interval_ms: float = 0.0, stamp: bool = False) -> Iterator[str]:
    """A fake model endpoint that gives everybody the same paced answer; yields its base URL."""
    options = ["--deltas", str(deltas), "--interval-ms", str(interval_ms)]
    process = spawn(["tests.fakes.openai_responses", *options, *(["--stamp"] if stamp else [])])
    try:
        yield line_of(process, seconds=30)["base_url"]
    finally:
        end(process)


@dataclass
class Server:
    """A server under test."""

    kind: str
    port: int
    process: subprocess.Popen[str]
    data: Path
    _users: int = field(default=0)

    def cpu_s(self) -> float:
        """Return the CPU seconds that the server and its children have used so far."""
        return sum(_cpu_ticks(pid) for pid in self._pids()) / _TICKS

    def memory_kb(self) -> int:
        """Return the resident memory of the server and its children."""
        return sum(_resident_kb(pid) for pid in self._pids())

    def paths(self, count: int) -> list[str]:
        """Return addresses of `count` new chats, each of a user of its own."""
        first, self._users = self._users, self._users + count
        chats = [f"bench-{number}" for number in range(first, first + count)]
        if self.kind != "ours":
            return [f"/chats/{chat}" for chat in chats]
        tokens = DevelopmentTokens.open(self.data, production=False, clock=now)
        return [f"/chats/{c}?token={tokens.mint(f'dev-{c}', name='Bench')}" for c in chats]

    def _pids(self) -> list[int]:
        found, seen = [self.process.pid], 0
        while seen < len(found):
            path = Path(f"/proc/{found[seen]}/task/{found[seen]}/children")
            found += map(int, path.read_text().split())
            seen += 1
        return found


@contextlib.contextmanager
def server(kind: str, upstream: str, **environment: str) -> Iterator[Server]:
    """Run ours, the peer or the relay, speaking to the endpoint at `upstream`."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="odai-bench-") as folder:
        if kind == "ours":
            process = spawn(
                ["run.chat_stream"],
                server=True,
                ODAI_DATA=folder,
                ODAI_SMALL_MODEL="off",
                PORT=str(port),
                OPENAI_BASE_URL=upstream,
                OPENAI_API_KEY="bench",
                ODAI_SOCKETS_PER_USER="5000",
                ODAI_PROMPTS_PER_MINUTE="60000",
                ODAI_LOG_LEVEL="ERROR",
                **environment,
            )
        else:
            arguments = ["--port", str(port), "--upstream", upstream]
            process = spawn([f"tests.bench.{kind}", *arguments], server=True)
        try:
            _wait_for(port, process)
            yield Server(kind, port, process, Path(folder))
        finally:
            end(process)


@contextlib.contextmanager
def crowd(target: Server, *, sockets: int, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Open sockets from a process of their own; yields it once all stand."""
    with tempfile.NamedTemporaryFile("w", suffix=".paths") as listed:
        listed.write("\n".join(target.paths(sockets)))
        listed.flush()
        given = ["--port", str(target.port), "--paths", listed.name, "--sockets", str(sockets)]
        for name, value in options.items():
            flag = "--" + name.replace("_", "-")
            given += [flag] if value is True else [flag, str(value)]
        if target.kind == "ours":
            given.append("--greeted")
        process = spawn(["tests.bench.load", *given])
        try:
            _check(line_of(process, seconds=120))
            yield process
        finally:
            process.kill()
            end(process)


def run(process: subprocess.Popen[str], *, seconds: float = 900.0) -> dict[str, Any]:
    """Let a crowd ask; return its report."""
    assert process.stdin
    process.stdin.write("go\n")
    process.stdin.flush()
    return _check(line_of(process, seconds=seconds))


def _check(report: dict[str, Any]) -> dict[str, Any]:
    if report.get("problem"):
        raise RuntimeError(f"the load failed: {report['problem']}")
    return report


def stolen_s() -> float:
    """Return the CPU seconds that the host has kept from this machine so far, of all its cores."""
    with open("/proc/stat", encoding="ascii") as file:
        return int(file.readline().split()[8]) / _TICKS


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))  # user and system, own and of ended children


def _resident_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def _wait_for(port: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            # gunicorn listens before its worker has loaded: a whole answer shows that it serves.
            if _answers(port):
                return
        time.sleep(0.1)
    raise RuntimeError(f"{process.args!r} does not start")


def _answers(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 30) as probe:
        probe.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return bool(probe.recv(1))
