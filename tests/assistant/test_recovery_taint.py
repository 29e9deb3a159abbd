"""A turn whose process died after it had read strangers' text leaves a chat that asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.bootstrap import Services
from tests.assistant.acting import TO_ACTS, Make, acting, bury
from tests.assistant.conversation import Conversation, of
from tests.fakes.openai_responses import Calls, FakeOpenAI, Gate, Reply, Text


@pytest.mark.parametrize("reads", [True, False])
def test_what_a_dead_turn_has_read_still_counts(
    services: Make, tmp_path: Path, reads: bool
) -> None:
    """Its answer may repeat a page's words; a grant must not act on them in the next turn."""
    gate = Gate()
    answer = Reply(Text("The page says a lot."), gate=gate, gate_after=2)
    page = Calls([("read_page", {"url": "https://good.example/"})])
    with FakeOpenAI(*([TO_ACTS, page] if reads else []), answer) as model:
        dead: Services = acting(services, model, tmp_path)
        conversation = Conversation(dead)
        conversation.prompt("read https://good.example/ for me")
        conversation.until(
            lambda events: (
                of(events, "raw_response_event") and (of(events, "tool_output") or not reads)
            )
        )
        bury(dead)
        gate.open()
        heir = Conversation(acting(services, model, tmp_path))
        heir.until(lambda _: not heir.room.state.running)
        assert heir.room.state.tainted is reads
