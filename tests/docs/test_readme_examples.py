"""What the README shows works when it is done as written."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

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
    shutil.copy2(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    shutil.copy2(ROOT / "pyproject.toml", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/connectors"],
        cwd=tmp_path, env=environment(tmp_path / "data"), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r"\d\d passed", done.stdout), done.stdout


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
