"""Phone calls under load: how long a sound and an interruption take through our own code.

Fifty callers and the fake Realtime server share a process, so that every moment is taken on one
clock: each piece of the model's audio carries the time it was sent, and the server notes when it
told that the caller speaks. Callers talk over their answers every few seconds. Ours and a peer
(`voice_peer`) stand on the same core and take turns, round by round.

`python -m tests.bench.voice` prints these figures alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.bench.processes import Server, end, line_of, raise_limit, server, spawn
from tests.fakes import sound
from tests.fakes.openai_realtime import FakeRealtime, Speak, stamps
from tests.fakes.twilio import ACCOUNT, Caller, new_sid

if TYPE_CHECKING:
    from tests.bench.__main__ import Scope, Table

CALLS = 50
_KINDS = ("ours", "peer")
_RAMP_S, _SETTLE_S, _MEASURE_S = 5.0, 2.0, 8.0
_EVERY_S = 4.0  # each caller talks over an answer so often
_UTTERANCE_MS = 400
# As recordings of the vendor have it: pieces of 100 ms, faster than they are played.
_ANSWER = Speak("An answer that goes on for as long as nobody interrupts it. " * 8,
                ms=60_000, delta_ms=100, speed=2.0)  # fmt: skip


# --- the load, in a process of its own ------------------------------------------------------------


@dataclass
class _Line:
    """One caller and what was measured on their line."""

    caller: Caller | None = None
    session: int = -1
    passed_ns: list[int] = field(default_factory=list)
    clears: list[int] = field(default_factory=list)
    last: int = 0

    def media(self, payload: bytes) -> None:
        now = time.monotonic_ns()
        for sent, session in stamps(payload):
            self.session = session
            self.passed_ns.append(now - sent)
            self.last = sent

    def cleared(self) -> None:
        self.clears.append(time.monotonic_ns())


class _Load:
    """The Realtime server and rounds of calls through whatever stands between."""

    def __init__(self) -> None:
        self.fake = FakeRealtime(default=_ANSWER, record=False, stamp=True)

    async def round(self, port: int, calls: Sequence[Mapping[str, str]], seconds: float) -> Any:
        lines = [_Line() for _ in calls]
        people = [
            asyncio.create_task(self._person(line, port, call, _RAMP_S * number / len(calls)))
            for number, (line, call) in enumerate(zip(lines, calls, strict=True))
        ]
        await asyncio.sleep(_RAMP_S + _SETTLE_S)
        _say({"measuring": True})
        began, cpu = time.monotonic_ns(), time.process_time()
        for line in lines:
            line.passed_ns.clear()
        await asyncio.sleep(seconds)
        took, cpu = time.monotonic_ns() - began, time.process_time() - cpu
        _say({"measuring": False})
        await _line()  # they look at their clocks first
        passed = sorted(each for line in lines for each in line.passed_ns)
        # An interruption in the last half second may still be under way.
        stops, missed = self._stops(lines, began, began + took - 500_000_000)
        gone = sum(person.done() for person in people)
        for person in people:
            person.cancel()
        await asyncio.gather(*people, return_exceptions=True)
        return {
            "audio_ms": passed and _percentiles(passed),
            "stop_ms": stops and _percentiles(stops),
            "pieces": len(passed),
            "stops": len(stops),
            "missed": missed,
            "gone": gone,
            "load_cpu": cpu / (took / 1e9),
        }

    def _stops(self, lines: Sequence[_Line], since: int, until: int) -> tuple[list[int], int]:
        """Return how long each `clear` took, and how many never came."""
        found, missed = [], 0
        for line in lines:
            if line.session < 0:
                continue
            for spoke in self.fake.sessions[line.session].speech_at:
                if not since <= spoke <= until:
                    continue
                after = next((clear for clear in line.clears if clear >= spoke), None)
                if after is None or after - spoke > 2_000_000_000:
                    missed += 1
                else:
                    found.append(after - spoke)
        return sorted(found), missed

    async def _person(self, line: _Line, port: int, call: Mapping[str, str], delay: float) -> None:
        await asyncio.sleep(delay)
        async with Caller(
            f"http://127.0.0.1:{port}",
            sid=call["sid"],
            tolerant=True,
            keep_audio=False,
            on_media=line.media,
            on_clear=line.cleared,
        ) as caller:
            line.caller = caller
            await caller.dial(twiml=_twiml(port, call))
            await caller.until(lambda: caller.heard_ms > 200)
            # Everybody at their own time.
            await asyncio.sleep(_EVERY_S * (delay / _RAMP_S))
            while not caller.over:
                caller.say(_UTTERANCE_MS)
                await asyncio.sleep(_EVERY_S)
        raise AssertionError(caller.problems)


def _twiml(port: int, call: Mapping[str, str]) -> str:
    return (
        f'<Response><Connect><Stream url="ws://127.0.0.1:{port}/twilio/connect">'
        f'<Parameter name="ticket" value="{call.get("ticket", "")}"/></Stream></Connect></Response>'
    )


def _percentiles(sorted_ns: Sequence[int]) -> tuple[float, float]:
    last = len(sorted_ns) - 1
    return tuple(sorted_ns[round(last * share)] / 1e6 for share in (0.5, 0.95))  # type: ignore[return-value]


async def _serve_load() -> None:
    sound.voice_mulaw(_UTTERANCE_MS, sound.CALLER_PITCH)
    sound.voice_mulaw(_ANSWER.length_ms, sound.MODEL_PITCH)
    load = _Load()
    runner = await load.fake.start()
    _say({"url": load.fake.url})
    while line := await _line():
        asked = json.loads(line)
        _say(await load.round(asked["port"], asked["calls"], asked["seconds"]))
    await runner.cleanup()


async def _line() -> str:
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


def _say(line: Mapping[str, Any]) -> None:
    print(json.dumps(line), flush=True)


# --- the figures ----------------------------------------------------------------------------------


@contextlib.contextmanager
def _load() -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = spawn(["tests.bench.voice", "--load"])
    try:
        yield process, line_of(process, seconds=60)["url"]
    finally:
        process.kill()
        end(process)


def _round(load: subprocess.Popen[str], target: Server, kind: str, calls: int) -> Any:
    given = {
        "port": target.port,
        "calls": _tickets(target, calls) if kind == "ours" else _untold(calls),
        "seconds": _MEASURE_S,
    }
    _tell(load, json.dumps(given))
    assert line_of(load, seconds=180)["measuring"]
    cpu, began = target.cpu_s(), time.monotonic()
    assert not line_of(load, seconds=180)["measuring"]
    cpu_share = (target.cpu_s() - cpu) / (time.monotonic() - began)
    _tell(load, "go on")
    report = line_of(load, seconds=180) | {"cpu_share": cpu_share}
    if not report["pieces"] or report["gone"]:
        raise RuntimeError(f"{kind}: {report['gone']} calls ended: {report}")
    return report


def _tell(load: subprocess.Popen[str], line: str) -> None:
    assert load.stdin
    load.stdin.write(f"{line}\n")
    load.stdin.flush()


def _untold(calls: int) -> list[dict[str, str]]:
    return [{"sid": new_sid("CA")} for _ in range(calls)]


def _tickets(target: Server, count: int) -> list[dict[str, str]]:
    """Return calls as the webhook would let them in: each with a one-time ticket of its user."""
    from common.bootstrap import Services
    from common.documents import new_id, now
    from common.identity import Identity
    from common.loop import LoopThread
    from common.settings import Settings

    services = Services(Settings.from_env({"ODAI_DATA": str(target.data)}), LoopThread())
    made = []
    try:
        for call in _untold(count):
            identity = Identity(
                uid=f"bench-{call['sid'][2:14]}",
                provider="phone",
                anonymous=False,
                issued_at=now(),
                expires_at=now() + dt.timedelta(hours=1),
            )
            claims = {"call_sid": call["sid"], "chat_id": new_id(), "channel": "phone"}
            ticket = services.loop.run(
                services.tickets.mint(identity, purpose="voice", claims=claims)
            )
            made.append({**call, "ticket": ticket})
    finally:
        services.close()
    return made


def voice(table: Table, scope: Scope, *, calls: int = CALLS) -> None:
    """Own path of audio and of interruption at 50 calls on one core; medians over rounds."""
    reports: dict[str, list[Any]] = {kind: [] for kind in _KINDS}
    with (
        _load() as (load, url),
        server("ours", "http://127.0.0.1:9/v1", ODAI_REALTIME_URL=url, **ACCOUNT.environ) as ours,
        server("voice_peer", url) as peer,
    ):
        targets = {"ours": ours, "peer": peer}
        for kind in _KINDS:
            _round(load, targets[kind], kind, 3)  # what is loaded lazily is loaded
        for _ in range(max(scope.rounds, 1)):
            for kind in _KINDS:
                reports[kind].append(_round(load, targets[kind], kind, calls))
    for name, key, at, goal in (
        ("model audio → Twilio frame p50 ms", "audio_ms", 0, "≤ 5"),
        ("model audio → Twilio frame p95 ms", "audio_ms", 1, "≤ 15"),
        ("speech start → clear p50 ms", "stop_ms", 0, ""),
        ("speech start → clear p95 ms", "stop_ms", 1, "≤ 20"),
    ):
        found = {
            kind: statistics.median(report[key][at] for report in reports[kind])
            for kind in _KINDS
            if all(report[key] for report in reports[kind])
        }
        table.compare(f"{calls} calls: {name}", found, goal, digits=2)
    for name, key in (
        ("interruptions without a clear, all rounds", "missed"),
        ("interruptions with one, all rounds", "stops"),
    ):
        totals = {kind: float(sum(report[key] for report in reports[kind])) for kind in _KINDS}
        table.compare(f"{calls} calls: {name}", totals, "", digits=0)
    for name, key in (("share of the core", "cpu_share"), ("share of the load's core", "load_cpu")):
        shares = {kind: statistics.median(r[key] for r in reports[kind]) for kind in _KINDS}
        table.compare(f"{calls} calls: {name}", shares, "", digits=2)


def go_first() -> None:
    """Let this process and its children run before all other work: figures are its own then."""
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def main() -> None:
    """Measure phone calls; with `--load`, be the load."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.voice", description=main.__doc__)
    parser.add_argument("--load", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument(
        "--first", action="store_true", help="go before all other work on the machine (root)"
    )
    options = parser.parse_args()
    raise_limit()
    if options.load:
        import uvloop

        uvloop.run(_serve_load())
        return
    if options.first:
        go_first()
    from tests.bench.__main__ import Scope, Table

    scope = Scope(rounds=options.rounds, crowds=(), cold=0, idle=0, paced=())
    voice(Table(), scope, calls=options.calls)


if __name__ == "__main__":
    main()
