"""Our HTTP to the model's endpoint, against servers that behave and servers that do not."""

from __future__ import annotations

import asyncio
import contextvars
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from common.errors import VendorUnavailable
from common.llm.connections import Connections
from tests.fakes.certificates import certificate

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SECONDS = 50.0
OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Return a piece of a body as it travels."""
    return b"%x\r\n%b\r\n" % (len(data), data)


async def request(reader: asyncio.StreamReader) -> bytes:
    """Read one request; return its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    (length,) = (int(line[15:]) for line in head.split(b"\r\n") if line[:15] == b"Content-Length:")
    return await reader.readexactly(length)


class Server:
    """Counts the connections on which `peer` speaks."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.made = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.made += 1
        try:
            await self._peer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone, as many of these tests have it
        finally:
            writer.close()


@asynccontextmanager
async def served(
    peer: Peer, *, silence_s: float = 20.0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Connections, Server]]:
    """Yield connections to a server that speaks as `peer` does."""
    server = Server(peer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    scheme = "https" if tls else "http"
    server.url = f"{scheme}://localhost:{port}/v1/responses?a=b"
    connections = Connections(server.url, {"X-Mine": "1"}, silence_s=silence_s)
    try:
        async with asyncio.timeout(SECONDS):
            yield connections, server
    finally:
        await connections.close()
        assert not connections.all
        listening.close()


class Heard:
    """What a body told; enough once it says `stop`."""

    def __init__(self, stop: bytes = b"stop") -> None:
        self.pieces: list[bytes] = []
        self._stop = stop

    def __call__(self, piece: bytes) -> bool:
        self.pieces.append(piece)
        return self._stop in piece

    @property
    def whole(self) -> bytes:
        """Return all of it."""
        return b"".join(self.pieces)


async def idle(connections: Connections) -> None:
    """Wait until a connection is free again."""
    while not connections.idle:
        await asyncio.sleep(0.001)


def answers(*pieces: bytes) -> Peer:
    """Return a peer that answers every request on a connection with these bytes."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.005)

    return peer


def test_a_body_is_told_as_it_comes_and_its_end_once() -> None:
    """Each piece in the moment of its arrival, pieces that come together joined, then b""."""

    async def scene() -> None:
        peer = answers(OK + chunk(b"one") + chunk(b"two"), chunk(b"three"), END)
        async with served(peer) as (connections, server):
            for _ in range(3):
                heard = Heard()
                answer = await connections.post(b"{}", heard)
                assert (answer.status, answer.told) == (200, b"")
                assert heard.pieces == [b"onetwo", b"three", b""]
                await idle(connections)
            assert server.made == 1

    asyncio.run(scene())


def test_what_is_asked_is_an_ordinary_request() -> None:
    """The address's path and query, the host with its port, our headers, the body as it is."""
    seen: list[bytes] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(4))
        writer.write(OK + END)

    async def scene() -> None:
        async with served(peer) as (connections, server):
            await connections.post(b"body", Heard())
            host = server.url.split("/")[2].encode()
            head = b"POST /v1/responses?a=b HTTP/1.1\r\nHost: %b\r\nX-Mine: 1\r\n" % host
            assert seen == [head + b"Content-Length: 4\r\n\r\nbody"]

    asyncio.run(scene())


def test_who_has_heard_enough_does_not_wait_for_the_end() -> None:
    """The rest is thrown away, and the connection serves the next request."""
    go_on = asyncio.Event()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            writer.write(OK + chunk(b"text, stop"))
            await go_on.wait()
            writer.write(chunk(b"more") + END)

    async def scene() -> None:
        async with served(peer) as (connections, server):
            heard = Heard()
            await connections.post(b"", heard)
            assert heard.pieces == [b"text, stop"]
            assert not connections.idle
            go_on.set()
            await idle(connections)
            await connections.post(b"", Heard())
            assert heard.pieces == [b"text, stop"]
            assert server.made == 1

    asyncio.run(scene())


def test_what_does_not_end_after_enough_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that talks on has its connection closed."""
    monkeypatch.setattr("common.llm.connections._DRAIN_SECONDS", 0.02)

    async def scene() -> None:
        async with served(answers(OK + chunk(b"stop"))) as (connections, _):
            await connections.post(b"", Heard())
            while connections.all:
                await asyncio.sleep(0.001)

    asyncio.run(scene())


@pytest.mark.parametrize("ending", ["length", "chunked", "close"])
def test_a_refusal_is_kept_whole(ending: str) -> None:
    """Whatever way the body ends; nobody hears it as an answer."""
    told = b'{"error": {"code": "x"}}'
    framed = {
        "length": b"Content-Length: %d\r\n\r\n" % len(told) + told,
        "chunked": b"Transfer-Encoding: chunked\r\n\r\n" + chunk(told) + END,
        "close": b"\r\n" + told,
    }[ending]

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 429 Slow\r\nRetry-After: 3\r\n" + framed)
        if ending != "close":
            await reader.read()

    async def scene() -> None:
        async with served(peer) as (connections, _):
            heard = Heard()
            answer = await connections.post(b"", heard)
            assert (answer.status, bytes(answer.told), heard.pieces) == (429, told, [])
            assert answer.headers["retry-after"] == "3"

    asyncio.run(scene())


def test_a_refusal_without_end_is_cut() -> None:
    """64 KiB say enough."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 500 No\r\n\r\n")
        while True:
            writer.write(b"x" * 10_000)
            await writer.drain()

    async def scene() -> None:
        async with served(peer) as (connections, _):
            answer = await connections.post(b"", Heard())
            assert (answer.status, len(answer.told)) == (500, 65_536)

    asyncio.run(scene())


def test_an_interim_answer_is_not_the_answer() -> None:
    """100 and 103 come before the real one."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"

    async def scene() -> None:
        async with served(answers(interim, OK + chunk(b"yes"), END)) as (connections, _):
            heard = Heard()
            answer = await connections.post(b"", heard)
            assert (answer.status, heard.whole) == (200, b"yes")
            assert "link" not in answer.headers

    asyncio.run(scene())


def test_a_connection_that_its_server_closed_is_not_noticed() -> None:
    """Closed between two requests, or by the second one: that is made again on a new one."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = await request(reader)
        writer.write(OK + chunk(b"yes") + END)
        if body == b"stay":
            await request(reader)  # and hang up without a word

    async def scene() -> None:
        async with served(peer) as (connections, server):
            for body in (b"stay", b"go", b"stay", b"go"):
                heard = Heard()
                await connections.post(body, heard)
                assert heard.whole == b"yes"
                await asyncio.sleep(0.01)
            assert server.made == 4

    asyncio.run(scene())


def test_the_server_decides_whether_a_connection_is_kept() -> None:
    """`Connection: close` and HTTP/1.0 are respected."""
    for head in (b"HTTP/1.1 200 OK\r\nConnection: close\r\n", b"HTTP/1.0 200 OK\r\n"):

        async def scene(head: bytes = head) -> None:
            peer = answers(head + b"Content-Length: 3\r\n\r\nyes")
            async with served(peer) as (connections, server):
                for _ in range(2):
                    heard = Heard()
                    await connections.post(b"", heard)
                    assert heard.pieces == [b"yes", b""]
                assert server.made == 2

        asyncio.run(scene())


def test_a_free_connection_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is held open for nobody."""
    monkeypatch.setattr("common.llm.connections._IDLE_SECONDS", 0.02)

    async def scene() -> None:
        async with served(answers(OK + END)) as (connections, _):
            await connections.post(b"", Heard())
            while connections.all:
                await asyncio.sleep(0.001)
            assert not connections.idle

    asyncio.run(scene())


def test_what_nobody_asked_for_closes_a_free_connection() -> None:
    """Servers say 408 to a silent connection: that is not the next request's answer."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK + chunk(b"yes") + END)
        await asyncio.sleep(0.02)
        writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async def scene() -> None:
        async with served(peer) as (connections, server):
            await connections.post(b"", Heard())
            while connections.all:
                await asyncio.sleep(0.001)
            assert (await connections.post(b"", Heard())).status == 200
            assert server.made == 2

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (b"SSH-2.0-OpenSSH\r\n", VendorUnavailable),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot hex\r\n", VendorUnavailable),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, VendorUnavailable),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", VendorUnavailable),
        (b"", ConnectionError),
        (b"HTTP/1.1 200 OK\r\nContent-Le", ConnectionError),
    ],
)
def test_what_is_no_answer_is_an_error(bad: bytes, error: type[Exception]) -> None:
    """Where nothing had begun it may be tried again, and says so."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(bad)
        await writer.drain()

    async def scene() -> None:
        async with served(peer) as (connections, _):
            heard = Heard()
            with pytest.raises(error):
                await connections.post(b"", heard)
            assert heard.pieces == []

    asyncio.run(scene())


def test_what_the_listener_raises_ends_the_request() -> None:
    """It is raised where it was asked, and the connection is not used again."""

    def heard(piece: bytes) -> bool:
        raise VendorUnavailable(piece.decode())

    async def scene() -> None:
        async with served(answers(OK + chunk(b"no"), chunk(b"more"))) as (connections, _):
            with pytest.raises(VendorUnavailable, match="no"):
                await connections.post(b"", heard)
            while connections.all:
                await asyncio.sleep(0.001)

    asyncio.run(scene())


def test_a_body_that_breaks_off_ends_as_any_body() -> None:
    """Whether that was all, the listener knows."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK + chunk(b"half"))
        await writer.drain()

    async def scene() -> None:
        async with served(peer) as (connections, _):
            heard = Heard()
            await connections.post(b"", heard)
            assert heard.pieces == [b"half", b""]

    asyncio.run(scene())


@pytest.mark.parametrize("said", [b"", OK, OK + chunk(b"text")])
def test_silence_ends_the_request(said: bytes) -> None:
    """Before the answer, before its body, within it."""

    async def scene() -> None:
        async with served(answers(said), silence_s=0.05) as (connections, _):
            with pytest.raises(TimeoutError):
                await connections.post(b"", Heard())

    asyncio.run(scene())


def test_a_drip_is_no_answer_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte within every silence keeps a request open only so long."""
    monkeypatch.setattr("common.llm.connections._LONGEST_CALL_SECONDS", 0.2)

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK)
        while True:
            writer.write(chunk(b"."))
            await writer.drain()
            await asyncio.sleep(0.01)

    async def scene() -> None:
        async with served(peer, silence_s=0.1) as (connections, _):
            with pytest.raises(TimeoutError):
                await connections.post(b"", Heard())

    asyncio.run(scene())


def test_giving_up_hangs_up() -> None:
    """A cancelled request ends at the server too."""
    gone = asyncio.Event()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK + chunk(b"text"))
        try:
            await reader.read()
        finally:
            gone.set()

    async def scene() -> None:
        async with served(peer) as (connections, _):
            heard = Heard()
            task = asyncio.create_task(connections.post(b"", heard))
            while not heard.pieces:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await gone.wait()

    asyncio.run(scene())


def test_the_listener_is_called_in_the_context_of_who_asked() -> None:
    """What a turn's trace is, a connection that another turn opened does not decide."""
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name")

    async def scene() -> None:
        async with served(answers(OK + chunk(b"x"), END)) as (connections, server):
            for each in ("one", "two"):
                name.set(each)
                seen: list[str] = []

                def heard(_: bytes, seen: list[str] = seen) -> bool:
                    seen.append(name.get())
                    return False

                await connections.post(b"", heard)
                assert set(seen) == {each}
                await idle(connections)
            assert server.made == 1

    asyncio.run(scene())


def test_nobody_there_is_no_connection() -> None:
    """Neither at a port nor under a name."""

    async def scene(url: str) -> None:
        connections = Connections(url, {}, silence_s=1.0)
        with pytest.raises(ConnectionError):
            await connections.post(b"", Heard())

    asyncio.run(scene("http://127.0.0.1:9/"))
    asyncio.run(scene("http://does-not-exist.invalid/"))


def test_a_secure_endpoint_is_who_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its certificate is checked, for its name; with a stranger's nothing is sent."""
    trusted = certificate(tmp_path, "localhost")
    (tmp_path / "stranger").mkdir()
    wrong = certificate(tmp_path / "stranger", "localhost"), certificate(tmp_path, "elsewhere")
    bundle = tmp_path / "trusted.pem"
    bundle.write_bytes(trusted.read_bytes() + wrong[1].read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))

    async def scene(pem: Path) -> bytes:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pem)
        heard = Heard()
        async with served(answers(OK + chunk(b"se"), chunk(b"cure"), END), tls=tls) as (made, _):
            await made.post(b"", heard)
            await idle(made)
            await made.post(b"", Heard())
        return heard.whole

    assert asyncio.run(scene(trusted)) == b"secure"
    for pem in wrong:
        with pytest.raises(ConnectionError):
            asyncio.run(scene(pem))
