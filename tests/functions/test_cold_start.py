"""Every function as it is deployed: its staged folder, a fresh process, one request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from run.local.functions import function_names
from run.local.stage import stage

# `-I` keeps the folder of this repository, and every PYTHON… variable, out of the process.
_SERVE = """
import json, os, sys
import functions_framework
folder, name = sys.argv[1:]
os.chdir(folder)
app = functions_framework.create_app(name, os.path.join(folder, "main.py"))
status = app.test_client().post("/", json={}).status_code
ours = {name: module.__file__ for name, module in sys.modules.items() if name == "common"}
print(json.dumps({"status": status, "modules": sorted(sys.modules), "common": ours["common"]}))
"""


_SIGNED_IN = """
import json, os, sys
import functions_framework
folder, name, path = sys.argv[1:]
os.chdir(folder)
app = functions_framework.create_app(name, os.path.join(folder, "main.py"))
from common.bootstrap import Services
token = Services.of_process().development.mint("ada")
answer = app.test_client().get(path, headers={"Authorization": f"Bearer {token}"})
Services.of_process().close()
print(json.dumps({"status": answer.status_code, "modules": sorted(sys.modules)}))
"""


@pytest.mark.parametrize(
    ("name", "path"),
    [("oauth_google", "/accounts"), ("oauth_google", "/login?feature=mail"),
     ("plaid_link", "/accounts"), ("account", "/account")],
)  # fmt: skip
def test_a_first_answer_loads_what_it_uses(name: str, path: str, tmp_path: Path) -> None:
    """A signed-in user's first request waits for no client that calls nobody.

    The model libraries are seconds; aiohttp is a fifth of all that such a process loads.
    """
    folder = stage(name, tmp_path / "build" / name)
    environ = {
        "ODAI_DATA": str(tmp_path / "data"), "PATH": os.environ["PATH"],
        "ODAI_FIREBASE_PROJECT": "p", "GOOGLE_CLIENT_ID": "x", "GOOGLE_CLIENT_SECRET": "x",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-I", "-c", _SIGNED_IN, str(folder), name, path],
        env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["status"] == 200
    heavy = {"agents", "openai", "aiohttp", "grpc", "firebase_admin", "plaid"}
    assert heavy.isdisjoint(seen["modules"])


@pytest.mark.parametrize("name", function_names())
def test_a_function_starts_alone_and_without_the_model(name: str, tmp_path: Path) -> None:
    """A staged function answers its first request from its own folder, and loads no model library.

    `agents` costs two seconds and 100 MB, `openai` almost one: no webhook may wait for them.
    """
    folder = stage(name, tmp_path / "build" / name)
    environ = {"ODAI_DATA": str(tmp_path / "data"), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-I", "-c", _SERVE, str(folder), name],
        env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert 400 <= seen["status"] < 500  # nobody signed in, nothing asked: its own answer
    assert Path(seen["common"]).is_relative_to(folder)
    assert {"agents", "openai"}.isdisjoint(seen["modules"])
