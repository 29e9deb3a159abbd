"""One running turn: hears the model, runs its tools, and writes both into the journal.

It is the `Sink` of the model (deltas, finished outputs) and the `Run` of the agents (tool calls,
handoffs). It also remembers the items itself, since a run that is stopped or fails hands nothing
back: what was said and what tools found must survive that.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec

from common.assistant.chats import Item
from common.assistant.journal import TurnJournal
from common.assistant.orchestrator import NAME
from common.assistant.protocol import (
    AgentUpdated,
    Handoff,
    LlmResponse,
    ToolCall,
    ToolOutput,
)
from common.errors import NotAllowed, OdaiError
from common.tools import Asker, Entry, Outcome, Tool, ToolRunner

_STOPPED = json.dumps({"error": "stopped", "message": "The user stopped this before it ended."})


class Turn:
    """A turn while it runs, for `asker`."""

    def __init__(
        self,
        journal: TurnJournal,
        prompt: str,
        *,
        runner: ToolRunner,
        asker: Asker,
    ) -> None:
        self.journal = journal
        self.prompt = prompt
        self.agent = NAME
        self.items: list[Item] = [{"role": "user", "content": prompt}]
        self.used: dict[str, Entry] = {}
        self.usage: dict[str, int] = {}
        self.task: asyncio.Task[Any] | None = None
        self.stopped = False
        self._runner = runner
        self._asker = asker
        self._unsaid: list[str] = []
        self._calling: dict[str, Tool] = {}  # by call id, told to have started and not ended
        journal.agent = self.agent

    @property
    def id(self) -> str:
        """The turn's id, a ULID."""
        return self.journal.turn_id

    def stop(self) -> None:
        """End the run at once; what was said and found is kept."""
        self.stopped = True
        if self.task:
            self.task.cancel()

    # --- Sink: what the model says ----------------------------------------------------------

    def delta(self, text: str) -> None:
        """A piece of the answer."""
        self._unsaid.append(text)
        self.journal.delta(text)

    def answered(self, output: list[Any]) -> None:
        """A model call ended: keep its items, and tell the whole text of an answer."""
        self._unsaid.clear()
        for item in output:
            self.items.append(item.model_dump(exclude_unset=True))
            if item.type == "message" and (text := _text(item)):
                self.journal.event(LlmResponse(text, self.agent), soon=False)

    # --- Run: what the agents do ------------------------------------------------------------

    async def call(self, tool: Tool, arguments: str, call_id: str) -> str:
        """Run a tool, telling its start and its end; returns the JSON text the model reads."""
        self.journal.event(
            ToolCall(tool.name, tool.progress, self.agent, call_id, _readable(arguments))
        )
        self._calling[call_id] = tool
        if tool.risk == "read":
            key = f"{self.id}:{call_id}"
            outcome = await self._runner.run(tool.name, arguments, self._asker, key=key)
        else:
            outcome = Outcome(tool, 0, error=NotAllowed("That needs your approval first."))
        entry = self._runner.registry.entry_of(outcome.tool)
        self.used.setdefault(entry.slug, entry)
        if self._calling.pop(call_id, None):
            self.journal.event(self._told(outcome, entry, call_id))
        text = outcome.for_model()
        self.items.append({"type": "function_call_output", "call_id": call_id, "output": text})
        return text

    def speaker(self, name: str) -> None:
        """The agent that speaks hands the conversation to `name`."""
        before, self.agent = self.agent, name
        self.journal.event(Handoff(name, before))
        self.journal.agent = name
        self.journal.event(AgentUpdated(name, name, name))

    # --- what is left when a run did not end by itself --------------------------------------

    def kept_items(self) -> list[Item]:
        """Return the items so far in a form a model accepts: every call with an output."""
        items = list(self.items)
        if self._unsaid:
            items.append({"role": "assistant", "content": "".join(self._unsaid)})
        answered = {i["call_id"] for i in items if i.get("type") == "function_call_output"}
        for item in self.items:
            if item.get("type") == "function_call" and item["call_id"] not in answered:
                items.append(
                    {"type": "function_call_output", "call_id": item["call_id"], "output": _STOPPED}
                )
        return items

    def tell_cut_off(self) -> None:
        """Tell the end of what was cut off: calls as failed, text as a response of its own."""
        while self._calling:
            call_id, tool = self._calling.popitem()
            outcome = Outcome(tool, 0, error=OdaiError("This was stopped before it ended."))
            entry = self._runner.registry.entry_of(tool)
            self.journal.event(self._told(outcome, entry, call_id))
        if self._unsaid:
            self.journal.event(LlmResponse("".join(self._unsaid), self.agent), soon=False)

    def _told(self, outcome: Outcome, entry: Entry, call_id: str) -> ToolOutput:
        result = outcome.result
        return ToolOutput(
            output={
                "response_type": result.response_type if result else "error",
                "agent_name": self.agent,
                "friendly_name": entry.connector.name,
                "response": result.data if result else {"message": str(outcome.error)},
                "display_response": True,
            },
            current_agent=self.agent,
            call_id=call_id,
            ok=outcome.ok,
            duration_ms=outcome.duration_ms,
            summary=outcome.summary,
            sources=[{"title": s.title, "url": s.url} for s in result.sources] if result else [],
        )


def _text(message: Any) -> str:
    parts = (getattr(c, "text", None) or getattr(c, "refusal", None) for c in message.content)
    return "".join(part for part in parts if part)


def _readable(arguments: str) -> Any:
    """Return the call's arguments as JSON, or as the text they are where the model sent none."""
    try:
        return msgspec.json.decode(arguments or "{}")
    except msgspec.DecodeError:
        return arguments
