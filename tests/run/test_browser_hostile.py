"""The web client among enemies: torn sockets, hostile answers, floods, no network, dying servers.

Whatever happens, no script of a stranger runs, nothing is lost or doubled, the page complains of
nothing but the network, and a sentence says what is the matter.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fakes.openai_responses import Calls, FakeOpenAI, Gate, Reply, Text
from tests.run.serving import Server
from tests.run.wire import Wire
from tests.web.test_markdown_hostile import HOSTILE, RUN

WEATHER = ("get_forecast_weather_by_location", {"location": "Boston", "days": 2, "date": None})
ANSWER = "It **rains** in Boston, as it does in November: take a coat."
LATE = {
    "phone_number": "+14155550123",
    "message": f"<img src=x onerror={RUN}>\n[x](javascript:{RUN})\u202egpj.exe",
}
# What the browser itself says of a connection that is gone.
NETWORK = re.compile(r"WebSocket connection to|net::ERR_|Failed to load resource")
PARTS = """() => [...document.querySelectorAll(
    '#turns [data-testid=message-user], #turns .tool-label, #turns [data-testid=tool-output], '
    + '#turns .card, #turns [data-testid=message-assistant], #turns .turn-status')]
  .map((part) => part.innerText)"""


def complaints(page: Any) -> list[str]:
    """Return what the page complained of, the network left out."""
    return [said for said in page.complaints if not NETWORK.search(said)]


def ask(page: Any, text: str) -> Any:
    """Send a prompt; return its turn."""
    turns = page.locator(".turn").count()
    page.get_by_test_id("composer").fill(text)
    page.get_by_test_id("composer").press("Enter")
    return page.locator(".turn").nth(turns)


def ended(turn: Any) -> Any:
    """Wait until a turn ended; return it."""
    from playwright.sync_api import expect

    expect(turn.get_by_test_id("regenerate")).to_be_attached()
    return turn


@pytest.fixture(scope="module")
def wire(server: Server) -> Iterator[Wire]:
    """Put a wire before the server of this module."""
    with Wire(server.port) as between:
        yield between


def enter(page: Any, server: Server, wire: Wire | None = None, name: str = "Ada") -> None:
    """Open the page, signed in, on a new chat."""
    base = wire.origin if wire else server.base
    page.goto(f"{base}/#token={server.token(name)}")
    page.locator("#welcome h2").wait_for()


@pytest.mark.timeout(400)
def test_a_socket_cut_after_any_frame_loses_and_doubles_nothing(
    server: Server, model: FakeOpenAI, wire: Wire, page: Any
) -> None:
    """Wherever in a turn the connection ends, the page shows what it shows undisturbed."""

    def turn() -> list[str]:
        page.get_by_test_id("new-chat").click()
        model.then(Calls([WEATHER]), Reply(Text(ANSWER), interval_s=0.02))
        ended(ask(page, "What's the weather in Boston?"))
        return list(page.evaluate(PARTS))

    enter(page, server, wire)
    wire.cut_after(0)
    undisturbed = turn()
    frames = wire.frames
    assert frames > 6, "the turn has a beginning, a call, an answer and an end"
    assert undisturbed[-1] == "It rains in Boston, as it does in November: take a coat."
    # ODAI_TEST_BROWSER=all for after every one; else the first, those on the way, the last.
    every = os.environ.get("ODAI_TEST_BROWSER") == "all"
    for after in range(1, frames + 1) if every else sorted({1, 2, frames // 2, frames - 1}):
        wire.cut_after(after, torn=after % 2 == 0)
        assert turn() == undisturbed, f"cut after frame {after}"
    page.reload()
    page.locator(".turn-actions").first.wait_for(state="attached")
    assert page.evaluate(PARTS) == undisturbed
    assert complaints(page) == []


def test_hostile_text_everywhere_in_a_real_answer_stays_text(
    server: Server, model: FakeOpenAI, page: Any
) -> None:
    """Answer, question, title, approval and its outcome quote an attacker: nothing of it acts."""
    from playwright.sync_api import expect

    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    enter(page, server)
    nested = "\n".join("> " * deep + "- " * deep + f"deep <b onclick={RUN}>" for deep in range(60))
    for text in (*HOSTILE, nested, "[" * 3000 + "](" * 3000):
        assert text.strip()
    model.then(Text("\n\n".join(HOSTILE)), Text(nested))
    turn = ended(ask(page, HOSTILE[1]))
    expect(turn.get_by_test_id("message-user")).to_have_text(HOSTILE[1])
    expect(turn.get_by_test_id("message-assistant").first).to_contain_text(HOSTILE[0])
    ended(ask(page, HOSTILE[0]))

    model.then(Calls([("transfer_to_twilio", {})]), Calls([("send_sms", LATE)]))
    turn = ask(page, "Text +14155550123 that I am late.")
    expect(turn.get_by_test_id("approval")).to_contain_text(f"<img src=x onerror={RUN}>")
    model.then(Text("All right."))
    turn.get_by_test_id("deny").click()
    expect(page.locator("#turns").get_by_text("All right.")).to_be_visible()

    page.get_by_test_id("chat-options").first.click()
    page.get_by_role("dialog").get_by_label("Title").fill(HOSTILE[1])
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#title")).to_have_text(HOSTILE[1])
    page.reload()
    expect(page.get_by_test_id("message-assistant").last).to_be_visible()

    links = page.locator("#turns .message-assistant a").evaluate_all(
        "(links) => links.map((link) => [link.protocol, link.rel])"
    )
    assert {tuple(link) for link in links} == {("https:", "noopener noreferrer nofollow")}
    assert page.evaluate("window.ran ?? null") is None
    assert all(url.startswith((server.base, "blob:", "data:image/")) for url in asked), asked
    assert complaints(page) == []


@pytest.mark.parametrize("letter", ["a", "雨"])
def test_a_message_of_a_megabyte_is_refused_in_words(
    letter: str, server: Server, model: FakeOpenAI, page: Any
) -> None:
    """What is too long is not taken in or not sent, a sentence says so, and the chat goes on."""
    from playwright.sync_api import expect

    enter(page, server)
    box = page.get_by_test_id("composer")
    box.fill("Hello")
    page.keyboard.insert_text(letter * 1_000_000)
    expect(page.get_by_test_id("notice")).to_contain_text("Send it in parts")
    expect(box).to_have_value("Hello")
    page.keyboard.insert_text(letter * 32_001)
    box.press("Enter")
    expect(page.get_by_test_id("notice")).to_contain_text("Send it in parts")
    box.fill("Hello")
    model.then(Text("Good morning."))
    box.press("Enter")
    expect(page.get_by_test_id("message-assistant").last).to_have_text("Good morning.")
    assert page.complaints == []


def test_a_server_that_cannot_be_reached_is_named(server: Server, page: Any) -> None:
    """Offline as the page starts: a sentence says so, and it goes on when the network is back."""
    from playwright.sync_api import expect

    page.route("**/client/config", lambda route: route.abort())
    page.goto(f"{server.base}/#token={server.token('Ada')}")
    expect(page.get_by_text("cannot be reached")).to_be_visible()
    page.unroute("**/client/config")
    page.reload()
    expect(page.get_by_test_id("composer")).to_be_visible()
    assert complaints(page) == []


def test_what_is_asked_offline_is_sent_once_when_the_network_is_back(
    server: Server, model: FakeOpenAI, page: Any
) -> None:
    """The question waits with a quiet word, and is asked once."""
    from playwright.sync_api import expect

    enter(page, server)
    page.context.set_offline(True)
    turn = ask(page, "Hello")
    expect(page.get_by_test_id("connection")).to_contain_text("Reconnecting")
    model.then(Text("Good morning."))
    page.context.set_offline(False)
    ended(turn)
    expect(page.get_by_test_id("message-assistant")).to_have_text(["Good morning."])
    expect(page.get_by_test_id("message-user")).to_have_count(1)
    assert complaints(page) == []


def test_an_expired_ticket_is_replaced_quietly(
    server: Server, model: FakeOpenAI, page: Any
) -> None:
    """A ticket that went stale on a slow way costs one more attempt, not the conversation."""
    from playwright.sync_api import expect

    stale = iter(["t" * 43])

    def ticket(route: Any) -> None:
        old = next(stale, None)
        if old is None:
            route.continue_()
        else:
            route.fulfill(json={"ticket": old, "expires_in": 60})

    enter(page, server)
    page.route("**/tickets", ticket)
    model.then(Text("Good morning."))
    ended(ask(page, "Hello"))
    expect(page.get_by_test_id("message-assistant")).to_have_text(["Good morning."])
    assert complaints(page) == []


def test_an_ended_session_asks_to_sign_in(server: Server, page: Any) -> None:
    """A token that is no longer good leads to the sign-in page with a reason."""
    from playwright.sync_api import expect

    page.goto(f"{server.base}/#token=not-a-token")
    expect(page.get_by_test_id("sign-in")).to_be_visible()
    expect(page.get_by_role("alert").filter(has_text="Sign in again")).to_be_visible()
    assert complaints(page) == []


@pytest.mark.timeout(400)
def test_a_server_that_dies_within_a_turn_is_waited_for(
    start: Callable[..., Server], model: FakeOpenAI, page: Any
) -> None:
    """What was said stays, once; a sentence says it was cut short; asked again, it is whole."""
    from playwright.sync_api import expect

    settings = {"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "key-of-a-test"}
    first, gate = start(**settings), Gate()
    with Wire(first.port) as wire:
        enter(page, first, wire)
        model.then(Reply(Text(ANSWER), gate=gate, gate_after=5))
        turn = ask(page, "What's the weather in Boston?")
        expect(turn.get_by_test_id("message-assistant")).to_contain_text("It rains")
        first.kill()
        expect(page.get_by_test_id("connection")).to_contain_text("Reconnecting")
        gate.open()
        second = start(**settings)
        wire.target = second.port
        page.evaluate("dispatchEvent(new Event('online'))")  # do not wait for the next attempt
        ended(turn)
        expect(page.get_by_test_id("connection")).to_contain_text("Connected")
        expect(turn.get_by_test_id("message-assistant")).to_have_count(1)
        expect(turn.get_by_test_id("message-assistant")).to_contain_text("It rains")
        expect(turn).to_contain_text(re.compile("cut short|restarted"))
        model.then(Text(ANSWER))
        turn.get_by_test_id("regenerate").click()
        answers = page.get_by_test_id("message-assistant")
        expect(answers).to_have_text(["It rains in Boston, as it does in November: take a coat."])
        assert complaints(page) == []
