"""One user with all of another's ids: every document, at every page, frame and tool that takes one.

Ada has one of everything, made as users make it; Bob has accounts of his own and knows every id
that the store holds of hers. The matrix is generated: pages from their description, frames from the
protocol, tools from the registry, documents from the store itself. What is new and in none of them
fails a test here.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import zipfile
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest

from common.assistant.manner import Manner
from common.assistant.protocol import Frame, Prompt
from common.bootstrap import Services
from common.errors import NotAllowed, OdaiError
from common.identity.members import TERMS
from common.loop import LoopThread
from common.settings import Settings
from common.store import Create
from common.tools import Asker, Tool
from common.web.openapi import Endpoint
from run.chat_stream.chat_socket import ChatSession
from tests.fakes.plaid import transaction
from tests.fakes.twilio import ACCOUNT, new_sid
from tests.run.phones import NUMBER, Phone
from tests.trust.attacked import SIGNED_IN, Target, targets
from tests.trust.stored import kind, spelled, versions

CANARY = "canary-of-ada"
HOME = "http://127.0.0.1:8080"
BOB = "+14155550199"
LETTER = f"send an email to bob@example.com saying {CANARY} hello"

# Whose the documents of a collection are, and so whether Ada must have one.
USERS = frozenset((
    "users", "users/accounts", "users/banks", "users/memories", "users/schedules", "users/usage",
    "users/banks/months", "account_owners", "bank_items", "link_sessions", "access_requests",
    "phones", "phone_codes", "active_calls", "calls", "planned_calls", "texts", "text_lines",
    "approvals", "approval_codes", "audit", "jobs", "chats", "chats/items", "chats/turns",
    "chats/turns/journal", "chats/prompts", "oauth_states", "tickets", "unhandled_requests",
))  # fmt: skip
# Of everybody, or of nobody who could be told: counters and lists under keyed hashes, our own.
NOBODYS = frozenset(("integrations", "limits", "opt_outs", "paces", "settings", "waitlist"))


class World:
    """Ada and Bob at one server; `hers` are her documents as they were at the beginning."""

    def __init__(self, target: Target) -> None:
        self.target, self.services = target, target.services
        self.run = self.services.loop.run
        self.phone = Phone(self.services, target.app, target.twilio)
        self._live_as_ada()
        before = set(versions(self.services))
        self._live_as_bob()
        self.hers = {p: v for p, v in versions(self.services).items() if p in before}
        # What somebody else's act may change for good reason is not what is asked about.
        self.hers = {p: v for p, v in self.hers.items() if kind(p) not in NOBODYS}
        self.ids = self._ids()

    def _ids(self) -> list[str]:
        """Every id in the paths of Ada's documents, and what follows from them."""
        parts = {part for path in self.hers for part in path.split("/")[1::2]}
        turns = {path.split("/")[3] for path in self.hers if kind(path) == "chats/turns"}
        (bank,) = self.run(self.services.banks.listed("ada"))
        accounts = {str(account["account_id"]) for account in bank.accounts}
        return sorted(parts | accounts | {f"{turn}:1" for turn in turns})

    def ask(self, method: str, path: str, body: Any = None, *, uid: str = "ada") -> Any:
        """Call a page as a user, over the address that cookies are for."""
        headers = self.target.bearer(uid)
        return self.target.client.open(
            path, base_url=HOME, method=method, json=body, headers=headers
        )

    def untouched(self) -> None:
        """Fail where a document of Ada's has changed or gone."""
        now = versions(self.services)
        assert {p: now.get(p) for p in self.hers} == self.hers

    def _made(self, method: str, path: str, body: Any = None, *, uid: str = "ada") -> Any:
        answer = self.ask(method, path, body, uid=uid)
        assert answer.status_code < 300, (path, answer.text)
        return answer.json

    def _live_as_ada(self) -> None:
        made, target, run = self._made, self.target, self.run
        self.phone.own("ada", NUMBER)
        made("POST", "/account/phone", {"number": "+14155550101"})  # another one, not proven yet
        made("POST", "/account/pin", {"pin": "8316"})
        made("POST", "/memories", {"text": f"{CANARY} likes tea"})
        made("POST", "/schedules", {"kind": "reminder", "text": CANARY, "time": "08:00",
                                    "every": "day"})  # fmt: skip
        self._link_google("ada")
        made("GET", "/oauth_google/login?feature=calendar")
        item = made("POST", "/plaid_link/set_access_token",
                    {"public_token": target.plaid.consent()})["item_id"]  # fmt: skip
        target.plaid.item(item).happen("added", transaction("t1", "2026-11-01", 18.25))
        run(self.services.banks.ledger.sync("ada", f"users/ada/banks/{item}"))
        made("POST", "/plaid_link/create_link_token", {"hosted": True})
        made("POST", "/tickets")
        made("POST", "/oauth_google/access_request", {"email": "ada@example.com"})
        made("POST", "/account/waitlist", {"email": "ada@example.com"})
        made("POST", "/voice/call", {"chat_id": "chat-of-ada"})
        call = {"CallSid": new_sid("CA"), "AccountSid": ACCOUNT.sid, "From": NUMBER,
                "To": ACCOUNT.number, "Direction": "inbound", "CallStatus": "ringing"}  # fmt: skip
        assert "Gather" in self.phone.post("/twilio/incoming", call).text
        self.phone.told(LETTER)
        assert "Reply OK" in self.phone.answers(1)[0]
        self._talk("ada", "chat-of-ada", LETTER)
        run(self.services.jobs.start(
            self.services.registry.tool("fetch_website"), '{"url": "http://10.0.0.1/"}',
            Asker("ada"), chat_id="chat-of-ada", turn_id="turn-of-ada", call_id="1",
        ))  # fmt: skip
        unhandled = Create("unhandled_requests/01M817JTERMXPD56Z4D8VANVRT", {"uid": "ada"})
        run(self.services.store.commit(unhandled))
        self.target.client.get("/account/update_integrations")

    def _live_as_bob(self) -> None:
        self.phone.own("bob", BOB)
        self._link_google("bob", account="work")
        public = self.target.plaid.consent()
        self._made("POST", "/plaid_link/set_access_token", {"public_token": public}, uid="bob")
        self._talk("bob", "chat-of-bob", "hello")

    def _link_google(self, uid: str, **how: Any) -> None:
        url = self._made("GET", "/oauth_google/login?feature=mail", uid=uid)["url"]
        back = self.target.google.consent(url, **how)
        assert "linked=google" in self.target.client.get(back, base_url=HOME).location

    def _talk(self, uid: str, chat: str, text: str) -> None:
        self.run(self.services.members.accept_terms(uid, TERMS))
        manner = Manner("text", proven=True, guest=False)
        prompt = Prompt(text, f"prompt-of-{uid}")
        asked = self.services.answering.ask(uid, chat, prompt, patience=60.0, manner=manner)
        assert self.run(asked, timeout=90.0)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world for all: nobody in it may change what is Ada's."""
    folder, made = tmp_path_factory.mktemp("users"), []

    def make(**environ: str) -> Services:
        environ = {"ODAI_DATA": str(folder), "ODAI_SMALL_MODEL": "off", **environ}
        made.append(Services(Settings.from_env(environ), LoopThread()))
        return made[-1]

    for target in targets(make):
        yield World(target)
    for each in made:
        each.close()


def test_every_kind_of_document_is_in_the_matrix(world: World) -> None:
    """A collection that the code spells, or that the store holds, is known here, and Ada has it."""
    assert spelled() - USERS - NOBODYS == set(), "say whose these documents are"
    held = {kind(path) for path in versions(world.services)}
    assert held - USERS - NOBODYS == set(), "say whose these documents are"
    assert USERS - {kind(path) for path in world.hers} == set(), "give Ada one"


def test_every_page_that_takes_an_id_finds_adas_own(world: World) -> None:
    """The ids are real: with Ada's token each page that takes one in its path answers to one."""
    for endpoint in SIGNED_IN:
        if "{" in endpoint.path and endpoint.method == "GET":
            answers = [world.ask("GET", path) for path in _paths(endpoint, world.ids)]
            assert any(answer.status_code == 200 for answer in answers), endpoint.id
            assert any(CANARY in answer.text for answer in answers), endpoint.id


@pytest.mark.parametrize("endpoint", SIGNED_IN, ids=lambda each: each.id)
def test_no_page_shows_or_changes_anothers(endpoint: Endpoint, world: World) -> None:
    """With Bob's token each of Ada's ids, in any field, is as good as one that does not exist."""
    if endpoint.id in ("delete_account", "delete_account_phone"):
        return  # takes no id: Bob's own would be gone
    for given in world.ids:
        for path in _paths(endpoint, [given]):
            answer = world.ask(endpoint.method, path + _query(endpoint, given),
                               _body(endpoint, given), uid="bob")  # fmt: skip
            told = _told(answer)
            assert CANARY not in told and "Invoice 4711" not in told, (path, told[:300])
            if "{" in endpoint.path:
                assert answer.status_code in (400, 404), (path, answer.status_code, told[:300])
    world.untouched()


def _told(answer: Any) -> str:
    """Return what an answer says, a zip file's contents too."""
    if answer.mimetype != "application/zip":
        return str(answer.get_data(as_text=True))
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        return "\n".join(archive.read(name).decode() for name in archive.namelist())


def _paths(endpoint: Endpoint, ids: list[str]) -> list[str]:
    if "{" not in endpoint.path:
        return [endpoint.path]
    return [re.sub(r"\{\w+\}", given, endpoint.path) for given in ids]


def _query(endpoint: Endpoint, given: str) -> str:
    names = (
        [f.encode_name for f in msgspec.structs.fields(endpoint.query)] if endpoint.query else []
    )
    chosen = [
        n for n in names if n in ("before", "after", "item_id", "account", "next", "ticket", "q")
    ]
    return "?" + "&".join(f"{name}={given}" for name in chosen) if chosen else ""


def _body(endpoint: Endpoint, given: str) -> dict[str, Any] | None:
    """Return a body that fits, but for the id in every field of text that may hold one."""
    if endpoint.takes is None:
        return None
    body: dict[str, Any] = {}
    for field in msgspec.structs.fields(endpoint.takes):
        if field.type is bool or "bool" in str(field.type) or "int" in str(field.type):
            continue
        body[field.encode_name] = given
    return body | {k: v for k, v in _FITTING.items() if k in body}


_FITTING = {"kind": "reminder", "time": "08:00", "every": "day", "date": "", "timezone": "",
            "status": "paused", "confirm": False, "text": "mine", "number": BOB}  # fmt: skip


# --- frames -------------------------------------------------------------------------------------


class Line:
    """The connection of a socket, as its session sees it."""

    ready = True

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None
        self.changed = asyncio.Event()

    def send(self, payload: bytes) -> None:
        self.sent.append(json.loads(payload))
        self.changed.set()

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed = self.closed or (code, reason)
        self.changed.set()

    async def until(self, wanted: Any) -> None:
        async with asyncio.timeout(50.0):
            while not wanted():
                self.changed.clear()
                await self.changed.wait()


FRAMES: list[type[msgspec.Struct]] = list(get_args(Frame))
WITH_ID = {"stop", "approve", "deny", "resume", "regenerate", "edit"}


def test_every_frame_is_in_the_matrix() -> None:
    """A new type of frame is tried here, or said to hold no id."""
    assert {str(f.__struct_config__.tag) for f in FRAMES} - WITH_ID == {
        "location",
        "ping",
        "prompt",
    }


def test_anothers_chat_does_not_open(world: World) -> None:
    """Opening a socket on Ada's chat as Bob shows nothing and closes as for any refusal."""
    lines = world.run(_opened_as_bob(world, [c for c in world.ids if re.fullmatch(r"[\w-]+", c)]))
    hers = {p.split("/")[1] for p in world.hers if kind(p) == "chats"}
    for chat, line in lines.items():
        assert CANARY not in json.dumps(line.sent), chat
        if chat in hers:
            assert line.closed and line.closed[0] == 1008 and not line.sent
    assert hers <= set(lines)
    world.untouched()


async def _opened_as_bob(world: World, chats: list[str]) -> dict[str, Line]:
    lines = {chat: Line() for chat in chats}
    for chat, line in lines.items():
        session = _session(world, chat)
        session.opened(line)
        await line.until(lambda: line.closed or line.sent)  # noqa: B023
        session.closed()
    return lines


def _session(world: World, chat: str) -> Any:
    sockets = world.target.app.extensions["odai_sockets"]._chats
    who = type("Who", (), {"uid": "bob"})()
    return ChatSession(sockets, world.services, chat, who, None)


@pytest.mark.parametrize("frame", [f for f in FRAMES if f.__struct_config__.tag in WITH_ID],
                         ids=lambda f: str(f.__struct_config__.tag))  # fmt: skip
def test_no_frame_reaches_what_is_anothers(frame: type[msgspec.Struct], world: World) -> None:
    """In Bob's own chat, Ada's approvals, turns and cursors are unknown; none of hers is told."""
    world.run(_frames_as_bob(frame, world), timeout=180.0)
    world.untouched()


async def _frames_as_bob(frame: type[msgspec.Struct], world: World) -> None:
    line, session = Line(), _session(world, "chat-of-bob")
    session.opened(line)
    await line.until(lambda: any(event["type"] == "hello" for event in line.sent))
    tag = str(frame.__struct_config__.tag)
    texts = {"text": "hello", "reason": "no"}
    for given in world.ids:
        fields = {
            field.name: texts.get(field.name, given) for field in msgspec.structs.fields(frame)
            if field.name not in ("arguments", "always")
        }  # fmt: skip
        seen = len(line.sent)
        session.text(json.dumps({"type": tag, **fields}))
        session.text('{"type": "ping"}')
        await line.until(lambda: line.closed or "pong" in {e["type"] for e in line.sent[seen:]})  # noqa: B023
        assert line.closed is None, (given, line.closed)
    assert CANARY not in json.dumps(line.sent)
    if tag in ("approve", "deny", "regenerate", "edit", "resume"):
        assert sum(event["type"] == "error" for event in line.sent) >= len(world.ids)
    room = session._room
    if room and room.worker:
        await asyncio.wait({room.worker}, timeout=30.0)
    session.closed()


# --- tools --------------------------------------------------------------------------------------


def _own_tools() -> list[Tool]:
    """Return the tools that reach what is a user's own here: memories, schedules, banks, links."""
    from common.tools import Registry

    registry = Registry.discover()
    return [
        tool for entry in registry.entries.values() for tool in entry.tools
        if entry.connector.auth in ("google", "plaid") or entry.slug in ("memory", "reminders")
    ]  # fmt: skip


@pytest.mark.parametrize("tool", _own_tools(), ids=lambda tool: tool.name)
def test_no_tool_reaches_what_is_anothers(tool: Tool, world: World) -> None:
    """Whatever id of Ada's the model is talked into using for Bob, it is not there."""
    schema = tool.parameters.schema
    texts = [n for n, p in schema.get("properties", {}).items() if _is_text(p)]
    for given in world.ids if texts else [""]:
        arguments = dict.fromkeys(texts, given)
        ran = world.services.runner.run(tool.name, arguments, Asker("bob"), key=f"k-{given}")
        outcome = world.run(ran, timeout=60.0)
        told = json.dumps(
            outcome.result.data if outcome.result else str(outcome.error), default=str
        )
        assert CANARY not in told, (given, told[:300])
        if not texts:
            assert "tea" not in told
    world.untouched()


def _is_text(parameter: dict[str, Any]) -> bool:
    kinds = [parameter, *parameter.get("anyOf", ())]
    return any(each.get("type") == "string" and "enum" not in each for each in kinds)


# --- what is sealed -----------------------------------------------------------------------------


def test_anothers_key_opens_nothing(world: World) -> None:
    """Every sealed field of Ada's opens with her key, or none, and never with Bob's."""
    opened = world.run(_opened(world))
    assert sum(opened.values()) > 15
    sealed = {kind(path) for path, _ in opened}
    assert sealed >= {
        "chats", "chats/items", "chats/turns/journal", "approvals", "jobs", "users/memories",
        "users/schedules", "users/accounts", "users/banks", "audit", "texts",
    }  # fmt: skip


async def _opened(world: World) -> dict[tuple[str, str], bool]:
    """Return for each sealed field whether Ada's key opens it; fail where Bob's does."""
    services, found = world.services, {}
    ada, bob = await services.vault.open("ada"), await services.vault.open("bob")
    for path in world.hers:
        row = await services.store.get(path)
        for name, value in (row.data if row else {}).items():
            if isinstance(value, bytes):
                with pytest.raises(NotAllowed):
                    bob.unseal(path, name, value)
                try:
                    ada.unseal(path, name, value)
                    found[path, name] = True
                except OdaiError:  # under a key of its own: a ticket's, a state's
                    found[path, name] = False
    return found


def test_one_key_is_not_anothers(world: World) -> None:
    """Ada's wrapped data key, put into Bob's document, is not unwrapped for him."""

    async def swap() -> None:
        ada = await world.services.store.get("users/ada")
        assert ada
        with pytest.raises(OdaiError):
            await world.services.keys.unwrap(ada.data["data_key"], uid="bob")
        assert await world.services.keys.unwrap(ada.data["data_key"], uid="ada")

    world.run(swap())
