"""What the README shows works when it is done as written."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from common.llm.arguments import ToolSpec
from common.llm.planner import Planner
from common.tools import Entry, Registry
from tests.fakes.vendors import Vendors
from tests.run.serving import Server, environment

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


def block(marker: str) -> tuple[str, str]:
    """Return what the marker names, if anything, and the code that follows it."""
    text = (ROOT / "README.md").read_text()
    found = re.search(rf"<!-- {marker}:? ?(\w*) -->\n```python\n(.*?)```", text, re.DOTALL)
    assert found, marker
    return found[1], found[2]


def test_the_example_connector_is_complete(tmp_path: Path) -> None:
    """Dropped in as the only connector there is, it keeps the contract of all connectors."""
    slug, code = block("example connector")
    shutil.copytree(
        ROOT / "common", tmp_path / "common", ignore=shutil.ignore_patterns("__pycache__")
    )
    connectors = tmp_path / "common" / "connectors"
    for module in connectors.glob("[a-z]*.py"):
        module.unlink()
    (connectors / f"{slug}.py").write_text(code)
    tests = tmp_path / "tests" / "connectors"
    shutil.copytree(HERE / slug, tests / slug)
    for name in ("__init__.py", "conftest.py", "test_registry_contract.py"):
        shutil.copy2(ROOT / "tests" / "connectors" / name, tests / name)
    for name in ("conftest.py", "browser.py"):
        shutil.copy2(ROOT / "tests" / name, tmp_path / "tests")
    shutil.copy2(ROOT / "pyproject.toml", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/connectors"],
        cwd=tmp_path, env=environment(tmp_path / "data"), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r"\d\d passed", done.stdout), done.stdout


def test_the_examples_of_the_example_work_offline() -> None:
    """What it offers to try is planned without a model; a country goes by its name as well."""
    module: dict[str, Any] = {"__name__": "common.connectors.nager_date"}
    exec(compile(block("example connector")[1], "README.md", "exec"), module)
    tool = module["get_public_holidays"]
    registry = Registry([Entry("nager_date", module["CONNECTOR"], (tool,))])
    spec = ToolSpec(tool.name, tool.description, tool.parameters.schema)
    now = dt.datetime(2026, 11, 25, tzinfo=dt.UTC)
    made = []
    for text in module["CONNECTOR"].examples:
        (call,) = Planner(registry).plan([text], now=now, tools=[spec]).calls
        made.append((call.arguments["country"], call.arguments["year"]))
    assert made == [("France", 2027), ("GB", None), ("Japan", 2026)]


def test_the_example_client_prints_an_answer(tmp_path: Path) -> None:
    """Ten lines of a program suffice to ask something and to read the answer."""
    script = tmp_path / "client.py"
    script.write_text(block("example client")[1])
    with Vendors() as vendors:
        server = Server(tmp_path / "data", ODAI_EGRESS_MAP=vendors.egress_map)
        try:
            done = subprocess.run(
                [sys.executable, script, server.base, server.token("Ada"), "250 euros in dollars?"],
                env=environment(tmp_path / "data"), capture_output=True, text=True, timeout=60,
            )  # fmt: skip
        finally:
            server.stop()
    assert "270.5" in done.stdout, done.stderr
