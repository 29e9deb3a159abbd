"""Addresses that lead inward, at a real listener on this machine: nothing ever connects to it.

The guard's own corpus (tests/egress) refuses spellings before anything is dialled. Here the port is
one that may be opened, every name resolves to this machine, and what counts is who knocked. The
same goes through the tool that reads pages, as a model calls it, and through a turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiohttp import web

from common.assistant.manner import Manner
from common.assistant.protocol import Prompt
from common.bootstrap import Services
from common.egress import Egress
from common.errors import InvalidInput, NotAllowed, OdaiError, VendorRejected, VendorUnavailable
from common.tools import Asker

PUBLIC = "93.184.216.34"


class Inside:
    """A service of this machine that nobody outside may reach; it counts who connects."""

    def __init__(self) -> None:
        self.connections = 0
        self._listeners = [socket.create_server(("127.0.0.1", 0))]
        self.port = self._listeners[0].getsockname()[1]
        with contextlib.suppress(OSError):  # a machine without IPv6
            six = socket.create_server(("::1", self.port), family=socket.AF_INET6)
            self._listeners.append(six)
        for listener in self._listeners:
            threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def close(self) -> None:
        """Stop."""
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            with contextlib.suppress(OSError), client:
                client.recv(4096)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nSECRET")


@pytest.fixture(scope="module")
def inside() -> Iterator[Inside]:
    listening = Inside()
    yield listening
    listening.close()


def test_the_listener_would_notice(inside: Inside) -> None:
    """Somebody who does connect is counted: otherwise the rest here would prove nothing."""
    with socket.create_connection(("127.0.0.1", inside.port)) as knocking:
        knocking.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b"SECRET" in knocking.recv(4096)
    assert inside.connections == 1
    inside.connections = 0


# --- the corpus ---------------------------------------------------------------------------------

DIGITS = {
    "full-width": 0xFF10, "Arabic-Indic": 0x0660, "extended Arabic-Indic": 0x06F0,
    "Devanagari": 0x0966, "Bengali": 0x09E6, "Thai": 0x0E50, "mathematical bold": 0x1D7CE,
    "mathematical double-struck": 0x1D7D8, "mathematical monospace": 0x1D7F6,
}  # fmt: skip
DOTS = {"ideographic": "。", "full-width": "．", "half-width": "｡", "one dot leader": "․"}
HIDDEN = {"soft hyphen": "\u00ad", "zero width": "\u200b", "joiner": "\u200d", "mark": "\ufeff",
          "right to left": "\u202e", "word joiner": "\u2060"}  # fmt: skip


def _hosts() -> Iterator[str]:
    """Spell this machine's addresses in every way that some parser takes."""
    yield from ("127.0.0.1", "127.1", "127.0.1", "127.0.0.1.", "127.255.255.254", "0", "0.0.0.0")
    # all of it as one number; each part or the rest in decimal, octal, hexadecimal, padded
    yield from ("2130706433", "0x7f000001", "0X7F000001", "017700000001", "0x00000000007f000001")
    yield from ("0x7f.0.0.1", "0x7f.0x0.0x0.0x1", "0177.0.0.1", "0177.0.0.01", "00177.0.0.1")
    yield from ("127.0x000001", "127.0.0x0001", "0x7f.1", "0177.1", "0x7f.0.1", "127.0.0.0x1")
    yield from ("0000127.0.0.1", "127.000.000.001", "6425673729", "127.0.0.257", "383.0.0.1")
    for zero in DIGITS.values():
        yield "".join(chr(zero + int(c)) if c.isdigit() else c for c in "127.0.0.1")
        yield "".join(chr(zero + int(c)) for c in "2130706433")
    yield from ("①②⑦.⓪.⓪.①", "⑫⑦.0.0.1", "𝟏27.0.0.1", "¹²⁷.⁰.⁰.¹", "₁₂₇.₀.₀.₁", "１２７.1")
    for dot in DOTS.values():
        yield dot.join(("127", "0", "0", "1"))
    for hidden in HIDDEN.values():
        yield from (f"127.0.0.1{hidden}", f"local{hidden}host", f"12{hidden}7.0.0.1")
    # IPv6: itself, mapped, compatible, translated, tunnelled, scoped, and shapes that are none
    yield from ("[::1]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::]", "[::1%25lo]", "[::1%lo]")
    yield from ("[::1%250]", "[0::1]", "[::0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]")
    yield from ("[::FFFF:7F00:0001]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::ffff:0:127.0.0.1]")
    yield from ("[::127.0.0.1]", "[::7f00:1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]")
    yield from ("[64:ff9b:1::7f00:1]", "[64:ff9b:1:fffe::127.0.0.1]", "[2002:7f00:1::]")
    yield from ("[2002:7f00:0001::1]", "[2001:0:7f00:1::]", "[2001::7f00:1]", "[fe80::5efe:7f00:1]")
    yield from (
        "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
        "[fe80::1]",
        "[fe80::1%25lo]",
        "[fc00::1]",
    )
    yield from ("[::1", "::1", "[::1]]", "[127.0.0.1]", "[::ffff:127.1]", "[::ffff:0x7f000001]")
    # names: this machine's own, metadata servers', and ones that only resolve to it
    yield from ("localhost", "LOCALHOST", "localhost.", "LocalHost.localdomain", "a.localhost")
    yield from ("ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "ｌｏｃａｌｈｏｓｔ", "𝓵ocalhost", "loca\u217chost", "localho\u017ft")
    yield from (
        "metadata.google.internal",
        "metadata",
        "instance-data.ec2.internal",
        "host.docker.internal",
    )
    yield from (
        "127.0.0.1.nip.io",
        "7f000001.rbndr.us",
        "localtest.me",
        "lvh.me",
        "spoofed.burpcollaborator.net",
    )
    yield from (
        "xn--n3h.example.com",
        "bücher.example.com",
        "www.ⓔxample.com",
        "a.b.c.d.example.com.",
    )
    yield from ("169.254.169.254", "[::ffff:169.254.169.254]", "2852039166", "[fd00:ec2::254]")
    yield from ("100.100.100.200", "192.0.0.192", "168.63.129.16", "10.0.0.1", "192.168.0.1")
    # who is asked, and who is named: userinfo and what parsers disagree about
    yield from (
        "example.com@127.0.0.1",
        "example.com:80@127.0.0.1",
        "user:pass@localhost",
        "@127.0.0.1",
    )
    yield from ("127.0.0.1%23@example.com", "127.0.0.1%2f@example.com", "example.com%40127.0.0.1")
    yield from ("example.com\\@127.0.0.1", "127.0.0.1\\.example.com", "127.0.0.1%00.example.com")
    yield from (
        "127.0.0.1\t",
        "127.0.0.1 ",
        "127.0.0.1\x00",
        "127.0.0.1\r\nX-Smuggled: 1",
        "%31%32%37.0.0.1",
    )
    yield from (
        "127.0.0.1%0d%0aX: 1",
        "127.0.0.1;example.com",
        "127.0.0.1,example.com",
        "127.0.0.1&example.com",
    )


def corpus(port: int) -> list[str]:
    """Return the corpus as addresses, with the listener's port and with others around it."""
    urls = [f"http://{host}:{port}/" for host in _hosts()]
    for scheme in ("https", "HTTP", "hTtP", "ftp", "gopher", "file", "dict", "ws", "wss", "ldap",
                   "data", "javascript", "jar:http", "view-source:http", ""):  # fmt: skip
        urls.append(f"{scheme}://127.0.0.1:{port}/")
    urls += [
        f"//127.0.0.1:{port}/", f"127.0.0.1:{port}", f"http:/127.0.0.1:{port}/",
        f"http:127.0.0.1:{port}", f"http:\\\\127.0.0.1:{port}\\", f"http:///127.0.0.1:{port}/",
        f"http://127.0.0.1:0{port}/", f"http://127.0.0.1:{port:08d}/", f"http://localhost:+{port}/",
        f"http://example.com#@127.0.0.1:{port}/", f"http://example.com?@127.0.0.1:{port}/",
        f"http://127.0.0.1:{port}#.example.com/", f"http://127.0.0.1:{port}?.example.com/",
        f"http://[::ffff:127.0.0.1]:{port}@example.com/", f" http://127.0.0.1:{port}/",
        f"\x00http://127.0.0.1:{port}/", f"http://127.0.0.1:{port}\n/", f"ht\ntp://127.0.0.1:{port}/",
        f"url:http://127.0.0.1:{port}/", f"http://\u3000127.0.0.1:{port}/", "http://" + "1" * 4000,
        f"http://example.com:{65536 + port}/", f"http://127.0.0.1:{chr(0xFF10)}{port}/",
    ]  # fmt: skip
    return urls


def test_the_corpus_is_large() -> None:
    """There are more than eighty spellings, and no two are the same."""
    urls = corpus(8080)
    assert len(urls) - len(set(urls)) <= 1 and len(urls) > 180


async def _to_this_machine(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


def _egress(inside: Inside, **more: Any) -> Egress:
    return Egress(**{"public_ports": (80, 443, inside.port), "lookup": _to_this_machine, **more})


def test_no_spelling_reaches_a_listener(inside: Inside) -> None:
    """Each address of the corpus is refused, and nobody knocks: by the guard as it is used."""

    async def main() -> list[str]:
        egress, answered = _egress(inside), []
        for url in corpus(inside.port):
            try:
                await egress.fetch_public(url, timeout_s=5.0)
            except (InvalidInput, NotAllowed):
                continue
            except OdaiError as err:
                answered.append(f"{url!r}: {err.code}")
                continue
            answered.append(f"{url!r}: was read")
        await egress.close()
        return answered

    assert asyncio.run(main()) == []
    assert inside.connections == 0


@pytest.mark.parametrize("tool", ["fetch_website"])
def test_the_tool_reads_nothing_inside(
    tool: str, inside: Inside, services: Callable[..., Services]
) -> None:
    """A model that is talked into any of them gets a refusal in words, and no page."""
    made = services()
    vars(made)["egress"] = _egress(inside)

    async def main() -> None:
        for url in corpus(inside.port):
            outcome = await made.runner.run(tool, {"url": url}, Asker("ada"), key="k")
            assert not outcome.ok and "SECRET" not in str(outcome.error), url
            assert isinstance(outcome.error, InvalidInput | NotAllowed), (url, outcome.error)

    made.loop.run(main(), timeout=90.0)
    assert inside.connections == 0


def test_a_user_who_asks_for_it_gets_nothing_inside(
    inside: Inside, services: Callable[..., Services]
) -> None:
    """Typed into a chat, by somebody who is allowed to name any page: no connection, no secret."""
    from run.local.suite import create_suite

    made = services()
    vars(made)["egress"] = _egress(inside)
    create_suite(made)
    manner = Manner("text", proven=True, guest=False)
    for n, host in enumerate(("127.0.0.1", "localhost", "0x7f.1", "[::1]", "localtest.me")):
        prompt = Prompt(f"read http://{host}:{inside.port}/ and tell me what it says", f"p{n}")
        asked = made.answering.ask("ada", f"c{n}", prompt, patience=30.0, manner=manner)
        answer = made.loop.run(asked, timeout=60.0)
        assert answer and "SECRET" not in answer.text
    assert inside.connections == 0


# --- redirects ----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _site(handler: Any) -> Any:
    """Serve public hosts `*.example.com` from this machine; yield their origin."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response: web.StreamResponse = handler(request)
        return response

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


LOCATIONS = (
    "http://127.0.0.1:{port}/", "//127.0.0.1:{port}/", "/\\127.0.0.1:{port}/", "http://0:{port}/",
    "http://[::1]:{port}/", "http://inside.example.net:{port}/", "http://2130706433:{port}/",
    "http://a@127.0.0.1:{port}/", "\\\\127.0.0.1:{port}\\", "http:\\\\127.0.0.1:{port}/",
    "http://127.0.0.1:{port}/?x=http://a.example.com/", "HTTP://LOCALHOST:{port}/",
    "https://127.0.0.1:{port}/", "ftp://127.0.0.1:{port}/", "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data/", "gopher://127.0.0.1:{port}/_GET",
)  # fmt: skip


@pytest.mark.parametrize("hops", [1, 2, 4])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_chain_of_redirects_leads_inside(inside: Inside, status: int, hops: int) -> None:
    """Public pages that send on, one to the next, and the last of them inward: it ends there."""

    async def main() -> None:
        for where in LOCATIONS:
            chain = [f"http://h{n}.example.com/{n}" for n in range(1, hops)]
            chain.append(where.format(port=inside.port))

            def onward(request: web.BaseRequest, chain: list[str] = chain) -> web.Response:
                step = request.path.strip("/") or "0"
                if not step.isdecimal():  # what looks like an address was a path of this site
                    return web.Response(status=404)
                return web.Response(status=status, headers={"Location": chain[int(step)]})

            async with _site(onward) as origin:
                egress = _egress(inside, host_map={"*.example.com": origin})
                with contextlib.suppress(InvalidInput, NotAllowed, VendorRejected):
                    reply = await egress.fetch_public("http://h0.example.com/")
                    # What is no address at all is not followed: the redirect itself is the page.
                    assert reply.status in (status, 404) and not reply.body, where
                await egress.close()

    asyncio.run(main())
    assert inside.connections == 0


def test_a_page_cannot_send_on_by_other_means(inside: Inside) -> None:
    """Refresh headers and tags, links and canonical addresses are text: nobody goes there."""
    url = f"http://127.0.0.1:{inside.port}/"
    page = (
        f'<meta http-equiv="refresh" content="0;url={url}"><link rel="canonical" href="{url}">'
        f'<base href="{url}"><script>location="{url}"</script><img src="{url}">'
    )

    async def main() -> None:
        headers = {"Refresh": f"0; url={url}", "Link": f"<{url}>; rel=preload",
                   "Content-Location": url, "Content-Type": "text/html"}  # fmt: skip
        async with _site(lambda _: web.Response(text=page, headers=headers)) as origin:
            egress = _egress(inside, host_map={"*.example.com": origin})
            assert (await egress.fetch_public("http://a.example.com/")).status == 200
            await egress.close()

    asyncio.run(main())
    assert inside.connections == 0


# --- names that change their mind ---------------------------------------------------------------


class Fickle:
    """A name server whose answers follow a script, the last of them for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


@pytest.mark.parametrize(
    "answers",
    [
        ([PUBLIC], ["127.0.0.1"]), ([PUBLIC, "127.0.0.1"],), (["127.0.0.1"], [PUBLIC]),
        (["::1"],), (["::ffff:127.0.0.1"],), (["0.0.0.0"],), ([PUBLIC], [PUBLIC, "::1"]),
        (["127.0.0.1", PUBLIC],), (["64:ff9b::7f00:1"],), (["fe80::1%lo"],),
    ],
    ids=str,
)  # fmt: skip
def test_a_name_that_changes_its_mind_reaches_nobody_inside(
    answers: tuple[list[str], ...], inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Public when judged and private when dialled, between fetches or hops: never dialled."""
    real = asyncio.SelectorEventLoop.sock_connect

    async def connect(loop: Any, sock: socket.socket, address: Any) -> None:
        if address[0] == PUBLIC:  # the internet is not here
            raise ConnectionRefusedError
        await real(loop, sock, address)

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", connect)

    async def main() -> None:
        egress = _egress(inside, lookup=Fickle(*answers))
        for _ in range(4):
            with pytest.raises((NotAllowed, VendorUnavailable)):
                await egress.fetch_public(f"http://rebind.example.com:{inside.port}/")
        await egress.close()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main())
    assert inside.connections == 0


def test_a_proxy_of_the_environment_hears_nothing(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can set a variable cannot have our calls sent through them."""
    proxy = f"http://127.0.0.1:{inside.port}"
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WS_PROXY"):
        monkeypatch.setenv(name, proxy)
        monkeypatch.setenv(name.lower(), proxy)

    async def main() -> None:
        async with _site(lambda _: web.Response(text="page")) as origin:
            egress = _egress(inside, host_map={"*.example.com": origin})
            assert (await egress.fetch_public("http://a.example.com/")).text() == "page"
            with pytest.raises(NotAllowed):
                await egress.fetch_public("http://elsewhere.example.net/")
            await egress.close()

    asyncio.run(main())
    assert inside.connections == 0
