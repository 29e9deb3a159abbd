"""Asana: the user's tasks in their workspaces: show, add, comment, tick off.

https://developers.asana.com/reference/rest-api-reference

Quirks seen in November 2026:
- Bodies and answers are wrapped in `data`; a list holds only id and name unless fields are asked.
- One's own tasks are listed per workspace. Searching text is for paid plans (402).
- `due_on` is a day, `due_at` a UTC time, which then wins.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeAlias, TypedDict

from msgspec import Meta

from common.errors import InvalidInput, NotFound, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
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
    name="Asana",
    category="productivity",
    description="Shows, adds and completes the user's tasks in Asana.",
    examples=(
        "What are my Asana tasks this week?",
        "Create an Asana task to review the draft by Friday.",
        "Comment on the draft task that I'm done.",
    ),
    keywords=words(
        "asana, task, tasks, project, projects, assignee, assigned, due, deadline, workspace, "
        "team, comment, complete, done, milestone, to-do, todo, sprint, board, section, "
        "subtask, teammate, work, overdue, status, backlog, mark, assign, ticket, comments, "
        "finish, portfolio, deadlines, responsible, left, my work, assignments, initiative, "
        "owner, dependencies, status update, kanban, team assign, assign me, project tasks, "
        "project board, in asana, launch checklist, for review, tasks assigned, open tasks, "
        "work tasks"
    ),
    hosts=("app.asana.com",),
    auth="oauth",
    provider="asana",
    scopes=("tasks:read", "tasks:write", "projects:read", "workspaces:read", "stories:write"),
    per_second=2,
)

API = "https://app.asana.com/api/1.0"
FIELDS = "name,completed,due_on,due_at,notes,projects.name,permalink_url"

Limit: TypeAlias = Annotated[int, Meta(ge=1, le=25)]


class Task(TypedDict):
    """A task; `due` is a day or a time in the user's zone."""

    id: str
    title: str
    due: str
    done: bool
    projects: list[str]
    notes: str
    url: str


async def _call(
    ctx: ToolContext, method: str, path: str, *, data: Any = None, **params: Any
) -> Any:
    reply = await ctx.http.request(
        method,
        f"{API}{path}",
        params=params,
        json=None if data is None else {"data": data},
        headers={"Authorization": f"Bearer {await ctx.access_token()}"},
        expect=(400, 404),
    )
    if reply.status == 404:
        raise NotFound("Asana has no such task, or you may not see it. List the tasks first.")
    if reply.status == 400:
        raise InvalidInput("Asana did not accept the request. Check the ids and the date.")
    body = record(reply.json())
    if "data" not in body:
        raise VendorUnavailable("Asana sent no answer. Try again in a moment.")
    return body["data"]


async def _workspaces(ctx: ToolContext) -> list[dict[str, str]]:
    rows = records(await _call(ctx, "GET", "/workspaces", limit=20))
    return [
        {"id": text(row.get("gid")), "name": shorten(text(row.get("name")), 60)} for row in rows
    ]


def _id(value: str, field: str) -> str:
    if not re.fullmatch(r"\d{3,25}", value.strip()):
        raise InvalidInput(f"{field} must be an id from list_asana_tasks.")
    return value.strip()


def _task(ctx: ToolContext, row: dict[str, Any]) -> Task:
    moment, zone = instant(row.get("due_at")), ctx.local_now().tzinfo
    due = text(row.get("due_on"))
    if moment and moment.tzinfo:
        due = moment.astimezone(zone).isoformat(timespec="minutes")
    return Task(
        id=text(row.get("gid"))[:25],
        title=shorten(text(row.get("name")), 120) or "(no title)",
        due=due[:25],
        done=row.get("completed") is True,
        projects=[shorten(text(p.get("name")), 50) for p in records(row.get("projects"))][:3],
        notes=shorten(text(row.get("notes")), 120),
        url=text(row.get("permalink_url"))[:200],
    )


def _say(task: Task) -> str:
    due = instant(task["due"])
    return f"{task['title']}, due {spoken_date(due.date())}" if due else task["title"]


def _source(task: Task) -> tuple[Source, ...]:
    return (Source("Asana", task["url"] or "https://app.asana.com/"),)


@tool(progress="Checking your Asana tasks…", timeout_s=20)
async def list_asana_tasks(ctx: ToolContext, *, limit: Limit = 15) -> ToolResult:
    """List the open tasks assigned to the user in Asana, the soonest due first.

    Args:
        limit: How many, 1 to 25.
    """
    spaces = await _workspaces(ctx)
    rows: list[dict[str, Any]] = []
    for space in spaces[:3]:
        rows += records(
            await _call(
                ctx,
                "GET",
                "/tasks",
                assignee="me",
                workspace=space["id"],
                completed_since="now",
                limit=100,
                opt_fields=FIELDS,
            )
        )
    tasks = [task for row in rows if not (task := _task(ctx, row))["done"]]
    tasks.sort(key=lambda task: (not task["due"], task["due"]))
    shown = fitting(tasks[:limit])
    told = "; ".join(_say(task) for task in shown[:5])
    return ToolResult(
        response_type="task_list",
        data={"tasks": shown, "total": len(tasks), "workspaces": spaces[:5]},
        summary=shorten(f"In Asana: {told}." if told else "No open Asana task is yours.", 480),
        sources=tuple(source for task in shown[:5] for source in _source(task))
        or (Source("Asana", "https://app.asana.com/"),),
        untrusted=True,
    )


@tool(
    progress="Adding the task…",
    asks="Add this task in Asana, where colleagues may see it?",
    risk="write",
)
async def create_asana_task(
    ctx: ToolContext,
    *,
    title: str,
    due_date: str | None = None,
    notes: str | None = None,
    workspace_id: str | None = None,
) -> ToolResult:
    """Add a task assigned to the user in Asana. Colleagues in the workspace may see it.

    Args:
        title: What is to be done.
        due_date: Day by which, as 2026-12-01; null for none.
        notes: Details; null for none.
        workspace_id: Id of the workspace; null where the user has only one.
    """
    if not title.strip():
        raise InvalidInput("title must say what is to be done.")
    day = calendar_date(due_date, "due_date").isoformat() if due_date else None
    if workspace_id is None:
        spaces = await _workspaces(ctx)
        if len(spaces) != 1:
            names = ", ".join(f"{space['name']} ({space['id']})" for space in spaces[:6])
            raise InvalidInput(f"Which workspace? Give its id: {names or 'there is none'}.")
        workspace_id = spaces[0]["id"]
    task = {
        "name": title.strip(),
        "notes": notes or "",
        "due_on": day,
        "assignee": "me",
        "workspace": _id(workspace_id, "workspace_id"),
    }
    made = _task(
        ctx, task | record(await _call(ctx, "POST", "/tasks", data=task, opt_fields=FIELDS))
    )
    return ToolResult(
        response_type="task_created",
        data=made,
        summary=f"Added: {_say(made)}.",
        sources=_source(made),
    )


@tool(progress="Ticking it off…", asks="Mark this task in Asana as done?", risk="write")
async def complete_asana_task(ctx: ToolContext, *, task_id: str) -> ToolResult:
    """Mark a task in the user's Asana as done.

    Args:
        task_id: The id that list_asana_tasks gives.
    """
    path = f"/tasks/{_id(task_id, 'task_id')}"
    made = _task(
        ctx, record(await _call(ctx, "PUT", path, data={"completed": True}, opt_fields=FIELDS))
    )
    return ToolResult(
        response_type="task_completed",
        data=made,
        summary=f"Done: {made['title']}.",
        sources=_source(made),
    )


@tool(
    progress="Commenting on the task…",
    asks="Post this comment on the task in Asana?",
    risk="external",
)
async def comment_on_asana_task(ctx: ToolContext, *, task_id: str, message: str) -> ToolResult:
    """Write a comment on a task in Asana, which its followers are told of.

    Args:
        task_id: The id that list_asana_tasks gives.
        message: The comment.
    """
    if not message.strip():
        raise InvalidInput("message must hold the comment.")
    key = _id(task_id, "task_id")
    made = record(await _call(ctx, "POST", f"/tasks/{key}/stories", data={"text": message.strip()}))
    return ToolResult(
        response_type="comment_posted",
        data={"task_id": key, "id": text(made.get("gid"))[:25]},
        summary="The comment is posted in Asana.",
        sources=(Source("Asana", f"https://app.asana.com/0/0/{key}"),),
    )
