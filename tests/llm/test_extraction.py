"""What the offline planner reads out of a sentence, on Wednesday 25 November 2026."""

from __future__ import annotations

import datetime as dt

import pytest

from common.llm.dates import Days
from common.llm.extraction import extract

NOW = dt.datetime(2026, 11, 25, 10, 0, tzinfo=dt.UTC)


def shown(text: str, kinds: str) -> str:
    """Return the finds of the given kinds as "kind=value", joined."""
    wanted = kinds.split()
    return " ".join(
        f"{found.kind}={_value(found.value)}"
        for found in extract(text, NOW)
        if found.kind in wanted
    )


def _value(value: object) -> str:
    if isinstance(value, Days):
        same = value.first == value.last
        return f"{value.first}" if same else f"{value.first}..{value.last}"
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)
    return str(value)


DATES = [
    ("weather today", "2026-11-25"),
    ("what's on tonight", "2026-11-25"),
    ("tomorrow morning", "2026-11-26"),
    ("the day after tomorrow", "2026-11-27"),
    ("what happened yesterday", "2026-11-24"),
    ("on Friday", "2026-11-27"),
    ("this Friday", "2026-11-27"),
    ("next Friday", "2026-12-04"),
    ("next Monday", "2026-11-30"),
    ("next Wednesday", "2026-12-02"),
    ("last Monday", "2026-11-23"),
    ("last Wednesday", "2026-11-18"),
    ("on wed", ""),
    ("in 3 days", "2026-11-28"),
    ("in three days", "2026-11-28"),
    ("in a week", "2026-12-02"),
    ("in two weeks", "2026-12-09"),
    ("in 3 months", "2027-02-25"),
    ("5 days ago", "2026-11-20"),
    ("a year ago", "2025-11-25"),
    ("10 days from now", "2026-12-05"),
    ("on Dec 3", "2026-12-03"),
    ("on December 3rd", "2026-12-03"),
    ("the 3rd of December", "2026-12-03"),
    ("3 March 2025", "2025-03-03"),
    ("Mar 3, 2025", "2025-03-03"),
    ("January 5", "2027-01-05"),
    ("November 20", "2026-11-20"),
    ("February 30", ""),
    ("2026-12-24", "2026-12-24"),
    ("2026-13-40", ""),
    ("12/24", "2026-12-24"),
    ("24/12/2026", "2026-12-24"),
    ("this weekend", "2026-11-28..2026-11-29"),
    ("next weekend", "2026-12-05..2026-12-06"),
    ("next week", "2026-11-30..2026-12-06"),
    ("this month", "2026-11-01..2026-11-30"),
    ("last year", "2025-01-01..2025-12-31"),
    ("the last 7 days", "2026-11-18..2026-11-25"),
    ("the next 5 days", "2026-11-25..2026-11-30"),
]


@pytest.mark.parametrize(("text", "expected"), DATES)
def test_dates_are_counted_from_the_users_day(text: str, expected: str) -> None:
    """A user names a day in any usual way and the assistant asks the service for that day."""
    assert shown(text, "date") == (f"date={expected}" if expected else "")


VALUES = [
    # money: amount beside its currency, whichever side that stands
    ("250 euros to dollars", "amount=250 currency=EUR currency=USD"),
    ("convert £20 in yen", "currency=GBP amount=20 currency=JPY"),
    ("how much is 1,500.50 USD in EUR", "amount=1500.50 currency=USD currency=EUR"),
    ("$100 in CAD", "currency=USD amount=100 currency=CAD"),
    ("5k yen to usd", "amount=5000 currency=JPY currency=USD"),
    ("2 million rupees in Swiss francs", "amount=2000000 currency=INR currency=CHF"),
    ("CONVERT 5 USD TO EUR", "amount=5 currency=USD currency=EUR"),
    ("A$30 in New Zealand dollars", "currency=AUD amount=30 currency=NZD"),
    ("100 Canadian dollars in pesos", "amount=100 currency=CAD currency=MXN"),
    ("40 bucks in quid", "amount=40 currency=USD currency=GBP"),
    ("is it all about the top cup", ""),
    # tickers
    ("AAPL price", "ticker=AAPL"),
    ("$TSLA today", "ticker=TSLA"),
    ("shares of $F", "ticker=F"),
    ("BRK.B quote", "ticker=BRK.B"),
    ("What time is it in the US", ""),
    ("WHAT IS THE WEATHER", ""),
    # places
    ("What's the weather in Boston tomorrow?", "place=Boston"),
    ("weather in san francisco next Friday", "place=san francisco"),
    ("Will it rain in Paris, France this weekend", "place=Paris, France"),
    ("best sushi near Union Square", "place=Union Square"),
    ("top 5 coffee shops in Portland, Oregon", "number=5 place=Portland, Oregon"),
    ("flights from SFO to JFK", "place=SFO ticker=SFO place=JFK ticker=JFK"),
    ("trains between Boston and New York", "place=Boston place=New York"),
    ("flights from boston to paris", "place=boston place=paris"),
    ("weather for São Paulo", "place=São Paulo"),
    ("hotel in Rome for two nights", "place=Rome number=2"),
    ("dentist near 02139", "place=02139"),
    ("I want to buy milk", ""),
    ("remind me in the morning", ""),
    ("is it in stock", ""),
    ("weather at 48.858, 2.294", "coordinates=48.858,2.294"),
    ("weather at 98.858, 2.294", "number=98.858 number=2.294"),
    # codes
    ("where is train 171", "code=171"),
    ("train number v60", "code=V60"),
    ("is flight DL123 late", "code=DL123"),
    ("is UA 331 delayed", "code=UA331"),
    ("track 1Z999AA10123456784", "code=1Z999AA10123456784"),
    # addresses and quotations
    ("summarize https://example.com/a?b=1.", "url=https://example.com/a?b=1"),
    ("open example.com please", "url=example.com"),
    ('email bob@example.com saying "I\'m late"', "email=bob@example.com quoted=I'm late"),
    ("text 415-555-0100 that I'm late", "phone=415-555-0100"),
    ("call +44 20 7946 0000", "phone=+44 20 7946 0000"),
    ("a note called “Ideas for May”", "quoted=Ideas for May"),
    # people and times
    ("lunch with Sam at 12:30", "person=Sam time=12:30:00"),
    ("invite Ana Lopez at 3pm", "person=Ana Lopez time=15:00:00"),
    ("meet at noon", "time=12:00:00"),
    ("call at 12 am", "time=00:00:00"),
    ("", ""),
]
KINDS = "amount currency ticker place number code url email phone coordinates quoted person time"


@pytest.mark.parametrize(("text", "expected"), VALUES)
def test_values_are_found_where_a_reader_would_see_them(text: str, expected: str) -> None:
    """Amounts, places, codes and names in a sentence are understood, and nothing is made up."""
    assert shown(text, KINDS) == expected


def test_the_direction_of_a_journey_is_kept() -> None:
    """From Boston to New York is not the way back."""
    cues = {f.value: f.cue for f in extract("from Boston to New York", NOW) if f.kind == "place"}
    assert cues == {"Boston": "from", "New York": "to"}


def test_numbers_know_what_they_count() -> None:
    """Two nights and five results are not confused."""
    found = extract("2 nights, 5 results", NOW)
    assert [(str(f.value), f.cue) for f in found] == [("2", "nights"), ("5", "results")]
