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
        """Return the names of the keys it needs and does not have."""
        return [name for name in self.connector.secrets if not secret(name)]

    @property
    def policy(self) -> Policy:
        """How its calls leave the process."""
        c = self.connector
        return Policy(
            name=c.name, hosts=c.hosts, per_second=c.per_second, concurrency=c.concurrency
        )


class Registry:
    """Connectors by slug and tools by name. Names are unique; a clash raises Misconfigured."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries: dict[str, Entry] = {}
        self.tools: dict[str, Tool] = {}
        for entry in entries:
            self._add(entry)

    @classmethod
    def discover(cls, package: str = "common.connectors") -> Registry:
        """Import every module of `package` that declares a CONNECTOR."""
        root = importlib.import_module(package)
        names = sorted(info.name for info in pkgutil.iter_modules(root.__path__))
        modules = (importlib.import_module(f"{package}.{name}") for name in names)
        return cls(_entry(module) for module in modules if hasattr(module, "CONNECTOR"))

    def tool(self, name: str) -> Tool:
        """Return the tool; NotFound where there is none of that name."""
        try:
            return self.tools[name]
        except KeyError as err:
            raise NotFound(f"There is no tool named {name!r}.") from err

    def entry_of(self, tool: Tool) -> Entry:
        """Return the connector that declares `tool`."""
        return self.entries[tool.connector]

    def _add(self, entry: Entry) -> None:
        self.entries[entry.slug] = entry
        for tool in entry.tools:
            if tool.name in self.tools:
                other = self.tools[tool.name].connector
                raise Misconfigured(f"{entry.slug} and {other} both declare tool {tool.name}.")
            self.tools[tool.name] = tool


def _entry(module: ModuleType) -> Entry:
    slug = module.__name__.rpartition(".")[2]
    tools = tuple(value for value in vars(module).values() if isinstance(value, Tool))
    return Entry(slug=slug, connector=module.CONNECTOR, tools=tools)
