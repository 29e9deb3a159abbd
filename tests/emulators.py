"""The emulators as fixtures use them: absent, tests are skipped; under `CI=true` they fail."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from run.local import emulators
from run.local.emulators import EmulatorMissing, bypass_proxy

__all__ = ["bypass_proxy", "firestore_emulator", "pubsub_emulator"]


@contextmanager
def firestore_emulator() -> Iterator[str]:
    """Yield host:port of a Firestore emulator; `FIRESTORE_EMULATOR_HOST` names one that runs."""
    with _or_absent(emulators.firestore_emulator) as host:
        yield host


@contextmanager
def pubsub_emulator() -> Iterator[str]:
    """Yield host:port of a Pub/Sub emulator; `PUBSUB_EMULATOR_HOST` names one that runs."""
    with _or_absent(emulators.pubsub_emulator) as host:
        yield host


@contextmanager
def _or_absent(start: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    try:
        with start() as host:
            yield host
    except EmulatorMissing as err:
        if os.environ.get("CI") == "true":
            pytest.fail(str(err))
        pytest.skip(str(err))
