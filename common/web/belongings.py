"""All that the store holds of one user: what an export shows and a deletion removes.

The store cannot list collections, so that each kind of document a user can have is named here; a
test signs a user up for all of them and looks for what is left.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import zipfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final

from common import documents
from common.errors import OdaiError
from common.store import Delete, Query, Snapshot, Store
from common.vault import Sealer, Vault

if TYPE_CHECKING:  # cold start: most requests touch no bank
    from common.plaid_items import Banks

# Collections and their field that names the user. The audit trail stays: it is append only, and
# what it says of a deleted user's acts is sealed with the key that is gone.
_BY_FIELD: Final = (
    ("approvals", "uid"), ("jobs", "uid"), ("unhandled_requests", "uid"), ("account_owners", "uid"),
    ("bank_items", "uid"), ("link_sessions", "uid"), ("phones", "uid"), ("calls", "uid"),
    ("texts", "uid"), ("text_lines", "uid"), ("approval_codes", "uid"), ("planned_calls", "uid"),
)  # fmt: skip
_BY_ID: Final = ("phone_codes", "access_requests", "active_calls")
_BELOW_USER: Final = ("accounts", "usage", "memories", "schedules")
# Never shown, to nobody: tokens, keys, and what only serves to recognise.
_SECRET: Final = frozenset({
    "token", "tokens", "data_key", "pin", "phone_index", "cursor", "generation", "lease",
})  # fmt: skip
_PAGE: Final = 200

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Belongings:
    """Reads and removes a user's documents."""

    def __init__(self, store: Store, vault: Vault, banks: Banks) -> None:
        self._store = store
        self._vault = vault
        self._banks = banks

    async def remove(self, uid: str) -> None:
        """Remove everything but the user's own document and the audit trail; safe to repeat."""
        user = documents.user(uid)
        async for chat in self._pages(Query("chats", where=(("owner", "==", uid),))):
            await self._remove_chat(chat.id)
        async for bank in self._pages(Query(f"{user}/banks")):
            await self._empty(Query(f"{bank.path}/months"))
            await self._store.commit(Delete(bank.path))
        for name in _BELOW_USER:
            await self._empty(Query(f"{user}/{name}"))
        for name, field in _BY_FIELD:
            await self._empty(Query(name, where=((field, "==", uid),)))
        await self._store.commit(*(Delete(f"{name}/{uid}") for name in _BY_ID))

    async def entries(self, uid: str) -> AsyncIterator[tuple[str, Any]]:
        """Yield (file name, JSON value) of all that is the user's, opened, one chat at a time.

        Left out: tokens and keys, and the journal, which says again what the messages say.
        """
        sealer = await self._vault.open(uid)
        user = await self._store.get(documents.user(uid))
        yield "profile.json", {"uid": uid} | (_opened(sealer, user) if user else {})
        for name in _BELOW_USER:
            rows = [row async for row in self._pages(Query(f"{documents.user(uid)}/{name}"))]
            yield f"{name}.json", [_opened(sealer, row) for row in rows]
        for bank in await self._banks.listed(uid):
            yield f"banks/{bank.id}.json", await self._bank(uid, bank.id)
        async for chat in self._pages(Query("chats", where=(("owner", "==", uid),))):
            yield f"chats/{chat.id}.json", await self._chat(sealer, chat)
        for name in ("approvals", "audit"):
            mine = Query(name, where=(("uid", "==", uid),))
            yield f"{name}.json", [_opened(sealer, row) async for row in self._pages(mine)]

    async def _bank(self, uid: str, item_id: str) -> Any:
        bank = next(bank for bank in await self._banks.listed(uid) if bank.id == item_id)
        path = f"{documents.user(uid)}/banks/{item_id}"
        return {
            "institution": bank.institution,
            "accounts": list(bank.accounts),
            "transactions": await self._banks.ledger.rows(uid, path, dt.date.min, dt.date.max),
        }

    async def _chat(self, sealer: Sealer, chat: Snapshot) -> Any:
        turns = [row async for row in self._pages(Query(documents.turns(chat.id)))]
        items = [row async for row in self._pages(Query(documents.items(chat.id)))]
        return {
            **_opened(sealer, chat),
            "turns": [_opened(sealer, row) for row in turns],
            "messages": [_opened(sealer, row) for row in items],
        }

    async def _remove_chat(self, chat_id: str) -> None:
        async for turn in self._pages(Query(documents.turns(chat_id))):
            await self._empty(Query(documents.journal(chat_id, turn.id)))
            await self._store.commit(Delete(turn.path))
        await self._empty(Query(documents.items(chat_id)))
        await self._empty(Query(f"{documents.chat(chat_id)}/prompts"))
        await self._store.commit(Delete(documents.chat(chat_id)))

    async def _empty(self, query: Query) -> None:
        while page := await self._store.query(Query(query.collection, query.where, limit=_PAGE)):
            await self._store.commit(*(Delete(row.path) for row in page))

    async def _pages(self, query: Query) -> AsyncIterator[Snapshot]:
        after: Snapshot | None = None
        while True:
            page = await self._store.query(
                Query(query.collection, query.where, start_after=after, limit=_PAGE)
            )
            for row in page:
                yield row
            if len(page) < _PAGE:
                return
            after = page[-1]


def zipped(entries: AsyncIterator[tuple[str, Any]], run: Run) -> Iterator[bytes]:
    """Yield a zip file of `entries` piece by piece; `run` awaits on the event loop."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        while (entry := run(_next(entries))) is not None:
            name, value = entry
            archive.writestr(name, json.dumps(value, ensure_ascii=False, indent=1, default=str))
            yield sink.taken()
    yield sink.taken()


async def _next(entries: AsyncIterator[tuple[str, Any]]) -> tuple[str, Any] | None:
    return await anext(entries, None)


class _Sink(io.RawIOBase):
    """A file that is written to its end and handed over in between."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._held += data
        return len(data)

    def taken(self) -> bytes:
        """Return what was written since the last time."""
        held, self._held = bytes(self._held), bytearray()
        return held


def _opened(sealer: Sealer, row: Snapshot) -> dict[str, Any]:
    """Return a document's fields in clear, without those that are nobody's to see."""
    shown: dict[str, Any] = {"id": row.id}
    for name, value in row.data.items():
        if name not in _SECRET:
            shown[name] = _clear(sealer, row.path, name, value) if isinstance(
                value, bytes
            ) else value  # fmt: skip
    return shown


def _clear(sealer: Sealer, path: str, name: str, sealed: bytes) -> Any:
    try:
        text = sealer.unseal(path, name, sealed).decode()
    except (OdaiError, UnicodeDecodeError):
        return None  # not sealed for this user, or no text: nothing that could be shown
    try:
        return json.loads(text)
    except ValueError:
        return text
