"""Texts as stored: what came in and is answered once, what goes out and is sent once.

Each is one document, `texts/{id}`, sealed but for its state, and one task that brings it to an end
however often it is delivered:

    received ──▶ composed ──▶ sent
        (a turn)    └─(part by part)─▶ refused | unknown

The answer is composed once and stored before any of it is sent, so that a repeated task sends the
same words. Twilio knows no idempotency key: each part is claimed in the store, then sent, then
noted. A process that dies in between leaves a part of which nobody knows whether it went out; the
next attempt waits for the claim to grow old and asks Twilio for its list. Only a part that is not
in it is sent again; where Twilio cannot say, for long, the text ends as `unknown` and nothing more
is sent. Loads no model library: the function that Twilio calls imports this.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from common.documents import Clock, Data
from common.errors import Conflict, NotAllowed, NotFound
from common.store import Create, Put, Snapshot, Store, Transaction, Update
from common.tasks import Queue, Task, Tasks
from common.vault import Vault

TEXTS: Final = Queue("texts", per_second=20.0, concurrency=20, max_attempts=100, max_backoff_s=10.0)
TEXTS_PATH: Final = "/twilio/texts"
CLAIM: Final = dt.timedelta(seconds=30)  # longer than sending may take
GIVE_UP: Final = dt.timedelta(minutes=30)
_KEPT: Final = dt.timedelta(days=7)
_LINE_KEPT: Final = dt.timedelta(days=365)
_SEALED: Final = "text"

State: TypeAlias = Literal["received", "composed", "sent", "refused", "unknown"]
_FINAL: Final = ("sent", "refused", "unknown")


@dataclass(frozen=True, slots=True)
class Line:
    """Two ends of a conversation by text, as Twilio names them."""

    theirs: str = field(repr=False)
    ours: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Errand:
    """A text to answer (`body`), an answer to wait for (`prompt_id` alone), or `parts` to send."""

    id: str
    uid: str
    chat_id: str
    state: State
    line: Line
    prompt_id: str
    body: str = field(repr=False)
    guest: bool
    parts: tuple[str, ...] = field(repr=False)
    next: int  # the part to send next
    created_at: dt.datetime

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in _FINAL


@dataclass(frozen=True, slots=True)
class Claim:
    """Leave to send part `index`; `doubtful`: somebody may have sent it and died at it."""

    index: int
    doubtful: bool
    since: dt.datetime


class Texts:
    """Stores texts and the tasks that carry them out."""

    def __init__(self, store: Store, vault: Vault, tasks: Tasks, *, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._tasks = tasks
        self._clock = clock

    async def receive(
        self, uid: str, chat_id: str, *, message_sid: str, body: str, line: Line, guest: bool
    ) -> bool:
        """Take in a text of the user's and have it answered; False where it is known already.

        Its line becomes the one on which the chat is told of later results.
        """
        path = _line_path(chat_id)
        sealer = await self._vault.open(uid)
        ends = json.dumps([line.theirs, line.ours]).encode()
        told = Put(path, {
            "uid": uid, "line": sealer.seal(path, "line", ends),
            "expires_at": self._clock() + _LINE_KEPT,
        })  # fmt: skip
        prompt_id = f"text:{message_sid}"
        content = _content(line, prompt_id, body=body, guest=guest)
        return await self._create(_id_of(prompt_id), uid, chat_id, "received", content, told)

    async def expect(self, uid: str, chat_id: str, prompt_id: str, line: Line) -> bool:
        """Have the answer to `prompt_id` told by text, once; False where that was asked before."""
        name = _id_of(f"{chat_id} {prompt_id}")
        return await self._create(name, uid, chat_id, "received", _content(line, prompt_id))

    async def say(self, uid: str, chat_id: str, parts: list[str], line: Line, *, key: str) -> bool:
        """Have `parts` sent, once for each `key`; False where that was asked before."""
        content = _content(line, "", parts=parts)
        return await self._create(_id_of(f"{uid} {key}"), uid, chat_id, "composed", content)

    async def line_of(self, uid: str, chat_id: str) -> Line | None:
        """Return the line on which the user last wrote in this chat."""
        path = _line_path(chat_id)
        found = await self._store.get(path)
        if found is None or found.data["uid"] != uid:
            return None
        sealer = await self._vault.open(uid)
        return Line(*json.loads(sealer.unseal(path, "line", found.data["line"])))

    async def get(self, errand_id: str) -> Errand | None:
        """Return an errand; None where it, or its user, is gone."""
        found = await self._store.get(_path(errand_id))
        if found is None:
            return None
        try:
            sealer = await self._vault.open(found.data["uid"])
            content = json.loads(sealer.unseal(found.path, _SEALED, found.data[_SEALED]))
        except (NotFound, NotAllowed):  # the user's key was shredded
            return None
        return _errand(found, content)

    async def compose(self, errand: Errand, parts: list[str]) -> None:
        """Fix what is sent; what another attempt fixed before stays."""
        path = _path(errand.id)
        sealer = await self._vault.open(errand.uid)
        content = _content(errand.line, errand.prompt_id, body=errand.body, guest=errand.guest,
                           parts=parts)  # fmt: skip
        sealed = sealer.seal(path, _SEALED, json.dumps(content).encode())

        async def work(transaction: Transaction) -> None:
            found = await transaction.get(path)
            if found is not None and found.data["state"] == "received":
                state: State = "composed" if parts else "sent"
                transaction.write(Update(path, {"state": state, _SEALED: sealed}))

        await self._store.transact(work)

    async def claim(self, errand: Errand) -> Claim | None:
        """Take the next part to send; None where all are sent.

        Raises Conflict while somebody else is sending it.
        """

        async def work(transaction: Transaction) -> Claim | None:
            found = await transaction.get(_path(errand.id))
            if found is None or found.data["state"] != "composed":
                return None
            now, since = self._clock(), found.data["claimed_at"]
            if since is not None and now - since < CLAIM:
                raise Conflict("That text is being sent.")
            index = found.data["next"]
            first = found.data["first_claimed_at"] or now
            transaction.write(Update(found.path, {"claimed_at": now, "first_claimed_at": first}))
            return Claim(index, since is not None, first)

        return await self._store.transact(work)

    async def sent(self, errand: Errand, index: int) -> None:
        """Note that part `index` is out."""
        done = index + 1 >= len(errand.parts)
        await self._store.commit(Update(_path(errand.id), {
            "next": index + 1, "claimed_at": None, "first_claimed_at": None,
            "state": "sent" if done else "composed",
        }))  # fmt: skip

    async def release(self, errand: Errand) -> None:
        """Note that the claimed part was not sent, for certain."""
        changes = {"claimed_at": None, "first_claimed_at": None}
        await self._store.commit(Update(_path(errand.id), changes))

    async def close(self, errand: Errand, state: State) -> None:
        """Note that nothing more is sent."""
        await self._store.commit(Update(_path(errand.id), {"state": state, "claimed_at": None}))

    async def _create(
        self, name: str, uid: str, chat_id: str, state: State, content: Any, *also: Put
    ) -> bool:
        path = _path(name)
        sealer = await self._vault.open(uid)
        now = self._clock()
        data: Data = {
            "uid": uid, "chat_id": chat_id, "state": state, "next": 0, "claimed_at": None,
            "first_claimed_at": None, "created_at": now, "expires_at": now + _KEPT,
            _SEALED: sealer.seal(path, _SEALED, json.dumps(content).encode()),
        }  # fmt: skip
        new = True
        try:
            await self._store.commit(Create(path, data), *also)
        except Conflict:
            new = False
        # Also for a known one: whoever stored it may have died before it could do this.
        body = json.dumps({"id": name}).encode()
        await self._tasks.enqueue(Task(TEXTS.name, TEXTS_PATH, body, name=f"text-{name}"))
        return new


def chat_of(index: str) -> str:
    """Return the id of a user's chat by text, given the keyed hash of the user."""
    return f"text-{index}"


def is_text_chat(chat_id: str) -> bool:
    """Tell whether a chat is one by text, whose later results are told by text too."""
    return chat_id.startswith("text-")


def _content(
    line: Line,
    prompt_id: str,
    *,
    body: str = "",
    guest: bool = False,
    parts: list[str] | None = None,
) -> dict[str, Any]:
    return {
        "line": [line.theirs, line.ours], "prompt_id": prompt_id, "body": body, "guest": guest,
        "parts": parts or [],
    }  # fmt: skip


def _errand(found: Snapshot, content: dict[str, Any]) -> Errand:
    data = found.data
    return Errand(
        id=found.id, uid=data["uid"], chat_id=data["chat_id"], state=data["state"],
        line=Line(*content["line"]), prompt_id=content["prompt_id"], body=content["body"],
        guest=content["guest"], parts=tuple(content["parts"]), next=data["next"],
        created_at=data["created_at"],
    )  # fmt: skip


def _id_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _path(errand_id: str) -> str:
    return f"texts/{errand_id}"


def _line_path(chat_id: str) -> str:
    return f"text_lines/{chat_id}"
