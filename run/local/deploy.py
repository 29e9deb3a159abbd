"""`make deploy` and `make destroy`: from an empty Google Cloud project to a running copy, and back.

It says all that is missing before it does anything, asks before it makes the first thing, and shows
Terraform's plan and asks again before applying it.
Nothing is kept here: state lies in a bucket of the project, images are built by Cloud Build.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.errors import Misconfigured
from common.settings import Settings
from run.local.functions import FOLDER
from run.local.stage import stage_all

_ROOT: Final = FOLDER.parent
_TERRAFORM: Final = _ROOT / "terraform"
_NEEDED: Final = (1, 11)
# The pipeline's own account and where images lie: needed before there is an image to deploy.
_FIRST: Final = ("google_artifact_registry_repository.images", "google_project_iam_member.deployer")
# Turned on before Terraform can do anything; it turns on the others itself.
_APIS: Final = ("cloudresourcemanager", "serviceusage", "cloudkms", "iam")
# Google never deletes these; what was made once is taken over again.
_LASTING: Final = {
    "google_kms_key_ring.odai": "keyRings/odai",
    "google_kms_crypto_key.users": "keyRings/odai/cryptoKeys/users",
}
_SILENT: Final = ("-input=false", "-no-color")

Run = Callable[[Sequence[str]], "Done"]
Ask = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    said: str = ""


def deploy(_: Settings, arguments: argparse.Namespace) -> int:
    """Bring a copy up; 1 where something is missing or nobody agreed."""
    return Deployment(arguments.project, arguments.env, arguments.region).up(yes=arguments.yes)


def destroy(_: Settings, arguments: argparse.Namespace) -> int:
    """Take a copy down; 1 where nobody agreed."""
    return Deployment(arguments.project, arguments.env, arguments.region).down(yes=arguments.yes)


class Deployment:
    """One environment in one project. `run` runs a command quietly, `show` lets it speak."""

    def __init__(
        self,
        project: str,
        env: str,
        region: str,
        *,
        run: Run | None = None,
        show: Run | None = None,
        ask: Ask = input,
        stage: Callable[[Path], object] = stage_all,
    ) -> None:
        self._project, self._env, self._region = project, env, region
        self._run, self._show = run or _quietly, show or _aloud
        self._ask, self._stage = ask, stage

    def up(self, *, yes: bool) -> int:
        """Deploy: prerequisites, agreement, state, image, plan, agreement, apply, addresses."""
        if missing := self.missing():
            print("Not yet. First:\n" + "\n".join(f"  - {line}" for line in missing))
            return 1
        if not yes and not self._agreed(self.first(), "Make these, and plan the rest? [y/N] "):
            print("Nothing was changed.")
            return 1
        self._prepare()
        self._adopt()
        targets = [f"-target={name}" for name in _FIRST]
        self._terraform("apply", *_SILENT, "-auto-approve", *targets, *self._variables())
        image = self._build()
        self._terraform("plan", *_SILENT, "-out=deploy.plan", *self._variables(image))
        if not yes and not self._agreed("", "Apply this plan? [y/N] "):
            print("The plan was not applied. What was made first stays; `make destroy` removes it.")
            return 1
        self._terraform("apply", *_SILENT, "deploy.plan")
        print(self.addresses())
        return 0

    def down(self, *, yes: bool) -> int:
        """Destroy everything but the key ring, which Google keeps, and the state bucket."""
        if missing := self.missing():
            print("Not yet. First:\n" + "\n".join(f"  - {line}" for line in missing))
            return 1
        if not yes:
            print(f"This deletes the {self._env} deployment in {self._project} and all its data.")
            if self._ask("Type the project's id to go on: ").strip() != self._project:
                print("Nothing was changed.")
                return 1
        self._prepare()
        for name in reversed(_LASTING):
            # Backups can be read as long as the key lives; gcloud can destroy its versions.
            self._run(["terraform", f"-chdir={_TERRAFORM}", "state", "rm", name])
        self._terraform("destroy", *_SILENT, "-auto-approve", *self._variables())
        print(
            f"Gone. Left are the key ring (Google deletes none), its key (6 cents a month) and "
            f"the state in gs://{self._bucket}."
        )
        return 0

    def first(self) -> str:
        """Return what is made before there can be a plan, for whoever is asked."""
        lines = [f"Before there is a plan to show, this makes in {self._project}:"]
        lines += [
            f"  - a bucket for Terraform's state, gs://{self._bucket}, where there is none",
            f"  - these APIs turned on: {', '.join(_APIS)}",
            "  - what an image needs: its repository, the account odai-deployer and its roles",
            "  - the image, in Cloud Build (the first 2,500 minutes a month are free)",
        ]
        return "\n".join(lines)

    def missing(self) -> list[str]:
        """Return what has to be done first, each with the command that does it."""
        found = []
        if not re.fullmatch(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", self._project):
            return ["name the project: make deploy PROJECT=my-project ENV=dev"]
        version = self._run(["terraform", "version", "-json"])
        if version.code:
            found.append(
                "install Terraform 1.11 or newer: https://developer.hashicorp.com/terraform"
            )
        elif _version(version.said) < _NEEDED:
            found.append("install a newer Terraform: 1.11 at least")
        if self._run(["gcloud", "version"]).code:
            return [*found, "install the Google Cloud CLI: https://cloud.google.com/sdk"]
        if self._run(["gcloud", "auth", "print-access-token", "--quiet"]).code:
            return [*found, "sign in: gcloud auth login"]
        adc = ["gcloud", "auth", "application-default", "print-access-token", "--quiet"]
        if self._run(adc).code:
            found.append("let Terraform sign in: gcloud auth application-default login")
        if self._run(["gcloud", "projects", "describe", self._project]).code:
            found.append(f"make the project: gcloud projects create {self._project}")
            return found
        billing = self._run([
            "gcloud", "billing", "projects", "describe", self._project,
            "--format=value(billingEnabled)",
        ])  # fmt: skip
        if billing.code or billing.said.strip().lower() != "true":
            found.append(
                f"link a billing account: gcloud billing projects link {self._project} "
                "--billing-account=…"
            )
        return found

    def addresses(self) -> str:
        """Return what to paste where, now that the deployment has an address."""
        outputs = json.loads(self._terraform_said("output", "-json"))
        url = outputs["url"]["value"]
        lines = [f"\nODAI is at {url}\n"]
        if address := outputs["address"]["value"]:
            lines.append(
                f"  DNS        an A record for {url.removeprefix('https://')}: {address}\n"
            )
        lines += [
            f"  Google     redirect URI                {url}/auth/google/callback",
            f"  others     redirect URI                {url}/oauth_google/callback",
            f"  Twilio     a call comes in (POST)      {url}/twilio/incoming",
            f"             call status (POST)          {url}/twilio/status",
            f"             a message comes in (POST)   {url}/twilio/sms/incoming",
            f"  Plaid      webhook                     {url}/auth/plaid/webhook",
            "",
            '  A key:     printf %s "$KEY" | gcloud secrets versions add OPENAI_API_KEY '
            f"--data-file=- --project={self._project}",
            "             then `make deploy` again, so that new instances read it",
            "  Check it:  python -m run.local doctor --url " + url,
            f"             with ODAI_DOCTOR_ACCOUNT={outputs['doctor']['value']}",
            "             and ODAI_FIREBASE_API_KEY from `terraform output -raw firebase_api_key`",
        ]
        return "\n".join(lines)

    # --- steps ------------------------------------------------------------------------------

    def _agreed(self, to: str, question: str) -> bool:
        if to:
            print(to)
        return self._ask(question).strip().lower() == "y"

    @property
    def _bucket(self) -> str:
        return f"{self._project}-odai-state"

    def _prepare(self) -> None:
        """Make the state's bucket, the staged functions, and Terraform's working folder."""
        if self._run(["gcloud", "storage", "buckets", "describe", f"gs://{self._bucket}"]).code:
            self._must([
                "gcloud", "storage", "buckets", "create", f"gs://{self._bucket}",
                f"--project={self._project}", f"--location={self._region}",
                "--uniform-bucket-level-access", "--public-access-prevention",
            ])  # fmt: skip
            versioned = ["gcloud", "storage", "buckets", "update", f"gs://{self._bucket}"]
            self._must([*versioned, "--versioning"])
        apis = [f"{name}.googleapis.com" for name in _APIS]
        self._must(["gcloud", "services", "enable", *apis, f"--project={self._project}"])
        self._stage(_ROOT / "build")
        self._terraform("init", *_SILENT, "-reconfigure", f"-backend-config=bucket={self._bucket}")

    def _adopt(self) -> None:
        """Take over what an earlier deployment left, because Google deletes it never."""
        known = self._run(["terraform", f"-chdir={_TERRAFORM}", "state", "list"]).said.split()
        place = f"projects/{self._project}/locations/{self._region}"
        for name, path in _LASTING.items():
            if name in known:
                continue
            kind = "keys" if "cryptoKeys" in path else "keyrings"
            exists = ["gcloud", "kms", kind, "describe", f"{place}/{path}"]
            if self._run([*exists, f"--project={self._project}"]).code == 0:
                self._terraform("import", *_SILENT, *self._variables(), name, f"{place}/{path}")

    def _build(self) -> str:
        """Build the container's image in Cloud Build; return it by its digest."""
        name = f"{self._region}-docker.pkg.dev/{self._project}/odai/chat-stream"
        tag = self._run(["git", "-C", str(_ROOT), "rev-parse", "--short=12", "HEAD"]).said.strip()
        tagged = f"{name}:{tag or 'local'}-{_unique()}"
        build = {
            "steps": [{
                "name": "gcr.io/cloud-builders/docker",
                "env": ["DOCKER_BUILDKIT=1"],
                "args": ["build", "-q", "-t", tagged, "-f", "run/chat_stream/Dockerfile", "."],
            }],
            "images": [tagged],
            "options": {"logging": "CLOUD_LOGGING_ONLY"},
        }  # fmt: skip
        config = _ROOT / "build" / "image.json"
        config.parent.mkdir(exist_ok=True)
        config.write_text(json.dumps(build, indent=2))
        account = f"odai-deployer@{self._project}.iam.gserviceaccount.com"
        self._must([
            "gcloud", "builds", "submit", str(_ROOT), f"--config={config}",
            f"--project={self._project}", f"--region={self._region}",
            f"--service-account=projects/{self._project}/serviceAccounts/{account}",
            "--default-buckets-behavior=regional-user-owned-bucket",
        ])  # fmt: skip
        digest = self._must_say([
            "gcloud", "artifacts", "docker", "images", "describe", tagged,
            "--format=value(image_summary.digest)",
        ])  # fmt: skip
        return f"{name}@{digest.strip()}"

    def _variables(self, image: str = "") -> list[str]:
        given = {"project": self._project, "region": self._region}
        given |= {"image": image} if image else {}
        pairs = [f"-var={name}={value}" for name, value in given.items()]
        return [f"-var-file={self._env}.tfvars", *pairs]

    def _terraform(self, *arguments: str) -> None:
        self._must(["terraform", f"-chdir={_TERRAFORM}", *arguments])

    def _terraform_said(self, *arguments: str) -> str:
        return self._must_say(["terraform", f"-chdir={_TERRAFORM}", *arguments])

    def _must(self, command: Sequence[str]) -> None:
        if self._show(command).code:
            raise Misconfigured(f"`{' '.join(command[:4])} …` failed; what it said is above.")

    def _must_say(self, command: Sequence[str]) -> str:
        done = self._run(command)
        if done.code:
            raise Misconfigured(f"`{' '.join(command[:4])} …` failed.")
        return done.said


def _version(said: str) -> tuple[int, int]:
    try:
        major, minor = json.loads(said)["terraform_version"].split(".")[:2]
        return int(major), int(minor)
    except (ValueError, KeyError):
        return 0, 0


def _unique() -> str:
    import secrets

    return secrets.token_hex(3)


def _quietly(command: Sequence[str]) -> Done:
    if shutil.which(command[0]) is None:
        return Done(127)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout)


def _aloud(command: Sequence[str]) -> Done:
    print(f"\n$ {' '.join(command[:6])} …", flush=True)
    return Done(subprocess.run(command, check=False).returncode)
