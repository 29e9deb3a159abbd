"""When something happens again, on the wall clock of the user's zone.

"Every day at eight" is at eight whatever the zone does with its clocks. A time that a change of
clocks skips happens as long after the day's start as it would have without it (02:30 becomes
03:30), one that occurs twice happens the first time, as RFC 5545 has it. A month without the day
asked for has it on its last one: the 31st of April is the 30th, 29 February is the 28th.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeAlias, get_args
from zoneinfo import ZoneInfo

from common.errors import InvalidInput

Every: TypeAlias = Literal["once", "day", "week", "month", "year"]
_DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MOST_TRIES = 4  # the first may lie just behind, and so may one that a change of clocks moved


@dataclass(frozen=True, slots=True)
class Rule:
    """At `at` on the wall clock of `zone`, from the day `start` on.

    `days` are the weekdays of "week", Monday being 0; without any it is that of `start`.
    """

    every: Every
    at: dt.time
    start: dt.date
    zone: str
    days: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.every not in get_args(Every):
            raise InvalidInput(f"every is one of {', '.join(get_args(Every))}.")
        if any(day not in range(7) for day in self.days):
            raise InvalidInput("days are 0 (Monday) to 6 (Sunday).")

    def next(self, after: dt.datetime) -> dt.datetime | None:
        """Return the first moment behind `after`, in UTC; None where there is none."""
        moments = (instant(day, self.at, self.zone) for day in self._dates(after))
        return next((moment for moment in islice(moments, _MOST_TRIES) if moment > after), None)

    def words(self) -> str:
        """Return the rule as one says it, such as "every Monday at 08:00"."""
        at = f"at {self.at:%H:%M}"
        match self.every:
            case "once":
                return f"on {self.start:%A, %Y-%m-%d} {at}"
            case "day":
                return f"every day {at}"
            case "week":
                named = [_DAY_NAMES[day] for day in sorted(self.days or (self.start.weekday(),))]
                return f"every {', '.join(named)} {at}"
            case "month":
                return f"every month on day {self.start.day} {at}"
        return f"every year on {self.start:%d %B} {at}"

    def _dates(self, after: dt.datetime) -> Iterator[dt.date]:
        """Yield the days of the rule from a little before `after` on."""
        # A day before: what a skipped hour moved may lie behind the date it belongs to.
        local = after.astimezone(ZoneInfo(self.zone)).date() - dt.timedelta(1)
        first = max(self.start, local)
        if self.every == "once":
            yield self.start
            return
        if self.every in ("day", "week"):
            days = self.days or (self.start.weekday(),)
            for ahead in range((dt.date.max - first).days):
                day = first + dt.timedelta(ahead)
                if self.every == "day" or day.weekday() in days:
                    yield day
            return
        month = first.year * 12 + first.month - 1
        while month < 9999 * 12:
            year, number = divmod(month, 12)
            if self.every == "month" or number + 1 == self.start.month:
                last = calendar.monthrange(year, number + 1)[1]
                day = dt.date(year, number + 1, min(self.start.day, last))
                if day >= self.start:
                    yield day
            month += 1


def instant(day: dt.date, at: dt.time, zone: str) -> dt.datetime:
    """Return the moment in UTC at which the wall clock of `zone` shows `at` on `day`."""
    # With fold 0 the zone reads a skipped time by the clock from before the change, and of two
    # equal ones takes the first.
    return dt.datetime.combine(day, at, ZoneInfo(zone)).astimezone(dt.UTC)
