"""The small model on a user's budget: what happens behind a turn is paid for like the turn itself.

A call sets money aside for its task first, and is not made where there is too little left: titles
and suggestions then come by rule. What it cost is noted with the user's day.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from common.assistant.budgets import Budgets, Hold
from common.assistant.usage import Spent, Tokens
from common.errors import OdaiError
from common.llm.plain import PlainModel
from common.log import get_logger

log = get_logger(__name__)

T = TypeVar("T", bound=msgspec.Struct)

_ANSWER: Final = 1000  # tokens of a long answer, with thoughts
_BYTES: Final = 3  # of a token, at least


class PaidModel:
    """A plain model whose calls are held for and settled."""

    def __init__(self, model: PlainModel, budgets: Budgets) -> None:
        self._model = model
        self._budgets = budgets

    async def ask(
        self, shape: type[T], *, instructions: str, text: str, uid: str, zone: str, task: str,
        key: str,
    ) -> T:  # fmt: skip
        """Ask for `uid`, on the budget of `task`; `key` names this call among the day's.

        Raises BudgetExceeded (nothing was asked) and what the model raises.
        """
        budgets, model = self._budgets, self._model
        size = (len(instructions) + len(text.encode())) // _BYTES
        step = budgets.prices.of(model.model).micros(Tokens(1, size, 0, _ANSWER))
        plan = budgets.plan(uid, zone, f"{task}-{key}", 0, task=task)
        hold = await budgets.cover(plan, 0, step)
        spent = Spent(turns=0)
        try:
            answer = await model.ask(shape, instructions=instructions, text=text)
            counts = answer.usage
            spent.add(model.model, Tokens(
                1, counts.get("input_tokens", 0), counts.get("cached_tokens", 0),
                counts.get("output_tokens", 0),
            ))  # fmt: skip
        finally:
            await self._settle(hold, spent)
        return answer.value

    async def _settle(self, hold: Hold, spent: Spent) -> None:
        if not hold.micros and not spent.models:
            return
        try:
            await self._budgets.settle(hold, spent)
        except OdaiError as err:  # what is held is given back by its expiry
            log.error("usage not settled", extra={"code": err.code, "task": hold.task})
