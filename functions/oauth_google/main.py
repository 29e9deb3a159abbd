"""Links accounts at Google and other services: login, callback, the list, unlinking."""

from __future__ import annotations

import functions_framework
from flask import Request, Response

from common.bootstrap import Services
from common.web.endpoint import endpoint
from common.web.oauth_pages import serve


@functions_framework.http
@endpoint(Services.of_process)
def oauth_google(request: Request, services: Services) -> Response:
    """Answer `/login`, `/callback`, `/accounts`, `/ticket` and `/access_request`."""
    return serve(request, services)
