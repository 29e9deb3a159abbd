"""Who may do what: nothing but what is listed here, to nobody but whom it is listed for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from run.local.cloud import GRANTS, access_table
from run.local.functions import declared, function_names
from tests.terraform.configuration import FOLDER, TERRAFORM, Resource, evaluate, resources, text

# Role → the resources that may give it, and so on what and to whom.
ALLOWED = {
    "roles/artifactregistry.writer": {"builder"},
    "roles/bigquery.dataEditor": {"pubsub_writes"},  # on the one dataset
    "roles/bigquery.metadataViewer": {"pubsub_writes"},
    "roles/cloudkms.cryptoKeyEncrypterDecrypter": {"wraps"},  # on the one key
    "roles/cloudtasks.enqueuer": {"enqueuer"},  # on each queue
    "roles/cloudtrace.agent": {"runner"},
    "roles/datastore.user": {"runner"},  # Firestore has nothing narrower than the project
    "roles/iam.serviceAccountTokenCreator": {
        "doctor_signs", "deployer_signs_as_doctor", "pubsub_signs",
    },
    "roles/iam.serviceAccountUser": {"names_invoker", "deployer"},
    "roles/iam.workloadIdentityUser": {"ci"},
    "roles/logging.logWriter": {"builder"},
    "roles/pubsub.publisher": {"publisher", "gives_up"},  # on each topic
    "roles/pubsub.subscriber": {"gives_up", "bigquery_gives_up"},
    "roles/run.invoker": {"public", "platform", "chat_stream", "doctor"},
    "roles/secretmanager.secretAccessor": {"reader"},  # on each secret
    "roles/storage.objectViewer": {"builder"},
}  # fmt: skip

# What the pipeline may do: it makes everything in the folder. Never more than a service's own role.
DEPLOYER = {
    "roles/artifactregistry.admin", "roles/bigquery.admin", "roles/cloudbuild.builds.editor",
    "roles/cloudfunctions.admin", "roles/cloudkms.admin", "roles/cloudscheduler.admin",
    "roles/cloudtasks.admin", "roles/compute.loadBalancerAdmin", "roles/compute.securityAdmin",
    "roles/datastore.owner", "roles/firebaserules.admin", "roles/iam.serviceAccountAdmin",
    "roles/iam.serviceAccountUser", "roles/iam.workloadIdentityPoolAdmin",
    "roles/identitytoolkit.admin", "roles/logging.admin", "roles/monitoring.admin",
    "roles/pubsub.admin", "roles/resourcemanager.projectIamAdmin", "roles/run.admin",
    "roles/secretmanager.admin", "roles/serviceusage.apiKeysAdmin",
    "roles/serviceusage.serviceUsageAdmin", "roles/storage.admin",
}  # fmt: skip
GRANTING = [each for each in resources() if re.search("_iam_(member|binding|policy)$", each.kind)]


def roles_of(resource: Resource) -> set[str]:
    """Return the roles a resource gives; those it takes from locals are `runner`'s."""
    if resource.name == "runner":
        return set(
            re.findall(r"roles/[\w.]+", (FOLDER / "iam.tf").read_text().split("resource")[0])
        )
    return set(re.findall(r"roles/[\w.]+", f"{resource.body}"))


@pytest.mark.parametrize("resource", GRANTING, ids=str)
def test_only_listed_roles_are_given_and_only_where_listed(resource: Resource) -> None:
    """A role that is new, or given by another resource, must be thought about here first."""
    given = roles_of(resource)
    assert given
    if resource.name == "deployer":
        assert given == DEPLOYER
        return
    assert {role for role in given if resource.name not in ALLOWED.get(role, ())} == set()


def test_every_listed_role_is_still_given() -> None:
    """The list holds nothing that nobody needs any more."""
    given = {(role, each.name) for each in GRANTING for role in roles_of(each)}
    assert {(r, name) for r, names in ALLOWED.items() for name in names} <= given


def test_grants_add_and_never_replace() -> None:
    """Nothing takes away what others were given: members are added one by one."""
    assert all(each.kind.endswith("_iam_member") for each in GRANTING)
    assert not re.search(r"roles/(owner|editor|viewer)\b", _everything())


def test_only_public_services_are_open_to_everybody() -> None:
    """`allUsers` may call the container and the public functions, and nothing else."""
    opened = {each.name for each in GRANTING if "allUsers" in str(each.body)}
    assert opened == {"public", "chat_stream"}
    (public,) = [each for each in GRANTING if each.name == "public"]
    assert text(public.body["for_each"]) == "local.public_functions"


def test_no_account_has_a_key() -> None:
    """Nothing can be copied off: no account keys, for CI neither."""
    assert not [each for each in resources() if each.kind == "google_service_account_key"]


@pytest.mark.skipif(TERRAFORM is None, reason="Terraform is not installed")
def test_an_identity_is_given_what_it_uses(tmp_path: Path) -> None:
    """The table in docs/operations.md and Terraform's own grants say the same."""
    uses: dict[str, Any] = evaluate(tmp_path, "local.uses_of")
    grants = evaluate(tmp_path, "local.project_grants")
    for name, parts in uses.items():
        on_project = {each["role"] for each in grants.values() if each["name"] == name}
        wanted = {r for p in parts for r, where, _ in GRANTS[p] if where == "the project"}
        assert on_project == {*wanted, "roles/cloudtrace.agent"}
    for part, using in (
        ("keys", "using_keys"),
        ("tasks", "using_tasks"),
        ("events", "using_events"),
    ):
        chosen = set(evaluate(tmp_path, f"keys(local.{using})"))
        assert chosen == {name for name, parts in uses.items() if part in parts}
    table = access_table()
    for name in function_names():
        account = f"fn-{name.replace('_', '-')}"
        assert f"| {account} |" in table
        for secret in declared(name).get("secrets", []):
            assert secret in table or secret == "connectors" or len(secret) == 1


def _everything() -> str:
    return "".join(path.read_text() for path in FOLDER.glob("*.tf"))
