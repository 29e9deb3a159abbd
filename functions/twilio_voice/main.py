"""Calls: what happens when one comes in, how it stands, and calls from and to the app's users."""

from __future__ import annotations

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from common.bootstrap import Services
from common.web import call_pages
from common.web.endpoint import endpoint


@functions_framework.http
@endpoint(Services.of_process)
def twilio_voice(request: Request, services: Services) -> ResponseReturnValue:
    """Answer `/twilio/incoming`, `/twilio/status`, `/voice/token` and `/voice/call`."""
    return call_pages.answer(request, services)
