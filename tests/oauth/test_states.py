"""A flow's state works once, for ten minutes, in the browser that started it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from common.oauth.flow import Failed
from common.oauth.states import Pending, States, redirect_target, with_query
from common.store.sqlite import SqliteStore

HOME = "https://odai.example"
UID = "ada-whom-no-chance-spells"
PENDING = Pending(
    uid=UID, provider="google", scopes=("openid",), redirect=f"{HOME}/", verifier="v" * 64
)
Play = Callable[[Callable[["Flow"], Awaitable[None]]], None]


class Flow:
    """States over a store of the test's own, and a clock that moves when told to."""

    def __init__(self, folder: Path, *, secure: bool = True) -> None:
        self.now = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
        self.store = SqliteStore.open(folder / "store.sqlite")
        self.states = States(self.store, clock=lambda: self.now, secure=secure)

    async def code(self, state: str, cookies: dict[str, str]) -> str:
        ended = await self.states.finish(state, cookies)
        return ended.code if isinstance(ended, Failed) else "good"


@pytest.fixture
def play(tmp_path: Path, run: Callable[..., None]) -> Play:
    def start(script: Callable[[Flow], Awaitable[None]]) -> None:
        async def whole() -> None:
            flow = Flow(tmp_path)
            await script(flow)
            await flow.store.close()

        run(whole())

    return start


def test_a_state_works_once(play: Play) -> None:
    """The browser that started comes back; a replay is told from a guess."""

    async def script(flow: Flow) -> None:
        state, cookie = await flow.states.begin(PENDING)
        cookies = {cookie.name: cookie.value, "other": "x"}
        assert cookie.name.startswith("__Host-") and cookie.secure
        assert await flow.states.finish(state, cookies) == PENDING
        assert await flow.code(state, cookies) == "state_used"
        assert await flow.code("A" * 43, cookies) == "state_unknown"
        assert await flow.code("", cookies) == "state_missing"
        for odd in ("short", "x" * 5000, "é" * 43, "../" + "A" * 40):
            assert await flow.code(odd, cookies) == "state_unknown"

    play(script)


def test_a_state_is_worth_nothing_in_another_browser(play: Play) -> None:
    """No cookie, another flow's and an altered one are refused; the right one still works."""

    async def script(flow: Flow) -> None:
        state, cookie = await flow.states.begin(PENDING)
        _, other = await flow.states.begin(PENDING)
        for cookies in (
            {}, {other.name: other.value}, {cookie.name: other.value},
            {cookie.name: ""}, {cookie.name: cookie.value[:-1] + "é"},
        ):  # fmt: skip
            assert await flow.code(state, cookies) == "other_browser"
        assert await flow.code(state, {cookie.name: cookie.value}) == "good"

    play(script)


def test_a_state_lasts_ten_minutes(play: Play) -> None:
    """Whoever leaves the consent page open for longer starts again."""

    async def script(flow: Flow) -> None:
        state, cookie = await flow.states.begin(PENDING)
        flow.now += dt.timedelta(seconds=600)
        assert await flow.code(state, {cookie.name: cookie.value}) == "state_expired"

    play(script)


def test_a_copy_of_the_store_starts_nothing(play: Play, tmp_path: Path) -> None:
    """Neither the state, nor the verifier, nor whose flow it is can be read from the store."""

    async def script(flow: Flow) -> None:
        state, cookie = await flow.states.begin(PENDING)
        copies = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        for secret in (state, cookie.value, "v" * 64, UID):
            assert secret.encode() not in copies

    play(script)


@pytest.mark.parametrize(
    ("wanted", "target"),
    [
        ("", f"{HOME}/"),
        ("/#/chats/c1", f"{HOME}/#/chats/c1"),
        ("/a?b=c", f"{HOME}/a?b=c"),
        (f"{HOME}/x", f"{HOME}/x"),
        ("https://app.example/done?x=1#y", "https://app.example/done?x=1#y"),
        ("HTTPS://APP.example/", "HTTPS://APP.example/"),
        ("//evil.example", None),
        ("/\\evil.example", None),
        ("\\/evil.example", None),
        ("https://evil.example/", None),
        ("https://app.example.evil.example/", None),
        ("https://app.example:444/", None),
        ("http://app.example/", None),
        ("https://app.example@evil.example/", None),
        ("https://user@app.example/", None),
        ("https:app.example", None),
        ("javascript:alert(1)", None),
        ("/a\r\nSet-Cookie: x", None),
        ("/a b", None),
        ("done", None),
        ("https://[", None),
        ("/" + "a" * 3000, None),
    ],
)
def test_a_flow_ends_on_our_pages_only(wanted: str, target: str | None) -> None:
    """Nobody can be sent to a stranger's page by a link that begins at ours."""
    assert redirect_target(wanted, home=HOME, origins=["https://app.example"]) == target


def test_the_outcome_joins_the_address() -> None:
    """Parameters and fragment of the page stay; an older outcome does not."""
    page = f"{HOME}/a?b=1&link_error=old&linked=x#/chats/c"
    assert with_query(page, linked="google", link_missing="") == (
        f"{HOME}/a?b=1&linked=google#/chats/c"
    )
