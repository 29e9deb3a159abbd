"""Fills a tool's arguments from a sentence, knowing only its JSON schema.

A parameter's kind follows from its name, type and description ("origin" is a place, "check_in" a
date); values of that kind are taken from what `extraction` found. Nothing here knows a tool.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from common.llm.dates import Days
from common.llm.extraction import Found
from common.tools.shapes import STOP, WORD, stem, vocabulary


@dataclass(frozen=True)
class ToolSpec:
    """A tool as a model is offered it; `schema` is the strict JSON schema of its arguments."""

    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument: what kind of value it takes and whether null will do."""

    name: str
    kind: str
    required: bool
    schema: Mapping[str, Any]


@dataclass
class Filled:
    """Arguments for every property; `missing` are required ones that the sentence did not hold."""

    arguments: dict[str, Any] = field(default_factory=dict)
    missing: list[Parameter] = field(default_factory=list)
    used: list[Found] = field(default_factory=list)


# Kinds in the order they are tried; the words are looked for in the parameter's name.
_KINDS = {
    kind: frozenset(vocabulary(marks))
    for kind, marks in (
        ("coordinate", "latitude longitude lat lon lng"),
        ("currency", "currency currencies"),
        ("url", "url link website"),
        ("email", "email emails recipient recipients attendee attendees"),
        ("phone", "phone"),
        ("id", "id ids asin uuid"),
        ("ticker", "symbol symbols ticker tickers"),
        ("code", "tracking flight train number code iata repository"),
        ("date", "date day since until after before departure check start end due when"),
        (
            "place",
            "location city place near address origin destination station airport venue region "
            "country",
        ),
        ("amount", "amount price value sum quantity total"),
        ("message", "body message text content note"),
    )
}
_QUESTIONS = {
    "place": "Which place do you mean?",
    "date": "For which date?",
    "currency": "Which currency?",
    "ticker": "Which company or ticker symbol?",
    "amount": "How much?",
    "time": "At what time?",
    "url": "What is the address of the page?",
    "email": "What is the email address?",
    "phone": "What is the phone number?",
    "message": "What should it say?",
    "topic": "What should I look for?",
}
_LATE = frozenset({"end", "until", "before", "to", "return", "out"})
UNASKABLE = frozenset({"id", "coordinate"})


def parameters(spec: ToolSpec) -> list[Parameter]:
    """Return the arguments of `spec` in the order of its schema."""
    return [_parameter(name, schema) for name, schema in spec.schema.get("properties", {}).items()]


def question(parameter: Parameter) -> str:
    """Return what to ask the user when `parameter` is missing."""
    words = parameter.name.replace("_", " ")
    if parameter.kind == "topic" and set(words.split()) & _TITLES:
        return "What should it be called?"
    way = next((w for w in ("from", "to") if w in words.split()), "")
    way = {"origin": "from", "destination": "to"}.get(words, way)
    if way and parameter.kind in ("currency", "place"):
        return f"{way.title()} which {parameter.kind}?"
    if parameter.kind == "place" and not {"location", "place", "city"} & set(words.split()):
        return f"Which {words}?"
    return _QUESTIONS.get(parameter.kind) or f"What is the {words}?"


def fill(
    spec: ToolSpec,
    clause: str,
    found: Sequence[Found],
    *,
    today: dt.date,
    knows: Callable[[str], bool],
    acts: bool = False,
) -> Filled:
    """Fill the arguments of `spec`; `knows(word)` tells the tool's own words from values.

    Where the tool `acts`, nothing is guessed: what was not said is missing.
    """
    filled = Filled()
    todo = parameters(spec)
    clause = _without_service(clause, set(spec.name.split("_")))
    found = _as_counts(found, today) if any(p.name == "days" for p in todo) else found
    for parameter in sorted(todo, key=_eagerness):
        if acts and parameter.kind in ("place", "ticker", "choice") and parameter.required:
            found_here = [f for f in found if f.kind == parameter.kind]
            value = (
                _said(parameter, clause)
                if parameter.kind == "choice"
                else (found_here and _use(filled, found_here[0], found_here[0].value)) or None
            )
        else:
            value = _take(parameter, todo, clause, found, filled, knows, spec.name.split("_"))
        filled.arguments[parameter.name] = value
        if value is True:  # "open now" is said by the argument, and no part of the topic
            clause = re.sub(parameter.name.replace("_", " "), "", clause, flags=re.IGNORECASE)
        if value is None and parameter.required:
            filled.missing.append(parameter)
    filled.arguments = {p.name: filled.arguments[p.name] for p in todo}
    return filled


def _without_service(clause: str, names: set[str]) -> str:
    """Drop "on Yelp" where the tool's name says as much."""
    m = re.search(r"\s+(?:on|at|in|from|using|with|via)\s+(\w+)(\W*)\Z", clause)
    return clause[: m.start()] + m[2] if m and m[1].lower() in names else clause


def _as_counts(found: Sequence[Found], today: dt.date) -> list[Found]:
    """Read "the next 5 days" as a number of days, for a tool that counts them."""
    made = []
    for f in found:
        if (
            isinstance(f.value, Days)
            and f.value.first < f.value.last
            and (today in (f.value.first, f.value.last))
        ):
            f = replace(
                f, kind="number", cue="days", value=Decimal((f.value.last - f.value.first).days)
            )
        made.append(f)
    return made


def _parameter(name: str, schema: Mapping[str, Any]) -> Parameter:
    branches = [dict(b) for b in schema.get("anyOf", ())]
    told = schema.get("type")
    types: list[Any] = told if isinstance(told, list) else [told]
    nullable = "null" in types or None in schema.get("enum", ()) or {"type": "null"} in branches
    plain = next((b for b in branches if b.get("type") != "null"), {})
    merged = {**plain, **{k: v for k, v in schema.items() if k != "anyOf"}}
    merged["type"] = next((t for t in (*types, plain.get("type")) if t and t != "null"), "string")
    return Parameter(name, _kind(name, merged), not nullable, merged)


def _kind(name: str, schema: Mapping[str, Any]) -> str:
    words = frozenset(name.lower().split("_"))
    told = str(schema.get("description", "")).lower()
    if "enum" in schema or schema["type"] == "boolean":
        return "choice"
    if "4217" in told:
        return "currency"
    if "airport" in words:
        return "place"  # "airport_code": people say where, or the code as they would a place
    if name.lower() == "time":
        return "time"  # of a clock, on whichever day; "start_time" and its like have a day
    if words & {"time", "datetime"} and schema["type"] == "string":
        return "moment"
    kinds = (kind for kind, marks in _KINDS.items() if words & marks)
    kind = next(kinds, "count" if schema["type"] in ("integer", "number") else "topic")
    if schema["type"] in ("integer", "number"):
        return kind if kind in ("coordinate", "amount") else "count"
    return "topic" if kind == "amount" else kind


def _eagerness(parameter: Parameter) -> tuple[int, bool]:
    """Topics take what is left, so they come last; required before optional."""
    return ("topic", "message").count(parameter.kind) * (2 if parameter.kind == "topic" else 1), (
        not parameter.required
    )


def _take(
    p: Parameter,
    every: Sequence[Parameter],
    clause: str,
    found: Sequence[Found],
    filled: Filled,
    knows: Callable[[str], bool],
    names: Sequence[str],
) -> Any:
    if p.kind == "choice":
        return _choice(p, clause)
    if p.kind == "coordinate":
        at = next((f for f in found if f.kind == "coordinates"), None)
        return at and _use(filled, at, float(at.value[p.name.lower().startswith("lo")]))  # type: ignore[index]  # a pair
    if p.kind == "topic":
        if quoted := _pick(found, filled, "quoted"):
            return _use(filled, quoted, quoted.value)
        if names[0] in _MAKERS and set(p.name.split("_")) & _TITLES:
            return (title(clause, found, knows) or None) if p.required else None
        # A tool that looks near a place has no use for its name in what it looks for.
        near = "location" in names
        spare = [f for f in found if near and f.kind == "place" and f.cue != "for"]
        return (topic(clause, [*filled.used, *spare], knows) or None) if p.required else None
    if p.kind == "message":
        if quoted := _pick(found, filled, "quoted"):
            return _use(filled, quoted, quoted.value)
        said = re.search(r"\b(?:saying|that says|that|to say)\s+(.+)|:\s*(.+)", clause)
        return (said[1] or said[2]).strip() if said else None
    chosen = _chosen(p, found, filled)
    if chosen:
        value = _json(p, chosen, found)
        return _use(filled, chosen, [value] if p.schema["type"] == "array" else value)
    if p.kind in ("place", "ticker") and (p.required or not any(e.kind == "topic" for e in every)):
        return leftover(clause, [f for f in found if f.kind != "ticker"], knows) or None
    return None


def _chosen(p: Parameter, found: Sequence[Found], filled: Filled) -> Found | None:
    words = set(p.name.lower().split("_"))
    if p.kind == "currency":
        return _currency(words, found, filled)
    if p.kind == "code":
        cues = {"flight", "train", "tracking", "package", "order", "issue", "bus", "route"} & words
        if "iata" in words and "airport" not in words:
            cues.add("flight")
        if "repository" in words:
            return _pick(found, filled, "code", cues={"repository"})
        named = ("flight", "train", "tracking", "repository")
        typed = cues or {f.cue for f in found if f.cue not in named}
        return _pick(found, filled, "code", cues=typed or {"code"})
    if p.kind == "place":
        if words & {"origin", "from"}:
            return _pick(found, filled, "place", cues={"from", "between"})
        if words & {"destination", "to"}:
            return _pick(found, filled, "place", cues={"to", "and", "for", "in"})
        # "Showtimes for Dune in Boston" are in Boston.
        return (
            _pick(found, filled, "place", cues={"in", "near", "around", "at"})
            or _pick(found, filled, "place", cues={"for"})
            or (_pick(found, filled, "place") if p.required else None)
        )
    if p.kind == "count":
        if "year" in words:
            numbers = (f for f in found if isinstance(f.value, Decimal) and f.kind == "number")
            return next((f for f in numbers if 1900 <= f.value < 2200), None)  # type: ignore[operator]  # a Decimal
        marks = {stem(word) for word in words}
        for f in found:
            if f.kind == "number" and f not in filled.used and stem(f.cue) in marks:
                return f
        top = words & {"limit", "count", "max", "results"}
        return next((f for f in found if top and f.kind == "number" and f not in filled.used), None)
    if p.kind == "amount":
        loose = p.required or words & {"amount", "quantity"}
        return _pick(found, filled, "amount") or (_pick(found, filled, "number") if loose else None)
    if p.kind == "time":
        return _day(p, words, found) or _pick(found, filled, "time")
    if p.kind in ("date", "moment"):
        return _day(p, words, found)
    return _pick(found, filled, p.kind)


def _day(p: Parameter, words: set[str], found: Sequence[Found]) -> Found | None:
    """The later of two days ends a stay; a single day ends nothing that may be left open."""
    days = [f for f in found if f.kind == "date"]
    if not words & _LATE:
        return next(iter(days), None)
    nights = next((f for f in found if f.kind == "number" and stem(f.cue) == "night"), None)
    if nights and len(days) == 1 and isinstance(days[0].value, Days):
        first = days[0].value.first
        last = first + dt.timedelta(days=int(nights.value))  # type: ignore[arg-type]  # a Decimal
        return replace(days[0], value=Days(first, last))
    stretch = (f for f in days if isinstance(f.value, Days) and f.value.first < f.value.last)
    return days[1] if len(days) > 1 else next(stretch, None)


def _pick(
    found: Sequence[Found], filled: Filled, kind: str, *, cues: set[str] | None = None
) -> Found | None:
    free = (f for f in found if f.kind == kind and f not in filled.used)
    return next((f for f in free if not cues or f.cue in cues), None)


def _currency(words: set[str], found: Sequence[Found], filled: Filled) -> Found | None:
    """The money that is counted comes first, however the sentence is turned round."""
    every = [f for f in found if f.kind == "currency"]
    sums = [f for f in found if f.kind == "amount"]
    beside = [
        c for c in every for s in sums if abs(c.start - s.end) <= 1 or abs(s.start - c.end) <= 1
    ]
    if not beside and (many := [c for c in every if c.cue == "many"]):
        every = [c for c in every if c not in many] + many
    free = [c for c in (*beside, *every) if c not in filled.used]
    if words & {"to", "target", "targets", "into", "quote"} and not filled.used and len(every) < 2:
        return next((c for c in free if c.cue in ("to", "in", "into")), None)
    return next(iter(free), None)


def _json(p: Parameter, chosen: Found, found: Sequence[Found]) -> Any:
    value = chosen.value
    if isinstance(value, Days):
        late = set(p.name.lower().split("_")) & _LATE
        day = value.last if late else value.first
        if p.kind in ("moment", "time"):
            time = next((f.value for f in found if f.kind == "time"), None)
            return f"{day.isoformat()}T{time.isoformat('minutes')}" if time else None  # type: ignore[union-attr]  # a time
        return day.isoformat()
    if isinstance(value, dt.time):
        return value.isoformat("minutes")
    if isinstance(value, Decimal):
        whole = value == value.to_integral_value()
        return int(value) if whole or p.schema["type"] == "integer" else float(value)
    return value


def _use(filled: Filled, chosen: Found, value: Any) -> Any:
    filled.used.append(chosen)
    return value


def _choice(p: Parameter, clause: str) -> Any:
    spoken = {stem(word) for word in WORD.findall(clause)}
    if p.schema["type"] == "boolean":
        name = {stem(word) for word in p.name.split("_")} - {"is", "now", "only"}
        return (True if name and name <= spoken else None) if not p.required else name <= spoken
    options = [o for o in p.schema.get("enum", ()) if isinstance(o, str)]
    return _said(p, clause) or (options[0] if p.required and options else None)


def _said(p: Parameter, clause: str) -> str | None:
    """Return the option that the clause names."""
    spoken = {stem(word) for word in WORD.findall(clause)}
    options = (o for o in p.schema.get("enum", ()) if isinstance(o, str))
    named = (o for o in options if set(map(stem, WORD.findall(o.replace("_", " ")))) <= spoken)
    return next(named, None)


_MAKERS = frozenset(vocabulary("create save send update add append draft reply"))
_TITLES = frozenset({"title", "subject", "items", "summary"})
_THINGS = frozenset(
    vocabulary("task event note reminder todo to-do document doc page email message issue list new")
)
_MAKING = re.compile(
    r"\A\W*(?:(?:please|can you|could you|i (?:want|need)(?: you)? to|new|also)\W+)*"
    r"(?:(?:add|create|make|put|schedule|book|set up|plan|open|file|start|save|block|write|send|"
    r"remind me to|remind me about|remind me|remember to|note)\b\s*)?"
    r"(?:me\s+)?(?:an?\s+|the\s+|new\s+)*",
    re.IGNORECASE,
)
_ABOUT_IT = re.compile(
    r"\b(?:called|named|titled|saying|that says|about|that|to|for|of|with)\s+|:\s*", re.IGNORECASE
)
_WHERE_TO = re.compile(r"\s+(?:to|on|onto|in|into|as|from)\s+((?:[\w'’-]+\s*){1,5})\W*\Z", re.I)


def title(clause: str, found: Sequence[Found], knows: Callable[[str], bool]) -> str:
    """Return what is to be made, without the command, where it goes and when it is.

    "put dentist on my calendar tomorrow at 3pm" is "dentist"; `knows` tells the words for things
    of the service ("calendar", "task") from the user's own.
    """
    kinds = ("date", "time", "email", "url", "phone")
    said = [f for f in found if f.kind in kinds or f.cue == "repository"]
    text = " ".join(_MAKING.sub("", without(clause, said).strip() + " ", count=1).split())
    if goal := _WHERE_TO.search(text):
        words = [w for w in WORD.findall(goal[1]) if w.lower() not in STOP]
        if words and all(knows(w.lower()) for w in words):
            text = text[: goal.start()]
    if (lead := _ABOUT_IT.search(text)) and not _beside(lead, text):
        head = [w for w in WORD.findall(text[: lead.start()]) if w.lower() not in STOP]
        if all(knows(w.lower()) for w in head) and text[lead.end() :].strip():
            text = text[lead.end() :]
    text = re.sub(
        r"(?:\s+(?:with|at|on|in|for|by|to|and|the|my|a))+\W*\Z", "", text.strip(" ?!.,:;")
    )
    return "" if all(word.lower() in _THINGS for word in text.split()) else text


def _beside(lead: re.Match[str], text: str) -> bool:
    """Tell "lunch with Ann", which is what it is called, from "a list with eggs and milk"."""
    things = all(word.lower() in _THINGS for word in WORD.findall(text[: lead.start()]))
    return lead[0].lower().startswith("with") and (not things or text[lead.end()].isupper())


_FRAME = re.compile(
    r"\A\W*(?:(?:please|hey|ok(?:ay)?|so|and|also|then|can you|could you|would you|will you|"
    r"i(?:'d| would) like"
    r"(?: you)? to|i (?:want|need)(?: you)?(?: to)?|help me|let's|do you know|i'm looking for)\W+)*"
    r"(?:how (?:tall|old|big|large|long|high|deep|far|fast|heavy|wide|hot|cold) "
    r"(?:is|are|was|were)\b"
    r"|(?:what|who|where|when|why|how|which)(?:'s|’s| (?:is|was|are|were|does|did|do|can))?"
    r"|is there|are there|tell|show|give|get|find|search|look|fetch|read|list|google|explain|define"
    r"|describe|play|open|research|check)?(?:\s+(?:me|us))?(?:\s+(?:up|out))?"
    r"(?:\s+(?:some|any)thing)?(?:\s+(?:for|about|on))?\s+",
    re.IGNORECASE,
)
_ABOUT = re.compile(r"\b(?:about|regarding|called|named|titled|for|on)\s+(?=\w)", re.IGNORECASE)


def topic(clause: str, used: Sequence[Found], knows: Callable[[str], bool]) -> str:
    """Return what a sentence is about, without its command, the tool's name and other arguments."""
    text = _FRAME.sub("", without(clause, used).strip() + " ", count=1)
    for m in _ABOUT.finditer(text):
        head = [w for w in WORD.findall(text[: m.start()]) if w.lower() not in STOP]
        if all(knows(word) for word in head):
            text = text[m.end() :]
            break
    text = re.sub(
        r"\s+(?:near me|nearby|(?:right |around )?here|close by)\b", "", text, flags=re.IGNORECASE
    )
    text = re.sub(r"\s+(?:please|for me|right now)\W*\Z|[\s?!.,]+\Z", "", text.strip(" ?!.,"))
    text = re.sub(r"\A(?:the|a|an|for|about)\s+", "", text, flags=re.IGNORECASE)
    return "" if all(word.lower() in STOP for word in WORD.findall(text)) else text


def leftover(clause: str, used: Sequence[Found], knows: Callable[[str], bool]) -> str:
    """Return the words that are neither everyday words nor the tool's own: a bare name."""
    words = re.findall(r"[\w.&'’-]+", _FRAME.sub("", without(clause, used).strip() + " ", count=1))
    kept = [re.sub(r"['’]s\Z", "", w).strip(".'’-") for w in words]
    return " ".join(w for w in kept if w and w.lower() not in STOP | _FILLER and not knows(w))


_FILLER = frozenset(
    vocabulary("current latest right here please check going new recent who where when")
)


def without(clause: str, used: Sequence[Found]) -> str:
    """Return `clause` without the finds in `used` and the prepositions that led to them."""
    for f in sorted(used, key=lambda f: -f.start):
        before = re.sub(
            r"\b(?:in|near|around|at|from|to|for|on|by|into|of|the)\s*\Z",
            "",
            re.sub(r"\bthe\s*\Z", "", clause[: f.start], flags=re.I),
            flags=re.I,
        )
        clause = f"{before.rstrip()} {clause[f.end :].lstrip()}"
    return clause
