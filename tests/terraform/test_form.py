"""The configuration's form, and the decisions of it that must not be lost in passing."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.terraform.configuration import FOLDER, TERRAFORM, blocks, evaluate, resources, text

FILES = sorted([*FOLDER.glob("*.tf"), *FOLDER.glob("*.tfvars")])


def only(kind: str, name: str = "") -> dict[str, Any]:
    """Return the body of the one resource of a kind."""
    (found,) = [e for e in resources() if e.kind == kind and name in ("", e.name)]
    return found.body


@pytest.mark.skipif(TERRAFORM is None, reason="Terraform is not installed")
def test_terraform_would_format_nothing_anew() -> None:
    """`terraform fmt -check`, on every file."""
    assert TERRAFORM
    done = subprocess.run([TERRAFORM, "fmt", "-check", "-no-color", FOLDER], capture_output=True)
    assert done.returncode == 0, done.stdout.decode()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_is_indented_and_says_what_it_is(path: Path) -> None:
    """Two spaces a level, no tabs, and a first line that says why the file is there."""
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ")
    depth = 0
    for line in lines:
        assert "\t" not in line and line == line.rstrip()
        code = re.sub(r'"(?:[^"\\]|\\.)*"|#.*', "", line).strip()
        depth -= 1 if code[:1] in ("}", "]", ")") else 0
        assert not code or len(line) - len(line.lstrip()) == 2 * depth, (path.name, line)
        opened = sum(code.count(c) for c in "{[(") - sum(code.count(c) for c in "}])")
        depth += (1 if opened > 0 else 0) if code[:1] not in ("}", "]", ")") else (opened + 1 > 0)
    assert depth == 0


@pytest.mark.parametrize("kind", ["variable", "output"])
def test_variables_and_outputs_are_described_and_in_order(kind: str) -> None:
    """Whoever sets or reads one finds it, and learns what it is for."""
    found = blocks(kind)
    assert list(found) == sorted(found)
    assert all(len(text(body.get("description", ""))) > 10 for body in found.values())


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_an_environment_sets_variables_that_exist(environment: str) -> None:
    """A misspelt line in a .tfvars would be ignored with a warning nobody reads."""
    content = (FOLDER / f"{environment}.tfvars").read_text()
    assert set(re.findall(r"^(\w+)\s*=", content, re.MULTILINE)) <= set(blocks("variable"))


@pytest.mark.skipif(TERRAFORM is None, reason="Terraform is not installed")
def test_the_environments_differ_where_they_should(tmp_path: Path) -> None:
    """Development costs nothing while nobody uses it; production always has two instances."""
    expression = "[var.min_instances, var.max_instances, var.delete_protection]"
    assert evaluate(tmp_path, expression, environment="dev") == [0, 1, False]
    assert evaluate(tmp_path, expression, environment="prod") == [2, 20, True]


def test_the_container_is_set_up_for_sockets() -> None:
    """A socket may last an hour; a thousand of them fit; turns go on between requests."""
    template = only("google_cloud_run_v2_service")["template"][0]
    assert text(template["timeout"]) == "3600s"
    assert template["max_instance_request_concurrency"] == 1000
    assert template["session_affinity"] is True
    resources_of = template["containers"][0]["resources"][0]
    assert (resources_of["cpu_idle"], resources_of["startup_cpu_boost"]) == (False, True)
    assert text(template["containers"][0]["ports"][0]["name"]) == "http1"


def test_the_data_can_be_brought_back() -> None:
    """The key rotates and stays; the database can be read as it was, and is copied."""
    key = only("google_kms_crypto_key")
    assert text(key["rotation_period"]) == f"{90 * 86400}s"
    assert key["lifecycle"][0]["prevent_destroy"] is True
    database = only("google_firestore_database")
    enabled = "POINT_IN_TIME_RECOVERY_ENABLED"
    assert text(database["point_in_time_recovery_enablement"]) == enabled
    schedules = [e.name for e in resources() if e.kind == "google_firestore_backup_schedule"]
    assert schedules == ["daily", "weekly"]


def test_clients_never_reach_the_database() -> None:
    """The rules deny everything to everybody."""
    rules = (FOLDER / "firestore.rules").read_text()
    assert re.findall(r"allow .*", rules) == ["allow read, write: if false;"]
    assert "match /{document=**}" in rules


def test_what_cannot_be_delivered_is_kept() -> None:
    """Every subscription that somebody answers has a dead-letter topic, and a limit of tries."""
    for each in resources():
        if each.kind == "google_pubsub_subscription" and each.name != "undelivered":
            policy = each.body["dead_letter_policy"][0]
            assert "google_pubsub_topic.undelivered" in text(policy["dead_letter_topic"])
            assert 5 <= policy["max_delivery_attempts"] <= 100


def test_pushes_and_tasks_are_signed() -> None:
    """Whatever calls our functions proves by OIDC that it is ours."""
    push = only("google_pubsub_subscription", "push")["push_config"][0]
    queue = only("google_cloud_tasks_queue")["http_target"][0]
    for signed in (push, queue, only("google_cloud_scheduler_job", "function")["http_target"][0]):
        token = signed["oidc_token"][0]
        assert text(token["service_account_email"]) == "google_service_account.invoker.email"
        assert token["audience"]
