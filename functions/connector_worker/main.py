"""Runs one slow tool call: the target of every vendor queue."""

from __future__ import annotations

import functions_framework
from flask import Request, Response

from common.bootstrap import Services
from common.web.edge import json_body, text_field
from common.web.endpoint import acknowledge, check_platform, endpoint


@functions_framework.http
@endpoint(Services.of_process)
def connector_worker(request: Request, services: Services) -> Response:
    """Take `{"job_id"}` from Cloud Tasks; 2xx ends the task, 429 and 503 repeat it."""
    check_platform(request, services)
    job_id = text_field(json_body(request), "job_id", longest=64)
    answer = services.loop.run(services.jobs.work(job_id), timeout=600.0)
    return acknowledge(answer.status, answer.retry_after)
