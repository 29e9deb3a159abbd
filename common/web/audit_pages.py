"""What was done in a user's name: `GET /audit?limit=100`, the latest first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from flask import Request, Response, jsonify

from common.identity import Identity
from common.oauth.providers import PROVIDERS
from common.tools import Registry
from common.web.edge import count_field
from common.web.own import OwnServices

_MOST = 200
_LINKS = {"link": "Connect", "unlink": "Disconnect", "refresh": "Renew the link to"}
# What the pages of this product note, in words for whom it was done.
_TITLES = {
    "accept_terms": "Accept the terms",
    "call user": "Call you",
    "delete_account": "Delete your account",
    "export": "Export everything of yours",
    "link_bank": "Connect a bank",
    "request google access": "Ask for access to Google",
    "set_pin": "Set your PIN",
    "unlink account": "Disconnect an account",
    "unlink_bank": "Disconnect a bank",
    "verify_phone": "Verify your phone",
}


def answer(request: Request, services: OwnServices, user: Identity) -> Response:
    """Return `{acts: [{id, what, by, at, status, ended_at, details, title, …}]}`, times ISO 8601.

    `what` and `details` are as noted; `title`, `connector`, `connector_name` ("" where none) and
    `arguments` (null where none) say the same for people.
    """
    run = services.loop.run
    limit = count_field(request.args, "limit", default=100, most=_MOST)
    acts = run(services.audit.of(user.uid, limit=limit))
    labels = {account.id: account.label for account in run(services.linked.of(user.uid))}
    return jsonify(acts=[_shown(act, services.registry, labels) for act in acts])


def _shown(act: dict[str, Any], registry: Registry, labels: Mapping[str, str]) -> dict[str, Any]:
    times = {name: act[name].isoformat() if act[name] else None for name in ("at", "ended_at")}
    what, details = act["what"], act["details"]
    if what in registry.tools:
        tool = registry.tools[what]
        told = {
            "title": tool.asks.removesuffix("?") or what.replace("_", " ").capitalize(),
            "connector": tool.connector,
            "connector_name": registry.entry_of(tool).connector.name,
            "arguments": _given(details),
        }
    else:
        told = _of_ours(what, details, labels)
    return act | times | told


def _of_ours(what: str, details: str, labels: Mapping[str, str]) -> dict[str, Any]:
    verb, _, slug = what.partition(" ")
    slug = details.partition(":")[0] if what == "unlink account" else slug
    title = _TITLES.get(what, what.replace("_", " ").capitalize())
    provider = PROVIDERS.get(slug) if verb in _LINKS else None
    if provider:
        title = f"{_LINKS[verb]} {provider.name}"
    return {
        "title": title,
        "connector": slug if provider else "",
        "connector_name": provider.name if provider else "",
        # An account's id is the provider's and tells nobody anything.
        "arguments": {"account": labels[details]} if details in labels else None,
    }


def _given(details: str) -> dict[str, Any] | None:
    try:
        given = msgspec.json.decode(details)
    except msgspec.DecodeError:
        return None
    return given if isinstance(given, dict) else None
