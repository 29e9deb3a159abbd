"""Trying again where the store is away for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from common.errors import Conflict, OdaiError

MOMENT = 4  # attempts: about a second
WHILE = 9  # attempts, about 25 s: a turn that cannot be closed is taken over after its lease


async def retrying(work: Callable[[], Awaitable[None]], *, attempts: int = MOMENT) -> None:
    """Do idempotent `work`, up to `attempts` times; a Conflict is an answer and no fault."""
    for attempt in range(attempts):
        try:
            return await work()
        except OdaiError as err:
            passing = err.retryable and not isinstance(err, Conflict)
            if not passing or attempt == attempts - 1:
                raise
            await asyncio.sleep(min(0.1 * 2**attempt, 5.0))
