"""Todoist: the user's tasks: show by its own filters, add, change, tick off, remove.

https://developer.todoist.com/api/v1/

Quirks seen in November 2026:
- v1 took the place of REST v2 and Sync v9. Lists are `{results, next_cursor}`.
- `priority` 4 is the most urgent, shown as p1. `due.date` is a day, a local time or a UTC time.
- Done and removed are answered with nothing (204); a repeated request id is taken once.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeAlias, TypedDict

from msgspec import Meta

from common.errors import InvalidInput, NotFound, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import (
    fitting,
    instant,
    integer,
    record,
    records,
    shorten,
    spoken_date,
    text,
    values,
)

CONNECTOR = Connector(
    name="Todoist",
    category="productivity",
    description="Shows and changes the user's tasks in Todoist.",
    examples=(
        "What's due today in Todoist?",
        "Add call the bank to my Todoist for tomorrow at 9.",
        "Tick off the laundry task.",
    ),
    keywords=words(
        "todoist, task, tasks, to-do, todo, to do, due, overdue, priority, done, complete, "
        "tick, remind, reminder, project, errand, chores, errands, checklist, list, remember "
        "to, check off, cross off, mark, finish, finished, reminders, my list, have to, p1, "
        "label, postpone, deadline, laundry, buy, clean, remember, add it, on my, recurring, "
        "inbox, put, assignments, to finish, to dos, todos, my todos, my tasks, task list, "
        "add task, chore list, remind myself, due today, groceries list, jot down"
    ),
    hosts=("api.todoist.com",),
    auth="oauth",
    provider="todoist",
    scopes=("data:read_write", "data:delete"),
    per_second=5,
)

API = "https://api.todoist.com/api/v1"
SOURCE = Source("Todoist", "https://app.todoist.com/app/today")

Limit: TypeAlias = Annotated[int, Meta(ge=1, le=30)]
Priority: TypeAlias = Annotated[int, Meta(ge=1, le=4)]


class Task(TypedDict):
    """A task; `due` is a day or a time in the user's zone; priority 1 is the most urgent."""

    id: str
    title: str
    due: str
    repeats: str
    priority: int
    labels: list[str]
    notes: str


async def _call(
    ctx: ToolContext, method: str, path: str, *, json: Any = None, **params: Any
) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {await ctx.access_token()}"}
    if method != "GET":
        headers["X-Request-Id"] = ctx.idempotency_key
    reply = await ctx.http.request(
        method, f"{API}{path}", params=params, json=json, headers=headers, expect=(400, 404)
    )
    if reply.status == 404:
        raise NotFound("Todoist has no such task. List the tasks first.")
    if reply.status == 400:
        raise InvalidInput("Todoist did not accept the request. Check the filter, date or id.")
    if not reply.body:
        return {}
    body = reply.json()
    if not isinstance(body, dict):
        raise VendorUnavailable("Todoist sent no answer. Try again in a moment.")
    return body


def _id(value: str) -> str:
    if not re.fullmatch(r"\w{4,40}", value.strip()):
        raise InvalidInput("task_id must be an id from list_todoist_tasks.")
    return value.strip()


def _due(ctx: ToolContext, value: object) -> str:
    found, raw = instant(value), text(value)
    if found is None or len(raw) <= 10:
        return raw[:10]
    zone = ctx.local_now().tzinfo
    local = found.astimezone(zone) if found.tzinfo else found.replace(tzinfo=zone)
    return local.isoformat(timespec="minutes")


def _task(ctx: ToolContext, row: dict[str, Any]) -> Task:
    due = record(row.get("due"))
    return Task(
        id=text(row.get("id"))[:40],
        title=shorten(text(row.get("content")), 120) or "(no title)",
        due=_due(ctx, due.get("date")),
        repeats=shorten(text(due.get("string")), 60) if due.get("is_recurring") is True else "",
        priority=5 - min(4, max(1, integer(row.get("priority")) or 1)),
        labels=[shorten(text(label), 30) for label in values(row.get("labels"))][:4],
        notes=shorten(text(row.get("description")), 100),
    )


def _say(task: Task) -> str:
    due = instant(task["due"])
    if due is None:
        return task["title"]
    clock = f" {due:%-I:%M %p}" if "T" in task["due"] else ""
    return f"{task['title']}, due {spoken_date(due.date())}{clock}"


def _one(kind: str, task: Task, verb: str) -> ToolResult:
    url = f"https://app.todoist.com/app/task/{task['id']}"
    return ToolResult(
        response_type=kind,
        data=task,
        summary=f"{verb}: {_say(task)}.",
        sources=(Source("Todoist", url),),
    )


@tool(progress="Checking your tasks…")
async def list_todoist_tasks(
    ctx: ToolContext, *, filter: str = "today | overdue", limit: Limit = 15
) -> ToolResult:
    """List tasks in the user's Todoist.

    Args:
        filter: Todoist's filter language: "today | overdue", "7 days", "#Work & p1",
            "search: bank", "no date", "all".
        limit: How many, 1 to 30.
    """
    body = await _call(ctx, "GET", "/tasks/filter", query=filter.strip() or "all", limit=100)
    if not isinstance(body.get("results"), list):
        raise VendorUnavailable("Todoist sent no tasks. Try again in a moment.")
    tasks = [_task(ctx, row) for row in records(body["results"])]
    tasks.sort(key=lambda task: (not task["due"], task["due"][:10], task["priority"]))
    shown = fitting(tasks[:limit])
    told = "; ".join(_say(task) for task in shown[:5])
    return ToolResult(
        response_type="task_list",
        data={
            "filter": filter,
            "tasks": shown,
            "total": len(tasks),
            "more": bool(body.get("next_cursor")) or len(tasks) > len(shown),
        },
        summary=shorten(f"To do: {told}." if told else f"No Todoist task for {filter}.", 480),
        sources=(SOURCE,),
        untrusted=True,
    )


def _change(
    title: str | None, due: str | None, notes: str | None, priority: int | None
) -> dict[str, Any]:
    given = {
        "content": title,
        "description": notes,
        "due_string": due,
        "priority": 5 - priority if priority else None,
    }
    return {name: value for name, value in given.items() if value is not None}


@tool(progress="Adding the task…", asks="Add this task to your Todoist?", risk="write")
async def create_todoist_task(
    ctx: ToolContext,
    *,
    title: str,
    due: str | None = None,
    notes: str | None = None,
    priority: Priority | None = None,
) -> ToolResult:
    """Add a task to the user's Todoist inbox.

    Args:
        title: What is to be done.
        due: When, as 2026-11-25, 2026-11-25 09:00 or "every Monday"; null for no date.
        notes: Details; null for none.
        priority: 1 (most urgent) to 4; null for none.
    """
    if not title.strip():
        raise InvalidInput("title must say what is to be done.")
    task = _change(title.strip(), due, notes, priority)
    made = await _call(ctx, "POST", "/tasks", json=task)
    return _one("task_created", _task(ctx, task | made), "Added")


@tool(progress="Changing the task…", asks="Change this task in your Todoist?", risk="write")
async def update_todoist_task(
    ctx: ToolContext,
    *,
    task_id: str,
    title: str | None = None,
    due: str | None = None,
    notes: str | None = None,
    priority: Priority | None = None,
) -> ToolResult:
    """Change a task in the user's Todoist: its title, date, notes or priority.

    Args:
        task_id: The id that list_todoist_tasks gives.
        title: New title; null to keep it.
        due: New date, as 2026-11-25 or "every Monday"; "no date" for none; null to keep it.
        notes: New details; null to keep them.
        priority: 1 (most urgent) to 4; null to keep it.
    """
    change = _change(title, due, notes, priority)
    if not change:
        raise InvalidInput("Say what to change: title, due, notes or priority.")
    made = await _call(ctx, "POST", f"/tasks/{_id(task_id)}", json=change)
    return _one("task_updated", _task(ctx, {"id": task_id.strip()} | change | made), "Changed")


@tool(progress="Ticking it off…", asks="Mark this task in your Todoist as done?", risk="write")
async def complete_todoist_task(ctx: ToolContext, *, task_id: str) -> ToolResult:
    """Mark a task of the user's Todoist as done; a repeating one moves to its next day.

    Args:
        task_id: The id that list_todoist_tasks gives.
    """
    key = _id(task_id)
    task = _task(ctx, await _call(ctx, "GET", f"/tasks/{key}"))
    await _call(ctx, "POST", f"/tasks/{key}/close")
    return _one("task_completed", task | {"id": key}, "Done")


@tool(
    progress="Removing the task…",
    asks="Delete this task from your Todoist for good?",
    risk="write",
)
async def delete_todoist_task(ctx: ToolContext, *, task_id: str) -> ToolResult:
    """Remove a task from the user's Todoist for good.

    Args:
        task_id: The id that list_todoist_tasks gives.
    """
    key = _id(task_id)
    task = _task(ctx, await _call(ctx, "GET", f"/tasks/{key}"))
    await _call(ctx, "DELETE", f"/tasks/{key}")
    return _one("task_deleted", task | {"id": key}, "Removed")
