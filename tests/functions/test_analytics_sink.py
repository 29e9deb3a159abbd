"""The analytics sink as it is deployed, with a stand-in for Segment."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import functions_framework
import pytest
from aiohttp import web
from flask.testing import FlaskClient

from common.bootstrap import Services
from common.documents import now
from common.errors import VendorUnavailable
from common.events import Event
from common.events.facts import Analytics, PromptSubmitted
from common.events.push import pushed
from run.local.functions import FOLDER
from run.local.suite import create_suite
from tests.assistant.conversation import Conversation
from tests.fakes.served import Served

Make = Callable[..., Services]
MOST = 100


class FakeSegment(Served):
    """`POST /v1/batch`; `refusals` are statuses to answer before it accepts."""

    def __init__(self) -> None:
        self.batches: list[dict[str, Any]] = []
        self.authorization: set[str] = set()
        self.refusals: list[int] = []
        self.arrived = threading.Condition()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Return every message accepted."""
        return [message for batch in self.batches for message in batch["batch"]]

    def wait_for(self, count: int) -> None:
        """Wait until so many messages were accepted."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.messages) >= count, 50.0)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/batch", self._batch)
        return app

    async def _batch(self, request: web.Request) -> web.Response:
        assert request.host == "api.segment.io"
        body = await request.read()
        assert len(body) <= 500_000
        self.authorization.add(request.headers["Authorization"])
        if self.refusals:
            return web.json_response({"success": False}, status=self.refusals.pop(0))
        with self.arrived:
            self.batches.append(json.loads(body))
            self.arrived.notify_all()
        return web.json_response({"success": True})


@pytest.fixture
def segment() -> Iterator[FakeSegment]:
    """Serve Segment."""
    with FakeSegment() as fake:
        yield fake


@pytest.fixture
def process(services: Make, segment: FakeSegment) -> Iterator[Services]:
    """Services of the function's process, with a write key."""
    before = Services._of_process
    made = services(
        SEGMENT_WRITE_KEY="write-key", ODAI_EGRESS_MAP=f"api.segment.io={segment.origin}"
    )
    made.adopt()
    yield made
    Services._of_process = before


def client_of() -> FlaskClient:
    """Return a caller of the function in the process that was adopted last."""
    source = str(FOLDER / "analytics_sink" / "main.py")
    client: FlaskClient = functions_framework.create_app("analytics_sink", source).test_client()
    return client


def facts(count: int) -> list[Event]:
    """Return events as the code publishes them."""

    class Kept:
        def __init__(self) -> None:
            self.told: list[Event] = []

        async def publish(self, event: Event) -> None:
            self.told.append(event)

        async def close(self) -> None: ...

    async def make() -> list[Event]:
        port = Kept()
        analytics = Analytics(port, asyncio.get_running_loop(), clock=now)
        for number in range(count):
            analytics.emit(PromptSubmitted(number), uid="u1", chat_id="c1")
        await analytics.close()
        return port.told

    return asyncio.run(make())


def post(services: Services, event: Event | dict[str, Any]) -> int:
    """Deliver something; return the answer's status."""
    body = pushed(event) if isinstance(event, Event) else event
    headers = {"Authorization": services.sign_call()}
    return client_of().post("/", json=body, headers=headers).status_code


def test_a_fact_is_forwarded_without_anything_that_could_be_text(
    process: Services, segment: FakeSegment
) -> None:
    """Segment gets the event, its hashed user, time and figures, by a key in the header alone."""
    (event,) = facts(1)
    smuggled = Event(event.topic, event.id, {**event.data, "prompt": "my secret"})
    assert post(process, smuggled) == 200
    (message,) = segment.messages
    assert message == {
        "type": "track", "event": "Prompt Submitted", "userId": event.data["user"],
        "messageId": event.id, "timestamp": event.data["at"],
        "properties": {"chat": event.data["chat"], "characters": 0, "channel": "screen"},
    }  # fmt: skip
    assert segment.authorization == {"Basic " + base64.b64encode(b"write-key:").decode()}


def test_the_same_delivery_twice_has_one_message_id(
    process: Services, segment: FakeSegment
) -> None:
    """Pub/Sub delivers at least once; Segment counts by the id."""
    (event,) = facts(1)
    assert [post(process, event), post(process, event)] == [200, 200]
    assert {message["messageId"] for message in segment.messages} == {event.id}


def test_deliveries_of_one_moment_travel_together(process: Services, segment: FakeSegment) -> None:
    """Facts that arrive at once are few requests, none over Segment's limits; none is lost."""
    forwarder = process.segment
    assert forwarder
    events = facts(2 * MOST + 30)

    async def all_at_once() -> None:
        await asyncio.gather(*(forwarder.forward(event.data) for event in events))

    process.loop.run(all_at_once())
    assert {m["messageId"] for m in segment.messages} == {event.id for event in events}
    assert [len(batch["batch"]) for batch in segment.batches] == [MOST, MOST, 30]


@pytest.mark.parametrize("status", [500, 429])
def test_segment_is_asked_again(process: Services, segment: FakeSegment, status: int) -> None:
    """A failure that passes is retried within the delivery."""
    segment.refusals = [status]
    (event,) = facts(1)
    assert post(process, event) == 200
    assert len(segment.messages) == 1


@pytest.mark.parametrize(("status", "answer"), [(503, 503), (400, 502)])
def test_what_segment_does_not_take_is_not_acknowledged(
    process: Services, segment: FakeSegment, status: int, answer: int
) -> None:
    """It comes again later, or ends in the dead-letter topic: nothing is lost silently."""
    segment.refusals = [status] * 3
    (event,) = facts(1)
    assert post(process, event) == answer
    assert segment.messages == []


def test_one_failed_batch_fails_its_own_deliveries_alone(
    process: Services, segment: FakeSegment
) -> None:
    """Each delivery hears how its own batch went."""
    segment.refusals = [503] * 3
    first, second = facts(2)
    assert post(process, first) == 503
    assert post(process, second) == 200
    assert [message["messageId"] for message in segment.messages] == [second.id]


def test_whoever_gives_up_takes_nothing_from_the_others(
    process: Services, segment: FakeSegment
) -> None:
    """A delivery that is cut off leaves its batch to those who wait for it."""
    forwarder = process.segment
    assert forwarder
    first, second = facts(2)

    async def one_leaves() -> None:
        leaving = asyncio.create_task(forwarder.forward(first.data))
        await asyncio.sleep(0)
        staying = asyncio.create_task(forwarder.forward(second.data))
        await asyncio.sleep(0)
        leaving.cancel()
        await staying

    process.loop.run(one_leaves())
    assert {m["messageId"] for m in segment.messages} == {first.id, second.id}


def test_without_a_key_facts_are_taken_and_go_nowhere(services: Make, segment: FakeSegment) -> None:
    """No Segment: the sink acknowledges, so that nothing piles up."""
    before = Services._of_process
    made = services(ODAI_EGRESS_MAP=f"api.segment.io={segment.origin}")
    made.adopt()
    assert post(made, facts(1)[0]) == 200
    assert segment.messages == []
    Services._of_process = before


@pytest.mark.parametrize(
    "change",
    [{"event": "robbery"}, {"event": 3}, {"id": ""}, {"at": None}, {"event": "x" * 40_000}],
)
def test_what_is_no_fact_of_ours_is_refused(
    process: Services, segment: FakeSegment, change: dict[str, Any]
) -> None:
    """Something else on the topic is a 400, and Segment never sees it."""
    (event,) = facts(1)
    assert post(process, Event(event.topic, event.id, {**event.data, **change})) == 400
    assert post(process, Event("turn.finished", event.id, event.data)) == 400
    assert post(process, {"message": {}}) == 400
    assert segment.messages == []


def test_a_forged_push_is_refused(process: Services, segment: FakeSegment) -> None:
    """Nobody else feeds our figures."""
    (event,) = facts(1)
    for authorization in ({}, {"Authorization": "Bearer x"}):
        assert client_of().post("/", json=pushed(event), headers=authorization).status_code == 401
    assert segment.messages == []


def test_in_the_suite_a_turn_s_facts_reach_segment(process: Services, segment: FakeSegment) -> None:
    """On a laptop with a write key, what happens is forwarded as in the cloud."""
    create_suite(process)
    Conversation(process).turn("hello")
    segment.wait_for(3)
    assert {m["event"] for m in segment.messages} == {
        "Chat Created", "Prompt Submitted", "Response Sent"
    }  # fmt: skip


def test_many_deliveries_at_once_are_each_answered(process: Services, segment: FakeSegment) -> None:
    """The function's threads share one forwarder without losing or mixing anything."""
    events, app = facts(40), client_of().application

    def deliver(event: Event) -> int:
        headers = {"Authorization": process.sign_call()}
        return app.test_client().post("/", json=pushed(event), headers=headers).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(deliver, events)) == {200}
    assert {m["messageId"] for m in segment.messages} == {event.id for event in events}


def test_a_refusal_in_the_answer_is_one(process: Services, segment: FakeSegment) -> None:
    """Segment may say no with a 200."""
    segment.refusals = [200]
    forwarder = process.segment
    assert forwarder
    (event,) = facts(1)
    with pytest.raises(VendorUnavailable):
        process.loop.run(forwarder.forward(event.data))
