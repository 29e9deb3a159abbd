"""Decides, by rule, what to do about a user's words: which tools to call, what to ask, what to say.

The offline planner's judgement, kept apart from the Agents SDK so that it can be tested as a
function: same words, tools and clock, same plan. It knows no connector: the router ranks the tools,
`arguments` fills them. A follow-up is turned into the whole sentence it stands for ("and in
Chicago?" after "what's the weather in Boston?"), so nothing but the texts need be remembered.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from common.llm import arguments, recurring
from common.llm.arguments import Filled, Parameter, ToolSpec
from common.llm.extraction import Found, extract
from common.llm.recurring import Again
from common.llm.smalltalk import GREETING, PLANNER, REPLIES, beyond, small_talk
from common.tools import Registry
from common.tools.ranking import ranker_of
from common.tools.shapes import STOP, WORD, vocabulary

# Below FLOOR a tool is not meant; a question about anything may go to what answers questions.
FLOOR, QUESTION_FLOOR, CLAUSE_FLOOR = 0.32, 0.03, 0.45
# What a tool that is set up may lack of one that is not, and what an answer of a list of answers.
_READY, _ANSWERING, _SURER = 0.75, 0.8, 0.8
_REMEMBERED = 4
_FOLLOW = re.compile(
    r"\W*(?:(?:and|but|ok(?:ay)?|so|then|now)\W+)*(?:(?:what|how) about|same (?:thing )?(?:for|in)|"
    r"and|also|or|instead|then)\b\W*",
    re.IGNORECASE,
)
_LED = re.compile(
    r"\W*(?:please |can you |could you |also |then |i (?:want|need) to )*(?:what|who|where|when|"
    r"which|how|why|is|"
    r"are|was|will|does|do|did|can|should|convert|find|search|show|tell|give|get|look|list|check|track|"
    r"send|email|text|call|add|create|make|book|play|open|read|summari[sz]e|schedule|remind|compare|"
    r"buy|sell|order|cancel|delete|post|reply|fetch|translate|write)\b",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"\W*(?:who|what|when|where|why|how|which|tell me about|explain|define|describe)\b(?:['’]s)?",
    re.IGNORECASE,
)
# Who says these wants something changed; reading about it is no help.
_ACTS = re.compile(
    r"\W*(?:please |can you |could you |i (?:want|need)(?: you)? to )*(?:add|book|reserve|cancel|"
    r"delete|remove|save|write|draft|comment|email|message|send|post|create|schedule|order|set|turn|pay|transfer|subscribe|unsubscribe|"
    r"put|new [\w-]+(?: [\w-]+)?:|rent|rename|move|invite|reply|call|text|dial|"
    r"sell|complete|tick|mark|archive|hire|remind)(?!\w)",
    re.IGNORECASE,
)
# Said of anything: they tell nothing of what is meant.
_LIGHT = frozenset(
    vocabulary(
        "add book reserve cancel delete remove send post create schedule order set turn pay "
        "transfer rent make put new write find search look open call get give show tell take say "
        "do go work works play move please good best big small long old thing things way lot "
        "people person place here there time day year"
    )
)
_TYPED = frozenset(vocabulary("ticker currency amount code url email phone coordinates"))
# "search my mail for …", "any notes about …": a search of what is the user's own, and for what.
_SEEKS = re.compile(
    r"\W*(?:(?:please|can you|could you|i (?:want|need)(?: you)? to)\W+)*"
    r"(?:search|find|look|go|check|get|show|pull up|any|(?:is|are) there|do i have|did i get|"
    r"have i got)\b(?P<where>.+?)"
    r"\b(?:for|about|regarding|concerning|mentioning|containing|on|with)\s+(?P<what>\w.*)",
    re.IGNORECASE,
)
_HOW_TO = re.compile(r"\A\W*how (?:do|can|should|would|to) (?:i|you|we|one)\b", re.IGNORECASE)
_PERSONAL = re.compile(r"\b(?:you|your|yourself|i|my|me(?! about)|we|our)\b", re.IGNORECASE)
_SEPARATOR = re.compile(
    r"[.?!;]\s+|,?\s+(?:and then|and also|and|then|also|plus)\s+|,\s+", re.IGNORECASE
)
_JOINT = re.compile(r"\s*(?:,|and|, and|or|&)\s*\Z")


_CANNOT_REPEAT = (
    "I can't do that again and again by myself. I can remind you of something, or answer a "
    "question for you, each day at a time you name."
)


def _takes(parameter: Parameter, often: str) -> bool:
    """Tell whether `parameter` says how often, and can say this."""
    return bool(often) and parameter.kind == "choice" and often in parameter.schema.get("enum", ())


def _telling(clause: str) -> list[str]:
    """Return the words of a clause that say what it is about."""
    return [word for word in WORD.findall(clause) if word.lower() not in STOP | _LIGHT]


@dataclass(frozen=True, slots=True)
class Call:
    """A tool to run with arguments for every property; `clause` is the sentence it answers."""

    tool: str
    arguments: Mapping[str, Any]
    clause: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: calls to make, then `notes` to say. `asked` is the kind of value asked for."""

    calls: tuple[Call, ...] = ()
    notes: tuple[str, ...] = ()
    asked: str = ""


@dataclass
class _Choice:
    spec: ToolSpec
    filled: Filled
    fit: float
    score: float
    vague: bool = False  # what to look for is only the tool's own words


@dataclass
class _Session:
    """One planning: the tools within reach and the user's clock."""

    tools: Mapping[str, ToolSpec]
    now: dt.datetime
    choices: dict[str, _Choice | None] = field(default_factory=dict)


class Planner:
    """Plans over the tools of one registry."""

    def __init__(
        self, registry: Registry, secret: Callable[[str], str | None] | None = None
    ) -> None:
        """Plan with `registry`; `secret` tells which keys are set (None: all that are needed)."""
        self._registry = registry
        self._ranker = ranker_of(registry)
        self._secret = secret

    @cached_property
    def _every(self) -> dict[str, ToolSpec]:
        """Every tool of the registry, on first use: schemas cost time."""
        tools = self._registry.tools.values()
        return {t.name: ToolSpec(t.name, t.description, t.parameters.schema) for t in tools}

    def plan(self, texts: Sequence[str], *, now: dt.datetime, tools: Sequence[ToolSpec]) -> Plan:
        """Plan for the last of the user's `texts`, of which the earlier ones are the context.

        `now` is aware and in the user's zone; `tools` are those within reach.
        """
        session = _Session({spec.name: spec for spec in tools}, now)
        text = texts[-1].strip()
        if said := self._small_talk(text, session):
            return Plan(notes=(said,))
        earlier = [t for t in texts[-_REMEMBERED:-1] if not self._small_talk(t, session)]
        return self._plan(self._whole([*earlier, text], session), session)

    def alternative(
        self, call: Call, *, tried: Collection[str], now: dt.datetime, tools: Sequence[ToolSpec]
    ) -> Call | None:
        """Return the same request to an interchangeable connector whose slug is not in `tried`."""
        capability = self._registry.entry_of(self._registry.tool(call.tool)).connector.capability
        others = {
            spec.name: spec
            for spec in tools
            if spec.name in self._registry.tools
            and (entry := self._registry.entry_of(self._registry.tool(spec.name))).slug not in tried
            and capability
            and entry.connector.capability == capability
        }
        choice = self._choose(call.clause, _Session(others, now))
        if choice is None or choice.filled.missing:
            return None
        return Call(choice.spec.name, choice.filled.arguments, call.clause)

    def _plan(self, text: str, session: _Session) -> Plan:
        calls: list[Call] = []
        notes: list[str] = []
        asked = ""
        for clause in self._clauses(text, session):
            choice = self._choose(clause, session)
            if choice is None and recurring.read(clause):
                notes.append(_CANNOT_REPEAT)
            elif choice is None:
                notes.append(self._cannot(clause if calls else "", session))
            elif keys := self._lacking(choice):
                name = self._registry.entries[self._slug(choice)].connector.name
                notes.append(f"That needs {name}, which is not set up: set {' and '.join(keys)}.")
            elif choice.filled.missing:
                missing = choice.filled.missing[0]
                asked = missing.kind
                notes.append(arguments.question(missing))
            else:
                calls.append(Call(choice.spec.name, choice.filled.arguments, clause))
                # Left open, a place may be the user's own; if not, the tool says so and asks.
                asked = "place" if self._placeless(choice) else asked
        unique = {(c.tool, repr(c.arguments)): c for c in calls}
        return Plan(tuple(unique.values()), tuple(dict.fromkeys(notes)), asked)

    @staticmethod
    def _placeless(choice: _Choice) -> bool:
        places = [p.name for p in arguments.parameters(choice.spec) if p.kind == "place"]
        return bool(places) and not any(choice.filled.arguments[name] for name in places)

    # Choosing a tool for one clause

    def _choose(self, clause: str, session: _Session) -> _Choice | None:
        if clause not in session.choices:
            session.choices[clause] = self._search(clause, session)
        return session.choices[clause]

    def _search(self, clause: str, session: _Session) -> _Choice | None:
        if beyond(clause):
            return None
        if again := recurring.read(clause):
            return self._recurring(again, session)
        if sought := self._sought(clause, session):
            return sought
        found = extract(clause, session.now)
        ranked = self._ranker.rank_tools(clause, among=session.tools.keys())
        choices = [
            self._weigh(session.tools[n], s, clause, found, session.now.date())
            for n, s in ranked[:12]
            if s
        ]
        meant = [
            c
            for c in choices
            if c.score >= FLOOR and self._meant(c, clause) and self._worth(c, choices)
        ]
        best = max(meant, key=lambda choice: choice.fit, default=None)
        if best and best.vague and (listing := self._listing(best, session)):
            return listing
        if best and self._lacking(best):
            least = _READY * best.score
            # Nothing acts in the place of what only reads.
            reads = self._reads(best)
            able = (c for c in meant if not self._lacking(c) and self._reads(c) == reads)
            ready = (c for c in able if c.score >= least)
            best = max(ready, key=lambda choice: choice.fit, default=best)
        if not _ASKS.match(clause) or _PERSONAL.search(_HOW_TO.sub("", clause)):
            return best
        answering = (
            c
            for c in choices
            if c.score >= QUESTION_FLOOR and not c.filled.missing and self._answers(c)
        )
        answer = max(answering, key=lambda c: (not self._lacking(c), c.fit), default=None)
        if best is None or answer is None:
            return answer or best
        informs = self._registry.entries[self._slug(best)].connector.category == "information"
        if self._lacking(best) and informs and not self._lacking(answer):
            return answer
        nearly = not best.filled.used and answer.fit >= _ANSWERING * best.fit
        return answer if nearly and informs else best

    def _recurring(self, again: Again, session: _Session) -> _Choice | None:
        """Return the tool that does so often what is wanted; None where none does."""
        able = {
            spec.name: how
            for spec in session.tools.values()
            if any(p.kind == "time" for p in arguments.parameters(spec))
            for how in arguments.parameters(spec)
            if _takes(how, again.often)
        }
        # "Every evening at 7" is not at seven in the morning, so the time is read with these words.
        heard = extract(f"{again.rest}, {again.said}", session.now)
        found = [f for f in heard if f.end <= len(again.rest)]
        once = arguments.without(again.rest, [f for f in found if f.kind == "time"])
        prompt = recurring.prompt(once)
        # It is asked when its time has come, of every service rather than of those within reach.
        asked = self._choose(prompt, _Session(self._every, session.now))
        keepers = {self._registry.tool(name).connector for name in able}
        others = session.tools.keys() - able.keys()
        if asked and asked.spec.name in others and self._slug(asked) in keepers:
            return asked  # "pause my daily briefing at 8"
        informs = asked is not None and self._reads(asked)
        if asked and informs and (self._lacking(asked) or asked.filled.missing):
            return asked  # what fails now would fail each time
        ranked = self._ranker.rank_tools(once, among=able.keys())
        fitting = [
            (name, score)
            for name, score in ranked
            if informs == ("prompt" in session.tools[name].schema["properties"])
            and (informs or score >= FLOOR)
        ]
        if not fitting:
            return None
        name, score = fitting[0]
        filled = self._filled(session.tools[name], again.rest, found, session.now.date())
        said = {able[name].name: again.often} | ({"prompt": prompt} if informs else {})
        filled.arguments |= said
        filled.missing = [p for p in filled.missing if p.name not in said]
        return _Choice(session.tools[name], filled, max(score, CLAUSE_FLOOR), score)

    def _sought(self, clause: str, session: _Session) -> _Choice | None:
        """Return the search of the user's own things that the clause says in so many words."""
        said = _SEEKS.match(clause)
        if said is None:
            return None
        score = {ranked.slug: ranked.score for ranked in self._ranker.rank(said["where"])}
        able = [
            (spec, topic)
            for spec in session.tools.values()
            if spec.name.startswith(("search", "find")) and (topic := self._owned(spec))
        ]
        if not able or "'s " in said["where"]:
            return None
        best, spec, topic = max(
            (
                (score[self._registry.tool(spec.name).connector], spec, topic)
                for spec, topic in able
            ),
            key=lambda each: each[0],
        )
        if best < FLOOR or best < max(score.values()):
            return None

        def knows(word: str) -> bool:
            return self._ranker.knows(spec.name, word)

        what = arguments.topic(said["what"], [], knows) or said["what"].strip(" ?!.")
        about = f"{arguments.leftover(said['where'], [], knows)} {what}".strip()
        filled = arguments.fill(spec, clause, [], today=session.now.date(), knows=knows)
        filled.arguments[topic], filled.missing = about, []
        return _Choice(spec, filled, best, best)

    def _owned(self, spec: ToolSpec) -> str:
        """Return the parameter for what to look for, where a tool searches a linked account."""
        tool = self._registry.tool(spec.name)
        if tool.risk != "read" or not self._registry.entry_of(tool).connector.account:
            return ""
        needed = [p for p in arguments.parameters(spec) if p.required]
        return needed[0].name if [p.kind for p in needed] == ["topic"] else ""

    def _listing(self, choice: _Choice, session: _Session) -> _Choice | None:
        """Return the list of a linked account for a search of it that names nothing."""
        if not self._owned(choice.spec):
            return None
        slug = self._slug(choice)
        for spec in session.tools.values():
            tool = self._registry.tool(spec.name)
            if tool.connector == slug and tool.risk == "read" and not any(
                p.required for p in arguments.parameters(spec)
            ):  # fmt: skip
                return _Choice(spec, self._filled(spec, "", (), session.now.date()),
                               choice.fit, choice.score)  # fmt: skip
        return None

    def _meant(self, choice: _Choice, clause: str) -> bool:
        """True where the clause speaks of what the tool is for, and of a change if it asks one."""
        tool = self._registry.tool(choice.spec.name)
        if _ACTS.match(clause) and tool.risk == "read":
            return False
        if _ASKS.match(clause) and tool.risk != "read":
            return False  # to ask is not to tell
        if any(f.kind in _TYPED for f in choice.filled.used):
            return True
        days = [f for f in choice.filled.used if f.kind == "date"]
        if not _telling(arguments.without(clause, days)):
            return True  # "what do I have on Friday" has only everyday words to go by
        return any(self._ranker.knows(choice.spec.name, w.lower()) for w in _telling(clause))

    def _reads(self, choice: _Choice) -> bool:
        return self._registry.tool(choice.spec.name).risk == "read"

    def _lacking(self, choice: _Choice) -> list[str]:
        """Return the keys without which none of the tool's providers works."""
        if self._secret is None:
            return []
        entries = map(self._registry.entry_of, self._registry.providers(choice.spec.name))
        lacking = [entry.missing(self._secret) for entry in entries]
        return [] if [] in lacking else lacking[0]

    def _worth(self, choice: _Choice, choices: Sequence[_Choice]) -> bool:
        """An id nobody can type, or coordinates nobody gave, are no reason to ask."""
        missing = choice.filled.missing
        if any(p.kind in arguments.UNASKABLE for p in missing):
            return False
        if len(missing) > 1 and self._registry.tool(choice.spec.name).risk == "money":
            return False  # neither what nor how much: money is not what was spoken of
        # Nor is a tool worth a question where another was meant much rather.
        return not missing or choice.score >= _SURER * max(c.score for c in choices)

    def _answers(self, choice: _Choice) -> bool:
        entry = self._registry.entry_of(self._registry.tool(choice.spec.name))
        kinds = [p.kind for p in arguments.parameters(choice.spec) if p.required]
        return entry.connector.category == "information" and kinds == ["topic"]

    def _weigh(
        self, spec: ToolSpec, score: float, clause: str, found: Sequence[Found], today: dt.date
    ) -> _Choice:
        filled = self._filled(spec, clause, found, today)
        # A title may well be in the service's own words: "add buy milk to my tasks".
        vague = self._registry.tool(spec.name).risk == "read" and self._vague(spec, filled)
        fit = score * (0.75 if vague else 1)
        for missing in filled.missing:
            fit *= 0.35 if missing.kind in arguments.UNASKABLE else 0.8
        # A tool that has no use for a date that was given is the wrong one of its connector.
        telling = [f for f in found if f.kind not in ("person", "number", "time")]
        if telling:
            spans = {f.start for f in filled.used}
            fit += 0.3 * sum(f.start in spans for f in telling) / len(telling)
        if not any(p.kind in ("topic", "message") for p in arguments.parameters(spec)):
            taken = {w.lower() for v in filled.arguments.values() for w in str(v).split()}
            rest = set(_telling(arguments.without(clause, filled.used)))
            rest = {word for word in rest if word.lower() not in taken}
            # What the sentence names and the tool neither takes nor knows speaks against it.
            lost = [word for word in rest if not self._ranker.knows(spec.name, word.lower())]
            fit -= min(0.2, 0.06 * len(lost))
        if _ASKS.match(clause) and spec.name.startswith(("search", "find")):
            fit -= 0.08  # a question wants the thing itself rather than a list of where it may be
        return _Choice(spec, filled, fit, score, vague)

    def _filled(
        self, spec: ToolSpec, clause: str, found: Sequence[Found], today: dt.date
    ) -> Filled:
        return arguments.fill(
            spec,
            clause,
            found,
            today=today,
            knows=lambda word: self._ranker.knows(spec.name, word),
            acts=self._registry.tool(spec.name).risk != "read",
        )

    def _vague(self, spec: ToolSpec, filled: Filled) -> bool:
        """True where what to look for is only the tool's own words: "the stock price"."""
        topics = [filled.arguments[p.name] for p in arguments.parameters(spec) if p.kind == "topic"]
        return any(
            isinstance(t, str)
            and all(w.lower() in STOP or self._ranker.knows(spec.name, w) for w in t.split())
            for t in topics
        )

    # From a text to its clauses

    def _clauses(self, text: str, session: _Session) -> list[str]:
        text = GREETING.sub("", text, count=1) if GREETING.match(text) else text
        covered = [
            f for f in extract(text, session.now) if f.kind in ("quoted", "url", "place", "date")
        ]
        made: list[str] = []
        start = 0
        again = recurring.read(text)
        for m in _SEPARATOR.finditer(text):
            left, right = text[start : m.start()], text[m.end() :]
            if again and (again.leads or not _LED.match(right)):
                continue  # "every morning at 7, tell me the weather and the news" is one wish
            if any(f.start < m.end() and m.start() < f.end for f in covered):
                continue
            if self._stands(left, right, session):
                made.append(left)
                start = m.end()
        made.append(text[start:])
        parts = (part.strip(" ,;") for clause in made for part in self._shared(clause, session))
        return [part for part in parts if part]

    def _stands(self, left: str, right: str, session: _Session) -> bool:
        """True where both sides are requests of their own."""
        right = _SEPARATOR.split(right, maxsplit=1)[0] if not _LED.match(right) else right
        one, two = self._choose(left, session), self._choose(right, session)
        if _LED.match(right):
            return bool(one or two) and (one is not None or bool(_LED.match(left)))
        if _ACTS.match(left):
            return False  # "add eggs and milk to my list" is one act
        return bool(
            one
            and two
            and one.score >= CLAUSE_FLOOR
            and two.score >= CLAUSE_FLOOR
            and self._slug(one) != self._slug(two)
        )

    def _slug(self, choice: _Choice) -> str:
        return self._registry.tool(choice.spec.name).connector

    def _shared(self, clause: str, session: _Session) -> list[str]:
        """Say a clause once for each of several values: "weather in Boston and Paris" twice."""
        found = extract(clause, session.now)
        for kind in ("place", "ticker", "currency"):
            same = [f for f in found if f.kind == kind]
            group = same[-1:]
            for f in reversed(same[:-1]):
                if not _JOINT.match(clause[f.end : group[0].start]) or f.cue in ("between", "from"):
                    break
                group.insert(0, f)
            least = 3 if kind == "currency" else 2
            if len(group) > 1 and len(same) >= least and group[0].cue != "between":
                head, tail = clause[: group[0].start], clause[group[-1].end :]
                return [head + clause[f.start : f.end] + tail for f in group]
        return [clause]

    # From a follow-up to the whole sentence

    def _whole(self, texts: Sequence[str], session: _Session) -> str:
        whole, asked = "", ""
        for i, text in enumerate(texts):
            if whole and asked and self._is_answer(text, session):
                cue = {"place": "in", "topic": "for", "time": "at"}.get(asked, "")
                led = re.match(r"\W*(?:in|for|at|near|to|from|on)\b", text, re.IGNORECASE)
                whole = f"{whole.rstrip(' ?.!')} {'' if led else cue} {text}".replace("  ", " ")
            elif whole and (merged := self._merged(whole, text, session)):
                whole = merged
            else:
                whole = text
            if i < len(texts) - 1:
                asked = self._plan(whole, session).asked
        return " ".join(whole.split())

    def _is_answer(self, text: str, session: _Session) -> bool:
        if (
            len(text.split()) > 7
            or text.rstrip().endswith("?")
            or _LED.match(text)
            or _FOLLOW.match(text)
        ):
            return False
        choice = self._choose(text, session)
        return choice is None or choice.score < CLAUSE_FLOOR or len(text.split()) <= 3

    def _merged(self, whole: str, text: str, session: _Session) -> str:
        """Put the values of a follow-up into the sentence before it; "" where it is none."""
        follow = _FOLLOW.match(text)
        rest = (text[follow.end() :] if follow else text).strip(" ?!.")
        if (
            not rest
            or _LED.match(rest)
            or len(rest.split()) > 6
            or (not follow and len(rest.split()) > 3)
        ):
            return ""
        before = [f for f in extract(whole, session.now) if f.kind != "person"]
        new = [f for f in extract(rest, session.now) if f.kind != "person"]
        bare = [w for w in WORD.findall(arguments.without(rest, new)) if w.lower() not in STOP]
        alike = next((f for f in before if f.kind in ("place", "ticker")), None)
        if not new and bare and alike:
            new = [Found(alike.kind, rest, 0, len(rest))]
        elif bare or not new:
            return ""
        for f in new:
            value = rest[f.start : f.end]
            old = [b for b in before if b.kind == f.kind]
            if (
                f.kind == "ticker"
                and any(n.start == f.start and n is not f for n in new)
                and not old
            ):
                continue
            old = [b for b in old if b.cue == f.cue] or old
            if old:
                whole = whole[: old[-1].start] + value + whole[old[-1].end :]
                before = [f for f in extract(whole, session.now) if f.kind != "person"]
            else:
                whole = f"{whole.rstrip(' ?.!')} {f.cue if f.kind == 'place' else ''} {value}"
        return whole

    # What is said without a tool

    def _small_talk(self, text: str, session: _Session) -> str:
        kind = small_talk(text)
        return kind and REPLIES[kind].format(
            planner=PLANNER, examples=self._examples(session) or "nothing yet"
        )

    def _cannot(self, clause: str, session: _Session) -> str:
        what = f"I can't do this part: “{clause.strip(' ?.!')}”." if clause else "I can't do that."
        shown = self._examples(session)
        return f"{what} {PLANNER}" + (f" What I can do is, for example: {shown}" if shown else "")

    def _examples(self, session: _Session) -> str:
        slugs = {t.connector for name in session.tools if (t := self._registry.tools.get(name))}
        kinds: dict[str, str] = {}
        for slug, entry in self._registry.entries.items():
            if (
                slug in slugs
                and entry.connector.examples
                and not (self._secret and entry.missing(self._secret))
            ):
                kinds.setdefault(entry.connector.capability or slug, entry.connector.examples[0])
        return " · ".join(f"“{example}”" for example in list(kinds.values())[:3])
