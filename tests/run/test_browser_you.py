"""The user's own pages in a real browser: what is remembered, planned, spent, done, searched."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from tests.browser import DESKTOP, PHONE
from tests.run.serving import Server

BOTH = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
BACKGROUND = "() => getComputedStyle(document.body).backgroundColor"
LIGHT, DARK = "rgb(250, 250, 247)", "rgb(19, 23, 22)"


@pytest.fixture
def enter(offline: Server, request: pytest.FixtureRequest) -> Callable[[Any], None]:
    """Return how to sign a page in, as a user of the test's own."""

    def begin(page: Any) -> None:
        page.goto(f"{offline.base}/#token={offline.token(request.node.name[-60:])}")
        page.get_by_test_id("composer").wait_for()

    return begin


def plan(server: Server, token: str, text: str) -> None:
    """Make a daily reminder, as a client would."""
    body = {"kind": "reminder", "text": text, "time": "08:00", "every": "day", "timezone": "UTC"}
    urllib.request.urlopen(urllib.request.Request(
        f"{server.base}/schedules", json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
    )).close()  # fmt: skip


@BOTH
def test_what_is_theirs_can_be_seen_and_changed(
    offline: Server, open_page: Callable[..., Any], enter: Callable[[Any], None], size: Any
) -> None:
    """Memories, plans, spending, acts; the export and, with the word typed out, the end."""
    from playwright.sync_api import expect

    page = open_page(**size)

    def part(name: str) -> Any:
        return page.get_by_test_id(name)

    enter(page)
    page.get_by_role("button", name="What's the weather in Boston right now?").click()
    expect(part("message-assistant").last).to_contain_text("Boston")
    expect(part("stop")).to_be_hidden()
    plan(offline, page.evaluate("() => sessionStorage.getItem('odai.token')"), "Stretch")

    if size is PHONE:
        page.get_by_role("button", name="Chats", exact=True).click()
    part("open-you").click()
    you = part("you")
    expect(you.locator(".not-set-up")).to_contain_text("GOOGLE_CLIENT_ID")
    you.get_by_role("tab", name="Memory").click()
    you.get_by_label("Something to remember").fill("I am vegetarian")
    you.get_by_role("button", name="Remember").click()
    memory = you.get_by_role("textbox", name="Memory", exact=True)
    expect(memory).to_have_value("I am vegetarian")
    memory.fill("I am vegan")
    you.get_by_role("button", name="Save").click()
    expect(you.get_by_role("button", name="Save")).to_be_hidden()
    you.get_by_role("tab", name="Plans").click()
    you.get_by_role("tab", name="Memory").click()
    expect(memory).to_have_value("I am vegan")
    you.get_by_role("button", name="Forget").click()
    you.get_by_role("button", name="Forget: sure?").click()
    expect(you).to_contain_text("Nothing is remembered yet")

    you.get_by_role("tab", name="Plans").click()
    expect(you.locator(".plan")).to_contain_text("every day at 08:00")
    you.get_by_role("button", name="Pause").click()
    expect(you.locator(".plan")).to_contain_text("Paused")
    you.get_by_role("button", name="Resume").click()
    expect(you.locator(".plan")).to_contain_text("Next ")
    you.get_by_role("button", name="Delete").click()
    you.get_by_role("button", name="Delete: sure?").click()
    expect(you).to_contain_text("Nothing is planned")

    you.get_by_role("tab", name="Usage").click()
    expect(you.locator(".chart svg")).to_be_visible()
    assert "1 answer" in str(you.locator(".chart svg").get_attribute("aria-label"))
    expect(you.locator(".budget")).to_contain_text("Today's budget: $0.00 of $10.00")
    expect(you.locator(".tally")).to_contain_text("Open-Meteo")

    you.get_by_role("tab", name="Activity").click()
    expect(you).to_contain_text("Nothing was done in your name yet")
    you.get_by_role("tab", name="Account").click()
    with page.expect_download() as download:
        you.get_by_role("button", name="Export everything").click()
    assert download.value.suggested_filename == "odai-export.zip"
    you.get_by_role("tab", name="Activity").click()
    expect(you.locator(".acts-done li")).to_contain_text("Export everything of yours")

    you.get_by_role("tab", name="Account").click()
    you.get_by_role("button", name="Delete my account").click()
    goodbye = part("confirm").get_by_role("button", name="Delete everything")
    expect(goodbye).to_be_disabled()
    part("confirm").get_by_role("textbox").fill("Delete")
    goodbye.click()
    expect(part("sign-in")).to_be_visible()
    expect(you).to_have_count(0)
    assert page.complaints == []


def test_chats_are_found_named_taken_along_and_removed(
    offline: Server, page: Any, enter: Callable[[Any], None]
) -> None:
    """Search, rename, export and delete; the keyboard goes everywhere, and "?" says how."""
    from playwright.sync_api import expect

    part = page.get_by_test_id
    enter(page)
    expect(part("composer")).to_be_focused()
    page.get_by_role("heading", name="What can I do for you?").click()
    page.keyboard.press("?")
    expect(part("help")).to_contain_text("Search chats")
    page.keyboard.press("Escape")
    expect(part("help")).to_have_count(0)
    page.keyboard.press("/")
    for question in ("what's the weather in Boston tomorrow?", "convert 250 euros to dollars"):
        page.keyboard.press("Control+Shift+O")
        part("composer").fill(question)
        part("composer").press("Enter")
        expect(part("message-assistant").last).to_be_visible()
        expect(part("stop")).to_be_hidden()
    expect(part("chat-item")).to_have_count(2)

    page.keyboard.press("Alt+ArrowDown")
    expect(part("message-user")).to_contain_text("Boston")
    page.keyboard.press("Alt+ArrowUp")
    expect(part("message-user")).to_contain_text("euros")

    page.keyboard.press("Control+k")
    expect(part("search")).to_be_focused()
    part("search").fill("boston")
    expect(part("found").first.locator("mark").first).to_have_text("Boston")
    part("search").fill("zebra")
    expect(page.locator("#found")).to_have_text("Nothing was found.")
    part("search").fill("")

    part("chat-options").first.click()
    page.get_by_label("Title").fill("Money")
    page.get_by_role("button", name="Save").click()
    expect(part("chat-item").first).to_have_text("Money")
    part("chat-options").first.click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    assert download.value.suggested_filename == "Money.md"
    assert "270.5" in download.value.path().read_text()
    part("chat-options").first.click()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete for good").click()
    expect(part("chat-item")).to_have_count(1)
    page.reload()
    expect(part("chat-item")).to_have_count(1)

    known = offline.get("/history", page.evaluate("() => sessionStorage.getItem('odai.token')"))
    [one] = known["chats"]
    pages = iter([
        {"chats": [{**one, "id": f"c{n}"} for n in range(50)], "after": "there"},
        {"chats": [{**one, "id": "the-first"}], "after": ""},
    ])  # fmt: skip
    page.route("**/history?*", lambda route: route.fulfill(json=next(pages)))
    page.reload()
    expect(part("chat-item")).to_have_count(50)
    part("older-chats").click()
    expect(part("chat-item")).to_have_count(51)
    expect(part("older-chats")).to_have_count(0)

    page.keyboard.press("Control+,")
    expect(part("you")).to_be_visible()
    assert page.complaints == []


@BOTH
def test_light_and_dark_are_kept_and_never_flash(
    offline: Server, open_page: Callable[..., Any], enter: Callable[[Any], None], size: Any
) -> None:
    """The choice is there before any module runs, and under the page's own policy."""
    from playwright.sync_api import expect

    page = open_page(**size, color_scheme="light", reduced_motion="reduce")
    enter(page)
    expect(page.get_by_test_id("composer")).to_be_visible()
    assert page.evaluate(BACKGROUND) == LIGHT
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(BACKGROUND) == DARK
    page.emulate_media(color_scheme="light")

    def open_account() -> None:
        if size is PHONE:
            page.locator("#menu").click()
        page.get_by_test_id("open-you").click()
        page.get_by_role("tab", name="Account").click()

    open_account()
    page.get_by_label("Dark").check()
    assert page.evaluate(BACKGROUND) == DARK
    bar = "() => [...document.querySelectorAll('meta[name=theme-color]')]"
    assert page.evaluate(f"{bar}.find((one) => matchMedia(one.media).matches).content") == "#131716"
    page.route("**/static/app.js", lambda route: route.abort())
    page.reload()
    assert page.evaluate(BACKGROUND) == DARK
    page.unroute("**/static/app.js")
    page.goto(f"{offline.base}/docs/settings")
    assert page.evaluate(BACKGROUND) == DARK
    page.goto(offline.base)
    open_account()
    expect(page.get_by_label("Dark")).to_be_checked()
    page.get_by_label("Like the device").check()
    assert page.evaluate(BACKGROUND) == LIGHT

    # Whoever asked for less motion gets none, in all that turns or slides.
    moves = page.evaluate(
        "() => ['spinner', 'side', 'chip', 'button'].map((name) => {"
        "  const part = document.createElement('div'); part.className = name;"
        "  document.body.append(part); const style = getComputedStyle(part);"
        "  const found = [style.animationName, style.transitionDuration]; part.remove();"
        "  return found.join(); })"
    )
    assert set(moves) == {"none,0s"}


@BOTH
def test_a_first_run_says_what_works_and_what_a_key_adds(
    open_page: Callable[..., Any], enter: Callable[[Any], None], size: Any
) -> None:
    """With no key there are tries that send, and each setting leads to where it is explained."""
    from playwright.sync_api import expect

    page = open_page(**size)
    enter(page)
    welcome = page.locator("#welcome")
    expect(
        welcome.get_by_role("group", name="Try one of these").get_by_role("button")
    ).to_have_count(6)
    expect(welcome).to_contain_text("No model key is set")
    expect(welcome.locator(".names")).to_contain_text("Wikipedia")
    page.get_by_test_id("more-with-keys").get_by_text("more services with a key").click()
    for name, text in (("OPENAI_API_KEY", "key of the model endpoint"), ("YELP_API_KEY", "Yelp")):
        with page.expect_popup() as opened:
            welcome.get_by_role("link", name=name).click()
        row = opened.value.locator(f"#{name}")
        expect(row).to_contain_text(text)
        expect(row).to_be_in_viewport()
        opened.value.close()
    welcome.get_by_role("button", name="Remember that I am vegetarian.").click()
    expect(page.get_by_test_id("message-user")).to_have_text("Remember that I am vegetarian.")
    assert page.complaints == []
