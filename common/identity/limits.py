"""How often somebody may do something that costs money or invites guessing, counted in the store.

A process that counts alone is no limit where there are many: a text costs money on each of them.
"""

from __future__ import annotations

import datetime as dt

from common.documents import Clock, Data
from common.errors import RateLimited
from common.identity.blind import BlindIndex
from common.store import Put, Store, Transaction


class Limits:
    """Counts in fixed windows, each of which begins with its first event."""

    def __init__(self, store: Store, blind: BlindIndex, *, clock: Clock) -> None:
        self._store = store
        self._blind = blind
        self._clock = clock

    async def spend(self, what: str, who: str, *, most: int, seconds: float) -> None:
        """Count one `what` by `who`; RateLimited beyond `most` within `seconds`.

        `who` (an address, a number, a user) is kept as a keyed hash alone.
        """
        path = f"limits/{await self._blind.of(what, who)}"

        async def count(transaction: Transaction) -> float | None:
            now = self._clock()
            found = await transaction.get(path)
            data: Data = {"count": 0, "expires_at": now + dt.timedelta(seconds=seconds)}
            if found and found.data["expires_at"] > now:
                data = found.data
            if data["count"] >= most:
                return float((data["expires_at"] - now).total_seconds())
            transaction.write(Put(path, {**data, "count": data["count"] + 1}))
            return None

        wait = await self._store.transact(count)
        if wait is not None:
            raise RateLimited("That was too often. Please wait before the next try.",
                              retry_after=wait)  # fmt: skip
