"""Google Drive: find, read and write the user's Docs, Sheets, Slides and text files.

https://developers.google.com/workspace/drive/api/reference/rest/v3
https://developers.google.com/workspace/docs/api/reference/rest
https://developers.google.com/workspace/sheets/api/reference/rest

Quirks seen in November 2026:
- A search brings binned files too, and four fields only, unless told otherwise. Names repeat.
- Exported text begins with a byte order mark and has CRLF; Sheets export their first tab only.
- Rows of a sheet are ragged; an empty range has no `values`. RAW keeps text from being a formula.
- Appending is not idempotent: it is never repeated by itself.
- A file that is not shared with the user is "not found".
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, TypeAlias, TypedDict
from urllib.parse import quote

from msgspec import Meta

from common.egress import Reply
from common.errors import InvalidInput, NotFound, VendorRejected, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool
from common.tools.reading import (
    fitting,
    instant,
    record,
    records,
    shorten,
    spoken_date,
    text,
    values,
)

_SCOPE = "https://www.googleapis.com/auth/"
READ, FILE = f"{_SCOPE}drive.readonly", f"{_SCOPE}drive.file"
DOCS, SHEETS = f"{_SCOPE}documents", f"{_SCOPE}spreadsheets"

CONNECTOR = Connector(
    name="Google Drive",
    category="productivity",
    description="Finds, reads and writes the user's Google Docs, Sheets, Slides and files.",
    examples=(
        "Find my document about the kitchen renovation.",
        "What does the Q3 plan in my Drive say?",
        "Save these notes as a Google Doc.",
        "Add a row to my expenses spreadsheet.",
    ),
    keywords=(
        "drive",
        "doc",
        "docs",
        "document",
        "documents",
        "google doc",
        "file",
        "files",
        "sheet",
        "sheets",
        "spreadsheet",
        "slides",
        "presentation",
        "deck",
        "folder",
        "notes",
        "save",
        "write",
        "append",
        "row",
        "google docs",
        "google sheets",
        "google slides",
        "pdf",
        "report",
        "budget",
        "contract",
        "draft",
        "slide",
        "shared",
        "folders",
        "uploaded",
        "paper",
        "essay",
        "letter",
        "table",
        "cell",
        "column",
        "columns",
        "rows",
        "workbook",
        "write up",
        "gdoc",
        "template",
        "pull up",
        "paperwork",
        "handwritten",
        "form",
        "invoice",
        "proposal",
        "resume",
        "new document",
        "blank",
        "start a",
        "outline",
        "agenda",
        "share",
        "folder called",
        "make a",
        "doc with",
        "write a",
        "bullet points",
    ),
    hosts=("www.googleapis.com", "docs.googleapis.com", "sheets.googleapis.com"),
    auth="google",
    scopes=(READ, FILE, DOCS, SHEETS),
    per_second=8,
)

DRIVE = "https://www.googleapis.com/drive/v3/files"
UPLOAD = "https://www.googleapis.com/upload/drive/v3/files"
GOOGLE = "application/vnd.google-apps."
FIELDS = "id,name,mimeType,modifiedTime,webViewLink,owners(displayName),shortcutDetails(targetId)"
EXPORTS = {"document": "text/plain", "spreadsheet": "text/csv", "presentation": "text/plain"}
SHOWN = 4000

Limit: TypeAlias = Annotated[int, Meta(ge=1, le=15)]
Kind: TypeAlias = Literal["document", "spreadsheet", "presentation", "folder"]


class File(TypedDict):
    """A file; `kind` is "document", "spreadsheet", "presentation", "folder" or a media type."""

    id: str
    name: str
    kind: str
    modified: str
    owner: str
    url: str


async def _request(ctx: ToolContext, method: str, url: str, *, scope: str, **same: Any) -> Reply:
    token = await ctx.access_token(scope)
    headers = {"Authorization": f"Bearer {token}", **same.pop("headers", {})}
    reply = await ctx.http.request(method, url, headers=headers, expect=(404,), **same)
    if reply.status == 404:
        raise NotFound("Google Drive has no such file, or it is not shared with you.")
    return reply


async def _object(
    ctx: ToolContext, method: str, url: str, *, scope: str, **same: Any
) -> dict[str, Any]:
    body = (await _request(ctx, method, url, scope=scope, **same)).json()
    if not isinstance(body, dict) or not body:
        raise VendorUnavailable("Google Drive sent no answer. Try again in a moment.")
    return body


def _id(value: str) -> str:
    if not re.fullmatch(r"[\w-]{5,120}", value.strip()):
        raise InvalidInput("file_id must be an id from search_google_docs_by_name_or_content.")
    return value.strip()


def _file(row: dict[str, Any]) -> File:
    kind, changed = text(row.get("mimeType")), instant(row.get("modifiedTime"))
    target = text(record(row.get("shortcutDetails")).get("targetId"))
    owner = next((text(person.get("displayName")) for person in records(row.get("owners"))), "")
    return File(
        id=(target or text(row.get("id")))[:120],
        name=shorten(text(row.get("name")), 120) or "(no name)",
        kind=kind.removeprefix(GOOGLE)[:80],
        modified=f"{changed:%Y-%m-%d}" if changed else "",
        owner=shorten(owner, 60),
        url=text(row.get("webViewLink"))[:300],
    )


def _source(file: File) -> Source:
    return Source(file["name"], file["url"] or "https://drive.google.com/")


def _say(file: File) -> str:
    day = instant(file["modified"])
    named = f"{file['name']} ({file['kind']})" if file["kind"] else file["name"]
    return named + (f", {spoken_date(day.date())}" if day else "")


@tool(progress="Searching your Drive…")
async def search_google_docs_by_name_or_content(
    ctx: ToolContext, *, query: str, kind: Kind | None = None, limit: Limit = 8
) -> ToolResult:
    """Find files in the user's Google Drive by name or by what is written in them.

    Args:
        query: Words of the name or the content.
        kind: Kind of file; null for any.
        limit: How many, 1 to 15.
    """
    wanted = query.strip()
    if not wanted:
        raise InvalidInput("query must say what to look for.")
    quoted = wanted.replace("\\", "\\\\").replace("'", "\\'")
    rule = f"(name contains '{quoted}' or fullText contains '{quoted}') and trashed = false"
    if kind:
        rule += f" and mimeType = '{GOOGLE}{kind}'"
    body = await _object(
        ctx,
        "GET",
        DRIVE,
        scope=READ,
        params={
            "q": rule,
            "pageSize": limit,
            "fields": f"files({FIELDS})",
            "corpora": "user",
            "supportsAllDrives": True,
            "includeItemsFromAllDrives": True,
        },
    )
    if not isinstance(body.get("files"), list):
        raise VendorUnavailable("Google Drive sent no files. Try again in a moment.")
    files = fitting([_file(row) for row in records(body["files"])][:limit])
    told = "; ".join(_say(file) for file in files[:4])
    return ToolResult(
        response_type="file_list",
        data={"query": wanted, "files": files},
        summary=shorten(f"Found {told}." if told else f"No file about {wanted} was found.", 480),
        sources=tuple(_source(file) for file in files[:5])
        or (Source("Google Drive", "https://drive.google.com/"),),
        untrusted=True,
    )


@tool(progress="Reading the file…", timeout_s=20)
async def read_google_doc(
    ctx: ToolContext, *, file_id: str, offset: Annotated[int, Meta(ge=0)] = 0
) -> ToolResult:
    """Read a Google Doc, Sheet (first tab), Slides or text file of the user as plain text.

    Args:
        file_id: The id that search_google_docs_by_name_or_content gives.
        offset: Character to begin at, for reading on.
    """
    url = f"{DRIVE}/{_id(file_id)}"
    shared = {"supportsAllDrives": True}
    file = _file(await _object(ctx, "GET", url, scope=READ, params={"fields": FIELDS, **shared}))
    if kind := EXPORTS.get(file["kind"]):
        params: dict[str, Any] = {"mimeType": kind}
        url += "/export"
    elif file["kind"].startswith(("text/", "application/json")):
        params = {"alt": "media", **shared}
    else:
        raise VendorRejected("Only Docs, Sheets, Slides and text files can be read.")
    reply = await _request(ctx, "GET", url, scope=READ, params=params)
    if reply.headers.get("content-type", "").startswith("text/html"):
        raise VendorUnavailable("Google Drive sent no text. Try again in a moment.")
    whole = reply.text().lstrip("\ufeff").replace("\r\n", "\n").strip()
    page = whole[offset : offset + SHOWN]
    shown = shorten(page, SHOWN)
    while len(json.dumps(shown, ensure_ascii=False).encode()) > SHOWN + 600:
        shown = shorten(shown, len(shown.encode()) - 300)
    start = shorten(" ".join(shown.split()), 260)
    end = offset + len(shown) - (shown != page)  # the mark of a cut is not the file's
    return ToolResult(
        response_type="document",
        data={
            **file,
            "text": shown,
            "offset": offset,
            "characters": len(whole),
            "next_offset": end if end < len(whole) else None,
        },
        summary=f"{file['name']}: {start}" if start else f"{file['name']} is empty.",
        sources=(_source(file),),
        untrusted=True,
    )


@tool(
    progress="Saving the document…",
    asks="Save this as a new Google Doc in your Drive?",
    risk="write",
    timeout_s=20,
)
async def save_google_doc(ctx: ToolContext, *, title: str, content: str) -> ToolResult:
    """Save a new Google Doc in the user's Drive.

    Args:
        title: Name of the document.
        content: Its text, as Markdown: headings, lists and bold are kept.
    """
    if not title.strip():
        raise InvalidInput("title must name the document.")
    meta = {"name": title.strip(), "mimeType": f"{GOOGLE}document"}
    mark = "odai-part"
    while mark in content:
        mark += "-x"
    body = (
        f"--{mark}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(meta)}\r\n"
        f"--{mark}\r\nContent-Type: text/markdown; charset=UTF-8\r\n\r\n{content}\r\n--{mark}--\r\n"
    )
    made = await _object(
        ctx,
        "POST",
        UPLOAD,
        scope=FILE,
        body=body.encode(errors="replace"),
        timeout_s=18,
        params={"uploadType": "multipart", "fields": FIELDS},
        headers={"Content-Type": f"multipart/related; boundary={mark}"},
    )
    file = _file({**meta, **made})
    return ToolResult(
        response_type="document_saved",
        data=file,
        summary=f"Saved the document {file['name']}.",
        sources=(_source(file),),
    )


@tool(progress="Adding to the document…", asks="Add this text to your Google Doc?", risk="write")
async def append_to_google_doc(ctx: ToolContext, *, file_id: str, content: str) -> ToolResult:
    """Add text at the end of one of the user's Google Docs.

    Args:
        file_id: The id of the document, from search_google_docs_by_name_or_content.
        content: The text to add, plain.
    """
    if not content.strip():
        raise InvalidInput("content must hold the text to add.")
    key = _id(file_id)
    insert = {"insertText": {"text": f"\n{content}", "endOfSegmentLocation": {}}}
    await _object(
        ctx,
        "POST",
        f"https://docs.googleapis.com/v1/documents/{key}:batchUpdate",
        scope=DOCS,
        json={"requests": [insert]},
    )
    return ToolResult(
        response_type="document_changed",
        data={"id": key, "added_characters": len(content)},
        summary="Added the text to the document.",
        sources=(Source("Google Doc", f"https://docs.google.com/document/d/{key}/edit"),),
    )


@tool(progress="Opening the spreadsheet…")
async def read_google_sheet(ctx: ToolContext, *, file_id: str, cells: str = "A1:J30") -> ToolResult:
    """Read cells of a Google Sheet of the user.

    Args:
        file_id: The id of the spreadsheet, from search_google_docs_by_name_or_content.
        cells: Range in A1 form, with the tab where it is not the first: 'My Tab'!A1:F20.
    """
    key = _id(file_id)
    url = f"https://sheets.googleapis.com/v4/spreadsheets/{key}/values/{quote(cells, safe='')}"
    body = await _object(ctx, "GET", url, scope=SHEETS)
    if "range" not in body and "values" not in body:
        raise VendorUnavailable("Google Sheets sent no cells. Try again in a moment.")
    rows = [[shorten(text(cell), 80) for cell in values(row)] for row in values(body.get("values"))]
    shown = fitting(rows)
    head = ", ".join(filter(None, shown[0])) if shown else ""
    count = "1 row" if len(rows) == 1 else f"{len(rows)} rows"
    return ToolResult(
        response_type="sheet",
        data={
            "id": key,
            "range": text(body.get("range"))[:120],
            "rows": shown,
            "row_count": len(rows),
        },
        summary=shorten(
            f"{count}, beginning {head or 'blank'}." if rows else "Those cells are empty.", 300
        ),
        sources=(Source("Google Sheet", f"https://docs.google.com/spreadsheets/d/{key}/edit"),),
        untrusted=True,
    )


@tool(
    progress="Adding to the spreadsheet…",
    asks="Add these rows to your Google Sheet?",
    risk="write",
)
async def append_google_sheet_rows(
    ctx: ToolContext,
    *,
    file_id: str,
    rows: Annotated[list[list[str]], Meta(min_length=1, max_length=100)],
    tab: str | None = None,
) -> ToolResult:
    """Add rows below the table in a Google Sheet of the user. Formulas are kept as text.

    Args:
        file_id: The id of the spreadsheet, from search_google_docs_by_name_or_content.
        rows: The rows, each a list of cells.
        tab: Name of the tab; null for the first.
    """
    key = _id(file_id)
    where = "'" + tab.replace("'", "''") + "'!A1" if tab else "A1"
    base = f"https://sheets.googleapis.com/v4/spreadsheets/{key}/values/{quote(where, safe='')}"
    made = await _object(
        ctx,
        "POST",
        f"{base}:append",
        scope=SHEETS,
        json={"values": rows},
        params={"valueInputOption": "RAW", "insertDataOption": "INSERT_ROWS"},
    )
    updated = text(record(made.get("updates")).get("updatedRange"))[:120]
    count = "1 row" if len(rows) == 1 else f"{len(rows)} rows"
    return ToolResult(
        response_type="sheet_changed",
        data={"id": key, "range": updated, "rows": len(rows)},
        summary=f"Added {count} to the spreadsheet.",
        sources=(Source("Google Sheet", f"https://docs.google.com/spreadsheets/d/{key}/edit"),),
    )
