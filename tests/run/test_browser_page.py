"""The page itself: it says when it cannot begin, and what it shows can be read and touched.

Each state is looked at on a desktop and on a phone, with one server for all.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from common.documents import new_id
from tests.browser import DESKTOP, PHONE
from tests.fakes.openai_responses import Calls, FakeOpenAI, Text
from tests.fakes.vendors import Vendors
from tests.run.serving import Server

Open: TypeAlias = Callable[..., Any]
BOTH = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
ARTICLE = ("fetch_website", {"url": "https://pages.example/article", "part": 1})
REMINDER = (
    "create_reminder",
    {"title": "Tides", "time": "09:30", "repeat": "never", "by_text_message": False},
)
NOW = dt.datetime(2026, 11, 22, 15, tzinfo=dt.UTC)
TOUCHED_PX = 44
# What a finger has to hit: controls, and the labels that carry a box. Links in a text are text.
SMALL = """(least) => {
  const dialog = document.querySelector("dialog[open]");
  const hit = "button, input, select, textarea, summary, a.button, label:has(input), [role=tab]";
  return [...(dialog ?? document).querySelectorAll(hit)].filter((one) => {
    const { width, height } = one.getBoundingClientRect();
    if (one.matches("label input") && /checkbox|radio/.test(one.type)) return false;
    const seen = one.checkVisibility({ visibilityProperty: true, opacityProperty: false });
    return seen && width > 0 && height > 0 && Math.min(width, height) < least - 0.1;
  }).map((one) => `${one.className} ${one.getAttribute("aria-label") ?? one.textContent}`.trim());
}"""
# The boxes of a chart's words, and that of its line.
DRAWN = """() => {
  const box = (one) => {
    const { left, right, top, bottom } = one.getBoundingClientRect();
    return { left, right, top, bottom };
  };
  const chart = document.querySelector(".chart svg");
  return { words: [...chart.querySelectorAll("text")].map(box),
    line: box(chart.querySelector(".line")), all: box(chart) };
}"""


def signed_in(page: Any, server: Server, name: str) -> None:
    """Open the page as that user."""
    page.goto(f"{server.base}/#token={server.token(name)}")
    page.get_by_test_id("composer").wait_for()


def show(page: Any, *events: dict[str, Any], status: str = "done", turn_id: str = "") -> None:
    """Open a chat that has one turn with these events."""
    turn = {"turn_id": turn_id or new_id(), "prompt": "Go on.", "status": status, "events": events}
    chat = {"chat": {"id": "shown", "title": "Shown"}, "turns": [turn], "cursor": None}
    body = json.dumps({**chat, "more": False})
    page.route(
        "**/chats/shown/turns*",
        lambda route: route.fulfill(body=body, content_type="application/json"),
    )
    page.route_web_socket("**/chats/shown*", lambda _: None)
    page.evaluate("location.hash = '#/chats/shown'")
    page.get_by_test_id("message-user").wait_for()


def result(kind: str, data: Any) -> dict[str, Any]:
    """Return a tool's output of that kind."""
    output = {"response_type": kind, "response": json.dumps(data)}
    return {"type": "tool_output", "call_id": "c", "ok": True, "output": output}


def course(hours: list[int]) -> list[dict[str, str]]:
    """Return prices at so many hours ago."""
    moments = [(NOW - dt.timedelta(hours=ago), ago) for ago in hours]
    return [
        {"start": f"{at:%Y-%m-%dT%H:%MZ}", "close": f"{900 + ago % 37}.5"} for at, ago in moments
    ]


@BOTH
@pytest.mark.parametrize("missing", ["app.js", "markdown.js"])
def test_a_page_that_cannot_begin_says_so(
    server: Server, open_page: Open, size: dict[str, Any], missing: str
) -> None:
    """A module that does not arrive leaves a sentence and a way on, not an empty page."""
    from playwright.sync_api import expect

    page = open_page(**size)
    page.route(f"**/static/{missing}", lambda route: route.fulfill(status=502))
    page.goto(server.base)
    told = page.get_by_test_id("not-loaded")
    expect(told).to_be_visible()
    expect(page.locator("body")).to_have_attribute("data-view", "not-loaded")  # not by waiting
    expect(told).to_contain_text("has not loaded")
    page.unroute_all()
    told.get_by_text("Reload").click()
    expect(page.get_by_test_id("sign-in")).to_be_visible()
    expect(told).to_be_hidden()


@BOTH
def test_who_waits_for_long_is_told_without_any_script(
    server: Server, open_page: Open, size: dict[str, Any]
) -> None:
    """Where no script arrives at all the style shows the sentence after a while."""
    from playwright.sync_api import expect

    page = open_page(**size, reduced_motion="reduce")
    page.route("**/static/*.js", lambda route: route.fulfill(status=502))
    page.goto(server.base)
    told = page.get_by_test_id("not-loaded")
    expect(told).to_be_hidden()
    page.evaluate("document.getAnimations().forEach((waiting) => waiting.finish())")
    expect(told).to_be_visible()


@BOTH
def test_without_javascript_the_page_says_what_it_needs(
    server: Server, open_page: Open, size: dict[str, Any]
) -> None:
    """Whoever has scripts switched off reads why nothing else is there."""
    page = open_page(**size, java_script_enabled=False)
    page.goto(server.base)
    assert "ODAI needs JavaScript" in page.locator(".no-script").inner_text()
    assert not page.get_by_test_id("not-loaded").is_visible()


@BOTH
def test_a_slow_call_counts_and_an_act_is_asked_for_in_plain_words(
    server: Server, model: FakeOpenAI, vendors: Vendors, open_page: Open, size: dict[str, Any]
) -> None:
    """Seconds are counted while a page is read, also after a reload; then a question is put."""
    from playwright.sync_api import expect

    page = open_page(**size)
    part = page.get_by_test_id
    signed_in(page, server, f"slow-{size['viewport']['width']}")
    model.then(Calls([ARTICLE]), Calls([("transfer_to_reminders", {})]), Calls([REMINDER]))
    article = vendors.hold("article")
    part("composer").fill("Read https://pages.example/article and remind me of it.")
    part("composer").press("Enter")
    counted = re.compile(r"Reading the page….*at work · \d+ s")
    expect(part("tool-call")).to_contain_text(counted)
    expect(part("job")).to_be_visible()
    page.reload()
    expect(part("tool-call")).to_contain_text(counted)
    article.open()
    approval = part("approval")
    expect(approval).to_contain_text("Set this reminder?")
    expect(approval).to_have_attribute("aria-label", "Set this reminder?")
    expect(part("job")).to_have_count(0)
    model.then(Text("All right."))
    part("deny").click()
    expect(part("message-assistant").last).to_contain_text("All right.")
    assert page.complaints == []


@BOTH
def test_a_call_tells_its_stages_and_only_what_is_known(
    server: Server, open_page: Open, size: dict[str, Any]
) -> None:
    """Waiting, at work, waiting once more: a bar has a length only where a percentage was told."""
    from playwright.sync_api import expect

    page = open_page(**size)
    signed_in(page, server, "stages")
    call = {"type": "tool_call", "name": "fetch_website", "description": "Reading…", "call_id": "c"}

    def job(status: str, message: str = "Reading…") -> dict[str, Any]:
        return {"type": "job", "call_id": "c", "status": status, "message": message}

    line, bar = page.get_by_test_id("tool-call"), page.get_by_test_id("job")
    for told, words in (
        ([job("queued")], "waiting its turn"),
        ([job("queued"), job("running")], "at work"),
        ([job("queued"), job("running"), job("queued")], "waiting to try again"),
    ):
        show(page, call, *told, status="running")
        expect(line).to_contain_text(words)
        expect(bar).not_to_have_attribute("value", re.compile("."))
        page.evaluate("location.hash = ''")
    show(page, call, job("running"), job("progress", "Reading: 40 %"), status="running")
    expect(bar).to_have_attribute("value", "40")
    page.evaluate("location.hash = ''")
    later = {**result("job_pending", {"message": "I tell you."}), "summary": "I tell you."}
    show(page, call, job("running"), later)
    expect(line).to_contain_text("goes on in the background")
    expect(line).to_have_attribute("data-state", "waiting")
    expect(page.get_by_test_id("tool-output")).to_have_text("I tell you.")
    expect(bar).to_have_count(0)


@BOTH
def test_a_charts_words_lie_beside_its_line(
    server: Server, open_page: Open, size: dict[str, Any]
) -> None:
    """Every value of the axis can be read: on nothing that is drawn, and inside the drawing."""
    page = open_page(**size)
    signed_in(page, server, "chart")
    dear = [{**bar, "close": str(90_000 + at)} for at, bar in enumerate(course([3, 2, 1, 0]))]
    for bars in (course([0, 30, 60, 90]), dear):
        show(page, result("stock_bars", {"symbol": "EXMP", "currency": "USD", "bars": bars}))
        drawn = page.evaluate(DRAWN)
        assert len(drawn["words"]) >= 4
        for at, one in enumerate(drawn["words"]):
            assert one["left"] >= drawn["all"]["left"]
            assert one["right"] <= drawn["line"]["left"] or one["top"] >= drawn["line"]["bottom"]
            for other in drawn["words"][:at]:
                assert one["right"] <= other["left"] or one["left"] >= other["right"] or (
                    one["bottom"] <= other["top"] + 3 or one["top"] >= other["bottom"] - 3
                )  # fmt: skip
        page.evaluate("location.hash = ''")


@BOTH
def test_a_coin_has_a_course_for_each_range(
    server: Server, open_page: Open, size: dict[str, Any]
) -> None:
    """A year of a coin can be looked at by day, week, month and year, like a share's."""
    page = open_page(**size)
    signed_in(page, server, "coin")
    hours = [*range(24), *range(24, 168, 6), *range(168, 744, 24), *range(744, 8760, 336)]
    data = {"name": "Samplecoin", "symbol": "SMPL", "currency": "USD", "bars": course(hours)}
    show(page, result("crypto_history", data))
    ranges = page.get_by_role("group", name="Range").get_by_role("button")
    assert ranges.all_inner_texts() == ["1D", "1W", "1M", "3M", "1Y"]
    ranges.get_by_text("1D").click()
    assert int(page.get_by_role("slider").get_attribute("max")) >= 23
    # A quote alone tells how far the price moved: there is no course to draw.
    page.evaluate("location.hash = ''")
    coin = {"name": "Samplecoin", "symbol": "SMPL", "currency": "USD", "price": "3.17"}
    show(page, result("crypto_price", {"coin": {**coin, "change_7d_percent": 5.2}}))
    assert re.search(r"7 days\s+▲\s+up\s+5\.20 %", page.get_by_test_id("tool-output").inner_text())
    assert page.locator(".chart").count() == 0


def test_everything_on_a_phone_can_be_hit_with_a_finger(server: Server, open_page: Open) -> None:
    """Whatever is pressed measures 44 pixels each way, on every page of the client."""
    page = open_page(**PHONE)

    def small() -> list[str]:
        found: list[str] = page.evaluate(SMALL, TOUCHED_PX)
        return found

    page.goto(server.base)
    page.get_by_test_id("sign-in").wait_for()
    assert small() == []
    page.goto("about:blank")
    signed_in(page, server, "touch")
    page.locator(".works").first.wait_for()
    assert small() == []
    bars = course([*range(0, 8760, 168)])
    shown = {"symbol": "EXMP", "currency": "USD", "bars": bars}
    asked = {
        "type": "approval_required", "approval_id": "a", "tool": "pay", "title": "Pay a bill",
        "arguments": {"amount": 3, "soon": True}, "editable": ["amount", "soon"], "risk": "write",
    }  # fmt: skip
    call = {"type": "tool_call", "name": "look", "description": "Looking…", "call_id": "c"}
    show(page, call, result("stock_bars", shown), asked, status="waiting_for_approval")
    assert page.get_by_test_id("approval").get_attribute("aria-label") == "Pay a bill"
    assert small() == []
    page.get_by_test_id("change").click()
    assert small() == []
    page.get_by_test_id("edit").click()
    page.get_by_test_id("edit-text").wait_for()
    assert small() == []
    page.evaluate("location.hash = ''")
    page.locator("#menu").click()
    page.get_by_test_id("open-you").click()
    for name in ("Memory", "Plans", "Usage", "Activity", "Account", "Connections"):
        page.get_by_role("tab", name=name).click()
        page.locator(".you-page:not([aria-busy]) > *").first.wait_for()
        assert small() == [], name
