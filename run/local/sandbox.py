"""`ODAI_SANDBOX=1`: Google, Plaid and a few keyless services simulated beside the suite.

For trying everything with no account and no key. The simulators are those of the tests, in a
process of their own that ends with ours; the suite finds them by ODAI_EGRESS_MAP and their keys.
They keep everything in memory, so that the suite gets a data folder that is forgotten as well: a
link to an account nobody knows any more would only be in the way.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from common.errors import Misconfigured
from common.settings import Settings

_ROOT = Path(__file__).resolve().parents[2]
_ENOUGH_S = 10.0


@contextlib.contextmanager
def sandbox(settings: Settings) -> Iterator[Settings]:
    """Start the simulators and yield the settings of a suite that uses them.

    An ODAI_EGRESS_MAP of the operator's own goes before the simulators.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, settings.base_url],
        cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        start_new_session=True,  # Ctrl-C is for the suite, which still asks them while it stops
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    try:
        line = process.stdout.readline()
        if not line:
            raise Misconfigured(
                "The sandbox needs the simulators in this repository's tests folder. Run it from "
                "a checkout, or unset ODAI_SANDBOX."
            )
        environ: dict[str, str] = json.loads(line)
        own = [f"{host}={origin}" for host, origin in settings.egress_map.items()]
        environ["ODAI_EGRESS_MAP"] = ",".join([environ["ODAI_EGRESS_MAP"], *own])
        with tempfile.TemporaryDirectory(prefix="odai-sandbox-") as folder:
            yield settings.changed(**environ, ODAI_DATA=folder)
    finally:
        process.stdin.close()
        try:
            process.wait(_ENOUGH_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _simulate(home: str) -> None:
    """Serve until standard input ends; print the settings that reach the simulators."""
    if find_spec("tests") is None:
        return
    # By name: the product imports no tests where it is deployed.
    google = import_module("tests.fakes.google").Google()
    plaid = import_module("tests.fakes.plaid").FakePlaid()
    vendors = import_module("tests.fakes.vendors").Vendors()
    plaid.home = home
    with google, plaid, vendors:
        parts: tuple[Mapping[str, str], ...] = (
            google.settings, plaid.environ, {"ODAI_EGRESS_MAP": vendors.egress_map},
        )  # fmt: skip
        environ = {name: value for part in parts for name, value in part.items()}
        environ["ODAI_EGRESS_MAP"] = ",".join(part["ODAI_EGRESS_MAP"] for part in parts)
        print(json.dumps(environ), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        _simulate(sys.argv[1])
