"""Results in a real browser: what recordings become, and what hostile data does."""

from __future__ import annotations

import functools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

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
    "package_tracking", "places_on_map", "place_on_map", "article_list",
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


def test_offers_are_sorted_and_filtered_by_their_reader(page: Any) -> None:
    """Flights come in any order asked for, and those with a change can be left out."""
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
