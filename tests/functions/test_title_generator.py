"""The title generator as it is deployed, and inside the suite: functions-framework, over HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import functions_framework
import pytest
from flask.testing import FlaskClient

from common.bootstrap import Services
from common.events import Event
from common.events.push import pushed
from common.identity import OidcCallers, SigningKeys, google_oidc_keys
from common.store import Query
from run.local.functions import FOLDER
from run.local.suite import create_suite
from tests.assistant.conversation import Conversation, of
from tests.fakes.openai_responses import FakeOpenAI, Text
from tests.identity.conftest import Authority, Clock, KeyServer

Make = Callable[..., Services]


def titled(body: dict[str, Any]) -> Any:
    """Answer what is asked aside."""
    form = (body.get("text") or {}).get("format", {}).get("name")
    filled = {
        "_Title": {"moved": True, "title": "Kumquats"},
        "_Thoughts": {"suggestions": [], "missing": "", "reason": ""},
    }
    return Text(json.dumps(filled[form])) if form else None


async def quiet(made: Services) -> None:
    """Wait until no ended turn is thought about, so that the model may go."""
    await made.closing.finish(timeout=50.0)


@pytest.fixture
def process(services: Make) -> Iterator[Services]:
    """Services of the function's process, with a chat whose first turn has ended."""
    before = Services._of_process
    with FakeOpenAI(default=Text("A fruit."), aside=titled) as fake:
        made = services(OPENAI_BASE_URL=fake.base_url, OPENAI_API_KEY="k", ODAI_SMALL_MODEL="small")
        made.adopt()
        yield made
        made.loop.run(quiet(made))
    Services._of_process = before


@pytest.fixture
def client(process: Services) -> FlaskClient:
    """A caller of the function."""
    source = str(FOLDER / "title_generator" / "main.py")
    client: FlaskClient = functions_framework.create_app("title_generator", source).test_client()
    return client


@pytest.fixture
def finished(process: Services) -> Event:
    """Have a prompt answered; return what was published about it."""
    talk = Conversation(process)
    (end,) = of(talk.turn("what is a kumquat?"), "end_of_stream")
    data = {"uid": "u1", "chat_id": "c1", "turn_id": end["turn_id"], "status": "done"}
    return Event("turn.finished", end["turn_id"], data)


def post(client: FlaskClient, body: Any, authorization: str | None) -> Any:
    """Deliver something."""
    headers = {"Authorization": authorization} if authorization else {}
    return client.post("/", json=body, headers=headers)


def title_of_chat(services: Services) -> str:
    """Return the chat's title as stored."""
    return services.loop.run(services.chats.load("c1", "u1")).title


def refusals(services: Services) -> list[tuple[str, str]]:
    """Return who was refused, from the audit trail."""
    rows = services.loop.run(services.store.query(Query("audit")))
    return [(row.data["what"], row.data["status"]) for row in rows]


def test_an_event_names_the_chat_however_often_it_comes(
    process: Services, client: FlaskClient, finished: Event
) -> None:
    """Each delivery is acknowledged; the title is given once."""
    for _ in range(3):
        assert post(client, pushed(finished), process.sign_call()).status_code == 200
    assert title_of_chat(process) == "Kumquats"


def test_a_task_names_the_chat_as_well(
    process: Services, client: FlaskClient, finished: Event
) -> None:
    """Cloud Tasks may bring the same data, with nothing around it."""
    answer = post(client, dict(finished.data), process.sign_call())
    assert (answer.status_code, answer.json) == (200, {"ok": True})
    assert title_of_chat(process) == "Kumquats"


def test_an_event_of_a_deleted_chat_is_taken(
    process: Services, client: FlaskClient, finished: Event
) -> None:
    """What comes too late is acknowledged, so that it does not come for ever."""
    process.loop.run(process.turns.forget(process.loop.run(process.chats.load("c1", "u1"))))
    assert post(client, pushed(finished), process.sign_call()).status_code == 200
    assert process.loop.run(process.store.get("chats/c1")) is None


def forged(body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a push with its message changed."""
    return {"message": {**body["message"], **changes}}


@pytest.mark.parametrize(
    "change",
    [
        {"data": "!!"}, {"data": base64.b64encode(b"[]").decode()}, {"data": None},
        {"attributes": {}}, {"attributes": {"odai-topic": "analytics", "odai-event-id": "1"}},
        {"data": base64.b64encode(b'{"uid": "u1"}').decode()},
    ],
)  # fmt: skip
def test_what_is_no_event_of_ours_is_refused(
    process: Services, client: FlaskClient, finished: Event, change: dict[str, Any]
) -> None:
    """Malformed, foreign or of another topic: a 400, until the dead-letter topic has it."""
    answer = post(client, forged(pushed(finished), **change), process.sign_call())
    assert answer.status_code == 400
    assert title_of_chat(process) == "Kumquat"  # the rule's own


@pytest.mark.parametrize("body", [{}, {"message": 3}, {"message": []}, [], {"subscription": "s"}])
def test_a_body_that_is_none_is_refused(process: Services, client: FlaskClient, body: Any) -> None:
    """Anything else is a 400 as well, never a crash."""
    assert post(client, body, process.sign_call()).status_code == 400


@pytest.mark.parametrize("authorization", [None, "Bearer x", "Bearer a.b.c"])
def test_a_forged_push_is_refused(
    process: Services, client: FlaskClient, finished: Event, authorization: str | None
) -> None:
    """Without our platform's own credentials: 401, an audit row, and no title."""
    assert post(client, pushed(finished), authorization).status_code == 401
    assert [reason for _, reason in refusals(process)] == ["not_authenticated"]
    assert title_of_chat(process) == "Kumquat"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 200),
        ({"aud": "https://elsewhere.example"}, 403),
        ({"email": "somebody@demo-project.iam.gserviceaccount.com"}, 403),
        ({"iss": "https://evil.example"}, 401),
        ({"exp": 1}, 401),
    ],
)
def test_pub_sub_proves_itself_by_google_s_token(
    process: Services, client: FlaskClient, finished: Event, change: dict[str, Any], status: int
) -> None:
    """As deployed: signed by Google, for this function, as our own service account."""
    clock = Clock()
    authority = Authority(clock)
    keys: Any = KeyServer(authority)
    process.__dict__["callers"] = OidcCallers(
        audience="https://worker.example",
        emails=["tasks@demo-project.iam.gserviceaccount.com"],
        keys=SigningKeys(google_oidc_keys(keys), clock=clock),
        clock=clock,
    )
    token = f"Bearer {authority.oidc_token(**change)}"
    assert post(client, pushed(finished), token).status_code == status
    assert title_of_chat(process) == ("Kumquats" if status == 200 else "Kumquat")


def test_in_the_suite_a_finished_turn_names_its_chat(process: Services) -> None:
    """On a laptop nothing has to be set up: the open window shows the new title by itself."""
    create_suite(process)
    talk = Conversation(process)
    talk.turn("what is a kumquat?")
    events = talk.until(lambda told: len(of(told, "title")) == 2)
    assert [each["title"] for each in of(events, "title")] == ["Kumquat", "Kumquats"]
