"""Fixtures of the assistant's tests: a conversation with a scripted model."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from common.bootstrap import Services
from tests.assistant.conversation import Conversation
from tests.fakes.openai_responses import FakeOpenAI, Step


@pytest.fixture
def talk(
    services: Callable[..., Services], request: pytest.FixtureRequest
) -> Iterator[Callable[..., Conversation]]:
    """Open a conversation whose model follows the script; unused steps fail the test."""
    fakes: list[FakeOpenAI] = []

    def open_conversation(*script: Step, **environ: str) -> Conversation:
        fake = FakeOpenAI(*script)
        fake.__enter__()
        fakes.append(fake)
        made = services(OPENAI_BASE_URL=fake.base_url, OPENAI_API_KEY="key-of-a-test", **environ)
        conversation = Conversation(made)
        conversation.model = fake
        return conversation

    yield open_conversation
    for fake in fakes:
        fake.__exit__(None, None, None)
