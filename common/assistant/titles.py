"""A chat's title without asking a model: what its first prompt is about."""

from __future__ import annotations

import re

MAX_CHARACTERS = 30
_OPENINGS = re.compile(
    r"^(?:(?:hi|hello|hey|please|ok(?:ay)?)\b[\s,!.]*)*"
    r"(?:(?:can|could|would|will) you (?:please )?|please |i(?:'d| would) like to |i want to |"
    r"(?:what|who|where|when|how)(?:'s| is| are| was| were) (?:the |a )?|"
    r"(?:tell|show|give) me (?:about )?(?:the |a )?)*",
    re.IGNORECASE,
)


def title_of(prompt: str) -> str:
    """Return at most MAX_CHARACTERS of `prompt`, cut at a word, without quotes or opening words."""
    line = " ".join(prompt.split())
    core = _OPENINGS.sub("", line) or line
    core = core.replace('"', "").replace("“", "").replace("”", "").rstrip("?!.,;: ")
    if len(core) > MAX_CHARACTERS:
        cut = core[: MAX_CHARACTERS - 1].rsplit(" ", 1)[0].rstrip(" ,;:-")
        core = (cut or core[: MAX_CHARACTERS - 1]) + "…"
    return core[:1].upper() + core[1:] if core else "New chat"
