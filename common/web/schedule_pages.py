"""What a user has happen later, for a page of theirs; and the wake-up call of our own queue.

GET    /schedules         {"schedules": [{"id", "kind", "status", "text", "when", "next_at", …}]}
POST   /schedules         {"kind": "reminder" | "briefing", "text", "time": "HH:MM", "every"?,
                           "date"?, "days"?, "sms"?, "timezone"?, "chat_id"?} → 201
PATCH  /schedules/{id}    {"status": "paused" | "active"}
DELETE /schedules/{id}    204
POST   /due               from the queue
"""

from __future__ import annotations

from typing import Any

from flask import Request, Response, jsonify

from common.assistant.protocol import check_chat_id
from common.assistant.schedules import LONGEST, Draft, Kind, Scheduled, shown
from common.assistant.scheduling import rule_of
from common.documents import time_zone
from common.errors import InvalidInput, NotFound
from common.identity import Identity
from common.tools import Asker
from common.tools.context import When
from common.web.edge import json_body, text_field
from common.web.endpoint import acknowledge, check_platform
from common.web.own import OwnServices


def answer(
    request: Request, services: OwnServices, user: Identity, schedule_id: str = ""
) -> Response:
    """Answer one request about all schedules, or about that of `schedule_id`."""
    run, schedules = services.loop.run, services.schedules
    match request.method, bool(schedule_id):
        case "GET", False:
            return jsonify(schedules=[shown(each) for each in run(schedules.listed(user.uid))])
        case "POST", False:
            response = jsonify(shown(_made(json_body(request), services, user)))
            response.status_code = 201
            return response
        case "PATCH", True:
            return jsonify(shown(_changed(json_body(request), services, user, schedule_id)))
        case "DELETE", True:
            run(schedules.remove(user.uid, schedule_id))
            return Response(status=204)
    raise NotFound("There is no such page.")


def due(request: Request, services: OwnServices) -> Response:
    """Wake a schedule: 2xx ends the task, anything else repeats it."""
    check_platform(request, services)
    body = json_body(request)
    uid, schedule_id = (text_field(body, name, longest=128) for name in ("uid", "id"))
    n, made_at = body.get("n"), body.get("made_at")
    # JSON's true is an int in Python.
    if type(n) is not int or isinstance(made_at, bool) or not isinstance(made_at, int | float):
        raise InvalidInput("n and made_at must be numbers.")
    done = services.loop.run(services.schedules.due(uid, schedule_id, n, made_at))
    return acknowledge(done.status, done.retry_after)


def _made(body: dict[str, Any], services: OwnServices, user: Identity) -> Scheduled:
    kind: Kind = "briefing" if body.get("kind") == "briefing" else "reminder"
    if body.get("kind") not in ("reminder", "briefing"):
        raise InvalidInput("kind is reminder or briefing; watches are made by asking.")
    days = body.get("days") or []
    if not isinstance(days, list) or not all(type(day) is int for day in days):
        raise InvalidInput("days is a list of 0 (Monday) to 6 (Sunday).")
    zone = str(body.get("timezone") or "") or services.loop.run(services.usage.zone(user.uid))
    when = When(
        every=str(body.get("every") or "once"), time=text_field(body, "time", longest=5),
        date=str(body.get("date") or ""), days=tuple(days), sms=body.get("sms") is True,
    )  # fmt: skip
    chat_id = check_chat_id(str(body["chat_id"])) if body.get("chat_id") else ""
    draft = Draft(
        kind, text_field(body, "text", longest=LONGEST),
        rule=rule_of(when, services.clock().astimezone(time_zone(zone))), sms=when.sms,
    )  # fmt: skip
    if chat_id:  # NotFound where it is another user's
        services.loop.run(services.chats.load(chat_id, user.uid))
    asker = Asker(user.uid, zone, chat_id=chat_id)
    return services.loop.run(services.schedules.create(asker, draft))


def _changed(
    body: dict[str, Any], services: OwnServices, user: Identity, schedule_id: str
) -> Scheduled:
    match body.get("status"):
        case "paused":
            return services.loop.run(services.schedules.pause(user.uid, schedule_id))
        case "active":
            return services.loop.run(services.schedules.resume(user.uid, schedule_id))
    raise InvalidInput("status is paused or active.")
