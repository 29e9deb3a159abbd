"""Instacart: pages from which a shopping list or a recipe's ingredients can be ordered.

https://docs.instacart.com/developer_platform_api/

It makes links only: no prices, stock, cart or order; the user picks a shop and pays there. Quirks
seen in November 2026:
- Development keys work on the development host only, whose pages cannot be ordered from:
  INSTACART_DEVELOPMENT=true.
- `expires_in` counts days. Measures are called differently for lists and for recipes.
- The address carries affiliate parameters: it is passed on byte for byte.
- Anyone with the link can open a page: it holds products, nothing about the user.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, TypedDict

from msgspec import Meta

from common.errors import InvalidInput, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool, words
from common.tools.reading import record, records, shorten, text

CONNECTOR = Connector(
    name="Instacart",
    category="shopping",
    description="Makes grocery shopping lists and recipe pages to order from at local shops.",
    examples=(
        "Make an Instacart list with milk, eggs and two pounds of apples.",
        "I want to order the ingredients for lasagna.",
        "Which grocery stores deliver to 94105?",
        "Make a list with milk and eggs.",
    ),
    keywords=words(
        "instacart, grocery, groceries, shopping list, recipe, ingredients, cook, cooking, "
        "supermarket, milk, eggs, bread, vegetables, fruit, pantry, grocer, food, shopping, "
        "food delivery, deliver, stores, grocers, produce, butter, flour, cheese, meat, "
        "chicken, rice, pasta, snacks, household, recipes, ingredient, dinner, meal, meals, "
        "meal plan, bake, baking, cart, basket, supermarkets, shopping cart, barbecue, order "
        "food, cook dinner, buns, burgers, salad, soup, stew, cake, cookies, curry, noodles, "
        "sauce, tofu, ingredients for, weekly shop, fridge, restock, whole foods, costco, "
        "aldi, safeway, kroger, publix, things for, food for, get food, tonight dinner, "
        "bananas, onions, tomatoes, potatoes, garlic, sugar, coffee beans, cereal, yogurt, "
        "diapers, detergent, toilet paper, paper towels, grocery list, grocery order, "
        "groceries delivered, delivers groceries, check out, buy ingredients, stock up, ran "
        "out, need milk, lunchbox, veggies, trader joes, wegmans, recipe page"
    ),
    hosts=("connect.instacart.com", "connect.dev.instacart.tools"),
    auth="key",
    secrets=("INSTACART_API_KEY",),
    per_second=3,
    attribution="Shop on Instacart; ordering happens there",
    licence="Brand guide applies; no claims about prices, stock or delivery",
)

Unit: TypeAlias = Literal[
    "each",
    "package",
    "can",
    "bunch",
    "head",
    "clove",
    "slice",
    "cup",
    "tablespoon",
    "teaspoon",
    "fluid ounce",
    "pint",
    "quart",
    "gallon",
    "milliliter",
    "liter",
    "ounce",
    "pound",
    "gram",
    "kilogram",
]
Quantity: TypeAlias = Annotated[float, Meta(gt=0, le=1000)]
Servings: TypeAlias = Annotated[int, Meta(ge=1, le=50)]
Minutes: TypeAlias = Annotated[int, Meta(ge=1, le=1440)]


class Item(TypedDict):
    """A product in plain words ("whole milk"), without its amount, and how much of it."""

    name: str
    quantity: Quantity
    unit: Unit


async def _call(ctx: ToolContext, method: str, path: str, **same: Any) -> dict[str, Any]:
    development = (ctx.secrets("INSTACART_DEVELOPMENT") or "").lower() == "true"
    host = "connect.dev.instacart.tools" if development else "connect.instacart.com"
    headers = {
        "Authorization": f"Bearer {ctx.secret('INSTACART_API_KEY')}",
        "Accept": "application/json",
    }
    reply = await ctx.http.request(method, f"https://{host}/idp/v1{path}", headers=headers, **same)
    return record(reply.json())


def _check(title: str, items: list[Item]) -> None:
    if not title.strip():
        raise InvalidInput("title must name the list.")
    if not 1 <= len(items) <= 60 or not all(item["name"].strip() for item in items):
        raise InvalidInput("Give 1 to 60 products, each with a name.")


def _items(items: list[Item], measures: str) -> list[dict[str, Any]]:
    return [
        {
            "name": item["name"].strip(),
            measures: [{"quantity": item["quantity"], "unit": item["unit"]}],
        }
        for item in items
    ]


def _page(body: dict[str, Any], title: str, items: list[Item], verb: str) -> ToolResult:
    url = text(body.get("products_link_url"))
    if not url.startswith("https://"):
        raise VendorUnavailable("Instacart made no page. Try again in a moment.")
    names = ", ".join(item["name"].strip() for item in items[:6])
    more = f" and {len(items) - 6} more" if len(items) > 6 else ""
    return ToolResult(
        response_type="instacart_page",
        data={
            "title": title.strip(),
            "url": url,
            "call_to_action": verb,
            "items": [dict(item) for item in items],
        },
        summary=shorten(f"The page {title.strip()} is ready with {names}{more}", 400)
        + ". You choose the shop and order on Instacart.",
        sources=(Source(f"{verb}: {title.strip()}", url),),
    )


@tool(
    progress="Building your Instacart list…",
    asks="Make this list a page that anyone with its link can open?",
    risk="write",
    timeout_s=15,
)
async def create_shopping_list_at_instacart(
    ctx: ToolContext, *, title: str, items: list[Item]
) -> ToolResult:
    """Make a page of groceries that can be ordered on Instacart. Anyone with the link can open it.

    Args:
        title: What the list is called. Nothing personal.
        items: The products, each with quantity and unit; "each" for what is counted.
    """
    _check(title, items)
    sent = {
        "title": title.strip(),
        "link_type": "shopping_list",
        "expires_in": 90,
        "line_items": _items(items, "line_item_measurements"),
    }
    body = await _call(ctx, "POST", "/products/products_link", json=sent)
    return _page(body, title, items, "Shop on Instacart")


@tool(
    progress="Preparing the recipe on Instacart…",
    asks="Make this recipe a page that anyone with its link can open?",
    risk="write",
    timeout_s=15,
)
async def create_recipe_page_at_instacart(
    ctx: ToolContext,
    *,
    title: str,
    ingredients: list[Item],
    instructions: list[str] | None = None,
    servings: Servings | None = None,
    cooking_minutes: Minutes | None = None,
) -> ToolResult:
    """Make a recipe page whose ingredients can be ordered. Anyone with the link can open it.

    Args:
        title: Name of the dish.
        ingredients: The ingredients, each with quantity and unit.
        instructions: Steps of the recipe; null for none.
        servings: For how many people; null if not said.
        cooking_minutes: How long it cooks; null if not said.
    """
    _check(title, ingredients)
    sent: dict[str, Any] = {
        "title": title.strip(),
        "expires_in": 30,
        "ingredients": _items(ingredients, "measurements"),
    }
    extra = {"instructions": instructions, "servings": servings, "cooking_time": cooking_minutes}
    sent |= {name: value for name, value in extra.items() if value}
    body = await _call(ctx, "POST", "/products/recipe", json=sent)
    return _page(body, title, ingredients, "Get ingredients")


@tool(progress="Finding stores near you…", cache_s=86400)
async def find_retailers_at_instacart(
    ctx: ToolContext, *, postal_code: str, country: Literal["US", "CA"] = "US"
) -> ToolResult:
    """List the shops from which Instacart delivers to a postal code.

    Args:
        postal_code: Postal code of the address, such as 94105.
        country: Its country.
    """
    code = postal_code.strip().upper()
    if not 3 <= len(code) <= 7 or not code.replace(" ", "").isalnum():
        raise InvalidInput("postal_code must be a US or Canadian postal code.")
    params = {"postal_code": code, "country_code": country}
    body = await _call(ctx, "GET", "/retailers", params=params)
    if "retailers" not in body:
        raise VendorUnavailable("Instacart sent no shops. Try again later.")
    shops = [
        {"key": text(row.get("retailer_key")), "name": text(row.get("name"))}
        for row in records(body["retailers"])[:30]
        if text(row.get("name"))
    ]
    told = ", ".join(shop["name"] for shop in shops[:8])
    return ToolResult(
        response_type="grocery_stores",
        data={"postal_code": code, "stores": shops},
        summary=f"On Instacart in {code}: {told}."
        if shops
        else f"No shop delivers to {code} through Instacart.",
        sources=(Source("Instacart", "https://www.instacart.com/"),),
    )
