"""Cold starts: a fresh process of functions-framework to its first answer, ours and a bare one.

The bare function is what its name says: functions-framework, Google's own Firestore client, the
same two reads and the same query as ours make, and no line more. Both talk to one emulator, take
turns, and run from compiled files, as deployed ones do.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from common.documents import now
from common.identity import DevelopmentTokens
from run.local.emulators import EmulatorMissing, firestore_emulator
from run.local.ports import free_port
from run.local.stage import stage
from tests.bench.processes import Server

_LEAST = 5
_READY_S = 60.0
_PROJECT = "bench"
# What each answers with, after reading who asks and listing what they have.
_PATHS = {"oauth_google": "/accounts", "plaid_link": "/accounts", "account": "/account"}
_BARE = """\
import functions_framework
from google.cloud import firestore

_client = None


@functions_framework.http
def bare(request):
    global _client
    if _client is None:
        _client = firestore.Client(project="bench")
    users = _client.collection("users")
    for _ in range(2):
        users.document("ada").get()
    rows = [row.to_dict() for row in users.document("ada").collection("accounts").stream()]
    return {"rows": rows}
"""


class Table(Protocol):
    """Where figures are printed."""

    def row(self, *cells: str) -> None: ...


class Scope(Protocol):
    """How much is measured."""

    @property
    def rounds(self) -> int: ...


@dataclass(frozen=True)
class Start:
    """One cold start: seconds to the first answer, and CPU seconds of all its processes."""

    wall_s: float
    cpu_s: float


def cold_starts(table: Table, scope: Scope) -> None:
    """Print each function's cold start beside the bare one's, and their ratios."""
    try:
        with firestore_emulator() as host, _functions() as (folders, environ):
            _measure(table, max(_LEAST, scope.rounds), folders, {
                **environ, "FIRESTORE_EMULATOR_HOST": host,
            })  # fmt: skip
    except EmulatorMissing as err:
        table.row("cold starts", "", "", "", "", str(err)[:40])


def _measure(table: Table, rounds: int, folders: dict[str, Path], environ: dict[str, str]) -> None:
    found: dict[str, list[Start]] = {name: [] for name in folders}
    order = deque(folders)
    for number in range(rounds + 1):
        order.rotate(1)  # whoever follows whom must not matter
        for name in order:
            start = _start(name, folders[name], environ)
            if number:  # the first round compiles
                found[name].append(start)
    bare = found.pop("bare")
    for what, figure in (("to the first answer", "wall_s"), ("CPU", "cpu_s")):
        base = _median(bare, figure)
        for name, starts in found.items():
            ours = _median(starts, figure)
            table.row(
                f"cold start of {name}, ms {what} (peer: bare)", f"{ours * 1e3:.0f}",
                f"{base * 1e3:.0f}", "", f"{base / ours:.2f}", "≥ 0.67",
            )  # fmt: skip


def _median(starts: list[Start], figure: str) -> float:
    return statistics.median(float(getattr(start, figure)) for start in starts)


@contextlib.contextmanager
def _functions() -> Iterator[tuple[dict[str, Path], dict[str, str]]]:
    """Lay out every function, and yield their folders and what their processes see."""
    with tempfile.TemporaryDirectory(prefix="odai-cold-") as made:
        root = Path(made)
        bare = root / "bare"
        bare.mkdir()
        (bare / "main.py").write_text(_BARE)
        folders = {"bare": bare, **{name: stage(name, root / name) for name in _PATHS}}
        token = DevelopmentTokens.open(root / "data", production=False, clock=now).mint("ada")
        yield folders, {
            "PATH": os.environ["PATH"], "HOME": made, "NO_PROXY": "127.0.0.1,localhost",
            "ODAI_BACKEND": "emulators", "ODAI_DATA": str(root / "data"),
            "GOOGLE_CLOUD_PROJECT": _PROJECT, "ODAI_BENCH_TOKEN": token,
        }  # fmt: skip


def _start(name: str, folder: Path, environ: dict[str, str]) -> Start:
    """Start a process, wait for its first good answer, and end it."""
    port = free_port()
    began = time.perf_counter()
    process = subprocess.Popen(
        [
            sys.executable, "-m", "functions_framework",
            f"--target={name}", "--source=main.py", "--host=127.0.0.1", f"--port={port}",
        ],
        cwd=folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        _first_answer(process, port, _PATHS.get(name, "/"), environ["ODAI_BENCH_TOKEN"])
        wall = time.perf_counter() - began
        return Start(wall, Server(name, port, process, folder).cpu_s())
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _first_answer(process: subprocess.Popen[str], port: int, path: str, token: str) -> None:
    until = time.monotonic() + _READY_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_READY_S)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            body = answer.read()
        except ConnectionError:
            assert process.poll() is None and time.monotonic() < until, "it did not start"
            time.sleep(0.005)
            continue
        finally:
            connection.close()
        assert answer.status == 200, (answer.status, body[:300])
        json.loads(body)
        return
