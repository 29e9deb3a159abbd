"""Pages read: the article without its frame, and nothing from inside our own house."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput, NotAllowed, NotFound, VendorRejected, VendorUnavailable

from ..conftest import Replay

FETCH = "fetch_website"
URL = "https://www.example.org/page"


def data(outcome: Any) -> Any:
    assert outcome.result, outcome.error
    return outcome.result.data


def page(body: str, kind: str = "text/html", status: int = 200) -> dict[str, Any]:
    return {
        "request": {"host": "www.example.org", "path": "/page"},
        "response": {"status": status, "content_type": kind, "text": body},
    }


def test_the_article_without_its_frame(replay: Replay) -> None:
    """Menus and footers are left out; title, site and date are told; the text is marked."""
    outcome = replay(f"{FETCH}__success")
    found = data(outcome)
    assert outcome.summary.startswith("The lighthouse: ")
    assert "built in 1871" in found["content"]
    assert "fingerprint" not in found["content"] + outcome.summary
    assert "Imprint" not in found["content"]
    assert (found["published"], found["parts"]) == ("2026-10-01", 1)
    assert outcome.result
    assert outcome.result.untrusted
    assert outcome.result.response_type == "website_content"


def test_text_that_is_no_page_comes_as_it_is(replay: Replay) -> None:
    """JSON needs no extraction."""
    assert data(replay(f"{FETCH}__json"))["content"] == '{"a": [1, 2]}'


def test_a_redirect_is_followed_and_named(replay: Replay) -> None:
    """The source is where the page really is."""
    found = data(replay(f"{FETCH}__redirect"))
    assert found["url"] == "https://www.example.org/lighthouse"


def test_a_redirect_into_our_house_is_refused(replay: Replay) -> None:
    """A page cannot lead us to a metadata server."""
    assert isinstance(replay(f"{FETCH}__redirect_inside").error, NotAllowed)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/",
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://10.0.0.8/admin",
        "http://169.254.169.254/latest",
        "ftp://example.org/",
        "file:///etc/passwd",
        "hello",
        "",
    ],
)
def test_addresses_that_are_no_public_page(replay: Replay, url: str) -> None:
    """Private addresses and other schemes reach nobody."""
    assert isinstance(replay.run(FETCH, {"url": url}).error, (InvalidInput, NotAllowed))


def test_a_long_page_comes_in_parts(replay: Replay) -> None:
    """The second part goes on where the first ended, and a part too far is told."""
    body = (
        "<html><body><article>"
        + "".join(
            f"<p>Paragraph {i} says something of its own about lighthouses, boats and fog.</p>"
            for i in range(150)
        )
        + "</article></body></html>"
    )
    first = replay.run(FETCH, {"url": URL}, page(body))
    second = replay.run(FETCH, {"url": URL, "part": 2}, page(body))
    assert "This is part 1 of 3." in first.summary
    assert len(first.for_model().encode()) <= 6 * 1024
    last = data(first)["content"].split("Paragraph ")[-1].split()[0]
    assert f"Paragraph {int(last) + 1} " in data(second)["content"]
    assert isinstance(replay.run(FETCH, {"url": URL, "part": 9}, page(body)).error, InvalidInput)


@pytest.mark.parametrize(
    ("status", "error"), [(403, VendorRejected), (410, NotFound), (500, VendorUnavailable)]
)
def test_a_site_that_refuses(replay: Replay, status: int, error: type[Exception]) -> None:
    """Locked, gone and broken are told apart."""
    assert type(replay.run(FETCH, {"url": URL}, page("x", status=status)).error) is error


def test_a_scripts_empty_shell(replay: Replay) -> None:
    """Without a browser the page is said to be unreadable; Cloudflare's reads it."""
    assert isinstance(replay(f"{FETCH}__shell").error, VendorUnavailable)
    rendered = {
        "request": {
            "method": "POST",
            "host": "api.cloudflare.com",
            "path": "/client/v4/accounts/acc/browser-rendering/markdown",
            "headers": {"Authorization": "Bearer t"},
            "json": {"url": URL},
        },
        "response": {"json": {"success": True, "result": "# App\n\nHello from the app."}},
    }
    keys = {"CLOUDFLARE_ACCOUNT_ID": "acc", "CLOUDFLARE_API_TOKEN": "t"}
    shell = page("<html><body><div id=root></div></body></html>")
    outcome = replay.run(FETCH, {"url": URL}, shell, rendered, secrets=keys)
    assert data(outcome)["content"] == "# App\n\nHello from the app."


def test_a_pdf_is_said_to_be_one(replay: Replay) -> None:
    """What cannot be read is named."""
    outcome = replay.run(FETCH, {"url": URL}, page("%PDF-1.7", "application/pdf"))
    assert "a PDF" in outcome.summary
