"""Texts: takes each in at once and has it answered from the container."""

from __future__ import annotations

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from common.bootstrap import Services
from common.web import text_pages
from common.web.endpoint import endpoint


@functions_framework.http
@endpoint(Services.of_process)
def twilio_sms(request: Request, services: Services) -> ResponseReturnValue:
    """Answer `/twilio/sms/incoming` and `/twilio/sms/status`."""
    return text_pages.answer(request, services)
