"""What was done in a user's name, as they read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from common.bootstrap import Services


def test_a_user_reads_their_own_acts_and_no_others(services: Callable[..., Services]) -> None:
    """Acts are listed the latest first, in clear, with how they ended; other users' are not."""
    made = services()

    async def acts() -> list[dict[str, Any]]:
        for number in range(3):
            row = await made.audit.begin("ada", "send_sms", details=f"to Dana {number}")
            if number:
                await made.audit.complete(row, "done")
        await made.audit.begin("bob", "pay", details="secret")
        return await made.audit.of("ada", limit=2)

    latest, before = made.loop.run(acts())
    assert (latest["what"], latest["details"], latest["status"]) == (
        "send_sms",
        "to Dana 2",
        "done",
    )
    assert before["details"] == "to Dana 1"
    assert latest["at"] >= before["at"]
