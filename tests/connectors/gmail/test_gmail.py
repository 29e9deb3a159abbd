"""Mail read as text, sent once, and answered within its conversation."""

from __future__ import annotations

import base64
import email
import email.message
import email.policy
import json

import pytest

from common.errors import InvalidInput, VendorUnavailable

from ..conftest import HERE, Linked, Replay

SEND, REPLY = "send_google_email", "reply_to_google_email"


def written(replay: Replay) -> email.message.EmailMessage:
    """Return the mail of the last request that carried one."""
    body = next(json.loads(body) for body in reversed(replay.bodies) if b'"raw"' in body)
    raw = base64.urlsafe_b64decode(body.get("message", body)["raw"])
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, email.message.EmailMessage)
    return message


def test_the_inbox_is_told_by_sender_and_subject(replay: Replay) -> None:
    """Times are the user's; thin messages are listed; the text counts as a stranger's."""
    outcome = replay("fetch_google_email_inbox__success")
    assert outcome.summary == "Inbox: Ada Example: Lunch?; news@example.com: (no subject)."
    assert outcome.result and outcome.result.untrusted
    first, second = outcome.result.data["messages"]
    assert first["date"] == "2026-11-22T16:00+01:00"
    assert (first["unread"], second["unread"], first["snippet"]) == (True, False, "Hi & welcome")


def test_days_in_a_search_are_the_users(replay: Replay) -> None:
    """The day begins at midnight where the user is, not in California."""
    assert replay("search_google_mail__success").ok


def test_a_sender_cannot_widen_the_search(replay: Replay) -> None:
    """Operators within a sender's name stay part of the name."""
    assert replay("search_google_mail_from_email__success").ok


def test_a_conversation_is_read_as_text(replay: Replay) -> None:
    """Other charsets and HTML-only mail become plain text; attachments are named."""
    outcome = replay("read_google_email_thread__success")
    assert outcome.result and outcome.result.untrusted
    first, second = outcome.result.data["messages"]
    assert first["text"] == "Grüße, um eins?\n\nAda"
    assert first["attachments"] == ["menu.pdf"]
    assert second["text"] == "Yes & gladly. Bob"
    assert outcome.summary.endswith("wrote on Sunday 22 November 2026: Yes & gladly. Bob")


def test_reading_asks_for_reading_only(replay: Replay) -> None:
    """Who allowed reading but not sending can still read."""
    linked = Linked()
    case = json.loads((HERE / "gmail" / "search_google_mail__empty.json").read_text())
    replay.run("search_google_mail", case["arguments"], *case["exchanges"], accounts=linked)
    ((provider, (scope,)),) = linked.asked
    assert provider == "google"
    assert scope.endswith("gmail.readonly")


def test_mail_is_sent_as_written(replay: Replay) -> None:
    """Recipients, subject and text arrive; a line break in a subject cannot add a header."""
    outcome = replay(f"{SEND}__success")
    message = written(replay)
    assert message["To"] == "Dana Example <dana@example.com>"
    assert message["Cc"] == "bob@example.com"
    assert message["Bcc"] is None
    assert message.get_content().split() == ["Ten", "minutes.", "Sorry!"]
    assert outcome.summary.startswith("Email sent to Dana Example")


@pytest.mark.parametrize("case", ["sent_before", "answer_lost"])
def test_mail_is_never_sent_twice(replay: Replay, case: str) -> None:
    """What an earlier attempt has sent is found by its own Message-ID."""
    outcome = replay(f"{SEND}__{case}")
    assert outcome.result and outcome.result.data["id"] == "m1abc"


def test_the_same_act_has_the_same_id(replay: Replay) -> None:
    """A repeated attempt carries the Message-ID of the first."""
    ids = set()
    for _ in range(2):
        replay(f"{SEND}__success")
        ids.add(written(replay)["Message-ID"])
    replay(f"{SEND}__success", subject="Another")
    assert len(ids) == 1
    assert written(replay)["Message-ID"] not in ids


def test_a_reply_joins_its_conversation(replay: Replay) -> None:
    """Everybody is answered once, oneself is not, and the thread is kept together."""
    assert replay(f"{REPLY}__success").summary.startswith("Reply sent to Ada Example")
    message = written(replay)
    assert message["To"] == "Ada Example <ada@example.com>"
    assert message["Cc"] == "Carl <carl@example.com>, Eve <eve@example.com>"
    assert message["Subject"] == "Re: Lunch?"
    assert message["In-Reply-To"] == "<1900aa11bb22cc33@example.com>"
    assert message["References"] == "<0@example.com> <1900aa11bb22cc33@example.com>"
    assert json.loads(replay.bodies[-1])["threadId"] == "1900aa11bb22cc00"


def test_answering_oneself_goes_to_the_others(replay: Replay) -> None:
    """A reply to one's own last message is sent to whom that one was sent."""
    replay(f"{REPLY}__own_message")
    assert written(replay)["To"] == "carl@example.com"
    assert written(replay)["Subject"] == "RE: Lunch?"


def test_a_draft_is_not_sent(replay: Replay) -> None:
    """A draft is saved, and called one."""
    assert replay("create_google_email_draft__success").summary.startswith("Draft saved to Dana")
    assert written(replay)["To"] == "Dana Example <dana@example.com>"


@pytest.mark.parametrize("to", [["Dana"], ["dana@example.com, eve@example.com"], ["a@b"], []])
def test_a_name_is_no_address(replay: Replay, to: list[str]) -> None:
    """The model must look an address up; nothing is sent."""
    outcome = replay.run(SEND, {"recipient_emails": to, "subject": "x", "body": "y"})
    assert isinstance(outcome.error, InvalidInput)


def test_archiving_says_what_was_done(replay: Replay) -> None:
    """Gmail confirms with nothing; the user hears what happened."""
    assert replay("label_google_email__success").summary == "Done: archive for 2 messages."


def test_a_send_that_fails_says_so(replay: Replay) -> None:
    """An outage is told as one."""
    arguments = json.loads((HERE / "gmail" / f"{SEND}__success.json").read_text())["arguments"]
    outcome = replay.failing(SEND, arguments, {"status": 503, "json": {}})
    assert isinstance(outcome.error, VendorUnavailable)


def test_a_long_conversation_stays_short(replay: Replay) -> None:
    """However long the mail, what the model reads fits its budget."""
    case = json.loads((HERE / "gmail" / "read_google_email_thread__success.json").read_text())
    body = case["exchanges"][0]["response"]["json"]
    html = body["messages"][1]
    long = base64.urlsafe_b64encode(b'<p>word "quoted"' * 9000).decode()
    html["payload"]["body"]["data"] = long
    body["messages"] = [html] * 9
    outcome = replay.failing("read_google_email_thread", case["arguments"], {"json": body})
    assert outcome.ok and len(outcome.for_model().encode()) <= 6 * 1024
