"""Reads dates out of English: names of days, calendar dates, spans, and counts from today.

"next Friday" is the coming one unless that is less than three days off within this week: then
people say "this Friday" or "tomorrow", and mean the week after.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from common.tools.shapes import vocabulary


@dataclass(frozen=True, slots=True)
class Days:
    """A day, or the days from `first` to `last` inclusive."""

    first: dt.date
    last: dt.date


_MONTHS = dict(
    zip(
        vocabulary("jan feb mar apr may jun jul aug sep oct nov dec"),
        range(1, 13),
        strict=True,
    )
)
_WEEKDAYS = {day: i for i, day in enumerate(vocabulary("mon tue wed thu fri sat sun"))}
COUNTS = {
    word: i
    for i, word in enumerate(
        vocabulary("zero one two three four five six seven eight nine ten eleven twelve")
    )
}
COUNTS |= {"a": 1, "an": 1, "couple of": 2, "a couple of": 2, "few": 3, "a few": 3}
_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_WEEKDAY = (
    r"(?P<weekday>mon(?:day)?|tue(?:s(?:day)?)?|wed(?:nesday)?|thu(?:rs?(?:day)?)?|"
    r"fri(?:day)?|sat(?:urday)?|sun(?:day)?)"
)
_YEAR = r"(?:,?\s+(?P<year>(?:19|20)\d\d))?"
_DAY = r"(?P<day>[0-3]?\d)(?:st|nd|rd|th)?"
_COUNT = rf"(?P<count>\d+|{'|'.join(sorted(COUNTS, key=len, reverse=True))})"
_UNIT = r"(?P<unit>day|week|month|year)s?"


def _rule(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\b{pattern}(?!\w)", re.IGNORECASE)


def _one(day: dt.date) -> Days:
    return Days(day, day)


def _named_day(m: re.Match[str], today: dt.date) -> Days:
    year = int(m["year"]) if m["year"] else today.year
    day = dt.date(year, _MONTHS[m["month"][:3].lower()], int(m["day"]))
    # Without a year people mean the nearest such day, which is rarely far behind them.
    if not m["year"] and (today - day).days > 60:
        day = day.replace(year=year + 1)
    return _one(day)


def _weekday(m: re.Match[str], today: dt.date) -> Days:
    ahead = (_WEEKDAYS[m["weekday"][:3].lower()] - today.weekday()) % 7
    which = (m["which"] or "").lower()
    if which == "last":
        return _one(today - dt.timedelta((7 - ahead) % 7 or 7))
    if which == "next" and (ahead == 0 or (today.weekday() + ahead < 7 and ahead < 3)):
        ahead += 7
    return _one(today + dt.timedelta(ahead))


def _shift(day: dt.date, count: int, unit: str) -> dt.date:
    if unit in ("day", "week"):
        return day + dt.timedelta(count * (7 if unit == "week" else 1))
    months = day.year * 12 + day.month - 1 + count * (12 if unit == "year" else 1)
    first = dt.date(months // 12, months % 12 + 1, 1)
    return first + dt.timedelta(min(day.day, (_month_end(first)).day) - 1)


def _month_end(first: dt.date) -> dt.date:
    return (first.replace(day=28) + dt.timedelta(4)).replace(day=1) - dt.timedelta(1)


def _period(m: re.Match[str], today: dt.date) -> Days:
    which, unit = m["which"].lower(), m["period"].lower()
    step = {"this": 0, "next": 1, "last": -1, "past": -1, "coming": 1, "the": 0}[which]
    monday = today - dt.timedelta(today.weekday())
    if unit == "weekend":
        saturday = monday + dt.timedelta(5 + 7 * step)
        return Days(max(saturday, today) if step == 0 else saturday, saturday + dt.timedelta(1))
    if unit == "week":
        return Days(monday + dt.timedelta(7 * step), monday + dt.timedelta(7 * step + 6))
    if unit == "year":
        return Days(dt.date(today.year + step, 1, 1), dt.date(today.year + step, 12, 31))
    first = _shift(today.replace(day=1), step, "month")
    return Days(first, _month_end(first))


def _count(text: str) -> int:
    return int(text) if text.isdigit() else COUNTS[text.lower()]


def _relative(sign: int) -> Callable[[re.Match[str], dt.date], Days]:
    return lambda m, today: _one(_shift(today, sign * _count(m["count"]), m["unit"].lower()))


def _stretch(m: re.Match[str], today: dt.date) -> Days:
    other = _shift(
        today,
        _count(m["count"]) * (1 if m["way"].lower() in ("next", "coming") else -1),
        m["unit"].lower(),
    )
    return Days(min(today, other), max(today, other))


def _numeric(m: re.Match[str], today: dt.date) -> Days:
    year = int(m["year"] or today.year)
    month, day = int(m["a"]), int(m["b"])
    month, day = (day, month) if month > 12 else (month, day)
    return _one(dt.date(year + 2000 if year < 100 else year, month, day))


_DATES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], dt.date], Days]], ...] = (
    (_rule(r"(?P<iso>\d{4}-\d\d-\d\d)"), lambda m, _: _one(dt.date.fromisoformat(m["iso"]))),
    (_rule(r"the day after tomorrow|day after tomorrow"), lambda _, t: _one(t + dt.timedelta(2))),
    (_rule(r"the day before yesterday"), lambda _, t: _one(t - dt.timedelta(2))),
    (_rule(r"tomorrow|tmrw|tomorow|tommorow"), lambda _, t: _one(t + dt.timedelta(1))),
    (_rule(r"today|tonight|this (?:morning|afternoon|evening)"), lambda _, t: _one(t)),
    (_rule(r"yesterday|last night"), lambda _, t: _one(t - dt.timedelta(1))),
    (_rule(_MONTH + r"\s+(?:the\s+)?" + _DAY + _YEAR), _named_day),
    (_rule(_DAY + r"\s+(?:of\s+)?" + _MONTH + _YEAR), _named_day),
    (
        _rule(r"(?P<which>this|next|last|past|coming|the)\s+(?P<period>weekend|week|month|year)"),
        _period,
    ),
    (_rule(r"(?P<way>next|coming|last|past)\s+" + _COUNT + r"\s+" + _UNIT), _stretch),
    (_rule(r"in\s+" + _COUNT + r"\s+" + _UNIT), _relative(1)),
    (_rule(_COUNT + r"\s+" + _UNIT + r"\s+from\s+(?:now|today)"), _relative(1)),
    (_rule(_COUNT + r"\s+" + _UNIT + r"\s+ago"), _relative(-1)),
    (_rule(r"(?:(?P<which>this|next|last|coming)\s+)?" + _WEEKDAY), _weekday),
    (_rule(r"(?P<a>[0-3]?\d)/(?P<b>[0-3]?\d)(?:/(?P<year>\d{4}|\d\d))?"), _numeric),
)


def find_days(text: str, today: dt.date) -> Iterator[tuple[Days, int, int]]:
    """Yield each date in `text` with its start and end, counted from `today` where relative."""
    for pattern, read in _DATES:
        for m in pattern.finditer(text):
            if m[0].lower() in ("sun", "sat", "mon", "wed", "mar"):
                continue
            try:
                yield read(m, today), m.start(), m.end()
            except (ValueError, OverflowError):  # "February 30"
                continue
        text = pattern.sub(lambda m: "\x00" * len(m[0]), text)
