"""Kill -9 at random points of conversations: nothing is lost, told twice or done twice.

`ODAI_TEST_KILLS` sets how many points (200 in `make soak`), `ODAI_TEST_SEED` which.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.fakes.openai_responses import FakeOpenAI
from tests.fakes.suite import Suite
from tests.trust.faults_kills import model, survive

KILLS = int(os.environ.get("ODAI_TEST_KILLS", "6"))
SEED = int(os.environ.get("ODAI_TEST_SEED", "11"))


@pytest.mark.timeout(90 + 15 * KILLS)
def test_a_killed_server_changes_no_facts(tmp_path: Path) -> None:
    """Whenever the server dies, every chat comes to the facts that it would have come to."""
    problems: list[str] = []
    with FakeOpenAI(default=model) as fake:
        environ = {"OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEY": "k"}
        with Suite(tmp_path, ODAI_SOCKETS_PER_USER="1000", **environ) as suite:
            figures = asyncio.run(survive(suite, KILLS, SEED, problems.append))
    print(figures)
    assert not figures.failures, problems
