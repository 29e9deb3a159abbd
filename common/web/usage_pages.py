"""What a user spent: `GET /usage?days=30&timezone=`, their own days, and what they may spend."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flask import Request, Response, jsonify

from common.assistant.usage import LONGEST_DAYS, Day, dollars, total
from common.errors import InvalidInput
from common.identity import Identity
from common.web.own import OwnServices


def answer(request: Request, services: OwnServices, user: Identity) -> Response:
    """Return `{timezone, today, days, cost_usd, limits}`; money is text, in US dollars."""
    run, usage = services.loop.run, services.usage
    zone = _zone(request.args.get("timezone", "")) or run(usage.zone(user.uid))
    count = _count(request.args.get("days", "30"))
    today = usage.today(zone)
    days = run(usage.days(user.uid, today - dt.timedelta(count - 1), today))
    caps = services.budgets.caps
    return jsonify(
        timezone=zone,
        today=today.isoformat(),
        days=[_shown(day) for day in days],
        cost_usd=str(total(days)),
        limits={
            "soft_usd": str(dollars(caps.soft)) if caps.soft else None,
            "hard_usd": str(dollars(caps.hard)) if caps.hard else None,
        },
    )


def _shown(day: Day) -> dict[str, Any]:
    return {
        "date": day.date.isoformat(),
        "turns": day.turns,
        "cost_usd": str(day.cost),
        "tokens": asdict(day.tokens),
        "tool_calls": dict(day.tools),
    }


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= LONGEST_DAYS:
        raise InvalidInput(f"days must be 1 to {LONGEST_DAYS}.")
    return int(text)


def _zone(name: str) -> str:
    if not name:
        return ""
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError) as err:
        raise InvalidInput("timezone is an IANA name such as Europe/Paris.") from err
