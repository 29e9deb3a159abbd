"""Linked banks: consent by Plaid Link, sealed tokens, transactions by cursor, signed webhooks.

https://plaid.com/docs/api/ (read November 2026). Plain REST over `common.egress`
(docs/decisions/0006-plaid-client.md). Tools see a user's banks through `Banks.of(uid)`, which fits
the port in `common.tools`; neither imports the other.
"""

from __future__ import annotations

from common.plaid_items.api import PlaidApi
from common.plaid_items.banks import Bank, Banks, Link
from common.plaid_items.webhooks import WebhookKeys, check_webhook

__all__ = ["Bank", "Banks", "Link", "PlaidApi", "WebhookKeys", "check_webhook"]
