"""Under which licences we use what is installed: docs/licences.md is made here.

Packages state their licence in three ways; all are brought to SPDX's names. One that says none of
the allowed names fails the check until somebody has read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import metadata

from tests.supply.lock import ROOT, Pin, direct

PAGE = ROOT / "docs" / "licences.md"
# Permissive, or (MPL) binding only whoever changes the package's own files.
ALLOWED = frozenset(
    {
        "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CNRI-Python", "ISC", "MIT", "MIT-0",
        "MPL-1.1", "MPL-2.0", "PSF-2.0", "Unlicense", "Zlib",
    }
)  # fmt: skip
# What packages call them, in lower case.
_NAMES = {
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "https://www.apache.org/licenses/license-2.0": "Apache-2.0",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "the bsd 2-clause license": "BSD-2-Clause",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}
# Read by hand: not installed on every platform, or said in no way that a program could tell.
_READ = {
    "audioop-lts": "PSF-2.0",
    "google-crc32c": "Apache-2.0",
    "pyasn1-modules": "BSD-2-Clause",
    "pywin32": "PSF-2.0",
    "uvloop": "MIT OR Apache-2.0",
}
_HEAD = """# Licences

What is installed beside our own code, and under which terms. Direct dependencies are bold. Nothing
here is changed by us. Made by `python -m tests.supply licences`; a test keeps it current, and fails
on a licence that nobody has allowed.

| package | release | licence |
| --- | --- | --- |
"""


def licence(name: str) -> str:
    """Return the SPDX expression of a package, "" where it is unknown."""
    if name in _READ:
        return _READ[name]
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ""
    classified = [
        line.rpartition("::")[2].strip()
        for line in about.get_all("Classifier") or []
        if line.startswith("License ::")
    ]
    said = (about["License-Expression"], about["License"], " OR ".join(classified))
    return next((found for each in said if each and (found := _spdx(each))), "")


def allowed(expression: str) -> bool:
    """Tell whether a choice of the licences in `expression` lets us use a package as we do."""
    choices = [choice.split(" AND ") for choice in expression.split(" OR ")]
    return any(all(part.strip(" ()") in ALLOWED for part in parts) for parts in choices)


def page(locked: Iterable[Pin]) -> str:
    """Return docs/licences.md."""
    own = set(direct())
    rows = [
        f"| {f'**{pin.name}**' if pin.name in own else pin.name} | {pin.version} "
        f"| {licence(pin.name) or 'unknown'} |"
        for pin in locked
    ]
    return _HEAD + "\n".join(rows) + "\n"


def _spdx(said: str) -> str:
    """Return what a package says in SPDX's names, "" where that is not possible."""
    parts = re.split(r" (OR|AND) ", said.strip())
    known = {name.lower(): name for name in ALLOWED} | _NAMES
    named = [
        each
        if each in ("OR", "AND")
        else known.get(each.strip(" ()").lower()) or (each if re.match(r"[A-Z]+L-\d", each) else "")
        for each in parts
    ]
    return " ".join(named) if all(named) else ""
