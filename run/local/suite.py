"""`make run`: the container's application and everything beside it, in one process on one port."""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask

from common.bootstrap import Services
from common.errors import Misconfigured
from common.settings import Settings
from run.chat_stream.app import create_app, development_uid
from run.chat_stream.server import ChatServer
from run.local.functions import Deliverer, mount_functions, subscribe_functions

_NAME = "Developer"


def serve_suite(settings: Settings) -> None:
    """Serve until Ctrl-C; Misconfigured where the data folder cannot be written."""
    _check_folder(settings.data_dir)
    ChatServer(
        settings, create_suite, host="127.0.0.1", announce=_announce, drain_seconds=0.5
    ).run()


def create_suite(services: Services) -> Flask:
    """Return the container's application with every function mounted at its deployed path."""
    app = create_app(services)
    mount_functions(app, services)
    services.deliver = Deliverer(app, services)
    subscribe_functions(app, services)
    services.loop.run(services.start_tasks())
    return app


def _announce(services: Services) -> None:
    settings = services.settings
    print(f"\n  ODAI is running at {settings.base_url}")
    if settings.sandbox:
        print("  SANDBOX: Google, Plaid, weather and exchange rates are simulated on this machine.")
        print("  Nothing they say is real; what you say and link is forgotten at the end.")
    if services.development:
        token = services.development.mint(development_uid(_NAME), name=_NAME)
        print(f"  Sign in for development: {settings.base_url}/#token={token}")
    if settings.offline:
        print("  No model is configured: the offline planner answers. Set OPENAI_API_KEY for more.")
    off = [
        e.connector.name for e in services.registry.entries.values() if e.missing(settings.secret)
    ]
    print(
        f"  Services on: {len(services.registry.entries) - len(off)}"
        + (f"; waiting for a key or client id: {', '.join(off)}" if off else "")
    )
    print("  Stop with Ctrl-C.\n", flush=True)


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as err:
        raise Misconfigured(
            f"The data folder {folder} cannot be made. Set ODAI_DATA to one that can be written."
        ) from err
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Misconfigured(
            f"The data folder {folder} is read-only. Make it writable or set ODAI_DATA."
        )
