"""Sends a flow's requests through `egress`, for providers whose keys are set."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from common.errors import NotAllowed, NotFound
from common.oauth.flow import Client, Provider, Request
from common.oauth.providers import PROVIDERS

if TYPE_CHECKING:  # cold start: the client behind it imports aiohttp
    from common.egress import Egress

# Answers of the token endpoint that say why; 429 and 5xx are mapped by egress.
_READ = (400, 401, 403, 404, 410, 422)


class Endpoints:
    """The providers, and how they are reached: through `egress()`, asked when first needed.

    `timeout_s` is for one request with its retries.
    """

    def __init__(
        self,
        egress: Callable[[], Egress],
        secret: Callable[[str], str | None],
        *,
        timeout_s: float = 8.0,
    ) -> None:
        self._egress = egress
        self._secret = secret
        self._timeout_s = timeout_s

    def provider(self, slug: str) -> Provider:
        """Return a provider; NotFound where there is none of that name."""
        try:
            return PROVIDERS[slug]
        except KeyError as err:
            raise NotFound("That service's accounts cannot be connected.") from err

    def client(self, provider: Provider) -> Client:
        """Return what the operator registered; NotAllowed, naming the settings, without it."""
        names = [f"{provider.keys}_CLIENT_ID", f"{provider.keys}_CLIENT_SECRET"]
        values = [self._secret(name) for name in names]
        if values[0] and values[1]:
            return Client(values[0], values[1])
        raise NotAllowed(
            f"Connecting {provider.name} is not set up. Set {' and '.join(names)} and start again."
        )

    async def send(self, provider: Provider, request: Request) -> tuple[int, Any]:
        """Return status and JSON of the answer, None where it is no JSON.

        Raises RateLimited and VendorUnavailable.
        """
        from common.egress import Policy  # cold start, as above

        policy = Policy(
            name=f"{provider.name} sign-in", hosts=provider.hosts, timeout_s=self._timeout_s,
            max_bytes=200_000,
        )  # fmt: skip
        reply = await self._egress().client(policy).request(
            request.method, request.url, headers=request.headers, form=request.form,
            json=request.json, idempotent=request.idempotent, expect=_READ,
        )  # fmt: skip
        try:
            return reply.status, json.loads(reply.body) if reply.body.strip() else None
        except (ValueError, RecursionError):
            return reply.status, None
