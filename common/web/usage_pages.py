"""What a user spent: `GET /usage?days=30&timezone=`, their own days, and what they may spend."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from typing import Any

from flask import Request, Response, jsonify

from common.assistant.usage import LONGEST_DAYS, Day, dollars, total
from common.documents import time_zone
from common.identity import Identity
from common.web.edge import count_field
from common.web.own import OwnServices


def answer(request: Request, services: OwnServices, user: Identity) -> Response:
    """Return `{timezone, today, days, cost_usd, limits, …}`; money is text, in US dollars.

    `connector_names` tells for people what the slugs in the days' `tool_calls` are called.
    """
    run, usage = services.loop.run, services.usage
    named = request.args.get("timezone", "")
    zone = time_zone(named).key if named else run(usage.zone(user.uid))
    count = count_field(request.args, "days", default=30, most=LONGEST_DAYS)
    today = usage.today(zone)
    days = run(usage.days(user.uid, today - dt.timedelta(count - 1), today))
    caps, entries = services.budgets.caps, services.registry.entries
    called = sorted({slug for day in days for slug in day.tools if slug in entries})
    return jsonify(
        timezone=zone,
        today=today.isoformat(),
        days=[_shown(day) for day in days],
        cost_usd=str(total(days)),
        limits={
            "soft_usd": str(dollars(caps.soft)) if caps.soft else None,
            "hard_usd": str(dollars(caps.hard)) if caps.hard else None,
        },
        connector_names={slug: entries[slug].connector.name for slug in called},
    )


def _shown(day: Day) -> dict[str, Any]:
    return {
        "date": day.date.isoformat(),
        "turns": day.turns,
        "cost_usd": str(day.cost),
        "tokens": asdict(day.tokens),
        "tool_calls": dict(day.tools),
    }
