"""`make stage`: each function's folder as it is deployed.

A function is uploaded alone, so that what it shares must lie beside it: its `main.py`, `common/`
and the one lock.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from run.local.functions import FOLDER, function_names

_ROOT = FOLDER.parent
_SKIPPED = shutil.ignore_patterns("__pycache__", "*.pyc")


def stage_all(target: Path) -> list[Path]:
    """Write every function's folder below `target`; return them."""
    return [stage(name, target / name) for name in function_names()]


def stage(name: str, target: Path) -> Path:
    """Write the deployable folder of function `name` to `target`, replacing what is there."""
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    shutil.copy2(FOLDER / name / "main.py", target)
    shutil.copy2(_ROOT / "requirements.txt", target)
    shutil.copytree(_ROOT / "common", target / "common", ignore=_SKIPPED)
    return target
