"""Google's signing keys: fetched rarely, followed through rotations and outages."""

from __future__ import annotations

import asyncio
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import common
from common.egress import Egress
from common.errors import NotAuthenticated, VendorUnavailable
from common.identity import FirebaseTokens, SigningKeys, google_certificates, google_oidc_keys


def verify(firebase: Any, token: str) -> str:
    return str(asyncio.run(firebase.verify(token)).uid)


def test_keys_are_fetched_once_and_again_after_max_age(
    firebase: Any, authority: Any, server: Any, clock: Any
) -> None:
    """Users sign in without waiting for Google each time, and a key's age is respected."""
    for _ in range(3):
        verify(firebase, authority.id_token())
    clock.tick(17_999)
    verify(firebase, authority.id_token())
    assert len(server.asked) == 1
    clock.tick(2)
    verify(firebase, authority.id_token())
    assert len(server.asked) == 2


def test_time_spent_in_caches_counts(
    firebase: Any, authority: Any, server: Any, clock: Any
) -> None:
    """Keys that an intermediary kept for a while are not kept longer than Google said."""
    server.headers["age"] = "17000"
    verify(firebase, authority.id_token())
    clock.tick(1001)
    verify(firebase, authority.id_token())
    assert len(server.asked) == 2


@pytest.mark.parametrize("headers", [{"cache-control": "max-age=0"}, {}, {"cache-control": "junk"}])
def test_max_age_zero_counts_as_a_minute(
    firebase: Any, authority: Any, server: Any, clock: Any, headers: dict[str, str]
) -> None:
    """Signing in works where keys may not be cached, without a fetch for every request."""
    server.headers = headers
    for _ in range(3):
        verify(firebase, authority.id_token())
    assert len(server.asked) == 1
    clock.tick(60)
    verify(firebase, authority.id_token())
    assert len(server.asked) == 2


def test_rotation_mid_run(firebase: Any, authority: Any, server: Any, clock: Any) -> None:
    """The day Google changes keys nobody notices; tokens of the withdrawn key stop working."""
    old = authority.id_token()
    verify(firebase, old)
    clock.tick(60)
    authority.rotate("k2")
    assert verify(firebase, authority.id_token()) == "uid1"
    assert len(server.asked) == 2
    with pytest.raises(NotAuthenticated):
        verify(firebase, old)
    assert len(server.asked) == 2


def test_flood_of_random_key_ids_fetches_once_a_minute(
    firebase: Any, authority: Any, server: Any, clock: Any
) -> None:
    """A stranger sending made-up key ids cannot make us call Google at will."""
    verify(firebase, authority.id_token())
    clock.tick(61)
    for number in range(50):
        with pytest.raises(NotAuthenticated):
            verify(firebase, authority.id_token(header={"kid": f"made-up-{number}"}))
    assert len(server.asked) == 2
    clock.tick(60)
    with pytest.raises(NotAuthenticated):
        verify(firebase, authority.id_token(header={"kid": "made-up"}))
    assert len(server.asked) == 3
    assert verify(firebase, authority.id_token()) == "uid1"


def test_outage_is_bridged_then_says_so(
    firebase: Any, authority: Any, server: Any, clock: Any
) -> None:
    """With Google's key server down, users stay signed in for hours; then we say it is us."""
    verify(firebase, authority.id_token())
    server.down = True
    clock.tick(18_000)
    for _ in range(5):
        assert verify(firebase, authority.id_token()) == "uid1"
    assert len(server.asked) == 2
    clock.tick(6 * 3600)
    with pytest.raises(VendorUnavailable, match="try again"):
        verify(firebase, authority.id_token())
    server.down = False
    assert verify(firebase, authority.id_token()) == "uid1"


def test_expired_certificate_is_not_bridged(
    firebase: Any, authority: Any, server: Any, clock: Any
) -> None:
    """An outage never stretches a key beyond the end of its own certificate."""
    server.body = lambda: {"k1": authority.certificate("k1", days=1)}
    clock.tick(86_400 - 20_000)
    verify(firebase, authority.id_token())
    server.down = True
    clock.tick(20_000)
    with pytest.raises(NotAuthenticated):
        verify(firebase, authority.id_token())


def test_down_from_the_start_is_not_the_users_fault(
    firebase: Any, authority: Any, server: Any
) -> None:
    """Where no key was ever had, a signed-in user is asked to retry, not to sign in again."""
    server.down = True
    with pytest.raises(VendorUnavailable):
        verify(firebase, authority.id_token())
    server.down = False
    assert verify(firebase, authority.id_token()) == "uid1"


class Held:
    """A fetch that waits until let go."""

    def __init__(self, keys: Any) -> None:
        self.keys, self.count = keys, 0
        self.begun, self.go = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> Any:
        self.count += 1
        self.begun.set()
        await self.go.wait()
        if self.keys is None:
            raise VendorUnavailable("down")
        return self.keys, 3600


def some_keys(server: Any) -> Any:
    return asyncio.run(google_certificates(server)())[0]


def test_callers_at_once_share_a_fetch(server: Any, clock: Any) -> None:
    """A hundred users arriving at a cold process cause one request to Google."""
    found = some_keys(server)

    async def scenario() -> int:
        fetch = Held(found)
        keys = SigningKeys(fetch, clock=clock)
        waiting = [asyncio.create_task(keys.key("k1")) for _ in range(100)]
        await fetch.begun.wait()
        fetch.go.set()
        assert all(await asyncio.gather(*waiting))
        return fetch.count

    assert asyncio.run(scenario()) == 1


def test_callers_at_once_share_a_failure(clock: Any) -> None:
    """When that one request fails, nobody queues up for another hundred."""

    async def scenario() -> int:
        fetch = Held(None)
        keys = SigningKeys(fetch, clock=clock)
        waiting = [asyncio.create_task(keys.key("k1")) for _ in range(100)]
        await fetch.begun.wait()
        fetch.go.set()
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, VendorUnavailable)
        return fetch.count

    assert asyncio.run(scenario()) == 1


def test_leaving_user_does_not_take_the_others_along(server: Any, clock: Any) -> None:
    """The user who waited first may hang up; the rest still get in."""
    found = some_keys(server)

    async def scenario() -> None:
        fetch = Held(found)
        keys = SigningKeys(fetch, clock=clock)
        first, second = (asyncio.create_task(keys.key("k1")) for _ in range(2))
        await fetch.begun.wait()
        first.cancel()
        fetch.go.set()
        assert await second is not None

    asyncio.run(scenario())


def test_odd_keys_do_not_hide_good_ones(firebase: Any, authority: Any, server: Any) -> None:
    """One unreadable certificate among Google's leaves the others in use."""
    good = authority.certificates()
    server.body = lambda: {"bad": "-----BEGIN CERTIFICATE-----", "number": 7, "\ud800": "", **good}
    assert verify(firebase, authority.id_token()) == "uid1"


def test_odd_jwks_do_not_hide_good_ones(authority: Any, server: Any, oidc_keys: Any) -> None:
    """The same of Google's key list: other kinds of key, short keys and junk are passed over."""
    entries = authority.jwks()["keys"]
    junk = [7, {}, {"kid": ["k"]}, {"kid": "ec", "kty": "EC", "crv": "P-256"}, {"kid": "n", "n": 1}]
    short = {"kid": "short", "kty": "RSA", "n": "u1SU1LfVLPHCozMxH2Mo", "e": "AQAB"}
    server.body = lambda: {"keys": [*junk, short, *entries]}

    async def scenario() -> list[bool]:
        return [await oidc_keys.key(kid) is not None for kid in ("k1", "ec", "short", "None")]

    assert asyncio.run(scenario()) == [True, False, False, False]


@pytest.mark.parametrize("body", [[], {}, {"k1": 7}, "text", None, {"keys": {}}])
@pytest.mark.parametrize("factory", [google_certificates, google_oidc_keys])
def test_answer_without_keys_is_an_outage(server: Any, body: Any, factory: Any) -> None:
    """A key server that answers nonsense counts as down."""
    server.body = lambda: body
    with pytest.raises(VendorUnavailable):
        asyncio.run(factory(server)())


@pytest.fixture
def answers() -> Iterator[Any]:
    """A loopback web server that gives the answers queued in `.queue`, the last one for ever."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            queue = self.server.queue  # type: ignore[attr-defined]
            status, body = queue.pop(0) if len(queue) > 1 else queue[0]
            self.server.paths.append(self.path)  # type: ignore[attr-defined]
            self.send_response(status)
            self.send_header("Cache-Control", "public, max-age=300")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output clean."""

    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.queue, server.paths = [], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_over_the_real_client(authority: Any, clock: Any, answers: Any) -> None:
    """A key server answering 500 is an outage; once it recovers, users get in."""
    body = json.dumps(authority.certificates()).encode()

    async def no_wait(_: float) -> None:
        """Pass the pause between attempts at once."""

    async def scenario() -> None:
        target = f"http://127.0.0.1:{answers.server_address[1]}"
        egress = Egress(host_map={"www.googleapis.com": target}, sleep=no_wait, max_attempts=1)
        try:
            keys = SigningKeys(google_certificates(egress), clock=clock)
            firebase = FirebaseTokens("demo-project", keys, clock=clock)
            answers.queue = [(500, b"{}")]
            with pytest.raises(VendorUnavailable):
                await firebase.verify(authority.id_token())
            answers.queue = [(200, body)]
            assert (await firebase.verify(authority.id_token())).uid == "uid1"
            answers.queue = [(500, b"{}")]
            clock.tick(301)
            assert (await firebase.verify(authority.id_token())).uid == "uid1"
        finally:
            await egress.close()

    asyncio.run(scenario())
    assert set(answers.paths) == {"/robot/v1/metadata/x509/securetoken@system.gserviceaccount.com"}


def test_importing_identity_is_light() -> None:
    """A function that checks who calls starts without the HTTP client, Google's or the model's."""
    code = (
        "import sys; before = set(sys.modules); import common.identity; "
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(new & {'aiohttp', 'google', 'grpc', 'agents', 'openai', 'common'}))"
    )
    root = Path(common.__path__[0]).parent
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "['common']"


def test_start_up_can_fetch_ahead(keys: Any, firebase: Any, authority: Any, server: Any) -> None:
    """A process that fetched keys while starting serves its first user without a wait."""
    asyncio.run(keys.refresh())
    verify(firebase, authority.id_token())
    assert len(server.asked) == 1


def test_start_up_survives_an_outage(keys: Any, server: Any) -> None:
    """A process starts although Google's key server is down."""
    server.down = True
    asyncio.run(keys.refresh())
    assert len(server.asked) == 1
