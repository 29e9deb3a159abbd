"""The token keeper: access tokens that are still good, refreshed by one caller for all.

Within a process callers for one account share one refresh; between processes a lease in the
account's document decides who makes it, and the others wait for its result. Tokens are renewed
EARLY_S before they end, which also covers clocks that differ. A rotated refresh token is stored
before anybody sees the access token that came with it.

A vendor may refuse a token before its time. Whoever was refused says so (`renewed`): the token is
renewed once for all, and where the new one is refused too, the account must be linked again.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeVar

from common.documents import Clock
from common.errors import (
    Conflict,
    NotAllowed,
    NotFound,
    OdaiError,
    RateLimited,
    VendorRejected,
    VendorUnavailable,
)
from common.log import get_logger
from common.oauth import flow
from common.oauth.accounts import LEASE_S, Claim, Held, LinkedAccounts
from common.oauth.endpoints import Endpoints
from common.oauth.flow import Provider, Refused, Scopes, Tokens
from common.oauth.needed import AccountExpired, AccountNeeded

T = TypeVar("T")

EARLY_S: Final = 120
_POLL_S: Final = 0.1
_STORE_ATTEMPTS: Final = 3
_REMEMBERED: Final = 2000  # tokens whose account is known, should a vendor refuse them
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
        self._given: OrderedDict[str, tuple[str, Provider, str]] = OrderedDict()

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
        account, token = good[0].account, good[0].tokens.access
        if not self._fresh(good[0].tokens):
            key = ("refresh", uid, account.id)
            token = await self._shared(key, lambda: self._refresh(uid, provider, account.id))
        with suppress(OdaiError):  # a note for the user's eyes: no tool fails for want of it
            await self._accounts.used(uid, account)
        return self._noted(token, uid, provider, account.id)

    async def renewed(self, refused: str) -> str | None:
        """Return a token to use instead of one that its vendor refused; None for a foreign one.

        Raises what `token` does; AccountExpired where the provider gives no other.
        """
        if (known := self._given.get(refused)) is None:
            return None
        uid, provider, account_id = known
        key = ("renew", uid, account_id, refused)
        token = await self._shared(
            key, lambda: self._refresh(uid, provider, account_id, refused=refused)
        )
        return self._noted(token, uid, provider, account_id)

    async def give_up(self, refused: str) -> None:
        """Mark the account whose renewed token was refused as well, and raise AccountExpired."""
        if (known := self._given.pop(refused, None)) is None:
            return
        uid, provider, account_id = known
        try:
            held = await self._accounts.get(uid, account_id)
        except NotFound as err:
            raise self._unlinked(provider, (), linked=False, dead=False) from err
        if held.tokens.access == refused:
            row = await self._trail.begin(
                uid, f"{provider.slug} refused", details=account_id, by="keeper"
            )
            marked = await self._accounts.refused(uid, held)
            await self._trail.complete(row, AccountExpired.code if marked else "done")
        raise self._unlinked(provider, held.account.scopes, linked=True, dead=True)

    def _noted(self, token: str, uid: str, provider: Provider, account_id: str) -> str:
        """Remember whose token this is, in case it is refused."""
        self._given[token] = uid, provider, account_id
        self._given.move_to_end(token)
        if len(self._given) > _REMEMBERED:
            self._given.popitem(last=False)
        return token

    def _unlinked(
        self, provider: Provider, scopes: Scopes, *, linked: bool, dead: bool
    ) -> OdaiError:
        self._endpoints.client(provider)  # without keys there is nothing to open: says what to set
        name, path = provider.name, provider.login_path(scopes)
        where = f"{self._home}{path}"
        if dead:
            why, then = f"Your {name} account no longer lets us in.", "connect it again"
        elif linked:
            why, then = f"Your {name} account is connected without permission for this.", "allow it"
        else:
            why, then = f"No {name} account is connected.", "connect one"
        kind = AccountExpired if dead else AccountNeeded
        return kind(
            f"{why} {then.capitalize()} at {where}", provider=provider, path=path,
            beside=f"{why} Use the button to {then}, then ask again.",
        )  # fmt: skip

    async def _refresh(
        self, uid: str, provider: Provider, account_id: str, *, refused: str = ""
    ) -> str:
        """Renew an account's tokens, or wait until whoever holds the lease has.

        The token `refused` is no longer good, whatever its time says.
        """
        owner = secrets.token_hex(8)

        def fresh(tokens: Tokens) -> bool:
            return self._fresh(tokens) and tokens.access != refused

        for _ in range(round((LEASE_S + 2) / _POLL_S)):
            claim = await self._claim(uid, provider, account_id, owner, fresh)
            held, tokens = claim.held, claim.held.tokens
            if claim.mine:
                return await self._renew(uid, provider, held, owner, refused)
            if held.account.status != "ok":
                raise self._unlinked(provider, held.account.scopes, linked=True, dead=True)
            if self._valid(tokens) and tokens.access != refused:
                return tokens.access
            await self._sleep(_POLL_S)
        raise VendorUnavailable(f"{provider.name}'s sign-in is being renewed. Try again.")

    async def _claim(
        self,
        uid: str,
        provider: Provider,
        account_id: str,
        owner: str,
        fresh: Callable[[Tokens], bool],
    ) -> Claim:
        try:
            return await self._accounts.claim(uid, account_id, owner=owner, fresh=fresh)
        except NotFound as err:
            raise self._unlinked(provider, (), linked=False, dead=False) from err

    async def _renew(
        self, uid: str, provider: Provider, held: Held, owner: str, refused: str
    ) -> str:
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
            with suppress(OdaiError):  # the lease ends by itself: what went wrong is the news
                await self._accounts.release(uid, held.account.id, owner=owner)
            usable = self._valid(held.tokens) and held.tokens.access != refused
            if isinstance(err, VendorUnavailable | RateLimited) and usable:
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
