"""A simulator of one person's Gmail, Calendar, Drive, Docs, Sheets, Contacts and Tasks.

What is written is there afterwards: a mail sent is found, a task ticked off is done. Answers have
the odd shapes of the real ones: no list at all where nothing is found, numbers as text, header
names in any case, the first search of contacts empty until it was warmed up. Who may ask is the
sign-in's to say (`refusal`, of `tests.fakes.google`).
"""

from __future__ import annotations

import base64
import datetime as dt
import email
import email.policy
import html
import re
import secrets
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web

Refusal = Callable[..., web.Response | None]
_JSON = dict[str, Any]
_MAIL, _CALENDAR = "/gmail/v1/users/me", "/calendar/v3"
_READ_MAIL = ("gmail.readonly", "gmail.modify")
_WRITE_MAIL = ("gmail.send", "gmail.compose", "gmail.modify")
_READ_FILES = ("drive.readonly", "drive", "drive.metadata.readonly")
_LITTLE = {"a", "an", "the", "from", "for", "of", "about", "in", "on", "with"}
_KIND = "application/vnd.google-apps."
OWNER = "ada@example.com"
_PEOPLE = (
    ("people/c1", "Bob Example", "bob@example.com", "+1 617 555 0101", True),
    ("people/c2", "Dana Example", "dana@example.com", "", True),
    ("otherContacts/c3", "Dr. Molar", "billing@dentist.example", "", False),
)


def api_error(code: int, status: str, message: str, *, reason: str = "authError") -> web.Response:
    """Return an error in the shape of Google's APIs."""
    errors = [{"domain": "global", "reason": reason, "message": message}]
    error = {"code": code, "message": message, "errors": errors, "status": status}
    return web.json_response({"error": error}, status=code)


def _gone(what: str = "Requested entity was not found.") -> web.Response:
    return api_error(404, "NOT_FOUND", what, reason="notFound")


class Workspace:
    """The services' state and their endpoints; `sent` are the bodies of mails sent."""

    def __init__(self, refusal: Refusal) -> None:
        self._refusal = refusal
        self.sent: list[_JSON] = []
        now = dt.datetime.now(dt.UTC)
        self.mails = [
            _seed("1900aa11bb22cc01", "Dr. Molar <billing@dentist.example>",
                  "Invoice 4711 for your check-up",
                  "Please find the invoice over 80 euros attached.", ["UNREAD", "INBOX"],
                  now - dt.timedelta(hours=27)),
            _seed("1900aa11bb22cc02", "Bob Example <bob@example.com>", "Lunch on Friday?",
                  "Noodles at noon?", ["INBOX"], now - dt.timedelta(hours=3)),
            _seed("1900aa11bb22cc03", "Power Co <no-reply@power.example>", f"Your {now:%B} invoice",
                  "The invoice is due on Monday.", [], now - dt.timedelta(minutes=50)),
        ]  # fmt: skip
        self.events: dict[str, _JSON] = {}
        self._booked = False
        self.tasks: dict[str, _JSON] = {
            "t1example": {"id": "t1example", "title": "Water the plants", "status": "needsAction"},
            "t2example": {"id": "t2example", "title": "File the invoice", "status": "needsAction",
                          "due": f"{_day(5)}T00:00:00.000Z"},
        }  # fmt: skip
        self.files: dict[str, _JSON] = {
            "1docEXAMPLE": _file("1docEXAMPLE", "Budget 2026", "document", _day(-2)),
            "1folderEXAMPLE": _file("1folderEXAMPLE", "Invoices", "folder", _day(-50)),
            "1sheetEXAMPLE": _file("1sheetEXAMPLE", "Expenses", "spreadsheet", _day(-4)),
        }
        self.texts = {"1docEXAMPLE": "Rent 900\nFood 300\nNoodles 100"}
        self.cells: dict[str, list[list[str]]] = {
            "1sheetEXAMPLE": [["Day", "What", "Amount"], [_day(-4), "Dentist", "80"]]
        }

    def routes(self, app: web.Application) -> None:
        """Add every endpoint to `app`."""
        for method, path, view, *scopes in (
            ("GET", f"{_MAIL}/messages", self._messages, *_READ_MAIL),
            ("POST", f"{_MAIL}/messages/send", self._send, *_WRITE_MAIL),
            ("POST", f"{_MAIL}/messages/batchModify", self._modify, "gmail.modify"),
            ("POST", f"{_MAIL}/drafts", self._draft, *_WRITE_MAIL),
            ("GET", f"{_MAIL}/messages/{{id}}", self._message, *_READ_MAIL),
            ("GET", f"{_MAIL}/threads/{{id}}", self._thread, *_READ_MAIL),
            ("GET", f"{_MAIL}/profile", self._profile, *_READ_MAIL),
            ("GET", f"{_CALENDAR}/users/me/calendarList", self._calendars,
             "calendar.readonly", "calendar.calendarlist.readonly"),
            ("POST", f"{_CALENDAR}/freeBusy", self._free_busy, "calendar.freebusy"),
            ("GET", f"{_CALENDAR}/calendars/{{cal}}/events", self._listed,
             "calendar.events", "calendar.readonly"),
            ("POST", f"{_CALENDAR}/calendars/{{cal}}/events", self._insert, "calendar.events"),
            ("*", f"{_CALENDAR}/calendars/{{cal}}/events/{{id}}", self._event,
             "calendar.events"),
            ("GET", "/drive/v3/files", self._files, *_READ_FILES),
            ("GET", "/drive/v3/files/{id}", self._one_file, *_READ_FILES),
            ("GET", "/drive/v3/files/{id}/export", self._export, *_READ_FILES),
            ("POST", "/upload/drive/v3/files", self._upload, "drive.file", "drive"),
            ("POST", "/v1/documents/{id}:batchUpdate", self._append, "documents"),
            ("GET", "/v4/spreadsheets/{id}/values/{cells}", self._cells, "spreadsheets"),
            ("POST", "/v4/spreadsheets/{id}/values/{cells}:append", self._rows,
             "spreadsheets"),
            ("GET", "/v1/people:searchContacts", self._people, "contacts.readonly"),
            ("GET", "/v1/otherContacts:search", self._people, "contacts.other.readonly"),
            ("GET", "/tasks/v1/users/@me/lists", self._lists, "tasks"),
            ("GET", "/tasks/v1/lists/{list}/tasks", self._tasks, "tasks"),
            ("POST", "/tasks/v1/lists/{list}/tasks", self._add_task, "tasks"),
            ("*", "/tasks/v1/lists/{list}/tasks/{id}", self._task, "tasks"),
        ):  # fmt: skip
            app.router.add_route(method, path, self._guarded(view, scopes))

    def _guarded(self, view: Any, scopes: list[str]) -> Any:
        async def answer(request: web.Request) -> web.Response:
            if refusal := self._refusal(request, *scopes):
                return refusal
            response: web.Response = await view(request)
            return response

        return answer

    # --- Gmail ----------------------------------------------------------------------------------

    async def _messages(self, request: web.Request) -> web.Response:
        query = request.query.get("q", "").lower()
        own = re.search(r"rfc822msgid:(\S+)", query)
        labels = {where.upper() for where in re.findall(r"\b(?:in|is):(\w+)", query)}
        senders = re.findall(r'from:"?([^"\s]+)', query)
        rest = re.sub(r'\b\w+:("[^"]*"|\S+)', " ", query)
        words = set(re.findall(r"\w+", rest)) - _LITTLE
        found = [
            mail for mail in reversed(self.mails)
            if all(word in _searched(mail) for word in words)
            and all(sender in mail["from"].lower() for sender in senders)
            and labels <= {*mail["labels"], "ANYWHERE"}
            and (own is None or own[1] == mail["message_id"].strip("<>").lower())
        ][: int(request.query.get("maxResults", "100"))]  # fmt: skip
        if not found:  # no key at all, rather than an empty list
            return web.json_response({"resultSizeEstimate": 0})
        rows = [{"id": mail["id"], "threadId": mail["thread"]} for mail in found]
        return web.json_response({"messages": rows, "resultSizeEstimate": 201})

    async def _message(self, request: web.Request) -> web.Response:
        found = [mail for mail in self.mails if mail["id"] == request.match_info["id"]]
        if not found:
            return _gone()
        full = request.query.get("format", "full") == "full"
        return web.json_response(_message(found[0], bodies=full))

    async def _thread(self, request: web.Request) -> web.Response:
        key = request.match_info["id"]
        rows = [_message(mail, bodies=True) for mail in self.mails if mail["thread"] == key]
        if not rows:
            return _gone()
        return web.json_response({"id": key, "historyId": "555001", "messages": rows})

    async def _send(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.sent.append(body)
        mail = self._written(body, f"1900aa11bb22dd{len(self.sent):02}", ["SENT"])
        return web.json_response(
            {"id": mail["id"], "threadId": mail["thread"], "labelIds": ["SENT"]}
        )

    async def _draft(self, request: web.Request) -> web.Response:
        body = (await request.json())["message"]
        mail = self._written(body, f"1900aa11bb22ee{len(self.mails):02}", ["DRAFT"])
        message = {"id": mail["id"], "threadId": mail["thread"], "labelIds": ["DRAFT"]}
        return web.json_response({"id": f"r{mail['id']}", "message": message})

    def _written(self, body: _JSON, key: str, labels: list[str]) -> _JSON:
        parsed = email.message_from_bytes(
            base64.urlsafe_b64decode(body["raw"]), policy=email.policy.default
        )
        part = parsed.get_body(("plain",))
        mail = {
            "id": key, "thread": body.get("threadId", key), "labels": labels,
            "from": str(parsed["From"] or OWNER), "to": str(parsed["To"]),
            "subject": str(parsed["Subject"] or ""), "message_id": str(parsed["Message-ID"]),
            "text": part.get_content() if part else "", "at": dt.datetime.now(dt.UTC),
        }  # fmt: skip
        self.mails.append(mail)
        return mail

    async def _modify(self, request: web.Request) -> web.Response:
        body = await request.json()
        for mail in self.mails:
            if mail["id"] in body["ids"]:
                kept = [x for x in mail["labels"] if x not in body.get("removeLabelIds", [])]
                mail["labels"] = [*kept, *body.get("addLabelIds", [])]
        return web.Response(status=204)

    async def _profile(self, request: web.Request) -> web.Response:
        count = len(self.mails)
        return web.json_response({"emailAddress": OWNER, "messagesTotal": count,
                                  "threadsTotal": count, "historyId": "555001"})  # fmt: skip

    # --- Calendar -------------------------------------------------------------------------------

    async def _calendars(self, request: web.Request) -> web.Response:
        row = {"kind": "calendar#calendarListEntry", "id": OWNER, "primary": True,
               "summary": OWNER, "timeZone": "Europe/Berlin", "accessRole": "owner"}  # fmt: skip
        return web.json_response({"kind": "calendar#calendarList", "items": [row]})

    async def _listed(self, request: web.Request) -> web.Response:
        self._book(ZoneInfo(request.query.get("timeZone", "Europe/Berlin")))
        first = request.query.get("timeMin", "")
        until = request.query.get("timeMax", "9999")
        rows = [
            e
            for e in self.events.values()
            if first[:10] <= _starts(e)[:10] and f"{_starts(e)}T00:00"[:16] < until[:16]
        ]
        rows.sort(key=_starts)
        rows.append({"kind": "calendar#event", "id": "k3", "status": "cancelled"})
        words = request.query.get("q", "").lower().split()
        found = [e for e in rows if all(w in str(e.get("summary", "")).lower() for w in words)]
        return web.json_response({"kind": "calendar#events", "summary": OWNER,
                                  "timeZone": "Europe/Berlin", "items": found,
                                  "nextSyncToken": "CPD"})  # fmt: skip

    def _book(self, zone: dt.tzinfo) -> None:
        """Let there be something today and tomorrow, at hours of the owner's own clock."""
        if self._booked:
            return
        self._booked = True
        today = dt.datetime.combine(dt.datetime.now(zone).date(), dt.time(10, 30), zone)
        tomorrow = (today + dt.timedelta(1)).replace(hour=15)
        booked = (_booked("k2example_1", "Dentist", today),
                  _booked("k4example_1", "Call with Bob", tomorrow))  # fmt: skip
        self.events = {**{event["id"]: event for event in booked}, **self.events}

    async def _insert(self, request: web.Request) -> web.Response:
        body = await request.json()
        key = body.get("id") or secrets.token_hex(10)
        if key in self.events:
            return api_error(409, "ALREADY_EXISTS", "The requested identifier already exists.",
                             reason="duplicate")  # fmt: skip
        link = f"https://www.google.com/calendar/event?eid={key[:6]}"
        self.events[key] = {"kind": "calendar#event", "status": "confirmed", "htmlLink": link,
                            **body, "id": key}  # fmt: skip
        return web.json_response(self.events[key])

    async def _event(self, request: web.Request) -> web.Response:
        key = request.match_info["id"]
        event = self.events.get(key)
        if event is None:
            return _gone("Not Found")
        if request.method == "DELETE":
            del self.events[key]
            return web.Response(status=204)
        if request.method == "PATCH":
            event |= await request.json()
        return web.json_response(event)

    async def _free_busy(self, request: web.Request) -> web.Response:
        body = await request.json()
        self._book(dt.datetime.fromisoformat(body["timeMin"]).tzinfo or dt.UTC)
        busy = [
            {"start": _starts(e), "end": e["end"]["dateTime"]}
            for e in self.events.values()
            if "dateTime" in e["start"] and body["timeMin"][:10] <= _starts(e)[:10]
        ]
        return web.json_response({"kind": "calendar#freeBusy", "timeMin": body["timeMin"],
                                  "calendars": {"primary": {"busy": busy}}})  # fmt: skip

    # --- Drive, Docs, Sheets --------------------------------------------------------------------

    async def _files(self, request: web.Request) -> web.Response:
        words = re.findall(r"contains '((?:[^'\\]|\\.)*)'", request.query.get("q", ""))
        found = [
            file for file in self.files.values()
            if any(w.lower() in f"{file['name']} {self.texts.get(file['id'], '')}".lower()
                   for w in words)
        ]  # fmt: skip
        if "fields" not in request.query:  # all that comes back unless asked for
            found = [{"kind": "drive#file", **{k: f[k] for k in ("id", "name", "mimeType")}}
                     for f in found]  # fmt: skip
        return web.json_response({"incompleteSearch": False, "files": found})

    async def _one_file(self, request: web.Request) -> web.Response:
        file = self.files.get(request.match_info["id"])
        return _gone("File not found.") if file is None else web.json_response(file)

    async def _export(self, request: web.Request) -> web.Response:
        key = request.match_info["id"]
        if key not in self.files:
            return _gone("File not found.")
        rows = self.cells.get(key, [])
        text = self.texts.get(key) or "\n".join(",".join(row) for row in rows)
        return web.Response(text=text, content_type=request.query["mimeType"])

    async def _upload(self, request: web.Request) -> web.Response:
        parts = (await request.text()).split("\r\n\r\n", 2)
        meta, _, content = (await request.text()).partition("\r\n\r\n")[2].partition("\r\n--")
        key = f"1made{len(self.files)}EXAMPLE"
        name = re.search(r'"name":\s*"((?:[^"\\]|\\.)*)"', meta)
        self.files[key] = _file(key, name[1] if name else "Untitled", "document", "2026-11-22")
        self.texts[key] = parts[2].rpartition("\r\n--")[0] if len(parts) > 2 else content
        return web.json_response(self.files[key])

    async def _append(self, request: web.Request) -> web.Response:
        key = request.match_info["id"]
        if key not in self.files:
            return _gone()
        for change in (await request.json())["requests"]:
            self.texts[key] = self.texts.get(key, "") + change["insertText"]["text"]
        return web.json_response({"documentId": key, "replies": [{}]})

    async def _cells(self, request: web.Request) -> web.Response:
        key = request.match_info["id"]
        if key not in self.cells:
            return _gone()
        return web.json_response({"range": "Sheet1!A1:J30", "majorDimension": "ROWS",
                                  "values": self.cells[key]})  # fmt: skip

    async def _rows(self, request: web.Request) -> web.Response:
        key = request.match_info["id"]
        if key not in self.cells:
            return _gone()
        rows = (await request.json())["values"]
        first = len(self.cells[key]) + 1
        self.cells[key] += rows
        where = f"Sheet1!A{first}:C{first + len(rows) - 1}"
        return web.json_response(
            {"spreadsheetId": key, "updates": {"updatedRange": where, "updatedRows": len(rows)}}
        )

    # --- Contacts and Tasks ---------------------------------------------------------------------

    async def _people(self, request: web.Request) -> web.Response:
        wanted = request.query.get("query", "").lower()
        saved = request.path.startswith("/v1/people")
        found = [
            {"person": _person(person)} for person in _PEOPLE
            if wanted and person[4] == saved
            and any(word.startswith(wanted) for word in (*person[1].lower().split(), person[2]))
        ]  # fmt: skip
        return web.json_response({"results": found} if found else {})

    async def _lists(self, request: web.Request) -> web.Response:
        row = {"kind": "tasks#taskList", "id": "l1example", "title": "My Tasks"}
        return web.json_response({"kind": "tasks#taskLists", "items": [row]})

    async def _tasks(self, request: web.Request) -> web.Response:
        done = request.query.get("showCompleted") == "true"
        rows = [t for t in self.tasks.values() if done or t["status"] != "completed"]
        return web.json_response({"kind": "tasks#tasks", **({"items": rows} if rows else {})})

    async def _add_task(self, request: web.Request) -> web.Response:
        key = f"t{len(self.tasks) + 1}example"
        given = {k: v for k, v in (await request.json()).items() if v is not None}
        self.tasks[key] = {"kind": "tasks#task", "status": "needsAction", **given, "id": key}
        return web.json_response(self.tasks[key])

    async def _task(self, request: web.Request) -> web.Response:
        key = request.match_info["id"]
        if key not in self.tasks:
            return _gone("Task not found.")
        if request.method == "DELETE":
            del self.tasks[key]
            return web.Response(status=204)
        if request.method == "PATCH":
            self.tasks[key] |= await request.json()
        return web.json_response(self.tasks[key])


def _seed(
    key: str, sender: str, subject: str, text: str, labels: list[str], at: dt.datetime
) -> _JSON:
    return {"id": key, "thread": key, "from": sender, "to": f"Ada <{OWNER}>", "subject": subject,
            "text": text, "labels": labels, "message_id": f"<{key}@example.com>",
            "at": at}  # fmt: skip


def _day(from_today: int) -> str:
    return (dt.datetime.now(dt.UTC).date() + dt.timedelta(from_today)).isoformat()


def _searched(mail: _JSON) -> str:
    return f"{mail['from']} {mail['subject']} {mail['text']}".lower()


def _message(mail: _JSON, *, bodies: bool) -> _JSON:
    """Return a message in Gmail's form: numbers as text, odd header names, no empty label list."""
    text = mail["text"]
    headers = [("From", mail["from"]), ("SUBJECT", mail["subject"]), ("To", mail["to"]),
               ("Message-Id", mail["message_id"])]  # fmt: skip
    payload: _JSON = {
        "partId": "", "mimeType": "text/plain",
        "headers": [{"name": name, "value": value} for name, value in headers],
    }  # fmt: skip
    if bodies:
        data = base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
        payload["body"] = {"size": len(text), "data": data}
    shown = {
        "id": mail["id"], "threadId": mail["thread"], "snippet": html.escape(text[:120]),
        "historyId": "555001", "internalDate": f"{mail['at'].timestamp() * 1000:.0f}",
        "sizeEstimate": 10240, "payload": payload,
    }  # fmt: skip
    return {**shown, "labelIds": mail["labels"]} if mail["labels"] else shown


def _booked(key: str, what: str, start: dt.datetime) -> _JSON:
    end = (start + dt.timedelta(minutes=30)).isoformat()
    return {
        "kind": "calendar#event", "id": key, "status": "confirmed",
        "summary": what, "htmlLink": f"https://www.google.com/calendar/event?eid={key[:2]}",
        "start": {"dateTime": start.isoformat(), "timeZone": str(start.tzinfo)},
        "end": {"dateTime": end, "timeZone": str(start.tzinfo)},
        "reminders": {"useDefault": True}, "eventType": "default",
    }  # fmt: skip


def _starts(event: _JSON) -> str:
    start = event["start"]
    return str(start.get("dateTime") or start.get("date") or dt.date.min)


def _file(key: str, name: str, kind: str, day: str) -> _JSON:
    return {"id": key, "name": name, "modifiedTime": f"{day}T10:00:00.000Z",
            "mimeType": f"{_KIND}{kind}", "owners": [{"displayName": "Ada Example"}],
            "webViewLink": f"https://docs.google.com/document/d/{key}/edit"}  # fmt: skip


def _person(person: tuple[str, str, str, str, bool]) -> _JSON:
    key, name, address, phone, _ = person
    row: _JSON = {"resourceName": key, "etag": "%EXAMPLE",
                  "names": [{"displayName": name}],
                  "emailAddresses": [{"value": address, "type": "home"}]}  # fmt: skip
    return row | ({"phoneNumbers": [{"value": phone, "canonicalForm": phone}]} if phone else {})
