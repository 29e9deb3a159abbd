"""What clients read and change of a user's own: usage, memories, schedules, history."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from common.assistant.usage import Spent, Tokens
from common.bootstrap import Services
from run.chat_stream.app import create_app
from run.local.suite import create_suite
from tests.assistant.conversation import Conversation, text_of

Make = Callable[..., Services]


class Caller:
    """A client of the container, signed in as "ada" unless told otherwise."""

    def __init__(self, made: Services) -> None:
        self.made = made
        self.http: FlaskClient = create_app(made).test_client()

    def __call__(self, method: str, path: str, body: Any = None, *, uid: str | None = "ada") -> Any:
        assert self.made.development
        headers = {}
        if uid:
            headers["Authorization"] = f"Bearer {self.made.development.mint(uid)}"
        return self.http.open(path, method=method, json=body, headers=headers)


@pytest.fixture
def call(services: Make) -> Caller:
    return Caller(services())


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/usage"), ("GET", "/memories"), ("POST", "/memories"), ("PATCH", "/memories/M1"),
     ("GET", "/schedules"), ("POST", "/schedules"), ("DELETE", "/schedules/S1"),
     ("GET", "/audit"), ("GET", "/history"), ("GET", "/history/search?q=x"),
     ("GET", "/chats/c1/export"), ("POST", "/due")],
)  # fmt: skip
def test_nobody_is_answered_without_a_token(call: Caller, method: str, path: str) -> None:
    """Every page of one's own, and the queue's call, wants to know who asks."""
    assert call(method, path, {}, uid=None).status_code == 401


def test_a_users_token_does_not_wake_schedules(call: Caller) -> None:
    """The wake-up call is our queue's alone."""
    body = {"uid": "ada", "id": "S1", "n": 1, "made_at": 0}
    assert call("POST", "/due", body).status_code in (401, 403)
    headers = {"Authorization": call.made.sign_call()}
    answer = call.http.post("/due", json=body, headers=headers)
    assert answer.status_code == 200
    answer = call.http.post("/due", json={**body, "n": "1"}, headers=headers)
    assert answer.status_code == 400


def test_memories_are_kept_by_hand(call: Caller) -> None:
    """A page can show, add, change and remove what is remembered."""
    made = call("POST", "/memories", {"text": "The user likes tea."})
    assert made.status_code == 201 and made.json["by"] == "user"
    path = f"/memories/{made.json['id']}"
    assert call("PATCH", path, {"text": "The user likes coffee."}).json["text"].endswith("coffee.")
    [kept] = call("GET", "/memories").json["memories"]
    assert kept["text"] == "The user likes coffee."
    assert call("GET", "/memories", uid="bob").json["memories"] == []
    assert call("DELETE", path, uid="bob").status_code == 404
    assert call("DELETE", path).status_code == 204
    assert call("DELETE", path).status_code == 404
    for body in ({}, {"text": ""}, {"text": "x" * 401}, {"text": 5}):
        assert call("POST", "/memories", body).status_code == 400
    assert call("PATCH", "/memories/..%2Fx", {"text": "x"}).status_code == 404


def test_schedules_are_kept_by_hand(call: Caller) -> None:
    """A page can add a reminder, pause it, let it go on and delete it."""
    body = {"kind": "reminder", "text": "stretch", "time": "08:00", "every": "week",
            "days": [0, 4], "timezone": "Europe/Paris"}  # fmt: skip
    made = call("POST", "/schedules", body)
    assert made.status_code == 201
    assert made.json["when"] == "every Monday, Friday at 08:00"
    assert made.json["next_at"] and made.json["timezone"] == "Europe/Paris"
    path = f"/schedules/{made.json['id']}"
    paused = call("PATCH", path, {"status": "paused"}).json
    assert (paused["status"], paused["next_at"]) == ("paused", None)
    assert call("PATCH", path, {"status": "active"}).json["next_at"] == made.json["next_at"]
    assert call("PATCH", path, {"status": "active"}).status_code == 409
    assert call("PATCH", path, {"status": "paused"}, uid="bob").status_code == 404
    assert call("GET", "/schedules", uid="bob").json["schedules"] == []
    assert len(call("GET", "/schedules").json["schedules"]) == 1
    assert call("DELETE", path).status_code == 204
    assert call("GET", "/schedules").json["schedules"] == []


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "watch"}, {"time": "8"}, {"every": "fortnight"}, {"days": [7]}, {"days": "1"},
     {"text": ""}, {"timezone": "Mars/Base"}, {"date": "2020-01-01", "every": "once"},
     {"chat_id": "a b"}, {"sms": True}],
)  # fmt: skip
def test_a_schedule_that_makes_no_sense_is_refused(call: Caller, wrong: Any) -> None:
    """A client's slip is answered with what is wrong, and nothing is scheduled."""
    body = {"kind": "reminder", "text": "stretch", "time": "08:00", "every": "day", **wrong}
    answer = call("POST", "/schedules", body)
    assert answer.status_code in (400, 403) and answer.json["error"]["message"]
    assert call("GET", "/schedules").json["schedules"] == []


def test_usage_is_shown_by_day(call: Caller) -> None:
    """A page can show what each day cost and what is left."""
    made = call.made
    spent = Spent()
    spent.add("m", Tokens(1, 1200, 200, 300))
    spent.calls["open_meteo"] += 2
    hold = made.budgets.plan("ada", "UTC", "t1", 0)
    made.loop.run(made.budgets.settle(hold, spent))
    shown = call("GET", "/usage?days=7").json
    [day] = shown["days"]
    assert day["tokens"] == {
        "requests": 1, "input": 1200, "cached": 200, "output": 300,
        "audio_input": 0, "audio_output": 0,
    }  # fmt: skip
    assert day["tool_calls"] == {"open_meteo": 2} and day["turns"] == 1
    assert shown["connector_names"] == {"open_meteo": "Open-Meteo"}
    assert shown["cost_usd"] == day["cost_usd"] == "0"
    assert shown["limits"] == {"soft_usd": "5", "hard_usd": "10"}
    assert shown["today"] == dt.datetime.now(dt.UTC).date().isoformat() == day["date"]
    assert call("GET", "/usage", uid="bob").json["days"] == []
    for query in ("days=0", "days=x", "days=400", "timezone=Mars/Base"):
        assert call("GET", f"/usage?{query}").status_code == 400


def test_what_was_done_is_told_in_words(call: Caller) -> None:
    """Activity names the service and what was done, with the arguments to show; ids tell nobody."""
    made = call.made
    sent = '{"to":["dana@example.com"],"subject":"Lunch"}'
    for what, details in (
        ("send_google_email", sent), ("link google", "google:1080"),
        ("unlink account", "slack:T1.U2"), ("set_pin", ""), ("gone_tool", "{"),
    ):  # fmt: skip
        made.loop.run(made.audit.begin("ada", what, details=details))
    acts = {act["what"]: act for act in call("GET", "/audit").json["acts"]}
    mail = acts["send_google_email"]
    assert mail["title"] == "Send this email from your Gmail" and mail["details"] == sent
    assert (mail["connector"], mail["connector_name"]) == ("gmail", "Gmail")
    assert mail["arguments"] == {"to": ["dana@example.com"], "subject": "Lunch"}
    titles = {what: (act["title"], act["connector_name"]) for what, act in acts.items()}
    assert titles["link google"] == ("Connect Google", "Google")
    assert titles["unlink account"] == ("Disconnect Slack", "Slack")
    assert titles["set_pin"] == ("Set your PIN", "")
    assert titles["gone_tool"] == ("Gone tool", "")
    assert all(act["arguments"] is None for what, act in acts.items() if act is not mail)
    assert call("GET", "/audit", uid="bob").json["acts"] == []


def test_a_page_of_turns_begins_at_a_turn(call: Caller) -> None:
    """A place in a chat that cannot be one is said to be none, instead of showing its end."""
    talk = Conversation(call.made)  # as u1, in c1
    talk.turn("hello")
    talk.leave()
    [turn] = call("GET", "/chats/c1/turns", uid="u1").json["turns"]
    assert call("GET", f"/chats/c1/turns?before={turn['turn_id']}", uid="u1").json["turns"] == []
    refused = call("GET", "/chats/c1/turns?before=zzz", uid="u1")
    assert refused.status_code == 400 and "turn_id" in refused.json["error"]["message"]


def test_history_is_listed_searched_and_exported(call: Caller) -> None:
    """A page can list all chats, find a word in them and save one."""
    made = call.made
    talk = Conversation(made)  # as u1, in c1
    talk.turn("hello")
    talk.leave()
    [chat] = call("GET", "/history?limit=10", uid="u1").json["chats"]
    assert chat["id"] == "c1"
    found = call("GET", "/history/search?q=hello", uid="u1").json
    assert found["hits"][0]["chat"]["id"] == "c1" and found["after"] == ""
    assert call("GET", "/history/search?q=hello").json["hits"] == []
    whole = call("GET", "/chats/c1/export", uid="u1")
    assert whole.json["messages"][0]["text"] == "hello"
    assert "attachment" in whole.headers["Content-Disposition"]
    page = call("GET", "/chats/c1/export?format=markdown", uid="u1")
    assert page.mimetype == "text/markdown" and "**You:** hello" in page.text
    assert call("GET", "/chats/c1/export").status_code == 404
    assert call("GET", "/chats/c1/export?format=pdf", uid="u1").status_code == 400
    for path in ("/history?limit=0", "/history/search", "/history/search?q="):
        assert call("GET", path).status_code == 400


def test_a_reminder_arrives_by_the_real_queue(services: Make) -> None:
    """Whoever watches the chat sees the reminder at its minute, woken and told over HTTP."""
    made = services()
    ahead = dt.timedelta()
    made.clock = lambda: dt.datetime.now(dt.UTC) + ahead
    caller = Caller(made)
    create_suite(made)
    talk = Conversation(made)
    caller("GET", "/schedules", uid="u1")  # what the first request makes is made
    ahead = dt.timedelta(seconds=54 - dt.datetime.now(dt.UTC).second)  # shortly before the minute
    at = made.clock() + dt.timedelta(minutes=1)
    body = {"kind": "reminder", "text": "stretch", "time": f"{at:%H:%M}", "chat_id": "c1",
            "date": at.date().isoformat()}  # fmt: skip
    assert caller("POST", "/schedules", body, uid="u1").status_code == 201
    events = talk.until_type("end_of_stream")
    assert text_of(events) == "Reminder: stretch"
    [row] = caller("GET", "/schedules", uid="u1").json["schedules"]
    assert row["status"] == "done"
    talk.leave()
