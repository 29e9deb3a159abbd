"""`make supply`: counts, audits and lists what is installed; exits with 1 where something is wrong.

`--offline` asks the vendored advisories only; `licences` rewrites docs/licences.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.supply import advisories, licences, sbom
from tests.supply.lock import LOCKS, MOST_ALL, MOST_DIRECT, ROOT, direct, pins


def main(arguments: Sequence[str]) -> int:
    """Print the report; return the exit code."""
    if "licences" in arguments:
        licences.PAGE.write_text(licences.page(pins()))
        return 0
    wrong = [*_counted(), *_audited(offline="--offline" in arguments), *_licensed(), *_billed()]
    print("\n".join(f"WRONG: {each}" for each in wrong) or "The supply chain is in order.")
    return 1 if wrong else 0


def _counted() -> list[str]:
    locked, own = pins(), direct()
    print(
        f"{len(own)} direct dependencies (at most {MOST_DIRECT}), {len(locked) - len(own)} "
        f"transitive, {len(locked)} in all (at most {MOST_ALL}); {len(pins(LOCKS[1]))} for tests."
    )
    over = len(own) > MOST_DIRECT or len(locked) > MOST_ALL
    return ["more dependencies than the budget of tests/supply/lock.py allows"] if over else []


def _audited(*, offline: bool) -> list[str]:
    found = []
    for path in LOCKS:
        heard = None if offline else advisories.online(path)
        source = "pip-audit" if heard is not None else f"{len(advisories.known())} vendored records"
        heard = advisories.offline(pins(path)) if heard is None else heard
        print(f"{path}: {len(heard)} known vulnerabilities, according to {source}.")
        found += [f"{f.name} {f.version}: {f.advisory}, mended in {f.fixed or '-'}" for f in heard]
    return found


def _licensed() -> list[str]:
    found = {pin.name: licences.licence(pin.name) for pin in pins()}
    print(f"{len(set(found.values()))} kinds of licence.")
    return [
        f"the licence of {name} is {said or 'unknown'}"
        for name, said in found.items()
        if not licences.allowed(said)
    ]


def _billed() -> list[str]:
    text = sbom.bill(pins())
    file = ROOT / "build" / "sbom.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    print(f"build/sbom.json: a CycloneDX bill of {len(pins())} components.")
    return [problem] if (problem := sbom.problems(text)) else []


sys.exit(main(sys.argv[1:]))
