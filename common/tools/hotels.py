"""Looking for hotels: what every provider of `get_hotel_prices` is asked and answers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

from msgspec import Meta

from common.errors import InvalidInput
from common.tools.context import ToolContext
from common.tools.declare import Source, ToolResult
from common.tools.reading import calendar_date, shorten, spoken_date

Guests: TypeAlias = Annotated[int, Meta(ge=1, le=9)]
HotelSort: TypeAlias = Literal["relevance", "price", "rating"]


class Hotel(TypedDict):
    """A hotel; prices are in `currency`, None when sold out; `rating` is of 5."""

    name: str
    price_per_night: float | None
    price_total: float | None
    currency: str
    rating: float | None
    review_count: int | None
    stars: int | None
    amenities: list[str]
    latitude: float | None
    longitude: float | None
    id: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """Where and which nights, checked."""

    place: str
    arrive: dt.date
    leave: dt.date

    @property
    def nights(self) -> int:
        """How many nights."""
        return (self.leave - self.arrive).days

    @property
    def spoken(self) -> str:
        """The stay as one says it."""
        return f"in {self.place} from {spoken_date(self.arrive)} to {spoken_date(self.leave)}"


def stay_of(ctx: ToolContext, place: str, *, check_in: str, check_out: str) -> Stay:
    """Check the arguments of a search; InvalidInput says which one to correct."""
    if not place.strip():
        raise InvalidInput("location must name a city, a district or a landmark.")
    arrive = calendar_date(check_in, "check_in_date")
    leave = calendar_date(check_out, "check_out_date")
    if arrive < ctx.local_now().date() - dt.timedelta(1):  # it is still that day somewhere
        raise InvalidInput("check_in_date is in the past. Give a day to come.")
    if not arrive < leave <= arrive + dt.timedelta(60):
        raise InvalidInput("check_out_date must be 1 to 60 days after check_in_date.")
    return Stay(place=place.strip(), arrive=arrive, leave=leave)


def hotel_result(
    stay: Stay, hotels: Iterable[Hotel], *, provider: str, source: Source, **more: Any
) -> ToolResult:
    """Show the hotels in their order, those without a price last; `more` joins the data."""
    every = sorted(hotels, key=lambda hotel: hotel["price_per_night"] is None)
    told = "; ".join(_say(hotel) for hotel in every[:3])
    return ToolResult(
        response_type="hotel_prices",
        data={
            "provider": provider,
            "location": stay.place,
            "nights": stay.nights,
            "check_in_date": stay.arrive.isoformat(),
            "check_out_date": stay.leave.isoformat(),
            "hotels": every[:6],
            **more,
        },
        summary=shorten(f"Hotels {stay.spoken}: {told}.", 480)
        if told
        else shorten(f"No hotel was found {stay.spoken}", 480) + ".",
        sources=(source,),
        untrusted=True,  # hotels are called what their owners write
    )


def _say(hotel: Hotel) -> str:
    night, total = hotel["price_per_night"], hotel["price_total"]
    cost = (
        "no price"
        if night is None
        else " ".join(filter(None, (f"{night:,.0f}", hotel["currency"], "a night")))
    )
    if total is not None and total != night:
        cost += f" ({total:,.0f} in all)"
    rated = f", rated {hotel['rating']:g} of 5" if hotel["rating"] else ""
    return f"{hotel['name']}, {cost}{rated}"
