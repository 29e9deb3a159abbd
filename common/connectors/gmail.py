"""Gmail: read, search, write, send and tidy the user's mail.

https://developers.google.com/workspace/gmail/api/reference/rest

Quirks seen in November 2026:
- No hits is an answer without `messages`; the estimate of hits is worthless. Header names keep
  the sender's casing. Bodies are base64url without padding, in a tree of parts.
- `after:` means midnight Pacific unless given as Unix seconds. Snippets are HTML-escaped.
- Sending has no idempotency key: mail carries our own Message-ID, looked for before and after.
- A reply joins its thread only with threadId, In-Reply-To, References and an equal subject.
- Reading 300 messages a minute is the limit of a user: lists are short.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import email.message
import email.policy
import email.utils
import hashlib
import re
from typing import Annotated, Any, Literal, TypeAlias, TypedDict
from urllib.parse import quote

from msgspec import Meta

from common.errors import InvalidInput, NotFound, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool
from common.tools.reading import (
    from_unix,
    number,
    plain,
    record,
    records,
    shorten,
    spoken_date,
    text,
    values,
)

_SCOPE = "https://www.googleapis.com/auth/gmail."
READ, COMPOSE, MODIFY = f"{_SCOPE}readonly", f"{_SCOPE}compose", f"{_SCOPE}modify"

CONNECTOR = Connector(
    name="Gmail",
    category="productivity",
    description="Reads, searches, drafts, sends and archives the user's Gmail.",
    examples=(
        "What's new in my inbox?",
        "Search my mail for the invoice from the dentist.",
        "Email dana@example.com that I'll be ten minutes late.",
        "Reply to that message and say yes.",
    ),
    keywords=(
        "gmail",
        "email",
        "emails",
        "mail",
        "mails",
        "inbox",
        "unread",
        "message",
        "thread",
        "reply",
        "draft",
        "send",
        "archive",
        "subject",
        "attachment",
        "sender",
        "newsletter",
        "correspondence",
        "write",
        "e-mail",
        "e-mails",
        "mailbox",
        "wrote",
        "write back",
        "letter",
        "forward",
        "cc",
        "respond",
        "response",
        "answer",
        "heard from",
        "hear from",
        "unsubscribe",
        "spam",
        "attachments",
        "newsletters",
        "compose",
        "sent",
        "recipients",
        "received",
        "invoice",
        "mark read",
        "replied",
        "correspondence with",
        "emailed",
        "mailed",
        "messages",
        "newest",
        "subject line",
        "bcc",
        "by email",
        "by mail",
        "replying",
        "someone sent",
        "sent me",
        "write to",
        "confirmation",
        "inboxes",
        "label",
        "star",
        "starred",
        "trash",
    ),
    hosts=("gmail.googleapis.com",),
    auth="google",
    scopes=(READ, COMPOSE, MODIFY),
    per_second=10,
)

API = "https://gmail.googleapis.com/gmail/v1/users/me"
SHOWN = ["From", "To", "Subject", "Message-ID", "Reply-To"]
BODY = 3600

Limit: TypeAlias = Annotated[int, Meta(ge=1, le=15)]
Recipients: TypeAlias = Annotated[list[str], Meta(min_length=1, max_length=20)]


class Mail(TypedDict):
    """A message; `date` is ISO 8601 in the user's zone, `reply_to` "" where that is the sender."""

    id: str
    thread_id: str
    sender: str
    reply_to: str
    subject: str
    date: str
    unread: bool
    snippet: str


async def _call(
    ctx: ToolContext, scopes: tuple[str, ...], path: str, *, json: Any = None, **params: Any
) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {await ctx.access_token(*scopes)}"}
    method = "GET" if json is None else "POST"
    reply = await ctx.http.request(
        method, f"{API}{path}", params=params, json=json, headers=headers
    )
    body = reply.json()
    if not isinstance(body, dict) or not body:
        raise VendorUnavailable("Gmail sent no answer. Try again in a moment.")
    return body


def _header(message: dict[str, Any], name: str) -> str:
    rows = records(record(message.get("payload")).get("headers"))
    found = (row for row in rows if text(row.get("name")).lower() == name.lower())
    return " ".join(text(next(found, {}).get("value")).split())


def _mail(ctx: ToolContext, message: dict[str, Any]) -> Mail:
    sent = from_unix((number(message.get("internalDate")) or 0) / 1000)
    zone = ctx.local_now().tzinfo
    return Mail(
        id=text(message.get("id"))[:64],
        thread_id=text(message.get("threadId"))[:64],
        sender=shorten(_header(message, "From"), 100) or "unknown sender",
        reply_to=_elsewhere(message),
        subject=shorten(_header(message, "Subject"), 140) or "(no subject)",
        date=sent.astimezone(zone).isoformat(timespec="minutes") if sent else "",
        unread="UNREAD" in values(message.get("labelIds")),
        snippet=shorten(plain(message.get("snippet")), 160),
    )


def _elsewhere(message: dict[str, Any]) -> str:
    """Return where answers to a message go, where that is not to its sender."""
    to, sender = _header(message, "Reply-To"), _header(message, "From")
    same = email.utils.parseaddr(to)[1].lower() == email.utils.parseaddr(sender)[1].lower()
    return "" if same else shorten(to, 200)


async def _list(ctx: ToolContext, kind: str, query: str, limit: int) -> ToolResult:
    found = await _call(ctx, (READ,), "/messages", q=query, maxResults=limit)
    ids = [key for row in records(found.get("messages"))[:limit] if (key := text(row.get("id")))]
    if not ids and "resultSizeEstimate" not in found:
        raise VendorUnavailable("Gmail sent no answer. Try again in a moment.")
    fields = {"format": "metadata", "metadataHeaders": SHOWN}
    read = await asyncio.gather(
        *(_call(ctx, (READ,), f"/messages/{quote(key, safe='')}", **fields) for key in ids)
    )
    mails = [_mail(ctx, message) for message in read]
    told = "; ".join(
        f"{email.utils.parseaddr(mail['sender'])[0] or mail['sender']}: {mail['subject']}"
        for mail in mails[:4]
    )
    summary = f"{kind}: {told}." if mails else f"{kind}: no messages."
    return ToolResult(
        response_type="email_list",
        data={"query": query, "messages": mails},
        summary=shorten(summary, 480),
        sources=(_source(query),),
        untrusted=True,
    )


def _source(query: str = "", thread: str = "") -> Source:
    where = f"all/{thread}" if thread else f"search/{quote(query)}" if query else "inbox"
    return Source("Gmail", f"https://mail.google.com/mail/#{where}")


@tool(progress="Looking through your inbox…", timeout_s=20)
async def fetch_google_email_inbox(
    ctx: ToolContext, *, unread_only: bool = False, limit: Limit = 8
) -> ToolResult:
    """List the newest messages in the user's Gmail inbox.

    Args:
        unread_only: True to leave out what was read.
        limit: How many, 1 to 15.
    """
    query = "in:inbox is:unread" if unread_only else "in:inbox"
    return await _list(ctx, "Unread mail" if unread_only else "Inbox", query, limit)


@tool(progress="Searching your mail…", timeout_s=20)
async def search_google_mail(ctx: ToolContext, *, query: str, limit: Limit = 8) -> ToolResult:
    """Search the user's Gmail.

    Args:
        query: Words, or Gmail's operators, such as "invoice from:dana newer_than:30d is:unread".
        limit: How many, 1 to 15.
    """
    if not query.strip():
        raise InvalidInput("query must say what to look for.")
    wanted = _dated(query.strip(), ctx.local_now().tzinfo or dt.UTC)
    return await _list(ctx, f"Mail for {shorten(query.strip(), 80)}", wanted, limit)


def _dated(query: str, zone: dt.tzinfo) -> str:
    """Turn days into Unix seconds of the user's midnight; Gmail would take them as Pacific."""

    def seconds(match: re.Match[str]) -> str:
        try:
            day = dt.datetime(int(match[2]), int(match[3]), int(match[4]), tzinfo=zone)
        except ValueError:
            return match[0]
        return f"{match[1]}:{day.timestamp():.0f}"

    return re.sub(r"\b(after|before):(\d{4})[/-](\d{1,2})[/-](\d{1,2})\b", seconds, query)


@tool(progress="Searching your mail…", timeout_s=20)
async def search_google_mail_from_email(
    ctx: ToolContext, *, from_email: str, limit: Limit = 8
) -> ToolResult:
    """List the newest messages in the user's Gmail from one sender.

    Args:
        from_email: Address or name of the sender.
        limit: How many, 1 to 15.
    """
    sender = re.sub(r'[\s"(){}]+', " ", from_email).strip()
    if not sender:
        raise InvalidInput("from_email must be an address or a name.")
    return await _list(ctx, f"Mail from {sender}", f'from:"{sender}"', limit)


@tool(progress="Opening the conversation…")
async def read_google_email_thread(ctx: ToolContext, *, thread_id: str) -> ToolResult:
    """Read a Gmail conversation in full, oldest message first.

    Args:
        thread_id: The thread_id that a list or search of mail gives.
    """
    thread = await _call(ctx, (READ,), f"/threads/{_id(thread_id)}", format="full")
    messages = records(thread.get("messages"))
    if not messages:
        raise VendorUnavailable("Gmail sent no messages. Try again in a moment.")
    share = BODY // min(len(messages), 4)
    shown = [
        {
            **_mail(ctx, message),
            "to": shorten(_header(message, "To"), 120),
            "snippet": "",
            "text": shorten(_text(record(message.get("payload"))), share),
            "attachments": _attachments(record(message.get("payload")))[:5],
        }
        for message in messages[-4:]
    ]
    last = _mail(ctx, messages[-1])
    day = dt.datetime.fromisoformat(last["date"]).date() if last["date"] else None
    when = f" on {spoken_date(day)}" if day else ""
    said = shorten(" ".join(str(shown[-1]["text"]).split()), 240)
    return ToolResult(
        response_type="email_thread",
        data={"thread_id": thread_id, "message_count": len(messages), "messages": shown},
        summary=f"{last['subject']}: {last['sender']} wrote{when}: {said or 'nothing readable'}",
        sources=(_source(thread=thread_id),),
        untrusted=True,
    )


def _id(value: str) -> str:
    if not re.fullmatch(r"[\w-]{4,64}", value.strip()):
        raise InvalidInput("The id must be one that a list or search of mail gives.")
    return value.strip()


def _parts(part: dict[str, Any], depth: int = 0) -> list[dict[str, Any]]:
    inner = records(part.get("parts")) if depth < 8 else []
    return [part, *(leaf for child in inner for leaf in _parts(child, depth + 1))]


def _attachments(payload: dict[str, Any]) -> list[str]:
    return [name for part in _parts(payload) if (name := shorten(text(part.get("filename")), 80))]


def _text(payload: dict[str, Any]) -> str:
    """Return the plain text of a message, else its HTML without tags."""
    leaves = [part for part in _parts(payload) if not text(part.get("filename"))]
    for kind in ("text/plain", "text/html"):
        bodies = [_decoded(part) for part in leaves if text(part.get("mimeType")) == kind]
        if body := "\n".join(filter(None, bodies)):
            if kind == "text/html":
                body = re.sub(r"(?is)<(style|script|head)\b.*?</\1>", " ", body)
                body = plain(re.sub(r"(?i)<(br|/p|/div|/tr|/h\d)\b", " <", body))
            return re.sub(r"\s*\n\s*\n\s*", "\n\n", body.replace("\r", "")).strip()
    return ""


def _decoded(part: dict[str, Any]) -> str:
    data = text(record(part.get("body")).get("data"))
    charset = re.search(r"charset=\"?([\w-]+)", _header({"payload": part}, "Content-Type"), re.I)
    try:
        raw = base64.urlsafe_b64decode(data + "=" * (-len(data) % 4))
        return raw.decode(charset[1] if charset else "utf-8", errors="replace")
    except (ValueError, LookupError):
        return ""


def _compose(
    ctx: ToolContext, to: list[str], subject: str, body: str, *, cc: list[str], **more: str
) -> email.message.EmailMessage:
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    for field, people in (("To", to), ("Cc", cc)):
        if people:
            message[field] = ", ".join(_address(person) for person in people)
    message["Subject"] = " ".join(subject.split())
    # The same act has the same id, so that a repeated attempt finds the copy already sent.
    told = repr((ctx.uid, ctx.idempotency_key, to, cc, subject, body))
    act = hashlib.sha256(told.encode(errors="replace")).hexdigest()[:32]
    message["Message-ID"] = f"<{act}@mail.odai.invalid>"
    for name, value in more.items():
        message[name.replace("_", "-")] = value
    message.set_content(body)
    return message


def _address(value: str) -> str:
    people = email.utils.getaddresses([value])
    name, address = people[0] if len(people) == 1 else ("", "")
    form = r"[^@\s,;:<>\"]+@[^@\s,;:<>\"]+\.[^@\s,;:<>\"]+"
    if not address.isascii() or not re.fullmatch(form, address):
        raise InvalidInput("Every recipient must be an address such as dana@example.com.")
    return email.utils.formataddr((" ".join(name.split()), address))


def _raw(message: email.message.EmailMessage, thread: str) -> dict[str, Any]:
    raw = base64.urlsafe_b64encode(bytes(message)).decode()
    return {"raw": raw, **({"threadId": thread} if thread else {})}


async def _send(
    ctx: ToolContext, message: email.message.EmailMessage, thread: str = ""
) -> dict[str, Any]:
    """Send once: what an earlier attempt of the same act has sent is found instead."""
    if sent := await _sent(ctx, message):
        return sent
    try:
        return await _call(ctx, (COMPOSE,), "/messages/send", json=_raw(message, thread))
    except VendorUnavailable:
        if sent := await _sent(ctx, message):
            return sent
        raise


async def _sent(ctx: ToolContext, message: email.message.EmailMessage) -> dict[str, Any]:
    query = f"in:sent rfc822msgid:{message['Message-ID'].strip('<>')}"
    found = await _call(ctx, (READ,), "/messages", q=query, maxResults=1)
    return next(iter(records(found.get("messages"))), {})


def _done(
    kind: str, row: dict[str, Any], message: email.message.EmailMessage, verb: str
) -> ToolResult:
    thread = text(row.get("threadId"))
    return ToolResult(
        response_type=kind,
        data={
            "id": text(row.get("id")),
            "thread_id": thread,
            "to": str(message["To"]),
            "subject": str(message["Subject"]),
        },
        summary=shorten(f"{verb} to {message['To']}: {message['Subject'] or 'no subject'}.", 300),
        sources=(_source(thread=thread),),
    )


@tool(
    progress="Writing a draft…",
    asks="Save this draft in your Gmail without sending it?",
    risk="write",
)
async def create_google_email_draft(
    ctx: ToolContext,
    *,
    recipient_emails: Recipients,
    subject: str,
    body: str,
    cc_emails: list[str] | None = None,
) -> ToolResult:
    """Save a draft in the user's Gmail without sending it.

    Args:
        recipient_emails: Addresses of the recipients.
        subject: Subject line.
        body: The text, without quoting or signature markup.
        cc_emails: Addresses that get a copy; null for none.
    """
    message = _compose(ctx, recipient_emails, subject, body, cc=cc_emails or [])
    made = await _call(ctx, (COMPOSE,), "/drafts", json={"message": _raw(message, "")})
    return _done("email_draft", record(made.get("message")), message, "Draft saved")


@tool(
    progress="Sending your email…",
    asks="Send this email from your Gmail?",
    risk="external",
    timeout_s=30,
)
async def send_google_email(
    ctx: ToolContext,
    *,
    recipient_emails: Recipients,
    subject: str,
    body: str,
    cc_emails: list[str] | None = None,
) -> ToolResult:
    """Send an email from the user's Gmail.

    Args:
        recipient_emails: Addresses of the recipients.
        subject: Subject line.
        body: The text, without quoting or signature markup.
        cc_emails: Addresses that get a copy; null for none.
    """
    message = _compose(ctx, recipient_emails, subject, body, cc=cc_emails or [])
    return _done("email_sent", await _send(ctx, message), message, "Email sent")


@tool(progress="Replying…", asks="Send this reply from your Gmail?", risk="external", timeout_s=30)
async def reply_to_google_email(
    ctx: ToolContext, *, message_id: str, body: str, reply_all: bool = False
) -> ToolResult:
    """Reply to a message in the user's Gmail, within its conversation.

    Args:
        message_id: The id of the message to answer, from a list, search or thread.
        body: The text of the answer, without the quoted message.
        reply_all: True to answer everybody on the message.
    """
    fields = {"format": "metadata", "metadataHeaders": [*SHOWN, "Cc", "References"]}
    parent = await _call(ctx, (READ,), f"/messages/{_id(message_id)}", **fields)
    own = text((await _call(ctx, (READ,), "/profile")).get("emailAddress")).lower()
    sender = _header(parent, "Reply-To") or _header(parent, "From")
    if email.utils.parseaddr(sender)[1].lower() == own:  # one's own last word: answer its readers
        sender = _header(parent, "To")
    to, seen = _people(sender, {own}), {own}
    if not to:
        raise NotFound("That message has no sender to reply to.")
    seen |= {email.utils.parseaddr(person)[1].lower() for person in to}
    cc = _people(f"{_header(parent, 'To')}, {_header(parent, 'Cc')}", seen) if reply_all else []
    subject, parent_id = _header(parent, "Subject"), _header(parent, "Message-ID")
    threading = {}
    if parent_id:
        threading = {
            "In_Reply_To": parent_id,
            "References": f"{_header(parent, 'References')} {parent_id}".strip(),
        }
    if not re.match(r"(?i)re:", subject):
        subject = f"Re: {subject}"
    message = _compose(ctx, to, subject, body, cc=cc, **threading)
    sent = await _send(ctx, message, text(parent.get("threadId")))
    return _done("email_sent", sent, message, "Reply sent")


def _people(header: str, without: set[str]) -> list[str]:
    found: dict[str, str] = {}
    for name, address in email.utils.getaddresses([header]):
        if "@" in address and address.lower() not in without:
            found.setdefault(address.lower(), email.utils.formataddr((name, address)))
    return list(found.values())


LABELS = {
    "archive": ([], ["INBOX"]),
    "mark_read": ([], ["UNREAD"]),
    "mark_unread": (["UNREAD"], []),
    "star": (["STARRED"], []),
    "unstar": ([], ["STARRED"]),
    "move_to_inbox": (["INBOX"], []),
}
Change: TypeAlias = Literal[
    "archive", "mark_read", "mark_unread", "star", "unstar", "move_to_inbox"
]


@tool(progress="Tidying your inbox…", asks="Change these emails in your Gmail?", risk="write")
async def label_google_email(
    ctx: ToolContext,
    *,
    message_ids: Annotated[list[str], Meta(min_length=1, max_length=50)],
    change: Change,
) -> ToolResult:
    """Archive messages in the user's Gmail, or mark them read, unread or starred.

    Args:
        message_ids: Ids of the messages, from a list, search or thread.
        change: What to do with them.
    """
    add, remove = LABELS[change]
    ids = [_id(key) for key in message_ids]
    reply = await ctx.http.request(
        "POST",
        f"{API}/messages/batchModify",
        idempotent=True,
        json={"ids": ids, "addLabelIds": add, "removeLabelIds": remove},
        headers={"Authorization": f"Bearer {await ctx.access_token(MODIFY)}"},
    )
    if reply.body.strip():
        reply.json()  # nothing or JSON; whatever else answers is not Gmail
    count = "1 message" if len(ids) == 1 else f"{len(ids)} messages"
    return ToolResult(
        response_type="email_labels",
        data={"ids": ids, "change": change},
        summary=f"Done: {change.replace('_', ' ')} for {count}.",
        sources=(_source(),),
    )
