"""Which processes of this machine still live: each holds a file's lock, which dies with it.

Elsewhere a lease tells that its owner died by running out. Here the kernel knows it at once, for
it frees a killed process's locks; a restarted laptop need not wait half a minute for itself.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from common.errors import Misconfigured

_FOLDER = "running"


def unknown(instance: str) -> bool:
    """Say of no process that it has ended: for where only its lease can tell."""
    return False


class Presence:
    """This process's lock, and a look at the others'. `instance` names a process in leases."""

    def __init__(self, folder: Path, lock: int, instance: str) -> None:
        self._folder = folder
        self._lock = lock
        self._instance = instance

    @classmethod
    def open(cls, data_dir: Path, instance: str) -> Presence:
        """Announce this process; Misconfigured where the folder cannot be written."""
        folder = data_dir / _FOLDER
        draft = folder / f".{instance}"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(draft, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Named when it is locked, so that nobody ever finds it free while we live.
            draft.rename(folder / instance)
        except OSError as err:
            raise Misconfigured(
                f"The data folder {data_dir} cannot be used ({err.strerror}): make it writable."
            ) from err
        return cls(folder, lock, instance)

    def gone(self, instance: str) -> bool:
        """Return whether that process has ended, by whatever cause."""
        if instance == self._instance:
            return False
        try:
            other = os.open(self._folder / instance, os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            (self._folder / instance).unlink(missing_ok=True)
            return True
        finally:
            os.close(other)

    async def close(self) -> None:
        """Say that this process has ended."""
        (self._folder / self._instance).unlink(missing_ok=True)
        os.close(self._lock)
