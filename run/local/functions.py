"""The functions inside the local suite: mounted at their paths, called by the embedded queue.

A function answers at `/<its name>` and below, and likewise at the `paths` that its function.yaml
lists, as the load balancer's URL map has it.

A delivery is a real HTTP request through the application, with the headers and the kind of
credentials that Cloud Tasks sends, so that a handler cannot tell the difference.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from flask import Flask, request

from common.bootstrap import Services
from common.errors import VendorUnavailable
from common.events import Event
from common.events.embedded import EmbeddedEvents
from common.events.push import pushed
from common.tasks.embedded import Delivery, Response

FOLDER = Path(__file__).resolve().parents[2] / "functions"
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def function_names() -> list[str]:
    """Return the name of every function folder."""
    return sorted(path.parent.name for path in FOLDER.glob("*/main.py"))


def mount_functions(app: Flask, services: Services, names: Iterable[str] = ()) -> None:
    """Give `app` every function, or those of `names`, all of them using `services`."""
    services.adopt()
    for name in names or function_names():
        function = getattr(_load(name), name)
        app.add_url_rule(f"/{name}", name, _view(function), methods=_METHODS)
        app.add_url_rule(f"/{name}/<path:_>", f"{name}.below", _view(function), methods=_METHODS)
        for path in own_paths(name):
            view, below = _view(function), f"{path}/<path:_>"
            app.add_url_rule(path, f"{name}{path}", view, methods=_METHODS)
            app.add_url_rule(below, f"{name}{path}.below", view, methods=_METHODS)


def own_paths(name: str) -> list[str]:
    """Return the paths besides its own at which a function answers, from its function.yaml."""
    return [str(path) for path in declared(name).get("paths", ())]


def aliases() -> dict[str, list[str]]:
    """Return the paths besides its own of every function."""
    return {name: own_paths(name) for name in function_names()}


def declared(name: str) -> dict[str, Any]:
    """Return what a function's function.yaml says."""
    return dict(yaml.safe_load((FOLDER / name / "function.yaml").read_text(encoding="utf-8")))


def subscribe_functions(app: Flask, services: Services) -> None:
    """Let the embedded events reach the functions whose function.yaml names a topic.

    Google's emulator pushes without credentials, which the functions refuse: there, nobody listens.
    """
    if not isinstance(services.events, EmbeddedEvents):
        return
    for name in function_names():
        trigger = declared(name).get("trigger") or {}
        needed = trigger.get("needs")
        if trigger and (not needed or services.settings.secret(needed)):
            services.events.subscribe(trigger["topic"], Pusher(app, services, f"/{name}"))


class Pusher:
    """Makes the requests of a push subscription, through `app` itself."""

    def __init__(self, app: Flask, services: Services, path: str) -> None:
        self._app = app
        self._services = services
        self._path = path

    async def __call__(self, event: Event) -> None:
        """Push one event; VendorUnavailable where it is not acknowledged: it is pushed again."""
        status = await asyncio.get_running_loop().run_in_executor(None, self._post, event)
        if status >= 300:
            raise VendorUnavailable(f"{self._path} did not take the event.")

    def _post(self, event: Event) -> int:
        headers = {"Authorization": self._services.sign_call()}
        with self._app.test_client() as client:
            return client.post(self._path, json=pushed(event), headers=headers).status_code


class Deliverer:
    """Makes the embedded queue's requests, through `app` itself."""

    def __init__(self, app: Flask, services: Services) -> None:
        self._app = app
        self._services = services

    async def __call__(self, delivery: Delivery) -> Response:
        """Deliver one task; the answer's status decides whether it is repeated."""
        return await asyncio.get_running_loop().run_in_executor(None, self._post, delivery)

    def _post(self, delivery: Delivery) -> Response:
        headers = {
            "Content-Type": "application/json",
            **delivery.headers,
            "Authorization": self._services.sign_call(),
        }
        with self._app.test_client() as client:
            answer = client.post(delivery.task.path, data=delivery.task.body, headers=headers)
        after = answer.headers.get("Retry-After", "")
        return Response(answer.status_code, float(after) if after.isdecimal() else None)


def _load(name: str) -> ModuleType:
    # Each is called `main` where it is deployed; here they need names of their own.
    spec = importlib.util.spec_from_file_location(f"functions_{name}", FOLDER / name / "main.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _view(function: Callable[[Any], Any]) -> Callable[..., Any]:
    def view(**_: str) -> Any:
        return function(request)

    return view
