"""GitHub: the user's issues, pull requests and notifications; new issues and comments.

https://docs.github.com/en/rest · https://docs.github.com/en/rest/using-the-rest-api/rate-limits

Quirks seen in November 2026:
- Lists of issues hold pull requests too. A 404 also means "not yours to see".
- A limit may be a 403 with Retry-After or `x-ratelimit-remaining: 0`. Searches: 30 a minute.
- Bodies and users may be null. Posting has no idempotency key: it is never repeated by itself.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

from msgspec import Meta

from common.errors import InvalidInput, NotAllowed, NotFound, RateLimited, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import fitting, instant, integer, number, record, records, shorten, text

CONNECTOR = Connector(
    name="GitHub",
    category="productivity",
    description="Lists and writes issues, pull requests and notifications on GitHub.",
    examples=(
        "Which GitHub issues are assigned to me?",
        "Any new GitHub notifications?",
        "Open an issue in acme/website that the login page is blank.",
    ),
    keywords=words(
        "github, issue, issues, pull request, pr, repo, repository, review, bug, commit, "
        "code, merge, notification, notifications, open source, pulls, pull requests, prs, "
        "repositories, branch, commits, bugs, ticket, tickets, merged, code review, ci, "
        "release, assigned, feature request, maintainer, fork, file, close, closed, open "
        "issue, reviewer, crash, source code, reviews, my repo, new issues, commented, "
        "pushed, push, build, failing, actions, workflow, stars, star, pull, readme, "
        "milestone, label, contributor, reported, repos, review request, stargazers, "
        "codebase, changelog, close issue"
    ),
    hosts=("api.github.com",),
    auth="oauth",
    provider="github",
    scopes=("repo", "notifications"),
    per_second=5,
)

API = "https://api.github.com"
SOURCE = Source("GitHub", "https://github.com/")

Limit: TypeAlias = Annotated[int, Meta(ge=1, le=20)]
Filter: TypeAlias = Literal["assigned", "created", "mentioned", "subscribed"]


class Issue(TypedDict):
    """An issue or pull request; `updated` is a day in UTC."""

    repository: str
    number: int | None
    kind: str
    title: str
    state: str
    author: str
    labels: list[str]
    comments: int | None
    updated: str
    url: str


async def _call(
    ctx: ToolContext, method: str, path: str, *, json: Any = None, **params: Any
) -> Any:
    reply = await ctx.http.request(
        method,
        f"{API}{path}",
        params=params,
        json=json,
        expect=(403, 404, 410, 422),
        headers={
            "Authorization": f"Bearer {await ctx.access_token()}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        },
    )
    if reply.status in (404, 410):
        raise NotFound("GitHub has no such repository or issue, or you may not see it.")
    if reply.status == 422:
        raise InvalidInput("GitHub did not accept the request. Check the words and names.")
    if reply.status == 403:
        wait = number(reply.headers.get("retry-after"))
        if wait is not None or reply.headers.get("x-ratelimit-remaining") == "0":
            raise RateLimited("GitHub takes no more requests now. Try later.", retry_after=wait)
        raise NotAllowed("GitHub does not allow this to your account. Link it with more rights.")
    return reply.json()


def _repository(value: str) -> str:
    found = value.strip().removeprefix("https://github.com/").strip("/")
    if not re.fullmatch(r"[\w.-]{1,60}/(?!\.\.?$)[\w.-]{1,100}", found):
        raise InvalidInput("repository must be owner and name, such as acme/website.")
    return found


def _issue(row: dict[str, Any]) -> Issue:
    changed = instant(row.get("updated_at"))
    url = text(row.get("html_url"))[:300]
    place = text(record(row.get("repository")).get("full_name"))
    return Issue(
        repository=(place or "/".join(url.split("/")[3:5]))[:160],
        number=integer(row.get("number")),
        kind="pull request" if record(row.get("pull_request")) else "issue",
        title=shorten(text(row.get("title")), 140) or "untitled",
        state=text(row.get("state"))[:20] or "state unknown",
        author=text(record(row.get("user")).get("login"))[:40] or "a deleted account",
        labels=[shorten(text(label.get("name")), 30) for label in records(row.get("labels"))][:4],
        comments=integer(row.get("comments")),
        updated=f"{changed:%Y-%m-%d}" if changed else "",
        url=url,
    )


def _listed(rows: list[dict[str, Any]], limit: int, nothing: str) -> ToolResult:
    issues = fitting([issue for row in rows[:limit] if (issue := _issue(row))["number"]])
    told = "; ".join(f"{row['repository']}#{row['number']} {row['title']}" for row in issues[:5])
    return ToolResult(
        response_type="issue_list",
        data={"issues": issues},
        summary=shorten(f"On GitHub: {told}." if told else nothing, 480),
        sources=tuple(
            Source(f"{row['repository']}#{row['number']}", row["url"])
            for row in issues[:5]
            if row["url"]
        )
        or (SOURCE,),
        untrusted=True,
    )


@tool(progress="Checking your GitHub issues…")
async def list_github_issues(
    ctx: ToolContext,
    *,
    repository: str | None = None,
    filter: Filter = "assigned",
    limit: Limit = 10,
) -> ToolResult:
    """List open GitHub issues and pull requests: the user's own, or those of one repository.

    Args:
        repository: Owner and name, such as acme/website; null for the user's in all of them.
        filter: How the user is concerned; only without a repository.
        limit: How many, 1 to 20.
    """
    if repository:
        path, more = f"/repos/{_repository(repository)}/issues", {}
    else:
        path, more = "/issues", {"filter": filter}
    body = await _call(ctx, "GET", path, state="open", per_page=limit, sort="updated", **more)
    if not isinstance(body, list):
        raise VendorUnavailable("GitHub sent no issues. Try again in a moment.")
    return _listed(records(body), limit, "No open issue or pull request was found on GitHub.")


@tool(progress="Searching GitHub…")
async def search_github_issues(ctx: ToolContext, *, query: str, limit: Limit = 10) -> ToolResult:
    """Search issues and pull requests on GitHub.

    Args:
        query: Words, or GitHub's qualifiers, such as "login repo:acme/website is:open".
        limit: How many, 1 to 20.
    """
    if not query.strip():
        raise InvalidInput("query must say what to look for.")
    body = record(
        await _call(ctx, "GET", "/search/issues", q=query.strip(), per_page=limit, sort="updated")
    )
    if not isinstance(body.get("items"), list):
        raise VendorUnavailable("GitHub sent no results. Try again in a moment.")
    return _listed(records(body["items"]), limit, f"GitHub has nothing about {query.strip()}.")


@tool(progress="Reading the issue…")
async def read_github_issue(
    ctx: ToolContext, *, repository: str, number: Annotated[int, Meta(ge=1)]
) -> ToolResult:
    """Read a GitHub issue or pull request with its latest comments.

    Args:
        repository: Owner and name, such as acme/website.
        number: Number of the issue or pull request.
    """
    path = f"/repos/{_repository(repository)}/issues/{number}"
    row = record(await _call(ctx, "GET", path))
    if not text(row.get("title")):
        raise VendorUnavailable("GitHub sent no issue. Try again in a moment.")
    issue = _issue(row)
    last = max(1, -(-(issue["comments"] or 0) // 5))  # the page that holds the newest
    comments = records(await _call(ctx, "GET", f"{path}/comments", per_page=5, page=last))
    return ToolResult(
        response_type="issue",
        data={
            **issue,
            "number": number,
            "body": shorten(text(row.get("body")), 1500),
            "latest_comments": [
                {
                    "author": text(record(item.get("user")).get("login"))[:40]
                    or "a deleted account",
                    "written": text(item.get("created_at"))[:10],
                    "text": shorten(text(item.get("body")), 420),
                }
                for item in comments[-5:]
            ],
        },
        summary=f"{issue['repository']}#{number} ({issue['state']}): {issue['title']}, "
        f"by {issue['author']}, {issue['comments'] or 'no'} comments.",
        sources=(Source(f"{issue['repository']}#{number}", issue["url"]),)
        if issue["url"]
        else (SOURCE,),
        untrusted=True,
    )


@tool(progress="Checking GitHub notifications…")
async def list_github_notifications(ctx: ToolContext, *, limit: Limit = 10) -> ToolResult:
    """List the user's unread GitHub notifications.

    Args:
        limit: How many, 1 to 20.
    """
    body = await _call(ctx, "GET", "/notifications", per_page=limit)
    if not isinstance(body, list):
        raise VendorUnavailable("GitHub sent no notifications. Try again in a moment.")
    found = fitting(
        [
            {
                "repository": text(record(row.get("repository")).get("full_name"))[:160],
                "title": shorten(text(record(row.get("subject")).get("title")), 140),
                "kind": text(record(row.get("subject")).get("type"))[:40],
                "reason": text(row.get("reason")).replace("_", " ")[:40],
                "updated": text(row.get("updated_at"))[:20],
            }
            for row in records(body)[:limit]
        ]
    )
    told = "; ".join(
        f"{row['repository']}: {row['title'] or 'untitled'} ({row['reason'] or 'unread'})"
        for row in found[:4]
    )
    return ToolResult(
        response_type="notification_list",
        data={"notifications": found},
        summary=shorten(f"GitHub: {told}." if told else "No unread GitHub notifications.", 480),
        sources=(Source("GitHub notifications", "https://github.com/notifications"),),
        untrusted=True,
    )


@tool(progress="Opening the issue…", asks="Open this issue on GitHub as you?", risk="external")
async def create_github_issue(
    ctx: ToolContext, *, repository: str, title: str, body: str = ""
) -> ToolResult:
    """Open an issue on GitHub as the user. Everybody who sees the repository can read it.

    Args:
        repository: Owner and name, such as acme/website.
        title: One line that says what is wrong or wanted.
        body: The description, as Markdown.
    """
    if not title.strip():
        raise InvalidInput("title must say what the issue is about.")
    place = _repository(repository)
    row = await _call(
        ctx, "POST", f"/repos/{place}/issues", json={"title": title.strip(), "body": body}
    )
    issue = _issue({"title": title} | record(row))
    return _posted(
        "issue_created",
        issue,
        f"Opened issue {issue['number'] or ''} in {place}.".replace("  ", " "),
    )


@tool(progress="Commenting on GitHub…", asks="Post this comment on GitHub as you?", risk="external")
async def comment_on_github_issue(
    ctx: ToolContext, *, repository: str, number: Annotated[int, Meta(ge=1)], message: str
) -> ToolResult:
    """Comment on a GitHub issue or pull request as the user.

    Args:
        repository: Owner and name, such as acme/website.
        number: Number of the issue or pull request.
        message: The comment, as Markdown.
    """
    if not message.strip():
        raise InvalidInput("message must hold the comment.")
    path = f"/repos/{_repository(repository)}/issues/{number}/comments"
    row = record(await _call(ctx, "POST", path, json={"body": message.strip()}))
    data = {"id": text(row.get("id"))[:20], "url": text(row.get("html_url"))[:300]}
    return _posted("comment_posted", data, "The comment is posted on GitHub.")


def _posted(kind: str, data: Any, summary: str) -> ToolResult:
    source = Source("GitHub", data["url"]) if data["url"] else SOURCE
    return ToolResult(response_type=kind, data=data, summary=summary, sources=(source,))
