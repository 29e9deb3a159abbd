"""The page of settings, at `/docs/settings`: what a key would add, and where to get it.

The web client links here from everything that is not set up. It is made from the settings and the
connectors' manifests, so that it cannot drift from them; it tells names, never values.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from flask import Flask, Response
from markupsafe import Markup, escape

from common.identity.texts import NEEDED as TEXTS_NEED
from common.oauth.providers import PROVIDERS
from common.settings import settings_table

if TYPE_CHECKING:
    from common.bootstrap import Services
    from common.tools import Entry

_ADDRESS: Final = re.compile(r"https://[^\s·,)]+")
_PAGE: Final = Markup("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Settings · ODAI</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">
<script src="/static/theme.js"></script>
<link rel="icon" href="/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/docs.css"></head>
<body><main>
<p><a href="/">Back to ODAI</a></p>
<h1>Settings</h1>
<p>All of them are environment variables, and none is needed to start. Set one where the server is
started, and start it again:</p>
<pre><code>OPENAI_API_KEY=… make run</code></pre>
<p><code>python -m run.local doctor</code> says which are set and
whether what they open answers.</p>
<nav aria-label="On this page"><a href="#services">Keys of services</a>
<a href="#accounts">Accounts of users</a> <a href="#all">Everything else</a></nav>
<h2 id="services">Keys of services</h2>
<p>Each turns on what it says. A service without its key is off, and ODAI says so when asked.</p>
{services}
<h2 id="accounts">Accounts of users</h2>
<p>For users to connect accounts of their own, register ODAI with the service, with this redirect
address, and set what it gives you.</p>
{accounts}
<h2 id="all">Everything else</h2>
{settings}
</main></body></html>""")


def install(app: Flask, services: Services, *, policy: str) -> None:
    """Serve the page, under the client's own Content-Security-Policy."""

    @app.get("/docs/settings")
    def settings_page() -> Response:
        page = _PAGE.format(
            services=_services(services.registry.entries.values()),
            accounts=_accounts(services.settings.base_url),
            settings=_settings(),
        )
        response = Response(str(page), content_type="text/html; charset=utf-8")
        response.headers["Content-Security-Policy"] = policy
        response.headers["Cache-Control"] = "no-cache"
        return response


def _services(entries: Iterable[Entry]) -> Markup:
    used: dict[str, list[Entry]] = {}
    for entry in entries:
        for name in entry.connector.secrets:
            used.setdefault(name, []).append(entry)
    rows = [
        (name, "", Markup(" ").join(_service(entry) for entry in fitting))
        for name, fitting in sorted(used.items())
    ]
    said = Markup("Calls and texts, through Twilio, and the codes that prove a phone number.")
    rows += [(name, "", said) for name in TEXTS_NEED if name not in used]
    return _table(("setting", "turns on"), rows)


def _service(entry: Entry) -> Markup:
    module = importlib.import_module(f"common.connectors.{entry.slug}")
    found = _ADDRESS.search(module.__doc__ or "")
    more = Markup(' <a href="{}" rel="noopener noreferrer">Its documentation</a>').format(
        found.group().rstrip(".")
    ) if found else ""  # fmt: skip
    return Markup("<p><strong>{}</strong>: {}{}</p>").format(
        entry.connector.name, entry.connector.description, more
    )


def _accounts(home: str) -> Markup:
    rows = []
    for provider in PROVIDERS.values():
        said = Markup("{} accounts. Redirect address: <code>{}</code>").format(
            provider.name, home + provider.callback
        )
        rows += [(name, "", said) for name in provider.settings]
    return _table(("setting", "for"), rows)


def _settings() -> Markup:
    rows = [(name, default, _marked(help)) for name, default, help in settings_table()]
    return _table(("setting", "default", "meaning"), rows)


def _marked(text: str) -> Markup:
    """Return one line of Markdown whose only mark is the backtick."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if at % 2 else escape(part)
        for at, part in enumerate(parts)
    )


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, str, Markup]]) -> Markup:
    defaults = "default" in heads
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(each) for each in heads)
    body = Markup("").join(_row(row, defaults=defaults) for row in rows)
    return Markup(
        '<div class="scroll" tabindex="0" role="group" aria-label="Table">'
        "<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>"
    ).format(head, body)


def _row(row: tuple[str, str, Markup], *, defaults: bool) -> Markup:
    name, default, said = row
    shown = Markup("<code>{}</code>").format(default) if default else ""
    middle = Markup("<td>{}</td>").format(shown) if defaults else ""
    return Markup('<tr id="{0}"><th scope="row"><code>{0}</code></th>{1}<td>{2}</td></tr>').format(
        name, middle, said
    )
