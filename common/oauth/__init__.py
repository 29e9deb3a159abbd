"""Linking accounts at other services by OAuth 2.0, and keeping their tokens fresh.

`flow` and `providers` are the protocol as values, without I/O; `states` remembers who started a
flow in which browser; `accounts` keeps what was granted; `links` runs a flow from its first
redirect to the stored account; `keeper` hands out access tokens that are still good.
"""

from __future__ import annotations

from common.oauth.accounts import Account, LinkedAccounts
from common.oauth.flow import Failed, Provider
from common.oauth.keeper import Keeper
from common.oauth.links import Finished, Links, Started
from common.oauth.states import States

__all__ = [
    "Account",
    "Failed",
    "Finished",
    "Keeper",
    "LinkedAccounts",
    "Links",
    "Provider",
    "Started",
    "States",
]
