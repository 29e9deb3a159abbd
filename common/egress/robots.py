"""What a site asks of programs: robots.txt, read as RFC 9309 says and kept for a while.

https://www.rfc-editor.org/rfc/rfc9309

A page that a person asks for is no crawl, and still the site's wish counts. The standard library's
parser knows no wildcards and fetches by itself, past the guard.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from yarl import URL

from common.egress.pace import Clock
from common.egress.reply import Reply
from common.errors import NotAllowed, VendorRejected, VendorUnavailable

MAX_BYTES = 500 * 1024  # what the RFC asks a reader to read at least
_KEPT_S, _KEPT = 24 * 3600.0, 256
_MOST_RULES = 2000
_LINE = re.compile(r"\s*(user-agent|allow|disallow)\s*:\s*([^#]*)", re.I)


@dataclass(frozen=True, slots=True)
class Rules:
    """The paths one program may or may not read: (allowed, pattern), as the file gives them."""

    patterns: tuple[tuple[bool, str], ...] = ()

    @classmethod
    def parse(cls, text: str, agent: str) -> Rules:
        """Return the rules for `agent` (a product token), those for "*" where it has none."""
        groups: dict[str, list[tuple[bool, str]]] = {}
        named: list[str] = []
        ruled = False
        for line in text[:MAX_BYTES].splitlines():
            if not (found := _LINE.match(line)):
                continue
            field, value = found[1].lower(), found[2].strip()
            if field == "user-agent":
                named = [value.lower()] if ruled else [*named, value.lower()]
                ruled = False
                groups.setdefault(value.lower(), [])
                continue
            ruled = True
            for name in named if value else ():
                groups[name].append((field == "allow", value))
        return cls(tuple(groups.get(agent.lower(), groups.get("*", ()))[:_MOST_RULES]))

    def allow(self, path: str) -> bool:
        """Tell whether `path` (with its query) may be read: the longest pattern decides."""
        fitting = [(len(p), allowed) for allowed, p in self.patterns if _fits(p, path)]
        return max(fitting, default=(0, True))[1]


class Robots:
    """The rules of sites, each read once a day through `fetch`, which must guard itself."""

    def __init__(
        self, fetch: Callable[[str], Awaitable[Reply]], *, agent: str, clock: Clock
    ) -> None:
        self._fetch, self._agent, self._clock = fetch, agent, clock
        self._kept: OrderedDict[str, tuple[float, Rules]] = OrderedDict()

    async def check(self, page: URL) -> None:
        """Raise VendorRejected where the site asks programs not to read `page`.

        Raises VendorUnavailable where the site cannot be asked.
        """
        rules = await self._rules(str(page.origin()))
        if not rules.allow(page.raw_path_qs):
            raise VendorRejected(
                "That site asks programs not to read this page. Search for the same facts"
                " elsewhere, or offer to open the page in a window."
            )

    async def _rules(self, origin: str) -> Rules:
        at, rules = self._kept.get(origin, (0.0, None))
        if rules is None or self._clock() - at >= _KEPT_S:
            rules = await self._read(origin)
            self._kept[origin] = (self._clock(), rules)
        self._kept.move_to_end(origin)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return rules

    async def _read(self, origin: str) -> Rules:
        try:
            reply = await self._fetch(f"{origin}/robots.txt")
        except (NotAllowed, VendorRejected):  # redirected inward or for ever, or without an end
            return Rules()
        if reply.status >= 500:
            raise VendorUnavailable(
                "That site cannot say now whether programs may read it. Try again in a few minutes."
            )
        return Rules.parse(reply.text(), self._agent) if reply.status < 300 else Rules()


def _fits(pattern: str, path: str) -> bool:
    """Match a prefix in which "*" stands for anything and a last "$" for the end.

    Piece by piece, never by a regular expression: a stranger writes the pattern.
    """
    whole = pattern.endswith("$")
    head, *pieces = pattern.removesuffix("$").split("*")
    if not path.startswith(head):
        return False
    at = len(head)
    last = pieces.pop() if whole and pieces else None
    for piece in pieces:
        found = path.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    if last is not None:
        return path.endswith(last) and len(path) - len(last) >= at
    return not whole or at == len(path)
