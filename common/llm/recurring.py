"""Reads that something is wanted again and again ("every morning at 7"), and what that is.

A request that recurs must not be answered once, as if the words were not there: what is left of it
is what a tool that takes "how often" does later. No model, no I/O.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_DAY = r"(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_EACH = r"(?:every|each)\s+"
# As the tools' schemas call it, with how people say it; "every Monday" leaves the Monday.
_SAID = {
    "weekdays": rf"{_EACH}(?:week|work(?:ing)? ?)day|{_EACH}?monday (?:to|through) friday",
    "weekends": rf"{_EACH}weekend",
    "weekly": rf"{_EACH}week\b|(?:every|each)(?=\s+{_DAY})",
    "monthly": rf"{_EACH}month",
    "yearly": rf"{_EACH}year",
    "daily": rf"{_EACH}(?:single )?(?:day|morning|afternoon|evening|night)",
    "": rf"{_EACH}(?:other |few |\d+ )?(?:second|minute|hour|day|week|month)s?",
}
_ADVERBS = {
    "daily": "daily|nightly",
    "weekdays": "(?:on )?weekdays",
    "weekends": "(?:on |at )?weekends",
    "weekly": "weekly",
    "monthly": "monthly",
    "yearly": "yearly|annually",
    "": "hourly",
}
_TIMED = re.compile(r"\b(?:at \d|noon|midday|midnight|\d\s?[ap]\.?m\b|\d?\d:\d\d)", re.IGNORECASE)
_POLITE = (
    r"\W*(?:(?:please|can you|could you|i(?:'d| would) like(?: you)? to|i want(?: you)? to)\W+)*"
)
_TELL = re.compile(
    _POLITE + r"(?:tell|give|show|send|get|text|read|check|look up|let me|keep me)\b", re.IGNORECASE
)
_LATER = re.compile(_POLITE + r"(?:brief|remind|notify|alert|ping|wake)\b", re.IGNORECASE)
_BRIEF = re.compile(
    _POLITE + r"(?:(?:set up|give|send|make|create|schedule)\s+)?(?:me\s+)?(?:(?:an?|the|my)\s+)?"
    r"(?:brief(?:ing)?|summary|update)\s+(?:me\s+)?(?:on|about|with|of)\s+",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Again:
    """How often ("daily", "weekly"; "" for what no name is known of), and the words left.

    `said` are the words that say so; `leads` tells that the sentence begins with them.
    """

    often: str
    said: str
    rest: str
    leads: bool


def prompt(rest: str) -> str:
    """Return what is to be asked then, of what is left of the sentence without its time."""
    rest = re.sub(r"\s+(?=[?.!,;])", "", " ".join(rest.split())).strip(" ,;")
    if brief := _BRIEF.match(rest):
        about = rest[brief.end() :].rstrip(" .?!")
        return f"What is {about}?" if about.lower().startswith("the ") else f"Tell me {about}."
    asked = re.sub(_POLITE, "", rest, count=1, flags=re.IGNORECASE) or rest
    return asked[:1].upper() + asked[1:]


def read(text: str) -> Again | None:
    """Return what is wanted again and again; None where nothing is.

    "How many people fly every day?" and "daily exchange rates" speak of a habit or a kind of thing:
    a time, a command or the first place in the sentence tell a wish from these.
    """
    timed, later = bool(_TIMED.search(text)), bool(_LATER.match(text))
    for said, plain in ((_SAID, True), (_ADVERBS, False)):
        for often, pattern in said.items():
            found = re.search(rf"(?:\bon )?\b(?:{pattern})\b(?:,\s*)?", text, re.IGNORECASE)
            if not found:
                continue
            leads = not text[: found.start()].strip(" ,")
            if timed or later or (plain and (leads or _TELL.match(text))):
                rest = f"{text[: found.start()]} {text[found.end() :]}"
                return Again(often, found[0], " ".join(rest.split()), leads)
    return None
