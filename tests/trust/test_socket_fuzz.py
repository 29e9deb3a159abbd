"""Whatever a client sends, only its own socket may suffer: frames, JSON and orders made at random.

The real server in a process of its own, spoken to over bare TCP, as no WebSocket library sends what
is sent here. Every test has the same invariants: the server lives, another user's socket answers,
the sender gets an `error` event or a documented close code, the log has no traceback and nothing
of what was typed, and memory stays bounded.

The same examples each time; ODAI_TEST_FUZZ=2000 tries so many new ones of each (`make soak`).
"""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from common.assistant.protocol import MAX_PROMPT_CHARACTERS
from common.errors import InvalidInput
from common.telephony.media import Key, MediaStream, Played, Sound, Started, Stopped
from tests.fakes.openai_realtime import FakeRealtime, Speak
from tests.fakes.openai_responses import Answer, Calls, FakeOpenAI, Text
from tests.fakes.suite import Suite
from tests.fakes.twilio import ACCOUNT

LONG = int(os.environ.get("ODAI_TEST_FUZZ", "0"))
SECONDS = 30.0
SECRET = "xylophone-juggler"
NOTE = "save a note: "
PUBLIC = "https://odai.example.com"
# What docs/protocol.md says a socket may be closed with; 1011 is there too, as a defect of ours.
DOCUMENTED = {1000, 1001, 1002, 1007, 1008, 1009, 1013, 4000}

pytestmark = pytest.mark.timeout(0 if LONG else 240)


def fuzzed(examples: int) -> Callable[[Any], Any]:
    """So many examples, the same each time; in the long form ODAI_TEST_FUZZ new ones."""
    return settings(
        max_examples=LONG or examples, derandomize=not LONG, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


# --- a client that sends whatever it likes -------------------------------------------------------


def framed(
    opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0, masked: bool = True,
    wide: int = 0, declared: int | None = None, key: bytes = b"\x11\x22\x33\x44",
) -> bytes:  # fmt: skip
    """Return a frame. `wide` bytes of length (2 or 8) where fewer would do; `declared` lies."""
    length = len(payload) if declared is None else declared
    if not wide:
        wide = 0 if length < 126 else 2 if length < 65_536 else 8
    short = {0: length & 0x7F, 2: 126, 8: 127}[wide]
    head = bytes((fin << 7 | rsv << 4 | opcode, masked << 7 | short))
    head += (length % (1 << wide * 8)).to_bytes(wide, "big") if wide else b""
    if not masked:
        return head + payload
    mask = (key * (len(payload) // 4 + 1))[: len(payload)]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")
    return head + key + mixed.to_bytes(len(payload), "big")


class Peer:
    """One socket, from the client's side."""

    def __init__(self, port: int, path: str, *headers: str, small: bool = False) -> None:
        self.events: list[dict[str, Any]] = []
        self.code: int | None = None  # that the server closed with; 0 where it gave none
        self.sock = socket.socket()
        if small:  # so that what is not read soon waits at the server
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.settimeout(SECONDS)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.connect(("127.0.0.1", port))
        key = base64.b64encode(os.urandom(16)).decode()
        lines = (
            f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", *headers, "", "",
        )  # fmt: skip
        self.sock.sendall("\r\n".join(lines).encode())
        self._buffer = b""
        while b"\r\n\r\n" not in self._buffer:
            assert self._more(), self._buffer
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        assert b" 101 " in head.splitlines()[0], head

    def send(self, data: bytes) -> None:
        """Send bytes, unless the server has gone."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def say(self, frame: object) -> None:
        """Send a text message: a string as it is, anything else as JSON."""
        text = frame if isinstance(frame, str) else json.dumps(frame)
        self.send(framed(1, text.encode("utf-8", "surrogatepass")))

    def next(self) -> dict[str, Any] | None:
        """Return the next event; None once the server has closed, which sets `code`."""
        while self.code is None:
            found = self._frame()
            if found is None:
                if not self._more():
                    self.code = self.code or 0
                continue
            opcode, payload = found
            if opcode == 1:
                self.events.append(json.loads(payload))
                return self.events[-1]
            if opcode == 8:
                self.code = int.from_bytes(payload[:2], "big")
        return None

    def until(self, *kinds: str) -> dict[str, Any] | None:
        """Read until an event of one of these types, or until the server has closed."""
        while (event := self.next()) is not None:
            if event["type"] in kinds:
                return event
        return None

    def answers(self) -> bool:
        """Ask for a `pong`; False where the server has closed instead."""
        self.say({"type": "ping"})
        return self.until("pong") is not None

    def close(self) -> None:
        """Go away without a word."""
        self.sock.close()

    def __del__(self) -> None:
        self.sock.close()  # of examples that failed

    def _more(self) -> bool:
        try:
            data = self.sock.recv(65_536)
        except ConnectionResetError:
            return False
        self._buffer += data
        return bool(data)

    def _frame(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        length, head = buffer[1], 2
        if length >= 126:
            head = 4 if length == 126 else 10
            length = int.from_bytes(buffer[2:head], "big")
        if len(buffer) < head + length:
            return None
        self._buffer = buffer[head + length :]
        return buffer[0] & 0x0F, buffer[head : head + length]


# --- the server ----------------------------------------------------------------------------------


@dataclass
class Bench:
    """The server, a witness on it, and users for whoever comes."""

    suite: Suite
    users: int = 0
    chats: int = 0
    tokens: dict[str, str] = field(default_factory=dict)
    witness: Peer | None = None

    def token(self, name: str) -> str:
        """Return a token of the user `name`."""
        if name not in self.tokens:
            self.tokens[name] = self._post("/client/sign_in", {"name": name})["token"]
        return self.tokens[name]

    def new_chat(self) -> str:
        """Return the name of a chat that nobody has used."""
        self.chats += 1
        return f"fuzz-{self.chats}"

    def chat(self, name: str = "", *, user: str = "Mallory", query: str = "", **how: Any) -> Peer:
        """Open a chat socket."""
        name = name or self.new_chat()
        return Peer(self.suite.port, f"/chats/{name}?token={self.token(user)}{query}", **how)

    def voice(self) -> Peer:
        """Open a voice socket as the app does, as a user of its own."""
        self.users += 1
        token = self.token(f"Caller {self.users}")
        path = f"/app/voice/stream/{self.new_chat()}?token={token}&marks=1"
        return Peer(self.suite.port, path)

    def phone(self) -> Peer:
        """Open a media stream as Twilio does."""
        url = f"ws{PUBLIC.removeprefix('http')}/twilio/connect"
        signed = [f"{name}: {value}" for name, value in ACCOUNT.headers(url).items()]
        return Peer(self.suite.port, "/twilio/connect", *signed)

    def unharmed(self) -> None:
        """Fail where the server or the witness's socket has suffered, or the log tells too much."""
        if self.witness is None:
            self.witness = self.chat("witness", user="Witness")
            assert self.witness.until("hello")
        assert self.witness.answers(), self.log()[-3000:]
        self.witness.events.clear()

    def quiet(self) -> None:
        """Fail where the log has a traceback or something that was typed."""
        text = self.log()
        assert "Traceback" not in text, text[text.index("Traceback") - 500 :][:4000]
        assert SECRET not in text, text[text.index(SECRET) - 500 :][:1000]

    def log(self) -> str:
        """Return what the server has logged."""
        return self.suite.log.read_text(errors="replace")

    def memory_kb(self) -> int:
        """Return the resident memory of the server's processes."""
        found, total = [self.suite._group], 0
        for pid in found:
            status = Path(f"/proc/{pid}/status").read_text()
            total += int(status.partition("VmRSS:")[2].split()[0])
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            found += map(int, children.split())
        return total

    def _post(self, path: str, body: Any) -> Any:
        request = Request(
            self.suite.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urlopen(request, timeout=SECONDS) as response:
            return json.load(response)


def _answer(body: dict[str, Any]) -> Answer:
    """Save a note where that is asked for, and otherwise say something."""
    last = body["input"][-1]
    offered = {tool.get("name") for tool in body.get("tools", ())}
    said = last.get("content")
    if isinstance(said, str) and said.startswith(NOTE) and "save_note" in offered:
        return Calls([("save_note", {"text": "a note"})])
    return Text("I hear you.")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Serve chats and calls; at the end the server lives and its log tells nothing."""
    speaks = Speak("Hm.", ms=40)
    with (
        FakeOpenAI(default=_answer, record=False) as model,
        FakeRealtime(default=speaks, record=False, vad=False) as voice,
        Suite(
            tmp_path_factory.mktemp("fuzz"),
            OPENAI_BASE_URL=model.base_url, OPENAI_API_KEY="key-of-a-test",
            ODAI_REALTIME_URL=voice.url, ODAI_PUBLIC_URL=PUBLIC, ODAI_LOG_LEVEL="DEBUG",
            ODAI_SOCKETS_PER_USER="500", **ACCOUNT.environ,
        ) as suite,
    ):  # fmt: skip
        made = Bench(suite)
        made.unharmed()
        yield made
        made.unharmed()
        made.quiet()


def outcome(peer: Peer, *, closed: bool = False) -> None:
    """Fail where the server has neither answered nor closed as documented.

    `closed`: the client has sent a close of its own, so any code may be its echo, or none.
    """
    if peer.answers():
        return
    assert closed or peer.code in DOCUMENTED, peer.code
    assert peer.code != 1011


# --- frames --------------------------------------------------------------------------------------

_closes = st.tuples(
    st.sampled_from([0, 1, 999, 1000, 1004, 1005, 1006, 1015, 1016, 2999, 3000, 4999, 5000, 65_535])
    | st.integers(0, 65_535),
    st.binary(max_size=40) | st.text(max_size=20).map(lambda t: t.encode()),
).map(lambda pair: struct.pack("!H", pair[0]) + pair[1])
_payloads = (
    st.binary(max_size=300)
    | st.text(max_size=100).map(lambda text: f"{SECRET} {text}".encode())
    | _closes
    | st.sampled_from([65_535, 65_536, 65_537, 262_145]).map(lambda size: b"y" * size)
)
_frames = st.builds(
    framed,
    st.sampled_from([0, 1, 1, 2, 8, 9, 10]) | st.integers(0, 15),
    _payloads,
    fin=st.sampled_from([True, True, True, False]),
    rsv=st.sampled_from([0, 0, 0, 0, 1, 2, 4, 7]),
    masked=st.sampled_from([True, True, True, True, False]),
    wide=st.sampled_from([0, 0, 0, 8]),
    key=st.binary(min_size=4, max_size=4),
)
_streams = st.tuples(st.lists(_frames, min_size=1, max_size=6), st.lists(st.integers(1, 400)))
_kinds = st.sampled_from(["chat", "voice", "phone"])


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """Cut bytes up; what is left goes in one piece."""
    for size in cuts:
        yield data[:size]
        data = data[size:]
    yield data


def _closes_itself(frames: list[bytes]) -> bool:
    return any(frame[0] & 0x0F == 8 for frame in frames)


@given(kind=_kinds, stream=_streams)
@fuzzed(120)
def test_broken_frames_end_their_own_socket_at_most(
    bench: Bench, kind: str, stream: tuple[list[bytes], list[int]]
) -> None:
    """Reserved bits, bad opcodes, wrong masks and lengths: answered, or closed with a code."""
    frames, cuts = stream
    peer = getattr(bench, kind)()
    for piece in pieces(b"".join(frames), cuts):
        peer.send(piece)
    if kind == "phone":  # which knows no `ping`: a stream without a ticket ends
        peer.send(framed(2, b"")), peer.until()
        assert _closes_itself(frames) or peer.code in DOCUMENTED
    elif kind == "voice":
        peer.say({"type": "stop"}), peer.until()
        assert _closes_itself(frames) or peer.code in DOCUMENTED
    else:
        outcome(peer, closed=_closes_itself(frames))
    peer.close()
    bench.unharmed()


@given(
    kind=_kinds,
    opcode=st.sampled_from([0, 1, 2, 8, 9, 10]),
    payload=st.binary(max_size=200),
    more=st.sampled_from([1, 100, 70_000, 2**31, 2**62, 2**63 - 1]),
    fin=st.booleans(),
)
@fuzzed(40)
def test_half_a_frame_and_then_nothing(
    bench: Bench, kind: str, opcode: int, payload: bytes, more: int, fin: bool
) -> None:
    """A frame that never ends costs what was sent of it, and goes with its connection."""
    peer = getattr(bench, kind)()
    peer.send(framed(opcode, payload, fin=fin, declared=len(payload) + more))
    bench.unharmed()
    peer.sock.shutdown(socket.SHUT_WR)
    peer.until()
    assert peer.code == 0 or peer.code in DOCUMENTED
    peer.close()


@pytest.mark.parametrize("kind", ["chat", "phone"])
def test_what_is_never_finished_is_bounded(bench: Bench, kind: str) -> None:
    """Huge declared lengths, endless fragments and crumbs: none of them gathers memory."""
    bench.unharmed()
    before = bench.memory_kb()
    peers: list[Peer] = []
    for declared in (2**16, 2**31, 2**62):
        for _ in range(10):
            peers.append(getattr(bench, kind)())
            peers[-1].send(framed(1, b"z" * 60_000, declared=declared))
    empty = framed(0, b"", fin=False) * 50_000
    peers.append(getattr(bench, kind)())
    peers[-1].send(framed(1, b"", fin=False))
    for _ in range(40):
        peers[-1].send(empty)
    crumbs = framed(1, "é".encode(), fin=False) + framed(0, "é".encode(), fin=False) * 32_000
    for _ in range(10):
        peers.append(getattr(bench, kind)())
        peers[-1].send(crumbs)
    bench.unharmed()
    # 41 sockets may hold a message of 64 KiB each; the endless one alone was sent as 2 million
    # fragments, and the crumbs as 320,000.
    assert bench.memory_kb() - before < 16_000
    for peer in peers:
        peer.close()


@pytest.mark.parametrize("flood", ["ping", "binary", "wrong", "pong", "resume"])
def test_who_asks_and_never_reads_is_dropped(bench: Bench, flood: str) -> None:
    """Answers that nobody reads do not pile up: the socket is closed."""
    asked = {
        "ping": framed(9, b"p" * 125),
        "binary": framed(2, b"b"),
        "wrong": framed(1, b'{"type":"stop","turn_id":1}'),
        "pong": framed(1, b'{"type":"ping"}'),
        "resume": framed(1, b'{"type":"resume","cursor":""}'),
    }[flood]
    bench.unharmed()
    before = bench.memory_kb()
    peer = bench.chat(small=True)
    assert _cut_off(peer, asked * 50)
    assert bench.memory_kb() - before < 24_000
    peer.close()
    bench.unharmed()


def _cut_off(peer: Peer, block: bytes) -> bool:
    """Send again and again, for a while; True once the server has ended the connection."""
    until = time.monotonic() + SECONDS
    try:
        while time.monotonic() < until:
            peer.sock.sendall(block)
    except (BrokenPipeError, ConnectionResetError):
        return True
    return False


# --- JSON ----------------------------------------------------------------------------------------

_wild_text = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["", " ", "\x00", "../..", "a/b", "a/journal/000001", "__x__", ".", "𝕏" * 100,
         "\ud800", "%s%n{0}", "'; DROP TABLE documents; --", "\r\nX-Evil: 1", "é" * 300]
    ),
).map(lambda text: text + SECRET if len(text) > 4 else text)  # fmt: skip
_wild = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([2**63, 2**64, -(2**80), 10**400])
    | st.floats() | _wild_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_wild_text, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
_FIELDS = ("text", "id", "turn_id", "approval_id", "arguments", "always", "reason", "cursor",
           "message_id", "latitude", "longitude", "timezone", "message", "thread_id",
           "audio", "data", "name")  # fmt: skip
_TYPES = ("prompt", "stop", "approve", "deny", "resume", "regenerate", "edit", "location", "ping",
          "audio", "mark", "interrupt", "hello", "tool_call", "turn_started", "")  # fmt: skip
_objects = st.builds(
    lambda kind, fields: {"type": kind, **fields},
    st.sampled_from(_TYPES) | _wild,
    st.dictionaries(st.sampled_from(_FIELDS), _wild, max_size=5),
)
_raw = st.sampled_from([
    "{", "}", "[]", "null", "{}", '{"type":}', '{"type":"ping"}{"type":"ping"}', "\ufeff{}",
    '{"type":"ping","type":"stop"}', '{"type":"stop","turn_id":"a","turn_id":1}',
    '{"type":"location","latitude":NaN,"longitude":Infinity}',
    '{"type":"location","latitude":1e999,"longitude":-1e999}',
    '{"type":"prompt","text":"\\ud800"}', '{"type":"prompt","text":"\\u0000"}',
    '{"a":' * 3000, '{"type":"approve","approval_id":"a","arguments":' + '{"a":' * 5000,
    '{"type":"approve","approval_id":"a","arguments":' + '{"a":' * 900 + "1" + "}" * 901,
    '{"type":"location","latitude":' + "9" * 5000 + ',"longitude":0}',
    "\x00", "\u202e" + SECRET,
])  # fmt: skip


@given(frames=st.lists(_objects | _raw, min_size=1, max_size=5))
@example(frames=["x" * (MAX_PROMPT_CHARACTERS + 1)])
@example(frames=[{"type": "edit", "message_id": "a", "text": "x" * (MAX_PROMPT_CHARACTERS + 1)}])
@example(frames=['{"a":' * 13_000, "[" * 60_000])
@fuzzed(70)
def test_any_json_is_answered(bench: Bench, frames: list[Any]) -> None:
    """Mutated frames are acted on or refused by an `error`; the socket stays open and useful."""
    peer = bench.chat()
    for frame in frames:
        peer.say(frame)
    assert peer.answers(), (peer.code, peer.events[-2:])
    for event in peer.events:
        if event["type"] == "error":
            assert event["code"] != "internal", event
    peer.close()
    bench.unharmed()
    bench.quiet()


@given(frames=st.lists(_objects | _raw | st.binary(max_size=300), min_size=1, max_size=5))
@fuzzed(40)
def test_any_frame_of_a_call_is_answered(bench: Bench, frames: list[Any]) -> None:
    """The app's voice socket: sound that is none, marks nobody set, JSON of all kinds."""
    peer = bench.voice()
    for frame in frames:
        peer.send(framed(2, frame)) if isinstance(frame, bytes) else peer.say(frame)
    peer.say({"type": "stop"})
    while peer.next():
        pass
    assert peer.code in DOCUMENTED
    peer.close()
    bench.unharmed()
    bench.quiet()


# --- orders of events ----------------------------------------------------------------------------

_CURSORS = (
    "", "x", "01M80JV7Y2EV9PHYMKZF1NJBCA:1", "01M80JV7Y2EV9PHYMKZF1NJBCA:-1",
    "01M80JV7Y2EV9PHYMKZF1NJBCA:999999999", "OTHER", "LAST:0", "LAST:5", "LAST:999999999",
    "LAST:9999999999",
)  # fmt: skip
_IDS = ("", "LAST", "OTHER", "01M80JV7Y2EV9PHYMKZF1NJBCA", "LAST/journal/000001", "../witness", "x")
_approval = st.fixed_dictionaries(
    {"approval_id": st.sampled_from(("ASKED", "ASKED", "ASKED", "", "x", "LAST"))},
    optional={
        "arguments": st.sampled_from([{"text": "changed"}, {"text": 2**70}, {"other": 1}, {}])
        | st.dictionaries(st.sampled_from(["text", "colour"]), _wild, max_size=2),
        "always": st.booleans(),
    },
)
_steps = st.one_of(
    st.builds(
        lambda text, name: {"type": "prompt", "text": text, "id": name},
        st.sampled_from([NOTE + SECRET, f"hello {SECRET}"]), st.sampled_from(["", "same", "same2"]),
    ),
    st.builds(lambda turn: {"type": "stop", "turn_id": turn}, st.sampled_from(_IDS)),
    _approval.map(lambda fields: {"type": "approve", **fields}),
    _approval.map(lambda fields: {"type": "deny", "approval_id": fields["approval_id"]}),
    st.builds(lambda turn: {"type": "regenerate", "message_id": turn}, st.sampled_from(_IDS)),
    st.builds(
        lambda turn: {"type": "edit", "message_id": turn, "text": NOTE}, st.sampled_from(_IDS)
    ),
    st.builds(lambda cursor: {"type": "resume", "cursor": cursor}, st.sampled_from(_CURSORS)),
    st.just({"type": "location", "latitude": 1, "longitude": 2, "timezone": "Europe/Paris"}),
    st.sampled_from(["asks", "asks", "says", "again", "second"]),
)  # fmt: skip


@given(steps=st.lists(_steps, min_size=1, max_size=9))
@fuzzed(60)
def test_any_order_of_frames_leaves_the_chat_usable(bench: Bench, steps: list[Any]) -> None:
    """Decisions before questions, stops of nothing, edits of strangers: the chat answers on.

    A step may also wait for a whole turn, reconnect by a cursor, or open the chat a second time.
    """
    name = bench.new_chat()
    every = [bench.chat(name)]
    for number, step in enumerate(steps):
        peer = every[-1]
        if step in ("asks", "says"):
            _turn(peer, NOTE if step == "asks" else f"hello {SECRET}", f"{name}:{number}")
        elif step in ("again", "second"):
            if step == "again":
                peer.close()
            every.append(bench.chat(name, query=f"&cursor={_last(every)}:1"))
        else:
            peer.say(_filled(step, every))
            assert peer.answers(), peer.code
    for peer in every:
        if peer.sock.fileno() >= 0:
            _turn(peer, f"and now? {SECRET}", f"{name}:last:{every.index(peer)}")
            ends = [e["turn_id"] for e in peer.events if e["type"] == "end_of_stream"]
            assert len(ends) == len(set(ends)) or _replayed(steps)
            peer.close()
    bench.unharmed()
    bench.quiet()


def _replayed(steps: list[Any]) -> bool:
    return any(isinstance(step, dict) and step["type"] == "resume" for step in steps)


def _turn(peer: Peer, text: str, prompt_id: str) -> None:
    """Ask, and read until that is answered."""
    peer.say({"type": "prompt", "text": text, "id": prompt_id})
    mine = ""
    while (event := peer.next()) is not None:
        if event["type"] == "turn_started" and event["prompt_id"] == prompt_id:
            mine = event["turn_id"]
        if event["type"] == "end_of_stream" and event["turn_id"] == mine:
            assert event["status"] in ("done", "waiting_for_approval")
            return
    raise AssertionError((peer.code, peer.events[-3:]))


def _last(every: list[Peer]) -> str:
    turns = [e["turn_id"] for peer in every for e in peer.events if e.get("turn_id")]
    return turns[-1] if turns else "01M80JV7Y2EV9PHYMKZF1NJBCA"


def _filled(step: dict[str, Any], every: list[Peer]) -> dict[str, Any]:
    """Put in the ids that are known by now."""
    asked = [e for peer in every for e in peer.events if e["type"] == "approval_required"]
    known = {
        "LAST": _last(every), "ASKED": asked[-1]["approval_id"] if asked else "nothing",
        "OTHER": "01M80JV7Y2EV9PHYMKZF1NJBCB",
    }  # fmt: skip

    def fill(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        for name, found in known.items():
            value = value.replace(name, found)
        return value

    return {name: fill(value) for name, value in step.items()}


# --- the telephone's frames, without a socket ----------------------------------------------------

SID, CALL = "MZ" + "0" * 32, "CA" + "1" * 32
_START = {"event": "start", "streamSid": SID, "start": {"callSid": CALL}}
_media_fields = {
    "event": st.sampled_from(["connected", "start", "media", "mark", "dtmf", "stop", "clear"])
    | _wild,
}  # fmt: skip
_media_more = {
    "streamSid": st.just(SID) | _wild,
    "start": st.fixed_dictionaries({}, optional={
        "callSid": st.just(CALL) | _wild, "accountSid": _wild, "customParameters": _wild,
        "mediaFormat": _wild | st.fixed_dictionaries({}, optional={
            "encoding": _wild, "sampleRate": _wild, "channels": _wild,
        }),
    }) | _wild,
    "media": st.fixed_dictionaries({}, optional={
        "payload": st.binary(max_size=40).map(lambda b: base64.b64encode(b).decode())
        | st.sampled_from(["=", "A" * 9001, "A" * 20_000, "AAA", "é"]) | _wild,
        "track": st.sampled_from(["inbound", "outbound"]) | _wild,
    }) | _wild,
    "mark": st.fixed_dictionaries({}, optional={"name": _wild}) | _wild,
    "dtmf": st.fixed_dictionaries({}, optional={"digit": _wild}) | _wild,
}  # fmt: skip
_media = st.fixed_dictionaries(_media_fields, optional=_media_more).map(json.dumps) | _raw


@given(frames=st.lists(st.just(json.dumps(_START)) | _media, max_size=12))
@example(frames=[json.dumps(_START), json.dumps(_START)])
@fuzzed(150)
def test_the_telephones_frames_are_events_or_refused(frames: list[str]) -> None:
    """Whatever a media stream says is one of its events, nothing, or InvalidInput by name."""
    stream = MediaStream()
    for frame in frames:
        try:
            event = stream.receive(frame)
        except InvalidInput:
            return  # which ends the stream
        assert event is None or isinstance(event, Started | Sound | Key | Played | Stopped)
        if isinstance(event, Sound):
            assert stream.stream_sid == SID
            assert 0 < len(event.data) <= 8003
