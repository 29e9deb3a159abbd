"""Which documents end by themselves, and the embedded store's way of ending them.

On Google, TTL policies on `expires_at` do this (terraform/ reads the list below). Whoever uses such
a document checks its time: a sweep is late by design and only keeps the store small.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

from common.store import Delete, Query, Store

# The last names of collections whose documents carry `expires_at`.
EXPIRING: Final = (
    "active_calls", "approval_codes", "approvals", "calls", "jobs", "limits", "link_sessions",
    "oauth_states", "paces", "phone_codes", "planned_calls", "prompts", "schedules", "text_lines",
    "texts", "tickets", "unhandled_requests",
)  # fmt: skip
_BATCH: Final = 200


async def sweep(store: Store, now: dt.datetime) -> int:
    """Delete what has expired before `now`; return how many documents that were."""
    gone = 0
    for name in EXPIRING:
        query = Query(name, where=(("expires_at", "<", now),), all_groups=True, limit=_BATCH)
        while found := await store.query(query):
            await store.commit(*(Delete(snapshot.path) for snapshot in found))
            gone += len(found)
    return gone
