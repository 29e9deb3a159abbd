"""Calls as stored: whose each is, its chat, how it stands. One call for a user at a time.

    calls/{CallSid}          uid, chat_id, status, the numbers of the status callbacks heard
    active_calls/{uid}       the call that the user is on
    planned_calls/{id}       a call to the user that is being placed, and the chat it is about

Status callbacks arrive late, twice and in any order: each number counts once, the latest number
says how the call stands, and what has ended stays ended. Holds no phone number. Loads no model
library: the functions that Twilio calls import this.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from common.documents import Clock, Data, new_id
from common.errors import InvalidInput
from common.store import Create, Delete, Put, Snapshot, Store, Transaction, Update

FINAL: Final = frozenset(("completed", "busy", "failed", "no-answer", "canceled"))
LONGEST: Final = dt.timedelta(hours=1)
_KEPT: Final = dt.timedelta(days=30)
_PLANNED: Final = dt.timedelta(minutes=2)
_MOST_HEARD: Final = 64  # callbacks of one call that are told apart
_SID = re.compile(r"CA[0-9a-fA-F]{32}\Z")


@dataclass(frozen=True, slots=True)
class Call:
    """A call. `proven`: the caller is known for sure; `guest`: has no account."""

    sid: str
    uid: str
    chat_id: str
    status: str
    proven: bool
    guest: bool
    asked: str  # the approval that the caller was asked about last, "" for none
    asked_at: int  # which of the caller's questions led to it
    started_at: dt.datetime

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.status in FINAL


class Busy(Exception):
    """The user is on another call: `other` is its sid."""

    def __init__(self, other: str) -> None:
        super().__init__("on another call")
        self.other = other


class Calls:
    """Begins, follows and ends calls."""

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def begin(
        self, sid: str, uid: str, *, chat_id: str, proven: bool = False, guest: bool = False
    ) -> Call:
        """Note that the call begins, and make it the user's one; a call begun before is kept.

        Raises Busy while another one goes on.
        """
        now = self._clock()

        async def work(transaction: Transaction) -> Call:
            known = await transaction.get(_path(sid))
            active = await transaction.get(_active(uid))
            if known is not None:
                return _call(known)
            if active and active.data["sid"] != sid and active.data["expires_at"] > now:
                raise Busy(active.data["sid"])
            call: Data = {
                "uid": uid, "chat_id": chat_id, "status": "ringing", "seq": -1, "heard": [],
                "proven": proven, "guest": guest, "asked": "", "asked_at": 0, "started_at": now,
                "expires_at": now + _KEPT,
            }  # fmt: skip
            transaction.write(
                Put(_path(sid), call),
                Put(_active(uid), {"sid": sid, "uid": uid, "expires_at": now + LONGEST}),
            )
            return _call(Snapshot(_path(sid), call, ""))

        return await self._store.transact(work)

    async def plan(self, uid: str, chat_id: str) -> str:
        """Return the id of a call to the user that is about to be placed, good for two minutes."""
        planned = new_id()
        until = self._clock() + _PLANNED
        data = {"uid": uid, "chat_id": chat_id, "expires_at": until}
        await self._store.commit(Create(_plan(planned), data))
        return planned

    async def planned(self, planned: str, uid: str) -> str | None:
        """Return the chat that a planned call to this user is about, None for no such plan."""
        if not planned.isalnum():
            return None
        found = await self._store.get(_plan(planned))
        if found is None or found.data["uid"] != uid or found.data["expires_at"] < self._clock():
            return None
        return str(found.data["chat_id"])

    async def get(self, sid: str) -> Call | None:
        """Return the call, or None."""
        found = await self._store.get(_path(sid))
        return _call(found) if found else None

    async def heard(self, sid: str, number: int, status: str) -> bool:
        """Take in status callback `number`; False where it was heard before or is of no call."""

        async def work(transaction: Transaction) -> bool:
            found = await transaction.get(_path(sid))
            if found is None or number in found.data["heard"]:
                return False
            active = await transaction.get(_active(found.data["uid"]))
            changes: Data = {"heard": [*found.data["heard"], number][-_MOST_HEARD:]}
            if number > found.data["seq"]:
                changes["seq"] = number
                if found.data["status"] not in FINAL:
                    changes["status"] = status
            if status in FINAL:  # whatever number it has: a call ends once
                changes |= {"status": status, "ended_at": self._clock()}
                if active and active.data["sid"] == sid:
                    transaction.write(Delete(active.path))
            transaction.write(Update(found.path, changes))
            return True

        return await self._store.transact(work)

    async def end(self, sid: str) -> None:
        """Note that the call is over, however that is known; safe to repeat."""

        async def work(transaction: Transaction) -> None:
            found = await transaction.get(_path(sid))
            if found is None:
                return
            active = await transaction.get(_active(found.data["uid"]))
            if active and active.data["sid"] == sid:
                transaction.write(Delete(active.path))
            if found.data["status"] not in FINAL:
                ended = {"status": "completed", "ended_at": self._clock()}
                transaction.write(Update(found.path, ended))

        await self._store.transact(work)

    async def note(
        self,
        sid: str,
        *,
        proven: bool | None = None,
        asked: str | None = None,
        asked_at: int | None = None,
    ) -> None:
        """Note that the caller has proven who they are, or what they were asked about."""
        given: Mapping[str, Any] = {"proven": proven, "asked": asked, "asked_at": asked_at}
        changes = {name: value for name, value in given.items() if value is not None}
        await self._store.commit(Update(_path(sid), changes))


def check_sid(sid: str) -> str:
    """Return a call's id if it looks like one; InvalidInput otherwise."""
    if not _SID.match(sid):
        raise InvalidInput("CallSid must be CA and 32 hexadecimal digits.")
    return sid


def _call(found: Snapshot) -> Call:
    data = found.data
    return Call(
        found.id, data["uid"], data["chat_id"], data["status"], data["proven"], data["guest"],
        data["asked"], data["asked_at"], data["started_at"],
    )  # fmt: skip


def _path(sid: str) -> str:
    return f"calls/{sid}"


def _plan(planned: str) -> str:
    return f"planned_calls/{planned}"


def _active(uid: str) -> str:
    return f"active_calls/{uid}"
