"""What the user may want to ask next: by rule from what was just used, or as a model proposes.

Whoever proposes, the same holds of what is shown: at most MOST prompts of at most MAX_CHARACTERS,
none asked before, each for a tool that is on for this user.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

import msgspec

from common.assistant.protocol import Suggestion
from common.oauth import Account
from common.oauth.providers import PROVIDERS
from common.plaid_items import Bank
from common.tools import Entry

MOST = 3
MAX_CHARACTERS = 35
_MOST_ENTRIES = 6
_MOST_TOOLS = 8  # of one connector


class Idea(msgspec.Struct):
    """A prompt as a model proposes it: for which tool, and how likely it is wanted, 0 to 1."""

    prompt: str
    tool: str
    likelihood: float


class Reach:
    """Tells which connectors are on for a user: keys set, accounts linked with what they need."""

    def __init__(
        self,
        secret: Callable[[str], str | None],
        *,
        is_owner: Callable[[str], bool],
        accounts_of: Callable[[str], Awaitable[Sequence[Account]]],
        banks_of: Callable[[str], Awaitable[Sequence[Bank]]],
    ) -> None:
        self._secret = secret
        self._is_owner = is_owner
        self._accounts_of = accounts_of
        self._banks_of = banks_of

    async def within(self, uid: str, entries: Iterable[Entry]) -> list[Entry]:
        """Return those of `entries` that work for `uid`; the store is asked only where it must."""
        able = [entry for entry in entries if self._set_up(uid, entry)]
        accounts: Sequence[Account] = []
        banks: Sequence[Bank] = []
        if any(entry.connector.account for entry in able):
            accounts = [a for a in await self._accounts_of(uid) if a.status == "ok"]
        if any(entry.connector.auth == "plaid" for entry in able):
            banks = [b for b in await self._banks_of(uid) if b.status != "login_required"]
        return [e for e in able if _is_linked(e, accounts) and _has_bank(e, banks)]

    def _set_up(self, uid: str, entry: Entry) -> bool:
        if entry.connector.personal and not self._is_owner(uid):
            return False
        return not entry.missing(self._secret)


def suggest(entries: Iterable[Entry], *, asked: Sequence[str]) -> list[Suggestion]:
    """Return up to MOST example prompts of `entries` (best first) that were not asked yet."""
    known = {_plain(prompt) for prompt in asked}
    found: list[str] = []
    for example in (example for entry in entries for example in entry.connector.examples):
        if len(example) <= MAX_CHARACTERS and _plain(example) not in known:
            known.add(_plain(example))
            found.append(example)
    return [
        Suggestion(prompt=prompt, likelihood=round(0.6 - 0.15 * place, 2))
        for place, prompt in enumerate(found[:MOST])
    ]


def offered(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the tools of the first few connectors, by name, as a model is told of them."""
    return {
        tool.name: entry.connector.name + ": " + tool.description.partition("\n")[0]
        for entry in entries[:_MOST_ENTRIES]
        for tool in entry.tools[:_MOST_TOOLS]
    }


def chosen(
    ideas: Iterable[Idea], *, tools: Collection[str] | Mapping[str, str], asked: Sequence[str]
) -> list[Suggestion]:
    """Return what of a model's ideas may be shown, the likeliest first."""
    known = {_plain(prompt) for prompt in asked}
    found: list[Suggestion] = []
    for idea in sorted(ideas, key=_likelihood, reverse=True):
        prompt = " ".join(idea.prompt.split()).strip("\"“”'` ")
        plain = _plain(prompt)
        fits = 0 < len(prompt) <= MAX_CHARACTERS and prompt.isprintable()
        if fits and plain and plain not in known and idea.tool in tools:
            known.add(plain)
            found.append(Suggestion(prompt=prompt, likelihood=round(_likelihood(idea), 2)))
    return found[:MOST]


def _likelihood(idea: Idea) -> float:
    return min(1.0, max(0.0, idea.likelihood)) if math.isfinite(idea.likelihood) else 0.0


def _is_linked(entry: Entry, accounts: Sequence[Account]) -> bool:
    slug = entry.connector.account
    provider = PROVIDERS.get(slug)
    if not slug or provider is None:
        return not slug
    wanted = entry.connector.scopes
    return any(a.provider == slug and provider.covers(a.scopes, wanted) for a in accounts)


def _has_bank(entry: Entry, banks: Sequence[Bank]) -> bool:
    return entry.connector.auth != "plaid" or bool(banks)


def _plain(prompt: str) -> str:
    return " ".join(prompt.casefold().split()).rstrip("?.! ")
