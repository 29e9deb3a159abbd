"""The web client on a phone: a narrow screen, a finger, a keyboard that covers half of it."""

from __future__ import annotations

from typing import Any

from tests.browser import PHONE
from tests.fakes.openai_responses import Calls, FakeOpenAI, Text
from tests.run.serving import Server

FINGER = 40  # CSS pixels: what a fingertip hits
WIDE = "W" * 200
ANSWER = f"""\
{WIDE}

| {" | ".join("one column of many" for _ in range(9))} |
|{" --- |" * 9}
| {" | ".join("a value" for _ in range(9))} |

```
{WIDE}
```
https://example.org/{WIDE}
"""
LATE = {"phone_number": "+14155550123", "message": f"{WIDE} {WIDE}"}
OVERFLOWING = """() => {
  const wide = document.documentElement.clientWidth;
  const scrolls = (e) => e && (/auto|scroll|hidden|clip/.test(getComputedStyle(e).overflowX)
    && !e.matches('html, body, .app, .main, .scroller, .you-page') || scrolls(e.parentElement));
  return [...document.querySelectorAll('body *')].filter((e) => {
    const box = e.getBoundingClientRect();
    const aside = e.closest('.side, .skip, .sr-only, [inert]');
    return box.width && box.height && !aside && (box.right > wide + 1 || box.left < -1)
      && e.checkVisibility() && !scrolls(e.parentElement);
  }).map((e) => `${e.tagName}.${e.className} ${Math.round(e.getBoundingClientRect().right)}`);
}"""
SMALL = """(least) => [...document.querySelectorAll(
    '.head button, .dock button, .side button, .card-approval button, .dialog button, '
    + '.examples button, .suggestions button, .turn-actions button, .from-user button, '
    + 'input:not([type=checkbox])')]
  .filter((e) => e.checkVisibility({ visibilityProperty: true }))
  .map((e) => [e, e.getBoundingClientRect()])
  .filter(([, box]) => box.width < least || box.height < least)
  .map(([e, box]) => `${e.getAttribute('aria-label') ?? e.innerText} ${box.width}x${box.height}`)"""


def fits(page: Any) -> None:
    """Nothing stands out of the screen, and everything to tap is as large as a fingertip."""
    assert page.evaluate(OVERFLOWING) == []
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
    assert page.evaluate(SMALL, FINGER) == []


def test_a_person_signs_in_asks_and_finds_the_conversation_again_on_a_phone(
    offline: Server, phone_page: Any
) -> None:
    """The flow of a desktop, with a finger: the menu opens and closes, all of it fits."""
    from playwright.sync_api import expect

    page = phone_page
    part = page.get_by_test_id

    def ask(text: str) -> None:
        part("composer").tap()
        page.keyboard.insert_text(text)
        part("send").tap()

    page.goto(offline.base)
    expect(part("sign-in")).to_be_visible()
    fits(page)
    part("sign-in").tap()
    expect(page.locator("#welcome h2")).to_be_visible()
    fits(page)

    ask("what's the weather in Boston tomorrow?")
    expect(part("tool-output").first).to_contain_text("Boston")
    expect(part("suggestion").filter(visible=True).first).to_be_visible()
    fits(page)
    part("suggestion").filter(visible=True).first.tap()
    expect(part("message-user")).to_have_count(2)
    expect(part("regenerate")).to_have_count(2)
    part("new-chat").wait_for(state="hidden")

    menu = page.locator("#menu")
    menu.tap()
    expect(part("new-chat")).to_be_visible()
    expect(menu).to_have_attribute("aria-expanded", "true")
    fits(page)
    page.touchscreen.tap(380, 400)
    expect(part("new-chat")).to_be_hidden()
    expect(menu).to_have_attribute("aria-expanded", "false")
    menu.tap()
    part("new-chat").tap()
    expect(part("message-user")).to_have_count(0)
    expect(part("chat-item").first).to_be_hidden()
    menu.tap()
    part("chat-item").first.tap()
    expect(part("message-user")).to_have_count(2)
    expect(part("chat-item").first).to_be_hidden()

    menu.tap()
    part("chat-options").first.tap()
    expect(page.get_by_role("dialog")).to_be_visible()
    fits(page)
    page.get_by_role("button", name="Cancel").tap()
    part("open-you").tap()
    for tab in part("you").get_by_role("tab").all():
        tab.tap()
        expect(part("you").get_by_text("Loading…")).to_have_count(0)
        fits(page)
    assert page.complaints == []


def test_chats_are_found_named_taken_along_and_removed_by_touch(
    offline: Server, phone_page: Any
) -> None:
    """What the list of chats offers is within reach of a thumb, and so is the dark."""
    from playwright.sync_api import expect

    page = phone_page
    part = page.get_by_test_id
    menu = page.locator("#menu")

    page.goto(f"{offline.base}/#token={offline.token('By touch')}")
    part("composer").tap()
    page.keyboard.insert_text("what's the weather in Boston tomorrow?")
    part("send").tap()
    expect(part("regenerate")).to_have_count(1)

    menu.tap()
    part("search").tap()
    page.keyboard.insert_text("boston")
    expect(part("found").first.locator("mark").first).to_have_text("Boston")
    fits(page)
    part("search").fill("")
    part("chat-options").first.tap()
    page.get_by_label("Title").fill("Rain")
    page.get_by_role("button", name="Save").tap()
    expect(page.locator("#title")).to_have_text("Rain")
    part("chat-options").first.tap()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").tap()
    assert download.value.suggested_filename == "Rain.md"

    part("open-you").tap()
    page.get_by_role("tab", name="Account").tap()
    page.get_by_label("Dark").check()
    dark = "() => getComputedStyle(document.documentElement).colorScheme"
    assert page.evaluate(dark) == "dark"
    page.keyboard.press("Escape")
    menu.tap()
    part("chat-options").first.tap()
    page.get_by_role("button", name="Delete", exact=True).tap()
    page.get_by_role("button", name="Delete for good").tap()
    expect(part("chat-item")).to_have_count(0)
    assert page.complaints == []


def test_whatever_is_said_fits_a_phone(server: Server, model: FakeOpenAI, phone_page: Any) -> None:
    """Endless words, wide tables, code and drafts scroll in their own place or are broken."""
    from playwright.sync_api import expect

    page = phone_page
    part = page.get_by_test_id
    page.goto(server.sign_in_link)
    model.then(Text(ANSWER))
    part("composer").fill(WIDE)
    part("send").tap()
    expect(part("regenerate")).to_be_attached()
    fits(page)
    model.then(Calls([("transfer_to_twilio", {})]), Calls([("send_sms", LATE)]))
    part("composer").fill("Text +14155550123 that I am late.")
    part("send").tap()
    expect(part("approval")).to_be_visible()
    fits(page)
    part("change").tap()
    fits(page)
    model.then(Text("All right."))
    part("deny").tap()
    expect(page.locator("#turns").get_by_text("All right.")).to_be_visible()
    assert page.complaints == []


def test_the_message_box_stays_above_the_keyboard(
    server: Server, model: FakeOpenAI, phone_page: Any
) -> None:
    """As the keyboard takes half of the screen, message box and last answer stay in sight."""
    from playwright.sync_api import expect

    page = phone_page
    part = page.get_by_test_id
    page.goto(server.sign_in_link)
    model.then(Text("\n\n".join(f"Line {line}" for line in range(60))), Text("Good morning."))
    part("composer").fill("Sixty lines, please.")
    part("send").tap()
    expect(part("regenerate")).to_be_attached()

    # The page asks for `interactive-widget=resizes-content`: a keyboard makes its viewport smaller.
    page.set_viewport_size({**PHONE["viewport"], "height": 430})
    part("composer").tap()
    expect(part("composer")).to_be_in_viewport(ratio=1)
    expect(page.get_by_text("Line 59", exact=True).first).to_be_in_viewport()
    fits(page)
    page.keyboard.insert_text("A draft\n" * 12)
    expect(part("send")).to_be_in_viewport(ratio=1)
    fits(page)
    part("send").tap()
    expect(part("message-assistant").last).to_have_text("Good morning.")
    assert page.complaints == []
