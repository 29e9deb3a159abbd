"""The worker function as it is deployed: functions-framework's own application, over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import functions_framework
import pytest
from flask.testing import FlaskClient

from common.bootstrap import Services
from common.identity import OidcCallers, SigningKeys, google_oidc_keys
from common.identity.development import LocalSigner
from common.store import Query
from common.tools import Asker
from run.local.functions import FOLDER
from tests.fakes import acts
from tests.fakes.acts import Effects
from tests.identity.conftest import Authority, Clock, KeyServer

Make = Callable[..., Services]


@pytest.fixture
def worker(services: Make, tmp_path: Path) -> Iterator[Services]:
    """Services of the function's process, with the connector `acts`."""
    made = services(ODAI_TEST_EFFECTS=str(tmp_path / "effects"))
    acts.install(made)
    before = Services._of_process
    made.adopt()
    yield made
    Services._of_process = before


@pytest.fixture
def client(worker: Services) -> FlaskClient:
    """A caller of the function."""
    source = str(FOLDER / "connector_worker" / "main.py")
    client: FlaskClient = functions_framework.create_app("connector_worker", source).test_client()
    return client


def job(services: Services, topic: str = "whales") -> str:
    """Start a job; return its id."""
    return services.loop.run(services.jobs.start(
        services.registry.tool("search_slowly"), f'{{"topic": "{topic}"}}', Asker("u1"),
        chat_id="c1", turn_id="t1", call_id=topic,
    ))  # fmt: skip


def post(client: FlaskClient, job_id: str, authorization: str | None) -> Any:
    """Deliver a task."""
    headers = {"Authorization": authorization} if authorization else {}
    return client.post("/", json={"job_id": job_id}, headers=headers)


def refusals(services: Services) -> list[tuple[str, str]]:
    """Return who was refused, from the audit trail."""
    rows = services.loop.run(services.store.query(Query("audit")))
    return [(row.data["what"], row.data["status"]) for row in rows]


def test_a_job_is_run_for_our_own_queue(
    worker: Services, client: FlaskClient, tmp_path: Path
) -> None:
    """A delivery runs the tool once; a second one is taken and does nothing."""
    job_id = job(worker)
    for _ in range(2):
        answer = post(client, job_id, worker.sign_call())
        assert (answer.status_code, answer.json) == (200, {"ok": True})
    assert Effects(tmp_path / "effects").of("search_slowly") == ["whales"]
    outcome = worker.loop.run(worker.jobs.finished(job_id)).outcome
    assert outcome and outcome.summary == "Found whales."
    assert refusals(worker) == []


@pytest.mark.parametrize(("topic", "status"), [("busy", 429), ("away", 503)])
def test_the_queue_is_told_to_come_back(
    worker: Services, client: FlaskClient, topic: str, status: int
) -> None:
    """A vendor that is busy or down sends the task back to its queue, with the vendor's pause."""
    answer = post(client, job(worker, topic), worker.sign_call())
    assert answer.status_code == status
    assert answer.headers.get("Retry-After") == ("7" if topic == "busy" else None)


def local(services: Services, purpose: str, ttl_s: int) -> str:
    """Return a token of this machine's own key, for any purpose and lifetime."""
    signer = LocalSigner(
        services.settings.data_dir, purpose=purpose, production=False, clock=services.clock
    )
    return "Bearer " + signer.sign({"sub": "u1"}, ttl_s=ttl_s)


@pytest.mark.parametrize("kind", ["missing", "forged", "expired", "another purpose", "no bearer"])
def test_nobody_else_runs_jobs(
    worker: Services, client: FlaskClient, tmp_path: Path, kind: str
) -> None:
    """Without our own queue's credentials: 401, a row in the audit trail, and nothing is run."""
    own = worker.sign_call()
    authorization = {
        "missing": None,
        "forged": own[:-4] + ("AAAA" if own[-4:] != "AAAA" else "BBBB"),
        "expired": local(worker, "callers", -3600),
        "another purpose": local(worker, "users", 300),
        "no bearer": own.removeprefix("Bearer "),
    }[kind]
    answer = post(client, job(worker), authorization)
    assert answer.status_code == 401
    assert answer.json["error"]["code"] == "not_authenticated"
    assert Effects(tmp_path / "effects").all == []
    assert [reason for _, reason in refusals(worker)] == ["not_authenticated"]


@pytest.fixture
def google(worker: Services) -> Authority:
    """Let the function recognise Google's own tokens, as deployed; this authority signs them."""
    clock = Clock()
    authority = Authority(clock)
    keys: Any = KeyServer(authority)
    worker.__dict__["callers"] = OidcCallers(
        audience="https://worker.example",
        emails=["tasks@demo-project.iam.gserviceaccount.com"],
        keys=SigningKeys(google_oidc_keys(keys), clock=clock),
        clock=clock,
    )
    return authority


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 200),
        ({"aud": "https://elsewhere.example"}, 403),
        ({"email": "somebody@demo-project.iam.gserviceaccount.com"}, 403),
        ({"email_verified": False}, 403),
        ({"iss": "https://evil.example"}, 401),
        ({"exp": 1}, 401),
    ],
)
def test_google_s_tokens_are_for_us_or_refused(
    worker: Services, client: FlaskClient, google: Authority, change: dict[str, Any], status: int
) -> None:
    """Another audience or account is a 403, a token that does not hold a 401, each with its row."""
    answer = post(client, job(worker), f"Bearer {google.oidc_token(**change)}")
    assert answer.status_code == status
    assert len(refusals(worker)) == (status != 200)


def test_a_token_signed_by_somebody_else_is_refused(
    worker: Services, client: FlaskClient, google: Authority
) -> None:
    """The right claims under another key are a 401."""
    forger = Authority(google.clock)
    forger.rotate("k1")
    assert post(client, job(worker), f"Bearer {forger.oidc_token()}").status_code == 401


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"{}", b'{"job_id": 7}', b'{"job_id": ""}', b'{"job_id": "%s"}']
)
def test_a_body_that_is_no_job_is_refused(
    worker: Services, client: FlaskClient, body: bytes
) -> None:
    """What is not a job's id is a 400 that says so."""
    if b"%s" in body:
        body %= b"x" * 65
    headers = {"Authorization": worker.sign_call(), "Content-Type": "application/json"}
    answer = client.post("/", data=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json and answer.json["error"]["code"] == "invalid_input"


def test_a_job_that_is_gone_is_no_retry_storm(worker: Services, client: FlaskClient) -> None:
    """A task for a deleted job, or with a wild id, is taken and ends."""
    assert post(client, "0" * 32, worker.sign_call()).status_code == 200
