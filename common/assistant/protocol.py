"""The chat socket's contract as types: what clients send, what they are sent.

Sans-IO. `parse_frame` reads a client's text; the `Event` union is everything a server says.
`docs/protocol.md` is the prose of this page, and its AsyncAPI file is generated from these types,
so that the two cannot differ. The original backend's event names and fields are kept.
"""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias

import msgspec

from common.documents import CHAT_ID, new_id
from common.errors import InvalidInput, OdaiError

MAX_FRAME_BYTES = 65_536
MAX_PROMPT_CHARACTERS = 32_000
SUBPROTOCOL = "odai.v1"
BUDGET_LOW = "budget_low"  # a code of `error` that is no error's: it tells, and refuses nothing
_PROMPT_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
_CURSOR = re.compile(r"([0-9A-Z]{26}):([0-9]{1,9})\Z")


class Cursor(msgspec.Struct, frozen=True):
    """A place in a chat: everything up to event `seq` of turn `turn_id` has been seen."""

    turn_id: str
    seq: int

    @property
    def order(self) -> tuple[str, int]:
        """What sorts cursors by time."""
        return self.turn_id, self.seq

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read `<turn_id>:<seq>`; InvalidInput where it has another form."""
        if not (match := _CURSOR.match(text)):
            raise InvalidInput("A cursor looks like <turn_id>:<seq>, as the server sent it.")
        return cls(match[1], int(match[2]))

    def __str__(self) -> str:
        return f"{self.turn_id}:{self.seq}"


START = Cursor("0" * 26, 0)  # before a chat's first turn


# --- client to server -----------------------------------------------------------------------


class Prompt(msgspec.Struct, tag_field="type", tag="prompt", frozen=True):
    """A user's message; the same `id` twice is one turn."""

    text: str
    id: str = ""


class Stop(msgspec.Struct, tag_field="type", tag="stop", frozen=True):
    """Stop the running turn and keep what was said."""

    turn_id: str = ""


class Approve(msgspec.Struct, tag_field="type", tag="approve", frozen=True):
    """Let a paused action happen, with edited arguments if given.

    `always` lets the same tool write to the user's own data without asking from then on.
    """

    approval_id: str
    arguments: dict[str, Any] | None = None
    always: bool = False


class Deny(msgspec.Struct, tag_field="type", tag="deny", frozen=True):
    """Refuse a paused action."""

    approval_id: str
    reason: str = ""


class Resume(msgspec.Struct, tag_field="type", tag="resume", frozen=True):
    """Replay what came after `cursor`."""

    cursor: str


class Regenerate(msgspec.Struct, tag_field="type", tag="regenerate", frozen=True):
    """Answer the prompt `message_id` again; what followed it is forgotten."""

    message_id: str


class Edit(msgspec.Struct, tag_field="type", tag="edit", frozen=True):
    """Replace the prompt `message_id` by `text` and answer that; what followed is forgotten."""

    message_id: str
    text: str


class DeviceLocation(msgspec.Struct, tag_field="type", tag="location", frozen=True):
    """Where the device is, in degrees, shared with consent; `timezone` is an IANA name."""

    latitude: float
    longitude: float
    timezone: str = ""


class Ping(msgspec.Struct, tag_field="type", tag="ping", frozen=True):
    """Ask for a `pong`."""


Frame: TypeAlias = (
    Prompt | Stop | Approve | Deny | Resume | Regenerate | Edit | DeviceLocation | Ping
)


class _NamedPrompt(msgspec.Struct, tag_field="type", tag="prompt", frozen=True):
    """What a prompt that cannot be read still says."""

    id: str


_frames = msgspec.json.Decoder(Frame)
_named = msgspec.json.Decoder(_NamedPrompt)
_TYPES = frozenset(
    ("prompt", "stop", "approve", "deny", "resume", "regenerate", "edit", "location", "ping")
)


def parse_frame(text: str) -> Frame:
    """Read one text frame of a client.

    Anything but a JSON object with a known `type` is a prompt, as the original clients send it;
    so is `{"message": …}`. Raises InvalidInput, saying what is wrong, where a typed frame does not
    fit its type or a prompt is empty or too long.
    """
    stripped = text.strip()
    if stripped.startswith("{"):
        typed = _typed_frame(stripped)
        if typed is not None:
            return typed
    return _checked_prompt(Prompt(text=text))


def prompt_id_of(text: str) -> str:
    """Return the id that a prompt which `parse_frame` refused names, "" where it names none."""
    try:
        named = _named.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return ""
    return named.id if _PROMPT_ID.match(named.id) else ""


def _typed_frame(text: str) -> Frame | None:
    try:
        raw = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as err:
        raise InvalidInput("That frame starts like JSON and is not valid JSON.") from err
    kind = raw.get("type")
    if isinstance(kind, str) and kind in _TYPES:
        try:
            frame: Frame = _frames.decode(text)
        except msgspec.ValidationError as err:
            raise InvalidInput(f"A frame of type {kind} does not fit: {err}.") from err
        return _checked_prompt(frame) if isinstance(frame, Prompt) else _checked(frame)
    if isinstance(raw.get("message"), str):
        return _checked_prompt(Prompt(text=raw["message"]))
    return None


def _checked_prompt(prompt: Prompt) -> Prompt:
    _check_text(prompt.text)
    if prompt.id and not _PROMPT_ID.match(prompt.id):
        raise InvalidInput("A prompt's id is 1 to 128 characters of A-Z a-z 0-9 . _ : -")
    return prompt


def _checked(frame: Frame) -> Frame:
    if isinstance(frame, Edit):
        _check_text(frame.text)
    if isinstance(frame, DeviceLocation) and not (
        -90 <= frame.latitude <= 90 and -180 <= frame.longitude <= 180
    ):
        raise InvalidInput("latitude is -90 to 90 and longitude -180 to 180, in degrees.")
    return frame


def _check_text(text: str) -> None:
    if not text.strip():
        raise InvalidInput("The message is empty. Type something to ask.")
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise InvalidInput(f"The message is longer than {MAX_PROMPT_CHARACTERS:,} characters.")


def check_chat_id(chat_id: str) -> str:
    """Return `chat_id` if it has the agreed form; InvalidInput otherwise."""
    if not CHAT_ID.match(chat_id):
        raise InvalidInput("A chat id is 1 to 128 characters of A-Z a-z 0-9 _ -")
    return chat_id


# --- server to client -----------------------------------------------------------------------


class RawResponseEvent(msgspec.Struct, tag_field="type", tag="raw_response_event", frozen=True):
    """A piece of the answer."""

    delta: str
    current_agent: str


class ToolCall(msgspec.Struct, tag_field="type", tag="tool_call", frozen=True):
    """A tool starts; `description` is its progress line."""

    name: str
    description: str
    current_agent: str
    call_id: str
    arguments: Any


class ToolOutput(
    msgspec.Struct, tag_field="type", tag="tool_output", frozen=True, omit_defaults=True
):
    """A tool ended. `output` has the original's five fields.

    `untrusted` tells that the result holds text written by strangers; it is left out where not.
    """

    output: dict[str, Any]
    current_agent: str
    call_id: str
    ok: bool
    duration_ms: int
    summary: str
    sources: list[dict[str, str]]
    untrusted: bool = False


class AgentUpdated(msgspec.Struct, tag_field="type", tag="agent_updated", frozen=True):
    """Another agent speaks from here on."""

    new_agent: str
    name: str
    current_agent: str


class Handoff(msgspec.Struct, tag_field="type", tag="handoff", frozen=True):
    """An agent hands the conversation to `name`."""

    name: str
    current_agent: str


class LlmResponse(msgspec.Struct, tag_field="type", tag="llm_response", frozen=True):
    """The whole text of one answer."""

    response: str
    current_agent: str


class EndOfStream(msgspec.Struct, tag_field="type", tag="end_of_stream", frozen=True):
    """The turn is over."""

    status: Literal["done", "stopped", "waiting_for_approval", "failed"]
    usage: dict[str, int]


class Suggestion(msgspec.Struct, frozen=True):
    """A prompt the user may want next; likelihood is 0 to 1."""

    prompt: str
    likelihood: float


class SuggestedPrompts(msgspec.Struct, tag_field="type", tag="suggested_prompts", frozen=True):
    """What the user may want to ask next, best first."""

    prompts: list[Suggestion]


class Hello(msgspec.Struct, tag_field="type", tag="hello", frozen=True):
    """The first event of a connection; `cursor` is where who brings none begins."""

    protocol: str
    title: str
    cursor: str
    running_turn: str | None


class TurnStarted(msgspec.Struct, tag_field="type", tag="turn_started", frozen=True):
    """A turn begins; `prompt_id` repeats the id the client gave its prompt.

    `replaces` names the turn that this one and all after it are forgotten for, if any.
    """

    prompt: str
    message_id: str
    prompt_id: str
    replaces: str | None = None


class Transcript(msgspec.Struct, tag_field="type", tag="transcript", frozen=True):
    """What the user said by voice in a turn, beside its prompt.

    `begins`: the turn began with it, and the words became known only now.
    """

    text: str
    begins: bool


class PromptQueued(msgspec.Struct, tag_field="type", tag="prompt_queued", frozen=True):
    """This prompt waits, `position`-th in line after the one that runs; kept in memory only."""

    prompt_id: str
    position: int


class ApprovalRequired(
    msgspec.Struct, tag_field="type", tag="approval_required", frozen=True, omit_defaults=True
):
    """An action waits for the user's yes; `expires_at` is ISO 8601 in UTC.

    `tainted` tells that the run has read text written by strangers; it is left out where not.
    `question` says in plain words what will happen; left out where the tool has none, and `title`
    has to do.
    """

    approval_id: str
    tool: str
    title: str
    arguments: Any
    risk: str
    expires_at: str
    call_id: str
    editable: list[str]
    tainted: bool = False
    question: str = ""


class ApprovalDecided(msgspec.Struct, tag_field="type", tag="approval_decided", frozen=True):
    """A waiting action was decided."""

    approval_id: str
    decision: Literal["approved", "denied", "expired"]
    reason: str


class Job(msgspec.Struct, tag_field="type", tag="job", frozen=True):
    """A slow call's state, run outside the container."""

    job_id: str
    call_id: str
    tool: str
    status: Literal["queued", "running", "done", "failed", "progress"]
    message: str


class Title(msgspec.Struct, tag_field="type", tag="title", frozen=True):
    """The chat has a new title."""

    title: str


class ErrorEvent(msgspec.Struct, tag_field="type", tag="error", frozen=True, omit_defaults=True):
    """Something went wrong; `message` is for the user.

    `prompt_id` repeats the id of the prompt that was refused; left out where it was none, or had
    no id.
    """

    code: str
    message: str
    retryable: bool
    prompt_id: str = ""


def error_event(err: OdaiError, prompt_id: str = "") -> ErrorEvent:
    """Return what clients are told of an error; `prompt_id` names the prompt it refuses."""
    return ErrorEvent(err.code, str(err), err.retryable, prompt_id)


class Pong(msgspec.Struct, tag_field="type", tag="pong", frozen=True):
    """The answer to `ping`."""


Event: TypeAlias = (
    RawResponseEvent
    | ToolCall
    | ToolOutput
    | AgentUpdated
    | Handoff
    | LlmResponse
    | EndOfStream
    | SuggestedPrompts
    | Hello
    | TurnStarted
    | Transcript
    | PromptQueued
    | ApprovalRequired
    | ApprovalDecided
    | Job
    | Title
    | ErrorEvent
    | Pong
)

_encode = msgspec.json.Encoder().encode


def encode_event(
    event: Event, *, chat_id: str, turn_id: str | None, seq: int, from_seq: int | None = None
) -> bytes:
    """Return the event as a client reads it, in its envelope.

    Events of the chat rather than of a turn (`hello`, `pong`, …) have no `turn_id` and seq 0.
    `from_seq` tells that this event stands for all of `from_seq` to `seq`.
    """
    envelope = {
        "id": f"{turn_id}:{seq}" if turn_id else new_id(),
        "chat_id": chat_id,
        "turn_id": turn_id,
        "seq": seq,
    }
    if from_seq is not None and from_seq != seq:
        envelope["from_seq"] = from_seq
    return _encode(event)[:-1] + b"," + _encode(envelope)[1:]


class _Delta(msgspec.Struct, tag_field="type", tag="raw_response_event", frozen=True):
    """A RawResponseEvent with its envelope, so that a delta is encoded in one go."""

    delta: str
    current_agent: str
    id: str
    chat_id: str
    turn_id: str
    seq: int
    from_seq: int | msgspec.UnsetType = msgspec.UNSET


def encode_delta(
    text: str, agent: str, *, chat_id: str, turn_id: str, seq: int, from_seq: int
) -> bytes:
    """Return what `encode_event` would of a RawResponseEvent, at half the cost."""
    merged = msgspec.UNSET if from_seq == seq else from_seq
    return _encode(_Delta(text, agent, f"{turn_id}:{seq}", chat_id, turn_id, seq, merged))
