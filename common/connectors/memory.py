"""Memory: what the user asks the assistant to remember, list and forget.

https://gdpr-info.eu/art-15-gdpr/ is why it is a list of sentences that its owner can read, change
and take back, and not something a model keeps to itself (November 2026).

Nobody is called: the sentences are sealed in our own store. In a chat that has read strangers' text
these tools wait for the user's yes, or a page could plant what is believed from then on.
"""

from __future__ import annotations

from common.tools import Connector, ToolContext, ToolResult, tool

CONNECTOR = Connector(
    name="Memory",
    category="productivity",
    description="Remembers facts and preferences that the user asks to be kept, and forgets them.",
    examples=(
        "Remember that I am vegetarian.",
        "What do you remember about me?",
        "Forget where I work.",
        "Keep in mind that I fly from Boston.",
    ),
    keywords=(
        "remember that",
        "remember me",
        "forget that",
        "forget what",
        "forget my",
        "memory",
        "memories",
        "remembered",
        "about me",
        "know about",
        "in mind",
        "preference",
        "preferences",
        "from now",
        "i prefer",
        "prefer",
    ),
)


@tool(progress="Remembering that…", asks="Remember this in all your chats?", risk="write")
async def remember(ctx: ToolContext, *, text: str) -> ToolResult:
    """Keep a lasting fact or preference that the user asks you to remember, for all later chats.

    Only what the user says of themselves or wants kept; never passwords, keys or card numbers.

    Args:
        text: One sentence that stands by itself, such as "The user is vegetarian."
    """
    kept = await ctx.memories.remember(text, key=ctx.idempotency_key)
    return ToolResult(
        response_type="memory_kept", data=kept, summary=f"I will remember: {kept['text']}"
    )


@tool(progress="Forgetting that…", asks="Forget this about you?", risk="write")
async def forget(ctx: ToolContext, *, what: str) -> ToolResult:
    """Forget one thing that was remembered; where several fit, nothing is forgotten and all listed.

    Args:
        what: Its id, or words that are in it.
    """
    found = await ctx.memories.forget(what)
    if len(found) == 1:
        summary = f"I have forgotten: {found[0]['text']}"
    else:
        summary = "Which one do you mean? " + " ".join(f"“{each['text']}”" for each in found[:4])
    return ToolResult(
        response_type="memory_forgotten" if len(found) == 1 else "memories",
        data={"memories": found},
        summary=summary[:480],
    )


@tool(progress="Looking up what I remember…")
async def list_memories(ctx: ToolContext) -> ToolResult:
    """List everything that is remembered about the user, the latest first."""
    found = await ctx.memories.listed()
    if not found:
        summary = "I remember nothing about you yet. Tell me what to remember."
    else:
        first = " ".join(f"“{each['text']}”" for each in found[:5])
        more = f" And {len(found) - 5} more." if len(found) > 5 else ""
        summary = f"{first[:440]}{more}"
    return ToolResult(
        response_type="memories",
        data={"memories": [{"id": m["id"], "text": m["text"]} for m in found[:50]],
              "total": len(found)},
        summary=summary,
    )  # fmt: skip
