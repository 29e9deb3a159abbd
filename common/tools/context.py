"""What a running tool may use: its vendor's client and keys, the clock, the user's place."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from common.documents import Clock, now
from common.egress import Client
from common.errors import NotAllowed


@dataclass(frozen=True, slots=True)
class Location:
    """The device's own position in degrees, shared with consent."""

    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """Made for one run of one tool.

    `http` reaches the connector's declared hosts only. `idempotency_key` is the same for every
    retry of the same act. `timezone` is the user's IANA zone name.
    """

    uid: str
    http: Client
    secrets: Callable[[str], str | None]
    clock: Clock = now
    timezone: str = "UTC"
    location: Location | None = None
    idempotency_key: str = ""

    def secret(self, name: str) -> str:
        """Return the vendor key `name`; NotAllowed, naming it, where it is not set."""
        if value := self.secrets(name):
            return value
        raise NotAllowed(f"This service is not set up. Set {name} and start again.")

    def local_now(self) -> dt.datetime:
        """Return the current time in the user's zone."""
        return self.clock().astimezone(ZoneInfo(self.timezone))
