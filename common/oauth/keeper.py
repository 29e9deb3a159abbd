"""The token keeper: access tokens that are still good, refreshed by one caller for all.

Within a process callers for one account share one refresh; between processes a lease in the
account's document decides who makes it, and the others wait for its result. Tokens are renewed
EARLY_S before they end, which also covers clocks that differ. A rotated refresh token is stored
before anybody sees the access token that came with it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeVar

from common.documents import Clock
from common.errors import (
    Conflict,
    NotAllowed,
    NotFound,
    OdaiError,
    RateLimited,
    ReauthRequired,
    VendorRejected,
    VendorUnavailable,
)
from common.log import get_logger
from common.oauth import flow
from common.oauth.accounts import LEASE_S, Claim, Held, LinkedAccounts
from common.oauth.endpoints import Endpoints
from common.oauth.flow import Provider, Refused, Scopes, Tokens

T = TypeVar("T")

EARLY_S: Final = 120
_POLL_S: Final = 0.1
_STORE_ATTEMPTS: Final = 3
_log = get_logger(__name__)


class Trail(Protocol):
    """The part of the audit trail that refreshes write."""

    async def begin(self, uid: str, what: str, *, details: str = "", by: str = "user") -> str: ...

    async def complete(self, row: str, status: str) -> None: ...


@dataclass(frozen=True, slots=True)
class UserAccounts:
    """One user's linked accounts, as tools see them."""

    keeper: Keeper
    uid: str

    async def token(self, provider: str, scopes: Scopes) -> str:
        """Return an access token of `provider` that holds `scopes`; see `Keeper.token`."""
        return await self.keeper.token(self.uid, provider, scopes)


class Keeper:
    """Hands out access tokens; one for each process, on its one event loop."""

    def __init__(
        self,
        accounts: LinkedAccounts,
        endpoints: Endpoints,
        trail: Trail,
        *,
        clock: Clock,
        home: str,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._accounts = accounts
        self._endpoints = endpoints
        self._trail = trail
        self._clock = clock
        self._home = home
        self._sleep = sleep
        self._running: dict[Hashable, asyncio.Task[Any]] = {}

    def of(self, uid: str) -> UserAccounts:
        """Return the port through which the tools of `uid` get tokens."""
        return UserAccounts(self, uid)

    async def token(self, uid: str, provider: str, scopes: Scopes) -> str:
        """Return an access token of an account that holds `scopes`, good for two minutes or more.

        Of several accounts the first linked one serves. Raises NotAllowed (none linked, or not for
        this: the message says where to), ReauthRequired, RateLimited, VendorRejected and
        VendorUnavailable.
        """
        key = ("token", uid, provider, scopes)
        return await self._shared(key, lambda: self._token(uid, provider, scopes))

    async def _token(self, uid: str, slug: str, scopes: Scopes) -> str:
        try:
            provider = self._endpoints.provider(slug)
        except NotFound as err:
            raise NotAllowed(str(err)) from err
        linked = await self._accounts.held(uid, slug)
        able = [held for held in linked if provider.covers(held.account.scopes, scopes)]
        good = [held for held in able if held.account.status == "ok"]
        if not good:
            raise self._unlinked(provider, scopes, linked=bool(linked), dead=bool(able))
        if self._fresh(good[0].tokens):
            return good[0].tokens.access
        key = ("refresh", uid, good[0].account.id)
        return await self._shared(key, lambda: self._refresh(uid, provider, good[0].account.id))

    def _unlinked(
        self, provider: Provider, scopes: Scopes, *, linked: bool, dead: bool
    ) -> OdaiError:
        self._endpoints.client(provider)  # without keys there is nothing to open: says what to set
        name, where = provider.name, f"{self._home}{provider.login_path(scopes)}"
        if dead:
            return ReauthRequired(
                f"Your {name} account no longer lets us in. Connect it again at {where}"
            )
        if linked:
            return NotAllowed(
                f"Your {name} account is connected without permission for this. Allow it at {where}"
            )
        return NotAllowed(f"No {name} account is connected. Connect one at {where}")

    async def _refresh(self, uid: str, provider: Provider, account_id: str) -> str:
        """Renew an account's tokens, or wait until whoever holds the lease has."""
        owner = secrets.token_hex(8)
        for _ in range(round((LEASE_S + 2) / _POLL_S)):
            claim = await self._claim(uid, provider, account_id, owner)
            tokens = claim.held.tokens
            if claim.mine:
                return await self._renew(uid, provider, claim.held, owner)
            if claim.held.account.status != "ok":
                raise self._unlinked(provider, (), linked=True, dead=True)
            if self._fresh(tokens) or self._valid(tokens):
                return tokens.access
            await self._sleep(_POLL_S)
        raise VendorUnavailable(f"{provider.name}'s sign-in is being renewed. Try again.")

    async def _claim(self, uid: str, provider: Provider, account_id: str, owner: str) -> Claim:
        try:
            return await self._accounts.claim(uid, account_id, owner=owner, fresh=self._fresh)
        except NotFound as err:
            raise self._unlinked(provider, (), linked=False, dead=False) from err

    async def _renew(self, uid: str, provider: Provider, held: Held, owner: str) -> str:
        row = await self._trail.begin(
            uid, f"refresh {provider.slug}", details=held.account.id, by="keeper"
        )
        status = "unknown"
        try:
            token = await self._asked(uid, provider, held)
            status = "done"
            return token
        except OdaiError as err:
            status = err.code
            await self._accounts.release(uid, held.account.id, owner=owner)
            if isinstance(err, VendorUnavailable | RateLimited) and self._valid(held.tokens):
                return held.tokens.access
            raise
        finally:
            await self._trail.complete(row, status)

    async def _asked(self, uid: str, provider: Provider, held: Held) -> str:
        """Ask the provider for new tokens and keep them; return the access token."""
        if not held.tokens.refresh:
            return await self._dead(uid, provider, held)
        client, sent_at = self._endpoints.client(provider), self._clock()
        request = flow.refresh(provider, client, held.tokens.refresh)
        status, body = await self._endpoints.send(provider, request)
        scopes = held.account.scopes
        answer = flow.read_tokens(provider, status, body, asked=scopes, sent_at=sent_at)
        if not isinstance(answer, Refused):
            new = replace(answer, refresh=answer.refresh or held.tokens.refresh)
            return (await self._stored(uid, held, new)).tokens.access
        if answer.reason == "grant":
            return await self._dead(uid, provider, held)
        _log.error("refresh refused", extra={"provider": provider.slug, "error": answer.error})
        if answer.reason == "transient":
            raise VendorUnavailable(f"{provider.name} has a problem of its own. Try again soon.")
        raise VendorRejected(
            f"{provider.name} no longer accepts this server. Its operator must check "
            f"{provider.keys}_CLIENT_ID and {provider.keys}_CLIENT_SECRET."
        )

    async def _stored(self, uid: str, held: Held, tokens: Tokens) -> Held:
        """Keep renewed tokens; tried more than once, for a rotated one exists nowhere else."""
        for attempt in range(1, _STORE_ATTEMPTS + 1):
            try:
                return await self._accounts.renewed(uid, held, tokens)
            except (VendorUnavailable, Conflict):
                if attempt == _STORE_ATTEMPTS:
                    raise
                await self._sleep(_POLL_S * attempt)
        raise AssertionError("unreachable")

    async def _dead(self, uid: str, provider: Provider, held: Held) -> str:
        if await self._accounts.refused(uid, held):
            raise self._unlinked(provider, held.account.scopes, linked=True, dead=True)
        now = await self._accounts.get(uid, held.account.id)  # somebody else has renewed it
        return now.tokens.access

    def _fresh(self, tokens: Tokens) -> bool:
        return self._valid(tokens, EARLY_S)

    def _valid(self, tokens: Tokens, margin_s: float = 10.0) -> bool:
        if not tokens.access:
            return False
        until = tokens.expires_at
        return until is None or until > self._clock() + dt.timedelta(seconds=margin_s)

    async def _shared(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `work` once for everybody who asks for `key` meanwhile."""
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(work())
            task.add_done_callback(lambda done: self._ended(key, done))
        # Shielded: one caller giving up must not fail the others, nor lose a rotated token.
        result: T = await asyncio.shield(task)
        return result

    def _ended(self, key: Hashable, done: asyncio.Task[Any]) -> None:
        del self._running[key]
        if not done.cancelled():
            done.exception()  # its waiters may all be gone: retrieved here, or asyncio complains
