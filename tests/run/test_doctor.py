"""`doctor --url`: a deployment examined from outside; and Google's side examined from inside."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from common.bootstrap import Services
from common.errors import NotAuthenticated
from common.google_rest import GoogleRefusal, encode
from run.local.cloud import facts
from run.local.cloud_checks import google_checks
from run.local.doctor import USER, certificate_finding, firebase_token
from run.local.ports import free_port
from tests.fakes.openai_responses import FakeOpenAI, HttpError, Text
from tests.run.serving import ROOT, Server, environment

Start = Callable[..., Server]


def doctor(url: str, data: Path, **settings: str) -> tuple[int, str]:
    """Ask as an operator does; return the exit code and what was printed."""
    done = subprocess.run(
        [sys.executable, "-m", "run.local", "doctor", "--url", url],
        cwd=ROOT, env=environment(data, **settings), capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def test_a_deployment_that_works_is_said_to(start: Start, tmp_path: Path) -> None:
    """The exit code is 0: address, clock, webhooks, closed doors, sign-in, and a real turn."""
    with FakeOpenAI(default=Text("Hello there.")) as fake:
        server = start(
            OPENAI_BASE_URL=fake.base_url, OPENAI_API_KEY="k", TWILIO_AUTH_TOKEN="t",
            TWILIO_ACCOUNT_SID="AC0", PLAID_CLIENT_ID="p", PLAID_SECRET="s",
        )  # fmt: skip
        code, said = doctor(server.base, tmp_path / "own")
    assert code == 0, said
    assert "✓ turn: done; first words after" in said
    assert "✓ /connector_worker: closed to strangers" in said
    assert "✓ Google's redirect" in said and "✓ clock" in said


def test_a_turn_that_fails_fails_the_check(start: Start, tmp_path: Path) -> None:
    """A model that refuses every call makes the exit code 1, and the turn is named."""
    with FakeOpenAI(default=HttpError(401, code="invalid_api_key", message="no")) as fake:
        server = start(OPENAI_BASE_URL=fake.base_url, OPENAI_API_KEY="k")
        code, said = doctor(server.base, tmp_path / "own")
    assert code == 1
    assert "✗ turn: failed" in said


def test_nobody_there_fails_the_check_at_once(tmp_path: Path) -> None:
    """Where nothing answers, that is all it says."""
    code, said = doctor(f"http://127.0.0.1:{free_port()}", tmp_path / "own")
    assert code == 1
    assert said.startswith("✗ address") and said.count("\n") == 1


@pytest.mark.parametrize(("days", "fine"), [(13, False), (15, True), (-1, False)])
def test_a_certificate_that_ends_soon_is_broken(days: int, fine: bool) -> None:
    """Two weeks before the end somebody still has time."""
    now = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
    finding = certificate_finding(now + dt.timedelta(days=days, hours=1), now)
    assert finding.fine is fine


class Google:
    """Google's APIs, as far as they are asked: `answers` by the end of a path."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Any]] = []

    async def call(self, service: str, method: str, path: str, *, body: Any = None) -> Any:
        self.asked.append((path, body))
        for end, answer in self.answers.items():
            if path.endswith(end):
                return answer
        raise GoogleRefusal("NOT_FOUND", "")


def test_the_doctor_signs_in_without_a_key() -> None:
    """A service account signs for the doctor's user, and Firebase's token is what comes back."""
    posted: list[Any] = []

    async def sign_in(request: web.Request) -> web.Response:
        posted.append((dict(request.query), await request.json()))
        return web.json_response({"idToken": "id-token"}, status=200 if len(posted) < 2 else 400)

    async def scene() -> None:
        app = web.Application()
        app.router.add_post("/v1/accounts:signInWithCustomToken", sign_in)
        runner = web.AppRunner(app)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        google = Google({":signJwt": {"signedJwt": "signed"}})
        async with aiohttp.ClientSession() as http:
            common = {"http": http, "identity": f"http://127.0.0.1:{port}"}
            token = await firebase_token("d@p.iam", "key", google=google, **common)  # type: ignore[arg-type]
            assert token == "id-token"
            with pytest.raises(NotAuthenticated, match="400"):
                await firebase_token("d@p.iam", "key", google=google, **common)  # type: ignore[arg-type]
            with pytest.raises(NotAuthenticated, match="NOT_FOUND"):
                await firebase_token("d@p.iam", "key", google=Google({}), **common)  # type: ignore[arg-type]
        await runner.cleanup()
        path, body = google.asked[0]
        assert path.endswith("/serviceAccounts/d@p.iam:signJwt")
        assert json.loads(body["payload"])["uid"] == USER

    asyncio.run(scene())
    assert posted[0] == ({"key": "key"}, {"token": "signed", "returnSecureToken": True})


def made() -> dict[str, Any]:
    """Return Google's answers where everything is as Terraform makes it."""
    wanted = facts()
    answers: dict[str, Any] = {
        f"/queues/{name}": {
            "state": "RUNNING",
            "rateLimits": {
                "maxDispatchesPerSecond": queue["per_second"],
                "maxConcurrentDispatches": queue["concurrency"],
            },
        }
        for name, queue in wanted["queues"].items()
    }
    answers |= {f"/topics/{name}": {} for name in wanted["topics"]}
    for name in (*wanted["connector_secrets"], *wanted["container_secrets"]):
        answers[f"/secrets/{name}/versions/latest:access"] = {"payload": {"data": encode(b" ")}}
    declared = json.loads((ROOT / "terraform" / "firestore.indexes.json").read_text())["indexes"]
    indexes = [_made_index(index) for index in declared]
    return {**answers, "/collectionGroups/-/indexes": {"indexes": indexes}}


def _made_index(index: dict[str, Any]) -> dict[str, Any]:
    group = index["collectionGroup"]
    name = f"projects/p/databases/(default)/collectionGroups/{group}/indexes/1"
    return {"name": name, "state": "READY", **index}


@pytest.mark.parametrize(
    ("end", "answer", "broken"),
    [
        ("", None, set()),
        ("/queues/follow-ups", {"state": "PAUSED"}, {"queue follow-ups"}),
        ("/queues/follow-ups", {"rateLimits": {}}, {"queue follow-ups"}),
        ("/topics/turn.finished", None, {"topic turn.finished"}),
        ("/secrets/YELP_API_KEY/versions/latest:access", None, {"secrets"}),
        ("/collectionGroups/-/indexes", {}, {"indexes"}),
    ],
)  # fmt: skip
def test_what_google_lacks_is_named(
    services: Callable[..., Services], end: str, answer: Any, broken: set[str]
) -> None:
    """A queue that is paused or slower, a topic, secret or index that is missing: each is found."""
    answers = made()
    if end:
        answers.pop(end)
    if answer is not None:
        answers[end] = answer
    app = services(GOOGLE_CLOUD_PROJECT="p")
    found = app.loop.run(google_checks(app, Google(answers)), timeout=30.0)  # type: ignore[arg-type]
    assert {finding.what for finding in found if finding.broken} == broken
