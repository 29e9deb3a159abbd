"""What the simulators of vendors share: the server in a thread of its own."""

from __future__ import annotations

import pytest
from aiohttp import web

from tests.fakes.served import Served


class Broken(Served):
    """Something that cannot begin."""

    def application(self) -> web.Application:
        raise LookupError("no application")


def test_what_keeps_a_server_from_listening_is_told_at_once() -> None:
    """A test whose simulator cannot start fails with the reason, and does not hang."""
    with pytest.raises(LookupError, match="no application"):
        Broken().__enter__()
