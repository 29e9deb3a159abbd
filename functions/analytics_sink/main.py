"""Forwards product analytics to Segment: pushed by Pub/Sub."""

from __future__ import annotations

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from common.bootstrap import Services
from common.web import event_pages
from common.web.endpoint import endpoint


@functions_framework.http
@endpoint(Services.of_process)
def analytics_sink(request: Request, services: Services) -> ResponseReturnValue:
    """Take one event of the topic `analytics`; 2xx ends the delivery."""
    return event_pages.analytics(request, services)
