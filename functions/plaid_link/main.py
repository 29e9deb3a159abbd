"""Links banks: consent, exchange, list, removal, and Plaid's webhooks."""

from __future__ import annotations

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from common.bootstrap import Services
from common.web import bank_pages
from common.web.endpoint import endpoint


@functions_framework.http
@endpoint(Services.of_process)
def plaid_link(request: Request, services: Services) -> ResponseReturnValue:
    """Answer `/auth/plaid/…`: users with their token, Plaid with its signature."""
    return bank_pages.answer(request, services)
