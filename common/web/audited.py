"""An act at the web edge with its one row in the audit trail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from common.assistant.audit import Audit
from common.errors import OdaiError
from common.loop import LoopThread


@contextmanager
def audited(loop: LoopThread, audit: Audit, uid: str, what: str) -> Iterator[None]:
    """Note that `what` begins, and at the end of the block how it ended.

    Where the process dies in between, the row says so by its status.
    """
    row = loop.run(audit.begin(uid, what))
    try:
        yield
    except OdaiError as err:
        loop.run(audit.complete(row, err.code))
        raise
    loop.run(audit.complete(row, "done"))
