"""Addresses that a user, a model or a page names: only public web servers are reached."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from common.egress import Egress
from common.egress.guard import is_public, lookup, public_url
from common.errors import InvalidInput, NotAllowed, OdaiError, VendorRejected, VendorUnavailable
from tests.fakes.certificates import certificate

REFUSED = (InvalidInput, NotAllowed)

MALICIOUS = [
    # loopback and its spellings
    "http://127.0.0.1/", "http://127.1/", "http://127.0.1/", "http://127.0.0.1./", "http://0/",
    "http://0.0.0.0/", "http://2130706433/", "http://0x7f000001/", "http://0x7f.1/",
    "http://0X7F.0.0.1/", "http://0177.0.0.1/", "http://0177.1/", "http://017700000001/",
    "http://127.0.0.01/", "http://00000127.0.0.1/", "http://127.0.0.1.1/", "http://256.1.1.1/",
    "http://4294967297/", "http://127.000.000.001/", "http://127.0.0.0x1/", "http://1.0x7f/",
    "http://①②⑦.⓪.⓪.①/", "http://\uff11\uff12\uff17.0.0.1/", "http://127。0。0。1/", "http://127\uff0e0\uff0e0\uff0e1/",
    "http://localhost/", "http://LOCALHOST/", "http://localhost./", "http://a.localhost/",
    "http://ⓛocalhost/", "http://localhost.localdomain/", "http://[::1]/", "http://[::]/",
    "http://[0:0:0:0:0:0:0:1]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/",
    "http://[::127.0.0.1]/", "http://[::7f00:1]/", "http://[0:0:0:0:0:ffff:127.0.0.1]/",
    "http://[64:ff9b::127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/",
    "http://[64:ff9b:1::7f00:1]/", "http://[2001:0:7f00:1::]/", "http://[2001::ffff]/",
    # metadata servers
    "http://169.254.169.254/latest/meta-data/", "http://[::ffff:169.254.169.254]/",
    "http://[64:ff9b::a9fe:a9fe]/", "http://[2002:a9fe:a9fe::1]/", "http://[::a9fe:a9fe]/",
    "http://2852039166/", "http://0xa9fea9fe/", "http://0251.0376.0251.0376/",
    "http://metadata.google.internal/computeMetadata/v1/", "http://METADATA.google.internal./",
    "http://metadata/", "http://169.254.170.2/", "http://100.100.100.200/", "http://192.0.0.192/",
    "http://168.63.129.16/", "http://[fd00:ec2::254]/", "http://[fd20:ce::254]/",
    # private, link-local, shared, reserved, multicast, documentation
    "http://10.0.0.1/", "http://172.16.0.1/", "http://172.31.255.255/", "http://192.168.1.1/",
    "http://100.64.0.1/", "http://100.127.255.255/", "http://192.88.99.1/", "http://198.18.0.1/",
    "http://192.0.2.1/", "http://203.0.113.1/", "http://224.0.0.1/", "http://239.255.255.255/",
    "http://240.0.0.1/", "http://255.255.255.255/", "http://0.1.2.3/", "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[fc00::1]/", "http://[fec0::1]/",
    "http://[ff02::1]/", "http://[2001:db8::1]/", "http://[100::1]/", "http://[3fff::1]/",
    "http://[2002:0a00:0001::1]/", "http://[::ffff:10.0.0.1]/", "http://[64:ff9b::10.0.0.1]/",
    # inner names
    "http://printer.local/", "http://db.internal/", "http://nas.home.arpa/", "http://router.lan/",
    "http://intranet/", "http://x.onion/", "http://kubernetes.default.svc.cluster.local/",
    # credentials, ports, schemes
    "http://user@example.com/", "http://u:p@example.com/", "http://example.com@127.0.0.1/",
    "http://example.com:80@127.0.0.1/", "http://@example.com/", "http://example.com:22/",
    "http://example.com:6379/", "http://example.com:0/", "http://example.com:65536/",
    "http://example.com:-1/", "http://example.com:8080/", "ftp://example.com/",
    "file:///etc/passwd", "gopher://example.com/", "javascript:alert(1)", "data:text/html,x",
    "ws://example.com/", "//example.com/", "example.com", "", "http://", "http:///etc",
    "http:example.com", "https:/example.com/", "http://?", "http://#", "http://:80/",
    # what parsers disagree about
    "http://example.com\\@127.0.0.1/", "http:\\\\127.0.0.1\\", "http://127.0.0.1\\.example.com/",
    "http://example.com%2f@127.0.0.1/", "http://127.0.0.1%00.example.com/", "http://%3127.0.0.1/",
    "http://127.0.0.1%23.example.com/", "http://exa mple.com/", " http://example.com/",
    "http://example.com/\r\nHost: x", "http://exam\nple.com/", "http://exam\tple.com/",
    "http://example.com/ a", "ht\ntp://example.com/", "http://example.com\x00/", "http://exa\x7f.com/",
    "http://[::1", "http://::1]/", "http://[::1]x/", "http://[v1.x]/", "http://[127.0.0.1]/",
    "http://-example.com/", "http://example..com/", "http://.example.com/", "http://.",
    "http://exa*mple.com/", "http://example.com,127.0.0.1/", "http://xn--.com/", "http://a.1/",
    "http://example.com/" + "a" * 2048, "http://" + "a" * 64 + ".com/",
    "http://" + "a." * 140 + "com/",
]  # fmt: skip


@pytest.mark.parametrize("url", MALICIOUS)
def test_no_spelling_reaches_inside(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However an inner address is written, the fetch is refused before anything is dialled."""
    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", _no_dialling)

    async def main() -> OdaiError:
        egress = Egress(lookup=_no_lookup)
        try:
            with pytest.raises(REFUSED) as caught:
                await egress.fetch_public(url)
            return caught.value
        finally:
            await egress.close()

    assert "127.0.0.1" not in str(asyncio.run(main()))


async def _no_dialling(*args: object) -> None:
    raise AssertionError("dialled")


async def _no_lookup(host: str, port: int) -> list[str]:
    raise AssertionError("looked up")


def test_the_corpus_is_large() -> None:
    """The corpus has more than eighty different spellings."""
    assert len(set(MALICIOUS)) == len(MALICIOUS) > 80


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("http://example.com", "http://example.com"),
        ("HTTPS://EXAMPLE.com./a?b#c", "https://example.com/a?b#c"),
        ("https://example.com:443/", "https://example.com/"),
        ("https://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC"),
        ("https://a_b.example.com/x%2Fy?q=a%20b", "https://a_b.example.com/x%2Fy?q=a%20b"),
        ("http://8.8.8.8/", "http://8.8.8.8/"),
        ("https://[2606:4700::1111]/", "https://[2606:4700::1111]/"),
        ("https://example.com/user@host", "https://example.com/user@host"),
        ("https://example.com?x=1", "https://example.com/?x=1"),
    ],
)
def test_public_addresses_are_accepted_in_canonical_form(url: str, canonical: str) -> None:
    """Ordinary addresses pass, and what is dialled is the form that was judged."""
    assert str(public_url(url, ports=(80, 443))) == canonical


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True), ("1.1.1.1", True), ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True), ("64:ff9b::808:808", True), ("2002:808:808::1", True),
        ("fe80::1%eth0", False), ("nonsense", False), ("", False), ("127.1", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False), ("::8.8.8.8", False),
        ("64:ff9b:1::808:808", False), ("4000::1", False), ("2001:20::1", False),
    ],
)  # fmt: skip
def test_addresses_are_judged_by_what_they_carry(address: str, public: bool) -> None:
    """Translated and tunnelled forms count as the IPv4 address inside them."""
    assert is_public(address) is public


class Dialled:
    """Sends every connection to loopback, noting where it was meant to go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, port: int = 0) -> None:
        """Take the place of the loop's connect."""
        self.addresses: list[str] = []
        self.port = port
        real = asyncio.SelectorEventLoop.sock_connect
        dialled = self

        async def connect(loop: Any, sock: socket.socket, address: Any) -> None:
            dialled.addresses.append(address[0])
            await real(loop, sock, ("127.0.0.1", dialled.port))

        monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", connect)


class Names:
    """A name server that gives the next of its answers each time it is asked."""

    def __init__(self, *answers: list[str]) -> None:
        """Take the answers in order."""
        self.left = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        """Answer once more."""
        self.asked.append(host)
        return self.left.pop(0)


PUBLIC = "93.184.216.34"


def test_the_address_judged_is_the_one_dialled(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that answers differently the second time is asked once per fetch."""
    dialled = Dialled(monkeypatch)
    names = Names([PUBLIC], ["127.0.0.1"])

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(text=request.headers["Host"])

    async def main() -> None:
        async with world(handler, lookup=names) as w:
            dialled.port = w.origin.port
            page = await w.egress.fetch_public("http://rebind.example.com/a?b=1")
            assert page.text() == "rebind.example.com"
            assert page.url == "http://rebind.example.com/a?b=1"
            assert names.asked == ["rebind.example.com"]
            assert dialled.addresses == [PUBLIC]
            with pytest.raises(NotAllowed):  # no kept connection, no remembered answer
                await w.egress.fetch_public("http://rebind.example.com/")
            assert dialled.addresses == [PUBLIC]
            assert len(w.origin.seen) == 1
            assert "Authorization" not in w.origin.seen[0].headers

    asyncio.run(main())


@pytest.mark.parametrize(
    "answer",
    [["127.0.0.1"], [PUBLIC, "10.0.0.1"], ["::1"], ["::ffff:10.0.0.1"], ["fe80::1%2"], ["x"]],
)
def test_a_name_with_any_inner_address_is_refused(
    answer: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One private answer among public ones spoils the name."""
    dialled = Dialled(monkeypatch)

    async def main() -> None:
        egress = Egress(lookup=Names(answer))
        with pytest.raises(NotAllowed):
            await egress.fetch_public("http://mixed.example.com/")
        await egress.close()

    asyncio.run(main())
    assert dialled.addresses == []


@pytest.mark.parametrize("error", [socket.gaierror("no such host"), UnicodeError("label"), None])
def test_an_unknown_name_cannot_be_reached(error: Exception | None) -> None:
    """A name that does not exist is reported as such, not as an inner error."""

    async def fails(host: str, port: int) -> list[str]:
        if error is None:
            return []
        raise error

    async def main() -> None:
        egress = Egress(lookup=fails)
        with pytest.raises((VendorUnavailable, InvalidInput), match=r"[Tt]hat page"):
            await egress.fetch_public("http://gone.example.com/")
        await egress.close()

    asyncio.run(main())


def test_the_system_resolver_gives_numeric_addresses() -> None:
    """The real lookup answers numbers, which is what the guard can judge."""
    assert asyncio.run(lookup("127.0.0.1", 80)) == ["127.0.0.1"]


MAPPED = ("page.example.com", "other.example.com")
PAGE = "https://page.example.com/"


def _redirect(where: str) -> web.Response:
    return web.Response(status=302, headers={"Location": where})


@pytest.mark.parametrize("where", [*MALICIOUS[:60], "http://10.0.0.1:22/", "ftp://example.com/"])
def test_no_redirect_reaches_inside(world: Any, where: str) -> None:
    """A public page cannot send the fetch to an inner address."""

    async def main() -> None:
        async def handler(request: web.Request) -> web.StreamResponse:
            return _redirect(where)

        async with world(handler, mapped=MAPPED, lookup=_no_lookup) as w:
            with pytest.raises(REFUSED):  # from http, so that no fall from https is in question
                await w.egress.fetch_public("http://page.example.com/")
            assert len(w.origin.seen) == 1

    asyncio.run(main())


def test_a_redirect_to_a_name_is_resolved_and_judged(world: Any) -> None:
    """A redirect to an innocent name that resolves inside is refused."""

    async def main() -> None:
        async def handler(request: web.Request) -> web.StreamResponse:
            return _redirect("https://innocent.example.org/")

        async with world(handler, mapped=MAPPED, lookup=Names(["192.168.0.1"])) as w:
            with pytest.raises(NotAllowed):
                await w.egress.fetch_public(PAGE)

    asyncio.run(main())


def test_public_redirects_are_followed(world: Any) -> None:
    """A page that moved, relatively or to another host, is read where it is now."""

    async def main() -> None:
        async def handler(request: web.Request) -> web.StreamResponse:
            onward = {"/": "/b?x=1", "/b?x=1": "https://other.example.com/c"}
            where = onward.get(request.raw_path)
            return _redirect(where) if where else web.Response(text=request.headers["Host"])

        async with world(handler, mapped=MAPPED) as w:
            reply = await w.egress.fetch_public(PAGE)
            assert reply.url == "https://other.example.com/c"
            assert reply.text() == "other.example.com"

    asyncio.run(main())


def test_redirects_end_and_do_not_lose_protection(world: Any) -> None:
    """A circle ends after five hops; https does not fall back to http."""

    async def main() -> None:
        async def circle(request: web.Request) -> web.StreamResponse:
            return _redirect("/")

        async def down(request: web.Request) -> web.StreamResponse:
            return _redirect("http://page.example.com/")

        async with world(circle, mapped=MAPPED) as w:
            with pytest.raises(VendorRejected, match="too often"):
                await w.egress.fetch_public(PAGE)
            assert len(w.origin.seen) == 6
        async with world(down, mapped=MAPPED) as w:
            with pytest.raises(NotAllowed, match="unprotected"):
                await w.egress.fetch_public(PAGE)

    asyncio.run(main())


def test_a_missing_page_is_an_answer(world: Any) -> None:
    """The caller sees the status of a page, and servers see what is accepted."""

    async def main() -> None:
        async def missing(request: web.Request) -> web.StreamResponse:
            return web.Response(status=404, text="gone")

        async with world(missing, mapped=MAPPED) as w:
            reply = await w.egress.fetch_public(PAGE, accept="text/plain")
            assert (reply.status, reply.text()) == (404, "gone")
            assert w.origin.seen[0].headers["Accept"] == "text/plain"

    asyncio.run(main())


def test_pages_are_bounded_in_size_and_time(world: Any) -> None:
    """A packed page that unfolds past the cap is cut, one that never comes is given up."""

    async def main() -> None:
        packed = gzip.compress(b"\0" * 20_000_000)

        async def handler(request: web.Request) -> web.StreamResponse:
            if request.path == "/silent":
                await asyncio.Event().wait()
            return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

        async with world(handler, mapped=MAPPED) as w:
            with pytest.raises(VendorRejected, match="That page sent more"):
                await w.egress.fetch_public(PAGE, max_bytes=1_000_000)
            with pytest.raises(VendorUnavailable, match="That page took too long"):
                await w.egress.fetch_public(f"{PAGE}silent", timeout_s=0.05)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("named", "trusted"), [("safe.example.com", True), ("x.example.com", False)]
)
def test_the_certificate_is_checked_for_the_name(
    named: str, trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pinning the address keeps the server name: SNI is sent and the certificate must fit it."""
    dialled = Dialled(monkeypatch)
    pem = certificate(tmp_path, named)
    greeted: list[str] = []

    async def main() -> None:
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(pem)
        serving.sni_callback = lambda sock, name, context: greeted.append(name)
        trusting = ssl.create_default_context(cafile=str(pem))

        async def hello(request: web.BaseRequest) -> web.StreamResponse:
            return web.Response(text="hello")

        runner = web.ServerRunner(web.Server(hello), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=serving).start()
        dialled.port = runner.addresses[0][1]
        egress = Egress(lookup=Names([PUBLIC]))
        monkeypatch.setattr(egress._public_session().connector, "_ssl", trusting)
        try:
            if trusted:
                assert (await egress.fetch_public("https://safe.example.com/")).text() == "hello"
            else:
                with pytest.raises(VendorUnavailable):
                    await egress.fetch_public("https://safe.example.com/")
        finally:
            await egress.close()
            await runner.cleanup()

    asyncio.run(main())
    assert greeted == ["safe.example.com"]
    assert dialled.addresses == [PUBLIC]
