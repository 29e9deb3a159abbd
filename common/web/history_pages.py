"""A user's past chats, beyond the fifty that `GET /chats` lists.

GET /history?after=&limit=          {"chats": [{"id", "title", "updated_at"}], "after"}
GET /history/search?q=&after=       {"hits": [{"chat", "turn_id", "role", "excerpt"}], "after"}
GET /chats/{id}/export?format=json  the whole chat; `format=markdown` for reading
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

from flask import Request, Response, jsonify

from common.assistant.history import ChatLine, Said, markdown
from common.errors import InvalidInput
from common.identity import Identity
from common.web.edge import count_field
from common.web.own import OwnServices


def listed(request: Request, services: OwnServices, user: Identity) -> Response:
    """Return a page of chats, the latest first; `after` is "" on the last page."""
    limit = count_field(request.args, "limit", default=50, most=100)
    after = request.args.get("after", "")
    lines, more = services.loop.run(services.history.page(user.uid, after=after, limit=limit))
    return jsonify(chats=[_line(line) for line in lines], after=more)


def searched(request: Request, services: OwnServices, user: Identity) -> Response:
    """Return a page of finds. There may be further ones while `after` is not ""."""
    found = services.loop.run(
        services.history.search(
            user.uid, request.args.get("q", ""), after=request.args.get("after", "")
        )
    )
    hits = [
        {"chat": _line(hit.chat), "turn_id": hit.turn_id, "role": hit.role, "excerpt": hit.excerpt}
        for hit in found.hits
    ]
    return jsonify(hits=hits, after=found.after)


def exported(request: Request, services: OwnServices, user: Identity, chat_id: str) -> Response:
    """Return a chat as a file."""
    kind = request.args.get("format", "json")
    if kind not in ("json", "markdown"):
        raise InvalidInput("format is json or markdown.")
    title = services.loop.run(services.history.title(chat_id, user.uid))
    said = services.loop.run(_all(services.history.messages(chat_id, user.uid)), timeout=60.0)
    if kind == "markdown":
        return _file(markdown(title, said), "text/markdown", title, "md")
    messages = [_message(each) for each in said]
    whole = {"id": chat_id, "title": title, "messages": messages}
    return _file(json.dumps(whole, ensure_ascii=False, indent=1), "application/json", title, "json")


async def _all(said: AsyncIterator[Said]) -> list[Said]:
    return [each async for each in said]


def _message(said: Said) -> dict[str, Any]:
    message = {
        "turn_id": said.turn_id,
        "at": said.at.isoformat() if said.at else None,
        "role": said.role,
        "text": said.text,
    }
    return message | ({"tool": said.tool, "arguments": said.arguments} if said.tool else {})


def _file(text: str, kind: str, title: str, ending: str) -> Response:
    name = re.sub(r"[^A-Za-z0-9]+", "-", title).strip("-")[:60] or "chat"
    response = Response(text, mimetype=kind)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.{ending}"'
    return response


def _line(line: ChatLine) -> dict[str, Any]:
    return {"id": line.id, "title": line.title, "updated_at": line.updated_at.isoformat()}
