"""What nobody can answer: the model gets an error it can act on, the user a sentence."""

from __future__ import annotations

import re
from typing import Any

import pytest

from common.errors import InvalidInput, NotAllowed, NotFound, VendorRejected

from .conftest import HERE, Replay

PAGE = "https://www.example.org/page"


def outcome_of(slug: str, tool: str, arguments: dict[str, Any], **response: Any) -> Any:
    """Run the tool while the vendor, if it is asked at all, gives `response`."""
    return Replay(HERE / slug).failing(tool, arguments, response or {"json": {}})


def told(outcome: Any) -> str:
    """Return what is said: a sentence, with no address and no word of a program in it."""
    words = str(outcome.summary)
    assert re.fullmatch(r"\S.{18,}[.?]", words) and "http" not in words and "Error" not in words
    return words


@pytest.mark.parametrize(
    ("slug", "case", "says"),
    [
        ("finnhub", "get_stock_price_at_finnhub__empty", "Matches for"),
        ("alpaca", "get_stock_quote_at_alpaca__empty", "Check the symbol"),
        ("coinmarketcap", "check_crypto_price_at_coinmarketcap__empty", "knows no coin"),
        ("open_meteo", "get_current_weather_by_location__empty", "no place called"),
        ("weatherapi", "get_current_weather_by_location__empty", "no place called"),
        ("accuweather", "get_current_weather_by_location__empty", "no place called"),
        ("flightaware", "get_current_flight_status__empty", "no flight"),
        ("aviationstack", "get_flight_info_by_iata__empty", "no flight"),
        ("amtrak", "find_amtrak_station__empty", "No Amtrak station"),
        ("nominatim", "geocode_address__empty", "no place called"),
        ("google_flights", "get_flight_info__empty", "no flights"),
    ],
)
def test_what_does_not_exist_is_said_not_to(slug: str, case: str, says: str) -> None:
    """An unknown ticker, coin, city, flight or station is an answer, never a defect."""
    outcome = Replay(HERE / slug)(case)
    assert says in told(outcome)
    assert outcome.ok


@pytest.mark.parametrize(
    ("slug", "tool", "arguments", "status", "error"),
    [
        ("flightaware", "get_airport_delays_at_flightaware", {"airport": "QQQ"}, 400, InvalidInput),
        (
            "easypost",
            "get_tracking_info_with_easypost",
            {"tracking_code": "NOPE123"},
            422,
            NotFound,
        ),
        (
            "frankfurter",
            "get_exchange_rate_for_currency_pair",
            {"from_currency": "USD", "to_currency": "QQQ"},
            404,
            NotFound,
        ),
    ],
)
def test_a_code_the_vendor_does_not_know(
    slug: str, tool: str, arguments: dict[str, Any], status: int, error: type[Exception]
) -> None:
    """An unknown airport, parcel or currency names what to correct."""
    outcome = outcome_of(slug, tool, arguments, status=status, json={})
    assert type(outcome.error) is error
    assert re.search("Check|Give|knows no", told(outcome))


TRIP = {"origin": "OSL", "destination": "LIS", "departure_date": "2026-12-01"}
STAY = {"location": "Rome", "check_in_date": "2026-12-01", "check_out_date": "2026-12-03"}
PAIR = {"from_currency": "USD", "to_currency": "EUR"}


@pytest.mark.parametrize(
    ("slug", "tool", "arguments"),
    [
        # no code at all
        ("finnhub", "get_stock_price_at_finnhub", {"symbol": "not a ticker"}),
        ("duffel", "get_flight_info", {**TRIP, "origin": "Oslo"}),
        ("frankfurter", "get_exchange_rate_for_currency_pair", {**PAIR, "to_currency": "money"}),
        ("easypost", "get_tracking_info_with_easypost", {"tracking_code": "??"}),
        # a day that is over, or not yet there
        ("google_flights", "get_flight_info", {**TRIP, "departure_date": "2026-11-01"}),
        ("amadeus", "get_flight_info", {**TRIP, "departure_date": "2026-11-01"}),
        ("google_hotels", "get_hotel_prices", {**STAY, "check_in_date": "2026-11-01"}),
        ("amadeus_hotels", "get_hotel_prices", {**STAY, "check_in_date": "2026-11-01"}),
        (
            "ticketmaster",
            "get_ticketmaster_events_near_location",
            {"location": "Portland, OR", "start_date": "2026-11-01", "end_date": "2026-11-02"},
        ),
        (
            "movieglu",
            "get_theater_showtimes_near_location",
            {"theater_id": 1, "date": "2026-11-01"},
        ),
        ("frankfurter", "get_exchange_rate_for_currency_pair", {**PAIR, "date": "2027-01-01"}),
        ("frankfurter", "get_exchange_rate_for_currency_pair", {**PAIR, "date": "yesterday"}),
        # less than nothing
        ("frankfurter", "get_exchange_rate_for_currency_pair", {**PAIR, "amount": -5}),
        ("exchangerate_api", "get_exchange_rate_for_currency_pair", {**PAIR, "amount": 0}),
        ("coinmarketcap", "convert_crypto_at_coinmarketcap", {"symbol": "BTC", "amount": -1}),
        (
            "alpaca",
            "place_order_at_alpaca",
            {"symbol": "AAPL", "side": "buy", "quantity": -2},
        ),
        ("canopy_amazon", "search_amazon", {"query": "kettle", "max_price": -1}),
        ("google_shopping", "get_google_products", {"query": "kettle", "min_price": -1}),
    ],
)
def test_what_cannot_be_meant_is_sent_back(slug: str, tool: str, arguments: dict[str, Any]) -> None:
    """A wrong code, a wrong day or a negative amount names the argument, and asks no vendor."""
    replay = Replay(HERE / slug)
    outcome = replay.run(tool, arguments)
    assert isinstance(outcome.error, InvalidInput)
    assert not replay.requests
    assert re.search(r"\w+_\w+|must|past|date|symbol|amount|quantity|future", outcome.summary)


@pytest.mark.parametrize("slug", ["open_meteo", "accuweather"])
def test_a_name_that_means_several_places_is_asked_about(slug: str) -> None:
    """Springfield is nobody's guess: the choices come back, each with where it lies."""
    outcome = Replay(HERE / slug)("get_current_weather_by_location__ambiguous")
    assert outcome.result and outcome.result.response_type == "place_choices"
    assert len(outcome.result.data["places"]) >= 2
    assert told(outcome).startswith("Which ")


def page(body: str, **response: Any) -> dict[str, Any]:
    """Return an exchange that answers PAGE with `body`."""
    request = {"host": "www.example.org", "path": "/page"}
    return {"request": request, "response": {"text": body, **response}}


def test_a_page_from_inside_is_refused() -> None:
    """A private address, and a redirect into one, reach nobody."""
    replay = Replay(HERE / "web_pages")
    assert isinstance(replay.run("fetch_website", {"url": "http://10.0.0.8/"}).error, NotAllowed)
    inward = page("", status=302, headers={"Location": "http://169.254.169.254/latest"})
    assert isinstance(replay.run("fetch_website", {"url": PAGE}, inward).error, NotAllowed)


def test_a_page_without_end_is_cut_off() -> None:
    """What is too large is given up before it is all read, and said to be too large."""
    outcome = Replay(HERE / "web_pages").run("fetch_website", {"url": PAGE}, page("x" * 6_000_000))
    assert isinstance(outcome.error, VendorRejected)
    assert "more than can be taken in" in told(outcome)


def test_a_document_is_named() -> None:
    """A PDF cannot be read, and that is what is said."""
    pdf = page("%PDF-1.7", content_type="application/pdf")
    assert "a PDF" in told(Replay(HERE / "web_pages").run("fetch_website", {"url": PAGE}, pdf))


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-8", "windows-1252", "utf-16"])
def test_a_page_reads_right_in_any_charset(charset: str) -> None:
    """Umlauts stay umlauts, whatever the site writes in."""
    text = "Grüße aus Köln. " * 20
    body = page(text, content_type="text/plain", charset=charset)
    outcome = Replay(HERE / "web_pages").run("fetch_website", {"url": PAGE}, body)
    assert outcome.result and outcome.result.data["content"] == text.strip()


def test_a_page_that_wants_no_programs_is_left_alone() -> None:
    """What robots.txt forbids is not read; the model hears what else it could do."""
    rules = {
        "request": {"host": "www.example.org", "path": "/robots.txt"},
        "response": {"text": "User-agent: *\nDisallow: /page", "content_type": "text/plain"},
    }
    outcome = Replay(HERE / "web_pages").run("fetch_website", {"url": PAGE}, rules)
    assert isinstance(outcome.error, VendorRejected)
    assert "Search for the same facts elsewhere" in told(outcome)
