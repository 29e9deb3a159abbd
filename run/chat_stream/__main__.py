"""`python -m run.chat_stream`: the container's command."""

from __future__ import annotations

import os
import sys

from flask import Flask

from common import log
from common.bootstrap import Services
from common.errors import Misconfigured
from common.settings import Settings
from run.chat_stream.app import create_app
from run.chat_stream.server import ChatServer


def main() -> int:
    """Serve until SIGTERM; 2 where a setting is wrong."""
    try:
        settings = Settings.from_env(os.environ)
    except Misconfigured as err:
        print(f"ODAI cannot start: {err}", file=sys.stderr)
        return 2
    log.configure(project=settings.google_project, level=settings.log_level)
    make_app = with_functions if settings.mount_functions else create_app
    ChatServer(settings, make_app, host="0.0.0.0").run()  # noqa: S104  # a container's only port
    return 0


def with_functions(services: Services) -> Flask:
    """Return the application with the public functions at their paths: nothing balances load."""
    from run.local.functions import declared, function_names, mount_functions

    app = create_app(services)
    public = [name for name in function_names() if declared(name)["invoker"] == "public"]
    mount_functions(app, services, public)
    return app


if __name__ == "__main__":
    sys.exit(main())
