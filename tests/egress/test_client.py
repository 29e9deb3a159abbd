"""Calls to a vendor: what comes back, what is refused, retried, shared and said."""

from __future__ import annotations

import asyncio
import gzip
import logging
import random
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from common.egress import Egress, Policy
from common.errors import (
    InvalidInput,
    NotAllowed,
    OdaiError,
    RateLimited,
    VendorRejected,
    VendorUnavailable,
)

YELP = Policy(name="Yelp", hosts=("api.example.com", "*.cdn.example.com"))
URL = "https://api.example.com/v3/search"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def script(*answers: Any) -> Handler:
    """Answer with each of `answers` in turn (a status or a response); fail when used up."""
    left = list(answers)

    async def handler(request: web.Request) -> web.StreamResponse:
        answer = left.pop(0)
        return answer if isinstance(answer, web.StreamResponse) else web.Response(status=answer)

    return handler


async def ok(request: web.Request) -> web.StreamResponse:
    """Answer a small JSON object."""
    return web.json_response({"ok": True})


def test_a_call_reaches_the_vendor_unchanged(world: Any) -> None:
    """A connector's path, query, headers and JSON arrive as it wrote them."""

    async def main() -> None:
        async with world(ok) as w:
            got = await w.egress.client(YELP).post_json(
                f"{URL}/a%2Fb?q=x%20y",
                json={"n": 1},
                params={"lang": "de", "none": None, "open": True},
                headers={"Authorization": "Bearer k"},
            )
            (seen,) = w.origin.seen
            assert got == {"ok": True}
            assert seen.raw_path == "/v3/search/a%2Fb?q=x%20y&lang=de&open=true"
            assert seen.headers["Host"] == "api.example.com"
            assert seen.headers["Authorization"] == "Bearer k"
            assert seen.headers["Content-Type"] == "application/json"
            assert seen.headers["User-Agent"] == "odai/1"
            assert await seen.read() == b'{"n": 1}'

    asyncio.run(main())


def test_a_form_is_url_encoded(world: Any) -> None:
    """A vendor that takes forms gets one."""

    async def main() -> None:
        async with world(ok) as w:
            await w.egress.client(YELP).request("post", URL, form={"To": "a b", "n": 2, "x": None})
            (seen,) = w.origin.seen
            assert await seen.read() == b"To=a+b&n=2"
            assert seen.headers["Content-Type"] == "application/x-www-form-urlencoded"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        (401, VendorRejected, "refused our key or permission"),
        (403, VendorRejected, "refused our key or permission"),
        (404, VendorRejected, "knows nothing by that name"),
        (400, VendorRejected, "did not accept"),
        (418, VendorRejected, "did not accept"),
        (422, VendorRejected, "did not accept"),
        (304, VendorRejected, "redirect"),
        (429, RateLimited, "no more requests"),
        (500, VendorUnavailable, "problem of its own"),
        (501, VendorUnavailable, "problem of its own"),
        (503, VendorUnavailable, "problem of its own"),
    ],
)
def test_each_status_says_what_to_do(
    world: Any, status: int, error: type[OdaiError], says: str
) -> None:
    """A refused call names the vendor and the next step, and never the address or the key."""

    async def main() -> None:
        async with world(script(status), max_attempts=1) as w:
            with pytest.raises(error) as caught:
                await w.egress.client(YELP).get(URL, params={"key": "sekret"})
            assert str(caught.value).startswith("Yelp ")
            assert says in str(caught.value)
            assert "sekret" not in str(caught.value)
            assert "example" not in str(caught.value)
            assert caught.value.__cause__ is None
            assert caught.value.__context__ is None
            if isinstance(caught.value, VendorRejected):
                assert caught.value.vendor_status == status

    asyncio.run(main())


@pytest.mark.parametrize("status", [302, 404, 409, 429, 500])
def test_an_expected_status_is_an_answer(world: Any, status: int) -> None:
    """A connector that knows what a status means gets the reply, once, without retries."""

    async def main() -> None:
        async with world(script(status)) as w:
            reply = await w.egress.client(YELP).get(URL, expect=(status,))
            assert reply.status == status

    asyncio.run(main())


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.net/",
        "https://api.example.com.evil.net/",
        "https://xapi.example.com/",
        "https://cdn.example.com/",
        "https://user:pw@api.example.com/",
        "https://api.example.com@evil.net/",
        "http://a.cdn.example.com/",
        "https://a.cdn.example.com:8443/",
        "file:///etc/passwd",
        "ftp://api.example.com/",
        "/relative",
    ],
)
def test_only_listed_hosts_are_called(world: Any, url: str) -> None:
    """A connector reaches the hosts of its manifest, safely, and nothing else."""

    async def main() -> None:
        async with world(ok) as w:
            with pytest.raises(NotAllowed):
                await w.egress.client(YELP).get(url)
            assert w.origin.seen == []

    asyncio.run(main())


@pytest.mark.parametrize("url", ["https://[::1", "https://api.example.com:x/"])
def test_a_broken_address_is_the_callers_mistake(world: Any, url: str) -> None:
    """A malformed address is reported without being quoted."""

    async def main() -> None:
        async with world(ok) as w:
            with pytest.raises(InvalidInput) as caught:
                await w.egress.client(YELP).get(url)
            assert url not in str(caught.value)

    asyncio.run(main())


def test_a_header_cannot_smuggle_lines(world: Any) -> None:
    """A line break in a header is refused, not sent."""

    async def main() -> None:
        async with world(ok) as w:
            with pytest.raises(InvalidInput):
                await w.egress.client(YELP).get(URL, headers={"X-A": "a\r\nX-B: b"})
            assert w.origin.seen == []

    asyncio.run(main())


def test_wildcard_hosts_and_maps(world: Any) -> None:
    """`*.cdn.example.com` allows any name below it, upper case and final dot included."""

    async def main() -> None:
        async with world(ok, mapped=("*.cdn.example.com",)) as w:
            client = w.egress.client(YELP)
            await client.get("https://a.cdn.example.com/1")
            await client.get("https://A.B.CDN.example.com./2")
            assert w.origin.paths == ["/1", "/2"]
            with pytest.raises(NotAllowed):
                await client.get("https://cdn.example.com/3")

    asyncio.run(main())


def test_mapping_a_host_does_not_list_it(world: Any) -> None:
    """Replay and simulators do not widen what a connector may call."""

    async def main() -> None:
        async with world(ok, mapped=("other.example.org",)) as w:
            with pytest.raises(NotAllowed):
                await w.egress.client(YELP).get("https://other.example.org/")

    asyncio.run(main())


def test_reads_are_retried_with_jitter(world: Any) -> None:
    """A vendor's hiccup is not the user's: a read is tried again after growing random waits."""

    async def main() -> None:
        answers = script(503, 502, web.json_response({"n": 3}))
        async with world(answers, rng=random.Random(1)) as w:
            assert await w.egress.client(YELP).get_json(URL) == {"n": 3}
            first, second = w.clock.slept
            assert 0 <= first <= 0.5
            assert 0 <= second <= 1.0
            assert first != second

    asyncio.run(main())


def test_attempts_end(world: Any) -> None:
    """A vendor that stays down is given up after three attempts."""

    async def main() -> None:
        async with world(script(500, 500, 500)) as w:
            with pytest.raises(VendorUnavailable):
                await w.egress.client(YELP).get(URL)
            assert len(w.origin.seen) == 3

    asyncio.run(main())


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("status", [429, 503])
def test_writes_are_sent_once(world: Any, method: str, status: int) -> None:
    """Nothing is booked or paid twice because a vendor answered badly."""

    async def main() -> None:
        async with world(script(status)) as w:
            with pytest.raises((VendorUnavailable, RateLimited)):
                await w.egress.client(YELP).request(method, URL, json={})
            assert len(w.origin.seen) == 1

    asyncio.run(main())


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "GET"])
def test_a_dropped_connection_repeats_reads_only(world: Any, method: str) -> None:
    """A connection that dies after a write was sent leaves it at one; a read is tried again."""

    async def main() -> None:
        async def handler(request: web.Request) -> web.StreamResponse:
            if len(w.origin.seen) == 2 and request.transport:
                request.transport.abort()  # a kept connection, which aiohttp would retry by itself
            return web.json_response({})

        async with world(handler) as w:
            client = w.egress.client(YELP)
            await client.get(URL)
            if method == "GET":
                await client.get(URL)
                assert len(w.origin.seen) == 3
                return
            with pytest.raises(VendorUnavailable):
                await client.request(method, URL)
            assert len(w.origin.seen) == 2

    asyncio.run(main())


def test_an_idempotent_write_may_be_retried(world: Any) -> None:
    """A write with an idempotency key is retried when its connector says so."""

    async def main() -> None:
        async with world(script(503, 200)) as w:
            reply = await w.egress.client(YELP).request("POST", URL, body=b"x", idempotent=True)
            assert reply.status == 200
            assert [await request.read() for request in w.origin.seen] == [b"x", b"x"]

    asyncio.run(main())


DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    "headers",
    [{"Retry-After": "4"}, {"Retry-After": "Wed, 21 Oct 2026 07:28:04 GMT", "Date": DATE}],
)
def test_a_short_retry_after_is_waited_for(
    world: Any, status: int, headers: dict[str, str]
) -> None:
    """When the vendor says "in 4 seconds" and there is time, exactly that is waited."""

    async def main() -> None:
        async with world(script(web.Response(status=status, headers=headers), 200)) as w:
            assert (await w.egress.client(YELP).get(URL)).status == 200
            assert w.clock.slept == [4.0]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "60"}, 60.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:29:00 GMT", "Date": DATE}, 60.0),
        ({"Retry-After": "9" * 400}, 86_400.0),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT", "Date": DATE}, 86_400.0),
    ],
)
def test_a_long_retry_after_is_told(world: Any, headers: dict[str, str], seconds: float) -> None:
    """A wait that does not fit is reported with its length instead of being sat out."""

    async def main() -> None:
        async with world(script(web.Response(status=429, headers=headers))) as w:
            with pytest.raises(RateLimited) as caught:
                await w.egress.client(YELP).get(URL)
            assert caught.value.retry_after == seconds
            assert w.clock.slept == []

    asyncio.run(main())


@pytest.mark.parametrize("value", ["soon", "-3", "", "1e9", "٣", "Wed, 99 Foo 2026"])
def test_an_unreadable_retry_after_is_ignored(world: Any, value: str) -> None:
    """Nonsense in the header neither breaks nor delays the report."""

    async def main() -> None:
        answer = web.Response(status=429, headers={"Retry-After": value})
        async with world(script(answer), max_attempts=1) as w:
            with pytest.raises(RateLimited) as caught:
                await w.egress.client(YELP).get(URL)
            assert caught.value.retry_after is None

    asyncio.run(main())


def test_a_silent_vendor_is_given_up(world: Any) -> None:
    """A vendor that accepts and never answers ends in a sentence, not in a hang."""

    async def main() -> None:
        async def silent(request: web.Request) -> web.StreamResponse:
            await asyncio.Event().wait()
            raise AssertionError

        async with world(silent, max_attempts=1) as w:
            with pytest.raises(VendorUnavailable, match="took too long"):
                await w.egress.client(YELP).get(URL, timeout_s=0.05)

    asyncio.run(main())


def test_a_trickling_vendor_is_given_up(world: Any) -> None:
    """The time limit covers the body too."""

    async def main() -> None:
        async def trickle(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"x")
            await asyncio.Event().wait()
            return response

        async with world(trickle, max_attempts=1) as w:
            with pytest.raises(VendorUnavailable, match="took too long"):
                await w.egress.client(YELP).get(URL, timeout_s=0.05)

    asyncio.run(main())


def test_a_closed_port_is_reported(world: Any) -> None:
    """A vendor that cannot be reached is named, without its address."""

    async def main() -> None:
        egress = Egress(host_map={"api.example.com": "http://127.0.0.1:1"}, max_attempts=1)
        with pytest.raises(VendorUnavailable, match="Yelp cannot be reached") as caught:
            await egress.client(YELP).get(URL)
        assert "127.0.0.1" not in str(caught.value)
        await egress.close()

    asyncio.run(main())


def _redirect(where: str, status: int = 302) -> web.Response:
    return web.Response(status=status, headers={"Location": where})


def test_a_redirect_on_the_same_host_is_followed(world: Any) -> None:
    """A vendor that moved a path still answers, with the key that was sent."""

    async def main() -> None:
        async with world(script(_redirect("/v4/search"), 200)) as w:
            reply = await w.egress.client(YELP).get(URL, headers={"Authorization": "k"})
            assert reply.url == "https://api.example.com/v4/search"
            assert w.origin.seen[1].headers["Authorization"] == "k"

    asyncio.run(main())


def test_keys_stay_with_their_host(world: Any) -> None:
    """A redirect to another listed host carries no Authorization and no vendor key header."""

    async def main() -> None:
        mapped = ("api.example.com", "*.cdn.example.com")
        async with world(script(_redirect("https://a.cdn.example.com/x"), 200), mapped=mapped) as w:
            headers = {"Authorization": "k", "X-Api-Key": "k", "Accept": "image/png"}
            await w.egress.client(YELP).get(URL, headers=headers)
            second = w.origin.seen[1].headers
            assert second["Host"] == "a.cdn.example.com"
            assert second["Accept"] == "image/png"
            assert "Authorization" not in second
            assert "X-Api-Key" not in second

    asyncio.run(main())


@pytest.mark.parametrize(
    "where",
    ["https://evil.example.net/", "http://169.254.169.254/", "//evil.net/", "", "https://[::1"],
)
def test_other_redirects_are_refused(world: Any, where: str) -> None:
    """A vendor cannot send us to a host that its manifest does not list."""

    async def main() -> None:
        async with world(script(_redirect(where))) as w:
            with pytest.raises(VendorRejected) as caught:
                await w.egress.client(YELP).get(URL)
            assert caught.value.vendor_status == 302

    asyncio.run(main())


def test_redirects_end_and_writes_follow_none(world: Any) -> None:
    """Three redirects are followed for a read, none for a write."""

    async def main() -> None:
        async with world(script(*[_redirect("/again") for _ in range(4)])) as w:
            with pytest.raises(VendorRejected):
                await w.egress.client(YELP).get(URL)
            assert len(w.origin.seen) == 4
        async with world(script(_redirect("/again", 307))) as w:
            with pytest.raises(VendorRejected):
                await w.egress.client(YELP).request("POST", URL, idempotent=True)

    asyncio.run(main())


SMALL = Policy(name="Yelp", hosts=YELP.hosts, max_bytes=100_000)


async def _chunked(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(50):
        await response.write(b"x" * 10_000)
    return response


async def _declared(request: web.Request) -> web.StreamResponse:
    return web.Response(body=b"x" * 100_001)


async def _bomb(request: web.Request) -> web.StreamResponse:
    packed = gzip.compress(gzip.compress(b"\0" * 50_000_000))
    return web.Response(body=gzip.decompress(packed), headers={"Content-Encoding": "gzip"})


@pytest.mark.parametrize("handler", [_chunked, _declared, _bomb])
def test_an_answer_without_end_is_cut(world: Any, handler: Handler) -> None:
    """More than the cap is refused while reading, once, also when it unfolds from a few bytes."""

    async def main() -> None:
        async with world(handler) as w:
            with pytest.raises(VendorRejected, match="more than can be taken in"):
                await w.egress.client(SMALL).get(URL)
            assert len(w.origin.seen) == 1

    asyncio.run(main())


def test_a_bomb_does_not_unfold(world: Any) -> None:
    """The memory that 50 MB of packed zeros take is bounded by the cap, not by the bomb."""

    async def main() -> int:
        body = gzip.compress(b"\0" * 50_000_000)

        async def handler(request: web.Request) -> web.StreamResponse:
            return web.Response(body=body, headers={"Content-Encoding": "gzip"})

        async with world(handler) as w:
            tracemalloc.start()
            with pytest.raises(VendorRejected):
                await w.egress.client(SMALL).get(URL)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            return peak

    assert asyncio.run(main()) < 5_000_000


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_garbled_encoding_is_the_vendors_fault(world: Any, encoding: str) -> None:
    """An answer that does not decode is reported as the vendor's trouble."""

    async def main() -> None:
        async def garbled(request: web.Request) -> web.StreamResponse:
            return web.Response(body=b"nonsense", headers={"Content-Encoding": encoding})

        async with world(garbled, max_attempts=1) as w:
            with pytest.raises(VendorUnavailable):
                await w.egress.client(YELP).get(URL)

    asyncio.run(main())


@pytest.mark.parametrize("body", [b"<html>", b"", b"[" * 100_000, b"\xff\xfe\xff"])
def test_json_that_is_none_is_the_vendors_fault(world: Any, body: bytes) -> None:
    """An HTML error page in place of JSON says that the vendor's answer cannot be read."""

    async def main() -> None:
        async with world(script(web.Response(body=body))) as w:
            with pytest.raises(VendorUnavailable, match="Yelp sent an answer that cannot be read"):
                await w.egress.client(YELP).get_json(URL)

    asyncio.run(main())


def test_nothing_private_is_logged(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Logs name the vendor and the trouble; keys, addresses and bodies stay out of them."""

    async def main() -> None:
        answer = web.Response(status=500, body=b"sekret-answer")
        async with world(script(answer), max_attempts=1) as w:
            with pytest.raises(VendorUnavailable):
                await w.egress.client(YELP).request(
                    "POST", URL, params={"k": "sekret-q"}, headers={"X": "sekret-h"}, body=b"sekret"
                )
        egress = Egress(host_map={"api.example.com": "http://127.0.0.1:1"}, max_attempts=1)
        with pytest.raises(VendorUnavailable):
            await egress.client(YELP).get(URL, params={"k": "sekret-q"})
        await egress.close()

    with caplog.at_level(logging.DEBUG, logger="common"):
        asyncio.run(main())
    told = [vars(record) for record in caplog.records if record.name.startswith("common")]
    assert {facts["vendor"] for facts in told} == {"Yelp"}
    assert "sekret" not in str(told)
    assert "example" not in str(told)


def test_a_reply_does_not_show_its_content(world: Any) -> None:
    """A reply that ends up in a log line or traceback shows its status only."""

    async def main() -> None:
        async with world(script(web.Response(body=b"sekret"))) as w:
            reply = await w.egress.client(YELP).get(URL, params={"key": "sekret"})
            assert "sekret" not in repr(reply)
            assert "200" in repr(reply)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        ("grün".encode(), "text/html", "grün"),
        ("grün".encode("latin-1"), "text/html; charset=ISO-8859-1", "grün"),
        ("grün".encode("latin-1"), 'text/html; charset="iso-8859-1"', "grün"),
        (b'<meta charset="windows-1252">gr\xfcn', "text/html", '<meta charset="windows-1252">grün'),
        ("日本".encode("shift_jis"), "text/plain; charset=Shift_JIS", "日本"),
        ("grün".encode("utf-8-sig"), "text/html; charset=latin-1", "grün"),
        ("grün".encode("utf-16"), "text/html", "grün"),
        (b"a\xffb", "text/html", "a\N{REPLACEMENT CHARACTER}b"),
        ("grün".encode(), "text/html; charset=unicode_escape", "grün"),
        ("grün".encode(), "text/html; charset=utf-8-nonsense", "grün"),
        ("grün".encode(), "text/html; charset=punycode", "grün"),
    ],
)
def test_text_is_decoded_by_its_label(world: Any, body: bytes, kind: str, text: str) -> None:
    """Pages read right in whatever charset they declare, and readably if they declare nonsense."""

    async def main() -> None:
        answer = web.Response(body=body, headers={"Content-Type": kind})
        async with world(script(answer)) as w:
            assert (await w.egress.client(YELP).get(URL)).text() == text

    asyncio.run(main())


def test_tracing_opens_a_span_when_it_is_set_up(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With OpenTelemetry loaded each attempt is a span that names the vendor, not the address."""
    opened: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> Any:
        opened.append(f"{name} {attributes}")
        return nullcontext()

    tracer = SimpleNamespace(start_as_current_span=start)
    fake = SimpleNamespace(get_tracer=lambda name: tracer)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", fake)

    async def main() -> None:
        async with world(ok) as w:
            await w.egress.client(YELP).get(URL)

    asyncio.run(main())
    assert opened == ["GET Yelp {'peer.service': 'Yelp'}"]
