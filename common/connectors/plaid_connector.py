"""Plaid Connector: the button, or the link, with which a user connects a bank.

https://plaid.com/docs/link/hosted-link/

Quirks seen in November 2026: the hosted page works for four hours and once; Plaid tells us by a
signed webhook when it was used, so that it works from a text message as well as from a button.
"""

from __future__ import annotations

from common.tools import Connector, Source, ToolContext, ToolResult, tool
from common.tools.reading import text, values

CONNECTOR = Connector(
    name="Plaid Connector",
    category="finance",
    description="Connects the user's bank, credit card, loan or investment accounts.",
    examples=(
        "Connect my bank account.",
        "Link my credit card.",
        "Add another bank.",
    ),
    keywords=(
        "connect",
        "link",
        "connect bank",
        "link bank",
        "bank account",
        "credit card",
        "plaid",
        "add bank",
        "brokerage",
        "mortgage",
        "institution",
        "hook up",
        "add account",
        "relink",
        "my bank",
        "another bank",
        "savings",
        "checking",
        "loan",
        "credit union",
        "banks",
        "my card",
        "accounts",
        "connected",
        "connect my",
        "link my",
        "checking account",
        "savings account",
        "bank login",
        "add my",
        "my credit",
        "hook",
        "investment account",
        "financial institution",
    ),
    auth="plaid",
    secrets=("PLAID_CLIENT_ID", "PLAID_SECRET"),
    attribution="Bank links by Plaid",
)


@tool(progress="Preparing a secure bank link…", timeout_s=20.0)
async def connect_plaid_account(ctx: ToolContext) -> ToolResult:
    """Offer the user the button that connects a bank, card, loan or investment account by Plaid."""
    link = await ctx.banks.link()
    url = text(link.get("url"))
    return ToolResult(
        response_type="connect_plaid_account",
        data={"provider": "plaid", "name": "your bank", "url": url,
              "expires_at": text(link.get("expires_at")),
              "linked": [text(name) for name in values(link.get("linked"))]},
        summary="Use the button above, or the link, to connect your bank with Plaid. "
        "The link works once, for four hours.",
        sources=(Source("Connect a bank with Plaid", url or "https://plaid.com/"),),
    )  # fmt: skip
