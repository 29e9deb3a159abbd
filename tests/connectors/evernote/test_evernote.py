"""Notes through a server whose tools are only known once it is asked."""

from __future__ import annotations

import json

from common.errors import InvalidInput, NotAllowed, NotFound, VendorRejected

from ..conftest import HERE, Replay

SEARCH, READ = "search_evernote_notes", "read_evernote_note"


def test_notes_are_found(replay: Replay) -> None:
    """The server's own tool is found by what it does, and its text counts as a stranger's."""
    outcome = replay(f"{SEARCH}__success")
    assert outcome.summary.startswith("In Evernote: 1. Boiler manual (id 9f3a)")
    assert outcome.result and outcome.result.untrusted
    assert replay(f"{SEARCH}__empty").summary == "Evernote has no note about nothing."


def test_a_note_is_read_from_an_event_stream(replay: Replay) -> None:
    """The server may answer with events; the one that matters is read."""
    assert replay(f"{READ}__success").summary == "Boiler manual Press twice."
    assert replay(f"{READ}__empty").summary == "The note is empty."


def test_refusals_are_told_apart(replay: Replay) -> None:
    """A missing note, and a plan without the feature."""
    assert isinstance(replay(f"{READ}__unknown").error, NotFound)
    assert isinstance(replay(f"{SEARCH}__free_plan").error, VendorRejected)


def test_a_note_is_saved_with_the_servers_own_names(replay: Replay) -> None:
    """Arguments follow the schema the server publishes."""
    assert replay("create_evernote_note__success").summary == "Saved the note Packing."
    assert isinstance(
        replay.run("create_evernote_note", {"title": " ", "content": "x"}).error, InvalidInput
    )


def test_a_server_elsewhere_gets_no_token(replay: Replay) -> None:
    """A token of Evernote leaves for Evernote only, whatever address is set."""
    case = json.loads((HERE / "evernote" / f"{SEARCH}__success.json").read_text())
    outcome = replay.run(
        SEARCH, case["arguments"], secrets={"EVERNOTE_MCP_URL": "https://evernote.example/mcp"}
    )
    assert isinstance(outcome.error, NotAllowed)


def test_a_long_note_stays_short(replay: Replay) -> None:
    """The longest note fits what the model may read."""
    tools = [{"name": "get_note", "inputSchema": {"properties": {"id": {"type": "string"}}}}]
    content = [{"type": "text", "text": 'wörds "quoted"\n' * 4000}]
    result = {"protocolVersion": "2025-06-18", "tools": tools, "content": content}
    outcome = replay.failing(READ, {"note_id": "1"}, {"json": {"id": 1, "result": result}})
    assert outcome.ok and len(outcome.for_model().encode()) <= 6 * 1024
