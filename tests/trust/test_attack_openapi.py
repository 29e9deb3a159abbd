"""Every endpoint against requests made from its own description: what fits, and what does not.

`ODAI_TEST_FUZZ` is how many requests of each kind each endpoint gets; `make test` sends a few.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from common.bootstrap import Services
from common.web.openapi import ENDPOINTS, Endpoint, document, document_text
from run.local.functions import aliases, function_names
from tests.trust.attacked import BY_ROUTE, Target, signing, targets
from tests.trust.endpoints import served

ROOT = Path(__file__).parents[2]
EXAMPLES = max(4, int(os.environ.get("ODAI_TEST_FUZZ", "0")))
# A queue is told by 503 to come again later: that is an answer, and not a fault.
QUEUES = {"post_due", "post_twilio_texts", "post_connector_worker"}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The suite, for all of these tests: what one of them leaves behind meets the next."""
    from common.loop import LoopThread
    from common.settings import Settings

    folder, made = tmp_path_factory.mktemp("attacked"), []

    def make(**environ: str) -> Services:
        environ = {"ODAI_DATA": str(folder), "ODAI_SMALL_MODEL": "off", **environ}
        made.append(Services(Settings.from_env(environ), LoopThread()))
        return made[-1]

    yield from targets(make)
    for each in made:
        each.close()


def test_the_document_is_that_of_the_code() -> None:
    """A client generated from the document calls what is served today."""
    kept = (ROOT / "docs" / "openapi.json").read_text()
    assert kept == document_text(aliases()), "python -m run.local docs"


def test_every_page_is_described_and_every_description_is_a_page(target: Target) -> None:
    """A page that is added, moved or removed changes the document with it."""
    described = {(each.method, each.path) for each in ENDPOINTS}
    found = served(target.app, function_names())
    assert len(described) == len(ENDPOINTS) and found - described == set() == described - found


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.id)
def test_nothing_that_can_be_sent_is_a_fault(endpoint: Endpoint, target: Target) -> None:
    """What fits is answered as described, what does not is refused; a fault of ours is neither."""
    _attack(endpoint, target, GenerationMode.POSITIVE)
    if endpoint.takes or endpoint.query or "{" in endpoint.path:  # else nothing can be wrong
        _attack(endpoint, target, GenerationMode.NEGATIVE)


def _attack(endpoint: Endpoint, target: Target, mode: GenerationMode) -> None:
    checks: list[Callable[..., Any]] = [
        status_code_conformance, content_type_conformance, response_schema_conformance,
    ]  # fmt: skip
    if endpoint.id not in QUEUES:
        checks.append(not_a_server_error)
    if mode is GenerationMode.NEGATIVE and endpoint.caller != "anybody":
        checks.append(negative_data_rejection)
    cases = _operations(target)[endpoint.id].as_strategy(generation_mode=mode)

    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=cases)
    def attack(case: Any) -> None:
        answer = case.call(headers=target.headers(endpoint, f"user-of-{endpoint.id}"))
        assert answer.status_code != 500
        case.validate_response(answer, checks=checks)

    attack()


def _operations(target: Target) -> dict[str, Any]:
    found: dict[str, Any] = target.app.extensions.get("described", {})
    if not found:
        whole = document({})
        for methods in whole["paths"].values():  # tokens are another test's
            for operation in methods.values():
                operation.pop("security", None)
        schema = schemathesis.openapi.from_dict(whole)
        schema.app = signing(target.app, target.services.settings.base_url)
        for result in schema.get_all_operations():
            operation = result.ok()
            found[BY_ROUTE[operation.method.upper(), operation.path].id] = operation
        target.app.extensions["described"] = found
    return found
