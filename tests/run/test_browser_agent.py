"""The agent at work in a real browser: steps, approvals, taint, what may be done with an answer.

A scripted model drives the real server, whose tools call stand-ins of vendors; each state is looked
at on a desktop and on a phone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from tests.browser import DESKTOP, PHONE
from tests.fakes.openai_responses import Calls, FakeOpenAI, Gate, Reply, Text
from tests.fakes.vendors import Vendors
from tests.run.serving import Server

Open: TypeAlias = Callable[..., Any]
BOTH = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
WEATHER = "What's the weather in Boston tomorrow?"
FORECAST = ("get_forecast_weather_by_location", {"location": "Boston", "days": 3, "date": None})
PLACES = ("geocode_address", {"address": "cafes", "country_code": None, "limit": 3})
ARTICLE = ("fetch_website", {"url": "https://pages.example/article", "part": 1})
REMINDER = (
    "create_reminder",
    {"title": "Tides", "time": "09:30", "repeat": "never", "by_text_message": False},
)
SHIFTED = """(() => {
  const Real = Date, shift = %d;
  globalThis.Date = class extends Real {
    constructor(...given) { given.length ? super(...given) : super(Real.now() + shift); }
    static now() { return Real.now() + shift; }
  };
})()"""
FORBIDDEN = """for (const area of ["localStorage", "sessionStorage"]) {
  Object.defineProperty(window, area, { get() { throw new DOMException("no", "SecurityError"); } });
}"""


class Made:
    """A server with a scripted model, and pages signed in to it as one of its users."""

    def __init__(self, server: Server, model: FakeOpenAI, vendors: Vendors, name: str) -> None:
        self.model, self.vendors = model, vendors
        self._address = f"{server.base}/#token={server.token(name)}"

    def visit(self, page: Any) -> None:
        """Sign in."""
        page.goto(self._address)
        page.get_by_test_id("composer").wait_for()


@pytest.fixture
def made(
    server: Server, model: FakeOpenAI, vendors: Vendors, request: pytest.FixtureRequest
) -> Made:
    """Return the module's server, with a user of the test's own."""
    return Made(server, model, vendors, request.node.name[-60:])


def ask(page: Any, text: str) -> None:
    """Type and send."""
    page.get_by_test_id("composer").fill(text)
    page.get_by_test_id("composer").press("Enter")


def answered(page: Any, turns: int) -> None:
    """Wait until that many turns ended with an answer."""
    from playwright.sync_api import expect

    expect(page.get_by_test_id("copy")).to_have_count(turns)


@BOTH
def test_work_is_shown_step_by_step(made: Made, open_page: Open, size: dict[str, Any]) -> None:
    """Handoffs, calls with their arguments, a slow job, strangers' text, an action to decide."""
    from playwright.sync_api import expect

    page = open_page(**size)
    part = page.get_by_test_id
    made.visit(page)
    made.model.then(
        Calls([("transfer_to_nominatim", {})]), Calls([PLACES]), Text("Three, near the harbor.")
    )
    ask(page, "Where is a cafe in Boston, at which address on a map?")
    answered(page, 1)
    expect(part("handoff")).to_contain_text("OpenStreetMap")
    card = part("tool-output")
    expect(card.get_by_role("img", name="3 places, north is up")).to_be_visible()
    expect(card).to_contain_text("OpenStreetMap contributors")
    expect(part("tool-call")).to_contain_text(re.compile(r"\d s$"))
    part("tool-call").click()
    expect(part("tool-facts")).to_contain_text("geocode_address")
    expect(part("tool-facts")).to_contain_text("cafes")
    expect(part("taint")).to_contain_text("text by strangers: I ask before I act on it")

    made.model.then(Calls([ARTICLE]), Calls([("transfer_to_reminders", {})]), Calls([REMINDER]))
    article = made.vendors.hold("article")
    ask(page, "Read https://pages.example/article and remind me of it.")
    assert article.reached.wait(20)
    expect(part("job")).to_be_visible()
    expect(part("tool-call").last).to_have_attribute("data-state", "running")
    article.open()
    approval = part("approval")
    expect(approval.get_by_test_id("taint")).to_be_visible()
    expect(approval.get_by_test_id("expiry")).to_contain_text(re.compile("Open for 2[34] h"))
    expect(part("job")).to_have_count(0)

    part("change").click()
    approval.get_by_label("title").fill("High tide")
    made.model.then(Text("You will be reminded."))
    part("approve").click()
    expect(approval).to_contain_text("Approved.")
    expect(part("tool-output").last).to_contain_text("High tide")
    expect(part("message-assistant").last).to_contain_text("You will be reminded.")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    page.reload()
    expect(part("message-assistant").last).to_contain_text("You will be reminded.")
    expect(part("approval")).to_contain_text("Approved.")
    expect(part("job")).to_have_count(0)
    assert page.complaints == []


@BOTH
def test_an_answer_can_be_stopped_copied_changed_and_asked_again(
    made: Made, open_page: Open, size: dict[str, Any]
) -> None:
    """What was asked meanwhile waits and says so; another tab shows all of it; a draft is kept."""
    from playwright.sync_api import expect

    gate = Gate()
    page = open_page(**size, permissions=["clipboard-read", "clipboard-write"])
    part = page.get_by_test_id
    made.visit(page)
    made.model.then(Text("**Rain**, then `sun`."))
    ask(page, "How will it be?")
    answered(page, 1)
    other = page.context.new_page()
    made.visit(other)
    other.evaluate("(hash) => { location.hash = hash; }", page.url.partition("#")[2])
    expect(other.get_by_test_id("message-assistant")).to_have_text("Rain, then sun.")
    page.bring_to_front()  # a tab behind another draws once a second

    part("copy").click()
    expect(part("copy")).to_have_attribute("data-state", "done")
    assert page.evaluate("navigator.clipboard.readText()") == "**Rain**, then `sun`."

    made.model.then(Reply(Text("One two three four."), gate=gate, gate_after=2), Text("Second."))
    ask(page, "Count.")
    expect(part("message-assistant").last).to_contain_text("One two")
    ask(page, "And this?")
    expect(page.locator(".prompt-note").last).to_contain_text("Waiting")
    part("stop").click()
    expect(page.locator(".turn-status")).to_have_text("Stopped.")
    gate.open()
    expect(part("message-assistant").last).to_have_text("Second.")
    expect(other.get_by_test_id("message-assistant").last).to_have_text("Second.")

    answered(page, 3)  # what is asked again is the last answer, once it has ended
    made.model.then(Text("Third."))
    part("regenerate").last.click()
    expect(part("message-assistant").last).to_have_text("Third.")
    answered(page, 3)
    made.model.then(Text("Fourth."))
    part("edit").last.click()
    part("edit-text").fill("x" * 32_001)
    part("edit-send").click()
    expect(page.locator(".edit-prompt")).to_contain_text("32,001 characters")
    part("edit-text").fill("Something else")
    part("edit-send").click()
    expect(part("message-assistant").last).to_have_text("Fourth.")
    expect(part("message-user").last).to_have_text("Something else")
    expect(other.get_by_test_id("message-user").last).to_have_text("Something else")
    expect(other.get_by_test_id("message-assistant")).to_have_count(3)

    part("composer").fill("A thought to keep")
    page.reload()
    expect(part("composer")).to_have_value("A thought to keep")
    part("composer").fill("é" * 40_000)
    part("composer").press("Enter")
    expect(part("notice")).to_contain_text("40,000 characters; the most is 32,000")
    assert part("composer").input_value() == "é" * 40_000, "what was written is still there"
    assert page.complaints == []


@BOTH
def test_a_connection_that_ends_after_every_event_loses_nothing(
    made: Made, open_page: Open, size: dict[str, Any]
) -> None:
    """However often the server hangs up in the middle of work, each step is shown once."""
    from playwright.sync_api import expect

    lives = [0]

    def cut(socket: Any) -> None:
        """Hang up after the greeting and one more event."""
        lives[0] += 1
        left, server = [2], socket.connect_to_server()

        def told(message: Any) -> None:
            if left[0] <= 0:
                return
            left[0] -= 1
            socket.send(message)
            if not left[0]:
                socket.close(code=1011)
                server.close()

        server.on_message(told)

    page = open_page(**size)
    part = page.get_by_test_id
    page.route_web_socket(re.compile("/chats/"), cut)
    made.visit(page)
    made.model.then(Calls([FORECAST]), Text("Rain, 4 to 9 degrees, and *wind*."))
    ask(page, WEATHER)
    expect(part("message-assistant")).to_have_text("Rain, 4 to 9 degrees, and wind.")
    answered(page, 1)
    expect(part("message-user")).to_have_count(1)
    expect(part("tool-call")).to_have_count(1)
    expect(part("tool-output")).to_have_count(1)
    expect(part("error")).to_have_count(0)
    assert lives[0] > 3
    assert page.complaints == []


def test_an_answer_that_ended_while_nobody_listened_is_shown(made: Made, page: Any) -> None:
    """The first words of a new chat are answered, though the page heard nothing of it."""
    from playwright.sync_api import expect

    lives = [0]

    def deaf(socket: Any) -> None:
        """Pass on the greeting alone, and hang up as the answer ends."""
        lives[0] += 1
        server = socket.connect_to_server()
        if lives[0] > 1:
            return

        def told(message: Any) -> None:
            if '"end_of_stream"' in message:
                socket.close(code=1011)
                server.close()
            elif '"hello"' in message:
                socket.send(message)

        server.on_message(told)

    page.route_web_socket(re.compile("/chats/"), deaf)
    made.visit(page)
    made.model.then(Text("Good morning."))
    ask(page, "Hello")
    answered(page, 1)
    expect(page.get_by_test_id("message-assistant")).to_have_text(["Good morning."])
    expect(page.get_by_test_id("message-user")).to_have_count(1)
    assert lives[0] == 2
    assert page.complaints == []


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_wrong_clock_and_no_storage_change_nothing(
    made: Made, open_page: Open, hours: int
) -> None:
    """On a device an hour off, that may store nothing: countdowns are right, drafts are kept."""
    from playwright.sync_api import expect

    page = open_page(**DESKTOP)
    for script in (SHIFTED % (hours * 3_600_000), FORBIDDEN):
        page.add_init_script(script)
    part = page.get_by_test_id
    made.visit(page)
    made.model.then(
        Calls([("transfer_to_twilio", {})]),
        Calls([("send_sms", {"phone_number": "+14155550123", "message": "Late."})]),
    )
    ask(page, "Text +14155550123 that I'm late.")
    expect(part("expiry")).to_contain_text(re.compile("Open for (24 h|23 h 59 min),"))
    part("composer").fill("A thought to keep")
    part("new-chat").click()
    expect(part("composer")).to_have_value("")
    part("chat-item").first.click()
    expect(part("composer")).to_have_value("A thought to keep")
    page.reload()
    expect(page.get_by_test_id("sign-in")).to_be_visible()
    assert page.complaints == []


def test_an_endless_answer_is_shown_whole(made: Made, page: Any) -> None:
    """A megabyte without a line's end arrives, and the page still answers to its reader."""
    from playwright.sync_api import expect

    made.visit(page)
    words = "<script>alert(1)</script> [x](javascript:alert(1)) " * 20_000 + "The end."
    chunks = [words[at : at + 40_000] for at in range(0, len(words), 40_000)]
    made.model.then(Text(words, chunks=chunks))
    ask(page, "Tell me everything.")
    expect(page.get_by_test_id("message-assistant")).to_contain_text("The end.")
    answered(page, 1)
    page.get_by_test_id("composer").fill("Thanks")
    expect(page.get_by_test_id("send")).to_be_enabled()
    assert page.locator(".message-assistant a").count() == 0
    assert page.complaints == []
