"""Secrets read from Secret Manager."""

from __future__ import annotations

import asyncio

import pytest

from common.errors import Misconfigured, VendorUnavailable
from common.google_rest import GoogleRest
from common.keys.secret_manager import read_secrets
from tests.fakes.google_apis import GoogleApis


def test_only_usable_secrets_are_returned() -> None:
    """The latest version counts; a missing or switched-off secret is simply not there."""

    async def main() -> None:
        async with GoogleApis() as google:
            google.secrets.add("p", "good", "κλειδί".encode())
            google.secrets.add("p", "off", b"old", enabled=False)
            google.secrets.add("other", "missing", b"x")
            google.fail_next(1)
            api = GoogleRest(root=google.url, backoff_s=0.001)
            names = ["good", "off", "missing", "good"]
            assert await read_secrets(names, "p", api=api) == {"good": "κλειδί"}
            await api.close()

    asyncio.run(main())


def test_trouble_is_not_taken_for_absence() -> None:
    """An outage, damage or a missing role stops the start instead of dropping a secret."""

    async def main() -> None:
        async with GoogleApis() as google:
            google.secrets.add("p", "good", b"value")
            google.secrets.add("p", "binary", b"\xff\xfe")
            api = GoogleRest(root=google.url, backoff_s=0.001, attempts=2)
            with pytest.raises(Misconfigured) as caught:
                await read_secrets(["binary"], "p", api=api)
            assert caught.value.__cause__ is None
            google.secrets.corrupt = True
            with pytest.raises(VendorUnavailable):
                await read_secrets(["good"], "p", api=api)
            google.fail_next(1, "PERMISSION_DENIED")
            with pytest.raises(Misconfigured):
                await read_secrets(["good"], "p", api=api)
            google.fail_next(2)
            with pytest.raises(VendorUnavailable):
                await read_secrets(["good"], "p", api=api)
            await api.close()

    asyncio.run(main())
