"""`python -m tests.soak`: the long forms of what `make test` runs short, one after another.

Each is a process of its own; what it prints is shown as it comes, and a table follows at the end.
`python -m tests.soak faults load` runs only those.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

_PYTEST = ("-m", "pytest", "-q")


@dataclass(frozen=True, slots=True)
class Form:
    """A long form: what it proves, its command, and what makes it long."""

    what: str
    command: tuple[str, ...]
    environ: dict[str, str] = field(default_factory=dict)


FORMS = {
    "faults": Form("every single fault at every port", ("-m", "tests.trust", "faults")),
    "kills": Form("kill -9 at 200 random points", ("-m", "tests.trust", "kills")),
    "chaos": Form(
        "cut, leave and kill at every event", (*_PYTEST, "tests/run/test_chaos.py"),
        {"ODAI_TEST_CHAOS": "1"},
    ),
    "jobs": Form(
        "kill 50 times while searches run", (*_PYTEST, "tests/run/test_jobs_survive.py"),
        {"ODAI_TEST_KILLS": "50"},
    ),
    "injection": Form(
        "every attack by injected text", (*_PYTEST, "tests/trust/test_injection.py"),
        {"ODAI_TEST_INJECTION": "all"},
    ),
    "browser": Form(
        "the web client: every look, a cut after every frame",
        (
            *_PYTEST, "tests/run/test_browser_access.py", "tests/run/test_browser_hostile.py",
            "tests/web/test_budgets.py", "tests/trust/test_load_short.py",
        ),
        {"ODAI_TEST_BROWSER": "all"},
    ),
    "load": Form("1,000 sockets for ten minutes", ("-m", "tests.soak.load")),
    "fuzz": Form(
        "2,000 of each kind of wild frames", (*_PYTEST, "tests/trust/test_socket_fuzz.py"),
        {"ODAI_TEST_FUZZ": "2000"},
    ),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them; 1 where any failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    forms = ", ".join(FORMS)
    parser.add_argument("names", nargs="*", metavar="FORM", help=f"all, or some of: {forms}")
    names = parser.parse_args(arguments).names or list(FORMS)
    if unknown := [name for name in names if name not in FORMS]:
        parser.error(f"there is no form {', '.join(unknown)}; the forms are {forms}")
    rows = []
    for name in names:
        form = FORMS[name]
        print(f"\n== {name}: {form.what}", flush=True)
        began = time.monotonic()
        ended = subprocess.run(
            [sys.executable, *form.command], env={**os.environ, **form.environ}, check=False
        )
        rows.append((name, form.what, time.monotonic() - began, ended.returncode == 0))
    print("\n| form   | what                                     |      s | held |")
    for name, what, seconds, held in rows:
        print(f"| {name:<6} | {what:<40} | {seconds:>6.0f} | {'yes' if held else 'NO':<4} |")
    return 0 if all(held for *_, held in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
