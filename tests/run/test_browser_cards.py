"""What vendors answer, as its reader sees it: the cards of the real server, on both sizes.

The sandbox's services answer, and for those it does not simulate their recordings do. Every card
says the same in words: for who cannot see it, and for who asks by phone.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.browser import DESKTOP, PHONE
from tests.fakes.served import Served
from tests.run.serving import Server

CONNECTORS = Path(__file__).parents[1] / "connectors"
RECORDED = (
    "alpaca/get_stock_bars_at_alpaca", "easypost/get_all_packages_with_easypost",
    "google_flights/get_flight_info", "google_hotels/get_hotel_prices",
    "google_news/search_google_news", "google_shopping/get_google_products",
)  # fmt: skip
KEYS = ("SERPAPI_API_KEY", "ALPACA_API_KEY_ID", "ALPACA_API_SECRET_KEY", "EASYPOST_API_KEY")
ASKED = {
    "What's the weather in Boston for the next 3 days?": ".weather",
    "Show the daily bars of EXMP for the last month.": "[aria-label=Range]",
    "Find flights from OSL to LIS on March 9.": ".sortable table",
    "Find a hotel in Lisbon from March 9 to March 12.": ".sortable table",
    "What are the coordinates of the Eiffel Tower?": "[role=img]",
    "What's in the news today?": ".headlines",
    "Compare prices for a tent.": ".products",
    "Show all my packages.": ".parcels",
}


class Recordings(Served):
    """Answers with what vendors answered once, whatever the dates and names asked for."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str, str], Any] = {}
        for name in RECORDED:
            recorded = json.loads((CONNECTORS / f"{name}__success.json").read_text())
            for exchange in recorded["exchanges"]:
                asked = exchange["request"]
                key = asked["host"], asked["path"], asked.get("query", {}).get("engine", "")
                self._answers[key] = exchange["response"]["json"]
        for course in self._answers["data.alpaca.markets", "/v2/stocks/bars", ""]["bars"].values():
            first = dt.datetime.fromisoformat(course[0]["t"])
            days = [(first - dt.timedelta(days=ago)).isoformat() for ago in range(60)]
            course[:] = [{**course[ago % 3], "t": day} for ago, day in enumerate(days)]

    @property
    def egress_map(self) -> str:
        """Return the value of ODAI_EGRESS_MAP that sends the vendors' hosts here."""
        return ",".join(f"{host}={self.origin}" for host in {key[0] for key in self._answers})

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        found = self._answers.get((request.host, request.path, request.query.get("engine", "")))
        return web.json_response(found, status=404 if found is None else 200)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the server with its simulated services, and keys for those that are recorded."""
    with Recordings() as recordings:
        running = Server(
            tmp_path_factory.mktemp("data"),
            ODAI_SANDBOX="1",
            ODAI_EGRESS_MAP=recordings.egress_map,
            **dict.fromkeys(KEYS, "key-of-a-test"),
        )
        yield running
        assert running.stop() == 0


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_each_kind_of_result_is_looked_at_and_told_in_words(
    sandbox: Server, open_page: Callable[..., Any], size: dict[str, Any]
) -> None:
    """Weather, a course, flights, hotels, places, news, products, parcels: seen, said, in place."""
    from playwright.sync_api import expect

    page = open_page(**size)
    page.route("https://**", lambda route: route.abort())  # vendors' pictures
    page.goto(f"{sandbox.base}/#token={sandbox.token(f'reader {len(size)}')}")
    for turn, (question, look) in enumerate(ASKED.items(), 1):
        page.get_by_test_id("composer").fill(question)
        page.get_by_test_id("composer").press("Enter")
        expect(page.get_by_test_id("copy")).to_have_count(turn)
        card = page.get_by_test_id("tool-output").last
        expect(card.locator(look).first).to_be_visible()
        words = card.inner_text().split("\n")[0]
        assert len(words.split()) > 3, "the card begins with what it shows, in words"
        for unwanted in ("undefined", "NaN", "[object"):
            assert unwanted not in card.inner_text()
    expect(page.get_by_test_id("error")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # The pictures alone are refused, by this test.
    assert all("ERR_FAILED" in said for said in page.complaints)
