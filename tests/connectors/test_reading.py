"""Loosely typed JSON read without surprises."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidInput
from common.tools import reading

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3.0),
        ("1,204.5", 1204.5),
        (" 7 ", 7.0),
        ("N/A", None),
        ("", None),
        (None, None),
        (True, None),
        ("nan", None),
        (float("inf"), None),
        ([1], None),
        (10**400, None),
    ],
)
def test_number(value: object, expected: float | None) -> None:
    """Numbers come as text, and "N/A" or NaN is no number."""
    assert reading.number(value) == expected


def test_negative_zero_is_zero() -> None:
    """Nobody is told that it is minus zero degrees."""
    assert str(reading.number(-0.0)) == "0.0"


def test_plain_drops_markup() -> None:
    """Search hits read as text: tags gone, entities resolved."""
    assert reading.plain("a <b class='x'>bold</b>\n &amp; more") == "a bold & more"


@given(st.text(), st.integers(min_value=8, max_value=60))
def test_shorten_keeps_within_the_limit(value: str, limit: int) -> None:
    """A cut text fits its limit in bytes and shows that it was cut."""
    short = reading.shorten(value, limit)
    assert len(short.encode()) <= limit
    assert short == value or short.endswith("…")


def test_shorten_cuts_between_words() -> None:
    """Nobody reads half a word."""
    assert reading.shorten("one two three four", 14) == "one two…"


@given(JSON)
def test_nothing_a_vendor_sends_raises(value: object) -> None:
    """Any JSON at all is read, if only as nothing."""
    for read in (
        reading.number,
        reading.integer,
        reading.text,
        reading.record,
        reading.records,
        reading.values,
        reading.plain,
        reading.instant,
        reading.from_unix,
    ):
        read(value)


def test_unix_zero_is_no_time() -> None:
    """A stock that never traded has no trade in 1970."""
    assert reading.from_unix(0) is None
    assert reading.from_unix("1795208400") == dt.datetime(2026, 11, 20, 21, tzinfo=dt.UTC)


def test_a_wrong_date_names_its_argument() -> None:
    """The model learns which argument to write how."""
    assert reading.calendar_date(" 2026-11-23 ", "date") == dt.date(2026, 11, 23)
    with pytest.raises(InvalidInput, match="date must be a date such as"):
        reading.calendar_date("tomorrow", "date")


def test_a_list_is_cut_to_what_fits() -> None:
    """A long list loses its last items, not its place in the answer."""
    assert reading.fitting(["aaaa", "bbbb", "cccc"], 14) == ["aaaa", "bbbb"]
    assert reading.fitting([], 5) == []
