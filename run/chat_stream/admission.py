"""Who may open a socket: the checks that chats and calls share, in the request's own thread."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import request

from common.errors import NotAllowed, NotAuthenticated

if TYPE_CHECKING:
    from common.bootstrap import Services
    from common.identity import Identity
    from common.identity.tickets import Purpose

_PREFIX = "ticket."  # browsers cannot set headers: a ticket travels as a subprotocol


def check_origin(services: Services) -> None:
    """NotAllowed where another site's page opens the socket."""
    origin = request.headers.get("Origin")
    # Clients that are no browsers send no Origin; a browser always does.
    if origin is None or origin in services.settings.allowed_origins:
        return
    if urlsplit(origin).netloc != request.host:
        raise NotAllowed("This page may not connect here.")


def identify(services: Services, *, purpose: Purpose, channel: str = "") -> Identity:
    """Return who connects, by a one-time ticket for `purpose` or by an ID token.

    A ticket must be for `channel` where one is named. NotAuthenticated, NotAllowed: not admitted.
    """
    offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    tickets = [each.strip() for each in offered if each.strip().startswith(_PREFIX)]
    ticket = tickets[0].removeprefix(_PREFIX) if tickets else ""
    token = request.args.get("token", "")
    return services.loop.run(
        _identify(services, ticket, token, purpose=purpose, channel=channel), timeout=15.0
    )


async def _identify(
    services: Services, ticket: str, token: str, *, purpose: Purpose, channel: str
) -> Identity:
    if ticket:
        found = await services.tickets.redeem(ticket, purpose=purpose)
        if channel and found.claims.get("channel") != channel:
            raise NotAuthenticated("That ticket is for something else. Ask for a new one.")
        identity = found.identity
    elif token:
        identity = await services.verifier.verify(token)
    else:
        raise NotAuthenticated("Sign in first.")
    if identity.anonymous and services.settings.production:
        raise NotAllowed("Sign in with an account first.")
    await services.members.admit(identity)
    return identity
