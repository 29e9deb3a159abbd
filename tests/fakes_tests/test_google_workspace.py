"""The simulated services, through the connectors: what is written is there afterwards."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from common.bootstrap import Services
from common.tools import Asker
from tests.fakes.google import Google

Ask = Callable[..., Any]


@pytest.fixture
def google() -> Iterator[Google]:
    with Google() as served:
        yield served


@pytest.fixture
def ask(services: Callable[..., Services], google: Google) -> Ask:
    """Run a tool for a user who has linked everything; return its data."""
    made = services(**google.settings)

    async def link() -> None:
        begun = await made.links.begin("ada", provider="google")
        query = dict(parse_qsl(urlsplit(google.consent(begun.url)).query))
        ended = await made.links.finish(query, {begun.cookie.name: begun.cookie.value})
        assert not ended.missing

    made.loop.run(link())

    def run(tool: str, **arguments: Any) -> Any:
        key = f"k{len(google.asked)}"
        outcome = made.loop.run(made.runner.run(tool, arguments, Asker(uid="ada"), key=key))
        assert outcome.result, outcome.error
        return outcome.result.data

    return run


def test_mail_that_was_written_is_found(ask: Ask, google: Google) -> None:
    """Sent, answered, drafted and archived mail is where it belongs."""
    inbox = ask("fetch_google_email_inbox")["messages"]
    now = dt.datetime.now(dt.UTC)
    ages = [now - dt.datetime.fromisoformat(mail["date"]) for mail in inbox]
    assert ages == sorted(ages) and dt.timedelta(hours=2) < ages[0] < ages[1] < dt.timedelta(2)
    ask("send_google_email", recipient_emails=["bob@example.com"], subject="Plans", body="Noodles?")
    [sent] = ask("search_google_mail", query="plans")["messages"]
    assert sent["subject"] == "Plans" and len(google.sent) == 1
    lunch = ask("search_google_mail_from_email", from_email="bob@example.com")["messages"][0]
    ask("reply_to_google_email", message_id=lunch["id"], body="Yes!")
    assert len(ask("read_google_email_thread", thread_id=lunch["thread_id"])["messages"]) == 2
    ask("create_google_email_draft", recipient_emails=["a@example.com"], subject="Later", body="x")
    ask("label_google_email", message_ids=[lunch["id"]], change="archive")
    assert len(ask("fetch_google_email_inbox")["messages"]) == 1


def test_events_can_be_made_moved_and_removed(ask: Ask) -> None:
    """The calendar keeps what it is told."""
    today = dt.datetime.now(dt.UTC).date()
    [dentist] = ask("get_google_calendar_events", start_date=f"{today}")["events"]
    assert dentist["start"].startswith(f"{today}T10:30")  # a sensible hour
    day = f"{today + dt.timedelta(1)}"
    made = ask("create_google_calendar_event", title="Noodles", start_time=f"{day}T12:00")
    shown = ask("get_google_calendar_events", start_date=day)["events"]
    assert [event["title"] for event in shown] == ["Noodles", "Call with Bob"]
    ask("update_google_calendar_event", event_id=made["id"], title="Soup")
    ask("find_google_calendar_free_time", start_time=f"{day}T09:00", end_time=f"{day}T18:00")
    ask("delete_google_calendar_event", event_id=made["id"])
    assert len(ask("get_google_calendar_events", start_date=day)["events"]) == 1


def test_documents_and_tables_grow(ask: Ask) -> None:
    """Files are found by name or content, read, saved and added to."""
    [found] = ask("search_google_docs_by_name_or_content", query="noodles")["files"]
    assert "Noodles 100" in ask("read_google_doc", file_id=found["id"])["text"]
    made = ask("save_google_doc", title="Trip", content="# Boston\n\nTrains.")
    ask("append_to_google_doc", file_id=made["id"], content="Hotels.")
    text = ask("read_google_doc", file_id=made["id"])["text"]
    assert text.startswith("# Boston") and text.endswith("Hotels.")
    ask("append_google_sheet_rows", file_id="1sheetEXAMPLE", rows=[["2026-11-22", "Tea", "3"]])
    assert ask("read_google_sheet", file_id="1sheetEXAMPLE")["rows"][-1][1] == "Tea"


def test_people_and_tasks(ask: Ask) -> None:
    """Contacts are found by the beginning of a name; tasks are added, done and removed."""
    [bob] = ask("search_google_contacts", name="bob")["contacts"]
    assert bob["emails"]
    assert len(ask("search_google_other_contacts", name="mol")["contacts"]) == 1
    made = ask("create_google_task", title="Buy tea")
    ask("complete_google_task", task_id=made["id"])
    assert made["id"] not in str(ask("list_google_tasks"))
    ask("delete_google_task", task_id=made["id"])
