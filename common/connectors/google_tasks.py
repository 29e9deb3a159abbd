"""Google Tasks: the user's to-do lists: show, add, tick off, remove.

https://developers.google.com/workspace/tasks/reference/rest

Quirks seen in November 2026:
- `due` is a day: its time of day is always midnight UTC and means nothing.
- An empty list has no `items`; a title may be "". What was ticked off elsewhere is hidden.
- Removing a task that was assigned from a document removes it there too.
"""

from __future__ import annotations

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
    record,
    records,
    shorten,
    spoken_date,
    text,
)

CONNECTOR = Connector(
    name="Google Tasks",
    category="productivity",
    description="Shows and changes the user's to-do lists in Google Tasks.",
    examples=(
        "What's on my to-do list?",
        "Add buy milk to my Google Tasks for Wednesday.",
        "Mark the milk task as done.",
    ),
    keywords=(
        "task",
        "tasks",
        "to-do",
        "todo",
        "to do",
        "list",
        "lists",
        "checklist",
        "due",
        "done",
        "complete",
        "tick",
        "remind",
        "reminder",
        "chores",
        "google tasks",
        "tasks list",
        "errand",
        "errands",
        "overdue",
        "have to",
        "remember to",
        "check off",
        "cross off",
        "mark",
        "finish",
        "finished",
        "reminders",
        "to buy",
        "my list",
        "still have",
        "chore",
        "deadline",
        "shopping",
        "buy",
        "clean",
        "remember",
        "add it",
        "on my",
        "recurring",
        "put",
        "assignments",
        "to finish",
        "left",
        "laundry",
    ),
    hosts=("tasks.googleapis.com",),
    auth="google",
    scopes=("https://www.googleapis.com/auth/tasks",),
    per_second=5,
)

API = "https://tasks.googleapis.com/tasks/v1"
SOURCE = Source("Google Tasks", "https://tasks.google.com/")

Limit: TypeAlias = Annotated[int, Meta(ge=1, le=30)]


class Task(TypedDict):
    """A task; `due` is a day or ""."""

    id: str
    list_id: str
    title: str
    due: str
    notes: str
    done: bool


async def _call(
    ctx: ToolContext, method: str, path: str, *, json: Any = None, **params: Any
) -> dict[str, Any]:
    reply = await ctx.http.request(
        method,
        f"{API}{path}",
        params=params,
        json=json,
        expect=(404,),
        headers={"Authorization": f"Bearer {await ctx.access_token()}"},
    )
    if reply.status == 404:
        raise NotFound("Google Tasks has no such task or list. List them first.")
    if not reply.body and method == "DELETE":
        return {}
    body = reply.json()
    if not isinstance(body, dict) or not body:
        raise VendorUnavailable("Google Tasks sent no answer. Try again in a moment.")
    return body


def _id(value: str, field: str) -> str:
    if not re.fullmatch(r"[\w@-]{2,120}", value.strip()):
        raise InvalidInput(f"{field} must be an id from list_google_tasks.")
    return quote(value.strip(), safe="@")


def _task(row: dict[str, Any], list_id: str) -> Task:
    return Task(
        id=text(row.get("id"))[:120],
        list_id=list_id,
        title=shorten(text(row.get("title")), 120) or "(no title)",
        due=text(row.get("due"))[:10],
        notes=shorten(text(row.get("notes")), 120),
        done=row.get("status") == "completed",
    )


def _say(task: Task) -> str:
    day = instant(task["due"])
    return f"{task['title']}, due {spoken_date(day.date())}" if day else task["title"]


def _one(kind: str, task: Task, verb: str) -> ToolResult:
    return ToolResult(
        response_type=kind, data=task, summary=f"{verb}: {_say(task)}.", sources=(SOURCE,)
    )


@tool(progress="Checking your to-dos…")
async def list_google_tasks(
    ctx: ToolContext, *, list_id: str = "@default", include_done: bool = False, limit: Limit = 15
) -> ToolResult:
    """List the user's tasks in one list of Google Tasks, and the names of all lists.

    Args:
        list_id: Id of a list; "@default" for the user's main list.
        include_done: True to show finished tasks too.
        limit: How many, 1 to 30.
    """
    where = _id(list_id, "list_id")
    body = await _call(
        ctx,
        "GET",
        f"/lists/{where}/tasks",
        maxResults=100,
        showCompleted=include_done,
        showHidden=include_done,
    )
    if body.get("kind") != "tasks#tasks" and "items" not in body:
        raise VendorUnavailable("Google Tasks sent no answer. Try again in a moment.")
    lists = await _call(ctx, "GET", "/users/@me/lists", maxResults=20)
    tasks = [_task(row, list_id) for row in records(body.get("items"))]
    tasks.sort(key=lambda task: (task["done"], not task["due"], task["due"]))
    shown = fitting(tasks[:limit])
    told = "; ".join(_say(task) for task in shown[:5])
    return ToolResult(
        response_type="task_list",
        data={
            "tasks": shown,
            "total": len(tasks),
            "lists": [
                {"id": text(row.get("id"))[:120], "title": shorten(text(row.get("title")), 60)}
                for row in records(lists.get("items"))[:8]
            ],
        },
        summary=shorten(f"To do: {told}." if told else "There is nothing to do in that list.", 480),
        sources=(SOURCE,),
        untrusted=True,
    )


@tool(progress="Adding the task…", asks="Add this task to your Google Tasks?", risk="write")
async def create_google_task(
    ctx: ToolContext,
    *,
    title: str,
    due_date: str | None = None,
    notes: str | None = None,
    list_id: str = "@default",
) -> ToolResult:
    """Add a task to the user's Google Tasks.

    Args:
        title: What is to be done.
        due_date: Day by which, as 2026-11-25; null for none. Times of day are not kept.
        notes: Details; null for none.
        list_id: Id of a list; "@default" for the user's main list.
    """
    if not title.strip() or len(title) > 1024:
        raise InvalidInput("title must say what is to be done, in 1024 characters at most.")
    task = {"title": title.strip(), "notes": notes}
    if due_date:
        task["due"] = f"{calendar_date(due_date, 'due_date').isoformat()}T00:00:00.000Z"
    made = await _call(ctx, "POST", f"/lists/{_id(list_id, 'list_id')}/tasks", json=task)
    return _one("task_created", _task(task | made, list_id), "Added")


@tool(progress="Ticking it off…", asks="Mark this task in your Google Tasks as done?", risk="write")
async def complete_google_task(
    ctx: ToolContext, *, task_id: str, list_id: str = "@default"
) -> ToolResult:
    """Mark a task of the user's Google Tasks as done.

    Args:
        task_id: The id that list_google_tasks gives.
        list_id: Id of its list.
    """
    path = f"/lists/{_id(list_id, 'list_id')}/tasks/{_id(task_id, 'task_id')}"
    made = await _call(ctx, "PATCH", path, json={"status": "completed"})
    return _one("task_completed", _task(made, list_id), "Done")


@tool(
    progress="Removing the task…",
    asks="Delete this task from your Google Tasks for good?",
    risk="write",
)
async def delete_google_task(
    ctx: ToolContext, *, task_id: str, list_id: str = "@default"
) -> ToolResult:
    """Remove a task from the user's Google Tasks for good.

    Args:
        task_id: The id that list_google_tasks gives.
        list_id: Id of its list.
    """
    path = f"/lists/{_id(list_id, 'list_id')}/tasks/{_id(task_id, 'task_id')}"
    row = record(await _call(ctx, "GET", path))
    await _call(ctx, "DELETE", path)
    return _one("task_deleted", _task(row, list_id), "Removed")
