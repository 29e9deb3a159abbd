"""The guard before addresses that a user, a model or a page names (server-side request forgery).

Three rules. The text must have the one plain shape of a web address. The address judged is the one
dialled: the connector asks `PublicResolver` once and connects to its answer. And an address is
public only if it, and any IPv4 address it carries inside, is in nobody's special registry.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Collection
from ipaddress import IPv4Address, IPv6Address, ip_network

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from common.errors import InvalidInput, NotAllowed

Lookup = Callable[[str, int], Awaitable[list[str]]]

# No credentials, percent signs, backslashes, blanks or control characters before the path: these
# are what parsers disagree about.
_SHAPE = re.compile(r"https?://[^/?#@%\\\s\x00-\x20\x7f]+(?:[/?#][^\\\s\x00-\x20\x7f]*)?", re.I)
_NAME = re.compile(
    r"(?=.{4,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]"
)
_INNER = ("localhost", "local", "internal", "intranet", "lan", "home.arpa", "localdomain", "onion")
# is_global of the standard library misses these, or judges them differently by patch level.
_DENIED = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8", "100.64.0.0/10", "168.63.129.16/32", "169.254.0.0/16", "192.0.0.0/24",
            "192.88.99.0/24", "198.18.0.0/15", "224.0.0.0/3",
            "2001::/23", "2001:db8::/32", "3fff::/20",
        ),
    )
)  # fmt: skip
_NAT64 = ip_network("64:ff9b::/96")
_GLOBAL_UNICAST = ip_network("2000::/3")


def public_url(text: str, *, ports: Collection[int]) -> URL:
    """Return `text` as a canonical URL, its host a public-looking name or a public address.

    Raises InvalidInput where it is no plain http(s) address, NotAllowed where it points inward.
    """
    url = _parsed(text)
    if url.port not in ports:
        raise NotAllowed("Only web pages on the usual ports can be opened. Give another address.")
    host = (url.raw_host or "").removesuffix(".")
    address = _literal(host)
    if address is None and not _NAME.fullmatch(host):
        raise InvalidInput("That host name cannot be used. Give a full address like example.com.")
    inner = address is None and any(host.endswith(f".{suffix}") for suffix in _INNER)
    if inner or (address is not None and not is_public(host)):
        raise _not_public()
    return url.with_host(host)


def is_public(text: str) -> bool:
    """Tell whether the numeric address `text` belongs to the public internet."""
    address = _literal(text)
    if isinstance(address, IPv6Address):
        inside = _inner_ipv4(address)
        if inside is None and address not in _GLOBAL_UNICAST:
            return False
        address = inside or address
    return (
        address is not None
        and not any(address in network for network in _DENIED)
        and address.is_global
        and not (address.is_multicast or address.is_reserved)
    )


async def lookup(host: str, port: int) -> list[str]:
    """Return the numeric addresses of `host` from the system's resolver; raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in found]


class PublicResolver(AbstractResolver):
    """Resolves for the connector, and refuses a name if any of its addresses is not public."""

    def __init__(self, find: Lookup) -> None:
        self._find = find

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of `host`; raises NotAllowed, and OSError when there are none."""
        addresses = list(dict.fromkeys(await self._find(host, port)))
        if not addresses:
            raise OSError("no address")
        if not all(map(is_public, addresses)):
            raise _not_public()
        return [_result(host, address, port) for address in addresses]

    async def close(self) -> None:
        """Hold nothing, close nothing."""


def _parsed(text: str) -> URL:
    problem = InvalidInput("That is not a web address. Give one like https://example.com/page.")
    if len(text) > 2048 or not _SHAPE.fullmatch(text):
        raise problem
    try:
        return URL(text)
    except ValueError:
        raise problem from None


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ipaddress.ip_address(host) if "%" not in host else None
    except ValueError:
        return None


def _inner_ipv4(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that a translator or tunnel would make of `address`.

    Teredo is not unwrapped but denied whole: it names two addresses, server and client.
    """
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _result(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(
        hostname=host, host=address, port=port, family=family, proto=0, flags=flags
    )


def _not_public() -> NotAllowed:
    return NotAllowed("That address is not a public web page. Give the address of a public one.")
