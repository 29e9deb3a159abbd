"""Linking Google in a real browser: from the question that needs it to its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tests.fakes.google import Google
from tests.run.serving import Server

QUESTION = "search my mail for invoice"


def test_a_person_links_google_and_asks_for_mail(start: Callable[..., Server], page: Any) -> None:
    """The answer that lacks an account has the button; denied is told; allowed finds the mail."""
    from playwright.sync_api import expect

    with Google() as google:
        server = start(**google.settings)
        part = page.get_by_test_id

        def ask(text: str) -> None:
            part("composer").fill(text)
            part("composer").press("Enter")

        def press() -> None:
            """Press the button of the last answer; Google's page opens."""
            part("tool-output").last.get_by_role("link", name="Connect Google").click()
            # What Google will be asked for is told first, for what was wanted alone.
            expect(part("connect").get_by_role("checkbox", checked=True)).to_have_count(1)
            expect(part("connect").locator('[data-feature="mail"]')).to_contain_text("send mail")
            part("connect").get_by_role("button", name="Continue to Google").click()
            page.wait_for_url(f"{google.origin}/**")

        page.goto(server.sign_in_link)
        expect(part("sandbox")).to_be_hidden()
        ask(QUESTION)
        expect(part("message-assistant").last).to_contain_text("No Google account is connected")
        chat = urlsplit(page.url).fragment

        press()
        page.click("#deny")
        expect(part("notice")).to_contain_text("did not allow")
        assert urlsplit(page.url).fragment == chat and not urlsplit(page.url).query

        press()
        expect(page.get_by_role("checkbox")).to_have_count(3)
        page.click("#allow")
        expect(part("notice")).to_contain_text("is connected")
        assert urlsplit(page.url).fragment == chat and not urlsplit(page.url).query

        ask(QUESTION)
        expect(part("message-assistant").last).to_contain_text("Invoice 4711")
        expect(part("tool-output").last).not_to_contain_text("Lunch on Friday?")
        token = page.evaluate("() => sessionStorage.getItem('odai.token')")
        [account] = server.get("/oauth_google/accounts", token)["accounts"]
        assert account["label"] == "ada@example.com" and account["status"] == "ok"
    assert server.stop() == 0
    for secret in ("ya29.", "1//0e", "4/0A", "ada@example.com"):
        assert secret not in server.output
