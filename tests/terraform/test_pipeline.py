"""cloudbuild.yaml: the order of its steps, that its scripts can be read, and what holds it back."""

from __future__ import annotations

import re
import subprocess
from itertools import pairwise
from typing import Any

import pytest
import yaml

from run.local.cloud import access_table
from tests.terraform.configuration import ROOT

BUILD: dict[str, Any] = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())
STEPS: dict[str, dict[str, Any]] = {step["id"]: step for step in BUILD["steps"]}
SCRIPTS = {name: step["args"][-1] for name, step in STEPS.items() if "\n" in step["args"][-1]}


def before(name: str) -> set[str]:
    """Return every step that has ended when this one begins."""
    waits = STEPS[name].get("waitFor", [])
    direct = {other for other in waits if other != "-"}
    return direct.union(*(before(other) for other in direct))


def test_each_step_follows_what_it_needs() -> None:
    """Check, test, stage, build, plan, apply, a real turn, and back if it failed: in this order."""
    order = ["check", "guard", "stage", "plan", "remember", "apply", "smoke", "rollback"]
    for earlier, later in pairwise(order):
        assert earlier in before(later), (earlier, later)
    assert {"build", "terraform-check", "checkov"} <= before("apply")
    assert STEPS["check"]["args"] == [".ci/run"]
    listed = list(STEPS)
    for name in listed:  # Cloud Build wants a step after those it waits for
        assert all(listed.index(other) < listed.index(name) for other in before(name))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_steps_script_can_be_read(name: str) -> None:
    """No step dies of a typing mistake in the middle of a deployment."""
    script = SCRIPTS[name].replace("$$", "$")
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["stage", "build", "plan", "remember", "apply", "smoke"])
def test_checks_alone_deploy_nothing(name: str) -> None:
    """Without `_DEPLOY` every later step ends before it does anything."""
    first = SCRIPTS[name].strip().splitlines()[0]
    assert first == '[ "${_DEPLOY}" = none ] && exit 0'
    assert BUILD["substitutions"]["_DEPLOY"] == "none"


@pytest.mark.parametrize(
    ("deploy", "trigger", "code"),
    [("none", "", 0), ("dev", "", 0), ("prod", "", 1), ("prod", "prod", 0), ("test", "", 1)],
)
def test_prod_waits_for_approval(deploy: str, trigger: str, code: int) -> None:
    """Only a trigger, which waits for somebody's approval, deploys prod."""
    script = SCRIPTS["guard"].replace("${_DEPLOY}", deploy).replace("$TRIGGER_NAME", trigger)
    assert subprocess.run(["bash", "-ec", script], capture_output=True).returncode == code


def test_only_known_substitutions_are_used() -> None:
    """Cloud Build refuses a file that names a substitution nobody declared."""
    known = {*BUILD["substitutions"], "PROJECT_ID", "BUILD_ID", "TRIGGER_NAME"}
    for script in SCRIPTS.values():
        used = set(re.findall(r"(?<!\$)\$\{?(\w+)\}?", script.replace("$$(", "(")))
        used -= set(re.findall(r"\$\$\{?(\w+)", script))
        assert used <= known


def test_who_may_do_what_is_current() -> None:
    """The table in the operator's handbook is the one the code gives."""
    assert access_table() in (ROOT / "docs" / "operations.md").read_text()
