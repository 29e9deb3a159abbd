"""What a client may send and what it is sent, as PROTOCOL names it."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.assistant import protocol
from common.assistant.protocol import (
    MAX_PROMPT_CHARACTERS,
    Approve,
    Cursor,
    Deny,
    DeviceLocation,
    Edit,
    Ping,
    Prompt,
    RawResponseEvent,
    Regenerate,
    Resume,
    Stop,
    encode_delta,
    encode_event,
    parse_frame,
)
from common.errors import InvalidInput

TURN = "01M80JV7Y2EV9PHYMKZF1NJBCA"
FRAMES = [
    ({"type": "prompt", "text": "hi"}, Prompt("hi")),
    ({"type": "prompt", "text": "hi", "id": "p-1"}, Prompt("hi", "p-1")),
    ({"type": "stop"}, Stop()),
    ({"type": "stop", "turn_id": TURN}, Stop(TURN)),
    ({"type": "approve", "approval_id": "a1"}, Approve("a1")),
    ({"type": "approve", "approval_id": "a1", "arguments": {"x": 1}}, Approve("a1", {"x": 1})),
    ({"type": "deny", "approval_id": "a1", "reason": "no"}, Deny("a1", "no")),
    ({"type": "resume", "cursor": f"{TURN}:7"}, Resume(f"{TURN}:7")),
    ({"type": "regenerate", "message_id": TURN}, Regenerate(TURN)),
    ({"type": "edit", "message_id": TURN, "text": "b"}, Edit(TURN, "b")),
    ({"type": "location", "latitude": 1.5, "longitude": -2}, DeviceLocation(1.5, -2.0)),
    (
        {"type": "location", "latitude": 0, "longitude": 0, "timezone": "Europe/Paris"},
        DeviceLocation(0.0, 0.0, "Europe/Paris"),
    ),
    ({"type": "ping"}, Ping()),
    ({"type": "ping", "added_by_a_later_client": 1}, Ping()),
    ({"message": "hi", "thread_id": "t"}, Prompt("hi")),
]
TEXTS = [
    "hi",
    "  hi  ",
    '"hi"',
    "[1]",
    "null",
    "42",
    "line\nline",
    '{"type": "unknown", "text": "hi"}',
    '{"type": ["prompt"]}',
    '{"type": {}}',
    '{"type": null}',
    "{}",
    '{"message": 5}',
]
WRONG = [
    "",
    "   \n",
    "{",
    '{"type": "prompt", "text": "hi"',
    '{"type": "ping"} trailing',
    '{"a": ' + "[" * 30_000,
    '{"type": "approve", "approval_id": "a", "arguments": ' + '{"a":' * 9_000 + "1" + "}" * 9_001,
    '{"type": "prompt"}',
    '{"type": "prompt", "text": ""}',
    '{"type": "prompt", "text": 5}',
    '{"type": "prompt", "text": "hi", "id": "with space"}',
    '{"type": "prompt", "text": "hi", "id": "' + "a" * 129 + '"}',
    '{"type": "prompt", "text": "\\ud800"}',
    '{"message": ""}',
    '{"type": "approve"}',
    '{"type": "approve", "approval_id": "a", "arguments": [1]}',
    '{"type": "resume"}',
    '{"type": "regenerate"}',
    '{"type": "edit", "message_id": "m"}',
    '{"type": "edit", "message_id": "m", "text": " "}',
    '{"type": "location", "latitude": 91, "longitude": 0}',
    '{"type": "location", "latitude": 0, "longitude": -181}',
    '{"type": "location", "latitude": "north", "longitude": 0}',
    '{"type": "location", "latitude": 1e999, "longitude": 0}',
    "x" * (MAX_PROMPT_CHARACTERS + 1),
]
ORIGINAL_FIELDS = {
    "raw_response_event": {"delta", "current_agent"},
    "tool_call": {"name", "description", "current_agent", "call_id", "arguments"},
    "tool_output": {
        "output",
        "current_agent",
        "call_id",
        "ok",
        "duration_ms",
        "summary",
        "sources",
    },
    "agent_updated": {"new_agent", "name", "current_agent"},
    "handoff": {"name", "current_agent"},
    "llm_response": {"response", "current_agent"},
    "end_of_stream": {"status", "usage"},
    "suggested_prompts": {"prompts"},
    "approval_required": {"approval_id", "tool", "title", "arguments", "risk", "expires_at"},
}
ADDED = {"hello", "turn_started", "approval_decided", "job", "title", "error", "pong"}


@pytest.mark.parametrize(("sent", "meant"), FRAMES, ids=lambda v: str(v)[:40])
def test_a_typed_frame_means_what_the_table_says(sent: Any, meant: Any) -> None:
    """Every kind of frame a client may send is understood, spaces around it or not."""
    text = json.dumps(sent)
    assert parse_frame(text) == meant
    assert parse_frame(f" {text}\n") == meant


@pytest.mark.parametrize("text", TEXTS)
def test_anything_else_is_a_prompt_as_typed(text: str) -> None:
    """What an original client sends, whatever it looks like, is asked as it stands."""
    assert parse_frame(text) == Prompt(text)


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:40])
def test_a_frame_that_cannot_be_meant_is_refused_in_words(text: str) -> None:
    """A broken frame gets a sentence that says what is wrong, and nothing else happens."""
    with pytest.raises(InvalidInput) as refused:
        parse_frame(text)
    assert str(refused.value).endswith((".", "-"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)
frames = st.fixed_dictionaries(
    {"type": st.sampled_from(sorted(protocol._TYPES)) | json_values},
    optional=dict.fromkeys(
        (
            "text",
            "id",
            "turn_id",
            "approval_id",
            "arguments",
            "reason",
            "cursor",
            "message_id",
            "latitude",
            "longitude",
            "timezone",
            "message",
        ),
        json_values,
    ),
)


@given(
    st.text()
    | st.text().map(lambda t: "{" + t)
    | json_values.map(json.dumps)
    | frames.map(json.dumps)
)
def test_whatever_arrives_is_a_frame_or_is_refused(text: str) -> None:
    """No text frame, however strange, does anything but ask, act, or get an error."""
    try:
        frame = parse_frame(text)
    except InvalidInput:
        return
    assert isinstance(frame, get_args(protocol.Frame))
    if isinstance(frame, Prompt) and not text.lstrip().startswith("{"):
        assert frame.text == text


@given(st.text(max_size=40))
def test_a_cursor_is_read_back_or_refused(text: str) -> None:
    """A cursor the server sent is understood; anything else is refused."""
    assert str(Cursor.parse(f"{TURN}:12")) == f"{TURN}:12"
    try:
        cursor = Cursor.parse(text)
    except InvalidInput:
        return
    assert cursor.seq == int(text.partition(":")[2])


def test_every_event_type_of_the_contract_exists_with_its_fields() -> None:
    """The original clients find each event they know, with the fields they read."""
    types = {kind.__struct_config__.tag: kind for kind in get_args(protocol.Event)}
    assert set(ORIGINAL_FIELDS) | ADDED <= set(types)
    for name, fields in ORIGINAL_FIELDS.items():
        assert fields <= set(types[name].__struct_fields__)


def test_an_event_carries_its_envelope() -> None:
    """A client reads type, id, chat, turn and seq of every event; merged ones name their first."""
    event = protocol.RawResponseEvent("a", "ODAI")
    told = json.loads(encode_event(event, chat_id="c", turn_id=TURN, seq=9, from_seq=4))
    assert told == {
        "type": "raw_response_event",
        "delta": "a",
        "current_agent": "ODAI",
        "chat_id": "c",
        "id": f"{TURN}:9",
        "turn_id": TURN,
        "seq": 9,
        "from_seq": 4,
    }
    alone = json.loads(encode_event(event, chat_id="c", turn_id=TURN, seq=9, from_seq=9))
    assert "from_seq" not in alone
    first, second = (
        json.loads(encode_event(protocol.Pong(), chat_id="c", turn_id=None, seq=0)) for _ in "ab"
    )
    assert first["seq"] == 0
    assert first["turn_id"] is None
    assert first["id"] != second["id"]
    assert first["type"] == "pong"


@given(st.text(), st.text(), st.integers(1, 10**6), st.integers(0, 40))
def test_a_delta_encoded_in_one_go_says_the_same(
    text: str, agent: str, seq: int, back: int
) -> None:
    """The fast way of writing a delta differs in nothing a client can read."""
    event = RawResponseEvent(delta=text, current_agent=agent)
    names = {"chat_id": "c-1", "turn_id": TURN, "seq": seq, "from_seq": max(1, seq - back)}
    told: Any = names
    assert json.loads(encode_delta(text, agent, **told)) == json.loads(encode_event(event, **told))
