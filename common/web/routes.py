"""One function answers at several paths: its own, the original backend's, and its bare URL."""

from __future__ import annotations


def tail(path: str, *mounts: str) -> str:
    """Return what follows the first of `mounts` that `path` lies under; all of it under none.

    Always begins with a slash and never ends with one, but for the root itself.
    """
    for mount in mounts:
        if path == mount or path.startswith(f"{mount}/"):
            path = path[len(mount) :]
            break
    return "/" + path.strip("/")
