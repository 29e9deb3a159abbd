"""Opens the model that the settings ask for. Loads `agents` and `openai`: import it lazily."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
from agents import Model, ModelResponse, ModelSettings, OpenAIChatCompletionsModel

from common.documents import Clock
from common.errors import Misconfigured
from common.llm.failures import lacks_path
from common.llm.fast import FastResponsesModel
from common.llm.offline import OfflinePlanner
from common.llm.relay import RelayModel
from common.log import get_logger
from common.settings import Settings
from common.tools import Registry

log = get_logger(__name__)

_PACE = 0.012  # seconds between the offline planner's words, so that they can be read as they come


def open_model(settings: Settings, registry: Registry, clock: Clock) -> Model:
    """Return the configured endpoint's model, or the offline planner where there is none.

    Either way its `get_response` tells the context's `Sink` and raises our own errors.
    """
    if settings.offline:
        planner = OfflinePlanner(registry, clock=clock, chunk_delay_s=_PACE, secret=settings.secret)
        return RelayModel(planner)
    return EndpointModel(settings)


def model_settings() -> ModelSettings:
    """Return what every request asks for beside its text: above all, that it is not kept.

    What the endpoint does not keep (a reasoning model's thoughts) it hands over sealed, and gets
    back with the next request.
    """
    return ModelSettings(
        include_usage=True,
        parallel_tool_calls=True,
        store=False,
        response_include=["reasoning.encrypted_content"],
    )


class EndpointModel(Model):
    """An OpenAI-compatible endpoint, spoken to by the Responses API or by Chat Completions.

    With `ODAI_MODEL_API=auto`, an endpoint that answers 404 for the Responses path itself (not for
    the model) is spoken to by Chat Completions from then on.
    """

    def __init__(self, settings: Settings) -> None:
        self._client = openai.AsyncOpenAI(
            # Local servers ask for no key, and the client insists on a non-empty one.
            api_key=settings.openai_api_key or "none",
            base_url=settings.openai_base_url or None,
            timeout=settings.model_timeout,
            max_retries=2,
        )
        self._responses = FastResponsesModel(
            settings.model, self._client, silence_s=settings.model_timeout
        )
        self._chat = RelayModel(OpenAIChatCompletionsModel(settings.model, self._client))
        self._undecided = settings.model_api == "auto"
        self._current: Model = self._chat if settings.model_api == "chat" else self._responses

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        """Stream a response to the context's sink and return it whole."""
        try:
            response = await self._current.get_response(*args, **kwargs)
        except Misconfigured as err:
            if not (self._undecided and lacks_path(err)):
                raise
        else:
            self._undecided = False
            return response
        log.info("the endpoint has no Responses API: using Chat Completions")
        self._undecided, self._current = False, self._chat
        return await self._chat.get_response(*args, **kwargs)

    def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Stream the events of the interface in use, by the SDK's model."""
        return self._current.stream_response(*args, **kwargs)

    async def close(self) -> None:
        """Close every connection."""
        await self._responses.close()
        await self._client.close()
