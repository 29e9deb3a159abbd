"""Facts for product analytics: typed, without message text, and never in anybody's way.

Each significant action is one fact on the topic `analytics`. `Analytics.emit` only appends to a
bounded queue; publishing happens behind it. A full queue, or an event port that is down, costs
facts and nothing else, and the log says how many. Users and chats are named by hashes.

The wire form is one flat JSON object, since a BigQuery subscription writes its fields into the
table's columns; `columns` is that table, `terraform/schemas/analytics.json` its file.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from typing import Any, Final, TypeAlias, get_args, get_type_hints

import msgspec

from common.documents import Clock, new_id
from common.errors import OdaiError
from common.events import Event, Events
from common.log import get_logger

log = get_logger(__name__)

TOPIC: Final = "analytics"
_TELL_EVERY_S = 10.0
_LONGEST_PUBLISH_S = 60.0


class ChatCreated(msgspec.Struct, tag_field="event", tag="chat_created", frozen=True):
    """A user began a chat."""


class PromptSubmitted(msgspec.Struct, tag_field="event", tag="prompt_submitted", frozen=True):
    """A prompt began a turn, typed on a `screen`, sent as `text` or by `voice`; so long a one."""

    characters: int
    channel: str = "screen"


class ToolCalled(msgspec.Struct, tag_field="event", tag="tool_called", frozen=True):
    """A tool ran; `connector` is the service as users know it."""

    tool: str
    connector: str
    ok: bool
    duration_ms: int


class AgentCalled(msgspec.Struct, tag_field="event", tag="agent_called", frozen=True):
    """A specialist took over the conversation."""

    agent: str


class ResponseSent(msgspec.Struct, tag_field="event", tag="response_sent", frozen=True):
    """A turn ended; `duration_ms` is the whole turn, from the prompt's acceptance."""

    status: str
    duration_ms: int
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


class AccountLinked(msgspec.Struct, tag_field="event", tag="account_linked", frozen=True):
    """A user linked an account at `provider`."""

    provider: str


class CallStarted(msgspec.Struct, tag_field="event", tag="call_started", frozen=True):
    """A voice call began; `channel` is `phone` or `app`."""

    channel: str


class CallEnded(msgspec.Struct, tag_field="event", tag="call_ended", frozen=True):
    """A voice call ended; `status` says how."""

    channel: str
    status: str
    duration_ms: int


class UnhandledRequest(msgspec.Struct, tag_field="event", tag="unhandled_request", frozen=True):
    """Something was asked for that the assistant could not do; what it was is told nowhere here."""

    reason: str


Fact: TypeAlias = (
    ChatCreated
    | PromptSubmitted
    | ToolCalled
    | AgentCalled
    | ResponseSent
    | AccountLinked
    | CallStarted
    | CallEnded
    | UnhandledRequest
)

_ENVELOPE: Final = (
    ("id", "STRING", "REQUIRED", "Idempotency key: the same fact told twice has the same id."),
    ("event", "STRING", "REQUIRED", "What happened."),
    ("at", "TIMESTAMP", "REQUIRED", "When it was noted, UTC."),
    ("user", "STRING", "NULLABLE", "The user, hashed."),
    ("chat", "STRING", "NULLABLE", "The chat, hashed."),
    ("turn", "STRING", "NULLABLE", "The turn's id."),
)
_TYPES: Final = {str: "STRING", int: "INTEGER", bool: "BOOLEAN"}
NAMES: Final = frozenset(kind.__struct_config__.tag for kind in get_args(Fact))


class Analytics:
    """Publishes facts behind the caller's back; `emit` may be called from any thread.

    At most `capacity` facts wait, published by at most `senders` at a time on `loop`.
    """

    def __init__(
        self,
        events: Events,
        loop: asyncio.AbstractEventLoop,
        *,
        clock: Clock,
        capacity: int = 2000,
        senders: int = 4,
    ) -> None:
        self._events = events
        self._loop = loop
        self._clock = clock
        self._capacity = capacity
        self._most = senders
        self._waiting: deque[Event] = deque()
        self._sending: set[asyncio.Task[None]] = set()
        self._told_at = -_TELL_EVERY_S
        self._untold = 0
        self.dropped = 0

    def emit(
        self, fact: Fact, *, uid: str = "", chat_id: str = "", turn_id: str = "", key: str = ""
    ) -> None:
        """Note a fact; never waits and never raises. `key` makes one told twice recognisable."""
        if len(self._waiting) >= self._capacity:
            self._drop("queue_full")
            return
        told = _told(fact, self._clock().isoformat(), uid=uid, chat_id=chat_id, turn_id=turn_id)
        told["id"] = hashed(f"{told['event']}:{key}") if key else new_id()
        self._waiting.append(Event(TOPIC, told["id"], told))
        if _running_loop() is self._loop:
            self._wake()
            return
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # the loop has ended: so has the process, nearly
            self._drop("closed")

    async def flush(self, seconds: float) -> None:
        """Wait until what was emitted is published, at most `seconds`."""
        self._wake()
        if self._sending:
            await asyncio.wait(self._sending, timeout=seconds)

    async def close(self) -> None:
        """Publish what waits, within two seconds, and count the rest as dropped."""
        await self.flush(2.0)
        for task in self._sending:
            task.cancel()
        lost = len(self._waiting) + len(self._sending)
        self._waiting.clear()
        if lost or self._untold:
            self._told_at = -_TELL_EVERY_S
            self._drop("closed", lost)

    def _wake(self) -> None:
        while len(self._sending) < min(self._most, len(self._waiting)):
            task = self._loop.create_task(self._send())
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self) -> None:
        while self._waiting:
            event = self._waiting.popleft()
            try:
                async with asyncio.timeout(_LONGEST_PUBLISH_S):
                    await self._events.publish(event)
            except OdaiError as err:
                self._drop(err.code)
            except TimeoutError:
                self._drop("timeout")

    def _drop(self, reason: str, count: int = 1) -> None:
        self.dropped += count
        self._untold += count
        now = time.monotonic()
        if now - self._told_at < _TELL_EVERY_S:
            return
        log.error(
            "analytics dropped",
            extra={"reason": reason, "dropped": self._untold, "dropped_in_all": self.dropped},
        )
        self._told_at, self._untold = now, 0


def hashed(name: str) -> str:
    """Return the name by which analytics know a user, a chat or a key."""
    return hashlib.sha256(f"analytics|{name}".encode()).hexdigest()[:32]


def columns() -> list[dict[str, str]]:
    """Return the BigQuery table of facts: the envelope, then every field that any fact has."""
    made = [
        {"name": name, "type": kind, "mode": mode, "description": text}
        for name, kind, mode, text in _ENVELOPE
    ]
    facts: dict[str, tuple[str, list[str]]] = {}
    for fact in get_args(Fact):
        for name, kind in get_type_hints(fact).items():
            known, of = facts.setdefault(name, (_TYPES[kind], []))
            if known != _TYPES[kind]:
                raise TypeError(f"two facts disagree about the type of {name}")
            of.append(fact.__struct_config__.tag)
    for name, (kind, of) in sorted(facts.items()):
        text = f"Of {', '.join(of)}."
        made.append({"name": name, "type": kind, "mode": "NULLABLE", "description": text})
    return made


def _told(fact: Fact, at: str, *, uid: str, chat_id: str, turn_id: str) -> dict[str, Any]:
    told: dict[str, Any] = {**msgspec.to_builtins(fact), "at": at}
    if uid:
        told["user"] = hashed(f"user:{uid}")
    if chat_id:
        told["chat"] = hashed(f"chat:{uid}:{chat_id}")
    if turn_id:
        told["turn"] = turn_id
    return told


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
