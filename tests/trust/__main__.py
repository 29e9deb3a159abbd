"""`python -m tests.trust faults|kills`: the long forms, with their figures."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.fakes.openai_responses import FakeOpenAI
from tests.fakes.suite import Suite
from tests.trust import faults_kills
from tests.trust.faults_runs import CONVERSATIONS, Bench
from tests.trust.faults_sweep import Figures, sweep


def faults(names: Sequence[str], most: int) -> int:
    """Play every single fault of the conversations, or `most` of each; return how many failed."""
    whole = Figures()
    with tempfile.TemporaryDirectory() as folder, Bench(Path(folder)) as bench:
        for name in names:
            began, before = time.monotonic(), whole.faults
            sweep(bench, name, whole, lambda line: print(f"  FAILED {line}", flush=True), most=most)
            seconds = time.monotonic() - began
            print(f"  {name}: {whole.faults - before} faults, {seconds:.0f} s", flush=True)
    print(whole)
    return whole.failures.total()


def kills(count: int, seed: int) -> int:
    """Kill the server at `count` random points; return how many chats came out wrong."""
    print(f"  seed {seed}")
    with tempfile.TemporaryDirectory() as folder, FakeOpenAI(default=faults_kills.model) as fake:
        environ = {"OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEY": "k"}
        with Suite(Path(folder), ODAI_SOCKETS_PER_USER="1000", **environ) as suite:
            figures = asyncio.run(
                faults_kills.survive(suite, count, seed, lambda line: print(f"  FAILED {line}"))
            )
    print(figures)
    return figures.failures.total()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of them; 1 where anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.trust", description=__doc__)
    kinds = parser.add_subparsers(dest="what", required=True)
    fault = kinds.add_parser("faults")
    fault.add_argument("--only", choices=CONVERSATIONS, action="append")
    fault.add_argument("--each", type=int, default=0, help="a sample of so many of each")
    kill = kinds.add_parser("kills")
    kill.add_argument("--kills", type=int, default=200)
    kill.add_argument("--seed", type=int, default=11)
    given = parser.parse_args(arguments)
    logging.disable(logging.WARNING)  # thousands of lines, all of them meant
    if given.what == "faults":
        return int(bool(faults(given.only or list(CONVERSATIONS), given.each)))
    return int(bool(kills(given.kills, given.seed)))


if __name__ == "__main__":
    sys.exit(main())
