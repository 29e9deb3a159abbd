"""Figures that need no server: the weight of a prompt, the router's time, a journal's payload."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import msgspec
from agents import ModelSettings, ModelTracing

from common.assistant.orchestrator import Orchestrator
from common.assistant.routing import Choice, Router
from common.documents import now
from common.llm.fast import FastResponsesModel, _Call
from common.llm.provider import EndpointModel
from common.settings import Settings
from common.tools import Registry

_LABELLED = Path(__file__).parents[1] / "routing" / "sentences.json"


def sentences() -> list[str]:
    """Return the router's labelled sentences."""
    return [each["text"] for each in json.loads(_LABELLED.read_text(encoding="utf-8"))]


def prompt_tokens() -> tuple[int, int]:
    """Return tokens (characters / 4) of a first turn's instructions and schemas.

    The first figure is the median over the labelled sentences as routed, the second what all
    connectors together would cost. Every key counts as set, which enables the most.
    """
    settings = Settings.from_env({"OPENAI_API_KEY": "bench"})
    registry = Registry.discover()
    router = Router(registry, lambda _: "set")
    orchestrator = Orchestrator(registry, router, EndpointModel(settings))
    routed = [_tokens(orchestrator, router.choose(sentence)) for sentence in sentences()]
    every = Choice(_first_of_each_tool(registry))
    return int(statistics.median(routed)), _tokens(orchestrator, every)


def _first_of_each_tool(registry: Registry) -> tuple[str, ...]:
    """Return the connectors that declare a tool first: its other providers add no schema."""
    return tuple({tool.connector: None for tool in registry.tools.values()})


def _tokens(orchestrator: Orchestrator, choice: Choice) -> int:
    agent: Any = orchestrator.agent_for(choice, now=now(), timezone="UTC")
    model: FastResponsesModel = agent.model._responses
    call = _Call(
        agent.instructions,
        [],
        ModelSettings(),
        agent.offered,
        None,
        agent.handoffs,
        ModelTracing.DISABLED,
    )
    return len(model.body(call)) // 4


def router_us() -> float:
    """Return the median microseconds of a choice."""
    registry = Registry.discover()
    router = Router(registry, lambda _: "set")
    said = sentences()
    times = []
    for _ in range(3):
        for place, sentence in enumerate(said):
            began = time.perf_counter()
            router.choose(sentence, said[max(0, place - 3) : place])
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


def told_bytes(deltas: int) -> tuple[int, int]:
    """Return what a turn of the endpoint's default text tells, in bytes: as events, as bare text.

    An event counts as one delta without its envelope (ids and numbers); other events do not count.
    """
    words = ["The ", "quick ", "brown ", "fox ", "jumps ", "over ", "the ", "lazy ", "dog. "]
    event = {"type": "raw_response_event", "delta": "", "current_agent": "ODAI"}
    text = sum(len(words[number % len(words)]) for number in range(deltas))
    return text + deltas * len(msgspec.json.encode(event)), text
