"""Results in a real browser: what recordings become, and what hostile data does."""

from __future__ import annotations

import datetime as dt
import functools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.browser import DESKTOP, PHONE
from tests.connectors.conftest import Replay

CONNECTORS = Path(__file__).parents[1] / "connectors"
SHOW = """
async ([events]) => {
  const { outputCard } = await import('/static/cards.js');
  const out = document.getElementById('out');
  return events.map((event) => {
    const card = outputCard(event);
    if (!card) return null;
    out.append(card);
    const plain = card.children.length < 2 || card.querySelector('.card-data');
    return { text: card.innerText, look: !plain,
      live: card.querySelectorAll('script, iframe, img, object, form').length,
      links: [...card.querySelectorAll('a')].map((a) => a.protocol) };
  });
}
"""
LOOKED_AT = {
    "stock_price", "crypto_price", "stock_bars", "flight_offers", "hotel_prices", "calendar_events",
    "google_news", "company_news", "web_results", "google_products", "amazon_products",
    "package_tracking", "places_on_map", "place_on_map", "article_list", "crypto_list",
    "package_list", "current_weather", "daily_forecast", "hourly_forecast",
}  # fmt: skip
BARS = [
    {"start": f"{day.isoformat()}T05:00", "close": 100 + n % 7}
    for n, day in enumerate(dt.date(2026, 1, 2) + dt.timedelta(days=n) for n in range(120))
]
SPENT = {
    "spent": {"USD": "412.40"},
    "by_category": [
        {"category": "FOOD_AND_DRINK", "currency": "USD", "spent": "112.10"},
        {"category": "TRAVEL", "currency": "USD", "spent": "300.30"},
    ],
    "transactions": [
        {"date": "2026-11-19", "merchant": "Corner Cafe", "amount": "112.10", "currency": "USD",
         "category": "FOOD_AND_DRINK", "account": "Checking", "pending": True},
        {"date": "2026-11-18", "merchant": "Rail", "amount": "300.30", "currency": "USD",
         "category": "TRAVEL", "account": "Checking", "pending": False},
    ],
}  # fmt: skip


def styled(page: Any) -> Any:
    """Return the page, empty, with the client's styles."""
    page.goto(page.url)
    for sheet in ("style.css", "looks.css"):
        page.add_style_tag(url=f"/static/{sheet}")
    return page


@functools.cache
def recordings() -> list[tuple[str, dict[str, Any]]]:
    """Return (response type, event) of each tool's recorded success, by every vendor."""
    with ThreadPoolExecutor(1) as apart:  # the browser's own loop runs in this thread
        return apart.submit(_recordings).result()


def _recordings() -> list[tuple[str, dict[str, Any]]]:
    found = []
    for path in sorted(CONNECTORS.glob("*/*__success.json")):
        replay, tool = Replay(path.parent), path.name.partition("__")[0]
        result = replay(f"{tool}__success").result
        if result is None:
            continue
        output = {"response_type": result.response_type, "response": json.dumps(result.data)}
        found.append((result.response_type, {"output": output, "summary": result.summary}))
    return found


def test_every_recorded_result_is_shown(page: Any) -> None:
    """Each tool's result becomes a card with its summary in words; those to look at have a look."""
    events = recordings()
    shown = styled(page).evaluate(SHOW, [[event for _, event in events]])
    looks = set()
    for (kind, event), card in zip(events, shown, strict=True):
        assert card, kind
        assert " ".join(event["summary"].split())[:40] in " ".join(card["text"].split()), kind
        assert "undefined" not in card["text"]
        assert "NaN" not in card["text"]
        assert "[object" not in card["text"]
        looks |= {kind} if card["look"] else set()
    assert looks >= LOOKED_AT


HOSTILE = [
    "<img src=x onerror=alert(1)>", "javascript:alert(1)", "data:text/html,<script>alert(1)//",
    None, -1, 1e308, {}, [], [[]], {"constructor": 1}, "\u202egnp.exe", "x" * 20_000,
]  # fmt: skip


def test_hostile_data_breaks_no_look(page: Any) -> None:
    """Whatever a vendor sends in whatever place, nothing runs, no card fails, no link is unsafe."""
    events = []
    for kind, event in recordings():
        if kind not in LOOKED_AT:
            continue
        data = json.loads(event["output"]["response"])
        for bad in HOSTILE:
            changed = json.dumps(_replaced(data, bad))
            events.append({"output": {"response_type": kind, "response": changed}, "summary": "s"})
    alerts: list[str] = []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    shown = styled(page).evaluate(SHOW, [events])
    assert not alerts
    for card in filter(None, shown):
        assert card["live"] == 0
        assert set(card["links"]) <= {"http:", "https:", "mailto:"}


def _replaced(value: Any, bad: Any) -> Any:
    """Return `value` with `bad` in place of every leaf."""
    if isinstance(value, dict):
        return {name: _replaced(inner, bad) for name, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, bad) for inner in value]
    return bad


BOTH = pytest.mark.parametrize(
    "viewport", [DESKTOP["viewport"], PHONE["viewport"]], ids=["desktop", "phone"]
)


@BOTH
def test_offers_are_sorted_and_filtered_by_their_reader(viewport: Any, page: Any) -> None:
    """Flights come in any order asked for, and those with a change can be left out."""
    page.set_viewport_size(viewport)
    kind, event = next(found for found in recordings() if found[0] == "flight_offers")
    assert kind
    styled(page).evaluate(SHOW, [[event]])
    rows = page.locator("tbody tr")
    count = rows.count()
    prices = [row.split("\t")[0] for row in rows.all_inner_texts()]
    page.get_by_role("button", name="Price").click()
    assert [row.split("\t")[0] for row in rows.all_inner_texts()] == prices[::-1]
    page.get_by_label("Direct only").check()
    assert 0 < rows.count() < count


def event_of(kind: str, data: Any) -> dict[str, Any]:
    """Return a tool's output of that kind."""
    return {"output": {"response_type": kind, "response": json.dumps(data)}, "summary": "In words."}


@BOTH
def test_a_course_is_looked_at_by_range_and_point(viewport: Any, page: Any) -> None:
    """A chart offers the ranges its data covers, and tells the value at any of its points."""
    page.set_viewport_size(viewport)
    bars = {"symbol": "EXMP", "currency": "USD", "bars": BARS}
    [card] = styled(page).evaluate(SHOW, [[event_of("stock_bars", bars)]])
    assert card["text"].startswith("In words.")
    ranges = page.get_by_role("group", name="Range")
    assert ranges.get_by_role("button").all_inner_texts() == ["1D", "1W", "1M", "3M", "All"]
    point = page.get_by_role("slider")
    assert point.get_attribute("max") == "119"
    ranges.get_by_role("button", name="1W").click()
    assert page.get_by_role("slider").get_attribute("max") == "7"
    assert ranges.get_by_role("button", name="1W").get_attribute("aria-pressed") == "true"
    page.get_by_role("slider").press("Home")
    assert "$" in page.get_by_role("slider").get_attribute("aria-valuetext")


@BOTH
def test_a_category_shows_its_own_transactions(viewport: Any, page: Any) -> None:
    """Totals come first; pressing a category leaves what it was spent on."""
    page.set_viewport_size(viewport)
    styled(page).evaluate(SHOW, [[event_of("bank_transactions", SPENT)]])
    rows = page.locator(".transactions li")
    assert rows.count() == 2
    page.get_by_role("button", name="travel").click()
    assert rows.count() == 1
    assert "Rail" in rows.first.inner_text()
    page.get_by_role("button", name="travel").click()
    assert rows.count() == 2


def test_ages_are_the_servers_on_a_device_with_a_wrong_clock(page: Any) -> None:
    """What was published an hour ago is an hour old, also where this clock is a day off."""
    news = [{"title": "Story", "url": "https://e.example/", "published_at": "2030-05-05T09:00Z"}]
    told = styled(page).evaluate(
        """async (event) => {
          const clock = await import('/static/clock.js');
          const { outputCard } = await import('/static/cards.js');
          clock.heardDate('Sun, 05 May 2030 10:00:00 GMT');
          const card = outputCard(event);
          clock.heardDate(new Date().toUTCString());
          return card.textContent;
        }""",
        event_of("google_news", {"news": news}),
    )
    assert "1 hour ago" in told
