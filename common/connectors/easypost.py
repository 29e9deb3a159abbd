"""EasyPost: where a parcel is, whoever carries it.

https://docs.easypost.com/docs/trackers

Quirks seen in November 2026:
- To look is to create a tracker; the same code again within three months returns the first one,
  which makes the call safe to repeat. A new tracker is often "unknown" for some minutes.
- Status `error` with a "ProcessingError" is a code the carrier does not know; so is any real code
  under a test key.
- Scan times end in "Z" but are the local clock where the place is known: dates are told, no times.
- One code may have several trackers: the newest that is not in error counts.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeAlias, TypedDict

from msgspec import Meta

from common.errors import InvalidInput, NotFound, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import (
    fitting,
    instant,
    plain,
    record,
    records,
    shorten,
    spoken_date,
    text,
)

CONNECTOR = Connector(
    name="EasyPost",
    personal=True,
    category="shopping",
    description="Tracks parcels of USPS, UPS, FedEx, DHL and other carriers.",
    examples=(
        "Where is my package 9400100000000000000000?",
        "Track 1Z999AA10123456784 with UPS.",
        "Show all my packages.",
    ),
    keywords=words(
        "package, packages, parcel, parcels, track, tracking, shipment, shipped, delivery, "
        "delivered, courier, carrier, usps, ups, fedex, dhl, mail, easypost, arrive, ship, "
        "ships, shipping, shipments, order arrive, my order, my delivery, deliver, "
        "delivering, post, postal, box, in transit, on its, waiting for, lasership, ontrac, "
        "canada post, royal mail, tracking number, arrived, return label, late, stuck, lost, "
        "where is, my fedex, my ups, my usps, my dhl, parcel from, express, label, shipper, "
        "letter, on time, delivery date, out for, customs, received, turned up, my stuff, "
        "shown up, show up, where my, parcels are, deliveries, lost in, with ups, with fedex, "
        "with dhl, get here, here yet, mailman, postman, tracking no, track my, package "
        "getting, being delivered, out there, awaiting, waybill"
    ),
    hosts=("api.easypost.com",),
    auth="key",
    secrets=("EASYPOST_API_KEY",),
    per_second=4,
    attribution="Tracking by EasyPost",
    licence="Trackers may be billed",
)

API = "https://api.easypost.com/v2"
SOURCE = Source("EasyPost", "https://www.easypost.com/")
SHIPPED = {
    "unknown": "not known to the carrier yet",
    "pre_transit": "announced, not handed over yet",
    "in_transit": "on its way",
    "out_for_delivery": "out for delivery",
    "delivered": "delivered",
    "available_for_pickup": "ready to be picked up",
    "return_to_sender": "going back to its sender",
    "failure": "not deliverable",
    "cancelled": "cancelled",
    "error": "not known to the carrier",
}

Limit: TypeAlias = Annotated[int, Meta(ge=1, le=20)]


class Scan(TypedDict):
    """One scan of a parcel; `date` is local to the place."""

    date: str
    message: str
    place: str
    status: str


class Parcel(TypedDict):
    """A parcel being tracked, its newest scans first."""

    id: str
    tracking_code: str
    carrier: str
    status: str
    expected_delivery: str
    signed_by: str
    scans: list[Scan]
    url: str


async def _call(ctx: ToolContext, method: str, **same: Any) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {ctx.secret('EASYPOST_API_KEY')}"}
    # Creating is repeatable: the vendor returns the tracker it has.
    reply = await ctx.http.request(
        method,
        f"{API}/trackers",
        headers=headers,
        timeout_s=14,
        idempotent=True,
        expect=(400, 404, 422),
        **same,
    )
    if reply.status >= 400:
        raise NotFound("EasyPost does not accept that tracking code. Check it and its carrier.")
    return record(reply.json())


def _scan(row: dict[str, Any]) -> Scan:
    place = record(row.get("tracking_location"))
    parts = (text(place.get(field)) for field in ("city", "state", "country"))
    return Scan(
        date=text(row.get("datetime"))[:10],
        message=shorten(plain(row.get("message")), 160),
        place=", ".join(filter(None, parts)),
        status=text(row.get("status")),
    )


def _parcel(row: dict[str, Any], *, scans: int) -> Parcel:
    newest = sorted(
        records(row.get("tracking_details")), key=lambda r: text(r.get("datetime")), reverse=True
    )
    url = text(row.get("public_url"))
    return Parcel(
        id=text(row.get("id")),
        tracking_code=text(row.get("tracking_code")),
        carrier=text(row.get("carrier")),
        status=text(row.get("status")) or "unknown",
        expected_delivery=text(row.get("est_delivery_date"))[:10],
        signed_by=text(row.get("signed_by")),
        scans=[_scan(detail) for detail in newest[:scans]],
        url=url if url.startswith("https://") else "",
    )


def _day(value: str) -> str:
    moment = instant(value)
    return spoken_date(moment.date()) if moment else ""


def _say(parcel: Parcel) -> str:
    code = parcel["tracking_code"]
    carrier = f" with {parcel['carrier']}" if parcel["carrier"] else ""
    told = [
        f"{f'Package {code}' if code else 'A package'}{carrier} is "
        f"{SHIPPED.get(parcel['status'], parcel['status'].replace('_', ' '))}"
    ]
    if parcel["scans"]:
        scan = parcel["scans"][0]
        at = f" in {scan['place']}" if scan["place"] else ""
        day = f" on {_day(scan['date'])}" if _day(scan["date"]) else ""
        told.append(f"last scan{day}{at}: {scan['message'] or scan['status'] or 'no details'}")
    if parcel["status"] not in ("delivered", "error") and _day(parcel["expected_delivery"]):
        told.append(f"expected on {_day(parcel['expected_delivery'])}")
    return "; ".join(told)


def _sources(parcels: list[Parcel]) -> tuple[Source, ...]:
    found = [Source(f"Tracking of {p['tracking_code']}", p["url"]) for p in parcels if p["url"]]
    return tuple(found[:5]) or (SOURCE,)


@tool(progress="Tracking your package…", timeout_s=15)
async def get_tracking_info_with_easypost(
    ctx: ToolContext, *, tracking_code: str, carrier: str | None = None
) -> ToolResult:
    """Tell where a parcel is and when it is expected, from its tracking code.

    Args:
        tracking_code: The code on the label or in the shop's mail.
        carrier: The carrier's name, such as USPS or FedEx; null to find it out.
    """
    code = re.sub(r"[\s-]", "", tracking_code).upper()
    if not re.fullmatch("[A-Z0-9]{6,40}", code):
        raise InvalidInput("tracking_code must be 6 to 40 letters and digits, as on the label.")
    tracker = {"tracking_code": code, **({"carrier": carrier.strip()} if carrier else {})}
    row = await _call(ctx, "POST", json={"tracker": tracker})
    if not text(row.get("id")):
        raise VendorUnavailable("EasyPost sent no tracking. Try again later.")
    parcel = _parcel(row, scans=8)
    return ToolResult(
        response_type="package_tracking",
        data=parcel,
        summary=f"{_say(parcel)}.",
        sources=_sources([parcel]),
    )


@tool(progress="Loading your packages…", timeout_s=15)
async def get_all_packages_with_easypost(ctx: ToolContext, *, limit: Limit = 10) -> ToolResult:
    """List the parcels being tracked, newest first.

    Args:
        limit: How many, 1 to 20.
    """
    body = await _call(ctx, "GET", params={"page_size": 100})
    if "trackers" not in body:
        raise VendorUnavailable("EasyPost sent no packages. Try again later.")
    unique: dict[str, Parcel] = {}
    for parcel in (_parcel(row, scans=1) for row in records(body["trackers"])):
        known = unique.get(parcel["tracking_code"])
        if known is None or (known["status"] == "error" and parcel["status"] != "error"):
            unique[parcel["tracking_code"]] = parcel
    parcels = fitting(list(unique.values())[:limit])
    told = ". ".join(map(_say, parcels[:3]))
    return ToolResult(
        response_type="package_list",
        data={"packages": parcels, "total": len(unique)},
        summary=shorten(f"{told}.", 480) if parcels else "No packages are being tracked.",
        sources=_sources(parcels),
    )
