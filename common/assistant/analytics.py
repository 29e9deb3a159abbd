"""What a turn tells product analytics, and Segment, where a copy of it may go.

A turn's facts are read from its journal once it has ended, so that nothing on the way to the user
is slower for them. `Segment` forwards facts: https://segment.com/docs/connections/sources/catalog/
libraries/server/http-api/ (2026-11): at most 32 KB a message, 500 KB a batch; a message's id makes
it count once.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from common.assistant.journal import Entry, Single
from common.egress import Egress, Policy
from common.errors import InvalidInput, VendorUnavailable
from common.events.facts import NAMES, AgentCalled, Fact, ToolCalled, columns
from common.log import get_logger

log = get_logger(__name__)

_HOST: Final = "api.segment.io"
_LONGEST_MESSAGE: Final = 32_000  # bytes
_LARGEST_BATCH: Final = 450_000  # bytes
_MOST: Final = 100  # messages in a batch
_LINGER_S: Final = 0.2
_DEADLINE_S: Final = 20.0
_ENVELOPE: Final = ("id", "event", "at", "user")


class _Output(msgspec.Struct):
    friendly_name: str = ""


class _Event(msgspec.Struct):
    """What facts are made of; the rest of an event is skipped unread."""

    type: str
    name: str = ""
    call_id: str = ""
    ok: bool = False
    duration_ms: int = 0
    output: _Output = msgspec.field(default_factory=_Output)


_event = msgspec.json.Decoder(_Event).decode


def facts_of(entries: Iterable[Entry]) -> list[Fact]:
    """Return the tools and agents that a turn's journal tells of, in order."""
    facts: list[Fact] = []
    called: dict[str, str] = {}
    for entry in entries:
        if not isinstance(entry, Single):
            continue
        try:
            event = _event(entry.payload)
        except msgspec.ValidationError:  # an event that uses one of these names otherwise
            continue
        match event.type:
            case "tool_call":
                called[event.call_id] = event.name
            case "tool_output" if event.call_id in called:
                tool, service = called.pop(event.call_id), event.output.friendly_name
                facts.append(ToolCalled(tool, service, event.ok, event.duration_ms))
            case "agent_updated":
                facts.append(AgentCalled(event.name))
    return facts


class _Batch:
    """Messages on their way together, by id."""

    def __init__(self) -> None:
        self.messages: dict[str, bytes] = {}
        self.size = 0
        self.full = asyncio.Event()
        self.sent: asyncio.Task[None] | None = None

    def takes(self, message: bytes) -> bool:
        """Whether there is room for one more."""
        return len(self.messages) < _MOST and self.size + len(message) < _LARGEST_BATCH


class Segment:
    """Forwards facts in batches; a delivery is done when the batch that has it was accepted."""

    def __init__(self, egress: Egress, key: str, *, linger_s: float = _LINGER_S) -> None:
        policy = Policy(name="Segment", hosts=(_HOST,), timeout_s=_DEADLINE_S)
        self._client = egress.client(policy)
        authorization = base64.b64encode(f"{key}:".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {authorization}",
            "Content-Type": "application/json",
        }
        self._linger_s = linger_s
        self._open: _Batch | None = None

    async def forward(self, fact: Mapping[str, Any]) -> None:
        """Send one fact, with those that arrive in the same moment.

        Raises InvalidInput for what is no fact; RateLimited and VendorUnavailable: deliver it
        again; VendorRejected where Segment does not want the batch.
        """
        message_id, message = _message(fact)
        batch = self._open
        if batch is None or not batch.takes(message):
            if batch:
                batch.full.set()
            batch = self._open = _Batch()
            batch.sent = asyncio.create_task(self._send(batch))
        batch.messages[message_id] = message
        batch.size += len(message)
        if len(batch.messages) == _MOST:
            batch.full.set()
        assert batch.sent
        # One caller who gives up takes nothing from the others.
        await asyncio.shield(batch.sent)

    async def _send(self, batch: _Batch) -> None:
        try:
            async with asyncio.timeout(self._linger_s):
                await batch.full.wait()
        except TimeoutError:
            pass
        if self._open is batch:
            self._open = None
        body = b'{"batch":[' + b",".join(batch.messages.values()) + b"]}"
        reply = await self._client.request(
            "POST", f"https://{_HOST}/v1/batch", body=body, headers=self._headers, idempotent=True,
        )  # fmt: skip
        answer = reply.json()
        if not isinstance(answer, dict) or answer.get("success") is not True:
            raise VendorUnavailable("Segment did not accept the events. Deliver them again.")


def check_fact(fact: Mapping[str, Any]) -> None:
    """Raise InvalidInput for anything but a fact of ours, as it travels."""
    texts = all(isinstance(fact.get(name), str) and fact[name] for name in ("id", "event", "at"))
    if not texts or fact["event"] not in NAMES:
        raise InvalidInput("This is none of our analytics events.")


def _message(fact: Mapping[str, Any]) -> tuple[str, bytes]:
    check_fact(fact)
    user = fact.get("user")
    whose = {"userId": user} if isinstance(user, str) and user else {"anonymousId": fact["id"]}
    # Only what is known to hold no text leaves, whatever else a message carries.
    properties = {name: fact[name] for name in _PROPERTIES if name in fact}
    message = msgspec.json.encode({
        "type": "track", "event": fact["event"].replace("_", " ").title(), **whose,
        "messageId": fact["id"], "timestamp": fact["at"], "properties": properties,
    })  # fmt: skip
    if len(message) > _LONGEST_MESSAGE:
        raise InvalidInput("This analytics event is too long.")
    return fact["id"], message


_PROPERTIES: Final = tuple(
    column["name"] for column in columns() if column["name"] not in _ENVELOPE
)
