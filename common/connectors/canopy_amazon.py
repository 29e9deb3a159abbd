"""Amazon products through the Canopy API, an independent reader of the shop.

https://docs.canopyapi.co/

Quirks seen in November 2026:
- Prices are null for what cannot be bought; `display` follows the shop's language: never parsed.
- A result's `url` may be an advertisement's: the product's own address is built from its ASIN.
- Some answers lack the outer `data`; GraphQL-like `errors` may come with status 200.
- Answers take seconds, and every one costs quota.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

from msgspec import Meta

from common.errors import InvalidInput, NotFound, VendorRejected, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import (
    fitting,
    integer,
    number,
    plain,
    record,
    records,
    shorten,
    text,
    values,
)

CONNECTOR = Connector(
    name="Amazon",
    category="shopping",
    description="Searches products on Amazon and reads their prices, ratings and features.",
    examples=(
        "Find a quiet electric kettle on Amazon under 40 dollars.",
        "Search Amazon for noise cancelling headphones.",
        "Tell me more about the product B08N5WRWNW.",
        "What do people pay for a French press on Amazon?",
        "Find a kettle on Amazon.",
    ),
    keywords=words(
        "amazon, asin, buy, shop, shopping, product, products, prime, order, headphones, "
        "kettle, laptop, charger, book, gift, cheap, price, prices, rating, deal, purchase, "
        "cost, costs, cheaper, cheapest, gadget, toy, toys, present, presents, gifts, phone "
        "case, on sale, bargain, lowest, batteries, stars, television, appliance, watch, "
        "chess, set, sofa, chair, lamp, mattress, camera, backpack, shirt, vacuum, blender, "
        "keyboard, mouse, monitor, tablet, kindle, brand, model, sell, sells, seller, below, "
        "used, reviews, prime day, next-day, subscribe and, star rating, bestseller, "
        "bestsellers, asins, amazon basics, sold by, fire stick"
    ),
    hosts=("rest.canopyapi.co",),
    auth="key",
    secrets=("CANOPY_API_KEY",),
    capability="products",
    rank=20,
    attribution="Product data from Amazon, read by Canopy; prices may have changed",
    licence="Independent of Amazon",
)

API = "https://rest.canopyapi.co/api/amazon"
SHOPS = {
    "US": "www.amazon.com",
    "UK": "www.amazon.co.uk",
    "CA": "www.amazon.ca",
    "DE": "www.amazon.de",
    "FR": "www.amazon.fr",
    "IT": "www.amazon.it",
    "ES": "www.amazon.es",
    "AU": "www.amazon.com.au",
    "IN": "www.amazon.in",
    "MX": "www.amazon.com.mx",
    "BR": "www.amazon.com.br",
    "JP": "www.amazon.co.jp",
    "PL": "www.amazon.pl",
}

Shop: TypeAlias = Literal[
    "US", "UK", "CA", "DE", "FR", "IT", "ES", "AU", "IN", "MX", "BR", "JP", "PL"
]
Sort: TypeAlias = Literal[
    "FEATURED", "MOST_RECENT", "PRICE_ASCENDING", "PRICE_DESCENDING", "AVERAGE_CUSTOMER_REVIEW"
]
Price: TypeAlias = Annotated[float, Meta(ge=0, le=1e6)]
Limit: TypeAlias = Annotated[int, Meta(ge=1, le=10)]


class Product(TypedDict):
    """A product; `price` is in `currency`, None where it cannot be bought now."""

    asin: str
    title: str
    price: float | None
    currency: str
    price_shown: str
    rating: float | None
    ratings: int | None
    prime: bool
    advertisement: bool
    url: str


async def _get(ctx: ToolContext, path: str, name: str, **params: Any) -> dict[str, Any] | None:
    """Return the object `name` of the answer, None where it is null."""
    headers = {"API-KEY": ctx.secret("CANOPY_API_KEY")}
    reply = await ctx.http.get(
        f"{API}{path}", params=params, headers=headers, timeout_s=28, expect=(402,)
    )
    if reply.status == 402:
        raise VendorRejected("The Amazon searches of this month are used up.", vendor_status=402)
    body = record(reply.json())
    data = record(body.get("data")) or body
    if name not in data and "errors" not in body:
        raise VendorUnavailable("Amazon's answer cannot be read. Try again later.")
    return record(data.get(name)) or None


def _product(row: dict[str, Any], shop: str) -> Product:
    price, asin = record(row.get("price")), text(row.get("asin"))
    return Product(
        asin=asin,
        title=shorten(plain(row.get("title")), 160),
        price=number(price.get("value")),
        currency=text(price.get("currency")),
        price_shown=text(price.get("display")),
        rating=number(row.get("rating")),
        ratings=integer(row.get("ratingsTotal")),
        prime=row.get("isPrime") is True,
        advertisement=row.get("sponsored") is True,
        url=f"https://{SHOPS[shop]}/dp/{asin}",
    )


def _say(product: Product) -> str:
    price = product["price_shown"] or "no price now"
    if product["price"] is not None and not product["price_shown"]:
        price = f"{product['price']:,.2f} {product['currency']}".rstrip()
    stars = f", {product['rating']:g} stars" if product["rating"] else ""
    return f"{shorten(product['title'], 80)}, {price}{stars}"


def _sold(product: Product) -> bool:
    return bool(product["asin"] and product["title"]) and not product["advertisement"]


def _source(product: Product) -> Source:
    return Source(f"{shorten(product['title'], 60)} on Amazon", product["url"])


@tool(progress="Searching Amazon…", cache_s=3600, timeout_s=30)
async def search_amazon(
    ctx: ToolContext,
    *,
    query: str,
    shop: Shop = "US",
    min_price: Price | None = None,
    max_price: Price | None = None,
    sort: Sort = "FEATURED",
    limit: Limit = 6,
) -> ToolResult:
    """Search products on Amazon. Advertisements are left out.

    Args:
        query: What is looked for, such as "electric kettle".
        shop: The country's Amazon shop.
        min_price: Lowest price in the shop's currency; null for any.
        max_price: Highest price in the shop's currency; null for any.
        sort: Order of the results.
        limit: How many, 1 to 10.
    """
    if not query.strip():
        raise InvalidInput("query must say what product is looked for.")
    if min_price is not None and max_price is not None and min_price > max_price:
        raise InvalidInput("min_price is above max_price. Correct one of them.")
    found = await _get(
        ctx,
        "/search",
        "amazonProductSearchResults",
        searchTerm=query.strip(),
        domain=shop,
        minPrice=min_price,
        maxPrice=max_price,
        sort=None if sort == "FEATURED" else sort,
    )
    rows = records(record((found or {}).get("productResults")).get("results"))
    products = [p for row in rows if _sold(p := _product(row, shop))]
    shown = fitting(products[:limit])
    told = "; ".join(_say(product) for product in shown[:3])
    return ToolResult(
        response_type="amazon_products",
        data={"shop": shop, "products": shown},
        summary=f"On Amazon: {told}." if shown else f"Amazon has nothing for {query.strip()}.",
        sources=tuple(_source(product) for product in shown[:5]),
        untrusted=True,
    )


@tool(progress="Reading the product page…", cache_s=3600, timeout_s=30)
async def get_product_details(ctx: ToolContext, *, asin: str, shop: Shop = "US") -> ToolResult:
    """Read a product on Amazon: price, stock, rating, brand and features.

    Args:
        asin: Amazon's ten-character id of the product, as search_amazon gives it.
        shop: The country's Amazon shop.
    """
    wanted = asin.strip().upper()
    if not re.fullmatch("[A-Z0-9]{10}", wanted):
        raise InvalidInput("asin must be ten letters and digits. Find it with search_amazon.")
    row = await _get(ctx, "/product", "amazonProduct", asin=wanted, domain=shop)
    if row is None or not text(row.get("title")):
        raise NotFound("Amazon has no product of that id in that shop. Search for it first.")
    product = _product({"asin": wanted, **row}, shop)
    features = [shorten(plain(item), 300) for item in values(row.get("featureBullets"))][:8]
    available = row.get("isInStock")
    stock = "in stock" if available is True else "not in stock" if available is False else ""
    brand = text(row.get("brand"))
    return ToolResult(
        response_type="amazon_product",
        data={
            **product,
            "brand": brand,
            "in_stock": available if isinstance(available, bool) else None,
            "features": [item for item in features if item],
            "seller": text(record(row.get("seller")).get("name")),
            "coupon": text(record(row.get("coupon")).get("label")),
            "image": text(row.get("mainImageUrl")),
            "as_of": ctx.clock().isoformat(),
        },
        summary=", ".join(filter(None, (_say(product), stock, brand and f"by {brand}"))) + ".",
        sources=(_source(product),),
        untrusted=True,
    )
