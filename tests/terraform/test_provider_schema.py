"""The provider's own schema: every block and argument we write exists, none it requires is missing.

`provider.json` holds the part of google 6.50's schema that we use, taken by `read_provider.py` from
the bindings that HashiCorp generated of it. `terraform validate` says more, and needs a network.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.terraform.configuration import Resource, resources

SCHEMA: dict[str, Any] = json.loads((Path(__file__).parent / "provider.json").read_text())
META = {"count", "depends_on", "for_each", "lifecycle", "provider", "timeouts"}
OURS = [each for each in resources() if each.kind.startswith("google_")]


@pytest.mark.parametrize("resource", OURS, ids=str)
def test_every_argument_is_the_providers(resource: Resource) -> None:
    """A misspelt or missing argument would stop the first deployment of whoever tries this."""
    assert list(_problems(resource.body, SCHEMA[resource.kind], "", top=True)) == []


def test_a_wrong_argument_is_found() -> None:
    """The check itself can fail: at the top, in a block, and where something is left out."""
    schema = SCHEMA["google_kms_crypto_key"]
    wrong = {"name": "x", "rotation": "1s", "version_template": [{"algorithms": 1}]}
    assert sorted(_problems(wrong, schema, "", top=True)) == [
        "key_ring is missing", "rotation is unknown", "version_template.algorithm is missing",
        "version_template.algorithms is unknown",
    ]  # fmt: skip


def _problems(body: Any, schema: dict[str, Any], where: str, *, top: bool = False) -> Iterator[str]:
    given = {name: value for name, value in body.items() if not name.startswith("__")}
    dynamic = given.pop("dynamic", [])
    for entry in dynamic if isinstance(dynamic, list) else [dynamic]:
        for name, block in entry.items():
            if not name.startswith("__"):
                given.setdefault(name.strip('"'), []).extend(block["content"])
    for name, value in given.items():
        if top and name in META:
            continue
        if name not in schema:
            yield f"{where}{name} is unknown"
            continue
        inner = schema[name].get("block")
        for part in value if inner and isinstance(value, list) else []:
            if isinstance(part, dict):
                yield from _problems(part, inner, f"{where}{name}.")
    for name, kind in schema.items():
        if kind["required"] and name not in given:
            yield f"{where}{name} is missing"
