"""A user's membership: terms, phone, PIN, integrations, export, deletion; and the waitlist."""

from __future__ import annotations

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from common.bootstrap import Services
from common.web import account_pages
from common.web.endpoint import endpoint


@functions_framework.http
@endpoint(Services.of_process)
def account(request: Request, services: Services) -> ResponseReturnValue:
    """Answer `/account/…` and the original's `/waitlist` and `/email`."""
    return account_pages.answer(request, services)
