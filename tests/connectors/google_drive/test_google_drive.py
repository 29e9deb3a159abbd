"""Files found, read as text, and written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.errors import InvalidInput, NotFound, VendorRejected

from ..conftest import HERE, Replay

SEARCH, READ = "search_google_docs_by_name_or_content", "read_google_doc"


def test_files_are_told_by_name_and_kind(replay: Replay) -> None:
    """A quote in the words does not end the search; a shortcut leads to its file."""
    outcome = replay(f"{SEARCH}__success")
    assert outcome.summary.startswith("Found Kitchen plan (document), Sunday 1 November 2026; Link")
    assert outcome.result and outcome.result.data["files"][1]["id"] == "doc222"


def test_nothing_found_is_an_answer(replay: Replay) -> None:
    """No file is told, not reported as a failure."""
    assert replay(f"{SEARCH}__empty").summary == "No file about nothing was found."


def test_a_document_is_read_as_text(replay: Replay) -> None:
    """Byte order mark and Windows line ends are gone, and the text counts as a stranger's."""
    outcome = replay(f"{READ}__success")
    assert outcome.summary == "Kitchen plan: Tiles first. Then paint."
    assert outcome.result and outcome.result.untrusted
    assert outcome.result.data["text"] == "Tiles first.\nThen paint."
    assert outcome.result.data["next_offset"] is None
    assert replay(f"{READ}__empty").summary == "notes.txt is empty."


def test_a_long_document_is_read_on(replay: Replay) -> None:
    """Pages follow one another without gap or overlap, each within the budget."""
    case = json.loads((HERE / "google_drive" / f"{READ}__success.json").read_text())
    words = " ".join(f"wörd{n:05}" for n in range(2000))
    case["exchanges"][1]["response"]["text"] = words
    read, offset = "", 0
    while offset is not None:
        outcome = replay.run(READ, {"file_id": "doc111", "offset": offset}, *case["exchanges"])
        assert outcome.result and len(outcome.for_model().encode()) <= 6 * 1024
        page: dict[str, Any] = outcome.result.data
        read += page["text"].removesuffix("…")
        offset = page["next_offset"]
    assert read.replace(" ", "") == words.replace(" ", "")


def test_pictures_and_strangers_files_are_told(replay: Replay) -> None:
    """What is no text, and what one may not see, are told apart."""
    assert isinstance(replay(f"{READ}__picture").error, VendorRejected)
    assert isinstance(replay(f"{READ}__unknown").error, NotFound)


def test_a_document_is_saved_whole(replay: Replay) -> None:
    """Text that looks like the envelope stays text."""
    outcome = replay("save_google_doc__success")
    assert outcome.summary == "Saved the document Notes."
    body = replay.bodies[0].decode()
    assert "# Plan\n--odai-part\nÜber\r\n--odai-part-x--" in body


def test_a_sheet_is_read_with_its_gaps(replay: Replay) -> None:
    """Ragged rows are kept as they are; an empty range is told."""
    outcome = replay("read_google_sheet__success")
    assert outcome.summary == "3 rows, beginning day, amount."
    assert outcome.result and outcome.result.data["rows"][1] == ["Mon", "12.50", "x"]
    assert replay("read_google_sheet__empty").summary == "Those cells are empty."


def test_additions_are_confirmed(replay: Replay) -> None:
    """Rows go below the table as plain values; text goes to the document's end."""
    assert replay("append_google_sheet_rows__success").summary == "Added 1 row to the spreadsheet."
    assert replay("append_to_google_doc__success").ok


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        (SEARCH, {"query": " "}),
        (READ, {"file_id": "../about"}),
        ("save_google_doc", {"title": "", "content": "x"}),
        ("append_to_google_doc", {"file_id": "doc111", "content": " "}),
        ("append_google_sheet_rows", {"file_id": "sheet1", "rows": []}),
    ],
)
def test_bad_input_is_sent_back(replay: Replay, tool: str, given: dict[str, Any]) -> None:
    """What names no file calls nobody."""
    assert isinstance(replay.run(tool, given).error, InvalidInput)


def test_a_wide_sheet_stays_short(replay: Replay) -> None:
    """However many cells, what the model reads fits its budget."""
    body = {"range": "A1:Z99", "values": [["é" * 200] * 30] * 90}
    outcome = replay.failing("read_google_sheet", {"file_id": "sheet1"}, {"json": body})
    assert outcome.ok and len(outcome.for_model().encode()) <= 6 * 1024
