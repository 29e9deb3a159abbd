"""Cloud Tasks beyond the contract: who may be believed, outages, the wire."""

from __future__ import annotations

import grpc
import jwt
import pytest
from aiohttp import ClientSession
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcAsyncIOTransport

from common.errors import Misconfigured, VendorUnavailable
from common.tasks import Task
from tests.tasks.conftest import LOCATION, Against, Harness


def test_deliveries_are_signed(against_cloud: Against) -> None:
    """A function can tell that a delivery is ours: service account, audience, signature."""

    async def body(h: Harness) -> None:
        assert h.google
        await h.tasks.enqueue(Task("mail", "/worker", b"{}"))
        await h.settle()
        async with (
            ClientSession() as session,
            session.get(f"{h.google.url}/oauth2/v3/certs") as answer,
        ):
            (key,) = jwt.PyJWKSet.from_dict(await answer.json()).keys
        bearer = h.received[0].headers["authorization"].removeprefix("Bearer ")
        claims = jwt.decode(bearer, key, algorithms=["RS256"], audience="https://odai.example")
        assert claims["email"] == "tasks@p.iam.gserviceaccount.com"
        assert claims["iss"] == "https://accounts.google.com"

    against_cloud(body)


def test_an_outage_is_ridden_out_or_reported(against_cloud: Against) -> None:
    """A hiccup loses nothing; an outage is reported, and nothing was enqueued."""

    async def body(h: Harness) -> None:
        assert h.google
        h.google.fail_next(2)
        assert await h.tasks.enqueue(Task("mail", "/worker", b"{}", name="a"))
        h.google.fail_next(4)
        with pytest.raises(VendorUnavailable):
            await h.tasks.enqueue(Task("mail", "/worker", b"{}", name="b"))
        await h.settle()
        assert len(h.received) == 1

    against_cloud(body)


def test_a_missing_queue_names_the_cure(against_cloud: Against) -> None:
    """A queue Terraform has not made yet is the operator's to mend."""

    async def body(h: Harness) -> None:
        assert h.google
        h.google.tasks.queues.clear()
        with pytest.raises(Misconfigured, match="Terraform"):
            await h.tasks.enqueue(Task("mail", "/worker", b"{}"))

    against_cloud(body)


def test_the_official_client_reads_what_we_write(against_cloud: Against) -> None:
    """Google's own client finds the task, deadline and target as they were meant."""

    async def body(h: Harness) -> None:
        assert h.google
        await h.tasks.enqueue(Task("mail", "/worker", b"{}", name="t", deadline_s=30))
        channel = grpc.aio.insecure_channel(h.google.grpc_target)
        official = tasks_v2.CloudTasksAsyncClient(
            transport=CloudTasksGrpcAsyncIOTransport(channel=channel)
        )
        task = await official.get_task(name=f"{LOCATION}/queues/mail/tasks/t")
        assert task.dispatch_deadline.total_seconds() == 30
        assert task.http_request.url.endswith("/worker")
        assert task.http_request.http_method == tasks_v2.HttpMethod.POST
        assert task.http_request.headers["Content-Type"] == "application/json"
        await channel.close()

    against_cloud(body)
