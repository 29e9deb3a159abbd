"""What titles, suggestions and analytics cost the end of an answer: on and off by turns, one run.

Three sets of services in this process answer the same prompts from the same endpoint, taking turns,
each in a new chat. One has everything behind the turn switched on, with a small model that takes
300 ms to answer; the others have none of it, and what differs between those two is what this
measurement cannot tell from nothing. What is told is what lies between the prompt and
`end_of_stream`: reads and commits, which are exact, and time and the event loop's CPU, whose lower
quartiles a busy machine blurs least; and how long after it the suggestions came.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from common.assistant.protocol import Prompt
from common.bootstrap import Services
from common.loop import LoopThread
from common.settings import Settings
from common.store import Counted
from run.local.suite import create_suite
from tests.fakes.openai_responses import FakeOpenAI, Reply, Text
from tests.fakes.recording_store import RecordingStore

_KINDS = ("off", "on", "off again")
_PROMPT = "What is the weather in Boston, and what are 20 euros in dollars?"
_THINKS_S = 0.3
_REST_S = 0.02
_TURNS = 40  # of each kind for each round
_WARM_UP = 5
_SECONDS = 30.0


class Rows(Protocol):
    """The part of the table of figures that is written to."""

    def only(self, name: str, value: str, goal: str = "") -> None: ...


class Scale(Protocol):
    """How much is measured."""

    @property
    def rounds(self) -> int: ...


class _Clock:
    """A viewer that notes when events of a type were first shown."""

    def __init__(self) -> None:
        self.turn_id, self.seq, self.ready = "", 0, True
        self.seen: dict[str, list[float]] = {}
        self.cpu, self.operations = 0.0, 0  # of this thread and the store when the end was shown
        self.counted = Counted()
        self._changed = asyncio.Event()

    def show(self, payload: bytes) -> None:
        now = time.perf_counter()
        kind = json.loads(payload)["type"]
        self.seen.setdefault(kind, []).append(now)
        if kind == "end_of_stream":
            self.cpu, self.operations = time.thread_time(), _operations(self.counted)
        self._changed.set()

    async def writable_again(self) -> None:
        """Return at once."""

    def drop(self, code: int, reason: str) -> None:
        raise RuntimeError(f"closed: {code} {reason}")

    async def until(self, kind: str, count: int = 1) -> None:
        async with asyncio.timeout(_SECONDS):
            while len(self.seen.get(kind, ())) < count:
                self._changed.clear()
                await self._changed.wait()


class _Nobody:
    """Analytics that hear nothing."""

    def emit(self, *_: Any, **__: Any) -> None:
        """Drop it."""


def aftermath(table: Rows, scope: Scale) -> None:
    """Time to the end of an answer with all that happens behind it, and without."""
    found: dict[str, list[_Spent]] = {kind: [] for kind in _KINDS}
    with tempfile.TemporaryDirectory(prefix="odai-bench-") as folder, _all(Path(folder)) as made:
        for number in range(_WARM_UP + scope.rounds * _TURNS):
            # Whoever goes first changes, so that nobody gains by it.
            first = number % len(_KINDS)
            for kind in (*_KINDS[first:], *_KINDS[:first]):
                services, chat = made[kind], f"bench-{kind}-{number}"
                spent = services.loop.run(_turn(services, chat, wait=kind == "on"))
                if number >= _WARM_UP:
                    found[kind].append(spent)
    for name in ("operations", "time_ms", "cpu_ms"):
        quartiles = {
            kind: statistics.quantiles([getattr(each, name) for each in spent], n=4)
            for kind, spent in found.items()
        }
        (off, _, most), (on, *_), (again, *_) = (quartiles[kind] for kind in _KINDS)
        shown = f"to the end, {name.replace('_', ' ')}"
        table.only(f"{shown}: nothing behind it (upper quartile)", f"{off:.1f} ({most:.1f})")
        table.only(f"{shown}: with titles, suggestions and the rest", f"{on:.1f}")
        table.only(f"{shown}: added", f"{on - off:+.2f}", "0")
        table.only(f"{shown}: added by nothing at all", f"{again - off:+.2f}")
    after = statistics.median(each.after_ms for each in found["on"])
    table.only("suggestions behind end_of_stream: median ms", f"{after:.0f}")


@dataclass(frozen=True)
class _Spent:
    """Between a prompt and its end; `after_ms` is from there to the suggestions."""

    operations: int
    time_ms: float
    cpu_ms: float
    after_ms: float


async def _turn(services: Services, chat: str, *, wait: bool) -> _Spent:
    """Have a prompt answered in a new chat."""
    turns, viewer = services.turns, _Clock()
    room = await turns.enter(chat, "bench")
    await turns.attach(room, viewer, None)
    store: Any = services.store
    viewer.counted = store.counted
    before = _operations(store.counted)
    began, cpu = time.perf_counter(), time.thread_time()
    turns.prompt(room, Prompt(_PROMPT))
    await viewer.until("end_of_stream")
    after = 0.0
    if wait:  # nothing of this turn may run into the next one's time
        await viewer.until("suggested_prompts")
        await viewer.until("title", 2)
        after = viewer.seen["suggested_prompts"][0] - viewer.seen["end_of_stream"][0]
        await services.analytics.flush(_SECONDS)
    turns.leave(room, viewer)
    # What leaving writes is no part of the next turn; and both kinds begin after the same rest.
    await asyncio.sleep(_REST_S + _THINKS_S)
    ended = viewer.seen["end_of_stream"][0]
    return _Spent(
        viewer.operations - before, (ended - began) * 1000, (viewer.cpu - cpu) * 1000, after * 1000
    )


def _operations(counted: Counted) -> int:
    return counted.reads + counted.commits


@contextlib.contextmanager
def _all(folder: Path) -> Iterator[dict[str, Services]]:
    words = ["It is mild in Boston, and you get 21 dollars for 20 euros. "] * 5
    with FakeOpenAI(default=Text("".join(words)), aside=_aside, record=False) as fake:
        environ = {"OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEY": "bench"}
        made = {
            kind: Services(
                Settings.from_env(
                    {**environ, "ODAI_DATA": str(folder / kind), "ODAI_SMALL_MODEL": model}
                ),
                LoopThread(),
            )
            for kind, model in zip(_KINDS, ("off", "small", "off"), strict=True)
        }
        try:
            for services in made.values():
                services.settings.data_dir.mkdir()
                services.__dict__["store"] = RecordingStore(services.store)
            for kind in ("off", "off again"):
                made[kind].__dict__["analytics"] = _Nobody()
            create_suite(made["on"])  # whose functions hear of finished turns
            for services in made.values():
                services.loop.run(services.turns.warm_up())
            yield made
        finally:
            for services in made.values():
                services.close()


def _aside(body: dict[str, Any]) -> Any:
    form = (body.get("text") or {}).get("format", {}).get("name")
    if form is None:
        return None
    idea = {"prompt": "And in pounds?", "tool": next(iter(_tools(body)), ""), "likelihood": 0.8}
    filled = {
        "_Title": {"moved": True, "title": "Boston and euros"},
        "_Thoughts": {"suggestions": [idea], "missing": "", "reason": ""},
    }[form]
    return Reply((Text(json.dumps(filled)),), first_delay_s=_THINKS_S)


def _tools(body: dict[str, Any]) -> dict[str, str]:
    told: dict[str, str] = json.loads(body["input"][0]["content"]).get("tools", {})
    return told
