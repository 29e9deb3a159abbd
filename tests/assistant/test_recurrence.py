"""When something happens again: the wall clock rules, whatever the zone does with its clocks."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.assistant.recurrence import Every, Rule, instant
from common.errors import InvalidInput

ZONES = ("UTC", "America/New_York", "Europe/Paris", "Australia/Lord_Howe", "Pacific/Apia",
         "America/Santiago", "Africa/Casablanca", "Asia/Tehran")  # fmt: skip


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def first(rule: Rule, after: str, count: int = 3) -> list[str]:
    """Return the first moments behind `after`, as the wall clock of the rule's zone shows them."""
    found, moment = [], utc(after)
    for _ in range(count):
        following = rule.next(moment)
        if following is None:
            break
        found.append(f"{following.astimezone(ZoneInfo(rule.zone)):%m-%d %H:%M%z}")
        moment = following
    return found


def rule(every: Every, at: str, start: str, zone: str = "UTC", *days: int) -> Rule:
    return Rule(every, dt.time.fromisoformat(at), dt.date.fromisoformat(start), zone, days)


NEW_YORK = "America/New_York"


@pytest.mark.parametrize(
    ("made", "after", "expected"),
    [
        # clocks go forward on 14 March 2027: 02:30 is skipped
        (rule("day", "02:30", "2027-03-13", NEW_YORK), "2027-03-13T00:00",
         ["03-13 02:30-0500", "03-14 03:30-0400", "03-15 02:30-0400"]),
        (rule("day", "08:00", "2027-03-13", NEW_YORK), "2027-03-13T00:00",
         ["03-13 08:00-0500", "03-14 08:00-0400", "03-15 08:00-0400"]),
        # and back on 7 November 2027: 01:30 comes twice and counts once
        (rule("day", "01:30", "2027-11-06", NEW_YORK), "2027-11-06T00:00",
         ["11-06 01:30-0400", "11-07 01:30-0400", "11-08 01:30-0500"]),
        (rule("once", "01:30", "2027-11-07", NEW_YORK), "2027-11-06T00:00", ["11-07 01:30-0400"]),
        (rule("month", "09:00", "2027-01-31"), "2027-01-31T09:00",
         ["02-28 09:00+0000", "03-31 09:00+0000", "04-30 09:00+0000"]),
        (rule("month", "09:00", "2028-01-30"), "2028-02-01T00:00", ["02-29 09:00+0000"]),
        (rule("year", "09:00", "2028-02-29"), "2028-02-29T09:00",
         ["02-28 09:00+0000", "02-28 09:00+0000", "02-28 09:00+0000"]),
        (rule("week", "07:00", "2026-11-22", "UTC", 0, 4), "2026-11-22T12:00",
         ["11-23 07:00+0000", "11-27 07:00+0000", "11-30 07:00+0000"]),
        (rule("week", "07:00", "2026-11-22"), "2026-11-22T12:00", ["11-29 07:00+0000"]),
        (rule("day", "00:00", "2027-12-31"), "2027-12-31T00:00", ["01-01 00:00+0000"]),
        (rule("once", "09:00", "2026-11-22"), "2026-11-22T09:00", []),
        # Lord Howe moves its clocks by half an hour
        (rule("day", "02:15", "2026-10-03", "Australia/Lord_Howe"), "2026-10-02T16:00",
         ["10-04 02:45+1100", "10-05 02:15+1100"]),
    ],
)  # fmt: skip
def test_the_wall_clock_rules(made: Rule, after: str, expected: list[str]) -> None:
    """Skipped and doubled hours, short months, leap days and year's end have one answer each."""
    assert first(made, after, len(expected) or 1) == expected


@given(
    every=st.sampled_from(["day", "week", "month", "year"]),
    at=st.times().map(lambda time: time.replace(second=0, microsecond=0)),
    start=st.dates(dt.date(2024, 1, 1), dt.date(2030, 12, 31)),
    zone=st.sampled_from(ZONES),
    days=st.sets(st.integers(0, 6)),
    later=st.integers(0, 4 * 366 * 86_400),
)
@settings(deadline=None)
def test_occurrences_rise_and_none_is_left_out(
    every: Every, at: dt.time, start: dt.date, zone: str, days: set[int], later: int
) -> None:
    """From any moment on, what follows comes in order, on the days and at the time asked for."""
    made = Rule(every, at, start, zone, tuple(days) if every == "week" else ())
    moment = instant(start, at, zone) - dt.timedelta(1) + dt.timedelta(seconds=later)
    found = []
    for _ in range(6):
        following = made.next(moment)
        assert following is not None and following > moment
        found.append(following)
        moment = following
    local = [each.astimezone(ZoneInfo(zone)) for each in found]
    for one, other in pairwise(local):
        least, most = {"day": (1, 2), "week": (1, 7), "month": (28, 31), "year": (365, 366)}[every]
        assert least <= (other.date() - one.date()).days <= most
    for each in local:
        ahead = dt.datetime.combine(each.date(), each.time()) - dt.datetime.combine(each.date(), at)
        assert dt.timedelta(0) <= ahead <= dt.timedelta(hours=1)  # or the clocks skipped it
        if every == "week":
            assert each.weekday() in (days or {start.weekday()})


def test_a_rule_is_checked_and_said() -> None:
    """What no calendar has is refused; the others can be read aloud."""
    with pytest.raises(InvalidInput):
        rule("week", "07:00", "2026-11-22", "UTC", 7)
    with pytest.raises(InvalidInput):
        rule("fortnight", "07:00", "2026-11-22")  # type: ignore[arg-type]
    assert rule("week", "07:00", "2026-11-22", "UTC", 0, 4).words() == (
        "every Monday, Friday at 07:00"
    )
    assert rule("year", "09:00", "2028-02-29").words() == "every year on 29 February at 09:00"
