"""What a connector declares: its manifest, its tools, and what a tool returns."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

from common.egress import Quota
from common.tools.schema import Parameters, parameters_of

Risk: TypeAlias = Literal["read", "write", "money", "external"]
Category: TypeAlias = Literal["finance", "travel", "productivity", "shopping", "information"]
Auth: TypeAlias = Literal["none", "key", "google", "plaid", "oauth"]
Handler: TypeAlias = Callable[..., Awaitable["ToolResult"]]


def words(listed: str) -> tuple[str, ...]:
    """Return the entries of a comma-separated list: a manifest has a hundred keywords."""
    return tuple(entry.strip() for entry in listed.split(","))


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    """A vendor as data. The slug is the module's name.

    `examples` are prompts a user could type (at least three); with `keywords` and the tools'
    docstrings they are what the router knows of the connector. `secrets` are the environment
    variables without which its tools are off. `capability` names what interchangeable connectors
    share ("weather"); such connectors may declare the same tools. `rank` orders them, lowest
    first, the keyless ones last. `provider` names whose account `auth="oauth"` links ("slack").
    `server` is the setting with the address of the operator's own server, where there is no
    vendor; `personal` says that the key opens one person's own account (a broker's, say), so that
    only the operator's own user may use it in production; `public_web` lets the tools fetch pages
    that users name, through the guard. `per_second` is the pace of one process, `quota` what the
    vendor allows all of them together.
    """

    name: str
    category: Category
    description: str
    examples: tuple[str, ...]
    keywords: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    server: str = ""
    personal: bool = False
    public_web: bool = False
    auth: Auth = "none"
    secrets: tuple[str, ...] = ()
    provider: str = ""
    scopes: tuple[str, ...] = ()
    capability: str = ""
    rank: int = 50
    per_second: float | None = None
    quota: Quota | None = None
    concurrency: int = 8
    attribution: str = ""
    licence: str = ""

    @property
    def account(self) -> str:
        """The provider whose linked account the tools need, "" for none."""
        return self.provider if self.auth == "oauth" else "google" if self.auth == "google" else ""

    @property
    def client(self) -> tuple[str, ...]:
        """The settings with what the operator registered with `account`'s provider, to link any.

        None where there is no account, or where `secrets` themselves say what linking takes.
        """
        if not self.account or self.secrets:
            return ()
        name = self.account.upper()
        return f"{name}_CLIENT_ID", f"{name}_CLIENT_SECRET"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a fact comes from: shown as a link beside the answer."""

    title: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a tool found or did.

    `response_type` names the shape of `data` for clients that draw it; `data` is JSON (mappings,
    lists, str, int, float, bool, None), with units in its names; `summary` is one or two plain
    sentences that can be spoken or sent by SMS; `untrusted` marks text written by strangers.
    """

    response_type: str
    data: Any
    summary: str
    sources: tuple[Source, ...] = ()
    untrusted: bool = False


@dataclass(frozen=True)
class Tool:
    """A declared tool. `name` is the function's; `description` its docstring without the Args."""

    name: str
    description: str
    progress: str
    risk: Risk
    slow: bool
    cache_s: float
    timeout_s: float
    voice: bool
    handler: Handler
    connector: str = ""
    reaches: tuple[str, ...] = ()
    asks: str = ""

    @cached_property
    def parameters(self) -> Parameters:
        """The arguments' schema and parser, built on first use: schemas cost start-up time."""
        return parameters_of(self.handler)


def tool(
    *,
    progress: str,
    risk: Risk = "read",
    slow: bool = False,
    cache_s: float = 0.0,
    timeout_s: float = 10.0,
    voice: bool = True,
    reaches: tuple[str, ...] = (),
    asks: str = "",
) -> Callable[[Handler], Tool]:
    """Declare an async function `(ctx: ToolContext, *, …) -> ToolResult` as a tool.

    Its docstring is what the model reads; an `Args:` section describes each argument. `progress`
    is the line a user sees meanwhile (at most 60 characters, ending in "…"). Anything but
    `risk="read"` waits for the user's approval. `slow` tools run in the worker. `cache_s` lets
    identical requests to the vendor share an answer. `timeout_s` bounds one run. `reaches` names
    the arguments of a write that make it a message to others as well. `asks` is the question that
    a person is asked before it is made, in plain words that say what will happen.
    """

    def declare(handler: Handler) -> Tool:
        text = inspect.getdoc(handler) or ""
        return Tool(
            name=handler.__name__,
            description=text.partition("\nArgs:")[0].strip(),
            progress=progress,
            risk=risk,
            slow=slow,
            cache_s=cache_s,
            timeout_s=timeout_s,
            voice=voice,
            handler=handler,
            connector=handler.__module__.rpartition(".")[2],
            reaches=reaches,
            asks=asks,
        )

    return declare
