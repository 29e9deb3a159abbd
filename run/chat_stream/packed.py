"""The page's files compressed, each once: what a phone on a slow line waits for.

Neither the server nor Cloud Run compresses by itself. Only the files and the page's settings are:
they are the same for everybody and hold no secret, so that a length tells nothing (BREACH).
"""

from __future__ import annotations

import gzip
from functools import lru_cache

from flask import Flask, Response, request

_KINDS = ("text/", "application/javascript", "application/json", "image/svg+xml")
_WORTH_IT = 512  # bytes


def install(app: Flask) -> None:
    """Send the files of `app` with gzip to clients that take it."""

    @app.after_request
    def packed(response: Response) -> Response:
        named = request.endpoint in ("static", "page", "client_config")
        if not named or response.status_code != 200 or not _packs(response):
            return response
        response.headers.add("Vary", "Accept-Encoding")
        if not request.accept_encodings["gzip"]:
            return response
        response.direct_passthrough = False
        body = response.get_data()
        if len(body) < _WORTH_IT:
            return response
        response.set_data(_gzip(body))
        response.headers["Content-Encoding"] = "gzip"
        # The packed bytes are others than the file's own: only a weak tag may name both.
        tag, _ = response.get_etag()
        if tag:
            response.set_etag(tag, weak=True)
        return response


def _packs(response: Response) -> bool:
    kind = response.mimetype or ""
    return "Content-Encoding" not in response.headers and kind.startswith(_KINDS)


@lru_cache(maxsize=128)
def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, 9, mtime=0)
