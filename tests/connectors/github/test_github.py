"""Issues, pull requests and notifications of the user."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput, NotAllowed, NotFound, RateLimited

from ..conftest import Replay

LIST = "list_github_issues"


def test_issues_and_pull_requests_are_told_apart(replay: Replay) -> None:
    """One list holds both; a deleted author does not break it."""
    outcome = replay(f"{LIST}__success")
    assert outcome.summary == (
        "On GitHub: acme/website#12 Login page is blank; acme/website#13 Fix login."
    )
    assert outcome.result and outcome.result.untrusted
    kinds = [(row["kind"], row["author"]) for row in outcome.result.data["issues"]]
    assert kinds == [("issue", "ada"), ("pull request", "a deleted account")]


def test_a_repository_is_named_by_its_link(replay: Replay) -> None:
    """A copied address serves as a name, and no issue is an answer."""
    assert replay(f"{LIST}__empty").summary.startswith("No open issue")


@pytest.mark.parametrize(
    ("case", "error"), [("unknown", NotFound), ("limit", RateLimited), ("forbidden", NotAllowed)]
)
def test_refusals_are_told_apart(replay: Replay, case: str, error: type[Exception]) -> None:
    """One 403 is a limit and another a missing right; a 404 may mean not yours to see."""
    assert isinstance(replay(f"{LIST}__{case}").error, error)


def test_an_issue_is_read_with_its_latest_comments(replay: Replay) -> None:
    """The last page of comments is read, not the first."""
    outcome = replay("read_github_issue__success")
    assert outcome.result and outcome.result.untrusted
    assert outcome.result.data["latest_comments"][0]["text"] == "Same here."
    assert outcome.summary == ("acme/website#12 (open): Login page is blank, by ada, 7 comments.")


def test_notifications_say_why(replay: Replay) -> None:
    """The reason is said in words."""
    told = replay("list_github_notifications__success").summary
    assert told == "GitHub: acme/website: Fix login (review requested)."


def test_posts_are_confirmed_with_their_link(replay: Replay) -> None:
    """The user can follow what was written in their name."""
    outcome = replay("create_github_issue__success")
    assert outcome.summary == "Opened issue 14 in acme/website."
    assert outcome.result and outcome.result.sources[0].url.endswith("/issues/14")
    assert replay("comment_on_github_issue__success").ok


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        (LIST, {"repository": "website"}),
        (LIST, {"repository": "acme/.."}),
        (LIST, {"repository": "acme/website/../x"}),
        ("search_github_issues", {"query": " "}),
        ("create_github_issue", {"repository": "acme/website", "title": ""}),
        ("read_github_issue", {"repository": "acme/website", "number": 0}),
    ],
)
def test_bad_input_is_sent_back(replay: Replay, tool: str, given: dict[str, Any]) -> None:
    """What names no repository calls nobody."""
    assert isinstance(replay.run(tool, given).error, InvalidInput)


def test_long_lists_stay_short(replay: Replay) -> None:
    """The longest list fits what the model may read."""
    row = {
        "number": 1,
        "title": "é" * 900,
        "labels": [{"name": "l" * 90}] * 9,
        "html_url": "https://github.com/acme/website/issues/1",
    }
    outcome = replay.failing(LIST, {"limit": 20}, {"json": [row] * 30})
    assert outcome.ok and len(outcome.for_model().encode()) <= 6 * 1024
