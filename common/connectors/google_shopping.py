"""Google Shopping through SerpApi: what a product costs in which shops.

https://serpapi.com/google-shopping-api

Quirks seen in November 2026:
- `extracted_price` has no currency: the sign in `price` or the country tells it.
- A merchant's own link is usually absent: `product_link` opens Google's page.
- Rows may lie in `shopping_results`, `inline_shopping_results` or under categories.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, TypedDict

from msgspec import Meta

from common.errors import InvalidInput
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import fitting, integer, number, plain, records, shorten, text
from common.tools.serpapi import serpapi

CONNECTOR = Connector(
    name="Google Shopping",
    category="shopping",
    description="Compares prices of products across shops.",
    examples=(
        "Compare prices for a Nintendo Switch.",
        "Where can I buy running shoes for less than 80 dollars?",
        "Which store has the cheapest camp stove?",
        "Compare prices for a tent.",
    ),
    keywords=words(
        "shopping, google shopping, compare, price, prices, store, stores, cheapest, buy, "
        "product, products, deal, deals, sale, retailer, merchant, shoes, discount, purchase, "
        "cheap, cheaper, cost, costs, costing, on sale, in stock, lowest, shop, shops, gift, "
        "gifts, present, presents, for sale, price tag, bargain, offer, offers, clothes, "
        "jacket, gadget, toy, toys, phone case, laptop, television, appliance, under, watch, "
        "chess, set, sofa, chair, table, lamp, mattress, bike, camera, headphones, backpack, "
        "dress, shirt, boots, coat, perfume, vacuum, blender, furniture, tool, tools, brand, "
        "model, below, affordable, budget, looking for, worth buying, used, new, a good, "
        "seller, sells, price check, price for, trainers, sneakers, sandals, jeans, socks, "
        "best price, best deal, cheapest place, on offer, second hand, secondhand, "
        "refurbished, gift for, present for, airpods, iphone, ps5, xbox, console, tv, tvs, "
        "cooker, fryer, airfryer, kettle, fridge, freezer, washer, dryer, dishwasher, oven, "
        "microwave, toaster, iron, monitor, printer, router, speaker, earbuds, charger, "
        "cable, power bank, drone, scooter, stroller, crib, tent, sleeping bag, suitcase, "
        "luggage, sunglasses, necklace, ring, makeup, shampoo, rug, curtains, pillow, "
        "blanket, grill, drill, ladder, desk, tyres, tires, treadmill, guitar, piano, lego, "
        "puzzle, can i, where can, get a, size, color, spend, find me, how much, go for, "
        "going for, cost of, hairdryer, hairdryers, dyson, does it, price range, where to, to "
        "buy, prices of, sells for, machine, espresso, online shop, a decent, best place, who "
        "sells, wheres the, size 10, waterproof"
    ),
    hosts=("serpapi.com",),
    auth="key",
    secrets=("SERPAPI_API_KEY",),
    capability="products",
    rank=10,
    attribution="Results from Google Shopping; each shop is named",
    licence="Prices may be stale",
)

HOME = Source("Google Shopping", "https://www.google.com/shopping")

Price: TypeAlias = Annotated[float, Meta(ge=0, le=1e6)]
Limit: TypeAlias = Annotated[int, Meta(ge=1, le=10)]
Order: TypeAlias = Literal["relevance", "price_low_to_high", "price_high_to_low"]
SORTS: dict[Order, str | None] = {
    "relevance": None,
    "price_low_to_high": "1",
    "price_high_to_low": "2",
}


class Offer(TypedDict):
    """A product in a shop; `price_shown` has the currency's sign, `price` is its number."""

    title: str
    shop: str
    price: float | None
    price_shown: str
    was: str
    rating: float | None
    reviews: int | None
    delivery: str
    condition: str
    url: str


def _offer(row: dict[str, Any]) -> Offer:
    link = text(row.get("link")) or text(row.get("product_link"))
    return Offer(
        title=shorten(plain(row.get("title")), 160),
        shop=text(row.get("source")),
        price=number(row.get("extracted_price")),
        price_shown=text(row.get("price")),
        was=text(row.get("old_price")),
        rating=number(row.get("rating")),
        reviews=integer(row.get("reviews")),
        delivery=text(row.get("delivery")),
        condition=text(row.get("second_hand_condition")),
        url=link if link.startswith("https://") else "",
    )


def _rows(body: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [
        *records(body.get("shopping_results")),
        *records(body.get("inline_shopping_results")),
        *(
            row
            for group in records(body.get("categorized_shopping_results"))
            for row in records(group.get("shopping_results"))
        ),
    ]
    unique: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = text(row.get("product_id")) or f"{row.get('title')} {row.get('source')}"
        unique.setdefault(name, row)
    return list(unique.values())


@tool(progress="Searching Google Shopping…", cache_s=3600, timeout_s=25)
async def get_google_products(
    ctx: ToolContext,
    *,
    query: str,
    country: str = "us",
    min_price: Price | None = None,
    max_price: Price | None = None,
    sort_by: Order = "relevance",
    limit: Limit = 8,
) -> ToolResult:
    """Find a product's offers in many shops with Google Shopping, to compare prices.

    Args:
        query: The product, such as "camp stove".
        country: Two-letter code of the country to shop in, such as us or uk.
        min_price: Lowest price in the local currency; null for any.
        max_price: Highest price in the local currency; null for any.
        sort_by: Order of the offers.
        limit: How many, 1 to 10.
    """
    where = country.strip().lower()
    if not query.strip():
        raise InvalidInput("query must say what product is looked for.")
    if len(where) != 2 or not where.isalpha():
        raise InvalidInput("country must be a two-letter code such as us or uk.")
    if min_price is not None and max_price is not None and min_price > max_price:
        raise InvalidInput("min_price is above max_price. Correct one of them.")
    body = await serpapi(
        ctx,
        "google_shopping",
        q=query.strip(),
        gl="uk" if where == "gb" else where,
        hl="en",
        min_price=min_price,
        max_price=max_price,
        sort_by=SORTS[sort_by],
    )
    offers = [offer for row in _rows(body) if (offer := _offer(row))["title"]]
    offers = fitting(offers[:limit])
    told = "; ".join(
        ", ".join(
            filter(
                None,
                (
                    shorten(offer["title"], 70),
                    offer["price_shown"] or "no price",
                    offer["condition"],
                    offer["shop"] and f"at {offer['shop']}",
                ),
            )
        )
        for offer in offers[:3]
    )
    sources = tuple(
        Source(f"{shorten(o['title'], 60)} ({o['shop']})", o["url"]) for o in offers if o["url"]
    )
    return ToolResult(
        response_type="google_products",
        data={"country": where, "products": offers},
        summary=f"On Google Shopping: {told}."
        if offers
        else f"Google Shopping found no {query.strip()}.",
        sources=sources[:5] or (HOME,),
        untrusted=True,
    )
