"""The load: a thousand sockets on one core for ten minutes, two hundred of them streaming.

`python -m tests.soak.load`. The server has a core to itself; its model and its clients have the
others. What must hold: memory stays flat, heartbeats come in time, nobody but the difficult
clients is dropped, and a delta costs at the end what it cost at the beginning.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench.processes import Server, end, line_of, raise_limit, server, spawn
from tests.soak.load_crowd import ODD, percentile

DRIFT_GOAL = 5.0  # per cent of resident memory, from after the warm-up to the end
_UNLIMITED = {"ODAI_DAILY_HARD": "0", "ODAI_DAILY_SOFT": "0"}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much load, and for how long."""

    sockets: int = 1000
    streaming: int = 200
    odd: int = 10  # of each difficult kind
    deltas: int = 500  # of an answer
    interval_ms: float = 20.0
    turns: int = 4  # answers in a chat before it is left for a new one
    seconds: float = 600.0
    warm_s: float = 180.0  # until chats are as full as they get
    every_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Row:
    """What was seen in a stretch of time."""

    second: float
    resident_kb: int
    deltas: int
    answers: int
    cpu_us: float  # of the server, for each delta that a client saw, starts of turns included
    p50_ms: float
    p99_ms: float
    open: int


@dataclass
class Outcome:
    """What came of a load."""

    plan: Plan
    rows: list[Row] = field(default_factory=list)
    buckets: Counter[int] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    lived_s: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    pings: int = 0
    late_pings: int = 0
    longest_ping_s: float = 0.0

    @property
    def warm(self) -> list[Row]:
        """The rows after the warm-up."""
        return [row for row in self.rows if row.second > self.plan.warm_s] or self.rows[-1:]

    @property
    def drift(self) -> float:
        """Growth of resident memory after the warm-up, in per cent: end against beginning."""
        rows = self.warm
        few = max(1, len(rows) // 5)
        first = sum(row.resident_kb for row in rows[:few]) / few
        last = sum(row.resident_kb for row in rows[-few:]) / few
        return (last / first - 1.0) * 100.0

    @property
    def harmed(self) -> dict[str, int]:
        """Who was dropped that should not have been, and how often."""
        dropped = self.dropped.items()
        return {who: count for who, count in dropped if who.split(":")[0] not in ODD[1:]}

    def note(self, report: dict[str, Any], *, second: float, resident_kb: int, cpu_s: float) -> Row:
        """Take in what the crowd reports, and what the server used meanwhile."""
        buckets: Counter[int] = Counter(dict(report["buckets"]))
        self.buckets += buckets
        self.dropped.update(report["dropped"])
        self.lived_s += report["lived_s"]
        self.problems += report["problems"]
        self.pings += report["pings"]
        self.late_pings += report["late_pings"]
        self.longest_ping_s = max(self.longest_ping_s, report["longest_ping_s"])
        self.rows.append(Row(
            second, resident_kb, report["deltas"], report["answers"],
            cpu_s / max(1, report["deltas"]) * 1e6, percentile(buckets, 0.5),
            percentile(buckets, 0.99), report["open"],
        ))  # fmt: skip
        return self.rows[-1]


def load(plan: Plan, tell: Callable[[Row], None] = lambda _: None) -> Outcome:
    """Put the load on a new server; `tell` hears each row as it is known."""
    raise_limit()
    outcome = Outcome(plan)
    with _model(plan) as upstream, server("ours", upstream, **_UNLIMITED) as target:
        began, spent = time.monotonic(), target.cpu_s()
        for report in _crowd(target, plan):
            now = target.cpu_s()
            second = time.monotonic() - began
            resident = target.memory_kb()
            tell(outcome.note(report, second=second, resident_kb=resident, cpu_s=now - spent))
            spent = now
    return outcome


@contextlib.contextmanager
def _model(plan: Plan) -> Iterator[str]:
    process = spawn([
        "tests.soak.load_model", "--deltas", str(plan.deltas),
        "--interval-ms", str(plan.interval_ms),
    ])  # fmt: skip
    try:
        yield line_of(process, seconds=60)["base_url"]
    finally:
        end(process)


def _crowd(target: Server, plan: Plan) -> Iterator[dict[str, Any]]:
    with tempfile.NamedTemporaryFile("w", suffix=".paths") as listed:
        listed.write("\n".join(target.paths(plan.sockets)))
        listed.flush()
        process = spawn([
            "tests.soak.load_crowd", "--port", str(target.port), "--paths", listed.name,
            "--streaming", str(plan.streaming), "--odd", str(plan.odd),
            "--turns", str(plan.turns), "--seconds", str(plan.seconds),
            "--every", str(plan.every_s),
        ])  # fmt: skip
        try:
            assert process.stdout
            for line in process.stdout:
                yield json.loads(line)
        finally:
            process.kill()
            end(process)


def show(row: Row) -> None:
    """Print a row."""
    print(
        f"| {row.second:6.0f} | {row.resident_kb / 1024:8.1f} | {row.deltas:8} | {row.answers:7} |"
        f" {row.cpu_us:8.1f} | {row.p50_ms:8.1f} | {row.p99_ms:8.1f} | {row.open:5} |",
        flush=True,
    )


def summary(outcome: Outcome) -> list[tuple[str, str, str, bool]]:
    """Return the figures: name, value, goal, whether it was reached."""
    warm = outcome.warm
    cpu = [row.cpu_us for row in warm]
    few = max(1, len(cpu) // 5)
    first, last = sum(cpu[:few]) / few, sum(cpu[-few:]) / few
    dropped = ", ".join(f"{who} × {count}" for who, count in sorted(outcome.dropped.items()))
    longest = max(outcome.lived_s, default=0.0)
    return [
        ("resident memory, drift", f"{outcome.drift:+.1f} %", f"≤ {DRIFT_GOAL:g} %",
         outcome.drift <= DRIFT_GOAL),
        ("late heartbeats", f"{outcome.late_pings} of {outcome.pings}", "0",
         outcome.late_pings == 0),
        ("longest between heartbeats", f"{outcome.longest_ping_s:.1f} s", "", True),
        ("delta latency p50", f"{percentile(outcome.buckets, 0.5):.1f} ms", "", True),
        ("delta latency p99", f"{percentile(outcome.buckets, 0.99):.1f} ms", "", True),
        ("CPU µs a delta, first and last fifth", f"{first:.1f}, {last:.1f}", "", True),
        ("turns answered", f"{sum(row.answers for row in outcome.rows)}", "", True),
        ("dropped", dropped or "nobody", "only deaf, stubborn, gone", not outcome.harmed),
        ("longest life of one dropped", f"{longest:.0f} s", "", True),
        ("errors shown", f"{len(outcome.problems)}", "0", not outcome.problems),
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the load and print its figures; 1 where a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.load", description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--sockets", type=int, default=1000)
    parser.add_argument("--streaming", type=int, default=200)
    parser.add_argument("--deltas", type=int, default=500, help="of an answer")
    options = parser.parse_args(arguments)
    plan = Plan(
        sockets=options.sockets, streaming=options.streaming, seconds=options.minutes * 60.0,
        odd=max(1, options.sockets // 100), deltas=options.deltas,
        warm_s=min(180.0, options.minutes * 20.0),
    )  # fmt: skip
    print("|      s |      MiB |   deltas | answers | CPU µs/Δ |   p50 ms |   p99 ms |  open |")
    outcome = load(plan, show)
    print()
    for name, value, goal, reached in summary(outcome):
        print(f"{'  ' if reached else '! '}{name:<40} {value:<24} {goal}")
    for problem in outcome.problems[:5]:
        print(f"  {problem}")
    return 0 if all(reached for *_, reached in summary(outcome)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
