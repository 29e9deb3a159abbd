"""Secrets from Secret Manager.

https://cloud.google.com/secret-manager/docs/reference/rest (2026-11).

Functions get theirs as mounted variables; this is for operators' commands and for whoever must see
a new version without a new revision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from common.errors import Misconfigured, VendorUnavailable
from common.google_rest import GoogleRefusal, GoogleRest, crc32c, decode

_ABSENT = {"NOT_FOUND", "FAILED_PRECONDITION"}  # no such secret; its latest version is switched off


async def read_secrets(names: Iterable[str], project: str, *, api: GoogleRest) -> dict[str, str]:
    """Return the latest version of each secret, leaving out missing, disabled and destroyed ones.

    Raises Misconfigured when one may not be read or is not text, VendorUnavailable: retry.
    """
    wanted = list(dict.fromkeys(names))
    values = await asyncio.gather(*(_read(name, project, api) for name in wanted))
    return {name: value for name, value in zip(wanted, values, strict=True) if value is not None}


async def _read(name: str, project: str, api: GoogleRest) -> str | None:
    path = f"/v1/projects/{project}/secrets/{name}/versions/latest:access"
    try:
        answer = await api.call("secretmanager", "GET", path)
    except GoogleRefusal as err:
        if err.code in _ABSENT:
            return None
        raise Misconfigured(f"Secret {name!r} cannot be read: {err.code}.") from err
    payload = answer.get("payload", {})
    data = decode(payload, "data")
    if "dataCrc32c" in payload and str(payload["dataCrc32c"]) != str(crc32c(data)):
        raise VendorUnavailable(f"Secret {name!r} arrived damaged. Try again.")
    try:
        return data.decode()
    except UnicodeDecodeError:
        # Not chained: the decoding error quotes the secret.
        raise Misconfigured(f"Secret {name!r} is not UTF-8 text.") from None
