"""One running turn: hears the model, runs its tools, and writes both into the journal.

It is the `Sink` of the model (deltas, finished outputs) and the `Run` of the agents (tool calls,
handoffs). A call that needs the user's yes is not made: it becomes a proposal, and the run ends
there. It also remembers the items itself, since a run that is stopped or fails hands nothing
back: what was said and what tools found must survive that.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from agents import ModelResponse, Usage

from common.assistant.approvals import Approvals, Decided, Proposal
from common.assistant.audit import Audit
from common.assistant.authority import Trust, must_ask, reaches_others
from common.assistant.budgets import Budgets, Tab
from common.assistant.chats import Item
from common.assistant.jobs import Jobs, Status
from common.assistant.journal import Deltas, Single, TurnJournal
from common.assistant.manner import ON_SCREEN, is_public
from common.assistant.memories import Memories
from common.assistant.naming import Told, ids_of, meanings, told_of
from common.assistant.orchestrator import NAME
from common.assistant.protocol import (
    AgentUpdated,
    ApprovalDecided,
    ApprovalRequired,
    Handoff,
    Job,
    LlmResponse,
    ToolCall,
    ToolOutput,
    Transcript,
)
from common.assistant.schedules import Schedules
from common.errors import (
    BudgetExceeded,
    InvalidInput,
    NotAllowed,
    NotFound,
    OdaiError,
    ReauthRequired,
)
from common.log import get_logger
from common.oauth.needed import AccountExpired, AccountNeeded, Linkable, expired
from common.plaid_items.needed import BankExpired, BankNeeded
from common.tools import Asker, Entry, Outcome, Tool, ToolRunner

log = get_logger(__name__)

PATIENCE = 20.0  # seconds a turn waits for a slow call before it answers without it
_PENDING = "job_pending"
_WAITING = json.dumps({"status": "waiting_for_approval", "message": "The user is being asked."})
_LATER = json.dumps({
    "status": "running",
    "message": "This takes longer. The user is told the result when it is there.",
})  # fmt: skip
_STOPPED = json.dumps({"error": "stopped", "message": "The user stopped this before it ended."})


@dataclass(frozen=True, slots=True)
class Means:
    """What turns act with."""

    runner: ToolRunner
    jobs: Jobs
    approvals: Approvals
    audit: Audit
    budgets: Budgets
    memories: Memories
    schedules: Schedules


class Turn:
    """A turn while it runs, for `asker`, begun by `item`: a prompt, or news for the model."""

    def __init__(
        self,
        journal: TurnJournal,
        item: Item,
        *,
        means: Means,
        asker: Asker,
        trust: Trust,
        granted: Collection[str] = (),
    ) -> None:
        self.journal = journal
        self.agent = NAME
        self.items: list[Item] = [item]
        self.earlier: Sequence[Item] = ()  # of the chat, before this turn
        self.asked: Sequence[str] = ()  # its prompts among them
        self.pending: list[Proposal] = []
        self._told_of: dict[str, Told] = {}  # what the cards of proposals add
        self.used: dict[str, Entry] = {}
        self.worked: dict[str, Entry] = {}  # those of `used` that gave a result
        self.usage: dict[str, int] = {}
        self.task: asyncio.Task[Any] | None = None
        self.stopped = False
        self.begun_at: dt.datetime | None = None
        self.names_chat = False  # the chat has its first title from this turn
        self.lost = False  # another process has taken it over
        self.told: set[str] = set()  # calls whose results the user has seen
        self.left = False  # whether a slow call was cut off
        self.first_token_ms: int | None = None
        self._began = time.perf_counter()
        self.manner = ON_SCREEN  # how what begins the turn came
        self.tab: Tab | None = None  # what it spends
        self.broke: BudgetExceeded | None = None  # it ends here, for want of money
        self.plain = ""  # what is told without asking the model
        self._means = means
        self._runner = means.runner
        self._asker = asker
        self._trust = trust
        self._granted = granted
        self._unsaid: list[str] = []
        self._calling: dict[str, Tool] = {}  # by call id, told to have started and not ended
        journal.agent = self.agent

    @property
    def tainted(self) -> bool:
        """Whether the run has read text written by strangers."""
        return self._trust.tainted

    @property
    def id(self) -> str:
        """The turn's id, a ULID."""
        return self.journal.turn_id

    def stop(self) -> None:
        """End the run at once; what was said and found is kept."""
        if self.stopped:  # asked again, it would break off the notes about what was stopped
            return
        self.stopped = True
        if self.task:
            self.task.cancel()

    # --- Sink: what the model says ----------------------------------------------------------

    def delta(self, *texts: str) -> None:
        """Pieces of the answer."""
        if self.first_token_ms is None:
            self.first_token_ms = round((time.perf_counter() - self._began) * 1000)
        self._unsaid += texts
        self.journal.delta(*texts)

    def answered(self, response: ModelResponse) -> None:
        """A model call ended: keep its items, and tell the whole text of an answer."""
        self._unsaid.clear()
        self._count(response.usage)
        for item in response.output:
            self.items.append(item.model_dump(exclude_unset=True))
            if item.type == "message" and (text := _text(item)):
                self.journal.event(LlmResponse(text, self.agent), soon=False)

    def said(self, text: str) -> None:
        """An answer was spoken, to its end or until it was interrupted; `delta` told it all."""
        self._unsaid.clear()
        self.items.append({"role": "assistant", "content": text})
        self.journal.event(LlmResponse(text, self.agent), soon=False)

    def heard(self, text: str, *, begins: bool = False) -> None:
        """The user said this: while the turn ran, or to begin it, where it is known only now."""
        item = {"role": "user", "content": text}
        if begins:
            self.items[0] = item
        else:
            self.items.append(item)
        self.journal.event(Transcript(text, begins), soon=False)

    def tell_plainly(self, text: str) -> None:
        """Say something without asking the model."""
        self.delta(text)
        self.said(text)

    def spend(self, spent: Mapping[str, int]) -> None:
        """Count what the model used: requests, input, cached and output tokens."""
        self.usage = {name: self.usage.get(name, 0) + count for name, count in spent.items()}
        if self.tab:
            self.tab.count(spent)

    def _count(self, used: Usage) -> None:
        self.spend({
            "requests": used.requests,
            "input_tokens": used.input_tokens,
            "cached_tokens": used.input_tokens_details.cached_tokens or 0,
            "output_tokens": used.output_tokens,
        })  # fmt: skip

    # --- Run: what the agents do ------------------------------------------------------------

    async def call(self, tool: Tool, arguments: str, call_id: str) -> str:
        """Run a tool, telling its start and its end; returns the JSON text the model reads."""
        text = await self._unaffordable(tool) or self._withheld(tool)
        text = text or await self._proposed(tool, arguments, call_id)
        text = text or await self._made(tool, arguments, call_id)
        self.items.append({"type": "function_call_output", "call_id": call_id, "output": text})
        return text

    def paused(self) -> bool:
        """Whether the run ends here, because something waits for the user or no money is left."""
        return bool(self.pending) or self.broke is not None

    def speaker(self, name: str) -> None:
        """The agent that speaks hands the conversation to `name`."""
        before, self.agent = self.agent, name
        self.journal.event(Handoff(name, before))
        self.journal.agent = name
        self.journal.event(AgentUpdated(name, name, name))

    # --- what the user decided --------------------------------------------------------------

    async def carry_out(self, decided: Decided) -> None:
        """Do what the user approved, once, and tell the model; or tell it of the refusal."""
        decided = await self._means.approvals.in_time(decided)
        proposal, decision = decided.proposal, decided.decision
        self.journal.event(ApprovalDecided(proposal.id, decision, decided.reason))
        if decision != "approved":
            self._news(f"The user decided about {proposal.tool}: {decision}. {decided.reason}")
            return
        approvals, uid = self._means.approvals, self._asker.uid
        known = False
        try:
            claimed = await approvals.claim(proposal.id, uid, self.id)
        except OdaiError:
            await approvals.close(proposal.id, known=False)
            raise
        if not claimed:
            raise InvalidInput("That action was carried out already.")
        try:
            tool = self._runner.registry.tool(proposal.tool)
            text = await self._made(tool, proposal.arguments, proposal.call_id)
            known = True
        except NotFound as err:  # a deploy took the tool away: nothing happened
            text, known = str(err), True
        finally:
            await approvals.close(proposal.id, known=known)
        self._news(f"The user approved {proposal.tool}. Its result: {text}")

    def tell_pending(self) -> None:
        """Tell what waits for the user's yes."""
        for proposal in self.pending:
            tool, told = self._runner.registry.tool(proposal.tool), self._told_of[proposal.id]
            arguments = _readable(proposal.arguments)
            self.journal.event(
                ApprovalRequired(
                    approval_id=proposal.id,
                    tool=proposal.tool,
                    title=told.title(tool),
                    arguments=arguments,
                    risk="external" if reaches_others(tool, arguments) else tool.risk,
                    expires_at=proposal.expires_at.isoformat(),
                    call_id=proposal.call_id,
                    editable=list(tool.parameters.schema["properties"]),
                    tainted=self.tainted,
                    question=told.question(tool),
                )
            )

    def _news(self, text: str) -> None:
        self.items.append({"role": "developer", "content": text})

    # --- one call ---------------------------------------------------------------------------

    async def _unaffordable(self, tool: Tool) -> str | None:
        """Refuse the call where no model could tell its result any more; None where one can."""
        try:
            if self.tab and not self.broke:
                await self.tab.afford()
        except BudgetExceeded as err:
            self.broke = err
        return Outcome(tool, 0, error=self.broke).for_model() if self.broke else None

    def _withheld(self, tool: Tool) -> str | None:
        """Refuse the call where its asker must prove who they are first; None where not."""
        registry = self._runner.registry
        providers = [registry.entry_of(t).connector for t in registry.providers(tool.name)]
        why = next(filter(None, (self.manner.withheld(c, tool) for c in providers)), "")
        return Outcome(tool, 0, error=NotAllowed(why)).for_model() if why else None

    async def _proposed(self, tool: Tool, arguments: str, call_id: str) -> str | None:
        """Propose the call where the user must be asked; None where it may be made."""
        public = is_public(self._runner.registry.entry_of(tool).connector, tool)
        if not must_ask(tool, arguments, self._trust, granted=self._granted, public=public):
            return None
        try:
            tool.parameters.parse(arguments)
            told = self._explained(tool, _readable(arguments))
        except InvalidInput as err:
            # Nobody is asked to approve what cannot run: the model corrects it first.
            return Outcome(tool, 0, error=err).for_model()
        if hindered := await self._runner.hindrance(tool.name, self._asker):
            self._begin(tool, arguments, call_id)
            return self._end(hindered, call_id)
        proposal = self._means.approvals.propose(call_id, tool.name, arguments)
        self.pending.append(proposal)
        self._told_of[proposal.id] = told
        return _WAITING

    def _explained(self, tool: Tool, arguments: Any) -> Told:
        """Return what a card adds to the arguments.

        Raises InvalidInput for an id that no tool has given, where a stranger may have.
        """
        ids = ids_of(tool, arguments)
        items = (*self.earlier, *self.items)
        outputs = [i["output"] for i in items if i.get("type") == "function_call_output"]
        meant = meanings(ids, outputs) if ids else {}
        unknown = [each for each in ids if each not in meant and each not in self._trust.said]
        if unknown and self._trust.tainted and tool.risk != "read":
            raise InvalidInput("Use an id that a tool has given in this chat: look it up first.")
        return told_of(meant, arguments)

    async def _made(self, tool: Tool, arguments: str, call_id: str) -> str:
        self._begin(tool, arguments, call_id)
        outcome = await self._acted(tool, arguments, call_id)
        if self.tab:
            asked = outcome.tool if outcome else tool
            self.tab.spent.calls[self._runner.registry.entry_of(asked).slug] += 1
        if outcome is None:
            del self._calling[call_id]
            self.journal.event(_later(tool, self.agent, call_id))
            return _LATER
        return self._end(outcome, call_id)

    def _begin(self, tool: Tool, arguments: str, call_id: str) -> None:
        self.journal.event(
            ToolCall(tool.name, tool.progress, self.agent, call_id, _readable(arguments))
        )
        self._calling[call_id] = tool

    def _end(self, outcome: Outcome, call_id: str) -> str:
        self._trust.note(outcome)
        if self.manner.channel == "screen" and isinstance(outcome.error, Linkable):
            outcome = replace(outcome, error=outcome.error.beside_button())
        entry = self._runner.registry.entry_of(outcome.tool)
        self.used.setdefault(entry.slug, entry)
        if outcome.ok:
            self.worked.setdefault(entry.slug, entry)
        if self._calling.pop(call_id, None):
            self.told.add(call_id)
            self.journal.event(self._told(outcome, entry, call_id))
        return outcome.for_model()

    async def _acted(self, tool: Tool, arguments: str, call_id: str) -> Outcome | None:
        """Run a tool, what it does in the user's name between two entries of the audit trail."""
        if tool.risk == "read":
            return await self._run(tool, arguments, call_id)
        audit = self._means.audit
        try:
            await self.journal.fence()  # a turn that was closed meanwhile does nothing more
            row = await audit.begin(self._asker.uid, tool.name, details=arguments, turn_id=self.id)
        except OdaiError as err:  # what cannot be noted is not done
            return Outcome(tool, 0, error=err)
        ended = "unknown"
        try:
            outcome = await self._run(tool, arguments, call_id)
            ended = "job" if outcome is None else outcome.error.code if outcome.error else "done"
        finally:
            await audit.complete(row, ended)
        return outcome

    async def _run(self, tool: Tool, arguments: str, call_id: str) -> Outcome | None:
        if tool.slow:
            return await self._slowly(tool, arguments, call_id)
        key = f"{self.id}:{call_id}"
        return await self._runner.run(tool.name, arguments, self._asker, key=key)

    async def _slowly(self, tool: Tool, arguments: str, call_id: str) -> Outcome | None:
        """Run a tool as a job; None where its result comes later, in a turn of its own."""
        jobs = self._means.jobs
        try:
            tool.parameters.parse(arguments)
            job_id = await jobs.start(
                tool, arguments, self._asker,
                chat_id=self.journal.chat_id, turn_id=self.id, call_id=call_id,
            )  # fmt: skip
        except OdaiError as err:
            return Outcome(tool, 0, error=err)

        def tell(status: Status) -> None:
            self.journal.event(Job(job_id, call_id, tool.name, status, tool.progress))

        tell("queued")
        try:
            outcome = await self._awaited(job_id, tell)
        except NotFound as err:
            outcome = Outcome(tool, 0, error=err)
        if outcome:
            tell("done" if outcome.ok else "failed")
        return outcome

    async def _awaited(self, job_id: str, tell: Callable[[Status], None]) -> Outcome | None:
        """Wait for a job; leave to a follow-up what takes too long or cannot be read now."""
        jobs = self._means.jobs
        try:
            if outcome := await jobs.outcome(job_id, patience=PATIENCE, on_status=tell):
                return outcome
        except NotFound:
            raise
        except OdaiError as err:
            log.warning("job not waited for", extra={"code": err.code, "job_id": job_id})
        try:
            return await jobs.leave(job_id)
        except OdaiError as err:
            log.warning("job not left", extra={"code": err.code, "job_id": job_id})
            self.left = True  # the turn's end tries once more
            return None

    # --- what is left when a run did not end by itself --------------------------------------

    def kept_items(self) -> list[Item]:
        """Return the items so far in a form a model accepts: every call with an output."""
        items = [
            {**i, "output": _STOPPED} if i.get("output") == _WAITING else i for i in self.items
        ]
        if self._unsaid:
            items.append({"role": "assistant", "content": "".join(self._unsaid)})
        answered = {i["call_id"] for i in items if i.get("type") == "function_call_output"}
        for item in self.items:
            if item.get("type") == "function_call" and item["call_id"] not in answered:
                items.append(
                    {"type": "function_call_output", "call_id": item["call_id"], "output": _STOPPED}
                )
        return items

    def take_over(self, entries: Sequence[Deltas | Single]) -> None:
        """Learn from a dead turn's journal what `tell_cut_off` has to tell."""
        for entry in entries:
            if isinstance(entry, Deltas):
                self._unsaid += entry.texts
                continue
            event = msgspec.json.decode(entry.payload)
            match event["type"]:
                case "llm_response":
                    self._unsaid.clear()
                case "agent_updated":
                    self.agent = self.journal.agent = event["name"]
                case "tool_call" if event["name"] in self._runner.registry.tools:
                    self._calling[event["call_id"]] = self._runner.registry.tool(event["name"])
                case "tool_output":
                    self._calling.pop(event["call_id"], None)
                    if event["output"]["response_type"] != _PENDING:
                        self.told.add(event["call_id"])

    def tell_cut_off(self) -> None:
        """Tell the end of what was cut off: calls as failed, text as a response of its own."""
        while self._calling:
            call_id, tool = self._calling.popitem()
            if tool.slow and not self.stopped:
                self.left = True
                self.journal.event(_later(tool, self.agent, call_id))
                continue
            stopped = "This was stopped before it ended."
            if tool.risk != "read":
                stopped += " It may have happened: check before you ask again."
            outcome = Outcome(tool, 0, error=OdaiError(stopped))
            entry = self._runner.registry.entry_of(tool)
            self.journal.event(self._told(outcome, entry, call_id))
        if self._unsaid:
            self.journal.event(LlmResponse("".join(self._unsaid), self.agent), soon=False)

    def _told(self, outcome: Outcome, entry: Entry, call_id: str) -> ToolOutput:
        result, error = outcome.result, outcome.error
        kind, shown = (result.response_type, result.data) if result else _failure(error, entry)
        return ToolOutput(
            output={
                "response_type": kind,
                "agent_name": self.agent,
                "friendly_name": entry.connector.name,
                "response": shown,
                "display_response": True,
            },
            current_agent=self.agent,
            call_id=call_id,
            ok=outcome.ok,
            duration_ms=outcome.duration_ms,
            summary=outcome.summary,
            sources=[{"title": s.title, "url": s.url} for s in result.sources] if result else [],
            untrusted=result is not None and result.untrusted,
        )


def _failure(error: OdaiError | None, entry: Entry) -> tuple[str, dict[str, str]]:
    """Return what clients draw of an error: where an account is missing, the button that links it.

    The original's clients know these response types; `url` is a path of ours and holds no token.
    """
    if isinstance(error, ReauthRequired):
        error = expired(error, entry.connector.account, entry.connector.scopes)
    if not isinstance(error, AccountNeeded | AccountExpired | BankNeeded | BankExpired):
        return "error", {"message": str(error)}
    return error.response_type, {
        "message": str(error), "provider": error.provider, "name": error.name, "url": error.path,
    }  # fmt: skip


def _later(tool: Tool, agent: str, call_id: str) -> ToolOutput:
    summary = "This takes a while. I will tell you when it is done."
    return ToolOutput(
        output={
            "response_type": _PENDING, "agent_name": agent, "friendly_name": tool.name,
            "response": {"message": summary}, "display_response": True,
        },
        current_agent=agent, call_id=call_id, ok=True, duration_ms=round(PATIENCE * 1000),
        summary=summary, sources=[],
    )  # fmt: skip


def _text(message: Any) -> str:
    parts = (getattr(c, "text", None) or getattr(c, "refusal", None) for c in message.content)
    return "".join(part for part in parts if part)


def _readable(arguments: str) -> Any:
    """Return the call's arguments as JSON, or as the text they are where the model sent none."""
    try:
        return msgspec.json.decode(arguments or "{}")
    except msgspec.DecodeError:
        return arguments
