"""Linking Google in a real browser: from the question that needs it to its answer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from tests.fakes.google import Google
from tests.run.serving import Server

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
MILLISECONDS = 20_000
QUESTION = "search my mail for invoice"


def test_a_person_links_google_and_asks_for_mail(start: Callable[..., Server]) -> None:
    """The answer that lacks an account has the button; denied is told; allowed finds the mail."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Chromium is missing: install the chromium package.")
        pytest.skip("Chromium is not installed here.")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=MILLISECONDS)
    with Google() as google, sync_playwright() as playwright:
        server = start(**google.settings)
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        page = browser.new_page()
        page.set_default_timeout(MILLISECONDS)
        part = page.get_by_test_id

        def ask(text: str) -> None:
            part("composer").fill(text)
            part("composer").press("Enter")

        def press() -> None:
            """Press the button of the last answer; Google's page opens."""
            part("tool-output").last.get_by_role("link", name="Connect Google").click()
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
        browser.close()
    assert server.stop() == 0
    for secret in ("ya29.", "1//0e", "4/0A", "ada@example.com"):
        assert secret not in server.output
