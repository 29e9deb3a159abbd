"""What Pub/Sub pushes, read back into an event: the subscribers' half of `common.events.pubsub`."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from common.errors import InvalidInput
from common.events import Event
from common.log import new_trace
from common.tracing import HEADER

EVENT_ID = "odai-event-id"
TOPIC = "odai-topic"


def pushed(event: Event) -> dict[str, Any]:
    """Return the body with which a push subscription would deliver `event`."""
    data = base64.b64encode(json.dumps(dict(event.data)).encode()).decode()
    attributes = {**event.attributes, EVENT_ID: event.id, TOPIC: event.topic}
    return {"message": {"data": data, "attributes": attributes, "messageId": event.id}}


def read_push(envelope: Mapping[str, Any]) -> Event:
    """Return the event in a push request's JSON body, or in a CloudEvent's data (the same shape).

    What the caller does from here on belongs to the trace that the event came from.

    Raises InvalidInput when it is none of ours; answer 4xx and let the dead-letter topic have it.
    """
    message = envelope.get("message")
    if not isinstance(message, Mapping):
        raise InvalidInput("This is not a Pub/Sub push.")
    given = message.get("attributes") or {}
    if not isinstance(given, Mapping):
        raise InvalidInput("This Pub/Sub message's attributes are no mapping.")
    attributes = {str(name): str(value) for name, value in given.items()}
    topic = attributes.pop(TOPIC, "")
    if caused_by := attributes.get(HEADER):
        new_trace(caused_by)
    # Both spellings occur; a message somebody else published has only Pub/Sub's own id.
    own_id = attributes.pop(EVENT_ID, "")
    event_id = own_id or message.get("messageId") or message.get("message_id") or ""
    try:
        data = json.loads(base64.b64decode(message.get("data") or "", validate=True) or b"{}")
    except (ValueError, TypeError, binascii.Error) as err:
        raise InvalidInput("This Pub/Sub message's data is not JSON.") from err
    if not isinstance(data, dict) or not event_id:
        raise InvalidInput("This Pub/Sub message is not an event of ours.")
    return Event(topic=str(topic), id=str(event_id), data=data, attributes=attributes)
