"""`make deploy` and `make destroy`: what is missing is said at once; nothing happens unasked."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from common.errors import Misconfigured
from run.local.deploy import Deployment, Done

OUTPUTS = {
    "url": {"value": "https://odai.example.com"}, "address": {"value": "192.0.2.7"},
    "doctor": {"value": "odai-doctor@my-project.iam.gserviceaccount.com"},
}  # fmt: skip


class Shell:
    """Plays the commands; `answers` gives those whose beginning it names, everything else works."""

    def __init__(self, **answers: Done) -> None:
        self.answers = {name.replace("_", " "): done for name, done in answers.items()}
        self.said: list[str] = []
        self.staged = False

    def __call__(self, command: Sequence[str]) -> Done:
        line = " ".join(part for part in command if not part.startswith("-chdir"))
        self.said.append(line)
        for beginning, done in self.answers.items():
            if line.startswith(beginning):
                return done
        if line.startswith("terraform version"):
            return Done(0, '{"terraform_version": "1.11.4"}')
        if line.startswith("gcloud billing"):
            return Done(0, "True\n")
        if line.startswith("terraform output"):
            return Done(0, json.dumps(OUTPUTS))
        if "images describe" in line:
            return Done(0, "sha256:abc\n")
        return Done(0)

    def stage(self, _: object) -> None:
        self.staged = True

    def deployment(self, project: str = "my-project", *answers: str) -> Deployment:
        given = iter(answers)
        return Deployment(
            project, "dev", "us-central1",
            run=self, show=self, ask=lambda _: next(given), stage=self.stage,
        )  # fmt: skip

    def ran(self, beginning: str) -> list[str]:
        return [line for line in self.said if line.startswith(beginning)]


def test_a_deployment_goes_its_way_and_prints_the_addresses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Agreed to, staged, built, planned, agreed to, applied; then what to paste where."""
    shell = Shell()
    assert shell.deployment("my-project", "y", "y").up(yes=False) == 0
    assert shell.staged
    first, last = shell.ran("terraform apply")
    assert "-target=google_artifact_registry_repository.images" in first
    assert last.endswith("deploy.plan")
    (plan,) = shell.ran("terraform plan")
    assert "-var-file=dev.tfvars" in plan
    image = "us-central1-docker.pkg.dev/my-project/odai/chat-stream@sha256:abc"
    assert f"-var=image={image}" in plan
    assert shell.said.index(plan) > shell.said.index(shell.ran("gcloud builds submit")[0])
    printed = capsys.readouterr().out
    for path in ("/auth/google/callback", "/twilio/incoming", "/auth/plaid/webhook"):
        assert f"https://odai.example.com{path}" in printed
    assert "192.0.2.7" in printed


@pytest.mark.parametrize(
    ("answers", "named"),
    [
        ({"terraform_version": Done(127)}, "install Terraform"),
        ({"terraform_version": Done(0, '{"terraform_version": "1.9.0"}')}, "newer Terraform"),
        ({"gcloud_version": Done(127)}, "Google Cloud CLI"),
        ({"gcloud_auth_print-access-token": Done(1)}, "gcloud auth login"),
        ({"gcloud_auth_application-default": Done(1)}, "application-default login"),
        ({"gcloud_projects_describe": Done(1)}, "gcloud projects create my-project"),
        ({"gcloud_billing": Done(0, "False\n")}, "billing"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said_before_anything_happens(
    answers: dict[str, Done], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each prerequisite is named with what to do, and nothing is made."""
    shell = Shell(**answers)
    assert shell.deployment().up(yes=True) == 1
    assert named in capsys.readouterr().out
    assert not shell.staged and not shell.ran("terraform init") and not shell.ran("gcloud storage")


@pytest.mark.parametrize("project", ["", "My_Project", "-x", "a b"])
def test_a_project_must_be_named(project: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`make deploy` without PROJECT says how to call it, and runs nothing."""
    shell = Shell()
    assert shell.deployment(project).up(yes=True) == 1
    assert "PROJECT=my-project" in capsys.readouterr().out
    assert shell.said == []


def test_nothing_is_made_without_a_yes(capsys: pytest.CaptureFixture[str]) -> None:
    """Who is told what comes first and declines leaves the project as it was."""
    shell = Shell()
    assert shell.deployment("my-project", "no").up(yes=False) == 1
    printed = capsys.readouterr().out
    for named in ("gs://my-project-odai-state", "cloudkms", "odai-deployer", "Cloud Build"):
        assert named in printed
    assert "Nothing was changed" in printed and not shell.staged
    for changing in ("terraform init", "terraform apply", "gcloud storage buckets create",
                     "gcloud services", "gcloud builds"):  # fmt: skip
        assert not shell.ran(changing)


def test_nothing_more_is_applied_without_a_second_yes(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever does not like the plan has only what it needed, and is told so."""
    shell = Shell()
    assert shell.deployment("my-project", "y", "no").up(yes=False) == 1
    assert len(shell.ran("terraform apply")) == 1
    assert "What was made first stays" in capsys.readouterr().out


def test_a_pipeline_is_asked_nothing() -> None:
    """With `--yes` there is nobody to answer, and none is asked."""
    shell = Shell()
    assert shell.deployment("my-project").up(yes=True) == 0
    assert len(shell.ran("terraform apply")) == 2


def test_a_key_ring_of_an_earlier_deployment_is_taken_over() -> None:
    """Google keeps key rings for ever: a second deployment into the same project must not fail."""
    shell = Shell(terraform_state_list=Done(0, ""))
    shell.deployment().up(yes=True)
    ring, key = shell.ran("terraform import")
    assert ring.endswith("projects/my-project/locations/us-central1/keyRings/odai")
    assert key.endswith("keyRings/odai/cryptoKeys/users")
    fresh = Shell(gcloud_kms=Done(1))
    fresh.deployment().up(yes=True)
    assert not fresh.ran("terraform import")


def test_destroying_wants_the_projects_name_and_keeps_the_key() -> None:
    """A slip of the finger destroys nothing; the key stays, for what is left in backups."""
    slip = Shell()
    assert slip.deployment("my-project", "y").down(yes=False) == 1
    assert not slip.ran("terraform destroy") and not slip.ran("terraform state rm")
    shell = Shell()
    assert shell.deployment("my-project", "my-project").down(yes=False) == 0
    assert len(shell.ran("terraform state rm")) == 2
    assert len(shell.ran("terraform destroy")) == 1


def test_a_step_that_fails_stops_the_rest() -> None:
    """A broken build is not deployed, and what failed is named."""
    shell = Shell(gcloud_builds=Done(1))
    with pytest.raises(Misconfigured, match="gcloud builds submit"):
        shell.deployment().up(yes=True)
    assert not shell.ran("terraform plan")


def test_destroy_names_what_is_missing_too(capsys: pytest.CaptureFixture[str]) -> None:
    """Without Terraform it says so, like deploy."""
    assert Shell(terraform_version=Done(127)).deployment().down(yes=True) == 1
    assert "install Terraform" in capsys.readouterr().out
