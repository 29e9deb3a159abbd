"""What Pub/Sub pushes and Cloud Tasks deliver to functions: events, verified and acknowledged.

2xx ends a delivery, everything else repeats it until the dead-letter topic has it. So what can
never succeed (not ours, malformed) is refused loudly, and what came too late is taken quietly.
"""

from __future__ import annotations

from typing import Protocol

from flask import Request, Response

from common.assistant.analytics import Segment, check_fact
from common.assistant.titles import Titles
from common.errors import InvalidInput
from common.events import Event
from common.events.facts import TOPIC as ANALYTICS
from common.events.push import read_push
from common.log import get_logger
from common.tracing import operation
from common.web.edge import json_body
from common.web.endpoint import EndpointServices, acknowledge, check_platform

log = get_logger(__name__)

TURN_FINISHED = "turn.finished"


class TitleServices(EndpointServices, Protocol):
    """What naming chats needs of the composition root."""

    @property
    def titles(self) -> Titles: ...


class AnalyticsServices(EndpointServices, Protocol):
    """What forwarding analytics needs of the composition root."""

    @property
    def segment(self) -> Segment | None: ...


def title(request: Request, services: TitleServices) -> Response:
    """Name a chat after a finished turn: an event pushed, or its data as a task's body."""
    check_platform(request, services)
    body = json_body(request)
    # A task has nothing around the data; what Pub/Sub brings has, and says which topic it is of.
    data = _event(body, TURN_FINISHED).data if "message" in body else body
    with operation("title"):  # in the turn's own trace, which came with the event
        outcome = services.loop.run(services.titles.heard(data))
    log.info("chat looked at", extra={"outcome": outcome, "turn_id": data.get("turn_id")})
    return acknowledge(200)


def analytics(request: Request, services: AnalyticsServices) -> Response:
    """Forward a fact to Segment, where there is a key; otherwise take it and do nothing."""
    check_platform(request, services)
    fact = _event(json_body(request), ANALYTICS).data
    check_fact(fact)
    if services.segment:
        services.loop.run(services.segment.forward(fact))
    return acknowledge(200)


def _event(body: dict[str, object], topic: str) -> Event:
    event = read_push(body)
    if event.topic != topic:
        raise InvalidInput(f"This address takes events of {topic} only.")
    return event
