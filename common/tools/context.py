"""What a running tool may use: its vendor's client, keys and linked account, clock and place."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias
from zoneinfo import ZoneInfo

from common.documents import Clock, now
from common.egress import Client, Reply
from common.errors import NotAllowed

FetchPublic: TypeAlias = Callable[[str], Awaitable[Reply]]


async def no_pages(url: str) -> Reply:
    """Refuse: the connector's manifest does not say that it fetches pages."""
    raise NotAllowed("This service may not fetch web pages.")


class Accounts(Protocol):
    """The accounts one user has linked."""

    async def token(self, provider: str, scopes: tuple[str, ...]) -> str:
        """Return an access token of `provider` that holds `scopes`.

        Raises NotAllowed where no linked account has them (the message says to connect one) and
        ReauthRequired where the account no longer accepts us.
        """
        ...


class Banks(Protocol):
    """The banks one user has linked, in Plaid's shapes (`common.plaid_items.UserBanks`).

    The first two raise NotAllowed where none is linked and ReauthRequired where none lets us in;
    `unread` maps the banks that could not be read to a sentence that says why.
    """

    async def accounts(self, *, fresh: bool = False) -> dict[str, Any]:
        """Return `{accounts, unread}`; `fresh` asks the banks themselves."""
        ...

    async def transactions(self, since: dt.date, until: dt.date) -> dict[str, Any]:
        """Return `{transactions, accounts, unread, complete}` of these days, both included."""
        ...

    async def link(self) -> dict[str, Any]:
        """Begin consent: `{url, expires_at, linked}`."""
        ...


class Memories(Protocol):
    """What one user asked to be remembered (`common.assistant.memories`)."""

    async def remember(self, text: str, *, key: str) -> dict[str, Any]:
        """Remember a sentence, once for each `key`; InvalidInput where there is too much."""
        ...

    async def forget(self, about: str) -> list[dict[str, Any]]:
        """Forget the one memory meant and return it, or return the several that may be meant."""
        ...

    async def listed(self) -> list[dict[str, Any]]:
        """Return `{id, text, …}` of all, the latest first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """When something is to happen, on the user's wall clock.

    `every` is once, day, week, month or year; `date` (ISO) the first day, "" for the next fitting
    one; `time` is HH:MM; `days` are weekdays of "week", Monday 0. `sms` asks for a text as well.
    """

    every: str
    time: str
    date: str = ""
    days: tuple[int, ...] = ()
    sms: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A value to watch: `field` (dotted) of what `tool` finds for `arguments` (JSON text).

    `operator` is passes, above, below or equals. A `symbol` or a `tracking_code` stand for the
    first three: the tool that knows its price, or where the parcel is, is found.
    """

    operator: str
    value: str
    tool: str = ""
    arguments: str = "{}"
    field: str = ""
    symbol: str = ""
    tracking_code: str = ""
    sms: bool = False


class Schedules(Protocol):
    """What one user has happen later (`common.assistant.scheduling`).

    Each returns `{id, kind, status, text, when, next_at, …}` of what it made or changed. Raises
    InvalidInput for a time that has passed, NotFound where nothing or several fit.
    """

    async def remind(self, text: str, when: When, *, key: str) -> dict[str, Any]:
        """Have `text` told then, once for each `key`."""
        ...

    async def brief(self, text: str, when: When, *, key: str) -> dict[str, Any]:
        """Have `text` asked then, as the user's own prompt, and answered."""
        ...

    async def watch(self, text: str, watched: Watched, *, key: str) -> dict[str, Any]:
        """Have the user told when the value is as wished; `now` in the answer is what it is."""
        ...

    async def listed(self) -> list[dict[str, Any]]:
        """Return all, the next to come first."""
        ...

    async def pause(self, about: str) -> dict[str, Any]:
        """Let the one that is meant rest."""
        ...

    async def resume(self, about: str) -> dict[str, Any]:
        """Let the one that is meant go on."""
        ...

    async def remove(self, about: str) -> dict[str, Any]:
        """Delete the one that is meant."""
        ...


@dataclass(frozen=True, slots=True)
class Location:
    """The device's own position in degrees, shared with consent."""

    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """Made for one run of one tool.

    `http` reaches the connector's declared hosts only, `fetch_public` any public page for those
    that declare it. `idempotency_key` is the same for every retry of the same act. `timezone` is
    the user's IANA zone name, `address` the IP address they connect from, "" where unknown.
    `provider` and `scopes` are those of the connector whose linked account `access_token` reads.
    """

    uid: str
    http: Client
    secrets: Callable[[str], str | None]
    clock: Clock = now
    timezone: str = "UTC"
    location: Location | None = None
    address: str = ""
    fetch_public: FetchPublic = no_pages
    idempotency_key: str = ""
    accounts: Accounts | None = None
    provider: str = ""
    scopes: tuple[str, ...] = ()
    linked_banks: Banks | None = None
    kept_memories: Memories | None = None
    kept_schedules: Schedules | None = None

    @property
    def memories(self) -> Memories:
        """What the user asked to be remembered; NotAllowed where this process keeps none."""
        if self.kept_memories is None:
            raise NotAllowed("Nothing can be remembered here.")
        return self.kept_memories

    @property
    def schedules(self) -> Schedules:
        """What the user has happen later; NotAllowed where this process keeps none."""
        if self.kept_schedules is None:
            raise NotAllowed("Nothing can be scheduled here.")
        return self.kept_schedules

    @property
    def banks(self) -> Banks:
        """The user's linked banks; NotAllowed where this process has none for anybody."""
        if self.linked_banks is None:
            raise NotAllowed("No bank is connected. Connect one with Plaid, then ask again.")
        return self.linked_banks

    def secret(self, name: str) -> str:
        """Return the vendor key `name`; NotAllowed, naming it, where it is not set."""
        if value := self.secrets(name):
            return value
        raise NotAllowed(f"This service is not set up. Set {name} and start again.")

    async def access_token(self, *scopes: str) -> str:
        """Return a token of the user's linked account, for `scopes` or all of the manifest's.

        Raises NotAllowed (not linked, or not for this) and ReauthRequired.
        """
        if self.accounts is None:
            raise NotAllowed("No account is connected. Connect it in the settings, then ask again.")
        return await self.accounts.token(self.provider, scopes or self.scopes)

    def local_now(self) -> dt.datetime:
        """Return the current time in the user's zone."""
        return self.clock().astimezone(ZoneInfo(self.timezone))
