"""`ODAI_SANDBOX=1`: everything can be tried with no account and no key, and says so."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from run.local.ports import free_port
from tests.run.serving import ROOT, Client, Server, connected, environment


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Let the test see where it is sent."""


def _open(url: str, form: dict[str, Any] | None = None, **headers: str) -> tuple[Any, str]:
    """Return the answer and, where it is a redirect, its address."""
    data = None if form is None else urlencode(form, doseq=True).encode()
    request = urllib.request.Request(url, data=data, headers=headers)
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=50) as answer:
            return answer.read().decode(), answer.headers["Set-Cookie"] or ""
    except urllib.error.HTTPError as err:
        if "Location" not in err.headers:
            raise
        return None, str(err.headers["Location"])


def _begin(server: Server, token: str, path: str) -> tuple[str, str]:
    """Press the button: return where it leads and the cookie."""
    body, cookie = _open(server.base + path, Authorization=f"Bearer {token}")
    return str(json.loads(body)["url"]), cookie.partition(";")[0]


async def _ask(server: Server, token: str, *texts: str) -> list[list[dict[str, Any]]]:
    """Ask in a chat, one after the other; return the events of each turn."""

    async def turn(client: Client, text: str) -> list[dict[str, Any]]:
        client.events.clear()
        await client.send(type="prompt", text=text)
        await client.until_type("end_of_stream")
        return list(client.events)

    async with connected(server, "sandbox-1", token=token) as client:
        return [await turn(client, text) for text in texts]


def _output(events: list[dict[str, Any]]) -> dict[str, Any]:
    return next(event for event in events if event["type"] == "tool_output")


def test_google_and_a_bank_are_linked_and_asked(start: Callable[..., Server]) -> None:
    """The buttons lead to simulated consent; afterwards the answers are there."""
    server = start(ODAI_SANDBOX="1")
    token = server.token("Ada")
    assert server.get("/client/config", token)["sandbox"] is True
    assert "SANDBOX" in server.output
    mail, money = "search my mail for invoice", "what are my bank balances?"

    before = [_output(events) for events in asyncio.run(_ask(server, token, mail, money))]
    assert [event["output"]["response_type"] for event in before] == [
        "google_account_needed", "connect_plaid_account"
    ]  # fmt: skip

    url, cookie = _begin(server, token, before[0]["output"]["response"]["url"])
    page, _ = _open(url)
    assert "Simulated Google" in page
    asked = dict(parse_qsl(urlsplit(url).query))
    form = {**asked, "scope": asked["scope"].split(), "account": "ada", "decision": "allow"}
    origin = url.partition("/o/")[0]
    _, back = _open(f"{origin}/o/oauth2/v2/decide", form)
    _, done = _open(back, Cookie=cookie)
    assert "linked=google" in done

    hosted, _ = _begin(server, token, before[1]["output"]["response"]["url"])
    page, _ = _open(hosted)
    assert "Simulated Plaid" in page
    page, _ = _open(hosted, {"bank": "Second Bank"})
    assert "connected" in page

    after = [_output(events) for events in asyncio.run(_ask(server, token, mail, money))]
    assert all(event["ok"] for event in after)
    assert "Invoice 4711" in after[0]["summary"]
    assert "Second Bank" in json.dumps(after[1]["output"]["response"])
    assert server.stop() == 0


def test_nothing_of_a_sandbox_remains(start: Callable[..., Server], tmp_path: Path) -> None:
    """Its simulators end with it, and it writes nothing into the real data folder."""
    server = start(ODAI_SANDBOX="1")
    [simulators] = _children(server.process.pid, "run.local.sandbox")
    assert server.stop() == 0
    assert not Path(f"/proc/{simulators}").exists()
    folder = tmp_path / "data"
    assert not folder.exists() or not list(folder.iterdir())


def _children(parent: int, name: str) -> list[int]:
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in found if name in Path(f"/proc/{pid}/cmdline").read_text()]


@pytest.mark.parametrize(
    "settings",
    [
        {"ODAI_BACKEND": "google", "GOOGLE_CLOUD_PROJECT": "p", "ODAI_INVOKER": "i",
         "ODAI_PUBLIC_URL": "https://odai.example", "ODAI_KMS_KEY": "k"},
        {"ODAI_BACKEND": "google", "ODAI_ENV": "production"},
    ],
)  # fmt: skip
def test_no_sandbox_in_the_cloud(settings: dict[str, str], tmp_path: Path) -> None:
    """Simulated services are refused wherever real users might be."""
    environ = environment(tmp_path, ODAI_SANDBOX="1", PORT=str(free_port()), **settings)
    done = subprocess.run(
        [sys.executable, "-m", "run.local", "serve"],
        cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "ODAI_SANDBOX" in done.stderr
    assert os.listdir(tmp_path) == []
