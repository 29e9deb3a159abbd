"""Who must be asked: the rules over risk, grants and where the text came from."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.assistant.authority import Trust, must_ask
from common.connectors import google_calendar
from common.errors import VendorUnavailable
from common.tools import Outcome, Source, ToolResult
from tests.fakes import acts

READ, WRITE, EXTERNAL, MONEY = acts.look_up, acts.save_note, acts.send_letter, acts.pay


def asked(tool: Any, trust: Trust, granted: tuple[str, ...] = (), **arguments: Any) -> bool:
    """Return whether the user is asked about this call."""
    return must_ask(tool, json.dumps(arguments), trust, granted=granted)


def found(*, untrusted: bool, url: str = "https://cited.example/a") -> Outcome:
    """Return what a tool found, with a source."""
    result = ToolResult(
        response_type="x", data={}, summary="", sources=(Source("s", url),), untrusted=untrusted
    )
    return Outcome(READ, 1, result=result)


@pytest.mark.parametrize("tainted", [False, True])
def test_money_and_messages_are_always_asked_about(tainted: bool) -> None:
    """No grant, and no clean conversation, lets money move or a letter go out by itself."""
    trust = Trust("pay 5 euros to Ada", tainted=tainted)
    assert asked(MONEY, trust, ("pay",), payee="Ada", amount=5)
    assert asked(EXTERNAL, trust, ("send_letter",), recipient="Ada", text="hi")


def test_a_grant_covers_writes_until_strangers_have_spoken() -> None:
    """A grant saves notes unasked, but not once a page could have dictated one."""
    trust = Trust("save a note")
    assert asked(WRITE, trust, text="x")
    assert not asked(WRITE, trust, ("save_note",), text="x")
    assert asked(WRITE, trust, ("pay", "book_slowly"), text="x")
    trust.note(found(untrusted=True))
    assert asked(WRITE, trust, ("save_note",), text="x")


def test_reading_is_free_while_nobody_else_has_spoken() -> None:
    """Before any stranger's text, the model may open what it thinks fit."""
    assert not asked(READ, Trust(""), topic="whales", url="https://anywhere.example/x")
    trust = Trust("")
    trust.note(found(untrusted=False))
    trust.note(Outcome(READ, 1, error=VendorUnavailable("down")))
    assert not trust.tainted


SAID = (
    "Look at https://good.example/page?id=7, (http://other.example) and bbc.co.uk! "
    "Is it <https://www.third.example/a/b/>?"
)


@pytest.mark.parametrize(
    "url",
    [
        "https://good.example/page?id=7",
        "http://other.example",
        "http://other.example/",
        "https://bbc.co.uk",
        "bbc.co.uk",
        "https://www.third.example/a/b/",
        "https://cited.example/a",
    ],
)
def test_what_the_user_named_or_a_tool_cited_may_be_opened(url: str) -> None:
    """A tainted run still opens the addresses the user typed and those that came as sources."""
    trust = Trust(SAID, tainted=True)
    trust.note(found(untrusted=True))
    assert not asked(READ, trust, topic="x", url=url)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/collect",
        "https://good.example/page?id=7&stolen=secret",
        "https://good.example/page",  # the user named another page
        "https://o.uk",  # the end of a name the user typed
        "https://good.example/page?id=7@evil.example",
        "//evil.example/collect",
        "evil.example/collect",
        "HTTPS://EVIL.EXAMPLE/",
        "https://cited.example/a?stolen=secret",
        "http://cited.example.evil.example/a",
    ],
)
def test_what_nobody_named_is_asked_about(url: str) -> None:
    """A tainted run may not choose an address by itself: it could carry the user's data out."""
    trust = Trust(SAID, tainted=True)
    trust.note(found(untrusted=True))
    assert asked(READ, trust, topic="x", url=url)
    assert asked(READ, trust, topic="x", filters={"places": [{"Home_URL": url}]})


def test_addresses_in_other_arguments_count_too() -> None:
    """An address hidden in a query, or in arguments that are no JSON, is an address."""
    trust = Trust("look around", tainted=True)
    assert asked(READ, trust, topic="see https://evil.example/?q=1 please")
    assert must_ask(READ, "https://evil.example {", trust, granted=())
    assert not asked(READ, trust, topic="whales and dolphins")
    assert not must_ask(READ, "", trust, granted=())


@pytest.mark.parametrize(
    "query",
    [
        "who has the number 4711 0815 2342",
        "+4915112345678",
        "is DE89370400440532013000 an account",
        "mail of ada@example.com",
        "W1tkbyAwXV0W1tkbyAwXV0x",
    ],
)
def test_what_looks_like_data_is_not_searched_for_unasked(query: str) -> None:
    """After strangers' text a number or code leaves in a search only if the user wrote it."""
    trust = Trust("look around", tainted=True)
    arguments = json.dumps({"topic": query})
    assert must_ask(READ, arguments, trust, granted=())
    assert not must_ask(READ, arguments, trust, granted=(), public=False)
    assert not must_ask(READ, arguments, Trust(f"what about {query}?", tainted=True), granted=())
    assert not must_ask(READ, arguments, Trust(""), granted=())


@pytest.mark.parametrize(
    "query",
    [
        "espresso machine repair Boston 2026",
        "concerts 2026-11-28 to 2026-11-30",
        "Messe 24.12.2026",
        "results 2025 2026",
        "flight UA123 delays",
        "9:30 to 17:00",
    ],
)
def test_words_are_searched_for_unasked(query: str) -> None:
    """What a mail is about may be looked up, years and short names of things included."""
    assert not asked(READ, Trust("look around", tainted=True), topic=query)


def test_an_invitation_is_a_message_to_others() -> None:
    """Who lets events be added unasked has not allowed that people are written to."""
    event = google_calendar.create_google_calendar_event
    granted = (event.name,)
    assert not asked(event, Trust(""), granted, title="Lunch", attendee_emails=None)
    assert asked(event, Trust(""), granted, title="Lunch", attendee_emails=["ada@example.com"])
