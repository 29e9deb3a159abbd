"""`python -m tests.bench`: every figure in one table, ours beside the peer and a bare relay.

Each kind of server runs in turn under the same load; what is printed are medians over rounds. On a
shared or noisy machine the ratios hold and the absolute times do not.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.bench import inside
from tests.bench.aftermath import aftermath
from tests.bench.cold import cold_starts
from tests.bench.processes import KINDS, Server, crowd, endpoint, raise_limit, run, server, stolen_s
from tests.bench.voice import voice
from tests.bench.webhook import webhooks

_ANSWER = 300  # deltas in a long answer
_PACE_MS = 20.0
_STARTS_A_SECOND = 25
_SETTLE_S = 3.0  # from the last start until latencies count
_STEADY_S = 4.0  # for which all sockets stream at the same time


@dataclass(frozen=True)
class Scope:
    """How much is measured."""

    rounds: int
    crowds: tuple[int, ...]
    cold: int
    idle: int
    paced: tuple[int, ...]


FULL = Scope(rounds=5, crowds=(1, 50, 500), cold=40, idle=1000, paced=(50, 200, 1000))
QUICK = Scope(rounds=1, crowds=(1, 50), cold=15, idle=300, paced=(50, 200))


class Table:
    """Prints rows as they are known: figure, ours, peer, relay, ratio, goal."""

    def __init__(self) -> None:
        self.row("figure", "ours", "peer", "relay", "peer/ours", "goal")
        self.row("---", "---", "---", "---", "---", "---")

    def row(self, *cells: str) -> None:
        print(f"| {cells[0]:<52} |" + "".join(f" {cell:>10} |" for cell in cells[1:]), flush=True)

    def compare(self, name: str, found: dict[str, float], goal: str, digits: int = 1) -> None:
        """Add a row of one figure for each kind."""
        shown = [f"{found[kind]:.{digits}f}" if kind in found else "" for kind in KINDS]
        ours, peer = found.get("ours"), found.get("peer")
        self.row(name, *shown, f"{peer / ours:.1f}" if ours and peer else "", goal)

    def only(self, name: str, value: str, goal: str = "") -> None:
        """Add a row of a figure that only ours has."""
        self.row(name, value, "", "", "", goal)


@contextlib.contextmanager
def _serving(
    kind: str, *, deltas: int, interval_ms: float = 0.0, stamp: bool = False
) -> Iterator[Server]:
    with (
        endpoint(deltas=deltas, interval_ms=interval_ms, stamp=stamp) as upstream,
        server(kind, upstream) as target,
    ):
        yield target


def _cost(target: Server, *, sockets: int, prompts: int, **options: Any) -> tuple[float, Any]:
    """Return CPU seconds of the server for each answer, and the load's report."""
    with crowd(target, sockets=sockets, prompts=prompts, **options) as process:
        before, stolen = target.cpu_s(), stolen_s()
        report = run(process)
        spent = target.cpu_s() - before
        report["stolen"] = stolen_s() - stolen
    return spent / report["answers"], report


def _median_cost(name: str, rounds: int, target: Server, **options: Any) -> float:
    """Return the median CPU seconds of an answer over rounds, each told as it ends."""
    costs = []
    for number in range(1, rounds + 1):
        cost, report = _cost(target, **options)
        costs.append(cost)
        _progress(name, target.kind, number, rounds, f"{cost * 1e3:.1f} ms an answer", report)
    return statistics.median(costs)


def _progress(
    name: str, kind: str, number: int, rounds: int, found: str, report: dict[str, Any]
) -> None:
    # What the host gave to other machines meanwhile: a late delta may have waited for that.
    took = f"in {report['elapsed']:.0f} s, {report['stolen']:.1f} s stolen"
    print(f"  {name}, {kind}, round {number} of {rounds}: {found}, {took}", file=sys.stderr)


def cpu_per_delta(table: Table, scope: Scope) -> None:
    """Server CPU for each delta with the endpoint sending as fast as it can, starts included."""
    goals = {1: "≥ 20×", 50: "≥ 12×", 500: "≥ 6×"}
    found: dict[int, dict[str, float]] = {number: {} for number in scope.crowds}
    for kind in KINDS:
        with _serving(kind, deltas=_ANSWER) as target:
            _cost(target, sockets=1, prompts=3)
            for number in scope.crowds:
                # CPU is counted in hundredths of a second: enough of them to tell.
                prompts = {1: 30, 50: 2}.get(number, 1)
                name, many = f"{number} sockets", {"sockets": number, "prompts": prompts}
                cost = _median_cost(name, scope.rounds, target, **many)
                found[number][kind] = cost / _ANSWER * 1e6
    for number in scope.crowds:
        table.compare(f"CPU µs a delta, saturated, {number} sockets", found[number], goals[number])


def turn_start(table: Table, scope: Scope) -> None:
    """Server CPU of a turn that says one word: routing, agents, run, commits, sealing."""
    found = {}
    for kind in KINDS:
        with _serving(kind, deltas=1) as target:
            _cost(target, sockets=1, prompts=3)
            cost = _median_cost("turn of one word", scope.rounds, target, sockets=10, prompts=5)
            found[kind] = cost * 1e3
    table.compare("CPU ms of a turn of one word", found, "≥ 3×")


def long_start(table: Table, scope: Scope) -> None:
    """The marginal cost of a delta: what is left of a long answer without a turn's start."""
    found = {}
    for kind in KINDS:
        both = []
        for deltas in (1, 3000):
            with _serving(kind, deltas=deltas) as target:
                _cost(target, sockets=1, prompts=3)
                name = f"answers of {deltas}"
                both.append(_median_cost(name, scope.rounds, target, sockets=5, prompts=4))
        found[kind] = (both[1] - both[0]) / 2999 * 1e6
    table.compare("CPU µs a further delta, 5 sockets, start excluded", found, "")


def paced(table: Table, scope: Scope) -> None:
    """Latency on the way through, one-way, from the endpoint's clock to the client's.

    Counted while all sockets stream at the same time. The peer is left out where it cannot follow:
    with 200 sockets its requests to the endpoint time out for want of CPU.
    """
    for number in scope.paced:
        kinds = KINDS if number <= 50 else ("ours", "relay")
        found = _paced(kinds, number, scope.rounds)
        for name, field in (
            ("p50 ms", "p50_ms"),
            ("p99 ms", "p99_ms"),
            (f"deltas a second of {number * 50}", "rate"),
            ("CPU µs a delta, starts included", "cpu_us"),
        ):
            values = {kind: found[kind][field] for kind in kinds}
            goal = "≤ 250" if (number, field) == (1000, "p99_ms") else ""
            table.compare(f"{number} sockets at 20 ms: {name}", values, goal)
        if number == 200:
            over = found["ours"]["p99_ms"] - found["relay"]["p99_ms"]
            table.only("200 sockets at 20 ms: p99 ms over the relay", f"{over:.1f}", "≤ 10")


def _paced(kinds: Sequence[str], sockets: int, rounds: int) -> dict[str, dict[str, float]]:
    # Starts have a figure of their own: they are spread, and what they delayed may be caught up.
    spread = sockets / _STARTS_A_SECOND
    deltas = int((spread + _SETTLE_S + _STEADY_S) * 1000 / _PACE_MS)
    load = {
        "sockets": sockets, "prompts": 1, "spread": spread, "settle": _SETTLE_S,
        "steady": _STEADY_S,
    }  # fmt: skip
    reports: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    with contextlib.ExitStack() as stack:
        targets = [
            stack.enter_context(_serving(kind, deltas=deltas, interval_ms=_PACE_MS, stamp=True))
            for kind in kinds
        ]
        for target in targets:
            _cost(target, sockets=1, prompts=1)
        # In turn, so that what the machine does beside them meets them all.
        for number, target in itertools.product(range(1, rounds + 1), targets):
            cost, report = _cost(target, **load)
            report["cpu_us"] = cost / deltas * 1e6
            reports[target.kind].append(report)
            late = f"p99 {report['p99_ms']:.1f} ms, {report['rate']:.0f} deltas a second"
            _progress(f"{sockets} paced sockets", target.kind, number, rounds, late, report)
    fields = ("p50_ms", "p99_ms", "rate", "cpu_us")
    return {
        kind: {field: statistics.median(each[field] for each in found) for field in fields}
        for kind, found in reports.items()
    }


def first_delta(table: Table, scope: Scope) -> None:
    """From prompt to first delta in a chat nobody has opened before, one at a time."""
    found = {}
    for kind in KINDS:
        with _serving(kind, deltas=2) as target:
            _cost(target, sockets=3, prompts=1, one_by_one=True)
            found[kind] = _cost(target, sockets=scope.cold, prompts=1, one_by_one=True)[1][
                "first_ms"
            ]
    table.compare("first delta, cold chat: median ms", found, "")
    table.only(
        "first delta, cold chat: ms over the relay", f"{found['ours'] - found['relay']:.1f}", "≤ 15"
    )


def idle(table: Table, scope: Scope) -> None:
    """Resident memory of a socket on which nothing happens, each of a user of its own."""
    found = {}
    for kind in KINDS:
        with _serving(kind, deltas=1) as target:
            _cost(target, sockets=20, prompts=1)
            before = target.memory_kb()
            with crowd(target, sockets=scope.idle, prompts=0):
                time.sleep(1.0)  # until what opening used is given back
                found[kind] = (target.memory_kb() - before) / scope.idle
    table.compare(f"KB of an idle socket ({scope.idle} open)", found, "≤ 120")


def journal(table: Table, scope: Scope) -> None:
    """What a turn's journal takes in the store, for each byte of what it tells."""
    for pace, name in ((0.0, "saturated"), (_PACE_MS, "at 20 ms")):
        with _serving("ours", deltas=_ANSWER, interval_ms=pace) as target:
            _cost(target, sockets=4, prompts=1)
            stored, chunks = _journal_bytes(target)
        events, text = inside.told_bytes(_ANSWER)
        table.only(f"journal bytes ÷ events' bytes, {name}", f"{stored / events / 4:.2f}", "≤ 1.3")
        table.only(f"journal bytes ÷ bare text, {name}", f"{stored / text / 4:.2f}")
        table.only(f"journal chunks a turn, {name}", f"{chunks / 4:.1f}")


def _journal_bytes(target: Server) -> tuple[int, int]:
    with contextlib.closing(sqlite3.connect(target.data / "store.sqlite")) as store:
        found: tuple[int, int] = store.execute(
            "SELECT SUM(LENGTH(data)), COUNT(*) FROM documents WHERE collection LIKE '%/journal'"
        ).fetchone()
    return found


def prompts(table: Table, scope: Scope) -> None:
    """What the first turn's request weighs, and what choosing connectors costs."""
    chosen, all_of_them = inside.prompt_tokens()
    table.only("prompt tokens of a first turn (characters ÷ 4)", f"{chosen}")
    table.only("the same with every connector's tools", f"{all_of_them}")
    table.only("their ratio", f"{chosen / all_of_them:.1%}", "≤ 20 %")
    table.only("router µs a call", f"{inside.router_us():.0f}", "< 5000")


FIGURES: dict[str, Callable[[Table, Scope], None]] = {
    "prompts": prompts,
    "journal": journal,
    "start": turn_start,
    "cpu": cpu_per_delta,
    "marginal": long_start,
    "first": first_delta,
    "idle": idle,
    "paced": paced,
    "aftermath": aftermath,
    "cold": cold_starts,
    "webhooks": webhooks,
    "voice": voice,
}


def main() -> None:
    """Measure and print; a few minutes, or one or two with `--quick`."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and smaller crowds")
    parser.add_argument("--only", action="append", choices=FIGURES, help="may be repeated")
    parser.add_argument("--sockets", type=int, action="append", help="only crowds of this size")
    options = parser.parse_args()
    raise_limit()
    table, scope = Table(), QUICK if options.quick else FULL
    if options.sockets:
        crowds, paced = (
            tuple(size for size in sizes if size in options.sockets)
            for sizes in (scope.crowds, scope.paced)
        )
        scope = replace(scope, crowds=crowds, paced=paced)
    for name, figure in FIGURES.items():
        if name in (options.only or FIGURES):
            figure(table, scope)


if __name__ == "__main__":
    main()
