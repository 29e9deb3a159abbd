"""Slack as the user sees it, and posts that say exactly what was approved."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput, NotAllowed, NotFound

from ..conftest import Replay

SEARCH, FETCH, SEND = "search_slack_messages", "fetch_slack_messages", "send_slack_message"


def test_found_messages_are_readable(replay: Replay) -> None:
    """Slack's escapes are resolved, times are the user's, and each has a link."""
    outcome = replay(f"{SEARCH}__success")
    assert outcome.summary == (
        "ada on Sunday 22 November 2026: Launch is Friday (https://x.example) & @U0BOB1234 knows; "
        "someone on Sunday 22 November 2026: see design"
    )
    assert outcome.result and outcome.result.untrusted
    assert outcome.result.data["messages"][0]["time"] == "2026-11-22T10:00-05:00"
    assert outcome.result.data["messages"][0]["ts"] == "1795359600.123456"


def test_channels_of_every_page_are_listed(replay: Replay) -> None:
    """Lists come in pages; channels the user is not in are left out unless named."""
    assert replay("list_slack_channels__success").summary == "Slack channels: #alpha, #design."
    assert replay("list_slack_channels__empty").summary == "No such channel in Slack."


def test_authors_have_names(replay: Replay) -> None:
    """Ids become names; an app and a person who left do not break the list."""
    outcome = replay(f"{FETCH}__success")
    assert outcome.result
    authors = [message["author"] for message in outcome.result.data["messages"]]
    assert authors == ["Ada Example", "an app", "U0GONE123"]
    assert replay(f"{FETCH}__thread").summary.startswith("Ada Example on Sunday")


def test_a_closed_door_is_told(replay: Replay) -> None:
    """Not being in a channel and lacking a right are told apart from an outage."""
    assert isinstance(replay(f"{FETCH}__not_in_channel").error, NotFound)
    assert isinstance(replay(f"{SEND}__scope").error, NotAllowed)


def test_colleagues_are_found(replay: Replay) -> None:
    """Those who left are not offered; nobody is an answer."""
    assert replay("find_slack_user__success").summary == "On Slack: Ada Example, Design."
    for case in ("empty", "no_such_address"):
        assert replay(f"find_slack_user__{case}").summary.startswith("Slack knows nobody")


def test_a_post_is_plain_text(replay: Replay) -> None:
    """What was approved is posted as text: it cannot ring everybody's bell."""
    assert replay(f"{SEND}__success").summary == "The message is posted on Slack."
    assert replay(f"{SEND}__direct").ok


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        (SEND, {"channel_id": "#design", "message": "x"}),
        (SEND, {"channel_id": "C0DESIGN1", "message": " "}),
        (SEND, {"channel_id": "C0DESIGN1", "message": "x" * 4001}),
        (SEARCH, {"query": ""}),
        ("find_slack_user", {"name": "@"}),
    ],
)
def test_bad_input_is_sent_back(replay: Replay, tool: str, given: dict[str, Any]) -> None:
    """What names nobody calls nobody."""
    assert isinstance(replay.run(tool, given).error, InvalidInput)


def test_many_messages_stay_short(replay: Replay) -> None:
    """The longest list fits what the model may read."""
    row = {"ts": "1795359600.1", "text": 'é "quoted" ' * 900, "username": "ada"}
    body = {"ok": True, "messages": {"matches": [row] * 15}}
    outcome = replay.failing(SEARCH, {"query": "x", "limit": 15}, {"json": body})
    assert outcome.ok and len(outcome.for_model().encode()) <= 6 * 1024
