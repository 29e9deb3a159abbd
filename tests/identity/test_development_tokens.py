"""Sign-in on a laptop: works without an account, and nowhere near production."""

from __future__ import annotations

import asyncio
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import InvalidInput, Misconfigured, NotAuthenticated
from common.identity import AnyOf, DevelopmentTokens, LocalCallers, bearer


@pytest.fixture
def tokens(tmp_path: Path, clock: Any) -> DevelopmentTokens:
    return DevelopmentTokens.open(tmp_path, production=False, clock=clock)


def key_file(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def test_signs_in(tokens: DevelopmentTokens, clock: Any) -> None:
    """A development user is known by the id and name chosen, for thirty days."""
    found = asyncio.run(tokens.verify(tokens.mint("dev", name="Dev\nUser")))
    assert (found.uid, found.name, found.provider, found.anonymous, found.email) == (
        "dev",
        "Dev User",
        "development",
        False,
        None,
    )
    assert (found.expires_at - clock.now).days == 30


def test_expires(tokens: DevelopmentTokens, clock: Any) -> None:
    """A development token ends when it was said to."""
    token = tokens.mint("dev", ttl_s=60)
    clock.tick(71)
    with pytest.raises(NotAuthenticated):
        asyncio.run(tokens.verify(token))


@pytest.mark.parametrize("opened", [DevelopmentTokens, LocalCallers])
def test_production_refuses(tmp_path: Path, opened: Any) -> None:
    """Production does not start with development sign-in, nor leaves a key lying about."""
    with pytest.raises(Misconfigured, match="ODAI_ENV"):
        opened.open(tmp_path / "data", production=True)
    assert not (tmp_path / "data").exists()


def test_key_file_is_private_and_kept(tmp_path: Path, clock: Any) -> None:
    """Only this user reads the key; a restart keeps everybody signed in."""
    folder = tmp_path / "data"
    token = DevelopmentTokens.open(folder, production=False, clock=clock).mint("dev")
    assert stat.S_IMODE(key_file(folder).stat().st_mode) == 0o600
    key_file(folder).chmod(0o644)
    again = DevelopmentTokens.open(folder, production=False, clock=clock)
    assert stat.S_IMODE(key_file(folder).stat().st_mode) == 0o600
    assert asyncio.run(again.verify(token)).uid == "dev"


def test_starting_twice_at_once_agrees_on_one_key(tmp_path: Path, clock: Any) -> None:
    """The server and the operator's command, started together, accept each other's tokens."""
    with ThreadPoolExecutor(8) as pool:
        made = list(
            pool.map(
                lambda _: DevelopmentTokens.open(tmp_path / "d", production=False, clock=clock),
                range(8),
            )
        )
    token = made[0].mint("dev")
    assert all(asyncio.run(each.verify(token)).uid == "dev" for each in made)
    assert key_file(tmp_path / "d").name == "development.key"


def test_broken_key_file_is_named(tmp_path: Path, tokens: DevelopmentTokens) -> None:
    """A damaged key file is reported with the remedy, not replaced behind one's back."""
    key_file(tmp_path).write_bytes(b"short")
    with pytest.raises(Misconfigured, match=r"development\.key"):
        DevelopmentTokens.open(tmp_path, production=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match="ODAI_DATA"):
        DevelopmentTokens.open(tmp_path / "file", production=False)


@pytest.mark.parametrize("uid", ["", "a/b", "..", "__x__", "u" * 129, "a\nb", "\ud800"])
def test_bad_user_ids_are_refused(tokens: DevelopmentTokens, uid: str) -> None:
    """A user id that could not be stored is refused where it is chosen."""
    with pytest.raises(InvalidInput):
        tokens.mint(uid)


def test_neither_verifier_takes_the_others_tokens(
    tokens: DevelopmentTokens, firebase: Any, authority: Any
) -> None:
    """A development token is no Firebase token and the reverse; a delivery's is neither."""
    for verifier, token in (
        (firebase, tokens.mint("dev")),
        (tokens, authority.id_token()),
    ):
        with pytest.raises(NotAuthenticated):
            asyncio.run(verifier.verify(token))


def test_delivery_token_is_no_user_token(tmp_path: Path, clock: Any) -> None:
    """What authenticates the task queue does not sign a user in, nor the reverse."""
    tokens = DevelopmentTokens.open(tmp_path, production=False, clock=clock)
    callers = LocalCallers.open(tmp_path, production=False, clock=clock)
    with pytest.raises(NotAuthenticated):
        asyncio.run(tokens.verify(bearer(callers.sign()) or ""))
    with pytest.raises(NotAuthenticated):
        asyncio.run(callers.verify("Bearer " + tokens.mint("dev")))


def test_forgeries_are_refused(tokens: DevelopmentTokens, tmp_path: Path, clock: Any) -> None:
    """Another machine's key, no key at all, and the raw file's bytes sign nobody in."""
    claims = jwt.decode(tokens.mint("dev"), options={"verify_signature": False})
    elsewhere = DevelopmentTokens.open(tmp_path / "other", production=False, clock=clock)
    raw = (tmp_path / "development.key").read_bytes()
    forged = (
        elsewhere.mint("dev"),
        jwt.encode(claims, None, algorithm="none"),
        jwt.encode(claims, raw, algorithm="HS256"),
        tokens.mint("dev")[:-2] + "AA",
    )
    for token in forged:
        with pytest.raises(NotAuthenticated):
            asyncio.run(tokens.verify(token))


def test_any_of_accepts_each(tokens: DevelopmentTokens, firebase: Any, authority: Any) -> None:
    """Staging may accept both kinds; what neither accepts is refused, as is everything by none."""
    both = AnyOf(firebase, tokens)
    assert asyncio.run(both.verify(authority.id_token())).provider == "google.com"
    assert asyncio.run(both.verify(tokens.mint("dev"))).provider == "development"
    for verifier in (both, AnyOf()):
        with pytest.raises(NotAuthenticated):
            asyncio.run(verifier.verify("a.b.c"))


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(token=st.text(max_size=80) | st.from_regex(r"[\w-]{0,20}\.[\w-]{0,20}\.[\w-]{0,20}"))
def test_garbage_is_only_ever_refused(tokens: DevelopmentTokens, token: str) -> None:
    """Whatever is sent, the answer is "sign in", never a fault of ours."""
    with pytest.raises(NotAuthenticated):
        asyncio.run(tokens.verify(token))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Bearer abc.def", "abc.def"),
        ("bearer   abc", "abc"),
        ("BEARER abc ", "abc"),
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearer a b", None),
        ("Basic abc", None),
        ("abc", None),
        ("", None),
        (None, None),
    ],
)
def test_bearer_reads_the_header(header: str | None, expected: str | None) -> None:
    """The Authorization header is read as clients write it, in any case."""
    assert bearer(header) == expected
