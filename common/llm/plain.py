"""One plain question to the model endpoint: a form to fill in, no tools, no stream.

For what happens beside a conversation (titles, suggestions) and in functions that must start
quickly: neither the Agents SDK nor the client library is loaded. The answer is parsed into the
type asked for, and nothing else comes back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from common.egress import Client, Egress, Policy, Reply
from common.errors import VendorRejected, VendorUnavailable

T = TypeVar("T", bound=msgspec.Struct)

_OFFICIAL = "https://api.openai.com/v1"
_NAME = "The language model"
_MOST_TOKENS = 2000  # reasoning counts as well
_FENCE = re.compile(r"\A\s*```(?:json)?\s*(.*?)\s*```\s*\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What the model filled in, and what it cost, by the names that turns count under."""

    value: T
    usage: Mapping[str, int]


class PlainModel:
    """An OpenAI-compatible endpoint asked for structured answers.

    `api` is `responses`, `chat` or `auto`: Chat Completions once the endpoint has shown that it
    has no Responses API.
    """

    def __init__(
        self,
        egress: Egress,
        *,
        model: str,
        key: str,
        base_url: str = "",
        api: str = "auto",
        timeout_s: float = 20.0,
    ) -> None:
        self.model = model
        self._base = (base_url or _OFFICIAL).rstrip("/")
        self._headers = {"Authorization": f"Bearer {key or 'none'}"}
        self._auto = api == "auto"
        self._chat = api == "chat"
        policy = Policy(
            name=_NAME, hosts=(), server=self._base, concurrency=64, timeout_s=timeout_s
        )
        self._client: Client = egress.client(policy)

    async def ask(self, shape: type[T], *, instructions: str, text: str) -> Answer[T]:
        """Return `shape` as the model fills it in, told `instructions` and given `text`.

        Raises VendorRejected (refused, or an answer of another form), RateLimited and
        VendorUnavailable. A call that failed on the way is made again within the time limit.
        """
        schema = schema_of(shape)
        if not self._chat:
            body = _responses_body(self.model, shape.__name__, schema, instructions, text)
            reply = await self._post("/responses", body)
            if reply.status != 404:
                return _answer(shape, reply, _responses_text)
            if not self._auto or _code(reply) == "model_not_found":
                raise VendorRejected(
                    f"{_NAME} is not known at its endpoint: check ODAI_SMALL_MODEL.",
                    vendor_status=404,
                )
            self._chat = True
        reply = await self._post(
            "/chat/completions",
            _chat_body(self.model, shape.__name__, schema, instructions, text),
        )
        if reply.status == 404:
            raise VendorRejected(f"{_NAME} is not known at its endpoint.", vendor_status=404)
        return _answer(shape, reply, _chat_text)

    async def _post(self, path: str, body: dict[str, Any]) -> Reply:
        return await self._client.request(
            "POST", self._base + path, json=body, headers=self._headers, idempotent=True,
            expect=(404,),
        )  # fmt: skip


def schema_of(shape: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the JSON schema of `shape` in the form that strict structured output takes.

    Its fields have no defaults: that form has no optional ones.
    """
    _, parts = msgspec.json.schema_components((shape,), ref_template="#/$defs/{name}")
    for part in parts.values():
        part.pop("title", None)
        if part.get("type") == "object":
            part["additionalProperties"] = False
    top: dict[str, Any] = parts.pop(shape.__name__)
    return {**top, "$defs": parts} if parts else top


def _responses_body(
    model: str, name: str, schema: dict[str, Any], instructions: str, text: str
) -> dict[str, Any]:
    form = {"type": "json_schema", "name": name, "schema": schema, "strict": True}
    return {
        "model": model, "instructions": instructions,
        "input": [{"role": "user", "content": text}],
        "text": {"format": form}, "max_output_tokens": _MOST_TOKENS, "store": False,
    }  # fmt: skip


def _chat_body(
    model: str, name: str, schema: dict[str, Any], instructions: str, text: str
) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [
            {"role": "system", "content": instructions},
            {"role": "user", "content": text},
        ],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": name, "schema": schema, "strict": True},
        },
    }


def _answer(shape: type[T], reply: Reply, text_of: Any) -> Answer[T]:
    body = reply.json()
    try:
        text = text_of(body)
    except (KeyError, TypeError, IndexError, AttributeError) as err:
        raise VendorUnavailable(f"{_NAME} sent an answer that cannot be read.") from err
    fenced = _FENCE.match(text)
    try:
        value = msgspec.json.decode(fenced[1] if fenced else text, type=shape)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as err:
        raise VendorRejected(f"{_NAME} did not fill in what it was asked for.") from err
    return Answer(value, _usage(body.get("usage")))


def _responses_text(body: Any) -> str:
    parts = [
        part for item in body["output"] if item["type"] == "message" for part in item["content"]
    ]
    return "".join(part["text"] for part in parts if part["type"] == "output_text")


def _chat_text(body: Any) -> str:
    text = body["choices"][0]["message"]["content"]
    return text if isinstance(text, str) else ""


def _usage(told: Any) -> dict[str, int]:
    if not isinstance(told, dict):
        return {"requests": 1}
    details = told.get("input_tokens_details") or told.get("prompt_tokens_details") or {}
    counts = {
        "input_tokens": told.get("input_tokens", told.get("prompt_tokens")),
        "cached_tokens": details.get("cached_tokens") if isinstance(details, dict) else None,
        "output_tokens": told.get("output_tokens", told.get("completion_tokens")),
    }
    known = {name: count for name, count in counts.items() if isinstance(count, int)}
    return {"requests": 1, **known}


def _code(reply: Reply) -> Any:
    try:
        error = reply.json().get("error")
    except (VendorUnavailable, AttributeError):
        return None
    return error.get("code") if isinstance(error, dict) else None
