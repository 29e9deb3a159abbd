"""What a user can connect, what each part of it would allow, and what is connected.

Nobody should have to leave for a provider's page to learn what they are asked for. What a feature
lets us see and do comes from the manifests alone: the provider's words for its permissions, and
the connectors' tools that need them, those apart that wait for the user's approval each time.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from common.oauth.providers import PROVIDERS

if TYPE_CHECKING:  # cold start: only what a request uses is loaded for it
    import datetime as dt

    from common.oauth import Account
    from common.oauth.flow import Provider, Scopes
    from common.plaid_items import Bank
    from common.settings import Settings
    from common.tools import Entry, Registry

BANK_KEYS: Final = ("PLAID_CLIENT_ID", "PLAID_SECRET")
_BANK_ASKS: Final = (
    "see the names and numbers of the accounts you choose",
    "see their balances and up to two years of transactions",
)
_BANK_STATUS: Final = {"active": "ok", "expiring": "expiring", "login_required": "reauth"}
# A tool's first sentence is written for the model: said to the user, the user is "you".
_YOU: Final = (
    (re.compile(r"\bthe user's\b"), "your"),
    (re.compile(r"\bof the user\b"), "of yours"),
    (re.compile(r"\bthe user has\b"), "you have"),
    (re.compile(r"\bthe user is\b"), "you are"),
    (re.compile(r"\bthe user\b"), "you"),
    (re.compile(r"\btheir (own|Google)\b"), r"your \1"),
)


def connections(
    registry: Registry, settings: Settings, accounts: Iterable[Account], banks: Iterable[Bank]
) -> list[dict[str, Any]]:
    """Return every service an account of which can be connected, as JSON.

    Each is `{slug, name, on, missing, login, features, accounts}`; a feature `{name, label, asks,
    looks, acts, connectors}`, an account `{id, label, status, linked_at, used_at, features}` with
    a status of "ok", "expiring" or "reauth". `missing` names settings.
    """
    held = list(accounts)
    shown = [_provider(each, registry, settings, held) for each in PROVIDERS.values()]
    return [*shown[:1], _bank(registry, settings, banks), *shown[1:]]


def _provider(
    provider: Provider, registry: Registry, settings: Settings, held: Iterable[Account]
) -> dict[str, Any]:
    users = [e for e in registry.entries.values() if e.connector.account == provider.slug]
    missing = [name for name in provider.settings if not settings.secret(name)]
    features: Mapping[str, Scopes] = provider.features or {"": ()}
    return {
        "slug": provider.slug, "name": provider.name, "on": not missing, "missing": missing,
        "login": f"/oauth_google/login?provider={provider.slug}",
        "features": [_feature(provider, name, scopes, users) for name, scopes in features.items()],
        "accounts": [_account(a, provider) for a in held if a.provider == provider.slug],
    }  # fmt: skip


def _feature(
    provider: Provider, name: str, scopes: Scopes, users: Iterable[Entry]
) -> dict[str, Any]:
    fitting = [e for e in users if provider.covers(scopes, e.connector.scopes)]
    asks = [provider.words[scope] for scope in scopes or ("",)]
    return {"name": name, "label": name.capitalize(), "asks": asks} | _used_for(fitting)


def _used_for(entries: Collection[Entry]) -> dict[str, Any]:
    tools = [tool for entry in entries for tool in entry.tools]
    return {
        "connectors": [entry.connector.name for entry in entries],
        "looks": [_plainly(tool.description) for tool in tools if tool.risk == "read"],
        "acts": [_plainly(tool.description) for tool in tools if tool.risk != "read"],
    }


def _plainly(description: str) -> str:
    """Return the first sentence of what a model reads about a tool, said to its user."""
    first = re.split(r"[.;:](?:\s|$)", " ".join(description.split()), maxsplit=1)[0]
    for pattern, said in _YOU:
        first = pattern.sub(said, first)
    return first


def _account(account: Account, provider: Provider) -> dict[str, Any]:
    granted = [n for n, s in provider.features.items() if provider.covers(account.scopes, s)]
    return {
        "id": account.id, "label": account.label, "status": account.status,
        "linked_at": account.linked_at.isoformat(), "used_at": _time(account.used_at),
        "features": granted,
    }  # fmt: skip


def _bank(registry: Registry, settings: Settings, banks: Iterable[Bank]) -> dict[str, Any]:
    users = [e for e in registry.entries.values() if e.slug == "plaid"]
    missing = [name for name in BANK_KEYS if not settings.secret(name)]
    asks = {"name": "", "label": "Accounts", "asks": list(_BANK_ASKS)}
    return {
        "slug": "plaid", "name": "Bank", "on": not missing, "missing": missing,
        "login": "/auth/plaid/login", "features": [asks | _used_for(users)],
        "accounts": [_linked_bank(bank) for bank in banks],
    }  # fmt: skip


def _linked_bank(bank: Bank) -> dict[str, Any]:
    parts = [f"{a.get('name') or 'Account'} {a.get('mask') or ''}".strip() for a in bank.accounts]
    return {
        "id": bank.id, "label": bank.institution, "status": _BANK_STATUS[bank.status],
        "linked_at": bank.linked_at.isoformat(), "used_at": _time(bank.used_at),
        "features": [], "parts": parts,
    }  # fmt: skip


def _time(moment: dt.datetime | None) -> str | None:
    return moment.isoformat() if moment else None
