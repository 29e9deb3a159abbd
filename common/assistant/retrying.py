"""Trying again where the store is away for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from common.errors import Conflict, OdaiError, VendorUnavailable
from common.store import Create, Store

T = TypeVar("T")

MOMENT = 4  # attempts: about a second
WHILE = 9  # attempts, about 25 s: a turn that cannot be closed is taken over after its lease


async def retrying(
    work: Callable[[], Awaitable[T]], *, attempts: int = MOMENT, crowded: bool = False
) -> T:
    """Do idempotent `work`, up to `attempts` times.

    A Conflict is an answer and no fault, unless `crowded`: then it can only be a crowded store's.
    """
    for attempt in range(attempts):
        try:
            return await work()
        except OdaiError as err:
            passing = err.retryable and (crowded or not isinstance(err, Conflict))
            if not passing or attempt == attempts - 1:
                raise
            await asyncio.sleep(min(0.1 * 2**attempt, 5.0))
    raise AssertionError("unreachable: the last attempt returns or raises")


async def create_once(store: Store, write: Create) -> None:
    """Store a document whose id belongs to one act alone, whichever attempt does it."""

    async def attempt() -> None:
        try:
            await store.commit(write)
        except Conflict as err:
            if await store.get(write.path) is None:
                raise VendorUnavailable("The store is crowded. Please try again.") from err

    await retrying(attempt)
