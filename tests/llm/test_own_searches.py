"""Looking through what is the user's own: which search the offline planner makes, and for what."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from common.llm.arguments import ToolSpec
from common.llm.planner import Planner
from common.tools import Registry

NOW = dt.datetime(2026, 11, 25, 10, 0, tzinfo=dt.UTC)
MAIL, INBOX = "search_google_mail", "fetch_google_email_inbox"


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover()


@pytest.mark.parametrize(
    ("text", "tool", "arguments"),
    [
        ("search my mail for invoice", MAIL, {"query": "invoice"}),
        ("Search my email for flight confirmation", MAIL, {"query": "flight confirmation"}),
        ("please search gmail for the invoice from the dentist", MAIL,
         {"query": "invoice from the dentist"}),
        ("find emails about the offsite", MAIL, {"query": "offsite"}),
        ("look in my inbox for messages about rent", MAIL, {"query": "rent"}),
        ("find the email from Ana about the budget", MAIL, {"query": "Ana budget"}),
        ("any emails about the dentist?", MAIL, {"query": "dentist"}),
        ("search my drive for the budget", "search_google_docs_by_name_or_content",
         {"query": "budget"}),
        ("search slack for the offsite", "search_slack_messages", {"query": "offsite"}),
        ("search my contacts for Dana", "search_google_contacts", {"name": "Dana"}),
        ("search mail from bob@example.com", "search_google_mail_from_email",
         {"from_email": "bob@example.com"}),
        # Nothing is named that could be looked for: the list is what is wanted.
        ("show my inbox", INBOX, {}),
        ("check my mail", INBOX, {}),
        ("do I have any new mail?", INBOX, {}),
        # The words of a search, and nothing of the user's own.
        ("look for sushi in Boston", "search_businesses_at_yelp",
         {"term": "sushi", "location": "Boston"}),
        ("check the weather for Boston", "get_current_weather_by_location",
         {"location": "Boston"}),
    ],
)  # fmt: skip
def test_what_is_said_is_what_is_looked_for(
    registry: Registry, text: str, tool: str, arguments: dict[str, Any]
) -> None:
    """A search of one's own mail, files or messages takes what follows "for" or "about"."""
    specs = [ToolSpec(t.name, t.description, t.parameters.schema) for t in registry.tools.values()]
    made = Planner(registry).plan([text], now=NOW, tools=specs)
    shown = [(c.tool, {k: v for k, v in c.arguments.items() if v is not None}) for c in made.calls]
    assert shown == [(tool, arguments)]
