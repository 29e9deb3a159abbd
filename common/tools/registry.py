"""The registry: every connector module, found by looking into its package."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType

from common.egress import Policy
from common.errors import Misconfigured, NotFound
from common.tools.declare import Connector, Tool


@dataclass(frozen=True, slots=True)
class Entry:
    """A connector with its slug and tools."""

    slug: str
    connector: Connector
    tools: tuple[Tool, ...]

    def missing(self, secret: Callable[[str], str | None]) -> list[str]:
        """Return the settings it needs and does not have: keys, and a client to link accounts."""
        needed = (*self.connector.secrets, *self.connector.client)
        return [name for name in needed if not secret(name)]

    def policy(self, secret: Callable[[str], str | None]) -> Policy:
        """Return how its calls leave the process."""
        c = self.connector
        return Policy(
            name=c.name,
            hosts=c.hosts,
            server=(secret(c.server) or "") if c.server else "",
            per_second=c.per_second,
            quota=c.quota,
            concurrency=c.concurrency,
        )


class Registry:
    """Connectors by slug, tools by name.

    Connectors that share a capability may declare the same tool: they are its providers, and any
    of them will do. Every other clash of names raises Misconfigured.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries: dict[str, Entry] = {}
        self.tools: dict[str, Tool] = {}  # every name with its first provider
        self._providers: dict[str, list[Tool]] = {}
        for entry in sorted(entries, key=lambda e: (e.connector.rank, e.slug)):
            self._add(entry)

    @classmethod
    def discover(cls, package: str = "common.connectors") -> Registry:
        """Import every module of `package` that declares a CONNECTOR."""
        root = importlib.import_module(package)
        names = sorted(info.name for info in pkgutil.iter_modules(root.__path__))
        modules = (importlib.import_module(f"{package}.{name}") for name in names)
        return cls(_entry(module) for module in modules if hasattr(module, "CONNECTOR"))

    def tool(self, name: str) -> Tool:
        """Return the tool's first provider; NotFound where there is none of that name."""
        return self.providers(name)[0]

    def providers(self, name: str) -> list[Tool]:
        """Return every provider of a tool, the preferred first; NotFound where there is none."""
        try:
            return self._providers[name]
        except KeyError as err:
            raise NotFound(f"There is no tool named {name!r}.") from err

    def entry_of(self, tool: Tool) -> Entry:
        """Return the connector that declares `tool`."""
        return self.entries[tool.connector]

    def _add(self, entry: Entry) -> None:
        self.entries[entry.slug] = entry
        for tool in entry.tools:
            others = self._providers.setdefault(tool.name, [])
            for other in others:
                capability = self.entry_of(other).connector.capability
                if not capability or capability != entry.connector.capability:
                    raise Misconfigured(
                        f"{entry.slug} and {other.connector} both declare tool {tool.name}."
                    )
            others.append(tool)
            self.tools.setdefault(tool.name, tool)


def _entry(module: ModuleType) -> Entry:
    slug = module.__name__.rpartition(".")[2]
    tools = tuple(value for value in vars(module).values() if isinstance(value, Tool))
    return Entry(slug=slug, connector=module.CONNECTOR, tools=tools)
