"""Names a chat after a turn has finished: pushed by Pub/Sub, or called by Cloud Tasks."""

from __future__ import annotations

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from common.bootstrap import Services
from common.web import event_pages
from common.web.endpoint import endpoint


@functions_framework.http
@endpoint(Services.of_process)
def title_generator(request: Request, services: Services) -> ResponseReturnValue:
    """Take a `turn.finished` event, or its data as a task's body; 2xx ends the delivery."""
    return event_pages.title(request, services)
