"""Both stores for the tests of what is kept about links: SQLite and Firestore's emulator."""

from tests.store.conftest import against, firestore_host

__all__ = ["against", "firestore_host"]
