"""The documents say what the code does: tables, types and links are compared, not trusted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from common.assistant.protocol import Event, Frame
from common.errors import OdaiError
from common.settings import settings_table
from run.chat_stream import chat_socket
from run.local.__main__ import main
from run.local.asyncapi import (
    CLOSES,
    closes_table,
    codes_table,
    document_text,
    socket_codes,
    tag_of,
)

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "terraform").glob("*.md")]
CLOSING = ("_POLICY", "_TRY_LATER", "_GOING_AWAY", "_IDLE", "_INTERNAL")
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s]+)\)")


def test_the_readme_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """An operator finds each setting with its default, as the program itself has them."""
    text = (ROOT / "README.md").read_text()
    table = text.partition("<!-- settings -->\n")[2].partition("<!-- /settings -->")[0]
    assert main(["settings"]) == 0
    assert table == capsys.readouterr().out, "take what `python -m run.local settings` prints"
    assert all(f"| `{name}` |" in table for name, _, _ in settings_table())


def test_the_asyncapi_document_is_that_of_the_types() -> None:
    """A client generated from the document reads what the server sends today."""
    kept = (ROOT / "docs" / "asyncapi.json").read_text()
    assert kept == document_text(), "python -m run.local asyncapi > docs/asyncapi.json"


def test_the_protocol_page_lists_every_code() -> None:
    """Who writes a client finds why sockets close, and every code of an error, as the code has."""
    page = (ROOT / "docs" / "protocol.md").read_text()
    for mark, table in (("closes", closes_table()), ("codes", codes_table())):
        kept = page.partition(f"<!-- {mark} -->\n")[2].partition(f"\n<!-- /{mark} -->")[0]
        assert kept == table, "python -m run.local docs"


def test_no_code_is_sent_that_is_not_listed() -> None:
    """Each literal code of an `error` event, and each code that closes a chat, is documented."""
    sent, closed = set[str](), set[int]()
    sources = [
        *(ROOT / "common" / "assistant").glob("*.py"),
        *(ROOT / "run" / "chat_stream").glob("*.py"),
    ]
    for source in sources:
        text = source.read_text()
        sent |= set(re.findall(r'ErrorEvent\(\s*"(\w+)"', text))
        closed |= set(map(int, re.findall(r"\b(?:drop|close)\((\d{4})\b", text)))
    assert sent and sent <= set(socket_codes())
    own = {value for name, value in vars(chat_socket).items() if name in CLOSING}
    assert len(own) == len(CLOSING) and closed | own <= set(CLOSES)
    told = {kind.code for kind in subclasses(OdaiError)}
    assert told <= set(socket_codes())


def subclasses(kind: type[OdaiError]) -> list[type[OdaiError]]:
    """Return `kind` and all below it, wherever they are declared."""
    return [kind, *(each for child in kind.__subclasses__() for each in subclasses(child))]


@pytest.mark.parametrize("kind", [*get_args(Frame), *get_args(Event)], ids=tag_of)
def test_the_protocol_page_tells_of_every_type(kind: type) -> None:
    """Whoever writes a client finds each frame and event, with each of its fields."""
    page = (ROOT / "docs" / "protocol.md").read_text()
    row = next((line for line in page.splitlines() if line.startswith(f"| `{tag_of(kind)}` |")), "")
    assert row, f"docs/protocol.md has no row for {tag_of(kind)}"
    missing = [name for name in kind.__struct_fields__ if f"`{name}" not in row]
    assert not missing, f"docs/protocol.md, {tag_of(kind)}: {missing}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """No relative link or picture of a document is broken."""
    targets = [target.partition("#")[0] for target in LINK.findall(page.read_text())]
    assert [target for target in targets if not (page.parent / target).exists()] == []
