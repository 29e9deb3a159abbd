"""Our Terraform, read two ways: its blocks as HCL, its locals as Terraform itself computes them.

`evaluate` runs `terraform console` on a copy that keeps variables and locals and puts a name in
place of every reference to a resource: functions, grants and subscriptions are then what Terraform
would make of them, without a provider, an account or a network.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hcl2

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "terraform"
TERRAFORM = shutil.which("terraform")
_REFERENCE = re.compile(r"\b(?:data\.)?google_\w+\.(\w+)(?:\[(?:[^\[\]]|\[[^\]]*\])*\])?(?:\.\w+)+")


@dataclass(frozen=True)
class Resource:
    """One resource block."""

    kind: str
    name: str
    body: dict[str, Any]
    file: str

    def __str__(self) -> str:
        return f"{self.kind}.{self.name}"


def resources(folder: Path = FOLDER) -> Iterator[Resource]:
    """Yield every resource of the configuration."""
    for path in sorted(folder.glob("*.tf")):
        for entry in _loaded(path).get("resource", []):
            for kind, named in entry.items():
                for name, body in named.items():
                    yield Resource(_plain(kind), _plain(name), body, path.name)


def blocks(kind: str) -> dict[str, dict[str, Any]]:
    """Return the bodies of the blocks of one kind (`variable`, `output`) by name."""
    found = {}
    for path in sorted(FOLDER.glob("*.tf")):
        for entry in _loaded(path).get(kind, []):
            found |= {_plain(name): body for name, body in entry.items()}
    return found


def text(value: Any) -> str:
    """Return a string as written, without quotes or `${…}`."""
    return re.sub(r"^\$\{(.*)\}$", r"\1", _plain(str(value)), flags=re.DOTALL)


def evaluate(folder: Path, expression: str, *, environment: str = "dev", **variables: str) -> Any:
    """Return what Terraform makes of `expression`, of locals and variables only."""
    assert TERRAFORM
    made = folder / "terraform"
    if not made.exists():
        made.mkdir(parents=True)
        (made / "main.tf").write_text("\n\n".join(_pure(path) for path in FOLDER.glob("*.tf")))
        for name in ("from_code.json", "firestore.indexes.json"):
            shutil.copy2(FOLDER / name, made)
        shutil.copytree(FOLDER / "schemas", made / "schemas")
        for path in (ROOT / "functions").glob("*/function.yaml"):
            target = folder / "functions" / path.parent.name
            target.mkdir(parents=True)
            shutil.copy2(path, target)
        _terraform(made, "init", "-backend=false")
    given = [f"-var={name}={value}" for name, value in {"project": "p-1", **variables}.items()]
    said = _terraform(
        made, "console", f"-var-file={FOLDER / environment}.tfvars", *given,
        stdin=f"jsonencode({expression})",
    )  # fmt: skip
    return json.loads(json.loads(said))


def _terraform(folder: Path, *arguments: str, stdin: str = "") -> str:
    assert TERRAFORM
    done = subprocess.run(
        [TERRAFORM, *arguments], cwd=folder, input=stdin, capture_output=True, text=True,
        env={**os.environ, "TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def _pure(path: Path) -> str:
    """Return a file's variables and locals, every resource in them replaced by its name."""
    content = path.read_text()
    kept = []
    for match in re.finditer(r'^(?:locals|variable "\w+") \{', content, re.MULTILINE):
        block = _block(content, match.start())
        # accounts by function: their keys are the functions' own
        block = block.replace(
            "{ for name, account in google_service_account.function : name => account.member }",
            "{ for name in keys(local.functions) : name => name }",
        )
        block = re.sub(r"google_\w+\.\w+\[\*\]\.\w+", "[]", block)
        kept.append(_REFERENCE.sub(r'"\1"', block))
    return "\n\n".join(kept)


def _block(content: str, start: int) -> str:
    depth = 0
    for at in range(content.index("{", start), len(content)):
        depth += {"{": 1, "}": -1}.get(content[at], 0)
        if depth == 0:
            return content[start : at + 1]
    raise ValueError("a block that does not end")


def _loaded(path: Path) -> dict[str, Any]:
    with path.open() as file:
        loaded: dict[str, Any] = hcl2.load(file)
    return loaded


def _plain(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
