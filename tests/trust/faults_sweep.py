"""Every single fault of every conversation, or a sample of them that is the same each time."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.trust.faults import Call, Fault
from tests.trust.faults_runs import Bench, Broken, recorded

_END = "store.commit chats+chats/items+chats/turns+chats/turns/journal+users/usage"

# What once broke something, by conversation: played in every sample.
KNOWN = {
    "plain": [
        (_END, 1, "refused"), (_END, 1, "contended"),
        ("store.commit users/usage", 1, "lost"), ("store.commit users/usage", 2, "away"),
    ],
    "lookup": [
        ("store.commit chats/turns/journal", 1, "contended"),
        ("store.commit chats+chats/turns+chats/turns/journal", 1, "lost"),
    ],
    "act": [
        ("store.transact Approvals.decide.work", 1, "lost"),
        ("tasks.enqueue /follow_ups", 1, "away"),
        ("store.transact Approvals.claim.work", 1, "lost"),
        ("store.commit approvals", 1, "contended"),
        ("store.commit audit", 1, "lost"), ("store.commit audit", 2, "away"),
    ],
    "search": [
        ("tasks.enqueue /connector_worker", 1, "refused"),
        ("store.commit jobs", 2, "lost"),
        ("store.transact Jobs._finish.work", 1, "refused"),
        ("store.watch jobs", 1, "away"),
    ],
    "later": [("model", 3, "refused"), ("store.transact Jobs.leave.work", 1, "lost")],
    "return": [("store.query chats/turns(id)", 1, "away")],
    "elsewhere": [("other.query chats/turns/journal(n)", 1, "timeout")],
    "remind": [("store.commit users/schedules", 1, "contended")],
}  # fmt: skip


@dataclass
class Figures:
    """What came of it: runs, faults that did not come to pass, failures by kind."""

    conversations: int = 0
    calls: int = 0
    faults: int = 0
    missed: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(self.by_kind.items()))
        failed = ", ".join(f"{kind} {n}" for kind, n in self.failures.items()) or "none"
        return (
            f"faults {self.faults} at {self.calls} port calls of {self.conversations} "
            f"conversations ({kinds}); not reached {self.missed}; failures: {failed}"
        )


def faults_of(bench: Bench, name: str) -> list[Fault]:
    """Play a conversation undisturbed and return the faults it may have."""
    recorded(bench, name)  # what a process makes once is made here
    calls = recorded(bench, name)
    return sorted(Fault(call, kind) for call, kinds in calls.items() for kind in kinds)


def sampled(name: str, faults: list[Fault], most: int) -> list[Fault]:
    """Return `most` of the faults, the same ones whatever else there is, and the known ones."""

    def place(fault: Fault) -> bytes:
        return hashlib.sha256(f"{name} {fault}".encode()).digest()

    known = {Fault(Call(label, nth), kind) for label, nth, kind in KNOWN.get(name, ())}
    return sorted({*sorted(faults, key=place)[:most], *known})


def sweep(
    bench: Bench, name: str, figures: Figures, tell: Callable[[str], None], *, most: int = 0
) -> None:
    """Play `name` with each of its faults, or with `most` of them; count and tell what fails."""
    faults = faults_of(bench, name)
    figures.conversations += 1
    figures.calls += len({fault.call for fault in faults})
    for fault in sampled(name, faults, most) if most else faults:
        figures.faults += 1
        figures.by_kind[fault.kind] += 1
        try:
            figures.missed += not bench.play(name, fault)
        except Exception as err:
            kind = err.kind if isinstance(err, Broken) else type(err).__name__
            figures.failures[kind] += 1
            tell(f"{name}, {fault}: {err!r}")
            _rest(bench)


def _rest(bench: Bench) -> None:
    """Let what a broken run left behind come to its end, so that it spoils no other."""
    with suppress(Broken, TimeoutError):  # else the next ones tell it too
        bench.services.loop.run(asyncio.wait_for(bench.quiet(), 60.0))
