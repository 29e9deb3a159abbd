"""Asking for what no linked account gives: the answer says so and carries the button."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from common.assistant.manner import Manner
from common.assistant.protocol import Prompt
from common.bootstrap import Services
from common.oauth.flow import Profile, Tokens
from common.oauth.providers import PROVIDERS
from tests.assistant.conversation import Conversation, Event, check_turn, of, text_of
from tests.fakes.google import Google
from tests.fakes.openai_responses import Calls, FakeOpenAI, Text
from tests.fakes.plaid import FakePlaid

Make = Callable[..., Services]


@pytest.fixture
def everything() -> Iterator[dict[str, str]]:
    """Serve Google and Plaid; return the settings that reach both."""
    with Google() as google, FakePlaid() as plaid:
        hosts = f"{google.egress_map},{plaid.environ['ODAI_EGRESS_MAP']}"
        yield {**google.settings, **plaid.environ, "ODAI_EGRESS_MAP": hosts,
               "SLACK_CLIENT_ID": "x", "SLACK_CLIENT_SECRET": "x"}  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "kind", "name", "url"),
    [
        ("search my mail for invoice", "google_account_needed", "Google",
         "/auth/google/login?feature=mail"),
        ("what is on my calendar on Friday?", "google_account_needed", "Google",
         "/auth/google/login?feature=calendar"),
        ("search slack for the offsite", "account_needed", "Slack",
         "/oauth_google/login?provider=slack&feature=messages"),
        ("what are my bank balances?", "connect_plaid_account", "your bank", "/auth/plaid/login"),
    ],
)  # fmt: skip
def test_the_missing_account_is_offered(
    services: Make, everything: dict[str, str], asked: str, kind: str, name: str, url: str
) -> None:
    """The tool's output is a card with the page where linking begins, for what was asked."""
    talk = Conversation(services(**everything))
    [output] = of(talk.turn(asked), "tool_output")
    assert output["ok"] is False
    assert output["output"]["response_type"] == kind
    shown = output["output"]["response"]
    assert shown["url"] == url and shown["name"] == name
    said = "".join(event["response"] for event in of(talk.events, "llm_response"))
    assert "connected" in said and shown["message"] in said
    assert "http" not in said  # an address opens where nobody is signed in; the button is here


def test_by_text_the_address_is_told(services: Make, everything: dict[str, str]) -> None:
    """Where no button can be drawn, the answer says where to go."""
    made = services(**everything)
    talk = Conversation(made)
    sms = Manner("text")
    talk.do(lambda: made.turns.prompt(talk.room, Prompt("search my mail for invoice"), manner=sms))
    said = "".join(event["response"] for event in of(talk.settled(), "llm_response"))
    assert "/auth/google/login?feature=mail" in said


class _DeadSlack(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Say that the token is dead, as Slack does: with a status of success."""
        body = b'{"ok": false, "error": "token_revoked"}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def test_a_vendor_that_says_it_in_its_own_way_has_the_button_too(services: Make) -> None:
    """A token that Slack calls dead with status 200 is offered to be linked again."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _DeadSlack) as slack:
        threading.Thread(target=slack.serve_forever, daemon=True).start()
        made = services(
            SLACK_CLIENT_ID="x", SLACK_CLIENT_SECRET="x",
            ODAI_EGRESS_MAP=f"slack.com=http://127.0.0.1:{slack.server_port}",
        )  # fmt: skip
        scopes = made.registry.entries["slack"].connector.scopes
        tokens = Tokens(access="xoxp-old", scopes=PROVIDERS["slack"].scopes_for(["messages"]))
        assert set(scopes) <= set(tokens.scopes)
        made.loop.run(made.linked.link("u1", "slack", Profile("T1-U1", "Team"), tokens))
        [output] = of(Conversation(made).turn("search slack for the offsite"), "tool_output")
        slack.shutdown()
    assert output["output"]["response_type"] == "account_needed"
    assert output["output"]["response"]["url"].startswith("/oauth_google/login?provider=slack")


def test_what_is_not_set_up_is_not_tried(services: Make) -> None:
    """Without the operator's client there is nothing to link: the answer says what to set."""
    events = Conversation(services()).turn("send an email to bob@example.com saying hello")
    assert not of(events, "tool_output") and not of(events, "approval_required")
    assert "GOOGLE_CLIENT_ID" in text_of(events)


SEND = {
    "recipient_emails": ["bob@example.com"], "subject": "hello", "body": "hello",
}  # fmt: skip


def sent(services: Make, settings: dict[str, str]) -> tuple[list[Event], Any]:
    """Have a model send mail for somebody who linked their calendar only; return what is shown."""
    with FakeOpenAI(
        Calls([("transfer_to_gmail", {})]), Calls([("send_google_email", SEND)]), Text("I see.")
    ) as fake:
        made = services(OPENAI_BASE_URL=fake.base_url, OPENAI_API_KEY="k", **settings)
        scopes = PROVIDERS["google"].scopes_for(["calendar"])
        tokens = Tokens(access="t", refresh="r", scopes=scopes)
        made.loop.run(made.linked.link("u1", "google", Profile("g1", "Ada"), tokens))
        talk = Conversation(made)
        events = talk.turn("send an email to bob@example.com saying hello")
        [output] = of(events, "tool_output")
        check_turn(events)
        talk.leave()
    return events, output["output"]


def test_the_account_is_asked_for_before_the_yes(
    services: Make, everything: dict[str, str]
) -> None:
    """Who linked only a calendar is offered to allow mail, not to approve what would fail."""
    events, shown = sent(services, everything)
    assert not of(events, "approval_required")
    assert shown["response_type"] == "google_account_needed"
    assert shown["response"]["url"] == "/auth/google/login?feature=mail"


def test_what_is_not_set_up_is_not_offered_to_a_model(services: Make) -> None:
    """Without the operator's client a model cannot propose mail, and is told what to set."""
    with FakeOpenAI(Text("Mail is not set up.")) as fake:
        talk = Conversation(services(OPENAI_BASE_URL=fake.base_url, OPENAI_API_KEY="k"))
        talk.turn("send an email to bob@example.com saying hello")
        talk.leave()
        asked = fake.requests[0].body
    assert "send_google_email" not in str(asked["tools"])
    assert "transfer_to_gmail" not in str(asked["tools"])
    assert "GOOGLE_CLIENT_ID" in str(asked["instructions"])
