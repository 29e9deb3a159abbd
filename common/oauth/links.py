"""Linking an account, from the first redirect to the stored account, and unlinking it.

Every way a flow can go wrong ends in a `Failed` with a code and a sentence; nothing is stored
unless everything is there.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from common.documents import Clock
from common.errors import InvalidInput, NotAllowed, NotFound, OdaiError, VendorRejected
from common.identity.members import Members
from common.log import get_logger
from common.oauth import flow
from common.oauth.accounts import Account, LinkedAccounts, account_id_of
from common.oauth.endpoints import Endpoints
from common.oauth.flow import Failed, Profile, Provider, Refused, Tokens
from common.oauth.states import Cookie, Pending, States, redirect_target

GONE = "user_deleted"
_log = get_logger(__name__)
_REFUSALS = {
    "grant": ("code_refused", "The sign-in was used already or took too long. Start again."),
    "client": ("client_refused", "{name} does not accept this server. Its operator must check "
               "{keys}_CLIENT_ID and {keys}_CLIENT_SECRET."),
    "transient": ("vendor_unavailable", "{name} does not answer now. Try again in a moment."),
    "refused": ("sign_in_refused", "{name} did not accept the sign-in. Start again."),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Started:
    """Where to send the browser, and the cookie to give it."""

    url: str
    cookie: Cookie
    provider: Provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a flow ended: `result` is the account, or why there is none.

    `missing` names the features that were asked for and not allowed.
    """

    redirect: str
    result: Account | Failed
    uid: str = ""
    provider: str = ""
    missing: tuple[str, ...] = ()


class Links:
    """Starts and finishes flows, for users who are still there when they finish.

    `home` is our own address, `origins` where else a flow may end; `browser_map` sends a provider's
    host elsewhere, as `egress` does for our own calls.
    """

    def __init__(
        self,
        states: States,
        accounts: LinkedAccounts,
        endpoints: Endpoints,
        members: Members,
        *,
        clock: Clock,
        home: str,
        origins: Collection[str],
        browser_map: Mapping[str, str],
    ) -> None:
        self._states = states
        self._accounts = accounts
        self._endpoints = endpoints
        self._members = members
        self._clock = clock
        self._home = home
        self._origins = origins
        self._browser_map = browser_map

    async def begin(
        self,
        uid: str,
        *,
        provider: str,
        features: Collection[str] = (),
        redirect: str = "",
        account: str = "",
    ) -> Started:
        """Start linking an account for `features` (none: all), or `account` again.

        Raises InvalidInput, NotFound (provider, account) and NotAllowed (not set up).
        """
        service = self._endpoints.provider(provider)
        client = self._endpoints.client(service)
        if unknown := sorted(set(features) - set(service.features)):
            known = ", ".join(service.features) or "none"
            raise InvalidInput(f"feature {unknown[0][:40]!r} must be one of: {known}.")
        target = redirect_target(redirect, home=self._home, origins=self._origins)
        if target is None:
            raise InvalidInput("next must be a path of this site or an address of an allowed one.")
        hint = await self._hint(uid, service, account)
        scopes = service.scopes_for(features or service.features)
        verifier = secrets.token_urlsafe(48)
        pending = Pending(
            uid=uid, provider=provider, scopes=scopes, redirect=target, verifier=verifier
        )
        state, cookie = await self._states.begin(pending)
        url = flow.authorize_url(
            service, client, state=state, verifier=verifier, scopes=scopes,
            redirect_uri=self._redirect_uri(service), hint=hint,
        )  # fmt: skip
        return Started(self._for_browser(url), cookie, service)

    async def finish(self, query: Mapping[str, str], cookies: Mapping[str, str]) -> Finished:
        """Finish a flow with the parameters and cookies its browser came back with."""
        pending = await self._states.finish(query.get("state", ""), cookies)
        if isinstance(pending, Failed):
            return Finished(redirect=f"{self._home}/", result=pending, uid=pending.uid)
        provider = self._endpoints.provider(pending.provider)
        try:
            result = await self._linked(provider, pending, query)
        except OdaiError as err:
            result = Failed(err.code, str(err), pending.uid)
        missing: tuple[str, ...] = ()
        if isinstance(result, Account):
            missing = tuple(
                name for name, scopes in provider.features.items()
                if set(scopes) <= set(pending.scopes) and not provider.covers(result.scopes, scopes)
            )  # fmt: skip
        return Finished(
            redirect=pending.redirect, result=result, uid=pending.uid, provider=provider.slug,
            missing=missing,
        )  # fmt: skip

    async def unlink(self, uid: str, account_id: str) -> None:
        """Take the grant back at the provider, then forget the account.

        Raises NotFound, VendorUnavailable and RateLimited: then it is still linked.
        """
        held = await self._accounts.get(uid, account_id)
        provider = self._endpoints.provider(held.account.provider)
        if held.tokens.access or held.tokens.refresh:
            await self._revoke(provider, held.tokens)
        await self._accounts.forget(uid, account_id)

    async def unlink_all(self, uid: str) -> None:
        """Take back and forget every account of a user who leaves; forgets even where revoking
        fails, and raises the first failure at the end."""
        failure: OdaiError | None = None
        for account in await self._accounts.of(uid):
            try:
                await self.unlink(uid, account.id)
            except OdaiError as err:
                failure = failure or err
                await self._accounts.forget(uid, account.id)
        if failure:
            raise failure

    async def _hint(self, uid: str, provider: Provider, account_id: str) -> dict[str, str]:
        if not account_id:
            return {}
        held = await self._accounts.get(uid, account_id)
        if held.account.provider != provider.slug:
            raise NotFound("No such account is connected.")
        hint = {"login_hint": account_id.partition(":")[2]}
        if held.tokens.refresh and "prompt" in provider.extra:
            hint["prompt"] = ""  # a lasting token is held: asking for new permissions is enough
        return hint

    async def _linked(
        self, provider: Provider, pending: Pending, query: Mapping[str, str]
    ) -> Account | Failed:
        # The consent page may have been open while its user left: nothing may be kept for them.
        if (await self._members.member(pending.uid)).standing not in ("new", "member"):
            return Failed(GONE, "This account was deleted. Sign up with another one.",
                          pending.uid)  # fmt: skip
        if error := query.get("error"):
            return _declined(provider, pending.uid, error)
        code = query.get("code", "")
        if not 0 < len(code) <= 4096:
            return Failed("code_missing", "The sign-in's answer was incomplete. Start again.",
                          pending.uid)  # fmt: skip
        client, sent_at = self._endpoints.client(provider), self._clock()
        request = flow.exchange(
            provider, client, code=code, verifier=pending.verifier,
            redirect_uri=self._redirect_uri(provider),
        )  # fmt: skip
        status, body = await self._endpoints.send(provider, request)
        tokens = flow.read_tokens(provider, status, body, asked=pending.scopes, sent_at=sent_at)
        if isinstance(tokens, Refused):
            _log.warning("code refused", extra={"provider": provider.slug, "error": tokens.error})
            code, message = _REFUSALS[tokens.reason]
            told = message.format(name=provider.name, keys=provider.keys)
            return Failed(code, told, pending.uid)
        profile = await self._profile(provider, tokens, body)
        if profile is None:
            message = f"{provider.name} did not say whose account it is. Start again."
            return Failed("profile_missing", message, pending.uid)
        return await self._keep(provider, pending.uid, profile, tokens)

    async def _profile(self, provider: Provider, tokens: Tokens, body: object) -> Profile | None:
        if provider.profile_url:
            request = flow.profile_request(provider, tokens.access)
            status, body = await self._endpoints.send(provider, request)
            if status >= 400:
                return None
        return flow.read_profile(provider, body)

    async def _keep(
        self, provider: Provider, uid: str, profile: Profile, tokens: Tokens
    ) -> Account | Failed:
        if provider.lasting and not tokens.refresh and not await self._lasting(
            uid, provider, profile
        ):  # fmt: skip
            return Failed(
                "not_lasting",
                f"{provider.name} gave access for an hour only. Remove this app in your "
                f"{provider.name} account's settings, then connect again.",
                uid,
            )
        account = await self._accounts.link(uid, provider.slug, profile, tokens)
        return account or Failed(
            "account_taken",
            f"That {provider.name} account is connected to another user here. "
            "Disconnect it there first, or choose another one.",
            uid,
        )

    async def _lasting(self, uid: str, provider: Provider, profile: Profile) -> bool:
        try:
            held = await self._accounts.get(uid, account_id_of(provider.slug, profile))
        except NotFound:
            return False
        return bool(held.tokens.refresh)

    async def _revoke(self, provider: Provider, tokens: Tokens) -> None:
        try:
            request = flow.revoke(provider, self._endpoints.client(provider), tokens)
        except NotAllowed:  # its keys were taken out of the settings: the user may still leave
            request = None
        if request is None:
            return
        # Refused means dead already; down or limited raises, and the account stays.
        try:
            status, _ = await self._endpoints.send(provider, request)
        except VendorRejected as err:
            status = err.vendor_status or 0
        if status >= 400:
            _log.info("nothing to revoke", extra={"provider": provider.slug, "status": status})

    def _redirect_uri(self, provider: Provider) -> str:
        return self._home + provider.callback

    def _for_browser(self, url: str) -> str:
        parts = urlsplit(url)
        origin = self._browser_map.get(parts.netloc)
        return url.replace(f"{parts.scheme}://{parts.netloc}", origin, 1) if origin else url


def _declined(provider: Provider, uid: str, error: str) -> Failed:
    if error in ("access_denied", "consent_required", "user_denied"):
        message = f"You did not allow the access, so {provider.name} was not connected."
        return Failed("consent_denied", message, uid)
    _log.warning("sign-in declined", extra={"provider": provider.slug})
    return Failed("sign_in_refused", f"{provider.name} ended the sign-in. Start again.", uid)
