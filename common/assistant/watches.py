"""What a watch looks at: a value in the result of a tool that only reads, held against a limit.

No model is asked, so that looking every few minutes costs no more than the call itself.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any, Literal, TypeAlias

import msgspec

from common.errors import InvalidInput

Operator: TypeAlias = Literal["passes", "above", "below", "equals"]


class Condition(msgspec.Struct, frozen=True):
    """Call `tool` with `arguments` (JSON text), take `field` (dotted) of its data, compare.

    "passes" is met when the value is no longer on the side of `value` where it was at first.
    """

    tool: str
    arguments: str
    field: str
    operator: Operator
    value: str


def check(condition: Condition, data: Any, side: str) -> tuple[bool, str]:
    """Return whether the condition is met by a tool's `data`, and the side the value is on.

    `side` is what the first look returned, "" before it. InvalidInput: there is no such value.
    """
    found = _value(data, condition.field)
    if condition.operator == "equals":
        return str(found).casefold() == condition.value.casefold(), ""
    number, limit = _number(found), _number(condition.value)
    match condition.operator:
        case "above":
            return number >= limit, ""
        case "below":
            return number <= limit, ""
    if not side or side == "at":
        now = "above" if number > limit else "below" if number < limit else "at"
        return False, now
    met = number >= limit if side == "below" else number <= limit
    return met, side


def _value(data: Any, field: str) -> Any:
    for part in field.split("."):
        if isinstance(data, list) and part.isdecimal() and int(part) < len(data):
            data = data[int(part)]
        elif isinstance(data, dict) and part in data:
            data = data[part]
        else:
            raise InvalidInput(f"The result has no {field}.")
    if data is None or isinstance(data, list | dict):
        raise InvalidInput(f"{field} is no single value.")
    return data


def _number(value: Any) -> Decimal:
    try:
        number = Decimal(str(value).replace(",", ""))
    except InvalidOperation as err:
        raise InvalidInput("The value is no number.") from err
    if not number.is_finite():
        raise InvalidInput("The value is no number.")
    return number
