"""A simulator of Plaid's sandbox on loopback: consent, links, transactions in pages, webhooks.

Answers have the shapes and the odd cases of the real ones: nulls, a pending row that is replaced, a
cursor that stays empty while nothing is ready, pages that contradict one another once. Webhooks are
signed as Plaid signs them; the test posts them wherever it likes::

    with FakePlaid() as plaid:
        environ = plaid.environ
        body, header = plaid.webhook("TRANSACTIONS", "SYNC_UPDATES_AVAILABLE", item_id=item)
"""

from __future__ import annotations

import datetime as dt
import json
import secrets
import time
import uuid
from hashlib import sha256
from typing import Any

import jwt
from aiohttp import ClientSession, web
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fakes.served import Served

HOSTS = ("sandbox.plaid.com", "production.plaid.com")
CLIENT_ID, SECRET = "client-of-a-test", "secret-of-a-test"
_JSON = dict[str, Any]


class Refusal(Exception):
    """An error in Plaid's shape."""

    def __init__(self, kind: str, code: str, shown: str | None = None) -> None:
        super().__init__(code)
        self.body = {
            "error_type": kind, "error_code": code, "error_message": "as the vendor words it",
            "display_message": shown, "request_id": secrets.token_hex(6),
            "documentation_url": "https://plaid.com/docs/errors/", "suggested_action": None,
        }  # fmt: skip


class Item:
    """A linked bank: its accounts and, in order, all that ever happened to its transactions."""

    def __init__(self, item_id: str, institution: str) -> None:
        self.id = item_id
        self.institution = institution
        self.token = f"access-sandbox-{uuid.uuid4()}"
        self.login_required = False
        self.status = "HISTORICAL_UPDATE_COMPLETE"
        self.log: list[tuple[str, _JSON]] = []
        self.accounts = [
            account(f"{item_id}-checking", "Everyday Checking", "4417", "depository", 905.1),
            account(f"{item_id}-card", "Rewards Card", "1881", "credit", 410.0),
        ]

    def happen(self, kind: str, row: _JSON) -> None:
        """Add ("added", "modified", "removed") a transaction."""
        self.log.append((kind, row))


class FakePlaid(Served):
    """The server, in a thread of its own. `asked` lists (path, body, headers) of every request.

    `fail[path]` is a list of refusals, HTTP statuses or texts (not JSON) answered first.
    """

    def __init__(self, *, page: int = 100) -> None:
        self.page = page
        self.asked: list[tuple[str, _JSON, _JSON]] = []
        self.fail: dict[str, list[Refusal | int | str]] = {}
        self.items: dict[str, Item] = {}  # by access token
        self.removed: list[str] = []
        self.balances_asked = 0
        self.links: dict[str, _JSON] = {}
        self.public_tokens: dict[str, Item] = {}
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.kid = str(uuid.uuid4())
        self.key_expired = False
        self.home = ""  # where we are, for pages and webhooks that no test sends by hand

    @property
    def environ(self) -> dict[str, str]:
        """Return the settings that send us here instead of to Plaid."""
        hosts = ",".join(f"{host}={self.origin}" for host in HOSTS)
        return {"PLAID_CLIENT_ID": CLIENT_ID, "PLAID_SECRET": SECRET, "ODAI_EGRESS_MAP": hosts}

    def consent(self, institution: str = "First Bank", *, link_token: str = "") -> str:
        """Let a user finish Link; return the public token."""
        item = Item(f"item{secrets.token_hex(8)}", institution)
        public = f"public-sandbox-{uuid.uuid4()}"
        self.public_tokens[public] = item
        return public

    def item(self, item_id: str) -> Item:
        """Return a linked bank by its id."""
        return next(item for item in self.items.values() if item.id == item_id)

    def paths(self) -> list[str]:
        """Return the path of every request."""
        return [path for path, _, _ in self.asked]

    def webhook(
        self,
        kind: str,
        code: str,
        *,
        age: float = 0.0,
        kid: str = "",
        algorithm: str = "ES256",
        key: Any = None,
        now: float | None = None,
        **fields: Any,
    ) -> tuple[bytes, str]:
        """Return a webhook's body and its signature header."""
        event = {"webhook_type": kind, "webhook_code": code, "environment": "sandbox", **fields}
        body = json.dumps(event, indent=2).encode()
        claims = {
            "iat": int((time.time() if now is None else now) - age),
            "request_body_sha256": sha256(body).hexdigest(),
        }
        headers = {"kid": kid or self.kid}
        return body, jwt.encode(claims, key or self.key, algorithm=algorithm, headers=headers)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/hl/{key}", self._page)
        app.router.add_post("/hl/{key}", self._decide)
        app.router.add_post("/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append((request.path, body, dict(request.headers)))
        if planned := self.fail.get(request.path):
            failure = planned.pop(0)
            if isinstance(failure, int):
                return web.Response(status=failure)
            if isinstance(failure, str):
                return web.Response(text=failure)
            return web.json_response(failure.body, status=400)
        try:
            if (request.headers.get("PLAID-CLIENT-ID"), request.headers.get("PLAID-SECRET")) != (
                CLIENT_ID, SECRET,
            ):  # fmt: skip
                raise Refusal("INVALID_INPUT", "INVALID_API_KEYS")
            answer = _ROUTES[request.path](self, body)
        except Refusal as err:
            return web.json_response(err.body, status=400)
        return web.json_response({**answer, "request_id": secrets.token_hex(6)})

    # --- Hosted Link, for people ------------------------------------------------------------

    async def _page(self, request: web.Request) -> web.Response:
        return _html(
            "<h1>Simulated Plaid: connect a bank</h1><p>No real bank is asked.</p>"
            '<form method="post"><button id="allow" name="bank" value="First Bank">First Bank'
            '</button> <button name="bank" value="Second Bank">Second Bank</button></form>'
        )

    async def _decide(self, request: web.Request) -> web.Response:
        """Link the bank chosen, with a month of transactions, and tell our server by webhook."""
        key, form = request.match_info["key"], await request.post()
        token = next((each for each in self.links if each.endswith(key)), "")
        asked = self.links.get(token)
        if asked is None:
            return _html("<h1>This page has expired.</h1>", status=404)
        public_tokens = []
        if repaired := self.items.get(asked.get("access_token", "")):
            repaired.login_required = False
        else:
            public_tokens.append(self.consent(str(form.get("bank", "First Bank"))))
            _live(self.public_tokens[public_tokens[0]])
        body, signature = self.webhook(
            "LINK", "SESSION_FINISHED", link_token=token, status="success",
            public_tokens=public_tokens,
        )  # fmt: skip
        headers = {"Plaid-Verification": signature, "Content-Type": "application/json"}
        async with ClientSession() as http, http.post(
            f"{self.home}/auth/plaid/webhook", data=body, headers=headers
        ) as told:  # fmt: skip
            done = told.status == 200
        if not done:
            return _html("<h1>The assistant did not hear of it. Try again.</h1>", status=502)
        return _html(
            "<h1>The bank is connected.</h1>"
            '<p><a id="back" href="javascript:history.go(-2)">Back to the assistant</a></p>'
        )

    # --- endpoints --------------------------------------------------------------------------

    def _create_link(self, body: _JSON) -> _JSON:
        if len(body["client_name"]) > 30 or not body["user"]["client_user_id"]:
            raise Refusal("INVALID_REQUEST", "INVALID_FIELD")
        if ("products" in body) == ("access_token" in body) or not body["country_codes"]:
            raise Refusal("INVALID_REQUEST", "INVALID_FIELD")
        if "access_token" in body:
            self._item(body)
        token = f"link-sandbox-{uuid.uuid4()}"
        self.links[token] = body
        answer = {"link_token": token, "expiration": "2027-03-01T14:00:00Z"}
        if "hosted_link" in body:
            pages = self.origin if self.home else "https://secure.plaid.com"
            answer["hosted_link_url"] = f"{pages}/hl/{token[-12:]}"
        return answer

    def _exchange(self, body: _JSON) -> _JSON:
        item = self.public_tokens.pop(body["public_token"], None)
        if item is None:
            raise Refusal("INVALID_INPUT", "INVALID_PUBLIC_TOKEN")
        self.items[item.token] = item
        return {"access_token": item.token, "item_id": item.id}

    def _accounts(self, body: _JSON) -> _JSON:
        item = self._item(body)
        self._check_login(item)
        return {"accounts": item.accounts, "item": described(item)}

    def _balances(self, body: _JSON) -> _JSON:
        self.balances_asked += 1
        return self._accounts(body)

    def _sync(self, body: _JSON) -> _JSON:
        item = self._item(body)
        self._check_login(item)
        start = int(body.get("cursor") or 0)
        end = min(len(item.log), start + min(self.page, body.get("count", 100)))
        answer: _JSON = {"added": [], "modified": [], "removed": [], "accounts": item.accounts}
        for kind, row in item.log[start:end]:
            keys = ("transaction_id", "account_id") if kind == "removed" else tuple(row)
            answer[kind].append({key: row[key] for key in keys})
        cursor = str(end) if end else ""
        return answer | {
            "next_cursor": cursor, "has_more": end < len(item.log),
            "transactions_update_status": item.status,
        }  # fmt: skip

    def _remove(self, body: _JSON) -> _JSON:
        item = self._item(body)
        del self.items[item.token]
        self.removed.append(item.id)
        return {}

    def _key(self, body: _JSON) -> _JSON:
        if body["key_id"] != self.kid:
            raise Refusal("INVALID_INPUT", "INVALID_WEBHOOK_VERIFICATION_KEY_ID")
        jwk = jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {"key": {
            **jwk, "alg": "ES256", "use": "sig", "kid": self.kid, "created_at": 1_790_000_000,
            "expired_at": 1_790_000_500 if self.key_expired else None,
        }}  # fmt: skip

    def _item(self, body: _JSON) -> Item:
        item = self.items.get(body.get("access_token", ""))
        if item is None:
            raise Refusal("INVALID_INPUT", "INVALID_ACCESS_TOKEN")
        return item

    def _check_login(self, item: Item) -> None:
        if item.login_required:
            raise Refusal("ITEM_ERROR", "ITEM_LOGIN_REQUIRED", "Sign in at your bank.")


_ROUTES: dict[str, Any] = {
    "/link/token/create": FakePlaid._create_link,
    "/item/public_token/exchange": FakePlaid._exchange,
    "/accounts/get": FakePlaid._accounts,
    "/accounts/balance/get": FakePlaid._balances,
    "/transactions/sync": FakePlaid._sync,
    "/item/remove": FakePlaid._remove,
    "/webhook_verification_key/get": FakePlaid._key,
}


def account(account_id: str, name: str, mask: str, kind: str, current: float) -> _JSON:
    """Return an account in Plaid's shape."""
    return {
        "account_id": account_id, "mask": mask, "name": name, "official_name": None, "type": kind,
        "subtype": "checking" if kind == "depository" else "credit card",
        "balances": {
            "available": None if kind == "credit" else current - 92.7, "current": current,
            "limit": 2000 if kind == "credit" else None, "iso_currency_code": "USD",
            "unofficial_currency_code": None,
        },
        "holder_category": "personal",
    }  # fmt: skip


def transaction(
    key: str,
    day: str,
    amount: float,
    merchant: str | None = "Corner Bakery",
    *,
    account_id: str = "checking",
    category: tuple[str, str] | None = None,
    pending: bool = False,
    name: str = "SQ *CORNER BAKERY",
    replaces: str | None = None,
) -> _JSON:
    """Return a transaction in Plaid's shape; `amount` is positive for money out."""
    primary, detailed = category or ("FOOD_AND_DRINK", "FOOD_AND_DRINK_FAST_FOOD")
    return {
        "transaction_id": key, "account_id": account_id, "amount": amount,
        "iso_currency_code": "USD", "unofficial_currency_code": None, "date": day,
        "authorized_date": None, "datetime": None, "authorized_datetime": None, "name": name,
        "merchant_name": merchant, "merchant_entity_id": None, "logo_url": None, "website": None,
        "pending": pending, "pending_transaction_id": replaces, "payment_channel": "in store",
        "personal_finance_category": {
            "primary": primary, "detailed": detailed, "confidence_level": "HIGH", "version": "v2",
        },
        "personal_finance_category_icon_url": "https://plaid.com/icon.png", "counterparties": [],
        "location": dict.fromkeys(
            ("address", "city", "region", "postal_code", "country", "lat", "lon", "store_number")
        ),
        "payment_meta": dict.fromkeys((
            "by_order_of", "payee", "payer", "payment_method", "payment_processor", "ppd_id",
            "reason", "reference_number",
        )),
        "check_number": None, "transaction_code": None, "account_owner": None, "category": None,
        "category_id": None, "transaction_type": "place",
    }  # fmt: skip


def _live(item: Item) -> None:
    """Give a bank a month of transactions that ends today."""
    today = dt.datetime.now(dt.UTC).date()
    checking, card = (account["account_id"] for account in item.accounts)
    for ago, amount, merchant, account_id, category in (
        (1, 4.35, "Corner Bakery", card, ("FOOD_AND_DRINK", "FOOD_AND_DRINK_FAST_FOOD")),
        (3, 61.2, "Green Market", card, ("FOOD_AND_DRINK", "FOOD_AND_DRINK_GROCERIES")),
        (5, 12.99, "Tune Stream", card, ("ENTERTAINMENT", "ENTERTAINMENT_MUSIC_AND_AUDIO")),
        (9, 900.0, "Acme Homes", checking, ("RENT_AND_UTILITIES", "RENT_AND_UTILITIES_RENT")),
        (14, -2100.0, "Acme Payroll", checking, ("INCOME", "INCOME_WAGES")),
        (21, 48.0, "City Trains", card,
         ("TRANSPORTATION", "TRANSPORTATION_PUBLIC_TRANSIT")),
    ):  # fmt: skip
        day = (today - dt.timedelta(days=ago)).isoformat()
        item.happen("added", transaction(
            f"{item.id}-{ago}", day, amount, merchant, account_id=account_id, category=category,
            name=merchant.upper(),
        ))  # fmt: skip


def _html(body: str, *, status: int = 200) -> web.Response:
    text = f"<!doctype html><meta charset=utf-8><title>Plaid (simulated)</title>{body}"
    return web.Response(text=text, content_type="text/html", status=status)


def described(item: Item) -> _JSON:
    """Return the item in Plaid's shape."""
    return {
        "item_id": item.id, "institution_id": "ins_3", "institution_name": item.institution,
        "webhook": "", "error": None, "available_products": ["balance"],
        "billed_products": ["transactions"], "products": ["transactions"],
        "consent_expiration_time": None, "update_type": "background",
    }  # fmt: skip
