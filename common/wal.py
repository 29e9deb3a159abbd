"""SQLite's write-ahead log, for the embedded adapters that share their files between processes."""

from __future__ import annotations

import sqlite3
import time


def into_wal(connection: sqlite3.Connection) -> None:
    """Put the file into WAL mode, which two processes that open it first both try to do.

    SQLite does not wait for that lock by itself, whatever its time-out says. Raises
    sqlite3.OperationalError where it stays locked for some four seconds.
    """
    for wait in (0.01, 0.05, 0.2, 0.5, 1.0, 2.0):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as err:
            if "locked" not in str(err):
                raise
            time.sleep(wait)
    connection.execute("PRAGMA journal_mode=WAL")
