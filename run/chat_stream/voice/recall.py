"""What a call's model is told of its chat: the latest items, fewer for an unproven caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common.assistant.manner import is_public
from common.errors import NotFound

if TYPE_CHECKING:
    from common.assistant.chats import Item
    from common.assistant.room import Room
    from common.tools import Registry

_MOST_ITEMS: Final = 60


def told(room: Room, *, running: str) -> list[Item]:
    """Return the chat's latest items, without those of the turn `running`."""
    history = [items for turn_id, items in room.state.history if turn_id != running]
    return _whole([item for items in history for item in items][-_MOST_ITEMS:])


def before_own(items: list[Item], registry: Registry) -> list[Item]:
    """Return the items up to where the user's own accounts were first read."""
    for at, item in enumerate(items):
        if item.get("type") == "function_call" and _is_own(str(item.get("name")), registry):
            first = max((i for i in range(at) if items[i].get("role") == "user"), default=0)
            return items[:first]
    return items


def _is_own(name: str, registry: Registry) -> bool:
    try:
        tool = registry.tool(name)
        return not is_public(registry.entry_of(tool).connector, tool)
    except NotFound:
        return False


def _whole(items: list[Item]) -> list[Item]:
    """Return items without outputs whose calls are not among them."""
    calls = {item["call_id"] for item in items if item.get("type") == "function_call"}
    return [
        item
        for item in items
        if item.get("type") != "function_call_output" or item["call_id"] in calls
    ]
