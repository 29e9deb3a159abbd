"""The offline planner as a model for the Agents SDK: a whole assistant without a key or a network.

It plans by rule (`planner`), hands off, calls the tools it is offered, and answers from their
summaries. It keeps nothing between calls: everything is read from the input items, as a model's
context would be, so a run may be resumed anywhere. Imported only where it is used: `agents` costs
two seconds.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agents.handoffs import Handoff
from agents.items import ModelResponse, TResponseOutputItem, TResponseStreamEvent
from agents.models.interface import Model
from agents.tool import FunctionTool, Tool
from agents.usage import Usage
from openai.types.responses import Response, ResponseTextDeltaEvent

from common.documents import Clock, now
from common.llm.arguments import ToolSpec
from common.llm.planner import Call, Plan, Planner
from common.llm.responses import call, events, message, response
from common.tools import Registry

FINDER = "find_connector"
HANDOFF = "transfer_to_"
_ZONE = re.compile(r"^\s*Time zone:\s*([\w+/-]+)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Made:
    """A call made in this turn and what came back (None: still running)."""

    name: str
    arguments: dict[str, Any]
    output: str | None


@dataclass
class _Context:
    """What the input items say: the user's texts so far, and the calls since the last of them."""

    texts: list[str] = field(default_factory=list)
    made: list[_Made] = field(default_factory=list)


class OfflinePlanner(Model):
    """A deterministic `agents` model over the tools of `registry`.

    `clock` tells the time; the user's zone is read from a line "Time zone: <IANA name>" of the
    instructions, else UTC. `chunk_delay_s` paces the stream for people to watch. `secret` tells
    which keys are set; without it all that are needed count as set.
    """

    def __init__(
        self,
        registry: Registry,
        clock: Clock = now,
        chunk_delay_s: float = 0.0,
        secret: Callable[[str], str | None] | None = None,
    ) -> None:
        self._registry = registry
        self._planner = Planner(registry, secret)
        self._clock = clock
        self._delay = chunk_delay_s

    async def get_response(
        self,
        system_instructions: str | None,
        input: Any,
        model_settings: Any,
        tools: list[Tool],
        output_schema: Any,
        handoffs: list[Handoff[Any, Any]],
        tracing: Any,
        **_: Any,
    ) -> ModelResponse:
        """Answer in one piece; see `agents.models.interface.Model`."""
        answer = self._respond(system_instructions, input, tools, handoffs)
        spent = answer.usage
        usage = Usage(requests=1)
        if spent:
            usage.input_tokens, usage.output_tokens = spent.input_tokens, spent.output_tokens
            usage.total_tokens = spent.total_tokens
        return ModelResponse(output=answer.output, usage=usage, response_id=answer.id)

    async def stream_response(
        self,
        system_instructions: str | None,
        input: Any,
        model_settings: Any,
        tools: list[Tool],
        output_schema: Any,
        handoffs: list[Handoff[Any, Any]],
        tracing: Any,
        **_: Any,
    ) -> AsyncIterator[TResponseStreamEvent]:
        """Answer as the events of a Responses stream, a few words at a time."""
        answer = self._respond(system_instructions, input, tools, handoffs)
        for event in events(answer):
            yield event
            if self._delay and isinstance(event, ResponseTextDeltaEvent):
                await asyncio.sleep(self._delay)

    def _respond(
        self,
        instructions: str | None,
        items: Any,
        tools: list[Tool],
        handoffs: list[Handoff[Any, Any]],
    ) -> Response:
        offered = {t.name: t for t in tools if isinstance(t, FunctionTool)}
        news = _news(items)
        output = (
            [message(news)]
            if news
            else self._step(
                _read(items), self._local(instructions), offered, {h.tool_name for h in handoffs}
            )
        )
        said = json.dumps([item.model_dump(mode="json") for item in output])
        return response(output, spent=(len(str(items)) + len(instructions or ""), len(said)))

    def _local(self, instructions: str | None) -> dt.datetime:
        named = _ZONE.search(instructions or "")
        try:
            zone = ZoneInfo(named[1] if named else "UTC")
        except (ZoneInfoNotFoundError, ValueError):
            zone = ZoneInfo("UTC")
        return self._clock().astimezone(zone)

    def _step(
        self,
        context: _Context,
        local: dt.datetime,
        offered: dict[str, FunctionTool],
        handoffs: set[str],
    ) -> Sequence[TResponseOutputItem]:
        """Return what comes next in this turn: calls, a handoff, or the answer."""
        if not context.texts:
            return [message("What can I do for you?")]
        reach = self._reach(offered, handoffs)
        plan = self._planner.plan(context.texts, now=local, tools=reach)
        acted = [made for made in context.made if made.name in self._registry.tools]
        untried = handoffs - {made.name for made in context.made}
        near = [
            spec
            for spec in reach
            if spec.name in offered or HANDOFF + self._registry.tool(spec.name).connector in untried
        ]
        wanted = self._pending(plan, acted) + self._instead(plan, acted, local, near)
        return self._act(wanted, context, offered, handoffs) or [
            message(self._answer(plan, acted, wanted, context))
        ]

    def _reach(self, offered: dict[str, FunctionTool], handoffs: set[str]) -> list[ToolSpec]:
        """Return the tools offered, those behind a handoff, and, with a finder, all of them."""
        found = [
            ToolSpec(t.name, t.description, t.params_json_schema)
            for t in offered.values()
            if t.name in self._registry.tools
        ]
        behind = [
            t
            for t in self._registry.tools.values()
            if t.name not in offered and (FINDER in offered or HANDOFF + t.connector in handoffs)
        ]
        return found + [ToolSpec(t.name, t.description, t.parameters.schema) for t in behind]

    def _pending(self, plan: Plan, acted: Sequence[_Made]) -> list[Call]:
        done = {(made.name, json.dumps(made.arguments, sort_keys=True)) for made in acted}
        if acted and not any(c.tool == made.name for c in plan.calls for made in acted):
            return []  # planned under another agent's tools: what was called then is the answer
        return [
            c
            for c in plan.calls
            if (c.tool, json.dumps(dict(c.arguments), sort_keys=True)) not in done
        ]

    def _instead(
        self, plan: Plan, acted: Sequence[_Made], local: dt.datetime, near: list[ToolSpec]
    ) -> list[Call]:
        """Return, for calls that failed, the same request to another service that can do it."""
        tried = {self._registry.tool(made.name).connector for made in acted}
        found = []
        for made in acted:
            failed = next((c for c in plan.calls if c.tool == made.name), None)
            if failed and made.output is not None and _error(made.output) and len(tried) < 4:
                other = self._planner.alternative(failed, tried=tried, now=local, tools=near)
                answered = any(
                    m is not made and not _error(m.output or "") and self._same(m, made)
                    for m in acted
                )
                found += [other] if other and not answered else []
        return found

    def _same(self, one: _Made, other: _Made) -> bool:
        first, second = (
            self._registry.entry_of(self._registry.tool(m.name)).connector for m in (one, other)
        )
        return bool(first.capability) and first.capability == second.capability

    def _act(
        self,
        wanted: Sequence[Call],
        context: _Context,
        offered: dict[str, FunctionTool],
        handoffs: set[str],
    ) -> Sequence[TResponseOutputItem]:
        slugs = {self._registry.tool(c.tool).connector for c in wanted}
        passed = {made.name for made in context.made if made.name.startswith(HANDOFF)}
        if len(slugs) == 1 and (handoff := HANDOFF + min(slugs)) in handoffs - passed:
            return [call(handoff, {})]
        ready = [call(c.tool, dict(c.arguments)) for c in wanted if c.tool in offered]
        asked = {str(made.arguments.get("query")) for made in context.made if made.name == FINDER}
        away = [c for c in wanted if c.tool not in offered and c.clause not in asked]
        if FINDER in offered:
            return ready + [call(FINDER, {"query": c.clause}) for c in away]
        # Of several services behind handoffs, the first takes over; the rest follow in the answer.
        if not ready and away:
            behind = (HANDOFF + self._registry.tool(c.tool).connector for c in away)
            return [call(name, {}) for name in behind if name in handoffs - passed][:1]
        return ready

    def _answer(
        self, plan: Plan, acted: Sequence[_Made], unmet: Sequence[Call], context: _Context
    ) -> str:
        worked = [m for m in acted if not _error(m.output or "")]
        parts = []
        for made in acted:
            declared = self._registry.entry_of(self._registry.tool(made.name)).connector.name
            service = str(_object(made.output).get("service") or declared)
            if error := _error(made.output or ""):
                helped = any(self._same(made, other) for other in worked)
                parts.append(
                    f"{service} could not help this time."
                    if helped
                    else error
                    if service.lower() in error.lower()
                    else f"{service}: {error}"
                )
            else:
                said = _summary(made.output)
                parts.append(said if service.lower() in said.lower() else f"{said} ({service})")
        found = [m for m in context.made if m.name == FINDER and m.output]
        for missed in unmet:
            connector = self._registry.entry_of(self._registry.tool(missed.tool)).connector
            keys = f" Set {' and '.join(connector.secrets)}." if connector.secrets else ""
            parts.append(f"That needs {connector.name}, which is not available here.{keys}")
        if found and not acted and not unmet:
            parts += [_summary(m.output) for m in found]
        return "\n\n".join(dict.fromkeys((*parts, *plan.notes))) or "I have nothing to add."


def _news(items: Any) -> str | None:
    """Return what to say to news that the assistant itself put last, such as a job's result."""
    last = items[-1] if isinstance(items, list) and items else {}
    if last.get("role") != "developer":
        return None
    told = str(last.get("content", ""))
    try:
        result = json.loads(told[told.index("{") :])
    except ValueError:
        return "All right, I leave it." if "denied" in told else "That can no longer be done."
    return str(result.get("summary") or result.get("message") or "That is done.")


def _read(items: Any) -> _Context:
    context = _Context()
    if isinstance(items, str):
        return _Context(texts=[items])
    outputs = {i.get("call_id"): i for i in items if i.get("type") == "function_call_output"}
    for item in items:
        if item.get("role") == "user" and (text := _text(item.get("content"))):
            context.texts.append(text)
            context.made = []
        elif item.get("type") == "function_call":
            answer = outputs.get(item.get("call_id"))
            output = None if answer is None else _text(answer.get("output"))
            context.made.append(_Made(item["name"], _object(item.get("arguments")), output))
    return context


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part.get("text", "")) for part in parts if isinstance(part, dict)).strip()


def _object(text: Any) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except (TypeError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _error(output: str) -> str:
    """Return what a failed tool says for itself, "" where it did not fail."""
    told = _object(output)
    if not told.get("error"):
        return ""
    return str(told.get("message") or told["error"])


def _summary(output: str | None) -> str:
    told = _object(output)
    return str(told.get("summary") or told.get("message") or (output or "No answer came.")[:600])
