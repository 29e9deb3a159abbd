"""What every connector must offer, whoever wrote it: declared, described, recorded, and calm."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from common.assistant.suggestions import MAX_CHARACTERS
from common.errors import (
    NotAllowed,
    OdaiError,
    RateLimited,
    ReauthRequired,
    VendorRejected,
    VendorUnavailable,
)
from common.tools import Entry, Registry, Tool

from .conftest import HERE, Linked, Replay, entries

MAX_BYTES = 6 * 1024
MAX_SUMMARY = 500
# What OpenAI's strict mode reads; anything else is refused with the whole request.
STRICT_KEYS = {
    "type",
    "properties",
    "required",
    "additionalProperties",
    "description",
    "enum",
    "anyOf",
    "items",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "pattern",
    "minItems",
    "maxItems",
    "const",
}
FAILURES: dict[str, type[OdaiError]] = {
    "auth": VendorRejected,
    "rate_limited": RateLimited,
    "down": VendorUnavailable,
    "malformed": VendorUnavailable,
}

ENTRIES = entries()
TOOLS = [(entry, tool) for entry in ENTRIES for tool in entry.tools]
# Connectors of other kinds (banks) bring harnesses of their own.
REPLAYED = [
    (entry, tool)
    for entry, tool in TOOLS
    if entry.connector.auth != "plaid" and (entry.connector.hosts or entry.connector.server)
]
each_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.slug)
each_tool = pytest.mark.parametrize(
    ("entry", "tool"), TOOLS, ids=[f"{entry.slug}-{tool.name}" for entry, tool in TOOLS]
)
each_replayed = pytest.mark.parametrize(
    ("entry", "tool"), REPLAYED, ids=[f"{entry.slug}-{tool.name}" for entry, tool in REPLAYED]
)


def module_of(entry: Entry) -> ModuleType:
    return importlib.import_module(f"common.connectors.{entry.slug}")


def recordings() -> list[Path]:
    return sorted(path for path in HERE.glob("*/*__*.json") if not path.stem.startswith("any__"))


def test_the_registry_finds_the_connectors() -> None:
    """A module dropped into the package is a connector; no list has to be kept."""
    modules = {
        path.stem
        for path in (Path(inspect.getfile(Registry)).parents[1] / "connectors").glob("[a-z]*.py")
    }
    assert {entry.slug for entry in ENTRIES} == modules
    assert all(entry.tools for entry in ENTRIES)


@each_entry
def test_a_connector_introduces_itself(entry: Entry) -> None:
    """The directory shows a name, a sentence and prompts to try; routing has words to go by."""
    c = entry.connector
    assert c.name and c.description.endswith(".") and len(c.description) <= 160
    assert len(c.examples) >= 3 and len(set(c.examples)) == len(c.examples)
    assert min(map(len, c.examples)) <= MAX_CHARACTERS  # else nothing of it is ever suggested
    assert len(c.keywords) >= 8 and len(set(c.keywords)) == len(c.keywords)
    assert all(re.fullmatch(r"[a-z0-9.\-]+( [a-z0-9.\-]+)?", word) for word in c.keywords)
    assert c.secrets if c.auth == "key" else c.auth != "none" or not c.secrets
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]+", name) for name in c.secrets)


@each_entry
def test_a_connector_declares_its_hosts(entry: Entry) -> None:
    """Nothing but the declared hosts can be reached, so that none may be left out or too wide."""
    c = entry.connector
    source = inspect.getsource(module_of(entry))
    assert c.hosts or c.server or "ctx.http" not in source
    assert c.public_web or "fetch_public" not in source
    for host in entry.connector.hosts:
        assert re.fullmatch(r"(\*\.)?([a-z0-9-]+\.)+[a-z]{2,}", host)
        assert host.count(".") >= 2 or not host.startswith("*.")


@each_entry
def test_a_module_opens_with_its_documentation(entry: Entry) -> None:
    """Whoever repairs a connector finds the vendor's pages and dated quirks at its top."""
    module = module_of(entry)
    doc = inspect.getdoc(module) or ""
    assert "https://" in doc and re.search(r"20\d\d", doc)


@each_tool
def test_a_tool_tells_the_model_what_it_does(entry: Entry, tool: Tool) -> None:
    """The model reads a description and one line for every argument."""
    assert re.fullmatch(r"[a-z][a-z0-9_]{2,63}", tool.name)
    assert 20 <= len(tool.description) <= 400
    properties = tool.parameters.schema["properties"]
    assert [name for name, value in properties.items() if not value.get("description")] == []
    assert all(
        p.kind is p.KEYWORD_ONLY
        for p in list(inspect.signature(tool.handler).parameters.values())[1:]
    )


@each_tool
def test_a_tool_says_what_it_is_doing(entry: Entry, tool: Tool) -> None:
    """Meanwhile the user sees a short line that ends in an ellipsis."""
    assert len(tool.progress) <= 60 and tool.progress.endswith("…")
    assert tool.risk in ("read", "write", "money", "external")
    assert 0 < tool.timeout_s <= 60


@each_tool
def test_an_act_is_asked_for_in_plain_words(entry: Entry, tool: Tool) -> None:
    """Whoever has to decide reads a question about what will happen, not a note for the model."""
    assert tool.asks or tool.risk == "read"
    assert not tool.asks or re.fullmatch(r"[A-Z][^.?!]{8,78}\?", tool.asks)
    assert "the user" not in tool.asks


@each_tool
def test_a_schema_is_valid_in_strict_mode(entry: Entry, tool: Tool) -> None:
    """A model in strict mode accepts the tool: every property required, no others, known words."""
    schema = tool.parameters.schema
    assert schema["type"] == "object"
    _check_strict(schema)


def _check_strict(schema: dict[str, Any]) -> None:
    assert set(schema) <= STRICT_KEYS, set(schema) - STRICT_KEYS
    if schema.get("type") == "object":
        assert schema["additionalProperties"] is False
        assert sorted(schema["required"]) == sorted(schema["properties"])
    parts = [*schema.get("properties", {}).values(), *schema.get("anyOf", [])]
    for part in [*parts, *([schema["items"]] if "items" in schema else [])]:
        _check_strict(part)


@each_replayed
def test_a_tool_is_recorded(entry: Entry, tool: Tool) -> None:
    """Success, nothing found and every failure of the vendor are recorded for each tool."""
    folder = HERE / entry.slug
    keyed = entry.connector.secrets or entry.connector.account
    needed = set(FAILURES) if keyed else set(FAILURES) - {"auth"}
    present = {path.stem.partition("__")[2] for path in folder.glob(f"{tool.name}__*.json")}
    shared = {path.stem.partition("__")[2] for path in folder.glob("any__*.json")}
    # An act finds nothing: there is no empty answer to record.
    own = {"success", "empty"} if tool.risk == "read" else {"success"}
    assert own <= present and needed <= present | shared


@each_entry
def test_a_keyless_connector_is_asked_last(entry: Entry) -> None:
    """What the operator pays for is asked before what everybody may use."""
    c = entry.connector
    if c.capability and c.auth == "none":
        peers = [e.connector for e in ENTRIES if e.connector.capability == c.capability]
        assert all(peer.rank < c.rank for peer in peers if peer.auth != "none")


@pytest.mark.parametrize("path", recordings(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_recording_replays_into_a_short_answer(path: Path) -> None:
    """Whatever the vendor says, the assistant gets words it can say, and few enough bytes."""
    outcome = Replay(path.parent)(path.stem)
    assert outcome.summary and "\n" not in outcome.summary and len(outcome.summary) <= MAX_SUMMARY
    assert not {"None", "nan", "null", "[]", "{}"} & set(re.split(r"[ ,;:()]+", outcome.summary))
    if path.stem.endswith("__success"):
        assert outcome.result and outcome.result.sources
        assert all(source.url.startswith("https://") for source in outcome.result.sources)
    if outcome.result:
        assert re.fullmatch(r"[a-z][a-z0-9_]+", outcome.result.response_type)
        assert len(outcome.for_model().encode()) <= MAX_BYTES
        assert json.loads(msgspec.json.encode(outcome.result.data)) == outcome.result.data


@each_replayed
@pytest.mark.parametrize("failure", FAILURES)
def test_a_vendor_that_fails_is_explained(entry: Entry, tool: Tool, failure: str) -> None:
    """A refused key, a limit, an outage and an unreadable answer each tell what to do next."""
    folder = HERE / entry.slug
    own, shared = folder / f"{tool.name}__{failure}.json", folder / f"any__{failure}.json"
    if failure == "auth" and not (entry.connector.secrets or entry.connector.account):
        return
    success = json.loads((folder / f"{tool.name}__success.json").read_text())
    if own.exists():
        outcome = Replay(folder)(own.stem)
    else:
        response = json.loads(shared.read_text())
        outcome = Replay(folder).failing(tool.name, success["arguments"], response)
    linked = failure == "auth" and entry.connector.account
    assert type(outcome.error) is (ReauthRequired if linked else FAILURES[failure])
    assert len(outcome.summary) > 20 and "http" not in outcome.summary
    if isinstance(outcome.error, RateLimited):
        assert outcome.error.retry_after == 7


@each_replayed
def test_a_missing_key_is_named(entry: Entry, tool: Tool) -> None:
    """Without its key a tool calls nobody and says which setting it wants."""
    if not entry.connector.secrets:
        return
    path = HERE / entry.slug / f"{tool.name}__success.json"
    arguments = json.loads(path.read_text())["arguments"]
    outcome = Replay(path.parent).run(tool.name, arguments, secrets={})
    assert isinstance(outcome.error, NotAllowed)
    assert entry.connector.secrets[0] in outcome.summary


@each_replayed
def test_an_account_that_is_not_linked_is_asked_for(entry: Entry, tool: Tool) -> None:
    """Without the linked account a tool calls nobody and says which account to connect."""
    if not entry.connector.account:
        return
    path = HERE / entry.slug / f"{tool.name}__success.json"
    arguments = json.loads(path.read_text())["arguments"]
    outcome = Replay(path.parent).run(tool.name, arguments, accounts=Linked(any=False))
    assert isinstance(outcome.error, NotAllowed)
    assert f"No {entry.connector.account} account" in outcome.summary


def test_providers_of_one_tool_take_the_same_arguments(registry: Registry) -> None:
    """The model is shown the first provider's arguments: every other one must take them too."""
    for name in registry.tools:
        first, *others = (tool.parameters.schema for tool in registry.providers(name))
        assert all(_undescribed(other) == _undescribed(first) for other in others), name


def _undescribed(schema: dict[str, Any]) -> dict[str, Any]:
    properties = {
        name: {k: v for k, v in value.items() if k != "description"}
        for name, value in schema["properties"].items()
    }
    return {**schema, "properties": properties}


@each_replayed
@pytest.mark.parametrize("body", [[], {}, None, "", 0, {"data": {}}, [None], [[]]], ids=repr)
def test_json_of_any_shape_is_survived(entry: Entry, tool: Tool, body: Any) -> None:
    """A vendor that changes its answers costs one answer: no defect of ours is what is told."""
    path = HERE / entry.slug / f"{tool.name}__success.json"
    case = json.loads(path.read_text())
    outcome = Replay(path.parent).failing(tool.name, case["arguments"], {"json": body})
    assert "in a way I do not understand" not in outcome.summary
