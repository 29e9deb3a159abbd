"""Events through Pub/Sub: https://cloud.google.com/pubsub/docs/reference/rest (2026-11).

`publish` is one call without the official client's batching thread: on Cloud Run a batch left
behind when the response ends may never be sent. `common.events.push` reads what arrives.
"""

from __future__ import annotations

import json

from common.errors import InvalidInput, Misconfigured, VendorRejected
from common.events import Event
from common.events.push import EVENT_ID, TOPIC
from common.google_rest import GoogleRefusal, GoogleRest, encode


class PubSubEvents:
    """`Events` over the topics of `project`."""

    def __init__(self, project: str, *, api: GoogleRest) -> None:
        self._project = project
        self._api = api

    async def publish(self, event: Event) -> None:
        """Publish; returns when Pub/Sub has the message. See `Events.publish`."""
        try:
            data = json.dumps(dict(event.data)).encode()
        except (TypeError, ValueError) as err:
            raise InvalidInput("An event's data must be JSON.") from err
        attributes = {**event.attributes, EVENT_ID: event.id, TOPIC: event.topic}
        body = {"messages": [{"data": encode(data), "attributes": attributes}]}
        path = f"/v1/projects/{self._project}/topics/{event.topic}:publish"
        try:
            await self._api.call("pubsub", "POST", path, body=body)
        except GoogleRefusal as err:
            if err.code == "NOT_FOUND":
                raise Misconfigured(
                    f"Topic {event.topic!r} does not exist: apply Terraform."
                ) from err
            raise VendorRejected(f"Pub/Sub refused the event: {err.code}.") from err

    async def close(self) -> None:
        """Close the connections: what `publish` accepted is Pub/Sub's."""
        await self._api.close()
