"""What 1,000 turns cost: operations counted on a real turn, times Google's list prices.

The turn is answered by the offline planner over a store that counts, so that the figures follow the
code. Prices are those of us-central1 and, for Firestore, nam5, without free tiers and discounts,
from Google's price lists as of November 2026.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from common.bootstrap import Services
from common.loop import LoopThread
from common.settings import Settings

# US dollars for one. https://cloud.google.com/firestore/pricing and its like, by service.
PRICES: Final = {
    "Firestore read": Decimal("0.06") / 100_000,
    "Firestore write": Decimal("0.18") / 100_000,
    "Firestore delete": Decimal("0.02") / 100_000,
    "KMS operation": Decimal("0.03") / 10_000,
    "Cloud Tasks operation": Decimal("0.40") / 1_000_000,
    "Pub/Sub message": Decimal("40") / 1024 / 1024 / 1024,  # billed as 1 KB at least, 40 $ a TiB
    "Function call": Decimal("0.40") / 1_000_000,
    "vCPU second": Decimal("0.000018"),  # instance-based billing
    "GiB second": Decimal("0.000002"),
    "Log line": Decimal("0.50") / 1024 / 1024,  # about 1 KB each, 0.50 $ a GiB
}
_VCPU, _GIB = 2, 2  # of one container instance
_DAY: Final = 86_400


@dataclass(slots=True)
class Count:
    """How many of each operation one turn of a kind makes."""

    of: Counter[str] = field(default_factory=Counter)

    def dollars(self, turns: int = 1000) -> dict[str, Decimal]:
        """Return what so many turns cost, by operation."""
        return {name: PRICES[name] * number * turns for name, number in sorted(self.of.items())}


class Counting:
    """Counts calls of a port's methods, and passes them on."""

    def __init__(
        self, inner: Any, count: Counter[str], prices: dict[str, Callable[..., Any]]
    ) -> None:
        self._inner, self._count, self._prices = inner, count, prices

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._inner, name)
        priced = self._prices.get(name)
        if priced is None:
            return real

        async def counted(*arguments: Any, **keywords: Any) -> Any:
            answer = await real(*arguments, **keywords)
            for operation, number in priced(arguments, answer).items():
                self._count[operation] += number
            return answer

        return counted


def count_turn(prompt: str) -> Count:
    """Answer `prompt` as the second turn of a chat and count what that took."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.from_env({"ODAI_DATA": folder})
        settings.data_dir.mkdir(exist_ok=True)
        services = Services(settings, LoopThread())
        try:
            return _counted(services, prompt)
        finally:
            services.close()


def _counted(services: Services, prompt: str) -> Count:
    from run.local.terminal import ask

    count = Count()
    counter: Counter[str] = Counter()
    parts = services.__dict__
    parts["store"] = Counting(services.store, counter, {
        "get": lambda _, __: {"Firestore read": 1},
        "query": lambda _, rows: {"Firestore read": max(1, len(rows))},
        "commit": lambda writes, _: {"Firestore write": len(writes)},
        "transact": lambda _, __: {"Firestore read": 1, "Firestore write": 1},
    })  # fmt: skip
    parts["keys"] = Counting(services.keys, counter, {
        "wrap": lambda _, __: {"KMS operation": 1}, "unwrap": lambda _, __: {"KMS operation": 1},
    })  # fmt: skip
    parts["tasks"] = Counting(services.tasks, counter, {
        "enqueue": lambda _, __: {"Cloud Tasks operation": 2, "Function call": 1},
    })  # fmt: skip
    parts["events"] = Counting(services.events, counter, {
        "publish": lambda _, __: {"Pub/Sub message": 3},  # in, to a function, to BigQuery
    })  # fmt: skip
    for text in ("hello", prompt):  # the first one opens the chat and makes the user's key
        counter.clear()
        services.loop.run(ask(services.turns, "costs", "dev-costs", text), timeout=120.0)
    count.of.update(counter)
    count.of["Log line"] += 3  # the frame's, the turn's and a tool's
    return count


def standing_costs(instances: int) -> Decimal:
    """Return dollars a month for `instances` of the container that always run."""
    seconds = Decimal(30 * _DAY * instances)
    return seconds * (_VCPU * PRICES["vCPU second"] + _GIB * PRICES["GiB second"])


def costs_text() -> str:
    """Return the tables of docs/operations.md."""
    turns = {
        "a plain answer": count_turn("thank you"),
        "one that asks a service": count_turn("Convert 250 euros to dollars."),
    }
    names = sorted({name for count in turns.values() for name in count.of})
    head = " | ".join(turns)
    lines = [f"| operation, each | {head} |", f"| --- |{' ---: |' * len(turns)}"]
    for name in names:
        cells = " | ".join(str(count.of[name]) for count in turns.values())
        lines.append(f"| {name}, ${PRICES[name]:.2e} | {cells} |")
    sums = " | ".join(f"${sum(count.dollars().values()):.4f}" for count in turns.values())
    lines.append(f"| **1,000 turns** | {sums} |")
    lines += ["", "| always running | $ a month |", "| --- | ---: |"]
    for instances in (0, 1, 2):
        lines.append(f"| containers: {instances} | {standing_costs(instances):.0f} |")
    return "\n".join(lines)


def costs_table(_: Settings, arguments: argparse.Namespace) -> int:
    """Print the tables, or write them into docs/operations.md."""
    from common import log
    from run.local.cloud import ROOT, rewrite

    log.configure(level="ERROR")
    text = costs_text()
    if arguments.write:
        rewrite(ROOT / "docs" / "operations.md", "costs", text)
    print(text)
    return 0
