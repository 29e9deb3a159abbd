"""Fixtures of the tests that run the real server: one shared by a module, or one of their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.openai_responses import FakeOpenAI
from tests.fakes.vendors import Vendors
from tests.run.serving import Server

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
MILLISECONDS = 20_000


@pytest.fixture(scope="module")
def vendors() -> Iterator[Vendors]:
    """Serve the keyless vendors on loopback."""
    with Vendors() as served:
        yield served


@pytest.fixture(scope="module")
def model() -> Iterator[FakeOpenAI]:
    """Serve a model whose script the tests write with `then`."""
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, model: FakeOpenAI, vendors: Vendors
) -> Iterator[Server]:
    """Run the server on a folder of its own; it must stop cleanly on Ctrl-C."""
    running = Server(
        tmp_path_factory.mktemp("data"),
        OPENAI_BASE_URL=model.base_url,
        OPENAI_API_KEY="key-of-a-test",
        ODAI_SOCKETS_PER_USER="6",
        ODAI_LOG_LEVEL="DEBUG",
        ODAI_EGRESS_MAP=vendors.egress_map,
    )
    yield running
    assert running.stop() == 0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers of the test's own, on one folder; whatever still runs is stopped."""
    started: list[Server] = []

    def begin(**settings: str) -> Server:
        started.append(Server(tmp_path / "data", **settings))
        return started[-1]

    yield begin
    for each in started:
        if each.process.poll() is None:
            each.stop()


@pytest.fixture
def page() -> Iterator[Any]:
    """Open an empty page in Chromium; its complaints are kept in `page.complaints`."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Chromium is missing: install the chromium package.")
        pytest.skip("Chromium is not installed here.")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        opened = browser.new_page()
        opened.set_default_timeout(MILLISECONDS)
        opened.complaints = []
        opened.on("pageerror", lambda err: opened.complaints.append(str(err)))
        opened.on(
            "console",
            lambda said: said.type == "error" and opened.complaints.append(said.text),
        )
        yield opened
        browser.close()
