"""Reminders: what is to happen later, by itself: reminders, daily briefings and watches.

https://datatracker.ietf.org/doc/html/rfc5545#section-3.3.5 says what a time means that a change of
clocks skips or repeats (November 2026).

Nobody is called: schedules are kept in our own store and woken by our own task queue. In a chat
that has read strangers' text these tools wait for the user's yes, as a page could plant a prompt.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from common.errors import InvalidInput
from common.tools import Connector, ToolContext, ToolResult, tool
from common.tools.context import Watched, When

CONNECTOR = Connector(
    name="Reminders",
    category="productivity",
    description="Reminds, briefs every day and watches prices or parcels, then tells the user.",
    examples=(
        "Tell me when AAPL passes 300.",
        "Remind me at 5pm to call the bank.",
        "Brief me daily at 8 on the weather.",
        "What have you scheduled for me?",
    ),
    keywords=(
        "tells me",
        "know when",
        "me when",
        "notify",
        "alert",
        "alerts",
        "alert me",
        "remind me",
        "reminders",
        "scheduled",
        "brief me",
        "briefing",
        "briefings",
        "every morning",
        "every day",
        "daily",
        "passes",
        "watch for",
        "watches",
        "watching",
        "pause",
        "resume",
    ),
)

Repeat: TypeAlias = Literal["never", "daily", "weekly", "monthly", "yearly"]
Days: TypeAlias = Literal["daily", "weekdays", "weekends"]
Operator: TypeAlias = Literal["passes", "above", "below", "equals"]
Action: TypeAlias = Literal["pause", "resume", "delete", "cancel", "stop"]
_EVERY = {"never": "once", "daily": "day", "weekly": "week", "monthly": "month", "yearly": "year"}
_WEEKDAYS = {"weekdays": (0, 1, 2, 3, 4), "weekends": (5, 6)}


@tool(progress="Setting a reminder…", asks="Set this reminder?", risk="write")
async def create_reminder(
    ctx: ToolContext,
    *,
    title: str,
    time: str,
    repeat: Repeat = "never",
    by_text_message: bool = False,
) -> ToolResult:
    """Remind the user of something at a time, once or again and again, in this chat.

    Args:
        title: What to remind them of, in their words.
        time: The first time, on the user's clock: YYYY-MM-DDTHH:MM; or HH:MM for the next one.
        repeat: How often.
        by_text_message: Whether they want a text message as well.
    """
    date, clock = _moment(time)
    when = When(every=_EVERY[repeat], time=clock, date=date, sms=by_text_message)
    made = await ctx.schedules.remind(title, when, key=ctx.idempotency_key)
    return _result("scheduled", made, f"I will remind you {made['when']}: {made['text']}")


@tool(progress="Setting up a briefing…", asks="Set up this daily briefing?", risk="write")
async def create_daily_briefing(
    ctx: ToolContext,
    *,
    prompt: str,
    time: str,
    days: Days = "daily",
    by_text_message: bool = False,
) -> ToolResult:
    """Brief the user daily: ask and answer something at a set time of the day, in this chat.

    Args:
        prompt: What to tell them, as they would ask it: "What is the weather in Boston?"
        time: HH:MM on the user's 24-hour clock.
        days: On which days.
        by_text_message: Whether they want a text message as well.
    """
    _, clock = _moment(time)
    weekdays = _WEEKDAYS.get(days, ())
    every = "week" if weekdays else "day"
    when = When(every=every, time=clock, days=weekdays, sms=by_text_message)
    made = await ctx.schedules.brief(prompt, when, key=ctx.idempotency_key)
    return _result("scheduled", made, f"I will answer this {made['when']}: {made['text']}")


@tool(progress="Watching the price…", asks="Watch this price for you?", risk="write", timeout_s=30)
async def watch_price(
    ctx: ToolContext, *, symbol: str, price: float, by_text_message: bool = False
) -> ToolResult:
    """Tell the user when a stock's or coin's price passes a value, from either side.

    Args:
        symbol: Ticker symbol, such as AAPL or BTC.
        price: The price to pass, in the currency it is quoted in.
        by_text_message: Whether they want a text message as well.
    """
    watched = Watched(operator="passes", value=f"{price:.10g}", symbol=symbol, sms=by_text_message)
    text = f"{symbol.upper()} has passed {price:,.10g}"
    made = await ctx.schedules.watch(text, watched, key=ctx.idempotency_key)
    told = f"I will tell you when {symbol.upper()} passes {price:,.10g}. {made['now']}"
    return _result("scheduled", made, told)


@tool(
    progress="Watching the parcel…",
    asks="Watch this parcel for you?",
    risk="write",
    timeout_s=30,
)
async def watch_package(
    ctx: ToolContext, *, tracking_code: str, by_text_message: bool = False
) -> ToolResult:
    """Tell the user when a parcel or package is delivered.

    Args:
        tracking_code: The code on the label or in the shop's mail.
        by_text_message: Whether they want a text message as well.
    """
    watched = Watched(
        operator="equals", value="delivered", tracking_code=tracking_code, sms=by_text_message
    )
    text = f"Your parcel {tracking_code} was delivered"
    made = await ctx.schedules.watch(text, watched, key=ctx.idempotency_key)
    return _result("scheduled", made, f"I will tell you when it is delivered. {made['now']}")


@tool(progress="Setting up a watch…", asks="Watch this value for you?", risk="write", timeout_s=45)
async def watch_value(
    ctx: ToolContext,
    *,
    description: str,
    tool_name: str,
    arguments: str,
    field: str,
    operator: Operator,
    value: str,
    by_text_message: bool = False,
) -> ToolResult:
    """Tell the user when a value that a tool looks up is as they wish; call that tool once before.

    Args:
        description: What has happened then, as one sentence for the user.
        tool_name: The tool to call every few minutes; one that only looks things up.
        arguments: Its arguments as JSON text.
        field: Where its data has the value, such as "rate" or "flights.0.status".
        operator: How to compare; "passes" is from the side where it is now.
        value: What to compare with.
        by_text_message: Whether they want a text message as well.
    """
    watched = Watched(
        operator=operator, value=value, tool=tool_name, arguments=arguments, field=field,
        sms=by_text_message,
    )  # fmt: skip
    made = await ctx.schedules.watch(description, watched, key=ctx.idempotency_key)
    return _result("scheduled", made, f"I will tell you. {made['now']}", untrusted=True)


@tool(progress="Looking up what is scheduled…")
async def list_scheduled(ctx: ToolContext) -> ToolResult:
    """List the user's reminders, briefings and watches, the next one first."""
    found = await ctx.schedules.listed()
    going = [each for each in found if each["status"] != "done"]
    told = "; ".join(_line(each) for each in going[:5])
    more = f"; and {len(going) - 5} more" if len(going) > 5 else ""
    return ToolResult(
        response_type="schedules",
        data={"schedules": found[:30], "total": len(found)},
        summary=f"{told[:440]}{more}." if going else "Nothing is scheduled.",
    )


@tool(progress="Changing what is scheduled…", asks="Make this change to your plans?", risk="write")
async def change_scheduled(ctx: ToolContext, *, action: Action, which: str) -> ToolResult:
    """Pause, resume or delete a reminder, briefing or watch.

    Args:
        action: What to do with it; "cancel" and "stop" delete it.
        which: Its id, or words of it.
    """
    if action == "pause":
        made = await ctx.schedules.pause(which)
        return _result("scheduled", made, f"Paused: {made['text']}")
    if action == "resume":
        made = await ctx.schedules.resume(which)
        return _result("scheduled", made, f"It goes on {made['when']}: {made['text']}")
    made = await ctx.schedules.remove(which)
    return _result("scheduled", {**made, "status": "deleted"}, f"Deleted: {made['text']}")


def _moment(time: str) -> tuple[str, str]:
    """Return the date, "" for none, and the clock time of what a model gives."""
    date, _, clock = time.strip().replace(" ", "T").rpartition("T")
    if not clock:
        raise InvalidInput("time is YYYY-MM-DDTHH:MM or HH:MM.")
    return date, clock[:5]


def _line(each: dict[str, Any]) -> str:
    paused = " (paused)" if each["status"] == "paused" else ""
    return f"{each['text']}, {each['when']}{paused}"


def _result(
    kind: str, made: dict[str, Any], summary: str, *, untrusted: bool = False
) -> ToolResult:
    return ToolResult(response_type=kind, data=made, summary=summary[:480], untrusted=untrusted)
