"""The audit trail: a row before each act in a user's name, completed after it. Append only.

What was done to what is sealed; who, when, which tool and how it ended can be listed without a key.
"""

from __future__ import annotations

from typing import Any

from common.assistant.retrying import create_once, retrying
from common.documents import Clock, new_id
from common.errors import OdaiError
from common.log import get_logger
from common.store import Create, Query, Store, Update
from common.vault import Vault

log = get_logger(__name__)

BEGUN = "begun"


class Audit:
    """Writes audit rows."""

    def __init__(self, store: Store, vault: Vault, *, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock

    async def begin(
        self, uid: str, what: str, *, details: str = "", by: str = "user", turn_id: str = ""
    ) -> str:
        """Note that `what` is about to happen; return the row's id for `complete`."""
        row = new_id()
        path = f"audit/{row}"
        sealer = await self._vault.open(uid)
        await create_once(self._store, Create(path, {
            "uid": uid, "what": what, "by": by, "at": self._clock(), "status": BEGUN,
            "turn_id": turn_id,
            "details": sealer.seal(path, "details", details.encode()),
        }))  # fmt: skip
        return row

    async def complete(self, row: str, status: str) -> None:
        """Note how it ended ("done" or an error's code).

        Raises nothing: what was done is told whether or not this can be stored.
        """
        ended = Update(f"audit/{row}", {"status": status, "ended_at": self._clock()})
        try:
            await retrying(lambda: self._store.commit(ended), crowded=True)
        except OdaiError as err:
            log.error("audit row not completed", extra={"code": err.code, "row": row})

    async def acts_of(self, turn_id: str) -> list[tuple[str, str]]:
        """Return what a turn that died did in the user's name, as (what, status).

        What had begun and not ended is noted, and returned, as "unknown".
        """
        acts = []
        for row in await self._store.query(Query("audit", where=(("turn_id", "==", turn_id),))):
            status = row.data["status"]
            if status == BEGUN:
                status = "unknown"
                await self.complete(row.id, status)
            acts.append((row.data["what"], status))
        return acts

    async def of(self, uid: str, *, limit: int = 100) -> list[dict[str, Any]]:
        """Return what was done in the user's name, the latest first: `{what, by, at, …}`."""
        query = Query("audit", where=(("uid", "==", uid),), order_by=(("at", "desc"),), limit=limit)
        rows = await self._store.query(query)
        sealer = await self._vault.open(uid)
        return [
            {
                **{name: row.data.get(name) for name in ("what", "by", "at", "status", "ended_at")},
                "id": row.id,
                "details": sealer.unseal(row.path, "details", row.data["details"]).decode(),
            }
            for row in rows
        ]

    async def refused(self, what: str, reason: str) -> None:
        """Note a refused caller of our own endpoints, about no user in particular."""
        await self._store.commit(Create(f"audit/{new_id()}", {
            "uid": "", "what": what, "by": "unknown", "at": self._clock(), "status": reason,
        }))  # fmt: skip
