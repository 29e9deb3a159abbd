"""Figures that need no server: the weight of a prompt, the router's time, a journal's payload."""

from __future__ import annotations

import statistics
import time
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

_SENTENCES = (
    "What's the weather in Oslo tomorrow?",
    "How is Apple's stock doing, and what is 200 dollars in euros?",
    "Find me a good ramen place near Union Square",
    "Is my train to Chicago on time?",
    "Who was Ada Lovelace?",
)


def prompt_tokens() -> tuple[int, int]:
    """Return the median tokens of a first turn's instructions and schemas: as routed, and all."""
    settings = Settings.from_env({"OPENAI_API_KEY": "bench"})
    registry = Registry.discover()
    router = Router(registry, lambda _: "set")
    orchestrator = Orchestrator(registry, router, EndpointModel(settings))
    routed = [_tokens(orchestrator, router.choose(sentence)) for sentence in _SENTENCES]
    return int(statistics.median(routed)), _tokens(orchestrator, Choice(tuple(registry.entries)))


def _tokens(orchestrator: Orchestrator, choice: Choice) -> int:
    agent: Any = orchestrator.agent_for(choice, now=now(), timezone="UTC")
    model: FastResponsesModel = agent.model._responses
    call = _Call(
        agent.instructions,
        [],
        ModelSettings(),
        agent.tools,
        None,
        agent.handoffs,
        ModelTracing.DISABLED,
    )
    return len(model.body(call)) // 4


def router_us() -> float:
    """Return the median microseconds of a choice."""
    registry = Registry.discover()
    router = Router(registry, lambda _: "set")
    times = []
    for _ in range(50):
        for sentence in _SENTENCES:
            began = time.perf_counter()
            router.choose(sentence, _SENTENCES)
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
