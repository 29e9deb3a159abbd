"""Every failure a transport knows ends in our error tree, with a sentence and without a leak."""

from __future__ import annotations

import asyncio
import errno
import inspect
import socket
import ssl
import zlib
from typing import Any

import aiohttp
import pytest
from aiohttp import client_exceptions, http_exceptions
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from common.egress import Egress, Policy
from common.egress.failures import from_exception
from common.errors import InvalidInput, OdaiError, VendorUnavailable

LEAK = "https://api.example.com/?key=sekret"
# Not a call's: a queue's, a barrier's, a cancelled task's (which must stay what it is).
NOT_OURS = {"CancelledError", "QueueEmpty", "QueueFull"}


def _subclasses(base: type[BaseException]) -> set[type[BaseException]]:
    found = {base}
    for kind in base.__subclasses__():
        found |= _subclasses(kind)
    return found


def _foreign() -> list[type[BaseException]]:
    """List every exception class of aiohttp's client, asyncio, ssl, socket and the OSError tree."""
    modules = (client_exceptions, http_exceptions, asyncio.exceptions, ssl, socket)
    listed: set[type[BaseException]] = {
        kind
        for module in modules
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Exception) and kind.__module__ != "builtins"
    }
    listed |= {k for k in _subclasses(OSError) if k.__module__.split(".")[0] in _ROOTS}
    listed |= {EOFError, UnicodeError, zlib.error, RuntimeError, ValueError}
    public = {k for k in listed if k.__name__[0] != "_"}
    ours = {k for k in public if k.__name__ not in NOT_OURS and "WebSocket" not in k.__name__}
    return sorted(ours - {client_exceptions.WSMessageTypeError}, key=lambda k: k.__qualname__)


_ROOTS = {"builtins", "socket", "ssl", "aiohttp", "asyncio", "select"}


def _instance(kind: type[BaseException]) -> BaseException:
    """Make an instance that holds the leak wherever its constructor lets one in."""
    info = aiohttp.RequestInfo(URL(LEAK), "GET", CIMultiDictProxy(CIMultiDict()), URL(LEAK))
    key = aiohttp.client_reqrep.ConnectionKey("sekret", 443, True, True, None, None, None)
    refused = OSError(errno.ECONNREFUSED, LEAK)
    for arguments in (
        (LEAK,),
        (info, ()),
        (key, refused),
        (key, ssl.SSLCertVerificationError(LEAK)),
        ("sekret", key, refused),
        (b"a", b"b", LEAK, 1),
        (b"a", 1),
        (LEAK, 5),
        (LEAK, "x", "y"),
        ("utf-8", b"x", 0, 1, LEAK),
        ("x", 0, 1, LEAK),
        (),
    ):
        try:
            made = kind(*arguments)
            repr(made), str(made)
        except Exception:
            continue
        return made
    raise AssertionError(f"no way to make {kind}")


@pytest.mark.parametrize("kind", _foreign(), ids=lambda kind: kind.__qualname__)
def test_no_foreign_error_passes(kind: type[BaseException], monkeypatch: Any) -> None:
    """Whatever breaks below, the user reads a sentence that names the vendor and no address."""

    async def broken(*args: Any, **kwargs: Any) -> Any:
        raise _instance(kind)

    monkeypatch.setattr(aiohttp.ClientSession, "_request", broken)

    async def main() -> OdaiError:
        egress = Egress(max_attempts=1)
        client = egress.client(Policy(name="Yelp", hosts=("api.example.com",)))
        try:
            with pytest.raises((VendorUnavailable, InvalidInput)) as caught:
                await client.get(LEAK)
        finally:
            await egress.close()
        return caught.value

    err = asyncio.run(main())
    assert "Yelp" in str(err)
    assert "sekret" not in str(err)
    assert err.__cause__ is None
    assert err.__suppress_context__


def test_the_list_is_long() -> None:
    """The proof above covers the libraries' exceptions, not an empty list."""
    names = {kind.__name__ for kind in _foreign()}
    assert len(names) > 50
    assert {"ServerDisconnectedError", "SSLZeroReturnError", "gaierror", "LineTooLong"} <= names


@pytest.mark.parametrize("kind", [asyncio.TimeoutError, aiohttp.ConnectionTimeoutError])
def test_time_is_told_from_connection(kind: type[Exception], monkeypatch: Any) -> None:
    """A slow vendor and an unreachable one are told apart."""
    assert "too long" in str(from_exception("Yelp", kind()))
    assert "reached" in str(from_exception("Yelp", ConnectionResetError()))


def test_cancelling_stays_cancelling(monkeypatch: Any) -> None:
    """A stopped turn stops its call, instead of hearing that the vendor is down."""

    async def main() -> None:
        begun = asyncio.Event()

        async def hang(*args: Any, **kwargs: Any) -> Any:
            begun.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(aiohttp.ClientSession, "_request", hang)
        egress = Egress()
        policy = Policy(name="Yelp", hosts=("api.example.com",), concurrency=1)
        for _ in range(2):  # the second shows that the first gave its slot back
            begun.clear()
            task = asyncio.create_task(egress.client(policy).get(LEAK))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await egress.close()

    asyncio.run(main())
