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
QUESTION = "search my mail for the invoice from the dentist"
# What a client does when its user presses the button: it asks in the user's name, then goes there.
BEGIN = """async (path) => {
  const answer = await fetch(path, {headers: {Authorization: `Bearer ${
    sessionStorage.getItem("odai.token")}`}});
  return (await answer.json()).url;
}"""


def test_a_person_links_google_and_asks_for_mail(start: Callable[..., Server]) -> None:
    """Not linked: told so and offered a button. Denied: told so. Allowed: the mail is found."""
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

        page.goto(server.sign_in_link)
        ask(QUESTION)
        expect(part("message-assistant").last).to_contain_text("No Google account is connected")
        chat = urlsplit(page.url).fragment

        ask("connect my google account")
        button = part("tool-output").filter(has=page.locator("a.button")).last.locator("a.button")
        expect(button).to_be_visible()
        path = urlsplit(str(button.get_attribute("href"))).path
        assert path == "/auth/google/login"

        back = f"{path}?feature=mail&next=/%23{chat}"
        page.goto(page.evaluate(BEGIN, back))
        assert page.url.startswith(google.origin)
        page.click("#deny")
        page.wait_for_url(f"{server.base}/**")
        assert "link_error=consent_denied" in page.url and page.url.endswith(f"#{chat}")

        page.goto(page.evaluate(BEGIN, back))
        expect(page.get_by_role("checkbox")).to_have_count(3)
        page.click("#allow")
        page.wait_for_url(f"{server.base}/**")
        assert urlsplit(page.url).query == "linked=google" and page.url.endswith(f"#{chat}")

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
