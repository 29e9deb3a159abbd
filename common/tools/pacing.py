"""Limits that a vendor sets for the whole application, kept across instances in the store.

A process that counts alone is no limit where there are many of them. One document for each vendor
lists when the latest calls may go out (at most as many as one window holds); a call claims the next
free moment by compare-and-set. Only connectors whose manifest states a quota pay for this: one
transaction for each call that really leaves.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import defaultdict

from common.documents import Clock
from common.egress import Quota
from common.errors import Conflict, RateLimited
from common.store import Put, Store, Transaction


class SharedSlots:
    """Hands out moments to call a vendor, never more than its quota in any window."""

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def claim(self, vendor: str, quota: Quota, *, patience: float) -> float:
        """Claim a moment for one call and return how many seconds away it is.

        Raises RateLimited, claiming nothing, where that is more than `patience`.
        """
        async with self._turns[vendor]:  # only other processes are competed with
            try:
                wait, claimed = await self._store.transact(
                    lambda transaction: self._take(transaction, vendor, quota, patience)
                )
            except Conflict:
                wait, claimed = quota.seconds / quota.calls, False
        if not claimed:
            raise RateLimited(
                f"{vendor} allows {quota.calls} requests in {quota.seconds:g} seconds to all of us"
                f" together. Try again in {max(1.0, wait):.0f} seconds.",
                retry_after=wait,
            )
        return wait

    async def _take(
        self, transaction: Transaction, vendor: str, quota: Quota, patience: float
    ) -> tuple[float, bool]:
        path = f"paces/{vendor.lower().replace('/', '-')}"
        found = await transaction.get(path)
        now, window = self._clock(), dt.timedelta(seconds=quota.seconds)
        taken: list[dt.datetime] = found.data["taken"][-quota.calls :] if found else []
        moment = max([now, *taken[-1:]])  # never before one that is claimed: the list is in order
        if len(taken) == quota.calls:
            moment = max(moment, taken[0] + window)
        wait = (moment - now).total_seconds()
        if wait > patience:
            return wait, False
        taken = [*taken, moment][-quota.calls :]
        transaction.write(Put(path, {"taken": taken, "expires_at": moment + window}))
        return wait, True
