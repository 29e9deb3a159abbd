"""What is remembered of a user, for a page of theirs.

GET    /memories         {"memories": [{"id", "text", "by", "created_at", "updated_at"}]}
POST   /memories         {"text"} → 201
PATCH  /memories/{id}    {"text"}
DELETE /memories/{id}    204
"""

from __future__ import annotations

from flask import Request, Response, jsonify

from common.assistant.memories import LONGEST, shown
from common.errors import NotFound
from common.identity import Identity
from common.web.edge import json_body, text_field
from common.web.own import OwnServices


def answer(
    request: Request, services: OwnServices, user: Identity, memory_id: str = ""
) -> Response:
    """Answer one request about all memories, or about that of `memory_id`."""
    run, memories = services.loop.run, services.memories
    match request.method, bool(memory_id):
        case "GET", False:
            return jsonify(memories=[shown(each) for each in run(memories.listed(user.uid))])
        case "POST", False:
            text = text_field(json_body(request), "text", longest=LONGEST)
            response = jsonify(shown(run(memories.add(user.uid, text, by="user"))))
            response.status_code = 201
            return response
        case "PATCH", True:
            text = text_field(json_body(request), "text", longest=LONGEST)
            return jsonify(shown(run(memories.change(user.uid, memory_id, text))))
        case "DELETE", True:
            run(memories.remove(user.uid, memory_id))
            return Response(status=204)
    raise NotFound("There is no such page.")
