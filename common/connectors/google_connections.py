"""Google Connections: the button that connects the user's Google account.

https://developers.google.com/identity/protocols/oauth2 (November 2026)

Nothing is called here: the tool answers with the path of our own sign-in, which a client draws as a
button. The path holds no token; the client adds who asks.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from common.tools import Connector, ToolContext, ToolResult, tool

CONNECTOR = Connector(
    name="Google Connections",
    category="productivity",
    description="Connects the user's Google account, for mail, calendar, files or contacts.",
    examples=(
        "Connect my Google account.",
        "Link Google so that you can read my mail.",
        "Reconnect my Google account.",
        "Sign in to Google for my calendar.",
    ),
    keywords=(
        "connect",
        "reconnect",
        "relink",
        "link google",
        "google account",
        "sign in",
        "linking",
        "permission",
        "authorize",
        "connection",
        "connections",
        "google",
        "gmail",
        "access",
        "grant",
        "allow",
        "hook up",
        "login",
        "log in",
        "authorization",
        "authorise",
        "disconnect",
        "accounts",
        "my google",
        "set up",
        "give access",
        "google to",
        "google so",
        "link my",
        "connect my",
        "google login",
        "oauth",
    ),
)

LOGIN = "/auth/google/login"
Feature: TypeAlias = Literal["all", "mail", "calendar", "drive", "contacts", "tasks"]


@tool(progress="Preparing a Google sign-in link…")
async def connect_google_account(ctx: ToolContext, *, feature: Feature = "all") -> ToolResult:
    """Show the user a button that connects their Google account, or connects it again.

    Args:
        feature: What they need it for; "all" where they do not say.
    """
    url = LOGIN if feature == "all" else f"{LOGIN}?feature={feature}"
    purpose = "" if feature == "all" else f" for {feature}"
    return ToolResult(
        response_type="connect_google_account",
        data={
            "provider": "google",
            "name": "Google",
            "url": url,
            "message": "Connect your Google account.",
        },
        summary=f"Use the button to connect your Google account{purpose}.",
    )
