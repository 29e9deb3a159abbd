"""The user's own pages in a real browser: what is remembered, planned, spent, done, searched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fakes.vendors import Vendors
from tests.run.serving import Server

MILLISECONDS = 20_000


def test_what_is_theirs_can_be_seen_and_changed(start: Callable[..., Server], page: Any) -> None:
    """Connections, memories, usage and acts are shown; chats are searched; shortcuts work."""
    from playwright.sync_api import expect

    expect.set_options(timeout=MILLISECONDS)

    def part(name: str) -> Any:
        return page.get_by_test_id(name)

    with Vendors() as vendors:
        server = start(ODAI_EGRESS_MAP=vendors.egress_map)
        page.goto(server.sign_in_link)
        page.keyboard.press("/")
        expect(part("composer")).to_be_focused()
        part("composer").fill("what's the weather in Boston tomorrow?")
        part("composer").press("Enter")
        expect(part("message-assistant").last).to_contain_text("Boston")
        expect(part("stop")).to_be_hidden()

        page.keyboard.press("Control+k")
        expect(part("search")).to_be_focused()
        part("search").fill("boston")
        expect(part("found").first).to_contain_text("Boston")
        part("search").fill("zebra")
        expect(page.locator("#found")).to_have_text("Nothing was found.")
        part("search").fill("")
        expect(part("chat-item").first).to_be_visible()

        part("open-you").click()
        you = part("you")
        expect(you.locator('[data-provider="google"]')).to_contain_text("Not set up on this server")
        you.get_by_role("tab", name="Memory").click()
        you.get_by_label("Something to remember").fill("I am vegetarian")
        you.get_by_role("button", name="Remember").click()
        expect(you.get_by_label("Memory", exact=True)).to_have_value("I am vegetarian")
        you.get_by_role("button", name="Forget").click()
        you.get_by_role("button", name="Forget: sure?").click()
        expect(you).to_contain_text("Nothing is remembered yet")
        you.get_by_role("tab", name="Plans").click()
        expect(you).to_contain_text("Nothing is planned")
        you.get_by_role("tab", name="Usage").click()
        expect(you).to_contain_text("in the last 30 days")
        you.get_by_role("tab", name="Activity").click()
        expect(you).to_contain_text("Nothing was done in your name yet")
        you.get_by_role("tab", name="Account").click()
        with page.expect_download() as download:
            you.get_by_role("button", name="Export everything").click()
        assert download.value.suggested_filename == "odai-export.zip"
        page.keyboard.press("Escape")
        expect(you).to_have_count(0)

        part("chat-options").first.click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Export").click()
        assert "Boston" in download.value.path().read_text()
        assert page.complaints == []
