"""Looking for flights: what every provider of `get_flight_info` is asked and answers.

The providers are interchangeable, so that arguments are checked and offers are shown in one way.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

from msgspec import Meta

from common.errors import InvalidInput
from common.tools.context import ToolContext
from common.tools.declare import Source, ToolResult
from common.tools.reading import calendar_date, records, shorten, spoken_date, text, values

Travellers: TypeAlias = Annotated[int, Meta(ge=1, le=9)]
Cabin: TypeAlias = Literal["economy", "premium_economy", "business", "first"]
_LEGS = 12  # legs that fit into one answer beside everything else


class Leg(TypedDict):
    """One flight; times are local to each airport, without an offset."""

    flight: str
    airline: str
    origin: str
    departs: str
    destination: str
    arrives: str


class Offer(TypedDict):
    """A way to fly; `price` is for all travellers and the whole trip, None where unknown."""

    price: float | None
    currency: str
    duration_minutes: int | None
    stops: int
    legs: list[Leg]
    return_legs: list[Leg]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """What is looked for, checked: airport codes and days."""

    origin: str
    destination: str
    leave: dt.date
    home: dt.date | None

    @property
    def spoken(self) -> str:
        """The trip as one says it."""
        back = f", back on {spoken_date(self.home)}" if self.home else ""
        return f"{self.origin} to {self.destination} on {spoken_date(self.leave)}{back}"


def trip_of(
    ctx: ToolContext, origin: str, destination: str, *, leave: str, home: str | None
) -> Trip:
    """Check the arguments of a search; InvalidInput says which one to correct."""
    start, end = _airport(origin, "origin"), _airport(destination, "destination")
    if start == end:
        raise InvalidInput("origin and destination are the same airport. Correct one of them.")
    first = calendar_date(leave, "departure_date")
    last = calendar_date(home, "return_date") if home else None
    if first < ctx.local_now().date() - dt.timedelta(1):  # it is still that day somewhere
        raise InvalidInput("departure_date is in the past. Give a day to come.")
    if last and last < first:
        raise InvalidInput("return_date is before departure_date. Correct one of them.")
    return Trip(origin=start, destination=end, leave=first, home=last)


def currency_code(value: str) -> str:
    """Return an ISO 4217 code in capitals; InvalidInput for anything else."""
    code = value.strip().upper()
    if not re.fullmatch("[A-Z]{3}", code):
        raise InvalidInput("currency must be a three-letter code, such as USD.")
    return code


def leg(
    *,
    flight: object,
    airline: object,
    origin: object,
    departs: object,
    destination: object,
    arrives: object,
) -> Leg:
    """Make a leg of whatever a vendor sends; "2027-03-04 07:25" is a time as well."""
    return Leg(
        flight=shorten(text(flight), 12),
        airline=shorten(text(airline), 40),
        origin=text(origin)[:4],
        departs=text(departs).replace(" ", "T")[:16],
        destination=text(destination)[:4],
        arrives=text(arrives).replace(" ", "T")[:16],
    )


def segments(value: object) -> list[dict[str, Any]]:
    """Return the flights of a way; none where one cannot be read, as a gap would hide a stop."""
    found = records(value)
    return found if len(found) == len(values(value)) else []


def minutes(duration: object) -> int | None:
    """Read an ISO 8601 duration: "P1DT2H5M" is 1565."""
    match = re.fullmatch(
        r"P(?:(\d{1,3})D)?(?:T(?:(\d{1,4})H)?(?:(\d{1,5})M)?(?:\d+S)?)?", text(duration)
    )
    if not match or not any(match.groups()):
        return None
    days, hours, rest = (int(part or 0) for part in match.groups())
    return days * 1440 + hours * 60 + rest


def flight_result(
    trip: Trip,
    offers: Iterable[Offer],
    *,
    provider: str,
    source: Source,
    remark: str = "",
    **more: Any,
) -> ToolResult:
    """Show the offers, the cheapest first; `remark` is said after them, `more` joins the data."""
    every = sorted(offers, key=lambda offer: (offer["price"] is None, offer["price"]))
    told = "; ".join(_say(offer) for offer in every[:3])
    shown: list[Offer] = []
    for offer in every[:6]:
        used = sum(len(o["legs"]) + len(o["return_legs"]) for o in [*shown, offer])
        if shown and used > _LEGS:
            break
        shown.append(
            {
                **offer,
                "legs": offer["legs"][:6],
                "return_legs": offer["return_legs"][:6],
            }
        )
    return ToolResult(
        response_type="flight_offers",
        data={
            "provider": provider,
            "origin": trip.origin,
            "destination": trip.destination,
            "departure_date": trip.leave.isoformat(),
            "return_date": trip.home.isoformat() if trip.home else "",
            "offers": shown,
            "note": "Times are local to each airport; prices are for all travellers.",
            **more,
        },
        summary=shorten(f"Flights {trip.spoken}: {told}{remark}.", 480)
        if told
        else f"{provider} has no flights {trip.spoken}.",
        sources=(source,),
    )


def _airport(value: str, field: str) -> str:
    code = value.strip().upper()
    if not re.fullmatch("[A-Z]{3}", code):
        raise InvalidInput(f"{field} must be the three-letter code of an airport, such as JFK.")
    return code


def _say(offer: Offer) -> str:
    first, last, stops = offer["legs"][0], offer["legs"][-1], offer["stops"]
    way = "nonstop" if not stops else f"{stops} stop{'s' if stops > 1 else ''}"
    price = offer["price"]
    cents = 2 if price is not None and price % 1 else 0
    cost = "price unknown" if price is None else f"{price:,.{cents}f} {offer['currency']}".strip()
    carrier = f"{first['airline']} {first['flight']}".strip() or "an unnamed flight"
    leaves, arrives = first["departs"][-5:], last["arrives"][-5:]
    times = f"{leaves} to {arrives}" if leaves and arrives else "times unknown"
    return f"{carrier}, {times}, {way}, {cost}"
