"""What `doctor` looks at: settings, data, keys, the model, each connector's hosts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from common.bootstrap import Services
from common.errors import OdaiError

_SECONDS = 3.0
_MODEL_HOST = "api.openai.com"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `broken` makes the command fail; merely missing keys do not."""

    what: str
    detail: str
    ok: bool = True
    broken: bool = False

    @property
    def fine(self) -> bool:
        """Whether the product works with this."""
        return not self.broken

    @property
    def mark(self) -> str:
        """The sign in front of the line."""
        return "✗" if self.broken else "✓" if self.ok else "–"


def run_checks(services: Services) -> list[Finding]:
    """Return the report, reachability checked side by side."""
    settings = services.settings
    findings = [
        Finding("settings", f"environment {settings.environment}, backend {settings.backend}"),
        _folder(services),
        _works("store", lambda: services.loop.run(services.store.get("users/doctor"))),
        _works("keys", lambda: services.loop.run(_sealed(services))),
        _works("connectors", lambda: services.router),
        Finding("model", "offline planner (set OPENAI_API_KEY for a language model)", ok=False)
        if settings.offline
        else Finding("model", settings.model),
    ]
    if not settings.local:
        from run.local.cloud_checks import google_checks

        findings += services.loop.run(google_checks(services), timeout=60.0)
    return findings + services.loop.run(_reachable(services), timeout=30.0)


def _folder(services: Services) -> Finding:
    folder = services.settings.data_dir
    if folder.exists() and not os.access(folder, os.W_OK):
        return Finding("data", f"{folder} is read-only: set ODAI_DATA", broken=True)
    return Finding("data", f"{folder}")


def _works(what: str, action: Callable[[], Any]) -> Finding:
    try:
        action()
    except OdaiError as err:
        return Finding(what, str(err), broken=True)
    return Finding(what, "works")


async def _sealed(services: Services) -> None:
    sealer = await services.vault.open("doctor")
    sealed = sealer.seal("users/doctor", "check", b"check")
    if sealer.unseal("users/doctor", "check", sealed) != b"check":
        raise OdaiError("what was sealed does not open")


async def _reachable(services: Services) -> list[Finding]:
    settings = services.settings
    checks: list[Coroutine[Any, Any, Finding]] = []
    if not settings.offline:
        host = urlsplit(settings.openai_base_url or f"https://{_MODEL_HOST}")
        checks.append(_connects("model endpoint", host.hostname or "", host.port or 443))
    for entry in services.registry.entries.values():
        name = entry.connector.name
        if missing := entry.missing(settings.secret):
            checks.append(_said(Finding(name, f"off: set {', '.join(missing)}", ok=False)))
        elif hosts := [h for h in entry.connector.hosts if not h.startswith("*")]:
            target = urlsplit(settings.egress_map.get(hosts[0], f"https://{hosts[0]}"))
            default = 443 if target.scheme == "https" else 80
            checks.append(_connects(name, target.hostname or "", target.port or default))
    return list(await asyncio.gather(*checks))


async def _said(finding: Finding) -> Finding:
    return finding


async def _connects(what: str, host: str, port: int) -> Finding:
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return Finding(what, f"{host} cannot be reached from here", ok=False)
    writer.close()
    return Finding(what, f"{host} can be reached")


def run_deployed_checks(services: Services, url: str) -> list[Finding]:
    """Return the report about the deployment at `url`, asked from outside."""
    from common.google_rest import DefaultToken, GoogleRest
    from run.local.doctor import examine

    async def asked() -> list[Finding]:
        google = GoogleRest(token=DefaultToken())
        try:
            return await examine(url, services.settings, google)
        finally:
            await google.close()

    return services.loop.run(asked(), timeout=300.0)
