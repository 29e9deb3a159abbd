"""The pictures in docs/pictures, taken of the real page: `python -m tests.web.pictures`.

The whole suite runs as `make run` starts it, with its simulated services, once with the offline
planner and once with a scripted model, so that the pictures change only when the page does. What
vendors with a key would say comes from their recordings. Look at them after a change of the page:
a test can say that a button is there, not that it looks right. `python -m tests.web.pictures
FOLDER` writes them elsewhere.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from tests.browser import MILLISECONDS, launched
from tests.fakes.openai_responses import Calls, FakeOpenAI, HttpError, Text
from tests.run.serving import Server
from tests.web.test_looks import recordings

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
DESKTOP = {"width": 1180, "height": 800}
PHONE = {"width": 390, "height": 844}
HEARD = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
WEATHER = "What's the weather in Boston tomorrow?"
MONEY = "Convert 250 euros to dollars."
FORECAST = ("get_forecast_weather_by_location", {"location": "Boston", "days": 3, "date": None})
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
REMINDER = ("create_reminder", {
    "title": "The umbrella", "time": "08:00", "repeat": "never", "by_text_message": False,
})  # fmt: skip
CHARTS = ("stock_bars", "crypto_history")
TRAVEL = ("flight_offers", "places_on_map")


class Camera:
    """Takes pictures of one server's page, each state at the sizes named."""

    def __init__(self, browser: Browser, server: Server, folder: Path) -> None:
        self._browser, self._server, self._folder = browser, server, folder

    @contextmanager
    def page(
        self, size: dict[str, int], *, dark: bool = False, name: str = "Ada"
    ) -> Iterator[Page]:
        """Open the page as somebody in Europe with a screen of that size; no name: signed out."""
        phone = size is PHONE
        context = self._browser.new_context(
            viewport=size, color_scheme="dark" if dark else "light", locale="en-GB",
            timezone_id="Europe/Paris", device_scale_factor=2 if phone else 1, has_touch=phone,
            is_mobile=phone, reduced_motion="reduce",
        )  # fmt: skip
        page = context.new_page()
        page.set_default_timeout(MILLISECONDS)
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        token = f"#token={self._server.token(name)}" if name else ""
        page.goto(f"{self._server.base}/{token}")
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
    page.get_by_test_id("send").click()
    page.locator(".turn").nth(turns).wait_for()
    if answered:
        page.locator(".turn").nth(turns).locator(".turn-actions").wait_for(state="attached")


def settled(page: Page) -> None:
    """Wait until the open page of You has been read."""
    page.locator(".you-page:not([aria-busy]) > *").first.wait_for()


def recorded(page: Page, prompt: str, kinds: tuple[str, ...], said: str) -> None:
    """Open a chat whose last turn brought the recorded results of these kinds."""
    found = dict(recordings())
    found["stock_bars"] = quarter(found["stock_bars"])
    turn = {"turn_id": "1", "prompt": prompt, "status": "done", "events": [
        *({**found[kind], "type": "tool_output", "ok": True, "call_id": kind} for kind in kinds),
        {"type": "llm_response", "response": said},
    ]}  # fmt: skip
    history = {"chat": {"id": "recorded", "title": prompt}, "turns": [turn], "cursor": None}
    page.route("**/chats/recorded/turns*", lambda route: route.fulfill(
        body=json.dumps({**history, "more": False}), content_type="application/json"
    ))  # fmt: skip
    page.evaluate("location.hash = '#/chats/recorded'")
    page.locator(".message-assistant").first.wait_for()
    page.evaluate("document.getElementById('scroller').scrollTop = 0")


def quarter(event: dict[str, Any]) -> dict[str, Any]:
    """Return the recorded three days of a share as sixty, from and to the recorded prices."""
    output = event["output"]
    data = json.loads(output["response"])
    last, first = data["bars"][0], data["bars"][-1]
    end = dt.datetime.fromisoformat(last["start"])
    bars = []
    for day in range(60):
        rise = (last["close"] - first["close"]) * (59 - day) / 59
        wave = 0.6 * math.sin(day / 4) * math.sin(math.pi * day / 59)
        start = (end - dt.timedelta(days=day)).isoformat()
        bars.append({**last, "start": start, "close": round(first["close"] + rise + wave, 2)})
    return {**event, "output": {**output, "response": json.dumps({**data, "bars": bars})}}


def offline(camera: Camera) -> None:
    """The page as it is with no account and no key."""
    with camera.page(DESKTOP, name="") as page:
        page.get_by_test_id("sign-in").wait_for()
        camera.take(page, "sign-in")
    for name, size in (("desktop", DESKTOP), ("phone", PHONE)):
        with camera.page(size) as page:
            page.locator(".works").first.wait_for()
            camera.take(page, f"welcome-{name}")
            ask(page, WEATHER)
            ask(page, MONEY)
            camera.take(page, f"answer-{name}")
    with camera.page(DESKTOP) as page:
        recorded(page, "How did EXMP do, and what is a Samplecoin worth?", CHARTS,
                 "The share is up, the coin is down.")  # fmt: skip
        camera.take(page, "chart-desktop")
    with camera.page(DESKTOP, dark=True) as page:
        recorded(page, "Which flights are there, and where could we meet?", TRAVEL,
                 "The direct flight is the cheapest.")  # fmt: skip
        camera.take(page, "results-dark")
    with camera.page(DESKTOP) as page:
        page.get_by_test_id("open-you").click()
        page.get_by_role("button", name="Connect Google").click()
        page.get_by_test_id("connect").locator("[data-feature]").first.wait_for()
        camera.take(page, "connect-desktop")


def modelled(camera: Camera, model: FakeOpenAI) -> None:
    """What a language model adds: prose, handoffs, actions that wait for a yes, failures, calls."""
    with camera.page(DESKTOP) as page:
        model.then(Calls([FORECAST]), Text(ANSWER))
        ask(page, WEATHER)
        camera.take(page, "markdown-desktop")
    for name, size in (("desktop", DESKTOP), ("phone", PHONE)):
        with camera.page(size) as page:
            draft(model)
            ask(page, "Write Dana an email that I'm ten minutes late.")
            page.get_by_test_id("approval").wait_for()
            camera.take(page, f"approval-{name}")
            model.then(Text("All right, nothing was written."))
            page.get_by_test_id("deny").click()
            page.locator(".turns").get_by_text("nothing was written").wait_for()
    with camera.page(DESKTOP, dark=True) as page:
        model.then(
            Calls([FORECAST]),
            Calls([("transfer_to_reminders", {})]),
            Calls([REMINDER]),
            Text("It will rain in the afternoon. I remind you of the umbrella at eight."),
        )
        ask(page, "If it rains in Boston tomorrow, remind me of the umbrella at eight.")
        page.get_by_test_id("tool-call").last.click()
        page.evaluate("document.getElementById('scroller').scrollTop = 0")
        camera.take(page, "timeline-dark")
    for name, size in (("desktop", DESKTOP), ("phone", PHONE)):
        with camera.page(size) as page:
            if size is PHONE:
                page.locator("#menu").click()
                page.locator(".chats li").first.wait_for()
                camera.take(page, "chats-phone")
            page.get_by_test_id("open-you").click()
            page.get_by_role("tab", name="Usage").click()
            settled(page)
            camera.take(page, f"you-{name}")
    with camera.page(PHONE) as page:
        model.then(HttpError(429, "insufficient_quota"))
        ask(page, "Tell me a story.")
        page.get_by_test_id("error").wait_for()
        camera.take(page, "error-phone")
    with camera.page(PHONE) as page:
        page.route_web_socket("**/app/voice/**", lambda _: None)  # the call stays as it begins
        page.get_by_test_id("open-voice").click()
        page.get_by_test_id("voice-hang-up").wait_for()
        camera.take(page, "voice-phone")


def draft(model: FakeOpenAI) -> None:
    """Let the model hand over to Gmail and propose a draft."""
    model.then(Calls([("transfer_to_gmail", {})]), Calls([("create_google_email_draft", DRAFT)]))


def main(folder: Path = FOLDER) -> None:
    """Take every picture; what was there before goes."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    with tempfile.TemporaryDirectory() as data, launched(*HEARD) as browser:
        server = Server(Path(data) / "offline", ODAI_SANDBOX="1")
        try:
            offline(Camera(browser, server, folder))
        finally:
            server.stop()
        with FakeOpenAI() as model:
            keys = {"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "key-of-a-test"}
            server = Server(Path(data) / "model", ODAI_SANDBOX="1", **keys)
            try:
                modelled(Camera(browser, server, folder), model)
            finally:
                server.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
