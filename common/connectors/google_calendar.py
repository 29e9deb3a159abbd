"""Google Calendar: what is on, when one is free, and making, changing and removing events.

https://developers.google.com/workspace/calendar/api/v3/reference

Quirks seen in November 2026:
- `timeMin` bounds an event's end, `timeMax` its start. All-day events have dates, and their end is
  the day after. Titles may be missing. Birthdays and working places are events too: left out.
- Events are made with local time and zone: an offset alone breaks repeats when clocks change.
- Our own event id makes a repeated insert a 409, which is success; a removed event is a 410.
- Free/busy may put `errors` beside an empty list: that is not "free".
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from typing import Annotated, Any, TypeAlias, TypedDict
from urllib.parse import quote

from msgspec import Meta

from common.errors import InvalidInput, NotFound, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool
from common.tools.reading import (
    calendar_date,
    fitting,
    instant,
    plain,
    record,
    records,
    shorten,
    spoken_date,
    text,
)

_SCOPE = "https://www.googleapis.com/auth/calendar."
EVENTS, FREE_BUSY = f"{_SCOPE}events", f"{_SCOPE}freebusy"

CONNECTOR = Connector(
    name="Google Calendar",
    category="productivity",
    description="Shows, finds free time in, and changes the user's Google Calendar.",
    examples=(
        "What's on my calendar tomorrow?",
        "When am I free on Thursday afternoon?",
        "Schedule lunch with dana@example.com on Tuesday at noon.",
        "Cancel my 3 pm meeting.",
    ),
    keywords=(
        "calendar",
        "event",
        "events",
        "meeting",
        "meetings",
        "appointment",
        "appointments",
        "agenda",
        "schedule",
        "scheduled",
        "reschedule",
        "invite",
        "busy",
        "free",
        "availability",
        "lunch",
        "call",
        "cancel",
        "book",
        "gcal",
        "plans",
        "on for",
        "move",
        "postpone",
        "set up",
        "block",
        "my day",
        "my week",
        "slot",
        "session",
        "interview",
        "dentist",
        "doctor",
        "birthday",
        "reminder",
        "conference",
        "zoom",
        "meet",
        "invitation",
        "attendees",
        "upcoming",
        "dinner",
        "coffee",
        "got on",
        "have on",
        "catch-up",
        "free time",
        "next meeting",
        "am i",
        "standup",
        "date",
        "clear",
        "clash",
        "conflict",
        "double booked",
        "deadline",
        "anniversary",
        "vacation",
        "trip",
        "shift",
        "class",
        "lesson",
        "training",
        "workout",
        "gym",
        "practice",
        "evening",
        "afternoon",
        "morning",
        "noon",
        "booked",
        "hour",
        "minute",
        "remove",
        "tentative",
        "rsvp",
        "what have",
        "i free",
        "i busy",
        "set a",
    ),
    hosts=("www.googleapis.com",),
    auth="google",
    scopes=(EVENTS, FREE_BUSY),
    per_second=8,
)

API = "https://www.googleapis.com/calendar/v3"
PRIMARY = f"{API}/calendars/primary/events"
SOURCE = Source("Google Calendar", "https://calendar.google.com/")
HIDDEN = {"birthday", "workingLocation"}

Limit: TypeAlias = Annotated[int, Meta(ge=1, le=20)]
Guests: TypeAlias = Annotated[list[str], Meta(max_length=50)]


class Event(TypedDict):
    """An event; times have an offset, all-day events dates (`end` is their last day)."""

    id: str
    title: str
    start: str
    end: str
    all_day: bool
    location: str
    description: str
    attendees: list[str]
    video_url: str
    url: str


async def _call(
    ctx: ToolContext,
    method: str,
    url: str,
    *,
    scope: str = EVENTS,
    json: Any = None,
    expect: tuple[int, ...] = (),
    **params: Any,
) -> tuple[int, dict[str, Any]]:
    reply = await ctx.http.request(
        method,
        url,
        params=params,
        json=json,
        expect=expect,
        headers={"Authorization": f"Bearer {await ctx.access_token(scope)}"},
    )
    return reply.status, record(reply.json()) if reply.body else {}


def _at(ctx: ToolContext, value: str, field: str) -> dt.datetime | dt.date:
    """Return a moment in the user's zone, or a day where no time is given."""
    if re.fullmatch(r"\s*\d{4}-\d\d-\d\d\s*", value):
        return calendar_date(value, field)
    found, zone = instant(value), ctx.local_now().tzinfo
    if found is None:
        raise InvalidInput(f"{field} must be a time such as 2026-11-23T15:00, or a day.")
    return found.astimezone(zone) if found.tzinfo else found.replace(tzinfo=zone)


def _edge(moment: dt.datetime | dt.date, ctx: ToolContext) -> dict[str, str | None]:
    if isinstance(moment, dt.datetime):
        local = f"{moment:%Y-%m-%dT%H:%M:%S}"
        return {"dateTime": local, "timeZone": ctx.timezone, "date": None}
    return {"date": moment.isoformat(), "dateTime": None, "timeZone": None}


def _span(
    ctx: ToolContext, start: dt.datetime | dt.date, end: str | None, lasts: dt.timedelta | None
) -> dict[str, Any]:
    """Return the start and end of an event; without an end it `lasts` an hour, or the day."""
    whole = not isinstance(start, dt.datetime)
    until = _at(ctx, end, "end_time") if end else None
    if until is not None and isinstance(until, dt.datetime) == whole:
        raise InvalidInput("start_time and end_time must both be times, or both days.")
    if until is None:
        until = start + (lasts or dt.timedelta(days=1) if whole else lasts or dt.timedelta(hours=1))
    elif whole:
        until += dt.timedelta(1)  # Google's end is the day after the last
    if until <= start:
        raise InvalidInput("end_time must be after start_time.")
    return {"start": _edge(start, ctx), "end": _edge(until, ctx)}


def _event(ctx: ToolContext, row: dict[str, Any]) -> Event:
    zone = ctx.local_now().tzinfo

    def edge(value: object) -> str:
        moment = instant(record(value).get("dateTime"))
        if moment is None:
            return text(record(value).get("date"))
        return (moment.astimezone(zone) if moment.tzinfo else moment).isoformat(timespec="minutes")

    start, end = edge(row.get("start")), edge(row.get("end"))
    whole = bool(start) and "T" not in start
    if whole and (after := instant(end)):
        end = (after.date() - dt.timedelta(1)).isoformat()
    people = records(row.get("attendees"))
    entries = records(record(row.get("conferenceData")).get("entryPoints"))
    video = (text(item.get("uri")) for item in entries if item.get("entryPointType") == "video")
    return Event(
        id=text(row.get("id"))[:300],
        title=shorten(plain(row.get("summary")), 120) or "(no title)",
        start=start,
        end=end,
        all_day=whole,
        location=shorten(text(row.get("location")), 120),
        description=shorten(plain(row.get("description")), 160),
        attendees=[
            shorten(f"{text(person.get('email'))} ({text(person.get('responseStatus'))})", 80)
            for person in people
            if person.get("self") is not True
        ][:6],
        video_url=(text(row.get("hangoutLink")) or next(video, ""))[:200],
        url=shorten(text(row.get("htmlLink")), 200),
    )


def _when(event: Event) -> str:
    moment = instant(event["start"])
    if moment is None:
        return "at an unknown time"
    day = spoken_date(moment.date())
    return f"all day {day}" if event["all_day"] else f"{day} {moment:%-I:%M %p}"


def _one(kind: str, event: Event, verb: str) -> ToolResult:
    guests = len(event["attendees"])
    invited = f", with {guests} guest{'s' if guests > 1 else ''}" if guests else ""
    return ToolResult(
        response_type=kind,
        data=event,
        summary=f"{verb} {event['title']}, {_when(event)}{invited}.",
        sources=(Source(event["title"], event["url"]),) if event["url"] else (SOURCE,),
    )


@tool(progress="Checking your calendar…")
async def get_google_calendar_events(
    ctx: ToolContext,
    *,
    start_date: str | None = None,
    end_date: str | None = None,
    query: str | None = None,
    limit: Limit = 10,
) -> ToolResult:
    """List events in the user's Google Calendar, in their own time zone.

    Args:
        start_date: First day, as 2026-11-23; null for from now on.
        end_date: Last day; null for the day of start_date, or a week from now.
        query: Words that the event must hold; null for all events.
        limit: How many, 1 to 20.
    """
    now = ctx.local_now()
    first = calendar_date(start_date, "start_date") if start_date else None
    last = calendar_date(end_date, "end_date") if end_date else first
    if last is None:
        last = now.date() + dt.timedelta(365 if query else 7)
    begin = dt.datetime.combine(first, dt.time(), now.tzinfo) if first else now
    until = dt.datetime.combine(last + dt.timedelta(1), dt.time(), now.tzinfo)
    if until <= begin:
        raise InvalidInput("end_date must not be before start_date.")
    _, body = await _call(
        ctx,
        "GET",
        PRIMARY,
        timeMin=begin.isoformat(timespec="seconds"),
        singleEvents=True,
        timeMax=until.isoformat(timespec="seconds"),
        orderBy="startTime",
        maxResults=limit + 10,
        q=query,
        timeZone=ctx.timezone,
    )
    if not isinstance(body.get("items"), list):
        raise VendorUnavailable("Google Calendar sent no events. Try again in a moment.")
    rows = [
        row
        for row in records(body["items"])
        if row.get("status") != "cancelled" and text(row.get("eventType")) not in HIDDEN
    ]
    events = fitting([_event(ctx, row) for row in rows[:limit]])
    told = "; ".join(f"{event['title']}, {_when(event)}" for event in events[:4])
    days = spoken_date(begin.date())
    days += f" to {spoken_date(last)}" if last != begin.date() else ""
    about = f" about {query}" if query else ""
    return ToolResult(
        response_type="calendar_events",
        data={"time_zone": ctx.timezone, "events": events, "more": len(rows) > len(events)},
        summary=shorten(f"{told}." if told else f"Nothing{about} in the calendar, {days}.", 480),
        sources=(SOURCE,),
        untrusted=True,
    )


@tool(progress="Looking for a free slot…")
async def find_google_calendar_free_time(
    ctx: ToolContext,
    *,
    start_time: str,
    end_time: str,
    minutes: Annotated[int, Meta(ge=5, le=720)] = 30,
) -> ToolResult:
    """Find when the user is free in a stretch of time, by their Google Calendar.

    Args:
        start_time: Start of the stretch in the user's time, as 2026-11-23T09:00.
        end_time: End of the stretch, at most 31 days later.
        minutes: How long a slot must be at least.
    """
    begin, until = _at(ctx, start_time, "start_time"), _at(ctx, end_time, "end_time")
    if not isinstance(begin, dt.datetime) or not isinstance(until, dt.datetime):
        raise InvalidInput("start_time and end_time must be times such as 2026-11-23T09:00.")
    if not begin < until <= begin + dt.timedelta(31):
        raise InvalidInput("end_time must be after start_time, by 31 days at most.")
    _, body = await _call(
        ctx,
        "POST",
        f"{API}/freeBusy",
        scope=FREE_BUSY,
        json={
            "timeMin": begin.isoformat(),
            "timeMax": until.isoformat(),
            "items": [{"id": "primary"}],
        },
    )
    found = record(record(body.get("calendars")).get("primary"))
    if found.get("errors") or not isinstance(found.get("busy"), list):
        raise VendorUnavailable("Google Calendar did not tell when you are busy. Try again.")
    pairs = [(instant(row.get("start")), instant(row.get("end"))) for row in records(found["busy"])]
    busy = sorted((a, b) for a, b in pairs if a and b and a.tzinfo and b.tzinfo)
    free, at = [], begin
    for first, last in [*busy, (until, until)]:
        if min(first, until) - at >= dt.timedelta(minutes=minutes):
            free.append((at, min(first, until).astimezone(begin.tzinfo)))
        at = max(at, last.astimezone(begin.tzinfo))
    told = "; ".join(f"{spoken_date(a.date())} {a:%-I:%M %p} to {b:%-I:%M %p}" for a, b in free[:4])
    return ToolResult(
        response_type="free_time",
        data={
            "time_zone": ctx.timezone,
            "free": [
                {"start": a.isoformat(timespec="minutes"), "end": b.isoformat(timespec="minutes")}
                for a, b in free[:30]
            ],
        },
        summary=f"Free: {told}." if told else f"No {minutes} free minutes in that time.",
        sources=(SOURCE,),
    )


@tool(
    progress="Adding it to your calendar…",
    asks="Add this event to your Google Calendar?",
    risk="write",
    reaches=("attendee_emails",),
)
async def create_google_calendar_event(
    ctx: ToolContext,
    *,
    title: str,
    start_time: str,
    end_time: str | None = None,
    location: str | None = None,
    description: str | None = None,
    attendee_emails: Guests | None = None,
    video_call: bool = False,
) -> ToolResult:
    """Add an event to the user's Google Calendar. Guests get an invitation by mail.

    Args:
        title: What the event is called.
        start_time: Start in the user's time, as 2026-11-23T15:00; a bare day for all day.
        end_time: End; null for an hour later. For all day, the last day.
        location: Where; null for nowhere.
        description: Notes; null for none.
        attendee_emails: Addresses of guests to invite; null for none.
        video_call: True to add a Google Meet link.
    """
    if not title.strip():
        raise InvalidInput("title must say what the event is called.")
    guests = [_guest(address) for address in attendee_emails or []]
    body: dict[str, Any] = {
        "summary": title.strip(),
        "location": location,
        "description": description,
        **_span(ctx, _at(ctx, start_time, "start_time"), end_time, None),
        "attendees": [{"email": address} for address in guests],
    }
    told = repr((ctx.uid, ctx.idempotency_key, sorted(body.items(), key=str)))
    # Hexadecimal digits are within the alphabet Google allows for an id.
    body["id"] = hashlib.sha256(told.encode()).hexdigest()[:40]
    if video_call:
        request = {"requestId": body["id"], "conferenceSolutionKey": {"type": "hangoutsMeet"}}
        body["conferenceData"] = {"createRequest": request}
    status, made = await _call(
        ctx,
        "POST",
        PRIMARY,
        json=body,
        expect=(409,),
        sendUpdates="all" if guests else "none",
        conferenceDataVersion=1 if video_call else 0,
    )
    if status == 409:
        _, made = await _call(ctx, "GET", f"{PRIMARY}/{body['id']}")
    return _one("calendar_event_created", _event(ctx, body | made), "Added")


def _guest(address: str) -> str:
    if not re.fullmatch(r"[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>]+", address.strip()):
        raise InvalidInput("Every guest must be an address such as dana@example.com.")
    return address.strip()


async def _existing(ctx: ToolContext, event_id: str) -> tuple[str, dict[str, Any]]:
    """Return the address and content of an event; NotFound where it is gone."""
    url = f"{PRIMARY}/{quote(event_id.strip(), safe='')}"
    if not re.fullmatch(r"[\w@.-]{5,200}", event_id.strip()):
        raise InvalidInput("event_id must be an id from get_google_calendar_events.")
    status, row = await _call(ctx, "GET", url, expect=(404, 410), timeZone=ctx.timezone)
    if status != 200 or row.get("status") == "cancelled":
        raise NotFound("That event is not in the calendar any more.")
    if not text(row.get("id")):
        raise VendorUnavailable("Google Calendar sent no event. Try again in a moment.")
    return url, row


@tool(
    progress="Changing the event…",
    asks="Change this event in your Google Calendar, and tell any guests?",
    risk="write",
)
async def update_google_calendar_event(
    ctx: ToolContext,
    *,
    event_id: str,
    title: str | None = None,
    start_time: str | None = None,
    end_time: str | None = None,
    location: str | None = None,
    description: str | None = None,
) -> ToolResult:
    """Change an event in the user's Google Calendar. Guests are told by mail.

    Args:
        event_id: The id from get_google_calendar_events.
        title: New title; null to keep it.
        start_time: New start in the user's time, as 2026-11-23T15:00; null to keep it.
        end_time: New end; null to keep how long it takes.
        location: New place; null to keep it.
        description: New notes; null to keep them.
    """
    given = {"summary": title, "location": location, "description": description}
    change: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if not change and not start_time and not end_time:
        raise InvalidInput("Say what to change: title, time, place or description.")
    url, row = await _existing(ctx, event_id)
    if start_time or end_time:
        old = [
            record(row.get(edge)).get("dateTime") or text(record(row.get(edge)).get("date"))
            for edge in ("start", "end")
        ]
        begin, until = (_at(ctx, text(value), "the event's time") for value in old)
        start = _at(ctx, start_time, "start_time") if start_time else begin
        same = isinstance(start, dt.datetime) == isinstance(begin, dt.datetime)
        change |= _span(ctx, start, end_time, until - begin if same else None)
    guests = bool(records(row.get("attendees")))
    _, made = await _call(ctx, "PATCH", url, json=change, sendUpdates="all" if guests else "none")
    return _one("calendar_event_updated", _event(ctx, {**row, **change, **made}), "Changed")


@tool(
    progress="Removing the event…",
    asks="Delete this event from your Google Calendar, and tell any guests?",
    risk="write",
)
async def delete_google_calendar_event(ctx: ToolContext, *, event_id: str) -> ToolResult:
    """Remove an event from the user's Google Calendar. Guests are told by mail.

    Args:
        event_id: The id from get_google_calendar_events.
    """
    url, row = await _existing(ctx, event_id)
    guests = bool(records(row.get("attendees")))
    await _call(ctx, "DELETE", url, expect=(404, 410), sendUpdates="all" if guests else "none")
    return _one("calendar_event_deleted", _event(ctx, row), "Removed")
