"""Push requests as Google and others send them, and Pub/Sub's refusals."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from common.errors import InvalidInput, Misconfigured, VendorUnavailable
from common.events import Event
from common.events.pubsub import PubSubEvents
from common.events.push import read_push
from common.google_rest import GoogleRest


def pushed(**message: Any) -> dict[str, Any]:
    return {"message": message, "subscription": "projects/p/subscriptions/s"}


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("envelope", "event"),
    [
        (
            pushed(
                data=encoded('{"a": 1}'),
                attributes={"odai-topic": "t", "odai-event-id": "e", "kind": "x"},
                messageId="9",
            ),
            Event("t", "e", {"a": 1}, {"kind": "x"}),
        ),
        (pushed(data=encoded('{"a": 1}'), message_id="9"), Event("", "9", {"a": 1})),
        (pushed(attributes={"kind": "x"}, messageId="9"), Event("", "9", {}, {"kind": "x"})),
    ],
)
def test_pushes_are_read(envelope: dict[str, Any], event: Event) -> None:
    """Ours keep their own id; others' go by Pub/Sub's, in either spelling."""
    assert read_push(envelope) == event


@pytest.mark.parametrize(
    "envelope",
    [
        {},
        {"message": "text"},
        pushed(data="not base64!", messageId="1"),
        pushed(data=encoded("not json"), messageId="1"),
        pushed(data=encoded("[1]"), messageId="1"),
        pushed(data=encoded("{}")),
        pushed(data=7, messageId="1"),
    ],
)
def test_anything_else_is_refused(envelope: dict[str, Any]) -> None:
    """What is no event of ours is refused, so that it ends in the dead-letter topic."""
    with pytest.raises(InvalidInput):
        read_push(envelope)


def test_a_missing_topic_names_the_cure(pubsub_host: str) -> None:
    """A topic Terraform has not made yet is the operator's to mend."""

    async def main() -> None:
        events = PubSubEvents("test-none", api=GoogleRest(root=f"http://{pubsub_host}"))
        with pytest.raises(Misconfigured, match="Terraform"):
            await events.publish(Event("nowhere", "1", {}))
        await events.close()

    asyncio.run(main())


def test_an_outage_is_reported() -> None:
    """When Pub/Sub is out of reach the caller learns that nothing was published."""

    async def main() -> None:
        api = GoogleRest(root="http://127.0.0.1:1", backoff_s=0.001)
        events = PubSubEvents("p", api=api)
        with pytest.raises(VendorUnavailable):
            await events.publish(Event("t", "1", {}))
        await events.close()

    asyncio.run(main())
