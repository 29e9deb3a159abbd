"""What was done in a user's name: `GET /audit?limit=100`, the latest first."""

from __future__ import annotations

from typing import Any

from flask import Request, Response, jsonify

from common.identity import Identity
from common.web.edge import count_field
from common.web.own import OwnServices

_MOST = 200


def answer(request: Request, services: OwnServices, user: Identity) -> Response:
    """Return `{acts: [{id, what, by, at, status, ended_at, details}]}`; times are ISO 8601."""
    limit = count_field(request.args, "limit", default=100, most=_MOST)
    acts = services.loop.run(services.audit.of(user.uid, limit=limit))
    return jsonify(acts=[_shown(act) for act in acts])


def _shown(act: dict[str, Any]) -> dict[str, Any]:
    times = {name: act[name].isoformat() if act[name] else None for name in ("at", "ended_at")}
    return act | times
