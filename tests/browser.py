"""Debian's Chromium, found and started in one way, for every test and script with a real browser.

It keeps to itself: no update, sync or background traffic, so that what a page asks for is all that
is asked for. Missing, it fails in CI and skips elsewhere.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

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
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
    "device_scale_factor": 2,
}


def chromium() -> str | None:
    """Return where Chromium is: CHROMIUM, or the first on the PATH."""
    return (
        os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    )


@contextmanager
def launching() -> Iterator[Callable[..., Browser]]:
    """Return what starts Chromium: once for each set of flags, which come on top of FLAGS.

    While the block runs, this thread can start no event loop of asyncio: Playwright's is in it.
    """
    found = chromium()
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Chromium is missing: install the chromium package.")
        pytest.skip("Chromium is not installed here.")
    # Only what opens a browser pays for importing Playwright.
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=MILLISECONDS)
    with sync_playwright() as playwright:
        started: dict[tuple[str, ...], Browser] = {}

        def launch(*flags: str) -> Browser:
            if flags not in started:
                started[flags] = playwright.chromium.launch(
                    executable_path=found, args=[*FLAGS, *flags]
                )
            return started[flags]

        try:
            yield launch
        finally:
            for browser in started.values():
                browser.close()


@contextmanager
def launched(*flags: str) -> Iterator[Browser]:
    """Start one Chromium."""
    with launching() as launch:
        yield launch(*flags)


def opened(browser: Browser, **context: Any) -> Any:
    """Open an empty page in a context of its own (DESKTOP, PHONE, `color_scheme`, …).

    `page.complaints` lists what its scripts threw and what its console called an error.
    """
    page: Any = browser.new_context(**context).new_page()
    page.set_default_timeout(MILLISECONDS)
    page.complaints = []
    page.on("pageerror", lambda err: page.complaints.append(str(err)))
    page.on("console", lambda said: said.type == "error" and page.complaints.append(said.text))
    return page
