"""Connecting accounts and a phone in a real browser, on a desktop and on a phone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.browser import DESKTOP, PHONE
from tests.fakes.google import Google
from tests.fakes.twilio import FakeTwilio
from tests.run.serving import Server

BOTH = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
Enter: TypeAlias = Callable[..., Callable[[], Any]]


@pytest.fixture(scope="module")
def google() -> Iterator[Google]:
    """Serve a Google that a test can talk to; the sandbox's is in another process."""
    with Google() as simulated:
        yield simulated


@pytest.fixture(scope="module")
def twilio() -> Iterator[FakeTwilio]:
    """Serve Twilio's API."""
    with FakeTwilio() as simulated:
        yield simulated


@pytest.fixture(scope="module")
def sandbox(
    tmp_path_factory: pytest.TempPathFactory, google: Google, twilio: FakeTwilio
) -> Iterator[Server]:
    """Run one server with its simulated services, a telephone and Slack's keys."""
    own = f"{google.egress_map},{twilio.environ['ODAI_EGRESS_MAP']}"
    settings = {**twilio.environ, "SLACK_CLIENT_ID": "1.2", "SLACK_CLIENT_SECRET": "of-a-test"}
    settings |= {"ODAI_SANDBOX": "1", "ODAI_EGRESS_MAP": own}
    running = Server(tmp_path_factory.mktemp("data"), **settings)
    yield running
    assert running.stop() == 0


@pytest.fixture
def page(open_page: Callable[..., Any], size: dict[str, Any]) -> Any:
    """Open an empty page of the size the test is for."""
    return open_page(**size)


@pytest.fixture
def enter(page: Any, sandbox: Server, request: pytest.FixtureRequest) -> Enter:
    """Sign in a user of the test's own; return how to open their connections."""
    from playwright.sync_api import expect

    def begin() -> Callable[[], Any]:
        page.goto(f"{sandbox.base}/#token={sandbox.token(request.node.name[-60:])}")
        expect(page.get_by_test_id("composer")).to_be_visible()

        def connections() -> Any:
            if page.viewport_size == PHONE["viewport"]:
                page.locator("#menu").click()
            page.get_by_test_id("open-you").click()
            you = page.get_by_test_id("you")
            expect(you.locator('[data-provider="phone"]')).to_be_visible()
            return you

        return connections

    return begin


def fits(page: Any) -> bool:
    """Whether nothing of the open dialog is beside the screen."""
    wide = "() => [...document.querySelectorAll('dialog[open] *')].every((each) => "
    inside = "each.getBoundingClientRect().right <= innerWidth + 1 || each.closest('[role=tablist]'"
    return bool(page.evaluate(f"{wide}{inside}) || each.matches('.sr-only, .sr-only *'))"))


@BOTH
def test_google_is_explained_linked_widened_and_ended(page: Any, enter: Enter) -> None:
    """Only what was chosen is asked for; more can be added; an end asks first and is one."""
    from playwright.sync_api import expect

    part = page.get_by_test_id
    connections = enter()
    connections().get_by_role("button", name="Connect Google").click()
    go = part("connect").get_by_role("button", name="Continue to Google")
    expect(go).to_be_disabled()
    expect(part("connect").get_by_role("status")).to_contain_text("Choose what you want help with")
    calendar = part("connect").locator('[data-feature="calendar"]')
    expect(calendar).to_contain_text("see when you are free or busy")
    calendar.get_by_text("What ODAI does with it").click()
    expect(calendar.locator(".acts")).to_contain_text("Add an event to your Google Calendar")
    expect(calendar).to_contain_text("Only after you said yes to each")
    assert fits(page)
    calendar.get_by_label("Calendar").check()
    go.click()
    page.wait_for_url("**/o/oauth2/**")
    asked = parse_qs(urlsplit(page.url).query)["scope"][0]
    assert "calendar.events" in asked and "gmail" not in asked
    page.click("#allow")
    expect(part("notice")).to_have_text("The account is connected.")

    google = connections().locator('[data-provider="google"]')
    expect(google.locator(".account")).to_contain_text("Calendar · not used yet")
    assert fits(page)
    google.get_by_role("button", name="Allow more").click()
    expect(part("connect").get_by_label("Calendar")).to_be_disabled()
    part("connect").get_by_label("Contacts").check()
    part("connect").get_by_role("button", name="Continue to Google").click()
    page.wait_for_url("**/o/oauth2/**")
    asked = parse_qs(urlsplit(page.url).query)["scope"][0]
    assert "contacts" in asked and "calendar" not in asked
    page.click("#allow")
    expect(part("notice")).to_have_text("The account is connected.")

    part("composer").fill("what's on my calendar today?")
    part("composer").press("Enter")
    days = part("tool-output").last
    expect(days.get_by_role("heading", level=4).first).to_be_visible()
    expect(days.get_by_role("link", name="Dentist").first).to_be_visible()
    expect(days).to_contain_text("Dentist, ")  # in words as well
    expect(part("stop")).to_be_hidden()
    google = connections().locator('[data-provider="google"]')
    expect(google.locator(".account")).to_contain_text(
        "Calendar and Contacts · used in the last hour"
    )
    google.get_by_role("button", name="Disconnect").click()
    part("confirm").get_by_role("button", name="Cancel").click()
    expect(google.locator(".account")).to_have_count(1)
    google.get_by_role("button", name="Disconnect").click()
    expect(part("confirm")).to_contain_text("taken back at Google")
    part("confirm").get_by_role("button", name="Disconnect").click()
    expect(google.locator(".account")).to_have_count(0)
    assert not [said for said in page.complaints if "404" not in said]  # the simulator has no icon


@BOTH
def test_a_bank_is_explained_linked_and_ended(page: Any, enter: Enter) -> None:
    """A bank is linked on a page not ours, is listed with its accounts, and can be ended."""
    from playwright.sync_api import expect

    part = page.get_by_test_id
    connections = enter()
    expect(part("sandbox")).to_be_visible()
    part("composer").fill("what are my bank balances?")
    part("composer").press("Enter")
    part("tool-output").get_by_role("link", name="Connect your bank").click()
    expect(part("connect")).to_contain_text("it cannot move money")
    expect(part("connect")).to_contain_text("up to two years of transactions")
    assert fits(page)
    part("connect").get_by_role("button", name="Continue to your bank").click()
    page.click("#allow")
    page.click("#back")
    expect(part("notice")).to_have_text("Your bank is connected.")
    part("composer").fill("Show my largest transactions this week.")
    part("composer").press("Enter")
    spent = part("tool-output").last
    expect(spent.locator(".transactions li").first).to_be_visible()
    bank = connections().locator('[data-provider="plaid"]')
    expect(bank.locator(".account")).to_contain_text("Everyday Checking 4417 and Rewards Card 1881")
    bank.get_by_role("button", name="Disconnect").click()
    part("confirm").get_by_role("button", name="Disconnect").click()
    expect(bank.locator(".account")).to_have_count(0)


@BOTH
def test_other_services_are_connected_by_the_same_page(page: Any, enter: Enter) -> None:
    """Slack says what it would allow and then asks for that; what is not set up names its keys."""
    from playwright.sync_api import expect

    part = page.get_by_test_id
    connections = enter()
    connections().get_by_role("button", name="Connect Slack").click()
    expect(part("connect")).to_contain_text("post as you")
    page.route("https://slack.com/**", lambda route: route.fulfill(body="Slack"))
    part("connect").get_by_role("button", name="Continue to Slack").click()
    page.wait_for_url("https://slack.com/**")
    assert "chat:write" in parse_qs(urlsplit(page.url).query)["user_scope"][0]
    page.go_back()
    expect(part("composer")).to_be_visible()
    missing = connections().locator(".not-set-up")
    for name in ("Spotify", "Notion", "Todoist", "Asana", "GitHub"):
        expect(missing).to_contain_text(name)
    with page.expect_popup() as opened:
        missing.get_by_role("link", name="SPOTIFY_CLIENT_ID").click()
    expect(opened.value.locator("#SPOTIFY_CLIENT_ID")).to_contain_text("/oauth_google/callback")


@BOTH
def test_an_account_that_lets_nobody_in_is_signed_into_again(
    page: Any, enter: Enter, google: Google
) -> None:
    """What Google took back is said, with the button that mends it."""
    from playwright.sync_api import expect

    part = page.get_by_test_id
    connections = enter()
    connections().get_by_role("button", name="Connect Google").click()
    part("connect").get_by_label("Mail").check()
    part("connect").get_by_role("button", name="Continue to Google").click()
    page.select_option("[name=account]", "work")
    page.click("#allow")
    expect(part("notice")).to_have_text("The account is connected.")
    google.withdraw()
    part("composer").fill("search my mail for invoice")
    part("composer").press("Enter")
    expect(part("message-assistant").last).to_contain_text("no longer lets us in")

    account = connections().locator(".account")
    expect(account).to_contain_text("Needs signing in again")
    account.get_by_role("button", name="Sign in again").click()
    expect(part("connect").get_by_label("Mail")).to_be_checked()
    part("connect").get_by_role("button", name="Continue to Google").click()
    page.select_option("[name=account]", "work")
    page.click("#allow")
    expect(part("notice")).to_have_text("The account is connected.")
    account = connections().locator(".account")
    expect(account).not_to_contain_text("Needs signing in again")
    account.get_by_role("button", name="Disconnect").click()
    part("confirm").get_by_role("button", name="Disconnect").click()
    expect(account).to_have_count(0)


@BOTH
def test_a_phone_is_proven_and_gets_a_pin(
    page: Any, enter: Enter, sandbox: Server, twilio: FakeTwilio
) -> None:
    """A code proves the number; wrong ones, too many texts and obvious PINs are told in words."""
    from playwright.sync_api import expect

    page.clock.install()
    number = "+14155550100" if page.viewport_size == DESKTOP["viewport"] else "+14155550101"
    phone = enter()().locator('[data-provider="phone"]')
    phone.get_by_label("Mobile number").fill("555 0100")
    phone.get_by_role("button", name="Send a code").click()
    expect(phone.get_by_role("alert").first).to_contain_text("must begin with +")
    phone.get_by_label("Mobile number").fill(number)
    phone.get_by_role("button", name="Send a code").click()
    expect(phone).to_contain_text("It works for 10 minutes")
    again = phone.get_by_role("button", name="Send it again")
    for _ in range(3):
        expect(again).to_be_disabled()
        page.clock.run_for(31_000)
        again.click()
    expect(phone.get_by_role("alert").first).to_contain_text(
        re.compile(r"Try again in \d+ minutes")
    )
    twilio.wait(lambda: len(twilio.texts(number)) == 3)
    assert fits(page)

    phone.get_by_label("The code").fill("not it")
    phone.get_by_role("button", name="Verify").click()
    expect(phone.get_by_role("alert").first).to_contain_text("That is not the code")
    code = re.findall(r"\b\d{6}\b", twilio.texts(number)[-1])[0]
    phone.get_by_label("The code").fill(code)
    phone.get_by_role("button", name="Verify").click()
    expect(phone).to_contain_text(f"Number ending in {number[-2:]}")

    phone.get_by_label("PIN for calls").fill("1234")
    phone.get_by_role("button", name="Set").click()
    expect(phone.get_by_role("alert")).to_contain_text("not all alike and not in a row")
    phone.get_by_label("PIN for calls").fill("8316")
    phone.get_by_role("button", name="Set").click()
    expect(phone).to_contain_text("The PIN is set.")
    token = page.evaluate("() => sessionStorage.getItem('odai.token')")
    assert sandbox.get("/account", token)["pin_set"] is True

    phone.get_by_role("button", name="Remove").click()
    page.get_by_test_id("confirm").get_by_role("button", name="Remove").click()
    expect(phone.get_by_label("Mobile number")).to_be_visible()
    assert sandbox.get("/account", token)["phone"]["verified"] is False
