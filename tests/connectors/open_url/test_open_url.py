"""Addresses opened on the user's machine: web pages, and nothing that could run there."""

from __future__ import annotations

import pytest

from common.errors import InvalidInput

from ..conftest import Replay

TAB, WINDOW = "open_external_url_in_tab", "open_external_url_in_window"


@pytest.mark.parametrize(("tool", "kind"), [(TAB, "open_tab"), (WINDOW, "open_window")])
def test_a_client_is_told_what_to_open(replay: Replay, tool: str, kind: str) -> None:
    """The response type and address are what existing clients act on."""
    outcome = replay.run(tool, {"url": "https://www.example.com/a?b=c"})
    assert outcome.result
    assert outcome.result.response_type == kind
    assert outcome.result.data == {"url": "https://www.example.com/a?b=c"}


def test_a_bare_name_is_an_address(replay: Replay) -> None:
    """People leave the scheme out."""
    outcome = replay.run(TAB, {"url": "wikipedia.org"})
    assert outcome.result
    assert outcome.result.data == {"url": "https://wikipedia.org"}


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "ftp://files.example.com/",
        "https://",
        "hello",
        "https://bank.example@evil.example/",
        "https://a b.example/",
        "https:\\\\evil.example",
        "https://x\n.example/",
        "http://localhost/",
        "https://e.example:99999/",
        "a" * 3000,
    ],
)
def test_what_is_no_web_page_is_not_opened(replay: Replay, url: str) -> None:
    """Scripts, files and names that hide another are refused."""
    assert isinstance(replay.run(TAB, {"url": url}).error, InvalidInput)
