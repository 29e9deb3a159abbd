"""The pictures in docs/pictures, taken of the real page: `python -m tests.web.pictures`.

The whole suite runs as `make run` starts it, once with the offline planner and once with a scripted
model; the vendors it calls are stand-ins on loopback, so that the pictures change only when the
page does. Look at them after a change of the page: a test can say that a button is there, not that
it looks right. `python -m tests.web.pictures FOLDER` writes them elsewhere.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.fakes.openai_responses import Calls, FakeOpenAI, Gate, HttpError, Reply, Text
from tests.fakes.vendors import Vendors
from tests.run.serving import Server

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
DESKTOP = {"width": 1180, "height": 800}
PHONE = {"width": 390, "height": 844}
SECONDS = 20_000
WEATHER = "What's the weather in Boston tomorrow?"
MONEY = "Convert 250 euros to dollars."
ANSWER = """\
**Boston, tomorrow:** rain, 4 to 9 °C, with an 80 % chance of precipitation. Take the *waterproof*.

| When | What | Chance of rain |
| --- | --- | ---: |
| Morning | Cloudy | 30 % |
| Afternoon | Rain | 80 % |
| Evening | Showers | 55 % |

1. Leave before noon if you cycle.
2. The wind comes from the north-west, up to 22 km/h.

> Forecasts beyond two days change: ask again on the day.
"""
DRAFT = {
    "recipient_emails": ["dana@example.com"],
    "subject": "Ten minutes late",
    "body": "Hello Dana,\n\nthe train is late: I will be there at ten past.\n",
    "cc_emails": None,
}


class Camera:
    """Takes pictures of one server's page, each state at the sizes named."""

    def __init__(self, browser: Browser, server: Server, folder: Path) -> None:
        self._browser, self._server, self._folder = browser, server, folder
        self._token = server.token("Ada")

    @contextmanager
    def page(
        self, size: dict[str, int], *, dark: bool = False, signed_in: bool = True
    ) -> Iterator[Page]:
        """Open the page as somebody in Europe with a screen of that size."""
        phone = size is PHONE
        context = self._browser.new_context(
            viewport=size, color_scheme="dark" if dark else "light", locale="en-GB",
            timezone_id="Europe/Paris", device_scale_factor=2 if phone else 1, has_touch=phone,
            reduced_motion="reduce",
        )  # fmt: skip
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        page.goto(f"{self._server.base}/" + (f"#token={self._token}" if signed_in else ""))
        yield page
        context.close()
        if problems:
            raise SystemExit(f"the page reported: {problems}")

    def take(self, page: Page, name: str) -> None:
        """Write the picture `name`, once everything on the page stands still."""
        page.mouse.move(2, 2)
        page.evaluate("document.activeElement?.blur()")
        if not page.query_selector(".spinner, .thinking:not([hidden])"):
            page.evaluate("Promise.allSettled(document.getAnimations().map((a) => a.finished))")
        page.screenshot(path=self._folder / f"{name}.png")
        print(name, flush=True)


def ask(page: Page, text: str, *, answered: bool = True) -> None:
    """Type and send a prompt, and wait until it is answered."""
    turns = page.locator(".turn").count()
    page.get_by_test_id("composer").fill(text)
    page.get_by_test_id("composer").press("Enter")
    page.locator(".turn").nth(turns).wait_for()
    if answered:
        page.locator(".turn").nth(turns).locator(".turn-actions").wait_for(state="attached")


def offline(camera: Camera) -> None:
    """The page as it is with no account and no key."""
    with camera.page(DESKTOP, signed_in=False) as page:
        page.get_by_test_id("sign-in").wait_for()
        camera.take(page, "sign-in")
    for name, size in (("desktop", DESKTOP), ("phone", PHONE)):
        with camera.page(size) as page:
            page.locator(".works").first.wait_for()
            camera.take(page, f"welcome-{name}")
            ask(page, WEATHER)
            ask(page, MONEY)
            camera.take(page, f"answer-{name}")


def modelled(camera: Camera, model: FakeOpenAI, gate: Gate) -> None:
    """What a language model adds: prose, handoffs, actions that wait for a yes, failures."""
    weather = ("get_forecast_weather_by_location", {"location": "Boston", "days": 3, "date": None})
    with camera.page(DESKTOP) as page:
        model.then(Calls([weather]), Reply(Text(ANSWER), gate=gate, gate_after=12))
        ask(page, WEATHER, answered=False)
        page.get_by_test_id("message-assistant").wait_for()
        camera.take(page, "streaming-desktop")
        gate.open()
        page.locator(".turn-actions").wait_for(state="attached")
        camera.take(page, "markdown-desktop")
        page.locator(".turn").hover()
        page.get_by_test_id("edit").click()
        page.get_by_test_id("edit-text").fill("What's the weather in Paris tomorrow?")
        camera.take(page, "edit-desktop")
        model.then(Text("Much the same in Paris: rain, 4 to 9 °C."))
        page.get_by_test_id("edit-send").click()
        page.locator(".turns").get_by_text("Much the same").wait_for()
        page.locator(".turn-actions").wait_for(state="attached")
        model.then(Text("Rain in Paris as well, 4 to 9 °C."))
        page.get_by_test_id("regenerate").click()
        page.locator(".turns").get_by_text("as well").wait_for()
        page.locator(".turn-actions").wait_for(state="attached")
        assert page.locator(".turn").count() == 1, "what was asked again is still shown"
        page.reload()
        page.locator(".turns").get_by_text("as well").wait_for()
        assert page.locator(".turn").count() == 1, "what was asked again is back after a reload"
    for name, size in (("desktop", DESKTOP), ("phone", PHONE)):
        with camera.page(size) as page:
            draft(model)
            ask(page, "Write Dana an email that I'm ten minutes late.")
            page.get_by_test_id("approval").wait_for()
            camera.take(page, f"approval-{name}")
            page.get_by_test_id("change").click()
            camera.take(page, f"approval-change-{name}")
            page.get_by_label("subject").fill("")
            model.then(Text("All right, nothing was written."))
            page.get_by_test_id("deny").click()
            page.locator(".turns").get_by_text("nothing was done").wait_for()
            page.locator(".turns").get_by_text("nothing was written").wait_for()
            camera.take(page, f"declined-{name}")
    with camera.page(DESKTOP, dark=True) as page:
        draft(model)
        ask(page, "Write Dana an email that I'm ten minutes late.")
        page.get_by_test_id("change").click()
        page.get_by_label("subject").fill("A quarter of an hour late")
        page.get_by_test_id("always").check()
        model.then(Text("The draft could not be made: connect your Google account first."))
        page.get_by_test_id("approve").click()
        page.locator(".turns").get_by_text("Approved.").wait_for()
        page.locator(".turns").get_by_text("could not be made").wait_for()
        camera.take(page, "approved-dark")
    with camera.page(PHONE) as page:
        model.then(HttpError(429, "insufficient_quota"))
        ask(page, "Tell me a story.")
        page.get_by_test_id("error").wait_for()
        camera.take(page, "error-phone")
        page.locator("#menu").click()
        page.locator(".chats li").first.wait_for()
        camera.take(page, "chats-phone")


def draft(model: FakeOpenAI) -> None:
    """Let the model hand over to Gmail and propose a draft."""
    model.then(Calls([("transfer_to_gmail", {})]), Calls([("create_google_email_draft", DRAFT)]))


def main(folder: Path = FOLDER) -> None:
    """Take every picture."""
    folder.mkdir(parents=True, exist_ok=True)
    gate = Gate()
    keys: dict[str, Any] = {"OPENAI_API_KEY": "key-of-a-test", "ODAI_MODEL": "a-language-model"}
    with tempfile.TemporaryDirectory() as data, Vendors() as vendors, sync_playwright() as chrome:
        browser = chrome.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        server = Server(Path(data) / "offline", ODAI_EGRESS_MAP=vendors.egress_map)
        try:
            offline(Camera(browser, server, folder))
        finally:
            server.stop()
        with FakeOpenAI() as model:
            keys |= {"OPENAI_BASE_URL": model.base_url, "ODAI_EGRESS_MAP": vendors.egress_map}
            server = Server(Path(data) / "model", **keys)
            try:
                modelled(Camera(browser, server, folder), model, gate)
            finally:
                server.stop()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
