"""Signing in with Firebase in a real browser, as on a deployed copy; no SDK, its REST API alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fakes.firebase import FakeFirebase
from tests.run.serving import Server

EMAIL, PASSWORD = "ada@example.com", "of-a-test-9"


def test_a_stranger_becomes_a_user_and_stays_signed_in(
    start: Callable[..., Server], page: Any
) -> None:
    """An account, the terms once, a chat; tokens are renewed unseen until the account is closed."""
    from playwright.sync_api import expect

    part = page.get_by_test_id
    with FakeFirebase() as firebase:
        server = start(**firebase.environ)
        page.goto(server.base)
        place = page.locator("#firebase-sign-in")
        place.get_by_label("E-mail address").fill(EMAIL)
        place.get_by_label("Password").fill(PASSWORD)
        part("firebase-sign-in").click()
        expect(place.get_by_role("alert")).to_have_text("The address or the password is wrong.")
        place.get_by_role("button", name="Forgot the password?").click()
        expect(place.get_by_role("alert")).to_contain_text("a mail with a link")
        assert firebase.mailed == [EMAIL]

        firebase.seconds = 10  # what is said to end within minutes is renewed before each call
        place.get_by_role("button", name="Make an account").click()
        part("firebase-sign-in").click()
        expect(part("terms")).to_contain_text("Answers can be wrong")
        page.reload()  # the terms are not gone by loading the page again
        part("terms").get_by_role("button", name="I agree").click()
        part("composer").fill("hello")
        part("composer").press("Enter")
        expect(part("message-assistant").last).to_be_visible()
        expect(part("stop")).to_be_hidden()
        renewed = firebase.asked.count("token")
        assert renewed > 0

        page.reload()
        expect(part("message-user")).to_have_text("hello")
        assert firebase.asked.count("token") > renewed
        part("new-chat").click()
        firebase.disable(EMAIL)
        # Whatever asks next is told; the page may have asked by itself before the click.
        page.evaluate("() => document.querySelector('[data-testid=chat-item]')?.click()")
        expect(part("firebase-sign-in")).to_be_visible()
        expect(page.locator("#sign-in-error")).to_contain_text("Your session has ended")
        place.get_by_label("E-mail address").fill(EMAIL)
        place.get_by_label("Password").fill(PASSWORD)
        part("firebase-sign-in").click()
        expect(place.get_by_role("alert")).to_contain_text("was closed")
        # Refusals of the simulator alone: nothing was blocked by the page's own policy.
        assert all("status of 400" in said for said in page.complaints)
    assert server.stop() == 0
    assert EMAIL not in server.output and PASSWORD not in server.output
