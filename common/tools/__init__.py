"""Tools: what the assistant can do, declared beside the code that does it.

A connector module holds a `Connector` manifest named CONNECTOR and functions decorated with
`@tool`; the registry finds them by looking. Nothing here loads a model library: the worker that
runs tools stays light.
"""

from __future__ import annotations

from common.tools.context import Accounts, Banks, Location, ToolContext
from common.tools.declare import Connector, Risk, Source, Tool, ToolResult, tool, words
from common.tools.registry import Entry, Registry
from common.tools.run import Asker, Outcome, ToolRunner, run_tool

__all__ = [
    "Accounts",
    "Asker",
    "Banks",
    "Connector",
    "Entry",
    "Location",
    "Outcome",
    "Registry",
    "Risk",
    "Source",
    "Tool",
    "ToolContext",
    "ToolResult",
    "ToolRunner",
    "run_tool",
    "tool",
    "words",
]
