"""Tasks in Cloud Tasks: https://cloud.google.com/tasks/docs/reference/rest (2026-11).

A queue's pacing and retries are Terraform's (`Queue` gives the figures); here tasks are only made
and cancelled. Cloud Tasks signs each delivery as `service_account`; the receiver checks that.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Container
from typing import Any

from common.documents import Clock, now
from common.errors import Misconfigured, VendorRejected
from common.google_rest import GoogleRefusal, GoogleRest, encode
from common.tasks import Task
from common.tasks.check import check_task


class CloudTasks:
    """`Tasks` over the queues of `location` (`projects/…/locations/…`).

    A task goes to `base_url` + its path, with a token for `audience` (the base URL by default).
    """

    def __init__(
        self,
        location: str,
        *,
        api: GoogleRest,
        queues: Container[str],
        base_url: str,
        service_account: str,
        audience: str | None = None,
        clock: Clock = now,
    ) -> None:
        self._location = location
        self._api = api
        self._queues = queues
        self._base_url = base_url.rstrip("/")
        self._token = {
            "serviceAccountEmail": service_account,
            "audience": audience or self._base_url,
        }
        self._clock = clock

    async def enqueue(self, task: Task) -> bool:
        """Store the task; False when its name is in use. See `Tasks.enqueue`."""
        check_task(task, queues=self._queues, now=self._clock())
        parent = f"{self._location}/queues/{task.queue}"
        try:
            await self._api.call(
                "cloudtasks", "POST", f"/v2/{parent}/tasks", body={"task": self._body(parent, task)}
            )
        except GoogleRefusal as err:
            if err.code == "ALREADY_EXISTS":
                return False
            raise _refused(err, task.queue) from err
        return True

    async def cancel(self, queue: str, name: str) -> bool:
        """Remove a pending named task; False when it is not there any more."""
        path = f"/v2/{self._location}/queues/{queue}/tasks/{name}"
        try:
            await self._api.call("cloudtasks", "DELETE", path)
        except GoogleRefusal as err:
            if err.code == "NOT_FOUND":
                return False
            raise _refused(err, queue) from err
        return True

    async def close(self) -> None:
        """Close the connections; Cloud Tasks goes on delivering."""
        await self._api.close()

    def _body(self, parent: str, task: Task) -> dict[str, Any]:
        body: dict[str, Any] = {
            "dispatchDeadline": f"{task.deadline_s:.3f}s",
            "httpRequest": {
                "url": self._base_url + task.path,
                "httpMethod": "POST",
                "headers": {"Content-Type": "application/json", **task.headers},
                "body": encode(task.body),
                "oidcToken": self._token,
            },
        }
        if task.name:
            body["name"] = f"{parent}/tasks/{task.name}"
        if task.schedule_at:
            body["scheduleTime"] = task.schedule_at.astimezone(dt.UTC).isoformat()
        return body


def _refused(err: GoogleRefusal, queue: str) -> Exception:
    if err.code == "NOT_FOUND":
        return Misconfigured(f"Queue {queue!r} does not exist in Cloud Tasks: apply Terraform.")
    return VendorRejected(f"Cloud Tasks refused the task: {err.code}.")
