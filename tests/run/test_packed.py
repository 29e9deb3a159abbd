"""The page's files travel compressed to those who take it, and are what they were."""

from __future__ import annotations

import gzip
from collections.abc import Callable

from common.bootstrap import Services
from run.chat_stream.app import create_app


def test_files_are_compressed_for_those_who_take_it(services: Callable[..., Services]) -> None:
    """A browser gets gzip and revalidates by tag; another client gets the file as it is."""
    http = create_app(services()).test_client()
    plain = http.get("/static/app.js", buffered=True)
    gzip_too = {"Accept-Encoding": "gzip, br"}
    packed = http.get("/static/app.js", headers=gzip_too, buffered=True)
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    for answer in (plain, packed):
        assert "Accept-Encoding" in answer.headers["Vary"]
    assert gzip.decompress(packed.data) == plain.data
    assert len(packed.data) < len(plain.data) / 2
    tag = packed.headers["ETag"]
    known = {**gzip_too, "If-None-Match": tag}
    again = http.get("/static/app.js", headers=known, buffered=True)
    assert again.status_code == 304
    assert "Content-Encoding" not in http.get("/healthz").headers
