"""The event port: facts published for whoever listens, at least once.

Adapters: `common.events.embedded` (inside the process) and `common.events.pubsub`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from common.tracing import carried

TOPICS: Final = ("turn.finished", "analytics")  # every topic the code publishes to


@dataclass(frozen=True, slots=True)
class Event:
    """One fact. `id` is the subscriber's idempotency key; `data` is JSON, without message text."""

    topic: str
    id: str
    data: Mapping[str, Any]
    attributes: Mapping[str, str] = field(default_factory=carried)  # the present trace


class Events(Protocol):
    """The port."""

    async def publish(self, event: Event) -> None:
        """Hand over the event; returns when it is accepted. Raises VendorUnavailable: retry."""

    async def close(self) -> None:
        """Deliver or hand over what was accepted, then release connections."""
