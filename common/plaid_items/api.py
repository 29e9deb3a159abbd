"""Plaid's endpoints that we use, each one POST, and its error codes in our words.

Keys travel as headers, so that bodies hold nothing of the operator's. Branching is on the error's
code; what the vendor says to people (`display_message`) is the only text of its that is passed on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from common.errors import (
    Conflict,
    InvalidInput,
    Misconfigured,
    NotAllowed,
    NotFound,
    OdaiError,
    RateLimited,
    ReauthRequired,
    VendorRejected,
    VendorUnavailable,
)
from common.log import get_logger

if TYPE_CHECKING:  # cold start: the client behind it imports aiohttp
    from common.egress import Client, Egress

log = get_logger(__name__)

HOSTS: Final = ("sandbox.plaid.com", "production.plaid.com")
BALANCE_S: Final = 45.0  # a bank that is asked itself may take half a minute
_ENVIRONMENTS: Final = ("sandbox", "production")

_SIGN_IN_AGAIN: Final = frozenset({
    "ITEM_LOGIN_REQUIRED", "INVALID_CREDENTIALS", "INVALID_MFA", "ITEM_LOCKED",
    "INSUFFICIENT_CREDENTIALS", "INVALID_UPDATED_USERNAME", "USER_SETUP_REQUIRED",
    "ACCESS_NOT_GRANTED", "ADDITIONAL_CONSENT_REQUIRED", "NO_ACCOUNTS",
})  # fmt: skip
_GONE: Final = frozenset({
    "ITEM_NOT_FOUND", "INVALID_ACCESS_TOKEN", "USER_PERMISSION_REVOKED", "ACCESS_TOKEN_NOT_FOUND",
})  # fmt: skip
_BAD_KEYS: Final = frozenset({"INVALID_API_KEYS", "UNAUTHORIZED_ENVIRONMENT", "INVALID_PRODUCT"})
_SPENT: Final = frozenset({"INVALID_PUBLIC_TOKEN", "EXPIRED_PUBLIC_TOKEN", "INVALID_LINK_TOKEN"})
_LATER: Final = frozenset({"INSTITUTION_ERROR", "API_ERROR", "RATE_LIMIT_EXCEEDED"})
_MUTATED: Final = "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION"


class Mutated(Conflict):
    """The transactions changed between two pages: begin again from the cursor before the first."""


class PlaidApi:
    """Calls Plaid through `egress()` with the operator's keys, both asked when first needed.

    Raises, besides what the outbound client does: ReauthRequired (the user must sign in at the
    bank again), NotFound (the link is gone), InvalidInput (a Link token used before or expired),
    Misconfigured (the operator's keys), Mutated.
    """

    def __init__(self, egress: Callable[[], Egress], secret: Callable[[str], str | None]) -> None:
        self._egress = egress
        self._secret = secret

    @property
    def environment(self) -> str:
        """`sandbox` or `production` (the setting PLAID_ENV; sandbox where it is not set)."""
        name = self._secret("PLAID_ENV") or "sandbox"
        if name not in _ENVIRONMENTS:
            raise Misconfigured("PLAID_ENV must be sandbox or production.")
        return name

    async def create_link_token(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Begin consent: `{link_token, expiration, hosted_link_url?}`."""
        return await self._post("/link/token/create", body)

    async def exchange(self, public_token: str) -> tuple[str, str]:
        """Return (access token, item id) for a public token, which works once."""
        answer = await self._post("/item/public_token/exchange", {"public_token": public_token})
        return _text(answer, "access_token"), _text(answer, "item_id")

    async def accounts(self, token: str, *, fresh: bool = False) -> dict[str, Any]:
        """Return `{accounts, item}`; `fresh` asks the bank itself, which is billed and slow."""
        if fresh:
            return await self._read("/accounts/balance/get", token, {}, timeout_s=BALANCE_S)
        return await self._read("/accounts/get", token, {})

    async def changes(self, token: str, cursor: str) -> dict[str, Any]:
        """Return one page of changes behind `cursor` ("": from the beginning)."""
        body: dict[str, Any] = {"count": 500, "cursor": cursor} if cursor else {"count": 500}
        return await self._read("/transactions/sync", token, body)

    async def remove(self, token: str) -> None:
        """End the link at Plaid; one that is gone already counts as ended."""
        try:
            await self._post("/item/remove", {"access_token": token}, idempotent=True)
        except NotFound:
            return

    async def webhook_key(self, kid: str) -> Mapping[str, Any]:
        """Return the JWK that signs webhooks under `kid`; NotFound where there is none."""
        try:
            answer = await self._post(
                "/webhook_verification_key/get", {"key_id": kid}, idempotent=True
            )
        except VendorRejected as err:
            raise NotFound("There is no such key.") from err
        key = answer.get("key")
        return key if isinstance(key, dict) else {}

    async def _read(
        self, path: str, token: str, body: dict[str, Any], *, timeout_s: float = 15.0
    ) -> dict[str, Any]:
        given = {"access_token": token, **body}
        return await self._post(path, given, idempotent=True, timeout_s=timeout_s)

    async def _post(
        self, path: str, body: Mapping[str, Any], *, idempotent: bool = False,
        timeout_s: float = 15.0,
    ) -> dict[str, Any]:  # fmt: skip
        keys = {
            "PLAID-CLIENT-ID": self._needed("PLAID_CLIENT_ID"),
            "PLAID-SECRET": self._needed("PLAID_SECRET"),
            "Plaid-Version": "2020-09-14",
        }
        reply = await self._client().request(
            "POST", f"https://{self.environment}.plaid.com{path}",
            json=body, headers=keys, idempotent=idempotent, timeout_s=timeout_s, expect=(400,),
        )  # fmt: skip
        answer = reply.json()
        if not isinstance(answer, dict):
            raise VendorUnavailable("Plaid sent an answer that cannot be read. Try again soon.")
        if reply.status == 400:
            raise _refusal(answer)
        return answer

    def _client(self) -> Client:
        from common.egress import Policy  # cold start, as above

        return self._egress().client(Policy(name="Plaid", hosts=HOSTS, concurrency=16))

    def _needed(self, name: str) -> str:
        if value := self._secret(name):
            return value
        raise NotAllowed(f"Banks are not set up here. Set {name} and start again.")


def _refusal(answer: Mapping[str, Any]) -> OdaiError:
    kind, code = str(answer.get("error_type")), str(answer.get("error_code"))
    log.info("plaid refused", extra={
        "plaid_code": code[:60], "plaid_request": str(answer.get("request_id"))[:40],
    })  # fmt: skip
    if code == _MUTATED:
        return Mutated("The transactions changed meanwhile. Try again.")
    if code in _GONE:
        return NotFound("That bank is no longer connected. Connect it again.")
    if code in _SPENT:
        return InvalidInput("That bank link was used before or has expired. Connect it again.")
    if code in _BAD_KEYS:
        return Misconfigured(f"Plaid refuses our keys ({code}): check PLAID_CLIENT_ID and others.")
    if code in _SIGN_IN_AGAIN:
        return ReauthRequired("Your bank wants you to sign in again. Connect it again with Plaid.")
    if kind == "RATE_LIMIT_EXCEEDED":
        return RateLimited("Plaid takes no more requests now. Try again in a minute.")
    if kind in _LATER or code == "PRODUCT_NOT_READY":
        return VendorUnavailable("Your bank does not answer Plaid now. Try again in a few minutes.")
    shown = answer.get("display_message")
    told = f" It says: {shown[:200]}" if isinstance(shown, str) and shown else ""
    return VendorRejected(f"Plaid did not accept the request.{told}", vendor_status=400)


def _text(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise VendorUnavailable("Plaid sent an answer that cannot be read. Try again soon.")
    return value
