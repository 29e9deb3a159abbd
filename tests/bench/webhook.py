"""How soon Twilio's webhooks are answered: a fresh function's first one, and a warm one's.

Each function is staged as it is deployed and served over loopback by functions-framework in a
process of its own, with a user whose number is known, so that a call is answered with a ticket and
a text is taken in and enqueued. The yardstick is the same process with a function that does
nothing. Cold is what a process computes from its start to its first answer: all there is to wait
for on a machine of one's own, and the same on a busy one.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from common.bootstrap import Services
from common.loop import LoopThread
from common.settings import Settings
from run.local.stage import stage
from tests.fakes.twilio import ACCOUNT, new_sid

if TYPE_CHECKING:
    from tests.bench.__main__ import Scope, Table

_PUBLIC = "https://odai.example.com"
_WARM = 60  # requests
_USERS = 120  # each may call once at a time, and text so often in an hour
_PATHS = {"twilio_voice": "/twilio/incoming", "twilio_sms": "/twilio/sms/incoming"}
_BARE = """
import functions_framework

@functions_framework.http
def bare(request):
    return "<Response/>"
"""
_SERVE = """
import os, sys
import functions_framework
from werkzeug.serving import make_server
folder, name, port = sys.argv[1:]
os.chdir(folder)
app = functions_framework.create_app(name, os.path.join(folder, "main.py"))
server = make_server("127.0.0.1", int(port), app, threaded=True)
print(server.port, flush=True)
server.serve_forever()
"""


def webhooks(table: Table, scope: Scope) -> None:
    """Cold start with the first webhook beside bare functions-framework, and warm answers."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        _sign_up(folder / "data")
        numbers = itertools.cycle(map(_number, range(_USERS)))
        kinds = {"bare": _bare(folder)} | {n: stage(n, folder / "build" / n) for n in _PATHS}
        for kind, staged in kinds.items():  # compiled files are there where functions are deployed
            _cold(kind, staged, folder, numbers)
        cold: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(2 * scope.rounds + 3):
            for kind, staged in kinds.items():
                cold[kind].append(_cold(kind, staged, folder, numbers))
        found = {kind: statistics.median(times) * 1e3 for kind, times in cold.items()}
        table.only("cold functions-framework, first answer: CPU ms", f"{found['bare']:.0f}")
        for name in _PATHS:
            ratio = found[name] / found["bare"]
            table.only(f"cold {name}, first webhook: CPU ms", f"{found[name]:.0f}")
            table.only(f"cold {name} ÷ functions-framework", f"{ratio:.2f}", "≤ 1.5")
        for name in _PATHS:
            warm = _warm(name, kinds[name], folder, numbers)
            table.only(f"warm {name}: median ms", f"{warm:.1f}", "≤ 50")


def _cold(kind: str, staged: Path, folder: Path, numbers: Iterator[str]) -> float:
    """Return the seconds of computing from a process's start to its first answer."""
    with _served(kind, staged, folder) as (process, port):
        _ask(kind, http.client.HTTPConnection("127.0.0.1", port, timeout=30), next(numbers))
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _warm(kind: str, staged: Path, folder: Path, numbers: Iterator[str]) -> float:
    """Return the median of many answers, in milliseconds."""
    with _served(kind, staged, folder) as (_, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        times = []
        for _ in range(_WARM):
            began = time.perf_counter()
            _ask(kind, connection, next(numbers))
            times.append((time.perf_counter() - began) * 1e3)
        return statistics.median(times)


def _ask(kind: str, connection: http.client.HTTPConnection, number: str) -> None:
    """Send one webhook; fail unless it was answered as meant."""
    path = _PATHS.get(kind, "/")
    form = {"From": number, "To": ACCOUNT.number, "AccountSid": ACCOUNT.sid}
    if kind == "twilio_sms":
        form |= {"MessageSid": new_sid("SM"), "Body": "hello", "NumMedia": "0"}
    else:
        form |= {"CallSid": new_sid("CA"), "Direction": "inbound", "CallStatus": "ringing"}
    headers = ACCOUNT.headers(_PUBLIC + path, form)
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    connection.request("POST", path, urlencode(form), headers)
    answer = connection.getresponse()
    told = answer.read().decode()
    expected = {"twilio_voice": r"<Connect>", "twilio_sms": r"<Response/>"}
    if answer.status != 200 or not re.search(expected.get(kind, "Response"), told):
        raise RuntimeError(f"{kind} answered {answer.status}: {told[:200]}")


@contextlib.contextmanager
def _served(kind: str, staged: Path, folder: Path) -> Iterator[tuple[int, int]]:
    """Serve a staged function in a process of its own; yields the process's id and port."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", _SERVE, str(staged), kind, "0"],
        env={
            "PATH": os.environ["PATH"], "ODAI_DATA": str(folder / "data"),
            "ODAI_EGRESS_MAP": "api.twilio.com=http://127.0.0.1:9", "ODAI_PUBLIC_URL": _PUBLIC,
            "ODAI_REALTIME_URL": "wss://model.example", **ACCOUNT.environ,
        },
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _sign_up(data: Path) -> None:
    """Make users whose numbers are known."""
    data.mkdir()
    services = Services(Settings.from_env({"ODAI_DATA": str(data)}), LoopThread())
    codes: list[str] = []

    async def send(_: str, text: str) -> None:
        codes.extend(re.findall(r"\d{6}", text))

    services.phones._send = send
    for user in range(_USERS):
        services.loop.run(services.phones.start(f"user{user}", _number(user)))
        services.loop.run(services.phones.confirm(f"user{user}", codes[-1]))
    services.close()


def _number(user: int) -> str:
    return f"+1415555{1000 + user}"


def _bare(folder: Path) -> Path:
    made = folder / "build" / "bare"
    made.mkdir(parents=True)
    (made / "main.py").write_text(_BARE)
    return made
