"""Real answers are damaged everywhere: nulls, missing keys, numbers as text, other types.

Every value of every recorded success is damaged in every way, one at a time. A damaged answer may
cost a fact, or the whole answer with a sentence that says so; it may not cost a defect of ours, nor
turn into words that a person would stumble over.
"""

from __future__ import annotations

import asyncio
import copy
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.egress import Egress, Reply
from common.egress.wire import Call
from common.tools import Outcome, run_tool

from .conftest import HERE, Replay, Time, entries

# A list beyond its second item holds more of the same.
ITEMS = 2
PLACEHOLDERS = {"None", "nan", "null", "[]", "{}", "NaN", "inf"}
SLUGS = [entry.slug for entry in entries()]
DAMAGES = ("null", "missing", "text", "blank", "other", "odd", "gaps")
# What is shown as it came: of a JSON document, its nulls are the content.
VERBATIM = {"fetch_website"}


def recorded() -> list[Path]:
    return sorted(HERE.glob("*/*__success.json"))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value inside `value`."""
    if path:
        yield path
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value[:ITEMS])
        if isinstance(value, list)
        else ()
    )
    for key, item in inner:
        yield from places(item, (*path, key))


def damaged(body: Any, path: tuple[Any, ...], damage: str) -> Any:
    """Return a copy of `body` with the value at `path` damaged; None where it cannot be so."""
    made = copy.deepcopy(body)
    holder = made
    for key in path[:-1]:
        holder = holder[key]
    old = holder[path[-1]]
    numeric = isinstance(old, (int, float)) and not isinstance(old, bool)
    becomes: dict[str, Any] = {"null": None, "other": {"x": 1} if isinstance(old, list) else []}
    if numeric:
        becomes["text"] = str(old)
    if isinstance(old, str):
        becomes |= {"blank": " ", "odd": "http://["}
    if isinstance(old, list):
        becomes["gaps"] = [None, *old]
    if damage == "missing":
        del holder[path[-1]]
        return made
    if damage not in becomes:
        return None
    holder[path[-1]] = becomes[damage]
    return made


class Canned:
    """Answers from recordings without a network; what none fits is a 404."""

    def __init__(self) -> None:
        self.exchanges: list[dict[str, Any]] = []
        self.used: list[int] = []

    async def send(self, _: Any, call: Call, **__: Any) -> Reply:
        best = max(range(len(self.exchanges)), key=lambda i: self._likeness(i, call), default=-1)
        if best < 0 or self._likeness(best, call) < 1:
            return Reply(404, {}, b"{}", str(call.url), call.policy.name)
        self.used.append(best)
        response = self.exchanges[best]["response"]
        kind = "text/html" if "text" in response else "application/json"
        body = response.get("text") or (json.dumps(response["json"]) if "json" in response else "")
        headers = {
            "content-type": response.get("content_type", kind),
            **{name.lower(): value for name, value in response.get("headers", {}).items()},
        }
        return Reply(
            response.get("status", 200), headers, body.encode(), str(call.url), call.policy.name
        )

    def _likeness(self, i: int, call: Call) -> float:
        wanted = self.exchanges[i]["request"]
        if wanted.get("method", "GET") != call.method or wanted["host"] != call.url.host:
            return 0
        if wanted["path"] not in (call.url.path, call.url.raw_path):
            return 0
        asked = wanted.get("query", {}).items()
        same = all(call.url.query.get(name) == value for name, value in asked)
        return 2 + same - 0.1 * self.used.count(i)


@pytest.mark.parametrize("slug", SLUGS)
def test_a_damaged_answer_costs_a_fact_at_most(slug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No damage is told as a defect of ours, and none shows in the words or changes a number."""
    canned = Canned()
    monkeypatch.setattr("common.egress.client.send", canned.send)
    found: list[str] = []

    # Nothing is dialled: no session has to be opened.
    monkeypatch.setattr(Egress, "_session", lambda _: None)
    monkeypatch.setattr(Egress, "_public_session", lambda _: None)

    async def every() -> None:
        for path in (path for path in recorded() if path.parent.name == slug):
            found.extend([told async for told in _damage(path, canned)])

    asyncio.run(every())
    assert not found, "\n".join(found[:20])


async def _damage(path: Path, canned: Canned) -> AsyncIterator[str]:
    """Yield what is wrong after each damage of one recording."""
    case = json.loads(path.read_text())
    replay, tool = Replay(path.parent), path.stem.partition("__")[0]

    async def play(exchanges: list[dict[str, Any]]) -> Outcome:
        canned.exchanges, canned.used = exchanges, []
        time = Time()  # each run has an egress of its own: nothing is kept from the one before
        egress = Egress(clock=time.read, sleep=time.sleep)
        declared, context = replay.context(tool, case, egress)
        return await run_tool(declared, case.get("arguments", {}), context)

    whole = await play(case["exchanges"])
    assert whole.result, whole.summary
    for i, exchange in enumerate(case["exchanges"]):
        body = exchange["response"].get("json")
        for where in places(body):
            for damage in DAMAGES:
                changed = damaged(body, where, damage)
                if changed is None:
                    continue
                exchanges = list(case["exchanges"])
                exchanges[i] = {**exchange, "response": {**exchange["response"], "json": changed}}
                wrong = _wrong(whole, await play(exchanges), damage)
                if wrong and tool not in VERBATIM:
                    yield f"{path.stem} {damage} {'.'.join(map(str, where))}: {wrong}"


def _wrong(whole: Outcome, outcome: Outcome, damage: str) -> str:
    """Say what is wrong with a damaged answer, "" for nothing."""
    words = set(re.split(r"[ ,;:()$€£/.]+", outcome.summary))
    if "in a way I do not understand" in outcome.summary:
        return "a defect"
    if words & PLACEHOLDERS:
        return f"a placeholder is told: {outcome.summary}"
    if outcome.result and re.search(r"  | [,.;]|\(\)|^[ ,.;]|,,|: \.", outcome.summary):
        return f"a gap is told: {outcome.summary}"
    if damage == "text" and outcome.result != whole.result:
        return f"a number as text changes the answer: {outcome.summary}"
    if outcome.result and not all(s.url.startswith("https://") for s in outcome.result.sources):
        return "a source is no address"
    return ""
