"""Calls with a linked account's token, made again with a new one where the vendor refuses it.

A vendor ends tokens before their time: a password was changed, a permission withdrawn and given
again. Its 401 says that nothing was done, so any call may be repeated, and that one call alone:
what the tool did before it stays done once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from common.egress import Egress, Reply
from common.egress.wire import Call
from common.errors import VendorRejected
from common.oauth.keeper import Keeper

_SCHEME = "Bearer "


class RenewingEgress(Egress):
    """`inner`, for tools: renews the keeper's tokens that a vendor refuses, once for each call."""

    __slots__ = ("_keeper",)  # the one attribute that is not shared

    def __init__(self, inner: Egress, keeper: Keeper) -> None:
        """Share connections, pace and cache with `inner`, which its owner closes."""
        self.__dict__ = inner.__dict__
        self._keeper = keeper

    async def perform(self, call: Call, cache_s: float) -> Reply:
        """Make a vendor call; AccountExpired where a new token is refused as well."""
        try:
            return await super().perform(call, cache_s)
        except VendorRejected as err:
            refused = _token(call.headers) if err.vendor_status == 401 else ""
            renewed = await self._keeper.renewed(refused) if refused else None
            if renewed is None:
                raise
        again = replace(call, headers=_with_token(call.headers, renewed))
        try:
            return await super().perform(again, cache_s)
        except VendorRejected as err:
            if err.vendor_status == 401:
                await self._keeper.give_up(renewed)
            raise


def _token(headers: Mapping[str, str]) -> str:
    value = headers.get("Authorization", "")
    return value.removeprefix(_SCHEME) if value.startswith(_SCHEME) else ""


def _with_token(headers: Mapping[str, str], token: str) -> dict[str, str]:
    return {**headers, "Authorization": f"{_SCHEME}{token}"}
