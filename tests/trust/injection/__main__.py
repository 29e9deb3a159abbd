"""Prints the score; `--publish` writes it into docs/security.md, `--every 5` plays a fifth."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.trust.injection import score


def main(arguments: Sequence[str]) -> int:
    """Print the score; return 1 where it is too low."""
    every = int(arguments[arguments.index("--every") + 1]) if "--every" in arguments else 1
    found = score.measure(every=every)
    print(found.table())
    for title, lines in (("HAPPENED", found.ways), ("UNHEARD", found.unheard),
                         ("FAILED", found.failed)):  # fmt: skip
        print("\n".join(f"{title}: {line}" for line in lines) or f"{title}: none")
    print(found.summary)
    if "--publish" in arguments and every == 1:
        score.publish(found)
    return 0 if min(found.stopped, found.passed) >= score.LEAST else 1


sys.exit(main(sys.argv[1:]))
